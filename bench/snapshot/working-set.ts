/**
 * What the working set of a snapshot is good for (docs/snapshots.md): a Linux at its shell is loaded lazily into a new machine,
 * with nothing of the image in the host's page cache, and asked a question at once.
 *
 *     node --import tsx bench/snapshot/working-set.ts [--runs=N] [--cache=none] [MiB of RAM, default 256]
 *
 * `none`: no working set, as in a snapshot that was never loaded. `recorded`: with that of an earlier load, its groups where they
 * lie. `together`: saved again after such a load, the groups side by side. `whole`: all of RAM was read before, and time counts
 * from there: what the guest itself takes for it. A tick is a line that a process in the guest prints
 * every 10 ms; `fetches` are groups that the guest waited for until it had answered. ms, medians (least–most).
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { CacheMode } from '../../src/block/file.ts';
import { openImage } from '../../src/block/open.ts';
import type { Qcow2 } from '../../src/block/qcow2/qcow2.ts';
import { traceRamFetch } from '../../src/machine/trace.ts';
import { crc32 } from '../../src/migration/crc32.ts';
import { readWholeTrailer, type Trailer } from '../../src/migration/trailer.ts';
import { findGuest } from '../../test/support/guests.ts';
import { Pc } from '../../test/support/pc.ts';
import { loadAverage } from '../harness/process-usage.ts';
import { median } from '../harness/statistics.ts';

const ROOT = join(import.meta.dirname, '../..');
const TICKS = "while :; do echo TI''CK; usleep 10000; done &\n";
const QUESTION = "ls -l / > /dev/null; echo ANS''WER $((6*7))\n";
const LIMIT_MS = 30_000;

interface Times {
  readonly first: number;
  readonly tick: number;
  readonly answer: number;
  readonly all: number;
  readonly fetches: number;
}

const texts = process.argv.slice(2);
const runs = Number(texts.find((text) => text.startsWith('--runs='))?.slice(7) ?? 7);
const cache = (texts.find((text) => text.startsWith('--cache='))?.slice(8) ?? 'writeback') as CacheMode;
const memoryMiB = Number(texts.find((text) => !text.startsWith('--')) ?? 256);

/** Half of RAM is in use. */
async function makeSnapshot(image: string): Promise<void> {
  const [file, initrd] = [findGuest('vmlinuz-686'), findGuest('initramfs-686.gz')];
  if (file === undefined || initrd === undefined) throw new Error('no guests: see scripts/guests');
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', image, '1G']);
  const kernel = { file, initrd, append: 'console=ttyS0 cryptomgr.notests' };
  await using pc = await Pc.start({ memoryMiB, image, kernel });
  await pc.serial.waitFor(/GUEST-READY/, 600_000);
  await delay(500);
  pc.serial.send(`head -c ${memoryMiB / 2}M /dev/urandom > /tmp/r; echo FIL''LED\n`);
  await pc.serial.waitFor(/FILLED/, 600_000);
  pc.serial.send(TICKS);
  await pc.serial.waitFor(/TICK\s+TICK/, 60_000);
  await pc.machine.savevm('shell');
}

async function withTrailer<T>(
  image: string,
  tag: string,
  action: (trailer: Trailer, overwrite: (bytes: Uint8Array) => Promise<boolean>) => Promise<T>,
): Promise<T> {
  const node = (await openImage(image)) as Qcow2;
  try {
    const handle = await node.openVmState(tag);
    const read = (at: number, to: Uint8Array) => handle.read(at, to);
    const trailer = await readWholeTrailer({ sizeBytes: handle.info.vmStateBytes, read }, crc32);
    if (trailer === undefined || !('index' in trailer)) throw new Error('no trailer');
    return await action(trailer, (bytes) => handle.overwrite(trailer.workingSetOffset, bytes));
  } finally {
    await node.close();
  }
}

const forget = (image: string, tag: string): Promise<boolean> =>
  withTrailer(image, tag, ({ workingSet }, overwrite) => overwrite(new Uint8Array(workingSet.length)));

const sizeOf = (image: string, tag: string): Promise<number> =>
  withTrailer(image, tag, async ({ workingSet }) => workingSet.filter((rank) => rank !== 0).length);

/** Loads it into a machine that has just been started; `then`: before the machine goes. */
async function measure(
  image: string,
  tag: string,
  then?: (pc: Pc) => Promise<unknown>,
  lazy = true,
): Promise<Times> {
  execFileSync('sync');
  execFileSync('dd', [`if=${image}`, 'iflag=nocache', 'count=0', 'status=none']);
  await using pc = await Pc.start({ memoryMiB, image, open: { cache } });
  await delay(300);
  let fetches = 0;
  const untap = traceRamFetch.tap(() => fetches++);
  let first = 0;
  pc.machine.jobs.on('status', (job) => {
    first = job.resumedNs / 1e6;
  });
  const { serial } = pc;
  const seen = new Map<string, { at: number; resolve: () => void; done: Promise<void> }>();
  for (const word of ['TICK', 'ANSWER 42']) {
    let resolve: () => void = () => {};
    const done = new Promise<void>((r) => {
      resolve = r;
    });
    seen.set(word, { at: 0, resolve, done });
  }
  serial.mark();
  const receive = serial.receiveByte.bind(serial);
  serial.receiveByte = (byte) => {
    receive(byte);
    if (byte !== 10) return;
    for (const [word, entry] of seen) {
      if (entry.at > 0 || !serial.fresh.includes(word)) continue;
      entry.at = performance.now();
      entry.resolve();
    }
  };
  let begin = performance.now();
  await pc.machine.loadvm(tag, { lazy });
  if (!lazy) begin = performance.now();
  serial.send(QUESTION);
  const late = delay(LIMIT_MS, undefined, { ref: false }).then(() => {
    throw new Error('no answer');
  });
  await Promise.race([Promise.all([...seen.values()].map(({ done }) => done)), late]);
  const counted = fetches;
  await pc.machine.finishLoad();
  const all = performance.now() - begin;
  untap();
  // What the guest waited for in the first second is recorded.
  await delay(Math.max(0, begin + 1200 - performance.now()));
  await then?.(pc);
  const at = (word: string): number => seen.get(word)!.at - begin;
  return { first, tick: at('TICK'), answer: at('ANSWER 42'), all, fetches: counted };
}

function print(what: string, groups: number, times: readonly Times[]): void {
  const column = (of: (t: Times) => number, digits: number): string => {
    const values = times.map(of);
    const [least, most] = [Math.min(...values).toFixed(digits), Math.max(...values).toFixed(digits)];
    return `${median(values)!.toFixed(digits)} (${least}–${most})`.padStart(22);
  };
  const cells = [
    column((t) => t.first, 1),
    column((t) => t.tick, 1),
    column((t) => t.answer, 1),
    column((t) => t.all, 0),
    column((t) => t.fetches, 0),
  ];
  process.stdout.write(`${what.padEnd(10)}${String(groups).padStart(7)}${cells.join('')}\n`);
}

mkdirSync(join(ROOT, '.cache'), { recursive: true });
const folder = mkdtempSync(join(process.env['AMBERVM_BENCH_DIR'] ?? join(ROOT, '.cache'), 'working-set-'));
const image = process.env['AMBERVM_BENCH_IMAGE'] ?? join(folder, 'image.qcow2');
try {
  // An image given by name is used again.
  if (!existsSync(image)) await makeSnapshot(image);
  process.stdout.write(`load ${loadAverage()}; ${memoryMiB} MiB, cache=${cache}\n`);
  const head = ['first instruction', 'first tick', 'answer', 'all RAM', 'fetches'].map((t) => t.padStart(22));
  process.stdout.write(`${'set'.padEnd(10)}${'groups'.padStart(7)}${head.join('')}\n`);
  // Code that has never run, and the recording.
  await measure(image, 'shell');
  await measure(image, 'shell', async (pc) => {
    await pc.machine.delvm('together');
    await pc.machine.savevm('together', { incremental: false });
  });
  const found: Record<'none' | 'recorded' | 'together' | 'whole', Times[]> = {
    none: [],
    recorded: [],
    together: [],
    whole: [],
  };
  const groups = await sizeOf(image, 'shell');
  for (let i = 0; i < runs; i++) {
    await forget(image, 'shell');
    found.none.push(await measure(image, 'shell'));
    found.recorded.push(await measure(image, 'shell'));
    found.together.push(await measure(image, 'together'));
    found.whole.push(await measure(image, 'shell', undefined, false));
  }
  print('none', 0, found.none);
  print('recorded', groups, found.recorded);
  print('together', await sizeOf(image, 'together'), found.together);
  print('whole', 0, found.whole);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
