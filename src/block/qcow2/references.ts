/**
 * What an L2 entry says: kind, host offset, subclusters, and which clusters it refers to. Source: qcow2 specification,
 * "L2 table entry" and "Extended L2 Entries".
 *
 * A table is mapped in units: a cluster each, or a subcluster where the image has those. `unit` counts from the table's
 * start, `entry` counts clusters.
 */
import { COMPRESSED_HI, COPIED_HI, ZERO_LO } from './be64.ts';
import { compressedExtent } from './compressed.ts';
import type { Qcow2Image } from './image.ts';
import { MAX_HOST_OFFSET } from './limits.ts';

export const UNALLOCATED = 0;
export const ZERO = 1;
export const DATA = 2;
export const COMPRESSED = 3;
export type ClusterKind = typeof UNALLOCATED | typeof ZERO | typeof DATA | typeof COMPRESSED;

const TWO_32 = 0x1_0000_0000;
/** All 32 subclusters. */
export const ALL_UNITS = 0xffff_ffff;

/**
 * Kind of a whole entry. With subclusters: DATA if there is data in any, ZERO if nothing below shows through.
 */
export function kindOf(image: Qcow2Image, table: Buffer, entry: number): ClusterKind {
  const at = entry * image.entryBytes;
  const lo = table.readUInt32BE(at + 4);
  const hi = table.readUInt32BE(at);
  if ((hi & COMPRESSED_HI) !== 0) return COMPRESSED;
  if (image.unitsPerCluster > 1) {
    if (table.readUInt32BE(at + 12) !== 0) return DATA;
    return table.readUInt32BE(at + 8) === ALL_UNITS ? ZERO : UNALLOCATED;
  }
  if ((lo & ZERO_LO) !== 0) return ZERO;
  if (lo >>> 9 !== 0 || (hi & 0x00ff_ffff) !== 0) return DATA;
  // The first cluster of a data file lies at offset 0.
  return image.hasDataFile && (hi & COPIED_HI) !== 0 ? DATA : UNALLOCATED;
}

/** Host offset of a standard (not compressed) entry, checked; 0 for none. */
export function hostOffset(image: Qcow2Image, table: Buffer, entry: number): number {
  const at = entry * image.entryBytes;
  const hi = table.readUInt32BE(at) & 0x00ff_ffff;
  const offset = hi * TWO_32 + ((table.readUInt32BE(at + 4) & 0xffff_fe00) >>> 0);
  if (offset % image.clusterSize !== 0 || offset > MAX_HOST_OFFSET) {
    image.corrupt('Data cluster offset invalid', 'L2 table', `entry ${entry}`, at, offset, 'a cluster');
  }
  return offset;
}

/** Kind of the entry, with what version 2 does not know refused. */
export function checkedKind(image: Qcow2Image, table: Buffer, entry: number): ClusterKind {
  const kind = kindOf(image, table, entry);
  const at = entry * image.entryBytes;
  if (kind === ZERO && image.header.version < 3) {
    image.corrupt(
      'Zero cluster entry found in pre-v3 image',
      'L2 table',
      `entry ${entry}`,
      at,
      1,
      'bit 0 clear',
    );
  }
  if (kind === COMPRESSED && image.hasDataFile) {
    const offset = table.readUInt32BE(at + 4);
    image.corrupt(
      'Compressed cluster entry found in image with external data file',
      'L2 table',
      `entry ${entry}`,
      at,
      offset,
      'a standard cluster',
    );
  }
  return kind;
}

/** Kind of one unit. */
export function unitKind(image: Qcow2Image, table: Buffer, unit: number): ClusterKind {
  if (image.unitsPerCluster === 1) return checkedKind(image, table, unit);
  const entry = unit >>> 5;
  const at = entry * 16;
  if ((table[at]! & 0x40) !== 0) return checkedKind(image, table, entry);
  const bit = 1 << (unit & 31);
  const isZero = (table.readUInt32BE(at + 8) & bit) !== 0;
  if ((table.readUInt32BE(at + 12) & bit) === 0) return isZero ? ZERO : UNALLOCATED;
  if (isZero) corruptUnit(image, unit, 'Subcluster both allocated and zero');
  if (hostOffset(image, table, entry) === 0 && !(image.hasDataFile && isCopied(image, table, entry))) {
    corruptUnit(image, unit, 'Subcluster allocated without a cluster');
  }
  return DATA;
}

function corruptUnit(image: Qcow2Image, unit: number, message: string): never {
  image.corrupt(message, 'L2 table', `entry ${unit >>> 5}`, (unit >>> 5) * 16, unit & 31, 'one of both');
}

/** Host offset of a unit that is DATA. */
export function unitHost(image: Qcow2Image, table: Buffer, unit: number): number {
  if (image.unitsPerCluster === 1) return hostOffset(image, table, unit);
  return hostOffset(image, table, unit >>> 5) + (unit & 31) * image.unitSize;
}

export function isCopied(image: Qcow2Image, table: Buffer, entry: number): boolean {
  return (table[entry * image.entryBytes]! & 0x80) !== 0;
}

export function setEntryCopied(image: Qcow2Image, table: Buffer, entry: number, copied: boolean): void {
  const at = entry * image.entryBytes;
  table[at] = copied ? table[at]! | 0x80 : table[at]! & 0x7f;
}

/** Bit masks of the entry's units: which are DATA, which read zero. Without subclusters: all or none. */
export interface UnitMasks {
  readonly data: number;
  readonly zero: number;
}

/** Of a standard entry; a compressed one is all data. */
export function unitMasks(image: Qcow2Image, table: Buffer, entry: number): UnitMasks {
  const kind = checkedKind(image, table, entry);
  if (kind === COMPRESSED) return { data: ALL_UNITS, zero: 0 };
  if (image.unitsPerCluster > 1) {
    return { data: table.readUInt32BE(entry * 16 + 12), zero: table.readUInt32BE(entry * 16 + 8) };
  }
  return { data: kind === DATA ? ALL_UNITS : 0, zero: kind === ZERO ? ALL_UNITS : 0 };
}

/** A standard entry. `host` 0: no cluster. Without subclusters the masks are all or none. */
export function putEntry(
  image: Qcow2Image,
  table: Buffer,
  entry: number,
  host: number,
  copied: boolean,
  { data, zero }: UnitMasks,
): void {
  const at = entry * image.entryBytes;
  const hasUnits = image.unitsPerCluster > 1;
  const flag = !hasUnits && zero !== 0 ? ZERO_LO : 0;
  table.writeUInt32BE((Math.floor(host / TWO_32) | (copied ? COPIED_HI : 0)) >>> 0, at);
  table.writeUInt32BE(((host % TWO_32) | flag) >>> 0, at + 4);
  if (!hasUnits) return;
  table.writeUInt32BE(zero >>> 0, at + 8);
  table.writeUInt32BE(data >>> 0, at + 12);
}

export const WHOLE: UnitMasks = { data: ALL_UNITS, zero: 0 };
export const NOTHING: UnitMasks = { data: 0, zero: 0 };
export const ALL_ZERO: UnitMasks = { data: 0, zero: ALL_UNITS };

/** Calls `visit` with each cluster of the image file that entries `from` … `to` - 1 refer to, once a reference. */
export function forEachReference(
  image: Qcow2Image,
  table: Buffer,
  visit: (cluster: number) => void,
  from = 0,
  to = image.l2Entries,
): void {
  const { clusterSize, entryBytes } = image;
  for (let entry = from; entry < to; entry++) {
    const at = entry * entryBytes;
    if (table.readUInt32BE(at) === 0 && table.readUInt32BE(at + 4) === 0) continue;
    if (checkedKind(image, table, entry) === COMPRESSED) {
      const { offset, bytes } = compressedExtent(image, table, entry);
      const last = Math.floor((offset + bytes - 1) / clusterSize);
      for (let cluster = Math.floor(offset / clusterSize); cluster <= last; cluster++) visit(cluster);
      continue;
    }
    const offset = hostOffset(image, table, entry);
    if (offset !== 0 && !image.hasDataFile) visit(offset / clusterSize);
  }
}
