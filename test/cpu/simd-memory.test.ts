/** SIMD instructions on memory: page crossings, faults before the first change, alignment, features; interpreted and compiled. */
import { describe, expect, it } from 'vitest';
import * as L from '../../src/machine/cpu/layout.ts';
import { CPU_MODELS } from '../../src/machine/cpu/system/index.ts';
import { CODE, ELSEWHERE, FIRST, PagedRig, SECOND } from '../support/paged-rig.ts';

const LOAD_16 = 'f30f6f07'; // movdqu xmm0, [edi]
const STORE_16 = 'f30f7f07';
const LOAD_8 = 'f30f7e07'; // movq xmm0, [edi]
const STORE_8 = '660fd607';

describe.each([false, true])('SIMD memory operands, compiled: %s', (compiled) => {
  it('cross into a page that lies elsewhere', () => {
    const rig = new PagedRig(compiled);
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
    const rig = new PagedRig(compiled);
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
    const rig = new PagedRig(compiled);
    rig.map(0);
    for (const hex of ['0f2807', '0f2907', '660f6f07', '0f5807', '660ffc07', '0f2b07']) {
      expect(rig.run(hex, SECOND + 8)).toBe(13);
      expect(rig.cpu.get(L.CR2)).toBe(0);
      expect(rig.run(hex, SECOND)).toBe(14);
      expect(rig.cpu.get(L.CR2)).toBe(SECOND);
    }
  });

  it('write to code that was decoded', () => {
    const rig = new PagedRig(compiled);
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
    const rig = new PagedRig(compiled);
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
    const three = new PagedRig(compiled, CPU_MODELS.pentium3);
    for (const hex of ['660ffcc1', 'f20f59c1', '660f28c1', '0fd4c1', '0fc307', 'f30fe6c1', '0faee8'])
      expect(three.run(hex, 0x7000)).toBe(6);
    for (const hex of ['0f58c1', '0fe0c1', '0f28c1']) {
      expect(three.run(hex, 0)).toBe(-1);
      expect(new PagedRig(compiled, CPU_MODELS.pentium2).run(hex, 0)).toBe(6);
    }
    expect(new PagedRig(compiled, CPU_MODELS['486']).run('0ffcc1', 0)).toBe(6);
  });
});

it('CPUID of qemu32, as QEMU has it but for SSE3', () => {
  const c = new PagedRig(false).cpu;
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
