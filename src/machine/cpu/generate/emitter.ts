/**
 * The vocabulary that instruction semantics are written in (see semantics/). An operation's definition is one function of an
 * Emitter; what "the first operand", "the next EIP" or "leave with a fault" mean is up to the back end: the interpreter loads
 * operands from the decoded record, a JIT knows them as constants.
 *
 * Contract with definitions: everything that can fault comes before the first change of architectural state, or in update().
 */
import * as L from '../layout.ts';
import type { FunctionWriter } from './function-writer.ts';
import { binary, constant, isConstant, load, type Node, type NodeType, unary } from './node.ts';
import { Values } from './values.ts';
import type { X87Function } from './x87/functions.ts';
import type { X87Stack } from './x87/stack.ts';

/** Operand shape of the instruction at hand. First letter: destination, second: source, third: a further operand. */
export interface Shape {
  /** Operand size in bits: 8, 16 or 32. */
  readonly size: number;
  /** Letters: R register, M memory, I immediate, C the CL register, J relative jump; '' for implied operands. */
  readonly form: string;
  /** Memory operand with an index register. */
  readonly indexed: boolean;
  /** Anything but flat 32-bit segments and addresses: segment checks, address masks, 16-bit stack and EIP. */
  readonly general: boolean;
  /** Relative jump to another page. */
  readonly far: boolean;
}

/** Plain loads by size in bits. */
export const LOADS: Readonly<Record<number, string>> = {
  8: 'ld8u',
  16: 'ld16u',
  32: 'ld32',
  64: 'ld64',
  128: 'ldv',
};

const CARRY_MASK = 0xc0000008 | 0;

export abstract class Emitter extends Values {
  readonly out: FunctionWriter;
  /** Name of the operation; a cold one of that name may take over. */
  operation = '';
  form = '';
  general = false;
  abstract readonly x87: X87Stack;

  constructor(out: FunctionWriter) {
    super();
    this.out = out;
  }

  // ---- values

  /** Holds a value in a temporary, so that it is computed once and now. */
  let(v: Node): Node {
    if (isConstant(v)) return v;
    const t = this.out.newTemp(v.type);
    this.out.set(t, v);
    return t;
  }
  /** A field of the CPU state. */
  state(address: number): Node {
    return load('ld32', constant(address), 0);
  }
  setState(address: number, v: Node): void {
    this.out.store(32, constant(address), 0, v);
  }
  /** Notes that somebody came to a record from afar. */
  noteArrival(rec: Node): void {
    const heat = load('ld8u', rec, L.R_HEAT);
    this.out.store(8, rec, L.R_HEAT, this.add(heat, this.ne(heat, constant(L.HEAT_MOST))));
  }
  if(c: Node, then: () => void, otherwise?: () => void): void {
    if (isConstant(c)) {
      if (c.n !== 0) then();
      else otherwise?.();
      return;
    }
    this.out.if(c, then, otherwise);
  }

  // ---- the machine, given by the back end

  /** Register by number (8-bit: AL CL DL BL AH CH DH BH). */
  abstract reg(n: number, size?: number): Node;
  abstract setReg(n: number, v: Node, size?: number): void;
  /** First and second register operand of the instruction. */
  abstract r1(size?: number): Node;
  abstract setR1(v: Node, size?: number): void;
  abstract r2(size?: number): Node;
  abstract setR2(v: Node, size?: number): void;
  abstract imm(): Node;
  /** Offset of the memory operand in its segment, address size applied. */
  abstract ea(): Node;
  /** Address of the segment cache that the memory operand uses. */
  abstract segment(): Node;
  /** Mask of the address size: -1 or 0xffff. */
  abstract addressMask(): Node;
  /** EIP of the next instruction (not masked). */
  abstract nextEip(): Node;
  /** Calls out; the instruction counter is in memory during the call. Result in a temporary. */
  abstract slow(name: string, ...args: Node[]): Node;
  /** Leaves: the fault is already recorded; the instruction will be started again. */
  abstract fault(): void;
  /** Lets a cold operation of this name do the rest of the instruction, and leaves. */
  abstract cold(name: string): void;
  abstract jumpRelative(condition?: Node): void;
  abstract jumpIndirect(eip: Node): void;
  /** Ends a REP iteration: charges it, and starts over or leaves at the same instruction. */
  abstract again(restart: () => void): void;
  /** Instructions that this slice may still execute, this one included. */
  abstract budget(): Node;
  abstract charge(n: Node): void;

  // Operands of SIMD instructions: R1 and R2 of their records hold the numbers of the r/m and of the reg field.

  /** Address of the MMX (`base` L.FPU_REGS) or XMM (L.XMM) register in a field of ModRM. */
  abstract vectorRegister(field: 'reg' | 'rm', base: number): Node;
  /** The 32-bit general register there. */
  abstract generalRegister(field: 'reg' | 'rm'): Node;
  abstract setGeneralRegister(field: 'reg' | 'rm', v: Node): void;
  /** Address of the segment cache that the reg field names. */
  abstract segmentOperand(): Node;
  /** Number in the r/m field: i of ST(i). */
  abstract rmNumber(): Node;
  /** EIP of the instruction itself. */
  abstract eip(): Node;
  /** Calls a shared x87 function; its result in a temporary. */
  abstract callX87(name: X87Function, ...args: Node[]): Node;
  /** Name of the cold operation that can do all of this instruction. */
  get coldName(): string {
    return this.operation.startsWith('x87_') ? 'fpu_escape' : this.operation;
  }
  /** Hands over to the cold operation if `blocked()`. A unit asks once a block: only cold operations change what it depends on. */
  guard(_key: string, blocked: () => Node): void {
    this.out.if(blocked(), () => this.cold(this.coldName));
  }
  /** The FPU goes from x87 to MMX use, or (`empty`) back: TOP 0, all registers in use or none. */
  setMmxTags(empty: boolean): void {
    this.setState(L.FPU_TOP, constant(0));
    this.setState(L.FPU_TAGS, constant(empty ? 0xff : 0));
  }

  raise(vector: number, error = -1): void {
    this.out.drop(this.slow('raise', constant(vector), constant(error)));
    this.fault();
  }

  /** To be called before flags are changed in a conditional part of a definition. */
  settleFlags(): void {}

  // ---- flags: FR sign-extended result; FC bit 31 CF, bit 30 CF^OF, bit 3 AF, bit 0 "ZF whatever FR says"

  fr(): Node {
    return this.state(L.FR);
  }
  fc(): Node {
    return this.state(L.FC);
  }
  setFr(v: Node): void {
    this.setState(L.FR, v);
  }
  setFc(v: Node): void {
    this.setState(L.FC, v);
  }
  protected carryVector(c: Node, size: number): Node {
    if (size === 32) return this.and(c, constant(CARRY_MASK));
    const t = this.let(c);
    return this.or(
      this.and(this.shl(t, constant(32 - size)), constant(0xc0000000 | 0)),
      this.and(t, constant(8)),
    );
  }
  flagsAdd(a: Node, b: Node, r: Node, size = this.size): void {
    this.setFc(this.carryVector(this.or(this.and(a, b), this.and(this.or(a, b), this.not(r))), size));
    this.setFr(this.sext(r, size));
  }
  flagsSub(a: Node, b: Node, r: Node, size = this.size): void {
    const borrow = this.or(this.and(this.not(a), b), this.and(this.or(this.not(a), b), r));
    this.setFc(this.carryVector(borrow, size));
    this.setFr(this.sext(r, size));
  }
  flagsLogic(r: Node, size = this.size): void {
    this.setFr(this.sext(r, size));
    this.setFc(constant(0));
  }
  /** CF stays; `edge` is the operand (DEC) or result (INC) that overflow makes equal to the smallest integer. */
  flagsIncDec(edge: Node, a: Node, r: Node, size = this.size): void {
    const smallest = size === 8 ? 0x80 : size === 16 ? 0x8000 : 0x80000000 | 0;
    const of = this.eq(this.zext(edge, size), constant(smallest));
    const cf = this.let(this.and(this.fc(), constant(0x80000000 | 0)));
    const af = this.and(this.shr(this.xor(a, r), constant(1)), constant(8));
    this.setFc(this.or(this.or(cf, this.xor(this.shr(cf, constant(1)), this.shl(of, constant(30)))), af));
    this.setFr(this.sext(r, size));
  }
  /** CF and OF as given (0 or 1), the rest from the result. AF 0. */
  flagsResult(r: Node, cf: Node, of: Node, size = this.size): void {
    this.setCarryOverflow(cf, of);
    this.setFr(this.sext(r, size));
  }
  /** CF and OF as given; AF 0; SF, ZF, PF stay. */
  setCarryOverflow(cf: Node, of: Node, keep = 0): void {
    const carry = this.let(cf);
    const both = this.or(
      this.shl(carry, constant(31)),
      this.shl(this.and(this.xor(carry, of), constant(1)), constant(30)),
    );
    this.setFc(keep === 0 ? both : this.or(both, this.and(this.fc(), constant(keep))));
  }
  /** Replaces CF (0 or 1) and keeps the other five flags. */
  setCarry(cf: Node): void {
    const fc = this.let(this.fc());
    const of = this.and(this.xor(this.shr(fc, constant(31)), this.shr(fc, constant(30))), constant(1));
    const carry = this.let(cf);
    this.setFc(
      this.or(
        this.or(this.shl(carry, constant(31)), this.shl(this.xor(carry, of), constant(30))),
        this.and(fc, constant(9)),
      ),
    );
  }
  cf(): Node {
    return this.shr(this.fc(), constant(31));
  }
  protected zf(): Node {
    return this.or(this.eqz(this.fr()), this.and(this.fc(), constant(1)));
  }
  #less(): Node {
    const fc = this.let(this.fc());
    return this.shr(this.xor(this.fr(), this.xor(fc, this.shl(fc, constant(1)))), constant(31));
  }
  /** Condition code 0–15 as 0 or 1. */
  condition(cc: number): Node {
    let v: Node;
    switch (cc >> 1) {
      case 0: {
        const fc = this.let(this.fc());
        v = this.shr(this.xor(fc, this.shl(fc, constant(1))), constant(31));
        break;
      }
      case 1:
        v = this.cf();
        break;
      case 2:
        v = this.zf();
        break;
      case 3:
        v = this.or(this.cf(), this.zf());
        break;
      case 4:
        v = this.shr(this.fr(), constant(31));
        break;
      case 5:
        v = this.and(this.not(unary('popcnt', this.and(this.fr(), constant(0xff)))), constant(1));
        break;
      case 6:
        v = this.#less();
        break;
      default:
        v = this.or(this.#less(), this.zf());
    }
    return (cc & 1) !== 0 ? this.eqz(v) : v;
  }

  // ---- guest memory

  /** Linear address of an access through a segment; `general`: checked against its limits and rights. */
  linear(segment: Node, offset: Node, size: number, write: boolean): Node {
    if (!this.general) return this.let(offset);
    const o = this.let(offset);
    const s = this.let(segment);
    const from = this.sub(o, load('ld32', s, L.SEG_LO));
    const span = load('ld32', s, write ? L.SEG_WRITE_SPAN : L.SEG_READ_SPAN);
    this.out.if(binary('geu', from, span), () => {
      const bad = this.slow('segment', s, o, constant(size | (write ? 0x100 : 0)));
      this.out.if(bad, () => this.fault());
    });
    return this.let(this.add(load('ld32', s, L.SEG_BASE), o));
  }
  /** Linear address of the memory operand. */
  operandLinear(size: number, write: boolean): Node {
    return this.linear(this.segment(), this.ea(), size, write);
  }

  protected tlbBase(): Node {
    return this.state(L.TLBBASE);
  }
  /** Looks an access up: where it lies if it hits, and whether it misses. */
  protected tlb(linear: Node, bits: number, write: boolean): { host: Node; miss: Node } {
    const slot = this.let(
      this.add(this.and(this.shr(linear, constant(8)), constant((L.TLB_ENTRIES - 1) << 4)), this.tlbBase()),
    );
    const last = bits === 8 ? linear : this.add(linear, constant(bits / 8 - 1));
    const tag = this.and(last, constant(~0xfff));
    return {
      host: this.let(this.add(linear, load('ld32', slot, 8))),
      miss: this.ne(tag, load('ld32', slot, write ? 4 : 0)),
    };
  }
  /** Whether an access would go through without a slow path, and where it lies: for bulk operations and those that leave the rest to a cold one. */
  probe(linear: Node, write: boolean, bits = 8): { host: Node; miss: Node } {
    return this.tlb(linear, bits, write);
  }
  /** Where an operand of any length lies; the cold operation does it if that takes more than a look at the TLB. */
  hostOrCold(linear: Node, bits: number, write: boolean): Node {
    const { host, miss } = this.tlb(linear, bits, write);
    this.out.if(miss, () => this.cold(this.coldName));
    return host;
  }
  /** `op`: how it is loaded, if not as an integer or vector of that size. */
  loadLinear(bits: number, linear: Node, op = LOADS[bits]!): Node {
    const { host, miss } = this.tlb(linear, bits, false);
    this.out.if(miss, () => {
      this.out.set(host, this.slow('read', linear, constant(bits)));
      this.out.if(this.eqz(host), () => this.fault());
    });
    return this.let(load(op, host, 0));
  }
  /** `v`: an integer of up to 64 bits, or a vector of 128. */
  storeLinear(bits: number, linear: Node, v: Node): void {
    const value = this.let(v);
    const { host, miss } = this.tlb(linear, bits, true);
    this.out.if(
      miss,
      () => {
        if (bits > 32) this.out.store(bits, constant(L.BOUNCE), 0, value);
        const word = bits > 32 ? constant(0) : value;
        this.out.if(this.slow('write', linear, constant(bits), word), () => this.fault());
      },
      () => this.out.store(bits, host, 0, value),
    );
  }
  /** Read, modify, write: writability is checked before `f` runs; `f` may then change registers and flags. */
  modifyLinear(bits: number, linear: Node, f: (a: Node) => Node): void {
    const { host, miss } = this.tlb(linear, bits, true);
    this.out.if(miss, () => {
      this.out.set(host, this.slow('modify', linear, constant(bits)));
      this.out.if(this.eqz(host), () => this.fault());
    });
    const r = f(this.let(load(LOADS[bits]!, host, 0)));
    this.out.store(bits, host, 0, r);
    this.out.if(binary('ltu', host, constant(L.BOUNCE_END)), () => {
      this.out.drop(this.slow('commit', linear, constant(bits)));
    });
  }

  // ---- operands by form

  get destinationIsMemory(): boolean {
    return this.form[0] === 'M';
  }
  /** Value of the source operand (the only operand, if there is one). */
  src(size = this.size): Node {
    const letter = this.form.length === 1 ? this.form : this.form[1];
    if (letter === 'I') return this.imm();
    if (letter === 'C') return this.reg(1, 8);
    if (letter === 'M') return this.loadLinear(size, this.operandLinear(size, false));
    return this.form.length === 1 ? this.r1(size) : this.r2(size);
  }
  dst(size = this.size): Node {
    if (this.destinationIsMemory) return this.loadLinear(size, this.operandLinear(size, false));
    return this.let(this.r1(size));
  }
  setDst(v: Node, size = this.size): void {
    if (this.destinationIsMemory) this.storeLinear(size, this.operandLinear(size, true), v);
    else this.setR1(v, size);
  }
  update(f: (a: Node) => Node, size = this.size): void {
    if (this.destinationIsMemory) this.modifyLinear(size, this.operandLinear(size, true), f);
    else this.setR1(f(this.let(this.r1(size))), size);
  }

  // ---- stack

  push(v: Node, size = this.size): void {
    const value = this.let(v);
    if (!this.general) {
      const sp = this.let(this.sub(this.reg(4), constant(size / 8)));
      this.storeLinear(size, sp, value);
      this.setReg(4, sp);
      return;
    }
    const mask = this.let(this.state(L.STACK_MASK));
    const sp = this.let(this.and(this.sub(this.reg(4), constant(size / 8)), mask));
    const at = this.linear(constant(L.SEGS + L.SS * L.SEG_STRIDE), sp, size, true);
    this.storeLinear(size, at, value);
    this.setReg(4, this.or(this.and(this.reg(4), this.not(mask)), sp));
  }
  /** The value at the top of the stack; nothing is popped yet. `offset`: use BP-like pointer instead of ESP. */
  top(size = this.size, pointer: Node = this.reg(4)): Node {
    if (!this.general) return this.loadLinear(size, this.let(pointer));
    const sp = this.let(this.and(pointer, this.state(L.STACK_MASK)));
    return this.loadLinear(size, this.linear(constant(L.SEGS + L.SS * L.SEG_STRIDE), sp, size, false));
  }
  /** Sets the stack pointer to `v`, as wide as the stack. */
  setStackPointer(v: Node): void {
    if (!this.general) {
      this.setReg(4, v);
      return;
    }
    const mask = this.let(this.state(L.STACK_MASK));
    this.setReg(4, this.or(this.and(this.reg(4), this.not(mask)), this.and(v, mask)));
  }
  /** Raises #GP(0) if a near branch target lies beyond CS's limit. */
  checkTarget(eip: Node): Node {
    if (!this.general) return this.let(eip);
    const target = this.let(this.size === 16 ? this.and(eip, constant(0xffff)) : eip);
    const limit = this.state(L.SEGS + L.CS * L.SEG_STRIDE + L.SEG_LIMIT);
    this.out.if(binary('gtu', target, limit), () => this.raise(13, 0));
    return target;
  }

  temp(type: NodeType = 'i32'): Node {
    return this.out.newTemp(type);
  }
}
