/**
 * Far RET and IRET: to the same and to outer privilege, to virtual-8086 mode, to the previous task.
 * Intel SDM 2A (IRET), 2B (RET).
 */
import { type CpuState, CR4_VME, EXC_GP, EXC_NP, EXC_TS, JUMP } from '../cpu-state.ts';
import {
  ARITHMETIC_FLAGS,
  FLAG_AC,
  FLAG_DF,
  FLAG_ID,
  FLAG_IF,
  FLAG_IOPL,
  FLAG_NT,
  FLAG_RF,
  FLAG_TF,
  FLAG_VIF,
  FLAG_VIP,
  FLAG_VM,
} from '../eflags.ts';
import * as L from '../layout.ts';
import { readLinear16 } from '../linear.ts';
import { DESC_B, DESC_C, DESC_CODE, DESC_P, DESC_S, updateAll, updateMode } from '../mode.ts';
import { immediate, operandSize, setStackPointer, stackPointer } from '../operands.ts';
import { keepRf } from './debug.ts';
import {
  desc,
  descriptorDpl,
  descriptorLimit,
  fetchOrRaise,
  isNull,
  markAccessed,
  selectorError,
} from './descriptors.ts';
import { checkRealTarget, setRealCode } from './far-transfer.ts';
import { dropInnerSegments, setCode, setFromDescriptor, setV86Segment } from './segment-load.ts';
import { fetchStack, inner, peekBy } from './stack.ts';
import { SWITCH_IRET, switchTask } from './task-switch.ts';

/** What IRET and POPF may change in any mode: CF PF AF ZF SF TF DF OF NT. */
const FLAGS_ANY = ARITHMETIC_FLAGS | FLAG_TF | FLAG_DF | FLAG_NT;

/** The code segment returned to, checked but not loaded. */
const code = { low: 0, high: 0, cpl: 0 };

/** Fetches and checks the code segment a RET or IRET leads to: {@link code}. */
function fetchReturnCode(c: CpuState, selector: number, offset: number): void {
  const cpl = c.get(L.CPL);
  const rpl = selector & 3;
  const wrong = selectorError(selector);
  if (isNull(selector)) c.raise(EXC_GP, 0);
  fetchOrRaise(c, selector, EXC_GP);
  const high = desc.high;
  if ((high & (DESC_S | DESC_CODE)) !== (DESC_S | DESC_CODE) || rpl < cpl) c.raise(EXC_GP, wrong);
  const dpl = descriptorDpl(high);
  if ((high & DESC_C) !== 0 ? dpl > rpl : dpl !== rpl) c.raise(EXC_GP, wrong);
  if ((high & DESC_P) === 0) c.raise(EXC_NP, wrong);
  if (offset >>> 0 > descriptorLimit(desc.low, high) >>> 0) c.raise(EXC_GP, 0);
  code.low = desc.low;
  code.cpl = rpl;
  code.high = markAccessed(c, desc.address, high);
}

/** Fetches and checks the stack segment of the outer level. */
function fetchOuterStack(c: CpuState, selector: number): void {
  if (isNull(selector)) c.raise(EXC_GP, 0);
  fetchStack(c, selector, code.cpl, EXC_GP);
}

/** Loads CS and SS of an outer level; ESP or SP gets `sp`. */
function commitOuter(c: CpuState, codeSelector: number, sp: number): void {
  setCode(c, codeSelector, code.low, code.high, code.cpl);
  setFromDescriptor(c, L.SS, inner.selector, inner.low, inner.high);
  const mask = (inner.high & DESC_B) !== 0 ? -1 : 0xffff;
  c.setReg32(4, (c.reg32(4) & ~mask) | (sp & mask));
  dropInnerSegments(c, code.cpl);
}

/** RETF, RETF imm16 (immediate: bytes to drop). */
export function retFar(c: CpuState): number {
  const size32 = operandSize(c) === 32;
  const step = size32 ? 4 : 2;
  const sp = stackPointer(c);
  const drop = immediate(c) & 0xffff;
  const offset = peekBy(c, size32, sp);
  const selector = peekBy(c, size32, sp + step) & 0xffff;
  if (!c.protectedMode || c.v8086) {
    checkRealTarget(c, offset);
    setRealCode(c, selector);
    setStackPointer(c, sp + 2 * step + drop);
    c.set(L.EIP, offset);
    return JUMP;
  }
  fetchReturnCode(c, selector, offset);
  if (code.cpl === c.get(L.CPL)) {
    setCode(c, selector, code.low, code.high, code.cpl);
    setStackPointer(c, sp + 2 * step + drop);
  } else {
    const outerSp = peekBy(c, size32, sp + 2 * step + drop);
    fetchOuterStack(c, peekBy(c, size32, sp + 3 * step + drop) & 0xffff);
    commitOuter(c, selector, outerSp + drop);
  }
  c.set(L.EIP, offset);
  updateMode(c);
  return JUMP;
}

/** Replaces the EFLAGS bits in `mask` by those of `value`. */
export function mergeFlags(c: CpuState, value: number, mask: number): void {
  c.setEflags(keepRf(c, (c.get(L.EFL) & ~mask) | (value & mask) | (c.eflags() & ARITHMETIC_FLAGS & ~mask)));
}

/** IRET, IRETD. */
export function iret(c: CpuState): number {
  const size32 = operandSize(c) === 32;
  c.nmiMasked = false;
  if (!c.protectedMode) iretReal(c, size32);
  else if (c.v8086) iretV86(c, size32);
  else if ((c.get(L.EFL) & FLAG_NT) !== 0) {
    const link = readLinear16(c, c.segBase(L.TR), 0);
    switchTask(c, link, SWITCH_IRET, c.nextEip, 0, EXC_TS);
  } else iretProtected(c, size32);
  return JUMP;
}

function iretReal(c: CpuState, size32: boolean): void {
  const step = size32 ? 4 : 2;
  const sp = stackPointer(c);
  const offset = peekBy(c, size32, sp);
  const selector = peekBy(c, size32, sp + step) & 0xffff;
  const flags = peekBy(c, size32, sp + 2 * step);
  checkRealTarget(c, offset);
  setRealCode(c, selector);
  c.set(L.EIP, offset);
  setStackPointer(c, sp + 3 * step);
  const mask = FLAGS_ANY | FLAG_IF | FLAG_IOPL | (size32 ? FLAG_RF | FLAG_AC | FLAG_ID : 0);
  mergeFlags(c, flags, mask);
  updateMode(c);
}

/** Inside virtual-8086 mode: IOPL 3, or (16-bit, with VME) VIF instead of IF. SDM 3A, 20.2.7 and 20.3.2. */
function iretV86(c: CpuState, size32: boolean): void {
  const vme = c.iopl < 3;
  if (vme && ((c.get(L.CR4) & CR4_VME) === 0 || size32)) c.raiseGp(0);
  const step = size32 ? 4 : 2;
  const sp = stackPointer(c);
  const offset = peekBy(c, size32, sp);
  const selector = peekBy(c, size32, sp + step) & 0xffff;
  const flags = peekBy(c, size32, sp + 2 * step);
  checkRealTarget(c, offset);
  if (vme && ((flags & FLAG_TF) !== 0 || ((flags & FLAG_IF) !== 0 && (c.get(L.EFL) & FLAG_VIP) !== 0))) {
    c.raiseGp(0);
  }
  setRealCode(c, selector);
  c.set(L.EIP, offset);
  setStackPointer(c, sp + 3 * step);
  if (vme) mergeFlags(c, (flags & 0xffff) | ((flags & FLAG_IF) !== 0 ? FLAG_VIF : 0), FLAGS_ANY | FLAG_VIF);
  else mergeFlags(c, flags, FLAGS_ANY | FLAG_IF | (size32 ? FLAG_RF | FLAG_AC | FLAG_ID : 0));
  updateMode(c);
}

/** EFLAGS bits that IRET and POPF may change at this privilege (POPF: without RF, VM, VIF and VIP). */
function iretMask(c: CpuState, size32: boolean): number {
  const cpl = c.get(L.CPL);
  let mask = FLAGS_ANY;
  if (size32) mask |= FLAG_RF | FLAG_AC | FLAG_ID;
  if (cpl <= c.iopl) mask |= FLAG_IF;
  if (cpl === 0) mask |= FLAG_IOPL | (size32 ? FLAG_VIF | FLAG_VIP : 0);
  return mask;
}

function iretProtected(c: CpuState, size32: boolean): void {
  const step = size32 ? 4 : 2;
  const sp = stackPointer(c);
  const offset = peekBy(c, size32, sp);
  const selector = peekBy(c, size32, sp + step) & 0xffff;
  const flags = peekBy(c, size32, sp + 2 * step);
  if (size32 && (flags & FLAG_VM) !== 0 && c.get(L.CPL) === 0) {
    iretToV86(c, offset, selector, flags, sp);
    return;
  }
  fetchReturnCode(c, selector, offset);
  const mask = iretMask(c, size32);
  if (code.cpl === c.get(L.CPL)) {
    setCode(c, selector, code.low, code.high, code.cpl);
    setStackPointer(c, sp + 3 * step);
  } else {
    const outerSp = peekBy(c, size32, sp + 3 * step);
    fetchOuterStack(c, peekBy(c, size32, sp + 4 * step) & 0xffff);
    commitOuter(c, selector, outerSp);
  }
  c.set(L.EIP, offset);
  mergeFlags(c, flags, mask);
  updateMode(c);
}

function iretToV86(c: CpuState, offset: number, selector: number, flags: number, sp: number): void {
  const esp = peekBy(c, true, sp + 12);
  const ss = peekBy(c, true, sp + 16) & 0xffff;
  const es = peekBy(c, true, sp + 20) & 0xffff;
  const ds = peekBy(c, true, sp + 24) & 0xffff;
  const fs = peekBy(c, true, sp + 28) & 0xffff;
  const gs = peekBy(c, true, sp + 32) & 0xffff;
  if (offset >>> 0 > 0xffff) c.raiseGp(0);
  mergeFlags(c, flags, iretMask(c, true) | FLAG_VM);
  setV86Segment(c, L.CS, selector);
  setV86Segment(c, L.SS, ss);
  setV86Segment(c, L.ES, es);
  setV86Segment(c, L.DS, ds);
  setV86Segment(c, L.FS, fs);
  setV86Segment(c, L.GS, gs);
  c.setReg32(4, esp);
  c.set(L.EIP, offset & 0xffff);
  c.set(L.CPL, 3);
  updateAll(c);
}
