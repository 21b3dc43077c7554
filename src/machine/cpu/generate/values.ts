/** The part of an emitter's vocabulary that is pure: expressions over nodes. */
import { binary, constant, isConstant, type Node, select, unary } from './node.ts';

export class Values {
  /** Operand size of the instruction at hand, in bits. */
  size = 32;

  k(n: number): Node {
    return constant(n);
  }
  bin(op: string, a: Node, b: Node): Node {
    return binary(op, a, b);
  }
  add(a: Node, b: Node): Node {
    return binary('add', a, b);
  }
  sub(a: Node, b: Node): Node {
    return binary('sub', a, b);
  }
  mul(a: Node, b: Node): Node {
    return binary('mul', a, b);
  }
  and(a: Node, b: Node): Node {
    return binary('and', a, b);
  }
  or(a: Node, b: Node): Node {
    return binary('or', a, b);
  }
  xor(a: Node, b: Node): Node {
    return binary('xor', a, b);
  }
  shl(a: Node, b: Node): Node {
    return binary('shl', a, b);
  }
  shr(a: Node, b: Node): Node {
    return binary('shr', a, b);
  }
  sar(a: Node, b: Node): Node {
    return binary('sar', a, b);
  }
  eq(a: Node, b: Node): Node {
    return binary('eq', a, b);
  }
  ne(a: Node, b: Node): Node {
    return binary('ne', a, b);
  }
  not(a: Node): Node {
    return this.xor(a, constant(-1));
  }
  neg(a: Node): Node {
    return this.sub(constant(0), a);
  }
  eqz(a: Node): Node {
    return isConstant(a) ? constant(+(a.n === 0)) : unary('eqz', a);
  }
  sel(c: Node, a: Node, b: Node): Node {
    return select(c, a, b);
  }
  /** 64-bit: zero- and sign-extension of 32 bits, low 32 bits. */
  u64(a: Node): Node {
    return unary('extendu', a, 'i64');
  }
  s64(a: Node): Node {
    return unary('extends', a, 'i64');
  }
  low(a: Node): Node {
    return unary('wrap', a);
  }
  k64(n: number): Node {
    return { op: 'const64', type: 'i64', n };
  }
  /** 64-bit binary operation, `op` without its 64 suffix; comparisons give i32. */
  bin64(op: string, a: Node, b: Node): Node {
    const comparison = /^(eq|ne|lt|gt)/.test(op);
    return { op: `${op}64`, type: comparison ? 'i32' : 'i64', a, b, n: 0 };
  }
  sext(a: Node, size: number): Node {
    if (size === 32) return a;
    if (isConstant(a)) return constant(size === 8 ? (a.n << 24) >> 24 : (a.n << 16) >> 16);
    return unary(size === 8 ? 'sx8' : 'sx16', a);
  }
  zext(a: Node, size: number): Node {
    return size === 32 ? a : this.and(a, constant(size === 8 ? 0xff : 0xffff));
  }
  /** Sign bit of a `size`-bit value as 0 or 1; higher bits do not matter. */
  msb(a: Node, size = this.size): Node {
    return this.and(this.shr(a, constant(size - 1)), constant(1));
  }
}
