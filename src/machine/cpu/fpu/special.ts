/** Sign, examine, scale, extract, remainder, round, square root. Intel SDM volume 2A. */
import { type CpuState, NEXT } from '../cpu-state.ts';
import { squareRoot } from './arithmetic.ts';
import { fromInt32, roundToInteger } from './convert.ts';
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
  nanOperand,
  nanOperands,
  NORMAL,
  roundPack,
  set,
  setInfinity,
  setZero,
  UNSUPPORTED,
  unpack,
  unpacked,
  ZE,
  ZERO,
} from './extended.ts';
import { partial, remainder } from './remainder.ts';
import {
  begin,
  clearC1,
  clearC2,
  finish,
  isEmpty,
  load,
  pop,
  push,
  setConditions,
  setTop,
  stackFault,
  store,
  SW_C0,
  SW_C1,
  SW_C2,
  SW_C3,
  x,
  y,
  z,
} from './stack.ts';
import * as L from '../layout.ts';

type Function1 = (a: Extended, out: Extended) => void;

/** ST(0) = f(ST(0)). */
export function unary(f: Function1): (c: CpuState) => number {
  return (c) => {
    begin(c);
    if (isEmpty(c, 0)) {
      if (stackFault(c, false)) store(c, 0, z);
      return NEXT;
    }
    load(c, 0, x);
    f(x, z);
    if (finish(c)) store(c, 0, z);
    return NEXT;
  };
}

export const fchs = unary((a, out) => set(out, a.se ^ 0x8000, a.hi, a.lo));
export const fabs = unary((a, out) => set(out, a.se & EXP_MAX, a.hi, a.lo));
export const frndint = unary(roundToInteger);
export const fsqrt = unary(squareRoot);

/** FXAM: C1 is the sign, C3 C2 C0 the class, also of an empty register. */
export function fxam(c: CpuState): number {
  load(c, 0, x);
  let kind: number;
  if (isEmpty(c, 0)) kind = SW_C3 | SW_C0;
  else {
    const k = classify(x);
    if (k === ZERO) kind = SW_C3;
    else if (k === NORMAL) kind = SW_C2;
    else if (k === DENORMAL) kind = SW_C3 | SW_C2;
    else if (k === INFINITY) kind = SW_C2 | SW_C0;
    else kind = k === UNSUPPORTED ? 0 : SW_C0;
  }
  setConditions(c, kind | (x.se >> 15 !== 0 ? SW_C1 : 0));
  return NEXT;
}

export function fprem(nearest: boolean): (c: CpuState) => number {
  return (c) => {
    begin(c);
    if (isEmpty(c, 0) || isEmpty(c, 1)) {
      clearC2(c);
      if (stackFault(c, false)) store(c, 0, z);
      return NEXT;
    }
    load(c, 0, x);
    load(c, 1, y);
    remainder(x, y, nearest, z);
    const q = partial.quotient;
    const conditions = partial.incomplete
      ? SW_C2
      : ((q & 1) !== 0 ? SW_C1 : 0) | ((q & 2) !== 0 ? SW_C3 : 0) | ((q & 4) !== 0 ? SW_C0 : 0);
    if (finish(c)) {
      setConditions(c, conditions);
      store(c, 0, z);
    }
    return NEXT;
  };
}

const u = unpacked();

/** a × 2^trunc(b). Rounds only where the result is denormal. */
export function scale(a: Extended, b: Extended, out: Extended): void {
  const ka = classify(a);
  const kb = classify(b);
  if (nanOperands(a, ka, b, kb, out)) return;
  const sign = a.se >> 15;
  if (kb === INFINITY) {
    const down = b.se >> 15 !== 0;
    if (down ? ka === INFINITY : ka === ZERO) invalid(out);
    else {
      if (ka === DENORMAL) fp.flags |= DE;
      if (down) setZero(out, sign);
      else setInfinity(out, sign);
    }
    return;
  }
  if (ka === DENORMAL || kb === DENORMAL) fp.flags |= DE;
  if (ka === INFINITY || ka === ZERO) {
    set(out, a.se, a.hi, a.lo);
    return;
  }
  unpack(a, u);
  const precision = fp.precision;
  fp.precision = 64;
  roundPack(sign, u.exp + scaleStep(b, kb), u.hi, u.lo, 0, out);
  fp.precision = precision;
}

/** trunc(b), limited to ±65536: beyond that every number overflows or vanishes. */
function scaleStep(b: Extended, kind: number): number {
  const exponent = (b.se & EXP_MAX) - BIAS;
  if (kind === ZERO || exponent < 0) return 0;
  const n = exponent >= 16 ? 0x10000 : b.hi >>> (31 - exponent);
  return b.se >> 15 !== 0 ? -n : n;
}

export function fscale(c: CpuState): number {
  begin(c);
  if (isEmpty(c, 0) || isEmpty(c, 1)) {
    if (stackFault(c, false)) store(c, 0, z);
    return NEXT;
  }
  load(c, 0, x);
  load(c, 1, y);
  scale(x, y, z);
  if (finish(c)) store(c, 0, z);
  return NEXT;
}

/** Exponent to ST(0), then the significand is pushed. */
export function fxtract(c: CpuState): number {
  begin(c);
  if (isEmpty(c, 0) || !isEmpty(c, -1)) {
    if (!stackFault(c, !isEmpty(c, 0))) return NEXT;
    store(c, 0, z);
    setTop(c, c.get(L.FPU_TOP) - 1);
    store(c, 0, z);
    return NEXT;
  }
  load(c, 0, x);
  extract();
  if (!finish(c)) return NEXT;
  store(c, 0, y);
  push(c);
  return NEXT;
}

/** `x` into exponent `y` and significand `z`. */
function extract(): void {
  const kind = classify(x);
  if (nanOperand(x, kind, z)) {
    set(y, z.se, z.hi, z.lo);
    return;
  }
  if (kind === INFINITY) {
    setInfinity(y, 0);
    set(z, x.se, x.hi, x.lo);
    return;
  }
  if (kind === ZERO) {
    fp.flags |= ZE;
    setInfinity(y, 1);
    set(z, x.se, 0, 0);
    return;
  }
  if (kind === DENORMAL) fp.flags |= DE;
  unpack(x, u);
  fromInt32(u.exp - BIAS, y);
  set(z, (x.se & 0x8000) | BIAS, u.hi, u.lo);
}

/** Shared by transcendentals that take ST(1) and ST(0) and pop: result `z` into ST(1). */
export function binaryPop(f: (a: Extended, b: Extended, out: Extended) => void): (c: CpuState) => number {
  return (c) => {
    begin(c);
    if (isEmpty(c, 0) || isEmpty(c, 1)) {
      if (!stackFault(c, false)) return NEXT;
    } else {
      load(c, 0, x);
      load(c, 1, y);
      f(x, y, z);
      if (!finish(c)) return NEXT;
    }
    store(c, 1, z);
    pop(c);
    return NEXT;
  };
}

/** FDECSTP, FINCSTP: tags stay. */
export function moveTop(step: number): (c: CpuState) => number {
  return (c) => {
    clearC1(c);
    setTop(c, c.get(L.FPU_TOP) + step);
    return NEXT;
  };
}

/** FNOP. */
export function nothing(_c: CpuState): number {
  return NEXT;
}
