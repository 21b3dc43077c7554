/** Reading: guest offsets to runs of clusters, neighbours in the file as one request. */
import type { BlockNode } from '../block-node.ts';
import type { Coverage } from '../chain-map.ts';
import { readCompressed } from './compressed.ts';
import type { Qcow2Image } from './image.ts';
import {
  type ClusterKind,
  COMPRESSED,
  DATA,
  hostOffset,
  isCopied,
  UNALLOCATED,
  unitHost,
  unitKind,
  ZERO,
} from './references.ts';

/** Requests to the file that one guest request has in flight at most. */
const MAX_PARTS = 32;

export interface Run {
  readonly kind: ClusterKind;
  /** Host offset of the first unit for DATA; where it would lie, or 0, for ZERO and UNALLOCATED. */
  readonly host: number;
  /** Units: clusters, or subclusters where the image has those. */
  readonly count: number;
}

/** Number of the unit that holds guest offset `at`, within its L2 table. */
export function unitOf(image: Qcow2Image, at: number): number {
  return Math.floor((at % image.l2Span) / image.unitSize);
}

/** Units from `unit` on that are alike, and for DATA neighbours in the file; compressed clusters come singly. */
export function runAt(image: Qcow2Image, table: Buffer, unit: number, maxCount: number): Run {
  const kind = unitKind(image, table, unit);
  const { unitsPerCluster } = image;
  const limit = Math.min(maxCount, image.l2Entries * unitsPerCluster - unit);
  if (kind === COMPRESSED) {
    return { kind, host: 0, count: Math.min(limit, unitsPerCluster - (unit % unitsPerCluster)) };
  }
  let count = 1;
  if (kind !== DATA) {
    const host = placeOf(image, table, unit);
    const at = (n: number): number => (host === 0 ? 0 : host + n * image.unitSize);
    while (
      count < limit &&
      unitKind(image, table, unit + count) === kind &&
      placeOf(image, table, unit + count) === at(count)
    ) {
      count++;
    }
    return { kind, host, count };
  }
  const host = unitHost(image, table, unit);
  while (count < limit && isDataAt(image, table, unit + count, host + count * image.unitSize)) count++;
  return { kind, host, count };
}

/** Where a unit lies or would lie; 0 if its cluster has no place. */
function placeOf(image: Qcow2Image, table: Buffer, unit: number): number {
  const cluster = hostOffset(image, table, Math.floor(unit / image.unitsPerCluster));
  return cluster === 0 ? 0 : cluster + (unit % image.unitsPerCluster) * image.unitSize;
}

function isDataAt(image: Qcow2Image, table: Buffer, unit: number, host: number): boolean {
  return unitKind(image, table, unit) === DATA && unitHost(image, table, unit) === host;
}

/** Neighbouring units from `unit` on that may be written in place: data that nobody else refers to. */
export function inPlaceRun(
  image: Qcow2Image,
  table: Buffer,
  unit: number,
  maxCount: number,
): Run | undefined {
  const { unitsPerCluster } = image;
  const ours = (at: number): boolean => isCopied(image, table, Math.floor(at / unitsPerCluster));
  if (!ours(unit) || unitKind(image, table, unit) !== DATA) return undefined;
  const host = unitHost(image, table, unit);
  const limit = Math.min(maxCount, image.l2Entries * unitsPerCluster - unit);
  let count = 1;
  while (
    count < limit &&
    ours(unit + count) &&
    isDataAt(image, table, unit + count, host + count * image.unitSize)
  ) {
    count++;
  }
  return { kind: DATA, host, count };
}

/** In a data file everything lies where the guest sees it. */
export function checkPlace(image: Qcow2Image, host: number, offset: number): void {
  if (!image.hasDataFile || host === offset) return;
  image.corrupt(
    'External data file host cluster offset does not match guest cluster offset',
    'L2 table',
    'offset',
    offset,
    host,
    `${offset}`,
  );
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
  const { clusterSize, l2Span, unitSize } = image;
  const parts = new Parts();
  try {
    for (let done = 0; done < target.length; ) {
      const at = offset + done;
      const left = target.length - done;
      const l1Index = Math.floor(at / l2Span);
      const l2 = l1Index * 8 < l1.length ? image.l2Offset(l1, l1Index) : 0;
      const inUnit = at % unitSize;
      if (l2 === 0) {
        const bytes = Math.min(left, l2Span - (at % l2Span));
        await readBacking(parts, backing, at, target.subarray(done, done + bytes));
        done += bytes;
        continue;
      }
      const cached = image.l2Cache.get(l2);
      const table = cached instanceof Promise ? await cached : cached;
      const unit = unitOf(image, at);
      const run = runAt(image, table, unit, Math.ceil((inUnit + left) / unitSize));
      const bytes = Math.min(left, run.count * unitSize - inUnit);
      const piece = target.subarray(done, done + bytes);
      if (run.kind === DATA) {
        checkPlace(image, run.host + inUnit, at);
        await parts.add(image.data.read(run.host + inUnit, piece));
      } else if (run.kind === ZERO) piece.fill(0);
      else if (run.kind === UNALLOCATED) await readBacking(parts, backing, at, piece);
      else {
        const entry = Math.floor(unit / image.unitsPerCluster);
        await parts.add(readPart(image, table, entry, at % clusterSize, piece));
      }
      done += bytes;
    }
  } finally {
    await parts.settle();
  }
}

/** A piece of the disk that is alike. `bytes`: how far, at most to the end asked for. */
export interface DiskExtent {
  readonly kind: ClusterKind;
  readonly offset: number;
  readonly bytes: number;
  /** Where DATA lies in the file. Others may have a place too, or 0. */
  readonly host: number;
}

/** The pieces of a range of the disk that `l1` describes, in order. */
export async function* extentsOf(
  image: Qcow2Image,
  l1: Buffer,
  offset: number,
  length: number,
): AsyncGenerator<DiskExtent, void, undefined> {
  const { l2Span, unitSize } = image;
  const end = offset + length;
  for (let at = offset; at < end; ) {
    const l1Index = Math.floor(at / l2Span);
    const tableEnd = Math.min(end, (l1Index + 1) * l2Span);
    const l2 = l1Index * 8 < l1.length ? image.l2Offset(l1, l1Index) : 0;
    if (l2 === 0) {
      yield { kind: UNALLOCATED, offset: at, bytes: tableEnd - at, host: 0 };
      at = tableEnd;
      continue;
    }
    const table = await image.l2Cache.get(l2);
    while (at < tableEnd) {
      const inUnit = at % unitSize;
      const run = runAt(image, table, unitOf(image, at), Math.ceil((inUnit + tableEnd - at) / unitSize));
      const bytes = Math.min(tableEnd - at, run.count * unitSize - inUnit);
      yield {
        kind: run.kind,
        offset: at,
        bytes,
        host: run.kind === DATA || run.host !== 0 ? run.host + inUnit : 0,
      };
      at += bytes;
    }
  }
}

/** Whether a range of the disk that `l1` describes is in this image, as far as the tables tell. */
export async function coverageOf(
  image: Qcow2Image,
  l1: Buffer,
  offset: number,
  length: number,
): Promise<Coverage> {
  let own = false;
  let below = false;
  for await (const { kind } of extentsOf(image, l1, offset, length)) {
    if (kind === UNALLOCATED) below = true;
    else own = true;
    if (own && below) return 'mixed';
  }
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
