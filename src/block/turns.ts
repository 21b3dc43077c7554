/** Long work on the event loop in pieces, so that a guest that runs meanwhile hardly notices. */
import { setImmediate as nextTurn } from 'node:timers/promises';

/** Longest piece, ms. */
const PIECE_MS = 2;
/** Items of cheap work between two looks at the clock. */
const ITEMS = 1024;

export class Turns {
  #began = performance.now();

  /** To be awaited between steps: lets others have a turn if they have had none for a while. */
  next(): Promise<void> | undefined {
    return performance.now() - this.#began < PIECE_MS ? undefined : this.#turn();
  }

  async #turn(): Promise<void> {
    await nextTurn();
    this.#began = performance.now();
  }

  /** `action` for every item. */
  async forEach<T>(items: readonly T[], action: (item: T) => void): Promise<void> {
    for (let i = 0; i < items.length; ) {
      for (const end = Math.min(items.length, i + ITEMS); i < end; i++) action(items[i]!);
      const turn = this.next();
      if (turn !== undefined) await turn;
    }
  }
}
