/** A bare CPU over one megabyte of RAM for the unit tests of this folder: records and descriptors by hand. */
import { PhysicalMemory } from '../../memory.ts';
import { type CpuBus, CpuState } from '../cpu-state.ts';
import * as L from '../layout.ts';
import { readLinear32, writeLinear16, writeLinear32 } from '../linear.ts';
import { COLD_OPERATIONS, reset } from './index.ts';

export const GDT = 0x1000;
export const IDT = 0x2000;
export const TSS = 0x3000;
export const TSS2 = 0x3200;

export const CODE0 = 0x08;
export const DATA0 = 0x10;
export const CODE3 = 0x1b;
export const DATA3 = 0x23;
export const TSS_SELECTOR = 0x28;
export const TSS2_SELECTOR = 0x30;
export const GATE_SELECTOR = 0x38;

const RECORD = 0x20000;

export interface TestBus extends CpuBus {
  readonly writes: [number, number, number][];
}

export function newCpu(): CpuState & { bus: TestBus } {
  const memory = new WebAssembly.Memory({ initial: 64, maximum: 64 });
  const writes: [number, number, number][] = [];
  const bus: TestBus = {
    writes,
    portRead8: (port) => port & 0xff,
    portRead16: (port) => port,
    portRead32: (port) => port,
    portWrite8: (port, value) => void writes.push([8, port, value]),
    portWrite16: (port, value) => void writes.push([16, port, value]),
    portWrite32: (port, value) => void writes.push([32, port, value]),
    apicBase: () => 0xfee00900,
    setApicBase: () => {},
    tsc: () => 0x123456789,
  };
  const c = new CpuState(new PhysicalMemory(memory, 0x200000, 0x100000), bus);
  reset(c);
  return c as CpuState & { bus: TestBus };
}

export interface Operands {
  op32?: boolean;
  address32?: boolean;
  rm?: number;
  reg?: number;
  imm?: number;
  imm2?: number;
  /** Absolute memory operand in DS. */
  memory?: number;
  rep?: boolean;
  length?: number;
}

/** Runs one cold operation at the EIP slot as the run loop does; faults are thrown. */
export function execute(c: CpuState, name: string, o: Operands = {}): void {
  const flags =
    (o.op32 ? L.RF_OP32 : 0) |
    (o.address32 ? L.RF_ADDR32 : 0) |
    (o.memory !== undefined ? L.RF_MEM : 0) |
    (o.rep ? L.RF_REP : 0);
  c.rec = RECORD;
  c.u16[(RECORD + L.R_R1) >> 1] = o.rm ?? 0;
  c.u16[(RECORD + L.R_R2) >> 1] = o.reg ?? 0;
  c.set(RECORD + L.R_IMM, o.imm ?? 0);
  c.set(RECORD + L.R_DISP, o.imm2 ?? o.memory ?? 0);
  c.u16[(RECORD + L.R_BASE) >> 1] = L.ZERO;
  c.u16[(RECORD + L.R_INDEX) >> 1] = L.ZERO;
  c.u8[RECORD + L.R_SCALE] = 0;
  c.u16[(RECORD + L.R_SEG) >> 1] = L.SEGS + L.DS * L.SEG_STRIDE;
  c.u8[RECORD + L.R_FLAGS] = flags;
  c.eip = c.get(L.EIP);
  c.nextEip = c.eip + (o.length ?? 2);
  if (COLD_OPERATIONS[name]!(c) === 0) c.set(L.EIP, c.nextEip);
}

export function descriptor(c: CpuState, selector: number, base: number, limit: number, rights: number): void {
  const at = GDT + (selector & ~7);
  writeLinear32(c, at, (limit & 0xffff) | (base << 16), 0);
  writeLinear32(
    c,
    at + 4,
    ((base >>> 16) & 0xff) | (rights << 8) | (limit & 0xf0000) | (base & 0xff000000),
    0,
  );
}

export function gate(c: CpuState, vector: number, selector: number, offset: number, rights: number): void {
  gateAt(c, IDT + vector * 8, selector, offset, rights);
}
export function gateAt(
  c: CpuState,
  at: number,
  selector: number,
  offset: number,
  rights: number,
  count = 0,
): void {
  writeLinear32(c, at, (offset & 0xffff) | (selector << 16), 0);
  writeLinear32(c, at + 4, (offset & 0xffff0000) | (rights << 8) | count, 0);
}

/** Flat 32-bit protected mode at CPL 0: GDT, IDT, two TSSs, ESP 8000, inner stack at 9000. */
export function protect(c: CpuState): void {
  descriptor(c, CODE0, 0, 0xfffff, 0xc09a);
  descriptor(c, DATA0, 0, 0xfffff, 0xc092);
  descriptor(c, CODE3, 0, 0xfffff, 0xc0fa);
  descriptor(c, DATA3, 0, 0xfffff, 0xc0f2);
  descriptor(c, TSS_SELECTOR, TSS, 0x1ff, 0x89);
  descriptor(c, TSS2_SELECTOR, TSS2, 0x1ff, 0x89);
  writeLinear32(c, TSS + 4, 0x9000, 0);
  writeLinear16(c, TSS + 8, DATA0, 0);
  c.set(L.GDT_BASE, GDT);
  c.set(L.GDT_LIMIT, 0xff);
  c.set(L.IDT_BASE, IDT);
  c.set(L.IDT_LIMIT, 0x7ff);
  c.setReg32(0, 0x60000011);
  execute(c, 'mov_to_cr', { reg: 0, rm: 0 });
  execute(c, 'jmp_far_imm', { op32: true, imm: 0x4000, imm2: CODE0 });
  c.setReg32(0, DATA0);
  for (const seg of [L.ES, L.SS, L.DS, L.FS, L.GS]) execute(c, 'mov_to_sreg', { reg: seg, rm: 0 });
  c.inhibitInterrupts = 0;
  c.setReg32(0, TSS_SELECTOR);
  execute(c, 'ltr', { rm: 0 });
  c.setReg32(4, 0x8000);
}

/** To CPL 3 by IRETD: EIP 5000, ESP 7000, IOPL 0, IF. */
export function toUser(c: CpuState, flags = 0x202): void {
  c.setReg32(4, 0x8000 - 20);
  const frame = [0x5000, CODE3, flags, 0x7000, DATA3];
  for (const [i, value] of frame.entries()) writeLinear32(c, 0x8000 - 20 + i * 4, value, 0);
  execute(c, 'iret', { op32: true });
}

/** `count` dwords of the stack from ESP. */
export function stack32(c: CpuState, count: number): number[] {
  return Array.from({ length: count }, (_, i) => readLinear32(c, c.reg32(4) + i * 4, 0) >>> 0);
}
