import { describe, expect, test } from 'vitest';
import { type CpuState, FAULT } from '../cpu-state.ts';
import * as L from '../layout.ts';
import { readLinear16, readLinear32, readLinear8, writeLinear16, writeLinear32 } from '../linear.ts';
import { deliver, deliverFault } from './index.ts';
import {
  CODE0,
  CODE3,
  DATA0,
  DATA3,
  descriptor,
  execute,
  GATE_SELECTOR,
  GDT,
  gate,
  gateAt,
  newCpu,
  protect,
  stack32,
  toUser,
  TSS,
  TSS2,
  TSS2_SELECTOR,
  TSS_SELECTOR,
} from './test-cpu.ts';

function faulting(c: CpuState, action: () => void): [number, number] {
  try {
    action();
  } catch (thrown) {
    expect(thrown).toBe(FAULT);
    return [c.faultVector, c.faultError];
  }
  return [-1, -1];
}

describe('real mode', () => {
  test('reset state', () => {
    const c = newCpu();
    expect([c.selector(L.CS), c.segBase(L.CS) >>> 0, c.get(L.EIP)]).toEqual([0xf000, 0xffff0000, 0xfff0]);
    expect([c.reg32(2), c.get(L.CR0), c.eflags(), c.get(L.MODE)]).toEqual([0x673, 0x60000010, 2, L.MODE_S16]);
  });

  test('INT pushes FLAGS, CS, IP; IRET takes them back', () => {
    const c = newCpu();
    execute(c, 'jmp_far_imm', { imm: 0x100, imm2: 0x50 });
    c.setReg32(4, 0x12340400);
    c.setEflags(0x247);
    writeLinear32(c, 0x21 * 4, 0x00801234, 0);
    execute(c, 'int_n', { imm: 0x21 });
    expect([c.selector(L.CS), c.get(L.EIP), c.segBase(L.CS)]).toEqual([0x80, 0x1234, 0x800]);
    expect(c.reg32(4)).toBe(0x123403fa);
    expect(readLinear16(c, 0x3fa, 0)).toBe(0x102);
    expect(readLinear16(c, 0x3fc, 0)).toBe(0x50);
    expect(readLinear16(c, 0x3fe, 0)).toBe(0x247);
    expect(c.eflags()).toBe(0x47);
    execute(c, 'iret');
    expect([c.selector(L.CS), c.get(L.EIP), c.eflags(), c.reg32(4)]).toEqual([
      0x50, 0x102, 0x247, 0x12340400,
    ]);
  });

  test('STI and MOV SS hold interrupts back, HLT halts', () => {
    const c = newCpu();
    execute(c, 'sti');
    expect(c.inhibitInterrupts).not.toBe(0);
    c.inhibitInterrupts = 0;
    execute(c, 'sti');
    expect(c.inhibitInterrupts).toBe(0);
    execute(c, 'mov_to_sreg', { reg: L.SS, rm: 0 });
    expect(c.inhibitInterrupts).not.toBe(0);
    execute(c, 'hlt');
    expect(c.halted).toBe(true);
    deliver(c, 8, 'external', -1);
    expect(c.halted).toBe(false);
  });

  test('REP OUTSB counts down within the budget', () => {
    const c = newCpu();
    c.setReg32(1, 5);
    c.setReg32(2, 0x3f8);
    c.setReg32(6, 0x600);
    c.set(L.ICNT, 3);
    const eip = c.get(L.EIP);
    execute(c, 'outs8', { rep: true });
    expect([c.bus.writes.length, c.reg32(1), c.get(L.ICNT), c.get(L.EIP)]).toEqual([3, 2, 1, eip]);
    c.set(L.ICNT, 100);
    execute(c, 'outs8', { rep: true });
    expect([c.bus.writes.length, c.reg32(1), c.get(L.ICNT), c.get(L.EIP)]).toEqual([5, 0, 99, eip + 2]);
  });

  test('interrupt table too small: double fault, then shutdown', () => {
    const c = newCpu();
    c.set(L.IDT_LIMIT, 3);
    c.eip = 0x77;
    c.faultVector = 13;
    c.faultError = 0;
    deliverFault(c);
    expect(c.tripleFault).toBe(true);
  });
});

describe('protected mode', () => {
  test('flat code mode, INT from CPL 3 over the inner stack and back', () => {
    const c = newCpu();
    protect(c);
    expect([c.get(L.MODE), c.selector(L.CS), c.get(L.EIP) > 0x4000]).toEqual([L.MODE_F32, CODE0, true]);
    gate(c, 0x80, CODE0, 0x6000, 0xee);
    toUser(c);
    expect([c.cpl, c.selector(L.CS), c.get(L.EIP), c.reg32(4)]).toEqual([3, CODE3, 0x5000, 0x7000]);
    expect(c.selector(L.DS)).toBe(0);
    expect(c.get(L.MODE)).not.toBe(L.MODE_F32);
    expect(c.get(L.TLBBASE)).toBe(L.TLB_USER);
    execute(c, 'int_n', { imm: 0x80 });
    expect([c.cpl, c.selector(L.CS), c.get(L.EIP), c.selector(L.SS)]).toEqual([0, CODE0, 0x6000, DATA0]);
    expect(stack32(c, 5)).toEqual([0x5002, CODE3, 0x202, 0x7000, DATA3]);
    expect(c.reg32(4)).toBe(0x9000 - 20);
    expect(c.eflags() & 0x200).toBe(0);
    execute(c, 'iret', { op32: true });
    expect([c.cpl, c.get(L.EIP), c.reg32(4), c.eflags()]).toEqual([3, 0x5002, 0x7000, 0x202]);
  });

  test('INT n through a gate with DPL 0 from CPL 3 is #GP, pushed with RF at the instruction', () => {
    const c = newCpu();
    protect(c);
    gate(c, 0x20, CODE0, 0x6000, 0x8e);
    gate(c, 13, CODE0, 0x6100, 0x8e);
    toUser(c);
    expect(faulting(c, () => execute(c, 'int_n', { imm: 0x20 }))).toEqual([13, 0x102]);
    deliverFault(c);
    expect(c.get(L.EIP)).toBe(0x6100);
    expect(stack32(c, 4)).toEqual([0x102, 0x5000, CODE3, 0x10202]);
    // An external interrupt may use the gate.
    const d = newCpu();
    protect(d);
    gate(d, 0x20, CODE0, 0x6000, 0x8e);
    toUser(d);
    deliver(d, 0x20, 'external', -1);
    expect(stack32(d, 3)).toEqual([0x5000, CODE3, 0x202]);
  });

  test('fault while delivering a contributory fault: #DF with code 0; EXT in the code otherwise', () => {
    const c = newCpu();
    protect(c);
    gate(c, 8, CODE0, 0x6800, 0x8e);
    c.eip = 0x4444;
    c.faultVector = 13;
    c.faultError = 0;
    deliverFault(c); // no gate for #GP: #GP again, hence #DF
    expect(c.get(L.EIP)).toBe(0x6800);
    expect(stack32(c, 2)).toEqual([0, 0x4444]);
    const d = newCpu();
    protect(d);
    gate(d, 13, CODE0, 0x6100, 0x8e);
    deliver(d, 0x30, 'external', -1); // type 0 in the table
    expect(stack32(d, 1)).toEqual([0x30 * 8 + 3]);
  });

  test('segment loads: null, privilege, not present, code not readable', () => {
    const c = newCpu();
    protect(c);
    const load = (seg: number, selector: number) => () => {
      c.setReg32(0, selector);
      execute(c, 'mov_to_sreg', { reg: seg, rm: 0 });
    };
    expect(faulting(c, load(L.SS, 0))).toEqual([13, 0]);
    expect(faulting(c, load(L.SS, DATA3))).toEqual([13, DATA3 & ~3]);
    expect(faulting(c, load(L.DS, 0x100))).toEqual([13, 0x100]);
    descriptor(c, 0x40, 0, 0xfffff, 0xc012);
    expect(faulting(c, load(L.DS, 0x40))).toEqual([11, 0x40]);
    expect(faulting(c, load(L.SS, 0x40))).toEqual([12, 0x40]);
    descriptor(c, 0x40, 0, 0xfffff, 0xc098);
    expect(faulting(c, load(L.DS, 0x40))).toEqual([13, 0x40]);
    expect(faulting(c, load(L.CS, CODE0))).toEqual([6, -1]);
    load(L.ES, 0)();
    expect(c.segFlags(L.ES)).toBe(0);
    expect(readLinear8(c, GDT + DATA0 + 5, 0) & 1).toBe(1);
  });

  test('call gate to CPL 0 copies parameters; RETF drops them on both stacks', () => {
    const c = newCpu();
    protect(c);
    gateAt(c, GDT + GATE_SELECTOR, CODE0, 0x6400, 0xec, 2);
    toUser(c);
    writeLinear32(c, 0x7000, 0x11111111, 0);
    writeLinear32(c, 0x7004, 0x22222222, 0);
    execute(c, 'call_far_imm', { op32: true, imm2: GATE_SELECTOR | 3, length: 7 });
    expect([c.cpl, c.get(L.EIP)]).toEqual([0, 0x6400]);
    expect(stack32(c, 6)).toEqual([0x5007, CODE3, 0x11111111, 0x22222222, 0x7000, DATA3]);
    execute(c, 'ret_far', { op32: true, imm: 8 });
    expect([c.cpl, c.get(L.EIP), c.reg32(4), c.selector(L.SS)]).toEqual([3, 0x5007, 0x7008, DATA3]);
  });

  test('I/O permission bitmap', () => {
    const c = newCpu();
    protect(c);
    writeLinear16(c, TSS + 0x66, 0x68, 0);
    for (let i = 0; i < 0x198; i += 4) writeLinear32(c, TSS + 0x68 + i, -1, 0);
    writeLinear32(c, TSS + 0x68 + 0x3f8 / 8, 0xfffffffe | 0, 0);
    toUser(c);
    c.setReg32(2, 0x3f8);
    execute(c, 'in8_dx');
    expect(c.reg8(0)).toBe(0xf8);
    expect(faulting(c, () => execute(c, 'inv_dx'))).toEqual([13, 0]);
    c.setReg32(2, 0x3f9);
    expect(faulting(c, () => execute(c, 'out8_dx'))).toEqual([13, 0]);
    expect(faulting(c, () => execute(c, 'cli'))).toEqual([13, 0]);
  });

  test('POPF above IOPL leaves IF and IOPL', () => {
    const c = newCpu();
    protect(c);
    toUser(c);
    c.setReg32(4, 0x6ffc);
    writeLinear32(c, 0x6ffc, 0x3ed5, 0);
    execute(c, 'popf', { op32: true });
    expect(c.eflags()).toBe((0xed7 & ~0x100) | (0x3ed5 & 0x100));
  });
});

function secondTask(c: CpuState): void {
  const set = (offset: number, value: number) => writeLinear32(c, TSS2 + offset, value, 0);
  set(0x20, 0x6600);
  set(0x24, 0x2);
  for (let r = 0; r < 8; r++) set(0x28 + r * 4, 0x1000 * (r + 1));
  for (const [i, selector] of [DATA0, CODE0, DATA0, DATA0, 0, 0, 0].entries()) set(0x48 + i * 4, selector);
}

describe('tasks', () => {
  test('CALL to a TSS nests, IRET goes back', () => {
    const c = newCpu();
    protect(c);
    secondTask(c);
    c.setReg32(3, 0xabcdef);
    c.set(L.EIP, 0x4100);
    execute(c, 'call_far_imm', { op32: true, imm2: TSS2_SELECTOR, length: 7 });
    expect([c.get(L.EIP), c.selector(L.TR), c.reg32(3), c.reg32(4)]).toEqual([
      0x6600,
      TSS2_SELECTOR,
      0x4000,
      0x5000,
    ]);
    expect(c.eflags() & 0x4000).toBe(0x4000);
    expect(c.get(L.CR0) & 8).toBe(8);
    expect(readLinear16(c, TSS2, 0)).toBe(TSS_SELECTOR);
    expect([readLinear8(c, GDT + TSS_SELECTOR + 5, 0), readLinear8(c, GDT + TSS2_SELECTOR + 5, 0)]).toEqual([
      0x8b, 0x8b,
    ]);
    expect(readLinear32(c, TSS + 0x20, 0)).toBe(0x4107);
    execute(c, 'iret', { op32: true });
    expect([c.get(L.EIP), c.selector(L.TR), c.reg32(3)]).toEqual([0x4107, TSS_SELECTOR, 0xabcdef]);
    expect(c.eflags() & 0x4000).toBe(0);
    expect([readLinear8(c, GDT + TSS_SELECTOR + 5, 0), readLinear8(c, GDT + TSS2_SELECTOR + 5, 0)]).toEqual([
      0x8b, 0x89,
    ]);
    expect(readLinear32(c, TSS2 + 0x24, 0) & 0x4000).toBe(0);
  });

  test('JMP to a TSS frees the old one; a busy TSS is #GP', () => {
    const c = newCpu();
    protect(c);
    secondTask(c);
    expect(faulting(c, () => execute(c, 'jmp_far_imm', { imm2: TSS_SELECTOR }))).toEqual([13, TSS_SELECTOR]);
    execute(c, 'jmp_far_imm', { op32: true, imm2: TSS2_SELECTOR });
    expect([readLinear8(c, GDT + TSS_SELECTOR + 5, 0), readLinear8(c, GDT + TSS2_SELECTOR + 5, 0)]).toEqual([
      0x89, 0x8b,
    ]);
    expect(c.eflags() & 0x4000).toBe(0);
  });

  test('task gate for a double fault; a bad segment faults in the new task', () => {
    const c = newCpu();
    protect(c);
    secondTask(c);
    gate(c, 8, TSS2_SELECTOR, 0, 0x85);
    c.eip = 0x4444;
    c.faultVector = 10;
    c.faultError = 8;
    deliverFault(c);
    expect(c.get(L.EIP)).toBe(0x6600);
    expect([c.reg32(4), readLinear32(c, c.reg32(4), 0)]).toEqual([0x4ffc, 0]);
    const d = newCpu();
    protect(d);
    secondTask(d);
    writeLinear32(d, TSS2 + 0x54, 0x48, 0);
    expect(faulting(d, () => execute(d, 'jmp_far_imm', { op32: true, imm2: TSS2_SELECTOR }))).toEqual([
      10, 0x48,
    ]);
    expect([d.selector(L.TR), d.eip]).toEqual([TSS2_SELECTOR, 0x6600]);
  });
});

describe('virtual-8086 mode', () => {
  function enter(c: CpuState, iopl: number): void {
    c.setReg32(4, 0x7fdc);
    const frame = [0x100, 0x50, 0x20202 | (iopl << 12), 0x400, 0x60, 0x70, 0x80, 0x90, 0xa0];
    for (const [i, value] of frame.entries()) writeLinear32(c, 0x7fdc + i * 4, value, 0);
    execute(c, 'iret', { op32: true });
  }

  test('IRETD enters, INT n with IOPL 3 goes to CPL 0 with all segments on the stack', () => {
    const c = newCpu();
    protect(c);
    gate(c, 0x21, CODE0, 0x6000, 0xee);
    enter(c, 3);
    expect([c.v8086, c.cpl, c.segBase(L.CS), c.segBase(L.DS), c.get(L.MODE)]).toEqual([
      true,
      3,
      0x500,
      0x800,
      L.MODE_S16,
    ]);
    execute(c, 'int_n', { imm: 0x21 });
    expect([c.v8086, c.cpl, c.selector(L.DS)]).toEqual([false, 0, 0]);
    expect(stack32(c, 9)).toEqual([0x102, 0x50, 0x23202, 0x400, 0x60, 0x70, 0x80, 0x90, 0xa0]);
    execute(c, 'iret', { op32: true });
    expect([c.v8086, c.get(L.EIP), c.reg32(4), c.selector(L.GS)]).toEqual([true, 0x102, 0x400, 0xa0]);
  });

  test('IOPL 0: INT n, CLI, PUSHF, IRET are #GP(0); with VME INT n is redirected', () => {
    const c = newCpu();
    protect(c);
    enter(c, 0);
    for (const name of ['int_n', 'cli', 'sti', 'pushf', 'popf', 'iret']) {
      expect(
        faulting(c, () => execute(c, name, { imm: 0x21 })),
        name,
      ).toEqual([13, 0]);
    }
    c.set(L.CR4, 1);
    writeLinear16(c, TSS + 0x66, 0x88, 0);
    writeLinear32(c, 0x21 * 4, 0x00b01234, 0);
    execute(c, 'int_n', { imm: 0x21 });
    expect([c.v8086, c.selector(L.CS), c.get(L.EIP)]).toEqual([true, 0xb0, 0x1234]);
    expect(readLinear16(c, 0x600 + 0x3fe, 0)).toBe(0x3002);
    execute(c, 'sti');
    expect(c.eflags() & 0x80000).toBe(0x80000);
  });
});

describe('odds and ends', () => {
  test('CPUID as QEMU -cpu pentium3', () => {
    const c = newCpu();
    const leaf = (n: number) => {
      c.setReg32(0, n);
      execute(c, 'cpuid');
      return [0, 3, 1, 2].map((r) => c.reg32(r) >>> 0);
    };
    expect(leaf(1)).toEqual([0x673, 0x800, 0x80000000, 0x383fbfd]);
    expect(leaf(0x80000000)).toEqual([0, 0, 0, 0]);
    expect(leaf(0x40000000)[0]).toBe(0x40000001);
  });

  test('control registers refuse what silicon refuses', () => {
    const c = newCpu();
    const write = (reg: number, value: number) => () => {
      c.setReg32(0, value);
      execute(c, 'mov_to_cr', { reg, rm: 0 });
    };
    expect(faulting(c, write(0, 0x80000010))).toEqual([13, 0]);
    expect(faulting(c, write(0, 0x20000010))).toEqual([13, 0]);
    expect(faulting(c, write(4, 0x800))).toEqual([13, 0]);
    expect(faulting(c, write(1, 0))).toEqual([6, -1]);
  });

  test('TSC write keeps its offset; PAT and MTRRs are there', () => {
    const c = newCpu();
    c.setReg32(1, 0x10);
    c.setReg32(0, 5);
    c.setReg32(2, 0);
    execute(c, 'wrmsr');
    execute(c, 'rdtsc');
    expect([c.reg32(0), c.reg32(2)]).toEqual([5, 0]);
    c.setReg32(1, 0x277);
    execute(c, 'rdmsr');
    expect([c.reg32(0), c.reg32(2)]).toEqual([0x70406, 0x70406]);
  });

  test('ENTER with nesting, PUSHA and POPA', () => {
    const c = newCpu();
    protect(c);
    c.setReg32(5, 0x7800);
    writeLinear32(c, 0x77fc, 0xaaaa, 0);
    execute(c, 'enter', { op32: true, imm: 0x10, imm2: 2 });
    expect([c.reg32(5), c.reg32(4)]).toEqual([0x7ffc, 0x8000 - 12 - 0x10]);
    expect(readLinear32(c, 0x7ff8, 0)).toBe(0xaaaa);
    expect(readLinear32(c, 0x7ff4, 0)).toBe(0x7ffc);
    const before = c.reg32(4);
    c.setReg32(7, 0x77);
    execute(c, 'pusha', { op32: true });
    c.setReg32(7, 0);
    execute(c, 'popa', { op32: true });
    expect([c.reg32(4), c.reg32(7)]).toEqual([before, 0x77]);
  });
});
