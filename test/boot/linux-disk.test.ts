// Linux with its root file system on an IDE disk in qcow2: started by syslinux from the disk itself, or by -kernel.
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { guest, haveGuests, isLongRun } from '../support/guests.ts';
import { requireProgram } from '../support/programs.ts';
import { qemuCheck, run } from '../support/qemu-img.ts';
import { boot, type FirmwareName, type TestVm } from '../support/vm.ts';

vi.setConfig({ testTimeout: 900_000 });

/** Start of the second partition: the first begins at 1 MiB and has 24 MiB. */
const ROOT_START = 25 << 20;

const canCheck = requireProgram('qemu-img') && requireProgram('e2fsck') && requireProgram('debugfs');

let folder = '';
let disk = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'amber-linux-'));
  disk = join(folder, 'disk.qcow2');
  copyFileSync(guest('linux-disk.qcow2'), disk);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function bootKernel(append = ''): Promise<TestVm> {
  return boot({
    kernel: guest('vmlinuz-686'),
    initrd: guest('initramfs-686.gz'),
    append: `console=tty0 console=ttyS0,115200 cryptomgr.notests guest.root=/dev/sda2 ${append}`,
    disk: { file: disk, writable: true },
  });
}

/** What the image holds, by the tools of others. The machine is closed. */
function expectCleanDisk(): string {
  const check = qemuCheck(disk);
  expect([check.corruptions, check.leaks], check.text).toEqual([0, 0]);
  const raw = join(folder, 'disk.raw');
  run('qemu-img', 'convert', '-f', 'qcow2', '-O', 'raw', disk, raw);
  const root = `${raw}?offset=${ROOT_START}`;
  const fsck = spawnSync('e2fsck', ['-f', '-n', root], { encoding: 'utf8' });
  expect(fsck.status, fsck.stdout + fsck.stderr).toBe(0);
  expect(fsck.stdout + fsck.stderr).not.toMatch(
    /journal recovery|recovering journal|was not cleanly unmounted/,
  );
  return root;
}

describe.skipIf(!haveGuests('linux-disk.qcow2') || !canCheck)('Linux on an IDE disk', () => {
  test('writes files, syncs, switches off by ACPI: file systems and image are clean', async () => {
    let sum = '';
    {
      await using vm = await bootKernel();
      await vm.serial.waitFor('GUEST-READY');
      expect(vm.serial.text).not.toMatch(/GUEST-NO|I\/O error|ata1.*exception|lost interrupt/);
      expect(vm.serial.text).toMatch(/ata1.00: ATA-7: QEMU HARDDISK/);
      expect(/GUEST-MODULES (.*)/.exec(vm.serial.text)![1]!.split(' ')).toEqual(
        expect.arrayContaining([
          'ata_piix',
          'ext4',
          'sd_mod',
          'sr_mod',
          'vfat',
          'loop',
          'psmouse',
          'i2c_piix4',
        ]),
      );
      const output = await vm.shell('work');
      sum = /GUEST-WORK-OK 180 files, (\w{32})/.exec(output)![1]!;
      await vm.shell('rmmod loop && modprobe loop && grep -q loop /proc/modules');
      vm.serial.type('poweroff\n');
      await vm.waitForState('shutdown');
      expect(vm.serial.text).toContain('reboot: Power down');
    }
    const root = expectCleanDisk();
    const large = join(folder, 'large');
    run('debugfs', '-R', `dump /work/large ${large}`, root);
    expect(run('md5sum', large).slice(0, 32)).toBe(sum);
    expect(run('debugfs', '-R', 'cat /work/small/123', root)).toContain('file 123 of 200');
  });

  const firmwares: readonly FirmwareName[] = isLongRun ? ['seabios', 'amberbios'] : ['seabios'];
  test.each(firmwares)(
    'starts from its own boot menu with %s, reboots, and finds its files again',
    async (firmware) => {
      {
        await using vm = await boot({ firmware, disk: { file: disk, writable: true } });
        await vm.screen.waitFor('GUEST-DISK-MENU');
        await vm.keyboard.press('down', 'ret');
        await vm.serial.waitFor('GUEST-READY');
        await vm.shell('work');
        vm.serial.type('reboot\n');
        await vm.waitForResets(1);
        const from = vm.serial.text.length;
        await vm.serial.waitFor('GUEST-DISK-MENU', undefined, from);
        if (isLongRun) {
          await vm.serial.waitFor('GUEST-READY', undefined, from);
          expect(await vm.shell('cd /work && md5sum -c sums >/dev/null && echo same')).toBe('same');
          vm.serial.type('poweroff\n');
          await vm.waitForState('shutdown');
        }
      }
      expectCleanDisk();
    },
  );

  test('switches off when the power button is pressed', async () => {
    await using vm = await bootKernel('quiet');
    await vm.serial.waitFor('GUEST-READY');
    await vm.shell('sleep 1');
    vm.machine.powerButton();
    await vm.waitForState('shutdown');
    expect(vm.serial.text).toContain('GUEST-POWER-BUTTON');
  });
});
