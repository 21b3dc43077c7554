/** One boot of the Linux guest in one emulator: time to /init, then, if asked for, the micro tests. */
import type { Emulator } from '../emulators/emulator.ts';
import { GROUPS } from './tests.ts';
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
  /** Tests that died: of which signal, or that they hung. */
  readonly died: ReadonlyMap<string, string>;
}

const APPEND = 'console=ttyS0 nokaslr panic=-1';
/** A batch whose two lines came closer together than this part of its time in the guest was not seen as it ran. */
const PLAUSIBLE = 0.2;
/** The kernel is told to be quiet: no line for the whole of its boot, ms. */
const BOOT_MS = 300_000;
/** No test is silent for longer, ms. */
const SILENCE_MS = 60_000;

/** Boots as it is, crypto self-tests and all, to the first line of /init. */
export async function measureBoot(
  emulator: Emulator,
  guest: LinuxGuest,
  verbose: boolean,
): Promise<BootTimes> {
  const { kernel, initrd } = guest;
  const vm = new Vm(
    emulator,
    { memMiB: MEMORY_MIB, kernel, initrd, append: `${APPEND} loglevel=7 bm=boot` },
    verbose,
  );
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

/** All tests; where an emulator hangs in one, that one is noted and it is booted again for those after it. */
export async function measureMicro(
  emulator: Emulator,
  guest: LinuxGuest,
  options: MicroOptions,
): Promise<MicroResult> {
  const { only } = options;
  const result = { rates: new Map(), checksums: new Map(), died: new Map() } satisfies MicroResult;
  let left = GROUPS.flatMap((group) => group.tests).filter(
    (test) => only.length === 0 || only.includes(test),
  );
  while (left.length > 0) {
    const hung = await runTests(emulator, guest, { ...options, only: left }, result);
    if (hung === undefined) break;
    result.died.set(hung, 'hangs');
    left = left.slice(left.indexOf(hung) + 1);
  }
  return result;
}

interface Collected {
  readonly rates: Map<string, TestRate>;
  readonly checksums: Map<string, string>;
  readonly died: Map<string, string>;
}

/** One boot. Returns the test in which it hung, if it did. */
async function runTests(
  emulator: Emulator,
  guest: LinuxGuest,
  options: MicroOptions,
  { rates, checksums, died }: Collected,
): Promise<string | undefined> {
  const { kernel, initrd } = guest;
  const mode = `bm=micro cal=${options.calibrateMs} tgt=${options.targetMs} only=${options.only.join(',')}`;
  // Quiet, lest messages of the kernel get into the lines of the tests.
  const append = `${APPEND} loglevel=3 cryptomgr.notests ${mode}`;
  const vm = new Vm(emulator, { memMiB: MEMORY_MIB, kernel, initrd, append }, options.verbose);
  let batch: Batch | undefined;
  let isStarted = false;
  let finished = -1;
  vm.onSerialLine = ({ text, at }) => {
    const [marker, name = '', ...rest] = text.slice(Math.max(0, text.indexOf('@@'))).split(' ');
    if (marker === '@@INIT') isStarted = true;
    else if (marker === '@@V') checksums.set(name, rest[0]!);
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
      const rate = rateOf(batch, at, threadTimes(vm.pid), Number(rest[1]) / 1e9);
      if (rate !== undefined) rates.set(name, rate);
    }
    // Checksums come first, and no test dies there but would die later.
    if (marker === '@@E' || (marker === '@@X' && batch !== undefined)) finished = options.only.indexOf(name);
  };
  try {
    const isEnd = (line: { readonly text: string }) => line.text.includes('@@DONE');
    await vm.line('/init', (line) => line.text.includes('@@INIT'), 0, BOOT_MS);
    await vm.line('the end of the micro tests', isEnd, 0, SILENCE_MS);
    return undefined;
  } catch (error) {
    process.stderr.write(`bench: ${error instanceof Error ? error.message : error}\n`);
    if (!isStarted) throw error;
    return options.only[finished + 1];
  } finally {
    await vm.end();
  }
}

/** Undefined for what cannot be: the lines of the test were read too late. */
function rateOf(batch: Batch, at: number, times: ThreadTimes, guestSeconds: number): TestRate | undefined {
  const { unit, work } = batch;
  const { busiest } = cpuBetween(batch.times, times);
  const wall = at - batch.at;
  if (wall < guestSeconds * PLAUSIBLE || busiest === 0) return undefined;
  return { unit, perCpu: work / busiest, perWall: work / wall, load: loadAverage() };
}
