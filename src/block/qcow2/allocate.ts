/**
 * Writing: in place where the cluster is ours alone, else into new clusters, with what the guest did not write copied
 * from the old ones. The mutex is held from allocation until the L2 table names the new clusters.
 */
import type { BlockNode } from '../block-node.ts';
import { COPIED_HI, entryIsCopied, setEntry, ZERO_LO } from './be64.ts';
import { compressedExtent } from './compressed.ts';
import type { Qcow2Image } from './image.ts';
import { inPlaceRun, Parts, type Run, readRange } from './mapping.ts';
import { COMPRESSED, checkedKind, hostOffset, UNALLOCATED, ZERO } from './references.ts';

/** Clusters written into one new run at most, to bound the time that the mutex is held. */
const MAX_RUN_BYTES = 16 * 1024 * 1024;

export async function writeRange(
  image: Qcow2Image,
  offset: number,
  source: Uint8Array,
  backing: BlockNode | undefined,
): Promise<void> {
  const { clusterSize, l2Span } = image;
  const parts = new Parts();
  try {
    for (let done = 0; done < source.length; ) {
      const at = offset + done;
      const inTable = Math.min(source.length - done, l2Span - (at % l2Span));
      const table = await ownedTable(image, Math.floor(at / l2Span));
      const inCluster = at % clusterSize;
      const entry = Math.floor((at % l2Span) / clusterSize);
      const clusters = Math.ceil((inCluster + inTable) / clusterSize);
      const run = table === undefined ? undefined : inPlaceRun(image, table, entry, clusters);
      if (run === undefined) {
        done += await image.mutex.run(() =>
          allocateAndWrite(image, at, source.subarray(done, done + inTable), backing),
        );
        continue;
      }
      const bytes = Math.min(inTable, run.count * clusterSize - inCluster);
      await guardInPlace(image, run);
      await parts.add(image.file.write(run.host + inCluster, source.subarray(done, done + bytes)));
      done += bytes;
    }
  } finally {
    await parts.settle();
  }
}

/** Damaged tables: no write over metadata, none far behind the end of the file. */
async function guardInPlace(image: Qcow2Image, run: Run): Promise<void> {
  if (image.metadata.hits(run.host, run.count)) await image.metadata.guard(run.host, run.count);
  const last = run.host + (run.count - 1) * image.clusterSize;
  if (last >= image.fileEnd) {
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
async function ownL2(image: Qcow2Image, l1Index: number): Promise<number> {
  const old = image.l2Offset(image.l1, l1Index);
  if (old !== 0 && entryIsCopied(image.l1, l1Index)) return old;
  const { offset } = await image.allocate(1);
  try {
    const table = old === 0 ? Buffer.alloc(image.clusterSize) : Buffer.from(await image.l2Cache.get(old));
    image.l2Cache.markDirty(offset, table);
  } catch (error) {
    await image.unallocate(offset, 1);
    throw error;
  }
  image.setL1Entry(l1Index, offset);
  image.metadata.addL2(offset);
  if (old !== 0) {
    image.metadata.removeL2(old);
    image.release(old);
  }
  return offset;
}

/** Writes the beginning of `source` (all within one L2 table) and gives its length. Needs the mutex. */
async function allocateAndWrite(
  image: Qcow2Image,
  offset: number,
  source: Uint8Array,
  backing: BlockNode | undefined,
): Promise<number> {
  const { clusterSize, l2Span } = image;
  image.assertWritable();
  await image.writeBackIfFull();
  const l2 = await ownL2(image, Math.floor(offset / l2Span));
  const table = await image.l2Cache.get(l2);
  const entry = Math.floor((offset % l2Span) / clusterSize);
  const inCluster = offset % clusterSize;
  const wanted = Math.ceil((inCluster + Math.min(source.length, MAX_RUN_BYTES)) / clusterSize);
  // Another request may have allocated it while we waited for the mutex.
  const ready = inPlaceRun(image, table, entry, wanted);
  if (ready !== undefined) {
    const bytes = Math.min(source.length, ready.count * clusterSize - inCluster);
    await guardInPlace(image, ready);
    await image.file.write(ready.host + inCluster, source.subarray(0, bytes));
    return bytes;
  }
  let count = 1;
  while (count < wanted && inPlaceRun(image, table, entry + count, 1) === undefined) count++;
  const room = await image.allocate(count);
  const bytes = Math.min(source.length, room.count * clusterSize - inCluster);
  try {
    await writeClusters(image, room, offset, source.subarray(0, bytes), backing);
  } catch (error) {
    await image.unallocate(room.offset, room.count);
    throw error;
  }
  await mapClusters(image, l2, entry, room.count, room.offset);
  return bytes;
}

/** Data and, around it, what the first and last cluster held before. */
async function writeClusters(
  image: Qcow2Image,
  room: { offset: number; count: number; fresh: boolean },
  offset: number,
  data: Uint8Array,
  backing: BlockNode | undefined,
): Promise<void> {
  const { clusterSize } = image;
  const headBytes = offset % clusterSize;
  const tailBytes = room.count * clusterSize - headBytes - data.length;
  const head = await oldContent(image, offset - headBytes, headBytes, backing, room.fresh);
  const tail = await oldContent(image, offset + data.length, tailBytes, backing, room.fresh);
  const parts: Uint8Array[] = [data];
  if (head !== undefined) parts.unshift(head);
  if (tail !== undefined) parts.push(tail);
  const at = head === undefined ? room.offset + headBytes : room.offset;
  if (parts.length === 1) await image.file.write(at, data);
  else await image.file.writev(at, parts);
}

/** `bytes` of the guest's disk, within one cluster; undefined if it is nothing, or zero where zero is already. */
async function oldContent(
  image: Qcow2Image,
  offset: number,
  bytes: number,
  backing: BlockNode | undefined,
  fresh: boolean,
): Promise<Uint8Array | undefined> {
  if (bytes === 0) return undefined;
  if (fresh && (await readsZero(image, offset, backing))) return undefined;
  const old = Buffer.allocUnsafe(bytes);
  await readRange(image, image.l1, offset, old, backing);
  return old;
}

/** Whether the cluster at `offset` reads as zero, as far as the tables tell. */
export async function readsZero(
  image: Qcow2Image,
  offset: number,
  backing: BlockNode | undefined,
): Promise<boolean> {
  const l2 = image.l2Offset(image.l1, Math.floor(offset / image.l2Span));
  const noBacking =
    backing === undefined || Math.floor(offset / image.clusterSize) * image.clusterSize >= backing.sizeBytes;
  if (l2 === 0) return noBacking;
  const kind = checkedKind(
    image,
    await image.l2Cache.get(l2),
    Math.floor((offset % image.l2Span) / image.clusterSize),
  );
  return kind === ZERO || (kind === UNALLOCATED && noBacking);
}

/** Lets `count` entries name new clusters; the old ones lose a reference. Needs the mutex. */
async function mapClusters(
  image: Qcow2Image,
  l2: number,
  entry: number,
  count: number,
  host: number,
): Promise<void> {
  const table = await image.l2Cache.get(l2);
  for (let i = 0; i < count; i++) {
    releaseEntry(image, table, entry + i);
    setEntry(table, entry + i, host + i * image.clusterSize, COPIED_HI, 0);
  }
  image.l2Cache.markDirty(l2, table);
}

function releaseEntry(image: Qcow2Image, table: Buffer, entry: number): void {
  const kind = checkedKind(image, table, entry);
  if (kind === UNALLOCATED) return;
  if (kind === COMPRESSED) {
    const { offset, bytes } = compressedExtent(image, table, entry);
    const first = Math.floor(offset / image.clusterSize);
    const last = Math.floor((offset + bytes - 1) / image.clusterSize);
    image.release(first * image.clusterSize, last - first + 1);
    return;
  }
  const offset = hostOffset(image, table, entry);
  if (offset !== 0) image.release(offset);
}

/**
 * Lets whole clusters read as zero without writing them. `offset` and `length` in bytes, whole clusters (the last one of
 * the disk may be cut short). Version 2 cannot say "zero" over a backing file: gives false there.
 */
export async function zeroClusters(
  image: Qcow2Image,
  offset: number,
  length: number,
  backing: BlockNode | undefined,
): Promise<boolean> {
  const { clusterSize, l2Span } = image;
  if (image.header.version < 3 && backing !== undefined) return false;
  const flag = image.header.version < 3 ? 0 : ZERO_LO;
  for (let at = offset; at < offset + length; ) {
    const end = Math.min(offset + length, (Math.floor(at / l2Span) + 1) * l2Span);
    await image.mutex.run(async () => {
      image.assertWritable();
      await image.writeBackIfFull();
      if (backing === undefined && image.l2Offset(image.l1, Math.floor(at / l2Span)) === 0) return;
      const l2 = await ownL2(image, Math.floor(at / l2Span));
      const table = await image.l2Cache.get(l2);
      const first = Math.floor((at % l2Span) / clusterSize);
      const count = Math.ceil((end - at) / clusterSize);
      for (let entry = first; entry < first + count; entry++) {
        const kind = checkedKind(image, table, entry);
        if (kind === UNALLOCATED && backing === undefined) continue;
        releaseEntry(image, table, entry);
        setEntry(table, entry, 0, 0, flag);
      }
      image.l2Cache.markDirty(l2, table);
    });
    at = end;
  }
  return true;
}
