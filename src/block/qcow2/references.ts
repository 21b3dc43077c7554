/** What an L2 entry says: kind, host offset, and which clusters it refers to. Source: qcow2 specification, "L2 table entry". */
import { COMPRESSED_HI, entryOffset, ZERO_LO } from './be64.ts';
import { compressedExtent } from './compressed.ts';
import type { Qcow2Image } from './image.ts';
import { MAX_HOST_OFFSET } from './limits.ts';

export const UNALLOCATED = 0;
export const ZERO = 1;
export const DATA = 2;
export const COMPRESSED = 3;
export type ClusterKind = typeof UNALLOCATED | typeof ZERO | typeof DATA | typeof COMPRESSED;

export function kindOf(table: Buffer, entry: number): ClusterKind {
  const at = entry * 8;
  const lo = table.readUInt32BE(at + 4);
  const hi = table.readUInt32BE(at);
  if ((hi & COMPRESSED_HI) !== 0) return COMPRESSED;
  if ((lo & ZERO_LO) !== 0) return ZERO;
  return lo >>> 9 === 0 && (hi & 0x00ff_ffff) === 0 ? UNALLOCATED : DATA;
}

/** Host offset of a standard (not compressed) entry, checked; 0 for none. */
export function hostOffset(image: Qcow2Image, table: Buffer, entry: number): number {
  const offset = entryOffset(table, entry);
  if (offset % image.clusterSize !== 0 || offset > MAX_HOST_OFFSET) {
    image.corrupt(
      'Data cluster offset invalid',
      'L2 table',
      `entry ${entry}`,
      entry * 8,
      offset,
      'a cluster',
    );
  }
  return offset;
}

/** Kind of the entry, with what version 2 does not know refused. */
export function checkedKind(image: Qcow2Image, table: Buffer, entry: number): ClusterKind {
  const kind = kindOf(table, entry);
  if (kind === ZERO && image.header.version < 3) {
    image.corrupt(
      'Zero cluster entry found in pre-v3 image',
      'L2 table',
      `entry ${entry}`,
      entry * 8,
      1,
      'bit 0 clear',
    );
  }
  return kind;
}

/** Calls `visit` with each cluster number that entries `from` … `to` - 1 refer to, once a reference. */
export function forEachReference(
  image: Qcow2Image,
  table: Buffer,
  visit: (cluster: number) => void,
  from = 0,
  to = image.l2Entries,
): void {
  const { clusterSize } = image;
  for (let entry = from; entry < to; entry++) {
    const at = entry * 8;
    if (table.readUInt32BE(at) === 0 && table.readUInt32BE(at + 4) === 0) continue;
    if (checkedKind(image, table, entry) === COMPRESSED) {
      const { offset, bytes } = compressedExtent(image, table, entry);
      const last = Math.floor((offset + bytes - 1) / clusterSize);
      for (let cluster = Math.floor(offset / clusterSize); cluster <= last; cluster++) visit(cluster);
      continue;
    }
    const offset = hostOffset(image, table, entry);
    if (offset !== 0) visit(offset / clusterSize);
  }
}
