/**
 * What the parts of an open qcow2 image share: header, active L1 table, caches, refcounts, snapshots, and the order in
 * which metadata reaches the disk.
 *
 * Order of an ordinary write: data, then refcount blocks, flush, L2 tables, flush, L1 table, flush, then counts that fall.
 * Whatever more than that changes at once (snapshots, a longer refcount table) goes by `transaction.ts`. So at any
 * instant the file is a consistent image, but for clusters that count as used and are not.
 */
import { BlockError } from '../errors.ts';
import type { CacheStatistics } from '../block-node.ts';
import type { BlockFile } from '../file.ts';
import type { Lru } from '../lru.ts';
import { Gate, Mutex } from '../mutex.ts';
import { COPIED_HI, entryOffset, setEntry } from './be64.ts';
import { TableCache } from './cache.ts';
import type { FrozenDisk } from './frozen-disk.ts';
import { AUTOCLEAR_RAW_DATA, INCOMPAT_DATA_FILE, type Qcow2Header } from './header.ts';
import { MAX_HOST_OFFSET } from './limits.ts';
import { MetadataClusters } from './overlap.ts';
import { Refcounts } from './refcount.ts';
import type { Snapshot } from './snapshot-table.ts';

const SECTOR_BYTES = 512;

export class Qcow2Image {
  readonly file: BlockFile;
  readonly clusterBits: number;
  readonly clusterSize: number;
  /** Entries of an L2 table, their log2, and bytes of one. */
  readonly l2Entries: number;
  readonly l2Bits: number;
  readonly entryBytes: number;
  /** Parts of a cluster that are mapped each for itself: 32 with extended L2 entries, else 1; and bytes of one. */
  readonly unitsPerCluster: number;
  readonly unitSize: number;
  /** The guest's data lies in another file, at the guest's offsets; `isRawData`: that file alone is the disk. */
  readonly hasDataFile: boolean;
  readonly isRawData: boolean;
  /** That file, unless the image was opened without it. */
  readonly dataFile: BlockFile | undefined;
  readonly gate = new Gate();
  /** Held by whoever changes metadata. */
  readonly mutex = new Mutex();
  readonly l2Cache: TableCache;
  readonly refcountCache: TableCache;
  readonly refcounts: Refcounts;
  readonly cacheStatistics: CacheStatistics;
  readonly metadata = new MetadataClusters(this);
  header: Qcow2Header;
  /** The first {@link HEADER_PATCH_BYTES} or more of the file. */
  readonly headerBytes: Buffer;
  /** The active L1 table as on disk, padded to whole sectors. */
  l1: Buffer;
  /** Compressed clusters that were expanded lately, by host offset. */
  readonly expanded = new Map<number, Promise<Uint8Array>>();
  snapshots: readonly Snapshot[] = [];
  /** The disk as it was at an instant, of which a snapshot is being made while it is written on. */
  frozen: FrozenDisk | undefined;
  /** Length of the snapshot table in the file. */
  snapshotTableBytes = 0;
  /** Length of the file as far as we know; behind it reads zero and nothing need be zeroed. */
  fileEnd: number;
  /** Set when a header write failed: nobody knows which state is on disk. */
  #poison: BlockError | undefined;
  readonly #dirtyL1Sectors = new Set<number>();

  constructor(
    file: BlockFile,
    header: Qcow2Header,
    headerBytes: Buffer,
    tables: {
      l1: Buffer;
      refcountTable: Buffer;
      fileEnd: number;
      lru: Lru;
      dataFile?: BlockFile | undefined;
    },
  ) {
    this.file = file;
    this.header = header;
    this.headerBytes = headerBytes;
    this.clusterBits = header.clusterBits;
    this.clusterSize = 2 ** header.clusterBits;
    this.l2Bits = header.l2Bits;
    this.l2Entries = 2 ** header.l2Bits;
    this.entryBytes = this.clusterSize / this.l2Entries;
    this.unitsPerCluster = this.entryBytes === 16 ? 32 : 1;
    this.unitSize = this.clusterSize / this.unitsPerCluster;
    this.hasDataFile = (header.incompatible & INCOMPAT_DATA_FILE) !== 0;
    this.isRawData = (header.autoclear & AUTOCLEAR_RAW_DATA) !== 0;
    this.dataFile = tables.dataFile;
    this.l1 = tables.l1;
    this.fileEnd = tables.fileEnd;
    this.cacheStatistics = tables.lru;
    this.l2Cache = new TableCache(file, this.clusterSize, tables.lru);
    this.refcountCache = new TableCache(file, this.clusterSize, tables.lru);
    this.refcounts = new Refcounts(
      file.filename,
      this.clusterSize,
      header.refcountOrder,
      tables.refcountTable,
      this.refcountCache,
    );
  }

  get filename(): string {
    return this.file.filename;
  }

  /** Where the guest's data lies. */
  get data(): BlockFile {
    if (!this.hasDataFile) return this.file;
    if (this.dataFile !== undefined) return this.dataFile;
    throw new BlockError('unsupported', `'${this.filename}' was opened without its data file`, {
      file: this.filename,
      section: 'header',
      field: 'external data file',
    });
  }

  /** Everything written is durable, data and metadata. */
  async sync(): Promise<void> {
    if (this.dataFile !== undefined && !this.dataFile.readOnly) await this.dataFile.flush();
    await this.file.flush();
  }

  /** Bytes of the guest disk that one L2 table maps. */
  get l2Span(): number {
    return this.clusterSize * this.l2Entries;
  }

  assertWritable(): void {
    if (this.file.readOnly) {
      throw new BlockError('read-only', `Image '${this.filename}' is read-only`, { file: this.filename });
    }
    if (this.#poison !== undefined) throw this.#poison;
  }

  poison(cause: unknown): void {
    this.#poison = new BlockError('io', `'${this.filename}': an earlier metadata write failed`, {
      file: this.filename,
      section: 'header',
      cause,
    });
  }

  corrupt(
    message: string,
    section: string,
    field: string,
    offset: number,
    found: number,
    expected: string,
  ): never {
    throw new BlockError('corrupt', `'${this.filename}': ${message}`, {
      file: this.filename,
      section,
      field,
      offset,
      found,
      expected,
    });
  }

  /** Host offset of L2 table `index` of an L1 table, 0 if there is none; checked. */
  l2Offset(l1: Buffer, index: number): number {
    const offset = entryOffset(l1, index);
    if (offset % this.clusterSize !== 0 || offset > MAX_HOST_OFFSET) {
      this.corrupt('L2 table offset invalid', 'L1 table', `entry ${index}`, index * 8, offset, 'a cluster');
    }
    return offset;
  }

  setL1Entry(index: number, offset: number): void {
    setEntry(this.l1, index, offset, COPIED_HI, 0);
    this.#dirtyL1Sectors.add(Math.floor((index * 8) / SECTOR_BYTES));
  }

  /**
   * Marks `count` neighbouring clusters (or fewer, at least one) as used. `fresh`: they lie behind the end of the file, so
   * what is not written of them reads as zero. Needs the mutex.
   */
  async allocate(count: number): Promise<{ offset: number; count: number; fresh: boolean }> {
    for (;;) {
      const run = await this.refcounts.findFree(count, false);
      if (!this.#covered(run.cluster, run.cluster + run.count)) {
        await this.growRefcounts(run.cluster + run.count);
        continue;
      }
      const offset = run.cluster * this.clusterSize;
      await this.metadata.guard(offset, run.count);
      await this.refcounts.take(run);
      const fresh = offset >= this.fileEnd;
      this.noteEnd(offset + run.count * this.clusterSize);
      return { offset, count: run.count, fresh };
    }
  }

  /** Clusters below `end` may hold anything from now on. */
  noteEnd(end: number): void {
    if (end > this.fileEnd) this.fileEnd = end;
  }

  /** Set by the transaction module: makes refcount blocks for all clusters below `end`. */
  growRefcounts: (end: number) => Promise<void> = async () => {};

  #covered(cluster: number, end: number): boolean {
    const last = Math.floor((end - 1) / this.refcounts.blockEntries);
    for (let index = Math.floor(cluster / this.refcounts.blockEntries); index <= last; index++) {
      if (this.refcounts.blockOffset(index) === 0) return false;
    }
    return true;
  }

  /** Gives up one reference to the clusters at `offset`, once that is safe. */
  release(offset: number, count = 1): void {
    this.refcounts.freeLater(offset / this.clusterSize, count, this.gate.sequence);
  }

  /** Takes back an allocation that nothing refers to. */
  async unallocate(offset: number, count: number): Promise<void> {
    for (let i = 0; i < count; i++) await this.refcounts.change(offset / this.clusterSize + i, -1);
  }

  get hasDirtyMetadata(): boolean {
    return (
      this.refcountCache.hasDirty ||
      this.l2Cache.hasDirty ||
      this.#dirtyL1Sectors.size > 0 ||
      this.refcounts.hasPendingFrees
    );
  }

  /** Writes metadata in its order. Afterwards only falling counts may be dirty. Needs the mutex. */
  async writeBack(): Promise<void> {
    const tablesDirty = this.l2Cache.hasDirty || this.#dirtyL1Sectors.size > 0;
    if (this.refcountCache.hasDirty) await this.refcountCache.writeBack();
    if (tablesDirty) {
      await this.sync();
      if (this.l2Cache.hasDirty) await this.l2Cache.writeBack();
      if (this.#dirtyL1Sectors.size > 0) {
        await this.file.flush();
        await this.#writeL1();
      }
    }
    if (this.refcounts.hasPendingFrees) {
      await this.file.flush();
      await this.refcounts.applyFrees(this.gate.oldest);
    }
  }

  async #writeL1(): Promise<void> {
    for (const sector of [...this.#dirtyL1Sectors].sort((a, b) => a - b)) {
      const at = sector * SECTOR_BYTES;
      const bytes = this.frozen?.l1ToDisk(at, SECTOR_BYTES) ?? this.l1.subarray(at, at + SECTOR_BYTES);
      await this.file.write(this.header.l1Offset + at, bytes);
      this.#dirtyL1Sectors.delete(sector);
    }
  }

  /** Everything written, falling counts too; only with no request in flight, with the mutex. */
  async settle(): Promise<void> {
    await this.writeBack();
    await this.writeBack();
  }

  async writeBackIfFull(): Promise<void> {
    if (this.l2Cache.wantsWriteBack || this.refcountCache.wantsWriteBack) await this.writeBack();
  }
}
