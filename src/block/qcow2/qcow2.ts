/**
 * A qcow2 image as a block node: docs/qcow2.md says what of the format is there. Not here, refused by name: encryption.
 * Not here: keeping dirty bitmaps up to date (they are marked as in use before the first write).
 */
import type {
  BlockNode,
  CacheStatistics,
  DiskInstant,
  HeldDisk,
  SnapshotInfo,
  SnapshotMeta,
  Snapshotting,
  VmStateHandle,
  VmStateOptions,
  VmStateWriter,
} from '../block-node.ts';
import type { Coverage, Layer, Survey } from '../chain-map.ts';
import { BlockError } from '../errors.ts';
import type { BlockFile } from '../file.ts';
import { Lru } from '../lru.ts';
import { readsZero, writeRange } from './allocate.ts';
import { entryOffset } from './be64.ts';
import { markBitmapsInUse } from './bitmaps.ts';
import {
  HEADER_PATCH_BYTES,
  INCOMPAT_CORRUPT,
  INCOMPAT_DATA_FILE,
  INCOMPAT_DIRTY,
  parseHeader,
  patchHeader,
  type Qcow2Header,
} from './header.ts';
import { thaw } from './frozen-disk.ts';
import { holdImage, Qcow2Instant } from './hold.ts';
import { Qcow2Image } from './image.ts';
import { DEFAULT_CACHE_BYTES, MAX_CLUSTER_BITS } from './limits.ts';
import { coverageOf, type DiskExtent, extentsOf, readRange } from './mapping.ts';
import { preallocateFrom } from './preallocate.ts';
import { repair } from './repair.ts';
import { resizeImage } from './resize.ts';
import { parseSnapshots, type Snapshot } from './snapshot-table.ts';
import {
  applySnapshot,
  assertCountsClusters,
  createSnapshot,
  deleteSnapshot,
  findSnapshot,
  l1Bytes,
  readSnapshotL1,
  snapshotInfo,
} from './snapshots.ts';
import { canSurvey, readEntries, survey } from './survey.ts';
import { growRefcounts } from './transaction.ts';
import { Qcow2VmStateWriter, readVmState } from './vmstate-area.ts';
import { openVmState } from './vmstate-handle.ts';
import { CompressedWriter } from './write-compressed.ts';
import { discardClusters, zeroUnits } from './zero.ts';

/** Zeroes are written in pieces of this size where they have to be written. */
const ZERO_BYTES = 1024 * 1024;
/** See {@link Qcow2}'s firstChange. */
const DONE = Promise.resolve();

export interface Qcow2Options {
  /** Opens the backing file that the header names; called once. Without it, or if it gives nothing, holes read zero. */
  readonly openBacking?: (name: string, format: string | undefined) => Promise<BlockNode | undefined>;
  /** Opens the external data file; `name` as the header has it, if it does. Without it: the tables can be looked at, the data not. */
  readonly openDataFile?: (name: string | undefined) => Promise<BlockFile | undefined>;
  /** Holds L2 tables and refcount blocks; shared by the images of a chain. */
  readonly lru?: Lru;
  /** An image of a chain, below the first one: its refcounts are not asked for. */
  readonly onlyReads?: boolean;
  /**
   * Count everything again and set counts and flags right (also where the image says that it is corrupt); an image that
   * was not closed is repaired anyway. `leaks`: only counts that are too high. `false`: nothing, for who checks it.
   */
  readonly repair?: boolean | 'leaks';
}

/** Opens `file`, which from now on belongs to the node; it is closed if this fails. */
export async function openQcow2(file: BlockFile, options: Qcow2Options = {}): Promise<Qcow2> {
  try {
    const image = await openTables(file, options);
    const name = image.header.backingFile;
    let backing: BlockNode | undefined;
    try {
      if (name !== undefined) backing = await options.openBacking?.(name, image.header.backingFormat);
      if (!file.readOnly) await prepareForWriting(image, options.repair);
    } catch (error) {
      await backing?.close();
      await image.dataFile?.close();
      throw error;
    }
    return new Qcow2(image, backing);
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** The first cluster, which has all of the header; 64 KiB are enough to know how long it is. */
async function readStart(file: BlockFile, fileBytes: number): Promise<Buffer> {
  const start = Buffer.alloc(Math.min(fileBytes, 64 * 1024));
  await file.read(0, start);
  const bits = start.length >= 24 ? start.readUInt32BE(20) : 0;
  const bytes = Math.min(fileBytes, 2 ** Math.min(bits, MAX_CLUSTER_BITS));
  if (bytes <= start.length) return start;
  const whole = Buffer.alloc(bytes);
  await file.read(0, whole);
  return whole;
}

/** Everything that is read and checked before anything is used or changed. */
async function openTables(file: BlockFile, options: Qcow2Options): Promise<Qcow2Image> {
  const fileBytes = await file.size();
  const start = await readStart(file, fileBytes);
  const header = parseHeader(start, file.filename, fileBytes);
  if (!file.readOnly && (options.repair ?? false) === false) refuseCorrupt(file, header);
  const headerBytes = Buffer.alloc(HEADER_PATCH_BYTES);
  start.copy(headerBytes);
  const l1 = Buffer.alloc(l1Bytes(header.l1Entries));
  if (header.l1Entries > 0) await file.read(header.l1Offset, l1.subarray(0, header.l1Entries * 8));
  const countBytes = options.onlyReads === true ? 0 : header.refcountTableClusters * 2 ** header.clusterBits;
  const refcountTable = Buffer.alloc(countBytes);
  if (countBytes > 0) await file.read(header.refcountTableOffset, refcountTable);
  checkPopulation(l1, 'L1 table', header, file, fileBytes);
  checkPopulation(refcountTable, 'refcount table', header, file, fileBytes);
  const parsed = await parseSnapshots(header, file.filename, fileBytes, async (offset, length) => {
    const bytes = Buffer.alloc(length);
    await file.read(header.snapshotsOffset + offset, bytes);
    return bytes;
  });
  const external = (header.incompatible & INCOMPAT_DATA_FILE) !== 0;
  const image = new Qcow2Image(file, header, headerBytes, {
    l1,
    refcountTable,
    fileEnd: fileBytes,
    lru: options.lru ?? new Lru(DEFAULT_CACHE_BYTES),
    dataFile: external ? await options.openDataFile?.(header.dataFile) : undefined,
  });
  image.growRefcounts = (end) => growRefcounts(image, end);
  image.snapshots = parsed.snapshots;
  image.snapshotTableBytes = parsed.bytes;
  return image;
}

/**
 * Each entry of a table names a cluster of its own, so there are no more of them than the file has clusters. Without this
 * a small file could name one L2 table or refcount block millions of times, and every walk over it would take hours.
 */
function checkPopulation(
  table: Buffer,
  section: string,
  header: Qcow2Header,
  file: BlockFile,
  fileBytes: number,
): void {
  const clusters = Math.ceil(fileBytes / 2 ** header.clusterBits);
  if (table.length / 8 <= clusters) return;
  let entries = 0;
  for (let i = 0; i < table.length / 8; i++) if (entryOffset(table, i) !== 0) entries++;
  if (entries <= clusters) return;
  throw new BlockError(
    'corrupt',
    `'${file.filename}': ${section} has more entries than the file has clusters`,
    {
      file: file.filename,
      section,
      field: 'entries',
      found: entries,
      expected: `at most ${clusters}`,
    },
  );
}

function refuseCorrupt(file: BlockFile, header: Qcow2Header): void {
  if ((header.incompatible & INCOMPAT_CORRUPT) === 0) return;
  throw new BlockError(
    'corrupt',
    `'${file.filename}': qcow2: Image is corrupt; cannot be opened read/write`,
    {
      file: file.filename,
      section: 'header',
      field: 'incompatible_features',
      offset: 72,
      found: header.incompatible,
      expected: 'corrupt bit clear',
    },
  );
}

/** Counts are put right if the image was not closed; autoclear bits that we do not know are cleared. */
async function prepareForWriting(image: Qcow2Image, wanted: boolean | 'leaks' | undefined): Promise<void> {
  const { header } = image;
  if (wanted === 'leaks') await repair(image, 'leaks');
  else if (wanted === true || (wanted !== false && (header.incompatible & INCOMPAT_DIRTY) !== 0))
    await repair(image);
  if (!header.unknownAutoclear) return;
  image.header.unknownAutoclear = false;
  patchHeader(image.headerBytes, image.header);
  await image.file.write(0, image.headerBytes);
  await image.file.flush();
}

export class Qcow2 implements Layer, Snapshotting {
  readonly format = 'qcow2';
  /** For check and tests. */
  readonly image: Qcow2Image;
  /** What holes show; a chain below is behind a map. Changes only when it is no longer needed (`stream.ts`). */
  backing: BlockNode | undefined;
  readonly survey: Layer['survey'];
  #closing: Promise<void> | undefined;
  #vmSource: { snapshot: Snapshot; l1: Buffer } | undefined;
  /** Done once, before the disk's contents first change. */
  #firstChange: Promise<void> | undefined;
  #compressed: CompressedWriter | undefined;

  constructor(image: Qcow2Image, backing: BlockNode | undefined) {
    this.image = image;
    this.backing = backing;
    if (canSurvey(image)) this.survey = (offset, bytes, memory) => this.#survey(offset, bytes, memory);
  }

  async #survey(offset: number, bytes: number, memory: Buffer): Promise<Survey | undefined> {
    const entries = await readEntries(this.image, offset, bytes, memory);
    if (entries === undefined) return undefined;
    return (map, layer, end) => survey(this.image, entries, map, layer, end);
  }

  get filename(): string {
    return this.image.filename;
  }

  get sizeBytes(): number {
    return this.image.header.sizeBytes;
  }

  get cacheStatistics(): CacheStatistics {
    return this.image.cacheStatistics;
  }

  get readOnly(): boolean {
    return this.image.file.readOnly;
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    const ticket = await this.#enter();
    try {
      this.#checkBounds(offset, target.length);
      await readRange(this.image, this.image.l1, offset, target, this.backing);
    } finally {
      this.image.gate.leave(ticket);
    }
  }

  /** Of an image that nobody writes: see `chain-map.ts`. */
  coverage(offset: number, length: number): Promise<Coverage> {
    return coverageOf(this.image, this.image.l1, offset, length);
  }

  readAt(host: number, target: Uint8Array): Promise<void> {
    return this.image.file.read(host, target);
  }

  write(offset: number, source: Uint8Array): Promise<void> {
    return this.#change(offset, source.length, () => writeRange(this.image, offset, source, this.backing));
  }

  /** A whole cluster (or the disk's last part), written compressed if it gets smaller that way. */
  writeCompressed(offset: number, source: Uint8Array): Promise<void> {
    return this.#change(offset, source.length, async () => {
      this.#compressed ??= new CompressedWriter(this.image);
      if (await this.#compressed.write(offset, source)) return;
      await writeRange(this.image, offset, source, this.backing);
    });
  }

  writeZeroes(offset: number, length: number): Promise<void> {
    return this.#change(offset, length, async () => {
      const { unitSize } = this.image;
      const end = offset + length;
      const first = Math.min(end, Math.ceil(offset / unitSize) * unitSize);
      const last = end === this.sizeBytes ? end : Math.max(first, Math.floor(end / unitSize) * unitSize);
      if (first > offset) await this.#zeroPart(offset, first - offset);
      if (last > first && !(await zeroUnits(this.image, first, last - first, this.backing))) {
        for (let at = first; at < last; at += ZERO_BYTES) {
          await this.#zeroPart(at, Math.min(ZERO_BYTES, last - at));
        }
      }
      if (end > last) await this.#zeroPart(last, end - last);
    });
  }

  async #zeroPart(offset: number, length: number): Promise<void> {
    if (!this.image.isRawData && (await readsZero(this.image, offset, length, this.backing))) return;
    await writeRange(this.image, offset, new Uint8Array(length), this.backing);
  }

  discard(offset: number, length: number): Promise<void> {
    return this.#change(offset, length, () => discardClusters(this.image, offset, length, this.backing));
  }

  /** What lies where, in this image alone; holes show what is below. */
  async *extents(offset: number, length: number): AsyncGenerator<DiskExtent, void, undefined> {
    this.#checkBounds(offset, length);
    yield* extentsOf(this.image, this.image.l1, offset, length);
  }

  /** Another size in bytes, a multiple of 512. What is new reads zero; what is cut off is gone. */
  async resize(sizeBytes: number): Promise<void> {
    this.#assertOpen();
    await this.#firstTime();
    const old = this.sizeBytes;
    await resizeImage(this.image, sizeBytes, this.backing);
    // As QEMU does: programs that look at the tables alone see a raw data file as allocated.
    if (sizeBytes > old && this.image.isRawData) await preallocateFrom(this, old, false);
  }

  /** A request that changes the disk. */
  async #change(offset: number, length: number, task: () => Promise<void>): Promise<void> {
    this.image.assertWritable();
    const ticket = await this.#enter();
    try {
      this.#checkBounds(offset, length);
      if (this.#firstChange !== DONE) await this.#firstTime();
      await task();
    } finally {
      this.image.gate.leave(ticket);
    }
  }

  async #firstTime(): Promise<void> {
    this.#firstChange ??= this.image.mutex.run(() => markBitmapsInUse(this.image));
    try {
      await this.#firstChange;
      this.#firstChange = DONE;
    } catch (error) {
      this.#firstChange = undefined;
      throw error;
    }
  }

  async flush(): Promise<void> {
    if (this.readOnly || this.#closing !== undefined) return;
    await this.image.mutex.run(async () => {
      await this.image.writeBack();
      await this.image.sync();
    });
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    try {
      if (!this.readOnly) {
        await thaw(this.image);
        await this.image.gate.exclusive(() =>
          this.image.mutex.run(async () => {
            await this.image.settle();
            await this.image.sync();
          }),
        );
      }
    } finally {
      this.image.l2Cache.clear();
      this.image.refcountCache.clear();
      await this.image.file.close();
      await this.image.dataFile?.close();
      await this.backing?.close();
    }
  }

  listSnapshots(): readonly SnapshotInfo[] {
    return this.image.snapshots.map(snapshotInfo);
  }

  async createVmState(options: VmStateOptions = {}): Promise<VmStateWriter> {
    this.#assertOpen();
    assertCountsClusters(this.image);
    const writer = new Qcow2VmStateWriter(this.image, options);
    await this.#inGate(() => writer.lookForRoom());
    return writer;
  }

  async hold<T>(task: (held: HeldDisk) => Promise<T>): Promise<T> {
    this.#assertOpen();
    return holdImage(this.image, task);
  }

  async prepareInstant(): Promise<DiskInstant> {
    this.#assertOpen();
    return Qcow2Instant.prepare(this.image);
  }

  async createSnapshot(meta: SnapshotMeta): Promise<SnapshotInfo> {
    this.#assertOpen();
    return createSnapshot(this.image, meta);
  }

  async applySnapshot(idOrTag: string): Promise<void> {
    this.#assertOpen();
    await this.#firstTime();
    await applySnapshot(this.image, idOrTag);
  }

  async deleteSnapshot(idOrTag: string): Promise<void> {
    this.#assertOpen();
    await deleteSnapshot(this.image, idOrTag);
  }

  async readVmState(idOrTag: string, offset: number, target: Uint8Array): Promise<void> {
    await this.#inGate(async () => {
      const snapshot = findSnapshot(this.image, idOrTag);
      if (offset < 0 || offset + target.length > snapshot.vmStateBytes) {
        throw this.#outOfBounds(offset, target.length, snapshot.vmStateBytes);
      }
      if (this.#vmSource?.snapshot !== snapshot) {
        this.#vmSource = { snapshot, l1: await readSnapshotL1(this.image, snapshot) };
      }
      await readVmState(this.image, snapshot, this.#vmSource.l1, offset, target);
    });
  }

  openVmState(idOrTag: string): Promise<VmStateHandle> {
    const inGate = <T>(task: () => Promise<T>) => this.#inGate(task);
    return inGate(() => openVmState(this.image, findSnapshot(this.image, idOrTag), inGate));
  }

  /** Runs `task` as a request: whoever closes the gate waits for it. */
  async #inGate<T>(task: () => Promise<T>): Promise<T> {
    const ticket = await this.#enter();
    try {
      return await task();
    } finally {
      this.image.gate.leave(ticket);
    }
  }

  async #enter(): Promise<number> {
    const { gate } = this.image;
    while (gate.closed !== undefined) await gate.closed;
    this.#assertOpen();
    return gate.enter();
  }

  #assertOpen(): void {
    if (this.#closing === undefined) return;
    throw new BlockError('closed', `'${this.filename}' is closed`, { file: this.filename });
  }

  #checkBounds(offset: number, length: number): void {
    if (offset < 0 || offset + length > this.sizeBytes)
      throw this.#outOfBounds(offset, length, this.sizeBytes);
  }

  #outOfBounds(offset: number, length: number, limit: number): BlockError {
    return new BlockError('out-of-bounds', `'${this.filename}': request beyond the end of the image`, {
      file: this.filename,
      offset,
      found: offset + length,
      expected: `at most ${limit}`,
    });
  }
}
