/**
 * Floating-point arithmetic of SSE and SSE2, where it is certain that WebAssembly's operation gives x86's result and flags: MXCSR has
 * its usual control bits (all masked, to nearest, no FZ or DAZ), operands are normal or zero, results neither overflow nor become
 * tiny, and inexactness is already noted in the sticky flag PE or (scalars) did not occur. All else is left to the cold operation.
 */
import * as L from '../../layout.ts';
import type { Emitter } from '../emitter.ts';
import { binary, constantFloat, float, isConstant, load, type Node, unary, vector } from '../node.ts';
import {
  F,
  PACKED_DOUBLE,
  PACKED_SINGLE,
  type PackedOps,
  SCALAR_DOUBLE,
  SCALAR_SINGLE,
  V,
} from '../vector-ops.ts';
import {
  checkXmm,
  FEATURE_SSE,
  FEATURE_SSE2,
  inMemory,
  pattern,
  setXmm,
  sourceLow,
  sourceXmm,
  v,
  xmmAt,
} from './simd-operands.ts';

type Definition = (s: Emitter) => void;
type Arithmetic = 'add' | 'sub' | 'mul' | 'div' | 'sqrt';

/** Control bits of MXCSR that matter: DAZ, masks, rounding, FZ; and their usual value. */
const CONTROL = 0xffc0;
const USUAL = 0x1f80;
const DAZ = 0x40;
const PE = 0x20;

/** What differs between the two precisions. */
interface Precision {
  readonly double: boolean;
  readonly bits: 32 | 64;
  readonly feature: number;
  readonly scalar: PackedOps;
  readonly packed: PackedOps;
  /** Least normal number, and infinity, as sixteen bytes. */
  readonly least: Node;
  readonly infinity: Node;
  readonly zero: Node;
  readonly all: number;
}
const SINGLE: Precision = {
  double: false,
  bits: 32,
  feature: FEATURE_SSE,
  scalar: SCALAR_SINGLE,
  packed: PACKED_SINGLE,
  least: pattern(0, 0, 0x80, 0),
  infinity: pattern(0, 0, 0x80, 0x7f),
  zero: pattern(0),
  all: V.allD,
};
const DOUBLE: Precision = {
  double: true,
  bits: 64,
  feature: FEATURE_SSE2,
  scalar: SCALAR_DOUBLE,
  packed: PACKED_DOUBLE,
  least: pattern(0, 0, 0, 0, 0, 0, 0x10, 0),
  infinity: pattern(0, 0, 0, 0, 0, 0, 0xf0, 0x7f),
  zero: pattern(0),
  all: V.allQ,
};

/** Scalar and packed code alike: operations, constants, conjunctions of conditions. */
class Lanes {
  readonly p: Precision;
  readonly packed: boolean;
  constructor(p: Precision, packed: boolean) {
    this.p = p;
    this.packed = packed;
  }
  get #ops(): PackedOps {
    return this.packed ? this.p.packed : this.p.scalar;
  }
  get #type(): 'f32' | 'f64' {
    return this.p.double ? 'f64' : 'f32';
  }
  compute(name: keyof PackedOps, ...operands: Node[]): Node {
    const opcode = this.#ops[name];
    return this.packed ? v(opcode, ...operands) : float(opcode, this.#type, ...operands);
  }
  compare(name: 'eq' | 'ne' | 'lt' | 'gt' | 'le' | 'ge', a: Node, b: Node): Node {
    const opcode = this.#ops[name];
    return this.packed ? v(opcode, a, b) : float(opcode, 'i32', a, b);
  }
  and(a: Node, b: Node): Node {
    return this.packed ? v(V.and, a, b) : binary('and', a, b);
  }
  or(a: Node, b: Node): Node {
    return this.packed ? v(V.or, a, b) : binary('or', a, b);
  }
  get least(): Node {
    if (this.packed) return this.p.least;
    return constantFloat(this.p.double ? 2 ** -1022 : 2 ** -126, this.#type);
  }
  get infinity(): Node {
    return this.packed ? this.p.infinity : constantFloat(Infinity, this.#type);
  }
  get zero(): Node {
    return this.packed ? this.p.zero : constantFloat(0, this.#type);
  }
  isZero(a: Node): Node {
    return this.compare('eq', a, this.zero);
  }
  /** Neither denormal nor NaN. */
  plain(a: Node): Node {
    return this.or(this.compare('ge', this.compute('abs', a), this.least), this.isZero(a));
  }
  finite(a: Node): Node {
    return this.compare('lt', this.compute('abs', a), this.infinity);
  }
  /** Certainly not tiny, also before rounding. */
  large(a: Node): Node {
    return this.compare('gt', this.compute('abs', a), this.least);
  }
  /** The condition does not hold (in one lane). */
  fails(s: Emitter, condition: Node): Node {
    return s.eqz(this.packed ? vector(this.p.all, 'i32', [condition]) : condition);
  }
}

function guardControl(s: Emitter): void {
  s.guard('mxcsr', () => s.ne(s.and(s.state(L.MXCSR), s.k(CONTROL)), s.k(USUAL)));
}
function guardDenormals(s: Emitter): void {
  s.guard('daz', () => s.and(s.state(L.MXCSR), s.k(DAZ)));
}
/** Packed results and conversions may be inexact: PE must be set already. */
function guardInexact(s: Emitter): void {
  s.guard('pe', () => s.eqz(s.and(s.state(L.MXCSR), s.k(PE))));
}

/** Results that raise nothing but PE. Order of operands as in the instruction; SQRT has only `b`. */
function certain(l: Lanes, name: Arithmetic, a: Node, b: Node, r: Node): Node {
  const finite = l.and(l.finite(r), l.plain(b));
  switch (name) {
    case 'sqrt':
      return finite;
    case 'add':
    case 'sub': // tiny sums are exact
      return l.and(finite, l.plain(a));
    case 'mul':
      return l.and(l.and(finite, l.plain(a)), l.or(l.large(r), l.or(l.isZero(a), l.isZero(b))));
    default:
      return l.and(l.and(finite, l.plain(a)), l.or(l.large(r), l.isZero(a)));
  }
}

/** Zero bits at the end of a double's significand; the implied bit stops the count. */
function zerosAtEnd(a: Node): Node {
  const bits = float(F.doubleBits, 'i64', a);
  const one: Node = {
    op: 'shl64',
    type: 'i64',
    a: { op: 'const64', type: 'i64', n: 1 },
    b: { op: 'const64', type: 'i64', n: 52 },
    n: 0,
  };
  return unary('wrap', unary('ctz64', { op: 'or64', type: 'i64', a: bits, b: one, n: 0 }, 'i64'));
}
/** The product of two doubles fits a double: it has at most as many bits as the two significands, 53 less zeros each. */
function productFits(a: Node, b: Node): Node {
  return binary('gtu', binary('add', zerosAtEnd(a), zerosAtEnd(b)), { op: 'const', type: 'i32', n: 52 });
}
/** A scalar result is exact, or nobody can say so cheaply. */
function exact(l: Lanes, name: Arithmetic, a: Node, b: Node, r: Node): Node {
  const same = (x: Node, y: Node): Node => l.compare('eq', x, y);
  if (name === 'add') return binary('and', same(l.compute('sub', r, a), b), same(l.compute('sub', r, b), a));
  if (name === 'sub') return binary('and', same(l.compute('sub', a, r), b), same(l.compute('add', r, b), a));
  if (!l.p.double) {
    const wide = (x: Node): Node => float(F.promote, 'f64', x);
    const product = (x: Node, y: Node): Node => float(SCALAR_DOUBLE.mul, 'f64', wide(x), wide(y));
    const [whole, part] =
      name === 'mul'
        ? [wide(r), product(a, b)]
        : [wide(name === 'div' ? a : b), product(r, name === 'div' ? b : r)];
    return float(SCALAR_DOUBLE.eq, 'i32', whole, part);
  }
  if (name === 'mul') return productFits(a, b);
  const [whole, factor] = name === 'div' ? [a, b] : [b, r];
  return binary('and', productFits(r, factor), same(l.compute('mul', r, factor), whole));
}

function scalarSource(s: Emitter, p: Precision): Node {
  return sourceLow(s, p.bits, p.double ? 'ldf64' : 'ldf32');
}
function scalarDestination(s: Emitter, p: Precision): Node {
  return s.let(load(p.double ? 'ldf64' : 'ldf32', xmmAt(s, 'reg'), 0));
}
function giveUp(s: Emitter, condition: Node): void {
  s.if(condition, () => s.cold(s.operation));
}

function scalar(name: Arithmetic, p: Precision): Definition {
  const l = new Lanes(p, false);
  return (s) => {
    checkXmm(s, p.feature);
    guardControl(s);
    const b = scalarSource(s, p);
    const a = name === 'sqrt' ? b : scalarDestination(s, p);
    const r = s.let(name === 'sqrt' ? l.compute('sqrt', b) : l.compute(name, a, b));
    giveUp(s, l.fails(s, certain(l, name, a, b, r)));
    s.if(s.eqz(s.and(s.state(L.MXCSR), s.k(PE))), () => giveUp(s, s.eqz(exact(l, name, a, b, r))));
    s.out.store(p.bits, xmmAt(s, 'reg'), 0, r);
  };
}
function packed(name: Arithmetic, p: Precision): Definition {
  const l = new Lanes(p, true);
  return (s) => {
    checkXmm(s, p.feature);
    guardControl(s);
    guardInexact(s);
    const b = sourceXmm(s);
    const a = name === 'sqrt' ? b : s.let(load('ldv', xmmAt(s, 'reg'), 0));
    const r = s.let(name === 'sqrt' ? l.compute('sqrt', b) : l.compute(name, a, b));
    giveUp(s, l.fails(s, certain(l, name, a, b, r)));
    setXmm(s, 'reg', r);
  };
}

/** MIN and MAX give the second operand unless the first is really less or greater. */
function extreme(name: 'min' | 'max', p: Precision, wide: boolean): Definition {
  const l = new Lanes(p, wide);
  return (s) => {
    checkXmm(s, p.feature);
    guardDenormals(s);
    const b = wide ? sourceXmm(s) : scalarSource(s, p);
    const a = wide ? s.let(load('ldv', xmmAt(s, 'reg'), 0)) : scalarDestination(s, p);
    giveUp(s, l.fails(s, l.and(l.plain(a), l.plain(b))));
    if (wide) setXmm(s, 'reg', l.compute(name, b, a));
    else {
      const first = l.compare(name === 'min' ? 'lt' : 'gt', a, b);
      s.out.store(p.bits, xmmAt(s, 'reg'), 0, s.sel(first, a, b));
    }
  };
}

/** Without NaNs: predicates 3 (unordered) and 7 are constants. */
const PREDICATES = ['eq', 'lt', 'le', 'ne', 'ne', 'ge', 'gt', 'eq'] as const;

function comparing(p: Precision, wide: boolean): Definition {
  const l = new Lanes(p, true);
  return (s) => {
    const imm = s.imm();
    if (!isConstant(imm)) {
      s.cold(s.operation);
      return;
    }
    checkXmm(s, p.feature);
    guardDenormals(s);
    const low = p.double ? 'ldv64' : 'ldv32';
    const b = wide ? sourceXmm(s) : sourceLow(s, p.bits, low);
    const a = s.let(load(wide ? 'ldv' : low, xmmAt(s, 'reg'), 0));
    giveUp(s, l.fails(s, l.and(l.plain(a), l.plain(b))));
    const which = imm.n & 7;
    const mask =
      (which & 3) === 3 ? l.compare(which === 3 ? 'ne' : 'eq', a, a) : l.compare(PREDICATES[which]!, a, b);
    if (wide) setXmm(s, 'reg', mask);
    else {
      const value = p.double
        ? vector(V.extractQ, 'i64', [mask], [0])
        : vector(V.extractD, 'i32', [mask], [0]);
      s.out.store(p.bits, xmmAt(s, 'reg'), 0, value);
    }
  };
}

/** COMISS and the like: CF less, ZF equal; PF, SF, OF, AF 0. */
function comparingToFlags(p: Precision): Definition {
  const l = new Lanes(p, false);
  return (s) => {
    checkXmm(s, p.feature);
    guardDenormals(s);
    const b = scalarSource(s, p);
    const a = scalarDestination(s, p);
    giveUp(s, l.fails(s, l.and(l.plain(a), l.plain(b))));
    const less = s.and(s.neg(l.compare('lt', a, b)), s.k(0xc0000000 | 0));
    // FR 1 has SF, ZF and PF 0; bit 0 of FC is ZF.
    s.setFc(s.or(less, l.compare('eq', a, b)));
    s.setFr(s.k(1));
  };
}

/** To a 32-bit integer in a general register. Rounding is to nearest, or chopping. */
function toGeneral(p: Precision, chop: boolean): Definition {
  const l = new Lanes(p, false);
  return (s) => {
    checkXmm(s, p.feature);
    guardControl(s);
    const x = scalarSource(s, p);
    const type = p.double ? 'f64' : 'f32';
    const n = chop ? x : s.let(l.compute('nearest', x));
    const limit = constantFloat(2 ** 31, type);
    giveUp(s, s.eqz(l.compare('lt', l.compute('abs', n), limit)));
    const value = s.let(float(p.double ? F.truncateDouble : F.truncateSingle, 'i32', n));
    s.if(s.eqz(s.and(s.state(L.MXCSR), s.k(PE))), () => {
      const back = p.double
        ? float(F.doubleFromInteger, 'f64', value)
        : float(F.singleFromInteger, 'f32', value);
      giveUp(s, l.compare('ne', back, x));
    });
    s.setGeneralRegister('reg', value);
  };
}

function integerSource(s: Emitter): Node {
  return inMemory(s) ? s.loadLinear(32, s.operandLinear(32, false)) : s.let(s.generalRegister('rm'));
}

const CONVERSIONS: Readonly<Record<string, Definition>> = {
  cvtsi2sd: (s) => {
    checkXmm(s, FEATURE_SSE2);
    s.out.store(64, xmmAt(s, 'reg'), 0, float(F.doubleFromInteger, 'f64', integerSource(s)));
  },
  cvtsi2ss: (s) => {
    checkXmm(s, FEATURE_SSE);
    guardControl(s);
    const x = integerSource(s);
    const r = s.let(float(F.singleFromInteger, 'f32', x));
    s.if(s.eqz(s.and(s.state(L.MXCSR), s.k(PE))), () => {
      const [back, whole] = [float(F.promote, 'f64', r), float(F.doubleFromInteger, 'f64', x)];
      giveUp(s, float(SCALAR_DOUBLE.ne, 'i32', back, whole));
    });
    s.out.store(32, xmmAt(s, 'reg'), 0, r);
  },
  cvtss2sd: (s) => {
    checkXmm(s, FEATURE_SSE2);
    guardDenormals(s);
    const x = scalarSource(s, SINGLE);
    const l = new Lanes(SINGLE, false);
    giveUp(s, l.fails(s, l.plain(x)));
    s.out.store(64, xmmAt(s, 'reg'), 0, float(F.promote, 'f64', x));
  },
  cvtsd2ss: (s) => {
    checkXmm(s, FEATURE_SSE2);
    guardControl(s);
    const x = scalarSource(s, DOUBLE);
    const r = s.let(float(F.demote, 'f32', x));
    const l = new Lanes(SINGLE, false);
    const zero = float(SCALAR_DOUBLE.eq, 'i32', x, constantFloat(0, 'f64'));
    giveUp(s, s.eqz(s.and(l.finite(r), s.or(l.large(r), zero))));
    s.if(s.eqz(s.and(s.state(L.MXCSR), s.k(PE))), () =>
      giveUp(s, float(SCALAR_DOUBLE.ne, 'i32', float(F.promote, 'f64', r), x)),
    );
    s.out.store(32, xmmAt(s, 'reg'), 0, r);
  },
  cvtdq2pd: (s) => {
    checkXmm(s, FEATURE_SSE2);
    setXmm(s, 'reg', v(V.fromLowD, sourceLow(s, 64, 'ldv64')));
  },
  cvtdq2ps: (s) => {
    checkXmm(s, FEATURE_SSE2);
    guardControl(s);
    guardInexact(s);
    setXmm(s, 'reg', v(V.fromD, sourceXmm(s)));
  },
  cvtps2pd: (s) => {
    checkXmm(s, FEATURE_SSE2);
    guardDenormals(s);
    const x = sourceLow(s, 64, 'ldv64');
    const l = new Lanes(SINGLE, true);
    giveUp(s, l.fails(s, l.plain(x)));
    setXmm(s, 'reg', v(V.promote, x));
  },
  cvttps2dq: (s) => packedToIntegers(s, true),
  cvtps2dq: (s) => packedToIntegers(s, false),
};

function packedToIntegers(s: Emitter, chop: boolean): void {
  checkXmm(s, FEATURE_SSE2);
  guardControl(s);
  guardInexact(s);
  const l = new Lanes(SINGLE, true);
  const x = sourceXmm(s);
  const n = chop ? x : s.let(l.compute('nearest', x));
  // 2^31
  giveUp(s, l.fails(s, l.compare('lt', l.compute('abs', n), pattern(0, 0, 0, 0x4f))));
  setXmm(s, 'reg', v(V.truncatePs, n));
}

function arithmetic(): Record<string, Definition> {
  const result: Record<string, Definition> = {};
  for (const p of [SINGLE, DOUBLE]) {
    const [ps, ss] = p.double ? ['pd', 'sd'] : ['ps', 'ss'];
    for (const name of ['add', 'sub', 'mul', 'div', 'sqrt'] as const) {
      result[name + ps] = packed(name, p);
      result[name + ss] = scalar(name, p);
    }
    for (const name of ['min', 'max'] as const) {
      result[name + ps] = extreme(name, p, true);
      result[name + ss] = extreme(name, p, false);
    }
    result[`cmp${ps}`] = comparing(p, true);
    result[`cmp${ss}`] = comparing(p, false);
    result[`comi${ss}`] = comparingToFlags(p);
    result[`ucomi${ss}`] = comparingToFlags(p);
    const from = p.double ? 'sd' : 'ss';
    result[`cvt${from}2si`] = toGeneral(p, false);
    result[`cvtt${from}2si`] = toGeneral(p, true);
  }
  return result;
}

export const SIMD_FLOAT: Readonly<Record<string, Definition>> = { ...arithmetic(), ...CONVERSIONS };
