/** The INIT pin: a guest that resets its CPU by the local APIC (kvm-unit-tests' `init`, operating systems that start processors). */
import { describe, expect, it } from 'vitest';
import * as L from '../../src/machine/cpu/layout.ts';
import { REQUEST_HARD } from '../../src/machine/cpu/requests.ts';
import { PagedRig } from '../support/paged-rig.ts';

const CODE = 0x10000;
const WRITE_BYTE = 'e680'; // out 0x80, al: what the APIC does from within an access

/** Runs a loop up to its `out`; the port raises INIT. */
function initialised(compiled: boolean) {
  const rig = new PagedRig(false);
  const c = rig.cpu;
  c.jit.enabled = compiled;
  c.u8.set(Buffer.from(`4040${WRITE_BYTE}ebfa`, 'hex'), c.mem.ramAddress + CODE); // inc eax; inc eax; out; jmp CODE
  c.set(L.EIP, CODE);
  c.run(8); // decoded
  if (compiled) {
    const record = c.records.pageRecords((c.mem.ramAddress + CODE) >>> 12, L.MODE_F32);
    for (let i = 0; i < c.jit.patience; i++) c.jit.sample(record);
    c.jit.finish();
    expect(c.jit.statistics.compiled).toBe(1);
  }
  c.set(L.EIP, CODE);
  c.set(L.MXCSR, 0x1fa0);
  c.set(L.FPU_CW, 0x27f);
  c.cold.pat = 5n;
  c.setReg32(0, 7);
  c.interruptRequest |= REQUEST_HARD;
  let told = 0;
  c.onInit = () => {
    told++;
  };
  c.bus.portWrite8 = () => c.raiseInit();
  const before = c.instructions;
  c.run(3);
  c.run(0);
  return { c, told, ran: c.instructions - before };
}

describe.each([
  ['interpreted', false],
  ['compiled', true],
])('INIT from within an instruction, %s', (_, compiled) => {
  it('comes behind it, and keeps what reset does not', () => {
    const { c, told, ran } = initialised(compiled);
    expect(ran).toBe(3);
    expect(told).toBe(1);
    expect(c.get(L.EIP)).toBe(0xfff0);
    expect(c.segBase(L.CS) >>> 0).toBe(0xffff0000);
    expect(c.reg32(0)).toBe(0);
    expect(c.get(L.MXCSR)).toBe(0x1fa0);
    expect(c.get(L.FPU_CW)).toBe(0x27f);
    expect(c.cold.pat).toBe(5n);
    expect(c.interruptRequest).toBe(REQUEST_HARD);
    c.reset();
    expect(c.get(L.MXCSR)).toBe(0x1f80);
  });
});
