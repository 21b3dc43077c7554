/** PUSHA, POPA, ENTER. Intel SDM 2A and 2B. */
import { type CpuState, NEXT } from '../cpu-state.ts';
import * as L from '../layout.ts';
import { probeWrite } from '../linear.ts';
import {
  immediate,
  immediate2,
  operandSize,
  segmentCheck,
  setStackPointer,
  stackPointer,
} from '../operands.ts';
import { beginFrame, commitFrame, frame, peek16, peek32, peekBy, pushBy } from './stack.ts';

const EBP = 5;

export function pusha(c: CpuState): number {
  const size32 = operandSize(c) === 32;
  beginFrame(c);
  for (let r = 0; r < 8; r++) pushBy(c, size32, c.reg32(r));
  commitFrame(c);
  return NEXT;
}

const popped = new Int32Array(8);

/** POPA: the stack pointer's image is skipped. */
export function popa(c: CpuState): number {
  const size32 = operandSize(c) === 32;
  const step = size32 ? 4 : 2;
  const sp = stackPointer(c);
  for (let r = 7; r >= 0; r--) {
    if (r !== 4) popped[r] = peekBy(c, size32, sp + (7 - r) * step);
  }
  for (let r = 0; r < 8; r++) {
    if (r === 4) continue;
    if (size32) c.setReg32(r, popped[r]!);
    else c.setReg16(r, popped[r]!);
  }
  setStackPointer(c, sp + 8 * step);
  return NEXT;
}

/** ENTER imm16, imm8: the frame pointers of outer levels are copied; the new top must be writable. */
export function enter(c: CpuState): number {
  const size32 = operandSize(c) === 32;
  const step = size32 ? 4 : 2;
  const bytes = immediate(c) & 0xffff;
  const level = immediate2(c) & 31;
  beginFrame(c);
  pushBy(c, size32, c.reg32(EBP));
  // On a 16-bit stack the upper half of ESP goes along.
  const framePointer = (c.reg32(4) & ~frame.mask) | frame.sp;
  if (level > 0) {
    let bp = c.reg32(EBP);
    for (let i = 1; i < level; i++) {
      bp -= step;
      pushBy(c, size32, size32 ? peek32(c, bp) : peek16(c, bp));
    }
    pushBy(c, size32, framePointer);
  }
  frame.sp = ((frame.sp - bytes) & frame.mask) >>> 0;
  probeWrite(c, segmentCheck(c, L.SS, frame.sp, step, true), step, frame.user);
  commitFrame(c);
  if (size32) c.setReg32(EBP, framePointer);
  else c.setReg16(EBP, framePointer & 0xffff);
  return NEXT;
}
