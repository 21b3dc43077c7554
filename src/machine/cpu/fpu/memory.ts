/** Memory operands wider than a register: 8, 10 and 16 bytes, checked whole before the first byte moves. */
import type { CpuState } from '../cpu-state.ts';
import * as L from '../layout.ts';
import {
  checkAlignment,
  probeWrite,
  readLinear16,
  readLinear32,
  readLinear8,
  writeLinear16,
  writeLinear32,
  writeLinear8,
} from '../linear.ts';
import { operandSize, segmentCheck } from '../operands.ts';
import { bits } from './convert.ts';
import type { Extended } from './extended.ts';

function user(c: CpuState): number {
  return c.get(L.CPL) === 3 ? 1 : 0;
}

/** Into `bits`. */
export function read64(c: CpuState, seg: number, offset: number): void {
  const linear = segmentCheck(c, seg, offset, 8, false);
  const u = user(c);
  const lo = readLinear32(c, linear, u);
  bits.hi = readLinear32(c, (linear + 4) | 0, u);
  bits.lo = lo;
}

/** From `bits`. */
export function write64(c: CpuState, seg: number, offset: number): void {
  const linear = segmentCheck(c, seg, offset, 8, true);
  const u = user(c);
  if ((linear & 0xfff) > 0xff8) probeWrite(c, linear, 8, u);
  writeLinear32(c, linear, bits.lo, u);
  writeLinear32(c, (linear + 4) | 0, bits.hi, u);
}

export function read80(c: CpuState, seg: number, offset: number, out: Extended): void {
  const linear = segmentCheck(c, seg, offset, 10, false);
  const u = user(c);
  const lo = readLinear32(c, linear, u);
  const hi = readLinear32(c, (linear + 4) | 0, u);
  out.se = readLinear16(c, (linear + 8) | 0, u);
  out.hi = hi;
  out.lo = lo;
}

export function write80(c: CpuState, seg: number, offset: number, value: Extended): void {
  const linear = segmentCheck(c, seg, offset, 10, true);
  const u = user(c);
  if ((linear & 0xfff) > 0xff6) probeWrite(c, linear, 10, u);
  writeLinear32(c, linear, value.lo, u);
  writeLinear32(c, (linear + 4) | 0, value.hi, u);
  writeLinear16(c, (linear + 8) | 0, value.se, u);
}

export function readBytes(c: CpuState, seg: number, offset: number, bytes: Uint8Array): void {
  const linear = checkRange(c, seg, offset, bytes.length, false);
  for (let i = 0; i < bytes.length; i++) bytes[i] = readLinear8(c, (linear + i) | 0, user(c));
}

export function writeBytes(c: CpuState, seg: number, offset: number, bytes: Uint8Array): void {
  const linear = checkRange(c, seg, offset, bytes.length, true);
  const u = user(c);
  probeWrite(c, linear, 1, u);
  probeWrite(c, (linear + bytes.length - 1) | 0, 1, u);
  for (let i = 0; i < bytes.length; i++) writeLinear8(c, (linear + i) | 0, bytes[i]!, u);
}

/** Segment check of both ends of an operand of up to a page. */
export function checkRange(c: CpuState, seg: number, offset: number, length: number, write: boolean): number {
  const linear = segmentCheck(c, seg, offset, 1, write);
  segmentCheck(c, seg, (offset + length - 1) >>> 0, 1, write);
  checkAlignment(c, linear, operandSize(c) / 8);
  return linear;
}
