/** Between the running CPU and its records in the stream (vmstate.ts). */
import { CR0_PE, CR0_PG, CR4_OSFXSR, CR4_PAE, type CpuState, FAULT } from './cpu-state.ts';
import { FLAG_VM } from './eflags.ts';
import * as L from './layout.ts';
import { DESC_B, flushTlb, updateAll } from './mode.ts';
import { loadPdptes } from './paging.ts';
import { hasMachineCheck, MCG_CAP } from './system/msr.ts';
import { setSegment } from './system/segment-load.ts';
import {
  type CpuCommonRecord,
  type CpuRecord,
  type FpRegisterRecord,
  HF2_GIF,
  HF2_NMI,
  HF_ADDSEG,
  HF_CS32_SHIFT,
  HF_INHIBIT_IRQ,
  HF_IOBPT,
  HF_OSFXSR,
  HF_PE,
  HF_SS32_SHIFT,
  type SegmentRecord,
  type XmmRecord,
} from './vmstate.ts';
import { REQUEST_HARD, REQUEST_INIT, REQUEST_NMI } from './requests.ts';

const DPL_MASK = 0x6000;
const DESC_TSS_BUSY = 0x200;

/** QEMU's hidden flags as TCG keeps them between instructions: no copies of EFLAGS bits. */
export function hiddenFlags(c: CpuState): number {
  const cr0 = c.get(L.CR0);
  const real = (cr0 & CR0_PE) === 0;
  const code32 = (c.segFlags(L.CS) & DESC_B) !== 0;
  const stack32 = (c.segFlags(L.SS) & DESC_B) !== 0;
  const bases = c.segBase(L.DS) | c.segBase(L.ES) | c.segBase(L.SS);
  let flags = c.get(L.CPL);
  if (c.inhibitInterrupts !== 0) flags |= HF_INHIBIT_IRQ;
  if (code32) flags |= 1 << HF_CS32_SHIFT;
  if (stack32) flags |= 1 << HF_SS32_SHIFT;
  if (real || c.v8086 || !code32 || bases !== 0) flags |= HF_ADDSEG;
  if (!real) flags |= HF_PE;
  // MP, EM, TS
  flags |= (cr0 << 8) & 0xe00;
  if ((c.get(L.CR4) & CR4_OSFXSR) !== 0) flags |= HF_OSFXSR;
  const dr7 = c.get(L.DR + 28);
  for (let i = 0; i < 4; i++) {
    if (((dr7 >> (16 + i * 4)) & 3) === 2 && ((dr7 >> (i * 2)) & 3) !== 0) flags |= HF_IOBPT;
  }
  return flags;
}

function segmentRecord(c: CpuState, seg: number): SegmentRecord {
  const flags = c.segFlags(seg);
  return {
    selector: c.selector(seg) >>> 0,
    base: c.segBase(seg) >>> 0,
    limit: c.segLimit(seg) >>> 0,
    // QEMU takes CPL from SS's DPL: in real mode it must be 0.
    flags: (c.protectedMode || seg > L.GS ? flags : flags & ~DPL_MASK) >>> 0,
  };
}

/**
 * QEMU's cached task register says "available" although LTR marks the descriptor busy, and it refuses to find a stack
 * in a busy one. Only the value after reset, with a null selector, is busy.
 */
function taskRegister(c: CpuState): SegmentRecord {
  const record = segmentRecord(c, L.TR);
  if ((record.selector & 0xfffc) !== 0) record.flags = (record.flags & ~DESC_TSS_BUSY) >>> 0;
  return record;
}

function fpRegisters(c: CpuState): FpRegisterRecord[] {
  return Array.from({ length: 8 }, (_, i) => ({
    mantissa: c.view.getBigUint64(L.FPU_REGS + i * 16, true),
    exponent: c.view.getUint16(L.FPU_REGS + i * 16 + 8, true),
  }));
}

function xmmRegisters(c: CpuState): XmmRecord[] {
  return Array.from({ length: 8 }, (_, i) => ({
    low: c.view.getBigUint64(L.XMM + i * 16, true),
    high: c.view.getBigUint64(L.XMM + i * 16 + 8, true),
  }));
}

/** The record of section `cpu`; only between instructions. */
export function toRecord(c: CpuState): CpuRecord {
  const cold = c.cold;
  const u = (address: number): number => c.get(address) >>> 0;
  const mca = hasMachineCheck(c);
  return {
    regs: Array.from({ length: 8 }, (_, r) => c.reg32(r) >>> 0),
    eip: u(L.EIP),
    eflags: c.eflags() >>> 0,
    hflags: hiddenFlags(c),
    fpuc: u(L.FPU_CW) & 0xffff,
    fpus: (u(L.FPU_SW) & 0xc7ff) | ((u(L.FPU_TOP) & 7) << 11),
    fptag: ~u(L.FPU_TAGS) & 0xff,
    fpregsFormat: 0,
    fpregs: fpRegisters(c),
    segs: [0, 1, 2, 3, 4, 5].map((seg) => segmentRecord(c, seg)),
    ldt: segmentRecord(c, L.LDTR),
    tr: taskRegister(c),
    gdt: { selector: 0, base: u(L.GDT_BASE), limit: u(L.GDT_LIMIT), flags: 0 },
    idt: { selector: 0, base: u(L.IDT_BASE), limit: u(L.IDT_LIMIT), flags: 0 },
    sysenterCs: cold.sysenterCs >>> 0,
    sysenterEsp: cold.sysenterEsp >>> 0,
    sysenterEip: cold.sysenterEip >>> 0,
    cr0: u(L.CR0),
    cr2: u(L.CR2),
    cr3: u(L.CR3),
    cr4: u(L.CR4),
    dr: Array.from({ length: 8 }, (_, i) => u(L.DR + i * 4)),
    a20Mask: c.a20Mask,
    mxcsr: u(L.MXCSR),
    xmm: xmmRegisters(c),
    smbase: cold.smbase >>> 0,
    pat: cold.pat,
    hflags2: HF2_GIF | (c.nmiMasked ? HF2_NMI : 0),
    vmHsave: 0n,
    vmVmcb: 0n,
    tscOffset: cold.tscOffset,
    intercept: 0n,
    interceptCrRead: 0,
    interceptCrWrite: 0,
    interceptDrRead: 0,
    interceptDrWrite: 0,
    interceptExceptions: 0,
    vTpr: 0,
    mtrrFixed: [...cold.mtrrFixed],
    mtrrDefType: cold.mtrrDefType,
    mtrrVar: cold.mtrrBase.map((base, i) => ({ base, mask: cold.mtrrMask[i]! })),
    interruptInjected: -1,
    mpState: 0,
    tsc: 0n,
    exceptionNr: -1,
    softInterrupt: 0,
    nmiInjected: 0,
    nmiPending: 0,
    hasErrorCode: 0,
    sipiVector: 0,
    mcgCap: mca ? MCG_CAP : 0n,
    mcgStatus: cold.mcgStatus,
    mcgCtl: mca ? cold.mcgCtl : 0n,
    mceBanks: mca ? [...cold.mceBanks] : new Array<bigint>(40).fill(0n),
    tscAux: 0n,
    systemTimeMsr: 0n,
    wallClockMsr: 0n,
    xcr0: 1n,
    xstateBv: 0n,
    ymmHigh: Array.from({ length: 8 }, () => ({ low: 0n, high: 0n })),
    pollControl: { pollControlMsr: 0n },
    fpuPointers: {
      fpop: u(L.FPU_OPCODE) & 0xffff,
      fpip: BigInt(u(L.FPU_IP)),
      fpdp: BigInt(u(L.FPU_DP)),
    },
    miscEnable: { miscEnable: cold.miscEnable },
    smi: { smiCount: cold.smiCount },
  };
}

/** The record of section `cpu_common`. */
export function toCommonRecord(c: CpuState): CpuCommonRecord {
  return {
    halted: c.halted ? 1 : 0,
    interruptRequest: c.interruptRequest & (REQUEST_HARD | REQUEST_NMI | REQUEST_INIT),
    exception: { exceptionIndex: -1 },
  };
}

/** The interrupt line is left out: it follows from the controllers' own state. */
export function fromCommonRecord(c: CpuState, record: CpuCommonRecord): void {
  c.halted = record.halted !== 0;
  c.interruptRequest = record.interruptRequest & (REQUEST_NMI | REQUEST_INIT);
}

/**
 * Takes on a validated record. Reads no guest memory: call {@link afterRamLoaded} once RAM is there.
 */
export function fromRecord(c: CpuState, record: CpuRecord): void {
  record.regs.forEach((value, r) => {
    c.setReg32(r, value);
  });
  c.set(L.ZERO, 0);
  c.set(L.EIP, record.eip);
  c.setEflags(record.eflags);
  c.set(L.CR0, record.cr0);
  c.set(L.CR2, record.cr2);
  c.set(L.CR3, record.cr3);
  c.set(L.CR4, record.cr4);
  record.dr.forEach((value, i) => {
    c.set(L.DR + i * 4, value);
  });
  const real = (record.cr0 & CR0_PE) === 0;
  const ss = record.segs[L.SS]!;
  c.set(L.CPL, real ? 0 : (record.eflags & FLAG_VM) !== 0 ? 3 : (ss.flags >> 13) & 3);
  record.segs.forEach((s, seg) => {
    setSegment(c, seg, s.selector, s.base, s.limit, s.flags);
  });
  setSegment(c, L.LDTR, record.ldt.selector, record.ldt.base, record.ldt.limit, record.ldt.flags);
  setSegment(c, L.TR, record.tr.selector, record.tr.base, record.tr.limit, record.tr.flags | DESC_TSS_BUSY);
  c.set(L.GDT_BASE, record.gdt.base);
  c.set(L.GDT_LIMIT, record.gdt.limit);
  c.set(L.IDT_BASE, record.idt.base);
  c.set(L.IDT_LIMIT, record.idt.limit);
  c.a20Mask = record.a20Mask;
  c.nmiMasked = (record.hflags2 & HF2_NMI) !== 0;
  c.inhibitInterrupts = (record.hflags & HF_INHIBIT_IRQ) !== 0 ? 1 : 0;
  c.debugTraps = 0;
  c.tripleFault = false;
  fpuFromRecord(c, record);
  coldFromRecord(c, record);
  updateAll(c);
  flushTlb(c);
}

function fpuFromRecord(c: CpuState, record: CpuRecord): void {
  c.set(L.FPU_CW, record.fpuc);
  c.set(L.FPU_SW, record.fpus & 0xc7ff);
  c.set(L.FPU_TOP, (record.fpus >> 11) & 7);
  c.set(L.FPU_TAGS, ~record.fptag & 0xff);
  record.fpregs.forEach(({ mantissa, exponent }, i) => {
    c.view.setBigUint64(L.FPU_REGS + i * 16, mantissa, true);
    c.view.setUint16(L.FPU_REGS + i * 16 + 8, exponent, true);
  });
  record.xmm.forEach(({ low, high }, i) => {
    c.view.setBigUint64(L.XMM + i * 16, low, true);
    c.view.setBigUint64(L.XMM + i * 16 + 8, high, true);
  });
  c.set(L.MXCSR, record.mxcsr);
  const pointers = record.fpuPointers;
  c.set(L.FPU_OPCODE, pointers.fpop);
  c.set(L.FPU_IP, Number(pointers.fpip & 0xffffffffn));
  c.set(L.FPU_DP, Number(pointers.fpdp & 0xffffffffn));
  // QEMU does not save the selectors.
  c.set(L.FPU_CS, 0);
  c.set(L.FPU_DS, 0);
}

function coldFromRecord(c: CpuState, record: CpuRecord): void {
  const cold = c.cold;
  cold.sysenterCs = record.sysenterCs;
  cold.sysenterEsp = record.sysenterEsp | 0;
  cold.sysenterEip = record.sysenterEip | 0;
  cold.tscOffset = record.tscOffset;
  cold.smbase = record.smbase;
  cold.pat = record.pat;
  record.mtrrFixed.forEach((value, i) => {
    cold.mtrrFixed[i] = value;
  });
  cold.mtrrDefType = record.mtrrDefType;
  record.mtrrVar.forEach(({ base, mask }, i) => {
    cold.mtrrBase[i] = base;
    cold.mtrrMask[i] = mask;
  });
  cold.mcgStatus = record.mcgStatus;
  cold.mcgCtl = record.mcgCtl;
  record.mceBanks.forEach((value, i) => {
    cold.mceBanks[i] = value;
  });
  cold.miscEnable = record.miscEnable.miscEnable;
  cold.smiCount = record.smi.smiCount;
}

/** QEMU reads PAE's page-directory pointers from memory at each walk; here they are registers, loaded with CR3. */
export function afterRamLoaded(c: CpuState): void {
  if ((c.get(L.CR0) & CR0_PG) === 0 || (c.get(L.CR4) & CR4_PAE) === 0) return;
  try {
    loadPdptes(c, c.get(L.CR3));
  } catch (thrown) {
    if (thrown !== FAULT) throw thrown;
  }
}
