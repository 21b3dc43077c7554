/**
 * Walks over many L2 tables, as snapshots need them: neighbours in the file come by one request, the next batch is read
 * while this one is worked on, and the cache, which is for the guest's tables, is looked at and left alone.
 */
import { Turns } from '../turns.ts';
import type { Qcow2Image } from './image.ts';

/** Read at a time; a second batch is on its way meanwhile, and a third being written. */
const BATCH_BYTES = 4 * 1024 * 1024;
const BATCHES = 3;

export interface WalkedTable {
  /** Its entry in the L1 table. */
  readonly index: number;
  /** Where it lies in the file. */
  readonly offset: number;
  readonly table: Buffer;
  /** The caller may change and keep `table`; otherwise it is the cache's. */
  readonly isOwn: boolean;
}

/** What a walk's caller does with the tables. */
export interface WalkUse {
  /** How many are coming. */
  expect(tables: number): void;
  /**
   * Called behind each batch. When it resolves nobody needs the memory of the batch before that one any more; that of the
   * last one stays.
   */
  passOn(): Promise<void>;
  /** Nothing that was begun is on its way any more. */
  settled(): Promise<void>;
}

/**
 * The tables that entries `from` … `to` - 1 of an L1 table name, in order, as memory has them; those that `wanted` does not
 * want are not read. Needs the image to itself. Their memory is used again: see {@link WalkUse}.
 */
export async function* tablesOf(
  image: Qcow2Image,
  use: WalkUse,
  l1: Buffer,
  from: number,
  to: number,
  wanted: (index: number, offset: number) => boolean = () => true,
): AsyncGenerator<WalkedTable, void, undefined> {
  const places: { index: number; offset: number }[] = [];
  for (let index = from; index < to; index++) {
    const offset = image.l2Offset(l1, index);
    if (offset !== 0 && wanted(index, offset)) places.push({ index, offset });
  }
  use.expect(places.length);
  const size = Math.max(1, Math.floor(BATCH_BYTES / image.clusterSize));
  const memory: (Buffer | undefined)[] = [];
  const batchAt = (first: number): Promise<WalkedTable[]> => {
    const some = places.slice(first, first + size);
    const bytes = some.length * image.clusterSize;
    const number = (first / size) % BATCHES;
    if ((memory[number]?.length ?? 0) < bytes) memory[number] = Buffer.allocUnsafeSlow(bytes);
    const batch = readTables(image, some, memory[number] ?? EMPTY);
    // Whoever waits for it hears of a failure; nobody does if the walk ends early.
    batch.catch(() => {});
    return batch;
  };
  let next = batchAt(0);
  const turns = new Turns();
  try {
    for (let first = 0; first < places.length; first += size) {
      const batch = await next;
      next = batchAt(first + size);
      for (const walked of batch) {
        yield walked;
        const turn = turns.next();
        if (turn !== undefined) await turn;
      }
      if (first + size < places.length) await use.passOn();
    }
  } finally {
    await use.settled();
  }
}

/** Tables that are not in memory are read into one buffer; neighbours in the file by one request. */
async function readTables(
  image: Qcow2Image,
  places: readonly { index: number; offset: number }[],
  memory: Buffer,
): Promise<WalkedTable[]> {
  const { clusterSize, file, l2Cache } = image;
  const walked: WalkedTable[] = [];
  const missing: number[] = [];
  for (const { index, offset } of places) {
    const table = l2Cache.peek(offset);
    if (table === undefined) missing.push(offset);
    walked.push({ index, offset, table: table ?? EMPTY, isOwn: table === undefined });
  }
  const reads: Promise<void>[] = [];
  for (let first = 0; first < missing.length; ) {
    let next = first + 1;
    while (next < missing.length && missing[next] === missing[next - 1]! + clusterSize) next++;
    reads.push(file.read(missing[first]!, memory.subarray(first * clusterSize, next * clusterSize)));
    first = next;
  }
  for (const result of await Promise.allSettled(reads)) {
    if (result.status === 'rejected') throw result.reason;
  }
  let at = 0;
  return walked.map((one) => {
    if (!one.isOwn) return one;
    const table = memory.subarray(at, at + clusterSize);
    at += clusterSize;
    return { ...one, table };
  });
}

const EMPTY = Buffer.alloc(0);
