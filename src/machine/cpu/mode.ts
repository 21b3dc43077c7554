/**
 * Data derived from segment caches, CR0, EFLAGS and CPL: fast-check spans, the code mode, which TLBs are in use.
 * Whoever changes one of the sources calls these before generated code runs again.
 */
import { CR0_AM, CR0_PE, type CpuState } from './cpu-state.ts';
import { FLAG_AC, FLAG_IOPL, FLAG_VM } from './eflags.ts';
import * as L from './layout.ts';

/** Bits of a descriptor's high dword. Intel SDM 3A, 3.4.5. */
export const DESC_A = 0x100;
export const DESC_W = 0x200;
export const DESC_R = 0x200;
export const DESC_E = 0x400;
export const DESC_C = 0x400;
export const DESC_CODE = 0x800;
export const DESC_S = 0x1000;
export const DESC_DPL_SHIFT = 13;
export const DESC_P = 0x8000;
export const DESC_AVL = 0x100000;
export const DESC_B = 0x400000;
export const DESC_G = 0x800000;

/** Largest access that the fast check covers, in bytes. */
const MAX_ACCESS = 16;

/** Recomputes lo, readSpan and writeSpan of a segment cache from base, limit and flags. */
export function updateSegment(c: CpuState, seg: number): void {
  const at = c.segAddress(seg);
  const flags = c.get(at + L.SEG_FLAGS);
  const limit = c.get(at + L.SEG_LIMIT) >>> 0;
  const realOrV86 = (c.get(L.CR0) & CR0_PE) === 0 || (c.get(L.EFL) & FLAG_VM) !== 0;
  let lo = 0;
  let hi = limit;
  let readable = true;
  let writable = true;
  if (!realOrV86) {
    const code = (flags & DESC_CODE) !== 0;
    const present = (flags & DESC_P) !== 0 && (flags & DESC_S) !== 0;
    readable = present && (!code || (flags & DESC_R) !== 0);
    writable = present && !code && (flags & DESC_W) !== 0;
    if (!code && (flags & DESC_E) !== 0) {
      lo = limit + 1;
      hi = (flags & DESC_B) !== 0 ? 0xffffffff : 0xffff;
    }
  }
  const bytes = hi - lo + 1;
  // Offsets o with o + 16 <= hi + 1 pass at once; the last 15 bytes of a segment take the exact, slow path.
  const span = bytes >= MAX_ACCESS ? bytes - MAX_ACCESS + 1 : 0;
  c.set(at + L.SEG_LO, lo | 0);
  c.set(at + L.SEG_READ_SPAN, readable ? span | 0 : 0);
  c.set(at + L.SEG_WRITE_SPAN, writable ? span | 0 : 0);
}

/** base 0, limit 4 GiB, readable, writable (or, for CS, 32-bit code). */
function isFlat(c: CpuState, seg: number): boolean {
  const at = c.segAddress(seg);
  return (
    c.get(at + L.SEG_BASE) === 0 &&
    c.get(at + L.SEG_LIMIT) === -1 &&
    (seg === L.CS || (c.get(at + L.SEG_WRITE_SPAN) !== 0 && c.get(at + L.SEG_LO) === 0))
  );
}

/**
 * Recomputes MODE, TLBBASE, XTLBBASE, STACK_MASK and CLI_OK. CPL must be right already.
 * Call it after any change of CS, SS, DS, ES, CR0.PE, EFLAGS.VM, EFLAGS.IOPL, EFLAGS.AC or CPL.
 */
export function updateMode(c: CpuState): void {
  const eflags = c.get(L.EFL);
  const v86 = (eflags & FLAG_VM) !== 0;
  const protectedMode = (c.get(L.CR0) & CR0_PE) !== 0;
  const code32 = (c.segFlags(L.CS) & DESC_B) !== 0;
  const stack32 = (c.segFlags(L.SS) & DESC_B) !== 0;
  const cpl = c.get(L.CPL);
  let mode = code32 ? L.MODE_S32 : L.MODE_S16;
  if (
    code32 &&
    stack32 &&
    protectedMode &&
    !v86 &&
    isFlat(c, L.CS) &&
    isFlat(c, L.SS) &&
    isFlat(c, L.DS) &&
    isFlat(c, L.ES)
  ) {
    mode = L.MODE_F32;
  }
  const user = cpl === 3 ? 1 : 0;
  const aligned = user === 1 && (eflags & FLAG_AC) !== 0 && (c.get(L.CR0) & CR0_AM) !== 0;
  if (aligned && mode === L.MODE_F32) mode = L.MODE_S32;
  const set = aligned ? L.ALIGNED_SET + (mode === L.MODE_S32 ? 0 : 1) : mode * 2 + user;
  c.set(L.MODE, mode);
  c.set(L.STACK_MASK, stack32 ? -1 : 0xffff);
  c.set(L.TLBBASE, aligned ? L.TLB_NONE : user === 1 ? L.TLB_USER : L.TLB_SUPER);
  c.set(L.XTLBBASE, L.XTLB + set * L.XTLB_BYTES);
  const iopl = (eflags & FLAG_IOPL) >> 12;
  c.set(L.CLI_OK, !protectedMode || (v86 ? iopl === 3 : cpl <= iopl) ? 1 : 0);
}

/** Recomputes everything derived, for all segments: after CR0.PE changes, loads of a snapshot, reset. */
export function updateAll(c: CpuState): void {
  for (let seg = L.ES; seg <= L.GS; seg++) updateSegment(c, seg);
  updateMode(c);
}

/** Notes that the TLB entry at `at`, data or code, was filled with a translation that does not outlive a write to CR3. */
export function noteLocal(c: CpuState, at: number): void {
  if (c.localCount < c.localEntries.length) c.localEntries[c.localCount] = at;
  c.localCount++;
}

/** Drops the translations that are not global (MOV CR3). */
export function flushLocal(c: CpuState): void {
  if (c.localCount > c.localEntries.length) {
    flushTlb(c);
    return;
  }
  for (let i = 0; i < c.localCount; i++) {
    const at = c.localEntries[i]!;
    c.set(at, L.TLB_INVALID);
    // The write tag; that of a code TLB's entry is its record page, which nobody looks at behind a tag that does not match.
    c.set(at + 4, L.TLB_INVALID);
  }
  c.localCount = 0;
}

/** Drops all translations, data and code. */
export function flushTlb(c: CpuState): void {
  c.localCount = 0;
  c.i32.fill(L.TLB_INVALID, L.TLB_SUPER >> 2, (L.TLB_USER + L.TLB_ENTRIES * 16) >> 2);
  c.i32.fill(L.TLB_INVALID, L.XTLB >> 2, (L.XTLB + L.XTLB_SETS * L.XTLB_BYTES) >> 2);
}

/** Drops the translations of one page (INVLPG). */
export function flushTlbPage(c: CpuState, linear: number): void {
  const data = ((linear >>> 12) & (L.TLB_ENTRIES - 1)) * 16;
  for (const base of [L.TLB_SUPER, L.TLB_USER]) {
    c.set(base + data, L.TLB_INVALID);
    c.set(base + data + 4, L.TLB_INVALID);
  }
  const code = ((linear >>> 12) & (L.XTLB_ENTRIES - 1)) * 8;
  for (let set = 0; set < L.XTLB_SETS; set++) c.set(L.XTLB + set * L.XTLB_BYTES + code, L.TLB_INVALID);
}
