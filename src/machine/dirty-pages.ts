/**
 * Which pages of the RAM blocks changed since the snapshot that the machine stands on. The memory keeps it: GUARD_SNAPSHOT
 * of a page is set while the page is as it was, and every write path clears it (PhysicalMemory.noteWrite) before the
 * page changes. Here the bits are set, counted and looked up by page of a block.
 */
import type { RamBlock } from '../migration/ram-block.ts';
import { groupCount, groupRange, type RamGeometry } from '../migration/ram-layout.ts';
import { GUARD_ABSENT, GUARD_SNAPSHOT, GUARD_VALUES, PAGE_BYTES, type PhysicalMemory } from './memory.ts';

export class DirtyPages {
  readonly #memory: PhysicalMemory;
  readonly #blocks: readonly RamBlock[];

  constructor(memory: PhysicalMemory, blocks: readonly RamBlock[]) {
    this.#memory = memory;
    this.#blocks = blocks;
  }

  /** Number in the WebAssembly.Memory of a block's first page. */
  firstPage(block: number): number {
    return this.#blocks[block]!.bytes.byteOffset / PAGE_BYTES;
  }

  /** All pages are as in the snapshot now. */
  markAllClean(): void {
    for (let block = 0; block < this.#blocks.length; block++) this.markBlockClean(block);
    // Nobody may go on writing the fast way.
    this.#memory.onMapChange();
  }

  /** The same for one block; the caller drops the CPU's write tags. */
  markBlockClean(block: number): void {
    const first = this.firstPage(block);
    setBits(this.#memory.guard, first, first + this.#blocks[block]!.sizeBytes / PAGE_BYTES, GUARD_SNAPSHOT);
  }

  /** Every page of the groups flagged has changed, as far as anybody knows. */
  markDirty(geometry: RamGeometry, groups: Uint8Array): void {
    const { guard } = this.#memory;
    for (let group = 0; group < groups.length; group++) {
      if (groups[group] === 0) continue;
      const { block, start, end } = groupRange(geometry, group);
      const first = this.firstPage(block);
      for (let page = first + start / PAGE_BYTES; page < first + end / PAGE_BYTES; page++) {
        guard[page] = guard[page]! & ~GUARD_SNAPSHOT;
      }
    }
  }

  /** By group of `geometry`: 1 where any page of the group changed. */
  dirtyGroups(geometry: RamGeometry): Uint8Array {
    const flags = new Uint8Array(groupCount(geometry));
    for (let block = 0; block < this.#blocks.length; block++) {
      const first = this.firstPage(block);
      const pages = this.#blocks[block]!.sizeBytes / PAGE_BYTES;
      const groups = flags.subarray(geometry.firstGroup[block]!, geometry.firstGroup[block + 1]!);
      flagDirty(this.#memory.guard, first, first + pages, geometry.pagesPerGroup, groups);
    }
    return flags;
  }

  /** Pages of all blocks that changed, for `info` commands and tests. */
  count(): number {
    const { guard } = this.#memory;
    let count = 0;
    for (let block = 0; block < this.#blocks.length; block++) {
      const first = this.firstPage(block);
      const end = first + this.#blocks[block]!.sizeBytes / PAGE_BYTES;
      for (let page = first; page < end; page++) if ((guard[page]! & GUARD_SNAPSHOT) === 0) count++;
    }
    return count;
  }

  /** Pages of a block as marks that lazy loading sets and takes away. */
  absentMarks(block: number): AbsentMarks {
    return new AbsentMarks(this.#memory.guard, this.firstPage(block));
  }
}

/** A guard byte's bit for four pages at once. */
const FOUR = 0x01010101;

function setBits(guard: Uint8Array, from: number, to: number, bits: number): void {
  const words = new Int32Array(guard.buffer, guard.byteOffset, guard.length >> 2);
  let page = from;
  while (page < to && (page & 3) !== 0) guard[page] = guard[page++]! | bits;
  const four = bits * FOUR;
  for (; page + 4 <= to; page += 4) words[page >> 2] = words[page >> 2]! | four;
  while (page < to) guard[page] = guard[page++]! | bits;
}

/** All values of a guard byte without the snapshot's bit. */
const DIRTY_VALUES = Array.from({ length: GUARD_VALUES }, (_, value) => value).filter(
  (value) => (value & GUARD_SNAPSHOT) === 0,
);

/**
 * Sets `groups[n]` where a page of `pagesPerGroup` from n × pagesPerGroup on lacks the snapshot's bit. The host searches, once for
 * each value: the first loadvm of a process waits for this, and 2 GiB would take a loop that is not compiled yet 8 ms.
 */
function flagDirty(
  guard: Uint8Array,
  from: number,
  to: number,
  pagesPerGroup: number,
  groups: Uint8Array,
): void {
  const pages = guard.subarray(from, to);
  for (const value of DIRTY_VALUES) {
    for (let page = pages.indexOf(value); page >= 0; ) {
      const group = Math.floor(page / pagesPerGroup);
      groups[group] = 1;
      page = (group + 1) * pagesPerGroup;
      // Where all has changed each search would end where it begins.
      if (pages[page] !== value) page = page < pages.length ? pages.indexOf(value, page) : -1;
    }
  }
}

/** Marks of absent pages of one block, by page of the block. */
export class AbsentMarks {
  readonly #guard: Uint8Array;
  readonly #first: number;

  constructor(guard: Uint8Array, firstPage: number) {
    this.#guard = guard;
    this.#first = firstPage;
  }

  /** First page of the block in the WebAssembly.Memory. */
  get firstPage(): number {
    return this.#first;
  }

  isAbsent(page: number): boolean {
    return (this.#guard[this.#first + page]! & GUARD_ABSENT) !== 0;
  }

  /** Whether the page changed since the snapshot. */
  isDirty(page: number): boolean {
    return (this.#guard[this.#first + page]! & GUARD_SNAPSHOT) === 0;
  }

  /** Marks pages `from` … `to` - 1. */
  setAbsentRange(from: number, to: number): void {
    setBits(this.#guard, this.#first + from, this.#first + to, GUARD_ABSENT);
  }

  setAbsent(page: number): void {
    this.#guard[this.#first + page] = this.#guard[this.#first + page]! | GUARD_ABSENT;
  }

  setPresent(page: number): void {
    this.#guard[this.#first + page] = this.#guard[this.#first + page]! & ~GUARD_ABSENT;
  }
}
