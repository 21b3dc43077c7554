/**
 * Things of several owners within one budget in bytes; those that were not used lately go first. Every operation in constant
 * time: a use leaves a mark only, for which the thing is passed over once when it is the oldest. To keep the list in order of
 * use would touch four things at random places in memory at each use, which with many of them costs more than the use.
 */

export interface LruEntry {
  readonly bytes: number;
  /** Called when it is out of the list: the owner forgets it. */
  evict(): void;
  newer: LruEntry | undefined;
  older: LruEntry | undefined;
  /** It was used since it was last passed over. */
  isUsed: boolean;
}

/** So many are passed over at a time at most. */
const MAX_PASSED = 16;

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
    let passed = 0;
    while (this.#usedBytes > this.budgetBytes && this.#oldest !== entry) {
      const oldest = this.#oldest!;
      if (oldest.isUsed && passed < MAX_PASSED) {
        passed++;
        oldest.isUsed = false;
        this.#unlink(oldest);
        this.#link(oldest);
        continue;
      }
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
    entry.isUsed = true;
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
