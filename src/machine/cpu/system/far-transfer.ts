/**
 * Far JMP, CALL and RET, call gates included. Intel SDM 2A (JMP, CALL), 2B (RET), 3A 5.8. IRET is in iret.ts.
 */
import { type CpuState, EXC_GP, EXC_NP, JUMP } from '../cpu-state.ts';
import * as L from '../layout.ts';
import { readLinear16, readLinear32 } from '../linear.ts';
import { DESC_C, DESC_CODE, DESC_P, DESC_S, updateMode } from '../mode.ts';
import {
  immediate,
  immediate2,
  memoryOffset,
  memorySegment,
  operandSize,
  readSeg16,
  readSeg32,
  segmentCheck,
  stackPointer,
} from '../operands.ts';
import {
  desc,
  descriptorDpl,
  descriptorLimit,
  fetchOrRaise,
  isNull,
  markAccessed,
  selectorError,
  systemType,
  TYPE_CALL16,
  TYPE_CALL32,
  TYPE_TASK_GATE,
  TYPE_TSS16,
  TYPE_TSS32,
} from './descriptors.ts';
import { setCode, setRealSegment, setV86Segment } from './segment-load.ts';
import {
  beginFrame,
  beginInnerFrame,
  commitFrame,
  commitInnerFrame,
  fetchInnerStack,
  pushBy,
} from './stack.ts';
import { SWITCH_CALL, SWITCH_JUMP, switchTask } from './task-switch.ts';

/** JMP ptr16:16/32. */
export function jmpFarImm(c: CpuState): number {
  return farJump(c, immediate2(c) & 0xffff, immediate(c));
}
/** JMP m16:16/32. */
export function jmpFarMem(c: CpuState): number {
  const offset = farOffset(c);
  return farJump(c, farSelector(c), offset);
}
/** CALL ptr16:16/32. */
export function callFarImm(c: CpuState): number {
  return farCall(c, immediate2(c) & 0xffff, immediate(c));
}
/** CALL m16:16/32. */
export function callFarMem(c: CpuState): number {
  const offset = farOffset(c);
  return farCall(c, farSelector(c), offset);
}

/** Offset of the far pointer in memory. */
export function farOffset(c: CpuState): number {
  const seg = memorySegment(c);
  const at = memoryOffset(c);
  return operandSize(c) === 32 ? readSeg32(c, seg, at) : readSeg16(c, seg, at);
}
/** Selector of the far pointer in memory, behind its offset. */
export function farSelector(c: CpuState): number {
  const at = memoryOffset(c) + operandSize(c) / 8;
  return readSeg16(
    c,
    memorySegment(c),
    (c.u8[c.rec + L.R_FLAGS]! & L.RF_ADDR32) !== 0 ? at >>> 0 : at & 0xffff,
  );
}

function farJump(c: CpuState, selector: number, target: number): number {
  const offset = operandSize(c) === 32 ? target : target & 0xffff;
  if (!c.protectedMode || c.v8086) return realJump(c, selector, offset);
  if (isNull(selector)) c.raise(EXC_GP, 0);
  fetchOrRaise(c, selector, EXC_GP);
  if ((desc.high & DESC_S) !== 0) {
    const cpl = c.get(L.CPL);
    checkDirectCode(c, selector, desc.high, cpl);
    enterCode(c, selector, offset, cpl);
    return JUMP;
  }
  const type = checkedGate(c, selector);
  if (type === TYPE_CALL16 || type === TYPE_CALL32) {
    const gateOffset = fetchGateTarget(c, type === TYPE_CALL32);
    const cpl = c.get(L.CPL);
    checkDirectCode(c, gate.selector & 0xfffc, desc.high, cpl);
    enterCode(c, gate.selector, gateOffset, cpl);
  } else {
    const tss = type === TYPE_TASK_GATE ? desc.low >>> 16 : selector;
    switchTask(c, tss, SWITCH_JUMP, c.nextEip, 0, EXC_GP);
  }
  return JUMP;
}

function realJump(c: CpuState, selector: number, offset: number): number {
  checkRealTarget(c, offset);
  setRealCode(c, selector);
  c.set(L.EIP, offset);
  return JUMP;
}
/** Real and virtual-8086 mode: the offset against the limit that CS will have. */
export function checkRealTarget(c: CpuState, offset: number): void {
  const limit = c.v8086 ? 0xffff : c.segLimit(L.CS) >>> 0;
  if (offset >>> 0 > limit) c.raise(EXC_GP, 0);
}
export function setRealCode(c: CpuState, selector: number): void {
  if (c.v8086) setV86Segment(c, L.CS, selector);
  else setRealSegment(c, L.CS, selector);
}

/** A code segment reached without a change of privilege: JMP, or CALL to a segment. */
function checkDirectCode(c: CpuState, selector: number, high: number, cpl: number): void {
  const wrong = selectorError(selector);
  if ((high & (DESC_S | DESC_CODE)) !== (DESC_S | DESC_CODE)) c.raise(EXC_GP, wrong);
  const dpl = descriptorDpl(high);
  if ((high & DESC_C) !== 0 ? dpl > cpl : dpl !== cpl || (selector & 3) > cpl) c.raise(EXC_GP, wrong);
  if ((high & DESC_P) === 0) c.raise(EXC_NP, wrong);
}

/** Loads the code segment in {@link desc} after the check of the offset. */
function enterCode(c: CpuState, selector: number, offset: number, cpl: number): void {
  if (offset >>> 0 > descriptorLimit(desc.low, desc.high) >>> 0) c.raise(EXC_GP, 0);
  const high = markAccessed(c, desc.address, desc.high);
  setCode(c, selector, desc.low, high, cpl);
  c.set(L.EIP, offset);
  updateMode(c);
}

/** Type of the gate or TSS in {@link desc}, after the checks that JMP and CALL share. */
function checkedGate(c: CpuState, selector: number): number {
  const type = systemType(desc.high);
  const wrong = selectorError(selector);
  if (
    type !== TYPE_CALL16 &&
    type !== TYPE_CALL32 &&
    type !== TYPE_TASK_GATE &&
    type !== TYPE_TSS16 &&
    type !== TYPE_TSS32
  ) {
    c.raise(EXC_GP, wrong);
  }
  const dpl = descriptorDpl(desc.high);
  if (dpl < c.get(L.CPL) || dpl < (selector & 3)) c.raise(EXC_GP, wrong);
  if ((desc.high & DESC_P) === 0) c.raise(EXC_NP, wrong);
  return type;
}

/** The call gate gone through: its code selector and number of parameters. */
const gate = { selector: 0, count: 0 };

/** Takes selector, offset and count out of the gate in {@link desc} and fetches the code descriptor it names. */
function fetchGateTarget(c: CpuState, size32: boolean): number {
  const offset = size32 ? (desc.low & 0xffff) | (desc.high & 0xffff0000) : desc.low & 0xffff;
  gate.selector = desc.low >>> 16;
  gate.count = desc.high & 31;
  if (isNull(gate.selector)) c.raise(EXC_GP, 0);
  fetchOrRaise(c, gate.selector, EXC_GP);
  return offset;
}

function farCall(c: CpuState, selector: number, target: number): number {
  const size32 = operandSize(c) === 32;
  const offset = size32 ? target : target & 0xffff;
  if (!c.protectedMode || c.v8086) {
    checkRealTarget(c, offset);
    pushReturn(c, size32);
    commitFrame(c);
    setRealCode(c, selector);
    c.set(L.EIP, offset);
    return JUMP;
  }
  if (isNull(selector)) c.raise(EXC_GP, 0);
  fetchOrRaise(c, selector, EXC_GP);
  if ((desc.high & DESC_S) !== 0) {
    const cpl = c.get(L.CPL);
    checkDirectCode(c, selector, desc.high, cpl);
    pushReturn(c, size32);
    enterCode(c, selector, offset, cpl);
    commitFrame(c);
    return JUMP;
  }
  const type = checkedGate(c, selector);
  if (type === TYPE_CALL16 || type === TYPE_CALL32) callGate(c, type === TYPE_CALL32);
  else {
    const tss = type === TYPE_TASK_GATE ? desc.low >>> 16 : selector;
    switchTask(c, tss, SWITCH_CALL, c.nextEip, 0, EXC_GP);
  }
  return JUMP;
}

function pushReturn(c: CpuState, size32: boolean): void {
  beginFrame(c);
  pushBy(c, size32, c.selector(L.CS));
  pushBy(c, size32, c.nextEip);
}

function callGate(c: CpuState, size32: boolean): void {
  const offset = fetchGateTarget(c, size32);
  const cpl = c.get(L.CPL);
  const low = desc.low;
  const high = desc.high;
  const address = desc.address;
  const wrong = selectorError(gate.selector);
  const dpl = descriptorDpl(high);
  if ((high & (DESC_S | DESC_CODE)) !== (DESC_S | DESC_CODE) || dpl > cpl) c.raise(EXC_GP, wrong);
  if ((high & DESC_P) === 0) c.raise(EXC_NP, wrong);
  if ((high & DESC_C) !== 0 || dpl === cpl) {
    pushReturn(c, size32);
    enterCode(c, gate.selector, offset, cpl);
    commitFrame(c);
    return;
  }
  fetchInnerStack(c, dpl);
  beginInnerFrame(dpl);
  pushBy(c, size32, c.selector(L.SS));
  pushBy(c, size32, c.reg32(4));
  copyParameters(c, size32);
  pushBy(c, size32, c.selector(L.CS));
  pushBy(c, size32, c.nextEip);
  if (offset >>> 0 > descriptorLimit(low, high) >>> 0) c.raise(EXC_GP, 0);
  const accessed = markAccessed(c, address, high);
  setCode(c, gate.selector, low, accessed, dpl);
  commitInnerFrame(c);
  c.set(L.EIP, offset);
  updateMode(c);
}

function copyParameters(c: CpuState, size32: boolean): void {
  const size = size32 ? 4 : 2;
  const mask = c.get(L.STACK_MASK);
  const sp = stackPointer(c);
  const user = c.get(L.CPL) === 3 ? 1 : 0;
  for (let i = gate.count - 1; i >= 0; i--) {
    const linear = segmentCheck(c, L.SS, ((sp + i * size) & mask) >>> 0, size, false);
    pushBy(c, size32, size32 ? readLinear32(c, linear, user) : readLinear16(c, linear, user));
  }
}
