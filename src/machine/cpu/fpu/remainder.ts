/** FPREM and FPREM1: exact remainders, at most 63 quotient bits an instruction. Intel SDM volume 2A, FPREM. */
import {
  classify,
  DE,
  DENORMAL,
  type Extended,
  fp,
  INFINITY,
  invalid,
  nanOperands,
  packExact,
  set,
  unpack,
  unpacked,
  ZERO,
} from './extended.ts';

const ua = unpacked();
const ub = unpacked();

/** What the condition codes say: reduction finished, and the quotient's low three bits. */
export const partial = { incomplete: false, quotient: 0 };

/** Remainder under way; top: a 65th bit. */
const r = { top: 0, hi: 0, lo: 0 };

function notBelow(): boolean {
  if (r.top !== 0) return true;
  return r.hi === ub.hi ? r.lo >>> 0 >= ub.lo >>> 0 : r.hi >>> 0 > ub.hi >>> 0;
}
function subtractDivisor(): void {
  const borrow = r.lo >>> 0 < ub.lo >>> 0 ? 1 : 0;
  r.lo = (r.lo - ub.lo) | 0;
  const d = (r.hi >>> 0) - (ub.hi >>> 0) - borrow;
  r.hi = d | 0;
  if (d < 0) r.top = 0;
}
function double(): void {
  r.top = r.hi >>> 31;
  r.hi = (r.hi << 1) | (r.lo >>> 31);
  r.lo <<= 1;
}

/** Divides by repeated doubling: `steps` + 1 quotient bits, the low ones returned. */
function reduce(steps: number): number {
  r.top = 0;
  r.hi = ua.hi;
  r.lo = ua.lo;
  let quotient = 0;
  for (let i = 0; ; i++) {
    quotient <<= 1;
    if (notBelow()) {
      subtractDivisor();
      quotient |= 1;
    }
    if (i === steps) return quotient;
    double();
  }
}

/** a mod b; `nearest`: the IEEE remainder (FPREM1), else the truncating one. */
export function remainder(a: Extended, b: Extended, nearest: boolean, out: Extended): void {
  partial.incomplete = false;
  partial.quotient = 0;
  const ka = classify(a);
  const kb = classify(b);
  if (nanOperands(a, ka, b, kb, out)) return;
  if (ka === INFINITY || kb === ZERO) {
    invalid(out);
    return;
  }
  if (ka === DENORMAL || kb === DENORMAL) fp.flags |= DE;
  if (ka === ZERO || kb === INFINITY) {
    // A pseudo-denormal comes back as the normal number it is.
    if (ka === DENORMAL && a.hi < 0) set(out, (a.se & 0x8000) | 1, a.hi, a.lo);
    else set(out, a.se, a.hi, a.lo);
    return;
  }
  unpack(a, ua);
  unpack(b, ub);
  const sign = a.se >> 15;
  const distance = ua.exp - ub.exp;
  if (distance >= 64) {
    // SDM leaves 32 to 63 bits to the implementation.
    const steps = 32 + (distance % 32);
    reduce(steps);
    partial.incomplete = true;
    packExact(sign, ua.exp - steps, r.hi, r.lo, out);
    return;
  }
  if (distance < -1 || (distance < 0 && !nearest)) {
    packExact(sign, ua.exp, ua.hi, ua.lo, out);
    return;
  }
  finish(sign, distance, nearest, out);
}

function finish(sign: number, distance: number, nearest: boolean, out: Extended): void {
  let quotient: number;
  let exp = ub.exp;
  if (distance < 0) {
    // |a| is between a quarter and the whole of |b|: one exponent below it.
    r.top = 0;
    r.hi = ua.hi;
    r.lo = ua.lo;
    quotient = 0;
    exp = ua.exp;
  } else quotient = reduce(distance);
  if (nearest && closerToNext(distance < 0, quotient)) {
    quotient++;
    sign ^= 1;
    complement(distance < 0);
  }
  partial.quotient = quotient & 7;
  packExact(sign, exp, r.hi, r.lo, out);
}

/** Whether the quotient's fraction r ÷ b is above one half, or one half with an odd quotient. `halved`: r counts half. */
function closerToNext(halved: boolean, quotient: number): boolean {
  if (halved) {
    // r/2 against b/2: r against b.
    if (r.hi !== ub.hi) return r.hi >>> 0 > ub.hi >>> 0;
    if (r.lo !== ub.lo) return r.lo >>> 0 > ub.lo >>> 0;
    return (quotient & 1) !== 0;
  }
  const twiceHi = (r.hi << 1) | (r.lo >>> 31);
  if (r.hi < 0) return true;
  const twiceLo = r.lo << 1;
  if (twiceHi !== ub.hi) return twiceHi >>> 0 > ub.hi >>> 0;
  if (twiceLo !== ub.lo) return twiceLo >>> 0 > ub.lo >>> 0;
  return (quotient & 1) !== 0;
}

/** r becomes b − r, or 2b − r in units of half b's. */
function complement(halved: boolean): void {
  let bh = ub.hi;
  let bl = ub.lo;
  let top = 0;
  if (halved) {
    top = bh >>> 31;
    bh = (bh << 1) | (bl >>> 31);
    bl <<= 1;
  }
  const lo = (bl >>> 0) - (r.lo >>> 0);
  const hi = top * 4294967296 + (bh >>> 0) - (r.hi >>> 0) - (lo < 0 ? 1 : 0);
  r.lo = lo | 0;
  r.hi = hi | 0;
}
