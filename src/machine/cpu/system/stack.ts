/**
 * Stack frames that far transfers, interrupts and PUSHA build. A frame is written below the stack pointer and
 * committed at the end, so that a fault half-way leaves the registers as they were.
 */
import { type CpuState, EXC_SS, EXC_TS } from '../cpu-state.ts';
import * as L from '../layout.ts';
import { checkAlignment, readLinear16, readLinear32, writeLinear16, writeLinear32 } from '../linear.ts';
import { DESC_B, DESC_E } from '../mode.ts';
import { readSeg16, readSeg32 } from '../operands.ts';
import {
  desc,
  descriptorBase,
  descriptorLimit,
  fetchOrRaise,
  isNull,
  markAccessed,
  selectorError,
  TYPE_TSS32,
  TYPE_TSS32_BUSY,
} from './descriptors.ts';
import { checkStackDescriptor, setFromDescriptor } from './segment-load.ts';

/** The frame being built. `error`: error code of #SS; the stack segment's selector if it is not the current one. */
export const frame = { base: 0, limit: 0, flags: 0, mask: 0, sp: 0, user: 0, error: 0 };
/** A new stack segment, checked but not loaded. */
export const inner = { selector: 0, low: 0, high: 0, esp: 0 };

/** Starts a frame on the current stack. */
export function beginFrame(c: CpuState): void {
  frame.base = c.segBase(L.SS);
  frame.limit = c.segLimit(L.SS) >>> 0;
  frame.flags = c.protectedMode && !c.v8086 ? c.segFlags(L.SS) : 0;
  frame.mask = c.get(L.STACK_MASK);
  frame.sp = (c.reg32(4) & frame.mask) >>> 0;
  frame.user = c.get(L.CPL) === 3 ? 1 : 0;
  frame.error = 0;
}

/** Starts a frame on the stack in {@link inner}, for privilege `cpl`. */
export function beginInnerFrame(cpl: number): void {
  frame.base = descriptorBase(inner.low, inner.high);
  frame.limit = descriptorLimit(inner.low, inner.high) >>> 0;
  frame.flags = inner.high;
  frame.mask = (inner.high & DESC_B) !== 0 ? -1 : 0xffff;
  frame.sp = (inner.esp & frame.mask) >>> 0;
  frame.user = cpl === 3 ? 1 : 0;
  frame.error = selectorError(inner.selector);
}

function framePointer(c: CpuState, bytes: number): number {
  const sp = ((frame.sp - bytes) & frame.mask) >>> 0;
  const last = sp + bytes - 1;
  if ((frame.flags & DESC_E) !== 0) {
    if (sp <= frame.limit || last > ((frame.flags & DESC_B) !== 0 ? 0xffffffff : 0xffff)) {
      c.raise(EXC_SS, frame.error);
    }
  } else if (last > frame.limit && frame.limit !== 0xffffffff) c.raise(EXC_SS, frame.error);
  const linear = (frame.base + sp) | 0;
  if (frame.user !== 0) checkAlignment(c, linear, bytes);
  frame.sp = sp;
  return linear;
}

export function push16(c: CpuState, value: number): void {
  writeLinear16(c, framePointer(c, 2), value & 0xffff, frame.user);
}
export function push32(c: CpuState, value: number): void {
  writeLinear32(c, framePointer(c, 4), value, frame.user);
}
/** Pushes 16 or 32 bits. */
export function pushBy(c: CpuState, size32: boolean, value: number): void {
  if (size32) push32(c, value);
  else push16(c, value);
}

/** Makes the frame's end the stack pointer: ESP or only SP, by the frame's own stack size. */
export function commitFrame(c: CpuState): void {
  c.setReg32(4, (c.reg32(4) & ~frame.mask) | (frame.sp & frame.mask));
}
/** Loads SS from {@link inner} and the stack pointer from the frame. CPL must have been set. */
export function commitInnerFrame(c: CpuState): void {
  setFromDescriptor(c, L.SS, inner.selector, inner.low, inner.high);
  commitFrame(c);
}

/** Reads the stack at `sp` (wrapped to the stack's size) with the current privilege. */
export function peek16(c: CpuState, sp: number): number {
  return readSeg16(c, L.SS, (sp & c.get(L.STACK_MASK)) >>> 0);
}
export function peek32(c: CpuState, sp: number): number {
  return readSeg32(c, L.SS, (sp & c.get(L.STACK_MASK)) >>> 0);
}
/** 16-bit values unsigned, 32-bit ones signed. */
export function peekBy(c: CpuState, size32: boolean, sp: number): number {
  return size32 ? peek32(c, sp) : peek16(c, sp);
}

/**
 * Takes the stack for privilege `cpl` out of the current TSS, checks it and marks its descriptor accessed: {@link inner}.
 * SDM 3A, 7.2.1 and 6.12.1. Faults: #TS, #SS, #PF.
 */
export function fetchInnerStack(c: CpuState, cpl: number): void {
  const type = (c.segFlags(L.TR) >> 8) & 15;
  const base = c.segBase(L.TR);
  const limit = c.segLimit(L.TR) >>> 0;
  let selector: number;
  if (type === TYPE_TSS32 || type === TYPE_TSS32_BUSY) {
    const at = cpl * 8 + 4;
    if (at + 5 > limit) c.raise(EXC_TS, selectorError(c.selector(L.TR)));
    inner.esp = readLinear32(c, (base + at) | 0, 0);
    selector = readLinear16(c, (base + at + 4) | 0, 0);
  } else {
    const at = cpl * 4 + 2;
    if (at + 3 > limit) c.raise(EXC_TS, selectorError(c.selector(L.TR)));
    inner.esp = readLinear16(c, (base + at) | 0, 0);
    selector = readLinear16(c, (base + at + 2) | 0, 0);
  }
  if (isNull(selector)) c.raise(EXC_TS, 0);
  fetchStack(c, selector, cpl, EXC_TS);
}

/** Checks a stack selector for privilege `cpl` and fetches it into {@link inner} (not its stack pointer). */
export function fetchStack(c: CpuState, selector: number, cpl: number, vector: number): void {
  fetchOrRaise(c, selector, vector);
  checkStackDescriptor(c, selector, desc.high, cpl, vector);
  inner.selector = selector;
  inner.low = desc.low;
  inner.high = markAccessed(c, desc.address, desc.high);
}
