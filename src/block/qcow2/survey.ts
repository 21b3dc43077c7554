/** What an image says of a large piece of its disk, from one read of its L2 table: for the map over a chain (`chain-map.ts`). */
import { GRAIN_BYTES, type GrainMap, UNKNOWN, ZEROES } from '../grain-map.ts';
import { COMPRESSED_HI, ZERO_LO } from './be64.ts';
import type { Qcow2Image } from './image.ts';
import { viewOf } from './plain-entries.ts';

const TWO_32 = 0x1_0000_0000;

/** Whether {@link survey} can look at it: a grain lies within one cluster. */
export function canSurvey(image: Qcow2Image): boolean {
  return image.clusterSize >= GRAIN_BYTES && image.unitsPerCluster === 1 && !image.hasDataFile;
}

/** The entries for `bytes` from `offset`, which one L2 table maps, as the file has them; undefined: the image has nothing there. */
export async function readEntries(
  image: Qcow2Image,
  offset: number,
  bytes: number,
  /** Whole 64-bit words. */
  memory: Buffer,
): Promise<Buffer | undefined> {
  const index = Math.floor(offset / image.l2Span);
  const table = index * 8 < image.l1.length ? image.l2Offset(image.l1, index) : 0;
  if (table === 0) return undefined;
  const { clusterSize } = image;
  const first = Math.floor((offset % image.l2Span) / clusterSize);
  const count = Math.min(Math.ceil(bytes / clusterSize), image.l2Entries - first);
  const entries = memory.subarray(0, count * 8);
  await image.file.read(table + first * 8, entries);
  return entries;
}

/**
 * Grains of `map` that are unknown so far and that the entries tell of: where they lie, or that they are zero. What is not
 * plain or not valid is left to the image's own reading, which has the words for it. Grains from `end` on are not its own.
 */
export function survey(image: Qcow2Image, entries: Buffer, map: GrainMap, layer: number, end: number): void {
  const view = viewOf(entries);
  const perCluster = image.clusterSize / GRAIN_BYTES;
  const { version } = image.header;
  const count = entries.length / 8;
  for (let entry = 0; entry < count; entry++) {
    if (entry % EMPTY_ENTRIES === 0) {
      while (isEmpty(entries, entry)) entry += EMPTY_ENTRIES;
      if (entry >= count) break;
    }
    const at = entry * 8;
    const hi = view.getUint32(at);
    const lo = view.getUint32(at + 4);
    if ((hi | lo) === 0) continue;
    const offset = (hi & 0x00ff_ffff) * TWO_32 + ((lo & 0xffff_fe00) >>> 0);
    let where = layer;
    let host = -1;
    if ((hi & COMPRESSED_HI) === 0) {
      if ((lo & ZERO_LO) !== 0) where = version < 3 ? layer : ZEROES;
      else if (offset === 0) continue;
      else if (offset % image.clusterSize === 0) host = offset;
    }
    const first = (at / 8) * perCluster;
    const last = Math.min(first + perCluster, end);
    for (let grain = first; grain < last; grain++) {
      if (map.where[grain] !== UNKNOWN) continue;
      map.where[grain] = where;
      map.host[grain] = host < 0 ? -1 : host + (grain - first) * GRAIN_BYTES;
    }
  }
}

/** Most of an overlay's table is empty: so many entries are looked at together, by a call that needs no warming up. */
const EMPTY_ENTRIES = 256;
const EMPTY = Buffer.alloc(EMPTY_ENTRIES * 8);

function isEmpty(entries: Buffer, first: number): boolean {
  const start = first * 8;
  const end = start + EMPTY.length;
  return end <= entries.length && entries.compare(EMPTY, 0, EMPTY.length, start, end) === 0;
}
