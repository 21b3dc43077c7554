/**
 * Extended numbers from and to single, double, integers and packed decimal. Intel SDM volume 1, 4.8 and 8.3.
 * A narrowing store raises its flags in `fp`; whether memory is then written is the caller's business.
 */
import {
  BIAS,
  classify,
  DE,
  EXP_MAX,
  type Extended,
  fp,
  CHOP,
  DENORMAL,
  DOWN,
  IE,
  INFINITY,
  MIN,
  nanOperand,
  OE,
  PE,
  QUIET,
  roundsUp,
  set,
  setZero,
  shifted,
  shiftRight,
  SIGNALING,
  UE,
  unpack,
  unpacked,
  UNSUPPORTED,
  UP,
  ZERO,
} from './extended.ts';

/** A 64-bit value, or a 32-bit one in `lo`. */
export const bits = { hi: 0, lo: 0 };

const u = unpacked();

/** Single-precision bits. Denormals raise DE, signaling NaNs IE (and become quiet). */
export function fromSingle(v: number, out: Extended): void {
  const sign = (v >>> 16) & 0x8000;
  const exp = (v >>> 23) & 0xff;
  const fraction = v & 0x7fffff;
  if (exp === 0xff) {
    if (fraction !== 0 && (v & 0x400000) === 0) fp.flags |= IE;
    set(out, sign | EXP_MAX, MIN | (fraction << 8) | (fraction !== 0 ? 0x40000000 : 0), 0);
  } else if (exp !== 0) set(out, sign | (exp + BIAS - 127), MIN | (fraction << 8), 0);
  else if (fraction === 0) set(out, sign, 0, 0);
  else {
    fp.flags |= DE;
    const shift = Math.clz32(fraction);
    set(out, sign | (BIAS - 126 + 8 - shift), fraction << shift, 0);
  }
}

/** Double-precision bits. */
export function fromDouble(hi: number, lo: number, out: Extended): void {
  const sign = (hi >>> 16) & 0x8000;
  const exp = (hi >>> 20) & 0x7ff;
  const high = hi & 0xfffff;
  const wideHi = (high << 11) | (lo >>> 21);
  const wideLo = lo << 11;
  if (exp === 0x7ff) {
    const nan = (high | lo) !== 0;
    if (nan && (hi & 0x80000) === 0) fp.flags |= IE;
    set(out, sign | EXP_MAX, MIN | wideHi | (nan ? 0x40000000 : 0), wideLo);
  } else if (exp !== 0) set(out, sign | (exp + BIAS - 1023), MIN | wideHi, wideLo);
  else if ((high | lo) === 0) set(out, sign, 0, 0);
  else {
    fp.flags |= DE;
    normalise(sign, BIAS - 1022, wideHi, wideLo, out);
  }
}

function normalise(sign: number, exp: number, hi: number, lo: number, out: Extended): void {
  if (hi === 0) {
    hi = lo;
    lo = 0;
    exp -= 32;
  }
  const shift = Math.clz32(hi);
  if (shift !== 0) {
    hi = (hi << shift) | (lo >>> (32 - shift));
    lo <<= shift;
  }
  set(out, sign | (exp - shift), hi, lo);
}

export function fromInt32(v: number, out: Extended): void {
  if (v === 0) set(out, 0, 0, 0);
  else normalise(v < 0 ? 0x8000 : 0, BIAS + 31, v < 0 ? -v | 0 : v, 0, out);
}

export function fromInt64(hi: number, lo: number, out: Extended): void {
  if ((hi | lo) === 0) {
    set(out, 0, 0, 0);
    return;
  }
  const negative = hi < 0;
  if (negative) {
    lo = -lo | 0;
    hi = lo === 0 ? -hi | 0 : ~hi;
  }
  normalise(negative ? 0x8000 : 0, BIAS + 63, hi, lo, out);
}

/** To single: the bits in `bits.lo`. */
export function toSingle(a: Extended): void {
  const sign = a.se >> 15;
  const kind = classify(a);
  if (kind >= INFINITY) {
    if (kind === UNSUPPORTED) {
      fp.flags |= IE;
      bits.lo = 0xffc00000 | 0;
      return;
    }
    if (kind === SIGNALING) fp.flags |= IE;
    bits.lo = (sign << 31) | 0x7f800000 | ((a.hi & 0x7fffffff) >>> 8) | (kind >= QUIET ? 0x400000 : 0);
    return;
  }
  if (kind === ZERO) {
    bits.lo = sign << 31;
    return;
  }
  unpack(a, u);
  let exp = u.exp - BIAS + 127;
  let hi = u.hi;
  let rest = (hi << 24) | (u.lo !== 0 ? 1 : 0);
  let kept = hi >>> 8;
  if (exp <= 0) {
    const tiny = exp < 0 || kept !== 0xffffff || !roundsUp(sign, kept, rest);
    shiftRight(u.hi, u.lo, 0, 1 - exp);
    hi = shifted.hi;
    rest = (hi << 24) | ((shifted.lo | shifted.rest) !== 0 ? 1 : 0);
    kept = hi >>> 8;
    exp = 0;
    if (tiny && (rest !== 0 || (fp.masks & UE) === 0)) fp.flags |= UE;
  }
  if (rest !== 0) fp.flags |= PE;
  // A carry out of the significand goes into the exponent by itself.
  let packed = exp === 0 ? kept : ((exp << 23) | (kept & 0x7fffff)) >>> 0;
  if (exp < 255 && roundsUp(sign, kept, rest)) {
    packed++;
    fp.up = 1;
  }
  if (exp >= 255 || packed >= 0x7f800000) {
    packed = towardsZero(sign) ? 0x7f7fffff : 0x7f800000;
    overflow(packed === 0x7f800000);
  }
  bits.lo = packed | (sign << 31);
}

function towardsZero(sign: number): boolean {
  return fp.rounding === CHOP || fp.rounding === (sign !== 0 ? UP : DOWN);
}
function overflow(up: boolean): void {
  fp.flags |= OE | PE;
  fp.up = up ? 1 : 0;
}

/** To double: the bits in `bits`. */
export function toDouble(a: Extended): void {
  const sign = a.se >> 15;
  const kind = classify(a);
  if (kind >= INFINITY) {
    if (kind === UNSUPPORTED) {
      fp.flags |= IE;
      bits.hi = 0xfff80000 | 0;
      bits.lo = 0;
      return;
    }
    if (kind === SIGNALING) fp.flags |= IE;
    bits.hi = (sign << 31) | 0x7ff00000 | ((a.hi & 0x7fffffff) >>> 11) | (kind >= QUIET ? 0x80000 : 0);
    bits.lo = (a.hi << 21) | (a.lo >>> 11);
    return;
  }
  if (kind === ZERO) {
    bits.hi = sign << 31;
    bits.lo = 0;
    return;
  }
  unpack(a, u);
  let exp = u.exp - BIAS + 1023;
  let { hi, lo } = u;
  let rest = lo << 21;
  if (exp <= 0) {
    const tiny = exp < 0 || hi !== -1 || lo >>> 11 !== 0x1fffff || !roundsUp(sign, 1, rest);
    shiftRight(hi, lo, 0, 1 - exp);
    hi = shifted.hi;
    lo = shifted.lo;
    rest = (lo << 21) | (shifted.rest !== 0 ? 1 : 0);
    exp = 0;
    if (tiny && (rest !== 0 || (fp.masks & UE) === 0)) fp.flags |= UE;
  }
  if (rest !== 0) fp.flags |= PE;
  let low = (hi << 21) | (lo >>> 11);
  let high = exp === 0 ? hi >>> 11 : (exp << 20) | ((hi >>> 11) & 0xfffff);
  if (exp < 2047 && roundsUp(sign, low, rest)) {
    low = (low + 1) | 0;
    if (low === 0) high++;
    fp.up = 1;
  }
  if (exp >= 2047 || high >= 0x7ff00000) {
    const chop = towardsZero(sign);
    high = chop ? 0x7fefffff : 0x7ff00000;
    low = chop ? -1 : 0;
    overflow(!chop);
  }
  bits.hi = high | (sign << 31);
  bits.lo = low;
}

/** Rounds a finite number's magnitude to an integer: bits and PE, C1. False: 2^64 or more. */
function integerMagnitude(a: Extended): boolean {
  unpack(a, u);
  const shift = BIAS + 63 - u.exp;
  if (shift < 0) return false;
  shiftRight(u.hi, u.lo, 0, shift);
  bits.hi = shifted.hi;
  bits.lo = shifted.lo;
  if (shifted.rest === 0) return true;
  fp.flags |= PE;
  if (!roundsUp(a.se >> 15, bits.lo, shifted.rest)) return true;
  fp.up = 1;
  bits.lo = (bits.lo + 1) | 0;
  if (bits.lo === 0) {
    bits.hi = (bits.hi + 1) | 0;
    if (bits.hi === 0) return false;
  }
  return true;
}

/** To a signed integer of 16, 32 or 64 bits, in `bits` (lo alone below 64); out of range: IE and the most negative integer. */
export function toInteger(a: Extended, size: 16 | 32 | 64): void {
  const kind = classify(a);
  if (kind === ZERO) {
    bits.hi = bits.lo = 0;
    return;
  }
  const sign = a.se >> 15;
  if (kind < INFINITY && integerMagnitude(a)) {
    const { hi, lo } = bits;
    if (size === 64) {
      if (hi >= 0 || (sign !== 0 && hi === MIN && lo === 0)) {
        if (sign !== 0) negate();
        return;
      }
    } else if (hi === 0) {
      const limit = size === 32 ? 0x80000000 : 0x8000;
      if (lo >>> 0 < limit + sign) {
        if (sign !== 0) negate();
        return;
      }
    }
  }
  fp.flags = (fp.flags & ~PE) | IE;
  fp.up = 0;
  bits.hi = MIN;
  bits.lo = size === 64 ? 0 : size === 32 ? MIN : -0x8000;
}

function negate(): void {
  bits.lo = -bits.lo | 0;
  bits.hi = bits.lo === 0 ? -bits.hi | 0 : ~bits.hi;
}

/** FRNDINT. */
export function roundToInteger(a: Extended, out: Extended): void {
  const kind = classify(a);
  if (nanOperand(a, kind, out)) return;
  if (kind === DENORMAL) fp.flags |= DE;
  const { se, hi, lo } = a;
  if (kind === ZERO || kind === INFINITY || (se & EXP_MAX) >= BIAS + 63) {
    set(out, se, hi, lo);
    return;
  }
  if (integerMagnitude(a)) {
    if ((bits.hi | bits.lo) === 0) setZero(out, se >> 15);
    else normalise(se & 0x8000, BIAS + 63, bits.hi, bits.lo, out);
  }
}

/** Packed decimal, 18 digits: ten bytes with the sign in the last one's top bit. Digits above 9 count as they stand. */
export function fromDecimal(bytes: Uint8Array, out: Extended): void {
  let hi = 0;
  let lo = 0;
  for (let i = 8; i >= 0; i--) {
    const two = bytes[i]!;
    const v = (two >> 4) * 10 + (two & 15);
    const product = (lo >>> 0) * 100 + v;
    lo = product | 0;
    hi = (Math.imul(hi, 100) + Math.floor(product / 4294967296)) | 0;
  }
  fromInt64(hi, lo, out);
  out.se |= (bytes[9]! & 0x80) << 8;
}

const E18_HI = 0x0de0b6b3;
const E18_LO = 0xa7640000;

/** To packed decimal; out of range: IE and the indefinite FFFF C000 0000 0000 0000. */
export function toDecimal(a: Extended, bytes: Uint8Array): void {
  const kind = classify(a);
  bits.hi = bits.lo = 0;
  if (kind !== ZERO) {
    const fits =
      kind < INFINITY &&
      integerMagnitude(a) &&
      (bits.hi >>> 0 < E18_HI || (bits.hi === E18_HI && bits.lo >>> 0 < E18_LO));
    if (!fits) {
      fp.flags = (fp.flags & ~PE) | IE;
      fp.up = 0;
      bytes.fill(0);
      bytes[7] = 0xc0;
      bytes[8] = bytes[9] = 0xff;
      return;
    }
  }
  let { hi, lo } = bits;
  for (let i = 0; i < 9; i++) {
    // hi < 2^28: hi % 100 × 2^32 + lo stays far below 2^53.
    const quotient = Math.floor((hi >>> 0) / 100);
    const low = ((hi >>> 0) - quotient * 100) * 4294967296 + (lo >>> 0);
    const next = Math.floor(low / 100);
    const two = low - next * 100;
    hi = quotient;
    lo = next | 0;
    bytes[i] = ((two / 10) << 4) | (two % 10);
  }
  bytes[9] = (a.se >> 8) & 0x80;
}
