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
  readonly load: number;
  /** From the loadvm command to the first tick after it. */
  readonly loadToTick: number;
  /** From the start of a process with -loadvm to its first tick. */
  readonly startToTick: number;
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

/** A fresh disk that boots the guest. */
export function makeDisk(ramfill: string, work: string, cache: string): SnapshotDisk {
  const raw = join(work, 'ramfill.raw');
  const qcow2 = join(work, 'ramfill.qcow2');
  const sectors = Buffer.alloc(1 << 20);
  readFileSync(ramfill).copy(sectors);
  writeFileSync(raw, sectors);
  rmSync(qcow2, { force: true });
  const large = join(work, 'large.raw');
  writeFileSync(large, sectors);
  truncateSync(large, DISK_BYTES);
  execFileSync('qemu-img', ['convert', '-O', 'qcow2', large, qcow2]);
  rmSync(large);
  return { qcow2, raw, cache };
}

function isTick(line: SerialLine): boolean {
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
  const started = await measureStart(emulator, { ...spec, loadvm: 's2' }, running.checksum, verbose);
  const check = emulator.name === 'v86' ? '-' : checkImage(disk.qcow2);
  return { ...running.times, ...started, check, loadAverage: begin };
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
    const loaded = await load(vm, 's1');
    const times = {
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

async function save(vm: Vm, tag: string) {
  const bytes = bytesWritten(vm.pid);
  const begin = vm.now;
  must(await vm.monitor(`savevm ${tag}`), 'savevm');
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
