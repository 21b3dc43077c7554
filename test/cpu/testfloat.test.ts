/** Extended arithmetic and conversions against Berkeley TestFloat, in all roundings and precisions. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import * as x87 from '../support/x87-functions.ts';
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

/** The same by generated code, where that is what it does; else `other`. */
const generated =
  (run: (a: Extended, b: Extended) => boolean, other: Operation, result: () => string): Operation =>
  (fields) => {
    const two = fields.length > 3;
    parse(fields[0]!, a);
    if (two) parse(fields[1]!, b);
    if (!run(a, b)) return other(fields);
    return result();
  };
const generatedRounded = (name: string, run: (a: Extended, b: Extended) => boolean): Operation =>
  generated(run, ROUNDED[name] ?? CONVERSIONS[name]!, () => {
    x87.result(out);
    return print(out);
  });
const generatedNarrowing = (name: string, wide: boolean, run: (a: Extended) => boolean): Operation =>
  generated(run, CONVERSIONS[name]!, () => {
    const [hi, lo] = x87.value();
    return wide ? hex(hi, 8) + hex(lo, 8) : hex(lo, 8);
  });

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
const GENERATED: Readonly<Record<string, Operation>> = {
  extF80_add: generatedRounded('extF80_add', (p, q) => x87.compute('x87Add', p, q, 0)),
  extF80_sub: generatedRounded('extF80_sub', (p, q) => x87.compute('x87Add', p, q, 0x8000)),
  extF80_mul: generatedRounded('extF80_mul', (p, q) => x87.compute('x87Multiply', p, q)),
  extF80_div: generatedRounded('extF80_div', (p, q) => x87.compute('x87Divide', p, q)),
  extF80_sqrt: generatedRounded('extF80_sqrt', (p) => x87.compute('x87SquareRoot', p)),
  extF80_roundToInt: generatedRounded('extF80_roundToInt', (p) => x87.compute('x87RoundToInteger', p)),
  extF80_to_f32: generatedNarrowing('extF80_to_f32', false, (p) => x87.convert('x87ToSingle', p)),
  extF80_to_f64: generatedNarrowing('extF80_to_f64', true, (p) => x87.convert('x87ToDouble', p)),
  extF80_to_i32: generatedNarrowing('extF80_to_i32', false, (p) => x87.convert('x87ToInteger', p, 31)),
  extF80_to_i64: generatedNarrowing('extF80_to_i64', true, (p) => x87.convert('x87ToInteger', p, 63)),
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
  'x87 arithmetic, TestFloat vectors (skipped without the source of QEMU, gcc, make)',
  () => {
    let program = '';
    beforeAll(() => {
      program = buildTestFloat();
    });

    afterAll(() => expect(x87.calls.done).toBeGreaterThan(x87.calls.left));

    function check(name: string, operation: Operation, options: readonly string[]): void {
      const lines = vectors(program, name, ...options);
      expect(lines.length).toBeGreaterThan(300);
      expect(wrongLines(lines, operation)).toEqual([]);
      const other = GENERATED[name];
      if (other !== undefined) expect(wrongLines(lines, other)).toEqual([]);
    }
    function wrongLines(lines: readonly (readonly string[])[], operation: Operation): string[] {
      const wrong: string[] = [];
      for (const fields of lines) {
        fp.flags = 0;
        fp.up = 0;
        const got = `${operation(fields)} ${flags()}`;
        const want = `${fields.at(-2)} ${fields.at(-1)}`;
        if (got !== want && wrong.push(`${fields.join(' ')}: got ${got}`) > 10) break;
      }
      return wrong;
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
