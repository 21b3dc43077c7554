// Guests that use the machine in ways of their own: multiboot kernels, GRUB legacy, syslinux' tools, a floppy in memory, a 720 KB floppy.
import { describe, expect, test, vi } from 'vitest';
import { guest, haveGuests, isLongRun } from '../support/guests.ts';
import { boot, type FirmwareName, type TestVm } from '../support/vm.ts';

vi.setConfig({ testTimeout: 900_000 });

/** GRUB's menu of multiboot.iso with the entry of this number started. */
async function startEntry(firmware: FirmwareName, entry: number): Promise<TestVm> {
  const vm = await boot({ firmware, cdrom: guest('multiboot.iso'), bootOrder: 'd' });
  await vm.screen.waitFor(/\*invaders[\s\S]*gnumach/);
  for (let i = 0; i < entry; i++) await vm.keyboard.press('down');
  await vm.keyboard.press('ret');
  return vm;
}

describe.each<FirmwareName>(['seabios', 'amberbios'])('on %s', (firmware) => {
  const isEnough = firmware === 'seabios' || isLongRun;

  test.skipIf(!haveGuests('multiboot.iso'))('GRUB invaders: the fleet moves, the ship shoots', async () => {
    await using vm = await startEntry(firmware, 0);
    await vm.screen.waitFor(/(-\*-\s+){5}/);
    const [first] = vm.screen.text.split('\n').filter((row) => row.includes('-*-'));
    await vm.screen.waitFor('/ \\');
    await vm.keyboard.press('spc');
    await vm.screen.waitFor(/^ *\| *$/m);
    expect(vm.screen.text.split('\n')).not.toContain(first);
  });

  test.skipIf(!isEnough || !haveGuests('multiboot.iso'))(
    'GNU Mach: finds its devices, and that it has nothing to start',
    async () => {
      await using vm = await startEntry(firmware, 1);
      await vm.serial.waitFor(/panic .*No bootstrap code loaded with the kernel!/);
      expect(vm.serial.text).toMatch(/GNU Mach 1\.8/);
      expect(vm.serial.text).toContain('hd2: QEMU DVD-ROM, ATAPI CDROM drive');
      expect(vm.serial.text).toContain('RTC time is 2026-01-01 00:00');
    },
  );

  test.skipIf(!isLongRun || !haveGuests('multiboot.iso'))('iPXE and memtest86+ from GRUB', async () => {
    {
      await using vm = await startEntry(firmware, 3);
      await vm.screen.waitFor('Ctrl-B');
    }
    await using vm = await startEntry(firmware, 2);
    await vm.screen.waitFor(/Memtest86\+ v6[\s\S]*Status: Testing/);
  });

  test.skipIf(!haveGuests('grub-legacy.img'))('GRUB 0.97 from a floppy: its shell', async () => {
    await using vm = await boot({ firmware, floppy: guest('grub-legacy.img'), bootOrder: 'a' });
    await vm.screen.waitFor(/GNU GRUB +version 0\.97 +\(639K lower \/ 1299\d\dK upper memory\)[\s\S]*grub>/);
    await vm.keyboard.type('geometry (fd0)\n');
    await vm.screen.waitFor(/drive 0x0: C\/H\/S = 80\/2\/18/);
  });

  test.skipIf(!haveGuests('floppy-720k.img'))(
    'syslinux from a floppy of 720 KB, and hdt from it',
    async () => {
      await using vm = await boot({ firmware, floppy: guest('floppy-720k.img'), bootOrder: 'a' });
      await vm.screen.waitFor(/GUEST-FLOPPY-720K[\s\S]*boot:/);
      await vm.keyboard.type('hdt\n');
      await vm.screen.waitFor(/Main Menu[\s\S]*PCI Devices\( *\d+\)/);
    },
  );

  test.skipIf(!haveGuests('tools.iso'))(
    'memdisk: GRUB’s floppy in memory, behind a hooked int 13h',
    async () => {
      await using vm = await boot({ firmware, cdrom: guest('tools.iso'), bootOrder: 'd' });
      await vm.screen.waitFor('GUEST-TOOLS');
      await vm.keyboard.press('down', 'ret');
      await vm.screen.waitFor(/GNU GRUB[\s\S]*Press enter to boot the selected OS/);
      await vm.keyboard.press('c');
      await vm.screen.waitFor(/^grub>/m);
      await vm.keyboard.type('ls\n');
      await vm.screen.waitFor(/\(fd0\)/);
    },
  );

  test.skipIf(!haveGuests('tools.iso'))('poweroff.c32 switches the machine off by APM or ACPI', async () => {
    await using vm = await boot({ firmware, cdrom: guest('tools.iso'), bootOrder: 'd' });
    await vm.screen.waitFor('GUEST-TOOLS');
    await vm.keyboard.press('down', 'down', 'ret');
    await vm.waitForState('shutdown');
  });
});
