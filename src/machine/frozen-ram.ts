/**
 * RAM as it was at an instant, while the guest goes on writing to it: what a background save writes out.
 *
 * At the instant all pages are marked clean (dirty-pages.ts); the first change of one after it is told before it happens
 * (PhysicalMemory.noteWrite), whether the CPU, DMA or a device makes it, and the page is copied if its group is still to be
 * saved. Copies go with their group. They are bounded: beyond the limit the guest waits for some to be written. A page of
 * zeros needs no copy.
 */
import { buildUnit, groupRange, pageOffsetInUnit, type RamGeometry } from '../migration/ram-layout.ts';
import type { RamBlock } from '../migration/ram-block.ts';
import type { RamView } from '../migration/save-vmstate.ts';
import type { IsZero } from '../migration/zero-page.ts';
import { PAGE_BYTES, type PhysicalMemory } from './memory.ts';

/** Copies beyond which the guest waits, bytes. It may write some more pages until it does. */
export const COPY_LIMIT_BYTES = 64 << 20;
/** Pages kept together. */
const CHUNK_PAGES = 256;
const ZERO_COPY = -1;

export interface FrozenRamOptions {
  readonly memory: PhysicalMemory;
  readonly blocks: readonly RamBlock[];
  readonly geometry: RamGeometry;
  readonly isZero: IsZero;
  readonly limitBytes?: number;
  /** Gives the guest its share of time; see RamView. */
  readonly turn: () => Promise<void> | undefined;
  /** Too many copies: the guest should not run on. */
  readonly onFull: () => void;
}

export class FrozenRam implements RamView {
  readonly #o: FrozenRamOptions;
  readonly #limitPages: number;
  /** By page of the memory: 0 no copy, ZERO_COPY, or the number of the copy plus 1. */
  readonly #copyOf: Int32Array;
  /** By page of the memory: its group plus 1, for pages that are to be saved. */
  readonly #groupOf: (page: number) => number;
  readonly #chunks: Uint8Array[] = [];
  readonly #free: number[] = [];
  #used = 0;
  #isFrozen = false;
  #top = 0;
  /** Groups that have copies, to be written first. */
  #urgent: number[] = [];
  /** By group: 1 to be saved, 2 with copies too. */
  readonly #groups: Uint8Array;
  #room: { readonly done: Promise<void>; readonly open: () => void } | undefined;
  readonly #pagesOf: Map<string, readonly number[]> = new Map();

  constructor(options: FrozenRamOptions) {
    this.#o = options;
    const { blocks, geometry, memory } = options;
    this.#limitPages = Math.max(1, Math.floor((options.limitBytes ?? COPY_LIMIT_BYTES) / PAGE_BYTES));
    this.#copyOf = new Int32Array(memory.guard.length);
    this.#groups = new Uint8Array(geometry.firstGroup.at(-1)!);
    const starts = blocks.map(({ bytes }) => bytes.byteOffset / PAGE_BYTES);
    const ends = blocks.map(({ sizeBytes }, i) => starts[i]! + sizeBytes / PAGE_BYTES);
    this.#groupOf = (page) => {
      for (let block = 0; block < starts.length; block++) {
        if (page < starts[block]! || page >= ends[block]!) continue;
        return geometry.firstGroup[block]! + Math.floor((page - starts[block]!) / geometry.pagesPerGroup);
      }
      return -1;
    };
    for (const { name } of blocks) {
      const offsets = Array.from({ length: geometry.pagesPerGroup }, (_, i) => pageOffsetInUnit(name, i));
      this.#pagesOf.set(name, offsets);
    }
  }

  /**
   * The instant is now; `groups`: which are to be saved, 1 for each. Every page has just been marked clean, so that the
   * memory tells of its first change.
   */
  freeze(groups: Uint8Array): void {
    this.#isFrozen = true;
    this.#groups.set(groups);
    this.#o.memory.onFirstWrite = (page) => this.#keep(page);
  }

  #firstPage(block: number): number {
    return this.#o.blocks[block]!.bytes.byteOffset / PAGE_BYTES;
  }

  #keep(page: number): void {
    const { isZero, memory } = this.#o;
    const from = page * PAGE_BYTES;
    const group = this.#groupOf(page);
    if (group < 0 || this.#groups[group] === 0) return;
    if (this.#groups[group] === 1) {
      this.#groups[group] = 2;
      this.#urgent.push(group);
    }
    if (isZero(memory.u8, from, PAGE_BYTES)) {
      this.#copyOf[page] = ZERO_COPY;
      return;
    }
    const copy = this.#free.pop() ?? this.#top++;
    const chunk = Math.floor(copy / CHUNK_PAGES);
    if (chunk === this.#chunks.length) this.#chunks.push(new Uint8Array(CHUNK_PAGES * PAGE_BYTES));
    this.#chunks[chunk]!.set(memory.u8.subarray(from, from + PAGE_BYTES), (copy % CHUNK_PAGES) * PAGE_BYTES);
    this.#copyOf[page] = copy + 1;
    if (++this.#used >= this.#limitPages) this.#o.onFull();
  }

  /** To be awaited before the guest runs on, if there is anything to wait for. */
  get room(): Promise<void> | undefined {
    if (this.#used < this.#limitPages) return undefined;
    if (this.#room === undefined) {
      let open: () => void = () => {};
      const done = new Promise<void>((resolve) => {
        open = resolve;
      });
      this.#room = { done, open };
    }
    return this.#room.done;
  }

  /** Whether the guest waits. */
  get isAwaited(): boolean {
    return this.#room !== undefined;
  }

  turn(): Promise<void> | undefined {
    return this.#o.turn();
  }

  nextUrgent(): number | undefined {
    return this.#urgent.pop();
  }

  isZero(group: number): boolean {
    const { blocks, geometry, isZero } = this.#o;
    const { block, start, end } = groupRange(geometry, group);
    const first = this.#firstPage(block);
    if (this.#groups[group] === 2) {
      for (let at = start; at < end; at += PAGE_BYTES) {
        const copy = this.#copyOf[first + at / PAGE_BYTES]!;
        if (copy > 0) return false;
        if (copy === 0 && !isZero(blocks[block]!.bytes, at, PAGE_BYTES)) return false;
      }
    } else if (!isZero(blocks[block]!.bytes, start, end - start)) return false;
    this.#release(group);
    return true;
  }

  build(group: number, target: Uint8Array, at: number): void {
    const { blocks, geometry } = this.#o;
    buildUnit(geometry, blocks, group, target, at);
    if (this.#groups[group] === 2) {
      const { block, start, end } = groupRange(geometry, group);
      const first = this.#firstPage(block) + start / PAGE_BYTES;
      const offsets = this.#pagesOf.get(blocks[block]!.name)!;
      for (let i = 0; i < (end - start) / PAGE_BYTES; i++) {
        const copy = this.#copyOf[first + i]!;
        if (copy === 0) continue;
        const to = at + offsets[i]!;
        if (copy === ZERO_COPY) target.fill(0, to, to + PAGE_BYTES);
        else {
          const from = ((copy - 1) % CHUNK_PAGES) * PAGE_BYTES;
          target.set(
            this.#chunks[Math.floor((copy - 1) / CHUNK_PAGES)]!.subarray(from, from + PAGE_BYTES),
            to,
          );
        }
      }
    }
    this.#release(group);
  }

  /** The group is saved: its pages may change, its copies go. */
  #release(group: number): void {
    const hasCopies = this.#groups[group] === 2;
    this.#groups[group] = 0;
    if (!hasCopies) return;
    const { block, start, end } = groupRange(this.#o.geometry, group);
    const first = this.#firstPage(block);
    for (let page = first + start / PAGE_BYTES; page < first + end / PAGE_BYTES; page++) {
      const copy = this.#copyOf[page]!;
      if (copy > 0) {
        this.#free.push(copy - 1);
        this.#used--;
      }
      this.#copyOf[page] = 0;
    }
    if (this.#used < this.#limitPages) this.#letGo();
  }

  #letGo(): void {
    const room = this.#room;
    this.#room = undefined;
    room?.open();
  }

  /** Nobody wants it any more. */
  end(): void {
    for (let group = 0; group < this.#groups.length; group++)
      if (this.#groups[group] !== 0) this.#release(group);
    this.#chunks.length = 0;
    if (this.#isFrozen) this.#o.memory.onFirstWrite = undefined;
    this.#isFrozen = false;
    this.#letGo();
  }
}
