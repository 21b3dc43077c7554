/** How L2 tables come to be shared between the active disk and a snapshot: one reference more, and no COPIED flags. */
import { entryIsCopied, setCopied, setEntry } from './be64.ts';
import type { FrozenDisk } from './frozen-disk.ts';
import { INCOMPAT_DIRTY, l1EntriesFor } from './header.ts';
import type { Qcow2Image } from './image.ts';
import type { Snapshot } from './snapshot-table.ts';
import { tablesOf, type WalkedTable } from './table-walk.ts';
import type { Transaction } from './transaction.ts';

/** Every table of the active disk that `wanted` wants and all it names gets one reference more and loses its COPIED flags. */
export async function shareTables(
  image: Qcow2Image,
  transaction: Transaction,
  l1: Buffer,
  entries: number,
  wanted: (index: number) => boolean,
): Promise<void> {
  for await (const walked of tablesOf(image, transaction, l1, 0, entries, wanted)) {
    await shareTable(image, transaction, l1, walked);
  }
}

async function shareTable(
  image: Qcow2Image,
  transaction: Transaction,
  l1: Buffer,
  { index, isOwn, offset, table }: WalkedTable,
): Promise<void> {
  await transaction.changeEntries(table, 1);
  if (hasCopied(image, table)) {
    const clean = withoutCopied(image, table, isOwn);
    const moved = await transaction.writeL2(clean);
    await transaction.change(moved / image.clusterSize, 1);
    await transaction.change(offset / image.clusterSize, -1);
    setEntry(l1, index, moved, 0, 0);
  } else {
    await transaction.change(offset / image.clusterSize, 1);
    setEntry(l1, index, offset, 0, 0);
  }
}

/**
 * The same for a disk that was written on since its instant (frozen-disk.ts): gives the L1 table of the instant. What the
 * disk gave up since has a reference already.
 */
export async function shareFrozen(
  image: Qcow2Image,
  transaction: Transaction,
  frozen: FrozenDisk,
  active: Buffer,
  entries: number,
  wanted: (index: number) => boolean,
): Promise<Buffer> {
  const { clusterSize, l2Cache } = image;
  const then = Buffer.from(frozen.l1);
  const isSame = (i: number): boolean => image.l2Offset(then, i) === image.l2Offset(image.l1, i);
  for await (const walked of tablesOf(image, transaction, then, 0, entries, (i) => isSame(i) && wanted(i))) {
    await shareTable(image, transaction, active, walked);
    active.copy(then, walked.index * 8, walked.index * 8, walked.index * 8 + 8);
  }
  for (let i = 0; i < entries; i++) {
    if (image.l2Offset(frozen.l1, i) === image.l2Offset(image.l1, i)) continue;
    const offset = image.l2Offset(then, i);
    const now = image.l2Offset(active, i);
    if (offset !== 0) {
      const table = await l2Cache.get(offset);
      await transaction.changeEntries(table, 1);
      if (hasCopied(image, table)) {
        setEntry(then, i, await transaction.writeL2(withoutCopied(image, table)), 0, 0);
      } else await transaction.change(offset / clusterSize, 1);
    }
    if (now === 0) continue;
    // On disk it still has flags for what it shares with the instant.
    const moved = await transaction.writeL2(Buffer.from(await l2Cache.get(now)));
    await transaction.change(now / clusterSize, -1);
    setEntry(active, i, moved, 0, 0);
    setCopied(active, i, true);
  }
  for (const cluster of frozen.withheld) await transaction.change(cluster, -1);
  if (frozen.setDirty) transaction.header.incompatible &= ~INCOMPAT_DIRTY;
  return then;
}

/** A snapshot's table becomes one of the active disk too; with stray COPIED flags it gets a copy of its own. */
export async function shareForActive(
  image: Qcow2Image,
  transaction: Transaction,
  l1: Buffer,
  { index, isOwn, offset, table }: WalkedTable,
): Promise<void> {
  await transaction.changeEntries(table, 1);
  if (hasCopied(image, table)) {
    setEntry(l1, index, await transaction.writeL2(withoutCopied(image, table, isOwn)), 0, 0);
    setCopied(l1, index, true);
  } else {
    await transaction.change(offset / image.clusterSize, 1);
    setEntry(l1, index, offset, 0, 0);
  }
}

function hasCopied(image: Qcow2Image, table: Buffer): boolean {
  for (let at = 0; at < table.length; at += image.entryBytes) {
    if ((table[at]! & 0x80) !== 0) return true;
  }
  return false;
}

function withoutCopied(image: Qcow2Image, table: Buffer, inPlace = false): Buffer {
  const clean = inPlace ? table : Buffer.from(table);
  for (let at = 0; at < clean.length; at += image.entryBytes) clean[at] = clean[at]! & 0x7f;
  return clean;
}

/** A snapshot that goes. */
export interface Leaving {
  readonly snapshot: Snapshot;
  readonly l1: Buffer;
  /** L1 entries whose tables, and all that these name, a new snapshot takes over as they are. */
  readonly inherited: Set<number>;
}

/**
 * Tables that the disk shares with a snapshot that goes: the new one names them in its place, and no count changes. A
 * snapshot made again costs what was written since.
 */
export function inheritTables(image: Qcow2Image, gone: readonly Leaving[]): ReadonlySet<number> {
  const all = new Set<number>();
  const then = image.frozen?.l1 ?? image.l1;
  const diskEntries = l1EntriesFor(image.header.sizeBytes, image);
  for (const { inherited, l1, snapshot } of gone) {
    for (let i = 0; i < Math.min(diskEntries, snapshot.l1Entries); i++) {
      const offset = image.l2Offset(l1, i);
      if (offset === 0 || all.has(i) || entryIsCopied(then, i)) continue;
      if (image.l2Offset(then, i) !== offset || image.l2Offset(image.l1, i) !== offset) continue;
      inherited.add(i);
      all.add(i);
    }
  }
  return all;
}
