/**
 * Another size of the disk. Growing: a longer L1 table, what is new made to read zero, then the size. Shrinking: one
 * transaction, after which neither tables nor counts know what was cut off.
 */
import type { BlockNode } from '../block-node.ts';
import { BlockError } from '../errors.ts';
import { readsZero, writeRange } from './allocate.ts';
import { setCopied, setEntry } from './be64.ts';
import { readBitmaps } from './bitmaps.ts';
import { HEADER_PATCH_BYTES, l1EntriesFor, patchHeader } from './header.ts';
import type { Qcow2Image } from './image.ts';
import { MAX_HOST_OFFSET, MAX_L1_BYTES } from './limits.ts';
import { getRefcount } from './refcount.ts';
import { forEachReference, setEntryCopied } from './references.ts';
import { dropEntries, exclusively, l1Bytes } from './snapshots.ts';
import { Transaction } from './transaction.ts';
import { zeroUnits } from './zero.ts';

const ZERO_BYTES = 1024 * 1024;

export async function resizeImage(
  image: Qcow2Image,
  sizeBytes: number,
  backing: BlockNode | undefined,
): Promise<void> {
  image.assertWritable();
  await checkResize(image, sizeBytes);
  const old = image.header.sizeBytes;
  if (sizeBytes < old) await shrink(image, sizeBytes);
  else if (sizeBytes > old) await grow(image, sizeBytes, backing);
}

async function checkResize(image: Qcow2Image, sizeBytes: number): Promise<void> {
  const refuse = (message: string, found: number | string, expected: string): never => {
    throw new BlockError('unsupported', message, { file: image.filename, field: 'size', found, expected });
  };
  if (sizeBytes % 512 !== 0) refuse('The new size must be a multiple of 512', sizeBytes, 'a multiple of 512');
  if (image.header.version < 3 && image.snapshots.length > 0) {
    refuse(
      "Can't resize a v2 image which has snapshots",
      image.snapshots.length,
      'version 3, or no snapshots',
    );
  }
  const [bitmap] = await readBitmaps(image);
  if (bitmap !== undefined) {
    refuse(`Cannot resize image with bitmap '${bitmap.name}'`, bitmap.name, 'no bitmaps');
  }
  const bytes = l1EntriesFor(sizeBytes, image) * 8;
  if (bytes > MAX_L1_BYTES || sizeBytes > MAX_HOST_OFFSET) {
    refuse(
      'The image size is too large for file format',
      sizeBytes,
      `an L1 table of at most ${MAX_L1_BYTES} bytes`,
    );
  }
}

async function grow(image: Qcow2Image, sizeBytes: number, backing: BlockNode | undefined): Promise<void> {
  const old = image.header.sizeBytes;
  const needed = l1EntriesFor(sizeBytes, image);
  await exclusively(image, async () => {
    const diskEntries = l1EntriesFor(old, image);
    if (needed <= diskEntries && image.header.l1Entries === diskEntries) return;
    const transaction = new Transaction(image);
    const l1 = Buffer.alloc(l1Bytes(needed));
    image.l1.copy(l1, 0, 0, diskEntries * 8);
    // VM state that QEMU's loadvm left behind the disk would become part of it.
    await dropEntries(image, transaction, image.l1, diskEntries, image.header.l1Entries);
    await transaction.replaceL1(l1, needed);
    await transaction.commit();
  });
  if (image.dataFile !== undefined && (await image.dataFile.size()) < sizeBytes) {
    await image.dataFile.truncate(sizeBytes);
  }
  const aligned = Math.min(Math.ceil(old / image.unitSize) * image.unitSize, sizeBytes);
  await zero(image, old, aligned - old, backing);
  const below = Math.min(sizeBytes, Math.max(aligned, backing?.sizeBytes ?? 0));
  await zero(image, aligned, below - aligned, backing);
  await zero(image, below, sizeBytes - below, backing);
  await exclusively(image, () => putSize(image, sizeBytes));
}

/** Behind the disk's end, where nobody else reads or writes yet. */
async function zero(
  image: Qcow2Image,
  offset: number,
  length: number,
  backing: BlockNode | undefined,
): Promise<void> {
  if (length === 0 || (!image.isRawData && (await readsZero(image, offset, length, backing)))) return;
  if (offset % image.unitSize === 0 && (await zeroUnits(image, offset, length, backing))) return;
  // A raw data file reads zero there: it was just made longer.
  if (image.isRawData && offset % image.unitSize === 0) return;
  const zeroes = new Uint8Array(Math.min(length, ZERO_BYTES));
  for (let done = 0; done < length; done += zeroes.length) {
    await writeRange(
      image,
      offset + done,
      zeroes.subarray(0, Math.min(zeroes.length, length - done)),
      backing,
    );
  }
}

async function putSize(image: Qcow2Image, sizeBytes: number): Promise<void> {
  const header = { ...image.header, sizeBytes };
  const sector = Buffer.from(image.headerBytes);
  patchHeader(sector, header);
  await image.sync();
  try {
    await image.file.write(0, sector.subarray(0, HEADER_PATCH_BYTES));
    await image.file.flush();
  } catch (error) {
    image.poison(error);
    throw error;
  }
  sector.copy(image.headerBytes);
  image.header = header;
}

function shrink(image: Qcow2Image, sizeBytes: number): Promise<void> {
  return exclusively(image, async () => {
    const transaction = new Transaction(image);
    const entries = l1EntriesFor(sizeBytes, image);
    const l1 = Buffer.alloc(l1Bytes(entries));
    image.l1.copy(l1, 0, 0, entries * 8);
    await dropEntries(image, transaction, image.l1, entries, image.header.l1Entries);
    const keep = Math.ceil((sizeBytes - (entries - 1) * image.l2Span) / image.clusterSize);
    if (entries > 0 && keep < image.l2Entries) await cutTable(image, transaction, l1, entries - 1, keep);
    await transaction.replaceL1(l1, entries);
    transaction.header.sizeBytes = sizeBytes;
    await transaction.commit();
    await truncateFile(image);
    await image.dataFile?.truncate(sizeBytes);
  });
}

/** The last table keeps `keep` entries, in a new place. */
async function cutTable(
  image: Qcow2Image,
  transaction: Transaction,
  l1: Buffer,
  index: number,
  keep: number,
): Promise<void> {
  const offset = image.l2Offset(l1, index);
  if (offset === 0) return;
  const table = Buffer.from(await image.l2Cache.get(offset));
  const gone: number[] = [];
  forEachReference(image, table, (cluster) => gone.push(cluster), keep);
  for (const cluster of gone) await transaction.change(cluster, -1);
  table.fill(0, keep * image.entryBytes);
  const cluster = offset / image.clusterSize;
  const shared = (await transaction.refcount(cluster)) > 1;
  if (shared) for (let entry = 0; entry < keep; entry++) setEntryCopied(image, table, entry, false);
  await transaction.change(cluster, -1);
  setEntry(l1, index, await transaction.writeL2(table), 0, 0);
  setCopied(l1, index, true);
}

/** Free clusters at the file's end go. */
async function truncateFile(image: Qcow2Image): Promise<void> {
  const { blockEntries, order, tableEntries } = image.refcounts;
  for (let index = tableEntries - 1; index >= 0; index--) {
    const block = await image.refcounts.block(index);
    if (block === undefined) continue;
    for (let i = blockEntries - 1; i >= 0; i--) {
      const cluster = index * blockEntries + i;
      if (getRefcount(block, i, order) === 0 && !image.refcounts.reserved.has(cluster)) continue;
      const end = (cluster + 1) * image.clusterSize;
      if (end < image.fileEnd) {
        await image.file.truncate(end);
        image.fileEnd = end;
      }
      return;
    }
  }
}

/** The disk alone is emptied: what is below shows everywhere. Snapshots stay. */
export function emptyImage(image: Qcow2Image): Promise<void> {
  return exclusively(image, async () => {
    const transaction = new Transaction(image);
    const entries = l1EntriesFor(image.header.sizeBytes, image);
    await dropEntries(image, transaction, image.l1, 0, image.header.l1Entries);
    await transaction.replaceL1(Buffer.alloc(l1Bytes(entries)), entries);
    await transaction.commit();
    await truncateFile(image);
  });
}
