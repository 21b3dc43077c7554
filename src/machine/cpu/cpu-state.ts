/**
 * The CPU's registers and the primitives that cold operations (segment loads, gates, task switches, control registers,
 * I/O, x87, SSE helpers) are written with. Hot code is generated (see generate/): it works on the same memory.
 *
 * Cold operations have the form `(c: CpuState) => number`: return {@link NEXT} to go on behind the instruction,
 * or {@link JUMP} after setting EIP (and possibly the mode). They fault by `c.raise…()`, which throws; everything that can
 * fault must come before the first change of architectural state.
 */
import {
  ARITHMETIC_FLAGS,
  FLAG_AF,
  FLAG_CF,
  FLAG_IOPL,
  FLAG_OF,
  FLAG_PF,
  FLAG_SF,
  FLAG_VM,
  FLAG_ZF,
} from './eflags.ts';
import type { PhysicalMemory } from '../memory.ts';
import { HostBreakpoints } from './host-breakpoints.ts';
import * as L from './layout.ts';
import { CPU_MODELS, type CpuModel } from './system/cpu-models.ts';

/** Result of a cold operation: go on with the next instruction. */
export const NEXT = 0;
/** Result of a cold operation: EIP was set. */
export const JUMP = 1;

/** Thrown by raise(): one object, no stack trace. Which fault it is stands in the CPU's faultVector/faultError. */
export const FAULT: { readonly fault: true } = Object.freeze({ fault: true });

export const EXC_DE = 0;
export const EXC_DB = 1;
export const EXC_NMI = 2;
export const EXC_BP = 3;
export const EXC_OF = 4;
export const EXC_BR = 5;
export const EXC_UD = 6;
export const EXC_NM = 7;
export const EXC_DF = 8;
export const EXC_TS = 10;
export const EXC_NP = 11;
export const EXC_SS = 12;
export const EXC_GP = 13;
export const EXC_PF = 14;
export const EXC_MF = 16;
export const EXC_AC = 17;
export const EXC_MC = 18;
export const EXC_XM = 19;

export const CR0_PE = 1;
export const CR0_MP = 2;
export const CR0_EM = 4;
export const CR0_TS = 8;
export const CR0_ET = 0x10;
export const CR0_NE = 0x20;
export const CR0_WP = 0x10000;
export const CR0_AM = 0x40000;
export const CR0_NW = 0x20000000;
export const CR0_CD = 0x40000000;
export const CR0_PG = 0x80000000 | 0;
export const CR4_VME = 1;
export const CR4_PVI = 2;
export const CR4_TSD = 4;
export const CR4_DE = 8;
export const CR4_PSE = 0x10;
export const CR4_PAE = 0x20;
export const CR4_MCE = 0x40;
export const CR4_PGE = 0x80;
export const CR4_PCE = 0x100;
export const CR4_OSFXSR = 0x200;
export const CR4_OSXMMEXCPT = 0x400;

/** What cold operations may ask of the machine around the CPU. */
export interface CpuBus {
  portRead8(port: number): number;
  portRead16(port: number): number;
  portRead32(port: number): number;
  portWrite8(port: number, value: number): void;
  portWrite16(port: number, value: number): void;
  portWrite32(port: number, value: number): void;
  /** Local APIC base MSR (0x1b); bigint is avoided: the upper half is 0. */
  apicBase(): number;
  setApicBase(value: number): void;
  /** Time stamp counter: virtual ns (1 GHz), before the CPU's own offset. */
  tsc(): number;
}

/** Model-specific and other rarely touched registers that are not in linear memory. All of them ride in the `cpu` section. */
export interface ColdRegisters {
  sysenterCs: number;
  sysenterEsp: number;
  sysenterEip: number;
  /** Added to the bus's tsc(); safe integer, may be negative. */
  tscOffset: number;
  pat: bigint;
  mtrrFixed: bigint[];
  mtrrDefType: bigint;
  mtrrBase: bigint[];
  mtrrMask: bigint[];
  mcgStatus: bigint;
  mcgCtl: bigint;
  mceBanks: bigint[];
  miscEnable: bigint;
  /** Not emulated (system-management mode) but carried from snapshot to snapshot: QEMU's SeaBIOS relocates it. */
  smbase: number;
  smiCount: bigint;
  /** PAE page-directory pointers, loaded with CR3 (SDM 3A 4.4.1): low and high dwords. */
  pdpteLow: Int32Array;
  pdpteHigh: Int32Array;
}

export class CpuState {
  readonly mem: PhysicalMemory;
  readonly i32: Int32Array;
  readonly u32: Uint32Array;
  readonly u16: Uint16Array;
  readonly u8: Uint8Array;
  readonly view: DataView;
  readonly cold: ColdRegisters;
  bus: CpuBus;
  /** Those of a debugger outside. */
  readonly breakpoints = new HostBreakpoints();

  /** Vector and error code of the fault in flight; error -1: none is pushed. */
  faultVector = 0;
  faultError = -1;
  /** A20 gate: physical address mask (all ones, or bit 20 clear). */
  a20Mask = -1;
  halted = false;
  /** One instruction long: interrupts (STI, MOV SS, POP SS) or also debug traps (MOV SS) are held back. */
  inhibitInterrupts = 0;
  /** Pending requests, QEMU's CPU_INTERRUPT_* bits: 2 interrupt line (PIC or APIC), 0x200 NMI. */
  interruptRequest = 0;
  /** An NMI is being served: further ones wait for IRET. */
  nmiMasked = false;
  /** DR6 bits of debug traps due behind this instruction (data and I/O breakpoints, task switch). */
  debugTraps = 0;
  /** Shutdown: a fault while delivering a double fault. The machine resets or stops. */
  tripleFault = false;
  #model: CpuModel = CPU_MODELS.pentium3;
  /**
   * Addresses of the TLB entries that were filled since the last flush and are not global: what a write to CR3 drops. More than
   * fit (`localCount`): it drops everything.
   */
  readonly localEntries = new Int32Array(1024);
  localCount = 0;
  /** Current instruction: its record, its EIP, and the EIP behind it. Valid during a cold operation. */
  rec = 0;
  eip = 0;
  nextEip = 0;

  constructor(mem: PhysicalMemory, bus: CpuBus) {
    const memory = mem.memory;
    this.mem = mem;
    this.i32 = new Int32Array(memory.buffer);
    this.u32 = new Uint32Array(memory.buffer);
    this.u16 = new Uint16Array(memory.buffer);
    this.u8 = new Uint8Array(memory.buffer);
    this.view = new DataView(memory.buffer);
    this.bus = bus;
    this.set(L.FEATURES, this.#model.features);
    this.cold = {
      sysenterCs: 0,
      sysenterEsp: 0,
      sysenterEip: 0,
      tscOffset: 0,
      pat: 0x0007040600070406n,
      mtrrFixed: new Array<bigint>(11).fill(0n),
      mtrrDefType: 0n,
      mtrrBase: new Array<bigint>(8).fill(0n),
      mtrrMask: new Array<bigint>(8).fill(0n),
      mcgStatus: 0n,
      mcgCtl: 0xffffffffffffffffn,
      mceBanks: Array.from({ length: 40 }, (_, i) => ((i & 3) === 0 ? 0xffffffffffffffffn : 0n)),
      miscEnable: 1n,
      smbase: 0x30000,
      smiCount: 0n,
      pdpteLow: new Int32Array(4),
      pdpteHigh: new Int32Array(4),
    };
  }

  /** What CPUID says. */
  get model(): CpuModel {
    return this.#model;
  }
  set model(model: CpuModel) {
    this.#model = model;
    this.set(L.FEATURES, model.features);
  }

  /** FERR#: a waiting x87 instruction met an unmasked exception while CR0.NE was clear. The board's answer is IRQ 13. */
  onFerr: () => void = () => {};

  /** Ends the slice at the next instruction boundary. The run loop (cpu.ts) knows how. */
  endSlice(): void {}

  // ---- faults

  /** Raises a fault with an error code (or -1 for none). Never returns. */
  raise(vector: number, error = -1): never {
    this.noteFault(vector, error);
    throw FAULT;
  }
  /** Records a fault that the caller reports by what it returns: throwing costs more than a page walk. */
  noteFault(vector: number, error: number): void {
    this.faultVector = vector;
    this.faultError = error;
  }
  raiseUd(): never {
    return this.raise(EXC_UD);
  }
  raiseGp(error = 0): never {
    return this.raise(EXC_GP, error);
  }

  // ---- registers (values are signed 32-bit unless said otherwise)

  get(address: number): number {
    return this.i32[address >> 2]!;
  }
  set(address: number, value: number): void {
    this.i32[address >> 2] = value;
  }
  reg32(r: number): number {
    return this.i32[(L.REGS >> 2) + r * 2]!;
  }
  setReg32(r: number, value: number): void {
    this.i32[(L.REGS >> 2) + r * 2] = value;
  }
  /** Unsigned. */
  reg16(r: number): number {
    return this.u16[(L.REGS >> 1) + r * 4]!;
  }
  setReg16(r: number, value: number): void {
    this.u16[(L.REGS >> 1) + r * 4] = value;
  }
  /** AL CL DL BL AH CH DH BH. Unsigned. */
  reg8(r: number): number {
    return this.u8[L.REGS + (r & 3) * 8 + (r >> 2)]!;
  }
  setReg8(r: number, value: number): void {
    this.u8[L.REGS + (r & 3) * 8 + (r >> 2)] = value;
  }
  segAddress(seg: number): number {
    return L.SEGS + seg * L.SEG_STRIDE;
  }
  selector(seg: number): number {
    return this.i32[(L.SEGS + seg * L.SEG_STRIDE + L.SEG_SELECTOR) >> 2]!;
  }
  segBase(seg: number): number {
    return this.i32[(L.SEGS + seg * L.SEG_STRIDE + L.SEG_BASE) >> 2]!;
  }
  segLimit(seg: number): number {
    return this.i32[(L.SEGS + seg * L.SEG_STRIDE + L.SEG_LIMIT) >> 2]!;
  }
  segFlags(seg: number): number {
    return this.i32[(L.SEGS + seg * L.SEG_STRIDE + L.SEG_FLAGS) >> 2]!;
  }
  get cpl(): number {
    return this.get(L.CPL);
  }
  get protectedMode(): boolean {
    return (this.get(L.CR0) & CR0_PE) !== 0;
  }
  get v8086(): boolean {
    return (this.get(L.EFL) & FLAG_VM) !== 0;
  }
  get iopl(): number {
    return (this.get(L.EFL) & FLAG_IOPL) >> 12;
  }

  // ---- flags

  /** The whole EFLAGS register, lazy part computed. */
  eflags(): number {
    const fr = this.get(L.FR);
    const fc = this.get(L.FC);
    let flags = this.get(L.EFL) | 2;
    if (fc < 0) flags |= FLAG_CF;
    if (((fc >>> 31) ^ ((fc >>> 30) & 1)) !== 0) flags |= FLAG_OF;
    if ((fc & 8) !== 0) flags |= FLAG_AF;
    if (fr === 0 || (fc & 1) !== 0) flags |= FLAG_ZF;
    if (fr < 0) flags |= FLAG_SF;
    let parity = fr & 0xff;
    parity ^= parity >> 4;
    if (((0x6996 >> (parity & 15)) & 1) === 0) flags |= FLAG_PF;
    return flags;
  }

  /** Sets all of EFLAGS (reserved bits are taken as given, except bit 1). Does not update the mode. */
  setEflags(value: number): void {
    this.set(L.EFL, (value & ~ARITHMETIC_FLAGS) | 2);
    this.setArithmeticFlags(value);
  }

  /** Sets CF PF AF ZF SF OF from the bits of `value`. */
  setArithmeticFlags(value: number): void {
    const cf = value & FLAG_CF;
    const of = (value & FLAG_OF) !== 0 ? 1 : 0;
    const pf = (value & FLAG_PF) !== 0;
    const sf = (value & FLAG_SF) !== 0;
    const zf = (value & FLAG_ZF) !== 0;
    let fc = (cf << 31) | ((cf ^ of) << 30) | ((value & FLAG_AF) !== 0 ? 8 : 0);
    let fr = (sf ? 0x80000000 | 0 : 0x100) | (pf ? 0 : 1);
    if (zf) {
      if (pf && !sf) fr = 0;
      else fc |= 1;
    }
    this.set(L.FR, fr);
    this.set(L.FC, fc);
  }
}
