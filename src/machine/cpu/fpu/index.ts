/** The x87 FPU's cold operations by the names that the instruction table uses. */
import type { CpuState } from '../cpu-state.ts';
import { fpuEscape, fwait } from './escape.ts';
import { fxrstor, fxsave, ldmxcsr, stmxcsr } from './fxsave.ts';

export const FPU_OPERATIONS: Readonly<Record<string, (c: CpuState) => number>> = {
  fpu_escape: fpuEscape,
  fwait,
  fxsave,
  fxrstor,
  ldmxcsr,
  stmxcsr,
};
