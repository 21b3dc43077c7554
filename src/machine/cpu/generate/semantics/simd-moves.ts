/** MMX and SSE moves, shuffles by constants, insertions and extractions of words. */
import type { Emitter } from '../emitter.ts';
import { isConstant, load, type Node } from '../node.ts';
import {
  address,
  checkMmx,
  checkXmm,
  FEATURE_MMX,
  FEATURE_SSE,
  FEATURE_SSE2,
  inMemory,
  lacks,
  mmxAt,
  setMmx,
  setXmm,
  shuffle,
  sourceLow,
  sourceMmx,
  sourceXmm,
  xmmAt,
} from './simd-operands.ts';

type Definition = (s: Emitter) => void;

function loading(aligned: boolean, feature: number): Definition {
  return (s) => {
    checkXmm(s, feature);
    setXmm(s, 'reg', sourceXmm(s, aligned));
  };
}
function storing(aligned: boolean, feature: number): Definition {
  return (s) => {
    checkXmm(s, feature);
    const value = load('ldv', xmmAt(s, 'reg'), 0);
    if (inMemory(s)) s.storeLinear(128, address(s, 128, true, aligned), value);
    else setXmm(s, 'rm', value);
  };
}
/** MOVSS and MOVSD: from memory the rest becomes 0, from a register it stays. */
function loadingScalar(bits: 32 | 64, feature: number): Definition {
  return (s) => {
    checkXmm(s, feature);
    if (inMemory(s)) setXmm(s, 'reg', sourceLow(s, bits, bits === 32 ? 'ldv32' : 'ldv64'));
    else s.out.store(bits, xmmAt(s, 'reg'), 0, load(bits === 32 ? 'ld32' : 'ld64', xmmAt(s, 'rm'), 0));
  };
}
function storingScalar(bits: 32 | 64, feature: number): Definition {
  return (s) => {
    checkXmm(s, feature);
    const value = load(bits === 32 ? 'ld32' : 'ld64', xmmAt(s, 'reg'), 0);
    if (inMemory(s)) s.storeLinear(bits, address(s, bits, true, false), value);
    else s.out.store(bits, xmmAt(s, 'rm'), 0, value);
  };
}
/** MOVLPS, MOVHPS and the like; register forms are MOVHLPS and MOVLHPS. */
function loadingHalf(high: boolean, feature: number): Definition {
  return (s) => {
    checkXmm(s, feature);
    const value = inMemory(s)
      ? s.loadLinear(64, address(s, 64, false, false))
      : load('ld64', xmmAt(s, 'rm'), high ? 0 : 8);
    s.out.store(64, xmmAt(s, 'reg'), high ? 8 : 0, value);
  };
}
function storingHalf(high: boolean, feature: number): Definition {
  return (s) => {
    checkXmm(s, feature);
    s.storeLinear(64, address(s, 64, true, false), load('ld64', xmmAt(s, 'reg'), high ? 8 : 0));
  };
}
function general(s: Emitter): Node {
  return inMemory(s) ? s.loadLinear(32, address(s, 32, false, false)) : s.let(s.generalRegister('rm'));
}

/** An operation whose immediate selects lanes: only units know it; `f` gives sixteen lane numbers of (destination, source). */
function shuffling(
  check: (s: Emitter) => void,
  operands: (s: Emitter) => readonly [Node, Node],
  set: (s: Emitter, value: Node) => void,
  f: (order: number) => number[],
): Definition {
  return (s) => {
    const imm = s.imm();
    if (!isConstant(imm)) {
      s.cold(s.operation);
      return;
    }
    check(s);
    const [a, b] = operands(s);
    set(s, shuffle(a, b, f(imm.n & 0xff)));
  };
}
const toXmm = (s: Emitter, value: Node): void => setXmm(s, 'reg', value);
const sourceTwice = (s: Emitter): readonly [Node, Node] => {
  const b = sourceXmm(s);
  return [b, b];
};
const bothOperands = (s: Emitter): readonly [Node, Node] => {
  const b = sourceXmm(s);
  return [load('ldv', xmmAt(s, 'reg'), 0), b];
};
const sse = (s: Emitter): void => checkXmm(s, FEATURE_SSE);
const sse2 = (s: Emitter): void => checkXmm(s, FEATURE_SSE2);
/** Bytes of the lanes listed, `size` bytes each. */
function bytesOf(lanes: readonly number[], size: number): number[] {
  return lanes.flatMap((n) => Array.from({ length: size }, (_, i) => n * size + i));
}
const selector = (order: number, i: number): number => (order >> (i * 2)) & 3;

const SHUFFLES: Readonly<Record<string, Definition>> = {
  shufps: shuffling(sse, bothOperands, toXmm, (o) =>
    bytesOf([selector(o, 0), selector(o, 1), 4 + selector(o, 2), 4 + selector(o, 3)], 4),
  ),
  shufpd: shuffling(sse2, bothOperands, toXmm, (o) => bytesOf([o & 1, 2 + ((o >> 1) & 1)], 8)),
  pshufd: shuffling(sse2, sourceTwice, toXmm, (o) =>
    bytesOf(
      [0, 1, 2, 3].map((i) => selector(o, i)),
      4,
    ),
  ),
  pshuflw: shuffling(sse2, sourceTwice, toXmm, (o) =>
    bytesOf([...[0, 1, 2, 3].map((i) => selector(o, i)), 4, 5, 6, 7], 2),
  ),
  pshufhw: shuffling(sse2, sourceTwice, toXmm, (o) =>
    bytesOf([0, 1, 2, 3, ...[0, 1, 2, 3].map((i) => 4 + selector(o, i))], 2),
  ),
  pshufw: shuffling(
    (s) => checkMmx(s, FEATURE_SSE),
    (s) => {
      const b = sourceMmx(s);
      return [b, b];
    },
    (s, value) => setMmx(s, 'reg', value),
    (o) => bytesOf([...[0, 1, 2, 3].map((i) => selector(o, i)), 4, 5, 6, 7], 2),
  ),
};

/** Address of the word of a register that the immediate names. */
function wordAt(s: Emitter, register: Node, words: number): Node {
  return s.add(register, s.shl(s.and(s.imm(), s.k(words - 1)), s.k(1)));
}
function insertedWord(s: Emitter): Node {
  return inMemory(s) ? s.loadLinear(16, address(s, 16, false, false)) : s.let(s.generalRegister('rm'));
}

export const SIMD_MOVES: Readonly<Record<string, Definition>> = {
  ...SHUFFLES,
  movaps_load: loading(true, FEATURE_SSE),
  movaps_store: storing(true, FEATURE_SSE),
  movups_load: loading(false, FEATURE_SSE),
  movups_store: storing(false, FEATURE_SSE),
  movapd_load: loading(true, FEATURE_SSE2),
  movapd_store: storing(true, FEATURE_SSE2),
  movupd_load: loading(false, FEATURE_SSE2),
  movupd_store: storing(false, FEATURE_SSE2),
  movntps: storing(true, FEATURE_SSE),
  movnt_x: storing(true, FEATURE_SSE2),
  movss_load: loadingScalar(32, FEATURE_SSE),
  movss_store: storingScalar(32, FEATURE_SSE),
  movsd_load: loadingScalar(64, FEATURE_SSE2),
  movsd_store: storingScalar(64, FEATURE_SSE2),
  movlps_load: loadingHalf(false, FEATURE_SSE),
  movhps_load: loadingHalf(true, FEATURE_SSE),
  movlps_store: storingHalf(false, FEATURE_SSE),
  movhps_store: storingHalf(true, FEATURE_SSE),
  movlpd_load: loadingHalf(false, FEATURE_SSE2),
  movhpd_load: loadingHalf(true, FEATURE_SSE2),
  movlpd_store: storingHalf(false, FEATURE_SSE2),
  movhpd_store: storingHalf(true, FEATURE_SSE2),
  movd_load_x: (s) => {
    checkXmm(s, FEATURE_SSE2);
    const value = general(s);
    const at = xmmAt(s, 'reg');
    s.out.store(64, at, 0, s.u64(value));
    s.out.store(64, at, 8, s.k64(0));
  },
  movd_store_x: (s) => {
    checkXmm(s, FEATURE_SSE2);
    const value = load('ld32', xmmAt(s, 'reg'), 0);
    if (inMemory(s)) s.storeLinear(32, address(s, 32, true, false), value);
    else s.setGeneralRegister('rm', value);
  },
  movq_load_x: (s) => {
    checkXmm(s, FEATURE_SSE2);
    setXmm(s, 'reg', sourceLow(s, 64, 'ldv64'));
  },
  movq_store_x: (s) => {
    checkXmm(s, FEATURE_SSE2);
    if (inMemory(s)) s.storeLinear(64, address(s, 64, true, false), load('ld64', xmmAt(s, 'reg'), 0));
    else setXmm(s, 'rm', load('ldv64', xmmAt(s, 'reg'), 0));
  },
  movnti: (s) => {
    s.guard('movnti', () => lacks(s, FEATURE_SSE2));
    s.storeLinear(32, address(s, 32, true, false), s.generalRegister('reg'));
  },
  movd_to_mmx: (s) => {
    checkMmx(s, FEATURE_MMX);
    setMmx(s, 'reg', s.u64(general(s)));
  },
  movd_from_mmx: (s) => {
    checkMmx(s, FEATURE_MMX);
    const value = load('ld32', mmxAt(s, 'reg'), 0);
    if (inMemory(s)) s.storeLinear(32, address(s, 32, true, false), value);
    else s.setGeneralRegister('rm', value);
    s.setMmxTags(false);
  },
  movq_load: (s) => {
    checkMmx(s, FEATURE_MMX);
    const value = inMemory(s)
      ? s.loadLinear(64, address(s, 64, false, false))
      : s.let(load('ld64', mmxAt(s, 'rm'), 0));
    setMmx(s, 'reg', value);
  },
  movq_store: (s) => storeMmx(s, FEATURE_MMX),
  movntq: (s) => storeMmx(s, FEATURE_SSE),
  movdq2q: (s) => {
    checkXmm(s, FEATURE_SSE2);
    checkMmx(s, FEATURE_SSE2);
    setMmx(s, 'reg', s.let(load('ld64', xmmAt(s, 'rm'), 0)));
  },
  movq2dq: (s) => {
    checkXmm(s, FEATURE_SSE2);
    checkMmx(s, FEATURE_SSE2);
    s.setMmxTags(false);
    setXmm(s, 'reg', load('ldv64', mmxAt(s, 'rm'), 0));
  },
  pinsrw: (s) => {
    checkMmx(s, FEATURE_SSE);
    const value = insertedWord(s);
    const at = s.let(mmxAt(s, 'reg'));
    s.out.store(16, wordAt(s, at, 4), 0, value);
    s.out.store(32, at, 8, s.k(0xffff));
    s.setMmxTags(false);
  },
  pextrw: (s) => {
    checkMmx(s, FEATURE_SSE);
    s.setMmxTags(false);
    s.setGeneralRegister('reg', load('ld16u', wordAt(s, mmxAt(s, 'rm'), 4), 0));
  },
  pinsrw_x: (s) => {
    checkXmm(s, FEATURE_SSE2);
    const value = insertedWord(s);
    s.out.store(16, wordAt(s, xmmAt(s, 'reg'), 8), 0, value);
  },
  pextrw_x: (s) => {
    checkXmm(s, FEATURE_SSE2);
    s.setGeneralRegister('reg', load('ld16u', wordAt(s, xmmAt(s, 'rm'), 8), 0));
  },
  emms: (s) => {
    checkMmx(s, FEATURE_MMX);
    s.setMmxTags(true);
  },
};

function storeMmx(s: Emitter, feature: number): void {
  checkMmx(s, feature);
  const value = s.let(load('ld64', mmxAt(s, 'reg'), 0));
  if (inMemory(s)) {
    s.storeLinear(64, address(s, 64, true, false), value);
    s.setMmxTags(false);
  } else setMmx(s, 'rm', value);
}
