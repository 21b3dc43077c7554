/** x87 loads, stores, exchanges, constants and control. See x87.ts. */
import * as L from '../../layout.ts';
import type { Emitter } from '../emitter.ts';
import { load, type Node } from '../node.ts';
import {
  CR0_MP,
  CR0_TS,
  CW_BITS,
  CW_FIXED,
  type Converter,
  type Definition,
  RC,
  SW_ES,
  available,
  clearC1,
  copyRegister,
  giveUp,
  note,
  place,
  setRegister,
  waiting,
} from './x87-operands.ts';

// ---- loads

export function loading(bits: number, convert: Converter): Definition {
  return (s) => {
    waiting(s);
    s.x87.requireRoom();
    const at = place(s, bits, false);
    convert(s, s.x87.address(s.k(7)), at.linear);
    clearC1(s);
    s.x87.pushed();
    note(s, at);
  };
}
export const extended: Converter = (s, at, linear) => copyRegister(s, at, s.hostOrCold(linear, 80, false));

export const loadRegister: Definition = (s) => {
  waiting(s);
  s.x87.requireFull(s.rmNumber());
  s.x87.requireRoom();
  copyRegister(s, s.x87.address(s.k(7)), s.x87.address(s.rmNumber()));
  clearC1(s);
  s.x87.pushed();
  note(s);
};

/** Exponent, significand's high and low half rounded to nearest, whether other roundings may differ. SDM 2A, FLD1. */
const CONSTANTS: readonly (readonly [number, number, number, boolean])[] = [
  [0x3fff, 0x80000000, 0, false],
  [0x4000, 0xd49a784b, 0xcd1b8afe, true],
  [0x3fff, 0xb8aa3b29, 0x5c17f0bc, true],
  [0x4000, 0xc90fdaa2, 0x2168c235, true],
  [0x3ffd, 0x9a209a84, 0xfbcff799, true],
  [0x3ffe, 0xb17217f7, 0xd1cf79ac, true],
  [0, 0, 0, false],
];
export function loadConstant(which: number): Definition {
  const [exponent, high, low, inexact] = CONSTANTS[which]!;
  return (s) => {
    waiting(s);
    s.x87.requireRoom();
    if (inexact) giveUp(s, s.and(s.state(L.FPU_CW), s.k(RC)));
    const to = s.x87.address(s.k(7));
    s.out.store(32, to, 0, s.k(low));
    s.out.store(32, to, 4, s.k(high));
    s.out.store(32, to, 8, s.k(exponent));
    clearC1(s);
    s.x87.pushed();
    note(s);
  };
}

// ---- stores: convert, write (may fault), then change the status word and the stack

export function storing(bits: number, convert: (s: Emitter, at: Node) => Node, popping: boolean): Definition {
  return (s) => {
    waiting(s);
    s.x87.requireFull(s.k(0));
    const status = convert(s, s.x87.address(s.k(0)));
    giveUp(s, s.eqz(status));
    const at = place(s, bits, true);
    s.storeLinear(bits, at.linear, load(bits === 64 ? 'ld64' : 'ld32', s.k(L.FPU_VALUE), 0));
    s.setState(L.FPU_SW, s.and(status, s.k(0xffff)));
    if (popping) s.x87.pop();
    note(s, at);
  };
}
export const toSingle = (s: Emitter, at: Node): Node => s.callX87('x87ToSingle', at);
export const toDouble = (s: Emitter, at: Node): Node => s.callX87('x87ToDouble', at);
export const toInteger =
  (bits: number) =>
  (s: Emitter, at: Node): Node =>
    s.callX87('x87ToInteger', at, s.k(bits - 1));

export const storeExtended: Definition = (s) => {
  waiting(s);
  s.x87.requireFull(s.k(0));
  const at = place(s, 80, true);
  const host = s.hostOrCold(at.linear, 80, true);
  const from = s.x87.address(s.k(0));
  s.out.store(64, host, 0, load('ld64', from, 0));
  s.out.store(16, host, 8, load('ld16u', from, 8));
  clearC1(s);
  s.x87.pop();
  note(s, at);
};

export function storeRegister(popping: boolean): Definition {
  return (s) => {
    waiting(s);
    s.x87.requireFull(s.k(0));
    copyRegister(s, s.x87.address(s.rmNumber()), s.x87.address(s.k(0)));
    clearC1(s);
    s.x87.fill(s.rmNumber());
    if (popping) s.x87.pop();
    note(s);
  };
}

// ---- within the stack

export const exchange: Definition = (s) => {
  waiting(s);
  s.x87.requireFull(s.k(0), s.rmNumber());
  const [a, b] = [s.x87.address(s.k(0)), s.x87.address(s.rmNumber())];
  const [significand, se] = [s.let(load('ld64', a, 0)), s.let(load('ld16u', a, 8))];
  copyRegister(s, a, b);
  setRegister(s, b, significand, se);
  clearC1(s);
  note(s);
};
/** FCMOVcc: C1 stays. `condition`: a condition code of Jcc. */
export function conditionalMove(condition: number): Definition {
  return (s) => {
    waiting(s);
    s.x87.requireFull(s.k(0), s.rmNumber());
    const [to, from] = [s.x87.address(s.k(0)), s.x87.address(s.rmNumber())];
    copyRegister(s, to, s.let(s.sel(s.condition(condition), from, to)));
    note(s);
  };
}
export function changeSign(change: (s: Emitter, se: Node) => Node): Definition {
  return (s) => {
    waiting(s);
    s.x87.requireFull(s.k(0));
    const at = s.x87.address(s.k(0));
    s.out.store(32, at, 8, change(s, load('ld16u', at, 8)));
    clearC1(s);
    note(s);
  };
}
export function unaryFunction(name: 'x87SquareRoot' | 'x87RoundToInteger'): Definition {
  return (s) => {
    waiting(s);
    s.x87.requireFull(s.k(0));
    const at = s.x87.address(s.k(0));
    giveUp(s, s.callX87(name, at, at));
    note(s);
  };
}
export function moveTop(step: number): Definition {
  return (s) => {
    waiting(s);
    clearC1(s);
    s.x87.move(step);
    note(s);
  };
}
export function freeing(popping: boolean): Definition {
  return (s) => {
    waiting(s);
    clearC1(s);
    s.x87.free(s.rmNumber());
    if (popping) s.x87.pop();
    note(s);
  };
}

// ---- control

export const loadControl: Definition = (s) => {
  waiting(s);
  const word = s.loadLinear(16, place(s, 16, false).linear);
  const control = s.let(s.or(s.and(word, s.k(CW_BITS)), s.k(CW_FIXED)));
  // Unmasks something that has been raised.
  giveUp(s, s.and(s.and(s.state(L.FPU_SW), s.not(control)), s.k(0x3f)));
  s.setState(L.FPU_CW, control);
};
export const storeControl: Definition = (s) => {
  available(s);
  s.storeLinear(16, place(s, 16, true).linear, s.state(L.FPU_CW));
};
export const storeStatus: Definition = (s) => {
  available(s);
  s.storeLinear(16, place(s, 16, true).linear, s.x87.statusWord());
};
export const statusToAx: Definition = (s) => {
  available(s);
  s.setReg(0, s.x87.statusWord(), 16);
};
export const wait: Definition = (s) => {
  const both = CR0_MP | CR0_TS;
  s.guard('fwait', () =>
    s.or(s.eq(s.and(s.state(L.CR0), s.k(both)), s.k(both)), s.and(s.state(L.FPU_SW), s.k(SW_ES))),
  );
};
