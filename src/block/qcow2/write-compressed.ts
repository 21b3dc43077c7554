/**
 * Compressed clusters of the guest's disk, as `convert -c` writes them: byte after byte in clusters that have a
 * reference for each compressed cluster that touches them.
 */
import { deflateRaw } from 'node:zlib';
import { BlockError } from '../errors.ts';
import { ownL2, releaseEntry } from './allocate.ts';
import { setCompressedEntry } from './compressed.ts';
import type { Qcow2Image } from './image.ts';
import { canCompressZstd, compressZstd } from './zstd.ts';

const SECTOR_BYTES = 512;
/** What QEMU's own clusters are made with: a 4 KiB window. */
const WINDOW_BITS = 12;

export class CompressedWriter {
  readonly #image: Qcow2Image;
  /** Behind the last compressed cluster, and the end of the host cluster that this lies in; both 0: nowhere. */
  #next = 0;
  #end = 0;
  /** When {@link Refcounts.frees} differs, the cluster may belong to somebody else by now. */
  #frees = 0;

  constructor(image: Qcow2Image) {
    this.#image = image;
    const unsupported = (message: string, found: string | number): never => {
      throw new BlockError('unsupported', `'${image.filename}': ${message}`, { file: image.filename, found });
    };
    if (image.hasDataFile)
      unsupported('no compressed clusters with an external data file', 'external data file');
    if (image.header.compressionType === 1 && !canCompressZstd) {
      unsupported('zstd compression needs Node.js 22.15 or later', 'zstd');
    }
  }

  /** `source`: a cluster, or the disk's last part. False, and nothing done, if it does not get smaller. */
  async write(offset: number, source: Uint8Array): Promise<boolean> {
    const image = this.#image;
    const { clusterSize } = image;
    if (source.length === 0) return true;
    const whole = source.length === clusterSize || offset + source.length === image.header.sizeBytes;
    if (offset % clusterSize !== 0 || source.length > clusterSize || !whole) {
      throw new RangeError('compressed clusters are written whole');
    }
    let cluster = source;
    if (source.length < clusterSize) {
      cluster = new Uint8Array(clusterSize);
      cluster.set(source);
    }
    const packed = image.header.compressionType === 1 ? await compressZstd(cluster) : await deflate(cluster);
    if (packed.length >= clusterSize) return false;
    await image.mutex.run(() => this.#put(offset, packed));
    return true;
  }

  async #put(offset: number, packed: Uint8Array): Promise<void> {
    const image = this.#image;
    image.assertWritable();
    await image.writeBackIfFull();
    const l2 = await ownL2(image, Math.floor(offset / image.l2Span));
    const at = await this.#allocate(packed.length);
    // A reader takes whole sectors; what stands behind is overwritten by the next one.
    const padded = new Uint8Array(Math.ceil((at + packed.length) / SECTOR_BYTES) * SECTOR_BYTES - at);
    padded.set(packed);
    await image.file.write(at, padded);
    image.expanded.clear();
    const table = await image.l2Cache.get(l2);
    const entry = Math.floor((offset % image.l2Span) / image.clusterSize);
    releaseEntry(image, table, entry);
    setCompressedEntry(image, table, entry, { offset: at, bytes: packed.length });
    image.l2Cache.markDirty(l2, table);
  }

  /** Room for fewer bytes than a cluster, with its references counted. */
  async #allocate(bytes: number): Promise<number> {
    const image = this.#image;
    const { clusterSize, refcounts } = image;
    const last = this.#end / clusterSize - 1;
    const continues =
      this.#end > this.#next &&
      this.#frees === refcounts.frees &&
      (await refcounts.get(last)) < refcounts.max;
    if (continues && bytes <= this.#end - this.#next) {
      await refcounts.change(last, 1);
      this.#next += bytes;
      return this.#next - bytes;
    }
    const room = await image.allocate(1);
    let at = room.offset;
    if (continues && room.offset === this.#end) {
      await refcounts.change(last, 1);
      at = this.#next;
    }
    this.#next = at + bytes;
    this.#end = room.offset + clusterSize;
    this.#frees = refcounts.frees;
    return at;
  }
}

function deflate(cluster: Uint8Array): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    deflateRaw(cluster, { windowBits: WINDOW_BITS }, (error, result) =>
      error ? reject(error) : resolve(result),
    );
  });
}
