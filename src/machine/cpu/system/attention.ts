/** How cold operations hold interrupts back for one instruction. The run loop consumes it. */
import type { CpuState } from '../cpu-state.ts';

/** Value of CpuState.inhibitInterrupts after STI … */
export const INHIBIT_INTERRUPTS = 1;
/** … and after MOV SS, POP SS: debug traps are held back too. */
export const INHIBIT_ALL = 3;

/** Holds interrupts back until the next instruction has run. The run loop leaves generated code at once when it is set. */
export function inhibit(c: CpuState, what: number): void {
  c.inhibitInterrupts = what;
}
