/**
 * x87 instructions on numbers that are normal or zero, with registers in use as they should be and results that raise nothing but a
 * masked PE. All else (NaN, infinity, denormals, stack faults, unmasked exceptions) is left to the cold operation fpu_escape, as
 * are transcendental functions, packed decimal and the environment. Nothing is changed before that is certain.
 *
 * Records are those of fpu_escape: the r/m field holds i of ST(i), the immediate the FPU's opcode.
 */
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

// ---- encodings: memory forms by (opcode & 7, reg), register forms also by the whole ModRM byte

const MEMORY = new Map<string, Definition>();
const REGISTER = new Map<string, Definition>();

function key(opcode: number, field: number): string {
  return `${((opcode & 7) | 0xd8).toString(16)}_${field.toString(16)}`;
}
function memory(opcode: number, reg: number, definition: Definition): void {
  MEMORY.set(key(opcode, reg), definition);
}
/** All eight ST(i). */
function eight(opcode: number, reg: number, definition: Definition): void {
  REGISTER.set(key(opcode, reg), definition);
}
function single(opcode: number, modrm: number, definition: Definition): void {
  REGISTER.set(key(opcode, modrm), definition);
}

for (let n = 0; n < 8; n++) {
  memory(0xd8, n, arithmeticWithMemory(n, 32, fromSingle));
  memory(0xda, n, arithmeticWithMemory(n, 32, fromInt32));
  memory(0xdc, n, arithmeticWithMemory(n, 64, fromDouble));
  memory(0xde, n, arithmeticWithMemory(n, 16, fromInt16));
  if (n === 2 || n === 3) continue;
  eight(0xd8, n, arithmetic(n, false, false));
  eight(0xdc, n, arithmetic(n, true, false));
  eight(0xde, n, arithmetic(n, true, true));
}
eight(0xd8, 2, comparison(0));
eight(0xd8, 3, comparison(1));
eight(0xdd, 4, comparison(0));
eight(0xdd, 5, comparison(1));
single(0xde, 0xd9, comparison(2));
single(0xda, 0xe9, comparison(2));
eight(0xdb, 5, comparisonToFlags(false));
eight(0xdb, 6, comparisonToFlags(false));
eight(0xdf, 5, comparisonToFlags(true));
eight(0xdf, 6, comparisonToFlags(true));

memory(0xd9, 0, loading(32, fromSingle));
memory(0xdb, 0, loading(32, fromInt32));
memory(0xdb, 5, loading(80, extended));
memory(0xdd, 0, loading(64, fromDouble));
memory(0xdf, 0, loading(16, fromInt16));
memory(0xdf, 5, loading(64, fromInt64));
for (const reg of [2, 3]) {
  memory(0xd9, reg, storing(32, toSingle, reg === 3));
  memory(0xdb, reg, storing(32, toInteger(32), reg === 3));
  memory(0xdd, reg, storing(64, toDouble, reg === 3));
  memory(0xdf, reg, storing(16, toInteger(16), reg === 3));
}
memory(0xdb, 7, storeExtended);
memory(0xdf, 7, storing(64, toInteger(64), true));

eight(0xd9, 0, loadRegister);
eight(0xd9, 1, exchange);
eight(0xdd, 0, freeing(false));
eight(0xdf, 0, freeing(true));
eight(0xdd, 2, storeRegister(false));
eight(0xdd, 3, storeRegister(true));
// Of DA: B, E, BE, U; of DB their negations.
[2, 4, 6, 10].forEach((condition, reg) => {
  eight(0xda, reg, conditionalMove(condition));
  eight(0xdb, reg, conditionalMove(condition + 1));
});
for (let which = 0; which < 7; which++) single(0xd9, 0xe8 + which, loadConstant(which));
single(0xd9, 0xd0, (s) => {
  waiting(s);
  note(s);
});
single(
  0xd9,
  0xe0,
  changeSign((s, se) => s.xor(se, s.k(SIGN))),
);
single(
  0xd9,
  0xe1,
  changeSign((s, se) => s.and(se, s.k(SIGN - 1))),
);
single(0xd9, 0xe4, ftst);
single(0xd9, 0xf6, moveTop(-1));
single(0xd9, 0xf7, moveTop(1));
single(0xd9, 0xfa, unaryFunction('x87SquareRoot'));
single(0xd9, 0xfc, unaryFunction('x87RoundToInteger'));

memory(0xd9, 5, loadControl);
memory(0xd9, 7, storeControl);
memory(0xdd, 7, storeStatus);
single(0xdf, 0xe0, statusToAx);

const memoryName = (k: string): string => `x87_m_${k}`;
const registerName = (k: string): string => `x87_r_${k}`;

/** Name of the generated operation of an encoding D8–DF, or undefined: it is only cold. */
export function x87Operation(opcode: number, modrm: number, inMemory: boolean): string | undefined {
  const reg = (modrm >> 3) & 7;
  if (inMemory) {
    const k = key(opcode, reg);
    return MEMORY.has(k) ? memoryName(k) : undefined;
  }
  for (const k of [key(opcode, modrm), key(opcode, reg)]) if (REGISTER.has(k)) return registerName(k);
  return undefined;
}

/** Names, and whether the operand is in memory. */
export const X87_OPERATIONS: readonly (readonly [name: string, inMemory: boolean])[] = [
  ...[...MEMORY.keys()].map((k) => [memoryName(k), true] as const),
  ...[...REGISTER.keys()].map((k) => [registerName(k), false] as const),
];

export const X87: Readonly<Record<string, Definition>> = {
  fwait: wait,
  ...Object.fromEntries([...MEMORY].map(([k, definition]) => [memoryName(k), definition])),
  ...Object.fromEntries([...REGISTER].map(([k, definition]) => [registerName(k), definition])),
};
