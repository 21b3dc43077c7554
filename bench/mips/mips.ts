/** Bare speed of the CPU on five small freestanding programs: the interpreter alone, and with the JIT. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { loadAverage } from '../harness/process-usage.ts';

/** How often each program repeats its work: enough for the longest measurement. */
const PROGRAMS: Readonly<Record<string, number>> = { sieve: 200, crc: 1500, fib: 150, str: 1600, vm: 30000 };

const FLAGS = (
  '-m32 -O2 -march=i686 -mno-sse -mno-mmx -ffreestanding -nostdlib -fno-pic -no-pie -fno-stack-protector ' +
  '-fno-tree-loop-distribute-patterns -fcf-protection=none -fno-asynchronous-unwind-tables -w -static ' +
  '-Wl,--build-id=none -Wl,-z,norelro -Wl,--no-warn-rwx-segments -Wl,-z,noexecstack'
).split(' ');

export interface Mips {
  readonly program: string;
  readonly interpreter: number;
  readonly jit: number;
  readonly load: number;
}

export function measureMips(
  root: string,
  work: string,
  options: {
    readonly only: readonly string[];
    readonly instructions: number;
    readonly nodeArgs: readonly string[];
  },
): Mips[] {
  const names = Object.keys(PROGRAMS).filter(
    (name) => options.only.length === 0 || options.only.includes(name),
  );
  return names.map((program) => {
    const load = loadAverage();
    const binary = compile(join(root, 'bench/mips/guest'), work, program);
    const measure = (tier: 'interpreter' | 'jit'): number => {
      const script = [join(import.meta.dirname, 'measure.mjs'), join(root, 'dist'), binary];
      const args = [...options.nodeArgs, ...script, String(options.instructions), tier];
      const output = execFileSync(process.execPath, args, { encoding: 'utf8' });
      return (JSON.parse(output) as { mips: number }).mips;
    };
    return { program, interpreter: measure('interpreter'), jit: measure('jit'), load };
  });
}

function compile(source: string, work: string, name: string): string {
  const elf = join(work, `${name}.elf`);
  const flat = join(work, `${name}.bin`);
  const inputs = [`-DITER=${PROGRAMS[name]}`, `-Wl,-T,${join(source, 'link.ld')}`, join(source, 'start.S')];
  execFileSync('gcc', [...FLAGS, ...inputs, join(source, `${name}.c`), '-o', elf], { stdio: 'inherit' });
  execFileSync('objcopy', ['-O', 'binary', '--set-section-flags', '.all=alloc,load,contents', elf, flat]);
  return flat;
}
