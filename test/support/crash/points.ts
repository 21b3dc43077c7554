/**
 * Files as a crash leaves them. What was done before a completed flush was made is there; of everything that was begun
 * since, any part may be: all, nothing, some writes, some sectors of some writes.
 */
import type { LogEntry } from '../../../src/block/filters/log.ts';
import { MemoryFile } from '../memory-file.ts';

const SECTOR = 512;

export interface CrashPoint {
  /** The moment, on the log's clock. */
  readonly time: number;
  /** For messages. */
  readonly what: string;
  readonly file: MemoryFile;
}

export type Random = () => number;

/** 0 ≤ x < 1, the same row for the same seed. */
export function random(seed: number): Random {
  let x = seed >>> 0;
  return () => {
    x = (x + 0x6d2b79f5) >>> 0;
    let t = Math.imul(x ^ (x >>> 15), x | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

type Loss = 'all' | 'none' | 'writes' | 'torn';
const LOSSES: readonly Loss[] = ['all', 'none', 'writes', 'torn', 'torn', 'writes'];

/**
 * `count` images or so, spread evenly over the log and over the kinds of loss; with `count` large, every moment in every
 * kind.
 */
export async function* crashPoints(
  base: Uint8Array,
  entries: readonly LogEntry[],
  { count, seed = 1, from = 0 }: { count: number; seed?: number; from?: number },
): AsyncGenerator<CrashPoint> {
  const next = random(seed);
  const moments = momentsOf(entries).filter((time) => time >= from);
  const perMoment = Math.max(1, Math.min(LOSSES.length, Math.floor(count / moments.length)));
  const step = Math.max(1, moments.length / count);
  const durable = new MemoryFile(base);
  let waiting = entries.filter(({ kind }) => kind !== 'flush');
  let turn = 0;
  for (let i = 0; i < moments.length; i += step) {
    const time = moments[Math.floor(i)]!;
    const flushed = lastFlush(entries, time);
    for (const entry of waiting) if (entry.ended <= flushed) await apply(durable, entry);
    waiting = waiting.filter(({ ended }) => ended > flushed);
    const pending = waiting.filter(({ begun }) => begun <= time);
    const kinds = pending.length === 0 ? 1 : perMoment;
    for (let n = 0; n < kinds; n++) {
      const loss = pending.length === 0 ? 'all' : LOSSES[turn++ % LOSSES.length]!;
      const file = new MemoryFile(durable.bytes, 'crash', true);
      for (const entry of pending) await applyPart(file, entry, loss, next);
      yield { time, what: `time ${time}, ${pending.length} requests unflushed, kept: ${loss}`, file };
    }
  }
}

/** Whenever something has changed of what may be lost. */
function momentsOf(entries: readonly LogEntry[]): number[] {
  const moments = new Set([0]);
  for (const entry of entries) {
    if (entry.kind !== 'flush') moments.add(entry.begun);
    if (entry.ended !== Infinity) moments.add(entry.ended);
  }
  return [...moments].sort((a, b) => a - b);
}

function lastFlush(entries: readonly LogEntry[], time: number): number {
  let last = 0;
  for (const { kind, begun, ended } of entries) {
    if (kind === 'flush' && ended <= time && begun > last) last = begun;
  }
  return last;
}

function apply(file: MemoryFile, entry: LogEntry): Promise<void> {
  if (entry.kind === 'write') return file.write(entry.offset, entry.data);
  return entry.kind === 'truncate' ? file.truncate(entry.sizeBytes) : Promise.resolve();
}

async function applyPart(file: MemoryFile, entry: LogEntry, loss: Loss, next: Random): Promise<void> {
  if (loss === 'all') return apply(file, entry);
  if (loss === 'none' || next() < 0.4) return;
  if (loss === 'writes' || entry.kind !== 'write' || next() < 0.5) return apply(file, entry);
  // Sectors of the file, wherever the write begins.
  const { offset, data } = entry;
  for (let at = 0; at < data.length; ) {
    const end = Math.min(data.length, at + SECTOR - ((offset + at) % SECTOR));
    if (next() < 0.5) await file.write(offset + at, data.subarray(at, end));
    at = end;
  }
}
