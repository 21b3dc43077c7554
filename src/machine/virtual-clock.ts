/**
 * QEMU_CLOCK_VIRTUAL: follows the host's monotonic clock while the machine runs, or (with -icount) counted instructions.
 * Timers fire between stretches of instructions, in order of deadline, then of creation.
 */
import { type Clock, NOT_ARMED, type Ns, type Timer } from './clock.ts';

/** Where time comes from. */
export interface TimeSource {
  /** Monotonic host time in ns. */
  hostNow(): Ns;
  /** Instructions executed so far. */
  instructions(): number;
}

export interface IcountOptions {
  /** 2^shift ns an instruction. */
  readonly shift: number;
  /** True: HLT waits in real time; false: time jumps to the next deadline. */
  readonly sleep: boolean;
}

class MachineTimer implements Timer {
  readonly name: string;
  readonly callback: (deadline: Ns) => void;
  deadline: Ns = NOT_ARMED;
  /** The callback must wait for this (disk completions with -icount). */
  gate: Promise<void> | undefined;
  readonly #clock: VirtualClock;

  constructor(clock: VirtualClock, name: string, callback: (deadline: Ns) => void) {
    this.#clock = clock;
    this.name = name;
    this.callback = callback;
  }

  arm(deadline: Ns): void {
    this.deadline = Math.max(0, deadline);
    this.#clock.deadlineSet(this.deadline);
  }

  cancel(): void {
    if (this.deadline === NOT_ARMED) return;
    this.deadline = NOT_ARMED;
    this.#clock.deadlinesChanged();
  }
}

export class VirtualClock implements Clock {
  readonly icount: IcountOptions | undefined;
  readonly #source: TimeSource;
  readonly #timers: MachineTimer[] = [];
  #running = false;
  /** Virtual time at #origin (host ns, or instructions). */
  #base: Ns = 0;
  #origin = 0;
  #next: Ns = Number.POSITIVE_INFINITY;
  #stale = false;
  /** Told when a timer was armed earlier than any other: the stretch being run is too long. */
  onEarlier: () => void = () => {};

  constructor(source: TimeSource, icount: IcountOptions | undefined) {
    this.#source = source;
    this.icount = icount;
  }

  now(): Ns {
    if (this.icount !== undefined) {
      return this.#base + (this.#source.instructions() - this.#origin) * 2 ** this.icount.shift;
    }
    return this.#running ? this.#base + (this.#source.hostNow() - this.#origin) : this.#base;
  }

  start(): void {
    if (this.#running) return;
    this.#running = true;
    if (this.icount === undefined) this.#origin = this.#source.hostNow();
  }

  stop(): void {
    if (!this.#running) return;
    if (this.icount === undefined) this.#base = this.now();
    this.#running = false;
  }

  /** Sets virtual time: after a load, or to jump over idle time with -icount. */
  set(now: Ns): void {
    this.#base = now;
    this.#origin = this.icount !== undefined ? this.#source.instructions() : this.#source.hostNow();
  }

  createTimer(name: string, callback: (deadline: Ns) => void): MachineTimer {
    const timer = new MachineTimer(this, name, callback);
    this.#timers.push(timer);
    return timer;
  }

  /** A timer that is used once and then forgotten. */
  removeTimer(timer: Timer): void {
    const at = this.#timers.indexOf(timer as MachineTimer);
    if (at >= 0) this.#timers.splice(at, 1);
    this.deadlinesChanged();
  }

  /** Makes a timer wait for a promise when it is due. */
  setGate(timer: Timer, gate: Promise<void> | undefined): void {
    (timer as MachineTimer).gate = gate;
  }

  deadlinesChanged(): void {
    this.#stale = true;
  }

  /** A timer was armed. Before what nextDeadline() last said: the stretch being run is too long. */
  deadlineSet(deadline: Ns): void {
    this.#stale = true;
    if (deadline < this.#next) this.onEarlier();
  }

  /** Earliest deadline, or Infinity. */
  nextDeadline(): Ns {
    if (this.#stale) {
      this.#stale = false;
      let next = Number.POSITIVE_INFINITY;
      for (const timer of this.#timers) {
        if (timer.deadline !== NOT_ARMED && timer.deadline < next) next = timer.deadline;
      }
      this.#next = next;
    }
    return this.#next;
  }

  /** Fires everything due. Returns a promise if a due timer has to wait for it: nothing may run before it resolves. */
  runTimers(): Promise<void> | undefined {
    for (;;) {
      const deadline = this.nextDeadline();
      if (deadline > this.now()) return undefined;
      const timer = this.#timers.find((t) => t.deadline === deadline)!;
      if (timer.gate !== undefined) return timer.gate;
      timer.deadline = NOT_ARMED;
      this.#stale = true;
      timer.callback(deadline);
    }
  }

  /** What is armed, for `info` commands and assertions. */
  armed(): readonly { readonly name: string; readonly deadline: Ns }[] {
    return this.#timers
      .filter((t) => t.deadline !== NOT_ARMED)
      .map(({ name, deadline }) => ({ name, deadline }));
  }
}
