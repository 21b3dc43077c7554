/**
 * x87 instructions on numbers that are normal or zero, with registers in use as they should be and results that raise nothing but a
 * masked PE. All else (NaN, infinity, denormals, stack faults, unmasked exceptions) is left to the cold operation fpu_escape, as
 * are transcendental functions, packed decimal and the environment. Nothing is changed before that is certain.
 *
 * Records are those of fpu_escape: the r/m field holds i of ST(i), the immediate the FPU's opcode.
 */
import { X87_MEMORY_NAMES, x87Name } from '../../isa-x87.ts';
import { arithmetic, arithmeticWithMemory, comparison, comparisonToFlags, ftst } from './x87-compute.ts';
import {
  changeSign,
  conditionalMove,
  exchange,
  extended,
  freeing,
  loadConstant,
  loadControl,
  loadRegister,
  loading,
  moveTop,
  statusToAx,
  storeControl,
  storeExtended,
  storeRegister,
  storeStatus,
  storing,
  toDouble,
  toInteger,
  toSingle,
  unaryFunction,
  wait,
} from './x87-moves.ts';
import {
  type Definition,
  SIGN,
  fromDouble,
  fromInt16,
  fromInt32,
  fromInt64,
  fromSingle,
  note,
  waiting,
} from './x87-operands.ts';

// ---- by the names of isa-x87.ts

const ARITHMETIC = ['add', 'mul', 'com', 'comp', 'sub', 'subr', 'div', 'divr'];
const CONSTANTS = ['fld1', 'fldl2t', 'fldl2e', 'fldpi', 'fldlg2', 'fldln2', 'fldz'];

function arithmeticForms(name: string, n: number): [string, Definition][] {
  const forms: [string, Definition][] = [
    [`f${name}s`, arithmeticWithMemory(n, 32, fromSingle)],
    [`fi${name}l`, arithmeticWithMemory(n, 32, fromInt32)],
    [`f${name}l`, arithmeticWithMemory(n, 64, fromDouble)],
    [`fi${name}s`, arithmeticWithMemory(n, 16, fromInt16)],
  ];
  if (n === 2 || n === 3) return forms;
  return [
    ...forms,
    [`f${name}:i`, arithmetic(n, false, false)],
    [`f${name}:0,i`, arithmetic(n, true, false)],
    [`f${name}p:i`, arithmetic(n, true, true)],
  ];
}

const DEFINITIONS: Readonly<Record<string, Definition>> = {
  ...Object.fromEntries(ARITHMETIC.flatMap(arithmeticForms)),
  'fcom:i': comparison(0),
  'fcomp:i': comparison(1),
  fcompp: comparison(2),
  'fucom:i': comparison(0),
  'fucomp:i': comparison(1),
  fucompp: comparison(2),
  'fucomi:i': comparisonToFlags(false),
  'fcomi:i': comparisonToFlags(false),
  'fucomip:i': comparisonToFlags(true),
  'fcomip:i': comparisonToFlags(true),

  flds: loading(32, fromSingle),
  fildl: loading(32, fromInt32),
  fldt: loading(80, extended),
  fldl: loading(64, fromDouble),
  filds: loading(16, fromInt16),
  fildll: loading(64, fromInt64),
  fsts: storing(32, toSingle, false),
  fstps: storing(32, toSingle, true),
  fistl: storing(32, toInteger(32), false),
  fistpl: storing(32, toInteger(32), true),
  fstl: storing(64, toDouble, false),
  fstpl: storing(64, toDouble, true),
  fists: storing(16, toInteger(16), false),
  fistps: storing(16, toInteger(16), true),
  fstpt: storeExtended,
  fistpll: storing(64, toInteger(64), true),

  'fld:i': loadRegister,
  'fxch:i': exchange,
  'ffree:i': freeing(false),
  'ffreep:i': freeing(true),
  'fst:i': storeRegister(false),
  'fstp:i': storeRegister(true),
  // Numbers of the conditions B, E, BE, U; their negations follow them.
  ...Object.fromEntries(
    Object.entries({ b: 2, e: 4, be: 6, u: 10 }).flatMap(([name, condition]) => [
      [`fcmov${name}:i,0`, conditionalMove(condition)],
      [`fcmovn${name}:i,0`, conditionalMove(condition + 1)],
    ]),
  ),
  ...Object.fromEntries(CONSTANTS.map((name, which) => [name, loadConstant(which)])),
  fnop: (s) => {
    waiting(s);
    note(s);
  },
  fchs: changeSign((s, se) => s.xor(se, s.k(SIGN))),
  fabs: changeSign((s, se) => s.and(se, s.k(SIGN - 1))),
  ftst,
  fdecstp: moveTop(-1),
  fincstp: moveTop(1),
  fsqrt: unaryFunction('x87SquareRoot'),
  frndint: unaryFunction('x87RoundToInteger'),

  fldcw: loadControl,
  fnstcw: storeControl,
  fnstsw: storeStatus,
  'fnstsw:ax': statusToAx,
};

const operationName = (name: string): string => `x87_${name}`;

/** Name of the generated operation of an encoding D8–DF, or undefined: it is only cold. */
export function x87Operation(opcode: number, modrm: number, inMemory: boolean): string | undefined {
  const name = x87Name(opcode, modrm, inMemory);
  return name === undefined || DEFINITIONS[name] === undefined ? undefined : operationName(name);
}

/** Names, and whether the operand is in memory. */
export const X87_OPERATIONS: readonly (readonly [name: string, inMemory: boolean])[] = Object.keys(
  DEFINITIONS,
).map((name) => [operationName(name), X87_MEMORY_NAMES.has(name)]);

export const X87: Readonly<Record<string, Definition>> = {
  fwait: wait,
  ...Object.fromEntries(Object.entries(DEFINITIONS).map(([name, d]) => [operationName(name), d])),
};
