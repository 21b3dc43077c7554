/**
 * The run loop: runs the CPU in slices on the event loop, stops it at an instruction boundary, lets time pass while it is halted.
 *
 * Order of a stop: the slice ends at an instruction boundary, virtual time stands still, then (for a snapshot) disk requests are
 * drained. Host events (serial input, disk completions) are delivered between slices only.
 */
import type { Cpu, StopReason } from './cpu/cpu.ts';
import type { HostServices } from './host-services.ts';
import { assertTransition, type RunState } from './run-state.ts';
import { traceRunState } from './trace.ts';
import type { VirtualClock } from './virtual-clock.ts';

/** Wall time of a slice: short while disk requests are in flight, so that their completions are seen soon. */
const SLICE_NS = 5_000_000;
const SLICE_BUSY_NS = 100_000;
/** While RAM of a snapshot comes in behind the guest, so that the disk is kept busy. */
const SLICE_LOADING_NS = 2_000_000;
/** Instructions run between two looks at the time. */
const STRETCH_INSTRUCTIONS = 100_000;
const MIN_STRETCH = 500;
/** Longest sleep of a halted machine, so that a wall clock that jumps is noticed. */
const MAX_SLEEP_MS = 1000;
/** How long a guest may run on with -icount until a snapshot finds no disk request in flight: virtual ns. */
const DRAIN_LIMIT_NS = 1_000_000_000;

/** What the loop runs, and whom it asks. */
export interface RunLoopOwner {
  readonly host: HostServices;
  readonly clock: VirtualClock;
  readonly cpu: Cpu;
  /** RAM of a snapshot comes in behind the guest. */
  readonly isLoading: () => boolean;
  /** What the guest has to wait for before it may run on. */
  readonly gate: () => Promise<void> | undefined;
  /** The loop begins: time is running. */
  readonly onBegin: () => void;
  /** Before each stretch: a reset that was asked for. */
  readonly onTurn: () => void;
  readonly onTripleFault: () => void;
  readonly onState: (state: RunState) => void;
  /** An error that was reported already, and for which the machine stands still. */
  readonly isKnown: (error: unknown) => boolean;
  /** Ends all disk requests now, ahead of their virtual time. */
  readonly completeDisks: () => Promise<void>;
}

export class RunLoop {
  readonly #owner: RunLoopOwner;
  #state: RunState = 'prelaunch';
  #loop: Promise<void> | undefined;
  #stopRequested = false;
  /** Instruction to stop at. */
  #target = Number.POSITIVE_INFINITY;
  #draining = false;
  #inFlight = 0;
  #onDrained: (() => void) | undefined;
  #onQuiet: (() => void) | undefined;
  #wakeUp: (() => void) | undefined;
  /** Measured instructions a ns, for stretches that end near a deadline. */
  #speed = 0.05;
  #isAsleep = false;
  #ranNs = 0;
  #ranUntil = 0;
  #onResume: (() => void) | undefined;

  constructor(owner: RunLoopOwner) {
    this.#owner = owner;
  }

  // ---- state

  get state(): RunState {
    return this.#state;
  }
  /** Goes to a state that may follow, and says so. */
  change(state: RunState): void {
    if (this.#state === state) return;
    assertTransition(this.#state, state);
    if (traceRunState.enabled) traceRunState.emit(this.#state, state);
    this.#state = state;
    this.#owner.onState(state);
  }
  /** Sets the state without a word: what happens within a snapshot's stop is nobody's business. */
  become(state: RunState): void {
    this.#state = state;
  }
  /** The loop turns, be it asleep. */
  get isTurning(): boolean {
    return this.#loop !== undefined;
  }
  /** The guest is being run, not waited for. */
  get isBusy(): boolean {
    return this.#loop !== undefined && !this.#isAsleep;
  }
  /** Host time spent in slices since power-on, ns. */
  get ranNs(): number {
    return this.#ranNs;
  }

  /** When the guest was last run, host ns. */
  get ranUntil(): number {
    return this.#ranUntil;
  }
  /** Tells, once, when the guest has executed an instruction again (or waits in HLT); its first slice then comes a turn later. */
  onResume(tell: () => void): void {
    this.#onResume = tell;
  }

  // ---- begin and end

  /** Starts the loop if it does not turn. */
  ensure(): void {
    this.#loop ??= this.#run().finally(() => {
      this.#loop = undefined;
    });
  }

  /** Ends the loop without a change of state. */
  async halt(): Promise<void> {
    if (this.#loop === undefined) return;
    this.#stopRequested = true;
    this.#owner.cpu.endRun();
    this.wake();
    await this.#loop;
    this.#stopRequested = false;
  }

  /** Runs until `instructions` have been executed since power-on. `between`: what may stop and start the loop again. */
  async runTo(instructions: number, between: () => Promise<unknown>): Promise<void> {
    this.#target = instructions;
    this.change('running');
    this.ensure();
    do {
      await this.#loop;
      await between();
    } while (this.#loop !== undefined);
    this.#target = Number.POSITIVE_INFINITY;
  }

  /** A host event may have given the CPU something to do. */
  wake(): void {
    this.#wakeUp?.();
  }

  async #run(): Promise<void> {
    const { clock, host, gate, onBegin, isKnown } = this.#owner;
    clock.start();
    onBegin();
    try {
      while ((this.#state === 'running' || this.#state === 'suspended') && !this.#stopRequested) {
        const wait = gate() ?? this.#slice();
        if (wait !== undefined) await wait;
        else if (this.#isDone()) break;
        else await host.yield();
      }
    } catch (error) {
      if (!isKnown(error)) throw error;
    } finally {
      clock.stop();
      if (this.#state === 'running' && !this.#draining && this.#isDone()) this.change('paused');
    }
  }

  /** The run has come to the instruction asked for; or, before a snapshot, to a moment without disk requests. */
  #isDone(): boolean {
    if (this.#draining) return this.#inFlight === 0;
    return this.#owner.cpu.instructions >= this.#target;
  }

  // ---- slices

  /** One turn on the event loop. A promise: what to wait for before the next one. */
  #slice(): Promise<void> | undefined {
    const { host } = this.#owner;
    const begin = host.now();
    try {
      return this.#sliceFrom(begin);
    } finally {
      this.#ranUntil = host.now();
      this.#ranNs += this.#ranUntil - begin;
    }
  }

  #sliceFrom(begin: number): Promise<void> | undefined {
    const { host, clock, cpu, gate, onTurn, onTripleFault } = this.#owner;
    do {
      onTurn();
      const timers = clock.runTimers();
      if (timers !== undefined) return timers;
      if (this.#state === 'suspended') return this.#sleepSuspended();
      if (this.#isDone()) return undefined;
      const left = this.#draining ? Number.POSITIVE_INFINITY : this.#target - cpu.instructions;
      const resumed = this.#onResume;
      const stop = this.#stretch(Math.min(left, resumed === undefined ? this.#stretchLength() : 1));
      this.#onResume = undefined;
      resumed?.();
      if (stop === 'triple-fault') onTripleFault();
      else if (stop === 'debug') this.change('debug');
      else if (stop === 'halt') {
        // Idle time comes after the instruction asked for: where a run stops does not depend on the host.
        if (this.#isDone()) return undefined;
        const wait = this.#idle();
        if (wait !== undefined) return wait;
      }
      // Whoever waits for the save or load hears of its end before the guest has its first slice.
      if (resumed !== undefined || gate() !== undefined) break;
    } while (this.#state === 'running' && !this.#stopRequested && host.now() - begin < this.#sliceLength());
    return undefined;
  }

  /** With -icount the machine waits for disks when their time has come: no need to look often. */
  #sliceLength(): number {
    const { clock, isLoading } = this.#owner;
    if (this.#inFlight > 0 && clock.icount === undefined) return SLICE_BUSY_NS;
    return isLoading() ? SLICE_LOADING_NS : SLICE_NS;
  }

  #stretch(budget: number): StopReason {
    const { clock, cpu, host } = this.#owner;
    if (clock.icount !== undefined) return cpu.run(budget);
    const before = cpu.instructions;
    const start = host.now();
    const stop = cpu.run(budget);
    const elapsed = host.now() - start;
    const done = cpu.instructions - before;
    if (done > 10_000 && elapsed > 0) this.#speed = this.#speed * 0.75 + (done / elapsed) * 0.25;
    return stop;
  }

  /** Instructions until somebody must look at the clock again. */
  #stretchLength(): number {
    const { clock } = this.#owner;
    const toDeadline = clock.nextDeadline() - clock.now();
    const { icount } = clock;
    if (icount !== undefined) {
      if (toDeadline === Number.POSITIVE_INFINITY) return STRETCH_INSTRUCTIONS * 10;
      return Math.max(1, Math.min(STRETCH_INSTRUCTIONS * 10, Math.ceil(toDeadline / 2 ** icount.shift)));
    }
    const ns = Math.min(toDeadline, this.#sliceLength());
    return Math.max(MIN_STRETCH, Math.min(STRETCH_INSTRUCTIONS, Math.ceil(ns * this.#speed)));
  }

  // ---- idle

  /** The guest sleeps in ACPI S3: time passes, the clock's alarm may wake it. */
  #sleepSuspended(): Promise<void> | undefined {
    this.#owner.onTurn();
    return this.#state === 'suspended' ? this.#idle() : undefined;
  }

  /** The CPU waits in HLT: sleeps to the next deadline or host event. */
  #idle(): Promise<void> | undefined {
    const { clock } = this.#owner;
    const next = clock.nextDeadline();
    const now = clock.now();
    const { icount } = clock;
    if (icount !== undefined && next !== Number.POSITIVE_INFINITY && !icount.sleep) {
      if (next > now) clock.set(next);
      return undefined;
    }
    const ms = Math.min(MAX_SLEEP_MS, (next - now) / 1e6);
    if (ms <= 0.02) {
      // Too short to sleep. Instructions stand still in HLT: with -icount time has to be moved.
      if (icount !== undefined && next > now) clock.set(next);
      return undefined;
    }
    return this.#sleep(ms, next);
  }

  async #sleep(ms: number, deadline: number): Promise<void> {
    const { clock, host, isLoading } = this.#owner;
    const begin = host.now();
    const { done, wake } = host.sleep(ms, this.#inFlight === 0 && !isLoading());
    this.#wakeUp = wake;
    if (this.#stopRequested) wake();
    this.#isAsleep = true;
    await done;
    this.#isAsleep = false;
    this.#wakeUp = undefined;
    if (clock.icount === undefined) return;
    // Idle time passes in real time, but never beyond the deadline: what happens then happens at a time of its own.
    const slept = host.now() - begin;
    const now = clock.now();
    clock.set(deadline <= now + slept ? Math.max(now, deadline) : Math.floor(now + slept));
  }

  // ---- disk requests

  /** A disk request begins (1) or has ended (-1). */
  countInFlight(change: number): void {
    this.#inFlight += change;
    if (change > 0) {
      // Completions are seen between slices: look soon.
      if (this.#owner.clock.icount === undefined) this.#owner.cpu.endRun();
      return;
    }
    if (this.#inFlight > 0) return;
    this.#onDrained?.();
    this.#onQuiet?.();
  }

  /**
   * Resolves at a moment without a disk request, or after `ms`, the guest running on meanwhile: who halts and drains the machine
   * then need not wait, nor the guest. With -icount draining runs the guest anyway.
   */
  async untilQuiet(ms: number): Promise<void> {
    const { clock, host } = this.#owner;
    if (this.#inFlight === 0 || clock.icount !== undefined) return;
    const { done, wake } = host.sleep(ms);
    this.#onQuiet = wake;
    await done;
    this.#onQuiet = undefined;
  }

  /** Waits until no disk request is in flight. The loop must be halted. */
  async drain(): Promise<void> {
    if (this.#owner.clock.icount !== undefined) await this.#drainVirtual();
    while (this.#inFlight > 0) {
      await new Promise<void>((resolve) => {
        this.#onDrained = resolve;
      });
      this.#onDrained = undefined;
    }
  }

  /**
   * With -icount a completion comes at a virtual time, and the stream has no place for one that is on its way. So the
   * guest runs on to the first moment without a request, a disk access later at most: saving does not change the run.
   * A machine that cannot run on, or always has a request, gets its completions ahead of time.
   */
  async #drainVirtual(): Promise<void> {
    const before = this.#state;
    const mayRun = before === 'running' || before === 'paused' || before === 'debug';
    if (mayRun && this.#inFlight > 0) {
      this.#draining = true;
      this.#state = 'running';
      const { clock } = this.#owner;
      const limit = clock.createTimer('drain-limit', () => {
        this.#draining = false;
        this.#stopRequested = true;
      });
      limit.arm(clock.now() + DRAIN_LIMIT_NS);
      this.ensure();
      await this.#loop;
      clock.removeTimer(limit);
      this.#draining = false;
      this.#stopRequested = false;
      if (this.#state === 'running') this.#state = before;
    }
    while (this.#inFlight > 0) await this.#owner.completeDisks();
  }
}
