/**
 * Hardware task switches: 16- and 32-bit TSS, by JMP, CALL, IRET and task gates. Intel SDM 3A, 7.3.
 * Up to the commit point everything faults in the old task; behind it in the new one, as on silicon.
 * After a switch to a 16-bit TSS the upper halves of the general registers are all ones (undefined; so on silicon and in test386).
 */
import { CR0_PG, CR0_TS, CR4_PAE, type CpuState, EXC_GP, EXC_NP, EXC_SS, EXC_TS } from '../cpu-state.ts';
import { FLAG_NT, FLAG_VM } from '../eflags.ts';
import * as L from '../layout.ts';
import {
  probeWrite,
  readLinear16,
  readLinear32,
  writeLinear16,
  writeLinear32,
  writeLinear8,
} from '../linear.ts';
import { DESC_C, DESC_CODE, DESC_P, DESC_R, DESC_S, DESC_W, flushTlb, updateAll } from '../mode.ts';
import { loadPdptes } from '../paging.ts';
import { DR6_BT, keepRf } from './debug.ts';
import {
  desc,
  descriptorBase,
  descriptorDpl,
  descriptorLimit,
  fetchOrRaise,
  isNull,
  markAccessed,
  selectorError,
  systemType,
  TYPE_LDT,
  TYPE_TSS16,
  TYPE_TSS32,
} from './descriptors.ts';
import { setFromDescriptor, setSegment, setV86Segment } from './segment-load.ts';

export const SWITCH_JUMP = 0;
export const SWITCH_CALL = 1;
export const SWITCH_IRET = 2;

/** Bit 1 of a TSS descriptor's type. */
const BUSY = 0x200;
/** Local breakpoint enables, which a task switch clears. */
const DR7_LOCAL = 0x155;

/** The new task's state: EAX … EDI, then ES CS SS DS FS GS LDT, CR3, EIP, EFLAGS, T bit. */
const image = new Int32Array(19);
const SEGMENTS = 8;
const LDT_FIELD = 14;
const CR3_FIELD = 15;
const EIP_FIELD = 16;
const EFLAGS_FIELD = 17;
const TRAP_FIELD = 18;

/**
 * Switches to the task of TSS `selector`; `returnEip` and `rf` go to the old task's image. `vector`: what a wrong TSS
 * selector raises (#GP, for IRET #TS). Ends with mode and EIP set.
 */
export function switchTask(
  c: CpuState,
  selector: number,
  source: number,
  returnEip: number,
  rf: number,
  vector: number,
): void {
  const wrong = selectorError(selector);
  if (isNull(selector) || (selector & 4) !== 0) c.raise(vector, wrong);
  fetchOrRaise(c, selector, vector);
  const low = desc.low;
  const high = desc.high;
  const address = desc.address;
  const type = systemType(high) & ~2;
  const busy = (high & BUSY) !== 0;
  if ((high & DESC_S) !== 0 || (type !== TYPE_TSS16 && type !== TYPE_TSS32)) c.raise(vector, wrong);
  if (busy !== (source === SWITCH_IRET)) c.raise(vector, wrong);
  if ((high & DESC_P) === 0) c.raise(EXC_NP, wrong);
  const size32 = type === TYPE_TSS32;
  if (descriptorLimit(low, high) >>> 0 < (size32 ? 0x67 : 0x2b)) c.raise(EXC_TS, wrong);

  const base = descriptorBase(low, high);
  readImage(c, base, size32);
  const oldBase = c.segBase(L.TR);
  const old32 = (c.segFlags(L.TR) & 0x800) !== 0;
  probeSave(c, oldBase, old32);
  if (source === SWITCH_CALL) probeWrite(c, base, 2, 0);
  if (source !== SWITCH_IRET) probeWrite(c, (address + 5) | 0, 1, 0);
  const oldDescriptor = (c.get(L.GDT_BASE) + (c.selector(L.TR) & 0xfff8)) | 0;
  if (source !== SWITCH_CALL) probeWrite(c, (oldDescriptor + 5) | 0, 1, 0);

  // The commit point.
  const flags = c.eflags() | rf;
  saveImage(c, oldBase, old32, returnEip, source === SWITCH_IRET ? flags & ~FLAG_NT : flags);
  // A task that returns to itself finds what was just saved.
  if (base === oldBase) readImage(c, base, size32);
  if (source !== SWITCH_CALL) clearBusy(c, oldDescriptor);
  else writeLinear16(c, base, c.selector(L.TR), 0);
  if (source !== SWITCH_IRET) writeLinear8(c, (address + 5) | 0, ((high | BUSY) >>> 8) & 0xff, 0);
  setFromDescriptor(c, L.TR, selector, low, high | BUSY);
  enterTask(c, size32, source);
}

function clearBusy(c: CpuState, descriptor: number): void {
  const high = readLinear32(c, (descriptor + 4) | 0, 0);
  writeLinear8(c, (descriptor + 5) | 0, ((high & ~BUSY) >>> 8) & 0xff, 0);
}

function readImage(c: CpuState, base: number, size32: boolean): void {
  if (size32) {
    for (let i = 0; i < 8; i++) image[i] = readLinear32(c, (base + 0x28 + i * 4) | 0, 0);
    for (let i = 0; i < 7; i++) image[SEGMENTS + i] = readLinear16(c, (base + 0x48 + i * 4) | 0, 0);
    image[CR3_FIELD] = readLinear32(c, (base + 0x1c) | 0, 0);
    image[EIP_FIELD] = readLinear32(c, (base + 0x20) | 0, 0);
    image[EFLAGS_FIELD] = readLinear32(c, (base + 0x24) | 0, 0);
    image[TRAP_FIELD] = readLinear16(c, (base + 0x64) | 0, 0) & 1;
    return;
  }
  for (let i = 0; i < 8; i++) image[i] = 0xffff0000 | readLinear16(c, (base + 0x12 + i * 2) | 0, 0);
  for (let i = 0; i < 4; i++) image[SEGMENTS + i] = readLinear16(c, (base + 0x22 + i * 2) | 0, 0);
  image[SEGMENTS + L.FS] = 0;
  image[SEGMENTS + L.GS] = 0;
  image[LDT_FIELD] = readLinear16(c, (base + 0x2a) | 0, 0);
  image[CR3_FIELD] = c.get(L.CR3);
  image[EIP_FIELD] = readLinear16(c, (base + 0x0e) | 0, 0);
  image[EFLAGS_FIELD] = readLinear16(c, (base + 0x10) | 0, 0);
  image[TRAP_FIELD] = 0;
}

/** The saved part of a TSS spans at most two pages: probing its ends is enough. */
function probeSave(c: CpuState, base: number, size32: boolean): void {
  probeWrite(c, (base + (size32 ? 0x20 : 0x0e)) | 0, 2, 0);
  probeWrite(c, (base + (size32 ? 0x5c : 0x28)) | 0, 2, 0);
}

function saveImage(c: CpuState, base: number, size32: boolean, eip: number, flags: number): void {
  if (size32) {
    writeLinear32(c, (base + 0x20) | 0, eip, 0);
    writeLinear32(c, (base + 0x24) | 0, flags, 0);
    for (let i = 0; i < 8; i++) writeLinear32(c, (base + 0x28 + i * 4) | 0, c.reg32(i), 0);
    for (let i = 0; i < 6; i++) writeLinear16(c, (base + 0x48 + i * 4) | 0, c.selector(i), 0);
    return;
  }
  writeLinear16(c, (base + 0x0e) | 0, eip & 0xffff, 0);
  writeLinear16(c, (base + 0x10) | 0, flags & 0xffff, 0);
  for (let i = 0; i < 8; i++) writeLinear16(c, (base + 0x12 + i * 2) | 0, c.reg16(i), 0);
  for (let i = 0; i < 4; i++) writeLinear16(c, (base + 0x22 + i * 2) | 0, c.selector(i), 0);
}

/** Takes on {@link image}. Faults belong to the new task: c.eip is its EIP. */
function enterTask(c: CpuState, size32: boolean, source: number): void {
  const cr3 = image[CR3_FIELD]!;
  const flags = image[EFLAGS_FIELD]! | (source === SWITCH_CALL ? FLAG_NT : 0);
  const v86 = size32 && (flags & FLAG_VM) !== 0;
  c.set(L.CR0, c.get(L.CR0) | CR0_TS);
  c.set(L.DR + 28, c.get(L.DR + 28) & ~DR7_LOCAL);
  for (let i = 0; i < 8; i++) c.setReg32(i, image[i]!);
  c.eip = image[EIP_FIELD]!;
  c.set(L.EIP, c.eip);
  c.setEflags(keepRf(c, flags & 0x3f7fd7));
  // Until SS is loaded a fault must find a stack: at CPL 3 its handler takes the one in the new TSS, as in Bochs.
  c.set(L.CPL, 3);
  for (let seg = L.ES; seg <= L.GS; seg++) setSegment(c, seg, image[SEGMENTS + seg]!, 0, 0, 0);
  setSegment(c, L.LDTR, image[LDT_FIELD]!, 0, 0, 0);
  updateAll(c);
  if (image[TRAP_FIELD] !== 0) {
    c.debugTraps |= DR6_BT;
    c.endSlice();
  }
  if (size32 && (c.get(L.CR0) & CR0_PG) !== 0 && cr3 !== c.get(L.CR3)) {
    if ((c.get(L.CR4) & CR4_PAE) !== 0) loadPdptes(c, cr3);
    c.set(L.CR3, cr3);
    flushTlb(c);
  }
  loadTaskLdt(c, image[LDT_FIELD]!);
  if (v86) {
    for (let seg = L.ES; seg <= L.GS; seg++) setV86Segment(c, seg, image[SEGMENTS + seg]!);
  } else {
    loadTaskSegments(c);
  }
  updateAll(c);
  if (c.eip >>> 0 > c.segLimit(L.CS) >>> 0) c.raise(EXC_GP, 0);
}

function loadTaskLdt(c: CpuState, selector: number): void {
  if (isNull(selector)) return;
  const wrong = selectorError(selector);
  if ((selector & 4) !== 0) c.raise(EXC_TS, wrong);
  fetchOrRaise(c, selector, EXC_TS);
  if ((desc.high & (DESC_S | DESC_P)) !== DESC_P || systemType(desc.high) !== TYPE_LDT)
    c.raise(EXC_TS, wrong);
  setFromDescriptor(c, L.LDTR, selector, desc.low, desc.high);
}

function loadTaskSegments(c: CpuState): void {
  const cs = image[SEGMENTS + L.CS]!;
  const ss = image[SEGMENTS + L.SS]!;
  // The stack comes first, as in Bochs: with it a wrong code segment can still be told to a handler.
  if (isNull(ss)) c.raise(EXC_TS, selectorError(ss));
  fetchOrRaise(c, ss, EXC_TS);
  checkTaskStack(c, ss, desc.high, cs & 3);
  setFromDescriptor(c, L.SS, ss, desc.low, markAccessed(c, desc.address, desc.high));
  c.set(L.CPL, cs & 3);
  loadTaskCode(c, cs);
  loadTaskData(c, L.DS, cs & 3);
  loadTaskData(c, L.ES, cs & 3);
  loadTaskData(c, L.FS, cs & 3);
  loadTaskData(c, L.GS, cs & 3);
}

/** Unlike elsewhere presence counts before privilege (SDM 3A, table 7-1). */
function checkTaskStack(c: CpuState, selector: number, high: number, cpl: number): void {
  const wrong = selectorError(selector);
  if ((high & (DESC_S | DESC_CODE | DESC_W)) !== (DESC_S | DESC_W)) c.raise(EXC_TS, wrong);
  if ((high & DESC_P) === 0) c.raise(EXC_SS, wrong);
  if (descriptorDpl(high) !== cpl || (selector & 3) !== cpl) c.raise(EXC_TS, wrong);
}

function loadTaskCode(c: CpuState, selector: number): void {
  const wrong = selectorError(selector);
  if (isNull(selector)) c.raise(EXC_TS, wrong);
  fetchOrRaise(c, selector, EXC_TS);
  const high = desc.high;
  const dpl = descriptorDpl(high);
  const rpl = selector & 3;
  if ((high & (DESC_S | DESC_CODE)) !== (DESC_S | DESC_CODE)) c.raise(EXC_TS, wrong);
  if ((high & DESC_C) !== 0 ? dpl > rpl : dpl !== rpl) c.raise(EXC_TS, wrong);
  if ((high & DESC_P) === 0) c.raise(EXC_NP, wrong);
  setFromDescriptor(c, L.CS, selector, desc.low, markAccessed(c, desc.address, high));
}

function loadTaskData(c: CpuState, seg: number, cpl: number): void {
  const selector = image[SEGMENTS + seg]!;
  if (isNull(selector)) return;
  const wrong = selectorError(selector);
  fetchOrRaise(c, selector, EXC_TS);
  const high = desc.high;
  const isCode = (high & DESC_CODE) !== 0;
  if ((high & DESC_S) === 0 || (isCode && (high & DESC_R) === 0)) c.raise(EXC_TS, wrong);
  if (!isCode || (high & DESC_C) === 0) {
    const dpl = descriptorDpl(high);
    if (dpl < cpl || dpl < (selector & 3)) c.raise(EXC_TS, wrong);
  }
  if ((high & DESC_P) === 0) c.raise(EXC_NP, wrong);
  setFromDescriptor(c, seg, selector, desc.low, markAccessed(c, desc.address, high));
}
