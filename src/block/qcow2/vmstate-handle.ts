/**
 * A snapshot's VM state with the place of each of its clusters in the file: what lazy loadvm reads from, a cluster at a
 * time when the guest touches a page, or in long runs behind its back.
 */
import * as zlib from 'node:zlib';
import { CLUSTER_ZERO, type SnapshotInfo, type VmStateHandle } from '../block-node.ts';
import { BlockError } from '../errors.ts';
import { compressedExtent, type Extent } from './compressed.ts';
import type { Qcow2Image } from './image.ts';
import { readSnapshotL1, snapshotInfo } from './snapshots.ts';
import type { Snapshot } from './snapshot-table.ts';
import { dataOffset, readVmState, vmStateTableOffset } from './vmstate-area.ts';

/**
 * Reads all L2 tables of the VM state, at once where the file can: a loadvm waits for them, and each turn of the event loop
 * costs more than such a read. `inGate` runs a read as one of the image's requests.
 */
export async function openVmState(
  image: Qcow2Image,
  snapshot: Snapshot,
  inGate: <T>(task: () => Promise<T>) => Promise<T>,
): Promise<VmStateHandle> {
  const l1 = await readSnapshotL1(image, snapshot);
  const clusters = Math.ceil(snapshot.vmStateBytes / image.clusterSize);
  const hostOffsets = new Float64Array(clusters);
  const compressed = new Map<number, Extent>();
  for (let first = 0; first < clusters; first += image.l2Entries) {
    const l2 = vmStateTableOffset(image, snapshot, l1, first / image.l2Entries);
    if (l2 === 0) continue;
    const table = image.l2Cache.getNow(l2) ?? (await image.l2Cache.get(l2));
    const count = Math.min(image.l2Entries, clusters - first);
    mapEntries(image, table, hostOffsets.subarray(first, first + count), (entry) => {
      compressed.set(first + entry, compressedExtent(image, table, entry));
    });
  }
  return new Qcow2VmStateHandle(image, snapshot, l1, { hostOffsets, compressed }, inGate);
}

/** What `dataOffset` says of each entry. A loadvm of 2 GiB comes here 35,000 times before the guest runs. */
function mapEntries(
  image: Qcow2Image,
  table: Buffer,
  offsets: Float64Array,
  onCompressed: (entry: number) => void,
): void {
  const isPlain = image.unitsPerCluster === 1 && !image.hasDataFile;
  const inCluster = image.clusterSize - 1;
  const swapped = new Uint32Array(table.length / 4);
  Buffer.from(swapped.buffer).set(table);
  Buffer.from(swapped.buffer).swap32();
  for (let entry = 0; entry < offsets.length; entry++) {
    const hi = swapped[entry * 2]!;
    const lo = swapped[entry * 2 + 1]!;
    // A data cluster below 2^48: nothing set but COPIED and the offset.
    if (isPlain && (hi & 0x7fff_0000) === 0 && (lo & inCluster) === 0) {
      offsets[entry] = (hi & 0xffff) * 0x1_0000_0000 + lo;
      continue;
    }
    const host = dataOffset(image, table, entry);
    offsets[entry] = host;
    if (host < 0) onCompressed(entry);
  }
}

class Qcow2VmStateHandle implements VmStateHandle {
  readonly info: SnapshotInfo;
  readonly clusterBytes: number;
  readonly hostOffsets: Float64Array;
  readonly readSync: ((offset: number, target: Uint8Array) => void) | undefined;
  readonly readHostSync: ((hostOffset: number, target: Uint8Array) => void) | undefined;
  readonly #image: Qcow2Image;
  readonly #snapshot: Snapshot;
  readonly #l1: Buffer;
  readonly #compressed: Map<number, Extent>;
  readonly #inGate: <T>(task: () => Promise<T>) => Promise<T>;

  constructor(
    image: Qcow2Image,
    snapshot: Snapshot,
    l1: Buffer,
    map: { hostOffsets: Float64Array; compressed: Map<number, Extent> },
    inGate: <T>(task: () => Promise<T>) => Promise<T>,
  ) {
    this.info = snapshotInfo(snapshot);
    this.clusterBytes = image.clusterSize;
    this.hostOffsets = map.hostOffsets;
    this.#compressed = map.compressed;
    this.#image = image;
    this.#snapshot = snapshot;
    this.#l1 = l1;
    this.#inGate = inGate;
    const canExpand = map.compressed.size === 0 || image.header.compressionType === 0;
    const { file } = image;
    this.readHostSync = file.readSync && ((offset, target) => file.readSync!(offset, target));
    this.readSync =
      image.file.readSync === undefined || !canExpand
        ? undefined
        : (offset, target) => this.#readSync(offset, target);
  }

  get alive(): boolean {
    return this.#image.snapshots.includes(this.#snapshot);
  }

  read(offset: number, target: Uint8Array): Promise<void> {
    return this.#inGate(() => readVmState(this.#image, this.#snapshot, this.#l1, offset, target));
  }

  readHost(hostOffset: number, target: Uint8Array): Promise<void> {
    return this.#inGate(() => this.#image.file.read(hostOffset, target));
  }

  #readSync(offset: number, target: Uint8Array): void {
    const { clusterBytes, hostOffsets } = this;
    for (let done = 0; done < target.length; ) {
      const at = offset + done;
      const index = Math.floor(at / clusterBytes);
      const within = at % clusterBytes;
      const host = hostOffsets[index] ?? CLUSTER_ZERO;
      let bytes = Math.min(target.length - done, clusterBytes - within);
      if (host > 0) {
        bytes = Math.min(target.length - done, this.#runBytes(index) - within);
        this.#image.file.readSync!(host + within, target.subarray(done, done + bytes));
      } else if (host < 0) {
        target.set(this.#expand(index).subarray(within, within + bytes), done);
      } else target.fill(0, done, done + bytes);
      done += bytes;
    }
  }

  /** Bytes of the clusters from `index` on that lie side by side in the file. */
  #runBytes(index: number): number {
    const { clusterBytes, hostOffsets } = this;
    const first = hostOffsets[index]!;
    let count = 1;
    while (hostOffsets[index + count] === first + count * clusterBytes) count++;
    return count * clusterBytes;
  }

  #expand(index: number): Uint8Array {
    const { offset, bytes } = this.#compressed.get(index)!;
    const input = Buffer.allocUnsafe(bytes);
    this.#image.file.readSync!(offset, input);
    try {
      // What follows the stream in its last sector is not ours: no complaint about it.
      const output = zlib.inflateRawSync(input, {
        maxOutputLength: this.clusterBytes,
        finishFlush: zlib.constants.Z_SYNC_FLUSH,
      });
      if (output.length === this.clusterBytes) return output;
      throw new Error(`${output.length} bytes instead of ${this.clusterBytes}`);
    } catch (cause) {
      throw new BlockError('corrupt', `'${this.#image.filename}': compressed cluster cannot be expanded`, {
        file: this.#image.filename,
        section: 'compressed cluster',
        offset,
        cause,
      });
    }
  }

  async overwrite(offset: number, source: Uint8Array): Promise<boolean> {
    const image = this.#image;
    const { clusterBytes, hostOffsets } = this;
    if (image.file.readOnly) return false;
    return this.#inGate(async () => {
      if (!this.alive) return false;
      const first = Math.floor(offset / clusterBytes);
      const last = Math.floor((offset + source.length - 1) / clusterBytes);
      for (let index = first; index <= last; index++) {
        const host = hostOffsets[index] ?? CLUSTER_ZERO;
        if (host <= 0 || (await image.refcounts.get(host / clusterBytes)) !== 1) return false;
        if (image.metadata.hits(host, 1)) return false;
      }
      for (let done = 0; done < source.length; ) {
        const at = offset + done;
        const bytes = Math.min(source.length - done, clusterBytes - (at % clusterBytes));
        const host = hostOffsets[Math.floor(at / clusterBytes)]! + (at % clusterBytes);
        await image.file.write(host, source.subarray(done, done + bytes));
        done += bytes;
      }
      return true;
    });
  }
}
