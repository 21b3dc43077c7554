/** Copies between disks: what converts, commits, streams and rebases images. Several requests in flight, flat memory. */
import type { BlockNode } from './block-node.ts';

/** Bytes of one request, and requests in flight. */
const PIECE_BYTES = 2 * 1024 * 1024;
const DEPTH = 4;

export interface CopyRange {
  readonly offset: number;
  readonly bytes: number;
}

/** Reads a piece of `source` into `buffer` and gives it to `put`, which must be done with it when it resolves. */
export type Put = (offset: number, data: Uint8Array) => Promise<void>;

export interface CopyOptions {
  /** Bytes done since the last call. */
  readonly onProgress?: (bytes: number) => void;
  readonly signal?: AbortSignal;
  /** Bytes of a piece; default 2 MiB. */
  readonly pieceBytes?: number;
  /** Pieces in flight; default 4. */
  readonly depth?: number;
}

/** Cuts ranges into pieces and copies them, several at a time, in no particular order. The first failure ends it. */
export async function copyRanges(
  source: BlockNode,
  ranges: AsyncIterable<CopyRange> | Iterable<CopyRange>,
  put: Put,
  options: CopyOptions = {},
): Promise<void> {
  const { depth = DEPTH, onProgress, pieceBytes = PIECE_BYTES, signal } = options;
  const pieces = piecesOf(ranges, pieceBytes);
  const lane = async (): Promise<void> => {
    const buffer = new Uint8Array(pieceBytes);
    for (;;) {
      signal?.throwIfAborted();
      const next = await pieces.next();
      if (next.done === true) return;
      const { bytes, offset } = next.value;
      const data = buffer.subarray(0, bytes);
      await source.read(offset, data);
      await put(offset, data);
      onProgress?.(bytes);
    }
  };
  const results = await Promise.allSettled(Array.from({ length: depth }, lane));
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}

/** An async generator serves several takers one after the other. */
async function* piecesOf(
  ranges: AsyncIterable<CopyRange> | Iterable<CopyRange>,
  pieceBytes: number,
): AsyncGenerator<CopyRange, void, undefined> {
  for await (const { bytes, offset } of ranges) {
    for (let at = offset; at < offset + bytes; ) {
      const end = Math.min((Math.floor(at / pieceBytes) + 1) * pieceBytes, offset + bytes);
      yield { offset: at, bytes: end - at };
      at = end;
    }
  }
}

/** Whether all bytes are zero. */
export function isZero(data: Uint8Array): boolean {
  if (data.length === 0) return true;
  if (data[0] !== 0) return false;
  // Each byte equals the one before it: memcmp does that faster than a loop here.
  return Buffer.compare(data.subarray(1), data.subarray(0, data.length - 1)) === 0;
}

/** Runs of `data` that are zero or are not, at multiples of `grain` bytes from `offset`'s multiple. */
export function* runsOf(
  data: Uint8Array,
  offset: number,
  grain: number,
): Generator<{ readonly at: number; readonly end: number; readonly zero: boolean }> {
  let at = 0;
  let zero: boolean | undefined;
  for (let next = 0; next < data.length; ) {
    const end = Math.min(data.length, next + grain - ((offset + next) % grain));
    const now = isZero(data.subarray(next, end));
    if (zero !== undefined && now !== zero) {
      yield { at, end: next, zero };
      at = next;
    }
    zero = now;
    next = end;
  }
  if (zero !== undefined) yield { at, end: data.length, zero };
}
