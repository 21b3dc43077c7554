// Debian's 6.1 kernels for i386, a busybox initramfs for each, and a disk with a root file system.
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { gzipSync } from 'node:zlib';
import { writePartitioned } from './partitions.mjs';
import { kernelPackage, unpacked } from './packages.mjs';
import { run, setDates } from './tools.mjs';

/** Drivers and file systems in the initramfs, in the order in which they are loaded. */
const INITRAMFS_MODULES = ['ata_piix', 'sd_mod', 'sr_mod', 'isofs', 'ext4', 'floppy'];
const DISK_MODULES = [
  ...INITRAMFS_MODULES,
  ...[
    'vfat',
    'nls_ascii',
    'nls_cp437',
    'nls_iso8859-1',
    'loop',
    'evdev',
    'psmouse',
    'i2c_piix4',
    'pcspkr',
    'button',
  ],
];
const BOOT_BYTES = 24 << 20;
const ROOT_BYTES = 40 << 20;

const KERNEL_ARGUMENTS = 'console=tty0 console=ttyS0,115200 cryptomgr.notests';

export const linux = {
  'vmlinuz-686': (output) => kernel('686', output),
  'vmlinuz-686-pae': (output) => kernel('686-pae', output),
  'initramfs-686.gz': (output, work) => initramfs('686', output, work),
  'initramfs-686-pae.gz': (output, work) => initramfs('686-pae', output, work),
  'linux-disk.qcow2': linuxDisk,
};

function kernel(flavour, output) {
  const { release, folder } = kernelFiles(flavour);
  copyFileSync(join(folder, 'boot', `vmlinuz-${release}`), output);
}

function kernelFiles(flavour) {
  const spec = kernelPackage(flavour);
  const release = spec.replace(/^linux-image-/, '').replace(/:i386$/, '');
  return { release, folder: unpacked(spec) };
}

function script(name) {
  return readFileSync(join(import.meta.dirname, name));
}

/**
 * Copies modules with all that they need; returns their paths below `target`, in loading order. Debug information is
 * taken off, and with it the signature: checking one costs the guest 100 million instructions.
 */
function copyModules(flavour, names, target) {
  const { release, folder } = kernelFiles(flavour);
  const tree = join(folder, 'lib/modules', release);
  if (!existsSync(join(tree, 'modules.dep.bin'))) run('depmod', ['-b', folder, release]);
  const copied = [];
  for (const name of names) {
    const lines = run('modprobe', ['-d', folder, '-S', release, '--show-depends', name])
      .toString()
      .split('\n');
    for (const line of lines) {
      const source = /^insmod (\S+)/.exec(line)?.[1];
      if (source === undefined) continue;
      const path = relative(tree, source);
      if (copied.includes(path)) continue;
      copied.push(path);
      mkdirSync(dirname(join(target, path)), { recursive: true });
      run('strip', ['--strip-debug', '-o', join(target, path), source]);
    }
  }
  return copied;
}

function initramfs(flavour, output, work) {
  const tree = join(work, 'tree');
  for (const name of ['bin', 'dev', 'proc', 'sys', 'root', 'tmp', 'etc', 'lib/modules']) {
    mkdirSync(join(tree, name), { recursive: true });
  }
  copyFileSync(join(unpacked('busybox-static:i386'), 'bin/busybox'), join(tree, 'bin/busybox'));
  const scratch = join(work, 'modules');
  const modules = copyModules(flavour, INITRAMFS_MODULES, scratch);
  for (const path of modules) copyFileSync(join(scratch, path), join(tree, 'lib/modules', basename(path)));
  writeFileSync(join(tree, 'etc/modules'), `${modules.map((path) => basename(path)).join('\n')}\n`);
  writeFileSync(join(tree, 'init'), script('initramfs-init.sh'), { mode: 0o755 });
  setDates(tree);
  const files = run('find', ['.', '-print0'], { cwd: tree })
    .toString()
    .split('\0')
    .sort()
    .join('\0')
    .slice(1);
  const archive = run('cpio', ['--quiet', '-0', '-o', '-H', 'newc', '--reproducible', '-R', '0:0'], {
    cwd: tree,
    input: `${files}\0`,
  });
  writeFileSync(output, gzipSync(archive, { level: 9 }));
}

/** Two partitions: FAT with syslinux, its menu and the kernel; ext4 with busybox, modules and /bin/work. */
function linuxDisk(output, work, build) {
  const boot = join(work, 'boot.img');
  const root = join(work, 'root.img');
  bootPartition(boot, work, build);
  rootPartition(root, work);
  const raw = join(work, 'disk.raw');
  const mbr = join(unpacked('syslinux-common'), 'usr/lib/syslinux/mbr/mbr.bin');
  writePartitioned(raw, mbr, [
    { path: boot, type: 0x06, active: true },
    { path: root, type: 0x83, active: false },
  ]);
  run('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', '-o', 'compat=1.1', raw, output]);
}

function bootPartition(path, work, build) {
  writeFileSync(path, '');
  truncateSync(path, BOOT_BYTES);
  // -h and -g: syslinux wants to know where the partition lies (sector 2048) and the drive's geometry.
  run('mkfs.fat', [
    '-F16',
    '-n',
    'GUESTBOOT',
    '-i',
    '12345678',
    '-h',
    '2048',
    '-g',
    '16/63',
    '--invariant',
    path,
  ]);
  const menu = join(work, 'syslinux.cfg');
  const append = `${KERNEL_ARGUMENTS} guest.root=/dev/sda2`;
  writeFileSync(
    menu,
    [
      'SERIAL 0 115200',
      'UI menu.c32',
      'TIMEOUT 20',
      'MENU TITLE GUEST-DISK-MENU',
      'DEFAULT linux',
      'LABEL linux',
      '  KERNEL vmlinuz',
      `  APPEND initrd=initrd.gz ${append}`,
      'LABEL quiet',
      '  KERNEL vmlinuz',
      `  APPEND initrd=initrd.gz ${append} quiet`,
      '',
    ].join('\n'),
  );
  const files = [
    [build('vmlinuz-686'), 'vmlinuz'],
    [build('initramfs-686.gz'), 'initrd.gz'],
    [menu, 'syslinux.cfg'],
    ...syslinuxModules(['menu.c32', 'libutil.c32', 'libcom32.c32', 'ldlinux.c32']),
  ];
  for (const [source, name] of files) run('mcopy', ['-i', path, source, `::${name}`]);
  run('syslinux', ['-i', path]);
}

/** Paths and names of syslinux' modules for BIOS machines. */
export function syslinuxModules(names) {
  const folder = join(unpacked('syslinux-common'), 'usr/lib/syslinux/modules/bios');
  return names.map((name) => [join(folder, name), name]);
}

const INITTAB = `::sysinit:/etc/start
ttyS0::respawn:-/bin/sh
tty1::respawn:-/bin/sh
::ctrlaltdel:/sbin/reboot
::shutdown:/bin/umount -a -r
`;

function rootPartition(path, work) {
  const tree = join(work, 'root');
  for (const name of [
    'bin',
    'sbin',
    'boot',
    'dev',
    'proc',
    'sys',
    'tmp',
    'etc',
    'work',
    'var/log',
    'var/run',
  ]) {
    mkdirSync(join(tree, name), { recursive: true });
  }
  cpSync(join(unpacked('busybox-static:i386'), 'bin/busybox'), join(tree, 'bin/busybox'));
  for (const name of busyboxApplets(join(tree, 'bin/busybox')))
    symlinkSync('/bin/busybox', join(tree, 'bin', name));
  for (const name of ['init', 'poweroff', 'reboot', 'modprobe'])
    symlinkSync('/bin/busybox', join(tree, 'sbin', name));
  const { release } = kernelFiles('686');
  const modules = join(tree, 'lib/modules', release);
  copyModules('686', DISK_MODULES, modules);
  const lists = join(kernelFiles('686').folder, 'lib/modules', release);
  for (const name of readdirSync(lists)) {
    if (/^modules\.(builtin|order)/.test(name)) copyFileSync(join(lists, name), join(modules, name));
  }
  run('depmod', ['-b', tree, release]);
  writeFileSync(join(tree, 'etc/inittab'), INITTAB);
  writeFileSync(join(tree, 'etc/start'), script('disk-start.sh'), { mode: 0o755 });
  writeFileSync(join(tree, 'bin/work'), script('disk-work.sh'), { mode: 0o755 });
  // What busybox' acpid runs when the power button is pressed.
  mkdirSync(join(tree, 'etc/acpi/PWRF'), { recursive: true });
  writeFileSync(
    join(tree, 'etc/acpi/PWRF/00000080'),
    '#!/bin/sh\necho GUEST-POWER-BUTTON >/dev/console\npoweroff\n',
    {
      mode: 0o755,
    },
  );
  setDates(tree);
  writeFileSync(path, '');
  truncateSync(path, ROOT_BYTES);
  const uuid = '6a1e1f2c-0b5d-4d5e-9a53-2f6b1c7d8e90';
  const extended = `root_owner=0:0,hash_seed=${uuid},lazy_itable_init=0,lazy_journal_init=0`;
  run('mke2fs', ['-q', '-t', 'ext4', '-L', 'GUESTROOT', '-U', uuid, '-E', extended, '-d', tree, path]);
}

/** The commands in Debian's i386 busybox; it runs on x86-64 too, elsewhere the list below is what the guest needs. */
function busyboxApplets(path) {
  try {
    return run(path, ['--list'])
      .toString()
      .trim()
      .split('\n')
      .filter((name) => name !== 'busybox');
  } catch {
    const names =
      'sh ash cat cp mv rm ls mkdir mount umount dd md5sum sync sort cut tr wc echo uname ps vi free dmesg';
    return `${names} sleep usleep date grep sed awk head tail touch df du find lsmod insmod cmp true false`.split(
      ' ',
    );
  }
}
