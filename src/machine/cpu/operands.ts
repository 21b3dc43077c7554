/**
 * Operands of cold operations: what the decoded record of the current instruction says, with the segment and page checks
 * that hot code does inline. All of these may fault (see CpuState.raise).
 */
import { type CpuState, EXC_GP, EXC_SS } from './cpu-state.ts';
import * as L from './layout.ts';
import {
  checkAlignment,
  readLinear16,
  readLinear32,
  readLinear8,
  writeLinear16,
  writeLinear32,
  writeLinear8,
} from './linear.ts';
import { DESC_B, DESC_CODE, DESC_E, DESC_P, DESC_R, DESC_S, DESC_W } from './mode.ts';

/** 32 or 16. */
export function operandSize(c: CpuState): 16 | 32 {
  return (c.u8[c.rec + L.R_FLAGS]! & L.RF_OP32) !== 0 ? 32 : 16;
}
export function addressSize(c: CpuState): 16 | 32 {
  return (c.u8[c.rec + L.R_FLAGS]! & L.RF_ADDR32) !== 0 ? 32 : 16;
}
/** RF_REP, RF_REPNE or 0. */
export function repPrefix(c: CpuState): number {
  return c.u8[c.rec + L.R_FLAGS]! & (L.RF_REP | L.RF_REPNE);
}
/** The r/m operand is memory. */
export function rmIsMemory(c: CpuState): boolean {
  return (c.u8[c.rec + L.R_FLAGS]! & L.RF_MEM) !== 0;
}
/** Register number of the r/m operand (only if it is a register). */
export function rmRegister(c: CpuState): number {
  return c.u16[(c.rec + L.R_R1) >> 1]!;
}
/** The reg field of ModRM, 0–7 (or the register number in the opcode's low three bits). */
export function regField(c: CpuState): number {
  return c.u16[(c.rec + L.R_R2) >> 1]!;
}
/** Immediate, sign-extended to 32 bits where the encoding says so. */
export function immediate(c: CpuState): number {
  return c.i32[(c.rec + L.R_IMM) >> 2]!;
}
/** Selector of a far pointer immediate, second immediate of ENTER. */
export function immediate2(c: CpuState): number {
  return c.i32[(c.rec + L.R_DISP) >> 2]!;
}

/** Offset of the memory operand within its segment, address size applied. Unsigned. */
export function memoryOffset(c: CpuState): number {
  const rec = c.rec;
  const base = c.i32[c.u16[(rec + L.R_BASE) >> 1]! >> 2]!;
  const index = c.i32[c.u16[(rec + L.R_INDEX) >> 1]! >> 2]!;
  const sum = base + (index << c.u8[rec + L.R_SCALE]!) + c.i32[(rec + L.R_DISP) >> 2]!;
  return (c.u8[rec + L.R_FLAGS]! & L.RF_ADDR32) !== 0 ? sum >>> 0 : sum & 0xffff;
}
/** Segment (ES…GS) of the memory operand. */
export function memorySegment(c: CpuState): number {
  return (c.u16[(c.rec + L.R_SEG) >> 1]! - L.SEGS) / L.SEG_STRIDE;
}

/**
 * Segment check, exact: rights, limit, expand-down, wrap. Returns the linear address. SDM 3A 5.3, 5.5.
 * Faults: #SS(0) through SS, else #GP(0).
 */
export function segmentCheck(
  c: CpuState,
  seg: number,
  offset: number,
  bytes: number,
  write: boolean,
): number {
  const at = c.segAddress(seg);
  if (c.get(L.TLBBASE) === L.TLB_NONE) return segmentCheckAligned(c, seg, offset >>> 0, bytes, write);
  const span = c.get(at + (write ? L.SEG_WRITE_SPAN : L.SEG_READ_SPAN)) >>> 0;
  if ((offset - c.get(at + L.SEG_LO)) >>> 0 < span) return (c.get(at + L.SEG_BASE) + offset) | 0;
  return segmentCheckExact(c, seg, offset >>> 0, bytes, write);
}

function segmentCheckAligned(
  c: CpuState,
  seg: number,
  offset: number,
  bytes: number,
  write: boolean,
): number {
  const linear = segmentCheckExact(c, seg, offset, bytes, write);
  checkAlignment(c, linear, bytes);
  return linear;
}

function segmentCheckExact(c: CpuState, seg: number, offset: number, bytes: number, write: boolean): number {
  const at = c.segAddress(seg);
  const limit = c.get(at + L.SEG_LIMIT) >>> 0;
  const last = offset + bytes - 1;
  let ok = true;
  if (c.protectedMode && !c.v8086) {
    const flags = c.get(at + L.SEG_FLAGS);
    const code = (flags & DESC_CODE) !== 0;
    if ((flags & DESC_P) === 0 || (flags & DESC_S) === 0) ok = false;
    else if (code ? write || (flags & DESC_R) === 0 : write && (flags & DESC_W) === 0) ok = false;
    else if (!code && (flags & DESC_E) !== 0) {
      ok = offset > limit && last <= ((flags & DESC_B) !== 0 ? 0xffffffff : 0xffff);
    } else ok = last <= limit;
    // A 4 GiB segment lets an access wrap around at its end, as silicon does.
    if (!ok && limit === 0xffffffff && (flags & DESC_E) === 0 && last > limit) {
      ok =
        (flags & DESC_P) !== 0 &&
        (code ? !write && (flags & DESC_R) !== 0 : !write || (flags & DESC_W) !== 0);
    }
  } else {
    ok = last <= limit || limit === 0xffffffff;
  }
  if (!ok) c.raise(seg === L.SS ? EXC_SS : EXC_GP, 0);
  return (c.get(at + L.SEG_BASE) + offset) | 0;
}

function user(c: CpuState): number {
  return c.get(L.CPL) === 3 ? 1 : 0;
}

/** Reads through a segment with the current privilege. 8 and 16 bits unsigned, 32 signed. */
export function readSeg8(c: CpuState, seg: number, offset: number): number {
  return readLinear8(c, segmentCheck(c, seg, offset, 1, false), user(c));
}
export function readSeg16(c: CpuState, seg: number, offset: number): number {
  return readLinear16(c, segmentCheck(c, seg, offset, 2, false), user(c));
}
export function readSeg32(c: CpuState, seg: number, offset: number): number {
  return readLinear32(c, segmentCheck(c, seg, offset, 4, false), user(c));
}
export function writeSeg8(c: CpuState, seg: number, offset: number, value: number): void {
  writeLinear8(c, segmentCheck(c, seg, offset, 1, true), value, user(c));
}
export function writeSeg16(c: CpuState, seg: number, offset: number, value: number): void {
  writeLinear16(c, segmentCheck(c, seg, offset, 2, true), value, user(c));
}
export function writeSeg32(c: CpuState, seg: number, offset: number, value: number): void {
  writeLinear32(c, segmentCheck(c, seg, offset, 4, true), value, user(c));
}

export function readRm16(c: CpuState): number {
  return rmIsMemory(c) ? readSeg16(c, memorySegment(c), memoryOffset(c)) : c.reg16(rmRegister(c));
}
export function readRm32(c: CpuState): number {
  return rmIsMemory(c) ? readSeg32(c, memorySegment(c), memoryOffset(c)) : c.reg32(rmRegister(c));
}
/** By operand size; 16-bit values unsigned. */
export function readRm(c: CpuState): number {
  return operandSize(c) === 32 ? readRm32(c) : readRm16(c);
}
export function writeRm16(c: CpuState, value: number): void {
  if (rmIsMemory(c)) writeSeg16(c, memorySegment(c), memoryOffset(c), value);
  else c.setReg16(rmRegister(c), value);
}
export function writeRm32(c: CpuState, value: number): void {
  if (rmIsMemory(c)) writeSeg32(c, memorySegment(c), memoryOffset(c), value);
  else c.setReg32(rmRegister(c), value);
}

/** ESP or SP by the stack segment's size; unsigned. */
export function stackPointer(c: CpuState): number {
  return (c.reg32(4) & c.get(L.STACK_MASK)) >>> 0;
}
/** Sets ESP or only SP. */
export function setStackPointer(c: CpuState, value: number): void {
  const mask = c.get(L.STACK_MASK);
  c.setReg32(4, (c.reg32(4) & ~mask) | (value & mask));
}
