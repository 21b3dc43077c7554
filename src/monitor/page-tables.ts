/** The guest's page tables as `info tlb` and `info mem` walk them: every entry that is present, in the order of addresses. SDM 3A 4.3, 4.4. */
import * as L from '../machine/cpu/layout.ts';
import type { CpuState } from '../machine/cpu/cpu-state.ts';

const CR0_PG = 0x8000_0000;
const CR4_PSE = 0x10;
const CR4_PAE = 0x20;
const PRESENT = 1;
const LARGE = 0x80;
export const PAGE_WRITE = 2;
export const PAGE_USER = 4;

export interface PageEntry {
  readonly linear: number;
  /** Bytes: 4 KiB, 2 MiB or 4 MiB. */
  readonly sizeBytes: number;
  readonly physical: number;
  /** Low word of the entry; bit 7 is only set in large ones. */
  readonly flags: number;
  /** PAGE_USER and PAGE_WRITE, of the page and the levels above it. */
  readonly rights: number;
}

export function pagingEnabled(cpu: CpuState): boolean {
  return (cpu.get(L.CR0) & CR0_PG) !== 0;
}

/** Marks nothing as accessed. */
export function* presentPages(cpu: CpuState): Generator<PageEntry> {
  const cr3 = cpu.get(L.CR3) >>> 0;
  if ((cpu.get(L.CR4) & CR4_PAE) === 0) {
    yield* directory(cpu, { table: (cr3 & 0xfffff000) >>> 0, linear: 0, pae: false });
    return;
  }
  for (let i = 0; i < 4; i++) {
    const pointer = cpu.mem.read32(((cr3 & 0xffffffe0) >>> 0) + i * 8) >>> 0;
    if ((pointer & PRESENT) === 0) continue;
    yield* directory(cpu, { table: (pointer & 0xfffff000) >>> 0, linear: i * 2 ** 30, pae: true });
  }
}

interface Directory {
  readonly table: number;
  readonly linear: number;
  readonly pae: boolean;
}

function* directory(cpu: CpuState, { table, linear, pae }: Directory): Generator<PageEntry> {
  const [entries, bytes, largeBytes] = pae ? [512, 8, 2 ** 21] : [1024, 4, 2 ** 22];
  const large = pae || (cpu.get(L.CR4) & CR4_PSE) !== 0;
  for (let i = 0; i < entries; i++) {
    const entry = cpu.mem.read32(table + i * bytes) >>> 0;
    if ((entry & PRESENT) === 0) continue;
    const start = linear + i * largeBytes;
    if ((entry & LARGE) !== 0 && large) {
      const physical = (entry & -largeBytes) >>> 0;
      yield {
        linear: start,
        sizeBytes: largeBytes,
        physical,
        flags: entry,
        rights: entry & (PAGE_USER | PAGE_WRITE),
      };
      continue;
    }
    for (let k = 0; k < entries; k++) {
      const page = cpu.mem.read32(((entry & 0xfffff000) >>> 0) + k * bytes) >>> 0;
      if ((page & PRESENT) === 0) continue;
      yield {
        linear: start + k * 4096,
        sizeBytes: 4096,
        physical: (page & 0xfffff000) >>> 0,
        flags: page & ~LARGE,
        rights: page & entry & (PAGE_USER | PAGE_WRITE),
      };
    }
  }
}
