/**
 * Power-on and reset state. Intel SDM 3A, table 9-1; where it leaves a choice, QEMU 7.2's (target/i386/cpu.c, x86_cpu_reset).
 */
import type { CpuState } from '../cpu-state.ts';
import * as L from '../layout.ts';
import { flushTlb, updateAll } from '../mode.ts';
import { DR6_FIXED, DR7_FIXED } from './debug.ts';
import { setSegment } from './segment-load.ts';

const REAL_CODE = 0x9b00;
const REAL_DATA = 0x9300;

/** Puts the CPU into its reset state: the next instruction is at FFFF:FFF0. Machine-check registers survive, as on silicon. */
export function reset(c: CpuState): void {
  resetFpu(c);
  resetCold(c);
  init(c);
}

/**
 * The INIT pin: as reset, but x87, SSE and the model-specific registers keep what they hold (kvm-unit-tests' `init` and
 * operating systems that start a CPU by INIT after they set its MTRRs).
 */
export function init(c: CpuState): void {
  for (let r = 0; r < 8; r++) c.setReg32(r, 0);
  c.setReg32(2, c.model.signature);
  c.set(L.ZERO, 0);
  c.setEflags(2);
  c.set(L.EIP, 0xfff0);
  c.set(L.CPL, 0);
  c.set(L.CR0, 0x60000010);
  c.set(L.CR2, 0);
  c.set(L.CR3, 0);
  c.set(L.CR4, 0);
  for (let i = 0; i < 4; i++) c.set(L.DR + i * 4, 0);
  c.set(L.DR + 16, 0);
  c.set(L.DR + 20, 0);
  c.set(L.DR + 24, DR6_FIXED);
  c.set(L.DR + 28, DR7_FIXED);
  for (let seg = L.ES; seg <= L.GS; seg++) setSegment(c, seg, 0, 0, 0xffff, REAL_DATA);
  setSegment(c, L.CS, 0xf000, 0xffff0000 | 0, 0xffff, REAL_CODE);
  setSegment(c, L.LDTR, 0, 0, 0xffff, 0x8200);
  setSegment(c, L.TR, 0, 0, 0xffff, 0x8b00);
  c.set(L.GDT_BASE, 0);
  c.set(L.GDT_LIMIT, 0xffff);
  c.set(L.IDT_BASE, 0);
  c.set(L.IDT_LIMIT, 0xffff);
  c.cold.pdpteLow.fill(0);
  c.cold.pdpteHigh.fill(0);
  c.a20Mask = -1;
  c.halted = false;
  c.inhibitInterrupts = 0;
  c.nmiMasked = false;
  c.debugTraps = 0;
  c.tripleFault = false;
  updateAll(c);
  flushTlb(c);
}

/** As after FNINIT, which is what QEMU does; silicon has control word 0x40 until the BIOS initialises it. */
function resetFpu(c: CpuState): void {
  c.u8.fill(0, L.XMM, L.XMM + 128);
  c.u8.fill(0, L.FPU_REGS, L.FPU_REGS + 128);
  c.set(L.FPU_CW, 0x37f);
  c.set(L.FPU_SW, 0);
  c.set(L.FPU_TOP, 0);
  c.set(L.FPU_TAGS, 0xff);
  c.set(L.FPU_IP, 0);
  c.set(L.FPU_CS, 0);
  c.set(L.FPU_DP, 0);
  c.set(L.FPU_DS, 0);
  c.set(L.FPU_OPCODE, 0);
  c.set(L.MXCSR, 0x1f80);
}

function resetCold(c: CpuState): void {
  const cold = c.cold;
  cold.sysenterCs = 0;
  cold.sysenterEsp = 0;
  cold.sysenterEip = 0;
  cold.tscOffset = 0;
  cold.pat = 0x0007040600070406n;
  cold.mtrrFixed.fill(0n);
  cold.mtrrDefType = 0n;
  cold.mtrrBase.fill(0n);
  cold.mtrrMask.fill(0n);
  cold.miscEnable = 1n;
  cold.smbase = 0x30000;
  cold.smiCount = 0n;
}
