/**
 * Compressed clusters: where they lie and how they are expanded. zlib data is a raw deflate stream with a 4 KiB window,
 * zstd is Node's own where it has it (22.15), else zstddec's. What follows the stream in its last sector belongs to others and is ignored.
 */
import * as zlib from 'node:zlib';
import { BlockError } from '../errors.ts';
import { COMPRESSED_HI } from './be64.ts';
import type { Qcow2Image } from './image.ts';
import { MAX_HOST_OFFSET } from './limits.ts';
import { expandZstd } from './zstd.ts';

const SECTOR_BYTES = 512;

/** Where compressed data lies in the file: bytes, not aligned to anything. */
export interface Extent {
  readonly offset: number;
  readonly bytes: number;
}

/** Host offset and length, to the end of the last sector, of a compressed entry. */
export function compressedExtent(image: Qcow2Image, table: Buffer, entry: number): Extent {
  // Bits 0 … x-1 are the offset, x … 61 the number of further sectors; x = 62 - (cluster_bits - 8), so 49 to 61.
  const x = 62 - (image.clusterBits - 8);
  const hi = table.readUInt32BE(entry * image.entryBytes);
  const lo = table.readUInt32BE(entry * image.entryBytes + 4);
  const offset = (hi & (2 ** (x - 32) - 1)) * 2 ** 32 + lo;
  const sectors = ((hi & 0x3fff_ffff) >>> (x - 32)) + 1;
  if (offset > MAX_HOST_OFFSET || offset < image.clusterSize) {
    image.corrupt(
      'Compressed cluster offset invalid',
      'L2 table',
      `entry ${entry}`,
      entry * image.entryBytes,
      offset,
      'an offset in the file',
    );
  }
  return { offset, bytes: sectors * SECTOR_BYTES - (offset % SECTOR_BYTES) };
}

/** The reverse: lets an entry name compressed data. */
export function setCompressedEntry(image: Qcow2Image, table: Buffer, entry: number, extent: Extent): void {
  const x = 62 - (image.clusterBits - 8);
  const { offset, bytes } = extent;
  const moreSectors = Math.floor((offset + bytes - 1) / SECTOR_BYTES) - Math.floor(offset / SECTOR_BYTES);
  const hi = COMPRESSED_HI | (moreSectors << (x - 32)) | Math.floor(offset / 2 ** 32);
  const at = entry * image.entryBytes;
  table.writeUInt32BE(hi >>> 0, at);
  table.writeUInt32BE(offset % 2 ** 32, at + 4);
  table.fill(0, at + 8, at + image.entryBytes);
}

/** First and last host cluster that compressed data touches, as cluster numbers. */
export function touchedClusters(image: Qcow2Image, { offset, bytes }: Extent): [number, number] {
  return [Math.floor(offset / image.clusterSize), Math.floor((offset + bytes - 1) / image.clusterSize)];
}

/** Expanded clusters kept for each image: a guest reads a cluster in pieces. */
const KEPT_CLUSTERS = 16;

/** The whole cluster of entry `entry`; not to be changed. */
export function readCompressed(image: Qcow2Image, table: Buffer, entry: number): Promise<Uint8Array> {
  const { offset, bytes } = compressedExtent(image, table, entry);
  const kept = image.expanded.get(offset);
  if (kept !== undefined) return kept;
  // What lies at an offset stays what it is until a VM state writer forgets them all (vmstate-area.ts).
  const cluster = expandAt(image, offset, bytes);
  image.expanded.set(offset, cluster);
  cluster.catch(() => image.expanded.delete(offset));
  if (image.expanded.size > KEPT_CLUSTERS) image.expanded.delete(image.expanded.keys().next().value!);
  return cluster;
}

async function expandAt(image: Qcow2Image, offset: number, bytes: number): Promise<Uint8Array> {
  const input = Buffer.allocUnsafe(bytes);
  await image.file.read(offset, input);
  try {
    const output = await expand(image.header.compressionType, input, image.clusterSize);
    if (output.length === image.clusterSize) return output;
    throw new Error(`${output.length} bytes instead of ${image.clusterSize}`);
  } catch (cause) {
    throw new BlockError('corrupt', `'${image.filename}': compressed cluster cannot be expanded`, {
      file: image.filename,
      section: 'compressed cluster',
      offset,
      cause,
    });
  }
}

/** Stops when a cluster is full: a bomb expands no further. */
function expand(type: number, input: Uint8Array, clusterSize: number): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    if (type === 1) {
      expandZstd(input, clusterSize).then(resolve, reject);
      return;
    }
    const inflate = zlib.createInflateRaw({
      chunkSize: clusterSize,
      finishFlush: zlib.constants.Z_SYNC_FLUSH,
    });
    const output = new Uint8Array(clusterSize);
    let length = 0;
    const finish = (): void => {
      inflate.destroy();
      resolve(output.subarray(0, length));
    };
    inflate.on('data', (chunk: Uint8Array) => {
      const take = Math.min(chunk.length, clusterSize - length);
      output.set(chunk.subarray(0, take), length);
      length += take;
      if (length === clusterSize) finish();
    });
    inflate.on('end', finish);
    inflate.on('error', reject);
    inflate.end(input);
  });
}
