/**
 * Copies of pages as they were before their first change since a loadvm, so that going back again costs a copy of what was
 * changed and no reading. Bounded: beyond its limit it gives up until the next load, and the image is read again.
 */
import { GUARD_CODE, GUARD_DISPLAY, GUARD_SNAPSHOT, PAGE_BYTES, type PhysicalMemory } from './memory.ts';

/** Pages kept together; buffers are made as they are needed and used again. */
const CHUNK_PAGES = 256;
/** Default limit, bytes. */
export const UNDO_BYTES = 64 << 20;

export class UndoJournal {
  readonly #memory: PhysicalMemory;
  readonly #limitPages: number;
  readonly #chunks: Uint8Array[] = [];
  readonly #pages: Int32Array;
  #count = 0;
  #state: 'off' | 'on' | 'overflown' = 'off';
  readonly #note = (page: number): void => this.#keep(page);

  constructor(memory: PhysicalMemory, limitBytes: number = UNDO_BYTES) {
    this.#memory = memory;
    this.#limitPages = Math.floor(limitBytes / PAGE_BYTES);
    this.#pages = new Int32Array(this.#limitPages);
  }

  /** Whether it knows all that changed since it was started. */
  get complete(): boolean {
    return this.#state === 'on';
  }

  get count(): number {
    return this.#count;
  }

  /** From now on; all pages have just been marked clean. */
  start(): void {
    this.#count = 0;
    this.#state = 'on';
    this.#memory.onFirstWrite = this.#note;
  }

  /** Nobody will go back to where it began. Gives its memory up. */
  stop(): void {
    this.#count = 0;
    this.#chunks.length = 0;
    this.#state = 'off';
    this.#memory.onFirstWrite = undefined;
  }

  #keep(page: number): void {
    if (this.#count === this.#limitPages) {
      this.stop();
      this.#state = 'overflown';
      return;
    }
    const chunk = Math.floor(this.#count / CHUNK_PAGES);
    if (chunk === this.#chunks.length) this.#chunks.push(new Uint8Array(CHUNK_PAGES * PAGE_BYTES));
    const from = page * PAGE_BYTES;
    const at = (this.#count % CHUNK_PAGES) * PAGE_BYTES;
    this.#chunks[chunk]!.set(this.#memory.u8.subarray(from, from + PAGE_BYTES), at);
    this.#pages[this.#count++] = page;
  }

  /** Puts everything back, marks it clean again, and goes on from there. */
  restore(): void {
    const { guard, u8 } = this.#memory;
    for (let i = 0; i < this.#count; i++) {
      const page = this.#pages[i]!;
      const address = page * PAGE_BYTES;
      if ((guard[page]! & GUARD_CODE) !== 0) this.#memory.onCodeWrite(address, PAGE_BYTES);
      const at = (i % CHUNK_PAGES) * PAGE_BYTES;
      u8.set(this.#chunks[Math.floor(i / CHUNK_PAGES)]!.subarray(at, at + PAGE_BYTES), address);
      guard[page] = (guard[page]! | GUARD_SNAPSHOT) & ~GUARD_DISPLAY;
    }
    this.#count = 0;
  }
}
