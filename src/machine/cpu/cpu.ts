/**
 * The CPU: runs generated code in slices, takes faults and interrupts between instructions, decodes, looks up pages.
 * See docs/architecture.md and layout.ts.
 */
import { PAGE_READ, type PhysicalMemory } from '../memory.ts';
import { traceDecode } from '../trace.ts';
import { coldNumber, coldOperation } from './cold-operations.ts';
import { type CpuBus, CpuState, EXC_GP, FAULT, NEXT } from './cpu-state.ts';
import { type Decoded, decode, newDecoded } from './decoder.ts';
import { disassemble, disassemblyLine } from './disassemble.ts';
import { FLAG_IF, FLAG_RF, FLAG_TF } from './eflags.ts';
import { HANDLER_COLD, HANDLER_CROSS, HANDLER_END } from './generate/interpreter.ts';
import { HandlerIndex } from './handler-index.ts';
import type { Watchpoint } from './host-breakpoints.ts';
import { Jit } from './jit/jit.ts';
import * as L from './layout.ts';
import { dropWriteTags } from './linear.ts';
import { flushTlb, noteLocal } from './mode.ts';
import { isUser, MemoryOperands } from './memory-operands.ts';
import { translation, tryTranslate } from './paging.ts';
import { RecordPool } from './records.ts';
import { REQUEST_HARD, REQUEST_INIT, REQUEST_NMI } from './requests.ts';
import { debugActive, debugCodeMatch, deliverDebugTrap } from './system/debug.ts';
import { INHIBIT_ALL } from './system/attention.ts';
import { deliver, deliverFault } from './system/interrupts.ts';
import { init, reset } from './system/reset.ts';

/** By number of a cold operation: 1 for software interrupts. */
const SOFT_INTERRUPTS = new Uint8Array(0x10000);
for (const name of ['int_n', 'int3', 'into', 'int1']) SOFT_INTERRUPTS[coldNumber(name)] = 1;

/** The code TLBs of the general modes. */
const XTLB_GENERAL = L.XTLB + 2 * L.XTLB_BYTES;

/** What is known of an instruction that lies in two pages. */
interface Crossing {
  /** Records of the second page, and their version when this was decoded. */
  readonly second: number;
  readonly version: number;
  readonly handler: number;
  readonly length: number;
}

/** `debug`: a breakpoint or watchpoint of a debugger outside (breakpoints.hit). */
export type StopReason = 'budget' | 'halt' | 'triple-fault' | 'debug';

type RunFunction = (rec: number, count: number) => number;

export class Cpu extends CpuState {
  readonly records: RecordPool;
  readonly jit: Jit;
  readonly #handlers: HandlerIndex;
  readonly #run: RunFunction;
  readonly #decoded: Decoded = newDecoded();
  /** By record. */
  readonly #crossings = new Map<number, Crossing>();
  /** By records of a page: those before it whose instruction reaches into it, and that generated code takes on its own. */
  readonly #crossingInto = new Map<number, number[]>();
  readonly #crossBytes = new Uint8Array(32);
  /** Interrupt acknowledge: gives the vector, or -1 if the request went away. Set by the board. */
  acknowledge: () => number = () => -1;
  /** The CPU was initialised, by its INIT pin: what else is so. Set by the board. */
  onInit: () => void = () => {};

  /** Instructions executed since power-on, up to the start of the current slice. */
  #executed = 0;
  /** Budget of the slice being run, and what was taken from it to end it early. */
  #sliceBudget = 0;
  #taken = 0;
  /** Instruction count at which the JIT looks where the CPU is. */
  #nextSample = 0;
  #sampleDistance = 0;
  #running = false;
  /** run() is to return before its budget is used up. */
  #returnRequested = false;
  /** Code segment for which the code TLBs of the general modes were filled. */
  #codeBase = 0;
  #codeLimit = 0;
  /** Entries of those that were filled since; more than fit: all are dropped. */
  readonly #generalSlots = new Int32Array(64);
  #generalCount = 0;
  /** The instruction just run was INT n or the like: TF does not trap behind it. */
  #softInterrupt = false;

  constructor(mem: PhysicalMemory, bus: CpuBus) {
    super(mem, bus);
    this.records = new RecordPool(mem);
    this.records.onGuard = () => dropWriteTags(this);
    this.records.onDrop = () => {
      this.flushCodeTlb();
      this.endSlice();
    };
    mem.onCodeWrite = (address, bytes) => this.records.invalidate(address, bytes);
    mem.onMapChange = () => {
      flushTlb(this);
      this.endSlice();
    };
    this.#handlers = new HandlerIndex();
    const instance = new WebAssembly.Instance(this.#handlers.module, {
      e: { m: mem.memory, ...this.#imports() },
    });
    this.#run = instance.exports['run'] as RunFunction;
    this.jit = new Jit(
      this,
      this.#handlers.interpreter,
      instance.exports['table'] as WebAssembly.Table,
      instance.exports,
      () => performance.now() * 1e6,
    );
    this.records.onInvalidate = (records, forget) => {
      if (forget) this.jit.forgetPage(records);
      else this.jit.invalidatePage(records);
      this.#forgetCrossings(records);
    };
    for (let k = 0; k < 16; k++) this.set(L.END_RECORDS + k * L.RECORD_BYTES, HANDLER_END);
    this.i32.fill(L.TLB_INVALID, L.TLB_NONE >> 2, (L.TLB_NONE + L.TLB_ENTRIES * 16) >> 2);
    reset(this);
    flushTlb(this);
  }

  /** The RESET pin. Not from within an instruction. */
  reset(): void {
    this.interruptRequest &= REQUEST_HARD;
    reset(this);
    flushTlb(this);
    this.endSlice();
  }

  /** The INIT pin: taken at the next instruction boundary. */
  raiseInit(): void {
    this.interruptRequest |= REQUEST_INIT;
    this.endSlice();
  }

  /** The INTR pin, from local APIC or PIC. */
  setInterruptLine(level: number): void {
    if (level === 0) {
      this.interruptRequest &= ~REQUEST_HARD;
      return;
    }
    this.interruptRequest |= REQUEST_HARD;
    if ((this.get(L.EFL) & FLAG_IF) !== 0) this.endSlice();
  }

  /** An edge on the NMI pin. */
  raiseNmi(): void {
    this.interruptRequest |= REQUEST_NMI;
    this.endSlice();
  }

  /** After all state was overwritten from outside: drops every cache. */
  invalidateCaches(): void {
    this.#codeBase = this.segBase(L.CS);
    this.#codeLimit = this.segLimit(L.CS);
    this.#crossings.clear();
    this.#crossingInto.clear();
    this.records.clear();
    flushTlb(this);
  }

  /** Instructions executed since power-on, exact also within a slice. */
  get instructions(): number {
    if (!this.#running) return this.#executed;
    return this.#executed + this.#sliceBudget - this.#taken - this.get(L.ICNT);
  }
  set instructions(value: number) {
    this.#executed = value;
  }

  /** Ends the slice at the next instruction boundary; for devices, from within port and memory accesses. */
  override endSlice(): void {
    if (!this.#running) return;
    const left = this.get(L.ICNT);
    if (left <= 1) return;
    this.#taken += left - 1;
    this.set(L.ICNT, 1);
  }

  /** Breakpoints and watchpoints of a debugger outside, instead of those before; see {@link HostBreakpoints}. */
  setBreakpoints(addresses: Iterable<number>, watchpoints: readonly Watchpoint[]): void {
    this.breakpoints.set(addresses, watchpoints);
    flushTlb(this);
    this.flushCodeTlb();
  }

  /** Makes run() return at the next instruction boundary: somebody must look at the clock or at a request. */
  endRun(): void {
    this.#returnRequested = true;
    this.endSlice();
  }

  flushCodeTlb(): void {
    this.i32.fill(L.TLB_INVALID, L.XTLB >> 2, (L.XTLB + L.XTLB_SETS * L.XTLB_BYTES) >> 2);
  }

  // ---- the run loop

  /** Runs up to `budget` instructions; returns why it stopped. */
  run(budget: number): StopReason {
    const end = this.#executed + budget;
    this.#returnRequested = false;
    for (;;) {
      if (this.tripleFault) return 'triple-fault';
      if (this.breakpoints.hit !== undefined) return 'debug';
      if (this.#takeInterrupt()) continue;
      if (this.halted) return 'halt';
      const left = end - this.#executed;
      if (left <= 0 || this.#returnRequested) return 'budget';
      this.#slice(left);
    }
  }

  /** Takes an INIT, an NMI or a maskable interrupt if one may be taken now. */
  #takeInterrupt(): boolean {
    const request = this.interruptRequest;
    if ((request & REQUEST_INIT) !== 0) return this.#takeInit();
    if (request === 0 || this.inhibitInterrupts !== 0 || this.breakpoints.holdInterrupts) return false;
    if ((request & REQUEST_NMI) !== 0 && !this.nmiMasked) {
      this.interruptRequest &= ~REQUEST_NMI;
      this.nmiMasked = true;
      this.#deliverExternal(2);
      return true;
    }
    if ((request & REQUEST_HARD) === 0 || (this.get(L.EFL) & FLAG_IF) === 0) return false;
    const vector = this.acknowledge();
    if (vector < 0) return false;
    this.#deliverExternal(vector);
    return true;
  }

  #takeInit(): true {
    this.interruptRequest &= REQUEST_HARD;
    init(this);
    this.onInit();
    this.#afterControlChange();
    return true;
  }

  #deliverExternal(vector: number): void {
    this.halted = false;
    this.inhibitInterrupts = 0;
    this.eip = this.get(L.EIP);
    this.nextEip = this.eip;
    deliver(this, vector, 'external', -1);
    this.#afterControlChange();
  }

  /** One stretch of generated code, or one instruction where each must be looked at. */
  #slice(left: number): void {
    const breaks = this.breakpoints.codeArmed && this.#breaksInPage();
    if (breaks && this.breakpoints.stopsAt(this.#linearEip(), this.#executed)) return;
    const inhibited = this.inhibitInterrupts !== 0;
    this.inhibitInterrupts = 0;
    if (breaks || (this.get(L.EFL) & FLAG_TF) !== 0 || debugActive(this) || this.#limitInPage()) {
      this.#carefulStep();
      return;
    }
    const rec = this.#enter(this.get(L.EIP));
    if (rec !== 0) {
      const toSample = this.#nextSample - this.#executed;
      if (toSample > 0 && toSample <= this.#sampleDistance) {
        this.#runFrom(rec, inhibited ? 1 : Math.min(left, toSample));
        return;
      }
      this.#sampleDistance = this.jit.sample(rec);
      this.#nextSample = this.#executed + this.#sampleDistance;
      this.#runFrom(rec, inhibited ? 1 : Math.min(left, this.#sampleDistance));
      return;
    }
    this.#executed++; // A fetch that faults counts, so that a fault loop ends the budget.
    this.#takeFault();
  }

  /** Returns whether the stretch ended by a fault. */
  #runFrom(rec: number, budget: number): boolean {
    this.#sliceBudget = budget;
    this.#taken = 0;
    this.set(L.ICNT, budget);
    this.set(L.EXIT_REASON, L.EXIT_NONE);
    this.#running = true;
    let end: number;
    try {
      end = this.#run(rec, budget);
    } finally {
      // Also when a page of a lazily loaded snapshot cannot be had: the machine stops for good then.
      this.#running = false;
    }
    this.#executed += budget - this.#taken - this.get(L.ICNT);
    if (end !== 0) {
      this.set(L.EIP, this.#eipOf(end));
      return false;
    }
    if (this.get(L.EXIT_REASON) === L.EXIT_LOOK) return false;
    // Leaving by fault or jump does not count the instruction down in generated code.
    this.#executed++;
    if (this.get(L.EXIT_REASON) === L.EXIT_FAULT) {
      this.#takeFault();
      return true;
    }
    this.#afterControlChange();
    return false;
  }

  #takeFault(): void {
    this.eip = this.get(L.EIP);
    deliverFault(this);
    this.#afterControlChange();
  }

  /** CS may have changed: the code TLBs of the general modes hold for one code segment only. */
  #afterControlChange(): void {
    const base = this.segBase(L.CS);
    const limit = this.segLimit(L.CS);
    if (base === this.#codeBase && limit === this.#codeLimit) return;
    this.#codeBase = base;
    this.#codeLimit = limit;
    if (this.#generalCount > this.#generalSlots.length) {
      this.i32.fill(L.TLB_INVALID, XTLB_GENERAL >> 2, (L.XTLB + L.XTLB_SETS * L.XTLB_BYTES) >> 2);
    } else for (let i = 0; i < this.#generalCount; i++) this.set(this.#generalSlots[i]!, L.TLB_INVALID);
    this.#generalCount = 0;
  }

  /** CS ends inside the page that EIP is in: each instruction's end must be checked. */
  #limitInPage(): boolean {
    if (this.get(L.MODE) === L.MODE_F32) return false;
    const limit = this.segLimit(L.CS) >>> 0;
    if (limit === 0xffffffff) return false;
    const eip = this.get(L.EIP) >>> 0;
    const toPageEnd = 0xfff - ((this.segBase(L.CS) + eip) & 0xfff);
    return eip + toPageEnd > limit;
  }

  #linearEip(): number {
    return (this.segBase(L.CS) + this.get(L.EIP)) | 0;
  }

  /** A debugger has a breakpoint in the page that EIP is in: each instruction must be looked at. */
  #breaksInPage(): boolean {
    return this.breakpoints.inPage(this.#linearEip());
  }

  /** One instruction with the checks that only rarely matter: CS limit, breakpoints, single step. */
  #carefulStep(): void {
    const eip = this.get(L.EIP);
    const step = (this.get(L.EFL) & FLAG_TF) !== 0;
    if (debugActive(this) && debugCodeMatch(this, (this.segBase(L.CS) + eip) | 0)) {
      this.#faultAt(1, -1);
      return;
    }
    const rec = this.#enter(eip);
    const length = rec === 0 ? 0 : this.#lengthAt(rec);
    if (length === 0) {
      this.#executed++;
      this.#takeFault();
      return;
    }
    if (this.#limitInPage() && (eip >>> 0) + length - 1 > this.segLimit(L.CS) >>> 0) {
      this.#faultAt(EXC_GP, 0);
      return;
    }
    // RF holds code breakpoints back for one instruction; a fault pushes it set again.
    this.set(L.EFL, this.get(L.EFL) & ~FLAG_RF);
    this.#softInterrupt = false;
    const faulted = this.#runFrom(rec, 1);
    // MOV SS and POP SS hold traps back too: they come behind the next instruction.
    if (faulted || this.inhibitInterrupts === INHIBIT_ALL) return;
    if ((step && !this.#softInterrupt) || this.debugTraps !== 0) {
      deliverDebugTrap(this, step && !this.#softInterrupt);
      this.#afterControlChange();
    }
  }

  #faultAt(vector: number, error: number): void {
    this.faultVector = vector;
    this.faultError = error;
    this.#executed++;
    this.#takeFault();
  }

  /** Length of the instruction at a record, decoded if need be; 0: fetching it faulted (recorded). */
  #lengthAt(rec: number): number {
    const handler = this.u16[(rec + L.R_HANDLER) >> 1]!;
    if (handler === HANDLER_CROSS || handler === 0) {
      if (handler === 0 && this.#decodeRecord(rec) === 0) return 0;
    }
    return this.u8[rec + L.R_LEN]!;
  }

  // ---- records and lookups

  #eipOf(rec: number): number {
    const offset =
      rec >= L.RECORDS
        ? (rec & (L.RECORD_PAGE_BYTES - 1)) >>> L.RECORD_SHIFT
        : 0x1000 + ((rec - L.END_RECORDS) >>> L.RECORD_SHIFT);
    const eip = (this.get(L.PAGELIN) + offset - this.segBase(L.CS)) | 0;
    // In 16-bit code EIP may leave 64 KiB only through a 32-bit operand; running over the end is caught by the limit.
    return eip;
  }

  /**
   * Record at EIP, or 0 with the fault recorded (EIP is where it should be delivered). Fills the code TLB, and believes it: where
   * slices end must not decide when a page table is looked at.
   */
  #enter(eip: number): number {
    this.set(L.EIP, eip);
    const base = this.segBase(L.CS);
    const linear = (base + eip) | 0;
    const limit = this.segLimit(L.CS) >>> 0;
    if (eip >>> 0 > limit) return this.#fetchFault(EXC_GP, 0);
    const known = this.get(L.XTLBBASE) + ((linear >>> 12) & (L.XTLB_ENTRIES - 1)) * 8;
    if (this.get(known) === (linear & ~0xfff)) {
      this.set(L.PAGELIN, linear & ~0xfff);
      return this.get(known + 4) + ((linear & 0xfff) << L.RECORD_SHIFT);
    }
    const page = linear & ~0xfff;
    const user = this.get(L.CPL) === 3 ? 1 : 0;
    const records = this.#codePage(linear, user);
    if (records === 0) return 0;
    this.set(L.PAGELIN, page);
    const wholePage = (eip >>> 0) + (0xfff - (linear & 0xfff)) <= limit;
    if (wholePage && !(this.breakpoints.codeArmed && this.breakpoints.inPage(linear))) {
      this.set(known, page);
      this.set(known + 4, records);
      if (!translation.global) noteLocal(this, known);
      if (known >= XTLB_GENERAL) this.#noteGeneral(known);
    }
    return records + ((linear & 0xfff) << L.RECORD_SHIFT);
  }

  /** Notes that an entry holds for this code segment only. */
  #noteGeneral(slot: number): void {
    if (this.#generalCount < this.#generalSlots.length) this.#generalSlots[this.#generalCount] = slot;
    this.#generalCount++;
  }

  /** Records of the page at a linear address; 0: page fault recorded, or nothing there to execute. */
  #codePage(linear: number, user: number, pinned = 0): number {
    const physical = tryTranslate(this, linear, 0, user);
    if (physical < 0) {
      this.set(L.EXIT_REASON, L.EXIT_FAULT);
      return 0;
    }
    const entry = this.mem.pageMap[physical >>> 12]!;
    // Nothing but memory can be executed: all-ones bytes are an undefined opcode.
    if ((entry & PAGE_READ) === 0) return this.#fetchFault(6, -1);
    const set = (this.get(L.XTLBBASE) - L.XTLB) / L.XTLB_BYTES;
    if (pinned !== 0) return this.records.pageRecordsBeside(entry >>> 12, set, pinned);
    return this.records.pageRecords(entry >>> 12, set);
  }

  #fetchFault(vector: number, error: number): number {
    this.faultVector = vector;
    this.faultError = error;
    this.set(L.EXIT_REASON, L.EXIT_FAULT);
    return 0;
  }

  /** Decodes at a record; returns the record, or 0 with a fault recorded. */
  #decodeRecord(rec: number): number {
    const offset = (rec & (L.RECORD_PAGE_BYTES - 1)) >>> L.RECORD_SHIFT;
    const d = this.#decoded;
    const code32 = this.get(L.MODE) !== L.MODE_S16;
    const address = this.records.codeAddress(rec);
    if (offset > 4096 - 24) {
      // Bytes behind the page must not decide: decode from a copy that ends with the page, padded with NOPs.
      const inPage = 4096 - offset;
      this.#crossBytes.fill(0x90);
      this.#crossBytes.set(this.u8.subarray(address, address + inPage));
      decode(this.#crossBytes, 0, code32, d);
      if (d.length > inPage) return this.#markCrossing(rec, inPage);
    } else decode(this.u8, address, code32, d);
    this.#handlers.fill(this, rec, d, offset);
    this.records.noteDecoded(rec, d.length);
    if (traceDecode.enabled)
      traceDecode.emit(this.#eipOf(rec) >>> 0, this.#instructionText(rec, address, code32));
    return rec;
  }

  #instructionText(rec: number, address: number, code32: boolean): string {
    const eip = this.#eipOf(rec) >>> 0;
    const linear = (this.segBase(L.CS) + eip) >>> 0;
    const found = disassemble(this.u8, address, linear, code32);
    return disassemblyLine(linear, this.u8.subarray(address, address + found.length), found);
  }

  #markCrossing(rec: number, inPage: number): number {
    this.#crossings.delete(rec);
    this.set(rec + L.R_HANDLER, HANDLER_CROSS);
    this.u8[rec + L.R_LEN] = inPage;
    this.records.noteDecoded(rec, inPage);
    return rec;
  }

  /**
   * An instruction that lies in two pages: what follows in the second page depends on the mapping, so it is looked at each time.
   * Returns its handler, or 0. Decoded anew only if the second page is another one or its code changed.
   */
  #crossing(rec: number): number {
    const second = this.#secondPage();
    if (second === 0) return 0;
    let crossing = this.#crossings.get(rec);
    if (
      crossing === undefined ||
      crossing.second !== second ||
      crossing.version !== this.records.version(second)
    ) {
      crossing = this.#decodeCrossing(rec, second);
    }
    const limit = this.segLimit(L.CS) >>> 0;
    if (limit !== 0xffffffff) {
      const eip = this.#eipOf(rec);
      if ((eip >>> 0) + crossing.length - 1 > limit) {
        this.set(L.EIP, eip);
        return this.#fetchFault(EXC_GP, 0);
      }
    }
    return crossing.handler;
  }

  /** Records of the page behind the current one; 0: fetching it faulted (recorded, at the current instruction). */
  #secondPage(): number {
    const next = (this.get(L.PAGELIN) + 0x1000) | 0;
    const slot = this.get(L.XTLBBASE) + ((next >>> 12) & (L.XTLB_ENTRIES - 1)) * 8;
    if (this.get(slot) === next) return this.get(slot + 4);
    const records = this.#codePage(next, isUser(this), this.get(L.CURREC));
    if (records === 0) this.set(L.EIP, this.#eipOf(this.get(L.CURREC)));
    return records;
  }

  #decodeCrossing(rec: number, second: number): Crossing {
    const offset = (rec & (L.RECORD_PAGE_BYTES - 1)) >>> L.RECORD_SHIFT;
    const inPage = 4096 - offset;
    const address = this.records.codeAddress(rec);
    const behind = this.records.codeAddress(second);
    const bytes = this.#crossBytes;
    bytes.set(this.u8.subarray(address, address + inPage));
    bytes.set(this.u8.subarray(behind, behind + 24 - inPage), inPage);
    const d = this.#decoded;
    decode(bytes, 0, this.get(L.MODE) !== L.MODE_S16, d);
    this.#handlers.fill(this, rec, d, offset);
    const handler = this.u16[(rec + L.R_HANDLER) >> 1]!;
    this.set(rec + L.R_HANDLER, HANDLER_CROSS);
    this.records.noteDecoded(second, Math.max(1, d.length - inPage));
    const crossing: Crossing = { second, version: this.records.version(second), handler, length: d.length };
    this.#crossings.set(rec, crossing);
    // Flat code has no limit to look at, and cold operations need R_ORIG for themselves.
    if (this.get(L.MODE) === L.MODE_F32 && handler !== HANDLER_COLD) {
      this.u16[(rec + L.R_UNIT_BLOCK) >> 1] = ((second - L.RECORDS) >>> 17) + 1;
      this.u16[(rec + L.R_ORIG) >> 1] = handler;
      const list = this.#crossingInto.get(second);
      if (list === undefined) this.#crossingInto.set(second, [rec]);
      else list.push(rec);
    }
    return crossing;
  }

  /** Code of these records' page changed, or they are about to serve another: what reaches into it must be looked at again. */
  #forgetCrossings(second: number): void {
    const list = this.#crossingInto.get(second);
    if (list === undefined) return;
    this.#crossingInto.delete(second);
    for (const rec of list) {
      if (this.u16[(rec + L.R_HANDLER) >> 1] === HANDLER_CROSS) this.u16[(rec + L.R_UNIT_BLOCK) >> 1] = 0;
    }
  }

  // ---- what generated code calls

  /** Leaves generated code with the fault in faultVector; EIP is the current instruction's. */
  #faultExit(): void {
    this.set(L.EIP, this.#eipOf(this.get(L.CURREC)));
    this.set(L.EXIT_REASON, L.EXIT_FAULT);
  }

  #cold(rec: number, number: number): number {
    this.rec = rec;
    const eip = this.#eipOf(rec);
    this.eip = eip;
    // Not cut to 16 bits: running over the end of 64 KiB is #GP (SDM 3B, 18.33.2; the 8086 wraps).
    this.nextEip = (eip + this.u8[rec + L.R_LEN]!) | 0;
    const codeTlb = this.get(L.XTLBBASE);
    const owner = this.records.owner(rec);
    let result: number;
    try {
      result = coldOperation(number)(this);
    } catch (error) {
      if (error !== FAULT) throw error;
      this.#faultExit();
      // A task switch that faults behind its commit point has moved on: the fault is the new task's.
      this.set(L.EIP, this.eip);
      return 0;
    }
    if (result !== NEXT) {
      // INTO that is not taken is an instruction like others.
      if (SOFT_INTERRUPTS[number] === 1) this.#softInterrupt = true;
      return this.#goOn();
    }
    if (
      this.get(L.XTLBBASE) === codeTlb &&
      !this.halted &&
      (this.get(L.EFL) & FLAG_TF) === 0 &&
      owner === this.records.owner(rec) &&
      !(this.interruptRequest !== 0 && (this.get(L.EFL) & FLAG_IF) !== 0) &&
      (this.inhibitInterrupts === 0 || this.#inhibitsNothing())
    ) {
      return rec + this.get(rec + L.R_NEXT);
    }
    this.set(L.EIP, this.nextEip);
    return this.#goOn();
  }

  /** The shadow of STI or MOV SS ends within this slice, and there is nothing that it could hold back. */
  #inhibitsNothing(): boolean {
    if (this.interruptRequest !== 0 || this.get(L.ICNT) <= 1 || debugActive(this)) return false;
    this.inhibitInterrupts = 0;
    return true;
  }

  /** After a change of EIP or mode: the record to go on with, or 0 where the run loop must look first. */
  #goOn(): number {
    this.set(L.EXIT_REASON, L.EXIT_JUMP);
    if (
      this.get(L.ICNT) <= 1 ||
      this.interruptRequest !== 0 ||
      this.inhibitInterrupts !== 0 ||
      this.halted ||
      this.tripleFault ||
      (this.get(L.EFL) & FLAG_TF) !== 0 ||
      debugActive(this)
    ) {
      return 0;
    }
    this.#afterControlChange();
    if (this.#needsLook()) return 0;
    const rec = this.#enter(this.get(L.EIP));
    this.set(L.EXIT_REASON, L.EXIT_JUMP);
    return rec;
  }

  #imports(): Record<string, (...args: number[]) => number> {
    const operands = new MemoryOperands(this, () => this.#faultExit());
    return {
      read: (linear, bits) => operands.read(linear!, bits!) | 0,
      write: (linear, bits, value) => operands.write(linear!, bits!, value!),
      modify: (linear, bits) => operands.modify(linear!, bits!) | 0,
      commit: (linear, bits) => operands.commit(linear!, bits!),
      segment: (segment, offset, size) => operands.segment(segment!, offset!, size!),
      raise: (vector, error) => {
        this.faultVector = vector!;
        this.faultError = error!;
        this.#faultExit();
        return 0;
      },
      lookup: (eip) => this.#lookup(eip!),
      nextPage: (eip) => this.#nextPage(eip!),
      decode: (rec) => this.#decodeRecord(rec!),
      cold: (rec) => this.#cold(rec!, this.u16[(rec! + L.R_ORIG) >> 1]!),
      coldNamed: (rec, number) => this.#cold(rec!, number!),
      cross: (rec) => this.#crossing(rec!),
    };
  }

  /**
   * Record for a jump out of the page, or 0 where the run loop must look first. Where the target cannot be fetched the jump is
   * done nevertheless and counts; the fault is that of the next instruction, as behind compiled jumps.
   */
  #lookup(eip: number): number {
    this.set(L.EIP, eip);
    const rec = this.get(L.ICNT) <= 1 ? 0 : this.#enter(eip);
    if (rec !== 0 && !this.#needsLook()) return rec;
    this.set(L.EXIT_REASON, L.EXIT_JUMP);
    return 0;
  }

  /** Record of the first instruction of the next page. 0: fetching it faults (recorded), or the run loop must look first. */
  #nextPage(eip: number): number {
    const rec = this.#enter(eip);
    if (rec === 0 || !this.#needsLook()) return rec;
    this.set(L.EXIT_REASON, L.EXIT_LOOK);
    return 0;
  }

  /** The instruction at EIP may lie behind the limit of CS, or a debugger waits for one of its page. */
  #needsLook(): boolean {
    if (this.breakpoints.codeArmed && this.#breaksInPage()) return true;
    return this.get(L.MODE) !== L.MODE_F32 && this.#limitInPage();
  }
}
