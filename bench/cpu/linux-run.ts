/** One boot of the Linux guest in one emulator: time to /init, then, if asked for, the micro tests. */
import type { Emulator } from '../emulators/emulator.ts';
import type { LinuxGuest } from '../guests/linux.ts';
import { cpuBetween, loadAverage, type ThreadTimes, threadTimes } from '../harness/process-usage.ts';
import { Vm } from '../harness/vm.ts';

const MEMORY_MIB = 256;

export interface BootTimes {
  /** From the start of the process to the first line of /init, seconds. */
  readonly wall: number;
  /** CPU seconds of all threads, and of the thread that emulates. */
  readonly cpuAll: number;
  readonly cpuMain: number;
  readonly load: number;
}

export interface TestRate {
  readonly unit: string;
  /** Units of work per CPU second of the emulating thread. */
  readonly perCpu: number;
  /** The same per second of wall time. */
  readonly perWall: number;
  readonly load: number;
}

export interface MicroResult {
  readonly rates: ReadonlyMap<string, TestRate>;
  readonly checksums: ReadonlyMap<string, string>;
  /** Tests that died, and of which signal. */
  readonly died: ReadonlyMap<string, string>;
}

const APPEND = 'console=ttyS0 nokaslr loglevel=7 panic=-1';

/** Boots as it is, crypto self-tests and all, to the first line of /init. */
export async function measureBoot(
  emulator: Emulator,
  guest: LinuxGuest,
  verbose: boolean,
): Promise<BootTimes> {
  const { kernel, initrd } = guest;
  const vm = new Vm(emulator, { memMiB: MEMORY_MIB, kernel, initrd, append: `${APPEND} bm=boot` }, verbose);
  try {
    const load = loadAverage();
    let times: ThreadTimes = new Map();
    vm.onSerialLine = (line) => {
      if (line.text.includes('@@INIT')) times = threadTimes(vm.pid);
    };
    const { line } = await vm.line('/init', (l) => l.text.includes('@@INIT'));
    const { all, busiest } = cpuBetween(new Map(), times);
    return { wall: line.at, cpuAll: all, cpuMain: busiest, load };
  } finally {
    await vm.end();
  }
}

export interface MicroOptions {
  readonly only: readonly string[];
  /** Guest time in which a batch is sized, and for which it then runs, ms. */
  readonly calibrateMs: number;
  readonly targetMs: number;
  readonly verbose: boolean;
}

interface Batch {
  readonly name: string;
  readonly unit: string;
  readonly work: number;
  readonly at: number;
  readonly times: ThreadTimes;
}

export async function measureMicro(
  emulator: Emulator,
  guest: LinuxGuest,
  options: MicroOptions,
): Promise<MicroResult> {
  const { kernel, initrd } = guest;
  const mode = `bm=micro cal=${options.calibrateMs} tgt=${options.targetMs} only=${options.only.join(',')}`;
  const append = `${APPEND} cryptomgr.notests ${mode}`;
  const vm = new Vm(emulator, { memMiB: MEMORY_MIB, kernel, initrd, append }, options.verbose);
  const rates = new Map<string, TestRate>();
  const sums = new Map<string, string>();
  const died = new Map<string, string>();
  let batch: Batch | undefined;
  vm.onSerialLine = ({ text, at }) => {
    const [marker, name = '', ...rest] = text.slice(Math.max(0, text.indexOf('@@'))).split(' ');
    if (marker === '@@V') sums.set(name, rest[0]!);
    else if (marker === '@@X') died.set(name, rest[0]!);
    else if (marker === '@@B') {
      batch = {
        name,
        unit: rest[1]!,
        work: Number(rest[0]) * Number(rest[2]),
        at,
        times: threadTimes(vm.pid),
      };
    } else if (marker === '@@E' && batch?.name === name) {
      const { busiest } = cpuBetween(batch.times, threadTimes(vm.pid));
      const { unit, work } = batch;
      rates.set(name, { unit, perCpu: work / busiest, perWall: work / (at - batch.at), load: loadAverage() });
    }
  };
  try {
    await vm.line('the end of the micro tests', (line) => line.text.includes('@@DONE'));
  } catch (error) {
    // What was measured before it hung still counts.
    process.stderr.write(`bench: ${error instanceof Error ? error.message : error}\n`);
  } finally {
    await vm.end();
  }
  return { rates, checksums: sums, died };
}
