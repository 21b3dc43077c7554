/**
 * The table of cold system operations by the names that the decoder uses, and what the run loop needs of this folder.
 * System-management mode is not emulated: RSM is undefined.
 */
import type { CpuState } from '../cpu-state.ts';
import * as control from './control-registers.ts';
import { cmpxchg8b, cpuid, sysenter, sysexit } from './cpuid.ts';
import { movFromDr, movToDr } from './debug.ts';
import { iret, retFar } from './far-return.ts';
import { callFarImm, callFarMem, jmpFarImm, jmpFarMem } from './far-transfer.ts';
import { cli, hlt, popf, pushf, sti } from './flags-ops.ts';
import * as io from './io.ts';
import { rdmsr, rdpmc, rdtsc, wrmsr } from './msr.ts';
import { loadFarPtr, movFromSreg, movToSreg, popSreg, pushSreg } from './segment-ops.ts';
import { bound, int1, int3, intN, into, undefinedInstruction } from './software-interrupts.ts';
import { enter, popa, pusha } from './stack-ops.ts';
import * as tables from './tables.ts';

export { INHIBIT_ALL, INHIBIT_INTERRUPTS } from './attention.ts';
export { setCr0, setCr3, setCr4 } from './control-registers.ts';
export { CPU_MODELS, type CpuModel, cpuModel } from './cpu-models.ts';
export {
  debugActive,
  debugCodeMatch,
  debugDataMatch,
  debugIoMatch,
  deliverDebugTrap,
  singleStepping,
} from './debug.ts';
export { type DeliveryKind, deliver, deliverFault } from './interrupts.ts';
export { reset } from './reset.ts';
export { loadSegment, setRealSegment, setSegment, setV86Segment } from './segment-load.ts';

export const COLD_OPERATIONS: Readonly<Record<string, (c: CpuState) => number>> = {
  mov_to_sreg: movToSreg,
  mov_from_sreg: movFromSreg,
  push_sreg: pushSreg,
  pop_sreg: popSreg,
  load_far_ptr: loadFarPtr,
  jmp_far_imm: jmpFarImm,
  jmp_far_mem: jmpFarMem,
  call_far_imm: callFarImm,
  call_far_mem: callFarMem,
  ret_far: retFar,
  iret,
  int3,
  int_n: intN,
  into,
  int1,
  bound,
  enter,
  pusha,
  popa,
  pushf,
  popf,
  cli,
  sti,
  hlt,
  in8_imm: io.in8Imm,
  inv_imm: io.inVImm,
  in8_dx: io.in8Dx,
  inv_dx: io.inVDx,
  out8_imm: io.out8Imm,
  outv_imm: io.outVImm,
  out8_dx: io.out8Dx,
  outv_dx: io.outVDx,
  ins8: io.ins8,
  insv: io.insV,
  outs8: io.outs8,
  outsv: io.outsV,
  lgdt: tables.lgdt,
  lidt: tables.lidt,
  sgdt: tables.sgdt,
  sidt: tables.sidt,
  lldt: tables.lldt,
  ltr: tables.ltr,
  sldt: tables.sldt,
  str: tables.str,
  lmsw: control.lmsw,
  smsw: control.smsw,
  clts: control.clts,
  invlpg: control.invlpg,
  mov_from_cr: control.movFromCr,
  mov_to_cr: control.movToCr,
  mov_from_dr: movFromDr,
  mov_to_dr: movToDr,
  lar: tables.lar,
  lsl: tables.lsl,
  verr: tables.verr,
  verw: tables.verw,
  arpl: tables.arpl,
  invd: control.invalidateCaches,
  wbinvd: control.invalidateCaches,
  rdtsc,
  rdpmc,
  rdmsr,
  wrmsr,
  cpuid,
  sysenter,
  sysexit,
  cmpxchg8b,
  ud2: undefinedInstruction,
  undefined: undefinedInstruction,
  rsm: undefinedInstruction,
};
