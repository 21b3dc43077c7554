/**
 * The interpreter's back end: operands come from the decoded record at run time. A handler is either a case of the big switch
 * (instruction counter in a local) or a function of its own behind a table (counter in memory).
 */
import * as L from '../layout.ts';
import { Emitter, type Shape } from './emitter.ts';
import type { FunctionWriter } from './function-writer.ts';
import { binary, constant, load, type Node } from './node.ts';
import { SEMANTICS } from './semantics/index.ts';
import { type X87Function, x87FunctionIndex } from './x87/functions.ts';
import { X87Stack } from './x87/stack.ts';

/** Functions that generated code calls out to: number of i32 parameters; all give an i32. */
export const IMPORTS: Readonly<Record<string, number>> = {
  read: 2,
  write: 3,
  modify: 2,
  commit: 2,
  segment: 3,
  raise: 2,
  lookup: 1,
  nextPage: 1,
  decode: 1,
  cold: 1,
  coldNamed: 2,
  cross: 1,
};
export const IMPORT_NAMES: readonly string[] = Object.keys(IMPORTS);

/** The local that holds the record's address. */
const REC: Node = { op: 'local', type: 'i32', n: 0 };
/** In the big switch: the local with the instruction counter. */
const COUNT: Node = { op: 'local', type: 'i32', n: 1 };

const REGISTER_LOAD: Readonly<Record<number, string>> = { 8: 'ld8u', 16: 'ld16u', 32: 'ld32' };

export interface DynamicOptions {
  /** In the big switch: emits the way back to its top. Absent: a function of its own. */
  readonly next?: (target: Node) => void;
  /** Number of a cold operation that generated code may call by name. */
  readonly coldNumber: (name: string) => number;
}

export class Dynamic extends Emitter {
  readonly #options: DynamicOptions;
  readonly x87: X87Stack = new X87Stack(this);
  #indexed = false;
  #far = false;
  #done = false;

  constructor(out: FunctionWriter, options: DynamicOptions) {
    super(out);
    this.#options = options;
  }

  /** Writes the handler for one operation in one shape. */
  handler(operation: string, shape: Shape): void {
    this.operation = operation;
    this.size = shape.size;
    this.form = shape.form;
    this.general = shape.general;
    this.#indexed = shape.indexed;
    this.#far = shape.far;
    this.#done = false;
    this.out.resetTemps();
    SEMANTICS[operation]!(this);
    if (!this.#done) this.finish(this.sequential());
  }

  get #inline(): boolean {
    return this.#options.next !== undefined;
  }

  // ---- registers

  #registerAddress(n: number, size: number): number {
    return L.REGS + (size === 8 ? (n & 3) * L.REG_STRIDE + (n >> 2) : n * L.REG_STRIDE);
  }
  reg(n: number, size = 32): Node {
    return load(REGISTER_LOAD[size]!, constant(this.#registerAddress(n, size)), 0);
  }
  setReg(n: number, v: Node, size = 32): void {
    this.out.store(size, constant(this.#registerAddress(n, size)), 0, v);
  }
  r1(size = this.size): Node {
    return load(REGISTER_LOAD[size]!, load('ld16u', REC, L.R_R1), 0);
  }
  setR1(v: Node, size = this.size): void {
    this.out.store(size, load('ld16u', REC, L.R_R1), 0, v);
  }
  r2(size = this.size): Node {
    return load(REGISTER_LOAD[size]!, load('ld16u', REC, L.R_R2), 0);
  }
  setR2(v: Node, size = this.size): void {
    this.out.store(size, load('ld16u', REC, L.R_R2), 0, v);
  }
  imm(): Node {
    return load('ld32', REC, L.R_IMM);
  }

  #field(field: 'reg' | 'rm'): Node {
    return load('ld16u', REC, field === 'rm' ? L.R_R1 : L.R_R2);
  }
  rmNumber(): Node {
    return this.#field('rm');
  }
  callX87(name: X87Function, ...args: Node[]): Node {
    const n = IMPORT_NAMES.length + x87FunctionIndex(name);
    return this.let({ op: 'call', type: 'i32', n, args });
  }
  vectorRegister(field: 'reg' | 'rm', base: number): Node {
    return this.let(this.add(this.shl(this.#field(field), constant(4)), constant(base)));
  }
  segmentOperand(): Node {
    return this.let(this.add(this.shl(this.#field('reg'), constant(5)), constant(L.SEGS)));
  }
  generalRegister(field: 'reg' | 'rm'): Node {
    return load('ld32', this.shl(this.#field(field), constant(3)), L.REGS);
  }
  setGeneralRegister(field: 'reg' | 'rm', v: Node): void {
    this.out.store(32, this.shl(this.#field(field), constant(3)), L.REGS, v);
  }

  // ---- addresses

  ea(): Node {
    let v = this.add(load('ld32', load('ld16u', REC, L.R_BASE), 0), load('ld32', REC, L.R_DISP));
    if (this.#indexed || this.general) {
      const index = load('ld32', load('ld16u', REC, L.R_INDEX), 0);
      v = this.add(v, this.shl(index, load('ld8u', REC, L.R_SCALE)));
    }
    return this.let(this.general ? this.and(v, this.addressMask()) : v);
  }
  segment(): Node {
    return load('ld16u', REC, L.R_SEG);
  }
  addressMask(): Node {
    if (!this.general) return constant(-1);
    const wide = this.and(load('ld8u', REC, L.R_FLAGS), constant(L.RF_ADDR32));
    return this.sel(wide, constant(-1), constant(0xffff));
  }
  /** Linear address of a byte offset in the current code page. */
  #pageLinear(offset: Node): Node {
    return this.add(this.state(L.PAGELIN), offset);
  }
  #slot(): Node {
    return this.shr(this.and(REC, constant(L.RECORD_PAGE_BYTES - 1)), constant(L.RECORD_SHIFT));
  }
  #nextLinear(): Node {
    return this.#pageLinear(this.add(this.#slot(), load('ld8u', REC, L.R_LEN)));
  }
  eip(): Node {
    return this.sub(this.#pageLinear(this.#slot()), this.state(L.SEGS + L.CS * L.SEG_STRIDE + L.SEG_BASE));
  }
  nextEip(): Node {
    const linear = this.#nextLinear();
    if (!this.general) return linear;
    return this.sub(linear, this.state(L.SEGS + L.CS * L.SEG_STRIDE + L.SEG_BASE));
  }

  // ---- leaving

  slow(name: string, ...args: Node[]): Node {
    if (this.#inline) this.setState(L.ICNT, COUNT);
    this.setState(L.CURREC, REC);
    const call: Node = { op: 'call', type: 'i32', n: IMPORT_NAMES.indexOf(name), args };
    const result = this.let(call);
    if (this.#inline) this.out.set(COUNT, this.state(L.ICNT));
    return result;
  }
  fault(): void {
    this.#leave(constant(0));
  }
  #leave(rec: Node): void {
    if (this.#inline) this.setState(L.ICNT, COUNT);
    this.out.return(rec);
  }
  cold(name: string): void {
    const next = this.slow('coldNamed', REC, constant(this.#options.coldNumber(name)));
    this.out.if(this.eqz(next), () => this.fault());
    this.finish(next);
  }
  sequential(): Node {
    return this.add(REC, load('ld32', REC, L.R_NEXT));
  }
  finish(next: Node): void {
    if (this.#options.next !== undefined) this.#options.next(next);
    else this.out.return(next);
  }
  again(restart: () => void): void {
    const left = this.let(this.state(L.ICNT));
    this.out.if(binary('les', left, constant(1)), () => this.out.return(REC));
    this.setState(L.ICNT, this.sub(left, constant(1)));
    restart();
  }
  budget(): Node {
    return this.#inline ? COUNT : this.state(L.ICNT);
  }
  charge(n: Node): void {
    this.setState(L.ICNT, this.sub(this.state(L.ICNT), n));
  }

  // ---- control transfer

  jumpRelative(condition?: Node): void {
    this.#done = true;
    const go = (): void => this.finish(this.#relativeTarget());
    if (condition === undefined) {
      go();
      return;
    }
    this.out.if(condition, go);
    this.finish(this.sequential());
  }
  #relativeTarget(): Node {
    if (this.general) {
      const target = this.add(this.nextEip(), this.imm());
      return this.#lookup(this.checkTarget(target));
    }
    if (this.#far) return this.#lookup(this.#pageLinear(this.imm()));
    return this.add(REC, this.imm());
  }
  jumpIndirect(eip: Node): void {
    this.#done = true;
    this.finish(this.#lookup(eip));
  }
  /** Record of the instruction at EIP; leaves if that takes more than a look into the code TLB. */
  #lookup(target: Node, missed: 'lookup' | 'nextPage' = 'lookup'): Node {
    const eip = this.let(target);
    const base = this.state(L.SEGS + L.CS * L.SEG_STRIDE + L.SEG_BASE);
    const linear = this.general ? this.let(this.add(eip, base)) : eip;
    const slot = this.let(
      this.add(
        this.and(this.shr(linear, constant(9)), constant((L.XTLB_ENTRIES - 1) << 3)),
        this.state(L.XTLBBASE),
      ),
    );
    const page = this.let(this.and(linear, constant(~0xfff)));
    const rec = this.let(
      this.add(load('ld32', slot, 4), this.shl(this.and(linear, constant(0xfff)), constant(L.RECORD_SHIFT))),
    );
    this.out.if(
      this.ne(load('ld32', slot, 0), page),
      () => {
        this.out.set(rec, this.slow(missed, eip));
        this.out.if(this.eqz(rec), () => this.fault());
      },
      () => this.setState(L.PAGELIN, page),
    );
    this.noteArrival(rec);
    return rec;
  }

  /** Records of the page behind the current one, or 0 if the code TLB does not know it. */
  pageBehind(): Node {
    const linear = this.let(this.#pageLinear(constant(0x1000)));
    const offset = this.and(this.shr(linear, constant(9)), constant((L.XTLB_ENTRIES - 1) << 3));
    const slot = this.let(this.add(offset, this.state(L.XTLBBASE)));
    return this.sel(this.eq(load('ld32', slot, 0), linear), load('ld32', slot, 4), constant(0));
  }

  /** The record behind the last instruction of a page: goes on in the next page. Not an instruction. */
  endOfPage(): Node {
    this.out.resetTemps();
    this.general = true;
    const k = this.shr(this.sub(REC, constant(L.END_RECORDS)), constant(L.RECORD_SHIFT));
    const linear = this.add(this.#pageLinear(constant(0x1000)), k);
    const eip = this.sub(linear, this.state(L.SEGS + L.CS * L.SEG_STRIDE + L.SEG_BASE));
    return this.#lookup(eip, 'nextPage');
  }
}
