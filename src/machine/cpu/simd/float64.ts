/**
 * Double-precision arithmetic as SSE2 does it: rounding modes, flush to zero, exception flags, NaNs. Operations work on lane `i` of
 * the operand buffers: d = d op s. Intel SDM volume 1, 11.5 and appendix E.
 *
 * Each result is had as the nearest double `m` of a scaled computation that cannot overflow or underflow, and the sign of what was
 * rounded away, which error-free transformations (Knuth, Dekker) give exactly; deliver() does the rest.
 */
import { DE, IE, OE, PE, sse, UE, ZE } from './float32.ts';
import { d32, d64, s32, s64 } from './operands.ts';

const QUIET = 0x80000;
const MIN = -0x80000000;
const LEAST_NORMAL = 2 ** -1022;
const SPLITTER = 2 ** 27 + 1;

const words = new Int32Array(2);
const double = new Float64Array(words.buffer);

export function isNaN64(hi: number, lo: number): boolean {
  const magnitude = hi & 0x7fffffff;
  return magnitude > 0x7ff00000 || (magnitude === 0x7ff00000 && lo !== 0);
}
/** A signaling one, given that it is a NaN. */
function signals(hi: number): boolean {
  return (hi & QUIET) === 0;
}
function isDenormal(v: number): boolean {
  return v !== 0 && v > -LEAST_NORMAL && v < LEAST_NORMAL;
}
function denormalOperands(x: number, y: number): void {
  if (isDenormal(x) || isDenormal(y)) sse.flags |= DE;
}
function setWords(i: number, hi: number, lo: number): void {
  d32[i * 2] = lo;
  d32[i * 2 + 1] = hi;
}
function setIndefinite(i: number): void {
  sse.flags |= IE;
  setWords(i, 0xfff80000 | 0, 0);
}

/** If one of the operands is a NaN: the first that is one, quiet. */
function propagates(i: number): boolean {
  const ahi = d32[i * 2 + 1]!;
  const bhi = s32[i * 2 + 1]!;
  const a = isNaN64(ahi, d32[i * 2]!);
  const b = isNaN64(bhi, s32[i * 2]!);
  if (!a && !b) return false;
  if ((a && signals(ahi)) || (b && signals(bhi))) sse.flags |= IE;
  if (a) d32[i * 2 + 1] = ahi | QUIET;
  else setWords(i, bhi | QUIET, s32[i * 2]!);
  return true;
}

/** Unbiased exponent of a finite nonzero number, and its significand in [1, 2). */
let significand = 0;
function split(v: number): number {
  double[0] = v;
  let offset = 0;
  if ((words[1]! & 0x7ff00000) === 0) {
    double[0] = v * 2 ** 54;
    offset = -54;
  }
  const exponent = ((words[1]! >> 20) & 0x7ff) - 1023 + offset;
  words[1] = (words[1]! & 0x800fffff) | 0x3ff00000;
  significand = double[0]!;
  return exponent;
}

/** Exact error of the product p of a and b; no overflow and no underflow. */
function productError(a: number, b: number, p: number): number {
  const ca = SPLITTER * a;
  const ah = ca - (ca - a);
  const al = a - ah;
  const cb = SPLITTER * b;
  const bh = cb - (cb - b);
  const bl = b - bh;
  return al * bl - (p - ah * bh - al * bh - ah * bl);
}

/** Rounds an exact magnitude of `v` × 2^−1074, and a bit more or less by the sign of `error`, to that unit. */
function toDenormal(v: number, error: number, away: boolean): number {
  const down = Math.floor(v);
  const fraction = v - down;
  const rest = fraction !== 0 ? fraction : error;
  if (rest === 0) return down;
  // `floor`: the greatest unit not above the exact value.
  const floor = rest < 0 ? down - 1 : down;
  sse.flags |= PE | UE;
  if (sse.rounding !== 0) return away ? floor + 1 : floor;
  if (fraction === 0) return down;
  if (fraction !== 0.5) return fraction > 0.5 ? down + 1 : down;
  if (error !== 0) return error > 0 ? down + 1 : down;
  return down + (down % 2);
}

/**
 * Delivers (−1)^sign × (m + a bit by the sign of `error`) × 2^k into lane i; m is a positive double nearest to the exact
 * significand.
 */
function deliver(i: number, negative: boolean, m: number, error: number, k: number): void {
  let exponent = split(m) + k;
  const nearest = significand;
  const away = sse.rounding === (negative ? 1 : 2);
  double[0] = nearest;
  if (sse.rounding !== 0 && error !== 0) {
    if (error > 0 && away) {
      words[0] = words[0]! + 1;
      if (words[0] === 0) words[1] = words[1]! + 1;
    } else if (error < 0 && !away) {
      if (words[0] === 0) words[1] = words[1]! - 1;
      words[0] = words[0]! - 1;
    }
  }
  exponent += ((words[1]! >> 20) & 0x7ff) - 1023;
  const sign = negative ? MIN : 0;
  if (exponent > 1023) {
    sse.flags |= OE | PE;
    if (sse.rounding === 0 || away) setWords(i, sign | 0x7ff00000, 0);
    else setWords(i, sign | 0x7fefffff, -1);
    return;
  }
  if (exponent >= -1022) {
    if (error !== 0) sse.flags |= PE;
    setWords(i, sign | (words[1]! & 0xfffff) | ((exponent + 1023) << 20), words[0]!);
    return;
  }
  if (sse.flushToZero && sse.underflowMasked) {
    sse.flags |= UE | PE;
    setWords(i, sign, 0);
    return;
  }
  if (!sse.underflowMasked) sse.flags |= UE;
  const units = nearest * 2 ** Math.max(-100, split(m) + k + 1074);
  const v = toDenormal(units, error, away);
  setWords(i, sign | Math.floor(v / 2 ** 32), (v % 2 ** 32) | 0);
}

/** d + y, where y is s or −s. */
function sum(i: number, y: number): void {
  const x = d64[i]!;
  if (Math.abs(x) === Infinity || Math.abs(y) === Infinity) {
    if (x === -y) {
      setIndefinite(i);
      return;
    }
    denormalOperands(x, y);
    d64[i] = Math.abs(x) === Infinity ? x : y;
    return;
  }
  denormalOperands(x, y);
  let scale = 0;
  let a = x;
  let b = y;
  let s = a + b;
  if (Math.abs(s) === Infinity) {
    a /= 2;
    b /= 2;
    s = a + b;
    scale = 1;
  }
  if (s === 0) {
    if (x === 0 && Object.is(x, y)) return;
    setWords(i, sse.rounding === 1 ? MIN : 0, 0);
    return;
  }
  const t = s - a;
  const error = a - (s - t) + (b - t);
  deliver(i, s < 0, Math.abs(s), s < 0 ? -error : error, scale);
}

export function add64(i: number): void {
  if (!propagates(i)) sum(i, s64[i]!);
}
export function subtract64(i: number): void {
  if (!propagates(i)) sum(i, -s64[i]!);
}

/** Signs of d and s differ. */
function signsDiffer(i: number): boolean {
  return (d32[i * 2 + 1]! ^ s32[i * 2 + 1]!) < 0;
}

export function multiply64(i: number): void {
  if (propagates(i)) return;
  const x = d64[i]!;
  const y = s64[i]!;
  const negative = signsDiffer(i);
  const p = x * y;
  if (Number.isNaN(p)) {
    setIndefinite(i);
    return;
  }
  denormalOperands(x, y);
  if (x === 0 || y === 0 || Math.abs(x) === Infinity || Math.abs(y) === Infinity) {
    d64[i] = p;
    return;
  }
  const ex = split(Math.abs(x));
  const mx = significand;
  const ey = split(Math.abs(y));
  const m = mx * significand;
  deliver(i, negative, m, productError(mx, significand, m), ex + ey);
}

export function divide64(i: number): void {
  if (propagates(i)) return;
  const x = d64[i]!;
  const y = s64[i]!;
  const q = x / y;
  if (Number.isNaN(q)) {
    setIndefinite(i);
    return;
  }
  if (y === 0) {
    if (Math.abs(x) !== Infinity) sse.flags |= ZE;
    d64[i] = q;
    return;
  }
  denormalOperands(x, y);
  if (x === 0 || Math.abs(x) === Infinity || Math.abs(y) === Infinity) {
    d64[i] = q;
    return;
  }
  const negative = signsDiffer(i);
  const ex = split(Math.abs(x));
  const mx = significand;
  const ey = split(Math.abs(y));
  const my = significand;
  const m = mx / my;
  const p = m * my;
  // Exact: a remainder of the nearest quotient is a double.
  deliver(i, negative, m, mx - p - productError(m, my, p), ex - ey);
}

export function squareRoot64(i: number): void {
  const hi = s32[i * 2 + 1]!;
  if (isNaN64(hi, s32[i * 2]!)) {
    if (signals(hi)) sse.flags |= IE;
    setWords(i, hi | QUIET, s32[i * 2]!);
    return;
  }
  const x = s64[i]!;
  if (x < 0) {
    setIndefinite(i);
    return;
  }
  denormalOperands(x, x);
  if (x === 0 || x === Infinity) {
    d64[i] = x;
    return;
  }
  const exponent = split(x);
  const odd = exponent & 1;
  const v = odd === 0 ? significand : significand * 2;
  const m = Math.sqrt(v);
  const p = m * m;
  deliver(i, false, m, v - p - productError(m, m, p), (exponent - odd) / 2);
}

/** −1 less, 0 equal, 1 greater, 2 unordered: d against s. `quiet`: only signaling NaNs are invalid. */
export function compare64(i: number, quiet: boolean): number {
  const ahi = d32[i * 2 + 1]!;
  const bhi = s32[i * 2 + 1]!;
  const a = isNaN64(ahi, d32[i * 2]!);
  const b = isNaN64(bhi, s32[i * 2]!);
  if (a || b) {
    if (!quiet || (a && signals(ahi)) || (b && signals(bhi))) sse.flags |= IE;
    return 2;
  }
  const x = d64[i]!;
  const y = s64[i]!;
  denormalOperands(x, y);
  return x < y ? -1 : x > y ? 1 : 0;
}

function takeSource(i: number): void {
  setWords(i, s32[i * 2 + 1]!, s32[i * 2]!);
}
/** MINPD, MAXPD: the second operand where the two are zeros or one is a NaN. */
export function minimum64(i: number): void {
  if (compare64(i, false) !== -1) takeSource(i);
}
export function maximum64(i: number): void {
  if (compare64(i, false) !== 1) takeSource(i);
}

/** CMPPD predicates 0–7: mask of ones or zero. */
export function predicate64(i: number, which: number): void {
  const relation = compare64(i, (which & 3) === 0 || (which & 3) === 3);
  const low = which & 3;
  const holds =
    low === 0 ? relation === 0 : low === 1 ? relation === -1 : low === 2 ? relation <= 0 : relation === 2;
  const mask = holds !== ((which & 4) !== 0) ? -1 : 0;
  setWords(i, mask, mask);
}
