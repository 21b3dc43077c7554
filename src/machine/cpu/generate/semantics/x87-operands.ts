/** What x87 semantics share: when they may run, the instruction and data pointers, operands in memory as extended numbers. */
import * as L from '../../layout.ts';
import type { Emitter } from '../emitter.ts';
import { load, unary, type Node } from '../node.ts';

export type Definition = (s: Emitter) => void;

export const CR0_MP = 2;
const CR0_EM = 4;
export const CR0_TS = 8;
export const SW_ES = 0x80;
const SW_C1 = 0x200;
export const SW_CONDITIONS = 0x4700;
const BIAS = 0x3fff;
export const SIGN = 0x8000;
/** Control word: what FLDCW can set, and the bit that is always set. */
export const CW_BITS = 0x1f3f;
export const CW_FIXED = 0x40;
export const RC = 0xc00;

export function giveUp(s: Emitter, condition: Node): void {
  s.if(condition, () => s.cold(s.coldName));
}

/** Available, and no exception pending. */
export function waiting(s: Emitter): void {
  s.guard('x87', () =>
    s.or(s.and(s.state(L.CR0), s.k(CR0_EM | CR0_TS)), s.and(s.state(L.FPU_SW), s.k(SW_ES))),
  );
}
export function available(s: Emitter): void {
  s.guard('x87 control', () => s.and(s.state(L.CR0), s.k(CR0_EM | CR0_TS)));
}

/** Memory operand: its offset is wanted for the data pointer. */
interface Place {
  readonly offset: Node;
  readonly linear: Node;
}
export function place(s: Emitter, bits: number, write: boolean): Place {
  const offset = s.let(s.ea());
  return { offset, linear: s.linear(s.segment(), offset, bits, write) };
}

/** Instruction and data pointer of an instruction that is not a control instruction. */
export function note(s: Emitter, memory?: Place): void {
  s.setState(L.FPU_IP, s.eip());
  s.setState(L.FPU_CS, s.state(L.SEGS + L.CS * L.SEG_STRIDE + L.SEG_SELECTOR));
  s.setState(L.FPU_OPCODE, s.imm());
  if (memory === undefined) return;
  s.setState(L.FPU_DP, memory.offset);
  s.setState(L.FPU_DS, load('ld32', s.segment(), L.SEG_SELECTOR));
}

export function clearC1(s: Emitter): void {
  s.setState(L.FPU_SW, s.and(s.state(L.FPU_SW), s.k(~SW_C1)));
}
export function setRegister(s: Emitter, at: Node, significand: Node, se: Node): void {
  s.out.store(64, at, 0, significand);
  s.out.store(32, at, 8, se);
}
export function copyRegister(s: Emitter, to: Node, from: Node): void {
  setRegister(s, to, load('ld64', from, 0), load('ld16u', from, 8));
}

// ---- operands in memory, as extended numbers

export type Converter = (s: Emitter, at: Node, linear: Node) => void;

/** Stores the extended number for a normal float or zero at `at`. `exponent` of the float, `sign` in bit 15. */
function widen(s: Emitter, at: Node, nonzero: Node, significand: Node, exponent: Node, sign: Node): void {
  const some = s.let(nonzero);
  const integer = s.bin64('shl', s.u64(some), s.k64(63));
  setRegister(
    s,
    at,
    s.bin64('or', significand, integer),
    s.or(s.and(sign, s.k(SIGN)), s.and(exponent, s.neg(some))),
  );
}
export const fromSingle: Converter = (s, at, linear) => {
  const v = s.loadLinear(32, linear);
  const exponent = s.let(s.and(s.shr(v, s.k(23)), s.k(0xff)));
  const nonzero = s.let(s.ne(s.shl(v, s.k(1)), s.k(0)));
  giveUp(s, s.and(nonzero, s.bin('geu', s.sub(exponent, s.k(1)), s.k(0xfe))));
  const significand = s.bin64('shl', s.u64(v), s.k64(40));
  widen(s, at, nonzero, significand, s.add(exponent, s.k(BIAS - 127)), s.shr(v, s.k(16)));
};
export const fromDouble: Converter = (s, at, linear) => {
  const v = s.loadLinear(64, linear);
  const high = s.let(s.low(s.bin64('shr', v, s.k64(32))));
  const exponent = s.let(s.and(s.shr(high, s.k(20)), s.k(0x7ff)));
  const nonzero = s.let(s.bin64('ne', s.bin64('shl', v, s.k64(1)), s.k64(0)));
  giveUp(s, s.and(nonzero, s.bin('geu', s.sub(exponent, s.k(1)), s.k(0x7fe))));
  const significand = s.bin64('shl', v, s.k64(11));
  widen(s, at, nonzero, significand, s.add(exponent, s.k(BIAS - 1023)), s.shr(high, s.k(16)));
};
function fromInteger(s: Emitter, at: Node, value: Node): void {
  const v = s.let(value);
  const negative = s.let(s.bin64('lts', v, s.k64(0)));
  const mask = s.let(s.bin64('sub', s.k64(0), s.u64(negative)));
  const magnitude = s.let(s.bin64('sub', s.bin64('xor', v, mask), mask));
  const shift = s.let(unary('clz64', magnitude, 'i64'));
  const exponent = s.sub(s.k(BIAS + 63), s.low(shift));
  const some = s.bin64('ne', v, s.k64(0));
  const se = s.or(s.shl(negative, s.k(15)), s.sel(some, exponent, s.k(0)));
  setRegister(s, at, s.bin64('shl', magnitude, shift), se);
}
export const fromInt16: Converter = (s, at, linear) =>
  fromInteger(s, at, s.s64(s.sext(s.loadLinear(16, linear), 16)));
export const fromInt32: Converter = (s, at, linear) => fromInteger(s, at, s.s64(s.loadLinear(32, linear)));
export const fromInt64: Converter = (s, at, linear) => fromInteger(s, at, s.loadLinear(64, linear));
