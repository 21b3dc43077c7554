/** MOV, PUSH and POP of segment registers, LDS and its kin. Intel SDM 2A and 2B. */
import { type CpuState, NEXT } from '../cpu-state.ts';
import * as L from '../layout.ts';
import {
  immediate,
  operandSize,
  readRm16,
  regField,
  rmIsMemory,
  rmRegister,
  stackPointer,
  writeRm16,
} from '../operands.ts';
import { INHIBIT_ALL, inhibit } from './attention.ts';
import { farOffset, farSelector } from './far-transfer.ts';
import { endSegmentLoad, loadSegment } from './segment-load.ts';
import { beginFrame, commitFrame, peek16, pushBy } from './stack.ts';

/** MOV Sreg, r/m16 (reg field: the segment). */
export function movToSreg(c: CpuState): number {
  const seg = regField(c);
  if (seg === L.CS || seg > L.GS) c.raiseUd();
  const selector = readRm16(c);
  const mode = c.get(L.MODE);
  loadSegment(c, seg, selector);
  if (seg === L.SS) inhibit(c, INHIBIT_ALL);
  return endSegmentLoad(c, mode);
}

/** MOV r/m16, Sreg; a 32-bit register is zero-extended. */
export function movFromSreg(c: CpuState): number {
  const seg = regField(c);
  if (seg > L.GS) c.raiseUd();
  const selector = c.selector(seg);
  if (!rmIsMemory(c) && operandSize(c) === 32) c.setReg32(rmRegister(c), selector);
  else writeRm16(c, selector);
  return NEXT;
}

/** PUSH Sreg (reg field: the segment); with operand size 32 the upper half is written as zero. */
export function pushSreg(c: CpuState): number {
  beginFrame(c);
  pushBy(c, operandSize(c) === 32, c.selector(regField(c)));
  commitFrame(c);
  return NEXT;
}

/** POP Sreg: only 16 bits are read. */
export function popSreg(c: CpuState): number {
  const seg = regField(c);
  const sp = stackPointer(c);
  const selector = peek16(c, sp);
  const mode = c.get(L.MODE);
  const mask = c.get(L.STACK_MASK);
  loadSegment(c, seg, selector);
  // POP SS counts on the stack it came from.
  const next = sp + (operandSize(c) === 32 ? 4 : 2);
  c.setReg32(4, (c.reg32(4) & ~mask) | (next & mask));
  if (seg === L.SS) inhibit(c, INHIBIT_ALL);
  return endSegmentLoad(c, mode);
}

/** LES, LDS, LSS, LFS, LGS (immediate: the segment; reg field: the destination). */
export function loadFarPtr(c: CpuState): number {
  if (!rmIsMemory(c)) c.raiseUd();
  const offset = farOffset(c);
  const selector = farSelector(c);
  const mode = c.get(L.MODE);
  loadSegment(c, immediate(c), selector);
  if (operandSize(c) === 32) c.setReg32(regField(c), offset);
  else c.setReg16(regField(c), offset);
  return endSegmentLoad(c, mode);
}
