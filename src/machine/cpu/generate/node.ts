/**
 * Expression nodes: what semantics are written in. Pure values; the function writer turns them into WebAssembly.
 * Constants fold as they are made, so that definitions need no special cases for known operands.
 */
export type NodeType = 'i32' | 'i64' | 'f32' | 'f64' | 'v128';

export interface Node {
  readonly op: string;
  readonly type: NodeType;
  readonly a?: Node;
  readonly b?: Node;
  readonly c?: Node;
  /** Constant, local number, memory offset, function index or lane. */
  readonly n: number;
  readonly args?: readonly Node[];
  /** Bytes behind a vector operation's opcode: lane numbers, a constant. */
  readonly lanes?: readonly number[];
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

const LOAD_TYPES: Readonly<Record<string, NodeType>> = {
  ld64: 'i64',
  ldf32: 'f32',
  ldf64: 'f64',
  ldv: 'v128',
  ldv64: 'v128',
  ldv32: 'v128',
};

/**
 * Load from `a` + offset. `op`: ld8u, ld16u, ld32, ld64, ldf32, ldf64, ldv, or ldv64 and ldv32: the low part of a vector, the rest 0.
 * Alignment is not promised.
 */
export function load(op: string, a: Node, offset: number): Node {
  return { op, type: LOAD_TYPES[op] ?? 'i32', a, n: offset };
}

/** A vector operation (opcode behind the FD prefix; see vector-ops.ts). */
export function vector(
  opcode: number,
  type: NodeType,
  operands: readonly Node[],
  lanes?: readonly number[],
): Node {
  const node = { op: 'vector', type, n: opcode, args: operands };
  return lanes === undefined ? node : { ...node, lanes };
}

/** An operation of one opcode byte on floats. */
export function float(opcode: number, type: NodeType, ...operands: Node[]): Node {
  return { op: 'float', type, n: opcode, args: operands };
}

/** A constant float. */
export const constantFloat = (n: number, type: 'f32' | 'f64'): Node => ({ op: `const-${type}`, type, n });

/** c ? a : b. */
export function select(c: Node, a: Node, b: Node): Node {
  if (isConstant(c)) return c.n !== 0 ? a : b;
  return { op: 'select', type: a.type, a, b, c, n: 0 };
}
