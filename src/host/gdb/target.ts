/** What gdb does to the machine: stop, step, run, breakpoints; and backwards, with -icount, from snapshots. */
import type { BreakHit, WatchKind, Watchpoint } from '../../machine/cpu/host-breakpoints.ts';
import * as L from '../../machine/cpu/layout.ts';
import type { Machine } from '../../machine/machine.ts';

/** How a run ended, as gdb is told. */
export type Stop =
  | BreakHit
  | { readonly kind: 'step' }
  | { readonly kind: 'interrupted' }
  /** The beginning of what can be replayed. */
  | { readonly kind: 'history' }
  | { readonly kind: 'exited' };

export class HistoryError extends Error {}

export class GdbTarget {
  readonly machine: Machine;
  readonly #breakpoints = new Map<number, number>();
  readonly #watchpoints: Watchpoint[] = [];
  /** Watching and breaking is for when gdb lets the machine run, not for a replay to get somewhere. */
  #isArmed = true;

  constructor(machine: Machine) {
    this.machine = machine;
  }

  get isRunning(): boolean {
    return this.machine.running;
  }

  // ---- breakpoints

  addBreakpoint(address: number): void {
    this.#breakpoints.set(address, (this.#breakpoints.get(address) ?? 0) + 1);
    this.#arm();
  }

  removeBreakpoint(address: number): void {
    const count = (this.#breakpoints.get(address) ?? 1) - 1;
    if (count === 0) this.#breakpoints.delete(address);
    else this.#breakpoints.set(address, count);
    this.#arm();
  }

  addWatchpoint(address: number, bytes: number, kind: WatchKind): void {
    this.#watchpoints.push({ address, bytes, kind });
    this.#arm();
  }

  removeWatchpoint(address: number, bytes: number, kind: WatchKind): void {
    const at = this.#watchpoints.findIndex(
      (w) => w.address === address && w.bytes === bytes && w.kind === kind,
    );
    if (at >= 0) this.#watchpoints.splice(at, 1);
    this.#arm();
  }

  clear(): void {
    this.#breakpoints.clear();
    this.#watchpoints.length = 0;
    this.#arm();
  }

  #arm(): void {
    if (this.#isArmed) this.machine.cpu.setBreakpoints(this.#breakpoints.keys(), [...this.#watchpoints]);
    else this.machine.cpu.setBreakpoints([], []);
  }

  // ---- forwards

  async stop(): Promise<void> {
    await this.machine.pause();
  }

  /** Lets the machine run; resolves when it stands still again. */
  async continue(): Promise<Stop> {
    this.#resume();
    const stopped = this.#whenStopped();
    this.machine.start();
    await stopped;
    return this.#reason();
  }

  /** One instruction; interrupts wait, so that it is the one gdb shows. */
  async step(): Promise<Stop> {
    const { cpu } = this.machine;
    this.#resume();
    // A halted CPU waits for an interrupt: that is its step.
    cpu.breakpoints.holdInterrupts = !cpu.halted;
    try {
      await this.machine.runTo(cpu.instructions + 1);
    } finally {
      cpu.breakpoints.holdInterrupts = false;
    }
    const stop = this.#reason();
    return stop.kind === 'interrupted' ? { kind: 'step' } : stop;
  }

  #resume(): void {
    const { cpu } = this.machine;
    cpu.breakpoints.hit = undefined;
    cpu.breakpoints.resumedAt = cpu.instructions;
  }

  #whenStopped(): Promise<void> {
    return new Promise((resolve) => {
      const stop = this.machine.on('state', (state) => {
        // A snapshot stops the machine for a moment without a word.
        if (state === 'running') return;
        stop();
        resolve();
      });
    });
  }

  #reason(): Stop {
    const { machine } = this;
    if (machine.state === 'shutdown') return { kind: 'exited' };
    const { hit } = machine.cpu.breakpoints;
    machine.cpu.breakpoints.hit = undefined;
    return hit ?? { kind: 'interrupted' };
  }

  // ---- backwards

  /** Back by one instruction. Throws HistoryError when no snapshot lies before it. */
  async reverseStep(): Promise<Stop> {
    const now = this.machine.cpu.instructions;
    const from = this.#snapshotBefore(now);
    if (from === undefined) return { kind: 'history' };
    await this.#goTo(from, now - 1);
    return { kind: 'step' };
  }

  /** Back to the last breakpoint or watchpoint before this instruction, else to the earliest snapshot. */
  async reverseContinue(): Promise<Stop> {
    let end = this.machine.cpu.instructions;
    for (;;) {
      const from = this.#snapshotBefore(end);
      if (from === undefined) return { kind: 'history' };
      const last = await this.#lastHit(from, end);
      if (last !== undefined) {
        await this.#goTo(from, last.at);
        return last.stop;
      }
      await this.#goTo(from, from.icount);
      end = from.icount;
    }
  }

  /** Replays from a snapshot up to `end` (not included) and says where the last hit was. */
  async #lastHit(from: Replay, end: number): Promise<{ at: number; stop: Stop } | undefined> {
    const { cpu } = this.machine;
    await this.machine.loadvm(from.tag);
    let last: { at: number; stop: Stop } | undefined;
    cpu.breakpoints.resumedAt = -1;
    while (cpu.instructions < end) {
      await this.machine.runTo(end);
      const stop = this.#reason();
      const at = cpu.instructions;
      if (stop.kind !== 'breakpoint' && stop.kind !== 'watchpoint') break;
      if (at < end) last = { at, stop };
      cpu.breakpoints.resumedAt = at;
    }
    return last;
  }

  async #goTo(from: Replay, instructions: number): Promise<void> {
    this.#isArmed = false;
    this.#arm();
    try {
      await this.machine.loadvm(from.tag);
      if (instructions > this.machine.cpu.instructions) await this.machine.runTo(instructions);
    } finally {
      this.#isArmed = true;
      this.#arm();
    }
  }

  /** The latest snapshot made before this instruction. */
  #snapshotBefore(instructions: number): Replay | undefined {
    if (this.machine.options.icount === undefined) {
      throw new HistoryError('going backwards needs -icount: without it runs do not repeat');
    }
    const all = this.machine.listSnapshots().everywhere.filter(({ icount }) => icount >= 0);
    if (all.length === 0)
      throw new HistoryError('going backwards starts from a snapshot: there is none (savevm makes one)');
    const before = all.filter(({ icount }) => icount < instructions);
    before.sort((a, b) => b.icount - a.icount);
    return before[0];
  }

  // ---- state

  get linearEip(): number {
    const { cpu } = this.machine;
    return (cpu.segBase(L.CS) + cpu.get(L.EIP)) >>> 0;
  }
}

interface Replay {
  readonly tag: string;
  readonly icount: number;
}
