/**
 * How soon a guest runs after loadvm, by RAM size: from the command to its first instruction (trace event guest_resumed), and
 * to its first tick, which it prints every 10 ms of its own time (payload/ramfill.asm, RAM full of random words).
 *
 *     node --import tsx bench/snapshot/resume.ts [--loads=N] [MiB …]
 *
 * The program is the built one (npm run build), at its monitor. `differing`: two snapshots that have nothing in common, loaded
 * in turns, the image in the host's page cache or (cold) not; the first load of a process apart, since code that has never run
 * is slow. `return`: the snapshot stood on, the guest having written 1,000 pages.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Emulator, VmSpec } from '../emulators/emulator.ts';
import { ours } from '../emulators/qemu-style.ts';
import { loadAverage } from '../harness/process-usage.ts';
import { median } from '../harness/statistics.ts';
import { delay, type SerialLine, Vm } from '../harness/vm.ts';
import { buildRamfill, dirtyPages, isTick, makeDisk } from './snapshot.ts';

const ROOT = join(import.meta.dirname, '../..');
const DIRTY_PAGES = 1000;

interface Resumed {
  /** ms from the command to the first instruction; to the first tick; to the prompt. */
  readonly first: number;
  readonly tick: number;
  readonly prompt: number;
}

const texts = process.argv.slice(2);
const loads = Number(texts.find((text) => text.startsWith('--loads='))?.slice(8) ?? 10);
const sizes = texts.filter((text) => !text.startsWith('--')).map(Number);
mkdirSync(join(ROOT, '.cache'), { recursive: true });
const work = mkdtempSync(join(process.env['AMBERVM_BENCH_DIR'] ?? join(ROOT, '.cache'), 'resume-'));
const trace = join(work, 'trace');
const program = ours(ROOT, undefined, []);
const emulator: Emulator = {
  ...program,
  command: (spec) => [...program.command(spec), '-trace', `enable=guest_resumed,file=${trace}`],
};

function lastResumed(): number {
  const found = [...readFileSync(trace, 'utf8').matchAll(/guest_resumed .*resumed_ns (\d+)/g)].at(-1);
  if (found === undefined) throw new Error('no guest_resumed in the trace');
  return Number(found[1]) / 1e6;
}

async function load(vm: Vm, tag: string): Promise<Resumed> {
  const from = vm.lines.length;
  const before = Number.parseInt(vm.lines.findLast(isTick)!.text, 16);
  const begin = vm.now;
  const output = await vm.monitor(`loadvm ${tag}`);
  if (output !== '') throw new Error(output);
  const prompt = (vm.now - begin) * 1000;
  // Both snapshots are of an earlier time than the guest has come to.
  const isLoaded = (l: SerialLine): boolean => isTick(l) && Number.parseInt(l.text, 16) < before;
  const { line } = await vm.line('a tick after loadvm', isLoaded, from);
  return { first: lastResumed(), tick: (line.at - begin) * 1000, prompt };
}

async function withVm<T>(spec: VmSpec, action: (vm: Vm) => Promise<T>): Promise<T> {
  rmSync(trace, { force: true });
  rmSync(spec.monitor!, { force: true });
  const vm = new Vm(emulator, spec);
  try {
    if (spec.loadvm === undefined) {
      await vm.line('full RAM', (l) => l.text.startsWith('R '), 0, 600_000);
    }
    await vm.line('a tick', isTick, 0, 600_000);
    await vm.connectMonitor(spec.monitor!);
    return await action(vm);
  } finally {
    await vm.end();
  }
}

/** Waits until RAM is there, and more. */
const settle = (memMiB: number): Promise<void> => delay(1200 + memMiB * 2);

async function loadInTurns(vm: Vm, memMiB: number, file: string, isCold: boolean): Promise<Resumed[]> {
  const found: Resumed[] = [];
  for (let i = 0; i < loads; i++) {
    await settle(memMiB);
    if (isCold) execFileSync('dd', [`if=${file}`, 'iflag=nocache', 'count=0', 'status=none']);
    found.push(await load(vm, i % 2 === 0 ? 's2' : 's1'));
  }
  return found;
}

async function loadDirty(vm: Vm, memMiB: number): Promise<Resumed[]> {
  const found: Resumed[] = [];
  await load(vm, 's1');
  await settle(memMiB);
  for (let i = 0; i <= loads; i++) {
    await dirtyPages(vm, DIRTY_PAGES);
    found.push(await load(vm, 's1'));
  }
  return found;
}

function print(memMiB: number, what: string, times: readonly Resumed[]): void {
  const column = (values: readonly number[]): string =>
    `${median(values)!.toFixed(1)} (${Math.min(...values).toFixed(1)}–${Math.max(...values).toFixed(1)})`.padStart(
      20,
    );
  const cells = [times.map((t) => t.first), times.map((t) => t.tick), times.map((t) => t.prompt)].map(column);
  process.stdout.write(`${String(memMiB).padStart(7)}  ${what.padEnd(24)}${cells.join('')}\n`);
}

const ramfill = buildRamfill(ROOT, work);
process.stdout.write(`load ${loadAverage()}; ms, median (least–most)\n`);
process.stdout.write(
  `RAM MiB  ${''.padEnd(24)}${['first instruction', 'first tick', 'prompt'].map((t) => t.padStart(20)).join('')}\n`,
);
try {
  for (const memMiB of sizes.length > 0 ? sizes : [64, 512, 2048]) {
    const disk = makeDisk(ramfill, work, 'writeback');
    const spec: VmSpec = { memMiB, disk, monitor: join(work, 'monitor') };
    for (const tag of ['s1', 's2']) {
      // Not from the other snapshot, so that they share nothing.
      await withVm(spec, async (vm) => {
        await delay(tag === 's1' ? 100 : 700);
        const output = await vm.monitor(`savevm ${tag}`);
        if (output !== '') throw new Error(output);
      });
    }
    execFileSync('sync');
    const firsts: Resumed[] = [];
    for (let i = 0; i < 3; i++) {
      await withVm({ ...spec, loadvm: 's1' }, async (vm) => {
        const warm = await loadInTurns(vm, memMiB, disk.qcow2, false);
        firsts.push(warm[0]!);
        if (i > 0) return;
        print(memMiB, 'differing', warm.slice(1));
        print(memMiB, 'differing, cold', await loadInTurns(vm, memMiB, disk.qcow2, true));
        print(memMiB, 'return, 1,000 pages', (await loadDirty(vm, memMiB)).slice(1));
      });
    }
    print(memMiB, 'differing, first of all', firsts);
  }
} finally {
  rmSync(work, { recursive: true, force: true });
}
