/**
 * What SIMD semantics share: when they may run, and their operands. MMX values are the low halves of vectors whose high half is 0.
 * What is rare (faults, feature missing, pending x87 exception) is left to the cold operation of the same name.
 */
import * as L from '../../layout.ts';
import { FEATURE_MMX, FEATURE_SSE, FEATURE_SSE2 } from '../../system/cpu-models.ts';
import type { Emitter } from '../emitter.ts';
import { load, type Node, type NodeType, vector } from '../node.ts';
import { V } from '../vector-ops.ts';

export { FEATURE_MMX, FEATURE_SSE, FEATURE_SSE2 };

const CR0_EM_TS = 0xc;
const CR4_OSFXSR = 0x200;
const SW_ES = 0x80;

/** A vector operation giving a vector, or an integer if `type` says so. */
export function v(opcode: number, ...operands: Node[]): Node {
  return vector(opcode, 'v128', operands);
}
export function shuffle(a: Node, b: Node, lanes: readonly number[]): Node {
  return vector(V.shuffle, 'v128', [a, b], lanes);
}
/** Sixteen bytes: a pattern of 1, 2, 4, 8 or 16 bytes, repeated. */
export function pattern(...bytes: number[]): Node {
  const lanes = Array.from({ length: 16 }, (_, i) => bytes[i % bytes.length]!);
  return vector(V.constant, 'v128', [], lanes);
}
export const ZERO = pattern(0);
export function lane(opcode: number, type: NodeType, a: Node, n: number): Node {
  return vector(opcode, type, [a], [n]);
}
/** The low quadword. */
export function lowQuad(a: Node): Node {
  return lane(V.extractQ, 'i64', a, 0);
}
export function lowWord(a: Node): Node {
  return lane(V.extractD, 'i32', a, 0);
}

/** Guards of MMX instructions. SDM 3A, 12.1. */
export function checkMmx(s: Emitter, feature: number): void {
  s.guard(`mmx ${feature}`, () => {
    const off = s.and(s.state(L.CR0), s.k(CR0_EM_TS));
    const waiting = s.and(s.state(L.FPU_SW), s.k(SW_ES));
    return s.or(s.or(off, waiting), lacks(s, feature));
  });
}
/** Guards of SSE instructions. SDM 3A, 13.1. */
export function checkXmm(s: Emitter, feature: number): void {
  s.guard(`xmm ${feature}`, () => {
    const off = s.and(s.state(L.CR0), s.k(CR0_EM_TS));
    const unsaved = s.eqz(s.and(s.state(L.CR4), s.k(CR4_OSFXSR)));
    return s.or(s.or(off, unsaved), lacks(s, feature));
  });
}
export function lacks(s: Emitter, feature: number): Node {
  return s.eqz(s.and(s.state(L.FEATURES), s.k(feature)));
}

export type Field = 'reg' | 'rm';

export function mmxAt(s: Emitter, field: Field): Node {
  return s.vectorRegister(field, L.FPU_REGS);
}
export function xmmAt(s: Emitter, field: Field): Node {
  return s.vectorRegister(field, L.XMM);
}
/** The r/m operand is memory. */
export function inMemory(s: Emitter): boolean {
  return s.form.includes('M');
}

/** Linear address of the memory operand; `aligned`: #GP(0) unless it is a multiple of 16. */
export function address(s: Emitter, bits: number, write: boolean, aligned: boolean): Node {
  const linear = s.operandLinear(bits, write);
  if (aligned) s.if(s.and(linear, s.k(15)), () => s.raise(13, 0));
  return linear;
}

/** MMX operand in the r/m field, `bits` of memory read. */
export function sourceMmx(s: Emitter, bits = 64): Node {
  const op = bits === 32 ? 'ldv32' : 'ldv64';
  if (inMemory(s)) return s.loadLinear(bits, address(s, bits, false, false), op);
  return s.let(load('ldv64', mmxAt(s, 'rm'), 0));
}
/** XMM operand in the r/m field. */
export function sourceXmm(s: Emitter, aligned = true): Node {
  if (inMemory(s)) return s.loadLinear(128, address(s, 128, false, aligned));
  return s.let(load('ldv', xmmAt(s, 'rm'), 0));
}
/** The low part of it, loaded by `op`. */
export function sourceLow(s: Emitter, bits: number, op: string): Node {
  if (inMemory(s)) return s.loadLinear(bits, address(s, bits, false, false), op);
  return s.let(load(op, xmmAt(s, 'rm'), 0));
}

/** Writes an MMX register: low quadword of a vector, or a 64-bit value; sign and exponent become ones. */
export function setMmx(s: Emitter, field: Field, value: Node): void {
  const at = mmxAt(s, field);
  const quad = value.type === 'v128' ? lowQuad(value) : value;
  s.out.store(64, at, 0, quad);
  s.out.store(32, at, 8, s.k(0xffff));
  s.setMmxTags(false);
}
export function setXmm(s: Emitter, field: Field, value: Node): void {
  s.out.store(128, xmmAt(s, field), 0, value);
}
