/**
 * Loading segment registers: real mode, virtual-8086 and protected mode. Intel SDM volume 2A, MOV; volume 3A, 5.
 * The checks of the far transfers and of task switches, which differ, are in their own files.
 */
import { type CpuState, EXC_GP, EXC_NP, EXC_SS, JUMP, NEXT } from '../cpu-state.ts';
import * as L from '../layout.ts';
import { DESC_C, DESC_CODE, DESC_P, DESC_R, DESC_S, DESC_W, updateMode, updateSegment } from '../mode.ts';
import {
  desc,
  descriptorBase,
  descriptorDpl,
  descriptorLimit,
  fetchOrRaise,
  isNull,
  markAccessed,
  selectorError,
} from './descriptors.ts';

/** Rights of every segment in virtual-8086 mode: present, DPL 3, writable data, accessed. */
const V86_FLAGS = 0xf300;

/** Writes a segment cache. Does not update the mode. */
export function setSegment(
  c: CpuState,
  seg: number,
  selector: number,
  base: number,
  limit: number,
  flags: number,
): void {
  const at = c.segAddress(seg);
  c.set(at + L.SEG_SELECTOR, selector);
  c.set(at + L.SEG_BASE, base);
  c.set(at + L.SEG_LIMIT, limit);
  c.set(at + L.SEG_FLAGS, flags);
  if (seg <= L.GS) updateSegment(c, seg);
}

export function setFromDescriptor(
  c: CpuState,
  seg: number,
  selector: number,
  low: number,
  high: number,
): void {
  setSegment(c, seg, selector, descriptorBase(low, high), descriptorLimit(low, high), high);
}

/** A null selector: not present, so that every access faults. */
export function setNullSegment(c: CpuState, seg: number, selector: number): void {
  setSegment(c, seg, selector, 0, 0, 0);
}

/** Real mode changes selector and base only: limit and rights stay ("unreal mode" relies on it). */
export function setRealSegment(c: CpuState, seg: number, selector: number): void {
  const at = c.segAddress(seg);
  c.set(at + L.SEG_SELECTOR, selector);
  c.set(at + L.SEG_BASE, selector << 4);
}

export function setV86Segment(c: CpuState, seg: number, selector: number): void {
  setSegment(c, seg, selector, selector << 4, 0xffff, V86_FLAGS);
}

/** Loads CS (already checked) and sets CPL; the selector's RPL becomes CPL. */
export function setCode(c: CpuState, selector: number, low: number, high: number, cpl: number): void {
  setFromDescriptor(c, L.CS, (selector & 0xfffc) | cpl, low, high);
  c.set(L.CPL, cpl);
}

/**
 * Loads ES, SS, DS, FS or GS by the rules of the current mode, as MOV and POP do. Updates the mode.
 * Faults: #GP, #NP, #SS with the selector; #PF.
 */
export function loadSegment(c: CpuState, seg: number, selector: number): void {
  if (!c.protectedMode) setRealSegment(c, seg, selector);
  else if (c.v8086) setV86Segment(c, seg, selector);
  else {
    if (seg === L.SS) loadStackSegment(c, selector);
    else if (!loadDataSegment(c, seg, selector)) return;
    if (seg <= L.DS) updateMode(c);
  }
}

/** Whether the segment is another one now: system calls load what is there already. */
function loadDataSegment(c: CpuState, seg: number, selector: number): boolean {
  if (isNull(selector)) {
    if (c.selector(seg) === selector && c.segFlags(seg) === 0) return false;
    setNullSegment(c, seg, selector);
    return true;
  }
  fetchOrRaise(c, selector, EXC_GP);
  const high = desc.high;
  if ((high & DESC_S) === 0) c.raise(EXC_GP, selectorError(selector));
  if ((high & DESC_CODE) !== 0 && (high & DESC_R) === 0) c.raise(EXC_GP, selectorError(selector));
  if ((high & (DESC_CODE | DESC_C)) !== (DESC_CODE | DESC_C)) {
    const dpl = descriptorDpl(high);
    if (dpl < (selector & 3) || dpl < c.get(L.CPL)) c.raise(EXC_GP, selectorError(selector));
  }
  if ((high & DESC_P) === 0) c.raise(EXC_NP, selectorError(selector));
  const low = desc.low;
  const accessed = markAccessed(c, desc.address, high);
  if (
    c.selector(seg) === selector &&
    c.segFlags(seg) === accessed &&
    c.segBase(seg) === descriptorBase(low, accessed) &&
    c.segLimit(seg) === descriptorLimit(low, accessed)
  ) {
    return false;
  }
  setFromDescriptor(c, seg, selector, low, accessed);
  return true;
}

function loadStackSegment(c: CpuState, selector: number): void {
  const cpl = c.get(L.CPL);
  if (isNull(selector)) c.raise(EXC_GP, 0);
  fetchOrRaise(c, selector, EXC_GP);
  checkStackDescriptor(c, selector, desc.high, cpl, EXC_GP);
  setFromDescriptor(c, L.SS, selector, desc.low, markAccessed(c, desc.address, desc.high));
}

/** A stack segment for privilege `cpl`: writable data, RPL = DPL = cpl (else `vector`), present (else #SS). */
export function checkStackDescriptor(
  c: CpuState,
  selector: number,
  high: number,
  cpl: number,
  vector: number,
): void {
  if (
    (high & (DESC_S | DESC_CODE | DESC_W)) !== (DESC_S | DESC_W) ||
    (selector & 3) !== cpl ||
    descriptorDpl(high) !== cpl
  ) {
    c.raise(vector, selectorError(selector));
  }
  if ((high & DESC_P) === 0) c.raise(EXC_SS, selectorError(selector));
}

/** After a return to an outer level: data segments that it may not use become null. SDM 2A, RET. */
export function dropInnerSegments(c: CpuState, cpl: number): void {
  dropInnerSegment(c, L.ES, cpl);
  dropInnerSegment(c, L.DS, cpl);
  dropInnerSegment(c, L.FS, cpl);
  dropInnerSegment(c, L.GS, cpl);
}
function dropInnerSegment(c: CpuState, seg: number, cpl: number): void {
  const flags = c.segFlags(seg);
  if ((flags & (DESC_CODE | DESC_C)) === (DESC_CODE | DESC_C)) return;
  if (descriptorDpl(flags) < cpl && c.selector(seg) !== 0) setNullSegment(c, seg, 0);
}

/** End of an operation that loaded segments: generated code goes on only if the code mode is still the same. */
export function endSegmentLoad(c: CpuState, oldMode: number): number {
  if (c.get(L.MODE) === oldMode) return NEXT;
  c.set(L.EIP, c.nextEip);
  return JUMP;
}
