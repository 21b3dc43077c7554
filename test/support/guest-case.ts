/** Runs single instructions on our CPU with the cases that host-cpu.ts gives to the host's. */
import type { Cpu } from '../../src/machine/cpu/cpu.ts';
import * as L from '../../src/machine/cpu/layout.ts';
import { CPU_MODELS } from '../../src/machine/cpu/system/index.ts';
import { updateAll } from '../../src/machine/cpu/mode.ts';
import { setSegment } from '../../src/machine/cpu/system/segment-load.ts';
import { bareCpu } from './bare-cpu.ts';
import { CASE_BYTES, CASE_MEMORY, CASE_REGISTERS } from './host-cpu.ts';

const CODE = 0x10000;
const IMAGE = 0x2000;
const DATA = 0x3000;
/** fxrstor [IMAGE]; then the instruction; fxsave [IMAGE]. */
const RESTORE = [0x0f, 0xae, 0x0d, 0x00, 0x20, 0x00, 0x00];
const SAVE = [0x0f, 0xae, 0x05, 0x00, 0x20, 0x00, 0x00];

export class GuestCases {
  readonly cpu: Cpu = bareCpu(16 << 20);
  #next = CODE;
  readonly #compiled: boolean;

  /** `compiled`: the instruction is run in a compiled unit, where it can be compiled. */
  constructor(compiled = false) {
    this.#compiled = compiled;
    const c = this.cpu;
    c.model = CPU_MODELS.qemu32;
    for (let s = L.ES; s <= L.GS; s++) {
      setSegment(c, s, 8, 0, -1, s === L.CS ? 0x00cf9b00 : 0x00cf9300);
    }
    // Protected, numeric errors as #MF; OSFXSR and OSXMMEXCPT.
    c.set(L.CR0, 0x31);
    c.set(L.CR4, 0x600);
    updateAll(c);
  }

  /** Has the instruction between the two others executed once, then compiled. */
  #compile(at: number, instructions: number): void {
    const c = this.cpu;
    c.u8.fill(0, c.mem.ramAddress + IMAGE, c.mem.ramAddress + IMAGE + 512);
    c.set(c.mem.ramAddress + IMAGE, 0x37f);
    c.set(c.mem.ramAddress + IMAGE + 24, 0x1f80);
    c.setReg32(7, DATA);
    c.set(L.EIP, at);
    c.run(2 + instructions);
    const address = c.mem.ramAddress + at + RESTORE.length;
    const record = c.records.pageRecords(address >>> 12, L.MODE_F32) + ((address & 0xfff) << L.RECORD_SHIFT);
    for (let i = 0; i < c.jit.patience; i++) c.jit.sample(record);
    c.jit.finish();
  }

  /** Runs `code` on every case; returns the cases as they are afterwards. A fault throws. */
  run(code: Uint8Array, cases: Uint8Array, instructions = 1): Uint8Array {
    const c = this.cpu;
    const ram = c.mem.ramAddress;
    const at = this.#next;
    this.#next += 128;
    c.u8.set([...RESTORE, ...code, ...SAVE], ram + at);
    const out = new Uint8Array(cases.length);
    const words = new DataView(cases.buffer, cases.byteOffset, cases.length);
    const results = new DataView(out.buffer);
    if (this.#compiled) this.#compile(at, instructions);
    for (let p = 0; p < cases.length; p += CASE_BYTES) {
      c.u8.set(cases.subarray(p, p + 512), ram + IMAGE);
      c.u8.set(cases.subarray(p + CASE_MEMORY, p + CASE_MEMORY + 64), ram + DATA);
      for (let r = 0; r < 3; r++) c.setReg32(r, words.getInt32(p + CASE_REGISTERS + r * 4, true));
      c.setReg32(7, DATA);
      c.setEflags(words.getInt32(p + CASE_REGISTERS + 12, true));
      c.set(L.EIP, at);
      c.run(2 + instructions);
      const end = at + RESTORE.length + code.length + SAVE.length;
      c.tripleFault = false;
      if (c.get(L.EIP) !== end)
        throw new Error(`fault ${c.faultVector} in ${Buffer.from(code).toString('hex')}`);
      out.set(c.u8.subarray(ram + IMAGE, ram + IMAGE + 512), p);
      out.set(c.u8.subarray(ram + DATA, ram + DATA + 64), p + CASE_MEMORY);
      for (let r = 0; r < 3; r++) results.setInt32(p + CASE_REGISTERS + r * 4, c.reg32(r), true);
      results.setInt32(p + CASE_REGISTERS + 12, c.eflags(), true);
    }
    return out;
  }
}

/** Cases an instruction: a sample, or with AMBERVM_LONG_TESTS=1 ten thousand. */
export const CASES = process.env['AMBERVM_LONG_TESTS'] === '1' ? 10_000 : 300;

/** Repeatable random numbers (xorshift). */
export class Random {
  #x: number;
  constructor(seed: number) {
    this.#x = seed | 1;
  }
  /** Signed 32 bits. */
  next(): number {
    let x = this.#x;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#x = x;
    return x;
  }
  below(n: number): number {
    return Math.floor(((this.next() >>> 8) * n) / 2 ** 24);
  }
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }
}
