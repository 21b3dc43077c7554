/**
 * FSIN, FCOS, FSINCOS, FPTAN, FPATAN, F2XM1, FYL2X, FYL2XP1: special operands here, the computation in functions.ts. Results
 * are rounded once from 96 bits. Intel SDM volume 2A; operands out of an instruction's range: as silicon answers them.
 */
import { type CpuState, NEXT } from '../cpu-state.ts';
import { multiply } from './arithmetic.ts';
import { fromInt32 } from './convert.ts';
import {
  BIAS,
  classify,
  DE,
  DENORMAL,
  EXP_MAX,
  type Extended,
  fp,
  INFINITY,
  invalid,
  MIN,
  nanOperand,
  nanOperands,
  PE,
  set,
  setInfinity,
  setZero,
  ZE,
  ZERO,
} from './extended.ts';
import {
  arctangent2,
  cosine,
  HALF_PI,
  logarithm,
  logarithmPlusOne,
  PI,
  powerMinusOne,
  QUARTER_PI,
  reduce,
  reduced,
  sine,
  THREE_QUARTERS_PI,
} from './functions.ts';
import { binaryPop, unary } from './special.ts';
import {
  begin,
  clearC2,
  finish,
  isEmpty,
  load,
  push,
  setTop,
  stackFault,
  store,
  SW_C2,
  x,
  y,
  z,
} from './stack.ts';
import { copyWide, divideWide, multiplyWide, narrow, Wide, widen } from './wide.ts';
import * as L from '../layout.ts';

const a = new Wide();
const b = new Wide();
const result = new Wide();

/** Precision control does not hold for these. */
function deliver(w: Wide, sign: number, out: Extended): void {
  fp.precision = 64;
  if (w.w2 === 0) {
    setZero(out, sign);
    return;
  }
  narrow(w, out);
}

/** Sine and cosine of `x` into `a` and `b`. */
function sineCosine(wanted: number): void {
  const quadrant = reduce(x);
  copyWide(result, reduced);
  if ((wanted & 1) !== 0) {
    if ((quadrant & 1) === 0) sine(result, a);
    else cosine(result, a);
    if (quadrant >= 2) a.sign ^= 1;
  }
  if ((wanted & 2) !== 0) {
    if ((quadrant & 1) === 0) cosine(result, b);
    else sine(result, b);
    if (quadrant === 1 || quadrant === 2) b.sign ^= 1;
  }
}

const SIN = 1;
const COS = 2;

/** Too large for the argument reduction: C2, nothing else happens. */
function outOfRange(): boolean {
  const exp = x.se & EXP_MAX;
  return exp >= BIAS + 63 && exp !== EXP_MAX;
}

function circular(wanted: number): (c: CpuState) => number {
  return (c) => {
    begin(c);
    if (isEmpty(c, 0)) {
      clearC2(c);
      if (stackFault(c, false)) store(c, 0, z);
      return NEXT;
    }
    load(c, 0, x);
    if (outOfRange() && x.hi < 0) {
      finish(c);
      c.set(L.FPU_SW, c.get(L.FPU_SW) | SW_C2);
      return NEXT;
    }
    circularValue(wanted);
    if (finish(c)) store(c, 0, z);
    clearC2(c);
    return NEXT;
  };
}

function circularValue(wanted: number): void {
  const kind = classify(x);
  if (nanOperand(x, kind, z)) return;
  if (kind === INFINITY) invalid(z);
  else if (kind === ZERO) {
    if (wanted === SIN) set(z, x.se, 0, 0);
    else set(z, BIAS, MIN, 0);
  } else {
    if (kind === DENORMAL) fp.flags |= DE;
    sineCosine(wanted);
    deliver(wanted === SIN ? a : b, x.se >> 15, z);
  }
}

export const fsin = circular(SIN);
export const fcos = circular(COS);

/** FSINCOS and FPTAN: one result into ST(0), another pushed. */
function circularPair(tangent: boolean): (c: CpuState) => number {
  return (c) => {
    begin(c);
    if (isEmpty(c, 0) || !isEmpty(c, -1)) {
      if (!stackFault(c, !isEmpty(c, 0))) return NEXT;
      clearC2(c);
      store(c, 0, z);
      setTop(c, c.get(L.FPU_TOP) - 1);
      store(c, 0, z);
      return NEXT;
    }
    load(c, 0, x);
    if (outOfRange() && x.hi < 0) {
      finish(c);
      c.set(L.FPU_SW, c.get(L.FPU_SW) | SW_C2);
      return NEXT;
    }
    pairValue(tangent);
    const goOn = finish(c);
    clearC2(c);
    if (!goOn) return NEXT;
    store(c, 0, y);
    push(c);
    return NEXT;
  };
}

/** `y`: sine or tangent; `z`: cosine or 1. */
function pairValue(tangent: boolean): void {
  const kind = classify(x);
  if (nanOperand(x, kind, z)) {
    set(y, z.se, z.hi, z.lo);
    return;
  }
  if (kind === INFINITY) {
    invalid(z);
    set(y, z.se, z.hi, z.lo);
    return;
  }
  set(z, BIAS, MIN, 0);
  if (kind === ZERO) {
    set(y, x.se, 0, 0);
    return;
  }
  if (kind === DENORMAL) fp.flags |= DE;
  sineCosine(SIN | COS);
  if (tangent) {
    divideWide(a, b, a);
    deliver(a, x.se >> 15, y);
    return;
  }
  deliver(b, 0, z);
  fp.up = 0;
  deliver(a, x.se >> 15, y);
}

export const fsincos = circularPair(false);
export const fptan = circularPair(true);

// ---- power and logarithms

function powerValue(from: Extended, out: Extended): void {
  const kind = classify(from);
  if (nanOperand(from, kind, out)) return;
  const sign = from.se >> 15;
  if (kind === INFINITY) {
    if (sign !== 0) set(out, 0x8000 | BIAS, MIN, 0);
    else setInfinity(out, 0);
    return;
  }
  if (kind === ZERO) {
    set(out, from.se, 0, 0);
    return;
  }
  if (kind === DENORMAL) fp.flags |= DE;
  const exp = from.se & EXP_MAX;
  if (exp >= BIAS) {
    // Silicon calls all of these inexact. 2^±1 − 1 is right; beyond, it gives the operand back.
    fp.flags |= PE;
    if (exp === BIAS && from.hi === MIN && from.lo === 0) {
      if (sign !== 0) set(out, 0x8000 | (BIAS - 1), MIN, 0);
      else set(out, BIAS, MIN, 0);
    } else set(out, from.se, from.hi, from.lo);
    return;
  }
  widen(from, a);
  powerMinusOne(a, result);
  deliver(result, sign, out);
}

export const f2xm1 = unary(powerValue);

/** Infinite or zero factor times a logarithm of sign `sign` (and which is infinite, zero or finite by `kind`). */
function specialProduct(
  logKind: number,
  logSign: number,
  factor: Extended,
  kf: number,
  out: Extended,
): boolean {
  const sign = logSign ^ (factor.se >> 15);
  if (logKind === INFINITY || kf === INFINITY) {
    if (logKind === ZERO || kf === ZERO) invalid(out);
    else setInfinity(out, sign);
    return true;
  }
  if (logKind === ZERO || kf === ZERO) {
    setZero(out, sign);
    return true;
  }
  return false;
}

/** `y` × log2 `x`. */
function logValue(from: Extended, factor: Extended, out: Extended): void {
  const k = classify(from);
  const kf = classify(factor);
  if (nanOperands(from, k, factor, kf, out)) return;
  if (k !== ZERO && from.se >> 15 !== 0) {
    invalid(out);
    return;
  }
  if (k === ZERO && kf !== ZERO && kf !== INFINITY) {
    fp.flags |= ZE;
    setInfinity(out, 1 ^ (factor.se >> 15));
    return;
  }
  if (k === DENORMAL || kf === DENORMAL) fp.flags |= DE;
  const power = from.hi === MIN && from.lo === 0 && k !== DENORMAL;
  const one = power && from.se === BIAS;
  const logKind = k === ZERO || k === INFINITY ? INFINITY : one ? ZERO : DENORMAL;
  const logSign = k === ZERO || (k !== INFINITY && (from.se & EXP_MAX) < BIAS) ? 1 : 0;
  if (specialProduct(logKind, logSign, factor, kf, out)) return;
  if (power) {
    // A power of two: an exact logarithm, one rounding.
    fromInt32((from.se & EXP_MAX) - BIAS, out);
    fp.precision = 64;
    const flags = fp.flags;
    multiply(out, factor, out);
    // Silicon does not notice that this is exact.
    fp.flags |= flags | PE;
    return;
  }
  widen(from, a);
  logarithm(a, result);
  timesFactor(factor, out);
}

function timesFactor(factor: Extended, out: Extended): void {
  widen(factor, b);
  multiplyWide(result, b, result);
  deliver(result, result.sign, out);
}

export const fyl2x = binaryPop(logValue);

/** `y` × log2(`x` + 1). */
function logPlusOneValue(from: Extended, factor: Extended, out: Extended): void {
  const k = classify(from);
  const kf = classify(factor);
  if (nanOperands(from, k, factor, kf, out)) return;
  const sign = from.se >> 15;
  if (k === INFINITY && sign !== 0) {
    invalid(out);
    return;
  }
  if (k === DENORMAL || kf === DENORMAL) fp.flags |= DE;
  if (specialProduct(k === INFINITY || k === ZERO ? k : DENORMAL, sign, factor, kf, out)) return;
  if (sign !== 0 && (from.se & EXP_MAX) >= BIAS) {
    // x ≤ −1 has no logarithm: silicon gives the operand back.
    fp.flags |= PE;
    set(out, from.se, from.hi, from.lo);
    return;
  }
  widen(from, a);
  logarithmPlusOne(a, result);
  timesFactor(factor, out);
}

export const fyl2xp1 = binaryPop(logPlusOneValue);

// ---- arc tangent

/** Angle of (`x`, `y`) = (ST(0), ST(1)). SDM 2A, FPATAN, table of special values. */
function angleValue(px: Extended, py: Extended, out: Extended): void {
  const kx = classify(px);
  const ky = classify(py);
  if (nanOperands(px, kx, py, ky, out)) return;
  if (kx === DENORMAL || ky === DENORMAL) fp.flags |= DE;
  const sx = px.se >> 15;
  const sy = py.se >> 15;
  let constant: Wide | undefined;
  if (ky === INFINITY) {
    constant = kx === INFINITY ? (sx !== 0 ? THREE_QUARTERS_PI : QUARTER_PI) : HALF_PI;
  } else if (kx === INFINITY || ky === ZERO) {
    if (sx === 0) {
      setZero(out, sy);
      return;
    }
    constant = PI;
  } else if (kx === ZERO) constant = HALF_PI;
  if (constant !== undefined) {
    copyWide(result, constant);
    result.sign = sy;
  } else {
    widen(py, a);
    widen(px, b);
    arctangent2(a, b, result);
  }
  deliver(result, sy, out);
}

export const fpatan = binaryPop(angleValue);
