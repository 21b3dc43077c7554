/**
 * IN, OUT, INS, OUTS: IOPL and the TSS's I/O permission bitmap, I/O breakpoints. Intel SDM 1, 18.5.
 * REP forms run many iterations in one call; each beyond the first costs one instruction of the slice's budget.
 */
import { type CpuState, JUMP, NEXT } from '../cpu-state.ts';
import { FLAG_DF, FLAG_IOPL, FLAG_VM } from '../eflags.ts';
import * as L from '../layout.ts';
import {
  probeWrite,
  readLinear16,
  readLinear32,
  readLinear8,
  writeLinear16,
  writeLinear32,
  writeLinear8,
} from '../linear.ts';
import { addressSize, immediate, memorySegment, operandSize, repPrefix, segmentCheck } from '../operands.ts';
import { debugIoMatch } from './debug.ts';
import { systemType, TYPE_TSS32, TYPE_TSS32_BUSY } from './descriptors.ts';

const EAX = 0;
const ECX = 1;
const EDX = 2;
const ESI = 6;
const EDI = 7;
const DR7 = L.DR + 28;

/** #GP(0) unless the program may touch ports [port, port + bytes). */
function checkPermission(c: CpuState, port: number, bytes: number): void {
  if (!c.protectedMode) return;
  const flags = c.get(L.EFL);
  if ((flags & FLAG_VM) !== 0 || c.get(L.CPL) > (flags & FLAG_IOPL) >> 12) checkBitmap(c, port, bytes);
}

function checkPort(c: CpuState, port: number, bytes: number): void {
  checkPermission(c, port, bytes);
  if ((c.get(DR7) & 0xff) !== 0) debugIoMatch(c, port, bytes);
}

function checkBitmap(c: CpuState, port: number, bytes: number): void {
  const type = systemType(c.segFlags(L.TR));
  const limit = c.segLimit(L.TR) >>> 0;
  if ((type !== TYPE_TSS32 && type !== TYPE_TSS32_BUSY) || limit < 0x67) c.raiseGp(0);
  const base = c.segBase(L.TR);
  const at = readLinear16(c, (base + 0x66) | 0, 0) + (port >> 3);
  // Two bytes are always read: the bitmap ends with a byte of ones.
  if (at + 1 > limit) c.raiseGp(0);
  const bits = readLinear16(c, (base + at) | 0, 0) >> (port & 7);
  if ((bits & ((1 << bytes) - 1)) !== 0) c.raiseGp(0);
}

/** 1 byte, or 2 or 4 by operand size. */
function portIn(c: CpuState, port: number, bytes: number): void {
  checkPort(c, port, bytes);
  if (bytes === 1) c.setReg8(EAX, c.bus.portRead8(port));
  else if (bytes === 2) c.setReg16(EAX, c.bus.portRead16(port));
  else c.setReg32(EAX, c.bus.portRead32(port));
}
function portOut(c: CpuState, port: number, bytes: number): void {
  checkPort(c, port, bytes);
  if (bytes === 1) c.bus.portWrite8(port, c.reg8(EAX));
  else if (bytes === 2) c.bus.portWrite16(port, c.reg16(EAX));
  else c.bus.portWrite32(port, c.reg32(EAX) >>> 0);
}

function sizeV(c: CpuState): number {
  return operandSize(c) === 32 ? 4 : 2;
}

export function in8Imm(c: CpuState): number {
  portIn(c, immediate(c) & 0xff, 1);
  return NEXT;
}
export function inVImm(c: CpuState): number {
  portIn(c, immediate(c) & 0xff, sizeV(c));
  return NEXT;
}
export function in8Dx(c: CpuState): number {
  portIn(c, c.reg16(EDX), 1);
  return NEXT;
}
export function inVDx(c: CpuState): number {
  portIn(c, c.reg16(EDX), sizeV(c));
  return NEXT;
}
export function out8Imm(c: CpuState): number {
  portOut(c, immediate(c) & 0xff, 1);
  return NEXT;
}
export function outVImm(c: CpuState): number {
  portOut(c, immediate(c) & 0xff, sizeV(c));
  return NEXT;
}
export function out8Dx(c: CpuState): number {
  portOut(c, c.reg16(EDX), 1);
  return NEXT;
}
export function outVDx(c: CpuState): number {
  portOut(c, c.reg16(EDX), sizeV(c));
  return NEXT;
}

/** Index or count register by address size; unsigned. */
function stringRegister(c: CpuState, r: number, wide: boolean): number {
  return wide ? c.reg32(r) >>> 0 : c.reg16(r);
}
function setStringRegister(c: CpuState, r: number, wide: boolean, value: number): void {
  if (wide) c.setReg32(r, value);
  else c.setReg16(r, value);
}

/** One element from the port to ES:(E)DI. What can fault comes before the port is read. */
function insOnce(c: CpuState, bytes: number, wide: boolean, step: number): void {
  const port = c.reg16(EDX);
  const user = c.get(L.CPL) === 3 ? 1 : 0;
  const at = stringRegister(c, EDI, wide);
  const linear = segmentCheck(c, L.ES, at, bytes, true);
  probeWrite(c, linear, bytes, user);
  checkPort(c, port, bytes);
  if (bytes === 1) writeLinear8(c, linear, c.bus.portRead8(port), user);
  else if (bytes === 2) writeLinear16(c, linear, c.bus.portRead16(port), user);
  else writeLinear32(c, linear, c.bus.portRead32(port) | 0, user);
  setStringRegister(c, EDI, wide, at + step);
}

/** One element from DS:(E)SI (or the override) to the port. */
function outsOnce(c: CpuState, bytes: number, wide: boolean, step: number): void {
  const port = c.reg16(EDX);
  const user = c.get(L.CPL) === 3 ? 1 : 0;
  const at = stringRegister(c, ESI, wide);
  const linear = segmentCheck(c, memorySegment(c), at, bytes, false);
  if (bytes === 1) {
    const value = readLinear8(c, linear, user);
    checkPort(c, port, bytes);
    c.bus.portWrite8(port, value);
  } else if (bytes === 2) {
    const value = readLinear16(c, linear, user);
    checkPort(c, port, bytes);
    c.bus.portWrite16(port, value);
  } else {
    const value = readLinear32(c, linear, user);
    checkPort(c, port, bytes);
    c.bus.portWrite32(port, value >>> 0);
  }
  setStringRegister(c, ESI, wide, at + step);
}

function stringIo(c: CpuState, bytes: number, output: boolean): number {
  const wide = addressSize(c) === 32;
  const step = (c.get(L.EFL) & FLAG_DF) !== 0 ? -bytes : bytes;
  // Before the memory operand is looked at, and also with nothing to repeat.
  checkPermission(c, c.reg16(EDX), bytes);
  if (repPrefix(c) === 0) {
    if (output) outsOnce(c, bytes, wide, step);
    else insOnce(c, bytes, wide, step);
    return NEXT;
  }
  let count = stringRegister(c, ECX, wide);
  if (count === 0) return NEXT;
  for (;;) {
    if (output) outsOnce(c, bytes, wide, step);
    else insOnce(c, bytes, wide, step);
    count--;
    setStringRegister(c, ECX, wide, count);
    if (count === 0) return NEXT;
    // ICNT counts this instruction too; a port handler may have ended the slice; a trap may be due.
    const budget = c.get(L.ICNT);
    if (budget <= 1 || c.debugTraps !== 0) break;
    c.set(L.ICNT, budget - 1);
  }
  c.set(L.EIP, c.eip);
  return JUMP;
}

export function ins8(c: CpuState): number {
  return stringIo(c, 1, false);
}
export function insV(c: CpuState): number {
  return stringIo(c, sizeV(c), false);
}
export function outs8(c: CpuState): number {
  return stringIo(c, 1, true);
}
export function outsV(c: CpuState): number {
  return stringIo(c, sizeV(c), true);
}
