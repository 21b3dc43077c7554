/**
 * PUSHF, POPF, CLI, STI, HLT with their privilege rules, virtual-8086 and protected-mode virtual interrupts included.
 * Intel SDM 2A/2B; 3A 20.3.3 (VME) and 20.4 (PVI).
 */
import { CR4_PVI, CR4_VME, type CpuState, JUMP, NEXT } from '../cpu-state.ts';
import {
  ARITHMETIC_FLAGS,
  FLAG_AC,
  FLAG_DF,
  FLAG_ID,
  FLAG_IF,
  FLAG_IOPL,
  FLAG_NT,
  FLAG_RF,
  FLAG_TF,
  FLAG_VIF,
  FLAG_VIP,
  FLAG_VM,
} from '../eflags.ts';
import * as L from '../layout.ts';
import { updateMode } from '../mode.ts';
import { operandSize, setStackPointer, stackPointer } from '../operands.ts';
import { INHIBIT_INTERRUPTS, inhibit } from './attention.ts';
import { checkCpl0 } from './control-registers.ts';
import { beginFrame, commitFrame, peekBy, pushBy } from './stack.ts';

const POPF_ANY = ARITHMETIC_FLAGS | FLAG_TF | FLAG_DF | FLAG_NT;

export function pushf(c: CpuState): number {
  const size32 = operandSize(c) === 32;
  let flags = c.eflags() & ~(FLAG_VM | FLAG_RF);
  if (c.v8086 && c.iopl < 3) {
    if (size32 || (c.get(L.CR4) & CR4_VME) === 0) c.raiseGp(0);
    flags = (flags & ~FLAG_IF) | FLAG_IOPL | ((flags & FLAG_VIF) !== 0 ? FLAG_IF : 0);
  }
  beginFrame(c);
  pushBy(c, size32, flags);
  commitFrame(c);
  return NEXT;
}

export function popf(c: CpuState): number {
  const size32 = operandSize(c) === 32;
  const v86 = c.v8086;
  const sp = stackPointer(c);
  let value: number;
  let mask = POPF_ANY | (size32 ? FLAG_AC | FLAG_ID : 0);
  if (v86 && c.iopl < 3) {
    if (size32 || (c.get(L.CR4) & CR4_VME) === 0) c.raiseGp(0);
    value = peekBy(c, false, sp);
    if ((value & FLAG_TF) !== 0 || ((value & FLAG_IF) !== 0 && (c.get(L.EFL) & FLAG_VIP) !== 0)) c.raiseGp(0);
    if ((value & FLAG_IF) !== 0) value |= FLAG_VIF;
    mask |= FLAG_VIF;
  } else {
    value = peekBy(c, size32, sp);
    const cpl = c.get(L.CPL);
    if (!c.protectedMode) mask |= FLAG_IF | FLAG_IOPL;
    else if (v86) mask |= FLAG_IF;
    else {
      if (cpl <= c.iopl) mask |= FLAG_IF;
      if (cpl === 0) mask |= FLAG_IOPL;
    }
  }
  setStackPointer(c, sp + (size32 ? 4 : 2));
  const old = c.get(L.EFL);
  // POPFD clears RF.
  c.set(L.EFL, ((old & ~mask) | (value & mask & ~ARITHMETIC_FLAGS) | 2) & ~(size32 ? FLAG_RF : 0));
  c.setArithmeticFlags(value);
  if (((old ^ c.get(L.EFL)) & (FLAG_IOPL | FLAG_AC)) !== 0) updateMode(c);
  return NEXT;
}

/** CLI and STI may act on IF; false: on VIF instead (VME or PVI). #GP(0) otherwise. */
function ownsIf(c: CpuState): boolean {
  if (!c.protectedMode) return true;
  const iopl = c.iopl;
  const cr4 = c.get(L.CR4);
  if (c.v8086) {
    if (iopl === 3) return true;
    if ((cr4 & CR4_VME) !== 0) return false;
    return c.raiseGp(0);
  }
  const cpl = c.get(L.CPL);
  if (cpl <= iopl) return true;
  if (cpl === 3 && (cr4 & CR4_PVI) !== 0) return false;
  return c.raiseGp(0);
}

export function cli(c: CpuState): number {
  const bit = ownsIf(c) ? FLAG_IF : FLAG_VIF;
  c.set(L.EFL, c.get(L.EFL) & ~bit);
  return NEXT;
}

export function sti(c: CpuState): number {
  const flags = c.get(L.EFL);
  if (!ownsIf(c)) {
    if ((flags & FLAG_VIP) !== 0) c.raiseGp(0);
    c.set(L.EFL, flags | FLAG_VIF);
    return NEXT;
  }
  if ((flags & FLAG_IF) !== 0) return NEXT;
  c.set(L.EFL, flags | FLAG_IF);
  inhibit(c, INHIBIT_INTERRUPTS);
  return NEXT;
}

/** HLT: the run loop sleeps until an interrupt; EIP stands behind the instruction. */
export function hlt(c: CpuState): number {
  checkCpl0(c);
  c.halted = true;
  c.set(L.EIP, c.nextEip);
  // STI; HLT: the shadow is over, or nothing would wake the CPU.
  c.inhibitInterrupts = 0;
  c.endSlice();
  return JUMP;
}
