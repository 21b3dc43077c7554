/**
 * What MMX and SSE instructions share: when they may run, and their operands. An operation works on two 16-byte buffers,
 * `d` (destination, first operand) and `s` (source), seen as lanes of several sizes; 8-byte operands use the lower half.
 * Everything that can fault comes before the first change of state.
 */
import { CR0_EM, CR0_TS, CR4_OSFXSR, type CpuState, EXC_NM, JUMP, NEXT } from '../cpu-state.ts';
import { pendingException } from '../fpu/stack.ts';
import * as L from '../layout.ts';
import { probeWrite, readLinear16, readLinear32, writeLinear32 } from '../linear.ts';
import { memoryOffset, memorySegment, regField, rmIsMemory, rmRegister, segmentCheck } from '../operands.ts';
import { FEATURE_MMX, FEATURE_SSE } from '../system/cpu-models.ts';

export type Operation = (c: CpuState) => number;

const dBytes = new ArrayBuffer(16);
const sBytes = new ArrayBuffer(16);

export const d8 = new Uint8Array(dBytes);
export const d8s = new Int8Array(dBytes);
export const d16 = new Int16Array(dBytes);
export const d16u = new Uint16Array(dBytes);
export const d32 = new Int32Array(dBytes);
export const d64 = new Float64Array(dBytes);
export const s8 = new Uint8Array(sBytes);
export const s8s = new Int8Array(sBytes);
export const s16 = new Int16Array(sBytes);
export const s16u = new Uint16Array(sBytes);
export const s32 = new Int32Array(sBytes);
export const s64 = new Float64Array(sBytes);

function user(c: CpuState): number {
  return c.get(L.CPL) === 3 ? 1 : 0;
}

/** #UD and #NM for MMX. SDM 3A, 12.1. `feature`: the CPUID bit that brought the instruction. */
export function checkMmx(c: CpuState, feature: number): void {
  if ((c.get(L.CR0) & CR0_EM) !== 0 || (c.model.features & feature) === 0) c.raiseUd();
  if ((c.get(L.CR0) & CR0_TS) !== 0) c.raise(EXC_NM);
}

/** #UD and #NM for SSE. SDM 3A, 13.1. */
export function checkXmm(c: CpuState, feature: number): void {
  if ((c.get(L.CR0) & CR0_EM) !== 0 || (c.get(L.CR4) & CR4_OSFXSR) === 0) c.raiseUd();
  if ((c.model.features & feature) === 0) c.raiseUd();
  if ((c.get(L.CR0) & CR0_TS) !== 0) c.raise(EXC_NM);
}

/** A pending x87 exception comes first (CR0.NE clear: after its interrupt this instruction is tried again). */
export function restart(c: CpuState): number {
  c.set(L.EIP, c.eip);
  return JUMP;
}

/** From x87 to MMX: TOP 0, all registers in use. */
export function enterMmx(c: CpuState): void {
  c.set(L.FPU_TOP, 0);
  c.set(L.FPU_TAGS, 0);
}

export function loadMmx(c: CpuState, r: number, to: Int32Array): void {
  const at = (L.FPU_REGS >> 2) + r * 4;
  to[0] = c.i32[at]!;
  to[1] = c.i32[at + 1]!;
}
/** Sign and exponent of the x87 register become ones. */
export function storeMmx(c: CpuState, r: number, from: Int32Array): void {
  const at = (L.FPU_REGS >> 2) + r * 4;
  c.i32[at] = from[0]!;
  c.i32[at + 1] = from[1]!;
  c.i32[at + 2] = 0xffff;
}
export function loadXmm(c: CpuState, r: number, to: Int32Array): void {
  const at = (L.XMM >> 2) + r * 4;
  for (let i = 0; i < 4; i++) to[i] = c.i32[at + i]!;
}
/** Writes the first `words` words; the others stay. */
export function storeXmm(c: CpuState, r: number, from: Int32Array, words = 4): void {
  const at = (L.XMM >> 2) + r * 4;
  for (let i = 0; i < words; i++) c.i32[at + i] = from[i]!;
}

/** Linear address of the memory operand; `aligned`: #GP(0) unless it is a multiple of its size (16 bytes). */
export function operandAddress(c: CpuState, bytes: number, write: boolean, aligned: boolean): number {
  const linear = segmentCheck(c, memorySegment(c), memoryOffset(c), bytes, write);
  if (aligned && (linear & 15) !== 0) c.raiseGp(0);
  return linear;
}

/** Reads 2, 4, 8 or 16 bytes of memory into words of `to`. */
export function readMemory(c: CpuState, to: Int32Array, bytes: number, aligned: boolean): void {
  const linear = operandAddress(c, bytes, false, aligned);
  const u = user(c);
  if (bytes === 2) to[0] = readLinear16(c, linear, u);
  else for (let i = 0; i < bytes >> 2; i++) to[i] = readLinear32(c, (linear + i * 4) | 0, u);
}

/** Writes 4, 8 or 16 bytes, from word `first` of `from` on. */
export function writeMemory(c: CpuState, from: Int32Array, bytes: number, aligned: boolean, first = 0): void {
  const linear = operandAddress(c, bytes, true, aligned);
  const u = user(c);
  if ((linear & 0xfff) + bytes > 0x1000) probeWrite(c, linear, bytes, u);
  for (let i = 0; i < bytes >> 2; i++) writeLinear32(c, (linear + i * 4) | 0, from[first + i]!, u);
}

/** MMX source operand (Q) into `s`; `bytes` of memory are read, 4 or 8. */
export function sourceMmx(c: CpuState, bytes = 8): void {
  if (rmIsMemory(c)) readMemory(c, s32, bytes, false);
  else loadMmx(c, rmRegister(c), s32);
}
/** XMM source operand (W) into `s`; `bytes` of memory are read, 16 of them aligned. The rest of `s` is not defined then. */
export function sourceXmm(c: CpuState, bytes = 16): void {
  if (rmIsMemory(c)) readMemory(c, s32, bytes, bytes === 16);
  else loadXmm(c, rmRegister(c), s32);
}

/** P = P op Q: `f` changes `d` by `s`, both `n` bytes. */
export function mmx(f: (n: number) => void, feature = FEATURE_MMX, memoryBytes = 8): Operation {
  return (c) => {
    checkMmx(c, feature);
    if (pendingException(c)) return restart(c);
    sourceMmx(c, memoryBytes);
    const r = regField(c);
    loadMmx(c, r, d32);
    f(8);
    enterMmx(c);
    storeMmx(c, r, d32);
    return NEXT;
  };
}

/** V = V op W on whole registers, without floating-point exceptions. */
export function xmm(f: (n: number) => void, feature = FEATURE_SSE): Operation {
  return (c) => {
    checkXmm(c, feature);
    sourceXmm(c);
    const r = regField(c);
    loadXmm(c, r, d32);
    f(16);
    storeXmm(c, r, d32);
    return NEXT;
  };
}
