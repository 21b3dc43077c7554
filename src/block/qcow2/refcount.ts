/**
 * Reference counts: blocks of 1- to 64-bit entries behind a table (qcow2 specification, "Host cluster management"), and
 * the search for free clusters. Counts rise at once in the cached block; they fall only after the table that held the
 * reference is durable, and a cluster is used again only after the requests that may still touch it are done.
 * New blocks and a longer table come by a transaction (`transaction.ts`), never in place.
 */
import { BlockError } from '../errors.ts';
import { entryOffset } from './be64.ts';
import type { TableCache } from './cache.ts';

/** Entry `index` of a block whose entries are 2^order bits wide; those below a byte fill it from its low end. */
export function getRefcount(block: Buffer, index: number, order: number): number {
  switch (order) {
    case 4:
      return (block[index * 2]! << 8) | block[index * 2 + 1]!;
    case 3:
      return block[index]!;
    case 5:
      return block.readUInt32BE(index * 4);
    case 6:
      return block.readUInt32BE(index * 8) * 2 ** 32 + block.readUInt32BE(index * 8 + 4);
    default: {
      const bits = 1 << order;
      return (block[(index * bits) >> 3]! >> ((index * bits) & 7)) & ((1 << bits) - 1);
    }
  }
}

export function setRefcount(block: Buffer, index: number, order: number, value: number): void {
  switch (order) {
    case 4:
      block.writeUInt16BE(value, index * 2);
      return;
    case 3:
      block[index] = value;
      return;
    case 5:
      block.writeUInt32BE(value, index * 4);
      return;
    case 6:
      block.writeUInt32BE(Math.floor(value / 2 ** 32), index * 8);
      block.writeUInt32BE(value % 2 ** 32, index * 8 + 4);
      return;
    default: {
      const bits = 1 << order;
      const at = (index * bits) >> 3;
      const shift = (index * bits) & 7;
      const mask = ((1 << bits) - 1) << shift;
      block[at] = (block[at]! & ~mask) | (value << shift);
    }
  }
}

/** Greatest count that an entry holds; above 2^53 we do not count. */
export function maxRefcount(order: number): number {
  return order === 6 ? Number.MAX_SAFE_INTEGER : 2 ** (1 << order) - 1;
}

/** First entry from `from` on that is 0, or `entries`. */
export function firstFree(block: Buffer, from: number, order: number, entries: number): number {
  if (order === 4 && block.byteOffset % 2 === 0) {
    const at = new Uint16Array(block.buffer, block.byteOffset, entries).indexOf(0, from);
    return at < 0 ? entries : at;
  }
  let at = from;
  while (at < entries && getRefcount(block, at, order) !== 0) at++;
  return at;
}

/** What a transaction has made of a block. */
export interface Shadow {
  readonly data: Buffer;
  /** First entry from `from` on that was 0 before, or the number of entries. */
  firstFree(from: number): number;
}

/** A transaction's blocks. */
export interface Shadows {
  get(index: number): Shadow | undefined;
  /** Of which there is no shadow. `isRow`: those behind it will be needed as well. */
  base(index: number, isRow: boolean): Promise<Buffer | undefined>;
}

/** Blocks that are read ahead where many are needed in a row, and bytes of them. */
const AHEAD_BLOCKS = 16;
const AHEAD_BYTES = 2 * 1024 * 1024;

export interface FreeRun {
  /** First cluster, as a cluster number. */
  readonly cluster: number;
  readonly count: number;
}

interface PendingFree {
  readonly cluster: number;
  readonly ticket: number;
}

export class Refcounts {
  readonly order: number;
  /** Greatest count. */
  readonly max: number;
  /** Entries of a block. */
  readonly blockEntries: number;
  /** The refcount table as on disk; replaced by a transaction. */
  table: Buffer;
  /** Clusters that are free on disk but promised to a VM state writer. */
  readonly reserved = new Set<number>();
  readonly #file: string;
  readonly #clusterSize: number;
  readonly #cache: TableCache;
  /** No free cluster lies below. */
  #hint = 1;
  /** Something was freed since the last search began: what it finds is not the first free cluster any more. */
  #lowered = false;
  #pending: PendingFree[] = [];
  /** Grows whenever a cluster becomes free. */
  frees = 0;

  constructor(file: string, clusterSize: number, order: number, table: Buffer, cache: TableCache) {
    this.#file = file;
    this.#clusterSize = clusterSize;
    this.order = order;
    this.max = maxRefcount(order);
    this.blockEntries = (clusterSize * 8) >> order;
    this.table = table;
    this.#cache = cache;
  }

  get hasPendingFrees(): boolean {
    return this.#pending.length > 0;
  }

  /** Blocks that the table has room for. */
  get tableEntries(): number {
    return this.table.length / 8;
  }

  /** Host offset of block `index`, 0 if there is none. */
  blockOffset(index: number): number {
    if (index >= this.tableEntries) return 0;
    const offset = entryOffset(this.table, index);
    if (offset % this.#clusterSize !== 0 || offset > Number.MAX_SAFE_INTEGER) {
      throw new BlockError('corrupt', `'${this.#file}': refcount block offset invalid`, {
        file: this.#file,
        section: 'refcount table',
        field: `entry ${index}`,
        found: offset,
        expected: `a multiple of ${this.#clusterSize}`,
      });
    }
    return offset;
  }

  block(index: number): Buffer | Promise<Buffer> | undefined {
    const offset = this.blockOffset(index);
    return offset === 0 ? undefined : this.#cache.get(offset);
  }

  /** As {@link block}, where those behind it will be needed as well. */
  blockAhead(index: number): Buffer | Promise<Buffer> | undefined {
    const block = this.block(index);
    if (!(block instanceof Promise)) return block;
    const last = index + Math.min(AHEAD_BLOCKS, Math.floor(AHEAD_BYTES / this.#clusterSize));
    for (let next = index + 1; next < Math.min(last, this.tableEntries); next++) {
      const offset = entryOffset(this.table, next);
      if (offset !== 0 && offset % this.#clusterSize === 0) this.#cache.prefetch(offset);
    }
    return block;
  }

  async get(cluster: number): Promise<number> {
    const block = await this.block(Math.floor(cluster / this.blockEntries));
    return block === undefined ? 0 : getRefcount(block, cluster % this.blockEntries, this.order);
  }

  /**
   * Up to `count` neighbouring free clusters (all of them if `exact`), not marked as used. `shadows`: what a
   * transaction has made of the blocks: free is what is free before and after it. `start`: where to begin, default at the
   * first cluster that may be free.
   */
  async findFree(count: number, exact: boolean, shadows?: Shadows, start = this.#hint): Promise<FreeRun> {
    let first = -1;
    let hinted = start !== this.#hint;
    this.#lowered = false;
    for (let cluster = start; ; ) {
      const index = Math.floor(cluster / this.blockEntries);
      const next = shadows?.get(index);
      const end = (index + 1) * this.blockEntries;
      const isRow = cluster > start;
      const base =
        next === undefined ? await (shadows?.base(index, isRow) ?? this.#baseOf(index, isRow)) : undefined;
      while (cluster < end) {
        const at = cluster % this.blockEntries;
        const free =
          next !== undefined
            ? next.firstFree(at)
            : base === undefined
              ? at
              : firstFree(base, at, this.order, this.blockEntries);
        if (free > at) {
          if (first >= 0 && !exact) return { cluster: first, count: cluster - first };
          first = -1;
          cluster += free - at;
          continue;
        }
        if (!hinted && !this.#lowered) this.#hint = cluster;
        hinted = true;
        const used =
          (next !== undefined && getRefcount(next.data, at, this.order) !== 0) || this.reserved.has(cluster);
        if (!used) {
          if (first < 0) first = cluster;
          if (cluster - first + 1 === count) return { cluster: first, count };
        } else if (first >= 0) {
          if (!exact) return { cluster: first, count: cluster - first };
          first = -1;
        }
        cluster++;
      }
    }
  }

  async #baseOf(index: number, isRow: boolean): Promise<Buffer | undefined> {
    return isRow ? this.blockAhead(index) : this.block(index);
  }

  /** Sets the counts of the first free run, as findFree gave it, to 1. Its blocks must exist. */
  async take(run: FreeRun): Promise<void> {
    for (let cluster = run.cluster; cluster < run.cluster + run.count; cluster++) {
      await this.change(cluster, 1);
    }
    if (!this.#lowered) this.#hint = run.cluster + run.count;
  }

  /** In the cached block, at once. */
  async change(cluster: number, delta: number): Promise<void> {
    const index = Math.floor(cluster / this.blockEntries);
    const block = await this.block(index);
    const at = cluster % this.blockEntries;
    const value = (block === undefined ? 0 : getRefcount(block, at, this.order)) + delta;
    if (block === undefined || value < 0) throw this.underflow(cluster);
    if (value > this.max) throw this.overflow(cluster);
    setRefcount(block, at, this.order, value);
    this.#cache.markDirty(this.blockOffset(index), block);
    if (value === 0) this.freed(cluster);
  }

  /** Searches begin no later than here from now on. */
  freed(cluster: number): void {
    this.frees++;
    this.#lowered = true;
    if (cluster < this.#hint) this.#hint = cluster;
  }

  underflow(cluster: number): BlockError {
    return new BlockError('corrupt', `'${this.#file}': a cluster is in use that counts as free`, {
      file: this.#file,
      section: 'refcount block',
      field: `cluster ${cluster}`,
      offset: cluster * this.#clusterSize,
      found: 0,
      expected: 'at least 1',
    });
  }

  overflow(cluster: number): BlockError {
    return new BlockError('limit', `'${this.#file}': refcount of a cluster would exceed its width`, {
      file: this.#file,
      section: 'refcount block',
      field: `cluster ${cluster}`,
      offset: cluster * this.#clusterSize,
      found: this.max + 1,
      expected: `at most ${this.max}`,
    });
  }

  /** One reference less, once what refers to it is durably gone. `ticket`: the latest request that may use it. */
  freeLater(cluster: number, count: number, ticket: number): void {
    for (let i = 0; i < count; i++) this.#pending.push({ cluster: cluster + i, ticket });
  }

  /** After a flush: `oldest` is the oldest request in flight. */
  async applyFrees(oldest: number): Promise<void> {
    if (this.#pending.length === 0) return;
    const later: PendingFree[] = [];
    const now = this.#pending;
    this.#pending = later;
    for (const free of now) {
      if (free.ticket >= oldest) later.push(free);
      else await this.change(free.cluster, -1);
    }
  }
}
