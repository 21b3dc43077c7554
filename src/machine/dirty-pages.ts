/**
 * Which pages of the RAM blocks changed since the snapshot that the machine stands on. The memory keeps it: GUARD_SNAPSHOT
 * of a page is set while the page is as it was, and every write path clears it (PhysicalMemory.noteWrite) before the
 * page changes. Here the bits are set, counted and looked up by page of a block.
 */
import type { RamBlock } from '../migration/ram-block.ts';
import { groupCount, type RamGeometry } from '../migration/ram-layout.ts';
import { GUARD_ABSENT, GUARD_SNAPSHOT, PAGE_BYTES, type PhysicalMemory } from './memory.ts';

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
    const { guard } = this.#memory;
    const first = this.firstPage(block);
    const end = first + this.#blocks[block]!.sizeBytes / PAGE_BYTES;
    for (let page = first; page < end; page++) guard[page] = guard[page]! | GUARD_SNAPSHOT;
  }

  /** By group of `geometry`: 1 where any page of the group changed. */
  dirtyGroups(geometry: RamGeometry): Uint8Array {
    const flags = new Uint8Array(groupCount(geometry));
    const { guard } = this.#memory;
    for (let block = 0; block < this.#blocks.length; block++) {
      const first = this.firstPage(block);
      const pages = this.#blocks[block]!.sizeBytes / PAGE_BYTES;
      const group = geometry.firstGroup[block]!;
      for (let page = 0; page < pages; page++) {
        if ((guard[first + page]! & GUARD_SNAPSHOT) !== 0) continue;
        const index = Math.floor(page / geometry.pagesPerGroup);
        flags[group + index] = 1;
        page = (index + 1) * geometry.pagesPerGroup - 1;
      }
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

  setAbsent(page: number): void {
    this.#guard[this.#first + page] = this.#guard[this.#first + page]! | GUARD_ABSENT;
  }

  setPresent(page: number): void {
    this.#guard[this.#first + page] = this.#guard[this.#first + page]! & ~GUARD_ABSENT;
  }
}
