/**
 * Single-precision arithmetic as SSE does it: rounding modes, flush to zero, exception flags, NaNs. Lanes are 32-bit patterns
 * (numbers would lose NaN payloads). Intel SDM volume 1, 11.5 and appendix E.
 *
 * A double holds the result of one operation on singles to more than twice their precision, so rounding it once more is
 * right (Figueroa), and the sign of what was rounded away can be had exactly: flags and other rounding modes follow from it.
 */

export const IE = 1;
export const DE = 2;
export const ZE = 4;
export const OE = 8;
export const UE = 16;
export const PE = 32;

/** Settings from MXCSR, and the flags raised. */
export const sse = {
  rounding: 0,
  flushToZero: false,
  denormalsAreZero: false,
  underflowMasked: true,
  flags: 0,
};

const QUIET = 0x400000;
const INDEFINITE = 0xffc00000 | 0;
const MIN = -0x80000000;
const LEAST_NORMAL = 2 ** -126;
const SCALE = 2 ** 64;

const bitsView = new Int32Array(1);
const floatView = new Float32Array(bitsView.buffer);
const doubleWords = new Int32Array(2);
const doubleView = new Float64Array(doubleWords.buffer);

function toNumber(bits: number): number {
  bitsView[0] = bits;
  return floatView[0]!;
}
function toBits(v: number): number {
  floatView[0] = v;
  return bitsView[0]!;
}

export function isNaN32(bits: number): boolean {
  return (bits & 0x7fffffff) > 0x7f800000;
}
export function isSignaling32(bits: number): boolean {
  return isNaN32(bits) && (bits & QUIET) === 0;
}
function isDenormal(bits: number): boolean {
  return (bits & 0x7f800000) === 0 && (bits & 0x7fffff) !== 0;
}

/** One of the operands is a NaN: the first that is one, quiet. */
function propagate(a: number, b: number): number {
  if (isSignaling32(a) || isSignaling32(b)) sse.flags |= IE;
  return (isNaN32(a) ? a : b) | QUIET;
}

/** Rounds to nearest what is `magnitude` away from the pattern (sign of `rest` says where the exact value lies). */
function direct(bits: number, rest: number): number {
  if (rest === 0 || sse.rounding === 0) return bits;
  const negative = bits < 0;
  const beyond = negative ? rest < 0 : rest > 0;
  const away = sse.rounding === (negative ? 1 : 2);
  if (beyond) return away ? bits + 1 : bits;
  return away ? bits : bits - 1;
}

/**
 * Delivers a nonzero exact result known as nearest single `nearest` and the sign of (exact − nearest). `tiny`: rounded with an
 * unlimited exponent it lies below the least normal number. `beyond`: its magnitude is 2^128 or more.
 */
function deliver(nearest: number, rest: number, tiny: boolean, beyond: boolean): number {
  const bits = direct(toBits(nearest), rest);
  if (beyond || (bits & 0x7fffffff) === 0x7f800000) sse.flags |= OE | PE;
  if (rest !== 0) sse.flags |= PE;
  if (!tiny) return bits;
  if (sse.flushToZero && sse.underflowMasked) {
    sse.flags |= UE | PE;
    return bits & MIN;
  }
  if (rest !== 0 || !sse.underflowMasked) sse.flags |= UE;
  return bits;
}

/** Sign of exact − nearest where nearest may have become infinite. */
function restOf(nearest: number, difference: number): number {
  return nearest === Infinity ? -1 : nearest === -Infinity ? 1 : difference;
}

function exactlyTiny(scaled: number, rest: number): boolean {
  return (direct(toBits(scaled), rest) & 0x7fffffff) < 0x20800000; // 2^(−126 + 64)
}

/** a + b; subtraction is addition of b with its sign turned, unless b is a NaN. */
function sum(a: number, b: number): number {
  const x = toNumber(a);
  const y = toNumber(b);
  if (Math.abs(x) === Infinity || Math.abs(y) === Infinity) {
    if (x === -y) {
      sse.flags |= IE;
      return INDEFINITE;
    }
    denormalOperands(a, b);
    return Math.abs(x) === Infinity ? a : b;
  }
  denormalOperands(a, b);
  const s = x + y;
  if (s === 0) {
    if (((a | b) & 0x7fffffff) === 0) return a === b ? a : sse.rounding === 1 ? MIN : 0;
    return sse.rounding === 1 ? MIN : 0;
  }
  const t = s - x;
  const error = x - (s - t) + (y - t);
  const nearest = Math.fround(s);
  const difference = s - nearest;
  const size = Math.abs(s);
  const beyond = size > 2 ** 128 || (size === 2 ** 128 && error * s >= 0);
  // Sums of singles are multiples of the least denormal: tiny ones are exact.
  return deliver(
    nearest,
    restOf(nearest, difference !== 0 ? difference : error),
    size < LEAST_NORMAL,
    beyond,
  );
}

function denormalOperands(a: number, b: number): void {
  if (isDenormal(a) || isDenormal(b)) sse.flags |= DE;
}

export function add32(a: number, b: number): number {
  return isNaN32(a) || isNaN32(b) ? propagate(a, b) : sum(a, b);
}
export function subtract32(a: number, b: number): number {
  return isNaN32(a) || isNaN32(b) ? propagate(a, b) : sum(a, b ^ MIN);
}

export function multiply32(a: number, b: number): number {
  if (isNaN32(a) || isNaN32(b)) return propagate(a, b);
  const p = toNumber(a) * toNumber(b);
  if (Number.isNaN(p)) {
    sse.flags |= IE;
    return INDEFINITE;
  }
  denormalOperands(a, b);
  if (p === 0) return (a ^ b) & MIN;
  return round32(p);
}

/** Rounds an exact nonzero number, or an infinity, to single. */
function round32(p: number): number {
  if (Math.abs(p) === Infinity) return toBits(p);
  const nearest = Math.fround(p);
  let tiny = false;
  if (Math.abs(p) < LEAST_NORMAL) {
    const scaled = Math.fround(p * SCALE);
    tiny = exactlyTiny(scaled, p * SCALE - scaled);
  }
  return deliver(nearest, restOf(nearest, p - nearest), tiny, Math.abs(p) >= 2 ** 128);
}

export function divide32(a: number, b: number): number {
  if (isNaN32(a) || isNaN32(b)) return propagate(a, b);
  const x = toNumber(a);
  const y = toNumber(b);
  const q = x / y;
  if (Number.isNaN(q)) {
    sse.flags |= IE;
    return INDEFINITE;
  }
  if (y === 0) {
    if (Math.abs(x) !== Infinity) sse.flags |= ZE;
    return toBits(q);
  }
  denormalOperands(a, b);
  if (x === 0 || Math.abs(y) === Infinity) return (a ^ b) & MIN;
  if (Math.abs(x) === Infinity) return toBits(q);
  const nearest = Math.fround(q);
  const sign = y < 0 ? -1 : 1;
  let tiny = false;
  if (Math.abs(q) <= LEAST_NORMAL) {
    const scaled = Math.fround(q * SCALE);
    tiny = exactlyTiny(scaled, (x * SCALE - scaled * y) * sign);
  }
  return deliver(nearest, restOf(nearest, (x - nearest * y) * sign), tiny, Math.abs(q) >= 2 ** 128);
}

export function squareRoot32(_a: number, b: number): number {
  if (isNaN32(b)) return propagate(b, b);
  const x = toNumber(b);
  if (x === 0) return b;
  if (x < 0) {
    sse.flags |= IE;
    return INDEFINITE;
  }
  denormalOperands(b, b);
  if (x === Infinity) return b;
  const nearest = Math.fround(Math.sqrt(x));
  return deliver(nearest, x - nearest * nearest, false, false);
}

/** MINPS, MAXPS: the second operand where the two are zeros or one is a NaN. */
export function minimum32(a: number, b: number): number {
  return ordered(a, b) && toNumber(a) < toNumber(b) ? a : b;
}
export function maximum32(a: number, b: number): number {
  return ordered(a, b) && toNumber(a) > toNumber(b) ? a : b;
}
/** Any NaN is invalid. */
function ordered(a: number, b: number): boolean {
  if (isNaN32(a) || isNaN32(b)) {
    sse.flags |= IE;
    return false;
  }
  denormalOperands(a, b);
  return true;
}

/** −1 less, 0 equal, 1 greater, 2 unordered. `quiet`: only signaling NaNs are invalid. */
export function compare32(a: number, b: number, quiet: boolean): number {
  if (isNaN32(a) || isNaN32(b)) {
    if (!quiet || isSignaling32(a) || isSignaling32(b)) sse.flags |= IE;
    return 2;
  }
  denormalOperands(a, b);
  const x = toNumber(a);
  const y = toNumber(b);
  return x < y ? -1 : x > y ? 1 : 0;
}

/** CMPPS predicates 0–7: mask of ones or zero. */
export function predicate32(a: number, b: number, which: number): number {
  const relation = compare32(a, b, (which & 3) === 0 || (which & 3) === 3);
  let holds: boolean;
  switch (which & 3) {
    case 0:
      holds = relation === 0;
      break;
    case 1:
      holds = relation === -1;
      break;
    case 2:
      holds = relation <= 0;
      break;
    default:
      holds = relation === 2;
  }
  return holds !== ((which & 4) !== 0) ? -1 : 0;
}

export function fromInteger32(v: number): number {
  const nearest = Math.fround(v);
  const rest = v - nearest;
  if (rest !== 0) sse.flags |= PE;
  return direct(toBits(nearest), rest);
}

/** A single to a signed 32-bit integer, rounded as MXCSR says or `chop`ped; out of range: IE and 80000000. */
export function toInteger32(bits: number, chop: boolean): number {
  return roundToInteger(toNumber(bits), chop);
}

/** The same for any number. */
export function roundToInteger(x: number, chop: boolean): number {
  if (Number.isNaN(x)) {
    sse.flags |= IE;
    return MIN;
  }
  const mode = chop ? 3 : sse.rounding;
  let v: number;
  if (mode === 1) v = Math.floor(x);
  else if (mode === 2) v = Math.ceil(x);
  else if (mode === 3) v = Math.trunc(x);
  else {
    v = Math.floor(x);
    const fraction = x - v;
    if (fraction > 0.5 || (fraction === 0.5 && v % 2 !== 0)) v++;
  }
  if (v < MIN || v > 0x7fffffff) {
    sse.flags |= IE;
    return MIN;
  }
  if (v !== x) sse.flags |= PE;
  return v | 0;
}

/** CVTSD2SS: a double, as words and as a number, to single. */
export function fromDouble(hi: number, lo: number, v: number): number {
  if (Number.isNaN(v)) {
    if ((hi & 0x80000) === 0) sse.flags |= IE;
    return (hi & MIN) | 0x7f800000 | QUIET | ((hi & 0x7ffff) << 3) | (lo >>> 29);
  }
  if (v === 0) return hi;
  if ((hi & 0x7ff00000) === 0) sse.flags |= DE;
  return round32(v);
}

/** CVTSS2SD: puts the double's words, low first, at `to[at]`. Exact. */
export function toDouble(bits: number, to: Int32Array, at: number): void {
  if (isNaN32(bits)) {
    if (isSignaling32(bits)) sse.flags |= IE;
    to[at] = bits << 29;
    to[at + 1] = (bits & MIN) | 0x7ff80000 | ((bits & 0x7fffff) >> 3);
    return;
  }
  if (isDenormal(bits)) sse.flags |= DE;
  doubleView[0] = toNumber(bits);
  to[at] = doubleWords[0]!;
  to[at + 1] = doubleWords[1]!;
}

/** DAZ: denormal lanes become zeros of their sign. */
export function flushDenormals32(lanes: Int32Array, count: number): void {
  for (let i = 0; i < count; i++) if (isDenormal(lanes[i]!)) lanes[i] = lanes[i]! & MIN;
}
/** The same for doubles. */
export function flushDenormals64(words: Int32Array, count: number): void {
  for (let i = 0; i < count; i++) {
    if ((words[i * 2 + 1]! & 0x7ff00000) !== 0) continue;
    words[i * 2] = 0;
    words[i * 2 + 1] = words[i * 2 + 1]! & MIN;
  }
}

/** RCPPS as QEMU has it: the correctly rounded quotient (silicon has 12 bits). Raises nothing. */
export function reciprocal32(_a: number, b: number): number {
  if (isNaN32(b)) return b | QUIET;
  return toBits(1 / toNumber(b));
}
/** RSQRTPS: one over the rounded square root. */
export function reciprocalRoot32(_a: number, b: number): number {
  if (isNaN32(b)) return b | QUIET;
  const x = toNumber(b);
  if (x < 0) return INDEFINITE;
  return toBits(1 / Math.fround(Math.sqrt(x)));
}
