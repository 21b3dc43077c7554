/**
 * Debug registers and breakpoints. Intel SDM 3B, chapter 17. The run loop asks {@link debugCodeMatch} before each instruction
 * and memory accesses ask {@link debugDataMatch} while {@link debugActive}; nothing of this costs anything otherwise.
 */
import { CR4_DE, type CpuState, EXC_DB, NEXT } from '../cpu-state.ts';
import { FLAG_RF, FLAG_TF } from '../eflags.ts';
import * as L from '../layout.ts';
import { flushTlb } from '../mode.ts';
import { regField, rmRegister } from '../operands.ts';
import { deliver } from './interrupts.ts';

export const DR6_BD = 0x2000;
export const DR6_BS = 0x4000;
export const DR6_BT = 0x8000;
/** Bits of DR6 and DR7 that read as one. */
export const DR6_FIXED = 0xffff0ff0 | 0;
export const DR7_FIXED = 0x400;
const DR6_MASK = 0xe00f;
const DR7_MASK = 0xffff2fff | 0;
const DR7_GD = 0x2000;

const TYPE_CODE = 0;
const TYPE_WRITE = 1;
const TYPE_IO = 2;

const DR6 = L.DR + 24;
const DR7 = L.DR + 28;

/** Some breakpoint is enabled: code, data or I/O. */
export function debugActive(c: CpuState): boolean {
  return (c.get(DR7) & 0xff) !== 0;
}

function enabled(dr7: number, i: number): boolean {
  return ((dr7 >> (i * 2)) & 3) !== 0;
}
function kind(dr7: number, i: number): number {
  return (dr7 >> (16 + i * 4)) & 3;
}
/** Bytes covered; length code 2 means 8 only in long mode and is taken as 8 by later Pentiums, as QEMU does. */
function length(dr7: number, i: number): number {
  const code = (dr7 >> (18 + i * 4)) & 3;
  return code === 2 ? 8 : code + 1;
}

/** Breakpoint i covers [address, address + bytes). */
function overlaps(c: CpuState, dr7: number, i: number, address: number, bytes: number): boolean {
  const size = length(dr7, i);
  const start = (c.get(L.DR + i * 4) & ~(size - 1)) >>> 0;
  const from = address >>> 0;
  return from < start + size && start < from + bytes;
}

/**
 * An instruction breakpoint stands at `linear` and RF is clear: DR6 is set and the caller delivers #DB as a fault.
 * The caller clears RF after each instruction that ran.
 */
export function debugCodeMatch(c: CpuState, linear: number): boolean {
  if ((c.get(L.EFL) & FLAG_RF) !== 0) return false;
  const dr7 = c.get(DR7);
  let hit = 0;
  for (let i = 0; i < 4; i++) {
    if (kind(dr7, i) === TYPE_CODE && enabled(dr7, i) && c.get(L.DR + i * 4) === linear) hit |= 1 << i;
  }
  if (hit !== 0) c.set(DR6, (c.get(DR6) & ~0xf) | hit);
  return hit !== 0;
}

/** A data breakpoint covers the access: a trap is due behind this instruction (c.debugTraps). */
export function debugDataMatch(c: CpuState, linear: number, bytes: number, write: boolean): boolean {
  const dr7 = c.get(DR7);
  let hit = 0;
  for (let i = 0; i < 4; i++) {
    const type = kind(dr7, i);
    if (type === TYPE_CODE || type === TYPE_IO || !enabled(dr7, i)) continue;
    if (type === TYPE_WRITE && !write) continue;
    if (overlaps(c, dr7, i, linear, bytes)) hit |= 1 << i;
  }
  return noteHit(c, hit);
}

/** An I/O breakpoint (CR4.DE) covers the port: a trap is due behind this instruction. */
export function debugIoMatch(c: CpuState, port: number, bytes: number): boolean {
  const dr7 = c.get(DR7);
  if ((dr7 & 0xff) === 0 || (c.get(L.CR4) & CR4_DE) === 0) return false;
  let hit = 0;
  for (let i = 0; i < 4; i++) {
    if (kind(dr7, i) === TYPE_IO && enabled(dr7, i) && overlaps(c, dr7, i, port, bytes)) hit |= 1 << i;
  }
  return noteHit(c, hit);
}

function noteHit(c: CpuState, hit: number): boolean {
  if (hit === 0) return false;
  c.debugTraps |= hit;
  c.endSlice();
  return true;
}

/** Delivers the #DB trap for c.debugTraps, and `singleStep` for TF; between instructions, at the EIP slot. */
export function deliverDebugTrap(c: CpuState, singleStep: boolean): void {
  const bits = c.debugTraps | (singleStep ? DR6_BS : 0);
  c.debugTraps = 0;
  c.set(DR6, (c.get(DR6) & ~0xf) | bits);
  deliver(c, EXC_DB, 'trap', -1);
}

/** TF is set: the instruction about to run is followed by a trap. */
export function singleStepping(c: CpuState): boolean {
  return (c.get(L.EFL) & FLAG_TF) !== 0;
}

/** RF only matters while a breakpoint is armed; kept out of EFLAGS otherwise, so that nobody needs to clear it. */
export function keepRf(c: CpuState, flags: number): number {
  return debugActive(c) ? flags : flags & ~FLAG_RF;
}

/** Number of the debug register meant, DR4 and DR5 resolved; #GP, #UD, #DB (general detect). */
function checkedRegister(c: CpuState): number {
  let n = regField(c);
  if (n === 4 || n === 5) {
    if ((c.get(L.CR4) & CR4_DE) !== 0) c.raiseUd();
    n += 2;
  }
  if (c.protectedMode && c.get(L.CPL) !== 0) c.raiseGp(0);
  if ((c.get(DR7) & DR7_GD) !== 0) {
    c.set(DR6, c.get(DR6) | DR6_BD);
    c.raise(EXC_DB);
  }
  return n;
}

/** MOV r32, DRn. */
export function movFromDr(c: CpuState): number {
  c.setReg32(rmRegister(c), c.get(L.DR + checkedRegister(c) * 4));
  return NEXT;
}

/** MOV DRn, r32. Breaks the slice: the run loop decides anew whether breakpoints are armed. */
export function movToDr(c: CpuState): number {
  const n = checkedRegister(c);
  const value = c.reg32(rmRegister(c));
  if (n === 6) c.set(DR6, (value & DR6_MASK) | DR6_FIXED);
  else if (n === 7) c.set(DR7, (value & DR7_MASK) | DR7_FIXED);
  else c.set(L.DR + n * 4, value);
  if (n === 7) {
    // Armed: no translation may let an access pass unseen.
    flushTlb(c);
    c.endSlice();
  }
  return NEXT;
}
