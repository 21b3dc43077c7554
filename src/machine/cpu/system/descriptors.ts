/**
 * Segment descriptors as they stand in the GDT and LDT. Intel SDM volume 3A, 3.4.5 and 3.5.
 * A fetched descriptor lies in the scratch object {@link desc}; copy what is needed before the next fetch.
 */
import type { CpuState } from '../cpu-state.ts';
import * as L from '../layout.ts';
import { readLinear32, writeLinear8 } from '../linear.ts';
import { DESC_A, DESC_DPL_SHIFT, DESC_G, DESC_P } from '../mode.ts';

/** System descriptor types (bits 8–11, S = 0). */
export const TYPE_TSS16 = 1;
export const TYPE_LDT = 2;
export const TYPE_TSS16_BUSY = 3;
export const TYPE_CALL16 = 4;
export const TYPE_TASK_GATE = 5;
export const TYPE_INTERRUPT16 = 6;
export const TYPE_TRAP16 = 7;
export const TYPE_TSS32 = 9;
export const TYPE_TSS32_BUSY = 11;
export const TYPE_CALL32 = 12;
export const TYPE_INTERRUPT32 = 14;
export const TYPE_TRAP32 = 15;

/** The descriptor fetched last: its two dwords and its linear address. */
export const desc = { low: 0, high: 0, address: 0 };

/** A selector without RPL: the form it has in error codes. */
export function selectorError(selector: number): number {
  return selector & 0xfffc;
}
export function isNull(selector: number): boolean {
  return (selector & 0xfffc) === 0;
}

/** Reads the descriptor of `selector` into {@link desc}. False: it lies outside its table. May raise #PF. */
export function fetchDescriptor(c: CpuState, selector: number): boolean {
  let base: number;
  let limit: number;
  if ((selector & 4) !== 0) {
    if ((c.segFlags(L.LDTR) & DESC_P) === 0) return false;
    base = c.segBase(L.LDTR);
    limit = c.segLimit(L.LDTR) >>> 0;
  } else {
    base = c.get(L.GDT_BASE);
    limit = c.get(L.GDT_LIMIT) & 0xffff;
  }
  const offset = selector & 0xfff8;
  if (offset + 7 > limit) return false;
  const address = (base + offset) | 0;
  desc.address = address;
  desc.low = readLinear32(c, address, 0);
  desc.high = readLinear32(c, (address + 4) | 0, 0);
  return true;
}

/** {@link fetchDescriptor} that raises `vector` with the selector as error code when it lies outside its table. */
export function fetchOrRaise(c: CpuState, selector: number, vector: number): void {
  if (!fetchDescriptor(c, selector)) c.raise(vector, selector & 0xfffc);
}

export function descriptorBase(low: number, high: number): number {
  return (low >>> 16) | ((high & 0xff) << 16) | (high & 0xff000000);
}
/** In bytes, granularity applied; signed 32-bit (-1: 4 GiB). */
export function descriptorLimit(low: number, high: number): number {
  const limit = (low & 0xffff) | (high & 0xf0000);
  return (high & DESC_G) !== 0 ? (limit << 12) | 0xfff : limit;
}
export function descriptorDpl(high: number): number {
  return (high >> DESC_DPL_SHIFT) & 3;
}
/** The type field of a system descriptor, 0–15. */
export function systemType(high: number): number {
  return (high >> 8) & 15;
}

/** Sets the accessed bit in memory if it is clear; returns the high dword with the bit set. May raise #PF. */
export function markAccessed(c: CpuState, address: number, high: number): number {
  if ((high & DESC_A) !== 0) return high;
  writeLinear8(c, (address + 5) | 0, ((high >>> 8) & 0xff) | 1, 0);
  return high | DESC_A;
}
