/** All cold operations, numbered: decoded records hold the number. */
import type { CpuState } from './cpu-state.ts';
import { FPU_OPERATIONS } from './fpu/index.ts';
import { BCD_OPERATIONS } from './ops/bcd.ts';
import { popRm } from './ops/pop-memory.ts';
import { SIMD_OPERATIONS } from './simd/index.ts';
import { COLD_OPERATIONS } from './system/index.ts';

export type ColdOperation = (c: CpuState) => number;

function undefinedOpcode(c: CpuState): number {
  return c.raiseUd();
}
function tooLong(c: CpuState): number {
  return c.raiseGp(0);
}

const ALL: Readonly<Record<string, ColdOperation>> = {
  undefined: undefinedOpcode,
  too_long: tooLong,
  ...BCD_OPERATIONS,
  pop_rm: popRm,
  ...COLD_OPERATIONS,
  ...FPU_OPERATIONS,
  ...SIMD_OPERATIONS,
};

const NAMES = Object.keys(ALL);
const OPERATIONS: readonly ColdOperation[] = Object.values(ALL);
const NUMBERS = new Map(NAMES.map((name, i) => [name, i]));

/** Number of an operation that must exist. */
export function coldNumber(name: string): number {
  const number = NUMBERS.get(name);
  if (number === undefined) throw new Error(`no cold operation ${name}`);
  return number;
}

/** Number of an operation; one that is not there is an undefined opcode. */
export function coldOperationNumber(name: string): number {
  return NUMBERS.get(name) ?? 0;
}

export function coldOperation(number: number): ColdOperation {
  return OPERATIONS[number]!;
}
