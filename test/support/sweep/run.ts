/** Runs the sweep's ROM on our CPU, in Bochs and in QEMU: lines of what each case gave. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { CpuModel } from '../../../src/machine/cpu/system/cpu-models.ts';
import { bareCpu, EMPTY_BUS } from '../bare-cpu.ts';

/** Splits the log: a line a case. */
function linesOf(text: string): string[] {
  const end = text.lastIndexOf('END\n');
  if (end < 0) throw new Error(`the sweep did not reach its end: …${text.slice(-300)}`);
  return text
    .slice(0, end)
    .split('\n')
    .filter((line) => line.includes('@'))
    .map((line) => line.slice(line.indexOf('@') + 1).trim());
}

/** Our CPU after the sweep: its lines, instructions executed, digest of RAM. `slice`: instructions a run() call. */
export interface OurRun {
  readonly lines: string[];
  readonly instructions: number;
  readonly ram: string;
}

/** Of the last run: units that the JIT compiled. */
export const lastRun = { compiled: 0 };

export function runOurs(rom: Uint8Array, model?: CpuModel): string[] {
  return runSliced(rom, () => 1e9, true, model).lines;
}

export function runSliced(rom: Uint8Array, slice: () => number, jit = true, model?: CpuModel): OurRun {
  const out: number[] = [];
  const c = bareCpu(16 << 20, {
    ...EMPTY_BUS,
    portWrite8: (port, value) => {
      if (port === 0xe9) out.push(value);
    },
  });
  c.jit.enabled = jit;
  // Programs are short.
  c.jit.period = 256;
  c.jit.patience = 12;
  c.jit.regionPatience = 3;
  c.jit.regionLimits = { own: 1300, others: 500, arrivals: 1 };
  c.jit.sliceMilliseconds = Number.POSITIVE_INFINITY;
  if (model !== undefined) c.model = model;
  const at = c.mem.ramAddress + (8 << 20);
  c.u8.set(rom, at);
  c.mem.addRom(0x100000000 - rom.length, at, rom.length);
  c.mem.addRom(0xf0000, at + rom.length - 0x10000, 0x10000);
  c.reset();
  let reason = c.run(slice());
  while (reason === 'budget') reason = c.run(slice());
  const text = Buffer.from(out).toString('latin1');
  if (!text.includes('END\n')) throw new Error(`our CPU: ${reason} behind ${text.slice(-400)}`);
  lastRun.compiled = c.jit.statistics.compiled;
  const ram = createHash('sha256').update(c.u8.subarray(c.mem.ramAddress, c.mem.ramAddress + 0x100000));
  return { lines: linesOf(text), instructions: c.instructions, ram: ram.digest('hex') };
}

/** Runs until the end of the program, of the log in `file`, or of a minute. */
async function runProgram(program: string, args: string[], cwd: string, file: string): Promise<string> {
  const log = join(cwd, file);
  // A shell's pipe: Bochs's debugger stops in the middle when its input is one of Node's sockets.
  const line = `(echo c; sleep 60) | timeout --foreground 300 ${[program, ...args].join(' ')} >stdout 2>stderr`;
  const child = spawn('sh', ['-c', line], { cwd, stdio: 'ignore', detached: true });
  const closed = new Promise<void>((resolve, reject) => {
    child.on('close', () => resolve());
    child.on('error', reject);
  });
  const text = (): string => (existsSync(log) ? readFileSync(log, 'latin1') : '');
  const end = Date.now() + 60_000;
  while (child.exitCode === null && Date.now() < end && !text().includes('END\n')) await delay(100);
  process.kill(-child.pid!, 'SIGKILL');
  await closed;
  return text();
}

const bochsrc = (model: string): string => `megs: 32
cpu: model=${model}, count=1, ips=100000000, reset_on_triple_fault=0
romimage: file=rom.bin
vgaromimage: file=vga.bin
display_library: rfb, options="timeout=0"
sound: driver=dummy, waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy
speaker: enabled=0
port_e9_hack: enabled=1
log: bochs.log
panic: action=fatal
clock: sync=none
`;

async function inFolder<T>(rom: Uint8Array, f: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'ambervm-sweep-'));
  try {
    writeFileSync(join(folder, 'rom.bin'), rom);
    return await f(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** `model`: one of `bochs --help cpu`. */
export function runBochs(rom: Uint8Array, model = 'p3_katmai'): Promise<string[]> {
  return inFolder(rom, async (folder) => {
    writeFileSync(join(folder, 'bochsrc'), bochsrc(model));
    writeFileSync(join(folder, 'vga.bin'), new Uint8Array(32768));
    return linesOf(await runProgram('bochs', ['-q', '-f', 'bochsrc'], folder, 'stdout'));
  });
}

export function runQemu(rom: Uint8Array): Promise<string[]> {
  return inFolder(rom, async (folder) => {
    const args = [
      ...['-M', 'pc', '-cpu', 'pentium3', '-m', '32', '-nodefaults', '-display', 'none', '-no-reboot'],
      ...['-bios', 'rom.bin', '-debugcon', 'file:log', '-device', 'isa-debug-exit,iobase=0x501,iosize=1'],
    ];
    return linesOf(await runProgram('qemu-system-i386', args, folder, 'log'));
  });
}
