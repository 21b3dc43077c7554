/**
 * An independent look at an image: every reference counted again (`count-references.ts`) and compared with the counts and
 * COPIED flags on disk.
 */
import { BlockError } from '../errors.ts';
import { entryIsCopied } from './be64.ts';
import { countReferences } from './count-references.ts';
import type { Qcow2Image } from './image.ts';
import { getRefcount } from './refcount.ts';
import { COMPRESSED, hostOffset, isCopied, kindOf } from './references.ts';

export interface CheckResult {
  /** References without counts, wrong flags, damaged tables. */
  readonly corruptions: number;
  /** Counts above the number of references. */
  readonly leaks: number;
  /** The first ones, in QEMU's words. */
  readonly messages: readonly string[];
  /** Behind the last cluster that is in use, in bytes. */
  readonly imageEnd: number;
  /** Of the active disk. */
  readonly totalClusters: number;
  readonly allocatedClusters: number;
  readonly fragmentedClusters: number;
  readonly compressedClusters: number;
}

const MAX_MESSAGES = 100;

/** Nothing may be dirty: flush first. Needs the image to itself. */
export async function checkImage(image: Qcow2Image): Promise<CheckResult> {
  const { counts, errors, layout } = await countReferences(image);
  const messages = errors.slice(0, MAX_MESSAGES).map((error) => error.message);
  let corruptions = errors.length;
  let leaks = 0;
  let last = 0;
  const compare = (cluster: number, stored: number, references: number): void => {
    if (cluster > last && (stored > 0 || references > 0)) last = cluster;
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
  return {
    corruptions,
    leaks,
    messages: messages.slice(0, MAX_MESSAGES),
    imageEnd: (last + 1) * image.clusterSize,
    totalClusters: Math.ceil(image.header.sizeBytes / image.clusterSize),
    allocatedClusters: layout.allocated,
    fragmentedClusters: layout.fragmented,
    compressedClusters: layout.compressed,
  };
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
  const compare = async (flag: boolean, host: number, tell: (refcount: number) => string): Promise<void> => {
    const refcount = await image.refcounts.get(host / image.clusterSize);
    if ((refcount === 1) === flag) return;
    wrong++;
    if (messages.length < MAX_MESSAGES) messages.push(`ERROR OFLAG_COPIED ${tell(refcount)}`);
  };
  const hex = (table: Buffer, at: number): string => table.readBigUInt64BE(at).toString(16);
  for (let i = 0; i < image.header.l1Entries; i++) {
    try {
      const offset = image.l2Offset(image.l1, i);
      if (offset === 0) continue;
      await compare(
        entryIsCopied(image.l1, i),
        offset,
        (refcount) => `L2 cluster: l1_index=${i} l1_entry=${hex(image.l1, i * 8)} refcount=${refcount}`,
      );
      const table = await image.l2Cache.get(offset);
      for (let entry = 0; entry < image.l2Entries; entry++) {
        if (image.hasDataFile || kindOf(image, table, entry) === COMPRESSED) continue;
        const host = hostOffset(image, table, entry);
        if (host === 0) continue;
        await compare(
          isCopied(image, table, entry),
          host,
          (refcount) => `data cluster: l2_entry=${hex(table, entry * image.entryBytes)} refcount=${refcount}`,
        );
      }
    } catch (error) {
      if (!(error instanceof BlockError)) throw error;
    }
  }
  return wrong;
}
