/**
 * Walks over many L2 tables, as snapshots need them: neighbours in the file come by one request, the next batch is read
 * while this one is worked on, and the cache, which is for the guest's tables, is looked at and left alone.
 */
import { giveAligned, takeAligned } from '../aligned-memory.ts';
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
   * last one only then if {@link settled} follows.
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
  const memory = new BatchMemory(places.length > size);
  const batchAt = (first: number): Promise<WalkedTable[]> => {
    const some = places.slice(first, first + size);
    const batch = readTables(
      image,
      some,
      memory.batch((first / size) % BATCHES, some.length * image.clusterSize),
    );
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
      if (first + size < places.length || memory.isAligned) await use.passOn();
    }
  } finally {
    await use.settled();
    await next.catch(() => {});
    memory.release();
  }
}

/** Memory for batches of tables. That of a long walk is aligned, so that neighbours are read past the page cache. */
class BatchMemory {
  readonly isAligned: boolean;
  readonly #batches: (Buffer | undefined)[] = [];

  constructor(isAligned: boolean) {
    this.isAligned = isAligned;
  }

  batch(number: number, bytes: number): Buffer {
    if (bytes === 0) return EMPTY;
    if ((this.#batches[number]?.length ?? 0) < bytes) this.#batches[number] = this.#take(bytes);
    return this.#batches[number]!.subarray(0, bytes);
  }

  #take(bytes: number): Buffer {
    if (!this.isAligned) return Buffer.allocUnsafeSlow(bytes);
    const { buffer, byteOffset } = takeAligned(BATCH_BYTES);
    return Buffer.from(buffer, byteOffset, BATCH_BYTES);
  }

  release(): void {
    if (this.isAligned) for (const batch of this.#batches) if (batch !== undefined) giveAligned(batch);
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
