/** Extended arithmetic and conversions against Berkeley TestFloat, in all roundings and precisions. */
import { beforeAll, describe, expect, it } from 'vitest';
import { add, divide, multiply, squareRoot } from '../../src/machine/cpu/fpu/arithmetic.ts';
import { compare, EQUAL, LESS } from '../../src/machine/cpu/fpu/compare.ts';
import * as convert from '../../src/machine/cpu/fpu/convert.ts';
import { CHOP, DE, DOWN, Extended, fp, NEAREST, UP } from '../../src/machine/cpu/fpu/extended.ts';
import { partial, remainder } from '../../src/machine/cpu/fpu/remainder.ts';
import { buildTestFloat, testFloatAvailable, vectors } from '../support/testfloat.ts';

const { bits } = convert;
const a = new Extended();
const b = new Extended();
const out = new Extended();

const ROUNDINGS = [
  ['-rnear_even', NEAREST],
  ['-rmin', DOWN],
  ['-rmax', UP],
  ['-rminMag', CHOP],
] as const;

function word(hex: string): number {
  return Number.parseInt(hex, 16) | 0;
}
function parse(hex: string, into: Extended): void {
  into.se = word(hex.slice(0, 4)) & 0xffff;
  into.hi = word(hex.slice(4, 12));
  into.lo = word(hex.slice(12));
}
function hex(v: number, digits: number): string {
  return (v >>> 0).toString(16).toUpperCase().padStart(digits, '0');
}
function print(v: Extended): string {
  return hex(v.se, 4) + hex(v.hi, 8) + hex(v.lo, 8);
}
/** TestFloat's order of flags: inexact 1, underflow 2, overflow 4, infinite 8, invalid 16. */
function flags(): string {
  const f = fp.flags & ~DE;
  const v = (f & 32 ? 1 : 0) | (f & 16 ? 2 : 0) | (f & 8 ? 4 : 0) | (f & 4 ? 8 : 0) | (f & 1 ? 16 : 0);
  return hex(v, 2);
}
function settings(rounding: number, precision: number): void {
  fp.rounding = rounding;
  fp.precision = precision;
  fp.masks = 0x3f;
}

type Operation = (operands: readonly string[]) => string;

const binary =
  (f: (a: Extended, b: Extended, out: Extended) => void): Operation =>
  ([p, q]) => {
    parse(p!, a);
    parse(q!, b);
    f(a, b, out);
    return print(out);
  };
const unary =
  (f: (a: Extended, out: Extended) => void): Operation =>
  ([p]) => {
    parse(p!, a);
    f(a, out);
    return print(out);
  };
const relation =
  (quiet: boolean, accept: readonly number[]): Operation =>
  ([p, q]) => {
    parse(p!, a);
    parse(q!, b);
    return accept.includes(compare(a, b, quiet)) ? '1' : '0';
  };
/** FPREM1 until it is complete. */
const wholeRemainder: Operation = ([p, q]) => {
  parse(p!, a);
  parse(q!, b);
  do {
    remainder(a, b, true, out);
    Object.assign(a, out);
  } while (partial.incomplete);
  return print(out);
};
const narrowing =
  (f: (a: Extended) => void, wide: boolean): Operation =>
  ([p]) => {
    parse(p!, a);
    f(a);
    return wide ? hex(bits.hi, 8) + hex(bits.lo, 8) : hex(bits.lo, 8);
  };
const widening =
  (f: (hi: number, lo: number) => void): Operation =>
  ([p]) => {
    if (p!.length === 8) f(0, word(p!));
    else f(word(p!.slice(0, 8)), word(p!.slice(8)));
    return print(out);
  };

const ROUNDED: Readonly<Record<string, Operation>> = {
  extF80_add: binary((p, q, o) => add(p, q, 0, o)),
  extF80_sub: binary((p, q, o) => add(p, q, 1, o)),
  extF80_mul: binary(multiply),
  extF80_div: binary(divide),
  extF80_sqrt: unary(squareRoot),
};
const CONVERSIONS: Readonly<Record<string, Operation>> = {
  extF80_roundToInt: unary(convert.roundToInteger),
  extF80_to_f32: narrowing(convert.toSingle, false),
  extF80_to_f64: narrowing(convert.toDouble, true),
  extF80_to_i32: narrowing((v) => convert.toInteger(v, 32), false),
  extF80_to_i64: narrowing((v) => convert.toInteger(v, 64), true),
};
const EXACT: Readonly<Record<string, Operation>> = {
  extF80_rem: wholeRemainder,
  extF80_eq: relation(true, [EQUAL]),
  extF80_le: relation(false, [EQUAL, LESS]),
  extF80_lt: relation(false, [LESS]),
  extF80_eq_signaling: relation(false, [EQUAL]),
  extF80_le_quiet: relation(true, [EQUAL, LESS]),
  extF80_lt_quiet: relation(true, [LESS]),
  f32_to_extF80: widening((_hi, lo) => convert.fromSingle(lo, out)),
  f64_to_extF80: widening((hi, lo) => convert.fromDouble(hi, lo, out)),
  i32_to_extF80: widening((_hi, lo) => convert.fromInt32(lo, out)),
  i64_to_extF80: widening((hi, lo) => convert.fromInt64(hi, lo, out)),
};

describe.skipIf(!testFloatAvailable())(
  'x87 arithmetic, TestFloat vectors (needs QEMU source and gcc)',
  () => {
    let program = '';
    beforeAll(() => {
      program = buildTestFloat();
    });

    function check(name: string, operation: Operation, options: readonly string[]): void {
      const wrong: string[] = [];
      const lines = vectors(program, name, ...options);
      for (const fields of lines) {
        fp.flags = 0;
        fp.up = 0;
        const got = `${operation(fields)} ${flags()}`;
        const want = `${fields.at(-2)} ${fields.at(-1)}`;
        if (got !== want && wrong.push(`${fields.join(' ')}: got ${got}`) > 10) break;
      }
      expect(wrong).toEqual([]);
      expect(lines.length).toBeGreaterThan(300);
    }

    for (const [name, operation] of Object.entries(ROUNDED)) {
      for (const precision of [24, 53, 64]) {
        it(`${name}, ${precision} bits`, () => {
          for (const [option, rounding] of ROUNDINGS) {
            settings(rounding, precision);
            check(name, operation, [
              option,
              `-precision${precision === 24 ? 32 : precision === 53 ? 64 : 80}`,
            ]);
          }
        });
      }
    }
    for (const [name, operation] of Object.entries(CONVERSIONS)) {
      it(name, () => {
        for (const [option, rounding] of ROUNDINGS) {
          settings(rounding, 64);
          check(name, operation, [option, '-exact']);
        }
      });
    }
    for (const [name, operation] of Object.entries(EXACT)) {
      it(name, () => {
        settings(NEAREST, 64);
        check(name, operation, []);
      });
    }
  },
);
