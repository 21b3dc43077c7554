/**
 * Page walks: 2-level with 4 KiB and 4 MiB pages, 3-level PAE with 4 KiB and 2 MiB pages. Intel SDM 3A, chapter 4.
 * Sets accessed and dirty bits as silicon does (accessed on every level, dirty on a write). No execute-disable (the
 * Pentium III class has none); reserved bits are checked in PAE entries.
 */
import {
  CR0_PG,
  CR0_WP,
  CR4_PAE,
  CR4_PGE,
  CR4_PSE,
  type CpuState,
  EXC_GP,
  EXC_PF,
  FAULT,
} from './cpu-state.ts';
import * as L from './layout.ts';

const PTE_P = 1;
const PTE_W = 2;
const PTE_U = 4;
const PTE_A = 0x20;
const PTE_D = 0x40;
const PTE_PS = 0x80;
const PTE_G = 0x100;

/** Page-fault error code bits. */
const PF_PRESENT = 1;
const PF_WRITE = 2;
const PF_USER = 4;
const PF_RESERVED = 8;

/**
 * Set by translate(). `writable`: the page may be written at this privilege without another walk (writable, and dirty already).
 * `global`: its translation outlives a write to CR3 (CR4.PGE and the entry's G).
 */
export const translation = { writable: false, global: false };

function pageFault(c: CpuState, linear: number, code: number, write: number, user: number): -1 {
  c.set(L.CR2, linear);
  c.noteFault(EXC_PF, code | (write !== 0 ? PF_WRITE : 0) | (user !== 0 ? PF_USER : 0));
  return -1;
}

/** Physical address of a linear one (A20 applied), a number below 2^32. Raises #PF. */
export function translate(c: CpuState, linear: number, write: number, user: number): number {
  const physical = tryTranslate(c, linear, write, user);
  if (physical < 0) throw FAULT;
  return physical;
}

/** {@link translate} for the paths that many faults take: -1 for #PF, which is noted but not thrown. */
export function tryTranslate(c: CpuState, linear: number, write: number, user: number): number {
  if ((c.get(L.CR0) & CR0_PG) === 0) {
    translation.writable = true;
    translation.global = false;
    return (linear & c.a20Mask) >>> 0;
  }
  if ((c.get(L.CR4) & CR4_PAE) !== 0) return translatePae(c, linear, write, user);
  return translateLegacy(c, linear, write, user);
}

function allowed(c: CpuState, rights: number, write: number, user: number): boolean {
  if (user !== 0) return (rights & PTE_U) !== 0 && (write === 0 || (rights & PTE_W) !== 0);
  return write === 0 || (rights & PTE_W) !== 0 || (c.get(L.CR0) & CR0_WP) === 0;
}

/** What the TLB may do with the page: `rights` of all levels, `last` the entry that maps it. */
function note(c: CpuState, rights: number, last: number, user: number): void {
  translation.writable = (last & PTE_D) !== 0 && allowed(c, rights, 1, user);
  translation.global = (last & PTE_G) !== 0 && (c.get(L.CR4) & CR4_PGE) !== 0;
}

function translateLegacy(c: CpuState, linear: number, write: number, user: number): number {
  const mem = c.mem;
  const pdeAt = (((c.get(L.CR3) & ~0xfff) | ((linear >>> 20) & 0xffc)) & c.a20Mask) >>> 0;
  const pde = mem.read32(pdeAt);
  if ((pde & PTE_P) === 0) return pageFault(c, linear, 0, write, user);
  if ((pde & PTE_PS) !== 0 && (c.get(L.CR4) & CR4_PSE) !== 0) {
    // Bits 13–20 are address bits 32–39 (PSE-36), bit 21 is reserved.
    if ((pde & 0x200000) !== 0) return pageFault(c, linear, PF_PRESENT | PF_RESERVED, write, user);
    if (!allowed(c, pde, write, user)) return pageFault(c, linear, PF_PRESENT, write, user);
    const set = pde | PTE_A | (write !== 0 ? PTE_D : 0);
    if (set !== pde) mem.write32(pdeAt, set);
    note(c, pde, set, user);
    if ((pde & 0x1fe000) !== 0) return nowhere(linear); // PSE-36: bits 32–39
    return (((pde & 0xffc00000) | (linear & 0x3fffff)) & c.a20Mask) >>> 0;
  }
  const pteAt = (((pde & ~0xfff) | ((linear >>> 10) & 0xffc)) & c.a20Mask) >>> 0;
  const pte = mem.read32(pteAt);
  if ((pte & PTE_P) === 0) return pageFault(c, linear, 0, write, user);
  const rights = pde & pte;
  if (!allowed(c, rights, write, user)) return pageFault(c, linear, PF_PRESENT, write, user);
  if ((pde & PTE_A) === 0) mem.write32(pdeAt, pde | PTE_A);
  const set = pte | PTE_A | (write !== 0 ? PTE_D : 0);
  if (set !== pte) mem.write32(pteAt, set);
  note(c, rights, set, user);
  return (((pte & ~0xfff) | (linear & 0xfff)) & c.a20Mask) >>> 0;
}

function translatePae(c: CpuState, linear: number, write: number, user: number): number {
  const mem = c.mem;
  const index = linear >>> 30;
  const pdpte = c.cold.pdpteLow[index]!;
  if ((pdpte & PTE_P) === 0) return pageFault(c, linear, 0, write, user);
  if (c.cold.pdpteHigh[index] !== 0) return nowhere(linear);
  const pdeAt = (((pdpte & ~0xfff) | ((linear >>> 18) & 0xff8)) & c.a20Mask) >>> 0;
  const pde = mem.read32(pdeAt);
  const pdeHigh = mem.read32(pdeAt + 4);
  if ((pde & PTE_P) === 0) return pageFault(c, linear, 0, write, user);
  if ((pdeHigh & ~0xf) !== 0) return pageFault(c, linear, PF_PRESENT | PF_RESERVED, write, user);
  if ((pde & PTE_PS) !== 0) {
    if ((pde & 0x1fe000) !== 0) return pageFault(c, linear, PF_PRESENT | PF_RESERVED, write, user);
    if (!allowed(c, pde, write, user)) return pageFault(c, linear, PF_PRESENT, write, user);
    const set = pde | PTE_A | (write !== 0 ? PTE_D : 0);
    if (set !== pde) mem.write32(pdeAt, set);
    note(c, pde, set, user);
    if (pdeHigh !== 0) return nowhere(linear);
    return (((pde & 0xffe00000) | (linear & 0x1fffff)) & c.a20Mask) >>> 0;
  }
  if (pdeHigh !== 0) return nowhere(linear);
  const pteAt = (((pde & ~0xfff) | ((linear >>> 9) & 0xff8)) & c.a20Mask) >>> 0;
  const pte = mem.read32(pteAt);
  const pteHigh = mem.read32(pteAt + 4);
  if ((pte & PTE_P) === 0) return pageFault(c, linear, 0, write, user);
  if ((pteHigh & ~0xf) !== 0) return pageFault(c, linear, PF_PRESENT | PF_RESERVED, write, user);
  const rights = pde & pte;
  if (!allowed(c, rights, write, user)) return pageFault(c, linear, PF_PRESENT, write, user);
  if ((pde & PTE_A) === 0) mem.write32(pdeAt, pde | PTE_A);
  const set = pte | PTE_A | (write !== 0 ? PTE_D : 0);
  if (set !== pte) mem.write32(pteAt, set);
  note(c, rights, set, user);
  if (pteHigh !== 0) return nowhere(linear);
  return (((pte & ~0xfff) | (linear & 0xfff)) & c.a20Mask) >>> 0;
}

/**
 * Physical addresses beyond 4 GiB have nothing behind them in this machine. The page just below the firmware window's
 * 4 GiB - 512 KiB is never mapped either, so that such accesses are sent there.
 */
function nowhere(linear: number): number {
  translation.writable = false;
  translation.global = false;
  return 0xfec80000 + (linear & 0xfff);
}

/**
 * Loads the four page-directory pointers with CR3 (PAE). Raises #GP(0) when a present one has reserved bits set. SDM 3A 4.4.1.
 */
export function loadPdptes(c: CpuState, cr3: number): void {
  const base = (cr3 & ~0x1f & c.a20Mask) >>> 0;
  for (let i = 0; i < 4; i++) {
    const low = c.mem.read32(base + i * 8);
    const high = c.mem.read32(base + i * 8 + 4);
    if ((low & PTE_P) !== 0 && ((low & 0x1e6) !== 0 || (high & ~0xf) !== 0)) c.raise(EXC_GP, 0);
  }
  for (let i = 0; i < 4; i++) {
    c.cold.pdpteLow[i] = c.mem.read32(base + i * 8);
    c.cold.pdpteHigh[i] = c.mem.read32(base + i * 8 + 4);
  }
}
