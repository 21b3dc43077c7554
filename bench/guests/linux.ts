/**
 * The Linux guest: Debian's 6.1 kernel for i686, and an initramfs of busybox and the micro tests. Kernel and busybox come
 * from Debian's packages by scripts/guests; the tests are compiled here.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { CHARACTER_DEVICE, DIRECTORY, initramfs, LINK, PROGRAM } from './cpio.ts';

export interface LinuxGuest {
  readonly kernel: string;
  readonly initrd: string;
  /** Checksums of the micro tests, computed by this host's own CPU; empty if it cannot run i386 programs. */
  readonly checksums: ReadonlyMap<string, string>;
}

export function linuxGuest(root: string, work: string): LinuxGuest {
  const kernel = builtGuest(root, 'vmlinuz-686');
  const busybox = join(unpackedPackage(root, 'busybox-static:i386'), 'bin/busybox');
  const tests = compileTests(join(root, 'bench/cpu/guest'), work);
  const initrd = join(work, 'initrd.gz');
  writeFileSync(initrd, archive(busybox, tests, join(root, 'bench/cpu/guest/init')));
  return { kernel, initrd, checksums: hostChecksums(tests) };
}

function archive(busybox: string, tests: string, init: string): Buffer {
  const folders = ['bin', 'dev', 'proc', 'sys', 'tmp', 'sbin'];
  return initramfs([
    ...folders.map((name) => ({ name, mode: DIRECTORY })),
    { name: 'dev/console', mode: CHARACTER_DEVICE, device: [5, 1] as const },
    { name: 'dev/ttyS0', mode: CHARACTER_DEVICE, device: [4, 64] as const },
    { name: 'dev/null', mode: CHARACTER_DEVICE, device: [1, 3] as const },
    { name: 'bin/busybox', mode: PROGRAM, data: readFileSync(busybox) },
    { name: 'bin/sh', mode: LINK, data: Buffer.from('busybox') },
    { name: 'bin/bench32', mode: PROGRAM, data: readFileSync(tests) },
    { name: 'init', mode: PROGRAM, data: readFileSync(init) },
  ]);
}

const COMMON_FLAGS = (
  '-m32 -march=i686 -O2 -static -fno-pic -no-pie -fno-stack-protector -fcf-protection=none -w ' +
  '-fno-tree-vectorize'
).split(' ');
const FP_FLAGS = ['-ffp-contract=off', '-fno-math-errno'];

function compileTests(source: string, work: string): string {
  const gcc = (...args: string[]) => execFileSync('gcc', [...COMMON_FLAGS, ...args], { stdio: 'inherit' });
  const x87 = join(work, 'fp_x87.o');
  const sse = join(work, 'fp_sse.o');
  const program = join(work, 'bench32');
  gcc(...FP_FLAGS, '-mfpmath=387', '-DSUF=x87', '-c', join(source, 'fp.c'), '-o', x87);
  gcc(...FP_FLAGS, '-msse2', '-mfpmath=sse', '-DSUF=sse', '-c', join(source, 'fp.c'), '-o', sse);
  gcc('-mfpmath=387', join(source, 'bench32.c'), x87, sse, '-o', program, '-lm');
  execFileSync('strip', [program]);
  return program;
}

function hostChecksums(tests: string): Map<string, string> {
  try {
    return new Map(
      checksums(execFileSync(tests, ['verify'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })),
    );
  } catch {
    return new Map();
  }
}

/** The `@@V name sum` lines. */
function checksums(text: string): [string, string][] {
  return [...text.matchAll(/^@@V (\S+) (\S+)$/gm)].map((match) => [match[1]!, match[2]!]);
}

/** Path of a guest that scripts/guests builds. */
function builtGuest(root: string, name: string): string {
  return run([join(root, 'scripts/guests/build.mjs'), name]);
}

/** Folder of an unpacked package, by the means of scripts/guests. */
function unpackedPackage(root: string, name: string): string {
  const library = (file: string) => JSON.stringify(pathToFileURL(join(root, 'scripts/guests', file)).href);
  const program =
    `import { withLock } from ${library('cache.mjs')}; import { unpacked } from ${library('packages.mjs')}; ` +
    `console.log(await withLock(() => unpacked(${JSON.stringify(name)})));`;
  return run(['--input-type=module', '-e', program]);
}

function run(args: readonly string[]): string {
  return execFileSync(process.execPath, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  }).trim();
}
