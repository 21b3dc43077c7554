/** QEMU, and ours, which takes QEMU's options. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Emulator, PeerMissing, type VmSpec } from './emulator.ts';

function machineOptions(spec: VmSpec): string[] {
  const { kernel, initrd, append, disk, monitor, loadvm } = spec;
  return [
    // qemu32: pentium3 has no SSE2, which six of the micro tests want.
    ...['-cpu', 'qemu32'],
    ...['-M', 'pc-i440fx-7.2,hpet=off,vmport=off', '-m', String(spec.memMiB), '-nodefaults', '-vga', 'std'],
    ...['-display', 'none', '-serial', 'stdio', '-no-reboot'],
    ...(kernel === undefined ? [] : ['-kernel', kernel]),
    ...(initrd === undefined ? [] : ['-initrd', initrd]),
    ...(append === undefined ? [] : ['-append', append]),
    ...(disk === undefined ? [] : ['-drive', `file=${disk.qcow2},if=ide,format=qcow2,cache=${disk.cache}`]),
    ...['-monitor', monitor === undefined ? 'none' : `unix:${monitor},server=on,wait=off`],
    ...(loadvm === undefined ? [] : ['-loadvm', loadvm]),
  ];
}

export function qemu(): Emulator {
  const program = 'qemu-system-i386';
  let version: string;
  try {
    version = execFileSync(program, ['--version'], { encoding: 'utf8' });
  } catch {
    throw new PeerMissing(
      `QEMU: no ${program} on the path (Debian: apt-get install qemu-system-x86 qemu-utils)`,
    );
  }
  return {
    name: 'qemu',
    title: `QEMU ${/version (\S+)/.exec(version)?.[1] ?? '?'} TCG`,
    command: (spec) => [program, '-accel', 'tcg', ...machineOptions(spec)],
  };
}

/** `command`: in place of `node bin/ambervm.js`, words separated by blanks. */
export function ours(root: string, command: string | undefined, nodeArgs: readonly string[]): Emulator {
  const program = join(root, 'bin', 'ambervm.js');
  if (command === undefined && !existsSync(program)) throw new PeerMissing(`ours: no ${program}`);
  const words = command?.split(' ') ?? [process.execPath, ...nodeArgs, program];
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
  return {
    name: 'ours',
    title: `ambervm ${version}`,
    command: (spec) => [...words, ...machineOptions(spec)],
  };
}
