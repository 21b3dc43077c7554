/**
 * FXSAVE, FXRSTOR: the 512-byte image of x87, MMX and SSE state; LDMXCSR, STMXCSR. Intel SDM volume 1, 10.5; volume 2A, FXSAVE.
 * Without CR4.OSFXSR the XMM registers and MXCSR are neither saved nor restored (SDM leaves that open; a Pentium III does so).
 */
import { CR0_EM, CR0_TS, CR4_OSFXSR, type CpuState, EXC_NM, NEXT } from '../cpu-state.ts';
import * as L from '../layout.ts';
import { probeWrite, readLinear32, writeLinear32 } from '../linear.ts';
import { memoryOffset, memorySegment, readSeg32, rmIsMemory, writeSeg32 } from '../operands.ts';
import { FEATURE_FXSR, FEATURE_SSE, FEATURE_SSE2 } from '../system/cpu-models.ts';
import { checkRange } from './memory.ts';
import { setControlWord, setStatusWord, statusWord } from './stack.ts';

/** MXCSR bits that exist: DAZ (bit 6) came with SSE2. */
function mxcsrMask(c: CpuState): number {
  return (c.model.features & FEATURE_SSE2) !== 0 ? 0xffff : 0xffbf;
}

/** Words of the image: header 0–7, ST(i) at 8, XMM at 40. */
const WORDS = 72;
const image = new Int32Array(WORDS);

function prepare(c: CpuState, write: boolean): number {
  if (!rmIsMemory(c) || (c.model.features & FEATURE_FXSR) === 0) c.raiseUd();
  if ((c.get(L.CR0) & (CR0_EM | CR0_TS)) !== 0) c.raise(EXC_NM);
  const linear = checkRange(c, memorySegment(c), memoryOffset(c), 512, write);
  if ((linear & 15) !== 0) c.raiseGp(0);
  return linear;
}
function sseState(c: CpuState): boolean {
  return (c.get(L.CR4) & CR4_OSFXSR) !== 0 && (c.model.features & FEATURE_SSE) !== 0;
}
function user(c: CpuState): number {
  return c.get(L.CPL) === 3 ? 1 : 0;
}

export function fxsave(c: CpuState): number {
  const linear = prepare(c, true);
  const u = user(c);
  probeWrite(c, linear, 1, u);
  probeWrite(c, (linear + 511) | 0, 1, u);
  const top = c.get(L.FPU_TOP);
  image[0] = c.get(L.FPU_CW) | (statusWord(c) << 16);
  // Abridged tags: 1 is in use.
  image[1] = (~c.get(L.FPU_TAGS) & 0xff) | ((c.get(L.FPU_OPCODE) & 0x7ff) << 16);
  image[2] = c.get(L.FPU_IP);
  image[3] = c.get(L.FPU_CS) & 0xffff;
  image[4] = c.get(L.FPU_DP);
  image[5] = c.get(L.FPU_DS) & 0xffff;
  for (let i = 0; i < 8; i++) {
    const at = (L.FPU_REGS >> 2) + ((top + i) & 7) * 4;
    image[8 + i * 4] = c.i32[at]!;
    image[9 + i * 4] = c.i32[at + 1]!;
    image[10 + i * 4] = c.i32[at + 2]! & 0xffff;
    image[11 + i * 4] = 0;
  }
  let words = 40;
  const sse = sseState(c);
  if (sse) {
    image[6] = c.get(L.MXCSR);
    image[7] = mxcsrMask(c);
    for (let i = 0; i < 32; i++) image[40 + i] = c.i32[(L.XMM >> 2) + i]!;
    words = WORDS;
  }
  for (let i = 0; i < words; i++) {
    if (sse || (i !== 6 && i !== 7)) writeLinear32(c, (linear + i * 4) | 0, image[i]!, u);
  }
  return NEXT;
}

export function fxrstor(c: CpuState): number {
  const linear = prepare(c, false);
  const u = user(c);
  for (let i = 0; i < WORDS; i++) image[i] = readLinear32(c, (linear + i * 4) | 0, u);
  const sse = sseState(c);
  if (sse && (image[6]! & ~mxcsrMask(c)) !== 0) c.raiseGp(0);
  setControlWord(c, image[0]! & 0xffff);
  setStatusWord(c, image[0]! >>> 16);
  c.set(L.FPU_TAGS, ~image[1]! & 0xff);
  c.set(L.FPU_OPCODE, (image[1]! >>> 16) & 0x7ff);
  c.set(L.FPU_IP, image[2]!);
  c.set(L.FPU_CS, image[3]! & 0xffff);
  c.set(L.FPU_DP, image[4]!);
  c.set(L.FPU_DS, image[5]! & 0xffff);
  const top = c.get(L.FPU_TOP);
  for (let i = 0; i < 8; i++) {
    const at = (L.FPU_REGS >> 2) + ((top + i) & 7) * 4;
    c.i32[at] = image[8 + i * 4]!;
    c.i32[at + 1] = image[9 + i * 4]!;
    c.i32[at + 2] = image[10 + i * 4]! & 0xffff;
  }
  if (sse) {
    c.set(L.MXCSR, image[6]!);
    for (let i = 0; i < 32; i++) c.i32[(L.XMM >> 2) + i] = image[40 + i]!;
  }
  return NEXT;
}

/** What every SSE instruction checks first. SDM 3A, 13.1. */
export function checkSse(c: CpuState): void {
  if ((c.get(L.CR0) & CR0_EM) !== 0 || !sseState(c)) c.raiseUd();
  if ((c.get(L.CR0) & CR0_TS) !== 0) c.raise(EXC_NM);
}

export function ldmxcsr(c: CpuState): number {
  if (!rmIsMemory(c)) c.raiseUd();
  checkSse(c);
  const value = readSeg32(c, memorySegment(c), memoryOffset(c));
  if ((value & ~mxcsrMask(c)) !== 0) c.raiseGp(0);
  c.set(L.MXCSR, value);
  return NEXT;
}
export function stmxcsr(c: CpuState): number {
  if (!rmIsMemory(c)) c.raiseUd();
  checkSse(c);
  writeSeg32(c, memorySegment(c), memoryOffset(c), c.get(L.MXCSR));
  return NEXT;
}
