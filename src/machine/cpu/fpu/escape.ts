/**
 * Opcodes D8–DF: which function carries out an encoding. Memory forms by (opcode & 7, reg), register forms by
 * (opcode & 7, modrm & 63); undefined ones raise #UD. Intel SDM volume 2, appendix A.5.
 * The record's immediate holds ((opcode & 7) << 8) | modrm, as the FPU's opcode register has it.
 */
import { CR0_MP, CR0_TS, type CpuState, EXC_NM, JUMP, NEXT } from '../cpu-state.ts';
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

function undefinedOperation(c: CpuState): number {
  return c.raiseUd();
}
const UNDEFINED_FLAGS = NO_WAIT | CONTROL;

const MEMORY: MemoryOperation[] = new Array<MemoryOperation>(64).fill(undefinedOperation);
const MEMORY_FLAGS = new Uint8Array(64).fill(UNDEFINED_FLAGS);
const REGISTER: RegisterOperation[] = new Array<RegisterOperation>(512).fill(undefinedOperation);
const REGISTER_FLAGS = new Uint8Array(512).fill(UNDEFINED_FLAGS);

function memory(first: number, reg: number, operation: MemoryOperation, flags = 0): void {
  MEMORY[(first & 7) * 8 + reg] = operation;
  MEMORY_FLAGS[(first & 7) * 8 + reg] = flags;
}
/** One register encoding: `modrm` C0–FF. */
function single(first: number, modrm: number, operation: RegisterOperation, flags = 0): void {
  REGISTER[(first & 7) * 64 + (modrm & 63)] = operation;
  REGISTER_FLAGS[(first & 7) * 64 + (modrm & 63)] = flags;
}
/** Eight encodings, one for each ST(i). */
function eight(first: number, modrm: number, operation: RegisterOperation, flags = 0): void {
  for (let i = 0; i < 8; i++) single(first, modrm + i, operation, flags);
}

function fillArithmetic(): void {
  for (let reg = 0; reg < 8; reg++) {
    memory(0xd8, reg, compute.SINGLE_MEMORY[reg]!);
    memory(0xda, reg, compute.INT32_MEMORY[reg]!);
    memory(0xdc, reg, compute.DOUBLE_MEMORY[reg]!);
    memory(0xde, reg, compute.INT16_MEMORY[reg]!);
    const modrm = 0xc0 + reg * 8;
    eight(0xd8, modrm, compute.TO_TOP[reg]!);
    eight(0xdc, modrm, compute.TO_SOURCE[reg]!);
    if (reg !== 3) eight(0xde, modrm, compute.TO_SOURCE_POP[reg]!);
  }
  single(0xde, 0xd9, compute.fcom(false, 2));
  single(0xda, 0xe9, compute.fcom(true, 2));
  eight(0xdd, 0xe0, compute.fcom(true, 0));
  eight(0xdd, 0xe8, compute.fcom(true, 1));
  eight(0xdb, 0xe8, compute.fcomi(true, false));
  eight(0xdb, 0xf0, compute.fcomi(false, false));
  eight(0xdf, 0xe8, compute.fcomi(true, true));
  eight(0xdf, 0xf0, compute.fcomi(false, true));
}

function fillMoves(): void {
  memory(0xd9, 0, move.fldSingle);
  memory(0xd9, 2, move.fstSingle);
  memory(0xd9, 3, move.fstpSingle);
  memory(0xdb, 0, move.fild32);
  memory(0xdb, 1, move.fisttp32);
  memory(0xdb, 2, move.fist32);
  memory(0xdb, 3, move.fistp32);
  memory(0xdb, 5, move.fldExtended);
  memory(0xdb, 7, move.fstpExtended);
  memory(0xdd, 0, move.fldDouble);
  memory(0xdd, 1, move.fisttp64);
  memory(0xdd, 2, move.fstDouble);
  memory(0xdd, 3, move.fstpDouble);
  memory(0xdf, 0, move.fild16);
  memory(0xdf, 1, move.fisttp16);
  memory(0xdf, 2, move.fist16);
  memory(0xdf, 3, move.fistp16);
  memory(0xdf, 4, move.fbld);
  memory(0xdf, 5, move.fild64);
  memory(0xdf, 6, move.fbstp);
  memory(0xdf, 7, move.fistp64);
  eight(0xd9, 0xc0, move.fldRegister);
  eight(0xd9, 0xc8, move.fxch);
  eight(0xdd, 0xc0, move.ffree);
  eight(0xdd, 0xd0, move.fstRegister);
  eight(0xdd, 0xd8, move.fstpRegister);
  // Undocumented doubles that silicon has.
  eight(0xd9, 0xd8, move.fstpRegister);
  eight(0xdd, 0xc8, move.fxch);
  eight(0xdf, 0xc0, move.ffreep);
  eight(0xdf, 0xc8, move.fxch);
  eight(0xdf, 0xd0, move.fstpRegister);
  eight(0xdf, 0xd8, move.fstpRegister);
  for (let k = 0; k < 4; k++) {
    eight(0xda, 0xc0 + k * 8, move.CONDITIONAL_MOVES[0]![k]!);
    eight(0xdb, 0xc0 + k * 8, move.CONDITIONAL_MOVES[1]![k]!);
  }
  for (let k = 0; k < 7; k++) single(0xd9, 0xe8 + k, (c) => move.fldConstant(c, k));
}

function fillControl(): void {
  memory(0xd9, 4, env.fldenv, CONTROL);
  memory(0xd9, 5, env.fldcw, CONTROL);
  memory(0xd9, 6, env.fnstenv, NO_WAIT | CONTROL);
  memory(0xd9, 7, env.fnstcw, NO_WAIT | CONTROL);
  memory(0xdd, 4, env.frstor, CONTROL);
  memory(0xdd, 6, env.fnsave, NO_WAIT | CONTROL);
  memory(0xdd, 7, env.fnstsw, NO_WAIT | CONTROL);
  single(0xdf, 0xe0, env.fnstswAx, NO_WAIT | CONTROL);
  single(0xdb, 0xe2, env.fnclex, NO_WAIT | CONTROL);
  single(0xdb, 0xe3, env.fninit, NO_WAIT | CONTROL);
  // FENI, FDISI (8087) and FSETPM (287) do nothing on later ones.
  for (const modrm of [0xe0, 0xe1, 0xe4]) single(0xdb, modrm, special.nothing, NO_WAIT | CONTROL);
}

function fillFunctions(): void {
  single(0xd9, 0xd0, special.nothing);
  single(0xd9, 0xe0, special.fchs);
  single(0xd9, 0xe1, special.fabs);
  single(0xd9, 0xe4, compute.ftst);
  single(0xd9, 0xe5, special.fxam);
  single(0xd9, 0xf0, transcendental.f2xm1);
  single(0xd9, 0xf1, transcendental.fyl2x);
  single(0xd9, 0xf2, transcendental.fptan);
  single(0xd9, 0xf3, transcendental.fpatan);
  single(0xd9, 0xf4, special.fxtract);
  single(0xd9, 0xf5, special.fprem(true));
  single(0xd9, 0xf6, special.moveTop(-1));
  single(0xd9, 0xf7, special.moveTop(1));
  single(0xd9, 0xf8, special.fprem(false));
  single(0xd9, 0xf9, transcendental.fyl2xp1);
  single(0xd9, 0xfa, special.fsqrt);
  single(0xd9, 0xfb, transcendental.fsincos);
  single(0xd9, 0xfc, special.frndint);
  single(0xd9, 0xfd, special.fscale);
  single(0xd9, 0xfe, transcendental.fsin);
  single(0xd9, 0xff, transcendental.fcos);
}

fillArithmetic();
fillMoves();
fillControl();
fillFunctions();

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
