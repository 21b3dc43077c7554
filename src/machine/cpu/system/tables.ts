/**
 * Descriptor tables and selectors: LGDT, LIDT, SGDT, SIDT, LLDT, LTR, SLDT, STR, LAR, LSL, VERR, VERW, ARPL.
 * Intel SDM 3A, 2.4 and 5.10.
 */
import { type CpuState, EXC_GP, EXC_NP, NEXT } from '../cpu-state.ts';
import { ARITHMETIC_FLAGS, FLAG_ZF } from '../eflags.ts';
import * as L from '../layout.ts';
import { writeLinear8 } from '../linear.ts';
import { DESC_C, DESC_CODE, DESC_P, DESC_R, DESC_S, DESC_W } from '../mode.ts';
import {
  addressSize,
  memoryOffset,
  memorySegment,
  operandSize,
  readRm16,
  readSeg16,
  readSeg32,
  regField,
  rmIsMemory,
  rmRegister,
  segmentCheck,
  writeRm16,
  writeSeg16,
  writeSeg32,
} from '../operands.ts';
import { checkCpl0 } from './control-registers.ts';
import {
  desc,
  descriptorDpl,
  descriptorLimit,
  fetchDescriptor,
  fetchOrRaise,
  isNull,
  selectorError,
  systemType,
  TYPE_CALL16,
  TYPE_CALL32,
  TYPE_LDT,
  TYPE_TASK_GATE,
  TYPE_TSS16,
  TYPE_TSS16_BUSY,
  TYPE_TSS32,
  TYPE_TSS32_BUSY,
} from './descriptors.ts';
import { setFromDescriptor, setSegment } from './segment-load.ts';

/** Offset of the base in a pseudo-descriptor: two bytes behind `at`, wrapped to the address size. */
function behind(c: CpuState, at: number): number {
  return addressSize(c) === 32 ? (at + 2) >>> 0 : (at + 2) & 0xffff;
}

function loadTable(c: CpuState, baseSlot: number, limitSlot: number): number {
  if (!rmIsMemory(c)) c.raiseUd();
  checkCpl0(c);
  const seg = memorySegment(c);
  const at = memoryOffset(c);
  const limit = readSeg16(c, seg, at);
  const base = readSeg32(c, seg, behind(c, at));
  c.set(limitSlot, limit);
  c.set(baseSlot, operandSize(c) === 32 ? base : base & 0xffffff);
  return NEXT;
}
/** All 32 bits of the base are stored whatever the operand size, as Pentiums do. */
function storeTable(c: CpuState, baseSlot: number, limitSlot: number): number {
  if (!rmIsMemory(c)) c.raiseUd();
  const seg = memorySegment(c);
  const at = memoryOffset(c);
  segmentCheck(c, seg, behind(c, at), 4, true);
  writeSeg16(c, seg, at, c.get(limitSlot) & 0xffff);
  writeSeg32(c, seg, behind(c, at), c.get(baseSlot));
  return NEXT;
}

export function lgdt(c: CpuState): number {
  return loadTable(c, L.GDT_BASE, L.GDT_LIMIT);
}
export function lidt(c: CpuState): number {
  return loadTable(c, L.IDT_BASE, L.IDT_LIMIT);
}
export function sgdt(c: CpuState): number {
  return storeTable(c, L.GDT_BASE, L.GDT_LIMIT);
}
export function sidt(c: CpuState): number {
  return storeTable(c, L.IDT_BASE, L.IDT_LIMIT);
}

/** #UD in real and virtual-8086 mode. */
function needSelectors(c: CpuState): void {
  if (!c.protectedMode || c.v8086) c.raiseUd();
}

export function lldt(c: CpuState): number {
  needSelectors(c);
  checkCpl0(c);
  const selector = readRm16(c);
  if (isNull(selector)) {
    setSegment(c, L.LDTR, selector, 0, 0, 0);
    return NEXT;
  }
  const wrong = selectorError(selector);
  if ((selector & 4) !== 0) c.raise(EXC_GP, wrong);
  fetchOrRaise(c, selector, EXC_GP);
  if ((desc.high & DESC_S) !== 0 || systemType(desc.high) !== TYPE_LDT) c.raise(EXC_GP, wrong);
  if ((desc.high & DESC_P) === 0) c.raise(EXC_NP, wrong);
  setFromDescriptor(c, L.LDTR, selector, desc.low, desc.high);
  return NEXT;
}

export function ltr(c: CpuState): number {
  needSelectors(c);
  checkCpl0(c);
  const selector = readRm16(c);
  const wrong = selectorError(selector);
  if (isNull(selector)) c.raise(EXC_GP, 0);
  if ((selector & 4) !== 0) c.raise(EXC_GP, wrong);
  fetchOrRaise(c, selector, EXC_GP);
  const type = systemType(desc.high);
  if ((desc.high & DESC_S) !== 0 || (type !== TYPE_TSS16 && type !== TYPE_TSS32)) c.raise(EXC_GP, wrong);
  if ((desc.high & DESC_P) === 0) c.raise(EXC_NP, wrong);
  const high = desc.high | 0x200;
  writeLinear8(c, (desc.address + 5) | 0, (high >>> 8) & 0xff, 0);
  setFromDescriptor(c, L.TR, selector, desc.low, high);
  return NEXT;
}

function storeSelector(c: CpuState, seg: number): number {
  needSelectors(c);
  const selector = c.selector(seg);
  if (!rmIsMemory(c) && operandSize(c) === 32) c.setReg32(rmRegister(c), selector);
  else writeRm16(c, selector);
  return NEXT;
}
export function sldt(c: CpuState): number {
  return storeSelector(c, L.LDTR);
}
export function str(c: CpuState): number {
  return storeSelector(c, L.TR);
}

function setZero(c: CpuState, zero: boolean): void {
  const flags = c.eflags() & ARITHMETIC_FLAGS & ~FLAG_ZF;
  c.setArithmeticFlags(zero ? flags | FLAG_ZF : flags);
}

/** Fetches `selector` into {@link desc} if the program at CPL may know of it: no null, in its table, privilege. */
function visible(c: CpuState, selector: number): boolean {
  if (isNull(selector) || !fetchDescriptor(c, selector)) return false;
  const high = desc.high;
  const conforming = DESC_S | DESC_CODE | DESC_C;
  if ((high & conforming) === conforming) return true;
  const dpl = descriptorDpl(high);
  return dpl >= c.get(L.CPL) && dpl >= (selector & 3);
}

function setByOperandSize(c: CpuState, value: number): void {
  if (operandSize(c) === 32) c.setReg32(regField(c), value);
  else c.setReg16(regField(c), value);
}

const LSL_TYPES =
  (1 << TYPE_TSS16) | (1 << TYPE_LDT) | (1 << TYPE_TSS16_BUSY) | (1 << TYPE_TSS32) | (1 << TYPE_TSS32_BUSY);
const LAR_TYPES = LSL_TYPES | (1 << TYPE_CALL16) | (1 << TYPE_TASK_GATE) | (1 << TYPE_CALL32);

export function lar(c: CpuState): number {
  needSelectors(c);
  const ok = visible(c, readRm16(c)) && allowed(LAR_TYPES);
  // Bits 16–19 are undefined in the manual; silicon leaves the limit there (QEMU clears them).
  if (ok) setByOperandSize(c, desc.high & 0x00ffff00);
  setZero(c, ok);
  return NEXT;
}
export function lsl(c: CpuState): number {
  needSelectors(c);
  const ok = visible(c, readRm16(c)) && allowed(LSL_TYPES);
  if (ok) setByOperandSize(c, descriptorLimit(desc.low, desc.high));
  setZero(c, ok);
  return NEXT;
}
function allowed(types: number): boolean {
  return (desc.high & DESC_S) !== 0 || ((types >> systemType(desc.high)) & 1) !== 0;
}

export function verr(c: CpuState): number {
  needSelectors(c);
  const ok = visible(c, readRm16(c)) && (desc.high & DESC_S) !== 0;
  setZero(c, ok && ((desc.high & DESC_CODE) === 0 || (desc.high & DESC_R) !== 0));
  return NEXT;
}
export function verw(c: CpuState): number {
  needSelectors(c);
  const ok = visible(c, readRm16(c)) && (desc.high & DESC_S) !== 0;
  setZero(c, ok && (desc.high & DESC_CODE) === 0 && (desc.high & DESC_W) !== 0);
  return NEXT;
}

export function arpl(c: CpuState): number {
  needSelectors(c);
  const selector = readRm16(c);
  const rpl = c.reg16(regField(c)) & 3;
  const raise = (selector & 3) < rpl;
  if (raise) writeRm16(c, (selector & ~3) | rpl);
  setZero(c, raise);
  return NEXT;
}
