/** Runs on our CPU, at CPL 3 in 32-bit mode, the single instructions that host-integer.ts gives to the host's. */
import * as L from '../../src/machine/cpu/layout.ts';
import { updateAll, updateMode } from '../../src/machine/cpu/mode.ts';
import { setSegment } from '../../src/machine/cpu/system/segment-load.ts';
import { bareCpu } from './bare-cpu.ts';
import {
  CASE_BYTES,
  CASE_CODE,
  CASE_END,
  CASE_FLAGS,
  CASE_LENGTH,
  CASE_OPTIONS,
  CASE_WINDOW,
  CODE,
  LANDING,
  SEGMENT_BASE,
  WINDOW,
  WINDOW_BYTES,
} from './host-integer.ts';

const IDT = 0x1000;
const GDT = 0x2000;
const TSS = 0x3000;
const HANDLERS = 0x4000;
const INNER_STACK = 0x8000;
/** Exceptions that push an error code. */
const WITH_ERROR = 0x27d00;

export class IntegerCases {
  readonly cpu = bareCpu(8 << 20);
  readonly #memory: DataView;

  constructor() {
    const c = this.cpu;
    this.#memory = new DataView(c.u8.buffer, c.mem.ramAddress, 8 << 20);
    const m = this.#memory;
    m.setUint32(GDT + 8, 0x0000ffff, true);
    m.setUint32(GDT + 12, 0x00cf9b00, true);
    m.setUint32(GDT + 16, 0x0000ffff, true);
    m.setUint32(GDT + 20, 0x00cf9300, true);
    for (let v = 0; v < 32; v++) {
      m.setUint32(IDT + v * 8, (8 << 16) | (HANDLERS + v * 16), true);
      m.setUint32(IDT + v * 8 + 4, 0xee00, true);
    }
    m.setUint32(TSS + 4, INNER_STACK, true);
    m.setUint32(TSS + 8, 16, true);
    c.set(L.GDT_BASE, GDT);
    c.set(L.GDT_LIMIT, 23);
    c.set(L.IDT_BASE, IDT);
    c.set(L.IDT_LIMIT, 255);
    setSegment(c, L.TR, 0x28, TSS, 0x67, 0x8b00);
    c.set(L.CR0, 0x31);
  }

  #prepare(based: boolean): void {
    const c = this.cpu;
    setSegment(c, L.CS, 0x1b, 0, -1, 0x00cffb00);
    setSegment(c, L.SS, 0x23, 0, -1, 0x00cff300);
    for (const s of [L.ES, L.DS]) setSegment(c, s, 0x23, based ? SEGMENT_BASE : 0, -1, 0x00cff300);
    for (const s of [L.FS, L.GS]) setSegment(c, s, 0x33, SEGMENT_BASE, -1, 0x00cff300);
    c.set(L.CPL, 3);
    updateAll(c);
  }

  /** Runs the cases; returns them as they are afterwards. */
  run(cases: Uint8Array): Uint8Array {
    const out = cases.slice();
    const words = new DataView(out.buffer);
    for (let at = 0; at < out.length; at += CASE_BYTES) this.#one(out, words, at);
    return out;
  }

  #one(out: Uint8Array, words: DataView, at: number): void {
    const c = this.cpu;
    const ram = c.mem.ramAddress;
    this.#prepare((words.getUint32(at + CASE_OPTIONS, true) & 1) !== 0);
    c.records.invalidate(ram + CODE, 64);
    c.u8.set(out.subarray(at + CASE_CODE, at + CASE_CODE + 16), ram + CODE);
    c.u8.set(out.subarray(at + CASE_WINDOW, at + CASE_BYTES), ram + WINDOW);
    for (let r = 0; r < 8; r++) c.setReg32(r, words.getInt32(at + r * 4, true));
    c.setEflags(words.getInt32(at + CASE_FLAGS, true));
    updateMode(c);
    c.set(L.EIP, CODE);
    let turns = 0;
    do c.run(1);
    while (c.get(L.EIP) === CODE && ++turns < 10000);
    const end = c.get(L.EIP);
    let result = 0x200;
    let esp = c.reg32(4);
    let flags = c.eflags();
    if (end === CODE + words.getUint32(at + CASE_LENGTH, true)) result = 0x100;
    else if (end === LANDING) result = 0x101;
    else if (end >= HANDLERS && end < HANDLERS + 512) {
      result = (end - HANDLERS) >> 4;
      const frame = esp + (((WITH_ERROR >> result) & 1) !== 0 ? 4 : 0);
      flags = this.#memory.getInt32(frame + 8, true);
      esp = this.#memory.getInt32(frame + 12, true);
    }
    words.setUint32(at + CASE_END, result, true);
    words.setInt32(at + CASE_FLAGS, flags, true);
    for (let r = 0; r < 8; r++) words.setInt32(at + r * 4, r === 4 ? esp : c.reg32(r), true);
    out.set(c.u8.subarray(ram + WINDOW, ram + WINDOW + WINDOW_BYTES), at + CASE_WINDOW);
    if (c.tripleFault) {
      words.setUint32(at + CASE_END, 0x300, true);
      c.tripleFault = false;
    }
  }
}
