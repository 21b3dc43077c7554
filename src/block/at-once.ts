/**
 * Which short reads are done at once instead of by a thread. What the page cache has takes 3 to 15 µs so, and 30 to 60 by a
 * thread, most of it spent on waking one another. Nobody can ask whether the page cache has it, so it is tried: a read that
 * took long is followed by many that are left to threads, more each time, so that a slow disk hardly ever stops the guest. Nor
 * may many reads in a row keep the event loop from its other work.
 */

/** Longer reads are left to threads. */
const MAX_BYTES = 256 * 1024;
/** The page cache had it if a read took less, ms. */
const SLOW_MS = 0.25;
/** After so much of it the event loop gets a turn, ms. */
const TURN_MS = 2;
/** Reads that are left to threads after a slow one: at first, and at most. */
const MIN_PAUSE = 16;
const MAX_PAUSE = 16_384;

export class AtOnce {
  #pause = MIN_PAUSE;
  #left = 0;
  #spentMs = 0;
  #isArmed = false;
  readonly #rest = (): void => {
    this.#isArmed = false;
    this.#spentMs = 0;
  };

  /** Whether a read of `bytes` may be done at once now. */
  may(bytes: number): boolean {
    if (bytes > MAX_BYTES || this.#spentMs >= TURN_MS) return false;
    if (this.#left === 0) return true;
    this.#left--;
    return false;
  }

  /** Does `read`, which {@link may} allowed. */
  do(read: () => void): void {
    const start = performance.now();
    read();
    this.took(performance.now() - start);
  }

  /** One took so long. */
  took(ms: number): void {
    this.#spentMs += ms;
    if (!this.#isArmed) {
      this.#isArmed = true;
      setImmediate(this.#rest);
    }
    if (ms < SLOW_MS) {
      this.#pause = Math.max(MIN_PAUSE, this.#pause - (this.#pause >> 3));
      return;
    }
    this.#left = this.#pause;
    this.#pause = Math.min(2 * this.#pause, MAX_PAUSE);
  }
}
