/** MMX and SSE cold operations by the names that the instruction table (isa-simd.ts) uses. */
import { NEXT } from '../cpu-state.ts';
import { pendingException } from '../fpu/stack.ts';
import { immediate, rmRegister } from '../operands.ts';
import { FEATURE_MMX, FEATURE_SSE } from '../system/cpu-models.ts';
import { INTEGER } from './integer.ts';
import { MOVE_OPERATIONS } from './moves.ts';
import {
  checkMmx,
  d32,
  enterMmx,
  loadMmx,
  mmx,
  type Operation,
  restart,
  s32,
  storeMmx,
  xmm,
} from './operands.ts';
import { FLOAT_OPERATIONS } from './sse-float.ts';

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

const MMX_OPERATIONS = Object.fromEntries(
  Object.entries(INTEGER).map(([name, f]) => [
    name,
    mmx(f, WITH_SSE.has(name) ? FEATURE_SSE : FEATURE_MMX, LOW_HALF.has(name) ? 4 : 8),
  ]),
);
const SHIFTS = Object.fromEntries(
  ['psrlw', 'psraw', 'psllw', 'psrld', 'psrad', 'pslld', 'psrlq', 'psllq'].map((name) => [
    `${name}_i`,
    shiftByImmediate(INTEGER[name]!),
  ]),
);

export const SIMD_OPERATIONS: Readonly<Record<string, Operation>> = {
  ...MMX_OPERATIONS,
  ...SHIFTS,
  ...MOVE_OPERATIONS,
  ...FLOAT_OPERATIONS,
  andps: xmm(INTEGER['pand']!),
  andnps: xmm(INTEGER['pandn']!),
  orps: xmm(INTEGER['por']!),
  xorps: xmm(INTEGER['pxor']!),
  unpcklps: xmm(INTEGER['punpckldq']!),
  unpckhps: xmm(INTEGER['punpckhdq']!),
};
