/** What of a disk lies where, through its whole backing chain: for `map`, and for copies that leave out what reads zero. */
import type { BlockNode } from './block-node.ts';
import { firstLayer } from './chain-map.ts';
import { Qcow2 } from './qcow2/qcow2.ts';
import { COMPRESSED, UNALLOCATED, ZERO } from './qcow2/references.ts';
import { dataRanges } from './raw/holes.ts';

export interface ChainExtent {
  readonly offset: number;
  readonly bytes: number;
  /** Images above the one that has it. */
  readonly depth: number;
  /** An image has it, as opposed to: it reads zero because none has. */
  readonly present: boolean;
  readonly zero: boolean;
  /** Where it lies in `file`, if it lies there as it is. */
  readonly host: number | undefined;
  readonly file: string;
}

/** The extents of `length` bytes from `offset`, in order and without gaps. */
export async function* chainExtents(
  node: BlockNode,
  offset: number,
  length: number,
  depth = 0,
): AsyncGenerator<ChainExtent, void, undefined> {
  const layer = firstLayer(node);
  if (!(layer instanceof Qcow2)) {
    yield* rawExtents(layer, offset, length, depth);
    return;
  }
  const { backing } = layer;
  for await (const { bytes, host, kind, offset: at } of layer.extents(offset, length)) {
    if (kind !== UNALLOCATED) {
      const zero = kind === ZERO;
      const place = kind === COMPRESSED || (zero && host === 0) ? undefined : host;
      const { dataFile, file, hasDataFile, header } = layer.image;
      const name = hasDataFile ? (dataFile?.filename ?? header.dataFile ?? '') : file.filename;
      yield { offset: at, bytes, depth, present: true, zero, host: place, file: name };
      continue;
    }
    const below = backing === undefined ? 0 : Math.max(0, Math.min(bytes, backing.sizeBytes - at));
    if (below > 0) yield* chainExtents(backing!, at, below, depth + 1);
    if (below < bytes) {
      yield {
        offset: at + below,
        bytes: bytes - below,
        depth,
        present: false,
        zero: true,
        host: host === 0 || backing !== undefined ? undefined : host + below,
        file: layer.filename,
      };
    }
  }
}

async function* rawExtents(
  node: BlockNode,
  offset: number,
  length: number,
  depth: number,
): AsyncGenerator<ChainExtent, void, undefined> {
  const file = node.filename;
  const piece = (from: number, to: number, zero: boolean): ChainExtent => {
    return { offset: from, bytes: to - from, depth, present: true, zero, host: from, file };
  };
  const ranges = node.format === 'raw' ? await rangesOf(node) : undefined;
  const end = offset + length;
  let at = offset;
  for (const [from, to] of ranges ?? [[0, end] as const]) {
    if (to <= at) continue;
    if (from >= end) break;
    if (from > at) yield piece(at, from, true);
    const start = Math.max(at, from);
    at = Math.min(to, end);
    yield piece(start, at, false);
  }
  if (at < end) yield piece(at, end, true);
}

/** Asked for once: a chain asks for many pieces. Only of images that do not change meanwhile. */
const known = new WeakMap<BlockNode, Promise<[number, number][] | undefined>>();

function rangesOf(node: BlockNode): Promise<[number, number][] | undefined> {
  if (!node.readOnly) return dataRanges(node.filename);
  let ranges = known.get(node);
  if (ranges === undefined) {
    ranges = dataRanges(node.filename);
    known.set(node, ranges);
  }
  return ranges;
}
