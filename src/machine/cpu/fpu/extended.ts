/**
 * 80-bit extended numbers in two 32-bit halves: representation, classification, NaNs, rounding. Intel SDM volume 1, 4.8 and
 * 8.2–8.5. All integers are signed 32-bit; no bigint, no allocation.
 *
 * Not here: the register stack (stack.ts) and single operations (arithmetic.ts and others).
 */

/** A number in memory format. One object is reused for each operand. */
export class Extended {
  /** Sign (bit 15) and biased exponent. */
  se = 0;
  /** Significand, bits 63–32; bit 31 is the integer bit. */
  hi = 0;
  lo = 0;
}

/** Exception flags of the status word, masks of the control word. SDM volume 1, 8.1.3. */
export const IE = 1;
export const DE = 2;
export const ZE = 4;
export const OE = 8;
export const UE = 16;
export const PE = 32;

export const BIAS = 0x3fff;
export const EXP_MAX = 0x7fff;
/** Unmasked overflow and underflow deliver a result whose exponent is off by this. SDM volume 1, 8.5.4. */
const WRAP = 24576;
export const MIN = -0x80000000;

/** Values of the control word's RC field. */
export const NEAREST = 0;
export const DOWN = 1;
export const UP = 2;
export const CHOP = 3;

/** The operation under way: settings from the control word, and what it raised. */
export const fp = {
  rounding: NEAREST,
  /** 24, 53 or 64 bits: add, subtract, multiply, divide, square root only. */
  precision: 64,
  /** Masked exceptions (control word bits 0–5). */
  masks: 0x3f,
  flags: 0,
  /** C1: the last rounding was away from zero. */
  up: 0,
};

export const ZERO = 0;
export const NORMAL = 1;
/** Also pseudo-denormal: exponent 0 with the integer bit set. */
export const DENORMAL = 2;
export const INFINITY = 3;
export const QUIET = 4;
export const SIGNALING = 5;
/** Unnormal, pseudo-infinity, pseudo-NaN: invalid since the 387. */
export const UNSUPPORTED = 6;

export function classify(a: Extended): number {
  const exp = a.se & EXP_MAX;
  if (a.hi < 0) {
    if (exp !== EXP_MAX) return exp === 0 ? DENORMAL : NORMAL;
    if (a.hi === MIN && a.lo === 0) return INFINITY;
    return (a.hi & 0x40000000) !== 0 ? QUIET : SIGNALING;
  }
  if (exp === 0) return (a.hi | a.lo) === 0 ? ZERO : DENORMAL;
  return UNSUPPORTED;
}

export function set(out: Extended, se: number, hi: number, lo: number): void {
  out.se = se;
  out.hi = hi;
  out.lo = lo;
}
export function copy(out: Extended, from: Extended): void {
  out.se = from.se;
  out.hi = from.hi;
  out.lo = from.lo;
}
export function setZero(out: Extended, sign: number): void {
  set(out, sign << 15, 0, 0);
}
export function setInfinity(out: Extended, sign: number): void {
  set(out, (sign << 15) | EXP_MAX, MIN, 0);
}
/** "Real indefinite". */
export function setIndefinite(out: Extended): void {
  set(out, 0xffff, 0xc0000000 | 0, 0);
}
/** Invalid operation: flag and masked response. */
export function invalid(out: Extended): void {
  fp.flags |= IE;
  setIndefinite(out);
}

/** One operand; a NaN or unsupported one is answered here. `kind` from classify(). */
export function nanOperand(a: Extended, kind: number, out: Extended): boolean {
  if (kind < QUIET) return false;
  if (kind === UNSUPPORTED) {
    invalid(out);
    return true;
  }
  if (kind === SIGNALING) fp.flags |= IE;
  set(out, a.se, a.hi | 0x40000000, a.lo);
  return true;
}

/** Two operands, of which one is a NaN or unsupported. SDM volume 1, table 4-7: quiet beats signaling, then the larger significand. */
export function nanOperands(a: Extended, ka: number, b: Extended, kb: number, out: Extended): boolean {
  if (ka < QUIET && kb < QUIET) return false;
  if (ka === UNSUPPORTED || kb === UNSUPPORTED) {
    invalid(out);
    return true;
  }
  if (ka < QUIET) return nanOperand(b, kb, out);
  if (kb < QUIET) return nanOperand(a, ka, out);
  if (ka === SIGNALING || kb === SIGNALING) fp.flags |= IE;
  const chosen = ka !== kb ? (ka === QUIET ? a : b) : largerSignificand(a, b) ? a : b;
  set(out, chosen.se, chosen.hi | 0x40000000, chosen.lo);
  return true;
}

function largerSignificand(a: Extended, b: Extended): boolean {
  if (a.hi !== b.hi) return a.hi >>> 0 > b.hi >>> 0;
  if (a.lo !== b.lo) return a.lo >>> 0 > b.lo >>> 0;
  return a.se < b.se;
}

/** A finite nonzero number with its significand normalised; exp is biased and may be below 1. */
export const unpacked = () => ({ exp: 0, hi: 0, lo: 0 });
export type Unpacked = ReturnType<typeof unpacked>;

export function unpack(a: Extended, u: Unpacked): void {
  let exp = a.se & EXP_MAX;
  let { hi, lo } = a;
  if (exp === 0) exp = 1;
  if (hi === 0) {
    hi = lo;
    lo = 0;
    exp -= 32;
  }
  const shift = Math.clz32(hi);
  if (shift !== 0) {
    hi = (hi << shift) | (lo >>> (32 - shift));
    lo <<= shift;
    exp -= shift;
  }
  u.exp = exp;
  u.hi = hi;
  u.lo = lo;
}

/** Whether rounding away from zero is due. `rest`: discarded bits, the half at bit 31, the rest sticky. */
export function roundsUp(sign: number, odd: number, rest: number): boolean {
  if (rest === 0) return false;
  switch (fp.rounding) {
    case NEAREST:
      return rest < 0 && (rest !== MIN || (odd & 1) !== 0);
    case DOWN:
      return sign !== 0;
    case UP:
      return sign === 0;
    default:
      return false;
  }
}

/** Words of a shift to the right: result and the bits shifted out (bit 0 sticky). */
export const shifted = { hi: 0, lo: 0, rest: 0 };

/** Shifts hi:lo:rest right by `by` (at least 0), keeping in `rest` that bits were lost. */
export function shiftRight(hi: number, lo: number, rest: number, by: number): void {
  let sticky = 0;
  if (by >= 96) {
    sticky = hi | lo | rest;
    hi = lo = rest = 0;
  } else {
    while (by >= 32) {
      sticky |= rest;
      rest = lo;
      lo = hi;
      hi = 0;
      by -= 32;
    }
    if (by !== 0) {
      sticky |= rest << (32 - by);
      rest = (rest >>> by) | (lo << (32 - by));
      lo = (lo >>> by) | (hi << (32 - by));
      hi >>>= by;
    }
  }
  shifted.hi = hi;
  shifted.lo = lo;
  shifted.rest = sticky !== 0 ? rest | 1 : rest;
}

/** Rounds a normalised significand and packs it. `exp` is biased and may lie out of range; `rest` as in roundsUp(). */
export function roundPack(
  sign: number,
  exp: number,
  hi: number,
  lo: number,
  rest: number,
  out: Extended,
): void {
  if (fp.precision !== 64 || exp <= 0 || exp >= EXP_MAX - 1) {
    roundPackSlow(sign, exp, hi, lo, rest, out);
    return;
  }
  if (rest !== 0) {
    fp.flags |= PE;
    if (roundsUp(sign, lo, rest)) {
      fp.up = 1;
      lo = (lo + 1) | 0;
      if (lo === 0) {
        hi = (hi + 1) | 0;
        if (hi === 0) {
          hi = MIN;
          exp++;
        }
      }
    }
  }
  out.se = (sign << 15) | exp;
  out.hi = hi;
  out.lo = lo;
}

/** Result of rounded(). */
const r = { hi: 0, lo: 0, carry: 0, inexact: false, up: false };

/** Rounds hi:lo:rest to the precision in force; carry: the significand became 2. */
function rounded(sign: number, hi: number, lo: number, rest: number): void {
  let unitHi = 0;
  let unitLo = 1;
  let odd = lo;
  if (fp.precision === 53) {
    rest = (lo << 21) | (rest !== 0 ? 1 : 0);
    lo &= ~0x7ff;
    unitLo = 0x800;
    odd = lo >>> 11;
  } else if (fp.precision === 24) {
    rest = (hi << 24) | (lo >>> 8) | ((lo & 0xff) !== 0 || rest !== 0 ? 1 : 0);
    hi &= ~0xff;
    lo = 0;
    unitHi = 0x100;
    unitLo = 0;
    odd = hi >>> 8;
  }
  r.carry = 0;
  r.inexact = rest !== 0;
  r.up = roundsUp(sign, odd, rest);
  if (r.up) {
    const sum = (lo + unitLo) | 0;
    const before = hi;
    hi = (hi + unitHi + (unitLo !== 0 && sum >>> 0 < unitLo ? 1 : 0)) | 0;
    lo = sum;
    if (hi >= 0 && before < 0) r.carry = 1;
  }
  r.hi = hi;
  r.lo = lo;
}

function roundPackSlow(sign: number, exp: number, hi: number, lo: number, rest: number, out: Extended): void {
  if (exp <= 0) {
    rounded(sign, hi, lo, rest);
    if (exp < 0 || r.carry === 0) {
      if ((fp.masks & UE) !== 0) {
        packTiny(sign, exp, hi, lo, rest, out);
        return;
      }
      fp.flags |= UE;
      exp += WRAP;
      if (exp + r.carry <= 0) {
        // FSCALE goes farther than that.
        setZero(out, sign);
        fp.flags |= PE;
        return;
      }
    } else {
      // Rounds to the least normal number: not tiny. Denormalised by one bit it gives the same number.
      packTiny(sign, exp, hi, lo, rest, out);
      fp.flags &= ~UE;
      return;
    }
  } else rounded(sign, hi, lo, rest);
  if (r.carry !== 0) {
    exp++;
    r.hi = MIN;
  }
  if (exp >= EXP_MAX) {
    fp.flags |= OE;
    if ((fp.masks & OE) !== 0) {
      packHuge(sign, out);
      return;
    }
    exp -= WRAP;
    if (exp >= EXP_MAX) {
      fp.flags |= PE;
      fp.up = 1;
      setInfinity(out, sign);
      return;
    }
  }
  if (r.inexact) fp.flags |= PE;
  if (r.up) fp.up = 1;
  set(out, (sign << 15) | exp, r.hi, r.lo);
}

/** Masked underflow: a denormal or the least normal number. */
function packTiny(sign: number, exp: number, hi: number, lo: number, rest: number, out: Extended): void {
  shiftRight(hi, lo, rest, 1 - exp);
  rounded(sign, shifted.hi, shifted.lo, shifted.rest);
  if (r.inexact) fp.flags |= UE | PE;
  if (r.up) fp.up = 1;
  set(out, (sign << 15) | (r.hi < 0 ? 1 : 0), r.hi, r.lo);
}

/** Masked overflow: infinity or the largest number of the precision. */
function packHuge(sign: number, out: Extended): void {
  fp.flags |= PE;
  const towardsZero = fp.rounding === CHOP || fp.rounding === (sign !== 0 ? UP : DOWN);
  if (!towardsZero) {
    fp.up = 1;
    setInfinity(out, sign);
    return;
  }
  if (fp.precision === 24) set(out, (sign << 15) | (EXP_MAX - 1), 0xffffff00 | 0, 0);
  else set(out, (sign << 15) | (EXP_MAX - 1), -1, fp.precision === 53 ? ~0x7ff : -1);
}

/** Packs an exact significand that need not be normalised (zero: +0 or, rounding down, −0 is the caller's business). */
export function packExact(sign: number, exp: number, hi: number, lo: number, out: Extended): void {
  if ((hi | lo) === 0) {
    setZero(out, sign);
    return;
  }
  if (hi === 0) {
    hi = lo;
    lo = 0;
    exp -= 32;
  }
  const shift = Math.clz32(hi);
  if (shift !== 0) {
    hi = (hi << shift) | (lo >>> (32 - shift));
    lo <<= shift;
    exp -= shift;
  }
  const precision = fp.precision;
  fp.precision = 64;
  roundPack(sign, exp, hi, lo, 0, out);
  fp.precision = precision;
}
