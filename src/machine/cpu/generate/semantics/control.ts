/** Jumps, calls, stack operations, conditional moves and sets. */
import * as L from '../../layout.ts';
import { FLAG_DF, FLAG_IF, FLAG_RF, FLAG_VM } from '../../eflags.ts';
import { FEATURE_SSE2 } from '../../system/cpu-models.ts';
import { load } from '../node.ts';
import type { Emitter } from '../emitter.ts';
import type { Semantics } from './index.ts';

/** Condition codes and the places of their flags: CF, PF, ZF, SF, OF. */
const FLAG_BITS = [
  [2, 0],
  [10, 2],
  [4, 6],
  [8, 7],
  [0, 11],
] as const;

const CONTROL: Record<string, (s: Emitter) => void> = {
  jmp: (s) => {
    if (s.form === 'J') s.jumpRelative();
    else s.jumpIndirect(s.checkTarget(s.src()));
  },
  call: (s) => {
    if (s.form === 'J') {
      if (s.general) s.checkTarget(s.add(s.nextEip(), s.imm()));
      s.push(s.nextEip());
      s.jumpRelative();
      return;
    }
    const target = s.checkTarget(s.let(s.src()));
    s.push(s.nextEip());
    s.jumpIndirect(target);
  },
  ret: (s) => {
    const target = s.checkTarget(s.top());
    const extra = s.form === 'I' ? s.imm() : s.k(0);
    s.setStackPointer(s.add(s.add(s.reg(4), s.k(s.size / 8)), extra));
    s.jumpIndirect(target);
  },
  push: (s) => s.push(s.let(s.src())),
  pop: (s) => {
    const v = s.top();
    s.setStackPointer(s.add(s.reg(4), s.k(s.size / 8)));
    s.setR1(v);
  },
  leave: (s) => {
    const bp = s.let(s.reg(5));
    const v = s.top(s.size, bp);
    s.setStackPointer(s.add(bp, s.k(s.size / 8)));
    s.setReg(5, v, s.size);
  },
  loop: (s) => loop(s, undefined),
  loope: (s) => loop(s, 4),
  loopne: (s) => loop(s, 5),
  jcxz: (s) => s.jumpRelative(s.eqz(s.and(s.reg(1), s.addressMask()))),
  cld: (s) => s.setState(L.EFL, s.and(s.state(L.EFL), s.k(~FLAG_DF))),
  std: (s) => s.setState(L.EFL, s.or(s.state(L.EFL), s.k(FLAG_DF))),
  // IOPL matters in virtual-8086 mode only, and that is never flat.
  pushf: (s) => {
    if (s.general) {
      s.cold('pushf');
      return;
    }
    const af = s.let(s.and(s.shl(s.fc(), s.k(1)), s.k(0x10)));
    let flags = s.or(s.and(s.state(L.EFL), s.k(~(FLAG_VM | FLAG_RF))), s.or(af, s.k(2)));
    for (const [cc, bit] of FLAG_BITS) flags = s.or(flags, s.shl(s.let(s.condition(cc)), s.k(bit)));
    s.push(flags);
  },
  push_sreg: (s) => s.push(load('ld32', s.segment(), L.SEG_SELECTOR)),
  fence: (s) => s.guard('sse2', () => s.eqz(s.and(s.state(L.FEATURES), s.k(FEATURE_SSE2)))),
  cli: (s) =>
    s.if(
      s.state(L.CLI_OK),
      () => s.setState(L.EFL, s.and(s.state(L.EFL), s.k(~FLAG_IF))),
      () => s.cold('cli'),
    ),
};

for (let cc = 0; cc < 16; cc++) {
  CONTROL[`j${cc}`] = (s) => s.jumpRelative(s.condition(cc));
  CONTROL[`set${cc}`] = (s) => s.setDst(s.let(s.condition(cc)), 8);
  CONTROL[`cmov${cc}`] = (s) => {
    const v = s.let(s.src());
    s.setR1(s.sel(s.condition(cc), v, s.let(s.r1())));
  };
}

/** The counter is CX or ECX by address size; it is written even if the jump faults later. */
function loop(s: Emitter, cc: number | undefined): void {
  const mask = s.let(s.addressMask());
  const old = s.let(s.reg(1));
  const count = s.let(s.and(s.sub(old, s.k(1)), mask));
  const go = s.let(cc === undefined ? s.ne(count, s.k(0)) : s.and(s.ne(count, s.k(0)), s.condition(cc)));
  if (s.general) {
    s.out.if(go, () => {
      s.checkTarget(s.add(s.nextEip(), s.imm()));
    });
    s.setReg(1, s.or(s.and(old, s.not(mask)), count));
  } else s.setReg(1, count);
  s.jumpRelative(go);
}

export const CONTROL_FLOW: Semantics = CONTROL;
