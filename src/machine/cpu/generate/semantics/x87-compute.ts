/** x87 arithmetic and comparison. See x87.ts. */
import * as L from '../../layout.ts';
import type { Emitter } from '../emitter.ts';
import type { Node } from '../node.ts';
import {
  type Converter,
  type Definition,
  SIGN,
  SW_CONDITIONS,
  giveUp,
  note,
  place,
  setRegister,
  waiting,
} from './x87-operands.ts';

// ---- arithmetic: the eight operations in the order of the reg field, 2 and 3 compare

const FMUL = 1;
const FSUB = 4;
const FSUBR = 5;
const FDIV = 6;
const FDIVR = 7;

/** `to` = a op b, or the cold operation. */
function calculate(s: Emitter, operation: number, a: Node, b: Node, to: Node): void {
  const reversed = operation === FSUBR || operation === FDIVR;
  const [x, y] = reversed ? [b, a] : [a, b];
  if (operation === FMUL) giveUp(s, s.callX87('x87Multiply', x, y, to));
  else if (operation >= FDIV) giveUp(s, s.callX87('x87Divide', x, y, to));
  else giveUp(s, s.callX87('x87Add', x, y, to, s.k(operation >= FSUB ? SIGN : 0)));
}
/** Condition codes of a comparison, C1 cleared. */
function compareInto(s: Emitter, a: Node, b: Node): void {
  const relation = s.callX87('x87Compare', a, b);
  giveUp(s, s.bin('lts', relation, s.k(0)));
  s.setState(L.FPU_SW, s.or(s.and(s.state(L.FPU_SW), s.k(~SW_CONDITIONS)), relation));
}

export function arithmeticWithMemory(operation: number, bits: number, convert: Converter): Definition {
  return (s) => {
    waiting(s);
    const top = s.k(0);
    s.x87.requireFull(top);
    const at = place(s, bits, false);
    const operand = s.k(L.FPU_OPERAND);
    convert(s, operand, at.linear);
    const a = s.x87.address(top);
    if (operation === 2 || operation === 3) compareInto(s, a, operand);
    else calculate(s, operation, a, operand, a);
    if (operation === 3) s.x87.pop();
    note(s, at);
  };
}
export function arithmetic(operation: number, toSource: boolean, popping: boolean): Definition {
  return (s) => {
    waiting(s);
    s.x87.requireFull(s.k(0), s.rmNumber());
    const a = s.x87.address(s.k(0));
    const b = s.x87.address(s.rmNumber());
    calculate(s, operation, a, b, toSource ? b : a);
    if (popping) s.x87.pop();
    note(s);
  };
}
export function comparison(pops: number): Definition {
  return (s) => {
    waiting(s);
    s.x87.requireFull(s.k(0), s.rmNumber());
    compareInto(s, s.x87.address(s.k(0)), s.x87.address(s.rmNumber()));
    for (let k = 0; k < pops; k++) s.x87.pop();
    note(s);
  };
}
/** FCOMI: CF less, ZF equal; the status word stays. */
export function comparisonToFlags(popping: boolean): Definition {
  return (s) => {
    waiting(s);
    s.x87.requireFull(s.k(0), s.rmNumber());
    const relation = s.callX87('x87Compare', s.x87.address(s.k(0)), s.x87.address(s.rmNumber()));
    giveUp(s, s.bin('lts', relation, s.k(0)));
    const less = s.and(s.neg(s.and(s.shr(relation, s.k(8)), s.k(1))), s.k(0xc0000000 | 0));
    // FR 1 has SF, ZF and PF 0; bit 0 of FC is ZF.
    s.setFc(s.or(less, s.shr(relation, s.k(14))));
    s.setFr(s.k(1));
    if (popping) s.x87.pop();
    note(s);
  };
}
export const ftst: Definition = (s) => {
  waiting(s);
  s.x87.requireFull(s.k(0));
  const zero = s.k(L.FPU_OPERAND);
  setRegister(s, zero, s.k64(0), s.k(0));
  compareInto(s, s.x87.address(s.k(0)), zero);
  note(s);
};
