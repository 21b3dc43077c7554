/** SSE2 instructions on doubles, packed and scalar, and conversions between singles, doubles and integers. Intel SDM volume 1, 11.4. */
import { type CpuState, NEXT } from '../cpu-state.ts';
import { FLAG_CF, FLAG_PF, FLAG_ZF } from '../eflags.ts';
import { pendingException } from '../fpu/stack.ts';
import { immediate, readRm32, regField, rmIsMemory, rmRegister } from '../operands.ts';
import { FEATURE_SSE2 } from '../system/cpu-models.ts';
import * as f32 from './float32.ts';
import { sse } from './float32.ts';
import * as f64 from './float64.ts';
import {
  checkXmm,
  d32,
  d64,
  enterMmx,
  loadXmm,
  type Operation,
  readMemory,
  restart,
  s32,
  s64,
  sourceMmx,
  sourceXmm,
  storeMmx,
  storeXmm,
} from './operands.ts';
import { begin, finish } from './sse-float.ts';

/** Begins an operation on doubles in the lowest `lanes` lanes of `s` and `d`. */
function begin64(c: CpuState, lanes: number): void {
  begin(c);
  if (!sse.denormalsAreZero) return;
  f32.flushDenormals64(d32, lanes);
  f32.flushDenormals64(s32, lanes);
}
function begin32(c: CpuState, lanes: number): void {
  begin(c);
  if (sse.denormalsAreZero) f32.flushDenormals32(s32, lanes);
}

/** V = V op W in the lowest `lanes` lanes. */
function computing(f: (i: number) => void, lanes: number): Operation {
  return (c) => {
    checkXmm(c, FEATURE_SSE2);
    sourceXmm(c, lanes * 8);
    const r = regField(c);
    loadXmm(c, r, d32);
    begin64(c, lanes);
    for (let i = 0; i < lanes; i++) f(i);
    finish(c);
    storeXmm(c, r, d32, lanes * 2);
    return NEXT;
  };
}

function comparing(lanes: number): Operation {
  return (c) => {
    checkXmm(c, FEATURE_SSE2);
    sourceXmm(c, lanes * 8);
    const r = regField(c);
    const which = immediate(c) & 7;
    loadXmm(c, r, d32);
    begin64(c, lanes);
    for (let i = 0; i < lanes; i++) f64.predicate64(i, which);
    finish(c);
    storeXmm(c, r, d32, lanes * 2);
    return NEXT;
  };
}

/** COMISD, UCOMISD: ZF PF CF; OF SF AF become 0. */
function comparingToFlags(quiet: boolean): Operation {
  return (c) => {
    checkXmm(c, FEATURE_SSE2);
    sourceXmm(c, 8);
    loadXmm(c, regField(c), d32);
    begin64(c, 1);
    const relation = f64.compare64(0, quiet);
    finish(c);
    if (relation === 2) c.setArithmeticFlags(FLAG_ZF | FLAG_PF | FLAG_CF);
    else c.setArithmeticFlags(relation < 0 ? FLAG_CF : relation === 0 ? FLAG_ZF : 0);
    return NEXT;
  };
}

/** V from W: `bytes` of the source are read, `f` makes `d` of `s`, `words` words of the destination change. */
function converting(
  bytes: number,
  start: (c: CpuState, lanes: number) => void,
  lanes: number,
  words: number,
  f: () => void,
): Operation {
  return (c) => {
    checkXmm(c, FEATURE_SSE2);
    sourceXmm(c, bytes);
    start(c, lanes);
    f();
    finish(c);
    storeXmm(c, regField(c), d32, words);
    return NEXT;
  };
}
function toSingle(i: number): number {
  return f32.fromDouble(s32[i * 2 + 1]!, s32[i * 2]!, s64[i]!);
}
function clearHigh(): void {
  d32[2] = 0;
  d32[3] = 0;
}
/** CVTPD2DQ, CVTTPD2DQ. */
function doublesToIntegers(chop: boolean): Operation {
  return converting(16, begin64, 2, 4, () => {
    d32[0] = f32.roundToInteger(s64[0]!, chop);
    d32[1] = f32.roundToInteger(s64[1]!, chop);
    clearHigh();
  });
}
/** CVTPS2DQ, CVTTPS2DQ. */
function singlesToIntegers(chop: boolean): Operation {
  return converting(16, begin32, 4, 4, () => {
    for (let i = 0; i < 4; i++) d32[i] = f32.toInteger32(s32[i]!, chop);
  });
}

/** CVTPD2PI, CVTTPD2PI: into an MMX register. */
function toMmx(chop: boolean): Operation {
  return (c) => {
    checkXmm(c, FEATURE_SSE2);
    if (pendingException(c)) return restart(c);
    sourceXmm(c, 16);
    begin64(c, 2);
    d32[0] = f32.roundToInteger(s64[0]!, chop);
    d32[1] = f32.roundToInteger(s64[1]!, chop);
    finish(c);
    enterMmx(c);
    storeMmx(c, regField(c), d32);
    return NEXT;
  };
}
/** CVTPI2PD: exact. Only a register counts as use of MMX. */
function cvtpi2pd(c: CpuState): number {
  checkXmm(c, FEATURE_SSE2);
  const register = !rmIsMemory(c);
  if (register && pendingException(c)) return restart(c);
  sourceMmx(c);
  d64[0] = s32[0]!;
  d64[1] = s32[1]!;
  if (register) enterMmx(c);
  storeXmm(c, regField(c), d32);
  return NEXT;
}
function cvtsi2sd(c: CpuState): number {
  checkXmm(c, FEATURE_SSE2);
  d64[0] = readRm32(c);
  storeXmm(c, regField(c), d32, 2);
  return NEXT;
}
/** CVTSD2SI, CVTTSD2SI. */
function toGeneral(chop: boolean): Operation {
  return (c) => {
    checkXmm(c, FEATURE_SSE2);
    sourceXmm(c, 8);
    begin64(c, 1);
    const v = f32.roundToInteger(s64[0]!, chop);
    finish(c);
    c.setReg32(regField(c), v);
    return NEXT;
  };
}
/** CVTDQ2PD: its memory operand is 8 bytes and need not be aligned. */
function cvtdq2pd(c: CpuState): number {
  checkXmm(c, FEATURE_SSE2);
  if (rmIsMemory(c)) readMemory(c, s32, 8, false);
  else loadXmm(c, rmRegister(c), s32);
  d64[0] = s32[0]!;
  d64[1] = s32[1]!;
  storeXmm(c, regField(c), d32);
  return NEXT;
}

/** Name without pd or sd, and what it does. */
const ARITHMETIC: readonly (readonly [string, (i: number) => void])[] = [
  ['sqrt', f64.squareRoot64],
  ['add', f64.add64],
  ['mul', f64.multiply64],
  ['sub', f64.subtract64],
  ['min', f64.minimum64],
  ['div', f64.divide64],
  ['max', f64.maximum64],
];

export const DOUBLE_OPERATIONS: Readonly<Record<string, Operation>> = {
  ...Object.fromEntries(
    ARITHMETIC.flatMap(([name, f]) => [
      [`${name}pd`, computing(f, 2)],
      [`${name}sd`, computing(f, 1)],
    ]),
  ),
  cmppd: comparing(2),
  cmpsd: comparing(1),
  ucomisd: comparingToFlags(true),
  comisd: comparingToFlags(false),
  cvtps2pd: converting(8, begin32, 2, 4, () => {
    const second = s32[1]!;
    f32.toDouble(s32[0]!, d32, 0);
    f32.toDouble(second, d32, 2);
  }),
  cvtss2sd: converting(4, begin32, 1, 2, () => f32.toDouble(s32[0]!, d32, 0)),
  cvtpd2ps: converting(16, begin64, 2, 4, () => {
    d32[0] = toSingle(0);
    d32[1] = toSingle(1);
    clearHigh();
  }),
  cvtsd2ss: converting(8, begin64, 1, 1, () => {
    d32[0] = toSingle(0);
  }),
  cvtdq2ps: converting(16, begin, 4, 4, () => {
    for (let i = 0; i < 4; i++) d32[i] = f32.fromInteger32(s32[i]!);
  }),
  cvtdq2pd,
  cvtps2dq: singlesToIntegers(false),
  cvttps2dq: singlesToIntegers(true),
  cvtpd2dq: doublesToIntegers(false),
  cvttpd2dq: doublesToIntegers(true),
  cvtpd2pi: toMmx(false),
  cvttpd2pi: toMmx(true),
  cvtpi2pd,
  cvtsi2sd,
  cvtsd2si: toGeneral(false),
  cvttsd2si: toGeneral(true),
};
