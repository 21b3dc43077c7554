/**
 * savevm, loadvm and -loadvm of payload/ramfill.asm: a guest that fills its RAM with random words, then prints a line every
 * 10 ms. The largest gap between two lines around a savevm is the time the guest stood still.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { truncateSync } from 'node:fs';
import { join } from 'node:path';
import type { Emulator, VmSpec } from '../emulators/emulator.ts';
import { bytesWritten, loadAverage } from '../harness/process-usage.ts';
import { delay, type SerialLine, Vm } from '../harness/vm.ts';

export interface SnapshotTimes {
  /** All in seconds. */
  readonly save: number;
  /** Largest gap between two ticks of the guest around the save; 0.01 is none. */
  readonly downtime: number;
  readonly bytes: number;
  /** Savevm once more under another name, the guest having done nothing but tick. */
  readonly saveAgain: number;
  readonly bytesAgain: number;
  /** Savevm after 1 % of RAM was written, in runs. */
  readonly saveDirty?: number;
  readonly bytesDirty?: number;
  /** Largest gap between two ticks around `savevm -b`; ours only. */
  readonly backgroundGap?: number;
  /** Loadvm of the snapshot stood on, 1,000 pages having been written. */
  readonly loadDirty?: number;
  readonly load: number;
  /** From the loadvm command to the first tick after it. */
  readonly loadToTick: number;
  /** From the start of a process with -loadvm to its first tick. */
  readonly startToTick: number;
  /** The same, nothing of the image being in the host's page cache. */
  readonly coldStartToTick?: number;
  /** The guest's own checksum of its RAM, after the last load, is what it was. */
  readonly ramEqual: boolean;
  /** What `qemu-img check` said; 'clean', or '-' for v86, which has no image. */
  readonly check: string;
  readonly loadAverage: number;
}

/** Virtual size of the disk. */
const DISK_BYTES = 1 << 30;
const FILL_TIMEOUT_MS = 300_000;

export interface SnapshotDisk {
  readonly qcow2: string;
  readonly raw: string;
  readonly cache: string;
}

/** Assembles the guest once. */
export function buildRamfill(root: string, work: string): string {
  const target = join(work, 'ramfill.img');
  execFileSync('nasm', ['-f', 'bin', join(root, 'bench/payload/ramfill.asm'), '-o', target]);
  return target;
}

/** What the guest leaves in its RAM (ramfill.asm, byte 504). */
export const RANDOM = 0;
export const ZEROES = 1;
const MODE_OFFSET = 504;

/** A fresh disk that boots the guest. */
export function makeDisk(ramfill: string, work: string, cache: string, mode: number = RANDOM): SnapshotDisk {
  const raw = join(work, 'ramfill.raw');
  const qcow2 = join(work, 'ramfill.qcow2');
  const sectors = Buffer.alloc(1 << 20);
  readFileSync(ramfill).copy(sectors);
  sectors[MODE_OFFSET] = mode;
  writeFileSync(raw, sectors);
  rmSync(qcow2, { force: true });
  const large = join(work, 'large.raw');
  writeFileSync(large, sectors);
  truncateSync(large, DISK_BYTES);
  execFileSync('qemu-img', ['convert', '-O', 'qcow2', large, qcow2]);
  rmSync(large);
  return { qcow2, raw, cache };
}

export function isTick(line: SerialLine): boolean {
  return /^[0-9A-F]{8}$/i.test(line.text);
}

export async function measureSnapshot(
  emulator: Emulator,
  memMiB: number,
  disk: SnapshotDisk,
  work: string,
  verbose: boolean,
): Promise<SnapshotTimes> {
  const spec: VmSpec = { memMiB, disk, monitor: join(work, 'monitor') };
  const begin = loadAverage();
  const running = await measureRunning(emulator, spec, verbose);
  const ofNew = { ...spec, loadvm: 's2' };
  const started = await measureStart(emulator, ofNew, running.checksum, verbose);
  const cold = emulator.name === 'v86' ? {} : await measureColdStart(emulator, ofNew, disk.qcow2, verbose);
  const check = emulator.name === 'v86' ? '-' : checkImage(disk.qcow2);
  return { ...running.times, ...started, ...cold, check, loadAverage: begin };
}

async function measureRunning(emulator: Emulator, spec: VmSpec, verbose: boolean) {
  rmSync(spec.monitor!, { force: true });
  const vm = new Vm(emulator, spec, verbose);
  try {
    const filled = await vm.line('full RAM', (l) => l.text.startsWith('R '), 0, FILL_TIMEOUT_MS);
    await vm.connectMonitor(spec.monitor!);
    await vm.line('a tick', isTick);
    await delay(500);
    const first = await save(vm, 's1');
    const second = await save(vm, 's2');
    const dirty = emulator.name === 'v86' ? {} : await measureDirty(vm, emulator, spec.memMiB);
    const loaded = await load(vm, 's1');
    const again = emulator.name === 'v86' ? {} : { loadDirty: await loadAfterWrites(vm, 's1') };
    const times = {
      ...dirty,
      ...again,
      save: first.seconds,
      downtime: first.downtime,
      bytes: first.bytes,
      saveAgain: second.seconds,
      bytesAgain: second.bytes,
      ...loaded,
    };
    return { times, checksum: filled.line.text.split(' ')[2]! };
  } finally {
    await vm.end();
  }
}

/** Pages that the guest writes in a tick after it was sent `d`. */
const PAGES_A_TICK = 64;

/** Lets the guest write to `pages` pages, one after the other, and a few more. */
export async function dirtyPages(vm: Vm, pages: number): Promise<void> {
  const from = vm.lines.length;
  vm.send('d');
  let index = from;
  for (let ticks = Math.ceil(pages / PAGES_A_TICK) + 1; ticks > 0; ticks--) {
    index = (await vm.line('a tick', isTick, index)).index + 1;
  }
  vm.send('s');
  await delay(100);
}

async function measureDirty(vm: Vm, emulator: Emulator, memMiB: number) {
  await dirtyPages(vm, (memMiB * 256) / 100);
  const third = await save(vm, 's3');
  const found = { saveDirty: third.seconds, bytesDirty: third.bytes };
  if (emulator.name !== 'ours') return found;
  // Nothing is shared: the guest runs while all of RAM is written.
  must(await vm.monitor('delvm s3'), 'delvm');
  const background = await save(vm, 's4', '-b ');
  must(await vm.monitor('delvm s4'), 'delvm');
  return { ...found, backgroundGap: background.downtime };
}

async function loadAfterWrites(vm: Vm, tag: string): Promise<number> {
  await delay(500);
  await dirtyPages(vm, 1000);
  const begin = vm.now;
  must(await vm.monitor(`loadvm ${tag}`), 'loadvm');
  return vm.now - begin;
}

/** By share of RAM written before, percent: seconds of the savevm after that. */
export async function measureFractions(
  emulator: Emulator,
  memMiB: number,
  disk: SnapshotDisk,
  work: string,
  percents: readonly number[],
): Promise<(readonly [percent: number, seconds: number])[]> {
  const spec: VmSpec = { memMiB, disk, monitor: join(work, 'monitor') };
  rmSync(spec.monitor!, { force: true });
  const vm = new Vm(emulator, spec);
  try {
    await vm.line('full RAM', (l) => l.text.startsWith('R '), 0, FILL_TIMEOUT_MS);
    await vm.connectMonitor(spec.monitor!);
    await save(vm, 'base');
    const found: [number, number][] = [];
    for (const percent of percents) {
      await dirtyPages(vm, (memMiB * 256 * percent) / 100);
      found.push([percent, (await save(vm, 'next')).seconds]);
      must(await vm.monitor('delvm base'), 'delvm');
      await save(vm, 'base');
      must(await vm.monitor('delvm next'), 'delvm');
    }
    return found;
  } finally {
    await vm.end();
  }
}

/** One savevm and one loadvm of a guest, and what was written. */
export async function measureSave(emulator: Emulator, memMiB: number, disk: SnapshotDisk, work: string) {
  const spec: VmSpec = { memMiB, disk, monitor: join(work, 'monitor') };
  rmSync(spec.monitor!, { force: true });
  const vm = new Vm(emulator, spec);
  try {
    await vm.line('full RAM', (l) => l.text.startsWith('R '), 0, FILL_TIMEOUT_MS);
    await vm.connectMonitor(spec.monitor!);
    await delay(500);
    const { seconds, bytes } = await save(vm, 's1');
    const { load: loaded } = await load(vm, 's1');
    const begin = vm.now;
    must(await vm.monitor('delvm s1'), 'delvm');
    return { save: seconds, bytes, load: loaded, delete: vm.now - begin };
  } finally {
    await vm.end();
  }
}

/** Drops the file's pages from the host's cache. */
export function dropCache(file: string): void {
  execFileSync('dd', [`if=${file}`, 'iflag=nocache', 'count=0', 'status=none']);
}

async function measureColdStart(emulator: Emulator, spec: VmSpec, file: string, verbose: boolean) {
  dropCache(file);
  rmSync(spec.monitor!, { force: true });
  const vm = new Vm(emulator, spec, verbose);
  try {
    const tick = await vm.line('a tick after -loadvm', isTick);
    await vm.connectMonitor(spec.monitor!);
    return { coldStartToTick: tick.line.at };
  } finally {
    await vm.end();
  }
}

async function save(vm: Vm, tag: string, how = '') {
  const bytes = bytesWritten(vm.pid);
  const begin = vm.now;
  must(await vm.monitor(`savevm ${how}${tag}`), 'savevm');
  const end = vm.now;
  await delay(600);
  const ticks = vm.lines.filter((l) => isTick(l) && l.at >= begin - 0.5 && l.at <= end + 0.5);
  const gaps = ticks.slice(1).map((tick, index) => tick.at - ticks[index]!.at);
  return { seconds: end - begin, downtime: Math.max(0, ...gaps), bytes: bytesWritten(vm.pid) - bytes };
}

async function load(vm: Vm, tag: string) {
  const from = vm.lines.length;
  const before = vm.lines.findLast(isTick)!;
  const begin = vm.now;
  must(await vm.monitor(`loadvm ${tag}`), 'loadvm');
  const end = vm.now;
  // The guest's count goes back by more than the ticks since: that line was printed after the load.
  const isLoaded = (l: SerialLine) =>
    isTick(l) && Number.parseInt(l.text, 16) < Number.parseInt(before.text, 16);
  const { line } = await vm.line('a tick after loadvm', isLoaded, from);
  return { load: end - begin, loadToTick: line.at - begin };
}

async function measureStart(emulator: Emulator, spec: VmSpec, checksum: string, verbose: boolean) {
  rmSync(spec.monitor!, { force: true });
  const vm = new Vm(emulator, spec, verbose);
  try {
    const tick = await vm.line('a tick after -loadvm', isTick);
    await vm.connectMonitor(spec.monitor!);
    vm.send('v');
    const sum = await vm.line('the checksum', (l) => l.text.startsWith('V '), tick.index, FILL_TIMEOUT_MS);
    return { startToTick: tick.line.at, ramEqual: sum.line.text.split(' ')[1] === checksum };
  } finally {
    await vm.end();
  }
}

function must(output: string, command: string): void {
  if (output !== '') throw new Error(`${command}: ${output}`);
}

function checkImage(path: string): string {
  const { status, stdout, stderr } = spawnSync('qemu-img', ['check', path], { encoding: 'utf8' });
  return status === 0
    ? 'clean'
    : `exit code ${status}: ${(stdout + stderr).trim().split('\n').slice(0, 3).join('; ')}`;
}
