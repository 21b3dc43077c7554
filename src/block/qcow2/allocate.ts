/**
 * Writing: in place where the cluster is ours alone, else into new clusters, with what the guest did not write copied
 * from the old ones. The mutex is held from allocation until the L2 table names the new clusters.
 *
 * With extended L2 entries only the subclusters that the guest touches are completed from below; those that held data
 * before move along. With an external data file every cluster has its place already.
 */
import type { BlockNode } from '../block-node.ts';
import { entryIsCopied } from './be64.ts';
import { compressedExtent } from './compressed.ts';
import type { Qcow2Image } from './image.ts';
import { checkPlace, extentsOf, inPlaceRun, Parts, type Run, readRange, unitOf } from './mapping.ts';
import {
  ALL_UNITS,
  checkedKind,
  COMPRESSED,
  DATA,
  hostOffset,
  isCopied,
  putEntry,
  UNALLOCATED,
  unitKind,
  unitMasks,
  ZERO,
} from './references.ts';

/** Clusters written into one new run at most, to bound the time that the mutex is held. */
const MAX_RUN_BYTES = 16 * 1024 * 1024;

export async function writeRange(
  image: Qcow2Image,
  offset: number,
  source: Uint8Array,
  backing: BlockNode | undefined,
): Promise<void> {
  const { l2Span, unitSize } = image;
  const parts = new Parts();
  try {
    for (let done = 0; done < source.length; ) {
      const at = offset + done;
      const inTable = Math.min(source.length - done, l2Span - (at % l2Span));
      const table = await ownedTable(image, Math.floor(at / l2Span));
      const inUnit = at % unitSize;
      const units = Math.ceil((inUnit + inTable) / unitSize);
      const run = table === undefined ? undefined : inPlaceRun(image, table, unitOf(image, at), units);
      if (run === undefined) {
        done += await image.mutex.run(() =>
          allocateAndWrite(image, at, source.subarray(done, done + inTable), backing),
        );
        continue;
      }
      const bytes = Math.min(inTable, run.count * unitSize - inUnit);
      await guardInPlace(image, run, at - inUnit);
      await parts.add(image.data.write(run.host + inUnit, source.subarray(done, done + bytes)));
      done += bytes;
    }
  } finally {
    await parts.settle();
  }
}

/** Damaged tables: no write over metadata, none far behind the end of the file. `offset`: the guest's. */
async function guardInPlace(image: Qcow2Image, run: Run, offset: number): Promise<void> {
  if (image.hasDataFile) {
    checkPlace(image, run.host, offset);
    return;
  }
  const first = run.host - (run.host % image.clusterSize);
  const last = run.host + (run.count - 1) * image.unitSize;
  const clusters = Math.floor((last - first) / image.clusterSize) + 1;
  if (image.metadata.hits(first, clusters)) await image.metadata.guard(first, clusters);
  if (last - (last % image.clusterSize) >= image.fileEnd) {
    image.corrupt(
      'data cluster behind the end of the file',
      'L2 table',
      'offset',
      last,
      last,
      `less than ${image.fileEnd}`,
    );
  }
}

/** The active L2 table if nobody else refers to it. */
async function ownedTable(image: Qcow2Image, l1Index: number): Promise<Buffer | undefined> {
  const offset = image.l2Offset(image.l1, l1Index);
  if (offset === 0 || !entryIsCopied(image.l1, l1Index)) return undefined;
  const table = image.l2Cache.get(offset);
  return table instanceof Promise ? await table : table;
}

/** Host offset of an active L2 table of our own, made or copied if need be. Needs the mutex. */
export async function ownL2(image: Qcow2Image, l1Index: number): Promise<number> {
  const old = image.l2Offset(image.l1, l1Index);
  if (old !== 0 && entryIsCopied(image.l1, l1Index)) return old;
  const { offset } = await image.allocate(1);
  try {
    const table = old === 0 ? Buffer.alloc(image.clusterSize) : Buffer.from(await image.l2Cache.get(old));
    image.frozen?.tableMade(offset, table, old !== 0);
    image.l2Cache.markDirty(offset, table);
  } catch (error) {
    await image.unallocate(offset, 1);
    throw error;
  }
  image.setL1Entry(l1Index, offset);
  image.metadata.addL2(offset);
  if (old !== 0) {
    image.metadata.removeL2(old);
    if (image.frozen === undefined) image.release(old);
    else image.frozen.withhold(old);
  }
  return offset;
}

/** An L2 table of our own and the place in it of a write. */
interface Place {
  readonly l2: number;
  readonly table: Buffer;
  readonly offset: number;
  readonly data: Uint8Array;
}

/** Writes the beginning of `source` (all within one L2 table) and gives its length. Needs the mutex. */
async function allocateAndWrite(
  image: Qcow2Image,
  offset: number,
  source: Uint8Array,
  backing: BlockNode | undefined,
): Promise<number> {
  const { clusterSize, l2Span, unitSize } = image;
  image.assertWritable();
  await image.writeBackIfFull();
  const l2 = await ownL2(image, Math.floor(offset / l2Span));
  const table = await image.l2Cache.get(l2);
  const data = source.subarray(0, MAX_RUN_BYTES);
  // Another request may have allocated it while we waited for the mutex.
  const inUnit = offset % unitSize;
  const ready = inPlaceRun(image, table, unitOf(image, offset), Math.ceil((inUnit + data.length) / unitSize));
  if (ready !== undefined) {
    const bytes = Math.min(data.length, ready.count * unitSize - inUnit);
    await guardInPlace(image, ready, offset - inUnit);
    await image.data.write(ready.host + inUnit, data.subarray(0, bytes));
    return bytes;
  }
  const entry = Math.floor((offset % l2Span) / clusterSize);
  const wanted = Math.ceil(((offset % clusterSize) + data.length) / clusterSize);
  const place = { l2, table, offset, data };
  const first = offset - (offset % clusterSize);
  const own = ownHost(image, table, entry, first);
  if (own !== undefined) return fillOwn(image, place, own, wanted, backing);
  let count = 1;
  while (count < wanted && ownHost(image, table, entry + count, first + count * clusterSize) === undefined)
    count++;
  return writeNew(image, place, count, backing);
}

/** Where the cluster of an entry may be written although it does not hold data (everywhere): it is ours already. */
function ownHost(image: Qcow2Image, table: Buffer, entry: number, guest: number): number | undefined {
  if (image.hasDataFile) return guest;
  if (!isCopied(image, table, entry) || checkedKind(image, table, entry) === COMPRESSED) return undefined;
  const host = hostOffset(image, table, entry);
  return host === 0 ? undefined : host;
}

/** Writes to clusters that are ours but do not count as data yet, up to the first unit that does. */
async function fillOwn(
  image: Qcow2Image,
  { l2, table, offset, data }: Place,
  host: number,
  wanted: number,
  backing: BlockNode | undefined,
): Promise<number> {
  const { clusterSize, unitSize } = image;
  const first = unitOf(image, offset);
  const entry = Math.floor(first / image.unitsPerCluster);
  const guest = offset - (offset % clusterSize);
  let clusters = 1;
  while (
    clusters < wanted &&
    ownHost(image, table, entry + clusters, guest + clusters * clusterSize) === host + clusters * clusterSize
  ) {
    clusters++;
  }
  const limit = (entry + clusters) * image.unitsPerCluster;
  const inUnit = offset % unitSize;
  const end = Math.min(limit, first + Math.ceil((inUnit + data.length) / unitSize));
  let last = first + 1;
  while (last < end && unitKind(image, table, last) !== DATA) last++;
  const bytes = Math.min(data.length, (last - first) * unitSize - inUnit);
  const at = host + (offset % clusterSize);
  await guardInPlace(image, { kind: DATA, host: at - inUnit, count: last - first }, offset - inUnit);
  const tailBytes = (last - first) * unitSize - inUnit - bytes;
  const head = await oldContent(image, offset - inUnit, inUnit, backing, false);
  const tail = await oldContent(image, offset + bytes, tailBytes, backing, false);
  await writeAround(image, at, head, data.subarray(0, bytes), tail);
  for (let unit = first; unit < last; ) {
    const number = Math.floor(unit / image.unitsPerCluster);
    const next = Math.min(last, (number + 1) * image.unitsPerCluster);
    const masks = unitMasks(image, table, number);
    const touched = unitRange(image, unit, next);
    const place = host + (number - entry) * clusterSize;
    putEntry(image, table, number, place, true, {
      data: (masks.data | touched) >>> 0,
      zero: (masks.zero & ~touched) >>> 0,
    });
    unit = next;
  }
  image.l2Cache.markDirty(l2, table);
  return bytes;
}

/** Mask of units `from` … `to` - 1, all of one cluster. */
function unitRange(image: Qcow2Image, from: number, to: number): number {
  if (image.unitsPerCluster === 1 || to - from === 32) return ALL_UNITS;
  return ((2 ** (to - from) - 1) << (from & 31)) >>> 0;
}

/** Writes to new clusters: up to `count`, as many as lie together. */
async function writeNew(
  image: Qcow2Image,
  { l2, offset, data, table }: Place,
  count: number,
  backing: BlockNode | undefined,
): Promise<number> {
  const { clusterSize } = image;
  const entry = Math.floor((offset % image.l2Span) / clusterSize);
  const room = await image.allocate(count);
  const guest = offset - (offset % clusterSize);
  const bytes = Math.min(data.length, room.count * clusterSize - (offset - guest));
  try {
    const from = Math.min(offset - (offset % image.unitSize), keptFrom(image, table, entry, guest));
    const end = offset + bytes;
    const lastUnitEnd = Math.ceil(end / image.unitSize) * image.unitSize;
    const lastGuest = guest + (room.count - 1) * clusterSize;
    const to = Math.max(lastUnitEnd, keptTo(image, table, entry + room.count - 1, lastGuest));
    const head = await oldContent(image, from, offset - from, backing, room.fresh);
    const tail = await oldContent(image, end, to - end, backing, room.fresh);
    await writeAround(image, room.offset + offset - guest, head, data.subarray(0, bytes), tail);
  } catch (error) {
    await image.unallocate(room.offset, room.count);
    throw error;
  }
  await mapClusters(image, l2, room, offset, bytes);
  return bytes;
}

/** Where in the cluster at guest offset `guest` what has to move along begins. */
function keptFrom(image: Qcow2Image, table: Buffer, entry: number, guest: number): number {
  if (image.unitsPerCluster === 1) return guest;
  const { data } = unitMasks(image, table, entry);
  for (let unit = 0; unit < 32; unit++) {
    if ((data & (1 << unit)) !== 0) return guest + unit * image.unitSize;
  }
  return guest + image.clusterSize;
}

/** Where it ends. */
function keptTo(image: Qcow2Image, table: Buffer, entry: number, guest: number): number {
  if (image.unitsPerCluster === 1) return guest + image.clusterSize;
  const { data } = unitMasks(image, table, entry);
  for (let unit = 31; unit >= 0; unit--) {
    if ((data & (1 << unit)) !== 0) return guest + (unit + 1) * image.unitSize;
  }
  return guest;
}

/** `data` at host offset `at`, with what stands before and behind it, in one request. */
async function writeAround(
  image: Qcow2Image,
  at: number,
  head: Uint8Array | undefined,
  data: Uint8Array,
  tail: Uint8Array | undefined,
): Promise<void> {
  const parts: Uint8Array[] = [data];
  if (head !== undefined) parts.unshift(head);
  if (tail !== undefined) parts.push(tail);
  const start = at - (head?.length ?? 0);
  if (parts.length === 1) await image.data.write(start, data);
  else await image.data.writev(start, parts);
}

/** `bytes` of the guest's disk; undefined if it is nothing, or zero where zero is already. */
async function oldContent(
  image: Qcow2Image,
  offset: number,
  bytes: number,
  backing: BlockNode | undefined,
  fresh: boolean,
): Promise<Uint8Array | undefined> {
  if (bytes === 0) return undefined;
  if (fresh && (await readsZero(image, offset, bytes, backing))) return undefined;
  const old = Buffer.allocUnsafe(bytes);
  await readRange(image, image.l1, offset, old, backing);
  return old;
}

/** Whether the range reads as zero, as far as the tables tell. */
export async function readsZero(
  image: Qcow2Image,
  offset: number,
  bytes: number,
  backing: BlockNode | undefined,
): Promise<boolean> {
  const backingEnd = backing?.sizeBytes ?? 0;
  for await (const extent of extentsOf(image, image.l1, offset, bytes)) {
    if (extent.kind === ZERO || (extent.kind === UNALLOCATED && extent.offset >= backingEnd)) continue;
    return false;
  }
  return true;
}

/** Lets entries name new clusters, of which the guest wrote `bytes` from `offset`; the old ones lose a reference. */
async function mapClusters(
  image: Qcow2Image,
  l2: number,
  room: { readonly offset: number; readonly count: number },
  offset: number,
  bytes: number,
): Promise<void> {
  const { clusterSize, unitsPerCluster } = image;
  const table = await image.l2Cache.get(l2);
  const first = unitOf(image, offset);
  const end = first + Math.ceil(((offset % image.unitSize) + bytes) / image.unitSize);
  const entry = Math.floor(first / unitsPerCluster);
  for (let i = 0; i < room.count; i++) {
    const start = (entry + i) * unitsPerCluster;
    const touched = unitRange(image, Math.max(first, start), Math.min(end, start + unitsPerCluster));
    const masks = unitMasks(image, table, entry + i);
    releaseEntry(image, table, entry + i);
    putEntry(image, table, entry + i, room.offset + i * clusterSize, true, {
      data: (masks.data | touched) >>> 0,
      zero: (masks.zero & ~touched) >>> 0,
    });
  }
  image.l2Cache.markDirty(l2, table);
}

/** What an entry names loses a reference. The entry is to be changed in the same tick. */
export function releaseEntry(image: Qcow2Image, table: Buffer, entry: number): void {
  if (image.hasDataFile) return;
  const { frozen } = image;
  // What is not ours alone was there at the instant of which a snapshot is being made: it keeps the reference.
  const release = (offset: number, count: number): void => {
    if (frozen === undefined || isCopied(image, table, entry)) image.release(offset, count);
    else frozen.withhold(offset, count);
  };
  if (checkedKind(image, table, entry) === COMPRESSED) {
    const { offset, bytes } = compressedExtent(image, table, entry);
    const first = Math.floor(offset / image.clusterSize);
    const last = Math.floor((offset + bytes - 1) / image.clusterSize);
    release(first * image.clusterSize, last - first + 1);
    return;
  }
  const offset = hostOffset(image, table, entry);
  if (offset !== 0) release(offset, 1);
}
