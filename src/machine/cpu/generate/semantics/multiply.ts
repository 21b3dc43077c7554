/** Multiplication and division. After MUL and IMUL, SF, ZF and PF follow the low half (as P6 cores and QEMU have it). */
import type { Emitter } from '../emitter.ts';
import { constant64, type Node } from '../node.ts';
import type { Semantics } from './index.ts';

const EXC_DE = 0;

export const MULTIPLY: Semantics = {
  mul: (s) => {
    if (s.size === 32) {
      const p = s.let(s.bin64('mul', s.u64(s.reg(0)), s.u64(s.src())));
      const high = s.let(s.low(s.bin64('shr', p, constant64(32))));
      storeProduct32(s, p, high, s.ne(high, s.k(0)));
      return;
    }
    const p = s.let(s.mul(s.reg(0, s.size), s.src()));
    const high = s.let(s.shr(p, s.k(s.size)));
    storeProductSmall(s, p, high, s.ne(high, s.k(0)));
  },
  imul1: (s) => {
    if (s.size === 32) {
      const p = s.let(s.bin64('mul', s.s64(s.reg(0)), s.s64(s.src())));
      const high = s.let(s.low(s.bin64('shr', p, constant64(32))));
      storeProduct32(s, p, high, s.ne(high, s.sar(s.low(p), s.k(31))));
      return;
    }
    const p = s.let(s.mul(s.sext(s.reg(0, s.size), s.size), s.sext(s.src(), s.size)));
    const high = s.let(s.shr(p, s.k(s.size)));
    storeProductSmall(s, p, high, s.ne(p, s.sext(p, s.size)));
  },
  imul2: (s) => imul(s, s.r1(), s.src()),
  imul3: (s) => imul(s, s.src(), s.imm()),
  div: (s) => {
    const d = s.let(s.src());
    s.if(s.eqz(d), () => s.raise(EXC_DE));
    if (s.size === 32) {
      const n = s.let(pair64(s));
      const q = s.let(s.bin64('divu', n, s.u64(d)));
      s.if(s.bin64('gtu', q, s.u64(s.k(-1))), () => s.raise(EXC_DE));
      const r = s.let(s.low(s.bin64('remu', n, s.u64(d))));
      s.setReg(0, s.low(q));
      s.setReg(2, r);
      return;
    }
    const n = s.let(dividendSmall(s));
    const q = s.let(s.bin('divu', n, d));
    s.if(s.bin('gtu', q, s.k(s.size === 8 ? 0xff : 0xffff)), () => s.raise(EXC_DE));
    storeQuotientSmall(s, q, s.let(s.bin('remu', n, d)));
  },
  idiv: (s) => {
    const d = s.let(s.sext(s.src(), s.size));
    s.if(s.eqz(d), () => s.raise(EXC_DE));
    if (s.size === 32) {
      const n = s.let(pair64(s));
      const smallest = s.bin64('shl', s.k64(1), s.k64(63));
      const overflow = s.and(s.bin64('eq', n, smallest), s.eq(d, s.k(-1)));
      s.if(overflow, () => s.raise(EXC_DE));
      const q = s.let(s.bin64('divs', n, s.s64(d)));
      s.if(s.bin64('ne', q, s.s64(s.low(q))), () => s.raise(EXC_DE));
      const r = s.let(s.low(s.bin64('rems', n, s.s64(d))));
      s.setReg(0, s.low(q));
      s.setReg(2, r);
      return;
    }
    const n = s.let(s.size === 8 ? s.sext(dividendSmall(s), 16) : dividendSmall(s));
    // -2^31 / -1 traps in WebAssembly; a 16-bit dividend cannot reach it for 8-bit division.
    s.if(s.and(s.eq(n, s.k(0x80000000 | 0)), s.eq(d, s.k(-1))), () => s.raise(EXC_DE));
    const q = s.let(s.bin('divs', n, d));
    s.if(s.ne(q, s.sext(q, s.size)), () => s.raise(EXC_DE));
    storeQuotientSmall(s, q, s.let(s.bin('rems', n, d)));
  },
};

/** EDX:EAX. */
function pair64(s: Emitter): Node {
  return s.bin64('or', s.bin64('shl', s.u64(s.reg(2)), s.k64(32)), s.u64(s.reg(0)));
}
/** AX or DX:AX. */
function dividendSmall(s: Emitter): Node {
  return s.size === 8 ? s.reg(0, 16) : s.or(s.shl(s.reg(2, 16), s.k(16)), s.reg(0, 16));
}
function storeQuotientSmall(s: Emitter, q: Node, r: Node): void {
  if (s.size === 8) s.setReg(0, s.or(s.zext(q, 8), s.shl(s.zext(r, 8), s.k(8))), 16);
  else {
    s.setReg(0, q, 16);
    s.setReg(2, r, 16);
  }
}
function storeProduct32(s: Emitter, p: Node, high: Node, overflow: Node): void {
  const o = s.let(overflow);
  const low = s.let(s.low(p));
  s.setReg(0, low);
  s.setReg(2, high);
  s.flagsResult(low, o, o);
}
function storeProductSmall(s: Emitter, p: Node, high: Node, overflow: Node): void {
  const o = s.let(overflow);
  if (s.size === 8) s.setReg(0, p, 16);
  else {
    s.setReg(0, p, 16);
    s.setReg(2, high, 16);
  }
  s.flagsResult(p, o, o);
}
function imul(s: Emitter, x: Node, y: Node): void {
  const a = s.let(s.sext(x, s.size));
  const b = s.let(s.sext(y, s.size));
  if (s.size === 32) {
    const p = s.let(s.bin64('mul', s.s64(a), s.s64(b)));
    const low = s.let(s.low(p));
    const o = s.let(s.bin64('ne', p, s.s64(low)));
    s.setR1(low);
    s.flagsResult(low, o, o);
    return;
  }
  const p = s.let(s.mul(a, b));
  const o = s.let(s.ne(p, s.sext(p, 16)));
  s.setR1(p);
  s.flagsResult(p, o, o);
}
