/**
 * Which code is compiled, when, and what becomes of compiled units. A unit covers executed instructions of a code page (mode F32) and
 * some of those that it leads to in others; its block beginnings become entries: their records name the unit as handler and keep
 * their own handler behind it.
 */
import type { WasmTable } from '../../wasm-types.ts';
import type { CpuState } from '../cpu-state.ts';
import { FIXED_HANDLERS, type Handler, type InterpreterModule, MAX_UNITS } from '../generate/interpreter.ts';
import * as L from '../layout.ts';
import { Compilation, type CompilationResult, PAGE_LIMITS } from './compilation.ts';
import { type Limits, positionOf, recordAt } from './unit.ts';
/** Bytes of WebAssembly that may live at once; V8 makes three to five times as many of machine code of them. */
const MAX_BYTES = 16 * 2 ** 20;
/** Units of a page that were thrown away (self-modifying code) before it is left to the interpreter. */
const MAX_INVALIDATIONS = 20;

/** In #ran: it has been compiled as a region, or was tried too often. */
const DONE = 0xffff;
/** Looks for code in other pages that belongs to a page's. */
const REGION_TRIES = 4;
/** Periods to the next look where the CPU is in a unit: ends of slices cost a twentieth of hot code's time with one. */
const COVERED_PERIODS = 8;

interface Unit {
  readonly handler: number;
  /** Record pages that it holds code of. */
  readonly pages: readonly number[];
  readonly entries: readonly number[];
  /** Positions of its instructions, those of other pages that were in a unit already excepted. */
  readonly covers: readonly number[];
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
  /** Those of them that hold code of several pages. */
  regions: number;
  milliseconds: number;
  longestMilliseconds: number;
  /** Units thrown away: replaced by one that holds more, changed code or recycled records, for want of room. */
  replaced: number;
  invalidated: number;
  evicted: number;
  /** Looks at where the CPU is, and how many of them found it in code of a unit; one after n periods counts n times. */
  samples: number;
  covered: number;
}

export class Jit {
  enabled = true;
  /** Instructions between two looks at where the CPU is, if it is not in a unit. */
  period = 8192;
  /**
   * Looks that must find the CPU in a page before it is compiled for the first time: 0.8 M instructions. With 12, booting and exec
   * compiled code that is soon thrown away: exec 160 a CPU second instead of 240, boot 12.7 s of CPU in all threads instead of 10.6.
   */
  patience = 100;
  /** Looks that must find the CPU in units of a page before it is compiled with what it calls in other pages. */
  regionPatience = 4000;
  regionLimits: Limits = { own: 1300, others: 500, arrivals: 200 };
  /** Milliseconds of compiling at a time; then guest code runs until the next look. */
  sliceMilliseconds = 2;
  readonly statistics: JitStatistics = {
    units: 0,
    instructions: 0,
    bytes: 0,
    compiled: 0,
    regions: 0,
    milliseconds: 0,
    longestMilliseconds: 0,
    replaced: 0,
    invalidated: 0,
    evicted: 0,
    samples: 0,
    covered: 0,
  };
  readonly #c: CpuState;
  readonly #table: WasmTable;
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
  /** By record page: looks that found the CPU in a unit there. */
  readonly #ran = new Uint16Array(L.RECORD_PAGES);
  readonly #regionTries = new Uint8Array(L.RECORD_PAGES);
  /** By record page: the sample that found the CPU there last. */
  readonly #seen = new Float64Array(L.RECORD_PAGES);
  /** By record page: instructions covered by units. */
  readonly #covered: (Uint8Array | undefined)[] = new Array<Uint8Array | undefined>(L.RECORD_PAGES).fill(
    undefined,
  );
  /** The unit under way, and its handler number. */
  #compilation: Compilation | undefined;
  /** Periods since the last look. */
  #periods = 1;
  #next: number;
  readonly #free: number[] = [];

  constructor(
    c: CpuState,
    interpreter: InterpreterModule,
    table: WasmTable,
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

  /**
   * A stretch ended at this record: its page is being executed. Compiles when that was seen often enough. Returns after how many
   * instructions to look again: what a look tells counts for all since the last.
   */
  sample(rec: number): number {
    if (this.#compilation !== undefined) this.#work(this.sliceMilliseconds);
    const periods = this.#periods;
    this.#periods = 1;
    if (this.enabled && rec >= L.RECORDS && this.#c.get(L.MODE) === L.MODE_F32) {
      if (this.#look(positionOf(rec), periods) && this.#compilation === undefined)
        this.#periods = COVERED_PERIODS;
    }
    return this.#periods * this.period;
  }

  /** Returns whether the CPU is in a unit. */
  #look(position: number, periods: number): boolean {
    const page = position >> 12;
    this.statistics.samples += periods;
    this.#seen[page] = this.statistics.samples;
    if (this.#covered[page]?.[position & 0xfff] === 1) {
      this.statistics.covered += periods;
      this.#considerRegion(position, periods);
      return true;
    }
    if (this.#invalidations[page]! > MAX_INVALIDATIONS) return false;
    this.#samples[page] = Math.min(0xffff, this.#samples[page]! + periods);
    if (this.#samples[page]! < this.patience << Math.min(4, this.#compiled[page]!)) return false;
    if (this.#compilation !== undefined) return false;
    this.#compiled[page]!++;
    this.#samples[page] = 0;
    this.#begin(position, PAGE_LIMITS, this.#covered[page]);
    return false;
  }

  #considerRegion(position: number, periods: number): void {
    const page = position >> 12;
    const ran = Math.min(this.#ran[page]! + periods, DONE);
    this.#ran[page] = ran;
    if (ran < this.regionPatience || ran === DONE || this.#compilation !== undefined) return;
    // Where nothing is found, the code TLB may have been empty.
    const tries = ++this.#regionTries[page]!;
    this.#ran[page] = tries < REGION_TRIES ? 0 : DONE;
    this.#begin(position, this.regionLimits, undefined);
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

  #begin(position: number, limits: Limits, covered: Uint8Array | undefined): void {
    while (this.statistics.bytes > MAX_BYTES || this.#isFull()) if (!this.#evict()) return;
    const place = {
      handler: this.#free.pop() ?? this.#next++,
      tlb: this.#c.get(L.TLBBASE),
      memoryPages: this.#memoryPages,
    };
    const handlerOf = (record: number) => this.#handlerOf(record);
    this.#compilation = new Compilation(this.#c, position, limits, place, handlerOf, covered);
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
      else this.#complete(compilation.start, compilation.result);
    }
    const took = (this.#now() - start) / 1e6;
    s.milliseconds += took;
    s.longestMilliseconds = Math.max(s.longestMilliseconds, took);
  }

  /** `start`: where the CPU was seen. */
  #complete(start: number, { place, shape, flow, unit, module }: CompilationResult): void {
    this.#compilation = undefined;
    const { handler } = place;
    const instance = new WebAssembly.Instance(module, this.#imports);
    this.#table.set(handler - this.#interpreter.tableBase, instance.exports['unit']);
    const own = start >> 12;
    const pages = new Set([own]);
    const covers: number[] = [];
    for (const block of shape.blocks) {
      const page = block.at >> 12;
      pages.add(page);
      for (const { at } of block.instructions) {
        if (page === own || this.#covered[page]?.[at & 0xfff] !== 1) covers.push(at);
      }
    }
    const entries: number[] = [];
    for (const n of shape.entries) {
      const { at } = shape.blocks[n]!;
      if (this.#enterAt(recordAt(at), handler, flow.dispatched.indexOf(n), at >> 12 === own)) {
        entries.push(recordAt(at));
      }
    }
    const { instructions, bytes } = unit;
    this.#install({ handler, pages: [...pages], entries, covers, instructions, bytes: bytes.length });
    for (const old of [...this.#byPage[own]!]) if (this.#isBypassed(old)) this.#drop(old, 'replaced');
    this.statistics.compiled++;
    if (pages.size === 1) return;
    this.#ran[own] = DONE;
    this.statistics.regions++;
  }

  /** Makes a record an entry. A newer unit knows more of its own page (`takesOver`): it takes entries over; elsewhere it does not. */
  #enterAt(rec: number, handler: number, block: number, takesOver: boolean): boolean {
    const c = this.#c;
    const current = c.u16[(rec + L.R_HANDLER) >> 1]!;
    if (current < this.#interpreter.unitBase) c.u16[(rec + L.R_ORIG) >> 1] = current;
    else if (!takesOver) return false;
    c.u16[(rec + L.R_UNIT_BLOCK) >> 1] = block;
    c.u16[(rec + L.R_HANDLER) >> 1] = handler;
    return true;
  }

  /** Forgets the unit under way. */
  #cancel(): void {
    if (this.#compilation !== undefined) this.#free.push(this.#compilation.handler);
    this.#compilation = undefined;
  }

  #isFull(): boolean {
    return this.#free.length === 0 && this.#next >= this.#interpreter.unitBase + MAX_UNITS;
  }

  /** Drops the unit none of whose pages was seen for the longest time. False: there is none. */
  #evict(): boolean {
    let coldest: Unit | undefined;
    let seen = Number.POSITIVE_INFINITY;
    for (const unit of this.#units.values()) {
      const last = Math.max(...unit.pages.map((page) => this.#seen[page]!));
      if (last >= seen) continue;
      coldest = unit;
      seen = last;
    }
    if (coldest === undefined) return false;
    this.#drop(coldest, 'evicted');
    return true;
  }

  #install(unit: Unit): void {
    for (const page of unit.pages) {
      this.#byPage[page]!.push(unit);
      this.#covered[page] ??= new Uint8Array(4096);
    }
    this.#cover(unit);
    this.#units.set(unit.handler, unit);
    this.#account(unit, 1);
  }

  #cover(unit: Unit): void {
    for (const at of unit.covers) {
      const covered = this.#covered[at >> 12];
      if (covered !== undefined) covered[at & 0xfff] = 1;
    }
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
    for (const page of unit.pages) {
      const list = this.#byPage[page]!;
      list.splice(list.indexOf(unit), 1);
      this.#covered[page] = list.length === 0 ? undefined : this.#covered[page]!.fill(0);
    }
    for (const page of unit.pages) for (const other of this.#byPage[page]!) this.#cover(other);
    this.#free.push(unit.handler);
    this.#account(unit, -1);
    this.statistics[why]++;
  }

  /** Decoded code of a record page changed: its units are wrong. */
  invalidatePage(records: number): void {
    const page = (records - L.RECORDS) >>> 17;
    if (this.#compilation?.holds(page)) this.#cancel();
    const units = this.#byPage[page]!;
    this.#ran[page] = 0;
    this.#regionTries[page] = 0;
    if (units.length === 0) return;
    for (const unit of [...units]) this.#drop(unit, 'invalidated');
    if (this.#invalidations[page]! < 255) this.#invalidations[page]!++;
  }

  /** The record page belongs to another code page from now on. */
  forgetPage(records: number): void {
    this.invalidatePage(records);
    const page = (records - L.RECORDS) >>> 17;
    this.#samples[page] = 0;
    this.#compiled[page] = 0;
    this.#invalidations[page] = 0;
  }
}
