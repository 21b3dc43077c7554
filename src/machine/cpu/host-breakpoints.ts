/**
 * Breakpoints and watchpoints that a debugger outside sets (gdb). The guest's own debug registers are another matter
 * (system/debug.ts). Nothing of this costs anything while none is set: pages with a breakpoint never enter the code TLB,
 * so that the run loop sees each instruction of theirs; pages with a watchpoint never enter the data TLB.
 */

export type WatchKind = 'write' | 'read' | 'access';

export interface Watchpoint {
  /** Linear, unsigned. */
  readonly address: number;
  readonly bytes: number;
  readonly kind: WatchKind;
}

export type BreakHit =
  | { readonly kind: 'breakpoint'; readonly address: number }
  /** `address`: the first byte of the access that is watched. */
  | { readonly kind: 'watchpoint'; readonly address: number; readonly watch: WatchKind };

const PAGE_SHIFT = 12;

export class HostBreakpoints {
  /** Some breakpoint is set. */
  codeArmed = false;
  /** Some watchpoint is set. */
  dataArmed = false;
  /** Why the CPU stopped; cleared by whoever resumes it. */
  hit: BreakHit | undefined;
  /** Instruction count at which the CPU was resumed: a breakpoint there has been seen already. */
  resumedAt = -1;
  /** Interrupts wait: a single step is to end at the next instruction, not in a handler. */
  holdInterrupts = false;
  readonly #code = new Set<number>();
  readonly #codePages = new Set<number>();
  #watchpoints: readonly Watchpoint[] = [];
  readonly #dataPages = new Set<number>();

  /** Replaces all. The caller flushes the TLBs. */
  set(addresses: Iterable<number>, watchpoints: readonly Watchpoint[]): void {
    this.#code.clear();
    this.#codePages.clear();
    for (const address of addresses) {
      this.#code.add(address >>> 0);
      this.#codePages.add((address >>> 0) >>> PAGE_SHIFT);
    }
    this.#watchpoints = watchpoints;
    this.#dataPages.clear();
    for (const { address, bytes } of watchpoints) {
      const last = (address + bytes - 1) >>> PAGE_SHIFT;
      for (let page = address >>> PAGE_SHIFT; page <= last; page++) this.#dataPages.add(page);
    }
    this.codeArmed = this.#code.size > 0;
    this.dataArmed = watchpoints.length > 0;
  }

  /** Some breakpoint lies in the page of this linear address. */
  inPage(linear: number): boolean {
    return this.#codePages.has(linear >>> PAGE_SHIFT);
  }

  /** The page of this linear address must not enter the data TLB. */
  watchesPage(linear: number): boolean {
    return this.#dataPages.has(linear >>> PAGE_SHIFT);
  }

  /** Whether to stop before the instruction at this linear address. */
  stopsAt(linear: number, instructions: number): boolean {
    if (instructions === this.resumedAt || !this.#code.has(linear >>> 0)) return false;
    this.hit = { kind: 'breakpoint', address: linear >>> 0 };
    return true;
  }

  /** Whether the access is watched: the CPU stops behind the instruction. */
  notes(linear: number, bytes: number, write: boolean): boolean {
    const from = linear >>> 0;
    for (const { address, bytes: length, kind } of this.#watchpoints) {
      if (kind === (write ? 'read' : 'write')) continue;
      if (from >= address + length || address >= from + bytes) continue;
      this.hit ??= { kind: 'watchpoint', address: Math.max(from, address), watch: kind };
      return true;
    }
    return false;
  }
}
