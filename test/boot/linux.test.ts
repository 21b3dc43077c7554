// Debian's 6.1 kernels with a busybox initramfs, started by -kernel.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, test, vi } from 'vitest';
import { guest, haveGuests, isLongRun } from '../support/guests.ts';
import { type BootOptions, boot, type TestVm } from '../support/vm.ts';

vi.setConfig({ testTimeout: 900_000 });

const CONSOLE = 'console=tty0 console=ttyS0,115200 cryptomgr.notests';

type Flavour = '686' | '686-pae';

function bootLinux(append = '', flavour: Flavour = '686', more: BootOptions = {}): Promise<TestVm> {
  return boot({
    kernel: guest(`vmlinuz-${flavour}`),
    initrd: guest(`initramfs-${flavour}.gz`),
    append: `${CONSOLE} ${append}`,
    ...more,
  });
}

function md5Of(path: string): string {
  return createHash('md5').update(readFileSync(path)).digest('hex');
}

/** Nothing that a healthy kernel on this hardware would say. */
function expectHealthy(vm: TestVm): void {
  expect(vm.serial.text).not.toMatch(
    /BUG:|Oops|WARNING:|Kernel panic|Call Trace|soft lockup|lost interrupt|spurious/i,
  );
}

describe.skipIf(!haveGuests('vmlinuz-686', 'initramfs-686.gz'))('Linux 686', () => {
  test('boots to a shell that answers on the serial port, then on the screen to the keyboard', async () => {
    await using vm = await bootLinux();
    await vm.serial.waitFor('GUEST-READY');
    expectHealthy(vm);
    // What the kernel's real-mode code learned from int 10h, called by an instruction that it patches.
    expect(vm.serial.text).toContain('Console: colour VGA+ 80x25');
    expect(vm.serial.text).toMatch(/Using ACPI.*for SMP configuration information|IOAPIC\[0\]/);

    expect(await vm.shell('echo $((6 * 7)) && uname -m')).toBe('42\ni686');
    expect(await vm.shell('grep -c . /proc/interrupts')).toMatch(/^\d+$/);
    expect(await vm.shell('cat /sys/devices/system/clocksource/clocksource0/current_clocksource')).toMatch(
      /^(tsc|acpi_pm)$/,
    );
    expect(await vm.shell('date -u +%Y-%m-%d')).toBe('2026-01-01');
    expect(await vm.shell('cat /proc/ioports')).toContain('ata_piix');

    await vm.screen.waitFor(/# *$/);
    await vm.keyboard.type('echo "Typed: $((1+1))" | tr a-z A-Z\n');
    await vm.screen.waitFor('TYPED: 2');
    await vm.keyboard.type('x=1_000; echo {$x} > /tmp/typed\n');
    await vm.shell('sleep 1');
    expect(await vm.shell('cat /tmp/typed')).toBe('{1_000}');
  });

  test('suspends to RAM, is woken by the clock and by system_wakeup; reboots by a triple fault, and comes up again', async () => {
    await using vm = await bootLinux('quiet reboot=t');
    await vm.serial.waitFor('GUEST-READY');
    const next = (event: 'suspend' | 'wakeup') =>
      new Promise<void>((resolve) => {
        const remove = vm.machine.on(event, () => {
          remove();
          resolve();
        });
      });
    expect(vm.machine.wakeUp()).toBe(false);
    vm.serial.type('echo mem > /sys/power/state; echo "by"request\n');
    await next('suspend');
    const woken = next('wakeup');
    expect(vm.machine.wakeUp()).toBe(true);
    await woken;
    await vm.serial.waitFor('byrequest');
    const alarm = '/sys/class/rtc/rtc0/wakealarm';
    vm.serial.type(`echo +8 > ${alarm}; echo mem > /sys/power/state; echo "by"alarm\n`);
    await next('wakeup');
    await vm.serial.waitFor('byalarm');
    vm.serial.type('reboot -f\n');
    await vm.waitForResets(1);
    const from = vm.serial.text.length;
    await vm.serial.waitFor('GUEST-INIT', undefined, from);
  });

  test('runs on PIC and PIT alone: acpi=off noapic nolapic', async () => {
    await using vm = await bootLinux('acpi=off noapic nolapic');
    await vm.serial.waitFor('GUEST-READY');
    expectHealthy(vm);
    expect(await vm.shell('cat /proc/interrupts')).toMatch(/0: +\d+ +XT-PIC +timer/);
    const ticks = async () => Number(/0: +(\d+)/.exec(await vm.shell('cat /proc/interrupts'))![1]);
    const before = await ticks();
    await vm.shell('sleep 2');
    expect(await ticks()).toBeGreaterThan(before);
  });

  test('switches the machine off by ACPI', async () => {
    await using vm = await bootLinux('quiet guest.end=poweroff');
    await vm.serial.waitFor('GUEST-READY');
    await vm.waitForState('shutdown');
  });

  test('reads a CD and a floppy as they are', async () => {
    const media = { cdrom: guest('ipxe.iso'), floppy: guest('grub-rescue-floppy.img') };
    await using vm = await bootLinux('quiet', '686', media);
    await vm.serial.waitFor('GUEST-READY');
    expect(vm.serial.text).toMatch(/GUEST-DISKS fd0 sr0/);
    const md5 = async (device: string) => (await vm.shell(`md5sum < ${device}`)).slice(0, 32);
    expect(await md5('/dev/sr0')).toBe(md5Of(media.cdrom));
    expect(await md5('/dev/fd0')).toBe(md5Of(media.floppy));
  });

  test.skipIf(!isLongRun)('boots on our own BIOS', async () => {
    await using vm = await bootLinux('', '686', { firmware: 'amberbios' });
    await vm.serial.waitFor('GUEST-READY');
    expectHealthy(vm);
    vm.serial.type('poweroff -f\n');
    await vm.waitForState('shutdown');
  });

  test.skipIf(!isLongRun)(
    'boots in 48 MiB with self-tests of its cryptography',
    async () => {
      await using vm = await boot({
        kernel: guest('vmlinuz-686'),
        initrd: guest('initramfs-686.gz'),
        append: 'console=ttyS0,115200',
        memory: 48,
      });
      await vm.serial.waitFor('GUEST-READY', 1_800_000);
      expectHealthy(vm);
    },
    1_900_000,
  );

  test.skipIf(!isLongRun)('boots without -icount, the clock following the host’s', async () => {
    await using vm = await bootLinux('', '686', { icount: false });
    await vm.serial.waitFor('GUEST-READY');
    expectHealthy(vm);
    const uptime = async () => Number((await vm.shell('cat /proc/uptime')).split(' ')[0]);
    const begin = [Date.now(), await uptime()] as const;
    await vm.shell('sleep 5');
    const real = (Date.now() - begin[0]) / 1000;
    expect(Math.abs((await uptime()) - begin[1] - real)).toBeLessThan(1);
  });
});

describe.skipIf(!haveGuests('vmlinuz-686-pae', 'initramfs-686-pae.gz'))('Linux 686-pae', () => {
  test('boots to a shell, with PAE page tables isolated from user space', async () => {
    await using vm = await bootLinux('', '686-pae');
    await vm.serial.waitFor('GUEST-READY');
    expectHealthy(vm);
    expect(await vm.shell('grep -ow "pae\\|pti" /proc/cpuinfo')).toBe('pae\npti');
    expect(await vm.shell('for i in 1 2 3 4 5 6 7 8; do md5sum < /bin/busybox; done | sort -u | wc -l')).toBe(
      '1',
    );
  });
});
