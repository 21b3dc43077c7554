/**
 * Opcodes D8–DF: which function carries out an instruction; their encodings stand in isa-x87.ts. Undefined ones raise #UD.
 * The record's immediate holds ((opcode & 7) << 8) | modrm, as the FPU's opcode register has it.
 */
import { CR0_MP, CR0_TS, type CpuState, EXC_NM, JUMP, NEXT } from '../cpu-state.ts';
import { x87Name } from '../isa-x87.ts';
import * as L from '../layout.ts';
import { immediate, memoryOffset, memorySegment, rmIsMemory } from '../operands.ts';
import * as compute from './compute.ts';
import * as env from './environment.ts';
import * as special from './special.ts';
import { checkAvailable, pendingException } from './stack.ts';
import * as move from './transfer.ts';
import type { MemoryOperation, RegisterOperation } from './transfer.ts';
import * as transcendental from './transcendental.ts';

/** Does not wait for pending exceptions / leaves the instruction and data pointers alone. */
const NO_WAIT = 1;
const CONTROL = 2;

type Cold<T> = readonly [operation: T, flags: number];

const ARITHMETIC = ['add', 'mul', 'com', 'comp', 'sub', 'subr', 'div', 'divr'];
const CONDITIONS = ['b', 'e', 'be', 'u'];
const CONSTANTS = ['fld1', 'fldl2t', 'fldl2e', 'fldpi', 'fldlg2', 'fldln2', 'fldz'];

/** Cold operations by their names in isa-x87.ts. */
const MEMORY_OPERATIONS: Readonly<Record<string, MemoryOperation>> = {
  ...Object.fromEntries(
    ARITHMETIC.flatMap((name, n) => [
      [`f${name}s`, compute.SINGLE_MEMORY[n]!],
      [`fi${name}l`, compute.INT32_MEMORY[n]!],
      [`f${name}l`, compute.DOUBLE_MEMORY[n]!],
      [`fi${name}s`, compute.INT16_MEMORY[n]!],
    ]),
  ),
  flds: move.fldSingle,
  fsts: move.fstSingle,
  fstps: move.fstpSingle,
  fildl: move.fild32,
  fisttpl: move.fisttp32,
  fistl: move.fist32,
  fistpl: move.fistp32,
  fldt: move.fldExtended,
  fstpt: move.fstpExtended,
  fldl: move.fldDouble,
  fisttpll: move.fisttp64,
  fstl: move.fstDouble,
  fstpl: move.fstpDouble,
  filds: move.fild16,
  fisttps: move.fisttp16,
  fists: move.fist16,
  fistps: move.fistp16,
  fbld: move.fbld,
  fildll: move.fild64,
  fbstp: move.fbstp,
  fistpll: move.fistp64,
};
const MEMORY_CONTROL: Readonly<Record<string, Cold<MemoryOperation>>> = {
  fldenv: [env.fldenv, CONTROL],
  fldcw: [env.fldcw, CONTROL],
  fnstenv: [env.fnstenv, NO_WAIT | CONTROL],
  fnstcw: [env.fnstcw, NO_WAIT | CONTROL],
  frstor: [env.frstor, CONTROL],
  fnsave: [env.fnsave, NO_WAIT | CONTROL],
  fnstsw: [env.fnstsw, NO_WAIT | CONTROL],
};

const REGISTER_OPERATIONS: Readonly<Record<string, RegisterOperation>> = {
  ...Object.fromEntries(
    ARITHMETIC.flatMap((name, n) => [
      [`f${name}:i`, compute.TO_TOP[n]!],
      [`f${name}:0,i`, compute.TO_SOURCE[n]!],
      [`f${name}p:i`, compute.TO_SOURCE_POP[n]!],
    ]),
  ),
  // Undocumented doubles that silicon has have operands in another order.
  'fcom:i': compute.fcom(false, 0),
  'fcom:i,0': compute.fcom(false, 0),
  'fcomp:i': compute.fcom(false, 1),
  'fcomp:i,0': compute.fcom(false, 1),
  fcompp: compute.fcom(false, 2),
  'fucom:i': compute.fcom(true, 0),
  'fucomp:i': compute.fcom(true, 1),
  fucompp: compute.fcom(true, 2),
  'fucomi:i': compute.fcomi(true, false),
  'fcomi:i': compute.fcomi(false, false),
  'fucomip:i': compute.fcomi(true, true),
  'fcomip:i': compute.fcomi(false, true),
  'fld:i': move.fldRegister,
  'fxch:i': move.fxch,
  'fxch:i,0': move.fxch,
  'ffree:i': move.ffree,
  'ffreep:i': move.ffreep,
  'fst:i': move.fstRegister,
  'fstp:i': move.fstpRegister,
  'fstp:0,i': move.fstpRegister,
  'fstpnce:0,i': move.fstpRegister,
  ...Object.fromEntries(
    CONDITIONS.flatMap((name, k) => [
      [`fcmov${name}:i,0`, move.CONDITIONAL_MOVES[0]![k]!],
      [`fcmovn${name}:i,0`, move.CONDITIONAL_MOVES[1]![k]!],
    ]),
  ),
  ...Object.fromEntries(CONSTANTS.map((name, k) => [name, (c: CpuState) => move.fldConstant(c, k)])),
  fnop: special.nothing,
  fchs: special.fchs,
  fabs: special.fabs,
  ftst: compute.ftst,
  fxam: special.fxam,
  f2xm1: transcendental.f2xm1,
  fyl2x: transcendental.fyl2x,
  fptan: transcendental.fptan,
  fpatan: transcendental.fpatan,
  fxtract: special.fxtract,
  fprem1: special.fprem(true),
  fdecstp: special.moveTop(-1),
  fincstp: special.moveTop(1),
  fprem: special.fprem(false),
  fyl2xp1: transcendental.fyl2xp1,
  fsqrt: special.fsqrt,
  fsincos: transcendental.fsincos,
  frndint: special.frndint,
  fscale: special.fscale,
  fsin: transcendental.fsin,
  fcos: transcendental.fcos,
};
const REGISTER_CONTROL: Readonly<Record<string, Cold<RegisterOperation>>> = {
  'fnstsw:ax': [env.fnstswAx, NO_WAIT | CONTROL],
  fnclex: [env.fnclex, NO_WAIT | CONTROL],
  fninit: [env.fninit, NO_WAIT | CONTROL],
  // Of the 8087 and the 287: later ones do nothing.
  fneni: [special.nothing, NO_WAIT | CONTROL],
  fndisi: [special.nothing, NO_WAIT | CONTROL],
  fnsetpm: [special.nothing, NO_WAIT | CONTROL],
};

function undefinedOperation(c: CpuState): number {
  return c.raiseUd();
}

/** Of one encoding. */
function find<T>(
  name: string | undefined,
  operations: Readonly<Record<string, T>>,
  control: Readonly<Record<string, Cold<T>>>,
  none: T,
): Cold<T> {
  if (name === undefined) return [none, NO_WAIT | CONTROL];
  const found =
    control[name] ?? (operations[name] === undefined ? undefined : ([operations[name], 0] as const));
  if (found === undefined) throw new Error(`the x87 instruction ${name} has no operation`);
  return found;
}

/** By encoding: (opcode & 7, reg) and (opcode & 7, modrm & 63). */
const BY_MEMORY = Array.from({ length: 64 }, (_, n) =>
  find(x87Name(n >> 3, (n & 7) << 3, true), MEMORY_OPERATIONS, MEMORY_CONTROL, undefinedOperation),
);
const BY_REGISTER = Array.from({ length: 512 }, (_, n) =>
  find(x87Name(n >> 6, 0xc0 | (n & 63), false), REGISTER_OPERATIONS, REGISTER_CONTROL, undefinedOperation),
);
const MEMORY = BY_MEMORY.map(([operation]) => operation);
const MEMORY_FLAGS = Uint8Array.from(BY_MEMORY, ([, flags]) => flags);
const REGISTER = BY_REGISTER.map(([operation]) => operation);
const REGISTER_FLAGS = Uint8Array.from(BY_REGISTER, ([, flags]) => flags);

function restart(c: CpuState): number {
  c.set(L.EIP, c.eip);
  return JUMP;
}

function notePointers(c: CpuState, opcode: number): void {
  c.set(L.FPU_IP, c.eip);
  c.set(L.FPU_CS, c.selector(L.CS));
  c.set(L.FPU_OPCODE, opcode & 0x7ff);
}

/** D8–DF. */
export function fpuEscape(c: CpuState): number {
  const opcode = immediate(c);
  const inMemory = rmIsMemory(c);
  const slot = inMemory
    ? ((opcode >> 5) & 0x38) | ((opcode >> 3) & 7)
    : ((opcode >> 2) & 0x1c0) | (opcode & 63);
  const flags = inMemory ? MEMORY_FLAGS[slot]! : REGISTER_FLAGS[slot]!;
  checkAvailable(c);
  if ((flags & NO_WAIT) === 0 && pendingException(c)) return restart(c);
  if (!inMemory) {
    const result = REGISTER[slot]!(c, opcode & 7);
    if ((flags & CONTROL) === 0) notePointers(c, opcode);
    return result;
  }
  const seg = memorySegment(c);
  const offset = memoryOffset(c);
  const result = MEMORY[slot]!(c, seg, offset);
  if ((flags & CONTROL) === 0) {
    notePointers(c, opcode);
    c.set(L.FPU_DP, offset | 0);
    c.set(L.FPU_DS, c.selector(seg));
  }
  return result;
}

/** FWAIT. */
export function fwait(c: CpuState): number {
  const available = CR0_MP | CR0_TS;
  if ((c.get(L.CR0) & available) === available) c.raise(EXC_NM);
  return pendingException(c) ? restart(c) : NEXT;
}
