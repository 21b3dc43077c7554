/**
 * COPIED flags that the active disk gets back when a snapshot goes: what it has alone then may be written in place. Tables
 * are written anew with the flags that the counts say.
 */
import { entryOffset, setCopied, setEntry } from './be64.ts';
import type { Qcow2Image } from './image.ts';
import { type CountBlock, checkCopied, viewOf } from './plain-entries.ts';
import { getRefcount } from './refcount.ts';
import { COMPRESSED, hostOffset, isCopied, kindOf, setEntryCopied } from './references.ts';
import { tablesOf } from './table-walk.ts';
import type { Transaction } from './transaction.ts';

/** Whether all that a table names has the COPIED flag. */
export function isAllAlone(image: Qcow2Image, table: Buffer): boolean {
  if (image.hasDataFile) return false;
  const view = viewOf(table);
  for (let entry = 0; entry < image.l2Entries; entry++) {
    if (view.getInt32(entry * image.entryBytes) < 0) continue;
    if (kindOf(image, table, entry) !== COMPRESSED && hostOffset(image, table, entry) !== 0) return false;
  }
  return true;
}

/** The active disk has an L2 table alone: entry `index` says so, with new contents if there are some. */
export async function takeOver(
  transaction: Transaction,
  active: Buffer,
  index: number,
  offset: number,
  contents: Buffer | undefined,
): Promise<void> {
  if (contents !== undefined) {
    await transaction.changeRange(offset, 1, -1);
    setEntry(active, index, await transaction.writeL2(contents), 0, 0);
  }
  setCopied(active, index, true);
}

/** After a snapshot with table `gone` lost its references: what the active disk has alone now is COPIED. */
export async function regainCopied(
  image: Qcow2Image,
  transaction: Transaction,
  gone: Buffer,
  active = Buffer.from(image.l1),
  done: ReadonlySet<number> = new Set(),
): Promise<void> {
  const alone = new Set<number>();
  const entries = Math.min(image.header.l1Entries, gone.length / 8);
  for (let i = 0; i < entries; i++) {
    const offset = image.l2Offset(active, i);
    if (done.has(i) || offset === 0 || entryOffset(gone, i) === 0) continue;
    const isAlone = (await transaction.refcount(offset / image.clusterSize)) === 1;
    setCopied(active, i, isAlone);
    if (isAlone) alone.add(i);
  }
  const left = tablesOf(image, transaction, image.l1, 0, entries, (i) => alone.has(i));
  for await (const { index, isOwn, offset, table } of left) {
    await takeOver(transaction, active, index, offset, await withCopied(image, transaction, table, isOwn));
  }
  await transaction.replaceL1(active, image.header.l1Entries);
}

/** A copy of a table (or itself) whose COPIED flags say what the counts say, or undefined if it says so already. */
export async function withCopied(
  image: Qcow2Image,
  transaction: Transaction,
  table: Buffer,
  inPlace = false,
): Promise<Buffer | undefined> {
  let copy: Buffer | undefined;
  if (image.hasDataFile) return undefined;
  let view = viewOf(table);
  const set = (entry: number, alone: boolean): void => {
    if (alone === isCopied(image, table, entry)) return;
    if (copy === undefined) {
      copy = inPlace ? table : Buffer.from(table);
      view = viewOf(copy);
    }
    setEntryCopied(image, copy, entry, alone);
  };
  let block: CountBlock | undefined;
  for (let entry = 0; entry < image.l2Entries; ) {
    if (block !== undefined) entry = checkCopied(image, view, entry, block, copy !== undefined);
    if (entry === image.l2Entries) break;
    if (kindOf(image, table, entry) !== COMPRESSED) {
      const host = hostOffset(image, table, entry);
      const cluster = host / image.clusterSize;
      if (host !== 0 && !counts(image, block, cluster)) block = await transaction.counts(cluster);
      if (host !== 0) set(entry, countOf(image, block, cluster) === 1);
    }
    entry++;
  }
  return copy;
}

function counts({ refcounts }: Qcow2Image, block: CountBlock | undefined, cluster: number): boolean {
  return block !== undefined && cluster >= block.first && cluster < block.first + refcounts.blockEntries;
}

function countOf({ refcounts }: Qcow2Image, block: CountBlock | undefined, cluster: number): number {
  return block === undefined ? 0 : getRefcount(block.bytes, cluster - block.first, refcounts.order);
}
