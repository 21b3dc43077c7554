/**
 * The x87 register stack, its status word and how exceptions are reported. Intel SDM volume 1, chapter 8.
 * Hot: no allocation. Operand objects are shared; an operation is over before the next one begins.
 */
import { CR0_EM, CR0_NE, CR0_TS, type CpuState, EXC_MF, EXC_NM } from '../cpu-state.ts';
import { FLAG_IF } from '../eflags.ts';
import * as L from '../layout.ts';
import { DE, Extended, fp, IE, setIndefinite, ZE } from './extended.ts';
import { REQUEST_HARD } from '../requests.ts';

/** Status word: stack fault, exception summary, busy, condition codes. */
export const SW_SF = 0x40;
export const SW_ES = 0x80;
export const SW_C0 = 0x100;
export const SW_C1 = 0x200;
export const SW_C2 = 0x400;
export const SW_C3 = 0x4000;
export const SW_B = 0x8000;
const SW_CONDITIONS = SW_C0 | SW_C1 | SW_C2 | SW_C3;

/** Operands and result of the operation under way. */
export const x = new Extended();
export const y = new Extended();
export const z = new Extended();

/** Physical register of ST(i). */
function physical(c: CpuState, i: number): number {
  return (c.get(L.FPU_TOP) + i) & 7;
}

export function isEmpty(c: CpuState, i: number): boolean {
  return ((c.get(L.FPU_TAGS) >> physical(c, i)) & 1) !== 0;
}

/** Reads ST(i), whatever its tag. */
export function load(c: CpuState, i: number, to: Extended): void {
  const at = (L.FPU_REGS >> 2) + (physical(c, i) << 2);
  to.lo = c.i32[at]!;
  to.hi = c.i32[at + 1]!;
  to.se = c.i32[at + 2]! & 0xffff;
}

/** Writes ST(i) and marks it full. */
export function store(c: CpuState, i: number, from: Extended): void {
  const register = physical(c, i);
  const at = (L.FPU_REGS >> 2) + (register << 2);
  c.i32[at] = from.lo;
  c.i32[at + 1] = from.hi;
  c.i32[at + 2] = from.se;
  c.set(L.FPU_TAGS, c.get(L.FPU_TAGS) & ~(1 << register));
}

export function setEmpty(c: CpuState, i: number): void {
  c.set(L.FPU_TAGS, c.get(L.FPU_TAGS) | (1 << physical(c, i)));
}
export function setTop(c: CpuState, top: number): void {
  c.set(L.FPU_TOP, top & 7);
}
export function pop(c: CpuState): void {
  setEmpty(c, 0);
  setTop(c, c.get(L.FPU_TOP) + 1);
}

/** Status word with TOP in bits 11–13. */
export function statusWord(c: CpuState): number {
  return (c.get(L.FPU_SW) & 0xc7ff) | (c.get(L.FPU_TOP) << 11);
}
export function setStatusWord(c: CpuState, value: number): void {
  c.set(L.FPU_TOP, (value >> 11) & 7);
  c.set(L.FPU_SW, value & 0x47ff);
  updateSummary(c);
}

/** ES and B follow from the flags and masks. */
export function updateSummary(c: CpuState): void {
  const sw = c.get(L.FPU_SW) & ~(SW_ES | SW_B);
  const pending = (sw & ~c.get(L.FPU_CW) & 0x3f) !== 0;
  c.set(L.FPU_SW, pending ? sw | SW_ES | SW_B : sw);
}

export function setControlWord(c: CpuState, value: number): void {
  // Bit 6 reads as 1; bit 12 (infinity control of the 287) can be set and does nothing; 13–15 and 7 are 0.
  c.set(L.FPU_CW, (value & 0x1f3f) | 0x40);
  updateSummary(c);
}

/** #NM where the FPU may not be used. SDM 3A, 2.5. */
export function checkAvailable(c: CpuState): void {
  if ((c.get(L.CR0) & (CR0_EM | CR0_TS)) !== 0) c.raise(EXC_NM);
}

/** INTR line in CpuState.interruptRequest. */

/**
 * Reports a pending unmasked exception as waiting instructions do: #MF, or (CR0.NE clear) FERR# to the board's IRQ 13.
 * True: that interrupt is about to be taken, and this instruction comes after it.
 */
export function pendingException(c: CpuState): boolean {
  if ((c.get(L.FPU_SW) & SW_ES) === 0) return false;
  if ((c.get(L.CR0) & CR0_NE) !== 0) c.raise(EXC_MF);
  c.onFerr();
  return (c.interruptRequest & REQUEST_HARD) !== 0 && (c.get(L.EFL) & FLAG_IF) !== 0;
}

const PRECISIONS = [24, 64, 53, 64];

/** Starts an operation: clears C1 and the flags, takes over rounding and precision. */
export function begin(c: CpuState): void {
  const cw = c.get(L.FPU_CW);
  fp.flags = 0;
  fp.up = 0;
  fp.masks = cw & 0x3f;
  fp.rounding = (cw >> 10) & 3;
  fp.precision = PRECISIONS[(cw >> 8) & 3]!;
}

/** Adds the operation's flags to the status word. True: the result is to be delivered. */
export function finish(c: CpuState): boolean {
  const sw = c.get(L.FPU_SW) & ~SW_C1;
  let flags = fp.flags;
  if (flags === 0) {
    c.set(L.FPU_SW, sw);
    return true;
  }
  const unmasked = flags & ~fp.masks;
  if (unmasked === 0) {
    c.set(L.FPU_SW, sw | flags | (fp.up !== 0 ? SW_C1 : 0));
    return true;
  }
  const before = (unmasked & (IE | DE | ZE)) !== 0;
  // These are found before the computation: what it would have raised does not count.
  if (before) flags &= IE | DE | ZE;
  c.set(L.FPU_SW, sw | flags | SW_ES | SW_B | (fp.up !== 0 && !before ? SW_C1 : 0));
  return !before;
}

/** Stack overflow or underflow. True: masked; the answer is the indefinite, in `z`. */
export function stackFault(c: CpuState, overflow: boolean): boolean {
  const masked = (c.get(L.FPU_CW) & IE) !== 0;
  const sw = (c.get(L.FPU_SW) & ~SW_C1) | IE | SW_SF | (overflow ? SW_C1 : 0);
  c.set(L.FPU_SW, masked ? sw : sw | SW_ES | SW_B);
  setIndefinite(z);
  return masked;
}

/** Pushes `z`; on overflow the indefinite. */
export function push(c: CpuState): void {
  if (!isEmpty(c, -1) && !stackFault(c, true)) return;
  setTop(c, c.get(L.FPU_TOP) - 1);
  store(c, 0, z);
}

export function clearC1(c: CpuState): void {
  c.set(L.FPU_SW, c.get(L.FPU_SW) & ~SW_C1);
}

export function clearC2(c: CpuState): void {
  c.set(L.FPU_SW, c.get(L.FPU_SW) & ~SW_C2);
}

export function setConditions(c: CpuState, bits: number): void {
  c.set(L.FPU_SW, (c.get(L.FPU_SW) & ~SW_CONDITIONS) | bits);
}
