/**
 * Changes of metadata that must happen as a whole: snapshots made, applied, deleted; a longer refcount table.
 *
 * All that changes (refcount blocks, the refcount table, L1 and L2 tables, the snapshot table) is written to clusters that
 * are free both before and after; then one write of the header's first sector, which holds all their offsets, switches to
 * the new state. The clusters of the old state are free in the new counts. Nothing is ever seen half done, nothing leaks.
 */
import { memoryOf } from '../aligned-memory.ts';
import { BlockError } from '../errors.ts';
import { writeGathered } from '../gathered-write.ts';
import { setEntry } from './be64.ts';
import { HEADER_PATCH_BYTES, patchHeader, type Qcow2Header } from './header.ts';
import type { Qcow2Image } from './image.ts';
import { MAX_REFCOUNT_TABLE_BYTES } from './limits.ts';
import { Parts } from './mapping.ts';
import { changePlain, type CountBlock, countBlock, plainCluster, viewOf } from './plain-entries.ts';
import { getRefcount, setRefcount } from './refcount.ts';
import { forEachReference } from './references.ts';
import { ShadowBlocks } from './shadow-blocks.ts';
import type { Snapshot } from './snapshot-table.ts';
import type { WalkUse } from './table-walk.ts';

interface PendingWrite {
  readonly offset: number;
  readonly data: Buffer;
}

/** Written out early when more is waiting. */
const MAX_PENDING_BYTES = 8 * 1024 * 1024;
/** New L2 tables that stay in the cache. */
const KEPT_L2_BYTES = 8 * 1024 * 1024;
/** So much is given to the disk while more is being made, so that the flush at the end has little to wait for. */
const FLUSH_BYTES = 32 * 1024 * 1024;
/** Where so many clusters were allocated singly and more are to come, they are laid side by side… */
const MANY_CLUSTERS = 16;
/** …in pieces of this many. */
const ROOM_CLUSTERS = 64;

/** Needs the image's mutex from its creation until commit; a snapshot operation also the gate. */
export class Transaction implements WalkUse {
  /** Fields of the state to come. */
  readonly header: Qcow2Header;
  readonly #image: Qcow2Image;
  readonly #blocks: ShadowBlocks;
  #writes: PendingWrite[] = [];
  #writeBytes = 0;
  #lastMemory: ArrayBufferLike | undefined;
  #unflushedBytes = 0;
  #flushing: Promise<void> | undefined;
  #writing: Promise<void> | undefined;
  readonly #newL2 = new Map<number, Buffer>();
  readonly #freed: number[] = [];
  #l1: Buffer | undefined;
  #snapshots: { list: readonly Snapshot[]; bytes: number } | undefined;
  /** Behind the last allocation, so that many of them do not search the same clusters again. */
  #searchFrom: number | undefined;
  /** Clusters that single allocations come from, and how many there were. */
  #room = { next: 0, end: 0 };
  #singles = 0;
  /** L2 tables that may still be written. */
  #expected = 0;
  #memoIndex = -1;
  #memoData: Buffer | undefined;
  #memoBlock: CountBlock | undefined;

  constructor(image: Qcow2Image) {
    this.#image = image;
    this.header = { ...image.header };
    this.#blocks = new ShadowBlocks(image);
  }

  expect(tables: number): void {
    const { clusterSize, fileEnd, l2Entries } = this.#image;
    this.#expected = tables;
    const most = fileEnd / clusterSize / 2;
    if (tables >= MANY_CLUSTERS && tables * l2Entries > most) this.#blocks.takesAll = true;
  }

  /** The block to change; a copy of its own. */
  async block(index: number): Promise<Buffer> {
    if (index === this.#memoIndex) return this.#memoData!;
    const { data } = await this.#blocks.take(index);
    this.#memoIndex = index;
    this.#memoData = data;
    this.#memoBlock = countBlock(this.#image, index, data);
    return data;
  }

  /** The block that counts `cluster` as it is by now, to look at. */
  async counts(cluster: number): Promise<CountBlock | undefined> {
    const index = Math.floor(cluster / this.#image.refcounts.blockEntries);
    const bytes = await this.#blocks.look(index);
    return bytes === undefined ? undefined : countBlock(this.#image, index, bytes);
  }

  async refcount(cluster: number): Promise<number> {
    const { blockEntries, order } = this.#image.refcounts;
    const shadow = this.#blocks.get(Math.floor(cluster / blockEntries));
    if (shadow === undefined) return this.#image.refcounts.get(cluster);
    return getRefcount(shadow.data, cluster % blockEntries, order);
  }

  async change(cluster: number, delta: number): Promise<void> {
    const { refcounts } = this.#image;
    const index = Math.floor(cluster / refcounts.blockEntries);
    this.#bump(index === this.#memoIndex ? this.#memoData! : await this.block(index), cluster, delta);
  }

  #bump(data: Buffer, cluster: number, delta: number): void {
    const { refcounts } = this.#image;
    const at = cluster % refcounts.blockEntries;
    const value = getRefcount(data, at, refcounts.order) + delta;
    if (value < 0) throw refcounts.underflow(cluster);
    if (value > refcounts.max) throw refcounts.overflow(cluster);
    setRefcount(data, at, refcounts.order, value);
    if (value === 0) this.#freed.push(cluster);
  }

  async set(cluster: number, value: number): Promise<void> {
    const { refcounts } = this.#image;
    if (value > refcounts.max) throw refcounts.overflow(cluster);
    const data = await this.block(Math.floor(cluster / refcounts.blockEntries));
    setRefcount(data, cluster % refcounts.blockEntries, refcounts.order, value);
    if (value === 0) this.#freed.push(cluster);
  }

  /** One reference more or less to every cluster that an L2 table's entries name. */
  async changeEntries(table: Buffer, delta: number): Promise<void> {
    if (this.#image.hasDataFile) return;
    const { clusterBits, entryBytes, l2Entries } = this.#image;
    const view = viewOf(table);
    for (let entry = 0; ; ) {
      if (this.#memoBlock !== undefined) {
        entry = changePlain(this.#image, view, entry, this.#memoBlock, delta, this.#freed);
      }
      if (entry === l2Entries) return;
      const cluster = plainCluster(view, entry * entryBytes, clusterBits);
      if (cluster >= 0) await this.block(Math.floor(cluster / this.#image.refcounts.blockEntries));
      else await this.#changeEntry(table, entry++, delta);
    }
  }

  async #changeEntry(table: Buffer, entry: number, delta: number): Promise<void> {
    const clusters: number[] = [];
    forEachReference(this.#image, table, (cluster) => clusters.push(cluster), entry, entry + 1);
    for (const cluster of clusters) await this.change(cluster, delta);
  }

  async changeRange(offset: number, bytes: number, delta: number): Promise<void> {
    const { clusterSize } = this.#image;
    const first = offset / clusterSize;
    for (let i = 0; i < Math.ceil(bytes / clusterSize); i++) await this.change(first + i, delta);
  }

  /** Host offset of `bytes` of new contiguous clusters, each with count 1. 0 for no bytes. */
  async allocate(bytes: number): Promise<number> {
    const { clusterSize } = this.#image;
    const count = Math.ceil(bytes / clusterSize);
    if (count === 0) return 0;
    const first = await this.#find(count);
    for (let i = 0; i < count; i++) await this.change(first + i, 1);
    this.#image.noteEnd((first + count) * clusterSize);
    return first * clusterSize;
  }

  /** The first of `count` neighbours that are free before and after; never given again. */
  async #find(count: number): Promise<number> {
    const { metadata, clusterSize, refcounts } = this.#image;
    const { cluster } = await refcounts.findFree(count, true, this.#blocks, this.#searchFrom);
    this.#searchFrom = cluster + count;
    await metadata.guard(cluster * clusterSize, count);
    return cluster;
  }

  /** Host offset of a new cluster with count 1. `left`: that many may be asked for, with this one. */
  async #allocateOne(left: number): Promise<number> {
    const { clusterSize } = this.#image;
    const room = this.#room;
    if (room.next === room.end) {
      const count = this.#singles < MANY_CLUSTERS ? 1 : Math.max(1, Math.min(ROOM_CLUSTERS, left));
      room.next = await this.#find(count);
      room.end = room.next + count;
    }
    this.#singles++;
    const cluster = room.next++;
    await this.change(cluster, 1);
    this.#image.noteEnd((cluster + 1) * clusterSize);
    return cluster * clusterSize;
  }

  /** `data` goes to clusters that this transaction allocated. It must not change any more. */
  async write(offset: number, data: Buffer): Promise<void> {
    this.#writes.push({ offset, data });
    if (memoryOf(data) !== undefined) this.#writeBytes += data.length;
    // Pieces of one buffer keep all of it in memory.
    else if (data.buffer !== this.#lastMemory) this.#writeBytes += data.buffer.byteLength;
    this.#lastMemory = data.buffer;
    if (this.#writeBytes > MAX_PENDING_BYTES) await this.#writeOut();
  }

  /** A new L2 table; gives its offset. */
  async writeL2(table: Buffer): Promise<number> {
    const offset = await this.#allocateOne(this.#expected);
    if (this.#expected > 0) this.#expected--;
    // A copy: `table` may be a piece of something larger.
    if (this.#newL2.size * table.length < KEPT_L2_BYTES) this.#newL2.set(offset, Buffer.from(table));
    await this.write(offset, table);
    return offset;
  }

  /** A new active L1 table of `entries` (padded to sectors); the old one's clusters become free. */
  async replaceL1(l1: Buffer, entries: number): Promise<void> {
    const old = this.#image.header;
    await this.changeRange(old.l1Offset, old.l1Entries * 8, -1);
    this.header.l1Offset = await this.allocate(entries * 8);
    this.header.l1Entries = entries;
    this.#l1 = l1;
    if (entries > 0) await this.write(this.header.l1Offset, l1);
  }

  async replaceSnapshots(snapshots: readonly Snapshot[], table: Buffer): Promise<void> {
    await this.changeRange(this.#image.header.snapshotsOffset, this.#image.snapshotTableBytes, -1);
    this.header.snapshotsOffset = await this.allocate(table.length);
    this.header.snapshotCount = snapshots.length;
    this.#snapshots = { list: snapshots, bytes: table.length };
    if (table.length > 0) await this.write(this.header.snapshotsOffset, table);
  }

  async passOn(): Promise<void> {
    await this.#writing;
    this.#writing = this.#writeOut();
    // The next one to wait for it hears of a failure.
    this.#writing.catch(() => {});
  }

  async settled(): Promise<void> {
    await this.#writing?.catch(() => {});
  }

  async #writeOut(): Promise<void> {
    const writes = this.#writes.sort((a, b) => a.offset - b.offset);
    this.#writes = [];
    this.#writeBytes = 0;
    this.#lastMemory = undefined;
    const requests = new Parts();
    for (let first = 0; first < writes.length; ) {
      const parts: Buffer[] = [];
      let end = writes[first]!.offset;
      let next = first;
      while (next < writes.length && writes[next]!.offset === end) {
        parts.push(writes[next]!.data);
        end += writes[next]!.data.length;
        next++;
      }
      await requests.add(writeGathered(this.#image.file, writes[first]!.offset, parts));
      this.#unflushedBytes += end - writes[first]!.offset;
      first = next;
    }
    await requests.settle();
    if (this.#unflushedBytes > FLUSH_BYTES) await this.#flushAhead();
  }

  async #flushAhead(): Promise<void> {
    await this.#flushing;
    this.#unflushedBytes = 0;
    this.#flushing = this.#image.file.flush();
    // The next one to wait for it hears of a failure.
    this.#flushing.catch(() => {});
  }

  /** Finds room for the changed refcount blocks and a table that names them. */
  async #placeRefcounts(): Promise<Buffer> {
    const { clusterSize, refcounts } = this.#image;
    const old = this.#image.header;
    await this.changeRange(old.refcountTableOffset, old.refcountTableClusters * clusterSize, -1);
    let clusters = old.refcountTableClusters;
    let offset = await this.allocate(clusters * clusterSize);
    for (let settled = false; !settled; ) {
      settled = true;
      const homeless = this.#blocks.homeless();
      for (const [i, shadow] of homeless.entries()) {
        settled = false;
        shadow.newOffset = await this.#allocateOne(homeless.length - i);
        if (shadow.oldOffset !== 0) await this.change(shadow.oldOffset / clusterSize, -1);
      }
      const needed = Math.ceil(((this.#blocks.last + 1) * 8) / clusterSize);
      if (needed <= clusters) continue;
      settled = false;
      await this.changeRange(offset, clusters * clusterSize, -1);
      clusters = needed + Math.ceil(needed / 2);
      this.#checkTableSize(needed * clusterSize);
      offset = await this.allocate(clusters * clusterSize);
    }
    this.header.refcountTableOffset = offset;
    this.header.refcountTableClusters = clusters;
    const table = Buffer.alloc(clusters * clusterSize);
    refcounts.table.copy(table);
    for (const [index, shadow] of this.#blocks.entries()) {
      setEntry(table, index, shadow.newOffset, 0, 0);
      await this.write(shadow.newOffset, shadow.data);
    }
    await this.write(offset, table);
    return table;
  }

  #checkTableSize(bytes: number): void {
    if (bytes <= MAX_REFCOUNT_TABLE_BYTES) return;
    throw new BlockError('limit', `'${this.#image.filename}': refcount table would be too large`, {
      file: this.#image.filename,
      section: 'refcount table',
      field: 'size',
      found: bytes,
      expected: `at most ${MAX_REFCOUNT_TABLE_BYTES}`,
    });
  }

  /** Makes it so: on disk, then in memory. If it throws before the header's write, nothing has happened. */
  async commit(): Promise<void> {
    const image = this.#image;
    image.assertWritable();
    await this.#writing;
    const refcountTable = await this.#placeRefcounts();
    await this.#writeOut();
    await this.#flushing;
    await image.file.flush();
    const sector = Buffer.from(image.headerBytes);
    patchHeader(sector, this.header);
    await switchHeader(image, sector);
    this.#adopt(refcountTable, sector);
  }

  /** Clusters that nothing refers to any more. */
  get freed(): readonly number[] {
    return this.#freed;
  }

  #adopt(refcountTable: Buffer, sector: Buffer): void {
    const image = this.#image;
    sector.copy(image.headerBytes);
    image.header = this.header;
    image.refcounts.table = refcountTable;
    image.metadata.invalidate();
    for (const cluster of this.#freed) {
      image.refcounts.freed(cluster);
      image.l2Cache.drop(cluster * image.clusterSize);
    }
    // More than the cache is for would only push out what the guest uses.
    const keeps = this.#blocks.size * image.clusterSize <= image.cacheStatistics.budgetBytes / 4;
    for (const [, { oldOffset, newOffset, data }] of this.#blocks.entries()) {
      if (oldOffset !== 0) image.refcountCache.drop(oldOffset);
      image.refcountCache.drop(newOffset);
      // A copy: it may be a piece of something larger.
      if (keeps) image.refcountCache.putClean(newOffset, Buffer.from(data));
    }
    for (const [offset, table] of this.#newL2) image.l2Cache.putClean(offset, table);
    if (this.#l1 !== undefined) image.l1 = this.#l1;
    if (this.#snapshots !== undefined) {
      image.snapshots = this.#snapshots.list;
      image.snapshotTableBytes = this.#snapshots.bytes;
    }
  }
}

/** One write that switches to another state; if it fails, back to the one that was. */
export async function switchHeader(image: Qcow2Image, sector: Buffer): Promise<void> {
  const put = async (bytes: Buffer): Promise<void> => {
    await image.file.write(0, bytes.subarray(0, HEADER_PATCH_BYTES));
    await image.file.flush();
  };
  try {
    await put(sector);
  } catch (error) {
    // Both states are there whole; which of them the header names now, nobody knows before it is written again.
    await put(image.headerBytes).catch((second: unknown) => image.poison(second));
    throw error;
  }
}

/**
 * Refcount blocks for every cluster below `end`, and a quarter more than there are, so that a growing image does not come
 * here often.
 */
export async function growRefcounts(image: Qcow2Image, end: number): Promise<void> {
  const { refcounts } = image;
  const last = Math.floor((end - 1) / refcounts.blockEntries);
  const transaction = new Transaction(image);
  const extra = Math.min(64, Math.floor(last / 4));
  for (let index = 0; index <= last + extra; index++) {
    if (refcounts.blockOffset(index) === 0) await transaction.block(index);
  }
  await transaction.commit();
}
