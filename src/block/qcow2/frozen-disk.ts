/**
 * The active disk as it was at an instant, while it is written on: what a snapshot that is still being made will hold.
 *
 * Freezing changes nothing on disk. In memory the COPIED flags of the active tables go, so that writes go to new tables and
 * clusters as with a snapshot; what the active disk gives up keeps its reference, for the snapshot to take over. On disk the
 * flags stay, since the counts do: `toDisk` puts them back on what is written out. If the snapshot is not made, all this
 * is undone. Should the process die, clusters are left that nothing refers to; the dirty bit sees to it that the next open
 * frees them (version 2 has no such bit).
 */
import { COPIED_HI, entryIsCopied, entryOffset, setCopied } from './be64.ts';
import { COMPAT_LAZY_REFCOUNTS, HEADER_PATCH_BYTES, INCOMPAT_DIRTY, patchHeader } from './header.ts';
import type { Qcow2Image } from './image.ts';

/** An active L2 table made since. */
interface OwnTable {
  readonly table: Buffer;
  /** The table of the instant that it was copied from, if there was one. */
  readonly before: Buffer | undefined;
}

export class FrozenDisk {
  /** The active L1 table of the instant, as on disk. */
  readonly l1: Buffer;
  /** Clusters (a number for each reference) that the active disk gave up. */
  readonly withheld: number[] = [];
  /** Whether the image's dirty bit was set for this. */
  readonly setDirty: boolean;
  readonly #image: Qcow2Image;
  /** By host offset. */
  readonly #own = new Map<number, OwnTable>();

  constructor(image: Qcow2Image, setDirty: boolean) {
    this.#image = image;
    this.l1 = Buffer.from(image.l1);
    this.setDirty = setDirty;
    for (let i = 0; i < image.header.l1Entries; i++) setCopied(image.l1, i, false);
    image.l2Cache.toDisk = (offset, table) => this.#flagsBack(offset, table);
  }

  /** A new active L2 table at `offset`, copied from one of the instant (or of zeros). */
  tableMade(offset: number, table: Buffer, isCopy: boolean): void {
    this.#own.set(offset, { table, before: isCopy ? Buffer.from(table) : undefined });
    const { entryBytes } = this.#image;
    for (let at = 0; at < table.length; at += entryBytes) table[at] = table[at]! & 0x7f;
    this.#image.l2Cache.keep(offset, table);
  }

  /** The L2 tables made since are those in memory, again. */
  keepTables(): void {
    for (const [offset, { table }] of this.#own) this.#image.l2Cache.keep(offset, table);
  }

  /** The active disk no longer refers to `count` clusters at host offset `offset`; the instant does. */
  withhold(offset: number, count = 1): void {
    const first = offset / this.#image.clusterSize;
    for (let i = 0; i < count; i++) this.withheld.push(first + i);
  }

  /** A sector of the L1 table as it has to be on disk. */
  l1ToDisk(at: number, bytes: number): Buffer {
    const sector = Buffer.from(this.#image.l1.subarray(at, at + bytes));
    for (let i = 0; i * 8 < bytes; i++) {
      const index = at / 8 + i;
      const same = entryOffset(sector, i) === entryOffset(this.l1, index) && entryOffset(sector, i) !== 0;
      if (same && entryIsCopied(this.l1, index)) setCopied(sector, i, true);
    }
    return sector;
  }

  #flagsBack(offset: number, table: Buffer): Buffer {
    const before = this.#own.get(offset)?.before;
    if (before === undefined) return table;
    const { entryBytes } = this.#image;
    const copy = Buffer.from(table);
    for (let at = 0; at < table.length; at += entryBytes) {
      const hi = before.readUInt32BE(at);
      if ((hi & COPIED_HI) === 0) continue;
      const same = ((copy.readUInt32BE(at) ^ hi) & ~COPIED_HI) === 0;
      if (same && copy.readUInt32BE(at + 4) >>> 9 === before.readUInt32BE(at + 4) >>> 9)
        copy[at] = copy[at]! | 0x80;
    }
    return copy;
  }

  /** Tables and flags are in memory what they are on disk again. */
  undo(): void {
    const { l1, l2Cache } = this.#image;
    this.l1ToDisk(0, l1.length).copy(l1);
    for (const [offset, { table }] of this.#own) this.#flagsBack(offset, table).copy(table);
    this.forget();
    for (const cluster of this.withheld) this.#image.release(cluster * this.#image.clusterSize);
    l2Cache.toDisk = undefined;
  }

  /** The snapshot was made: tables and flags in memory are right as they are. */
  forget(): void {
    const { l2Cache } = this.#image;
    l2Cache.toDisk = undefined;
    l2Cache.unkeep();
  }
}

/** To be called some time before {@link freeze}: what can take long. Says whether the image was marked. */
export function markDirty(image: Qcow2Image): Promise<boolean> {
  return image.mutex.run(async () => {
    image.assertWritable();
    const { compatible, incompatible, version } = image.header;
    // With lazy refcounts the bit has another owner, who sets it anyway.
    const isOurs = (compatible & COMPAT_LAZY_REFCOUNTS) === 0 && (incompatible & INCOMPAT_DIRTY) === 0;
    if (version < 3 || !isOurs) return false;
    await putDirty(image, true);
    return true;
  });
}

/** Takes the mark back. Nothing may be left to free. */
export function unmarkDirty(image: Qcow2Image): Promise<void> {
  return image.mutex.run(() => putDirty(image, false));
}

/** No request may be in flight. No I/O of its own. */
export function freeze(image: Qcow2Image, setDirty: boolean): Promise<FrozenDisk> {
  return image.mutex.run(async () => {
    if (image.frozen !== undefined) throw new Error('a snapshot is being made already');
    image.frozen = new FrozenDisk(image, setDirty);
    return image.frozen;
  });
}

/** No snapshot is made of it: what was kept for it is free. */
export function thaw(image: Qcow2Image): Promise<void> {
  return image.gate.exclusive(() =>
    image.mutex.run(async () => {
      const { frozen } = image;
      if (frozen === undefined) return;
      frozen.undo();
      image.frozen = undefined;
      if (!frozen.setDirty) return;
      await image.settle();
      await image.file.flush();
      await putDirty(image, false);
    }),
  );
}

async function putDirty(image: Qcow2Image, isDirty: boolean): Promise<void> {
  const header = { ...image.header };
  header.incompatible = isDirty
    ? header.incompatible | INCOMPAT_DIRTY
    : header.incompatible & ~INCOMPAT_DIRTY;
  const sector = Buffer.from(image.headerBytes);
  patchHeader(sector, header);
  await image.file.write(0, sector.subarray(0, HEADER_PATCH_BYTES));
  await image.file.flush();
  sector.copy(image.headerBytes);
  image.header = header;
}
