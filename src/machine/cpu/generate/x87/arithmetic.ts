/**
 * Add, subtract, multiply, divide and square root of extended numbers that are normal or zero, as WebAssembly functions:
 * (a, b, to, …) are addresses; the result is rounded as the control word says. Anything else gives COLD and changes nothing.
 */
import * as L from '../../layout.ts';
import { float, type Node } from '../node.ts';
import {
  BIAS,
  clearC1,
  COLD,
  DONE,
  EXPONENT,
  INTEGER_BIT,
  isNormal,
  isZero,
  operand,
  type Operand,
  RC_DOWN,
  roundAndStore,
  setResult,
  SIGN,
  sign,
} from './number.ts';
import { Routine } from './routine.ts';

const RC = 0xc00;
const PC_LONG = 0x100;

function store(f: Routine, to: Node, significand: Node, se: Node): void {
  clearC1(f);
  setResult(f, to, significand, se);
  f.return(DONE);
}
/** An exact zero that is the difference of equal numbers. */
function storeDifferenceZero(f: Routine, to: Node): void {
  const down = f.eq(f.and(f.state(L.FPU_CW), f.k(RC)), f.k(RC_DOWN));
  store(f, to, f.k64(0), f.shl(down, f.k(15)));
}

/** add(a, b, to, flip): a + b, or a − b with `flip` SIGN. */
export function add(): Routine {
  const f = new Routine(4);
  const to = f.parameter(2);
  const a = operand(f, f.parameter(0));
  const b = operand(f, f.parameter(1), f.parameter(3));
  const normalA = f.let(isNormal(f, a));
  const normalB = f.let(isNormal(f, b));
  f.if(f.eqz(f.and(normalA, normalB)), () => addZero(f, a, b, normalA, normalB, to));
  // The larger magnitude first.
  const large = f.variable(a.significand);
  const small = f.variable(b.significand);
  const se = f.variable(a.se);
  const distance = f.variable(f.sub(a.exponent, b.exponent));
  const behind = f.and(f.eqz(distance), f.ltu64(large, small));
  f.if(f.or(f.shr(distance, f.k(31)), behind), () => {
    f.set(large, b.significand);
    f.set(small, a.significand);
    f.set(se, b.se);
    f.set(distance, f.neg(distance));
  });
  const exponent = f.variable(f.and(se, f.k(EXPONENT)));
  const rest = f.variable(f.k64(0));
  align(f, small, rest, distance);
  const sum = f.variable(large);
  f.if(
    f.and(f.xor(a.se, b.se), f.k(SIGN)),
    () => {
      f.set(sum, f.sub64(f.sub64(large, small), f.u64(f.nonzero64(rest))));
      f.set(rest, f.sub64(f.k64(0), rest));
      f.if(f.eqz64(sum), () => {
        f.if(f.eqz64(rest), () => storeDifferenceZero(f, to));
        f.set(sum, rest);
        f.set(rest, f.k64(0));
        f.set(exponent, f.sub(exponent, f.k(64)));
      });
      normalise(f, sum, rest, exponent);
    },
    () => {
      f.set(sum, f.add64(large, small));
      f.if(f.ltu64(sum, large), () => {
        const sticky = f.or64(f.shr64(rest, 1), f.and64(rest, f.k64(1)));
        f.set(rest, f.or64(sticky, f.shl64(sum, 63)));
        f.set(sum, f.or64(f.shr64(sum, 1), f.k64(INTEGER_BIT)));
        f.set(exponent, f.add(exponent, f.k(1)));
      });
    },
  );
  roundAndStore(f, to, f.let(f.and(se, f.k(SIGN))), exponent, sum, rest);
  return f;
}

/** Shifts high:low left until the top bit is set; `high` is not 0. */
function normalise(f: Routine, high: Node, low: Node, exponent: Node): void {
  const shift = f.let(f.clz64(high));
  const moved = f.shr64(f.shr64(low, 1), f.sub64(f.k64(63), shift));
  f.set(high, f.or64(f.shl64(high, shift), moved));
  f.set(low, f.shl64(low, shift));
  f.set(exponent, f.sub(exponent, f.low(shift)));
}

/** Shifts small:rest (rest is 0) right by `distance`; lost bits stay visible in the last one. */
function align(f: Routine, small: Node, rest: Node, distance: Node): void {
  f.if(
    f.ltu(distance, f.k(64)),
    () => {
      f.set(rest, f.shl64(f.shl64(small, f.sub(f.k(63), distance)), 1));
      f.set(small, f.shr64(small, distance));
    },
    () => {
      f.if(
        f.ltu(distance, f.k(128)),
        () => {
          // By 64 at least: shift amounts are taken modulo 64.
          const kept = f.let(f.shr64(small, distance));
          const lost = f.bin64('ne', f.shl64(kept, distance), small);
          f.set(rest, f.or64(kept, f.u64(lost)));
        },
        () => f.set(rest, f.k64(1)),
      );
      f.set(small, f.k64(0));
    },
  );
}

/** One of the operands is not normal: sums with zero are answered here. */
function addZero(f: Routine, a: Operand, b: Operand, normalA: Node, normalB: Node, to: Node): void {
  const zeroA = f.let(isZero(f, a));
  const zeroB = f.let(isZero(f, b));
  f.if(f.and(zeroA, zeroB), () => {
    f.if(f.eq(a.se, b.se), () => store(f, to, f.k64(0), a.se));
    storeDifferenceZero(f, to);
  });
  f.if(f.and(f.state(L.FPU_CW), f.k(PC_LONG)), () => {
    f.if(f.and(zeroA, normalB), () => store(f, to, b.significand, b.se));
    f.if(f.and(zeroB, normalA), () => store(f, to, a.significand, a.se));
  });
  f.return(COLD);
}

/** Operands of a product or quotient; a zero `a` (and, `both`, `b`) beside normal or zero ones is answered. Gives the result's sign. */
function factors(f: Routine, both: boolean): { a: Operand; b: Operand; negative: Node } {
  const a = operand(f, f.parameter(0));
  const b = operand(f, f.parameter(1));
  const negative = f.let(f.and(f.xor(a.se, b.se), f.k(SIGN)));
  const normalA = f.let(isNormal(f, a));
  const normalB = f.let(isNormal(f, b));
  f.if(f.eqz(f.and(normalA, normalB)), () => {
    const zeroA = f.let(isZero(f, a));
    const fits = both ? f.and(f.or(zeroA, normalA), f.or(isZero(f, b), normalB)) : f.and(zeroA, normalB);
    f.if(fits, () => store(f, f.parameter(2), f.k64(0), negative));
    f.return(COLD);
  });
  return { a, b, negative };
}

/** The 128 bits of a product of 64 bits each, as variables. */
function product(f: Routine, a: Node, b: Node): { high: Node; low: Node } {
  const mask = f.k64(0xffffffff);
  const [al, ah] = [f.let(f.and64(a, mask)), f.let(f.shr64(a, 32))];
  const [bl, bh] = [f.let(f.and64(b, mask)), f.let(f.shr64(b, 32))];
  const p0 = f.let(f.mul64(al, bl));
  const p1 = f.let(f.add64(f.mul64(ah, bl), f.shr64(p0, 32)));
  const p2 = f.let(f.add64(f.mul64(al, bh), f.and64(p1, mask)));
  const high = f.add64(f.add64(f.mul64(ah, bh), f.shr64(p1, 32)), f.shr64(p2, 32));
  return { high: f.variable(high), low: f.variable(f.mul64(a, b)) };
}

/** multiply(a, b, to). */
export function multiply(): Routine {
  const f = new Routine(3);
  const { a, b, negative } = factors(f, true);
  const { high, low } = product(f, a.significand, b.significand);
  const exponent = f.variable(f.sub(f.add(a.exponent, b.exponent), f.k(BIAS - 1)));
  normalise(f, high, low, exponent);
  roundAndStore(f, f.parameter(2), negative, exponent, high, low);
  return f;
}

/**
 * One 32-bit digit of rest:next ÷ divisor (normalised, above rest): the digit; `rest` becomes the remainder. `next`: 32 bits.
 * Knuth, The Art of Computer Programming, volume 2, 4.3.1, algorithm D.
 */
function quotientDigit(f: Routine, rest: Node, next: Node, divisor: Node): Node {
  const high = f.let(f.shr64(divisor, 32));
  const low = f.let(f.and64(divisor, f.k64(0xffffffff)));
  const digit = f.variable(f.bin64('divu', rest, high));
  const over = f.variable(f.sub64(rest, f.mul64(digit, high)));
  const nextDigit = f.let(next);
  // At most two too large.
  f.out.loop((again) => {
    const tooWide = f.nonzero64(f.shr64(digit, 32));
    const tooLarge = f.gtu64(f.mul64(digit, low), f.or64(f.shl64(over, 32), nextDigit));
    f.if(f.or(tooWide, tooLarge), () => {
      f.set(digit, f.sub64(digit, f.k64(1)));
      f.set(over, f.add64(over, high));
      f.if(f.eqz64(f.shr64(over, 32)), again);
    });
  });
  f.set(rest, f.sub64(f.add64(f.shl64(rest, 32), nextDigit), f.mul64(digit, divisor)));
  return digit;
}

/** divide(a, b, to). */
export function divide(): Routine {
  const f = new Routine(3);
  const { a, b, negative } = factors(f, false);
  const divisor = b.significand;
  // rest:tail ÷ divisor with the quotient in 2^63 … 2^64.
  const half = f.let(f.eqz(f.ltu64(a.significand, divisor)));
  const exponent = f.variable(f.add(f.sub(a.exponent, b.exponent), f.add(half, f.k(BIAS - 1))));
  const rest = f.variable(f.shr64(a.significand, f.u64(half)));
  const tail = f.let(f.shl64(f.and64(a.significand, f.u64(half)), 63));
  const first = quotientDigit(f, rest, f.shr64(tail, 32), divisor);
  const second = quotientDigit(f, rest, f.and64(tail, f.k64(0xffffffff)), divisor);
  const quotient = f.variable(f.or64(f.shl64(first, 32), second));
  // The discarded fraction is rest ÷ divisor; of it, only where it lies with respect to a half counts.
  const beyond = f.variable(f.k64(0));
  f.if(f.nonzero64(rest), () => {
    const other = f.let(f.sub64(divisor, rest));
    f.set(beyond, f.k64(1));
    f.if(f.gtu64(rest, other), () => f.set(beyond, f.or64(beyond, f.k64(INTEGER_BIT))));
    f.if(f.bin64('eq', rest, other), () => f.set(beyond, f.k64(INTEGER_BIT)));
  });
  roundAndStore(f, f.parameter(2), negative, exponent, quotient, beyond);
  return f;
}

const DOUBLE_SQRT = 0x9f;
const DOUBLE_ADD = 0xa0;
const DOUBLE_MUL = 0xa2;
const DOUBLE_DIV = 0xa3;
const DOUBLE_MIN = 0xa4;
const TRUNCATE_SIGNED = 0xb0;
const TRUNCATE_UNSIGNED = 0xb1;
const CONVERT_SIGNED = 0xb9;
const CONVERT_UNSIGNED = 0xba;

/** squareRoot(a, to): an estimate from doubles, corrected by the remainder. */
export function squareRoot(): Routine {
  const f = new Routine(2);
  const a = operand(f, f.parameter(0));
  const to = f.parameter(1);
  f.if(isZero(f, a), () => store(f, to, a.significand, a.se));
  f.if(f.eqz(f.and(isNormal(f, a), f.eqz(sign(f, a)))), () => f.return(COLD));
  const f64 = (op: number, ...operands: Node[]): Node => float(op, 'f64', ...operands);
  const number = (n: number): Node => ({ op: 'const-f64', type: 'f64', n });
  // Radicand high:low = significand × 2^64, or half of it, so that the exponent is even; the root is in 2^63 … 2^64.
  const odd = f.let(f.and(f.sub(a.exponent, f.k(BIAS)), f.k(1)));
  const high = f.variable(a.significand);
  const low = f.variable(f.k64(0));
  f.if(f.eqz(odd), () => {
    f.set(low, f.shl64(high, 63));
    f.set(high, f.shr64(high, 1));
  });
  const estimate = f64(DOUBLE_MUL, f64(DOUBLE_SQRT, f64(CONVERT_UNSIGNED, high)), number(2 ** 32));
  const limited = f64(DOUBLE_MIN, estimate, number(2 ** 64 - 2 ** 11));
  const root = f.variable(float(TRUNCATE_UNSIGNED, 'i64', limited));
  const restHigh = f.temp('i64');
  const restLow = f.temp('i64');
  const remainder = (): void => {
    const square = product(f, root, root);
    f.set(restLow, f.sub64(low, square.low));
    const borrow = f.u64(f.ltu64(low, square.low));
    f.set(restHigh, f.sub64(f.sub64(high, square.high), borrow));
  };
  remainder();
  // root += remainder ÷ (2 root), right to a unit or two.
  const whole = f64(DOUBLE_MUL, f64(CONVERT_SIGNED, restHigh), number(2 ** 64));
  const value = f64(DOUBLE_ADD, whole, f64(CONVERT_UNSIGNED, restLow));
  const twice = f64(DOUBLE_MUL, f64(CONVERT_UNSIGNED, root), number(2));
  const correction = f.let(float(TRUNCATE_SIGNED, 'i64', f64(DOUBLE_DIV, value, twice)));
  // Behind 2^64 only if the root is all ones or nearly: then one short of it is near enough.
  const corrected = f.let(f.add64(root, correction));
  f.set(root, f.bin64('or', corrected, f.bin64('sub', f.k64(0), f.u64(f.eqz(f.top64(corrected))))));
  remainder();
  settleRoot(f, root, restHigh, restLow);
  const beyond = f.variable(f.k64(0));
  f.if(f.nonzero64(f.or64(restHigh, restLow)), () => {
    f.set(beyond, f.k64(1));
    const large = f.or(f.nonzero64(restHigh), f.gtu64(restLow, root));
    f.if(large, () => f.set(beyond, f.or64(beyond, f.k64(INTEGER_BIT))));
  });
  const exponent = f.add(f.bin('sar', f.sub(a.exponent, f.k(BIAS)), f.k(1)), f.k(BIAS));
  roundAndStore(f, to, f.let(f.k(0)), f.variable(exponent), root, beyond);
  return f;
}

/** Until 0 <= rest <= 2 root. */
function settleRoot(f: Routine, root: Node, restHigh: Node, restLow: Node): void {
  const one = f.k64(1);
  f.out.loop((again) => {
    f.if(f.top64(restHigh), () => {
      // (root − 1)² is 2 root − 1 less.
      f.set(root, f.sub64(root, one));
      const step = f.let(f.or64(f.shl64(root, 1), one));
      const before = f.let(restLow);
      f.set(restLow, f.add64(restLow, step));
      const carry = f.u64(f.ltu64(restLow, before));
      f.set(restHigh, f.add64(f.add64(restHigh, f.shr64(root, 63)), carry));
      again();
    });
  });
  f.out.loop((again) => {
    const step = f.let(f.or64(f.shl64(root, 1), one));
    const top = f.let(f.shr64(root, 63));
    const same = f.bin64('eq', restHigh, top);
    const least = f.or(f.gtu64(restHigh, top), f.and(same, f.eqz(f.ltu64(restLow, step))));
    f.if(least, () => {
      const borrow = f.u64(f.ltu64(restLow, step));
      f.set(restHigh, f.sub64(f.sub64(restHigh, top), borrow));
      f.set(restLow, f.sub64(restLow, step));
      f.set(root, f.add64(root, one));
      again();
    });
  });
}
