/**
 * loadvm that reads all of RAM: of a snapshot that QEMU made, in QEMU and here, and here of one of ours without lazy mode; into a
 * machine that runs and whose RAM is full of something else, nothing of the image being in the host's page cache.
 *
 *     node --import tsx bench/snapshot/whole-load.ts [--cache=writeback|none] [--reps=3] [MiB …]
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import type { CacheMode } from '../../src/block/file.ts';
import { Pc } from '../../test/support/pc.ts';
import type { Emulator } from '../emulators/emulator.ts';
import { ours, qemu } from '../emulators/qemu-style.ts';
import { loadAverage } from '../harness/process-usage.ts';
import { median } from '../harness/statistics.ts';
import { Vm } from '../harness/vm.ts';
import { figure, ratioText } from '../report.ts';
import { buildRamfill, dropCache, makeDisk, type SnapshotDisk } from './snapshot.ts';

const ROOT = join(import.meta.dirname, '../..');
/** What the guest fills its RAM with the second time: each page with its number (ramfill.asm, byte 504). */
const NUMBERS = 2;
const MODE_OFFSET = 504;
const FILL_TIMEOUT_MS = 300_000;

/** Seconds of each loadvm. */
export interface WholeLoads {
  /** QEMU loads its own. */
  readonly qemu: readonly number[];
  /** We load QEMU's. */
  readonly ours: readonly number[];
  /** We load ours, without lazy mode. */
  readonly notLazy: readonly number[];
}

async function start(emulator: Emulator, memMiB: number, disk: SnapshotDisk, work: string): Promise<Vm> {
  const monitor = join(work, 'monitor');
  rmSync(monitor, { force: true });
  const vm = new Vm(emulator, { memMiB, disk, monitor });
  await vm.line('full RAM', (l) => l.text.startsWith('R '), 0, FILL_TIMEOUT_MS);
  await vm.connectMonitor(monitor);
  return vm;
}

async function withVm<T>(vm: Vm, task: () => Promise<T>): Promise<T> {
  try {
    return await task();
  } finally {
    await vm.end();
  }
}

async function command(vm: Vm, text: string): Promise<number> {
  const begin = vm.now;
  const said = await vm.monitor(text);
  // QEMU has a section or two for what we do not have, and we say so.
  if (!/^(Section '[^\n]* skipped[^\n]*\s*)*$/.test(said)) throw new Error(`${text}: ${said}`);
  return vm.now - begin;
}

async function repeat(reps: number, file: string, load: () => Promise<number>): Promise<number[]> {
  const found: number[] = [];
  for (let rep = 0; rep < reps; rep++) {
    await delay(300);
    dropCache(file);
    found.push(await load());
  }
  return found;
}

/** The disk as it is now, after snapshot were made: from the next start on the guest leaves something else in its RAM. */
function fillOtherwise({ qcow2 }: SnapshotDisk): void {
  execFileSync('qemu-io', ['-f', 'qcow2', '-c', `write -q -P ${NUMBERS} ${MODE_OFFSET} 1`, qcow2]);
}

export async function measureWholeLoads(
  own: Emulator,
  peer: Emulator,
  memMiB: number,
  disk: SnapshotDisk,
  work: string,
  reps: number,
): Promise<WholeLoads> {
  const file = disk.qcow2;
  let vm = await start(peer, memMiB, disk, work);
  await withVm(vm, () => command(vm, 'savevm theirs'));
  vm = await start(own, memMiB, disk, work);
  await withVm(vm, () => command(vm, 'savevm own'));
  fillOtherwise(disk);
  const load = (tag: string) => async (): Promise<number[]> =>
    repeat(reps, file, () => command(vm, `loadvm ${tag}`));
  vm = await start(peer, memMiB, disk, work);
  const theirs = await withVm(vm, load('theirs'));
  vm = await start(own, memMiB, disk, work);
  const here = await withVm(vm, load('theirs'));
  return { qemu: theirs, ours: here, notLazy: await notLazy(memMiB, disk, reps) };
}

/** Only the programming interface has it. */
async function notLazy(memoryMiB: number, { qcow2, cache }: SnapshotDisk, reps: number): Promise<number[]> {
  const pc = await Pc.start({ memoryMiB, image: qcow2, open: { cache: cache as CacheMode } });
  try {
    await pc.serial.waitFor('R ', FILL_TIMEOUT_MS);
    return await repeat(reps, qcow2, async () => {
      const begin = performance.now();
      await pc.machine.loadvm('own', { lazy: false });
      return (performance.now() - begin) / 1000;
    });
  } finally {
    await pc.quit();
  }
}

/** One line of a table: our loadvm of QEMU's snapshot, QEMU's, the ratio; then ours without lazy mode. */
export function wholeLoadRows(title: string, loads: WholeLoads): string[][] {
  const [peer, own, plain] = [median(loads.qemu), median(loads.ours), median(loads.notLazy)];
  const ms = (seconds: number | undefined): string => figure(seconds && seconds * 1000);
  const ratio = (seconds: number | undefined): string =>
    ratioText(seconds === undefined || peer === undefined ? undefined : seconds / peer);
  return [
    [`${title}: loadvm of QEMU’s own snapshot, ms`, ms(own), ms(peer), ratio(own)],
    [`${title}: loadvm of ours without lazy mode, ms`, ms(plain), ms(peer), ratio(plain)],
  ];
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { cache: { type: 'string', default: 'writeback' }, reps: { type: 'string', default: '3' } },
  });
  const work = mkdtempSync(join(process.env['AMBERVM_BENCH_DIR'] ?? tmpdir(), 'ambervm-loads-'));
  try {
    const ramfill = buildRamfill(ROOT, work);
    for (const mem of positionals.length > 0 ? positionals.map(Number) : [64, 256, 512]) {
      const disk = makeDisk(ramfill, work, values.cache);
      const loads = await measureWholeLoads(
        ours(ROOT, undefined, []),
        qemu(),
        mem,
        disk,
        work,
        Number(values.reps),
      );
      for (const row of wholeLoadRows(`${mem} MiB, cold, cache=${values.cache}`, loads))
        console.log(row.join('  '));
      console.log(`  load ${loadAverage()}; ${JSON.stringify(loads)}`);
    }
  } finally {
    rmSync(work, { recursive: true });
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await main();
