/**
 * The JIT's back end: operands are constants of the unit, registers and flags live in WebAssembly locals. The only escape from the
 * middle of an instruction is to bail: everything is written back and the interpreter runs that same instruction.
 *
 * Flags are kept lazily: FR is always right; FC is computed only where somebody reads it, from the operands of the last
 * addition, subtraction, increment or decrement (`#kind`, FA, FB). At block ends the kind goes along in a local.
 */
import type { CpuState } from '../cpu-state.ts';
import { Emitter, LOADS } from '../generate/emitter.ts';
import type { FunctionWriter } from '../generate/function-writer.ts';
import { binary, constant, load, type Node } from '../generate/node.ts';
import { SEMANTICS } from '../generate/semantics/index.ts';
import * as L from '../layout.ts';
import type { UnitBlock, UnitInstruction } from './unit.ts';

/** Locals of a unit's function; parameter 0 is the record it was entered at. */
export const LOCAL_RECORD = 0;
const FIRST = 1;
/** 1–8: EAX … EDI. */
export const LOCAL_FR = FIRST + 8;
export const LOCAL_FC = FIRST + 9;
export const LOCAL_FA = FIRST + 10;
export const LOCAL_FB = FIRST + 11;
/** Kind of the lazy FC; 0: FC is right. */
export const LOCAL_KIND = FIRST + 12;
/** Instructions left. */
export const LOCAL_COUNT = FIRST + 13;
/** Record to leave with; block to go on with. */
export const LOCAL_NEXT = FIRST + 14;
export const LOCAL_BLOCK = FIRST + 15;
export const LOCAL_TLB = FIRST + 16;
export const FIXED_LOCALS = 17;

/** Kinds of lazy carry vectors; + 0, 1, 2 for 8, 16, 32 bits. */
export const KIND_VALID = 0;
export const KIND_ADD = 1;
export const KIND_SUB = 4;
export const KIND_INC = 7;
export const KIND_DEC = 10;
export const KINDS = 13;

export const local = (n: number): Node => ({ op: 'local', type: 'i32', n });

/** How a unit's function is left and how its blocks hang together; given by the compiler. */
export interface UnitFrame {
  /** Goes to the block at an offset of the page, or leaves to its record. */
  edge(from: UnitBlock, offset: number): void;
  /** Leaves with LOCAL_NEXT as the record to go on with. */
  exit(): void;
  /** Leaves with LOCAL_NEXT as the record that the interpreter must run. */
  bail(): void;
  /** Goes to LOCAL_BLOCK. */
  dispatch(): void;
  /** Number of the function that computes FC from kind, FA, FB, FR. */
  readonly carryFunction: number;
  /** Function numbers of what units call. */
  readonly imports: Readonly<Record<string, number>>;
  /** This unit's handler number. */
  readonly handler: number;
  readonly records: number;
}

const sizeIndex = (size: number): number => (size === 8 ? 0 : size === 16 ? 1 : 2);

export class Static extends Emitter {
  readonly #c: CpuState;
  readonly #frame: UnitFrame;
  #i!: UnitInstruction;
  #block!: UnitBlock;
  #position = 0;
  #done = false;
  /** What FC is at this point: a kind, or -1 when only LOCAL_KIND knows. */
  #kind = -1;
  #fusable = false;
  /** Guards that hold from here to the end of the block, and what was made of the FPU's tags. */
  readonly #guards = new Set<string>();
  #mmxTags = '';
  /** Registers used and written anywhere in the unit: bits 0–7. */
  used = 0;
  dirty = 0;

  constructor(out: FunctionWriter, c: CpuState, frame: UnitFrame) {
    super(out);
    this.#c = c;
    this.#frame = frame;
  }

  /** Writes one block. */
  block(block: UnitBlock): void {
    this.#block = block;
    this.#kind = -1;
    this.#fusable = false;
    this.#guards.clear();
    this.#mmxTags = '';
    const n = block.instructions.length;
    const count = local(LOCAL_COUNT);
    this.out.if(binary('lts', count, constant(n)), () => this.#bailTo(block.offset));
    this.out.set(count, this.sub(count, constant(n)));
    this.#done = false;
    for (let i = 0; i < n; i++) {
      this.#position = i;
      this.#i = block.instructions[i]!;
      const { operation, shape } = this.#i.handler;
      this.operation = operation;
      this.size = shape.size;
      this.form = shape.form;
      this.general = shape.general;
      this.out.resetTemps();
      SEMANTICS[operation]!(this);
    }
    if (!this.#done) {
      this.#settleKind();
      this.#frame.edge(block, block.end);
    }
  }

  // ---- registers

  #use(n: number, write: boolean): Node {
    this.used |= 1 << n;
    if (write) this.dirty |= 1 << n;
    return local(FIRST + n);
  }
  reg(n: number, size = 32): Node {
    if (size === 8) {
      const whole = this.#use(n & 3, false);
      return this.and((n & 4) !== 0 ? this.shr(whole, constant(8)) : whole, constant(0xff));
    }
    const whole = this.#use(n, false);
    return size === 16 ? this.and(whole, constant(0xffff)) : whole;
  }
  setReg(n: number, v: Node, size = 32): void {
    if (size === 32) {
      this.out.set(this.#use(n, true), v);
      return;
    }
    const shift = size === 8 && (n & 4) !== 0 ? 8 : 0;
    const mask = size === 8 ? 0xff : 0xffff;
    const whole = this.#use(size === 8 ? n & 3 : n, true);
    const value = this.let(v);
    const kept = this.and(whole, constant(~(mask << shift)));
    this.out.set(whole, this.or(kept, this.shl(this.and(value, constant(mask)), constant(shift))));
  }
  /** Register number (8-bit ones as AL…BH) of an operand address in a record. */
  #number(address: number, size: number): number {
    const at = address - L.REGS;
    return size === 8 ? (at >> 3) | ((at & 1) << 2) : at >> 3;
  }
  #operand(field: number, size: number): number {
    return this.#number(this.#c.u16[(this.#i.record + field) >> 1]!, size);
  }
  r1(size = this.size): Node {
    return this.reg(this.#operand(L.R_R1, size), size);
  }
  setR1(v: Node, size = this.size): void {
    this.setReg(this.#operand(L.R_R1, size), v, size);
  }
  r2(size = this.size): Node {
    return this.reg(this.#operand(L.R_R2, size), size);
  }
  setR2(v: Node, size = this.size): void {
    this.setReg(this.#operand(L.R_R2, size), v, size);
  }
  imm(): Node {
    return constant(this.#c.get(this.#i.record + L.R_IMM));
  }

  #fieldNumber(field: 'reg' | 'rm'): number {
    return this.#c.u16[(this.#i.record + (field === 'rm' ? L.R_R1 : L.R_R2)) >> 1]!;
  }
  vectorRegister(field: 'reg' | 'rm', base: number): Node {
    return constant(base + this.#fieldNumber(field) * 16);
  }
  generalRegister(field: 'reg' | 'rm'): Node {
    return this.reg(this.#fieldNumber(field));
  }
  setGeneralRegister(field: 'reg' | 'rm', v: Node): void {
    this.setReg(this.#fieldNumber(field), v);
  }
  override guard(key: string, blocked: () => Node): void {
    if (this.#guards.has(key)) return;
    this.#guards.add(key);
    super.guard(key, blocked);
  }
  override setMmxTags(empty: boolean): void {
    const tags = empty ? 'empty' : 'full';
    if (this.#mmxTags === tags) return;
    this.#mmxTags = tags;
    super.setMmxTags(empty);
  }

  // ---- addresses

  #baseOrIndex(field: number): Node {
    const address = this.#c.u16[(this.#i.record + field) >> 1]!;
    return address === L.ZERO ? constant(0) : this.reg(this.#number(address, 32));
  }
  ea(): Node {
    const index = this.shl(this.#baseOrIndex(L.R_INDEX), constant(this.#c.u8[this.#i.record + L.R_SCALE]!));
    const sum = this.add(this.#baseOrIndex(L.R_BASE), index);
    return this.let(this.and32(this.add(sum, constant(this.#c.get(this.#i.record + L.R_DISP)))));
  }
  private and32(v: Node): Node {
    const mask = this.addressMask();
    return mask.n === -1 ? v : this.and(v, mask);
  }
  segment(): Node {
    return constant(this.#c.u16[(this.#i.record + L.R_SEG) >> 1]!);
  }
  addressMask(): Node {
    if (!this.general) return constant(-1);
    return constant((this.#c.u8[this.#i.record + L.R_FLAGS]! & L.RF_ADDR32) !== 0 ? -1 : 0xffff);
  }
  nextEip(): Node {
    return this.add(this.state(L.PAGELIN), constant(this.#i.offset + this.#i.length));
  }
  protected override tlbBase(): Node {
    return local(LOCAL_TLB);
  }
  override linear(segment: Node, offset: Node, _size: number, write: boolean): Node {
    if (!this.general) return this.let(offset);
    const o = this.let(offset);
    const from = this.sub(o, load('ld32', segment, L.SEG_LO));
    const span = load('ld32', segment, write ? L.SEG_WRITE_SPAN : L.SEG_READ_SPAN);
    this.out.if(binary('geu', from, span), () => this.fault());
    return this.let(this.add(load('ld32', segment, L.SEG_BASE), o));
  }

  // ---- memory: a miss is filled without side effects, or the instruction is left to the interpreter

  #fill(name: string, host: Node, linear: Node, bits: number): void {
    const call: Node = {
      op: 'call',
      type: 'i32',
      n: this.#frame.imports[name]!,
      args: [linear, constant(bits)],
    };
    this.out.set(host, call);
    this.out.if(this.eqz(host), () => this.fault());
  }
  override loadLinear(bits: number, linear: Node, op = LOADS[bits]!): Node {
    const { host, miss } = this.tlb(linear, bits, false);
    this.out.if(miss, () => this.#fill('fillRead', host, linear, bits));
    return this.let(load(op, host, 0));
  }
  override storeLinear(bits: number, linear: Node, v: Node): void {
    const value = this.let(v);
    const { host, miss } = this.tlb(linear, bits, true);
    this.out.if(miss, () => this.#fill('fillWrite', host, linear, bits));
    this.out.store(bits, host, 0, value);
  }
  override modifyLinear(bits: number, linear: Node, f: (a: Node) => Node): void {
    const { host, miss } = this.tlb(linear, bits, true);
    this.out.if(miss, () => this.#fill('fillWrite', host, linear, bits));
    const r = f(this.let(load(LOADS[bits]!, host, 0)));
    this.out.store(bits, host, 0, r);
  }

  // ---- leaving

  slow(name: string): Node {
    throw new Error(`a unit does not call ${name}`);
  }
  override raise(): void {
    this.fault();
  }
  cold(): void {
    this.fault();
  }
  fault(): void {
    const rest = this.#block.instructions.length - this.#position;
    this.out.set(local(LOCAL_COUNT), this.add(local(LOCAL_COUNT), constant(rest)));
    this.#bailTo(this.#i.offset);
  }
  #recordAt(offset: number): Node {
    return constant(this.#frame.records + (offset << L.RECORD_SHIFT));
  }
  #bailTo(offset: number): void {
    this.#settleKind();
    this.out.set(local(LOCAL_NEXT), this.#recordAt(offset));
    this.#frame.bail();
  }
  exitTo(rec: Node): void {
    this.#settleKind();
    this.out.set(local(LOCAL_NEXT), rec);
    this.#frame.exit();
  }
  again(): void {
    throw new Error('REP is not compiled');
  }
  budget(): Node {
    return constant(0);
  }
  charge(): void {}

  // ---- control transfer

  jumpRelative(condition?: Node): void {
    this.#done = true;
    const target = this.#i.target!;
    const taken = (): void => {
      this.#settleKind();
      if (target >= 0 && target < 4096) this.#frame.edge(this.#block, target);
      else this.#leavePage(this.add(this.state(L.PAGELIN), constant(target)));
    };
    if (condition === undefined) {
      taken();
      return;
    }
    this.out.if(condition, taken);
    this.#settleKind();
    this.#frame.edge(this.#block, this.#i.offset + this.#i.length);
  }
  jumpIndirect(eip: Node): void {
    this.#done = true;
    this.#settleKind();
    this.#leavePage(eip);
  }
  /** Looks the target's record up; stays inside if it is an entry of this unit. */
  #leavePage(target: Node): void {
    const linear = this.let(target);
    const slot = this.let(
      this.add(
        this.and(this.shr(linear, constant(9)), constant((L.XTLB_ENTRIES - 1) << 3)),
        this.state(L.XTLBBASE),
      ),
    );
    const page = this.let(this.and(linear, constant(~0xfff)));
    const inPage = this.shl(this.and(linear, constant(0xfff)), constant(L.RECORD_SHIFT));
    const rec = this.let(this.add(load('ld32', slot, 4), inPage));
    this.out.if(this.ne(load('ld32', slot, 0), page), () => {
      // Not in the code TLB: the instruction is done, EIP is the target; the run loop looks it up.
      this.setState(L.EIP, linear);
      this.out.set(local(LOCAL_NEXT), constant(0));
      this.#frame.exit();
    });
    this.setState(L.PAGELIN, page);
    this.out.if(this.eq(load('ld16u', rec, L.R_HANDLER), constant(this.#frame.handler)), () => {
      this.out.set(local(LOCAL_BLOCK), load('ld16u', rec, L.R_UNIT_BLOCK));
      this.#frame.dispatch();
    });
    this.exitTo(rec);
  }

  // ---- flags

  /** Makes LOCAL_KIND say what FC is, for code that does not know this block. */
  #settleKind(): void {
    if (this.#kind >= 0) this.out.set(local(LOCAL_KIND), constant(this.#kind));
  }
  #lazy(kind: number, a: Node, b: Node, r: Node, size: number, fusable: boolean): void {
    // FC 0 keeps "ZF is 1 whatever FR says" off while FC is not in use.
    this.out.set(local(LOCAL_FC), constant(0));
    this.out.set(local(LOCAL_FA), a);
    this.out.set(local(LOCAL_FB), b);
    this.out.set(local(LOCAL_FR), this.sext(r, size));
    this.#kind = kind + sizeIndex(size);
    this.#fusable = fusable;
    this.#fusedSize = size;
  }
  #fusedSize = 32;

  override flagsAdd(a: Node, b: Node, r: Node, size = this.size): void {
    this.#lazy(KIND_ADD, a, b, r, size, false);
  }
  override flagsSub(a: Node, b: Node, r: Node, size = this.size): void {
    // SBB has a third operand: comparing the other two would not do.
    this.#lazy(KIND_SUB, a, b, r, size, this.#i.operation !== 'sbb');
  }
  override flagsIncDec(edge: Node, a: Node, r: Node, size = this.size): void {
    const carry = this.let(this.cf());
    this.#lazy(edge === r ? KIND_INC : KIND_DEC, a, carry, r, size, false);
  }
  /** Before flags are set on one of two paths: both must leave FC in the same form. */
  override settleFlags(): void {
    this.fc();
  }
  override flagsLogic(r: Node, size = this.size): void {
    this.setFc(constant(0));
    this.setFr(this.sext(r, size));
  }
  override fr(): Node {
    return local(LOCAL_FR);
  }
  override setFr(v: Node): void {
    this.out.set(local(LOCAL_FR), v);
  }
  /** FC, computed now if it is lazy. */
  override fc(): Node {
    if (this.#kind === KIND_VALID) return local(LOCAL_FC);
    const kind = this.#kind > 0 ? constant(this.#kind) : local(LOCAL_KIND);
    const args = [kind, local(LOCAL_FA), local(LOCAL_FB), local(LOCAL_FR), local(LOCAL_FC)];
    const call: Node = { op: 'call', type: 'i32', n: this.#frame.carryFunction, args };
    this.out.set(local(LOCAL_FC), call);
    this.out.set(local(LOCAL_KIND), constant(KIND_VALID));
    this.#kind = KIND_VALID;
    this.#fusable = false;
    return local(LOCAL_FC);
  }
  override setFc(v: Node): void {
    this.out.set(local(LOCAL_FC), v);
    this.#kind = KIND_VALID;
    this.#fusable = false;
  }
  override setState(address: number, v: Node): void {
    if (address === L.FC) this.setFc(v);
    else super.setState(address, v);
  }
  override cf(): Node {
    const size = this.#fusedSize;
    if (this.#fusable) {
      return binary('ltu', this.zext(local(LOCAL_FA), size), this.zext(local(LOCAL_FB), size));
    }
    if (this.#kind >= KIND_INC) return local(LOCAL_FB);
    return super.cf();
  }
  protected override zf(): Node {
    if (this.#kind > 0) return this.eqz(local(LOCAL_FR));
    // FC's override bit is right whatever the kind: lazy kinds keep FC at 0.
    return this.or(this.eqz(local(LOCAL_FR)), this.and(local(LOCAL_FC), constant(1)));
  }
  override condition(cc: number): Node {
    if (!this.#fusable) return super.condition(cc);
    const size = this.#fusedSize;
    const a = local(LOCAL_FA);
    const b = local(LOCAL_FB);
    const negate = (cc & 1) !== 0;
    switch (cc >> 1) {
      case 3:
        return binary(negate ? 'gtu' : 'leu', this.zext(a, size), this.zext(b, size));
      case 6:
        return binary(negate ? 'ges' : 'lts', this.sext(a, size), this.sext(b, size));
      case 7:
        return binary(negate ? 'gts' : 'les', this.sext(a, size), this.sext(b, size));
      default:
        return super.condition(cc);
    }
  }
}
