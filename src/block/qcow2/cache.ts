/**
 * Metadata tables of one cluster each (L2 tables, refcount blocks), found by hash, evicted least recently used first, both
 * in constant time, within a budget in bytes. Dirty tables stay until they are written: what may be written when is the
 * owner's business (`image.ts`).
 */
import type { BlockFile } from '../file.ts';

export class TableCache {
  readonly #file: BlockFile;
  readonly #tableBytes: number;
  readonly #maxTables: number;
  /** Insertion order is age: the first key is the least recently used. */
  readonly #clean = new Map<number, Buffer>();
  readonly #dirty = new Map<number, Buffer>();
  readonly #loading = new Map<number, Promise<Buffer>>();
  #lastOffset = -1;
  #lastTable: Buffer | undefined;

  /** `budgetBytes`: at least four tables are kept whatever it is. */
  constructor(file: BlockFile, tableBytes: number, budgetBytes: number) {
    this.#file = file;
    this.#tableBytes = tableBytes;
    this.#maxTables = Math.max(4, Math.floor(budgetBytes / tableBytes));
  }

  get hasDirty(): boolean {
    return this.#dirty.size > 0;
  }

  /** Half of the budget is dirty: time to write back. */
  get wantsWriteBack(): boolean {
    return this.#dirty.size * 2 > this.#maxTables;
  }

  /** The table at host offset `offset`: at once if it is here. */
  get(offset: number): Buffer | Promise<Buffer> {
    if (offset === this.#lastOffset) return this.#lastTable!;
    const dirty = this.#dirty.get(offset);
    if (dirty !== undefined) return this.#remember(offset, dirty);
    const table = this.#clean.get(offset);
    if (table === undefined) return this.#load(offset);
    this.#clean.delete(offset);
    this.#clean.set(offset, table);
    return this.#remember(offset, table);
  }

  #remember(offset: number, table: Buffer): Buffer {
    this.#lastOffset = offset;
    this.#lastTable = table;
    return table;
  }

  #load(offset: number): Promise<Buffer> {
    let promise = this.#loading.get(offset);
    if (promise === undefined) {
      promise = this.#read(offset);
      this.#loading.set(offset, promise);
    }
    return promise;
  }

  async #read(offset: number): Promise<Buffer> {
    const table = Buffer.allocUnsafeSlow(this.#tableBytes);
    const token = this.#loading;
    try {
      await this.#file.read(offset, table);
    } finally {
      token.delete(offset);
    }
    // Meanwhile it may have been put or marked dirty by somebody who knows better.
    const present = this.#dirty.get(offset) ?? this.#clean.get(offset);
    if (present !== undefined) return present;
    this.putClean(offset, table);
    return table;
  }

  /** `table` is what the file has at `offset`. */
  putClean(offset: number, table: Buffer): void {
    if (offset === this.#lastOffset) this.#forgetLast();
    this.#clean.delete(offset);
    this.#clean.set(offset, table);
    this.#evict();
  }

  /** `table` is what the file shall have at `offset`; call in the tick in which it was changed. */
  markDirty(offset: number, table: Buffer): void {
    if (this.#dirty.get(offset) === table) return;
    if (offset === this.#lastOffset && table !== this.#lastTable) this.#forgetLast();
    this.#clean.delete(offset);
    this.#dirty.set(offset, table);
  }

  /** The cluster at `offset` is no longer such a table. */
  drop(offset: number): void {
    if (offset === this.#lastOffset) this.#forgetLast();
    this.#clean.delete(offset);
    this.#dirty.delete(offset);
  }

  #forgetLast(): void {
    this.#lastOffset = -1;
    this.#lastTable = undefined;
  }

  #evict(): void {
    while (this.#clean.size + this.#dirty.size > this.#maxTables) {
      const oldest = this.#clean.keys().next();
      if (oldest.done === true) return;
      if (oldest.value === this.#lastOffset) this.#forgetLast();
      this.#clean.delete(oldest.value);
    }
  }

  /** Writes all dirty tables in order of offset, neighbours in one request. Nothing may change them meanwhile. */
  async writeBack(): Promise<void> {
    const offsets = [...this.#dirty.keys()].sort((a, b) => a - b);
    for (let first = 0; first < offsets.length; ) {
      const parts: Buffer[] = [];
      let next = first;
      while (next < offsets.length && offsets[next] === offsets[first]! + (next - first) * this.#tableBytes) {
        parts.push(this.#dirty.get(offsets[next]!)!);
        next++;
      }
      await this.#file.writev(offsets[first]!, parts);
      for (let i = first; i < next; i++) {
        this.#dirty.delete(offsets[i]!);
        this.#clean.set(offsets[i]!, parts[i - first]!);
      }
      first = next;
    }
    this.#evict();
  }
}
