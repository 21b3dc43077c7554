/** INT n, INT3, INTO, INT1, BOUND, UD2. Intel SDM 2A, INT; virtual-8086 redirection: 3A 20.3. */
import {
  CR4_VME,
  type CpuState,
  EXC_BP,
  EXC_BR,
  EXC_DB,
  EXC_OF,
  EXC_PF,
  FAULT,
  JUMP,
  NEXT,
} from '../cpu-state.ts';
import { FLAG_AC, FLAG_IF, FLAG_IOPL, FLAG_OF, FLAG_RF, FLAG_TF, FLAG_VIF } from '../eflags.ts';
import * as L from '../layout.ts';
import { readLinear16, readLinear32, readLinear8 } from '../linear.ts';
import { updateMode } from '../mode.ts';
import {
  immediate,
  memoryOffset,
  memorySegment,
  operandSize,
  readSeg16,
  readSeg32,
  regField,
  rmIsMemory,
} from '../operands.ts';
import { interrupt } from './gates.ts';
import { setV86Segment } from './segment-load.ts';
import { beginFrame, commitFrame, push16 } from './stack.ts';

/** INT n. */
export function intN(c: CpuState): number {
  const vector = immediate(c) & 0xff;
  if (c.v8086) {
    if ((c.get(L.CR4) & CR4_VME) !== 0 && redirected(c, vector)) {
      redirect(c, vector);
      return JUMP;
    }
    if (c.iopl < 3) c.raiseGp(0);
  }
  interrupt(c, vector, true, -1, c.nextEip, 0);
  return JUMP;
}

/** The TSS's interrupt redirection bitmap (32 bytes below the I/O bitmap) sends `vector` to the guest's own table. */
function redirected(c: CpuState, vector: number): boolean {
  const base = c.segBase(L.TR);
  const limit = c.segLimit(L.TR) >>> 0;
  if (limit < 0x67) c.raiseGp(0);
  const at = readLinear16(c, (base + 0x66) | 0, 0) - 32 + (vector >> 3);
  if (at < 0 || at > limit) c.raiseGp(0);
  return ((readLinear8(c, (base + at) | 0, 0) >> (vector & 7)) & 1) === 0;
}

/** INT n served inside virtual-8086 mode, as real mode would; with IOPL < 3 VIF stands for IF. */
function redirect(c: CpuState, vector: number): void {
  const pointer = readLinear32(c, vector * 4, 1);
  let flags = c.eflags() & 0xffff;
  const virtual = c.iopl < 3;
  if (virtual) {
    const vif = (c.get(L.EFL) & FLAG_VIF) !== 0;
    flags = (flags & ~FLAG_IF) | FLAG_IOPL | (vif ? FLAG_IF : 0);
  }
  beginFrame(c);
  push16(c, flags);
  push16(c, c.selector(L.CS));
  push16(c, c.nextEip);
  commitFrame(c);
  setV86Segment(c, L.CS, pointer >>> 16);
  c.set(L.EIP, pointer & 0xffff);
  c.set(L.EFL, c.get(L.EFL) & ~(FLAG_TF | FLAG_RF | FLAG_AC | (virtual ? FLAG_VIF : FLAG_IF)));
  updateMode(c);
}

/** INT3 (CC): neither IOPL nor redirection counts. */
export function int3(c: CpuState): number {
  interrupt(c, EXC_BP, true, -1, c.nextEip, 0);
  return JUMP;
}

/** INT1 (F1): a #DB trap without a check of the gate's DPL; its own faults have EXT set. */
export function int1(c: CpuState): number {
  try {
    interrupt(c, EXC_DB, false, -1, c.nextEip, 0);
  } catch (thrown) {
    if (thrown === FAULT && c.faultVector !== EXC_PF && c.faultError >= 0) c.faultError |= 1;
    throw thrown;
  }
  return JUMP;
}

export function into(c: CpuState): number {
  if ((c.eflags() & FLAG_OF) === 0) return NEXT;
  interrupt(c, EXC_OF, true, -1, c.nextEip, 0);
  return JUMP;
}

/** BOUND r, m&m: signed; #BR is a fault. */
export function bound(c: CpuState): number {
  if (!rmIsMemory(c)) c.raiseUd();
  const seg = memorySegment(c);
  const at = memoryOffset(c);
  const address32 = (c.u8[c.rec + L.R_FLAGS]! & L.RF_ADDR32) !== 0;
  const step = operandSize(c) / 8;
  const upperAt = address32 ? (at + step) >>> 0 : (at + step) & 0xffff;
  let index: number;
  let lower: number;
  let upper: number;
  if (step === 4) {
    index = c.reg32(regField(c));
    lower = readSeg32(c, seg, at);
    upper = readSeg32(c, seg, upperAt);
  } else {
    index = (c.reg16(regField(c)) << 16) >> 16;
    lower = (readSeg16(c, seg, at) << 16) >> 16;
    upper = (readSeg16(c, seg, upperAt) << 16) >> 16;
  }
  if (index < lower || index > upper) c.raise(EXC_BR);
  return NEXT;
}

/** UD2, RSM outside system-management mode, undefined encodings. */
export function undefinedInstruction(c: CpuState): number {
  return c.raiseUd();
}
