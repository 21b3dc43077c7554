/**
 * Expression nodes: what semantics are written in. Pure values; the function writer turns them into WebAssembly.
 * Constants fold as they are made, so that definitions need no special cases for known operands.
 */
export type NodeType = 'i32' | 'i64' | 'v128';

export interface Node {
  readonly op: string;
  readonly type: NodeType;
  readonly a?: Node;
  readonly b?: Node;
  readonly c?: Node;
  /** Constant, local number, memory offset, function index or lane. */
  readonly n: number;
  readonly args?: readonly Node[];
}

export const constant = (n: number): Node => ({ op: 'const', type: 'i32', n: n | 0 });
export const constant64 = (n: number): Node => ({ op: 'const64', type: 'i64', n });
export const isConstant = (v: Node): boolean => v.op === 'const';

type Fold = (a: number, b: number) => number;
const FOLD: Readonly<Record<string, Fold>> = {
  add: (a, b) => (a + b) | 0,
  sub: (a, b) => (a - b) | 0,
  mul: Math.imul,
  and: (a, b) => a & b,
  or: (a, b) => a | b,
  xor: (a, b) => a ^ b,
  shl: (a, b) => a << b,
  shr: (a, b) => (a >>> b) | 0,
  sar: (a, b) => a >> b,
  eq: (a, b) => +(a === b),
  ne: (a, b) => +(a !== b),
  lts: (a, b) => +(a < b),
  ltu: (a, b) => +(a >>> 0 < b >>> 0),
  les: (a, b) => +(a <= b),
  leu: (a, b) => +(a >>> 0 <= b >>> 0),
};

/** Operations that leave the other operand as it is when one is 0. */
const RIGHT_IDENTITY = new Set(['add', 'sub', 'or', 'xor', 'shl', 'shr', 'sar']);
const LEFT_IDENTITY = new Set(['add', 'or', 'xor']);

/** A 32-bit binary operation. */
export function binary(op: string, a: Node, b: Node): Node {
  const fold = FOLD[op];
  if (isConstant(a) && isConstant(b) && fold !== undefined) return constant(fold(a.n, b.n));
  if (isConstant(b) && b.n === 0 && RIGHT_IDENTITY.has(op)) return a;
  if (isConstant(a) && a.n === 0 && LEFT_IDENTITY.has(op)) return b;
  return { op, type: 'i32', a, b, n: 0 };
}

export function unary(op: string, a: Node, type: NodeType = 'i32'): Node {
  return { op, type, a, n: 0 };
}

/** Load from `a` + offset. `op`: ld8u, ld16u, ld32, ld64, ldv; alignment is not promised. */
export function load(op: string, a: Node, offset: number): Node {
  const type = op === 'ld64' ? 'i64' : op === 'ldv' ? 'v128' : 'i32';
  return { op, type, a, n: offset };
}

/** c ? a : b. */
export function select(c: Node, a: Node, b: Node): Node {
  if (isConstant(c)) return c.n !== 0 ? a : b;
  return { op: 'select', type: a.type, a, b, c, n: 0 };
}
