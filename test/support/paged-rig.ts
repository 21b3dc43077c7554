/** Instructions on memory whose second page is mapped elsewhere, or not at all. */
import { expect } from 'vitest';
import type { Cpu } from '../../src/machine/cpu/cpu.ts';
import * as L from '../../src/machine/cpu/layout.ts';
import { flushTlb, updateAll } from '../../src/machine/cpu/mode.ts';
import { CPU_MODELS } from '../../src/machine/cpu/system/index.ts';
import { setSegment } from '../../src/machine/cpu/system/segment-load.ts';
import { bareCpu } from './bare-cpu.ts';

export const CODE = 0x10000;
const DIRECTORY = 0x80000;
const TABLE = 0x81000;
/** Its next page is mapped elsewhere, or not at all. */
export const FIRST = 0x4000;
export const SECOND = 0x5000;
export const ELSEWHERE = 0x9000;
export const PRESENT = 3;

/** A CPU with paging that runs single instructions on [edi], interpreted or from a compiled unit. */
export class PagedRig {
  readonly cpu: Cpu = bareCpu(1 << 20);
  readonly #compiled: boolean;
  #next = CODE;

  constructor(compiled: boolean, model = CPU_MODELS.qemu32 as Cpu['model']) {
    this.#compiled = compiled;
    const c = this.cpu;
    c.model = model;
    for (let s = L.ES; s <= L.GS; s++) setSegment(c, s, 8, 0, -1, s === L.CS ? 0x00cf9b00 : 0x00cf9300);
    this.write(DIRECTORY, TABLE | PRESENT);
    for (let i = 0; i < 256; i++) this.write(TABLE + i * 4, (i << 12) | PRESENT);
    c.set(L.CR3, DIRECTORY);
    c.set(L.CR0, 0x80010031 | 0);
    c.set(L.CR4, 0x600);
    c.set(L.IDT_LIMIT, 0);
    this.map(ELSEWHERE | PRESENT);
    updateAll(c);
  }
  map(entry: number): void {
    this.write(TABLE + (SECOND >> 12) * 4, entry);
    flushTlb(this.cpu);
  }
  write(address: number, value: number): void {
    this.cpu.set(this.cpu.mem.ramAddress + address, value);
  }
  read(address: number): number {
    return this.cpu.get(this.cpu.mem.ramAddress + address);
  }
  xmm(n: number): number[] {
    return [0, 1, 2, 3].map((i) => this.cpu.get(L.XMM + n * 16 + i * 4));
  }
  setXmm(n: number, ...words: number[]): void {
    words.forEach((w, i) => {
      this.cpu.set(L.XMM + n * 16 + i * 4, w);
    });
  }
  /** Runs one instruction on [edi]; returns the vector of its fault or -1. */
  run(hex: string, edi: number): number {
    const c = this.cpu;
    const at = this.#next;
    this.#next += 64;
    const ram = c.mem.ramAddress + at;
    c.u8.set(Buffer.from(hex, 'hex'), ram);
    if (this.#compiled) {
      // Decoded by being run where all is mapped, then compiled.
      const registers = c.u8.slice(L.XMM, L.SEGS);
      const control = c.u8.slice(L.FPU_CW, L.MXCSR + 4);
      c.setReg32(7, 0x7000);
      c.set(L.EIP, at);
      c.run(1);
      c.tripleFault = false;
      c.u8.set(registers, L.XMM);
      c.u8.set(control, L.FPU_CW);
      const record = c.records.pageRecords(ram >>> 12, L.MODE_F32) + ((ram & 0xfff) << L.RECORD_SHIFT);
      for (let i = 0; i < c.jit.patience; i++) c.jit.sample(record);
      c.jit.finish();
    }
    c.setReg32(7, edi);
    c.set(L.EIP, at);
    c.set(L.CR2, 0);
    c.faultVector = -1;
    let first = -1;
    const noteFault = c.noteFault;
    c.noteFault = (vector, error) => {
      if (first < 0) first = vector;
      noteFault.call(c, vector, error);
    };
    c.run(1);
    c.noteFault = noteFault;
    c.tripleFault = false;
    if (first < 0) expect(c.get(L.EIP)).toBe(at + hex.length / 2);
    return first;
  }
}
