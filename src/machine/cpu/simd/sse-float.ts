/** SSE instructions that compute with singles, packed and scalar, and report exceptions through MXCSR. Intel SDM volume 1, 11.5. */
import { CR4_OSXMMEXCPT, type CpuState, EXC_UD, EXC_XM, NEXT } from '../cpu-state.ts';
import { FLAG_CF, FLAG_PF, FLAG_ZF } from '../eflags.ts';
import { pendingException } from '../fpu/stack.ts';
import * as L from '../layout.ts';
import { immediate, readRm32, regField, rmIsMemory } from '../operands.ts';
import { FEATURE_SSE } from '../system/cpu-models.ts';
import * as f32 from './float32.ts';
import { sse } from './float32.ts';
import {
  checkXmm,
  d32,
  enterMmx,
  loadXmm,
  type Operation,
  restart,
  s32,
  sourceMmx,
  sourceXmm,
  storeMmx,
  storeXmm,
} from './operands.ts';

const FLUSH_TO_ZERO = 0x8000;
const DENORMALS_ARE_ZERO = 0x40;

/** Takes rounding, FZ, DAZ and masks over from MXCSR and clears the flags. */
export function begin(c: CpuState): void {
  const mxcsr = c.get(L.MXCSR);
  sse.rounding = (mxcsr >> 13) & 3;
  sse.flushToZero = (mxcsr & FLUSH_TO_ZERO) !== 0;
  sse.denormalsAreZero = (mxcsr & DENORMALS_ARE_ZERO) !== 0;
  sse.underflowMasked = (mxcsr & 0x800) !== 0;
  sse.flags = 0;
}

/** Adds the flags to MXCSR; an unmasked one is #XM (#UD where the system does not handle that) and nothing else changes. */
export function finish(c: CpuState): void {
  const flags = sse.flags;
  if (flags === 0) return;
  const mxcsr = c.get(L.MXCSR);
  const unmasked = flags & ~(mxcsr >> 7) & 0x3f;
  // Invalid, denormal and zero-divide are found before anything is computed.
  c.set(L.MXCSR, mxcsr | ((unmasked & 7) !== 0 ? flags & 7 : flags));
  if (unmasked !== 0) c.raise((c.get(L.CR4) & CR4_OSXMMEXCPT) !== 0 ? EXC_XM : EXC_UD);
}

/** Begins an operation on singles in the lowest `lanes` lanes of `s` (and `d`). */
function begin32(c: CpuState, lanes: number): void {
  begin(c);
  if (!sse.denormalsAreZero) return;
  f32.flushDenormals32(d32, lanes);
  f32.flushDenormals32(s32, lanes);
}

type Binary = (a: number, b: number) => number;

/** V = V op W in the lowest `lanes` lanes. */
function computing(f: Binary, lanes: number): Operation {
  return (c) => {
    checkXmm(c, FEATURE_SSE);
    sourceXmm(c, lanes * 4);
    const r = regField(c);
    loadXmm(c, r, d32);
    begin32(c, lanes);
    for (let i = 0; i < lanes; i++) d32[i] = f(d32[i]!, s32[i]!);
    finish(c);
    storeXmm(c, r, d32, lanes);
    return NEXT;
  };
}

function comparing(lanes: number): Operation {
  return (c) => {
    checkXmm(c, FEATURE_SSE);
    sourceXmm(c, lanes * 4);
    const r = regField(c);
    const which = immediate(c) & 7;
    loadXmm(c, r, d32);
    begin32(c, lanes);
    for (let i = 0; i < lanes; i++) d32[i] = f32.predicate32(d32[i]!, s32[i]!, which);
    finish(c);
    storeXmm(c, r, d32, lanes);
    return NEXT;
  };
}

/** COMISS, UCOMISS: ZF PF CF; OF SF AF become 0. */
function comparingToFlags(quiet: boolean): Operation {
  return (c) => {
    checkXmm(c, FEATURE_SSE);
    sourceXmm(c, 4);
    loadXmm(c, regField(c), d32);
    begin32(c, 1);
    const relation = f32.compare32(d32[0]!, s32[0]!, quiet);
    finish(c);
    if (relation === 2) c.setArithmeticFlags(FLAG_ZF | FLAG_PF | FLAG_CF);
    else c.setArithmeticFlags(relation < 0 ? FLAG_CF : relation === 0 ? FLAG_ZF : 0);
    return NEXT;
  };
}

/** CVTPI2PS: two integers of an MMX register or memory. Only a register counts as use of MMX, on silicon. */
function cvtpi2ps(c: CpuState): number {
  checkXmm(c, FEATURE_SSE);
  const register = !rmIsMemory(c);
  if (register && pendingException(c)) return restart(c);
  sourceMmx(c);
  begin(c);
  d32[0] = f32.fromInteger32(s32[0]!);
  d32[1] = f32.fromInteger32(s32[1]!);
  finish(c);
  if (register) enterMmx(c);
  storeXmm(c, regField(c), d32, 2);
  return NEXT;
}

/** CVTPS2PI, CVTTPS2PI: into an MMX register. */
function toMmx(chop: boolean): Operation {
  return (c) => {
    checkXmm(c, FEATURE_SSE);
    if (pendingException(c)) return restart(c);
    sourceXmm(c, 8);
    begin32(c, 2);
    d32[0] = f32.toInteger32(s32[0]!, chop);
    d32[1] = f32.toInteger32(s32[1]!, chop);
    finish(c);
    enterMmx(c);
    storeMmx(c, regField(c), d32);
    return NEXT;
  };
}

function cvtsi2ss(c: CpuState): number {
  checkXmm(c, FEATURE_SSE);
  const v = readRm32(c);
  begin(c);
  d32[0] = f32.fromInteger32(v);
  finish(c);
  storeXmm(c, regField(c), d32, 1);
  return NEXT;
}

/** CVTSS2SI, CVTTSS2SI: into a general register. */
function toGeneral(chop: boolean): Operation {
  return (c) => {
    checkXmm(c, FEATURE_SSE);
    sourceXmm(c, 4);
    begin32(c, 1);
    const v = f32.toInteger32(s32[0]!, chop);
    finish(c);
    c.setReg32(regField(c), v);
    return NEXT;
  };
}

/** Name without ps or ss, and what it does. */
const ARITHMETIC: readonly (readonly [string, Binary])[] = [
  ['sqrt', f32.squareRoot32],
  ['rsqrt', f32.reciprocalRoot32],
  ['rcp', f32.reciprocal32],
  ['add', f32.add32],
  ['mul', f32.multiply32],
  ['sub', f32.subtract32],
  ['min', f32.minimum32],
  ['div', f32.divide32],
  ['max', f32.maximum32],
];

export const FLOAT_OPERATIONS: Readonly<Record<string, Operation>> = {
  ...Object.fromEntries(
    ARITHMETIC.flatMap(([name, f]) => [
      [`${name}ps`, computing(f, 4)],
      [`${name}ss`, computing(f, 1)],
    ]),
  ),
  cmpps: comparing(4),
  cmpss: comparing(1),
  cvtpi2ps,
  cvtsi2ss,
  cvttps2pi: toMmx(true),
  cvttss2si: toGeneral(true),
  cvtps2pi: toMmx(false),
  cvtss2si: toGeneral(false),
  ucomiss: comparingToFlags(true),
  comiss: comparingToFlags(false),
};
