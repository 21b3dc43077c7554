/**
 * Refcount blocks as a transaction makes them: copies that are changed in memory and written anew when it commits. Where
 * one follows another, or nearly all will be needed, they are read many at a time, once, and past the cache.
 */
import type { Qcow2Image } from './image.ts';
import { firstFree, getRefcount, type Refcounts, type Shadow, type Shadows } from './refcount.ts';

export class ShadowBlock implements Shadow {
  readonly data: Buffer;
  readonly oldOffset: number;
  newOffset = 0;
  readonly #entries: number;
  /** A bit for each count that was 0 before; undefined: there was none. */
  readonly #free: Uint8Array | undefined;

  constructor(data: Buffer, oldOffset: number, { blockEntries, order }: Refcounts) {
    this.data = data;
    this.oldOffset = oldOffset;
    this.#entries = blockEntries;
    let at = firstFree(data, 0, order, blockEntries);
    if (at === blockEntries) return;
    const free = new Uint8Array(Math.ceil(blockEntries / 8));
    for (; at < blockEntries; at = firstFree(data, at, order, blockEntries)) {
      for (; at < blockEntries && getRefcount(data, at, order) === 0; at++) {
        free[at >> 3] = free[at >> 3]! | (1 << (at & 7));
      }
    }
    this.#free = free;
  }

  firstFree(from: number): number {
    const free = this.#free;
    if (free === undefined) return this.#entries;
    for (let at = from; at < this.#entries; ) {
      const bits = free[at >> 3]! >> (at & 7);
      if ((bits & 1) !== 0) return at;
      at = bits === 0 ? (at | 7) + 1 : at + 1;
    }
    return this.#entries;
  }
}

/** Read in one go; as many more are on their way meanwhile. */
const AHEAD_BYTES = 1024 * 1024;
/** Of tables smaller than a page's worth no more than this. */
const AHEAD_BLOCKS = 64;

interface Ahead {
  readonly data: Buffer;
  readonly read: Promise<void>;
  /** Where the next ones begin. */
  readonly next: number;
}

export class ShadowBlocks implements Shadows {
  /** Nearly all blocks of the image will be changed. */
  takesAll = false;
  readonly #image: Qcow2Image;
  readonly #blocks = new Map<number, ShadowBlock>();
  /** Read, and not changed so far. */
  readonly #ahead = new Map<number, Ahead>();

  constructor(image: Qcow2Image) {
    this.#image = image;
  }

  get size(): number {
    return this.#blocks.size;
  }

  get(index: number): ShadowBlock | undefined {
    return this.#blocks.get(index);
  }

  entries(): IterableIterator<[number, ShadowBlock]> {
    return this.#blocks.entries();
  }

  /** Number of the last one, or -1. */
  get last(): number {
    let last = -1;
    for (const index of this.#blocks.keys()) last = Math.max(last, index);
    return last;
  }

  /** Those that have no place in the file so far. */
  homeless(): ShadowBlock[] {
    return [...this.#blocks.values()].filter((block) => block.newOffset === 0);
  }

  /** The block to change. */
  async take(index: number): Promise<ShadowBlock> {
    const present = this.#blocks.get(index);
    if (present !== undefined) return present;
    const { clusterSize, refcounts } = this.#image;
    const oldOffset = refcounts.blockOffset(index);
    const data = oldOffset === 0 ? Buffer.alloc(clusterSize) : await this.#copy(index, oldOffset);
    this.#ahead.delete(index);
    const shadow = new ShadowBlock(data, oldOffset, refcounts);
    this.#blocks.set(index, shadow);
    return shadow;
  }

  async #copy(index: number, offset: number): Promise<Buffer> {
    const ahead = await this.#readAhead(index);
    if (ahead !== undefined) return ahead;
    return Buffer.from(await this.#image.refcountCache.get(offset));
  }

  /** The block as it is by now, to look at. */
  async look(index: number): Promise<Buffer | undefined> {
    return this.#blocks.get(index)?.data ?? this.base(index, true);
  }

  /** A block that was not taken, to look at. */
  async base(index: number, isRow: boolean): Promise<Buffer | undefined> {
    const { refcounts } = this.#image;
    if (refcounts.blockOffset(index) === 0) return undefined;
    return (await this.#readAhead(index)) ?? (isRow ? refcounts.blockAhead(index) : refcounts.block(index));
  }

  /** The block of the file, if it was read ahead or is worth it. */
  async #readAhead(index: number): Promise<Buffer | undefined> {
    const isWorthIt = this.takesAll || this.#blocks.has(index - 1);
    if (!this.#ahead.has(index) && (!isWorthIt || !this.#isMissing(index))) return undefined;
    const ahead = this.#ahead.get(index) ?? this.#begin(index);
    await ahead.read;
    const { next } = ahead;
    if (next - index >= 2 && !this.#ahead.has(next) && this.#isMissing(next)) this.#begin(next);
    return ahead.data;
  }

  /** It is in the file, and nowhere else. */
  #isMissing(index: number): boolean {
    const { refcountCache, refcounts } = this.#image;
    const offset = refcounts.blockOffset(index);
    return offset !== 0 && !this.#blocks.has(index) && refcountCache.peek(offset) === undefined;
  }

  /** Reads blocks from `first` on, neighbours in the file by one request. */
  #begin(first: number): Ahead {
    const { clusterSize, file, refcounts } = this.#image;
    const most = Math.max(1, Math.min(AHEAD_BLOCKS, Math.floor(AHEAD_BYTES / clusterSize)));
    let next = first + 1;
    while (next < first + most && this.#isMissing(next) && !this.#ahead.has(next)) next++;
    const memory = Buffer.allocUnsafeSlow((next - first) * clusterSize);
    const reads: Promise<void>[] = [];
    for (let index = first; index < next; ) {
      const offset = refcounts.blockOffset(index);
      let end = index + 1;
      while (end < next && refcounts.blockOffset(end) === offset + (end - index) * clusterSize) end++;
      reads.push(
        file.read(offset, memory.subarray((index - first) * clusterSize, (end - first) * clusterSize)),
      );
      index = end;
    }
    const read = Promise.all(reads).then(() => {});
    // Whoever needs one of them hears of a failure.
    read.catch(() => {});
    for (let index = first; index < next; index++) {
      const data = memory.subarray((index - first) * clusterSize, (index - first + 1) * clusterSize);
      this.#ahead.set(index, { data, read, next });
    }
    return this.#ahead.get(first)!;
  }
}
