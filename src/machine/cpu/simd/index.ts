/** MMX and SSE cold operations by the names that the instruction table (isa-simd.ts) uses. */
import { NEXT } from '../cpu-state.ts';
import { pendingException } from '../fpu/stack.ts';
import { immediate, rmRegister } from '../operands.ts';
import { FEATURE_MMX, FEATURE_SSE, FEATURE_SSE2 } from '../system/cpu-models.ts';
import { INTEGER } from './integer.ts';
import { MOVE_OPERATIONS } from './moves.ts';
import {
  checkMmx,
  checkXmm,
  d32,
  enterMmx,
  loadMmx,
  loadXmm,
  mmx,
  type Operation,
  restart,
  s32,
  storeMmx,
  storeXmm,
  xmm,
} from './operands.ts';
import { FLOAT_OPERATIONS } from './sse-float.ts';
import { DOUBLE_OPERATIONS } from './sse2-float.ts';
import { SSE2_MOVES } from './sse2-moves.ts';

/** MMX instructions that came with SSE. */
const WITH_SSE = new Set(['pminub', 'pmaxub', 'pavgb', 'pavgw', 'pmulhuw', 'pminsw', 'pmaxsw', 'psadbw']);
/** These read only four bytes of memory. */
const LOW_HALF = new Set(['punpcklbw', 'punpcklwd', 'punpckldq']);

/** Shift of an MMX register by an immediate. */
function shiftByImmediate(f: (n: number) => void): Operation {
  return (c) => {
    checkMmx(c, FEATURE_MMX);
    if (pendingException(c)) return restart(c);
    const r = rmRegister(c);
    s32[0] = immediate(c) & 0xff;
    s32[1] = 0;
    loadMmx(c, r, d32);
    f(8);
    enterMmx(c);
    storeMmx(c, r, d32);
    return NEXT;
  };
}

/** Shift of an XMM register by an immediate. */
function shiftXmmByImmediate(f: (n: number) => void): Operation {
  return (c) => {
    checkXmm(c, FEATURE_SSE2);
    const r = rmRegister(c);
    s32[0] = immediate(c) & 0xff;
    s32[1] = 0;
    loadXmm(c, r, d32);
    f(16);
    storeXmm(c, r, d32);
    return NEXT;
  };
}

/** MMX instructions that came with SSE2, and those that only XMM registers have. */
const WITH_SSE2 = new Set(['paddq', 'psubq', 'pmuludq']);
const featureOf = (name: string): number =>
  WITH_SSE2.has(name) ? FEATURE_SSE2 : WITH_SSE.has(name) ? FEATURE_SSE : FEATURE_MMX;

const MMX_OPERATIONS = Object.fromEntries(
  Object.entries(INTEGER).map(([name, f]) => [name, mmx(f, featureOf(name), LOW_HALF.has(name) ? 4 : 8)]),
);
const SHIFT_NAMES = ['psrlw', 'psraw', 'psllw', 'psrld', 'psrad', 'pslld', 'psrlq', 'psllq'];
const SHIFTS = Object.fromEntries(SHIFT_NAMES.map((name) => [`${name}_i`, shiftByImmediate(INTEGER[name]!)]));

const XMM_INTEGER = Object.fromEntries(
  Object.entries(INTEGER).map(([name, f]) => [`${name}_x`, xmm(f, FEATURE_SSE2)]),
);
const XMM_SHIFTS = Object.fromEntries(
  [...SHIFT_NAMES, 'pslldq', 'psrldq'].map((name) => [`${name}_xi`, shiftXmmByImmediate(INTEGER[name]!)]),
);

export const SIMD_OPERATIONS: Readonly<Record<string, Operation>> = {
  ...MMX_OPERATIONS,
  ...SHIFTS,
  ...MOVE_OPERATIONS,
  ...FLOAT_OPERATIONS,
  ...XMM_INTEGER,
  ...XMM_SHIFTS,
  ...SSE2_MOVES,
  ...DOUBLE_OPERATIONS,
  andps: xmm(INTEGER['pand']!),
  andnps: xmm(INTEGER['pandn']!),
  orps: xmm(INTEGER['por']!),
  xorps: xmm(INTEGER['pxor']!),
  unpcklps: xmm(INTEGER['punpckldq']!),
  unpcklpd: xmm(INTEGER['punpcklqdq']!, FEATURE_SSE2),
  unpckhpd: xmm(INTEGER['punpckhqdq']!, FEATURE_SSE2),
  unpckhps: xmm(INTEGER['punpckhdq']!),
};
