/**
 * Control instructions and the environment in memory: FLDENV, FNSTENV, FRSTOR, FNSAVE in the 16- and 32-bit, real and protected
 * layouts. Intel SDM volume 1, 8.1.10.
 */
import { type CpuState, NEXT } from '../cpu-state.ts';
import * as L from '../layout.ts';
import { probeWrite } from '../linear.ts';
import { operandSize, readSeg16, readSeg32, writeSeg16, writeSeg32 } from '../operands.ts';
import { classify, NORMAL, ZERO } from './extended.ts';
import { checkRange, read80, write80 } from './memory.ts';
import {
  isEmpty,
  load,
  setControlWord,
  setStatusWord,
  statusWord,
  store,
  SW_B,
  SW_ES,
  setTop,
  x,
} from './stack.ts';
import type { MemoryOperation } from './transfer.ts';

export function initialise(c: CpuState): void {
  c.set(L.FPU_CW, 0x37f);
  c.set(L.FPU_SW, 0);
  c.set(L.FPU_TOP, 0);
  c.set(L.FPU_TAGS, 0xff);
  for (const pointer of [L.FPU_IP, L.FPU_CS, L.FPU_DP, L.FPU_DS, L.FPU_OPCODE]) c.set(pointer, 0);
}
export function fninit(c: CpuState): number {
  initialise(c);
  return NEXT;
}
export function fnclex(c: CpuState): number {
  c.set(L.FPU_SW, c.get(L.FPU_SW) & ~(SW_B | SW_ES | 0x7f));
  return NEXT;
}
export const fnstcw: MemoryOperation = (c, seg, offset) => {
  writeSeg16(c, seg, offset, c.get(L.FPU_CW));
  return NEXT;
};
export const fldcw: MemoryOperation = (c, seg, offset) => {
  setControlWord(c, readSeg16(c, seg, offset));
  return NEXT;
};
export const fnstsw: MemoryOperation = (c, seg, offset) => {
  writeSeg16(c, seg, offset, statusWord(c));
  return NEXT;
};
export function fnstswAx(c: CpuState): number {
  c.setReg16(0, statusWord(c));
  return NEXT;
}

/** Tag word of two bits a physical register: valid, zero, special, empty. */
export function tagWord(c: CpuState): number {
  const top = c.get(L.FPU_TOP);
  let tags = 0;
  for (let r = 0; r < 8; r++) {
    let tag = 3;
    if (!isEmpty(c, r - top)) {
      load(c, r - top, x);
      const kind = classify(x);
      tag = kind === NORMAL ? 0 : kind === ZERO ? 1 : 2;
    }
    tags |= tag << (r * 2);
  }
  return tags;
}
export function setTagWord(c: CpuState, tags: number): void {
  let empty = 0;
  for (let r = 0; r < 8; r++) if (((tags >> (r * 2)) & 3) === 3) empty |= 1 << r;
  c.set(L.FPU_TAGS, empty);
}

function realLayout(c: CpuState): boolean {
  return !c.protectedMode || c.v8086;
}

function environmentBytes(c: CpuState): number {
  return operandSize(c) === 32 ? 28 : 14;
}

/** Seven fields of 32 or 16 bits; words' upper halves are stored as ones, as silicon does. */
const fields = new Int32Array(7);

function storeEnvironment(c: CpuState, seg: number, offset: number): void {
  const wide = operandSize(c) === 32;
  const ip = c.get(L.FPU_IP);
  const dp = c.get(L.FPU_DP);
  const opcode = c.get(L.FPU_OPCODE) & 0x7ff;
  fields[0] = c.get(L.FPU_CW);
  fields[1] = statusWord(c);
  fields[2] = tagWord(c);
  if (realLayout(c)) {
    // Linear addresses: selectors are multiplied out.
    const linearIp = ip + (c.get(L.FPU_CS) << 4);
    const linearDp = dp + (c.get(L.FPU_DS) << 4);
    fields[3] = wide ? linearIp & 0xffff : linearIp;
    fields[4] = (((linearIp >>> 16) << 12) & (wide ? 0x0ffff000 : 0xf000)) | opcode;
    fields[5] = wide ? linearDp & 0xffff : linearDp;
    fields[6] = ((linearDp >>> 16) << 12) & (wide ? 0x0ffff000 : 0xf000);
  } else {
    fields[3] = ip;
    fields[4] = wide ? (c.get(L.FPU_CS) & 0xffff) | (opcode << 16) : c.get(L.FPU_CS);
    fields[5] = dp;
    fields[6] = c.get(L.FPU_DS) & 0xffff;
  }
  for (let i = 0; i < 7; i++) {
    const ones = i < 3 || i === 6 || (realLayout(c) && (i === 3 || i === 5)) ? 0xffff0000 | 0 : 0;
    if (!wide) writeSeg16(c, seg, (offset + i * 2) >>> 0, fields[i]!);
    else if (realLayout(c) && i === 6) writeSeg32(c, seg, (offset + 24) >>> 0, fields[6]!);
    else writeSeg32(c, seg, (offset + i * 4) >>> 0, fields[i]! | ones);
  }
}

function readEnvironment(c: CpuState, seg: number, offset: number): void {
  const wide = operandSize(c) === 32;
  for (let i = 0; i < 7; i++) {
    fields[i] = wide ? readSeg32(c, seg, (offset + i * 4) >>> 0) : readSeg16(c, seg, (offset + i * 2) >>> 0);
  }
}

function takeEnvironment(c: CpuState): void {
  const wide = operandSize(c) === 32;
  const [cw, sw, tags, f3, f4, f5, f6] = fields as unknown as [
    number,
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  setControlWord(c, cw);
  setStatusWord(c, sw);
  setTagWord(c, tags);
  if (realLayout(c)) {
    const high = wide ? 0xffff0000 | 0 : 0xf0000;
    c.set(L.FPU_IP, (f3 & 0xffff) | ((f4 << 4) & high));
    c.set(L.FPU_DP, (f5 & 0xffff) | ((f6 << 4) & high));
    c.set(L.FPU_CS, 0);
    c.set(L.FPU_DS, 0);
    c.set(L.FPU_OPCODE, f4 & 0x7ff);
  } else {
    c.set(L.FPU_IP, f3);
    c.set(L.FPU_CS, f4 & 0xffff);
    c.set(L.FPU_DP, f5);
    c.set(L.FPU_DS, f6 & 0xffff);
    // The 16-bit protected layout has no room for the opcode.
    c.set(L.FPU_OPCODE, wide ? (f4 >>> 16) & 0x7ff : 0);
  }
}

/** Faults now where storing `length` bytes would. */
function probe(c: CpuState, seg: number, offset: number, length: number): void {
  const linear = checkRange(c, seg, offset, length, true);
  const user = c.get(L.CPL) === 3 ? 1 : 0;
  probeWrite(c, linear, 1, user);
  probeWrite(c, (linear + length - 1) | 0, 1, user);
}

/** FNSTENV: afterwards all exceptions are masked. */
export const fnstenv: MemoryOperation = (c, seg, offset) => {
  probe(c, seg, offset, environmentBytes(c));
  storeEnvironment(c, seg, offset);
  setControlWord(c, c.get(L.FPU_CW) | 0x3f);
  return NEXT;
};
export const fldenv: MemoryOperation = (c, seg, offset) => {
  checkRange(c, seg, offset, environmentBytes(c), false);
  readEnvironment(c, seg, offset);
  takeEnvironment(c);
  return NEXT;
};
export const fnsave: MemoryOperation = (c, seg, offset) => {
  const base = environmentBytes(c);
  probe(c, seg, offset, base + 80);
  storeEnvironment(c, seg, offset);
  for (let i = 0; i < 8; i++) {
    load(c, i, x);
    write80(c, seg, (offset + base + i * 10) >>> 0, x);
  }
  initialise(c);
  return NEXT;
};

const image = new Int32Array(24);

export const frstor: MemoryOperation = (c, seg, offset) => {
  const base = environmentBytes(c);
  checkRange(c, seg, offset, base + 80, false);
  readEnvironment(c, seg, offset);
  for (let i = 0; i < 8; i++) {
    read80(c, seg, (offset + base + i * 10) >>> 0, x);
    image[i * 3] = x.lo;
    image[i * 3 + 1] = x.hi;
    image[i * 3 + 2] = x.se;
  }
  setTop(c, (fields[1]! >> 11) & 7);
  for (let i = 0; i < 8; i++) {
    x.lo = image[i * 3]!;
    x.hi = image[i * 3 + 1]!;
    x.se = image[i * 3 + 2]!;
    store(c, i, x);
  }
  takeEnvironment(c);
  return NEXT;
};
