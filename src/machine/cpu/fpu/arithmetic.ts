/**
 * Add, subtract, multiply, divide and square root of extended numbers. Each writes `out` and raises flags in `fp`; operands may
 * be the same object as `out`. Precision and rounding as set in `fp`.
 */
import {
  BIAS,
  classify,
  DE,
  DENORMAL,
  DOWN,
  EXP_MAX,
  type Extended,
  fp,
  INFINITY,
  invalid,
  MIN,
  nanOperand,
  nanOperands,
  NORMAL,
  roundPack,
  set,
  setInfinity,
  setZero,
  shifted,
  shiftRight,
  unpack,
  unpacked,
  ZE,
  ZERO,
} from './extended.ts';

const ua = unpacked();
const ub = unpacked();

/** High 32 bits of the unsigned product. */
export function multiplyHigh(a: number, b: number): number {
  const a0 = a & 0xffff;
  const a1 = a >>> 16;
  const b0 = b & 0xffff;
  const b1 = b >>> 16;
  const t = (Math.imul(a1, b0) + (Math.imul(a0, b0) >>> 16)) | 0;
  const u = (Math.imul(a0, b1) + (t & 0xffff)) | 0;
  return (Math.imul(a1, b1) + (t >>> 16) + (u >>> 16)) | 0;
}

/** a + b, or a − b with `negate` 1. */
export function add(a: Extended, b: Extended, negate: number, out: Extended): void {
  const ka = classify(a);
  const kb = classify(b);
  const sa = a.se >> 15;
  const sb = (b.se >> 15) ^ negate;
  if (ka === NORMAL && kb === NORMAL) {
    addFinite(sa, a.se & EXP_MAX, a.hi, a.lo, sb, b.se & EXP_MAX, b.hi, b.lo, out);
    return;
  }
  if (nanOperands(a, ka, b, kb, out)) return;
  if (ka === INFINITY && kb === INFINITY && sa !== sb) {
    invalid(out);
    return;
  }
  if (ka === DENORMAL || kb === DENORMAL) fp.flags |= DE;
  if (ka === INFINITY) setInfinity(out, sa);
  else if (kb === INFINITY) setInfinity(out, sb);
  else if (ka === ZERO && kb === ZERO) setZero(out, sa === sb ? sa : fp.rounding === DOWN ? 1 : 0);
  else {
    if (ka !== ZERO) unpack(a, ua);
    if (kb !== ZERO) unpack(b, ub);
    if (ka === ZERO) roundPack(sb, ub.exp, ub.hi, ub.lo, 0, out);
    else if (kb === ZERO) roundPack(sa, ua.exp, ua.hi, ua.lo, 0, out);
    else addFinite(sa, ua.exp, ua.hi, ua.lo, sb, ub.exp, ub.hi, ub.lo, out);
  }
}

function addFinite(
  sa: number,
  ea: number,
  ah: number,
  al: number,
  sb: number,
  eb: number,
  bh: number,
  bl: number,
  out: Extended,
): void {
  const distance = ea - eb;
  if (distance < 0 || (distance === 0 && (ah === bh ? al >>> 0 < bl >>> 0 : ah >>> 0 < bh >>> 0))) {
    if (sa === sb) addMagnitudes(sa, eb, bh, bl, ah, al, -distance, out);
    else subtractMagnitudes(sb, eb, bh, bl, ah, al, -distance, out);
  } else if (sa === sb) addMagnitudes(sa, ea, ah, al, bh, bl, distance, out);
  else subtractMagnitudes(sa, ea, ah, al, bh, bl, distance, out);
}

function addMagnitudes(
  sign: number,
  exp: number,
  ah: number,
  al: number,
  bh: number,
  bl: number,
  distance: number,
  out: Extended,
): void {
  let rest = 0;
  if (distance !== 0) {
    shiftRight(bh, bl, 0, distance);
    bh = shifted.hi;
    bl = shifted.lo;
    rest = shifted.rest;
  }
  let lo = (al + bl) | 0;
  const carry = lo >>> 0 < al >>> 0 ? 1 : 0;
  let hi = (ah + bh + carry) | 0;
  // The larger operand has its top bit set: the sum lost it exactly if it carried out (or both had it).
  if (hi >= 0 || bh < 0) {
    rest = (rest >>> 1) | (lo << 31) | (rest & 1);
    lo = (lo >>> 1) | (hi << 31);
    hi = (hi >>> 1) | MIN;
    exp++;
  }
  roundPack(sign, exp, hi, lo, rest, out);
}

/** The first operand's magnitude is not the smaller one. */
function subtractMagnitudes(
  sign: number,
  exp: number,
  ah: number,
  al: number,
  bh: number,
  bl: number,
  distance: number,
  out: Extended,
): void {
  let rest = 0;
  if (distance !== 0) {
    shiftRight(bh, bl, 0, distance);
    bh = shifted.hi;
    bl = shifted.lo;
    rest = -shifted.rest | 0;
  }
  const borrowLo = rest !== 0 ? 1 : 0;
  let lo = (al - bl - borrowLo) | 0;
  const borrowHi = al >>> 0 < bl >>> 0 || (al === bl && borrowLo !== 0) ? 1 : 0;
  let hi = (ah - bh - borrowHi) | 0;
  if (hi >= 0) {
    if ((hi | lo | rest) === 0) {
      setZero(out, fp.rounding === DOWN ? 1 : 0);
      return;
    }
    while (hi === 0) {
      hi = lo;
      lo = rest;
      rest = 0;
      exp -= 32;
    }
    const shift = Math.clz32(hi);
    if (shift !== 0) {
      hi = (hi << shift) | (lo >>> (32 - shift));
      lo = (lo << shift) | (rest >>> (32 - shift));
      rest <<= shift;
      exp -= shift;
    }
  }
  roundPack(sign, exp, hi, lo, rest, out);
}

export function multiply(a: Extended, b: Extended, out: Extended): void {
  const ka = classify(a);
  const kb = classify(b);
  const sign = (a.se ^ b.se) >> 15;
  if (ka === NORMAL && kb === NORMAL) {
    multiplyFinite(sign, (a.se & EXP_MAX) + (b.se & EXP_MAX) - BIAS, a.hi, a.lo, b.hi, b.lo, out);
    return;
  }
  if (nanOperands(a, ka, b, kb, out)) return;
  if ((ka === INFINITY && kb === ZERO) || (ka === ZERO && kb === INFINITY)) {
    invalid(out);
    return;
  }
  if (ka === DENORMAL || kb === DENORMAL) fp.flags |= DE;
  if (ka === INFINITY || kb === INFINITY) setInfinity(out, sign);
  else if (ka === ZERO || kb === ZERO) setZero(out, sign);
  else {
    unpack(a, ua);
    unpack(b, ub);
    multiplyFinite(sign, ua.exp + ub.exp - BIAS, ua.hi, ua.lo, ub.hi, ub.lo, out);
  }
}

function multiplyFinite(
  sign: number,
  exp: number,
  ah: number,
  al: number,
  bh: number,
  bl: number,
  out: Extended,
): void {
  let w1 = 0;
  let w2 = Math.imul(ah, bh);
  let w3 = multiplyHigh(ah, bh);
  let sticky = 0;
  if (al !== 0 || bl !== 0) {
    sticky = Math.imul(al, bl);
    const lowHigh = multiplyHigh(al, bl) >>> 0;
    const sum1 = lowHigh + (Math.imul(al, bh) >>> 0) + (Math.imul(ah, bl) >>> 0);
    w1 = sum1 | 0;
    const carry1 = sum1 >= 0x200000000 ? 2 : sum1 >= 0x100000000 ? 1 : 0;
    const sum2 = (w2 >>> 0) + (multiplyHigh(al, bh) >>> 0) + (multiplyHigh(ah, bl) >>> 0) + carry1;
    w2 = sum2 | 0;
    w3 = (w3 + (sum2 >= 0x200000000 ? 2 : sum2 >= 0x100000000 ? 1 : 0)) | 0;
  }
  if (w3 < 0) exp++;
  else {
    w3 = (w3 << 1) | (w2 >>> 31);
    w2 = (w2 << 1) | (w1 >>> 31);
    w1 <<= 1;
  }
  roundPack(sign, exp, w3, w2, sticky !== 0 ? w1 | 1 : w1, out);
}

/** a ÷ b. */
export function divide(a: Extended, b: Extended, out: Extended): void {
  const ka = classify(a);
  const kb = classify(b);
  const sign = (a.se ^ b.se) >> 15;
  if (ka === NORMAL && kb === NORMAL) {
    divideFinite(sign, (a.se & EXP_MAX) - (b.se & EXP_MAX) + BIAS, a.hi, a.lo, b.hi, b.lo, out);
    return;
  }
  if (nanOperands(a, ka, b, kb, out)) return;
  if (ka === kb && (ka === INFINITY || ka === ZERO)) {
    invalid(out);
    return;
  }
  if (kb === ZERO) {
    if (ka !== INFINITY) fp.flags |= ZE;
    setInfinity(out, sign);
    return;
  }
  if (ka === DENORMAL || kb === DENORMAL) fp.flags |= DE;
  if (ka === INFINITY) setInfinity(out, sign);
  else if (ka === ZERO || kb === INFINITY) setZero(out, sign);
  else {
    unpack(a, ua);
    unpack(b, ub);
    divideFinite(sign, ua.exp - ub.exp + BIAS, ua.hi, ua.lo, ub.hi, ub.lo, out);
  }
}

/** The remainder of the division under way, three words. */
const rem = { top: 0, hi: 0, lo: 0 };
const DIGIT = 24;

/** Next 24 bits of the quotient rem ÷ bh:bl (rem is below the divisor), with rem replaced by the rest. */
function quotientDigit(bh: number, bl: number, divisor: number): number {
  const value = (rem.hi >>> 0) * 4294967296 + (rem.lo >>> 0);
  let digit = Math.floor((value / divisor) * 16777216);
  if (digit > 0xffffff) digit = 0xffffff;
  // rem × 2^24 − digit × divisor, modulo 2^96; the estimate is off by one at most.
  const lo = rem.lo << DIGIT;
  const hi = (rem.hi << DIGIT) | (rem.lo >>> (32 - DIGIT));
  const top = rem.hi >>> (32 - DIGIT);
  const p0 = Math.imul(digit, bl);
  const p1 = (multiplyHigh(digit, bl) >>> 0) + (Math.imul(digit, bh) >>> 0);
  const p2 = multiplyHigh(digit, bh) + (p1 >= 0x100000000 ? 1 : 0);
  const d0 = (lo >>> 0) - (p0 >>> 0);
  const d1 = (hi >>> 0) - ((p1 | 0) >>> 0) - (d0 < 0 ? 1 : 0);
  rem.lo = d0 | 0;
  rem.hi = d1 | 0;
  rem.top = (top - p2 - (d1 < 0 ? 1 : 0)) | 0;
  while (rem.top < 0) {
    digit--;
    adjust(bh, bl);
  }
  while (rem.top > 0 || notBelow(bh, bl)) {
    digit++;
    subtractDivisor(bh, bl);
  }
  return digit;
}
function notBelow(bh: number, bl: number): boolean {
  return rem.hi === bh ? rem.lo >>> 0 >= bl >>> 0 : rem.hi >>> 0 > bh >>> 0;
}
function adjust(bh: number, bl: number): void {
  const s0 = (rem.lo >>> 0) + (bl >>> 0);
  const s1 = (rem.hi >>> 0) + (bh >>> 0) + (s0 >= 0x100000000 ? 1 : 0);
  rem.lo = s0 | 0;
  rem.hi = s1 | 0;
  rem.top = (rem.top + (s1 >= 0x100000000 ? 1 : 0)) | 0;
}
function subtractDivisor(bh: number, bl: number): void {
  const d0 = (rem.lo >>> 0) - (bl >>> 0);
  const d1 = (rem.hi >>> 0) - (bh >>> 0) - (d0 < 0 ? 1 : 0);
  rem.lo = d0 | 0;
  rem.hi = d1 | 0;
  rem.top = (rem.top - (d1 < 0 ? 1 : 0)) | 0;
}

function divideFinite(
  sign: number,
  exp: number,
  ah: number,
  al: number,
  bh: number,
  bl: number,
  out: Extended,
): void {
  // The quotient's integer bit first, so that the remainder is below the divisor.
  rem.hi = ah;
  rem.lo = al;
  rem.top = 0;
  let one = 0;
  if (notBelow(bh, bl)) {
    one = 1;
    subtractDivisor(bh, bl);
  }
  const divisor = (bh >>> 0) * 4294967296 + (bl >>> 0);
  const q1 = quotientDigit(bh, bl, divisor);
  const q2 = quotientDigit(bh, bl, divisor);
  const q3 = quotientDigit(bh, bl, divisor);
  const sticky = (rem.hi | rem.lo) !== 0 ? 1 : 0;
  // 72 fraction bits: 32 + 32 + 8.
  let hi = (q1 << 8) | (q2 >>> 16);
  let lo = (q2 << 16) | (q3 >>> 8);
  let rest = (q3 << 24) | sticky;
  if (one !== 0) {
    rest = (rest >>> 1) | (lo << 31) | (rest & 1);
    lo = (lo >>> 1) | (hi << 31);
    hi = (hi >>> 1) | MIN;
  } else {
    // The first fraction bit is set: operands are normalised.
    exp--;
  }
  roundPack(sign, exp, hi, lo, rest, out);
}

export function squareRoot(a: Extended, out: Extended): void {
  const kind = classify(a);
  if (nanOperand(a, kind, out)) return;
  if (kind === ZERO) {
    set(out, a.se, 0, 0);
    return;
  }
  if (a.se >> 15 !== 0) {
    invalid(out);
    return;
  }
  if (kind === INFINITY) {
    setInfinity(out, 0);
    return;
  }
  if (kind === DENORMAL) fp.flags |= DE;
  unpack(a, ua);
  rootFinite(ua.exp - BIAS, ua.hi, ua.lo, out);
}

/** Digit by digit, two radicand bits a root bit; 66 root bits, the last ones for rounding. */
function rootFinite(exponent: number, hi: number, lo: number, out: Extended): void {
  // Radicand in [1, 4) with two integer bits: x0 holds them.
  let x0 = (exponent & 1) !== 0 ? hi >>> 30 : hi >>> 31;
  let x1 = (exponent & 1) !== 0 ? (hi << 2) | (lo >>> 30) : (hi << 1) | (lo >>> 31);
  let x2 = (exponent & 1) !== 0 ? lo << 2 : lo << 1;
  // Remainder r2:r1:r0, root q2:q1:q0.
  let r2 = 0;
  let r1 = 0;
  let r0 = 0;
  let q2 = 0;
  let q1 = 0;
  let q0 = 0;
  for (let i = 0; i < 66; i++) {
    r2 = (r2 << 2) | (r1 >>> 30);
    r1 = (r1 << 2) | (r0 >>> 30);
    r0 = (r0 << 2) | (x0 & 3);
    x0 = x1 >>> 30;
    x1 = (x1 << 2) | (x2 >>> 30);
    x2 <<= 2;
    // Trial subtrahend: 4q + 1.
    const t2 = (q2 << 2) | (q1 >>> 30);
    const t1 = (q1 << 2) | (q0 >>> 30);
    const t0 = (q0 << 2) | 1;
    const d0 = (r0 >>> 0) - (t0 >>> 0);
    const d1 = (r1 >>> 0) - (t1 >>> 0) - (d0 < 0 ? 1 : 0);
    const d2 = r2 - t2 - (d1 < 0 ? 1 : 0);
    q2 = (q2 << 1) | (q1 >>> 31);
    q1 = (q1 << 1) | (q0 >>> 31);
    q0 <<= 1;
    if (d2 >= 0) {
      r0 = d0 | 0;
      r1 = d1 | 0;
      r2 = d2;
      q0 |= 1;
    }
  }
  const rest = (q0 << 30) | ((r0 | r1 | r2) !== 0 ? 1 : 0);
  const low = (q0 >>> 2) | (q1 << 30);
  const high = (q1 >>> 2) | (q2 << 30);
  roundPack(0, (exponent >> 1) + BIAS, high, low, rest, out);
}
