/**
 * Metadata tables of one cluster each (L2 tables, refcount blocks), found by hash; clean ones are evicted, those not used
 * lately first, within a budget that all images of a chain share. Dirty tables stay until they are written: what may be
 * written when is the owner's business (`image.ts`).
 */
import type { BlockFile } from '../file.ts';
import type { Lru, LruEntry } from '../lru.ts';

class CleanTable implements LruEntry {
  readonly bytes: number;
  readonly table: Buffer;
  newer: LruEntry | undefined;
  older: LruEntry | undefined;
  isUsed = false;
  readonly #offset: number;
  readonly #owner: Map<number, CleanTable>;

  constructor(owner: Map<number, CleanTable>, offset: number, table: Buffer) {
    this.#owner = owner;
    this.#offset = offset;
    this.bytes = table.length;
    this.table = table;
  }

  evict(): void {
    this.#owner.delete(this.#offset);
  }
}

export class TableCache {
  readonly #file: BlockFile;
  readonly #tableBytes: number;
  readonly #lru: Lru;
  readonly #clean = new Map<number, CleanTable>();
  readonly #dirty = new Map<number, Buffer>();
  readonly #loading = new Map<number, Promise<Buffer>>();
  /** Tables that must not be read again, since they are not in memory what they are on disk. */
  readonly #kept = new Map<number, Buffer>();
  /** What a table looks like on disk, where that is not as in memory. */
  toDisk: ((offset: number, table: Buffer) => Buffer) | undefined;

  constructor(file: BlockFile, tableBytes: number, lru: Lru) {
    this.#file = file;
    this.#tableBytes = tableBytes;
    this.#lru = lru;
  }

  get hasDirty(): boolean {
    return this.#dirty.size > 0;
  }

  /** A quarter of the budget (and more than two tables) is dirty: time to write back. */
  get wantsWriteBack(): boolean {
    return this.#dirty.size > 2 && this.#dirty.size * this.#tableBytes * 4 > this.#lru.budgetBytes;
  }

  /** The table at host offset `offset`: at once if it is here. */
  get(offset: number): Buffer | Promise<Buffer> {
    const clean = this.#clean.get(offset);
    if (clean !== undefined) {
      this.#lru.hits++;
      this.#lru.touch(clean);
      return clean.table;
    }
    const table = this.#dirty.get(offset) ?? this.#kept.get(offset);
    if (table === undefined) this.#lru.misses++;
    else this.#lru.hits++;
    return table ?? this.#load(offset);
  }

  /** The table at `offset` if it is in memory; no use of it. */
  peek(offset: number): Buffer | undefined {
    return this.#clean.get(offset)?.table ?? this.#dirty.get(offset) ?? this.#kept.get(offset);
  }

  /** The table at `offset` without waiting, and not kept if it was not here; undefined where the file cannot do that. */
  getNow(offset: number): Buffer | undefined {
    const present = this.peek(offset);
    if (present !== undefined || this.#file.readSync === undefined) return present;
    const table = Buffer.allocUnsafeSlow(this.#tableBytes);
    this.#file.readSync(offset, table);
    return table;
  }

  /** The table at `offset` will be asked for soon. */
  prefetch(offset: number): void {
    // Whoever asks for it hears of a failure.
    if (this.peek(offset) === undefined) this.#load(offset).catch(() => {});
  }

  #load(offset: number): Promise<Buffer> {
    let promise = this.#loading.get(offset);
    if (promise === undefined) {
      promise = this.#read(offset, () => this.#loading.get(offset) === promise);
      this.#loading.set(offset, promise);
    }
    return promise;
  }

  /** `isWanted`: it was not dropped meanwhile. */
  async #read(offset: number, isWanted: () => boolean): Promise<Buffer> {
    const table = Buffer.allocUnsafeSlow(this.#tableBytes);
    let stays = false;
    try {
      await this.#file.read(offset, table);
    } finally {
      stays = isWanted();
      if (stays) this.#loading.delete(offset);
    }
    if (!stays) return table;
    // Meanwhile it may have been put or marked dirty by somebody who knows better.
    const present = this.#dirty.get(offset) ?? this.#clean.get(offset)?.table;
    if (present !== undefined) return present;
    this.putClean(offset, table);
    return table;
  }

  /** `table` is what the file has at `offset`. */
  putClean(offset: number, table: Buffer): void {
    this.#forget(offset);
    const entry = new CleanTable(this.#clean, offset, table);
    this.#clean.set(offset, entry);
    this.#lru.add(entry);
  }

  /** `table` is what the file shall have at `offset`; call in the tick in which it was changed. */
  markDirty(offset: number, table: Buffer): void {
    if (this.#dirty.get(offset) === table) return;
    this.#forget(offset);
    this.#dirty.set(offset, table);
  }

  /** `table` stays in memory until {@link unkeep}. */
  keep(offset: number, table: Buffer): void {
    this.#kept.set(offset, table);
  }

  unkeep(): void {
    for (const [offset, table] of this.#kept) if (!this.#dirty.has(offset)) this.putClean(offset, table);
    this.#kept.clear();
  }

  /** The cluster at `offset` is no longer such a table. */
  drop(offset: number): void {
    this.#kept.delete(offset);
    this.#loading.delete(offset);
    this.#forget(offset);
  }

  #forget(offset: number): void {
    if (this.#dirty.size > 0) this.#dirty.delete(offset);
    const clean = this.#clean.get(offset);
    if (clean === undefined) return;
    this.#clean.delete(offset);
    this.#lru.remove(clean);
  }

  /** Forgets everything; dirty tables too. */
  clear(): void {
    for (const clean of this.#clean.values()) this.#lru.remove(clean);
    this.#clean.clear();
    this.#loading.clear();
    this.#dirty.clear();
    this.#kept.clear();
  }

  #written(offset: number, table: Buffer): void {
    if (this.#kept.has(offset)) this.#dirty.delete(offset);
    else this.putClean(offset, table);
  }

  /** Writes all dirty tables in order of offset, neighbours in one request. Nothing may change them meanwhile. */
  async writeBack(): Promise<void> {
    const offsets = [...this.#dirty.keys()].sort((a, b) => a - b);
    for (let first = 0; first < offsets.length; ) {
      const parts: Buffer[] = [];
      const tables: Buffer[] = [];
      let next = first;
      while (next < offsets.length && offsets[next] === offsets[first]! + (next - first) * this.#tableBytes) {
        const table = this.#dirty.get(offsets[next]!)!;
        tables.push(table);
        parts.push(this.toDisk?.(offsets[next]!, table) ?? table);
        next++;
      }
      await this.#file.writev(offsets[first]!, parts);
      for (let i = first; i < next; i++) this.#written(offsets[i]!, tables[i - first]!);
      first = next;
    }
  }
}
