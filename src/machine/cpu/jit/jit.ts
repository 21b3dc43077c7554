/**
 * Which code is compiled, when, and what becomes of compiled units. A unit covers executed instructions of one code page (mode F32);
 * its block beginnings become entries: their records name the unit as handler and keep their own handler behind it.
 */
import type { CpuState } from '../cpu-state.ts';
import { FIXED_HANDLERS, type Handler, type InterpreterModule, MAX_UNITS } from '../generate/interpreter.ts';
import * as L from '../layout.ts';
import { Compilation, type CompilationResult } from './compilation.ts';
import type { UnitShape } from './unit.ts';
/** Bytes of WebAssembly that may live at once; V8 makes three to five times as many of machine code of them. */
const MAX_BYTES = 16 * 2 ** 20;
/** Units of a page that were thrown away (self-modifying code) before it is left to the interpreter. */
const MAX_INVALIDATIONS = 20;

interface Unit {
  readonly handler: number;
  readonly records: number;
  readonly entries: readonly number[];
  readonly instructions: number;
  readonly bytes: number;
}

export interface JitStatistics {
  /** Units alive, and what they hold: guest instructions, bytes of WebAssembly. */
  units: number;
  instructions: number;
  bytes: number;
  /** Since power-on: units compiled, the time that took, the longest time in which nothing else was done. */
  compiled: number;
  milliseconds: number;
  longestMilliseconds: number;
  /** Units thrown away: replaced by one that holds more, changed code or recycled records, for want of room. */
  replaced: number;
  invalidated: number;
  evicted: number;
  /** Looks at where the CPU is, and how many of them found it in code of a unit. */
  samples: number;
  covered: number;
}

export class Jit {
  enabled = true;
  /** Instructions between two looks at where the CPU is. */
  period = 8192;
  /**
   * Looks that must find the CPU in a page before it is compiled for the first time: 0.8 M instructions. With 12, booting and exec
   * compiled code that is soon thrown away: exec 160 a CPU second instead of 240, boot 12.7 s of CPU in all threads instead of 10.6.
   */
  patience = 100;
  /** Milliseconds of compiling at a time; then guest code runs until the next look. */
  sliceMilliseconds = 2;
  readonly statistics: JitStatistics = {
    units: 0,
    instructions: 0,
    bytes: 0,
    compiled: 0,
    milliseconds: 0,
    longestMilliseconds: 0,
    replaced: 0,
    invalidated: 0,
    evicted: 0,
    samples: 0,
    covered: 0,
  };
  readonly #c: CpuState;
  readonly #table: WebAssembly.Table;
  readonly #interpreter: InterpreterModule;
  readonly #imports: Record<string, Record<string, unknown>>;
  readonly #memoryPages: number;
  readonly #now: () => number;
  readonly #units = new Map<number, Unit>();
  readonly #byPage: Unit[][] = Array.from({ length: L.RECORD_PAGES }, () => []);
  readonly #samples = new Uint16Array(L.RECORD_PAGES);
  /** By record page: how often it was compiled; each time more is asked for. */
  readonly #compiled = new Uint8Array(L.RECORD_PAGES);
  readonly #invalidations = new Uint8Array(L.RECORD_PAGES);
  /** By record page: the sample that found the CPU there last. */
  readonly #seen = new Float64Array(L.RECORD_PAGES);
  /** By record page: instructions covered by units. */
  readonly #covered: (Uint8Array | undefined)[] = new Array<Uint8Array | undefined>(L.RECORD_PAGES).fill(
    undefined,
  );
  /** The unit under way, and its handler number. */
  #compilation: Compilation | undefined;
  #next: number;
  readonly #free: number[] = [];

  constructor(
    c: CpuState,
    interpreter: InterpreterModule,
    table: WebAssembly.Table,
    shared: Readonly<Record<string, unknown>>,
    now: () => number,
  ) {
    this.#c = c;
    this.#interpreter = interpreter;
    this.#table = table;
    const memory = c.mem.memory;
    this.#imports = { e: { ...shared, m: memory } };
    this.#memoryPages = L.RECORDS_END / 65536;
    this.#now = now;
    this.#next = interpreter.unitBase;
  }

  /** A stretch ended at this record: its page is being executed. Compiles when that was seen often enough. */
  sample(rec: number): void {
    if (this.#compilation !== undefined) this.#work(this.sliceMilliseconds);
    if (!this.enabled || rec < L.RECORDS || this.#c.get(L.MODE) !== L.MODE_F32) return;
    const page = (rec - L.RECORDS) >>> 17;
    const offset = (rec & (L.RECORD_PAGE_BYTES - 1)) >>> L.RECORD_SHIFT;
    this.#seen[page] = ++this.statistics.samples;
    if (this.#covered[page]?.[offset] === 1) {
      this.statistics.covered++;
      return;
    }
    if (this.#invalidations[page]! > MAX_INVALIDATIONS) return;
    if (++this.#samples[page]! < this.patience << Math.min(4, this.#compiled[page]!)) return;
    if (this.#compilation === undefined) this.#begin(page, offset);
  }

  /** Completes the unit under way. */
  finish(): void {
    if (this.#compilation !== undefined) this.#work(Number.POSITIVE_INFINITY);
  }

  #handlerOf(record: number): Handler | undefined {
    const c = this.#c;
    let number = c.u16[(record + L.R_HANDLER) >> 1]!;
    if (number >= this.#interpreter.unitBase) number = c.u16[(record + L.R_ORIG) >> 1]!;
    return number < FIXED_HANDLERS ? undefined : this.#interpreter.list[number - FIXED_HANDLERS];
  }

  #begin(page: number, offset: number): void {
    this.#compiled[page]!++;
    this.#samples[page] = 0;
    while (this.statistics.bytes > MAX_BYTES || this.#isFull()) if (!this.#evict(page)) return;
    const place = {
      handler: this.#free.pop() ?? this.#next++,
      records: L.RECORDS + page * L.RECORD_PAGE_BYTES,
      tlb: this.#c.get(L.TLBBASE),
      memoryPages: this.#memoryPages,
    };
    const handlerOf = (record: number) => this.#handlerOf(record);
    this.#compilation = new Compilation(this.#c, page, offset, place, handlerOf, this.#covered[page]);
    this.#work(this.sliceMilliseconds);
  }

  /** Goes on with the unit under way for some time; installs it when it is done. */
  #work(milliseconds: number): void {
    const compilation = this.#compilation!;
    const s = this.statistics;
    const start = this.#now();
    const end = start + milliseconds * 1e6;
    let more = compilation.step();
    while (more && this.#now() < end) more = compilation.step();
    if (!more) {
      if (compilation.result === undefined) this.#cancel();
      else this.#complete(compilation.result);
    }
    const took = (this.#now() - start) / 1e6;
    s.milliseconds += took;
    s.longestMilliseconds = Math.max(s.longestMilliseconds, took);
  }

  #complete({ place, shape, flow, unit, module }: CompilationResult): void {
    this.#compilation = undefined;
    const { handler, records } = place;
    const instance = new WebAssembly.Instance(module, this.#imports);
    this.#table.set(handler - this.#interpreter.tableBase, instance.exports['unit']);
    const entries = shape.entries.map((n) => records + (shape.blocks[n]!.offset << L.RECORD_SHIFT));
    const { instructions, bytes } = unit;
    this.#install({ handler, records, instructions, bytes: bytes.length, entries }, shape, flow.dispatched);
    this.statistics.compiled++;
  }

  /** Forgets the unit under way. */
  #cancel(): void {
    if (this.#compilation !== undefined) this.#free.push(this.#compilation.handler);
    this.#compilation = undefined;
  }

  #isFull(): boolean {
    return this.#free.length === 0 && this.#next >= this.#interpreter.unitBase + MAX_UNITS;
  }

  /** Drops the units of the page that was not seen for the longest time, `spared` excepted. False: there is none. */
  #evict(spared: number): boolean {
    let coldest = -1;
    for (const { records } of this.#units.values()) {
      const page = (records - L.RECORDS) >>> 17;
      if (page !== spared && (coldest < 0 || this.#seen[page]! < this.#seen[coldest]!)) coldest = page;
    }
    if (coldest < 0) return false;
    for (const unit of [...this.#byPage[coldest]!]) this.#drop(unit, 'evicted');
    this.#covered[coldest] = undefined;
    return true;
  }

  #install(unit: Unit, shape: UnitShape, dispatched: readonly number[]): void {
    const c = this.#c;
    const page = (unit.records - L.RECORDS) >>> 17;
    const covered = (this.#covered[page] ??= new Uint8Array(4096));
    for (const block of shape.blocks) for (const i of block.instructions) covered[i.offset] = 1;
    shape.entries.forEach((block, i) => {
      const rec = unit.entries[i]!;
      const current = c.u16[(rec + L.R_HANDLER) >> 1]!;
      // A newer unit knows more of the page: it takes entries over.
      if (current < this.#interpreter.unitBase) c.u16[(rec + L.R_ORIG) >> 1] = current;
      c.u16[(rec + L.R_UNIT_BLOCK) >> 1] = dispatched.indexOf(block);
      c.u16[(rec + L.R_HANDLER) >> 1] = unit.handler;
    });
    this.#units.set(unit.handler, unit);
    const list = this.#byPage[page]!;
    for (const old of [...list]) if (this.#isBypassed(old)) this.#drop(old, 'replaced');
    list.push(unit);
    this.#account(unit, 1);
  }

  #account(unit: Unit, sign: number): void {
    const s = this.statistics;
    s.units = this.#units.size;
    s.instructions += sign * unit.instructions;
    s.bytes += sign * unit.bytes;
  }

  /** None of its entries leads to it any more: a newer unit holds all that it held. */
  #isBypassed(unit: Unit): boolean {
    return unit.entries.every((rec) => this.#c.u16[(rec + L.R_HANDLER) >> 1] !== unit.handler);
  }

  /** Gives the entries their own handlers back. Records that were invalidated or decoded anew are left alone. */
  #drop(unit: Unit, why: 'replaced' | 'invalidated' | 'evicted'): void {
    const c = this.#c;
    for (const rec of unit.entries) {
      if (c.u16[(rec + L.R_HANDLER) >> 1] !== unit.handler) continue;
      c.u16[(rec + L.R_HANDLER) >> 1] = c.u16[(rec + L.R_ORIG) >> 1]!;
      c.u16[(rec + L.R_UNIT_BLOCK) >> 1] = 0;
    }
    this.#table.set(unit.handler - this.#interpreter.tableBase, null);
    this.#units.delete(unit.handler);
    const page = (unit.records - L.RECORDS) >>> 17;
    const list = this.#byPage[page]!;
    list.splice(list.indexOf(unit), 1);
    this.#free.push(unit.handler);
    this.#account(unit, -1);
    this.statistics[why]++;
  }

  /** Decoded code of a record page changed: its units are wrong. */
  invalidatePage(records: number): void {
    const page = (records - L.RECORDS) >>> 17;
    if (this.#compilation?.page === page) this.#cancel();
    const units = this.#byPage[page]!;
    if (units.length === 0) return;
    for (const unit of [...units]) this.#drop(unit, 'invalidated');
    this.#covered[page] = undefined;
    if (this.#invalidations[page]! < 255) this.#invalidations[page]!++;
  }

  /** The record page belongs to another code page from now on. */
  forgetPage(records: number): void {
    this.invalidatePage(records);
    const page = (records - L.RECORDS) >>> 17;
    this.#samples[page] = 0;
    this.#compiled[page] = 0;
    this.#invalidations[page] = 0;
    this.#covered[page] = undefined;
  }
}
