/** Reading: guest offsets to runs of clusters, neighbours in the file as one request. */
import type { BlockNode } from '../block-node.ts';
import type { Coverage } from '../chain-map.ts';
import { entryIsCopied, entryOffset } from './be64.ts';
import { readCompressed } from './compressed.ts';
import type { Qcow2Image } from './image.ts';
import {
  type ClusterKind,
  COMPRESSED,
  checkedKind,
  DATA,
  hostOffset,
  UNALLOCATED,
  ZERO,
} from './references.ts';

/** Requests to the file that one guest request has in flight at most. */
const MAX_PARTS = 32;

export interface Run {
  readonly kind: ClusterKind;
  /** Host offset of the first cluster, for DATA. */
  readonly host: number;
  readonly count: number;
}

/** Clusters from `entry` on that are alike, and for DATA neighbours in the file; compressed ones come singly. */
export function runAt(image: Qcow2Image, table: Buffer, entry: number, maxCount: number): Run {
  const kind = checkedKind(image, table, entry);
  const limit = Math.min(maxCount, image.l2Entries - entry);
  if (kind === COMPRESSED) return { kind, host: 0, count: 1 };
  let count = 1;
  if (kind !== DATA) {
    while (count < limit && checkedKind(image, table, entry + count) === kind) count++;
    return { kind, host: 0, count };
  }
  const host = hostOffset(image, table, entry);
  while (count < limit && isDataAt(image, table, entry + count, host + count * image.clusterSize)) count++;
  return { kind, host, count };
}

function isDataAt(image: Qcow2Image, table: Buffer, entry: number, host: number): boolean {
  return entryOffset(table, entry) === host && checkedKind(image, table, entry) === DATA;
}

/** Neighbouring clusters from `entry` on that may be written in place: data that nobody else refers to. */
export function inPlaceRun(
  image: Qcow2Image,
  table: Buffer,
  entry: number,
  maxCount: number,
): Run | undefined {
  if (!entryIsCopied(table, entry) || checkedKind(image, table, entry) !== DATA) return undefined;
  const host = hostOffset(image, table, entry);
  const limit = Math.min(maxCount, image.l2Entries - entry);
  let count = 1;
  while (
    count < limit &&
    entryIsCopied(table, entry + count) &&
    isDataAt(image, table, entry + count, host + count * image.clusterSize)
  ) {
    count++;
  }
  return { kind: DATA, host, count };
}

/** The parts of one request: all are waited for, even when one fails, since they use the caller's buffer. */
export class Parts {
  #parts: Promise<void>[] = [];

  async add(part: Promise<void>): Promise<void> {
    this.#parts.push(part);
    if (this.#parts.length >= MAX_PARTS) await this.settle();
    else part.catch(() => {});
  }

  async settle(): Promise<void> {
    const parts = this.#parts;
    this.#parts = [];
    if (parts.length === 1) return parts[0];
    for (const result of await Promise.allSettled(parts)) {
      if (result.status === 'rejected') throw result.reason;
    }
  }
}

/** Fills `target` from `offset` of the disk that `l1` describes; `backing` lies below it. */
export async function readRange(
  image: Qcow2Image,
  l1: Buffer,
  offset: number,
  target: Uint8Array,
  backing: BlockNode | undefined,
): Promise<void> {
  const { clusterSize, l2Span } = image;
  const parts = new Parts();
  try {
    for (let done = 0; done < target.length; ) {
      const at = offset + done;
      const left = target.length - done;
      const l1Index = Math.floor(at / l2Span);
      const l2 = l1Index * 8 < l1.length ? image.l2Offset(l1, l1Index) : 0;
      const inCluster = at % clusterSize;
      if (l2 === 0) {
        const bytes = Math.min(left, l2Span - (at % l2Span));
        await readBacking(parts, backing, at, target.subarray(done, done + bytes));
        done += bytes;
        continue;
      }
      const cached = image.l2Cache.get(l2);
      const table = cached instanceof Promise ? await cached : cached;
      const entry = Math.floor((at % l2Span) / clusterSize);
      const run = runAt(image, table, entry, Math.ceil((inCluster + left) / clusterSize));
      const bytes = Math.min(left, run.count * clusterSize - inCluster);
      const piece = target.subarray(done, done + bytes);
      if (run.kind === DATA) await parts.add(image.file.read(run.host + inCluster, piece));
      else if (run.kind === ZERO) piece.fill(0);
      else if (run.kind === UNALLOCATED) await readBacking(parts, backing, at, piece);
      else await parts.add(readPart(image, table, entry, inCluster, piece));
      done += bytes;
    }
  } finally {
    await parts.settle();
  }
}

/** Whether a range of the disk that `l1` describes is in this image, as far as the tables tell. */
export async function coverageOf(
  image: Qcow2Image,
  l1: Buffer,
  offset: number,
  length: number,
): Promise<Coverage> {
  const { clusterSize, l2Span } = image;
  let own = false;
  let below = false;
  for (let at = offset; at < offset + length; ) {
    const l2 = image.l2Offset(l1, Math.floor(at / l2Span));
    if (l2 === 0) {
      below = true;
      at = (Math.floor(at / l2Span) + 1) * l2Span;
      continue;
    }
    const table = await image.l2Cache.get(l2);
    const run = runAt(
      image,
      table,
      Math.floor((at % l2Span) / clusterSize),
      Math.ceil(length / clusterSize) + 1,
    );
    if (run.kind === UNALLOCATED) below = true;
    else own = true;
    at = (Math.floor(at / clusterSize) + run.count) * clusterSize;
  }
  if (own && below) return 'mixed';
  return own ? 'own' : 'below';
}

async function readPart(
  image: Qcow2Image,
  table: Buffer,
  entry: number,
  inCluster: number,
  piece: Uint8Array,
): Promise<void> {
  const cluster = await readCompressed(image, table, entry);
  piece.set(cluster.subarray(inCluster, inCluster + piece.length));
}

async function readBacking(
  parts: Parts,
  backing: BlockNode | undefined,
  offset: number,
  piece: Uint8Array,
): Promise<void> {
  const below = backing === undefined ? 0 : Math.max(0, Math.min(piece.length, backing.sizeBytes - offset));
  if (below < piece.length) piece.fill(0, below);
  if (below > 0) await parts.add(backing!.read(offset, piece.subarray(0, below)));
}
