/** x87 instructions on memory: page crossings, faults before the first change, code that is written; interpreted and compiled. */
import { describe, expect, it } from 'vitest';
import * as L from '../../src/machine/cpu/layout.ts';
import { ELSEWHERE, FIRST, PagedRig, PRESENT, SECOND } from '../support/paged-rig.ts';

const TWO = 0x4000;
const HIGH = 0x80000001 | 0;

/** Making a CPU takes long: one for each tier. */
const rigs: PagedRig[] = [];

/** TOP 3, ST(0) and ST(1) in use: 2 × (1 + 2^-31 + …) and 3. */
function rigWithStack(compiled: boolean): PagedRig {
  const rig = (rigs[+compiled] ??= new PagedRig(compiled));
  rig.map(ELSEWHERE | PRESENT);
  const c = rig.cpu;
  c.u8.fill(0, L.FPU_REGS, L.FPU_REGS + 128);
  c.set(L.FPU_CW, 0x37f);
  c.set(L.FPU_SW, 0x200);
  c.set(L.FPU_TOP, 3);
  c.set(L.FPU_TAGS, 0xff & ~0x18);
  for (const [register, high] of [
    [3, HIGH],
    [4, 0xc0000000 | 0],
  ] as const) {
    c.set(L.FPU_REGS + register * 16, 0);
    c.set(L.FPU_REGS + register * 16 + 4, high);
    c.set(L.FPU_REGS + register * 16 + 8, TWO);
  }
  for (const pointer of [L.FPU_IP, L.FPU_CS, L.FPU_DP, L.FPU_DS, L.FPU_OPCODE]) c.set(pointer, 0);
  return rig;
}
/** Registers, control words and pointers. */
function state(rig: PagedRig): string {
  const { u8 } = rig.cpu;
  const hex = (from: number, to: number) => Buffer.from(u8.slice(from, to)).toString('hex');
  return `${hex(L.FPU_REGS, L.FPU_REGS + 128)} ${hex(L.FPU_CW, L.FPU_OPCODE + 4)}`;
}

const LOADS = ['d907', 'dd07', 'db2f', 'db07', 'df2f', 'd807', 'dc07', 'da0f', 'dc17', 'd92f'];
const STORES = ['d917', 'd91f', 'dd17', 'dd1f', 'db3f', 'db17', 'db1f', 'df3f', 'd93f', 'dd3f'];

describe.each([false, true])('x87 memory operands, compiled: %s', (compiled) => {
  it('fault on the second page before anything changes', () => {
    for (const hex of [...LOADS, ...STORES]) {
      const rig = rigWithStack(compiled);
      rig.write(FIRST + 0xffc, 0x12345678);
      rig.map(0);
      const before = state(rig);
      expect(rig.run(hex, FIRST + 0xfff), hex).toBe(14);
      expect(rig.cpu.get(L.CR2)).toBe(SECOND);
      expect(state(rig), hex).toBe(before);
      expect(rig.read(FIRST + 0xffc)).toBe(0x12345678);
    }
  });

  it('cross into a page that lies elsewhere as they lie in one', () => {
    for (const hex of [...LOADS, ...STORES]) {
      const results = [FIRST + 0xffd, FIRST + 0x100].map((at) => {
        const rig = rigWithStack(compiled);
        const bytes = Buffer.from('0000e03f000000c0ff3f', 'hex');
        const place = (i: number) =>
          rig.cpu.mem.ramAddress + (at + i < SECOND ? at + i : at + i - SECOND + ELSEWHERE);
        bytes.forEach((byte, i) => {
          rig.cpu.u8[place(i)] = byte;
        });
        expect(rig.run(hex, at), hex).toBe(-1);
        // Where code and operand lie differs.
        rig.cpu.set(L.FPU_IP, 0);
        rig.cpu.set(L.FPU_DP, 0);
        return `${state(rig)} ${bytes.map((_, i) => rig.cpu.u8[place(i)]!).join()}`;
      });
      expect(results[0], hex).toBe(results[1]);
    }
  });

  it('set the pointers, and clear C1', () => {
    const rig = rigWithStack(compiled);
    const c = rig.cpu;
    expect(rig.run('dd1f', FIRST)).toBe(-1);
    expect(rig.read(FIRST + 4)).toBe(0x40000000);
    expect(rig.read(FIRST)).toBe(0x00200000);
    expect(c.get(L.FPU_SW)).toBe(0);
    expect([c.get(L.FPU_TOP), c.get(L.FPU_TAGS)]).toEqual([4, 0xff & ~0x10]);
    expect(c.get(L.FPU_IP)).toBe((c.get(L.EIP) - 2) | 0);
    expect([c.get(L.FPU_DP), c.get(L.FPU_OPCODE)]).toEqual([FIRST, 0x51f]);
    expect([c.get(L.FPU_CS), c.get(L.FPU_DS)]).toEqual([8, 8]);
  });

  it('write to code that was decoded', () => {
    const rig = rigWithStack(compiled);
    const c = rig.cpu;
    const target = 0x18000;
    rig.write(target, 0x40404040); // inc eax
    c.setReg32(0, 0);
    c.set(L.EIP, target);
    c.run(4);
    c.set(L.FPU_REGS + 3 * 16, 0x48484848);
    c.set(L.FPU_REGS + 3 * 16 + 4, 0x48484848);
    expect(rig.run('db3f', target)).toBe(-1);
    c.set(L.EIP, target);
    c.run(4);
    expect(c.reg32(0)).toBe(0);
  });

  it('#NM by EM and TS', () => {
    const rig = rigWithStack(compiled);
    const c = rig.cpu;
    const cr0 = c.get(L.CR0);
    for (const hex of ['d907', 'd9e8', 'd8c1', 'dfe0', 'd93f']) {
      for (const bit of [4, 8]) {
        c.set(L.CR0, cr0 | bit);
        expect(rig.run(hex, FIRST)).toBe(7);
      }
      c.set(L.CR0, cr0);
    }
  });
});
