/** Berkeley TestFloat's vector generator, built from the copy in Debian's QEMU source. */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { requireProgram } from './programs.ts';
import { QEMU_SOURCE } from './qemu-source.ts';

const SOURCE = join(QEMU_SOURCE, 'tests/fp');

export function testFloatAvailable(): boolean {
  return (
    existsSync(join(SOURCE, 'berkeley-testfloat-3/source')) && requireProgram('gcc') && requireProgram('make')
  );
}

function make(folder: string, ...args: string[]): void {
  const done = spawnSync('make', ['-s', '-C', folder, ...args], { stdio: 'ignore' });
  if (done.status !== 0) throw new Error(`make failed in ${folder}`);
}

/** Builds (once; kept in the temporary folder) and returns the path of testfloat_gen. */
export function buildTestFloat(): string {
  const folder = join(tmpdir(), 'ambervm-testfloat');
  const platform = 'build/Linux-x86_64-GCC';
  const program = join(folder, 'berkeley-testfloat-3', platform, 'testfloat_gen');
  if (existsSync(program)) return program;
  mkdirSync(folder, { recursive: true });
  for (const name of ['berkeley-softfloat-3', 'berkeley-testfloat-3']) {
    cpSync(join(SOURCE, name), join(folder, name), { recursive: true });
  }
  // 8086: NaNs and tininess as the x87 has them.
  make(join(folder, 'berkeley-softfloat-3', platform), 'SPECIALIZE_TYPE=8086');
  make(join(folder, 'berkeley-testfloat-3', platform), 'testfloat_gen');
  return program;
}

/** Vectors of one function, split into fields; the last field is the flags. */
export function vectors(program: string, name: string, ...options: string[]): string[][] {
  const done = spawnSync(program, ['-level', '1', '-tininessafter', ...options, name], {
    encoding: 'latin1',
    maxBuffer: 1 << 28,
  });
  if (done.status !== 0) throw new Error(`testfloat_gen ${name}: ${done.stderr}`);
  return done.stdout
    .trimEnd()
    .split('\n')
    .map((line) => line.split(' '));
}
