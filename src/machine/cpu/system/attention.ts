/**
 * How cold operations ask the run loop to look at interrupts, traps and HLT at the next instruction boundary.
 */
import type { CpuState } from '../cpu-state.ts';
import { FLAG_IF, FLAG_TF } from '../eflags.ts';
import * as L from '../layout.ts';

/** Value of CpuState.inhibitInterrupts after STI … */
export const INHIBIT_INTERRUPTS = 1;
/** … and after MOV SS, POP SS: debug traps are held back too. */
export const INHIBIT_ALL = 3;

/**
 * Ends the slice behind this instruction: the rest of its budget moves to CpuState.heldInstructions, so that the number
 * of executed instructions stays exact. The run loop adds it back.
 */
export function breakSlice(c: CpuState): void {
  const left = c.get(L.ICNT);
  if (left > 0) {
    c.heldInstructions += left;
    c.set(L.ICNT, 0);
  }
}

/** After a change of EFLAGS: a pending interrupt may be due now, or single-stepping begins. */
export function flagsChanged(c: CpuState): void {
  const flags = c.get(L.EFL);
  if ((flags & FLAG_TF) !== 0 || ((flags & FLAG_IF) !== 0 && c.interruptRequest !== 0)) breakSlice(c);
}

/**
 * Holds interrupts back until the instruction at nextEip has run. The run loop honours it only while EIP is still
 * inhibitEip: so nothing needs to be cleared on the hot path.
 */
export function inhibit(c: CpuState, what: number): void {
  c.inhibitInterrupts = what;
  c.inhibitEip = c.nextEip;
}
