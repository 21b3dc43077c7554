/** QEMU's own tests of its i386 target (tests/tcg/i386), built at test time and put behind the guests' initramfs. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isLongRun } from './guests.ts';
import { requireProgram } from './programs.ts';
import { QEMU_SOURCE } from './qemu-source.ts';

const SOURCE = join(QEMU_SOURCE, 'tests/tcg/i386');

/** Programs that check themselves. The long run has FPREM too, which prints two million lines. */
export const SELF_CHECKING: readonly string[] = [
  ...['f2xm1', 'fbstp', 'fisttp', 'fldcst', 'fp-exceptions', 'fpatan', 'fscale', 'fxam', 'fxtract'],
  ...['fyl2x', 'fyl2xp1', 'pseudo-denormal', 'snan-convert'],
  ...(isLongRun ? ['fprem'] : []),
];

export function tcgTestsAvailable(): boolean {
  if (!existsSync(join(SOURCE, 'test-i386.c')) || !requireProgram('gcc') || !requireProgram('cpio'))
    return false;
  return gcc('-x', 'c', '-fsyntax-only', '-include', 'stdio.h', '/dev/null');
}

function gcc(...args: string[]): boolean {
  return spawnSync('gcc', ['-m32', '-O2', '-w', ...args], { stdio: 'ignore' }).status === 0;
}

/** What the guest runs: each program's output between two marks; FPREM's as a sum. */
const SCRIPT = `for t in test-i386 ${SELF_CHECKING.join(' ')}; do
echo "@@ $t"
case $t in
fprem) /tests/$t 2>&1 | md5sum ;;
*) /tests/$t 2>&1 ;;
esac
echo "@@ exit $?"
done
echo "@@ END"
`;

/** An initramfs: the programs in /tests with the script /tests/run, and the guest's own. */
export function buildTcgInitramfs(guestInitramfs: string, to: string): void {
  const work = mkdtempSync(join(tmpdir(), 'ambervm-tcg-'));
  try {
    const out = (name: string): string => join(work, 'tests', name);
    mkdirSync(join(work, 'tests'));
    const main = ['test-i386.c', 'test-i386-code16.S', 'test-i386-vm86.S'].map((f) => join(SOURCE, f));
    const flags = ['-static', '-s', '-lm'];
    if (!gcc('-fno-pie', '-no-pie', '-o', out('test-i386'), ...main, ...flags))
      throw new Error('gcc test-i386');
    for (const name of SELF_CHECKING) {
      if (!gcc('-o', out(name), join(SOURCE, `test-i386-${name}.c`), ...flags))
        throw new Error(`gcc ${name}`);
    }
    writeFileSync(out('run'), SCRIPT);
    const packed = spawnSync('cpio', ['-o', '-H', 'newc', '--quiet'], {
      cwd: work,
      input: ['tests', 'tests/run', 'tests/test-i386', ...SELF_CHECKING.map((n) => `tests/${n}`)].join('\n'),
      maxBuffer: 1 << 28,
    });
    if (packed.status !== 0) throw new Error(`cpio: ${packed.stderr}`);
    writeFileSync(to, Buffer.concat([packed.stdout, readFileSync(guestInitramfs)]));
  } finally {
    rmSync(work, { recursive: true });
  }
}

/** Lines of each program, by name, out of what the guest's serial port printed. */
export function outputs(text: string): Map<string, string[]> {
  const found = new Map<string, string[]>();
  let current: string[] | undefined;
  for (const line of text.replaceAll('\r', '').split('\n')) {
    const mark = /^@@ (.*)$/.exec(line)?.[1];
    if (mark !== undefined && !mark.startsWith('exit')) {
      current = [];
      found.set(mark, current);
    } else current?.push(line);
  }
  return found;
}
