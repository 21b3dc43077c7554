/**
 * Interrupts and exceptions: delivery through the real-mode vector table and through gates. Intel SDM 3A, chapter 6;
 * virtual-8086: 20.3. Which fault follows from two (double fault, shutdown) is in interrupts.ts.
 */
import { type CpuState, EXC_GP, EXC_NP } from '../cpu-state.ts';
import { FLAG_AC, FLAG_IF, FLAG_NT, FLAG_RF, FLAG_TF, FLAG_VM } from '../eflags.ts';
import * as L from '../layout.ts';
import { readLinear32 } from '../linear.ts';
import { DESC_C, DESC_CODE, DESC_P, DESC_S, updateMode } from '../mode.ts';
import {
  desc,
  descriptorDpl,
  descriptorLimit,
  fetchOrRaise,
  isNull,
  markAccessed,
  selectorError,
  systemType,
  TYPE_INTERRUPT16,
  TYPE_INTERRUPT32,
  TYPE_TASK_GATE,
  TYPE_TRAP16,
  TYPE_TRAP32,
} from './descriptors.ts';
import { setCode, setNullSegment, setRealSegment } from './segment-load.ts';
import {
  beginFrame,
  beginInnerFrame,
  commitFrame,
  commitInnerFrame,
  fetchInnerStack,
  push16,
  pushBy,
} from './stack.ts';
import { SWITCH_CALL, switchTask } from './task-switch.ts';

/**
 * One attempt to deliver `vector`. `soft`: INT n, INT3, INTO (the gate's DPL counts). `error` -1: no error code.
 * `rf`: FLAG_RF or 0, ored into the pushed EFLAGS. Faults leave the registers as they were, except behind the commit
 * point of a task switch.
 */
export function interrupt(
  c: CpuState,
  vector: number,
  soft: boolean,
  error: number,
  returnEip: number,
  rf: number,
): void {
  if (c.protectedMode) protectedInterrupt(c, vector, soft, error, returnEip, rf);
  else realInterrupt(c, vector, returnEip);
  c.halted = false;
  c.inhibitInterrupts = 0;
}

function realInterrupt(c: CpuState, vector: number, returnEip: number): void {
  const entry = vector * 4;
  if (entry + 3 > (c.get(L.IDT_LIMIT) & 0xffff)) c.raise(EXC_GP, vector * 8 + 2);
  const pointer = readLinear32(c, (c.get(L.IDT_BASE) + entry) | 0, 0);
  beginFrame(c);
  push16(c, c.eflags());
  push16(c, c.selector(L.CS));
  push16(c, returnEip);
  if ((pointer & 0xffff) > c.segLimit(L.CS) >>> 0) c.raise(EXC_GP, 0);
  commitFrame(c);
  setRealSegment(c, L.CS, pointer >>> 16);
  c.set(L.EIP, pointer & 0xffff);
  c.set(L.EFL, c.get(L.EFL) & ~(FLAG_IF | FLAG_TF | FLAG_AC | FLAG_RF));
}

function protectedInterrupt(
  c: CpuState,
  vector: number,
  soft: boolean,
  error: number,
  returnEip: number,
  rf: number,
): void {
  const entry = vector * 8;
  if (entry + 7 > (c.get(L.IDT_LIMIT) & 0xffff)) c.raise(EXC_GP, entry + 2);
  const address = (c.get(L.IDT_BASE) + entry) | 0;
  const low = readLinear32(c, address, 0);
  const high = readLinear32(c, (address + 4) | 0, 0);
  const type = systemType(high);
  const system = (high & DESC_S) === 0;
  const task = type === TYPE_TASK_GATE;
  const size32 = type === TYPE_INTERRUPT32 || type === TYPE_TRAP32;
  if (!system || !(task || size32 || type === TYPE_INTERRUPT16 || type === TYPE_TRAP16))
    c.raise(EXC_GP, entry + 2);
  if (soft && descriptorDpl(high) < c.get(L.CPL)) c.raise(EXC_GP, entry + 2);
  if ((high & DESC_P) === 0) c.raise(EXC_NP, entry + 2);
  if (task) {
    taskInterrupt(c, low >>> 16, error, returnEip, rf);
    return;
  }
  const offset = size32 ? (low & 0xffff) | (high & 0xffff0000) : low & 0xffff;
  throughGate(c, low >>> 16, offset, size32, error, returnEip, rf);
  const trap = type === TYPE_TRAP32 || type === TYPE_TRAP16;
  const clear = FLAG_TF | FLAG_NT | FLAG_RF | FLAG_VM | (trap ? 0 : FLAG_IF);
  c.set(L.EFL, c.get(L.EFL) & ~clear);
  updateMode(c);
}

function taskInterrupt(c: CpuState, selector: number, error: number, returnEip: number, rf: number): void {
  switchTask(c, selector, SWITCH_CALL, returnEip, rf, EXC_GP);
  if (error < 0) return;
  // The error code goes on the new task's stack, as wide as its TSS.
  beginFrame(c);
  pushBy(c, (c.segFlags(L.TR) & 0x800) !== 0, error);
  commitFrame(c);
}

function throughGate(
  c: CpuState,
  selector: number,
  offset: number,
  size32: boolean,
  error: number,
  returnEip: number,
  rf: number,
): void {
  if (isNull(selector)) c.raise(EXC_GP, 0);
  fetchOrRaise(c, selector, EXC_GP);
  const low = desc.low;
  const high = desc.high;
  const address = desc.address;
  const cpl = c.get(L.CPL);
  const dpl = descriptorDpl(high);
  const wrong = selectorError(selector);
  if ((high & (DESC_S | DESC_CODE)) !== (DESC_S | DESC_CODE) || dpl > cpl) c.raise(EXC_GP, wrong);
  if ((high & DESC_P) === 0) c.raise(EXC_NP, wrong);
  const v86 = c.v8086;
  const inward = (high & DESC_C) === 0 && dpl < cpl;
  if (v86 && (!inward || dpl !== 0)) c.raise(EXC_GP, wrong);
  const flags = c.eflags() | rf;
  if (inward) {
    fetchInnerStack(c, dpl);
    beginInnerFrame(dpl);
    if (v86) pushV86Segments(c, size32);
    pushBy(c, size32, c.selector(L.SS));
    pushBy(c, size32, c.reg32(4));
  } else beginFrame(c);
  pushBy(c, size32, flags);
  pushBy(c, size32, c.selector(L.CS));
  pushBy(c, size32, returnEip);
  if (error >= 0) pushBy(c, size32, error);
  if (offset >>> 0 > descriptorLimit(low, high) >>> 0) c.raise(EXC_GP, 0);
  const accessed = markAccessed(c, address, high);
  // Nothing faults from here on.
  if (v86) {
    c.set(L.EFL, c.get(L.EFL) & ~FLAG_VM);
    setNullSegment(c, L.GS, 0);
    setNullSegment(c, L.FS, 0);
    setNullSegment(c, L.DS, 0);
    setNullSegment(c, L.ES, 0);
  }
  setCode(c, selector, low, accessed, inward ? dpl : cpl);
  if (inward) commitInnerFrame(c);
  else commitFrame(c);
  c.set(L.EIP, offset);
}

function pushV86Segments(c: CpuState, size32: boolean): void {
  pushBy(c, size32, c.selector(L.GS));
  pushBy(c, size32, c.selector(L.FS));
  pushBy(c, size32, c.selector(L.DS));
  pushBy(c, size32, c.selector(L.ES));
}
