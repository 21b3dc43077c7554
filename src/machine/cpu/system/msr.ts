/**
 * RDMSR, WRMSR, RDTSC, RDPMC. The registers that QEMU 7.2's TCG has (target/i386/tcg/sysemu/misc_helper.c); unknown ones read
 * zero and ignore writes, as there. Differences: the TSC can be read and written as on silicon (QEMU reads 0 and ignores),
 * writes keep the offset in `env.tsc_offset`, which QEMU honours. Not emulated: performance counters.
 */
import { CR4_PCE, CR4_TSD, type CpuState, NEXT } from '../cpu-state.ts';
import * as L from '../layout.ts';
import { checkCpl0 } from './control-registers.ts';
import { FEATURE_MCA, FEATURE_MTRR } from './cpu-models.ts';

const MSR_TSC = 0x10;
const MSR_APIC_BASE = 0x1b;
const MSR_SMI_COUNT = 0x34;
const MSR_CORE_THREAD_COUNT = 0x35;
const MSR_BIOS_SIGN_ID = 0x8b;
const MSR_MTRR_CAP = 0xfe;
const MSR_SYSENTER_CS = 0x174;
const MSR_SYSENTER_ESP = 0x175;
const MSR_SYSENTER_EIP = 0x176;
const MSR_MCG_CAP = 0x179;
const MSR_MCG_STATUS = 0x17a;
const MSR_MCG_CTL = 0x17b;
const MSR_PERF_STATUS = 0x198;
const MSR_MISC_ENABLE = 0x1a0;
const MSR_MTRR_VARIABLE = 0x200;
const MSR_PAT = 0x277;
const MSR_MTRR_DEF_TYPE = 0x2ff;
const MSR_MC0_CTL = 0x400;

/** Ten machine-check banks, MCG_CTL and software error recovery. */
export const MCG_CAP = 0x0100010an;
const ALL_ONES = 0xffffffffffffffffn;
const EAX = 0;
const ECX = 1;
const EDX = 2;

/** Index in ColdRegisters.mtrrFixed: 64K, 16K × 2, 4K × 8; or -1. */
function fixedMtrr(msr: number): number {
  if (msr === 0x250) return 0;
  if (msr === 0x258 || msr === 0x259) return msr - 0x258 + 1;
  if (msr >= 0x268 && msr <= 0x26f) return msr - 0x268 + 3;
  return -1;
}

/** Machine checks are there: MCA in CPUID, as QEMU decides. */
export function hasMachineCheck(c: CpuState): boolean {
  return (c.model.features & FEATURE_MCA) !== 0;
}

/** Time stamp counter with the guest's own offset; a safe integer. */
export function readTsc(c: CpuState): number {
  return c.bus.tsc() + c.cold.tscOffset;
}

export function readMsr(c: CpuState, msr: number): bigint {
  const cold = c.cold;
  switch (msr) {
    case MSR_TSC:
      return BigInt.asUintN(64, BigInt(readTsc(c)));
    case MSR_APIC_BASE:
      return BigInt(c.bus.apicBase() >>> 0);
    case MSR_SMI_COUNT:
      return cold.smiCount;
    case MSR_CORE_THREAD_COUNT:
      return 0x10001n;
    case MSR_BIOS_SIGN_ID:
      return 1n << 32n;
    case MSR_MTRR_CAP:
      return (c.model.features & FEATURE_MTRR) !== 0 ? 0x508n : 0n;
    case MSR_SYSENTER_CS:
      return BigInt(cold.sysenterCs >>> 0);
    case MSR_SYSENTER_ESP:
      return BigInt(cold.sysenterEsp >>> 0);
    case MSR_SYSENTER_EIP:
      return BigInt(cold.sysenterEip >>> 0);
    case MSR_MCG_CAP:
      return hasMachineCheck(c) ? MCG_CAP : 0n;
    case MSR_MCG_STATUS:
      return cold.mcgStatus;
    case MSR_MCG_CTL:
      return hasMachineCheck(c) ? BigInt.asUintN(64, cold.mcgCtl) : 0n;
    case MSR_PERF_STATUS:
      return (4n << 40n) | 1000n;
    case MSR_MISC_ENABLE:
      return cold.miscEnable;
    case MSR_PAT:
      return cold.pat;
    case MSR_MTRR_DEF_TYPE:
      return cold.mtrrDefType;
    default:
      return readRange(c, msr);
  }
}

function readRange(c: CpuState, msr: number): bigint {
  if (msr >= MSR_MTRR_VARIABLE && msr < MSR_MTRR_VARIABLE + 16) {
    const pair = (msr - MSR_MTRR_VARIABLE) >> 1;
    return (msr & 1) !== 0 ? c.cold.mtrrMask[pair]! : c.cold.mtrrBase[pair]!;
  }
  const fixed = fixedMtrr(msr);
  if (fixed >= 0) return c.cold.mtrrFixed[fixed]!;
  if (hasMachineCheck(c) && msr >= MSR_MC0_CTL && msr < MSR_MC0_CTL + 40) {
    return c.cold.mceBanks[msr - MSR_MC0_CTL]!;
  }
  return 0n;
}

export function writeMsr(c: CpuState, msr: number, value: bigint): void {
  const cold = c.cold;
  switch (msr) {
    case MSR_TSC:
      cold.tscOffset = Number(BigInt.asIntN(53, value)) - c.bus.tsc();
      break;
    case MSR_APIC_BASE:
      c.bus.setApicBase(Number(value & 0xffffffffn));
      break;
    case MSR_SYSENTER_CS:
      cold.sysenterCs = Number(value & 0xffffn);
      break;
    case MSR_SYSENTER_ESP:
      cold.sysenterEsp = Number(value & 0xffffffffn) | 0;
      break;
    case MSR_SYSENTER_EIP:
      cold.sysenterEip = Number(value & 0xffffffffn) | 0;
      break;
    case MSR_MCG_STATUS:
      cold.mcgStatus = value;
      break;
    case MSR_MCG_CTL:
      if (hasMachineCheck(c) && (value === 0n || value === ALL_ONES)) cold.mcgCtl = value;
      break;
    case MSR_MISC_ENABLE:
      cold.miscEnable = value;
      break;
    case MSR_PAT:
      cold.pat = value;
      break;
    case MSR_MTRR_DEF_TYPE:
      cold.mtrrDefType = value;
      break;
    default:
      writeRange(c, msr, value);
  }
}

function writeRange(c: CpuState, msr: number, value: bigint): void {
  if (msr >= MSR_MTRR_VARIABLE && msr < MSR_MTRR_VARIABLE + 16) {
    const pair = (msr - MSR_MTRR_VARIABLE) >> 1;
    if ((msr & 1) !== 0) c.cold.mtrrMask[pair] = value;
    else c.cold.mtrrBase[pair] = value;
    return;
  }
  const fixed = fixedMtrr(msr);
  if (fixed >= 0) {
    c.cold.mtrrFixed[fixed] = value;
    return;
  }
  if (hasMachineCheck(c) && msr >= MSR_MC0_CTL && msr < MSR_MC0_CTL + 40) {
    const bank = msr - MSR_MC0_CTL;
    // The control register of a bank takes all zeros or all ones only.
    if ((bank & 3) !== 0 || value === 0n || value === ALL_ONES) c.cold.mceBanks[bank] = value;
  }
}

function setPair(c: CpuState, value: bigint): void {
  c.setReg32(EAX, Number(value & 0xffffffffn) | 0);
  c.setReg32(EDX, Number((value >> 32n) & 0xffffffffn) | 0);
}

export function rdmsr(c: CpuState): number {
  checkCpl0(c);
  setPair(c, readMsr(c, c.reg32(ECX) >>> 0));
  return NEXT;
}

export function wrmsr(c: CpuState): number {
  checkCpl0(c);
  const value = (BigInt(c.reg32(EDX) >>> 0) << 32n) | BigInt(c.reg32(EAX) >>> 0);
  writeMsr(c, c.reg32(ECX) >>> 0, value);
  return NEXT;
}

/** RDTSC: #GP(0) above CPL 0 with CR4.TSD. */
export function rdtsc(c: CpuState): number {
  if ((c.get(L.CR4) & CR4_TSD) !== 0) checkCpl0(c);
  const value = readTsc(c);
  c.setReg32(EAX, (value % 0x100000000) | 0);
  c.setReg32(EDX, Math.floor(value / 0x100000000) | 0);
  return NEXT;
}

/** RDPMC: the two counters of the P6 family stand still at zero. */
export function rdpmc(c: CpuState): number {
  if ((c.get(L.CR4) & CR4_PCE) === 0) checkCpl0(c);
  if (c.reg32(ECX) >>> 0 > 1) c.raiseGp(0);
  c.setReg32(EAX, 0);
  c.setReg32(EDX, 0);
  return NEXT;
}
