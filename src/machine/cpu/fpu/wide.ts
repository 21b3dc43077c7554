/**
 * Numbers with a 96-bit significand for transcendental functions: 32 bits more than the result needs. Truncating; bits lost
 * in an addition stay visible in the last one. No infinities, no NaNs, no exponent limits.
 */
import { multiplyHigh } from './arithmetic.ts';
import { BIAS, EXP_MAX, type Extended, MIN, roundPack, unpack, unpacked } from './extended.ts';

/** (−1)^sign × 1.xxx × 2^exp; w2 has the integer bit at its top; w2 0 is zero. */
export class Wide {
  sign = 0;
  exp = 0;
  w2 = 0;
  w1 = 0;
  w0 = 0;
}

export function wide(exp: number, w2: number, w1: number, w0: number): Wide {
  const w = new Wide();
  w.exp = exp;
  w.w2 = w2 | 0;
  w.w1 = w1 | 0;
  w.w0 = w0 | 0;
  return w;
}

export const ONE = wide(0, 0x80000000, 0, 0);

export function copyWide(out: Wide, a: Wide): void {
  out.sign = a.sign;
  out.exp = a.exp;
  out.w2 = a.w2;
  out.w1 = a.w1;
  out.w0 = a.w0;
}

const u = unpacked();

/** A finite nonzero number, exactly. */
export function widen(a: Extended, out: Wide): void {
  unpack(a, u);
  out.sign = a.se >> 15;
  out.exp = u.exp - BIAS;
  out.w2 = u.hi;
  out.w1 = u.lo;
  out.w0 = 0;
}

/** An integer below 2^31 in magnitude. */
export function fromInteger(n: number, out: Wide): void {
  out.sign = n < 0 ? 1 : 0;
  let v = n < 0 ? -n : n;
  out.w1 = out.w0 = 0;
  const shift = Math.clz32(v);
  v <<= shift;
  out.w2 = v;
  out.exp = 31 - shift;
}

/** Rounds to extended as an inexact result. */
export function narrow(a: Wide, out: Extended): void {
  const exp = a.exp + BIAS;
  // Far out of range is as good as just out of range.
  const limited = Math.max(-EXP_MAX, Math.min(EXP_MAX * 2, exp));
  roundPack(a.sign, limited, a.w2, a.w1, a.w0 | 1, out);
}

export function multiplyWide(a: Wide, b: Wide, out: Wide): void {
  if (a.w2 === 0 || b.w2 === 0) {
    out.w2 = out.w1 = out.w0 = 0;
    return;
  }
  const { w2: a2, w1: a1, w0: a0 } = a;
  const { w2: b2, w1: b1, w0: b0 } = b;
  const s2 =
    (Math.imul(a2, b0) >>> 0) +
    (Math.imul(a1, b1) >>> 0) +
    (Math.imul(a0, b2) >>> 0) +
    (multiplyHigh(a1, b0) >>> 0) +
    (multiplyHigh(a0, b1) >>> 0);
  const s3 =
    (multiplyHigh(a2, b0) >>> 0) +
    (multiplyHigh(a1, b1) >>> 0) +
    (multiplyHigh(a0, b2) >>> 0) +
    (Math.imul(a2, b1) >>> 0) +
    (Math.imul(a1, b2) >>> 0) +
    Math.floor(s2 / 4294967296);
  const s4 =
    (multiplyHigh(a2, b1) >>> 0) +
    (multiplyHigh(a1, b2) >>> 0) +
    (Math.imul(a2, b2) >>> 0) +
    Math.floor(s3 / 4294967296);
  let w2 = (multiplyHigh(a2, b2) + Math.floor(s4 / 4294967296)) | 0;
  let w1 = s4 | 0;
  let w0 = s3 | 0;
  let exp = a.exp + b.exp + 1;
  if (w2 >= 0) {
    w2 = (w2 << 1) | (w1 >>> 31);
    w1 = (w1 << 1) | (w0 >>> 31);
    w0 = (w0 << 1) | ((s2 | 0) >>> 31);
    exp--;
  }
  out.sign = a.sign ^ b.sign;
  out.exp = exp;
  out.w2 = w2;
  out.w1 = w1;
  out.w0 = w0;
}

/** a ÷ n, 0 < n < 2^20. */
export function divideSmall(a: Wide, n: number, out: Wide): void {
  if (a.w2 === 0) {
    out.w2 = out.w1 = out.w0 = 0;
    return;
  }
  const q2 = Math.floor((a.w2 >>> 0) / n);
  let rest = (a.w2 >>> 0) - q2 * n;
  const v1 = rest * 4294967296 + (a.w1 >>> 0);
  const q1 = Math.floor(v1 / n);
  rest = v1 - q1 * n;
  const v0 = rest * 4294967296 + (a.w0 >>> 0);
  const q0 = Math.floor(v0 / n);
  rest = v0 - q0 * n;
  const tail = Math.floor((rest * 4294967296) / n);
  out.sign = a.sign;
  out.exp = a.exp;
  out.w2 = q2 | 0;
  out.w1 = q1 | 0;
  out.w0 = q0 | 0;
  normaliseLeft(out, tail | 0);
}

function normaliseLeft(a: Wide, tail: number): void {
  let { w2, w1, w0, exp } = a;
  if ((w2 | w1 | w0) === 0) return;
  while (w2 === 0) {
    w2 = w1;
    w1 = w0;
    w0 = tail;
    tail = 0;
    exp -= 32;
  }
  const shift = Math.clz32(w2);
  if (shift !== 0) {
    w2 = (w2 << shift) | (w1 >>> (32 - shift));
    w1 = (w1 << shift) | (w0 >>> (32 - shift));
    w0 = (w0 << shift) | (tail >>> (32 - shift));
    exp -= shift;
  }
  a.w2 = w2;
  a.w1 = w1;
  a.w0 = w0;
  a.exp = exp;
}

/** The smaller operand of an addition, aligned. */
const aligned = { w2: 0, w1: 0, w0: 0 };

function align(a: Wide, by: number): void {
  let { w2, w1, w0 } = a;
  let lost = 0;
  if (by >= 96) {
    lost = 1;
    w2 = w1 = w0 = 0;
  } else {
    while (by >= 32) {
      lost |= w0;
      w0 = w1;
      w1 = w2;
      w2 = 0;
      by -= 32;
    }
    if (by !== 0) {
      lost |= w0 << (32 - by);
      w0 = (w0 >>> by) | (w1 << (32 - by));
      w1 = (w1 >>> by) | (w2 << (32 - by));
      w2 >>>= by;
    }
  }
  aligned.w2 = w2;
  aligned.w1 = w1;
  aligned.w0 = lost !== 0 ? w0 | 1 : w0;
}

function notBelow(a: Wide, b: Wide): boolean {
  if (a.exp !== b.exp) return a.exp > b.exp;
  if (a.w2 !== b.w2) return a.w2 >>> 0 > b.w2 >>> 0;
  if (a.w1 !== b.w1) return a.w1 >>> 0 > b.w1 >>> 0;
  return a.w0 >>> 0 >= b.w0 >>> 0;
}

/** a + b, or a − b with `negate` 1. */
export function addWide(a: Wide, b: Wide, negate: number, out: Wide): void {
  if (b.w2 === 0) {
    copyWide(out, a);
    return;
  }
  const signB = b.sign ^ negate;
  if (a.w2 === 0) {
    copyWide(out, b);
    out.sign = signB;
    return;
  }
  const swap = !notBelow(a, b);
  const big = swap ? b : a;
  const sign = swap ? signB : a.sign;
  align(swap ? a : b, Math.abs(a.exp - b.exp));
  const exp = big.exp;
  const { w2, w1, w0 } = big;
  if (a.sign === signB) {
    const s0 = (w0 >>> 0) + (aligned.w0 >>> 0);
    const s1 = (w1 >>> 0) + (aligned.w1 >>> 0) + (s0 >= 4294967296 ? 1 : 0);
    const s2 = (w2 >>> 0) + (aligned.w2 >>> 0) + (s1 >= 4294967296 ? 1 : 0);
    if (s2 >= 4294967296) {
      out.w2 = (s2 >>> 1) | MIN;
      out.w1 = (s1 >>> 1) | (s2 << 31);
      out.w0 = (s0 >>> 1) | (s1 << 31) | (s0 & 1);
      out.exp = exp + 1;
    } else {
      out.w2 = s2 | 0;
      out.w1 = s1 | 0;
      out.w0 = s0 | 0;
      out.exp = exp;
    }
    out.sign = sign;
    return;
  }
  const d0 = (w0 >>> 0) - (aligned.w0 >>> 0);
  const d1 = (w1 >>> 0) - (aligned.w1 >>> 0) - (d0 < 0 ? 1 : 0);
  out.w2 = ((w2 >>> 0) - (aligned.w2 >>> 0) - (d1 < 0 ? 1 : 0)) | 0;
  out.w1 = d1 | 0;
  out.w0 = d0 | 0;
  out.exp = exp;
  out.sign = sign;
  normaliseLeft(out, 0);
}

/** a ÷ b, bit by bit. */
export function divideWide(a: Wide, b: Wide, out: Wide): void {
  if (a.w2 === 0) {
    out.w2 = out.w1 = out.w0 = 0;
    return;
  }
  let r3 = 0;
  let r2 = a.w2 >>> 0;
  let r1 = a.w1 >>> 0;
  let r0 = a.w0 >>> 0;
  const b2 = b.w2 >>> 0;
  const b1 = b.w1 >>> 0;
  const b0 = b.w0 >>> 0;
  let q2 = 0;
  let q1 = 0;
  let q0 = 0;
  let exp = a.exp - b.exp;
  let first = true;
  for (let bits = 0; bits < 96; ) {
    const d0 = r0 - b0;
    const d1 = r1 - b1 - (d0 < 0 ? 1 : 0);
    const d2 = r2 - b2 - (d1 < 0 ? 1 : 0);
    const one = r3 !== 0 || d2 >= 0;
    if (one) {
      r0 = d0 >>> 0;
      r1 = d1 >>> 0;
      r2 = d2 >>> 0;
    } else if (first) exp--;
    // A quotient below one gives its first bit in the second step.
    if (one || !first) {
      q2 = (q2 << 1) | (q1 >>> 31);
      q1 = (q1 << 1) | (q0 >>> 31);
      q0 = (q0 << 1) | (one ? 1 : 0);
      bits++;
    }
    first = false;
    r3 = r2 >>> 31;
    r2 = ((r2 << 1) | (r1 >>> 31)) >>> 0;
    r1 = ((r1 << 1) | (r0 >>> 31)) >>> 0;
    r0 = (r0 << 1) >>> 0;
  }
  out.sign = a.sign ^ b.sign;
  out.exp = exp;
  out.w2 = q2;
  out.w1 = q1;
  out.w0 = q0;
}
