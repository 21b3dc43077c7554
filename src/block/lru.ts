/** Things of several owners in order of last use, within one budget in bytes; every operation in constant time. */

export interface LruEntry {
  readonly bytes: number;
  /** Called when it is out of the list: the owner forgets it. */
  evict(): void;
  newer: LruEntry | undefined;
  older: LruEntry | undefined;
}

export class Lru {
  readonly budgetBytes: number;
  /** Looked for and found, or not, by all owners. */
  hits = 0;
  misses = 0;
  #usedBytes = 0;
  #newest: LruEntry | undefined;
  #oldest: LruEntry | undefined;

  constructor(budgetBytes: number) {
    this.budgetBytes = budgetBytes;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** `entry` must not be in it. Older entries go if the budget is exceeded, never `entry` itself. */
  add(entry: LruEntry): void {
    this.#usedBytes += entry.bytes;
    this.#link(entry);
    while (this.#usedBytes > this.budgetBytes && this.#oldest !== entry) {
      const oldest = this.#oldest!;
      this.remove(oldest);
      oldest.evict();
    }
  }

  remove(entry: LruEntry): void {
    this.#usedBytes -= entry.bytes;
    this.#unlink(entry);
  }

  /** It was used just now. */
  touch(entry: LruEntry): void {
    if (this.#newest === entry) return;
    this.#unlink(entry);
    this.#link(entry);
  }

  #link(entry: LruEntry): void {
    entry.newer = undefined;
    entry.older = this.#newest;
    if (this.#newest !== undefined) this.#newest.newer = entry;
    else this.#oldest = entry;
    this.#newest = entry;
  }

  #unlink(entry: LruEntry): void {
    if (entry.newer !== undefined) entry.newer.older = entry.older;
    else this.#newest = entry.older;
    if (entry.older !== undefined) entry.older.newer = entry.newer;
    else this.#oldest = entry.newer;
    entry.newer = undefined;
    entry.older = undefined;
  }
}
