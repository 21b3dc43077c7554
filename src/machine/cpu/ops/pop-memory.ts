/** POP r/m: the address of a memory operand through ESP is computed with the stack pointer after the pop. */
import { type CpuState, NEXT } from '../cpu-state.ts';
import * as L from '../layout.ts';
import {
  memoryOffset,
  memorySegment,
  operandSize,
  readSeg16,
  readSeg32,
  rmIsMemory,
  rmRegister,
  setStackPointer,
  stackPointer,
  writeSeg16,
  writeSeg32,
} from '../operands.ts';

export function popRm(c: CpuState): number {
  const wide = operandSize(c) === 32;
  const sp = stackPointer(c);
  const value = wide ? readSeg32(c, L.SS, sp) : readSeg16(c, L.SS, sp);
  const old = c.reg32(4);
  setStackPointer(c, sp + (wide ? 4 : 2));
  if (!rmIsMemory(c)) {
    if (wide) c.setReg32(rmRegister(c), value);
    else c.setReg16(rmRegister(c), value);
    return NEXT;
  }
  const popped = c.reg32(4);
  const offset = memoryOffset(c);
  // The write may fault: ESP is put back first, so that the instruction can be started again.
  c.setReg32(4, old);
  if (wide) writeSeg32(c, memorySegment(c), offset, value);
  else writeSeg16(c, memorySegment(c), offset, value);
  c.setReg32(4, popped);
  return NEXT;
}
