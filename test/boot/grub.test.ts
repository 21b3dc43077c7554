// GRUB from floppy and CD, with both firmwares: the rescue media to their menus, Debian's kernel to a shell.
import { describe, expect, test, vi } from 'vitest';
import { guest, haveGuests, isLongRun } from '../support/guests.ts';
import { boot, type FirmwareName } from '../support/vm.ts';

vi.setConfig({ testTimeout: 900_000 });

const MENU = /GNU GRUB[\s\S]*Memtest86\+[\s\S]*Press enter to boot the selected OS/;

describe.each<FirmwareName>(['seabios', 'amberbios'])('GRUB on %s', (firmware) => {
  test.skipIf(!haveGuests('grub-rescue-floppy.img'))(
    'rescue floppy: the menu, its keys, its shell',
    async () => {
      await using vm = await boot({ firmware, floppy: guest('grub-rescue-floppy.img'), bootOrder: 'a' });
      await vm.screen.waitFor(MENU);
      await vm.keyboard.press('c');
      await vm.screen.waitFor(/^grub>/m);
      await vm.keyboard.type('echo "Hello, $grub_platform"\n');
      await vm.screen.waitFor('Hello, pc');
    },
  );

  test.skipIf(!haveGuests('grub-rescue-cd.iso'))(
    'rescue CD: the menu, and the CD seen from its shell',
    async () => {
      await using vm = await boot({ firmware, cdrom: guest('grub-rescue-cd.iso'), bootOrder: 'd' });
      await vm.screen.waitFor(MENU);
      await vm.keyboard.press('c');
      await vm.screen.waitFor(/^grub>/m);
      await vm.keyboard.type('ls /boot/grub/\n');
      await vm.screen.waitFor('grub.cfg');
    },
  );

  const isEnough = firmware === 'seabios' || isLongRun;
  test.skipIf(!isEnough || !haveGuests('grub-linux.iso'))('CD with Debian’s kernel: to a shell', async () => {
    await using vm = await boot({ firmware, cdrom: guest('grub-linux.iso'), bootOrder: 'd' });
    await vm.serial.waitFor('GUEST-LINUX');
    vm.serial.type('\r');
    await vm.serial.waitFor('Linux version 6.1');
    await vm.serial.waitFor('GUEST-READY');
    expect(vm.serial.text).toMatch(/GUEST-DISKS .*sr0/);
    expect(await vm.shell('mount -t iso9660 /dev/sr0 /root && ls /root/boot')).toContain('vmlinuz');
  });
});
