/** Shifts, rotates, double shifts, bit tests and scans. Counts are masked to 5 bits (80186 and later). */
import * as L from '../../layout.ts';
import type { Emitter } from '../emitter.ts';
import { constant64, isConstant, type Node, unary } from '../node.ts';
import type { Semantics } from './index.ts';

export const SHIFT: Semantics = {
  shl: (s) =>
    shift(s, (a, n) => {
      const before = s.let(s.shl(a, s.sub(n, s.k(1))));
      const cf = s.let(s.msb(before));
      const r = s.let(s.shl(before, s.k(1)));
      s.flagsResult(r, cf, s.xor(cf, s.msb(r)));
      return r;
    }),
  shr: (s) =>
    shift(s, (a, n) => {
      const before = s.let(s.shr(a, s.sub(n, s.k(1))));
      const r = s.let(s.shr(before, s.k(1)));
      s.flagsResult(r, s.and(before, s.k(1)), s.msb(before));
      return r;
    }),
  sar: (s) =>
    shift(s, (a, n) => {
      const before = s.let(s.sar(s.sext(a, s.size), s.sub(n, s.k(1))));
      const r = s.let(s.sar(before, s.k(1)));
      s.flagsResult(r, s.and(before, s.k(1)), s.k(0));
      return r;
    }),
  rol: (s) =>
    shift(s, (a, n) => {
      const r = s.let(rotateLeft(s, a, n));
      const cf = s.let(s.and(r, s.k(1)));
      s.setCarryOverflow(cf, s.xor(cf, s.msb(r)), 9);
      return r;
    }),
  ror: (s) =>
    shift(s, (a, n) => {
      const r = s.let(rotateLeft(s, a, s.sub(s.k(s.size), s.and(n, s.k(s.size - 1)))));
      const cf = s.let(s.msb(r));
      s.setCarryOverflow(cf, s.xor(cf, s.msb(r, s.size - 1)), 9);
      return r;
    }),
  rcl: (s) => shift(s, (a, n) => rotateThroughCarry(s, a, throughCount(s, n), true)),
  rcr: (s) => shift(s, (a, n) => rotateThroughCarry(s, a, throughCount(s, n), false)),
  shld: (s) => doubleShift(s, true),
  shrd: (s) => doubleShift(s, false),
  bt: (s) => bitTest(s, undefined),
  bts: (s) => bitTest(s, (a, bit) => s.or(a, bit)),
  btr: (s) => bitTest(s, (a, bit) => s.and(a, s.not(bit))),
  btc: (s) => bitTest(s, (a, bit) => s.xor(a, bit)),
  bsf: (s) => bitScan(s, (a) => unary('ctz', a)),
  bsr: (s) => bitScan(s, (a) => s.sub(s.k(31), unary('clz', a))),
};

function shift(s: Emitter, f: (a: Node, n: Node) => Node): void {
  const n = s.let(s.and(s.src(8), s.k(31)));
  unlessZero(s, n, () => s.update((a) => f(a, n)));
}

/** Count 0 leaves operand and flags alone; a memory operand is touched all the same and may fault. */
function unlessZero(s: Emitter, n: Node, body: () => void): void {
  const touch = (): void => {
    if (s.destinationIsMemory) s.update((a) => a);
  };
  if (isConstant(n)) {
    if (n.n !== 0) body();
    else touch();
    return;
  }
  s.settleFlags();
  s.out.if(n, body, touch);
}

/** For 8 and 16 bits `a` is zero-extended and only the low bits of the result count. */
function rotateLeft(s: Emitter, a: Node, n: Node): Node {
  if (s.size === 32) return s.bin('rotl', a, n);
  const count = s.let(s.and(n, s.k(s.size - 1)));
  const x = s.let(s.zext(a, s.size));
  return s.zext(s.or(s.shl(x, count), s.shr(x, s.sub(s.k(s.size), count))), s.size);
}

function throughCount(s: Emitter, n: Node): Node {
  return s.size === 32 ? n : s.let(s.bin('remu', n, s.k(s.size + 1)));
}

/** Rotates the (size + 1)-bit value CF:a. */
function rotateThroughCarry(s: Emitter, a: Node, n: Node, left: boolean): Node {
  const size = s.size;
  const x = s.let(s.bin64('or', s.u64(s.zext(a, size)), s.bin64('shl', s.u64(s.cf()), constant64(size))));
  const count = s.let(s.u64(n));
  const rest = s.bin64('sub', s.k64(size + 1), count);
  const r = s.let(
    left
      ? s.bin64('or', s.bin64('shl', x, count), s.bin64('shr', x, rest))
      : s.bin64('or', s.bin64('shr', x, count), s.bin64('shl', x, rest)),
  );
  const cf = s.let(s.and(s.low(s.bin64('shr', r, constant64(size))), s.k(1)));
  const low = s.let(s.low(r));
  const of = left ? s.xor(cf, s.msb(low)) : s.xor(s.msb(low), s.msb(low, size - 1));
  s.setCarryOverflow(cf, of, 9);
  return low;
}

/** SHLD and SHRD: form RR/MR + I or C. */
function doubleShift(s: Emitter, left: boolean): void {
  const count = s.form[2] === 'C' ? s.reg(1, 8) : s.imm();
  const n = s.let(s.and(count, s.k(31)));
  const body = (): void =>
    s.update((a) => {
      const b = s.let(s.r2());
      if (s.size === 32) return doubleShift32(s, a, b, n, left);
      return doubleShift16(s, a, b, n, left);
    });
  unlessZero(s, n, body);
}

function doubleShift32(s: Emitter, a: Node, b: Node, n: Node, left: boolean): Node {
  const back = s.let(s.sub(s.k(32), n));
  const r = s.let(left ? s.or(s.shl(a, n), s.shr(b, back)) : s.or(s.shr(a, n), s.shl(b, back)));
  const cf = s.let(s.and(left ? s.shr(a, back) : s.shr(a, s.sub(n, s.k(1))), s.k(1)));
  s.flagsResult(r, cf, left ? s.xor(cf, s.msb(r)) : s.xor(s.msb(r), s.msb(r, 31)));
  return r;
}

/** Counts above 16 go on into the operand itself (a:b:a), as P6 cores do. */
function doubleShift16(s: Emitter, a: Node, b: Node, n: Node, left: boolean): Node {
  const a64 = s.let(s.u64(a));
  const middle = s.bin64('shl', s.u64(b), constant64(16));
  const all = s.let(s.bin64('or', s.bin64('or', s.bin64('shl', a64, constant64(32)), middle), a64));
  const count = s.let(s.u64(n));
  const before = s.bin64('sub', count, constant64(1));
  if (left) {
    const r = s.let(s.zext(s.low(s.bin64('shr', s.bin64('shl', all, count), constant64(32))), 16));
    const cf = s.let(s.and(s.low(s.bin64('shr', s.bin64('shl', all, before), constant64(47))), s.k(1)));
    s.flagsResult(r, cf, s.xor(cf, s.msb(r)));
    return r;
  }
  const r = s.let(s.zext(s.low(s.bin64('shr', all, count)), 16));
  const cf = s.let(s.and(s.low(s.bin64('shr', all, before)), s.k(1)));
  s.flagsResult(r, cf, s.xor(s.msb(r), s.msb(r, 15)));
  return r;
}

/** CF = the bit; the other flags stay. With a register bit offset a memory operand is a bit string. */
function bitTest(s: Emitter, change: ((a: Node, bit: Node) => Node) | undefined): void {
  const offset = s.let(s.form[1] === 'I' ? s.imm() : s.r2());
  const index = s.let(s.and(offset, s.k(s.size - 1)));
  const test = (a: Node): void => s.setCarry(s.and(s.shr(a, index), s.k(1)));
  if (!s.destinationIsMemory) {
    const a = s.let(s.r1());
    if (change !== undefined) s.setR1(change(a, s.shl(s.k(1), index)));
    test(a);
    return;
  }
  let at = s.ea();
  if (s.form[1] !== 'I') {
    const element = s.sar(s.sext(offset, s.size), s.k(s.size === 32 ? 5 : 4));
    at = s.add(at, s.mul(element, s.k(s.size / 8)));
    if (s.general) at = s.and(at, s.addressMask());
  }
  const linear = s.linear(s.segment(), at, s.size, change !== undefined);
  if (change === undefined) {
    test(s.loadLinear(s.size, linear));
    return;
  }
  s.modifyLinear(s.size, linear, (a) => {
    test(a);
    return change(a, s.shl(s.k(1), index));
  });
}

/** Source 0: ZF, destination unchanged. */
function bitScan(s: Emitter, scan: (a: Node) => Node): void {
  const a = s.let(s.zext(s.src(), s.size));
  s.setState(L.FC, s.k(0));
  s.setFr(s.sext(a, s.size));
  s.out.if(a, () => s.setR1(scan(a)));
}
