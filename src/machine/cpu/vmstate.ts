/**
 * The CPU's sections in QEMU's stream: `cpu_common` (v1) and `cpu` (v12), as qemu-system-i386 7.2 with TCG writes them
 * (target/i386/machine.c, field list in its -dump-vmstate). The records are made before a save and taken apart after a
 * load; the running CPU's state lies in linear memory (layout.ts).
 *
 * Not modelled, written with their reset values and ignored on load: SVM intercepts, KVM's and Hyper-V's registers,
 * AVX halves. A snapshot taken inside system-management mode is refused: the machine has none.
 */
import {
  array,
  big64,
  type Field,
  i32,
  struct,
  structs,
  type Subsection,
  u16,
  u32,
  u64,
  u8,
  type VmState,
} from '../../migration/vmstate.ts';
import { CR0_PE, CR0_PG } from './cpu-state.ts';

export interface SegmentRecord {
  selector: number;
  base: number;
  limit: number;
  flags: number;
}
export interface FpRegisterRecord {
  mantissa: bigint;
  exponent: number;
}
export interface XmmRecord {
  low: bigint;
  high: bigint;
}
export interface MtrrRecord {
  base: bigint;
  mask: bigint;
}

/** Section `cpu_common`. */
export interface CpuCommonRecord {
  halted: number;
  interruptRequest: number;
  exception: { exceptionIndex: number };
}

/** Section `cpu`. All integers unsigned unless the field is signed. */
export interface CpuRecord {
  regs: number[];
  eip: number;
  eflags: number;
  hflags: number;
  fpuc: number;
  fpus: number;
  fptag: number;
  fpregsFormat: number;
  fpregs: readonly FpRegisterRecord[];
  segs: readonly SegmentRecord[];
  ldt: SegmentRecord;
  tr: SegmentRecord;
  gdt: SegmentRecord;
  idt: SegmentRecord;
  sysenterCs: number;
  sysenterEsp: number;
  sysenterEip: number;
  cr0: number;
  cr2: number;
  cr3: number;
  cr4: number;
  dr: number[];
  a20Mask: number;
  mxcsr: number;
  xmm: readonly XmmRecord[];
  smbase: number;
  pat: bigint;
  hflags2: number;
  vmHsave: bigint;
  vmVmcb: bigint;
  tscOffset: number;
  intercept: bigint;
  interceptCrRead: number;
  interceptCrWrite: number;
  interceptDrRead: number;
  interceptDrWrite: number;
  interceptExceptions: number;
  vTpr: number;
  mtrrFixed: bigint[];
  mtrrDefType: bigint;
  mtrrVar: readonly MtrrRecord[];
  interruptInjected: number;
  mpState: number;
  tsc: bigint;
  exceptionNr: number;
  softInterrupt: number;
  nmiInjected: number;
  nmiPending: number;
  hasErrorCode: number;
  sipiVector: number;
  mcgCap: bigint;
  mcgStatus: bigint;
  mcgCtl: bigint;
  mceBanks: bigint[];
  tscAux: bigint;
  systemTimeMsr: bigint;
  wallClockMsr: bigint;
  xcr0: bigint;
  xstateBv: bigint;
  ymmHigh: readonly XmmRecord[];
  pollControl: { pollControlMsr: bigint };
  fpuPointers: { fpop: number; fpip: bigint; fpdp: bigint };
  miscEnable: { miscEnable: bigint };
  smi: { smiCount: bigint };
}

const segmentVmState: VmState<SegmentRecord> = {
  name: 'segment',
  version: 1,
  minimumVersion: 1,
  fields: { selector: u32(), base: u32(), limit: u32(), flags: u32() },
};
const fpRegisterVmState: VmState<FpRegisterRecord> = {
  name: 'fpreg',
  version: 0,
  minimumVersion: 0,
  fields: { mantissa: big64({ name: 'tmp_mant' }), exponent: u16({ name: 'tmp_exp' }) },
};
function xmmVmState(name: string, low: number): VmState<XmmRecord> {
  return {
    name,
    version: 1,
    minimumVersion: 1,
    fields: { low: big64({ name: `_q_ZMMReg[${low}]` }), high: big64({ name: `_q_ZMMReg[${low + 1}]` }) },
  };
}
const mtrrVmState: VmState<MtrrRecord> = {
  name: 'mtrr_var',
  version: 1,
  minimumVersion: 1,
  fields: { base: big64(), mask: big64() },
};

const u32s = (count: number, name: string): Field<number[]> => array<number[]>(u32(), count, { name });
const big64s = (count: number, name: string): Field<bigint[]> => array<bigint[]>(big64(), count, { name });
const segment = (name: string): Field<SegmentRecord> => struct(segmentVmState, { name });

const pollControl: Subsection<CpuRecord, CpuRecord['pollControl']> = {
  vmstate: {
    name: 'cpu/poll_control_msr',
    version: 1,
    minimumVersion: 1,
    fields: { pollControlMsr: big64({ name: 'env.poll_control_msr' }) },
  },
  needed: (state) => state.pollControl.pollControlMsr !== 1n,
  absent: () => ({ pollControlMsr: 1n }),
};
const fpuPointers: Subsection<CpuRecord, CpuRecord['fpuPointers']> = {
  vmstate: {
    name: 'cpu/fpop_ip_dp',
    version: 1,
    minimumVersion: 1,
    fields: {
      fpop: u16({ name: 'env.fpop' }),
      fpip: big64({ name: 'env.fpip' }),
      fpdp: big64({ name: 'env.fpdp' }),
    },
  },
  needed: ({ fpuPointers: p }) => p.fpop !== 0 || p.fpip !== 0n || p.fpdp !== 0n,
  absent: () => ({ fpop: 0, fpip: 0n, fpdp: 0n }),
};
const miscEnable: Subsection<CpuRecord, CpuRecord['miscEnable']> = {
  vmstate: {
    name: 'cpu/msr_ia32_misc_enable',
    version: 1,
    minimumVersion: 1,
    fields: { miscEnable: big64({ name: 'env.msr_ia32_misc_enable' }) },
  },
  needed: (state) => state.miscEnable.miscEnable !== 1n,
  absent: () => ({ miscEnable: 1n }),
};
const smi: Subsection<CpuRecord, CpuRecord['smi']> = {
  vmstate: {
    name: 'cpu/msr_smi_count',
    version: 1,
    minimumVersion: 1,
    fields: { smiCount: big64({ name: 'env.msr_smi_count' }) },
  },
  needed: (state) => state.smi.smiCount !== 0n,
  absent: () => ({ smiCount: 0n }),
};

/** Stream section `cpu`. */
export const cpuVmState: VmState<CpuRecord, 'pollControl' | 'fpuPointers' | 'miscEnable' | 'smi'> = {
  name: 'cpu',
  version: 12,
  minimumVersion: 11,
  fields: {
    regs: u32s(8, 'env.regs'),
    eip: u32({ name: 'env.eip' }),
    eflags: u32({ name: 'env.eflags' }),
    hflags: u32({ name: 'env.hflags' }),
    fpuc: u16({ name: 'env.fpuc' }),
    fpus: u16({ name: 'env.fpus_vmstate' }),
    fptag: u16({ name: 'env.fptag_vmstate' }),
    fpregsFormat: u16({ name: 'env.fpregs_format_vmstate' }),
    fpregs: structs(fpRegisterVmState, 8, { name: 'env.fpregs' }),
    segs: structs(segmentVmState, 6, { name: 'env.segs' }),
    ldt: segment('env.ldt'),
    tr: segment('env.tr'),
    gdt: segment('env.gdt'),
    idt: segment('env.idt'),
    sysenterCs: u32({ name: 'env.sysenter_cs' }),
    sysenterEsp: u32({ name: 'env.sysenter_esp' }),
    sysenterEip: u32({ name: 'env.sysenter_eip' }),
    cr0: u32({ name: 'env.cr[0]' }),
    cr2: u32({ name: 'env.cr[2]' }),
    cr3: u32({ name: 'env.cr[3]' }),
    cr4: u32({ name: 'env.cr[4]' }),
    dr: u32s(8, 'env.dr'),
    a20Mask: i32({ name: 'env.a20_mask' }),
    mxcsr: u32({ name: 'env.mxcsr' }),
    xmm: structs(xmmVmState('xmm_reg', 0), 8, { name: 'env.xmm_regs[0]' }),
    smbase: u32({ name: 'env.smbase' }),
    pat: big64({ name: 'env.pat' }),
    hflags2: u32({ name: 'env.hflags2' }),
    vmHsave: big64({ name: 'env.vm_hsave' }),
    vmVmcb: big64({ name: 'env.vm_vmcb' }),
    tscOffset: u64({ name: 'env.tsc_offset' }),
    intercept: big64({ name: 'env.intercept' }),
    interceptCrRead: u16({ name: 'env.intercept_cr_read' }),
    interceptCrWrite: u16({ name: 'env.intercept_cr_write' }),
    interceptDrRead: u16({ name: 'env.intercept_dr_read' }),
    interceptDrWrite: u16({ name: 'env.intercept_dr_write' }),
    interceptExceptions: u32({ name: 'env.intercept_exceptions' }),
    vTpr: u8({ name: 'env.v_tpr' }),
    mtrrFixed: big64s(11, 'env.mtrr_fixed'),
    mtrrDefType: big64({ name: 'env.mtrr_deftype' }),
    mtrrVar: structs(mtrrVmState, 8, { name: 'env.mtrr_var' }),
    interruptInjected: i32({ name: 'env.interrupt_injected' }),
    mpState: u32({ name: 'env.mp_state' }),
    tsc: big64({ name: 'env.tsc' }),
    exceptionNr: i32({ name: 'env.exception_nr' }),
    softInterrupt: u8({ name: 'env.soft_interrupt' }),
    nmiInjected: u8({ name: 'env.nmi_injected' }),
    nmiPending: u8({ name: 'env.nmi_pending' }),
    hasErrorCode: u8({ name: 'env.has_error_code' }),
    sipiVector: u32({ name: 'env.sipi_vector' }),
    mcgCap: big64({ name: 'env.mcg_cap' }),
    mcgStatus: big64({ name: 'env.mcg_status' }),
    mcgCtl: big64({ name: 'env.mcg_ctl' }),
    mceBanks: big64s(40, 'env.mce_banks'),
    tscAux: big64({ name: 'env.tsc_aux' }),
    systemTimeMsr: big64({ name: 'env.system_time_msr' }),
    wallClockMsr: big64({ name: 'env.wall_clock_msr' }),
    xcr0: big64({ name: 'env.xcr0', since: 12 }),
    xstateBv: big64({ name: 'env.xstate_bv', since: 12 }),
    ymmHigh: structs(xmmVmState('ymmh_reg', 2), 8, { name: 'env.xmm_regs[1]', since: 12 }),
  },
  // The order is QEMU's.
  subsections: { pollControl, fpuPointers, miscEnable, smi },
};

/** Stream section `cpu_common`. exception_index -1: none (a stopped TCG CPU normally has none). */
export const cpuCommonVmState: VmState<CpuCommonRecord, 'exception'> = {
  name: 'cpu_common',
  version: 1,
  minimumVersion: 1,
  fields: { halted: u32(), interruptRequest: u32({ name: 'interrupt_request' }) },
  subsections: {
    exception: {
      vmstate: {
        name: 'cpu_common/exception_index',
        version: 1,
        minimumVersion: 1,
        fields: { exceptionIndex: i32({ name: 'exception_index' }) },
      },
      needed: (state) => state.exception.exceptionIndex !== -1,
      absent: () => ({ exceptionIndex: -1 }),
    },
  },
};

/** QEMU's hidden flags (target/i386/cpu.h HF_*) that matter to a load. */
export const HF_INHIBIT_IRQ = 1 << 3;
export const HF_CS32_SHIFT = 4;
export const HF_SS32_SHIFT = 5;
export const HF_ADDSEG = 1 << 6;
export const HF_PE = 1 << 7;
const HF_LMA = 1 << 14;
const HF_CS64 = 1 << 15;
const HF_SMM = 1 << 19;
const HF_GUEST = 1 << 21;
export const HF_OSFXSR = 1 << 22;
export const HF_IOBPT = 1 << 24;
/** hflags2: global interrupt flags (always on without SVM), NMI being served. */
export const HF2_GIF = 1 | (1 << 8);
export const HF2_NMI = 1 << 2;

/** CR4 bits that the machine can have: up to OSXMMEXCPT. */
const CR4_KNOWN = 0x7ff;

/** Why this record cannot be taken on, or undefined. Changes nothing. */
export function validateCpuRecord(record: CpuRecord): string | undefined {
  if (record.fpregsFormat !== 0) return 'env.fpregs_format_vmstate is not 0: FPU registers of an old QEMU';
  if ((record.hflags & HF_SMM) !== 0) return 'env.hflags: saved inside system-management mode';
  if ((record.hflags & (HF_LMA | HF_CS64)) !== 0) return 'env.hflags: saved in 64-bit mode';
  if ((record.hflags & HF_GUEST) !== 0) return 'env.hflags: saved inside a nested guest';
  if ((record.cr0 & CR0_PG) !== 0 && (record.cr0 & CR0_PE) === 0)
    return 'env.cr[0]: paging without protection';
  if ((record.cr4 & ~CR4_KNOWN) !== 0) {
    return `env.cr[4] is 0x${record.cr4.toString(16)}: features that this CPU lacks`;
  }
  if ((record.a20Mask | 0x100000) !== -1) return 'env.a20_mask is neither all ones nor without bit 20';
  if (record.mpState !== 0) return `env.mp_state is ${record.mpState}: the processor was not running`;
  return undefined;
}
