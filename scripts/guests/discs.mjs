// CDs and floppies: GRUB's rescue media, isolinux with a graphical menu, GRUB with Debian's kernel, memtest86+, iPXE.
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { gunzipSync } from 'node:zlib';
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
  'multiboot.iso': multiboot,
  'tools.iso': tools,
  'grub-legacy.img': (output, work) => {
    const stages = ['stage1', 'stage2'].map((name) =>
      readFileSync(packaged('grub-legacy', `usr/lib/grub/x86_64-pc/${name}`)),
    );
    const path = join(work, 'stages');
    writeFileSync(path, Buffer.concat(stages));
    copyPadded(path, output, FLOPPY_BYTES);
  },
  'floppy-720k.img': smallFloppy,
  // About 60 MiB: fetched when a long run asks for it.
  'installer-linux': (output) => copyFileSync(packaged(...installer('text', 'linux')), output),
  'installer-text.gz': (output) => copyFileSync(packaged(...installer('text', 'initrd.gz')), output),
  'installer-gtk.gz': (output) => copyFileSync(packaged(...installer('gtk', 'initrd.gz')), output),
};

function installer(kind, file) {
  const images = 'usr/lib/debian-installer/images/12/i386';
  return ['debian-installer-12-netboot-i386', `${images}/${kind}/debian-installer/i386/${file}`];
}

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

/** El Torito without emulation, started by isolinux. */
function isolinuxDisc(output, tree) {
  const boot = ['-c', 'isolinux/boot.cat', '-b', 'isolinux/isolinux.bin', '-no-emul-boot'];
  run('xorriso', [
    ...['-as', 'mkisofs', '-quiet', '-o', output, '-V', 'GUESTCD', '-J', '-r'],
    ...[...boot, '-boot-load-size', '4', '-boot-info-table', '--modification-date=2023111422132000', tree],
  ]);
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

/** The menu is drawn on a linear frame buffer of 640 × 480. */
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
  isolinuxDisc(output, tree);
}

const TOOLS_MENU = `DEFAULT menu.c32
MENU TITLE GUEST-TOOLS
LABEL hdt
 COM32 hdt.c32
LABEL floppy
 KERNEL memdisk
 INITRD floppy.img
LABEL off
 COM32 poweroff.c32
`;

/** syslinux' tools: hardware detection, a floppy in memory behind a hooked int 13h. */
function tools(output, work, build) {
  const tree = join(work, 'tree');
  const modules = ['menu', 'hdt', 'poweroff', 'libutil', 'libcom32', 'libgpl', 'libmenu', 'ldlinux'];
  fill(tree, [
    ['isolinux/isolinux.bin', packaged('isolinux', 'usr/lib/ISOLINUX/isolinux.bin')],
    ...syslinuxModules(modules.map((name) => `${name}.c32`)).map(([path, name]) => [
      `isolinux/${name}`,
      path,
    ]),
    ['isolinux/memdisk', packaged('syslinux-common', 'usr/lib/syslinux/memdisk')],
    ['isolinux/floppy.img', build('grub-rescue-floppy.img')],
    ['isolinux/isolinux.cfg', TOOLS_MENU],
  ]);
  isolinuxDisc(output, tree);
}

const SMALL_FLOPPY_BYTES = 737_280;

/** A floppy of 80 cylinders and 9 sectors: read at another rate than the drive's usual one. */
function smallFloppy(output, work) {
  writeFileSync(output, Buffer.alloc(SMALL_FLOPPY_BYTES));
  run('mformat', ['-i', output, '-f', '720', '-N', '12345678', '::']);
  const files = syslinuxModules(['hdt.c32', 'libgpl.c32', 'libmenu.c32', 'libcom32.c32', 'libutil.c32']);
  const config = join(work, 'syslinux.cfg');
  writeFileSync(config, 'SAY GUEST-FLOPPY-720K\nPROMPT 1\nTIMEOUT 0\nLABEL hdt\n COM32 hdt.c32\n');
  for (const [source, name] of [...files, [config, 'syslinux.cfg']]) {
    run('mcopy', ['-i', output, source, `::${name}`]);
  }
  run('syslinux', ['-i', output]);
}

const MULTIBOOT_MENU = `set timeout=60
serial --unit=0 --speed=115200
terminal_input console serial
terminal_output console serial
menuentry "invaders" { multiboot /boot/invaders }
menuentry "gnumach" { multiboot /boot/gnumach console=com0 }
menuentry "memtest" { linux16 /boot/memtest }
menuentry "ipxe" { linux16 /boot/ipxe }
`;

/** Kernels that GRUB starts by the multiboot protocol, and real-mode ones. */
function multiboot(output, work) {
  const tree = join(work, 'tree');
  const mach = packaged('gnumach-image-1.8-486:i386', 'boot/gnumach-1.8-486.gz');
  fill(tree, [
    ['boot/grub/grub.cfg', MULTIBOOT_MENU],
    ['boot/invaders', packaged('grub-invaders:i386', 'boot/invaders.exec')],
    ['boot/memtest', packaged('memtest86+', 'boot/memtest86+ia32.bin')],
    ['boot/ipxe', packaged('ipxe', 'boot/ipxe.lkrn')],
  ]);
  writeFileSync(join(tree, 'boot/gnumach'), gunzipSync(readFileSync(mach)));
  setDates(tree);
  grubDisc(output, tree, `${GRUB_MODULES} multiboot`);
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
  grubDisc(output, tree, GRUB_MODULES);
}

function grubDisc(output, tree, modules) {
  run('grub-mkrescue', [
    ...['-d', '/usr/lib/grub/i386-pc', '--compress=no', '-o', output, tree],
    ...[`--install-modules=${modules}`, '--locales=', '--fonts=', '--themes='],
    ...['--', '-volume_date', 'all_file_dates', '=1700000000'],
  ]);
}
