/** Integer arithmetic and logic. */
import type { Emitter } from '../emitter.ts';
import * as L from '../../layout.ts';
import { FEATURE_CX8 } from '../../system/cpu-models.ts';
import { load, type Node } from '../node.ts';
import type { Semantics } from './index.ts';

export const ARITHMETIC: Semantics = {
  mov: (s) => s.setDst(s.let(s.src())),
  add: (s) =>
    s.update((a) => {
      const b = s.let(s.src());
      const r = s.let(s.add(a, b));
      s.flagsAdd(a, b, r);
      return r;
    }),
  adc: (s) =>
    s.update((a) => {
      const b = s.let(s.src());
      const r = s.let(s.add(s.add(a, b), s.cf()));
      s.flagsAdd(a, b, r);
      return r;
    }),
  sub: (s) =>
    s.update((a) => {
      const b = s.let(s.src());
      const r = s.let(s.sub(a, b));
      s.flagsSub(a, b, r);
      return r;
    }),
  sbb: (s) =>
    s.update((a) => {
      const b = s.let(s.src());
      const r = s.let(s.sub(s.sub(a, b), s.cf()));
      s.flagsSub(a, b, r);
      return r;
    }),
  cmp: (s) => {
    const a = s.dst();
    const b = s.let(s.src());
    s.flagsSub(a, b, s.let(s.sub(a, b)));
  },
  and: (s) => logic(s, (a, b) => s.and(a, b)),
  or: (s) => logic(s, (a, b) => s.or(a, b)),
  xor: (s) => logic(s, (a, b) => s.xor(a, b)),
  test: (s) => s.flagsLogic(s.let(s.and(s.dst(), s.src()))),
  not: (s) => s.update((a) => s.not(a)),
  neg: (s) =>
    s.update((a) => {
      const r = s.let(s.neg(a));
      s.flagsSub(s.k(0), a, r);
      return r;
    }),
  inc: (s) =>
    s.update((a) => {
      const r = s.let(s.add(a, s.k(1)));
      s.flagsIncDec(r, a, r);
      return r;
    }),
  dec: (s) =>
    s.update((a) => {
      const r = s.let(s.sub(a, s.k(1)));
      s.flagsIncDec(a, a, r);
      return r;
    }),
  lea: (s) => s.setR1(s.ea()),
  movzx8: (s) => s.setR1(s.let(s.src(8))),
  movzx16: (s) => s.setR1(s.let(s.src(16))),
  movsx8: (s) => s.setR1(s.sext(s.src(8), 8)),
  movsx16: (s) => s.setR1(s.sext(s.src(16), 16)),
  xchg: (s) => {
    if (s.destinationIsMemory) {
      s.modifyLinear(s.size, s.operandLinear(s.size, true), (a) => {
        const b = s.let(s.r2());
        s.setR2(a);
        return b;
      });
      return;
    }
    const a = s.let(s.r1());
    const b = s.let(s.r2());
    s.setR1(b);
    s.setR2(a);
  },
  xadd: (s) => {
    s.update((a) => {
      const b = s.let(s.r2());
      const r = s.let(s.add(a, b));
      s.setR2(a);
      s.flagsAdd(a, b, r);
      return r;
    });
  },
  cmpxchg: (s) =>
    s.update((a) => {
      const accumulator = s.let(s.reg(0, s.size));
      const b = s.let(s.r2());
      const difference = s.let(s.sub(accumulator, a));
      const equal = s.let(s.eqz(s.zext(difference, s.size)));
      s.flagsSub(accumulator, a, difference);
      // Written only if unequal: with a register destination that is the accumulator itself the order matters.
      s.if(s.eqz(equal), () => s.setReg(0, a, s.size));
      return s.sel(equal, b, a);
    }),
  cmpxchg8b: (s) => compareExchange64(s),
  bswap: (s) => {
    const a = s.let(s.r1(32));
    const swapped = s.or(
      s.and(s.bin('rotl', a, s.k(8)), s.k(0x00ff00ff)),
      s.and(s.bin('rotr', a, s.k(8)), s.k(0xff00ff00 | 0)),
    );
    s.setR1(s.size === 16 ? s.k(0) : swapped);
  },
  cbw: (s) => s.setReg(0, s.sext(s.reg(0, s.size / 2), s.size / 2), s.size),
  cwd: (s) => s.setReg(2, s.sar(s.sext(s.reg(0, s.size), s.size), s.k(31)), s.size),
  nop: () => {},
  salc: (s) => s.setReg(0, s.neg(s.cf()), 8),
  clc: (s) => s.setCarry(s.k(0)),
  stc: (s) => s.setCarry(s.k(1)),
  cmc: (s) => s.setCarry(s.xor(s.cf(), s.k(1))),
};

/** Only what hits the TLB; ZF alone changes: bit 0 of FC says it is set, FR 3 has SF and PF of FR 0. */
function compareExchange64(s: Emitter): void {
  s.guard('cx8', () => s.eqz(s.and(s.state(L.FEATURES), s.k(FEATURE_CX8))));
  const linear = s.operandLinear(64, true);
  const { host, miss } = s.probe(linear, true, 64);
  s.out.if(miss, () => s.cold('cmpxchg8b'));
  const pair = (high: number, low: number): Node =>
    s.bin64('or', s.bin64('shl', s.u64(s.reg(high)), s.k64(32)), s.u64(s.reg(low)));
  const old = s.let(load('ld64', host, 0));
  const equal = s.let(s.bin64('eq', old, pair(2, 0)));
  s.out.store(64, host, 0, s.sel(equal, pair(1, 3), old));
  s.setReg(0, s.sel(equal, s.reg(0), s.low(old)));
  s.setReg(2, s.sel(equal, s.reg(2), s.low(s.bin64('shr', old, s.k64(32)))));
  const fc = s.let(s.fc());
  const fr = s.let(s.fr());
  s.setFc(s.or(s.and(fc, s.k(~1)), equal));
  s.setFr(s.sel(fr, fr, s.k(3)));
}

function logic(s: Emitter, f: (a: Node, b: Node) => Node): void {
  s.update((a) => {
    const r = s.let(f(a, s.src()));
    s.flagsLogic(r);
    return r;
  });
}
