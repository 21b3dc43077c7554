/** The shared x87 functions of generated code, alone: operands, control word and results as the TypeScript ones have them. */
import { type Extended, fp } from '../../src/machine/cpu/fpu/extended.ts';
import { defineX87Functions } from '../../src/machine/cpu/generate/x87/functions.ts';
import * as L from '../../src/machine/cpu/layout.ts';
import { ModuleWriter } from '../../src/machine/cpu/wasm/module-writer.ts';

const memory = new WebAssembly.Memory({ initial: 1 });
const view = new DataView(memory.buffer);
const [A, B, TO] = [L.FPU_REGS, L.FPU_REGS + 16, L.FPU_REGS + 32];
const SW_C1 = 0x200;

function instantiate(): Record<string, (...args: number[]) => number> {
  const module = new ModuleWriter(1);
  defineX87Functions(module);
  const instance = new WebAssembly.Instance(new WebAssembly.Module(module.finish()), { e: { m: memory } });
  return instance.exports as Record<string, (...args: number[]) => number>;
}
const functions = instantiate();

/** How many calls generated code answered itself, and how many it left. */
export const calls = { done: 0, left: 0 };

function put(at: number, v: Extended): void {
  view.setInt32(at, v.lo, true);
  view.setInt32(at + 4, v.hi, true);
  view.setInt32(at + 8, v.se, true);
}
/** Control word from `fp`; status clear. */
function prepare(a: Extended, b?: Extended): void {
  const precision = fp.precision === 24 ? 0 : fp.precision === 53 ? 0x200 : 0x300;
  view.setInt32(L.FPU_CW, 0x40 | fp.masks | precision | (fp.rounding << 10), true);
  view.setInt32(L.FPU_SW, 0, true);
  put(A, a);
  if (b !== undefined) put(B, b);
}
function noteStatus(status: number): void {
  fp.flags = status & 0x3f;
  fp.up = (status & SW_C1) !== 0 ? 1 : 0;
}
function count(done: boolean): boolean {
  if (done) calls.done++;
  else calls.left++;
  return done;
}

/** Whether it did it; flags go to `fp`. */
export function compute(name: string, a: Extended, b?: Extended, flip?: number): boolean {
  prepare(a, b);
  const operands = b === undefined ? [A, TO] : [A, B, TO];
  const cold = functions[name]!(...operands, ...(flip === undefined ? [] : [flip])) !== 0;
  if (!cold) noteStatus(view.getInt32(L.FPU_SW, true));
  return count(!cold);
}
export function result(out: Extended): void {
  out.lo = view.getInt32(TO, true);
  out.hi = view.getInt32(TO + 4, true);
  out.se = view.getUint16(TO + 8, true);
}
export function convert(name: string, a: Extended, limit?: number): boolean {
  prepare(a);
  const status = functions[name]!(A, ...(limit === undefined ? [] : [limit]));
  if (status !== 0) noteStatus(status);
  return count(status !== 0);
}
/** High and low half of a converted value. */
export function value(): [number, number] {
  return [view.getInt32(L.FPU_VALUE + 4, true), view.getInt32(L.FPU_VALUE, true)];
}
