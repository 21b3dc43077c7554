/**
 * CR0, CR2, CR3, CR4, LMSW, SMSW, CLTS, INVLPG. Intel SDM 3A, 2.5; 2B, MOV (control registers).
 * Not emulated: caches (CD and NW are kept, without effect).
 */
import {
  CR0_AM,
  CR0_CD,
  CR0_EM,
  CR0_ET,
  CR0_MP,
  CR0_NE,
  CR0_NW,
  CR0_PE,
  CR0_PG,
  CR0_TS,
  CR0_WP,
  CR4_OSFXSR,
  CR4_OSXMMEXCPT,
  CR4_PAE,
  CR4_PGE,
  CR4_PSE,
  type CpuState,
  JUMP,
  NEXT,
} from '../cpu-state.ts';
import * as L from '../layout.ts';
import { flushLocal, flushTlb, flushTlbPage, updateAll } from '../mode.ts';
import {
  memoryOffset,
  memorySegment,
  operandSize,
  readRm16,
  regField,
  rmIsMemory,
  rmRegister,
  writeRm16,
} from '../operands.ts';
import { loadPdptes } from '../paging.ts';
import { FEATURE_FXSR, FEATURE_PAE, FEATURE_PGE, FEATURE_PSE, FEATURE_SSE } from './cpu-models.ts';

const CR0_MASK = CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG;
/** VME, PVI, TSD, DE, MCE, PCE: as with QEMU, every model has them, whether CPUID says so or not. */
const CR4_ALWAYS = 0x14f;
/** Other CR4 bits and the features that bring them; what is missing is reserved. SDM 3A, 2.5. */
const CR4_BITS: readonly (readonly [bit: number, feature: number])[] = [
  [CR4_PSE, FEATURE_PSE],
  [CR4_PAE, FEATURE_PAE],
  [CR4_PGE, FEATURE_PGE],
  [CR4_OSFXSR, FEATURE_FXSR],
  [CR4_OSXMMEXCPT, FEATURE_SSE],
];

function cr4Mask(features: number): number {
  let mask = CR4_ALWAYS;
  for (const [bit, feature] of CR4_BITS) if ((features & feature) !== 0) mask |= bit;
  return mask;
}

/** Privileged instructions: #GP(0) above CPL 0. Real mode has CPL 0. */
export function checkCpl0(c: CpuState): void {
  if (c.get(L.CPL) !== 0) c.raiseGp(0);
}

/** End of an operation behind which cached code addresses may be wrong: look up anew. */
function resume(c: CpuState): number {
  c.set(L.EIP, c.nextEip);
  return JUMP;
}

/** Writes CR0. #GP(0): PG without PE, NW without CD, bad PDPTEs. Reserved bits are ignored, ET stays 1. */
export function setCr0(c: CpuState, value: number): void {
  const old = c.get(L.CR0);
  const next = (value & CR0_MASK) | CR0_ET;
  if ((next & CR0_PG) !== 0 && (next & CR0_PE) === 0) c.raiseGp(0);
  if ((next & CR0_NW) !== 0 && (next & CR0_CD) === 0) c.raiseGp(0);
  const changed = old ^ next;
  if ((changed & next & CR0_PG) !== 0 && (c.get(L.CR4) & CR4_PAE) !== 0) loadPdptes(c, c.get(L.CR3));
  c.set(L.CR0, next);
  if ((changed & (CR0_PG | CR0_WP | CR0_PE)) !== 0) flushTlb(c);
  if ((changed & CR0_PE) !== 0) updateAll(c);
}

/** Writes CR3 and drops all translations but those of global pages. SDM 3A, 4.10.4.1. */
export function setCr3(c: CpuState, value: number): void {
  if ((c.get(L.CR0) & CR0_PG) !== 0 && (c.get(L.CR4) & CR4_PAE) !== 0) loadPdptes(c, value);
  c.set(L.CR3, value);
  flushLocal(c);
}

/** Writes CR4. #GP(0): reserved bits, bad PDPTEs. */
export function setCr4(c: CpuState, value: number): void {
  if ((value & ~cr4Mask(c.model.features)) !== 0) c.raiseGp(0);
  const changed = value ^ c.get(L.CR4);
  const paging = (changed & (CR4_PAE | CR4_PSE | CR4_PGE)) !== 0;
  if (paging && (value & CR4_PAE) !== 0 && (c.get(L.CR0) & CR0_PG) !== 0) loadPdptes(c, c.get(L.CR3));
  c.set(L.CR4, value);
  if (paging) flushTlb(c);
}

function registerAddress(c: CpuState): number {
  switch (regField(c)) {
    case 0:
      return L.CR0;
    case 2:
      return L.CR2;
    case 3:
      return L.CR3;
    case 4:
      return L.CR4;
    default:
      return c.raiseUd();
  }
}

/** MOV r32, CRn. */
export function movFromCr(c: CpuState): number {
  const address = registerAddress(c);
  checkCpl0(c);
  c.setReg32(rmRegister(c), c.get(address));
  return NEXT;
}

/** MOV CRn, r32. */
export function movToCr(c: CpuState): number {
  const address = registerAddress(c);
  checkCpl0(c);
  const value = c.reg32(rmRegister(c));
  if (address === L.CR2) {
    c.set(L.CR2, value);
    return NEXT;
  }
  if (address === L.CR0) setCr0(c, value);
  else if (address === L.CR3) setCr3(c, value);
  else setCr4(c, value);
  return resume(c);
}

/** LMSW r/m16: the low four bits; PE can be set, not cleared. */
export function lmsw(c: CpuState): number {
  checkCpl0(c);
  const value = readRm16(c) & 0xf;
  const old = c.get(L.CR0);
  setCr0(c, (old & ~(CR0_MP | CR0_EM | CR0_TS)) | value);
  return resume(c);
}

/** SMSW: 16 bits to memory; all of CR0 to a 32-bit register. */
export function smsw(c: CpuState): number {
  if (!rmIsMemory(c) && operandSize(c) === 32) c.setReg32(rmRegister(c), c.get(L.CR0));
  else writeRm16(c, c.get(L.CR0) & 0xffff);
  return NEXT;
}

export function clts(c: CpuState): number {
  checkCpl0(c);
  c.set(L.CR0, c.get(L.CR0) & ~CR0_TS);
  return NEXT;
}

const PAGE_LARGE = 0x81;

/** The page directory maps `linear` by a large page now (present and PS). */
function mappedLarge(c: CpuState, linear: number): boolean {
  if ((c.get(L.CR0) & CR0_PG) === 0) return false;
  const cr4 = c.get(L.CR4);
  let at: number;
  if ((cr4 & CR4_PAE) !== 0) at = (c.cold.pdpteLow[linear >>> 30]! & ~0xfff) | ((linear >>> 18) & 0xff8);
  else if ((cr4 & CR4_PSE) !== 0) at = (c.get(L.CR3) & ~0xfff) | ((linear >>> 20) & 0xffc);
  else return false;
  return (c.mem.read32((at & c.a20Mask) >>> 0) & PAGE_LARGE) === PAGE_LARGE;
}

/** INVLPG m: no access, no limit check. A large page fills many TLB entries: all go. */
export function invlpg(c: CpuState): number {
  if (!rmIsMemory(c)) c.raiseUd();
  checkCpl0(c);
  const linear = (c.segBase(memorySegment(c)) + memoryOffset(c)) | 0;
  if (mappedLarge(c, linear)) flushTlb(c);
  else flushTlbPage(c, linear);
  return resume(c);
}

/** INVD, WBINVD: there are no caches. */
export function invalidateCaches(c: CpuState): number {
  checkCpl0(c);
  return NEXT;
}
