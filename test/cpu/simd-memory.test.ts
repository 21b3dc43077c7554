/** SIMD instructions on memory: page crossings, faults before the first change, alignment, features; interpreted and compiled. */
import { describe, expect, it } from 'vitest';
import type { Cpu } from '../../src/machine/cpu/cpu.ts';
import * as L from '../../src/machine/cpu/layout.ts';
import { flushTlb, updateAll } from '../../src/machine/cpu/mode.ts';
import { CPU_MODELS } from '../../src/machine/cpu/system/index.ts';
import { setSegment } from '../../src/machine/cpu/system/segment-load.ts';
import { bareCpu } from '../support/bare-cpu.ts';

const CODE = 0x10000;
const DIRECTORY = 0x80000;
const TABLE = 0x81000;
/** Its next page is mapped elsewhere, or not at all. */
const FIRST = 0x4000;
const SECOND = 0x5000;
const ELSEWHERE = 0x9000;
const PRESENT = 3;

class Rig {
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
      const [xmm, mm] = [c.u8.slice(L.XMM, L.XMM + 16), c.u8.slice(L.FPU_REGS, L.FPU_REGS + 16)];
      c.setReg32(7, 0x7000);
      c.set(L.EIP, at);
      c.run(1);
      c.tripleFault = false;
      c.u8.set(xmm, L.XMM);
      c.u8.set(mm, L.FPU_REGS);
      const record = c.records.pageRecords(ram >>> 12, L.MODE_F32) + ((ram & 0xfff) << L.RECORD_SHIFT);
      for (let i = 0; i < 12; i++) c.jit.sample(record);
    }
    c.setReg32(7, edi);
    c.set(L.EIP, at);
    c.set(L.CR2, 0);
    c.faultVector = -1;
    let first = -1;
    const raise = c.raise;
    c.raise = (vector, error) => {
      if (first < 0) first = vector;
      return raise.call(c, vector, error);
    };
    c.run(1);
    c.raise = raise;
    c.tripleFault = false;
    if (first < 0) expect(c.get(L.EIP)).toBe(at + hex.length / 2);
    return first;
  }
}

const LOAD_16 = 'f30f6f07'; // movdqu xmm0, [edi]
const STORE_16 = 'f30f7f07';
const LOAD_8 = 'f30f7e07'; // movq xmm0, [edi]
const STORE_8 = '660fd607';

describe.each([false, true])('SIMD memory operands, compiled: %s', (compiled) => {
  it('cross into a page that lies elsewhere', () => {
    const rig = new Rig(compiled);
    rig.write(FIRST + 0xff8, 1);
    rig.write(FIRST + 0xffc, 2);
    rig.write(ELSEWHERE, 3);
    rig.write(ELSEWHERE + 4, 4);
    expect(rig.run(LOAD_16, FIRST + 0xff8)).toBe(-1);
    expect(rig.xmm(0)).toEqual([1, 2, 3, 4]);
    expect(rig.run(LOAD_8, FIRST + 0xffc)).toBe(-1);
    expect(rig.xmm(0)).toEqual([2, 3, 0, 0]);
    rig.setXmm(0, 5, 6, 7, 8);
    expect(rig.run(STORE_16, FIRST + 0xff8)).toBe(-1);
    expect([rig.read(FIRST + 0xff8), rig.read(FIRST + 0xffc)]).toEqual([5, 6]);
    expect([rig.read(ELSEWHERE), rig.read(ELSEWHERE + 4)]).toEqual([7, 8]);
    expect(rig.run(STORE_8, FIRST + 0xffc)).toBe(-1);
    expect([rig.read(FIRST + 0xffc), rig.read(ELSEWHERE)]).toEqual([5, 6]);
    rig.setXmm(0, 0x33221100, 0x77665544, 0x3baa9988, 0x7fffeedd);
    expect(rig.run(STORE_16, FIRST + 0xff7)).toBe(-1);
    expect(rig.run(LOAD_16, FIRST + 0xff7)).toBe(-1);
    expect(rig.xmm(0)).toEqual([0x33221100, 0x77665544, 0x3baa9988, 0x7fffeedd]);
  });

  it('fault on the second page before anything changes', () => {
    const rig = new Rig(compiled);
    rig.setXmm(0, 9, 9, 9, 9);
    rig.write(FIRST + 0xff8, 1);
    rig.map(0);
    for (const [hex, at] of [
      [LOAD_16, FIRST + 0xff8],
      [LOAD_8, FIRST + 0xffc],
      [STORE_16, FIRST + 0xff8],
      [STORE_8, FIRST + 0xffc],
    ] as const) {
      expect(rig.run(hex, at)).toBe(14);
      expect(rig.cpu.get(L.CR2)).toBe(SECOND);
      expect(rig.xmm(0)).toEqual([9, 9, 9, 9]);
      expect(rig.read(FIRST + 0xff8)).toBe(1);
    }
  });

  it('must be aligned: #GP comes before #PF', () => {
    const rig = new Rig(compiled);
    rig.map(0);
    for (const hex of ['0f2807', '0f2907', '660f6f07', '0f5807', '660ffc07', '0f2b07']) {
      expect(rig.run(hex, SECOND + 8)).toBe(13);
      expect(rig.cpu.get(L.CR2)).toBe(0);
      expect(rig.run(hex, SECOND)).toBe(14);
      expect(rig.cpu.get(L.CR2)).toBe(SECOND);
    }
  });

  it('write to code that was decoded', () => {
    const rig = new Rig(compiled);
    const target = 0x18000;
    rig.write(target, 0x40404040); // inc eax
    const c = rig.cpu;
    c.setReg32(0, 0);
    c.set(L.EIP, target);
    c.run(4);
    expect(c.reg32(0)).toBe(4);
    rig.setXmm(0, 0x48484848, 0x48484848, 0x48484848, 0x48484848);
    expect(rig.run(STORE_16, target)).toBe(-1);
    c.set(L.EIP, target);
    c.run(4);
    expect(c.reg32(0)).toBe(0);
  });

  it('#UD and #NM by CR0, CR4 and model', () => {
    const rig = new Rig(compiled);
    const c = rig.cpu;
    const [cr0, cr4] = [c.get(L.CR0), c.get(L.CR4)];
    for (const hex of ['0f58c1', '660ffcc1', 'f20f59c1', '0f28c1']) {
      c.set(L.CR4, 0);
      expect(rig.run(hex, 0)).toBe(6);
      c.set(L.CR4, cr4);
      c.set(L.CR0, cr0 | 8);
      expect(rig.run(hex, 0)).toBe(7);
      c.set(L.CR0, cr0 | 4);
      expect(rig.run(hex, 0)).toBe(6);
      c.set(L.CR0, cr0);
      expect(rig.run(hex, 0)).toBe(-1);
    }
  });

  it('SSE2 is undefined on a Pentium III, SSE on a Pentium II', () => {
    const three = new Rig(compiled, CPU_MODELS.pentium3);
    for (const hex of ['660ffcc1', 'f20f59c1', '660f28c1', '0fd4c1', '0fc307', 'f30fe6c1', '0faee8'])
      expect(three.run(hex, 0x7000)).toBe(6);
    for (const hex of ['0f58c1', '0fe0c1', '0f28c1']) {
      expect(three.run(hex, 0)).toBe(-1);
      expect(new Rig(compiled, CPU_MODELS.pentium2).run(hex, 0)).toBe(6);
    }
    expect(new Rig(compiled, CPU_MODELS['486']).run('0ffcc1', 0)).toBe(6);
  });
});

it('CPUID of qemu32, as QEMU has it but for SSE3', () => {
  const c = new Rig(false).cpu;
  const ram = c.mem.ramAddress + CODE;
  c.u8.set([0x0f, 0xa2], ram);
  const answer = (leaf: number, sub = 0): number[] => {
    c.setReg32(0, leaf);
    c.setReg32(1, sub);
    c.set(L.EIP, CODE);
    c.run(1);
    return [0, 3, 1, 2].map((r) => c.reg32(r) >>> 0);
  };
  expect(answer(0)).toEqual([4, 0x756e6547, 0x6c65746e, 0x49656e69]);
  expect(answer(1)).toEqual([0x663, 0x800, 0x80000000, 0x0781abfd]);
  expect(answer(4, 3)).toEqual([0x163, 0x03c0003f, 0x3fff, 6]);
  expect(answer(0x80000000)[0]).toBe(0x80000004);
  expect(answer(0x80000002)).toEqual([0x554d4551, 0x72695620, 0x6c617574, 0x55504320]);
  expect(answer(0x80000004)).toEqual([0, 0, 0, 0]);
  expect(answer(0x80000005, 0)).toEqual([0x121, 0x01c0003f, 0x3f, 1]);
});
