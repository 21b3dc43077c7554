/**
 * A qcow2 image as a block node. Versions 2 and 3, refcounts of 1 to 64 bits, zero and compressed clusters (read), backing
 * files, internal snapshots with VM state. Not here, refused by name: encryption, external data files, extended L2
 * entries. Not here: writing compressed clusters of the disk (those of VM state are written), discard, resizing, dirty
 * bitmaps (their autoclear bit is cleared).
 */
import type {
  BlockNode,
  SnapshotInfo,
  SnapshotMeta,
  Snapshotting,
  VmStateHandle,
  VmStateOptions,
  VmStateWriter,
} from '../block-node.ts';
import type { Coverage, Layer } from '../chain-map.ts';
import { BlockError } from '../errors.ts';
import type { BlockFile } from '../file.ts';
import { Lru } from '../lru.ts';
import { readsZero, writeRange, zeroClusters } from './allocate.ts';
import { canDecompress } from './compressed.ts';
import {
  HEADER_PATCH_BYTES,
  INCOMPAT_CORRUPT,
  INCOMPAT_DIRTY,
  parseHeader,
  patchHeader,
  type Qcow2Header,
} from './header.ts';
import { Qcow2Image } from './image.ts';
import { DEFAULT_CACHE_BYTES, MAX_CLUSTER_BITS } from './limits.ts';
import { coverageOf, readRange } from './mapping.ts';
import { repair } from './repair.ts';
import { parseSnapshots, type Snapshot } from './snapshot-table.ts';
import {
  applySnapshot,
  createSnapshot,
  deleteSnapshot,
  findSnapshot,
  l1Bytes,
  readSnapshotL1,
  snapshotInfo,
} from './snapshots.ts';
import { growRefcounts } from './transaction.ts';
import { Qcow2VmStateWriter, readVmState } from './vmstate-area.ts';
import { openVmState } from './vmstate-handle.ts';

export interface Qcow2Options {
  /** Opens the backing file that the header names; called once. Without it, or if it gives nothing, holes read zero. */
  readonly openBacking?: (name: string, format: string | undefined) => Promise<BlockNode | undefined>;
  /** Holds L2 tables and refcount blocks; shared by the images of a chain. */
  readonly lru?: Lru;
  /** Count everything again and set counts and flags right; an image that was not closed is repaired anyway. */
  readonly repair?: boolean;
}

/** Opens `file`, which from now on belongs to the node; it is closed if this fails. */
export async function openQcow2(file: BlockFile, options: Qcow2Options = {}): Promise<Qcow2> {
  try {
    const image = await openTables(file, options.lru ?? new Lru(DEFAULT_CACHE_BYTES));
    const name = image.header.backingFile;
    const backing =
      name === undefined ? undefined : await options.openBacking?.(name, image.header.backingFormat);
    try {
      if (!file.readOnly) await prepareForWriting(image, options.repair === true);
    } catch (error) {
      await backing?.close();
      throw error;
    }
    return new Qcow2(image, backing);
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** Everything that is read and checked before anything is used or changed. */
export async function openTables(file: BlockFile, lru: Lru): Promise<Qcow2Image> {
  const fileBytes = await file.size();
  const start = Buffer.alloc(Math.min(fileBytes, 2 ** MAX_CLUSTER_BITS));
  await file.read(0, start);
  const header = parseHeader(start, file.filename, fileBytes);
  checkFeatures(file, header);
  const headerBytes = Buffer.alloc(HEADER_PATCH_BYTES);
  start.copy(headerBytes);
  const l1 = Buffer.alloc(l1Bytes(header.l1Entries));
  if (header.l1Entries > 0) await file.read(header.l1Offset, l1.subarray(0, header.l1Entries * 8));
  const refcountTable = Buffer.alloc(header.refcountTableClusters * 2 ** header.clusterBits);
  await file.read(header.refcountTableOffset, refcountTable);
  const image = new Qcow2Image(file, header, headerBytes, {
    l1,
    refcountTable,
    fileEnd: fileBytes,
    lru,
  });
  image.growRefcounts = (end) => growRefcounts(image, end);
  const parsed = await parseSnapshots(header, file.filename, fileBytes, async (offset, length) => {
    const bytes = Buffer.alloc(length);
    await file.read(header.snapshotsOffset + offset, bytes);
    return bytes;
  });
  image.snapshots = parsed.snapshots;
  image.snapshotTableBytes = parsed.bytes;
  return image;
}

function checkFeatures(file: BlockFile, header: Qcow2Header): void {
  if (!canDecompress(header.compressionType)) {
    throw new BlockError('unsupported', `'${file.filename}': zstd compression needs Node.js 22.15 or later`, {
      file: file.filename,
      section: 'header',
      field: 'compression_type',
      found: header.compressionType,
      expected: '0 (zlib)',
    });
  }
  if (!file.readOnly && (header.incompatible & INCOMPAT_CORRUPT) !== 0) {
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
}

/** Counts are put right if the image was not closed; features that we do not keep up are cleared. */
async function prepareForWriting(image: Qcow2Image, wanted: boolean): Promise<void> {
  if (wanted || (image.header.incompatible & INCOMPAT_DIRTY) !== 0) await repair(image);
  if (!image.header.autoclear) return;
  image.header.autoclear = false;
  image.header.bitmapsConsistent = false;
  patchHeader(image.headerBytes, image.header);
  await image.file.write(0, image.headerBytes);
  await image.file.flush();
}

export class Qcow2 implements Layer, Snapshotting {
  readonly format = 'qcow2';
  /** For check and tests. */
  readonly image: Qcow2Image;
  /** What holes show; a chain below is behind a map. */
  readonly backing: BlockNode | undefined;
  #closing: Promise<void> | undefined;
  #vmSource: { snapshot: Snapshot; l1: Buffer } | undefined;

  constructor(image: Qcow2Image, backing: BlockNode | undefined) {
    this.image = image;
    this.backing = backing;
  }

  get filename(): string {
    return this.image.filename;
  }

  get sizeBytes(): number {
    return this.image.header.sizeBytes;
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

  async write(offset: number, source: Uint8Array): Promise<void> {
    this.image.assertWritable();
    const ticket = await this.#enter();
    try {
      this.#checkBounds(offset, source.length);
      await writeRange(this.image, offset, source, this.backing);
    } finally {
      this.image.gate.leave(ticket);
    }
  }

  async writeZeroes(offset: number, length: number): Promise<void> {
    this.image.assertWritable();
    const ticket = await this.#enter();
    try {
      this.#checkBounds(offset, length);
      const { clusterSize } = this.image;
      const end = offset + length;
      const first = Math.min(end, Math.ceil(offset / clusterSize) * clusterSize);
      const last =
        end === this.sizeBytes ? end : Math.max(first, Math.floor(end / clusterSize) * clusterSize);
      if (first > offset) await this.#zeroPart(offset, first - offset);
      if (last > first && !(await zeroClusters(this.image, first, last - first, this.backing))) {
        for (let at = first; at < last; at += clusterSize) {
          await this.#zeroPart(at, Math.min(clusterSize, last - at));
        }
      }
      if (end > last) await this.#zeroPart(last, end - last);
    } finally {
      this.image.gate.leave(ticket);
    }
  }

  /** Part of one cluster. */
  async #zeroPart(offset: number, length: number): Promise<void> {
    if (await readsZero(this.image, offset, this.backing)) return;
    await writeRange(this.image, offset, new Uint8Array(length), this.backing);
  }

  async flush(): Promise<void> {
    if (this.readOnly || this.#closing !== undefined) return;
    await this.image.mutex.run(async () => {
      await this.image.writeBack();
      await this.image.file.flush();
    });
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    try {
      if (!this.readOnly) {
        await this.image.gate.exclusive(() =>
          this.image.mutex.run(async () => {
            await this.image.settle();
            await this.image.file.flush();
          }),
        );
      }
    } finally {
      this.image.l2Cache.clear();
      this.image.refcountCache.clear();
      await this.image.file.close();
      await this.backing?.close();
    }
  }

  listSnapshots(): readonly SnapshotInfo[] {
    return this.image.snapshots.map(snapshotInfo);
  }

  async createVmState(options: VmStateOptions = {}): Promise<VmStateWriter> {
    this.#assertOpen();
    return new Qcow2VmStateWriter(this.image, options);
  }

  async createSnapshot(meta: SnapshotMeta): Promise<SnapshotInfo> {
    this.#assertOpen();
    return createSnapshot(this.image, meta);
  }

  async applySnapshot(idOrTag: string): Promise<void> {
    this.#assertOpen();
    await applySnapshot(this.image, idOrTag);
  }

  async deleteSnapshot(idOrTag: string): Promise<void> {
    this.#assertOpen();
    await deleteSnapshot(this.image, idOrTag);
  }

  async readVmState(idOrTag: string, offset: number, target: Uint8Array): Promise<void> {
    const ticket = await this.#enter();
    try {
      const snapshot = findSnapshot(this.image, idOrTag);
      if (offset < 0 || offset + target.length > snapshot.vmStateBytes) {
        throw this.#outOfBounds(offset, target.length, snapshot.vmStateBytes);
      }
      if (this.#vmSource?.snapshot !== snapshot) {
        this.#vmSource = { snapshot, l1: await readSnapshotL1(this.image, snapshot) };
      }
      await readVmState(this.image, snapshot, this.#vmSource.l1, offset, target);
    } finally {
      this.image.gate.leave(ticket);
    }
  }

  async openVmState(idOrTag: string): Promise<VmStateHandle> {
    const inGate = async <T>(task: () => Promise<T>): Promise<T> => {
      const ticket = await this.#enter();
      try {
        return await task();
      } finally {
        this.image.gate.leave(ticket);
      }
    };
    return inGate(() => openVmState(this.image, findSnapshot(this.image, idOrTag), inGate));
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
