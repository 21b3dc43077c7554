/** What the shared x87 functions have in common: operands in registers, rounding, the status word. Intel SDM volume 1, 4.8 and 8.1. */
import * as L from '../../layout.ts';
import { load, type Node } from '../node.ts';
import type { Routine } from './routine.ts';

export const BIAS = 0x3fff;
export const EXPONENT = 0x7fff;
export const SIGN = 0x8000;
/** Least integer of 64 bits: the integer bit of a significand. */
export const INTEGER_BIT = -(2 ** 63);

const C1_BIT = 9;
const PE_BIT = 5;
const RC = 0xc00;
export const RC_DOWN = 0x400;
const RC_UP = 0x800;
/** Precision control is 24 or 53 bits where this bit is clear, and 24 where the next one is as well. */
const PC_LONG = 0x100;
const PC_DOUBLE = 0x200;

/** Result of functions that compute: the cold operation must do it, nothing has changed. */
export const DONE = 0;
export const COLD = 1;

/** A number in a register. */
export interface Operand {
  readonly significand: Node;
  /** Sign (bit 15) and exponent. */
  readonly se: Node;
  readonly exponent: Node;
}

/** `flip`: SIGN changes the sign. */
export function operand(f: Routine, at: Node, flip?: Node): Operand {
  const significand = f.let(load('ld64', at, 0));
  const raw = load('ld16u', at, 8);
  const se = f.let(flip === undefined ? raw : f.xor(raw, flip));
  return { significand, se, exponent: f.let(f.and(se, f.k(EXPONENT))) };
}
export function sign(f: Routine, o: Operand): Node {
  return f.and(o.se, f.k(SIGN));
}
export function isNormal(f: Routine, o: Operand): Node {
  return f.and(f.top64(o.significand), f.ltu(f.sub(o.exponent, f.k(1)), f.k(EXPONENT - 1)));
}
export function isZero(f: Routine, o: Operand): Node {
  return f.eqz64(f.or64(o.significand, f.u64(o.exponent)));
}

export function setResult(f: Routine, to: Node, significand: Node, se: Node): void {
  f.out.store(64, to, 0, significand);
  f.out.store(32, to, 8, se);
}
/** An exact result was delivered. */
export function clearC1(f: Routine): void {
  f.setState(L.FPU_SW, f.and(f.state(L.FPU_SW), f.k(~(1 << C1_BIT))));
}

/** A rounding under way: which bits are lost and what becomes of it. All are 0 or 1. */
export interface Rounding {
  readonly inexact: Node;
  readonly up: Node;
}

/**
 * How to round. `rest`: discarded bits, the half at bit 63; `odd`: the last kept bit. Leaves with `otherwise` if that would raise an
 * unmasked PE. What data decide is computed without branches: they could not be predicted.
 */
export function rounding(
  f: Routine,
  control: Node,
  negative: Node,
  odd: Node,
  rest: Node,
  otherwise: number,
): Rounding {
  const inexact = f.let(f.nonzero64(rest));
  f.if(f.and(f.shl(inexact, f.k(PE_BIT)), f.not(control)), () => f.return(otherwise));
  const more = f.or(f.nonzero64(f.shl64(rest, 1)), odd);
  const up = f.variable(f.and(f.low(f.shr64(rest, 63)), more));
  const mode = f.let(f.and(control, f.k(RC)));
  f.if(mode, () => {
    const away = f.eq(mode, f.sel(negative, f.k(RC_DOWN), f.k(RC_UP)));
    f.set(up, f.and(inexact, away));
  });
  return { inexact, up };
}
/** The status word behind a rounding. */
export function roundedStatus(f: Routine, { inexact, up }: Rounding): Node {
  return f.or(exactStatus(f), f.or(f.shl(up, f.k(C1_BIT)), f.shl(inexact, f.k(PE_BIT))));
}
export function exactStatus(f: Routine): Node {
  return f.and(f.state(L.FPU_SW), f.k(~(1 << C1_BIT)));
}

/**
 * Rounds significand:rest (normalised) to the precision in force, stores it and returns from the function. `exponent` (biased, any),
 * `significand` and `rest` are variables; what may overflow or be tiny is left to the cold operation.
 */
export function roundAndStore(
  f: Routine,
  to: Node,
  negative: Node,
  exponent: Node,
  significand: Node,
  rest: Node,
): void {
  f.if(f.eqz(f.ltu(f.sub(exponent, f.k(1)), f.k(EXPONENT - 2))), () => f.return(COLD));
  const control = f.let(f.state(L.FPU_CW));
  const finish = (r: Rounding, unit: Node): void => {
    f.set(significand, f.add64(significand, unit));
    f.if(f.eqz64(significand), () => {
      f.set(significand, f.k64(INTEGER_BIT));
      f.set(exponent, f.add(exponent, f.k(1)));
    });
    f.setState(L.FPU_SW, roundedStatus(f, r));
    setResult(f, to, significand, f.or(negative, exponent));
    f.return(DONE);
  };
  const cut = (bits: number): void => {
    f.set(rest, f.or64(f.shl64(significand, 64 - bits), f.u64(f.nonzero64(rest))));
    f.set(significand, f.shr64(significand, bits));
    const r = rounding(f, control, negative, f.and(f.low(significand), f.k(1)), rest, COLD);
    f.set(significand, f.shl64(significand, bits));
    finish(r, f.shl64(f.u64(r.up), bits));
  };
  f.if(f.eqz(f.and(control, f.k(PC_LONG))), () => {
    f.if(f.and(control, f.k(PC_DOUBLE)), () => cut(11));
    cut(40);
  });
  f.if(f.nonzero64(rest), () => {
    const r = rounding(f, control, negative, f.and(f.low(significand), f.k(1)), rest, COLD);
    finish(r, f.u64(r.up));
  });
  clearC1(f);
  setResult(f, to, significand, f.or(negative, exponent));
  f.return(DONE);
}

/** Rounds a finite number to an integer: magnitude (variable, below 2^63 + 1) and status word. The exponent is below BIAS + 63. */
export function roundedMagnitude(
  f: Routine,
  o: Operand,
  otherwise: number,
): { magnitude: Node; status: Node } {
  const shift = f.let(f.sub(f.k(BIAS + 63), o.exponent));
  const magnitude = f.variable(f.k64(0));
  const rest = f.variable(f.k64(1));
  f.if(
    f.ltu(shift, f.k(64)),
    () => {
      f.set(magnitude, f.shr64(o.significand, shift));
      f.set(rest, f.shl64(o.significand, f.sub(f.k(64), shift)));
    },
    () => f.if(f.eq(shift, f.k(64)), () => f.set(rest, o.significand)),
  );
  const r = rounding(
    f,
    f.let(f.state(L.FPU_CW)),
    sign(f, o),
    f.and(f.low(magnitude), f.k(1)),
    rest,
    otherwise,
  );
  f.set(magnitude, f.add64(magnitude, f.u64(r.up)));
  return { magnitude, status: f.let(roundedStatus(f, r)) };
}
