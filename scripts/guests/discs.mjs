// CDs and floppies: GRUB's rescue media, isolinux with a graphical menu, GRUB with Debian's kernel, memtest86+, iPXE.
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { syslinuxModules } from './linux.mjs';
import { unpacked } from './packages.mjs';
import { copyPadded } from './partitions.mjs';
import { run, setDates } from './tools.mjs';

const FLOPPY_BYTES = 1_474_560;
const KERNEL_ARGUMENTS = 'console=tty0 console=ttyS0,115200 cryptomgr.notests';

export const discs = {
  // The image in the package ends where its data ends; a drive wants whole tracks.
  'grub-rescue-floppy.img': (output) =>
    copyPadded(
      packaged('grub-rescue-pc', 'usr/lib/grub-rescue/grub-rescue-floppy.img'),
      output,
      FLOPPY_BYTES,
    ),
  'grub-rescue-cd.iso': (output) =>
    copyFileSync(packaged('grub-rescue-pc', 'usr/lib/grub-rescue/grub-rescue-cdrom.iso'), output),
  'memtest86+.iso': (output) =>
    copyFileSync(packaged('memtest86+', 'usr/lib/memtest86+/memtest86+ia32.iso'), output),
  'ipxe.iso': (output) => copyFileSync(packaged('ipxe', 'usr/lib/ipxe/ipxe.iso'), output),
  'isolinux.iso': isolinux,
  'grub-linux.iso': grubLinux,
};

function packaged(spec, path) {
  return join(unpacked(spec), path);
}

/** Writes files into a folder: source path or text by target path. */
function fill(folder, files) {
  for (const [name, source] of files) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    if (source.includes('\n')) writeFileSync(join(folder, name), source);
    else copyFileSync(source, join(folder, name));
  }
  setDates(folder);
}

const ISOLINUX_MENU = `UI vesamenu.c32
MENU TITLE GUEST-VESA-MENU
MENU RESOLUTION 640 480
LABEL linux
 KERNEL vmlinuz
 APPEND initrd=initrd.gz ${KERNEL_ARGUMENTS}
LABEL memtest
 KERNEL memtest
LABEL reboot
 COM32 reboot.c32
`;

/** El Torito without emulation; the menu is drawn on a linear frame buffer of 640 × 480. */
function isolinux(output, work, build) {
  const tree = join(work, 'tree');
  const modules = ['vesamenu.c32', 'libutil.c32', 'libcom32.c32', 'ldlinux.c32', 'reboot.c32'];
  fill(tree, [
    ['isolinux/isolinux.bin', packaged('isolinux', 'usr/lib/ISOLINUX/isolinux.bin')],
    ...syslinuxModules(modules).map(([source, name]) => [`isolinux/${name}`, source]),
    ['isolinux/isolinux.cfg', ISOLINUX_MENU],
    ['isolinux/vmlinuz', build('vmlinuz-686')],
    ['isolinux/initrd.gz', build('initramfs-686.gz')],
    ['isolinux/memtest', packaged('memtest86+', 'boot/memtest86+ia32.bin')],
  ]);
  const boot = ['-c', 'isolinux/boot.cat', '-b', 'isolinux/isolinux.bin', '-no-emul-boot'];
  run('xorriso', [
    ...['-as', 'mkisofs', '-quiet', '-o', output, '-V', 'GUESTCD', '-J', '-r'],
    ...[...boot, '-boot-load-size', '4', '-boot-info-table', '--modification-date=2023111422132000', tree],
  ]);
}

const GRUB_MENU = `set timeout=2
set default=0
serial --unit=0 --speed=115200
terminal_input console serial
terminal_output console serial
menuentry "GUEST-LINUX" {
 linux /boot/vmlinuz ${KERNEL_ARGUMENTS}
 initrd /boot/initrd.gz
}
menuentry "GUEST-MEMTEST" { linux16 /boot/memtest }
`;
const GRUB_MODULES =
  'biosdisk iso9660 linux linux16 normal configfile serial terminal search search_fs_file all_video test echo';

function grubLinux(output, work, build) {
  const tree = join(work, 'tree');
  fill(tree, [
    ['boot/grub/grub.cfg', GRUB_MENU],
    ['boot/vmlinuz', build('vmlinuz-686')],
    ['boot/initrd.gz', build('initramfs-686.gz')],
    ['boot/memtest', packaged('memtest86+', 'boot/memtest86+ia32.bin')],
  ]);
  run('grub-mkrescue', [
    ...['-d', '/usr/lib/grub/i386-pc', '--compress=no', '-o', output, tree],
    ...[`--install-modules=${GRUB_MODULES}`, '--locales=', '--fonts=', '--themes='],
    ...['--', '-volume_date', 'all_file_dates', '=1700000000'],
  ]);
}
