/** All generated operations by name; the instruction table (isa.ts) refers to these. */
import type { Emitter } from '../emitter.ts';
import { ARITHMETIC } from './arithmetic.ts';
import { CONTROL_FLOW } from './control.ts';
import { MULTIPLY } from './multiply.ts';
import { SEGMENT_LOADS } from './segments.ts';
import { SHIFT } from './shift.ts';
import { SIMD_FLOAT } from './simd-float.ts';
import { SIMD_INTEGER } from './simd-integer.ts';
import { SIMD_MOVES } from './simd-moves.ts';
import { STRINGS } from './string.ts';
import { X87 } from './x87.ts';

export type Semantics = Readonly<Record<string, (s: Emitter) => void>>;

export const SEMANTICS: Semantics = {
  ...ARITHMETIC,
  ...MULTIPLY,
  ...SHIFT,
  ...CONTROL_FLOW,
  ...SEGMENT_LOADS,
  ...STRINGS,
  ...SIMD_INTEGER,
  ...SIMD_MOVES,
  ...SIMD_FLOAT,
  ...X87,
};
