/**
 * The JIT's back end: operands are constants of the unit, registers and flags live in WebAssembly locals. The only escape from the
 * middle of an instruction is to bail: everything is written back and the interpreter runs that same instruction.
 *
 * Flags are kept lazily. FR is always right. CF is always CA < CB (unsigned). OF and AF follow from CA, CB, FR and the kind of
 * the last operation; FC is made of them only where somebody reads it. At block ends the kind goes along in a local.
 * So INC and DEC leave CF alone at no cost, and a comparison followed by a jump compares its operands.
 */
import type { CpuState } from '../cpu-state.ts';
import { Emitter, LOADS } from '../generate/emitter.ts';
import type { FunctionWriter } from '../generate/function-writer.ts';
import { binary, constant, load, type Node } from '../generate/node.ts';
import { SEMANTICS } from '../generate/semantics/index.ts';
import { type X87Function, x87FunctionIndex } from '../generate/x87/functions.ts';
import * as L from '../layout.ts';
import {
  carryVectorOf,
  KIND_ADD,
  KIND_DEC,
  KIND_INC,
  KIND_LOGIC,
  KIND_SUB,
  KIND_VALID,
} from './lazy-flags.ts';
import {
  FIRST,
  LOCAL_CA,
  LOCAL_CB,
  LOCAL_COUNT,
  LOCAL_FC,
  LOCAL_FR,
  LOCAL_KIND,
  LOCAL_NEXT,
  LOCAL_X87_TAGS,
  LOCAL_X87_TOP,
  local,
  type UnitFrame,
} from './frame.ts';
import { crossPage, leavePage } from './pages.ts';
import { StaticX87 } from './static-x87.ts';
import { pageOf, recordAt, type UnitBlock, type UnitInstruction } from './unit.ts';

const sizeIndex = (size: number): number => (size === 8 ? 0 : size === 16 ? 1 : 2);

export class Static extends Emitter {
  readonly #c: CpuState;
  readonly #frame: UnitFrame;
  readonly x87: StaticX87 = new StaticX87(this, local(LOCAL_X87_TOP), local(LOCAL_X87_TAGS));
  #i!: UnitInstruction;
  #block!: UnitBlock;
  #position = 0;
  #done = false;
  /** What FC is at this point: a kind, or -1 when only LOCAL_KIND knows. */
  #kind = -1;
  /** Guards that hold from here to the end of the block, and what was made of the FPU's tags. */
  readonly #guards = new Set<string>();
  #mmxTags = '';
  instructions = 0;
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
    this.#kind = this.#frame.arriving(block);
    this.#guards.clear();
    this.#mmxTags = '';
    this.x87.forget();
    const n = block.instructions.length;
    this.instructions += n;
    const count = local(LOCAL_COUNT);
    this.out.if(binary('lts', count, constant(n)), () => this.#bailTo(block.at));
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
    if (!this.#done) this.#fallThrough(block.end);
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
  rmNumber(): Node {
    return constant(this.#fieldNumber('rm'));
  }
  callX87(name: X87Function, ...args: Node[]): Node {
    const n = this.#frame.x87Functions + x87FunctionIndex(name);
    return this.let({ op: 'call', type: 'i32', n, args });
  }
  /** An x87 instruction may change TOP and tags. */
  forgetMmx(): void {
    this.#mmxTags = '';
  }
  vectorRegister(field: 'reg' | 'rm', base: number): Node {
    return constant(base + this.#fieldNumber(field) * 16);
  }
  segmentOperand(): Node {
    return constant(L.SEGS + this.#fieldNumber('reg') * L.SEG_STRIDE);
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
    this.x87.forget();
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
  eip(): Node {
    return this.add(this.state(L.PAGELIN), constant(this.#i.offset));
  }
  protected override tlbBase(): Node {
    return constant(this.#frame.tlb);
  }
  override linear(segment: Node, offset: Node, _size: number, write: boolean): Node {
    if (!this.general) return this.let(offset);
    const o = this.let(offset);
    const from = this.sub(o, load('ld32', segment, L.SEG_LO));
    const span = load('ld32', segment, write ? L.SEG_WRITE_SPAN : L.SEG_READ_SPAN);
    this.out.if(binary('geu', from, span), () => this.fault());
    return this.let(this.add(load('ld32', segment, L.SEG_BASE), o));
  }

  // ---- memory: what misses the TLB is left to the interpreter, which fills it

  /** Where an access lies; bails if the TLB does not know. */
  #host(bits: number, linear: Node, write: boolean): Node {
    const slot = this.let(this.and(this.shr(linear, constant(8)), constant((L.TLB_ENTRIES - 1) << 4)));
    const last = bits === 8 ? linear : this.add(linear, constant(bits / 8 - 1));
    const tag = load('ld32', slot, this.#frame.tlb + (write ? 4 : 0));
    this.out.if(this.ne(this.and(last, constant(~0xfff)), tag), () => this.fault());
    return this.let(this.add(linear, load('ld32', slot, this.#frame.tlb + 8)));
  }
  override loadLinear(bits: number, linear: Node, op = LOADS[bits]!): Node {
    return this.let(load(op, this.#host(bits, linear, false), 0));
  }
  override storeLinear(bits: number, linear: Node, v: Node): void {
    const value = this.let(v);
    this.out.store(bits, this.#host(bits, linear, true), 0, value);
  }
  override modifyLinear(bits: number, linear: Node, f: (a: Node) => Node): void {
    const host = this.#host(bits, linear, true);
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
    this.#bailTo(this.#i.at);
  }
  #bailTo(position: number): void {
    this.#settleKind();
    this.out.set(local(LOCAL_NEXT), constant(recordAt(position)));
    this.#frame.bail();
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
      if (target >= 0 && target < 4096) this.#frame.edge(pageOf(this.#i.at) + target, this.#kind);
      else {
        const linear = this.let(this.add(this.state(L.PAGELIN), constant(target)));
        this.#cross(linear, target);
        leavePage(this, this.#frame, linear);
      }
    };
    if (condition === undefined) {
      taken();
      return;
    }
    this.out.if(condition, taken);
    this.#fallThrough(this.#i.offset + this.#i.length);
  }
  /** Goes on behind the instruction, at an offset from the page's beginning. */
  #fallThrough(offset: number): void {
    this.#settleKind();
    if (offset < 4096) {
      this.#frame.edge(pageOf(this.#i.at) + offset, this.#kind);
      return;
    }
    this.#cross(this.add(this.state(L.PAGELIN), constant(offset)), offset);
    this.#frame.endOfPage(offset - 4096);
  }
  #cross(to: Node, offset: number): void {
    crossPage(this, this.#frame, to, this.#frame.blockAt(pageOf(this.#i.at), offset), this.#kind);
  }
  jumpIndirect(eip: Node): void {
    this.#done = true;
    this.#settleKind();
    leavePage(this, this.#frame, eip);
  }
  // ---- flags

  /** Makes LOCAL_KIND say what FC is, for code that does not know this block. */
  #settleKind(): void {
    if (this.#kind >= 0) this.out.set(local(LOCAL_KIND), constant(this.#kind));
  }
  #lazy(kind: number, ca: Node, cb: Node): void {
    this.out.set(local(LOCAL_CA), ca);
    this.out.set(local(LOCAL_CB), cb);
    this.#kind = kind;
  }
  override flagsAdd(a: Node, b: Node, r: Node, size = this.size): void {
    // With a carry in, the sum and one operand do not tell the other.
    if (this.#i.operation === 'adc') super.flagsAdd(a, b, r, size);
    else {
      this.#lazy(KIND_ADD + sizeIndex(size), this.zext(r, size), this.zext(a, size));
      this.setFr(this.sext(r, size));
    }
  }
  override flagsSub(a: Node, b: Node, r: Node, size = this.size): void {
    if (this.#i.operation === 'sbb') super.flagsSub(a, b, r, size);
    else {
      this.#lazy(KIND_SUB + sizeIndex(size), this.zext(a, size), this.zext(b, size));
      this.setFr(this.sext(r, size));
    }
  }
  override flagsIncDec(edge: Node, _a: Node, r: Node, size = this.size): void {
    this.setFr(this.sext(r, size));
    this.#kind = (edge === r ? KIND_INC : KIND_DEC) + sizeIndex(size);
  }
  /** Before flags are set on one of two paths: both must leave FC in the same form. */
  override settleFlags(): void {
    this.fc();
  }
  override flagsLogic(r: Node, size = this.size): void {
    this.#lazy(KIND_LOGIC, constant(0), constant(0));
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
    if (this.#kind !== KIND_VALID) {
      this.out.set(local(LOCAL_FC), this.#computedFc());
      this.#kind = KIND_VALID;
    }
    return local(LOCAL_FC);
  }
  #computedFc(): Node {
    if (this.#kind === KIND_LOGIC) return constant(0);
    const [ca, cb, fr] = [LOCAL_CA, LOCAL_CB, LOCAL_FR].map(local) as [Node, Node, Node];
    if (this.#kind >= KIND_ADD) return carryVectorOf(this.#kind, ca, cb, fr);
    const args = [LOCAL_KIND, LOCAL_CA, LOCAL_CB, LOCAL_FR, LOCAL_FC].map(local);
    return { op: 'call', type: 'i32', n: this.#frame.carryFunction, args };
  }
  override setFc(v: Node): void {
    this.out.set(local(LOCAL_FC), v);
    this.#lazy(KIND_VALID, constant(0), this.shr(local(LOCAL_FC), constant(31)));
  }
  override setState(address: number, v: Node): void {
    if (address === L.FC) this.setFc(v);
    else super.setState(address, v);
  }
  override cf(): Node {
    return this.#kind === KIND_LOGIC ? constant(0) : binary('ltu', local(LOCAL_CA), local(LOCAL_CB));
  }
  protected override zf(): Node {
    const zero = this.eqz(local(LOCAL_FR));
    if (this.#kind > 0) return zero;
    const override = this.and(local(LOCAL_FC), constant(1));
    if (this.#kind === KIND_VALID) return this.or(zero, override);
    return this.or(zero, this.and(local(LOCAL_FC), this.eqz(local(LOCAL_KIND))));
  }
  override condition(cc: number): Node {
    const negate = (cc & 1) !== 0;
    const pair = cc >> 1;
    const fr = local(LOCAL_FR);
    if (this.#kind === KIND_LOGIC && pair >= 6) {
      const than = pair === 6 ? (negate ? 'ges' : 'lts') : negate ? 'gts' : 'les';
      return binary(than, fr, constant(0));
    }
    if (pair === 4) return binary(negate ? 'ges' : 'lts', fr, constant(0));
    if (this.#kind < KIND_SUB || this.#kind >= KIND_INC) return super.condition(cc);
    const size = [8, 16, 32][this.#kind - KIND_SUB]!;
    const a = local(LOCAL_CA);
    const b = local(LOCAL_CB);
    switch (pair) {
      case 1:
        return binary(negate ? 'geu' : 'ltu', a, b);
      case 2:
        return binary(negate ? 'ne' : 'eq', a, b);
      case 3:
        return binary(negate ? 'gtu' : 'leu', a, b);
      case 6:
        return binary(negate ? 'ges' : 'lts', this.sext(a, size), this.sext(b, size));
      case 7:
        return binary(negate ? 'gts' : 'les', this.sext(a, size), this.sext(b, size));
      default:
        return super.condition(cc);
    }
  }
}
