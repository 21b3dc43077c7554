/** Packed integers on MMX and XMM registers. WebAssembly's lanes do what x86's do; where there is no such operation it is put together. */
import type { Emitter } from '../emitter.ts';
import { isConstant, load, type Node, vector } from '../node.ts';
import { V } from '../vector-ops.ts';
import {
  checkMmx,
  checkXmm,
  FEATURE_MMX,
  FEATURE_SSE,
  FEATURE_SSE2,
  lowQuad,
  mmxAt,
  pattern,
  setMmx,
  setXmm,
  shuffle,
  sourceMmx,
  sourceXmm,
  v,
  xmmAt,
  ZERO,
} from './simd-operands.ts';

/** `wide`: 16 bytes. Operands are held in temporaries. */
type Vector = (s: Emitter, a: Node, b: Node, wide: boolean) => Node;

const op =
  (opcode: number): Vector =>
  (_s, a, b) =>
    v(opcode, a, b);

const LOW_QUADS = [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23];

/** Packs lanes of both operands; those of an MMX pair are brought together first. */
function pack(opcode: number): Vector {
  return (s, a, b, wide) => {
    if (wide) return v(opcode, a, b);
    const both = s.let(shuffle(a, b, LOW_QUADS));
    return v(opcode, both, both);
  };
}

/** Interleaves lanes of `size` bytes from the low or high halves. */
function unpack(size: number, high: boolean): Vector {
  return (_s, a, b, wide) => {
    const half = wide ? 8 : 4;
    const lanes: number[] = [];
    for (let at = high ? half : 0; lanes.length < 16; at += size) {
      for (let i = 0; i < size; i++) lanes.push((at + i) & 15);
      for (let i = 0; i < size; i++) lanes.push(16 + ((at + i) & 15));
    }
    return shuffle(a, b, lanes);
  };
}

/** High halves of the products of words. */
function highProducts(low: number, high: number): Vector {
  const lanes = [2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31];
  return (_s, a, b) => shuffle(v(low, a, b), v(high, a, b), lanes);
}

/** Sums of absolute differences of eight bytes each. */
function sumOfDifferences(s: Emitter, a: Node, b: Node): Node {
  const differences = v(V.or, v(V.subSatUB, a, b), v(V.subSatUB, b, a));
  const sums = s.let(v(V.pairW, v(V.pairB, differences)));
  const both = v(V.addD, sums, v(V.shrQ, sums, s.k(32)));
  return v(V.and, both, pattern(-1 & 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0));
}

function multiplyEven(_s: Emitter, a: Node, b: Node): Node {
  const even = [0, 1, 2, 3, 8, 9, 10, 11, 0, 1, 2, 3, 8, 9, 10, 11];
  return v(V.wideLowUD, shuffle(a, a, even), shuffle(b, b, even));
}

/** Shift of lanes `width` bits wide by a count in an i32 known to be below 256 or so; counts beyond the width give 0 or signs. */
function shiftBy(s: Emitter, opcode: number, width: number, signed: boolean, a: Node, count: Node): Node {
  const beyond = s.bin('gtu', count, s.k(width - 1));
  if (signed) return v(opcode, a, s.sel(beyond, s.k(width - 1), count));
  if (isConstant(count)) return count.n > width - 1 ? ZERO : v(opcode, a, count);
  return s.sel(beyond, ZERO, v(opcode, a, count));
}
/** The count is the source's low quadword. */
function shift(opcode: number, width: number, signed: boolean): Vector {
  return (s, a, b) => {
    const quad = s.let(lowQuad(b));
    const huge = s.bin64('gtu', quad, s.k64(255));
    return shiftBy(s, opcode, width, signed, a, s.let(s.sel(huge, s.k(255), s.low(quad))));
  };
}

const SHIFTS: Readonly<Record<string, readonly [opcode: number, width: number, signed: boolean]>> = {
  psllw: [V.shlW, 16, false],
  pslld: [V.shlD, 32, false],
  psllq: [V.shlQ, 64, false],
  psrlw: [V.shrW, 16, false],
  psrld: [V.shrD, 32, false],
  psrlq: [V.shrQ, 64, false],
  psraw: [V.sarW, 16, true],
  psrad: [V.sarD, 32, true],
};

const OPERATIONS: Record<string, Vector> = {
  paddb: op(V.addB),
  paddw: op(V.addW),
  paddd: op(V.addD),
  paddq: op(V.addQ),
  paddsb: op(V.addSatB),
  paddsw: op(V.addSatW),
  paddusb: op(V.addSatUB),
  paddusw: op(V.addSatUW),
  psubb: op(V.subB),
  psubw: op(V.subW),
  psubd: op(V.subD),
  psubq: op(V.subQ),
  psubsb: op(V.subSatB),
  psubsw: op(V.subSatW),
  psubusb: op(V.subSatUB),
  psubusw: op(V.subSatUW),
  pmullw: op(V.mulW),
  pmulhw: highProducts(V.wideLowW, V.wideHighW),
  pmulhuw: highProducts(V.wideLowUW, V.wideHighUW),
  pmaddwd: op(V.dotW),
  pmuludq: multiplyEven,
  psadbw: sumOfDifferences,
  pand: op(V.and),
  pandn: (_s, a, b) => v(V.andNot, b, a),
  por: op(V.or),
  pxor: op(V.xor),
  pcmpeqb: op(V.eqB),
  pcmpeqw: op(V.eqW),
  pcmpeqd: op(V.eqD),
  pcmpgtb: op(V.gtB),
  pcmpgtw: op(V.gtW),
  pcmpgtd: op(V.gtD),
  pavgb: op(V.averageB),
  pavgw: op(V.averageW),
  pminub: op(V.minUB),
  pmaxub: op(V.maxUB),
  pminsw: op(V.minW),
  pmaxsw: op(V.maxW),
  packsswb: pack(V.narrowWS),
  packuswb: pack(V.narrowWU),
  packssdw: pack(V.narrowDS),
  punpcklbw: unpack(1, false),
  punpcklwd: unpack(2, false),
  punpckldq: unpack(4, false),
  punpckhbw: unpack(1, true),
  punpckhwd: unpack(2, true),
  punpckhdq: unpack(4, true),
  ...Object.fromEntries(Object.entries(SHIFTS).map(([name, [o, w, signed]]) => [name, shift(o, w, signed)])),
};

const WITH_SSE = new Set(['pminub', 'pmaxub', 'pavgb', 'pavgw', 'pmulhuw', 'pminsw', 'pmaxsw', 'psadbw']);
const WITH_SSE2 = new Set(['paddq', 'psubq', 'pmuludq']);
/** MMX: these read only four bytes of memory. */
const LOW_HALF = new Set(['punpcklbw', 'punpcklwd', 'punpckldq']);

function onMmx(name: string, f: Vector): (s: Emitter) => void {
  const feature = WITH_SSE2.has(name) ? FEATURE_SSE2 : WITH_SSE.has(name) ? FEATURE_SSE : FEATURE_MMX;
  return (s) => {
    checkMmx(s, feature);
    const b = sourceMmx(s, LOW_HALF.has(name) ? 32 : 64);
    const a = s.let(load('ldv64', mmxAt(s, 'reg'), 0));
    setMmx(s, 'reg', f(s, a, b, false));
  };
}
function onXmm(f: Vector, feature = FEATURE_SSE2): (s: Emitter) => void {
  return (s) => {
    checkXmm(s, feature);
    const b = sourceXmm(s);
    const a = s.let(load('ldv', xmmAt(s, 'reg'), 0));
    setXmm(s, 'reg', f(s, a, b, true));
  };
}

function immediateCount(s: Emitter): Node {
  return s.let(s.and(s.imm(), s.k(0xff)));
}
function immediateShifts(): Record<string, (s: Emitter) => void> {
  const result: Record<string, (s: Emitter) => void> = {};
  for (const [name, [opcode, width, signed]] of Object.entries(SHIFTS)) {
    result[`${name}_i`] = (s) => {
      checkMmx(s, FEATURE_MMX);
      const a = s.let(load('ldv64', mmxAt(s, 'rm'), 0));
      setMmx(s, 'rm', shiftBy(s, opcode, width, signed, a, immediateCount(s)));
    };
    result[`${name}_xi`] = (s) => {
      checkXmm(s, FEATURE_SSE2);
      const a = s.let(load('ldv', xmmAt(s, 'rm'), 0));
      setXmm(s, 'rm', shiftBy(s, opcode, width, signed, a, immediateCount(s)));
    };
  }
  for (const left of [false, true]) {
    // Shuffles need constants: only units know them.
    result[left ? 'pslldq_xi' : 'psrldq_xi'] = (s) => {
      const imm = s.imm();
      if (!isConstant(imm)) {
        s.cold(s.operation);
        return;
      }
      checkXmm(s, FEATURE_SSE2);
      const by = Math.min(16, imm.n & 0xff);
      const from = Array.from({ length: 16 }, (_, i) => (left ? i - by : i + by));
      const lanes = from.map((k) => (k >= 0 && k < 16 ? k : 16));
      setXmm(s, 'rm', shuffle(load('ldv', xmmAt(s, 'rm'), 0), ZERO, lanes));
    };
  }
  return result;
}

/** Moves of masks: sign bits of lanes to a general register. */
function mask(opcode: number, feature: number): (s: Emitter) => void {
  return (s) => {
    checkXmm(s, feature);
    s.setGeneralRegister('reg', vector(opcode, 'i32', [load('ldv', xmmAt(s, 'rm'), 0)]));
  };
}

export const SIMD_INTEGER: Readonly<Record<string, (s: Emitter) => void>> = {
  ...Object.fromEntries(Object.entries(OPERATIONS).map(([name, f]) => [name, onMmx(name, f)])),
  ...Object.fromEntries(Object.entries(OPERATIONS).map(([name, f]) => [`${name}_x`, onXmm(f)])),
  ...immediateShifts(),
  punpcklqdq_x: onXmm(unpack(8, false)),
  punpckhqdq_x: onXmm(unpack(8, true)),
  unpcklpd: onXmm(unpack(8, false)),
  unpckhpd: onXmm(unpack(8, true)),
  unpcklps: onXmm(unpack(4, false), FEATURE_SSE),
  unpckhps: onXmm(unpack(4, true), FEATURE_SSE),
  andps: onXmm(op(V.and), FEATURE_SSE),
  andnps: onXmm((_s, a, b) => v(V.andNot, b, a), FEATURE_SSE),
  orps: onXmm(op(V.or), FEATURE_SSE),
  xorps: onXmm(op(V.xor), FEATURE_SSE),
  pmovmskb_x: mask(V.maskB, FEATURE_SSE2),
  movmskps: mask(V.maskD, FEATURE_SSE),
  movmskpd: mask(V.maskQ, FEATURE_SSE2),
  pmovmskb: (s) => {
    checkMmx(s, FEATURE_SSE);
    s.setMmxTags(false);
    s.setGeneralRegister('reg', vector(V.maskB, 'i32', [load('ldv64', mmxAt(s, 'rm'), 0)]));
  },
};
