/**
 * Packed integer operations on `d` and `s` (operands.ts), `n` bytes each: 8 for MMX, 16 for SSE2. Intel SDM volume 2.
 */
import { multiplyHigh } from '../fpu/arithmetic.ts';
import { d16, d16u, d32, d8, d8s, s16, s16u, s32, s8, s8s } from './operands.ts';

type Lanes = (n: number) => void;

function signed8(v: number): number {
  return Math.max(-128, Math.min(127, v));
}
function signed16(v: number): number {
  return Math.max(-32768, Math.min(32767, v));
}
function unsigned8(v: number): number {
  return Math.max(0, Math.min(255, v));
}
function unsigned16(v: number): number {
  return Math.max(0, Math.min(65535, v));
}

/** Lane by lane; the arrays say size and sign, f what is done. Typed arrays cut to size by themselves. */
type Lane = Int8Array | Uint8Array | Int16Array | Uint16Array | Int32Array;
function each(d: Lane, s: Lane, f: (a: number, b: number) => number): Lanes {
  const size = d.BYTES_PER_ELEMENT;
  return (n) => {
    for (let i = 0; i < n / size; i++) d[i] = f(d[i]!, s[i]!);
  };
}

const plus = (a: number, b: number): number => a + b;
const minus = (a: number, b: number): number => a - b;
const equal = (a: number, b: number): number => (a === b ? -1 : 0);
const greater = (a: number, b: number): number => (a > b ? -1 : 0);
const average = (a: number, b: number): number => (a + b + 1) >> 1;

const bytes = new Uint8Array(16);
const words = new Uint16Array(bytes.buffer);
const dwords = new Int32Array(bytes.buffer);

function takeBytes(n: number): void {
  for (let i = 0; i < n; i++) d8[i] = bytes[i]!;
}

function pack(narrow: Uint8Array | Uint16Array, d: Lane, s: Lane, saturate: (v: number) => number): Lanes {
  return (n) => {
    const lanes = n / d.BYTES_PER_ELEMENT;
    for (let i = 0; i < lanes; i++) {
      narrow[i] = saturate(d[i]!);
      narrow[lanes + i] = saturate(s[i]!);
    }
    takeBytes(n);
  };
}

/** Interleaves the low or high halves. */
function unpack(out: Lane, d: Lane, s: Lane, high: boolean): Lanes {
  return (n) => {
    const half = n / d.BYTES_PER_ELEMENT / 2;
    const first = high ? half : 0;
    for (let i = 0; i < half; i++) {
      out[i * 2] = d[first + i]!;
      out[i * 2 + 1] = s[first + i]!;
    }
    takeBytes(n);
  };
}

function multiplyAdd(n: number): void {
  for (let i = 0; i < n / 4; i++) {
    d32[i] = Math.imul(d16[i * 2]!, s16[i * 2]!) + Math.imul(d16[i * 2 + 1]!, s16[i * 2 + 1]!);
  }
}

/** Sums of absolute differences of eight bytes each. */
function sumOfDifferences(n: number): void {
  for (let part = 0; part < n; part += 8) {
    let sum = 0;
    for (let i = part; i < part + 8; i++) sum += Math.abs(d8[i]! - s8[i]!);
    d32[part >> 2] = sum;
    d32[(part >> 2) + 1] = 0;
  }
}

/** The shift count: the source's low quadword, capped. */
function count(): number {
  return s32[1] !== 0 ? 255 : s32[0]! >>> 0 > 255 ? 255 : s32[0]!;
}

function shift64(n: number, left: boolean): void {
  const by = count();
  for (let i = 0; i < n >> 2; i += 2) {
    let lo = d32[i]!;
    let hi = d32[i + 1]!;
    if (by >= 64) lo = hi = 0;
    else if (left) {
      if (by >= 32) {
        hi = lo << (by - 32);
        lo = 0;
      } else if (by !== 0) {
        hi = (hi << by) | (lo >>> (32 - by));
        lo <<= by;
      }
    } else if (by >= 32) {
      lo = hi >>> (by - 32);
      hi = 0;
    } else if (by !== 0) {
      lo = (lo >>> by) | (hi << (32 - by));
      hi >>>= by;
    }
    d32[i] = lo;
    d32[i + 1] = hi;
  }
}

function shift(d: Lane, limit: number, f: (v: number, by: number) => number): Lanes {
  return (n) => {
    const by = count();
    for (let i = 0; i < n / d.BYTES_PER_ELEMENT; i++)
      d[i] = by >= limit ? f(f(d[i]!, limit - 1), 1) : f(d[i]!, by);
  };
}

/** PUNPCKLQDQ, PUNPCKHQDQ; `from`: first word of the quadwords taken. */
function unpackQuads(_n: number, from: number): void {
  d32[0] = d32[from]!;
  d32[1] = d32[from + 1]!;
  d32[2] = s32[from]!;
  d32[3] = s32[from + 1]!;
}

/** PADDQ, PSUBQ. */
function addQuads(n: number, negate: boolean): void {
  for (let i = 0; i < n >> 2; i += 2) {
    const low = d32[i]! >>> 0;
    const other = s32[i]! >>> 0;
    const carry = negate ? (low < other ? -1 : 0) : low + other > 0xffffffff ? 1 : 0;
    d32[i] = negate ? low - other : low + other;
    d32[i + 1] = (negate ? d32[i + 1]! - s32[i + 1]! : d32[i + 1]! + s32[i + 1]!) + carry;
  }
}

/** PMULUDQ: the even dwords. */
function multiplyEven(n: number): void {
  for (let i = 0; i < n >> 2; i += 2) {
    const a = d32[i]!;
    const b = s32[i]!;
    d32[i] = Math.imul(a, b);
    d32[i + 1] = multiplyHigh(a, b);
  }
}

/** PSLLDQ (`left`) and PSRLDQ: by bytes. */
function shiftBytes(n: number, left: boolean): void {
  const by = Math.min(count(), n);
  for (let i = 0; i < n; i++) {
    const from = left ? i - by : i + by;
    bytes[i] = from >= 0 && from < n ? d8[from]! : 0;
  }
  takeBytes(n);
}

/** By mnemonic. */
export const INTEGER: Readonly<Record<string, Lanes>> = {
  paddb: each(d8, s8, plus),
  paddw: each(d16, s16, plus),
  paddd: each(d32, s32, plus),
  paddsb: each(d8s, s8s, (a, b) => signed8(a + b)),
  paddsw: each(d16, s16, (a, b) => signed16(a + b)),
  paddusb: each(d8, s8, (a, b) => unsigned8(a + b)),
  paddusw: each(d16u, s16u, (a, b) => unsigned16(a + b)),
  psubb: each(d8, s8, minus),
  psubw: each(d16, s16, minus),
  psubd: each(d32, s32, minus),
  psubsb: each(d8s, s8s, (a, b) => signed8(a - b)),
  psubsw: each(d16, s16, (a, b) => signed16(a - b)),
  psubusb: each(d8, s8, (a, b) => unsigned8(a - b)),
  psubusw: each(d16u, s16u, (a, b) => unsigned16(a - b)),
  pmullw: each(d16, s16, Math.imul),
  pmulhw: each(d16, s16, (a, b) => Math.imul(a, b) >> 16),
  pmulhuw: each(d16u, s16u, (a, b) => Math.imul(a, b) >>> 16),
  pmaddwd: multiplyAdd,
  psadbw: sumOfDifferences,
  pand: each(d32, s32, (a, b) => a & b),
  pandn: each(d32, s32, (a, b) => ~a & b),
  por: each(d32, s32, (a, b) => a | b),
  pxor: each(d32, s32, (a, b) => a ^ b),
  pcmpeqb: each(d8, s8, equal),
  pcmpeqw: each(d16, s16, equal),
  pcmpeqd: each(d32, s32, equal),
  pcmpgtb: each(d8s, s8s, greater),
  pcmpgtw: each(d16, s16, greater),
  pcmpgtd: each(d32, s32, greater),
  pavgb: each(d8, s8, average),
  pavgw: each(d16u, s16u, average),
  pminub: each(d8, s8, Math.min),
  pmaxub: each(d8, s8, Math.max),
  pminsw: each(d16, s16, Math.min),
  pmaxsw: each(d16, s16, Math.max),
  packsswb: pack(bytes, d16, s16, signed8),
  packssdw: pack(words, d32, s32, signed16),
  packuswb: pack(bytes, d16, s16, unsigned8),
  punpcklbw: unpack(bytes, d8, s8, false),
  punpcklwd: unpack(words, d16u, s16u, false),
  punpckldq: unpack(dwords, d32, s32, false),
  punpckhbw: unpack(bytes, d8, s8, true),
  punpckhwd: unpack(words, d16u, s16u, true),
  punpckhdq: unpack(dwords, d32, s32, true),
  psllw: shift(d16, 16, (v, by) => v << by),
  pslld: shift(d32, 32, (v, by) => v << by),
  psllq: (n) => shift64(n, true),
  psrlw: shift(d16u, 16, (v, by) => v >>> by),
  psrld: shift(d32, 32, (v, by) => v >>> by),
  psrlq: (n) => shift64(n, false),
  paddq: (n) => addQuads(n, false),
  psubq: (n) => addQuads(n, true),
  pmuludq: multiplyEven,
  punpcklqdq: (n) => unpackQuads(n, 0),
  punpckhqdq: (n) => unpackQuads(n, 2),
  pslldq: (n) => shiftBytes(n, true),
  psrldq: (n) => shiftBytes(n, false),
  // Beyond the width: all copies of the sign, which is what width − 1 and one more give.
  psraw: shift(d16, 16, (v, by) => v >> by),
  psrad: shift(d32, 32, (v, by) => v >> by),
};
