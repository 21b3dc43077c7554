/**
 * An independent look at an image: every reference counted again from header, L1, L2, refcount and snapshot tables, and
 * compared with the counts and COPIED flags on disk.
 */
import { BlockError } from '../errors.ts';
import { entryIsCopied, entryOffset, readU64 } from './be64.ts';
import { EXT_BITMAPS } from './header.ts';
import type { Qcow2Image } from './image.ts';
import { COMPRESSED, forEachReference, hostOffset, kindOf } from './references.ts';
import { ReferenceCounts } from './reference-counts.ts';
import { getRefcount } from './refcount.ts';
import { readSnapshotL1 } from './snapshots.ts';

export interface CheckResult {
  /** References without counts, wrong flags, damaged tables. */
  readonly corruptions: number;
  /** Counts above the number of references. */
  readonly leaks: number;
  /** The first ones, in words. */
  readonly messages: readonly string[];
}

export interface References {
  /** References by cluster number. */
  readonly counts: ReferenceCounts;
  readonly errors: readonly BlockError[];
}

const MAX_MESSAGES = 100;
const MAX_BITMAP_DIRECTORY_BYTES = 1024 * 65_535;

/** Counts what refers to each cluster, without looking at the counts on disk. Nothing may be dirty. */
export async function countReferences(image: Qcow2Image): Promise<References> {
  const { clusterSize, header } = image;
  const counts = new ReferenceCounts();
  const errors: BlockError[] = [];
  // A table that is entered a million times must not take a million times as long.
  const clusters = Math.ceil(image.fileEnd / clusterSize) + 1;
  const limit = (image.snapshots.length + 1) * clusters * Math.max(2, clusterSize / 512);
  let references = 0;
  const add = (cluster: number): void => {
    if (++references > limit) {
      image.corrupt(
        'more references than the file can hold',
        'check',
        'references',
        0,
        references,
        `${limit}`,
      );
    }
    counts.add(cluster);
  };
  const addRange = (offset: number, bytes: number): void => {
    const count = Math.ceil(bytes / clusterSize);
    for (let i = 0; i < count && references <= limit; i++) add(offset / clusterSize + i);
  };
  const guard = async (task: () => Promise<void> | void): Promise<void> => {
    try {
      await task();
    } catch (error) {
      if (!(error instanceof BlockError)) throw error;
      errors.push(error);
    }
  };
  const addL1 = async (l1: Buffer, entries: number): Promise<void> => {
    for (let i = 0; i < entries && references <= limit; i++) {
      if (entryOffset(l1, i) === 0) continue;
      await guard(async () => {
        const offset = image.l2Offset(l1, i);
        if (offset === 0) return;
        add(offset / clusterSize);
        forEachReference(image, await image.l2Cache.get(offset), add);
      });
    }
  };
  await guard(() => {
    add(0);
    addRange(header.refcountTableOffset, header.refcountTableClusters * clusterSize);
  });
  for (let index = 0; index < image.refcounts.tableEntries; index++) {
    await guard(() => {
      const offset = image.refcounts.blockOffset(index);
      if (offset !== 0) add(offset / clusterSize);
    });
  }
  await guard(() => {
    addRange(header.l1Offset, header.l1Entries * 8);
    if (header.snapshotCount > 0) addRange(header.snapshotsOffset, image.snapshotTableBytes);
  });
  await addL1(image.l1, header.l1Entries);
  for (const snapshot of image.snapshots) {
    await guard(() => addRange(snapshot.l1Offset, snapshot.l1Entries * 8));
    await addL1(await readSnapshotL1(image, snapshot), snapshot.l1Entries);
  }
  await guard(() => addBitmaps(image, addRange));
  return { counts, errors };
}

/** Dirty bitmaps: directory, tables and data. Source: qcow2 specification, "Bitmaps". */
async function addBitmaps(
  image: Qcow2Image,
  addRange: (offset: number, bytes: number) => void,
): Promise<void> {
  const extension = image.header.extensions.find((e) => e.type === EXT_BITMAPS)?.data;
  if (extension === undefined || extension.length < 24 || !image.header.bitmapsConsistent) return;
  const bytes = readU64(extension, 8);
  const offset = readU64(extension, 16);
  if (bytes > MAX_BITMAP_DIRECTORY_BYTES || offset % image.clusterSize !== 0) {
    image.corrupt(
      'bitmap directory invalid',
      'bitmaps extension',
      'directory',
      offset,
      bytes,
      'a smaller one',
    );
  }
  addRange(offset, bytes);
  const directory = Buffer.alloc(bytes);
  await image.file.read(offset, directory);
  for (let at = 0; at + 24 <= bytes; ) {
    const tableOffset = readU64(directory, at);
    const entries = directory.readUInt32BE(at + 8);
    if (entries > 8 * 1024 * 1024 || tableOffset % image.clusterSize !== 0) {
      image.corrupt(
        'bitmap table invalid',
        'bitmap directory',
        'table',
        offset + at,
        entries,
        'a smaller one',
      );
    }
    addRange(tableOffset, entries * 8);
    const table = Buffer.alloc(entries * 8);
    await image.file.read(tableOffset, table);
    for (let i = 0; i < entries; i++) {
      const data = entryOffset(table, i);
      if (data !== 0) addRange(data, image.clusterSize);
    }
    at += Math.ceil((24 + directory.readUInt16BE(at + 18) + directory.readUInt32BE(at + 20)) / 8) * 8;
  }
}

/** Nothing may be dirty: flush first. Needs the image to itself. */
export async function checkImage(image: Qcow2Image): Promise<CheckResult> {
  const { counts, errors } = await countReferences(image);
  const messages = errors.map((error) => error.message);
  let corruptions = errors.length;
  let leaks = 0;
  const compare = (cluster: number, stored: number, references: number): void => {
    if (stored === references) return;
    if (stored < references) corruptions++;
    else leaks++;
    const word = stored < references ? 'ERROR' : 'Leaked';
    if (messages.length < MAX_MESSAGES) {
      messages.push(`${word} cluster ${cluster} refcount=${stored} reference=${references}`);
    }
  };
  const { blockEntries, order, tableEntries } = image.refcounts;
  for (let index = 0; index < tableEntries; index++) {
    const block = readableBlock(image, index);
    if (block === undefined) continue;
    const entries = await block;
    for (let i = 0; i < blockEntries; i++) {
      const cluster = index * blockEntries + i;
      compare(cluster, getRefcount(entries, i, order), counts.get(cluster));
    }
  }
  for (const [cluster, references] of counts.entries()) {
    if (readableBlock(image, Math.floor(cluster / blockEntries)) === undefined)
      compare(cluster, 0, references);
  }
  corruptions += await checkFlags(image, messages);
  return { corruptions, leaks, messages: messages.slice(0, MAX_MESSAGES) };
}

/** Undefined if there is none, or its entry in the table is damaged (which counting has reported). */
function readableBlock(image: Qcow2Image, index: number): Buffer | Promise<Buffer> | undefined {
  try {
    return image.refcounts.block(index);
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    return undefined;
  }
}

async function checkFlags(image: Qcow2Image, messages: string[]): Promise<number> {
  let wrong = 0;
  const compare = async (table: Buffer, entry: number, offset: number, what: string): Promise<void> => {
    const alone = (await image.refcounts.get(offset / image.clusterSize)) === 1;
    if (alone === entryIsCopied(table, entry)) return;
    wrong++;
    messages.push(`ERROR OFLAG_COPIED ${what} ${entry} offset=${offset}`);
  };
  for (let i = 0; i < image.header.l1Entries; i++) {
    try {
      const offset = image.l2Offset(image.l1, i);
      if (offset === 0) continue;
      await compare(image.l1, i, offset, 'L2 cluster');
      const table = await image.l2Cache.get(offset);
      for (let entry = 0; entry < image.l2Entries; entry++) {
        if (kindOf(table, entry) === COMPRESSED) continue;
        const host = hostOffset(image, table, entry);
        if (host !== 0) await compare(table, entry, host, 'data cluster');
      }
    } catch (error) {
      if (!(error instanceof BlockError)) throw error;
    }
  }
  return wrong;
}
