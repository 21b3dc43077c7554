/**
 * Comparison, rounding to an integer, and stores in narrower formats, as WebAssembly functions over normal numbers and zero.
 * A conversion leaves its value at FPU_VALUE and gives the status word that is due once the store has succeeded, with bit 16
 * set; 0: the cold operation must do it.
 */
import * as L from '../../layout.ts';
import type { Node } from '../node.ts';
import {
  BIAS,
  COLD,
  DONE,
  exactStatus,
  isNormal,
  isZero,
  operand,
  roundedMagnitude,
  roundedStatus,
  rounding,
  setResult,
  sign,
} from './number.ts';
import { Routine } from './routine.ts';

const SW_C0 = 0x100;
const SW_C3 = 0x4000;
/** In what a conversion returns: it went well. */
const CONVERTED = 0x10000;
const NOT_CONVERTED = 0;

function setValue(f: Routine, v: Node): void {
  f.out.store(64, f.k(L.FPU_VALUE), 0, v);
}
function converted(f: Routine, value: Node, status: Node): void {
  setValue(f, value);
  f.return(f.or(status, f.k(CONVERTED)));
}

/** compare(a, b): SW_C0 less, SW_C3 equal, 0 greater; −1: left to the cold operation. */
export function compare(): Routine {
  const f = new Routine(2);
  const a = operand(f, f.parameter(0));
  const b = operand(f, f.parameter(1));
  const zeroA = f.let(isZero(f, a));
  const zeroB = f.let(isZero(f, b));
  f.if(f.eqz(f.and(f.or(isNormal(f, a), zeroA), f.or(isNormal(f, b), zeroB))), () => f.return(-1));
  f.if(f.and(zeroA, zeroB), () => f.return(SW_C3));
  const negative = f.let(sign(f, a));
  f.if(f.ne(negative, sign(f, b)), () => f.return(f.sel(negative, f.k(SW_C0), f.k(0))));
  const same = f.bin64('eq', a.significand, b.significand);
  const sameExponent = f.let(f.eq(a.exponent, b.exponent));
  f.if(f.and(sameExponent, same), () => f.return(SW_C3));
  const smaller = f.sel(sameExponent, f.ltu64(a.significand, b.significand), f.ltu(a.exponent, b.exponent));
  f.return(f.sel(f.xor(smaller, f.ne(negative, f.k(0))), f.k(SW_C0), f.k(0)));
  return f;
}

/** roundToInteger(a, to): FRNDINT. */
export function roundToInteger(): Routine {
  const f = new Routine(2);
  const a = operand(f, f.parameter(0));
  const to = f.parameter(1);
  const whole = f.let(f.eqz(f.ltu(a.exponent, f.k(BIAS + 63))));
  const normal = f.let(isNormal(f, a));
  f.if(f.or(isZero(f, a), f.and(normal, whole)), () => {
    f.setState(L.FPU_SW, exactStatus(f));
    setResult(f, to, a.significand, a.se);
    f.return(DONE);
  });
  f.if(f.eqz(normal), () => f.return(COLD));
  const { magnitude, status } = roundedMagnitude(f, a, COLD);
  f.setState(L.FPU_SW, status);
  const shift = f.let(f.clz64(magnitude));
  const exponent = f.sub(f.k(BIAS + 63), f.low(shift));
  const se = f.sel(f.nonzero64(magnitude), exponent, f.k(0));
  setResult(f, to, f.shl64(magnitude, shift), f.or(sign(f, a), se));
  f.return(DONE);
  return f;
}

/** toInteger(a, limit): `limit` is the number of bits less one. */
export function toInteger(): Routine {
  const f = new Routine(2);
  const a = operand(f, f.parameter(0));
  f.if(isZero(f, a), () => converted(f, f.k64(0), exactStatus(f)));
  const small = f.ltu(a.exponent, f.k(BIAS + 63));
  f.if(f.eqz(f.and(isNormal(f, a), small)), () => f.return(NOT_CONVERTED));
  const { magnitude, status } = roundedMagnitude(f, a, NOT_CONVERTED);
  const negative = f.let(f.u64(f.ne(sign(f, a), f.k(0))));
  const most = f.add64(f.sub64(f.shl64(f.k64(1), f.parameter(1)), f.k64(1)), negative);
  f.if(f.gtu64(magnitude, most), () => f.return(NOT_CONVERTED));
  // Two's complement where negative.
  const inverted = f.bin64('xor', magnitude, f.sub64(f.k64(0), negative));
  converted(f, f.add64(inverted, negative), status);
  return f;
}

/** To a float of `bits` significand bits and exponent bias `bias`. */
function narrow(bits: number, bias: number, signShift: number): Routine {
  const f = new Routine(1);
  const a = operand(f, f.parameter(0));
  const top = f.let(f.shl64(f.u64(sign(f, a)), signShift));
  f.if(isZero(f, a), () => converted(f, top, exactStatus(f)));
  f.if(f.eqz(isNormal(f, a)), () => f.return(NOT_CONVERTED));
  const exponent = f.let(f.sub(a.exponent, f.k(BIAS - bias)));
  // What is tiny or may overflow is left.
  f.if(f.eqz(f.ltu(f.sub(exponent, f.k(1)), f.k(2 * bias - 1))), () => f.return(NOT_CONVERTED));
  const kept = f.variable(f.shr64(a.significand, 64 - bits));
  const rest = f.let(f.shl64(a.significand, bits));
  const r = rounding(
    f,
    f.let(f.state(L.FPU_CW)),
    sign(f, a),
    f.and(f.low(kept), f.k(1)),
    rest,
    NOT_CONVERTED,
  );
  f.set(kept, f.add64(kept, f.u64(r.up)));
  // The integer bit, or a carry beyond it, adds to the exponent.
  const packed = f.add64(kept, f.shl64(f.u64(f.sub(exponent, f.k(1))), bits - 1));
  converted(f, f.or64(packed, top), roundedStatus(f, r));
  return f;
}

/** toSingle(a), toDouble(a). */
export const toSingle = (): Routine => narrow(24, 127, 31 - 15);
export const toDouble = (): Routine => narrow(53, 1023, 63 - 15);
