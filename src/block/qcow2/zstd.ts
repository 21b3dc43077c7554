/**
 * zstd clusters (qcow2 compression type 1). Node has zstd from 22.15 on; before that the package zstddec expands, and
 * nothing compresses. What follows the frame belongs to other clusters: it is cut off, since neither decoder stops
 * there by itself. Source of the frame format: RFC 8878, section 3.1.1.
 */
import * as zlib from 'node:zlib';

const MAGIC = 0xfd2f_b528;
const CHECKSUM_FLAG = 4;
const SINGLE_SEGMENT_FLAG = 0x20;

type Done = (error: Error | null, result: Buffer) => void;
interface ZstdOfNode {
  readonly zstdDecompress?: (data: Uint8Array, options: { maxOutputLength: number }, done: Done) => void;
  readonly zstdCompress?: (data: Uint8Array, done: Done) => void;
}
const { zstdCompress, zstdDecompress } = zlib as unknown as ZstdOfNode;

/** Bytes of the frame that `data` begins with; undefined if it is none or cut short. */
export function zstdFrameBytes(data: Uint8Array): number | undefined {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  if (data.length < 6 || view.getUint32(0, true) !== MAGIC) return undefined;
  const descriptor = data[4]!;
  const single = (descriptor & SINGLE_SEGMENT_FLAG) !== 0;
  const dictionary = [0, 1, 2, 4][descriptor & 3]!;
  const contentSize = [single ? 1 : 0, 2, 4, 8][descriptor >> 6]!;
  let at = 5 + (single ? 0 : 1) + dictionary + contentSize;
  for (let last = false; !last; ) {
    if (at + 3 > data.length) return undefined;
    const header = data[at]! | (data[at + 1]! << 8) | (data[at + 2]! << 16);
    last = (header & 1) !== 0;
    // A run-length block stores one byte.
    at += 3 + (((header >> 1) & 3) === 1 ? 1 : header >> 3);
  }
  if ((descriptor & CHECKSUM_FLAG) !== 0) at += 4;
  return at <= data.length ? at : undefined;
}

type Expand = (frame: Uint8Array, clusterSize: number) => Promise<Uint8Array>;
let expand: Promise<Expand> | undefined;

async function findExpand(): Promise<Expand> {
  if (zstdDecompress !== undefined) {
    return (frame, maxOutputLength) =>
      new Promise((resolve, reject) => {
        zstdDecompress(frame, { maxOutputLength }, (error, result) =>
          error ? reject(error) : resolve(result),
        );
      });
  }
  const { ZSTDDecoder } = await import('zstddec');
  const decoder = new ZSTDDecoder();
  await decoder.init();
  return async (frame, clusterSize) => decoder.decode(frame, clusterSize);
}

/** The cluster in `data`, which may be longer than its frame. */
export async function expandZstd(data: Uint8Array, clusterSize: number): Promise<Uint8Array> {
  const bytes = zstdFrameBytes(data);
  if (bytes === undefined) throw new Error('no complete zstd frame');
  expand ??= findExpand();
  return (await expand)(data.subarray(0, bytes), clusterSize);
}

/** Whether this Node compresses. */
export const canCompressZstd = zstdCompress !== undefined;

export function compressZstd(data: Uint8Array): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    if (zstdCompress === undefined) reject(new Error('zstd needs Node.js 22.15 or later'));
    else zstdCompress(data, (error, result) => (error ? reject(error) : resolve(result)));
  });
}
