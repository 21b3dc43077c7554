/**
 * VM state: whole clusters into reserved space, named by nobody until the snapshot is made. Reserved clusters are free on
 * disk; should the process die, nothing has happened and nothing leaks.
 *
 * The state begins at the first L1 entry behind the disk (qcow2 specification, "Snapshot table entry", VM state size).
 */
import {
  CLUSTER_ZERO,
  type CompressOptions,
  type SnapshotInfo,
  type SnapshotMeta,
  type VmStateOptions,
  type VmStateWriter,
} from '../block-node.ts';
import { canCompress, DeflatePool } from '../deflate-pool.ts';
import { BlockError } from '../errors.ts';
import { Turns } from '../turns.ts';
import { ClusterPacker } from './cluster-packer.ts';
import { compressedExtent, type Extent, touchedClusters } from './compressed.ts';
import type { Qcow2Image } from './image.ts';
import { readRange } from './mapping.ts';
import { COMPRESSED, checkedKind, DATA, hostOffset } from './references.ts';
import {
  createSnapshot,
  findSnapshot,
  readSnapshotL1,
  replaceVmState,
  type VmStateClusters,
} from './snapshots.ts';
import { type Snapshot, vmStateL1Index } from './snapshot-table.ts';

/** Space is reserved in contiguous pieces of this size, so that clusters written in any order lie together. */
const EXTENT_BYTES = 4 * 1024 * 1024;

/** Reads a snapshot's VM state without applying the snapshot. */
export async function readVmState(
  image: Qcow2Image,
  snapshot: Snapshot,
  l1: Buffer,
  offset: number,
  target: Uint8Array,
): Promise<void> {
  const start = vmStateL1Index(snapshot, image) * image.l2Span;
  await readRange(image, l1, start + offset, target, undefined);
}

/** Where L2 table `index` of a snapshot's VM state lies, or 0. */
export function vmStateTableOffset(image: Qcow2Image, snapshot: Snapshot, l1: Buffer, index: number): number {
  const l1Index = vmStateL1Index(snapshot, image) + index;
  return l1Index < snapshot.l1Entries ? image.l2Offset(l1, l1Index) : 0;
}

/** L2 table `index` of a snapshot's VM state, if there is one. */
export async function vmStateTable(
  image: Qcow2Image,
  snapshot: Snapshot,
  l1: Buffer,
  index: number,
): Promise<Buffer | undefined> {
  const l2 = vmStateTableOffset(image, snapshot, l1, index);
  return l2 === 0 ? undefined : image.l2Cache.get(l2);
}

/** Host offset of an entry, negated if it is compressed, or CLUSTER_ZERO. */
export function dataOffset(image: Qcow2Image, table: Buffer, entry: number): number {
  const kind = checkedKind(image, table, entry);
  if (kind === COMPRESSED) return -compressedExtent(image, table, entry).offset;
  return kind === DATA ? hostOffset(image, table, entry) : CLUSTER_ZERO;
}

export class Qcow2VmStateWriter implements VmStateWriter {
  readonly clusterBytes: number;
  readonly #image: Qcow2Image;
  /** Host offset by cluster index; 0: nothing written, or compressed. */
  readonly #offsets: number[] = [];
  readonly #compressed = new Map<number, Extent>();
  /** References that shared compressed clusters will add, by host cluster. */
  readonly #planned = new Map<number, number>();
  #pool: DeflatePool | undefined;
  #packer: ClusterPacker | undefined;
  /** Where a shared cluster came from: gone with its snapshot. */
  readonly #sharedFrom = new Set<Snapshot>();
  readonly #reserved: number[] = [];
  #searchFrom: number | undefined;
  #extentNext = 0;
  #extentEnd = 0;
  #state: 'open' | 'done' = 'open';
  #inFlight = 0;
  #source: { snapshot: Snapshot; l1: Buffer } | undefined;

  constructor(image: Qcow2Image, { compress }: VmStateOptions = {}) {
    image.assertWritable();
    this.#image = image;
    this.clusterBytes = image.clusterSize;
    if (compress !== undefined) this.#compressWith(compress);
  }

  #compressWith(options: CompressOptions): void {
    const image = this.#image;
    const method = image.header.compressionType === 1 ? 'zstd' : 'zlib';
    if ((options.method ?? method) !== method || !canCompress(method)) {
      throw new BlockError('unsupported', `'${image.filename}' cannot hold clusters compressed that way`, {
        file: image.filename,
        section: 'header',
        field: 'compression_type',
        found: options.method ?? method,
        expected: canCompress(method) ? method : 'zlib: zstd needs Node.js 22.15 or later',
      });
    }
    this.#pool = new DeflatePool({ ...options, method });
    const home = {
      clusterBytes: this.clusterBytes,
      // Half of what the counts hold: later snapshots want to share.
      maxReferences: Math.floor(image.refcounts.max / 2),
      reserve: (count: number) => this.#reserve(count),
      write: async (offset: number, data: Uint8Array) => {
        await image.file.write(offset, data);
        // Other compressed data may have lain there.
        image.expanded.clear();
      },
      putCompressed: (index: number, extent: Extent) => {
        this.#put(index, 0);
        this.#compressed.set(index, extent);
      },
      writeRaw: (indices: readonly number[], data: Uint8Array) => this.#writeRaw(indices, data),
    };
    this.#packer = new ClusterPacker(home, this.#pool);
  }

  /**
   * Has the counts read that the first write needs: who makes the VM state is busy then, and the disk would wait until there is a
   * turn of the event loop for what was read.
   */
  async lookForRoom(): Promise<void> {
    await this.#image.mutex.run(() => this.#image.refcounts.findFree(1, false));
  }

  async writeClusters(index: number, data: Uint8Array): Promise<void> {
    this.#assertOpen();
    if (this.#packer !== undefined) {
      const indices = Array.from({ length: data.length / this.clusterBytes }, (_, i) => index + i);
      return this.writeScattered(indices, data);
    }
    const { clusterBytes } = this;
    if (data.length % clusterBytes !== 0) throw new RangeError(`${data.length} bytes are not whole clusters`);
    this.#inFlight++;
    try {
      for (let done = 0; done < data.length; ) {
        const left = (data.length - done) / clusterBytes;
        const first = index + done / clusterBytes;
        const run = this.#rewritable(first, left) ?? (await this.#reserve(left));
        const bytes = run.count * clusterBytes;
        for (let i = 0; i < run.count; i++) this.#put(first + i, run.offset + i * clusterBytes);
        await this.#image.file.write(run.offset, data.subarray(done, done + bytes));
        done += bytes;
      }
    } finally {
      this.#inFlight--;
    }
  }

  /** A cluster written before by this writer is written again where it is. */
  #rewritable(index: number, count: number): { offset: number; count: number } | undefined {
    const offset = this.#offsets[index] ?? 0;
    if (offset === 0 || !this.#image.refcounts.reserved.has(offset / this.clusterBytes)) return undefined;
    let run = 1;
    while (run < count && this.#offsets[index + run] === offset + run * this.clusterBytes) run++;
    return { offset, count: run };
  }

  #put(index: number, offset: number): void {
    while (this.#offsets.length <= index) this.#offsets.push(0);
    this.#offsets[index] = offset;
    if (this.#compressed.size > 0) this.#compressed.delete(index);
  }

  /** Up to `count` contiguous clusters that nobody else will get. */
  async #reserve(count: number): Promise<{ offset: number; count: number }> {
    if (this.#extentEnd - this.#extentNext >= count) return this.#take(count);
    return this.#image.mutex.run(async () => {
      // Another write may have reserved while this one waited.
      if (this.#extentEnd - this.#extentNext < count) await this.#extend(count);
      return this.#take(count);
    });
  }

  #take(count: number): { offset: number; count: number } {
    const offset = this.#extentNext * this.clusterBytes;
    const taken = Math.min(count, this.#extentEnd - this.#extentNext);
    this.#extentNext += taken;
    return { offset, count: taken };
  }

  /** Makes the extent longer if what follows it is free, so that a write is one request; else, if it is used up, a new one. */
  async #extend(count: number): Promise<void> {
    const extent = Math.ceil(EXTENT_BYTES / this.clusterBytes);
    const { refcounts } = this.#image;
    const isUsedUp = this.#extentNext === this.#extentEnd;
    // A small VM state (an incremental one) fills the holes that others left; a large one is laid out in large pieces.
    const small = this.#reserved.length < extent;
    if (small && !isUsedUp) return;
    const wanted = small ? count : Math.max(count, extent);
    const run = await refcounts.findFree(wanted, !small, undefined, this.#searchFrom);
    const isNext = run.cluster === this.#extentEnd;
    if (!isNext && !isUsedUp) return;
    this.#searchFrom = run.cluster + run.count;
    await this.#image.metadata.guard(run.cluster * this.clusterBytes, run.count);
    for (let i = 0; i < run.count; i++) {
      refcounts.reserved.add(run.cluster + i);
      this.#reserved.push(run.cluster + i);
    }
    if (!isNext) this.#extentNext = run.cluster;
    this.#extentEnd = run.cluster + run.count;
    this.#image.noteEnd(this.#extentEnd * this.clusterBytes);
  }

  async writeScattered(indices: readonly number[], data: Uint8Array): Promise<void> {
    this.#assertOpen();
    const { clusterBytes } = this;
    if (data.length !== indices.length * clusterBytes) throw new RangeError('a cluster for each index');
    this.#inFlight++;
    try {
      await (this.#packer?.write(indices, data) ?? this.#writeRaw(indices, data));
    } finally {
      this.#inFlight--;
    }
  }

  async #writeRaw(indices: readonly number[], data: Uint8Array): Promise<void> {
    const { clusterBytes } = this;
    for (let done = 0; done < indices.length; ) {
      const run = await this.#reserve(indices.length - done);
      for (let i = 0; i < run.count; i++) this.#put(indices[done + i]!, run.offset + i * clusterBytes);
      const end = done + run.count;
      await this.#image.file.write(run.offset, data.subarray(done * clusterBytes, end * clusterBytes));
      done = end;
    }
  }

  shareCluster(index: number, idOrTag: string, fromIndex: number): Promise<void> {
    return this.shareClusters([index], idOrTag, [fromIndex]);
  }

  async shareClusters(
    indices: ArrayLike<number>,
    idOrTag: string,
    fromIndices: ArrayLike<number>,
  ): Promise<void> {
    this.#assertOpen();
    if (indices.length === 0) return;
    const image = this.#image;
    const snapshot = findSnapshot(image, idOrTag);
    if (this.#source?.snapshot !== snapshot) {
      this.#source = { snapshot, l1: await readSnapshotL1(image, snapshot) };
    }
    const { l1 } = this.#source;
    let tableIndex = -1;
    let table: Buffer | undefined;
    for (let i = 0; i < indices.length; i++) {
      const from = fromIndices[i]!;
      const wanted = Math.floor(from / image.l2Entries);
      if (wanted !== tableIndex) {
        table = await vmStateTable(image, snapshot, l1, wanted);
        tableIndex = wanted;
      }
      const host = table === undefined ? 0 : dataOffset(image, table, from % image.l2Entries);
      if (host > 0) {
        this.#put(indices[i]!, host);
        continue;
      }
      if (host < 0) {
        const extent = compressedExtent(image, table!, from % image.l2Entries);
        if (await this.#canShare(extent)) {
          this.#put(indices[i]!, 0);
          this.#compressed.set(indices[i]!, extent);
          continue;
        }
      }
      // Zero, not there, or with as many references as there can be: no cluster to share.
      const copy = Buffer.allocUnsafeSlow(this.clusterBytes);
      await readVmState(image, snapshot, l1, from * this.clusterBytes, copy);
      await this.writeClusters(indices[i]!, copy);
    }
    this.#sharedFrom.add(snapshot);
  }

  /** Many compressed clusters lie in one host cluster, and each snapshot counts them all: the count may run full. */
  async #canShare(extent: Extent): Promise<boolean> {
    const { refcounts } = this.#image;
    const [first, last] = touchedClusters(this.#image, extent);
    for (let cluster = first; cluster <= last; cluster++) {
      const planned = this.#planned.get(cluster) ?? 0;
      if ((await refcounts.get(cluster)) + planned >= refcounts.max) return false;
    }
    for (let cluster = first; cluster <= last; cluster++) {
      this.#planned.set(cluster, (this.#planned.get(cluster) ?? 0) + 1);
    }
    return true;
  }

  async seal(vmStateBytes: number): Promise<void> {
    this.#sealed = await this.#complete(vmStateBytes);
  }
  #sealed: VmStateClusters | undefined;

  /** What {@link seal} has closed. */
  get sealed(): VmStateClusters {
    if (this.#sealed === undefined || this.#state !== 'open') throw new Error('VM state is not sealed');
    return this.#sealed;
  }

  /** A snapshot has it now. */
  async done(): Promise<void> {
    await this.#finish();
  }

  async commit(meta: SnapshotMeta): Promise<SnapshotInfo> {
    const vmState = await this.#complete(meta.vmStateBytes);
    const info = await createSnapshot(this.#image, meta, vmState);
    await this.#finish();
    return info;
  }

  async replace(idOrTag: string, vmStateBytes: number): Promise<SnapshotInfo> {
    const vmState = await this.#complete(vmStateBytes);
    const info = await replaceVmState(this.#image, idOrTag, vmState);
    await this.#finish();
    return info;
  }

  /** All that was written or shared, if it still is there. */
  async #complete(bytes: number): Promise<VmStateClusters> {
    this.#assertOpen();
    if (this.#inFlight > 0) throw new Error('commit with writes in flight');
    await this.#packer?.finish();
    const gone = [...this.#sharedFrom].find((snapshot) => !this.#image.snapshots.includes(snapshot));
    if (gone !== undefined) {
      throw new BlockError('not-found', `Snapshot '${gone.tag}', whose VM state is shared, is gone`, {
        file: this.#image.filename,
        section: 'snapshot table',
        found: gone.id,
      });
    }
    const clusters = Math.ceil(bytes / this.clusterBytes);
    return { offsets: this.#offsets.slice(0, clusters), compressed: this.#compressed, bytes };
  }

  async abort(): Promise<void> {
    if (this.#state === 'open') await this.#finish();
  }

  async #finish(): Promise<void> {
    this.#state = 'done';
    await this.#pool?.close();
    const { refcounts } = this.#image;
    await new Turns().forEach(this.#reserved, (cluster) => {
      refcounts.reserved.delete(cluster);
      refcounts.freed(cluster);
    });
  }

  #assertOpen(): void {
    if (this.#state !== 'open') throw new Error('VM state writer is done');
  }
}
