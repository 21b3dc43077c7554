/** Where pages go while a stream is read: into the machine, with a way back or without, or they are noted for later. */
import type { RamBlock, RamSink } from './ram-block.ts';
import { PAGE_BYTES } from './stream-format.ts';
import type { IsZero } from './zero-page.ts';

/** One of two ends comes to pass: all of the stream is good, or the machine's RAM is to be as it was. */
export interface UndoableRam extends RamSink {
  commit(): void;
  undo(): void;
}

/** Pages of which it is only noted where in memory they lie, until commit: the VM state must stay there so long. */
export class NotedRam implements UndoableRam {
  readonly #blocks: readonly RamBlock[];
  readonly #bytes: Uint8Array;
  readonly #isZero: IsZero;
  /** By page of each block that has any: 0 for none, place + 1, or, for a page of one repeated byte, less than 0. */
  readonly #places: (Float64Array | undefined)[];

  /** `bytes`: what the pages are in. `isZero`: for the blocks' bytes. */
  constructor(blocks: readonly RamBlock[], bytes: Uint8Array, isZero: IsZero) {
    this.#blocks = blocks;
    this.#bytes = bytes;
    this.#isZero = isZero;
    this.#places = blocks.map(() => undefined);
  }

  page(block: number, offset: number, _source: Uint8Array, at: number): void {
    this.#placesOf(block)[offset / PAGE_BYTES] = at + 1;
  }

  fill(block: number, offset: number, value: number): void {
    this.#placesOf(block)[offset / PAGE_BYTES] = -1 - value;
  }

  commit(): void {
    for (const [block, places] of this.#places.entries()) {
      if (places !== undefined) this.#put(this.#blocks[block]!.bytes, places);
    }
    this.#places.fill(undefined);
  }

  undo(): void {}

  #put(ram: Uint8Array, places: Float64Array): void {
    for (let page = 0; page < places.length; page++) {
      const place = places[page]!;
      const offset = page * PAGE_BYTES;
      if (place > 0) ram.set(this.#bytes.subarray(place - 1, place - 1 + PAGE_BYTES), offset);
      else if (place < 0 && !isAll(ram, offset, -1 - place, this.#isZero)) fillPage(ram, offset, -1 - place);
    }
  }

  #placesOf(block: number): Float64Array {
    return (this.#places[block] ??= new Float64Array(this.#blocks[block]!.sizeBytes / PAGE_BYTES));
  }
}

/** Pages that are kept aside lie in pieces of memory of this size, bytes. */
const SLAB_BYTES = 1 << 20;
const PAGES_A_SLAB = SLAB_BYTES / PAGE_BYTES;

/**
 * Pages change places with what the RAM has, as they come: while the next ones are read there is time for it. Undone by doing it
 * again, backwards. For RAM that nobody looks at meanwhile.
 */
export class SwappedRam implements UndoableRam {
  readonly #blocks: readonly RamBlock[];
  readonly #bytes: Uint8Array;
  readonly #isZero: IsZero;
  readonly #page = new Uint8Array(PAGE_BYTES);
  /** What was done: block, offset, and the place in `bytes`, or less than 0 for what lies in `saved`. */
  readonly #done: number[] = [];
  readonly #slabs: Uint8Array[] = [];
  #saved = 0;
  /** A fill not done yet: our own layout has one before each group, of a page that comes next. */
  #fillBlock = -1;
  #fillOffset = 0;
  #fillValue = 0;

  constructor(blocks: readonly RamBlock[], bytes: Uint8Array, isZero: IsZero) {
    this.#blocks = blocks;
    this.#bytes = bytes;
    this.#isZero = isZero;
  }

  page(block: number, offset: number, _source: Uint8Array, at: number): void {
    if (this.#fillBlock !== block || this.#fillOffset !== offset) this.#fillNow();
    this.#fillBlock = -1;
    this.#swap(this.#blocks[block]!.bytes, offset, this.#bytes, at);
    this.#done.push(block, offset, at);
  }

  fill(block: number, offset: number, value: number): void {
    if (this.#fillBlock !== block || this.#fillOffset !== offset) this.#fillNow();
    this.#fillBlock = block;
    this.#fillOffset = offset;
    this.#fillValue = value;
  }

  commit(): void {
    this.#fillNow();
    this.#forget();
  }

  undo(): void {
    const done = this.#done;
    for (let i = done.length - 3; i >= 0; i -= 3) {
      const ram = this.#blocks[done[i]!]!.bytes;
      const place = done[i + 2]!;
      if (place >= 0) this.#swap(ram, done[i + 1]!, this.#bytes, place);
      else ram.set(this.#savedPage(-1 - place), done[i + 1]!);
    }
    this.#forget();
  }

  #forget(): void {
    this.#fillBlock = -1;
    this.#done.length = 0;
    this.#slabs.length = 0;
  }

  #swap(ram: Uint8Array, offset: number, bytes: Uint8Array, at: number): void {
    const old = ram.subarray(offset, offset + PAGE_BYTES);
    const page = bytes.subarray(at, at + PAGE_BYTES);
    this.#page.set(old);
    old.set(page);
    page.set(this.#page);
  }

  #fillNow(): void {
    if (this.#fillBlock < 0) return;
    const ram = this.#blocks[this.#fillBlock]!.bytes;
    const offset = this.#fillOffset;
    if (!isAll(ram, offset, this.#fillValue, this.#isZero)) {
      const index = this.#saved++;
      if (index % PAGES_A_SLAB === 0) this.#slabs.push(new Uint8Array(SLAB_BYTES));
      this.#savedPage(index).set(ram.subarray(offset, offset + PAGE_BYTES));
      this.#done.push(this.#fillBlock, offset, -1 - index);
      fillPage(ram, offset, this.#fillValue);
    }
    this.#fillBlock = -1;
  }

  #savedPage(index: number): Uint8Array {
    const at = (index % PAGES_A_SLAB) * PAGE_BYTES;
    return this.#slabs[Math.floor(index / PAGES_A_SLAB)]!.subarray(at, at + PAGE_BYTES);
  }
}

/** Pages straight into the machine: for one that has not run and is thrown away when the load fails. */
export class DirectRam implements UndoableRam {
  readonly #blocks: readonly RamBlock[];
  readonly #isZero: IsZero;

  constructor(blocks: readonly RamBlock[], isZero: IsZero) {
    this.#blocks = blocks;
    this.#isZero = isZero;
  }

  page(block: number, offset: number, source: Uint8Array, at: number): void {
    this.#blocks[block]!.bytes.set(source.subarray(at, at + PAGE_BYTES), offset);
  }

  fill(block: number, offset: number, value: number): void {
    const { bytes } = this.#blocks[block]!;
    if (!isAll(bytes, offset, value, this.#isZero)) fillPage(bytes, offset, value);
  }

  commit(): void {}

  undo(): void {}
}

/** Each block's pages to the sink that `of` says. */
export class SortedRam implements UndoableRam {
  readonly #sinks: readonly UndoableRam[];

  /** By block. */
  constructor(sinks: readonly UndoableRam[]) {
    this.#sinks = sinks;
  }

  page(block: number, offset: number, source: Uint8Array, at: number): void {
    this.#sinks[block]!.page(block, offset, source, at);
  }

  fill(block: number, offset: number, value: number): void {
    this.#sinks[block]!.fill(block, offset, value);
  }

  commit(): void {
    for (const sink of new Set(this.#sinks)) sink.commit();
  }

  undo(): void {
    for (const sink of new Set(this.#sinks)) sink.undo();
  }
}

/** Looking at memory that nobody ever touched costs nothing; writing zeros to it would. */
function isAll(ram: Uint8Array, offset: number, value: number, isZero: IsZero): boolean {
  return value === 0 && isZero(ram, offset, PAGE_BYTES);
}

function fillPage(ram: Uint8Array, offset: number, value: number): void {
  ram.fill(value, offset, offset + PAGE_BYTES);
}
