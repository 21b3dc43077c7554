/** When x87, MMX and SSE instructions fault or wait, and how the FPU's state lies in memory. Intel SDM volume 1, chapter 8. */
import { beforeEach, describe, expect, it } from 'vitest';
import type { Cpu } from '../../src/machine/cpu/cpu.ts';
import * as L from '../../src/machine/cpu/layout.ts';
import { updateAll } from '../../src/machine/cpu/mode.ts';
import { setSegment } from '../../src/machine/cpu/system/segment-load.ts';
import { bareCpu } from '../support/bare-cpu.ts';

const CODE = 0x10000;
const DATA = 0x3000;
const FLAT_CODE = 0x00cf9b00;
const FLAT_DATA = 0x00cf9300;
const REAL_DATA = 0x9300;

let cpu: Cpu;
let next = CODE;

beforeEach(() => {
  cpu ??= bareCpu(1 << 20);
  cpu.reset();
  for (let s = L.ES; s <= L.GS; s++) setSegment(cpu, s, 8, 0, -1, s === L.CS ? FLAT_CODE : FLAT_DATA);
  setSegment(cpu, L.CS, 0x1b, 0, -1, FLAT_CODE);
  cpu.set(L.CR0, 0x31);
  cpu.set(L.CR4, 0x600);
  cpu.set(L.IDT_LIMIT, 0);
  updateAll(cpu);
  cpu.onFerr = () => {};
  cpu.u8.fill(0, cpu.mem.ramAddress + DATA, cpu.mem.ramAddress + DATA + 512);
});

/** Runs instructions (one a string of hex); returns the fault's vector, or -1. */
function run(...instructions: string[]): number {
  const bytes = Buffer.from(instructions.join('').replaceAll(' ', ''), 'hex');
  const at = (next += 256);
  cpu.u8.set(bytes, cpu.mem.ramAddress + at);
  cpu.set(L.EIP, at);
  cpu.tripleFault = false;
  // Delivering a fault fails, for there is no IDT: its vector is what the first attempt recorded.
  let first = -1;
  const raise = cpu.raise;
  cpu.raise = (vector, error) => {
    if (first < 0) first = vector;
    return raise.call(cpu, vector, error);
  };
  cpu.run(instructions.length);
  cpu.raise = raise;
  if (first < 0) expect(cpu.get(L.EIP)).toBe(at + bytes.length);
  return first;
}
function read32(address: number): number {
  return cpu.view.getUint32(cpu.mem.ramAddress + address, true);
}
function read16(address: number): number {
  return cpu.view.getUint16(cpu.mem.ramAddress + address, true);
}

describe('availability', () => {
  it('#NM by EM for x87, not for FWAIT', () => {
    cpu.set(L.CR0, 0x35);
    expect(run('d9e8')).toBe(7);
    expect(run('9b')).toBe(-1);
  });
  it('#NM by TS', () => {
    cpu.set(L.CR0, 0x39);
    expect(run('d9e8')).toBe(7);
  });
  it('FWAIT with MP and TS', () => {
    cpu.set(L.CR0, 0x3b);
    expect(run('9b')).toBe(7);
  });
  it('MMX is undefined with EM, #NM with TS', () => {
    cpu.set(L.CR0, 0x35);
    expect(run('0ffcc1')).toBe(6);
  });
  it('SSE is undefined without OSFXSR', () => {
    cpu.set(L.CR4, 0);
    expect(run('0f58c1')).toBe(6);
  });
  it('SSE: #NM with TS', () => {
    cpu.set(L.CR0, 0x39);
    expect(run('0f58c1')).toBe(7);
  });
});

describe('unmasked exceptions', () => {
  // fninit; fldcw with zero-divide unmasked; 1/0
  const divide = ['dbe3', `66c705 ${le32(DATA)} 7b03`, `d92d ${le32(DATA)}`, 'd9e8', 'd9ee', 'def9'];

  it('come with the next waiting instruction, as #MF', () => {
    expect(run(...divide)).toBe(-1);
    expect(cpu.get(L.FPU_SW) & 0x8084).toBe(0x8084);
    expect(run('dfe0')).toBe(-1);
    expect(run('d9e8')).toBe(16);
  });
  it('also with FWAIT and MMX; FNCLEX takes them back', () => {
    run(...divide);
    expect(run('0ffcc1')).toBe(16);
    expect(run('dbe2', '9b', 'd9e8')).toBe(-1);
  });
  it('go to FERR# while NE is clear; the instruction then runs if nobody interrupts', () => {
    let calls = 0;
    cpu.set(L.CR0, 0x11);
    cpu.onFerr = () => calls++;
    run(...divide);
    expect(calls).toBe(0);
    expect(run('d9e8')).toBe(-1);
    expect(calls).toBe(1);
  });
  it('of SSE are #XM, or #UD without OSXMMEXCPT, and leave the destination alone', () => {
    cpu.set(L.MXCSR, 0x1f80 & ~0x200);
    const one = 0x3f800000;
    cpu.set(L.XMM, one);
    cpu.set(L.XMM + 16, 0);
    expect(run('f30f5ec1')).toBe(19);
    expect(cpu.get(L.XMM)).toBe(one);
    expect(cpu.get(L.MXCSR) & 0x3f).toBe(4);
    cpu.set(L.CR4, 0x200);
    expect(run('f30f5ec1')).toBe(6);
  });
});

describe('memory operands', () => {
  it('of 16 bytes must be aligned, except for MOVUPS', () => {
    expect(run(`0f1005 ${le32(DATA + 1)}`)).toBe(-1);
    expect(run(`0f2805 ${le32(DATA + 8)}`)).toBe(13);
  });
  it('FXSAVE wants 16, and MXCSR bits must exist', () => {
    expect(run(`0fae05 ${le32(DATA + 8)}`)).toBe(13);
    cpu.view.setUint32(cpu.mem.ramAddress + DATA, 0x10000, true);
    expect(run(`0fae15 ${le32(DATA)}`)).toBe(13);
  });
});

describe('environment', () => {
  it('32-bit protected: pointers, selectors, opcode', () => {
    run('dbe3', `d905 ${le32(DATA)}`, `d935 ${le32(DATA + 64)}`);
    expect(read32(DATA + 64)).toBe(0xffff037f);
    expect(read32(DATA + 68) & 0xffff).toBe(7 << 11);
    expect(read32(DATA + 72) & 0xffff).toBe(0x7fff);
    expect(read32(DATA + 76)).toBe(next + 2);
    expect(read32(DATA + 80)).toBe((0x105 << 16) | 0x1b);
    expect(read32(DATA + 84)).toBe(DATA);
    expect(read32(DATA + 88) & 0xffff).toBe(8);
  });
  it('real mode: linear addresses split into 16 and 4 bits', () => {
    cpu.set(L.CR0, 0x30);
    setSegment(cpu, L.CS, 0x1000, 0x10000, 0xffff, 0x9b00);
    for (const s of [L.DS, L.SS, L.ES]) setSegment(cpu, s, 0x200, 0x2000, 0xffff, REAL_DATA);
    updateAll(cpu);
    const at = 0x200;
    const code = Buffer.from('dbe3d9060010d9360020', 'hex');
    cpu.u8.set(code, cpu.mem.ramAddress + 0x10000 + at);
    cpu.set(L.EIP, at);
    cpu.run(3);
    expect(cpu.get(L.EIP)).toBe(at + code.length);
    expect(read16(0x4000)).toBe(0x37f);
    expect(read16(0x4006)).toBe(at + 2);
    expect(read16(0x4008)).toBe(0x1000 | 0x106);
    expect(read16(0x400a)).toBe(0x3000);
    expect(read16(0x400c)).toBe(0);
  });
  it('FNSAVE initialises, FRSTOR brings everything back', () => {
    run('dbe3', 'd9eb', 'd9e8', `dd35 ${le32(DATA + 64)}`);
    expect(cpu.get(L.FPU_TAGS)).toBe(0xff);
    expect(run(`dd25 ${le32(DATA + 64)}`, 'dec1')).toBe(-1);
    expect(cpu.get(L.FPU_TOP)).toBe(7);
    expect(cpu.get(L.FPU_REGS + 7 * 16 + 4) >>> 0).toBe(0x8487ed51);
  });
});

/** 32 bits as little-endian hex. */
function le32(v: number): string {
  return Buffer.from(Uint32Array.of(v).buffer).toString('hex');
}
