/**
 * CPU time and I/O of a process and its descendants, from Linux' /proc. CPU time by the scheduler's own count
 * (schedstat, ns), so that other load on the machine disturbs rates little.
 */
import { readdirSync, readFileSync } from 'node:fs';

/** CPU seconds of every thread, by thread id. */
export type ThreadTimes = ReadonlyMap<number, number>;

export interface CpuDelta {
  /** All threads, seconds. */
  readonly all: number;
  /** The thread that used most: the one that emulates, seconds. */
  readonly busiest: number;
}

function lines(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function threads(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).map(Number);
  } catch {
    return [];
  }
}

/** The process and its descendants. */
function family(pid: number): number[] {
  const children = threads(pid).flatMap((tid) =>
    lines(`/proc/${pid}/task/${tid}/children`)
      .split(' ')
      .filter((word) => word.trim() !== '')
      .map(Number),
  );
  return [pid, ...children.flatMap(family)];
}

export function threadTimes(pid: number): ThreadTimes {
  const times = new Map<number, number>();
  for (const member of family(pid)) {
    for (const tid of threads(member)) {
      const ns = Number(lines(`/proc/${member}/task/${tid}/schedstat`).split(' ')[0]);
      if (ns > 0) times.set(tid, ns / 1e9);
    }
  }
  return times;
}

export function cpuBetween(before: ThreadTimes, after: ThreadTimes): CpuDelta {
  let all = 0;
  let busiest = 0;
  for (const [tid, seconds] of after) {
    const used = seconds - (before.get(tid) ?? 0);
    all += used;
    busiest = Math.max(busiest, used);
  }
  return { all, busiest };
}

/** Bytes given to write calls so far. */
export function bytesWritten(pid: number): number {
  return family(pid)
    .map((member) => Number(/^wchar: (\d+)$/m.exec(lines(`/proc/${member}/io`))?.[1] ?? 0))
    .reduce((sum, bytes) => sum + bytes, 0);
}

/** Resident memory, bytes. */
export function residentBytes(pid: number): number {
  return family(pid)
    .map((member) => Number(/^VmRSS:\s+(\d+) kB$/m.exec(lines(`/proc/${member}/status`))?.[1] ?? 0) * 1024)
    .reduce((sum, bytes) => sum + bytes, 0);
}

/** Load average of the last minute: what else disturbs the figures. */
export function loadAverage(): number {
  return Number(lines('/proc/loadavg').split(' ')[0]);
}
