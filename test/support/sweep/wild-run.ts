/** Runs wild programs (wild.ts) on two of our CPUs, with interrupts at the same instructions and slices of their own. */
import type { Cpu } from '../../../src/machine/cpu/cpu.ts';
import * as L from '../../../src/machine/cpu/layout.ts';
import { updateAll } from '../../../src/machine/cpu/mode.ts';
import { CPU_MODELS } from '../../../src/machine/cpu/system/index.ts';
import { setFromDescriptor, setSegment } from '../../../src/machine/cpu/system/segment-load.ts';
import { bareCpu } from '../bare-cpu.ts';
import { Random } from '../guest-case.ts';
import {
  CODE,
  DESCRIPTORS,
  FAULTS,
  GDT,
  IDT,
  pokeKernel,
  RAM_BYTES,
  stackOf,
  TSS,
  type WildProgram,
  wildProgram,
} from './wild.ts';

/** Vector of the interrupts. */
const MISCHIEF = 32;

export class WildEngine {
  readonly cpu: Cpu = bareCpu(RAM_BYTES);
  readonly #slice: () => number;
  restarts = 0;
  #program!: WildProgram;

  constructor(jit: boolean, slice: () => number) {
    this.cpu.jit.enabled = jit;
    this.cpu.jit.period = 256;
    this.cpu.jit.patience = 12;
    this.cpu.jit.regionPatience = 3;
    this.cpu.jit.regionLimits = { own: 1300, others: 500, arrivals: 1 };
    this.#slice = slice;
    this.cpu.acknowledge = () => {
      this.cpu.setInterruptLine(0);
      return MISCHIEF;
    };
  }
  get ram(): Uint8Array {
    const { mem } = this.cpu;
    return this.cpu.u8.subarray(mem.ramAddress, mem.ramAddress + RAM_BYTES);
  }

  load(program: WildProgram): void {
    const c = this.cpu;
    this.#program = program;
    c.reset();
    c.setInterruptLine(0);
    c.model = CPU_MODELS[program.sse2 ? 'qemu32' : 'pentium3'];
    this.ram.set(program.ram);
    c.invalidateCaches();
    c.instructions = 0;
    this.restarts = 0;
    this.#enter(1);
  }

  /** The program's beginning: registers and segments, nothing pending. */
  #enter(seed: number): void {
    const c = this.cpu;
    const { cs, ss, ds, es, eflags } = this.#program;
    const random = new Random(seed);
    c.reset();
    for (let r = 0; r < 8; r++) c.setReg32(r, random.next());
    for (const r of [3, 6, 7]) c.setReg32(r, (cs & 3) === 3 && ds === 0x23 ? 0x18800 : 0x9800);
    c.setReg32(4, stackOf(this.#program));
    const flat = cs === 0x1b || cs === 0x08;
    c.set(L.EIP, (flat ? CODE : 0) + random.below(512) * 64);
    c.setEflags(eflags);
    c.set(L.CR0, 0x80050033 | 0);
    c.set(L.CR3, 0x1000);
    c.set(L.CR4, 0x610);
    c.set(L.CPL, cs & 3);
    const segment = (seg: number, selector: number): void => {
      const [low, high] = DESCRIPTORS[selector & ~3]!;
      setFromDescriptor(c, seg, selector, low, high);
    };
    segment(L.CS, cs);
    segment(L.SS, ss);
    segment(L.DS, ds);
    segment(L.ES, es);
    segment(L.FS, 0x3b);
    segment(L.GS, 0x23);
    setSegment(c, L.TR, 0x28, TSS, 0x1ff, 0x8b00);
    c.set(L.GDT_BASE, GDT);
    c.set(L.GDT_LIMIT, 0x67);
    c.set(L.IDT_BASE, IDT);
    c.set(L.IDT_LIMIT, 48 * 8 - 1);
    updateAll(c);
  }

  /** After shutdown or a halt for good: the kernel as new; what the program did to its own pages stays. */
  #restart(): void {
    const { mem } = this.cpu;
    this.restarts++;
    const ram = this.ram.slice();
    pokeKernel(ram, this.#program, new Random(this.restarts * 77));
    mem.write(0, ram.subarray(0, 0xa000));
    this.#enter(this.restarts * 55);
  }

  runTo(point: number): void {
    const c = this.cpu;
    while (c.instructions < point) {
      const reason = c.run(Math.min(this.#slice(), point - c.instructions));
      if (reason === 'budget') continue;
      if (reason === 'halt' && (c.get(L.EFL) & 0x200) !== 0) break;
      // A shutdown loses an instruction, so that a program which does nothing else ends.
      this.#restart();
      c.instructions++;
    }
    // The CPU slept until now.
    c.instructions = point;
  }

  /** All that an instruction could ever see, but memory. */
  state(): number[] {
    const c = this.cpu;
    const words: number[] = [];
    const range = (from: number, to: number, step = 4): void => {
      for (let at = from; at < to; at += step) words.push(c.get(at));
    };
    range(L.REGS, L.REGS + 64, 8);
    words.push(c.get(L.EIP), c.eflags());
    range(L.XMM, L.XMM + 128);
    for (let r = 0; r < 8; r++) {
      range(L.FPU_REGS + r * 16, L.FPU_REGS + r * 16 + 8);
      words.push(c.u16[(L.FPU_REGS + r * 16 + 8) >> 1]!);
    }
    for (let s = 0; s < 8; s++) range(L.SEGS + s * 32, L.SEGS + s * 32 + 16);
    range(L.FPU_CW, L.MXCSR + 4);
    range(L.CR0, L.CR4 + 4);
    words.push(c.get(L.CPL), c.get(L.GDT_BASE), c.get(L.IDT_BASE));
    range(L.DR, L.DR + 32);
    words.push(c.inhibitInterrupts, Number(c.halted), c.debugTraps, Number(c.nmiMasked), this.restarts);
    return words;
  }
}

/** Distances between interrupts: now and then long enough for units to be made. */
const GAPS = [20, 300, 3000, 3000, 10000, 30000];

export interface WildResult {
  readonly name: string;
  readonly instructions: number;
  readonly restarts: number;
  /** Units made, and those of them over several pages. */
  readonly compiled: number;
  readonly regions: number;
  /** By vector. */
  readonly faults: readonly number[];
}

/** Runs a program on both; throws where they differ. `only`: looks at this many instructions more closely. */
export function compareWild(a: WildEngine, b: WildEngine, seed: number, instructions: number): WildResult {
  const random = new Random(seed * 2654435761);
  const program = wildProgram(random, `wild ${seed}`);
  const count = (what: 'compiled' | 'regions'): number =>
    a.cpu.jit.statistics[what] + b.cpu.jit.statistics[what];
  const [compiled, regions] = [count('compiled'), count('regions')];
  for (const engine of [a, b]) {
    engine.load(program);
    // All at once, or a step at each look, so that code changes under units that are being made; the same on every run.
    engine.cpu.jit.sliceMilliseconds = seed % 3 === 0 ? 0 : Number.POSITIVE_INFINITY;
  }
  let at = 0;
  for (let n = 1; at < instructions; n++) {
    const from = at;
    at += 1 + random.below(random.pick(GAPS));
    for (const engine of [a, b]) engine.runTo(at);
    const [one, other] = [a.state(), b.state()];
    const differs = one.findIndex((word, i) => word !== other[i]);
    if (differs >= 0) {
      throw new Error(
        `${program.name}: between ${from} and ${at}: word ${differs}: ${one[differs]} and ${other[differs]}`,
      );
    }
    if (n % 16 === 0 || at >= instructions) {
      if (Buffer.compare(a.ram, b.ram) !== 0) throw new Error(`${program.name}: memory differs at ${at}`);
    }
    for (const engine of [a, b]) engine.cpu.setInterruptLine(1);
  }
  const faults = Array.from({ length: 48 }, (_, v) => a.cpu.mem.read32(FAULTS + v * 4));
  return {
    name: program.name,
    instructions: at,
    restarts: a.restarts,
    compiled: count('compiled') - compiled,
    regions: count('regions') - regions,
    faults,
  };
}
