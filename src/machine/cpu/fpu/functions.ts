/**
 * Series for sine, cosine, arc tangent, logarithm and power in 96-bit numbers, and the argument reduction of silicon: by π with
 * 66 bits (SDM volume 1, 8.3.8).
 */
import { type Extended, unpack, unpacked, BIAS } from './extended.ts';
import {
  addWide,
  copyWide,
  divideSmall,
  divideWide,
  fromInteger,
  multiplyWide,
  ONE,
  Wide,
  wide,
} from './wide.ts';

export const PI = wide(1, 0xc90fdaa2, 0x2168c234, 0xc4c6628b);
export const HALF_PI = wide(0, 0xc90fdaa2, 0x2168c234, 0xc4c6628b);
export const QUARTER_PI = wide(-1, 0xc90fdaa2, 0x2168c234, 0xc4c6628b);
/** 3π/4. */
export const THREE_QUARTERS_PI = wide(1, 0x96cbe3f9, 0x990e91a7, 0x9394c9e9);
const LN2 = wide(-1, 0xb17217f7, 0xd1cf79ab, 0xc9e3b398);
const LOG2_E = wide(0, 0xb8aa3b29, 0x5c17f0bb, 0xbe87fed0);

const t = new Wide();
const square = new Wide();
const s1 = new Wide();
const s2 = new Wide();

/** 1 − square/(first·second)·(1 − square/(…)), the nested alternating series of sine and cosine. */
function alternating(first: number, terms: number): void {
  copyWide(t, ONE);
  for (let k = terms; k >= 0; k--) {
    const n = first + 2 * k;
    multiplyWide(t, square, t);
    divideSmall(t, n * (n + 1), t);
    addWide(ONE, t, 1, t);
  }
}

/** Sine of |a| ≤ π/4. */
export function sine(a: Wide, out: Wide): void {
  multiplyWide(a, a, square);
  alternating(2, 12);
  multiplyWide(t, a, out);
}
/** Cosine of |a| ≤ π/4. */
export function cosine(a: Wide, out: Wide): void {
  multiplyWide(a, a, square);
  alternating(1, 12);
  copyWide(out, t);
}

/** Remainder of reduce(). */
export const reduced = new Wide();

/** π/2 in units of 2^−65: 66 bits. */
const P2 = 3;
const P1 = 0x243f6a88;
const P0 = 0x85a308d3;

const u = unpacked();

/** Reduces a finite nonzero |a| < 2^63 to [−π/4, π/4] in `reduced`; returns the quadrant, 0–3. */
export function reduce(a: Extended): number {
  unpack(a, u);
  const exponent = u.exp - BIAS;
  const sign = a.se >> 15;
  reduced.sign = sign;
  reduced.exp = exponent;
  reduced.w2 = u.hi;
  reduced.w1 = u.lo;
  reduced.w0 = 0;
  if (exponent < -1 || (exponent === -1 && u.hi >>> 0 < 0xc90fdaa2)) return 0;
  const quadrant = divideByHalfPi(exponent + 2);
  return sign !== 0 ? -quadrant & 3 : quadrant;
}

/** |a| is u.hi:u.lo × 2^shift units. Leaves the remainder nearest to zero in `reduced`. */
function divideByHalfPi(shift: number): number {
  let r2 = 0;
  let r1 = 0;
  let r0 = 0;
  let { hi, lo } = u;
  let quotient = 0;
  for (let i = 0; i < 64 + shift; i++) {
    r2 = (r2 << 1) | (r1 >>> 31);
    r1 = (r1 << 1) | (r0 >>> 31);
    r0 = (r0 << 1) | (hi >>> 31);
    hi = (hi << 1) | (lo >>> 31);
    lo <<= 1;
    const d0 = (r0 >>> 0) - P0;
    const d1 = (r1 >>> 0) - P1 - (d0 < 0 ? 1 : 0);
    const d2 = r2 - P2 - (d1 < 0 ? 1 : 0);
    quotient <<= 1;
    if (d2 >= 0) {
      r0 = d0 | 0;
      r1 = d1 | 0;
      r2 = d2;
      quotient |= 1;
    }
  }
  // Above half of π/2: take the difference to the next multiple.
  const c0 = P0 - (r0 >>> 0);
  const c1 = P1 - (r1 >>> 0) - (c0 < 0 ? 1 : 0);
  const c2 = P2 - r2 - (c1 < 0 ? 1 : 0);
  const closer = c2 < r2 || (c2 === r2 && (c1 >>> 0 < r1 >>> 0 || ((c1 | 0) === r1 && c0 >>> 0 < r0 >>> 0)));
  if (closer) {
    r2 = c2;
    r1 = c1 | 0;
    r0 = c0 | 0;
    quotient++;
    reduced.sign ^= 1;
  }
  reduced.exp = 30;
  reduced.w2 = r2;
  reduced.w1 = r1;
  reduced.w0 = r0;
  // r2 counts 2^−1: bit 31 of that word is 2^30.
  normaliseReduced();
  return quotient & 3;
}

function normaliseReduced(): void {
  if ((reduced.w2 | reduced.w1 | reduced.w0) === 0) return;
  while (reduced.w2 === 0) {
    reduced.w2 = reduced.w1;
    reduced.w1 = reduced.w0;
    reduced.w0 = 0;
    reduced.exp -= 32;
  }
  const shift = Math.clz32(reduced.w2);
  if (shift === 0) return;
  reduced.w2 = (reduced.w2 << shift) | (reduced.w1 >>> (32 - shift));
  reduced.w1 = (reduced.w1 << shift) | (reduced.w0 >>> (32 - shift));
  reduced.w0 <<= shift;
  reduced.exp -= shift;
}

/** 2^a − 1 for |a| ≤ 1. */
export function powerMinusOne(a: Wide, out: Wide): void {
  multiplyWide(a, LN2, s1);
  copyWide(t, ONE);
  for (let k = 25; k >= 2; k--) {
    multiplyWide(t, s1, t);
    divideSmall(t, k, t);
    addWide(ONE, t, 0, t);
  }
  multiplyWide(t, s1, out);
}

/** 2·artanh(z)·log2 e = log2((1 + z) ÷ (1 − z)), |z| ≤ 0.172. */
function logarithmOfRatio(z: Wide, out: Wide): void {
  oddSeries(z, 19, 0);
  multiplyWide(t, LOG2_E, out);
  out.exp++;
}

/** z·(1 ± z²/3 + z⁴/5 ± …): artanh (`alternate` 0) or arctan (1), into t. */
function oddSeries(z: Wide, terms: number, alternate: number): void {
  multiplyWide(z, z, square);
  divideSmall(ONE, 2 * terms + 1, t);
  for (let k = terms - 1; k >= 0; k--) {
    multiplyWide(t, square, t);
    divideSmall(ONE, 2 * k + 1, s2);
    addWide(s2, t, alternate, t);
  }
  multiplyWide(t, z, t);
}

const m = new Wide();
const n = new Wide();
const d = new Wide();

/** log2 a for a > 0. */
export function logarithm(a: Wide, out: Wide): void {
  copyWide(m, a);
  m.sign = 0;
  let exponent = m.exp;
  m.exp = 0;
  // m in [√½, √2).
  if (m.w2 >>> 0 > 0xb504f333) {
    m.exp = -1;
    exponent++;
  }
  addWide(m, ONE, 1, n);
  addWide(m, ONE, 0, d);
  divideWide(n, d, n);
  logarithmOfRatio(n, out);
  if (exponent !== 0) {
    fromInteger(exponent, d);
    addWide(d, out, 0, out);
  }
}

/** log2(1 + a), a > −1; exact where |a| is small. */
export function logarithmPlusOne(a: Wide, out: Wide): void {
  // |a| below 0.29: the ratio a ÷ (2 + a) is small enough.
  if (a.exp < -2 || (a.exp === -2 && a.w2 >>> 0 < 0x95000000)) {
    fromInteger(2, d);
    addWide(d, a, 0, d);
    divideWide(a, d, n);
    logarithmOfRatio(n, out);
    return;
  }
  addWide(ONE, a, 0, out);
  logarithm(out, out);
}

/** arctan(k/8), k = 1…8; made when first needed. */
const ARCTANGENTS: Wide[] = [];

function fillArctangents(): void {
  const sum = new Wide();
  for (let k = 0; k < 8; k++) {
    // arctan((k + 1)/8) − arctan(k/8) = arctan(8 ÷ (64 + k(k + 1)))
    fromInteger(8, n);
    divideSmall(n, 64 + k * (k + 1), n);
    oddSeries(n, 17, 1);
    if (k === 0) copyWide(sum, t);
    else addWide(sum, t, 0, sum);
    ARCTANGENTS.push(wide(sum.exp, sum.w2, sum.w1, sum.w0));
  }
}

const ratio = new Wide();
const c = new Wide();

/** arctan(num ÷ den) of positive numbers, num ≤ den. */
function arctangentRatio(num: Wide, den: Wide, out: Wide): void {
  divideWide(num, den, ratio);
  ratio.sign = 0;
  const k = eighths(ratio);
  if (k === 0) {
    oddSeries(ratio, 17, 1);
    copyWide(out, t);
    return;
  }
  if (ARCTANGENTS.length === 0) fillArctangents();
  // (ratio − c) ÷ (1 + ratio·c), c = k/8.
  fromInteger(k, c);
  c.exp -= 3;
  multiplyWide(ratio, c, d);
  addWide(ONE, d, 0, d);
  addWide(ratio, c, 1, n);
  divideWide(n, d, n);
  if (n.w2 === 0) {
    copyWide(out, ARCTANGENTS[k - 1]!);
    return;
  }
  oddSeries(n, 17, 1);
  addWide(ARCTANGENTS[k - 1]!, t, 0, out);
}

/** The nearest multiple of 1/8, in eighths. */
function eighths(a: Wide): number {
  if (a.w2 === 0 || a.exp < -4) return 0;
  if (a.exp >= 0) return 8;
  // a × 16 = top bits.
  const sixteenths = a.w2 >>> (27 - a.exp);
  return (sixteenths + 1) >> 1;
}

const numerator = new Wide();
const denominator = new Wide();

/** Angle of the point (x, y), both finite and nonzero; sign of y. */
export function arctangent2(y: Wide, x: Wide, out: Wide): void {
  copyWide(numerator, y);
  copyWide(denominator, x);
  numerator.sign = denominator.sign = 0;
  addWide(denominator, numerator, 1, n);
  if (n.w2 !== 0 && n.sign !== 0) {
    arctangentRatio(denominator, numerator, out);
    addWide(HALF_PI, out, 1, out);
  } else arctangentRatio(numerator, denominator, out);
  if (x.sign !== 0) addWide(PI, out, 1, out);
  out.sign = y.sign;
}
