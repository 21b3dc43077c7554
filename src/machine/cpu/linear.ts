/**
 * Linear-address accesses for cold operations and for generated code's slow path: TLB, page walk, MMIO, page crossings.
 * `user` is 1 for accesses with CPL 3, 0 for supervisor ones (descriptor tables, task switches, interrupt frames to an inner stack).
 * 8- and 16-bit reads are unsigned, 32-bit ones signed. All may raise #PF, before anything is changed.
 */
import { PAGE_READ, PAGE_WRITE } from '../memory.ts';
import { type CpuState, EXC_AC } from './cpu-state.ts';
import * as L from './layout.ts';
import { noteLocal } from './mode.ts';
import { translate, translation, tryTranslate } from './paging.ts';
import { debugActive, debugDataMatch } from './system/debug.ts';

const PAGE_PLAIN = PAGE_READ | PAGE_WRITE;

function slot(linear: number, user: number): number {
  return (user !== 0 ? L.TLB_USER : L.TLB_SUPER) + ((linear >>> 12) & (L.TLB_ENTRIES - 1)) * 16;
}

/**
 * Walks and, if the page is plain memory, fills the TLB. Returns the physical address. After a write walk the page's
 * guards have been told, so that the write tag may be given.
 */
export function walkAndFill(c: CpuState, linear: number, write: number, user: number): number {
  const physical = translate(c, linear, write, user);
  const entry = c.mem.pageMap[physical >>> 12]!;
  if ((entry & PAGE_READ) === 0) return physical;
  c.mem.ensurePresent((entry & ~0xfff) >>> 0);
  // While a breakpoint is armed every access takes the slow path, where it is looked at.
  if (debugActive(c) || (c.breakpoints.dataArmed && c.breakpoints.watchesPage(linear))) return physical;
  fill(c, linear, entry, user);
  return physical;
}

/** Fills the TLB with what the walk just done found: plain memory that is there, `entry` of the page map. */
function fill(c: CpuState, linear: number, entry: number, user: number): void {
  const address = (entry & ~0xfff) >>> 0;
  const at = slot(linear, user);
  const tag = linear & ~0xfff;
  const fast = (entry & PAGE_WRITE) !== 0 && translation.writable && c.mem.guard[address >>> 12] === 0;
  c.set(at, tag);
  c.set(at + 4, fast ? tag : L.TLB_INVALID);
  c.set(at + 8, (address - tag) | 0);
  if (!translation.global) noteLocal(c, at);
}

/** A breakpoint may be met, alignment is checked, or the operand lies in two pages: the fast paths below do not apply. */
function isSpecial(c: CpuState, linear: number, bytes: number): boolean {
  return (
    (linear & 0xfff) + bytes > 0x1000 ||
    c.get(L.TLBBASE) === L.TLB_NONE ||
    c.breakpoints.dataArmed ||
    debugActive(c)
  );
}

/** A TLB miss of generated code: where an operand can be read; -1: #PF, noted; 0: the slow path must do it. */
export function hostForRead(c: CpuState, linear: number, bytes: number, user: number): number {
  if (isSpecial(c, linear, bytes)) return 0;
  const physical = tryTranslate(c, linear, 0, user);
  if (physical < 0) return -1;
  const entry = c.mem.pageMap[physical >>> 12]!;
  if ((entry & PAGE_READ) === 0) return 0;
  c.mem.ensurePresent((entry & ~0xfff) >>> 0);
  fill(c, linear, entry, user);
  return ((entry & ~0xfff) >>> 0) + (physical & 0xfff);
}

/** The same for a write, or a read that a write follows: guards have been told of it. */
export function hostForWrite(c: CpuState, linear: number, bytes: number, user: number): number {
  if (isSpecial(c, linear, bytes)) return 0;
  const physical = tryTranslate(c, linear, 1, user);
  if (physical < 0) return -1;
  const entry = c.mem.pageMap[physical >>> 12]!;
  if ((entry & PAGE_PLAIN) !== PAGE_PLAIN) return 0;
  const host = ((entry & ~0xfff) >>> 0) + (physical & 0xfff);
  c.mem.noteWrite(host, bytes);
  c.mem.ensurePresent((entry & ~0xfff) >>> 0);
  fill(c, linear, entry, user);
  return host;
}

/** Drops write tags that may lead to a page whose guard was just raised. Cheap enough to drop all. */
export function dropWriteTags(c: CpuState): void {
  for (let at = L.TLB_SUPER; at < L.TLB_USER + L.TLB_ENTRIES * 16; at += 16)
    c.i32[(at + 4) >> 2] = L.TLB_INVALID;
}

// biome-ignore format: one line an access
export function readLinear8(c: CpuState, linear: number, user: number): number {
  const at = slot(linear, user);
  if (c.i32[at >> 2] === (linear & ~0xfff)) return c.u8[(linear + c.i32[(at + 8) >> 2]!) >>> 0]!;
  return c.mem.read8(walkForRead(c, linear, 1, user));
}

export function readLinear16(c: CpuState, linear: number, user: number): number {
  const at = slot(linear, user);
  if (c.i32[at >> 2] === ((linear + 1) & ~0xfff)) {
    return c.view.getUint16((linear + c.i32[(at + 8) >> 2]!) >>> 0, true);
  }
  if ((linear & 0xfff) > 0xffe) {
    return readLinear8(c, linear, user) | (readLinear8(c, (linear + 1) | 0, user) << 8);
  }
  return c.mem.read16(walkForRead(c, linear, 2, user));
}

export function readLinear32(c: CpuState, linear: number, user: number): number {
  const at = slot(linear, user);
  if (c.i32[at >> 2] === ((linear + 3) & ~0xfff)) {
    return c.view.getInt32((linear + c.i32[(at + 8) >> 2]!) >>> 0, true);
  }
  if ((linear & 0xfff) > 0xffc) {
    let value = 0;
    for (let i = 0; i < 4; i++) value |= readLinear8(c, (linear + i) | 0, user) << (i * 8);
    return value;
  }
  return c.mem.read32(walkForRead(c, linear, 4, user));
}

export function writeLinear8(c: CpuState, linear: number, value: number, user: number): void {
  const at = slot(linear, user);
  if (c.i32[(at + 4) >> 2] === (linear & ~0xfff)) {
    c.u8[(linear + c.i32[(at + 8) >> 2]!) >>> 0] = value;
    return;
  }
  c.mem.write8(walkForWrite(c, linear, 1, user), value);
}

export function writeLinear16(c: CpuState, linear: number, value: number, user: number): void {
  const at = slot(linear, user);
  if (c.i32[(at + 4) >> 2] === ((linear + 1) & ~0xfff)) {
    c.view.setInt16((linear + c.i32[(at + 8) >> 2]!) >>> 0, value, true);
    return;
  }
  if ((linear & 0xfff) > 0xffe) writeCrossing(c, linear, 2, value, user);
  else c.mem.write16(walkForWrite(c, linear, 2, user), value);
}

export function writeLinear32(c: CpuState, linear: number, value: number, user: number): void {
  const at = slot(linear, user);
  if (c.i32[(at + 4) >> 2] === ((linear + 3) & ~0xfff)) {
    c.view.setInt32((linear + c.i32[(at + 8) >> 2]!) >>> 0, value, true);
    return;
  }
  if ((linear & 0xfff) > 0xffc) writeCrossing(c, linear, 4, value, user);
  else c.mem.write32(walkForWrite(c, linear, 4, user), value);
}

function writeCrossing(c: CpuState, linear: number, bytes: number, value: number, user: number): void {
  probeWrite(c, linear, bytes, user);
  for (let i = 0; i < bytes; i++) writeLinear8(c, (linear + i) | 0, value >>> (i * 8), user);
}

/** An access that a debugger outside watches: the CPU stops behind this instruction. */
export function noteWatched(c: CpuState, linear: number, bytes: number, write: boolean): void {
  if (c.breakpoints.notes(linear, bytes, write)) c.endSlice();
}

/** walkAndFill, and data breakpoints. */
export function walkForRead(c: CpuState, linear: number, bytes: number, user: number): number {
  const physical = walkAndFill(c, linear, 0, user);
  if (debugActive(c)) debugDataMatch(c, linear, bytes, false);
  if (c.breakpoints.dataArmed) noteWatched(c, linear, bytes, false);
  return physical;
}

/** Like walkAndFill for a write; guards are told first, so that the TLB entry made is a fast one from now on. */
function walkForWrite(c: CpuState, linear: number, bytes: number, user: number): number {
  const physical = translate(c, linear, 1, user);
  const entry = c.mem.pageMap[physical >>> 12]!;
  if ((entry & PAGE_WRITE) !== 0) c.mem.noteWrite(((entry & ~0xfff) >>> 0) + (physical & 0xfff), bytes);
  if (debugActive(c)) debugDataMatch(c, linear, bytes, true);
  if (c.breakpoints.dataArmed) noteWatched(c, linear, bytes, true);
  return walkAndFill(c, linear, 1, user);
}

/**
 * #AC(0) if alignment is checked (CR0.AM, EFLAGS.AC, CPL 3) and an operand of `bytes` bytes is not where it should be. SDM 3A,
 * 6.15. 16-byte operands have #GP of their own or need no alignment.
 */
export function checkAlignment(c: CpuState, linear: number, bytes: number): void {
  if (c.get(L.TLBBASE) !== L.TLB_NONE) return;
  const mask = bytes === 10 ? 7 : bytes > 8 ? 0 : bytes - 1;
  if ((linear & mask) !== 0) c.raise(EXC_AC, 0);
}

/** Faults now if a write of `bytes` bytes would (at most 16, may cross a page). */
export function probeWrite(c: CpuState, linear: number, bytes: number, user: number): void {
  translate(c, linear, 1, user);
  if ((linear & 0xfff) + bytes > 0x1000) translate(c, (linear + bytes - 1) & ~0xfff, 1, user);
}

/** Faults now if a read of `bytes` bytes would. */
export function probeRead(c: CpuState, linear: number, bytes: number, user: number): void {
  translate(c, linear, 0, user);
  if ((linear & 0xfff) + bytes > 0x1000) translate(c, (linear + bytes - 1) & ~0xfff, 0, user);
}
