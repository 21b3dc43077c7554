/** Arithmetic and comparison instructions in their register and memory forms. Intel SDM volume 2A, FADD and its kin. */
import { type CpuState, NEXT } from '../cpu-state.ts';
import { FLAG_CF, FLAG_PF, FLAG_ZF } from '../eflags.ts';
import * as L from '../layout.ts';
import { readSeg16, readSeg32 } from '../operands.ts';
import { add, divide, multiply } from './arithmetic.ts';
import { compare, EQUAL, GREATER, LESS } from './compare.ts';
import { bits, fromDouble, fromInt32, fromSingle } from './convert.ts';
import { classify, DE, type Extended, fp, IE, QUIET, set, ZE } from './extended.ts';
import { read64 } from './memory.ts';
import {
  begin,
  finish,
  isEmpty,
  load,
  pop,
  setConditions,
  stackFault,
  store,
  SW_C0,
  SW_C1,
  SW_C2,
  SW_C3,
  x,
  y,
  z,
} from './stack.ts';
import type { MemoryOperation, RegisterOperation } from './transfer.ts';

const FADD = 0;
const FMUL = 1;
const FSUB = 4;
const FSUBR = 5;
const FDIV = 6;

/** `z` = a op b by the reg field of the opcode. */
function calculate(operation: number, a: Extended, b: Extended): void {
  switch (operation) {
    case FADD:
      add(a, b, 0, z);
      break;
    case FMUL:
      multiply(a, b, z);
      break;
    case FSUB:
      add(a, b, 1, z);
      break;
    case FSUBR:
      add(b, a, 1, z);
      break;
    case FDIV:
      divide(a, b, z);
      break;
    default:
      divide(b, a, z);
  }
}

/** ST(0) and ST(i), result to ST(target): `toSource` ST(i), else ST(0). */
function registers(operation: number, toSource: boolean, popping: boolean): RegisterOperation {
  return (c, i) => {
    const target = toSource ? i : 0;
    begin(c);
    if (isEmpty(c, 0) || isEmpty(c, i)) {
      if (!stackFault(c, false)) return NEXT;
    } else {
      load(c, 0, x);
      load(c, i, y);
      calculate(operation, x, y);
      if (!finish(c)) return NEXT;
    }
    store(c, target, z);
    if (popping) pop(c);
    return NEXT;
  };
}

/** ST(0) and `y`, already converted; conversion flags stand in `fp`. */
function withOperand(c: CpuState, operation: number): number {
  if (isEmpty(c, 0)) {
    if (stackFault(c, false)) store(c, 0, z);
    return NEXT;
  }
  load(c, 0, x);
  forgetDenormal();
  calculate(operation, x, y);
  if ((fp.flags & ZE) !== 0) fp.flags &= ~DE;
  if (finish(c)) store(c, 0, z);
  return NEXT;
}

/** Single and double operands: a signaling NaN must still be one when the operation looks at it. */
function convertSingle(v: number): void {
  fromSingle(v, y);
  keepSignaling();
}
function convertDouble(): void {
  fromDouble(bits.hi, bits.lo, y);
  keepSignaling();
}
function keepSignaling(): void {
  if ((fp.flags & IE) === 0) return;
  fp.flags &= ~IE;
  set(y, y.se, y.hi & ~0x40000000, y.lo);
}

/** A denormal operand in memory does not count beside a NaN (nor, later, beside a division by zero). */
function forgetDenormal(): void {
  if ((fp.flags & DE) !== 0 && classify(x) >= QUIET) fp.flags &= ~DE;
}

type Apply = (c: CpuState) => number;

function fromSingleMemory(apply: Apply): MemoryOperation {
  return (c, seg, offset) => {
    const v = readSeg32(c, seg, offset);
    begin(c);
    convertSingle(v);
    return apply(c);
  };
}
function fromDoubleMemory(apply: Apply): MemoryOperation {
  return (c, seg, offset) => {
    read64(c, seg, offset);
    begin(c);
    convertDouble();
    return apply(c);
  };
}
function fromInt32Memory(apply: Apply): MemoryOperation {
  return (c, seg, offset) => {
    const v = readSeg32(c, seg, offset);
    begin(c);
    fromInt32(v, y);
    return apply(c);
  };
}
function fromInt16Memory(apply: Apply): MemoryOperation {
  return (c, seg, offset) => {
    const v = readSeg16(c, seg, offset);
    begin(c);
    fromInt32((v << 16) >> 16, y);
    return apply(c);
  };
}

// ---- comparison

function conditions(relation: number): number {
  if (relation === LESS) return SW_C0;
  if (relation === EQUAL) return SW_C3;
  return relation === GREATER ? 0 : SW_C0 | SW_C2 | SW_C3;
}

const UNORDERED_CONDITIONS = SW_C0 | SW_C2 | SW_C3;

/** Compares ST(0) with `y`; returns whether pops may go on. */
function compareWithY(c: CpuState, quiet: boolean): boolean {
  if (isEmpty(c, 0)) return unorderedFault(c);
  load(c, 0, x);
  forgetDenormal();
  const relation = compare(x, y, quiet);
  const goOn = finish(c);
  setConditions(c, conditions(relation));
  return goOn;
}
function unorderedFault(c: CpuState): boolean {
  const masked = stackFault(c, false);
  setConditions(c, UNORDERED_CONDITIONS);
  return masked;
}

function compareOperand(pops: number): Apply {
  return (c) => {
    if (compareWithY(c, false) && pops === 1) pop(c);
    return NEXT;
  };
}

export function fcom(quiet: boolean, pops: number): RegisterOperation {
  return (c, i) => {
    begin(c);
    let goOn: boolean;
    if (isEmpty(c, i)) goOn = unorderedFault(c);
    else {
      load(c, i, y);
      goOn = compareWithY(c, quiet);
    }
    if (goOn) for (let k = 0; k < pops; k++) pop(c);
    return NEXT;
  };
}

/** FCOMI and kin: into ZF, PF, CF; OF, SF, AF become 0; C1 stays. */
export function fcomi(quiet: boolean, popping: boolean): RegisterOperation {
  return (c, i) => {
    begin(c);
    let goOn: boolean;
    let flags = FLAG_ZF | FLAG_PF | FLAG_CF;
    if (isEmpty(c, 0) || isEmpty(c, i)) goOn = stackFault(c, false);
    else {
      load(c, 0, x);
      load(c, i, y);
      const relation = compare(x, y, quiet);
      const c1 = c.get(L.FPU_SW) & SW_C1;
      goOn = finish(c);
      c.set(L.FPU_SW, c.get(L.FPU_SW) | c1);
      if (relation === LESS) flags = FLAG_CF;
      else if (relation === EQUAL) flags = FLAG_ZF;
      else if (relation === GREATER) flags = 0;
    }
    c.setArithmeticFlags(flags);
    if (goOn && popping) pop(c);
    return NEXT;
  };
}

export function ftst(c: CpuState): number {
  begin(c);
  set(y, 0, 0, 0);
  compareWithY(c, false);
  return NEXT;
}

/** The eight operations in the order of the reg field: add, mul, com, comp, sub, subr, div, divr. */
const ORDER = [0, 1, 2, 3, 4, 5, 6, 7];

function memoryForm(wrap: (apply: Apply) => MemoryOperation): readonly MemoryOperation[] {
  return ORDER.map((n) => wrap(n === 2 || n === 3 ? compareOperand(n - 2) : (c) => withOperand(c, n)));
}

export const SINGLE_MEMORY = memoryForm(fromSingleMemory);
export const DOUBLE_MEMORY = memoryForm(fromDoubleMemory);
export const INT32_MEMORY = memoryForm(fromInt32Memory);
export const INT16_MEMORY = memoryForm(fromInt16Memory);

/** D8: to ST(0). DC, DE (popping): to ST(i); their 2 and 3 are undocumented FCOM, FCOMP. */
export const TO_TOP = ORDER.map((n) =>
  n === 2 || n === 3 ? fcom(false, n - 2) : registers(n, false, false),
);
export const TO_SOURCE = ORDER.map((n) =>
  n === 2 || n === 3 ? fcom(false, n - 2) : registers(n, true, false),
);
export const TO_SOURCE_POP = ORDER.map((n) =>
  n === 2 || n === 3 ? fcom(false, 1) : registers(n, true, true),
);
