/**
 * Operands in memory, where generated code's inline lookup finds no translation: through the TLBs, past page boundaries, to
 * devices. Hot. Each says by its result whether it faulted; the fault has been noted then.
 */
import { PAGE_READ } from '../memory.ts';
import { type CpuState, FAULT } from './cpu-state.ts';
import * as L from './layout.ts';
import {
  checkAlignment,
  hostForRead,
  hostForWrite,
  noteWatched,
  probeRead,
  probeWrite,
  readLinear16,
  readLinear32,
  readLinear8,
  walkAndFill,
  walkForRead,
  writeLinear16,
  writeLinear32,
  writeLinear8,
} from './linear.ts';
import { segmentCheck } from './operands.ts';
import { translate, translation } from './paging.ts';
import { debugActive, debugDataMatch } from './system/debug.ts';

/** 1 where accesses count as those of user mode (CPL 3). */
export function isUser(c: CpuState): number {
  return c.get(L.TLBBASE) === L.TLB_SUPER ? 0 : 1;
}

export class MemoryOperands {
  readonly #c: CpuState;
  readonly #fault: () => void;

  /** `fault`: leaves generated code with the fault that `c` holds. */
  constructor(c: CpuState, fault: () => void) {
    this.#c = c;
    this.#fault = fault;
  }

  /** Where an operand can be read: its place in memory, or BOUNCE with a copy; 0: fault. */
  read(linear: number, bits: number): number {
    const c = this.#c;
    const user = isUser(c);
    const host = hostForRead(c, linear, bits >> 3, user);
    if (host > 0) return host;
    if (host < 0) {
      this.#fault();
      return 0;
    }
    try {
      checkAlignment(c, linear, bits / 8);
      if ((linear & 0xfff) + bits / 8 <= 0x1000) {
        const physical = walkForRead(c, linear, bits / 8, user);
        const entry = c.mem.pageMap[physical >>> 12]!;
        if ((entry & PAGE_READ) !== 0) return ((entry & ~0xfff) >>> 0) + (physical & 0xfff) || 0;
      }
      if (bits === 8) c.u8[L.BOUNCE] = readLinear8(c, linear, user);
      else if (bits === 16) c.u16[L.BOUNCE >> 1] = readLinear16(c, linear, user);
      else {
        if (bits > 32) probeRead(c, linear, bits / 8, user);
        for (let i = 0; i < bits / 8; i += 4) {
          c.set(L.BOUNCE + i, readLinear32(c, (linear + i) | 0, user));
        }
      }
      return L.BOUNCE;
    } catch (error) {
      if (error !== FAULT) throw error;
      this.#fault();
      return 0;
    }
  }

  /** 0 done, 1 fault. 64 and 128 bits are in BOUNCE. */
  write(linear: number, bits: number, value: number): number {
    const c = this.#c;
    const host = hostForWrite(c, linear, bits >> 3, isUser(c));
    if (host > 0) {
      if (bits === 32) c.view.setInt32(host, value, true);
      else if (bits === 8) c.u8[host] = value;
      else if (bits === 16) c.view.setInt16(host, value, true);
      else c.u8.copyWithin(host, L.BOUNCE, L.BOUNCE + (bits >> 3));
      return 0;
    }
    if (host < 0) {
      this.#fault();
      return 1;
    }
    try {
      checkAlignment(c, linear, bits / 8);
      if (bits > 32) {
        probeWrite(c, linear, bits / 8, isUser(c));
        for (let i = 0; i < bits / 8; i += 4) {
          writeLinear32(c, (linear + i) | 0, c.get(L.BOUNCE + i), isUser(c));
        }
      } else if (bits === 8) writeLinear8(c, linear, value, isUser(c));
      else if (bits === 16) writeLinear16(c, linear, value, isUser(c));
      else writeLinear32(c, linear, value, isUser(c));
      return 0;
    } catch (error) {
      if (error !== FAULT) throw error;
      this.#fault();
      return 1;
    }
  }

  /** Like read, and writing there will not fault. BOUNCE: commit() must follow. */
  modify(linear: number, bits: number): number {
    const c = this.#c;
    const user = isUser(c);
    const bytes = bits / 8;
    const host = hostForWrite(c, linear, bytes, user);
    if (host > 0) return host;
    if (host < 0) {
      this.#fault();
      return 0;
    }
    try {
      checkAlignment(c, linear, bytes);
      const physical = translate(c, linear, 1, user);
      if ((linear & 0xfff) + bytes <= 0x1000) {
        const entry = c.mem.pageMap[physical >>> 12]!;
        if ((entry & 3) === 3) {
          const address = ((entry & ~0xfff) >>> 0) + (physical & 0xfff);
          c.mem.noteWrite(address, bytes);
          if (debugActive(c)) debugDataMatch(c, linear, bytes, true);
          if (c.breakpoints.dataArmed) noteWatched(c, linear, bytes, true);
          if (translation.writable) walkAndFill(c, linear, 1, user);
          return address;
        }
      } else translate(c, (linear + bytes - 1) & ~0xfff, 1, user);
      if (bits === 8) c.u8[L.BOUNCE] = readLinear8(c, linear, user);
      else if (bits === 16) c.u16[L.BOUNCE >> 1] = readLinear16(c, linear, user);
      else c.set(L.BOUNCE, readLinear32(c, linear, user));
      return L.BOUNCE;
    } catch (error) {
      if (error !== FAULT) throw error;
      this.#fault();
      return 0;
    }
  }

  commit(linear: number, bits: number): number {
    const c = this.#c;
    const value = bits === 8 ? c.u8[L.BOUNCE]! : bits === 16 ? c.u16[L.BOUNCE >> 1]! : c.get(L.BOUNCE);
    return this.write(linear, bits, value);
  }

  segment(segmentAddress: number, offset: number, sizeAndWrite: number): number {
    const c = this.#c;
    try {
      const seg = (segmentAddress - L.SEGS) / L.SEG_STRIDE;
      segmentCheck(c, seg, offset >>> 0, (sizeAndWrite & 0xff) / 8, (sizeAndWrite & 0x100) !== 0);
      return 0;
    } catch (error) {
      if (error !== FAULT) throw error;
      this.#fault();
      return 1;
    }
  }
}
