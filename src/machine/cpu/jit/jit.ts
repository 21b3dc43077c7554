/**
 * Which code is compiled, when, and what becomes of compiled units. A unit covers executed instructions of one code page (mode F32);
 * its block beginnings become entries: their records name the unit as handler and keep their own handler behind it.
 */
import type { CpuState } from '../cpu-state.ts';
import { FIXED_HANDLERS, type Handler, type InterpreterModule, MAX_UNITS } from '../generate/interpreter.ts';
import * as L from '../layout.ts';
import { compileUnit } from './compile.ts';
import { analyse } from './flow.ts';
import { discover, type UnitShape } from './unit.ts';

/** Samples in a page before it is compiled: with one sample every few thousand instructions, well over 10,000 executed. */
const SAMPLES_BEFORE_COMPILING = 12;
const MAX_INSTRUCTIONS = 600;
/** Units of a page that were thrown away (self-modifying code) before it is left to the interpreter. */
const MAX_INVALIDATIONS = 20;

interface Unit {
  readonly handler: number;
  readonly records: number;
  readonly entries: readonly number[];
}

export interface JitStatistics {
  units: number;
  compiled: number;
  instructions: number;
  bytes: number;
  milliseconds: number;
  dropped: number;
}

export class Jit {
  enabled = true;
  readonly statistics: JitStatistics = {
    units: 0,
    compiled: 0,
    instructions: 0,
    bytes: 0,
    milliseconds: 0,
    dropped: 0,
  };
  readonly #c: CpuState;
  readonly #table: WebAssembly.Table;
  readonly #interpreter: InterpreterModule;
  readonly #imports: Record<string, Record<string, unknown>>;
  readonly #memoryPages: number;
  readonly #now: () => number;
  readonly #units = new Map<number, Unit>();
  readonly #byPage: Unit[][] = Array.from({ length: L.RECORD_PAGES }, () => []);
  readonly #samples = new Uint8Array(L.RECORD_PAGES);
  /** By record page: how often it was compiled; each time more is asked for. */
  readonly #compiled = new Uint8Array(L.RECORD_PAGES);
  readonly #invalidations = new Uint8Array(L.RECORD_PAGES);
  /** By record page: instructions covered by units. */
  readonly #covered: (Uint8Array | undefined)[] = new Array<Uint8Array | undefined>(L.RECORD_PAGES).fill(
    undefined,
  );
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
    if (!this.enabled || rec < L.RECORDS || this.#c.get(L.MODE) !== L.MODE_F32) return;
    const page = (rec - L.RECORDS) >>> 17;
    const offset = (rec & (L.RECORD_PAGE_BYTES - 1)) >>> L.RECORD_SHIFT;
    if (this.#covered[page]?.[offset] === 1 || this.#invalidations[page]! > MAX_INVALIDATIONS) return;
    if (++this.#samples[page]! < SAMPLES_BEFORE_COMPILING << Math.min(4, this.#compiled[page]!)) return;
    this.#compiled[page]!++;
    this.#samples[page] = 0;
    this.#compile(page, offset);
  }

  #handlerOf(record: number): Handler | undefined {
    const c = this.#c;
    let number = c.u16[(record + L.R_HANDLER) >> 1]!;
    if (number >= this.#interpreter.unitBase) number = c.u16[(record + L.R_ORIG) >> 1]!;
    return number < FIXED_HANDLERS ? undefined : this.#interpreter.list[number - FIXED_HANDLERS];
  }

  #compile(page: number, offset: number): void {
    const records = L.RECORDS + page * L.RECORD_PAGE_BYTES;
    const start = this.#now();
    const covered = this.#covered[page];
    const shape = discover(this.#c, records, offset, MAX_INSTRUCTIONS, (r) => this.#handlerOf(r), covered);
    if (shape === undefined) return;
    const handler = this.#free.pop() ?? this.#allocate();
    if (handler < 0) return;
    const flow = analyse(shape);
    const tlb = this.#c.get(L.TLBBASE);
    const compiled = compileUnit(this.#c, shape, flow, {
      handler,
      records,
      tlb,
      memoryPages: this.#memoryPages,
    });
    const instance = new WebAssembly.Instance(new WebAssembly.Module(compiled.bytes), this.#imports);
    this.#table.set(handler - this.#interpreter.tableBase, instance.exports['unit']);
    this.#install(handler, page, records, shape, flow.dispatched);
    const s = this.statistics;
    s.units = this.#units.size;
    s.compiled++;
    s.instructions += compiled.instructions;
    s.bytes += compiled.bytes.length;
    s.milliseconds += (this.#now() - start) / 1e6;
  }

  #allocate(): number {
    if (this.#next >= this.#interpreter.unitBase + MAX_UNITS) {
      // All taken: the oldest unit goes.
      const oldest = this.#units.values().next().value;
      if (oldest === undefined) return -1;
      this.#drop(oldest);
      return this.#free.pop()!;
    }
    return this.#next++;
  }

  #install(
    handler: number,
    page: number,
    records: number,
    shape: UnitShape,
    dispatched: readonly number[],
  ): void {
    const c = this.#c;
    const entries: number[] = [];
    const covered = (this.#covered[page] ??= new Uint8Array(4096));
    for (const block of shape.blocks) for (const i of block.instructions) covered[i.offset] = 1;
    for (const index of shape.entries) {
      const rec = records + (shape.blocks[index]!.offset << L.RECORD_SHIFT);
      const current = c.u16[(rec + L.R_HANDLER) >> 1]!;
      // A newer unit knows more of the page: it takes entries over.
      if (current < this.#interpreter.unitBase) c.u16[(rec + L.R_ORIG) >> 1] = current;
      c.u16[(rec + L.R_UNIT_BLOCK) >> 1] = dispatched.indexOf(index);
      c.u16[(rec + L.R_HANDLER) >> 1] = handler;
      entries.push(rec);
    }
    const unit: Unit = { handler, records, entries };
    this.#units.set(handler, unit);
    const list = this.#byPage[page]!;
    for (const old of [...list]) if (this.#isBypassed(old)) this.#drop(old);
    list.push(unit);
  }

  /** None of its entries leads to it any more: a newer unit holds all that it held. */
  #isBypassed(unit: Unit): boolean {
    return unit.entries.every((rec) => this.#c.u16[(rec + L.R_HANDLER) >> 1] !== unit.handler);
  }

  /** Gives the entries their own handlers back. Records that were invalidated or decoded anew are left alone. */
  #drop(unit: Unit): void {
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
    this.statistics.units = this.#units.size;
    this.statistics.dropped++;
  }

  /** Decoded code of a record page changed: its units are wrong. */
  invalidatePage(records: number): void {
    const page = (records - L.RECORDS) >>> 17;
    const units = this.#byPage[page]!;
    if (units.length === 0) return;
    for (const unit of [...units]) this.#drop(unit);
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
