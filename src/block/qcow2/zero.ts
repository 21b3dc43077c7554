/** Ranges that shall read as zero without being written, and ranges that nobody needs any more. */
import type { BlockNode } from '../block-node.ts';
import { ownL2, releaseEntry } from './allocate.ts';
import type { Qcow2Image } from './image.ts';
import { unitOf } from './mapping.ts';
import {
  ALL_ZERO,
  checkedKind,
  COMPRESSED,
  hostOffset,
  isCopied,
  NOTHING,
  putEntry,
  UNALLOCATED,
  unitMasks,
} from './references.ts';

/**
 * Lets whole units read as zero. `offset` and `length` in bytes, whole units (the last one of the disk may be cut
 * short). False where that cannot be said: over a backing file in version 2, in a raw data file, for a part of a
 * compressed cluster.
 */
export async function zeroUnits(
  image: Qcow2Image,
  offset: number,
  length: number,
  backing: BlockNode | undefined,
): Promise<boolean> {
  if (image.isRawData || (image.header.version < 3 && backing !== undefined)) return false;
  let done = true;
  await eachTable(image, offset, length, backing !== undefined, (table, first, end) => {
    const { unitsPerCluster } = image;
    for (let unit = first; unit < end; ) {
      const entry = Math.floor(unit / unitsPerCluster);
      const next = Math.min(end, (entry + 1) * unitsPerCluster);
      if (next - unit === unitsPerCluster) zeroCluster(image, table, entry, backing);
      else if (!zeroPart(image, table, entry, unit, next)) done = false;
      unit = next;
    }
  });
  return done;
}

function zeroCluster(image: Qcow2Image, table: Buffer, entry: number, backing: BlockNode | undefined): void {
  const isHole =
    checkedKind(image, table, entry) === UNALLOCATED &&
    hostOffset(image, table, entry) === 0 &&
    unitMasks(image, table, entry).zero === 0;
  if (isHole && backing === undefined) return;
  releaseEntry(image, table, entry);
  putEntry(image, table, entry, 0, false, image.header.version < 3 ? NOTHING : ALL_ZERO);
}

/** Some subclusters of a cluster, which stays where it is. */
function zeroPart(image: Qcow2Image, table: Buffer, entry: number, from: number, to: number): boolean {
  if (checkedKind(image, table, entry) === COMPRESSED) return false;
  const touched = (2 ** (to - from) - 1) << (from & 31);
  const { data, zero } = unitMasks(image, table, entry);
  const left = (data & ~touched) >>> 0;
  const masks = { data: left, zero: (zero | touched) >>> 0 };
  if (left !== 0) {
    putEntry(image, table, entry, hostOffset(image, table, entry), isCopied(image, table, entry), masks);
  } else {
    releaseEntry(image, table, entry);
    putEntry(image, table, entry, 0, false, masks);
  }
  return true;
}

/** Runs `change` on the active L2 tables of a range, each ours alone, with its units from … to - 1. */
async function eachTable(
  image: Qcow2Image,
  offset: number,
  length: number,
  create: boolean,
  change: (table: Buffer, from: number, to: number) => void,
): Promise<void> {
  const { l2Span, unitSize } = image;
  for (let at = offset; at < offset + length; ) {
    const end = Math.min(offset + length, (Math.floor(at / l2Span) + 1) * l2Span);
    await image.mutex.run(async () => {
      image.assertWritable();
      if (!create && image.l2Offset(image.l1, Math.floor(at / l2Span)) === 0) return;
      await image.writeBackIfFull();
      const l2 = await ownL2(image, Math.floor(at / l2Span));
      const table = await image.l2Cache.get(l2);
      const first = unitOf(image, at);
      change(table, first, first + Math.ceil((end - at) / unitSize));
      image.l2Cache.markDirty(l2, table);
    });
    at = end;
  }
}

/**
 * Whole clusters within the range are given back; they read zero afterwards. Does nothing where version 2 would show
 * the backing file again, and in a data file that is a raw image.
 */
export async function discardClusters(
  image: Qcow2Image,
  offset: number,
  length: number,
  backing: BlockNode | undefined,
): Promise<void> {
  const { clusterSize } = image;
  const end = offset + length;
  const first = Math.ceil(offset / clusterSize) * clusterSize;
  const last = end === image.header.sizeBytes ? end : Math.floor(end / clusterSize) * clusterSize;
  if (last > first) await zeroUnits(image, first, last - first, backing);
}
