/**
 * The machine: owns board and clock, runs the CPU in slices on the event loop, stops it, resets it, saves and loads it.
 *
 * Order of a stop: the slice ends at an instruction boundary, virtual time stands still, then (for a snapshot) disk requests are
 * drained. Host events (serial input, disk completions) are delivered between slices only.
 */
import type { CompressOptions, SnapshotInfo } from '../block/block-node.ts';
import {
  defaultTag,
  delvm,
  listSnapshots,
  loadvm,
  type SavevmResult,
  type SnapshotDisk,
  type SnapshotLists,
  type SnapshotMoment,
  savevm,
  vmStateNode,
} from '../migration/savevm.ts';
import type { MigrationError } from '../migration/errors.ts';
import { type BackgroundSave, startBackgroundSave } from './background-save.ts';
import { type Job, type JobOptions, Jobs } from './jobs.ts';
import type { Ps2Keyboard } from '../devices/ps2-keyboard.ts';
import type { Ps2Mouse } from '../devices/ps2-mouse.ts';
import type { Uart16550 } from '../devices/uart16550.ts';
import type { Vga } from '../devices/vga/vga.ts';
import { Board } from './board/pc-i440fx.ts';
import { finishCpuLoad, finishCpuSave } from './cpu-section.ts';
import type { Cpu, StopReason } from './cpu/cpu.ts';
import { type DiskHost, MachineDisk } from './disk.ts';
import { Emitter } from './emitter.ts';
import type { PhysicalMemory } from './memory.ts';
import type { DriveOptions, MachineOptions } from './options.ts';
import { assertTransition, type RunState } from './run-state.ts';
import { Snapshots } from './snapshots.ts';
import { traceReset, traceRunState } from './trace.ts';
import { VirtualClock } from './virtual-clock.ts';

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

export const MACHINE_TYPE = 'pc-i440fx-7.2';

export interface MachineEvents {
  state: RunState;
  reset: { readonly guest: boolean };
  shutdown: { readonly guest: boolean; readonly reason: string };
  suspend: undefined;
  /** The power button was pressed from outside. */
  powerdown: undefined;
  /** A machine that runs stands still for a snapshot (true), or goes on. Its state says save-vm or restore-vm meanwhile. */
  frozen: boolean;
  /** A loadvm has put another state in place: keys held, text waited for and the like are things of the past. */
  loaded: { readonly tag: string };
  /** isa-debug-exit: the process should end with (value << 1) | 1. */
  exit: { readonly code: number };
  'io-error': { readonly device: string; readonly operation: string; readonly error: Error };
}

export interface SaveOptions {
  readonly signal?: AbortSignal;
  /** Bytes done and to do. */
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
  /** Write only what changed since the snapshot that the machine stands on; default true. */
  readonly incremental?: boolean;
  /** Write compressed clusters, made in worker threads: smaller, and slower while the guest waits. Default: do not. */
  readonly compress?: 'zlib' | 'zstd' | CompressOptions;
  /** How it appears in {@link Machine.jobs}. */
  readonly job?: JobOptions;
}

export interface BackgroundSaveOptions extends SaveOptions {
  /** Copies of pages that the guest changes meanwhile, bytes; beyond that it waits. Default 64 MiB. */
  readonly copyBytes?: number;
}

export interface LoadOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
  /** Run before RAM is read, where the snapshot's layout allows it; default true. */
  readonly lazy?: boolean;
  /** How it appears in {@link Machine.jobs}. */
  readonly job?: JobOptions;
}

/** What the work behind a job is told. */
function watch(job: Job, onProgress: SaveOptions['onProgress']): Pick<SaveOptions, 'onProgress' | 'signal'> {
  return {
    signal: job.signal,
    onProgress: (done, total) => {
      job.progress(done, total);
      onProgress?.(done, total);
    },
  };
}

function compressOptions(how: SaveOptions['compress']): CompressOptions | undefined {
  return typeof how === 'string' ? { method: how } : how;
}

/** Disks only: a sector that cannot be read leaves the geometry to the size. */
async function withFirstSector(drive: DriveOptions): Promise<DriveOptions> {
  if (drive.kind !== 'disk' || drive.node === undefined || drive.node.sizeBytes < 512) return drive;
  const firstSector = new Uint8Array(512);
  try {
    await drive.node.read(0, firstSector);
  } catch {
    return drive;
  }
  return { ...drive, firstSector };
}

export class Machine {
  readonly options: MachineOptions;
  readonly clock: VirtualClock;
  readonly board: Board;
  /** Snapshots being saved, loaded, deleted. */
  readonly jobs = new Jobs();
  readonly #snapshots: Snapshots;
  readonly #events = new Emitter<MachineEvents>();
  #state: RunState = 'prelaunch';
  #loop: Promise<void> | undefined;
  #stopRequested = false;
  #resetRequested: 'guest' | 'host' | undefined;
  #inFlight = 0;
  #onDrained: (() => void) | undefined;
  #wakeUp: (() => void) | undefined;
  /** Measured instructions a ns, for stretches that end near a deadline. */
  #speed = 0.05;
  /** Savevm, loadvm and the like, one after the other. */
  #exclusive: Promise<unknown> = Promise.resolve();
  #background: BackgroundSave | undefined;
  #isAsleep = false;
  /** Host ns spent in slices. */
  #ranNs = 0;

  static async create(options: MachineOptions): Promise<Machine> {
    const drives = await Promise.all(options.drives.map(withFirstSector));
    return new Machine({ ...options, drives });
  }

  private constructor(options: MachineOptions) {
    this.options = options;
    this.clock = new VirtualClock(
      { hostNow: () => options.host.now(), instructions: () => this.board?.cpu.instructions ?? 0 },
      options.icount,
    );
    const diskHost: DiskHost = {
      clock: this.clock,
      now: () => options.host.now(),
      inFlight: (change) => this.#countInFlight(change),
      wake: () => this.wake(),
      ioError: (device, operation, error) => this.#events.emit('io-error', { device, operation, error }),
      failed: (error) => {
        if (error !== this.#ramFailure) throw error;
      },
    };
    this.board = new Board(options, {
      clock: this.clock,
      runState: () => this.#savedState(),
      requestReset: () => this.#requestReset('guest'),
      requestShutdown: () => this.#shutdown('guest-shutdown'),
      requestSuspend: () => this.#suspend(),
      requestExit: (code) => this.#exit(code),
      disk: (drive) => new MachineDisk(drive.device, drive.node, diskHost),
    });
    this.clock.onEarlier = () => this.board?.cpu.endRun();
    this.#snapshots = new Snapshots({
      memory: this.board.memory,
      host: options.host,
      machine: () => this.#migratable(),
      onFailure: (error) => this.#ramFailed(error),
    });
    this.board.reset();
  }

  // ---- what it is made of

  get state(): RunState {
    return this.#state;
  }
  get running(): boolean {
    return this.#state === 'running';
  }
  get cpu(): Cpu {
    return this.board.cpu;
  }
  get memory(): PhysicalMemory {
    return this.board.memory;
  }
  get screen(): Vga | undefined {
    return this.board.vga;
  }
  get keyboard(): Ps2Keyboard {
    return this.board.keyboard;
  }
  get mouse(): Ps2Mouse {
    return this.board.mouse;
  }
  get disks(): readonly MachineDisk[] {
    return this.board.disks;
  }
  /** Serial port n: what the host pushes bytes into. Call wake() after pushing. */
  serial(n: number): { readonly receiver: Uart16550 } | undefined {
    const port = this.board.serials[n];
    return port === undefined ? undefined : { receiver: port.uart };
  }
  on<K extends keyof MachineEvents>(event: K, listener: (value: MachineEvents[K]) => void): () => void {
    return this.#events.on(event, listener);
  }

  // ---- running

  /** Starts or continues. */
  start(): void {
    if (this.#state === 'running') return;
    this.#setState('running');
    this.#ensureLoop();
  }

  /** Stops at the next instruction boundary. */
  async pause(): Promise<void> {
    if (this.#state !== 'running') return;
    await this.#halt();
    if (this.#state === 'running') this.#setState('paused');
  }

  /** Runs until `instructions` have been executed since power-on (exact), or the machine stops for another reason. */
  async runTo(instructions: number): Promise<void> {
    if (this.#state === 'running') throw new Error('the machine is running');
    this.#target = instructions;
    this.start();
    do {
      await this.#loop;
      // A savevm or loadvm in between stops the loop and starts it again.
      await this.#exclusive;
    } while (this.#loop !== undefined);
    this.#target = Number.POSITIVE_INFINITY;
  }
  #target = Number.POSITIVE_INFINITY;

  /** A host event may have given the CPU something to do. */
  wake(): void {
    this.#wakeUp?.();
  }

  /** system_reset. */
  reset(): void {
    this.#requestReset('host');
  }

  /** system_powerdown: presses the ACPI power button. */
  powerButton(): void {
    this.board.pm.pressPowerButton();
    this.#events.emit('powerdown', undefined);
    this.wake();
  }

  nmi(): void {
    this.board.cpu.raiseNmi();
    this.wake();
  }

  /** Stops for good and closes all images. */
  async close(): Promise<void> {
    this.#background?.job.cancel();
    await this.#background?.done.catch(() => undefined);
    await this.#halt();
    await this.#drain();
    await this.#snapshots.close();
    for (const disk of this.disks) await disk.node?.close();
    this.#state = 'shutdown';
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #setState(state: RunState): void {
    if (this.#state === state) return;
    assertTransition(this.#state, state);
    if (traceRunState.enabled) traceRunState.emit(this.#state, state);
    this.#state = state;
    this.#events.emit('state', state);
  }

  /** Ends the run loop without a change of state. */
  async #halt(): Promise<void> {
    if (this.#loop === undefined) return;
    this.#stopRequested = true;
    this.board.cpu.endRun();
    this.wake();
    await this.#loop;
    this.#stopRequested = false;
  }

  #ensureLoop(): void {
    this.#loop ??= this.#run().finally(() => {
      this.#loop = undefined;
    });
  }

  async #run(): Promise<void> {
    const { host } = this.options;
    this.clock.start();
    if (this.#freshlyLoaded) this.#resumeHosts();
    try {
      while (this.#state === 'running' && !this.#stopRequested) {
        const gate = this.#background?.room ?? this.#slice();
        if (gate !== undefined) await gate;
        else if (this.#isDone()) break;
        else await host.yield();
      }
    } catch (error) {
      // Reported already, and the machine stands still.
      if (error !== this.#ramFailure) throw error;
    } finally {
      this.clock.stop();
      if (this.#state === 'running' && !this.#draining && this.#isDone()) this.#setState('paused');
    }
  }

  /** The run has come to the instruction asked for; or, before a snapshot, to a moment without disk requests. */
  #isDone(): boolean {
    if (this.#draining) return this.#inFlight === 0;
    return this.cpu.instructions >= this.#target;
  }

  /** The host's side of a machine that was loaded has never seen what waits in it. */
  #resumeHosts(): void {
    this.#freshlyLoaded = false;
    for (const serial of this.board.serials) serial?.resume();
  }
  #freshlyLoaded = false;

  /** One turn on the event loop. A promise: what to wait for before the next one. */
  #slice(): Promise<void> | undefined {
    const begin = this.options.host.now();
    try {
      return this.#sliceFrom(begin);
    } finally {
      this.#ranNs += this.options.host.now() - begin;
    }
  }

  #sliceFrom(begin: number): Promise<void> | undefined {
    const { host } = this.options;
    do {
      if (this.#resetRequested !== undefined) this.#doReset();
      const gate = this.clock.runTimers();
      if (gate !== undefined) return gate;
      if (this.#isDone()) return undefined;
      const left = this.#draining ? Number.POSITIVE_INFINITY : this.#target - this.cpu.instructions;
      const stop = this.#stretch(Math.min(left, this.#stretchLength()));
      if (stop === 'triple-fault') this.#requestReset('guest');
      else if (stop === 'debug') this.#setState('debug');
      else if (stop === 'halt') {
        // Idle time comes after the instruction asked for: where a run stops does not depend on the host.
        if (this.#isDone()) return undefined;
        const wait = this.#idle();
        if (wait !== undefined) return wait;
      }
      if (this.#background?.room !== undefined) break;
    } while (this.#state === 'running' && !this.#stopRequested && host.now() - begin < this.#sliceLength());
    return undefined;
  }

  /** With -icount the machine waits for disks when their time has come: no need to look often. */
  #sliceLength(): number {
    if (this.#inFlight > 0 && this.clock.icount === undefined) return SLICE_BUSY_NS;
    return this.#snapshots.absentGroups > 0 ? SLICE_LOADING_NS : SLICE_NS;
  }

  #stretch(budget: number): StopReason {
    if (this.clock.icount !== undefined) return this.cpu.run(budget);
    const before = this.cpu.instructions;
    const start = this.options.host.now();
    const stop = this.cpu.run(budget);
    const elapsed = this.options.host.now() - start;
    const done = this.cpu.instructions - before;
    if (done > 10_000 && elapsed > 0) this.#speed = this.#speed * 0.75 + (done / elapsed) * 0.25;
    return stop;
  }

  /** Instructions until somebody must look at the clock again. */
  #stretchLength(): number {
    const toDeadline = this.clock.nextDeadline() - this.clock.now();
    const { icount } = this.clock;
    if (icount !== undefined) {
      if (toDeadline === Number.POSITIVE_INFINITY) return STRETCH_INSTRUCTIONS * 10;
      return Math.max(1, Math.min(STRETCH_INSTRUCTIONS * 10, Math.ceil(toDeadline / 2 ** icount.shift)));
    }
    const ns = Math.min(toDeadline, this.#sliceLength());
    return Math.max(MIN_STRETCH, Math.min(STRETCH_INSTRUCTIONS, Math.ceil(ns * this.#speed)));
  }

  /** The CPU waits in HLT: sleeps to the next deadline or host event. */
  #idle(): Promise<void> | undefined {
    const next = this.clock.nextDeadline();
    const now = this.clock.now();
    const { icount } = this.clock;
    if (icount !== undefined && next !== Number.POSITIVE_INFINITY && !icount.sleep) {
      if (next > now) this.clock.set(next);
      return undefined;
    }
    const ms = Math.min(MAX_SLEEP_MS, (next - now) / 1e6);
    if (ms <= 0.02) {
      // Too short to sleep. Instructions stand still in HLT: with -icount time has to be moved.
      if (icount !== undefined && next > now) this.clock.set(next);
      return undefined;
    }
    return this.#sleep(ms, next);
  }

  async #sleep(ms: number, deadline: number): Promise<void> {
    const begin = this.options.host.now();
    const { done, wake } = this.options.host.sleep(
      ms,
      this.#inFlight === 0 && this.#snapshots.absentGroups === 0,
    );
    this.#wakeUp = wake;
    if (this.#stopRequested) wake();
    this.#isAsleep = true;
    await done;
    this.#isAsleep = false;
    this.#wakeUp = undefined;
    if (this.clock.icount === undefined) return;
    // Idle time passes in real time, but never beyond the deadline: what happens then happens at a time of its own.
    const slept = this.options.host.now() - begin;
    const now = this.clock.now();
    this.clock.set(deadline <= now + slept ? Math.max(now, deadline) : Math.floor(now + slept));
  }

  // ---- requests from the guest and the monitor

  #requestReset(by: 'guest' | 'host'): void {
    if (by === 'guest' && this.options.noReboot === true) {
      this.#shutdown('guest-reset');
      return;
    }
    this.#resetRequested = by;
    this.board.cpu.endRun();
    if (this.#loop === undefined) this.#doReset();
    else this.wake();
  }

  #doReset(): void {
    const guest = this.#resetRequested === 'guest';
    this.#resetRequested = undefined;
    this.board.reset();
    if (this.#state === 'shutdown' || this.#state === 'suspended') this.#setState('prelaunch');
    if (traceReset.enabled) traceReset.emit(guest ? 'guest' : 'host');
    this.#events.emit('reset', { guest });
  }

  #shutdown(reason: string): void {
    this.board.cpu.endRun();
    if (this.#state === 'running') this.#setState('shutdown');
    this.#events.emit('shutdown', { guest: true, reason });
  }

  #suspend(): void {
    this.board.cpu.endRun();
    if (this.#state === 'running') this.#setState('suspended');
    this.#events.emit('suspend', undefined);
  }

  #exit(code: number): void {
    this.board.cpu.endRun();
    if (this.#state === 'running') this.#setState('shutdown');
    this.#events.emit('exit', { code });
  }

  // ---- disks

  #countInFlight(change: number): void {
    this.#inFlight += change;
    if (change > 0) {
      // Completions are seen between slices: look soon.
      if (this.clock.icount === undefined) this.board.cpu.endRun();
      return;
    }
    if (this.#inFlight === 0) this.#onDrained?.();
  }

  /** Waits until no disk request is in flight. The machine must be stopped. */
  async #drain(): Promise<void> {
    if (this.clock.icount !== undefined) await this.#drainVirtual();
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
      const limit = this.clock.createTimer('drain-limit', () => {
        this.#draining = false;
        this.#stopRequested = true;
      });
      limit.arm(this.clock.now() + DRAIN_LIMIT_NS);
      this.#ensureLoop();
      await this.#loop;
      this.clock.removeTimer(limit);
      this.#draining = false;
      this.#stopRequested = false;
      if (this.#state === 'running') this.#state = before;
    }
    while (this.#inFlight > 0) for (const disk of this.disks) await disk.completeNow();
  }
  #draining = false;

  // ---- snapshots

  /** The run state a snapshot records: that before it was stopped for the save. */
  #savedState(): RunState {
    return this.#stateBeforeSave;
  }
  #stateBeforeSave: RunState = 'prelaunch';

  /** Runs `action` with the machine stopped and drained, then goes on if it ran. */
  #stopped<T>(state: 'save-vm' | 'restore-vm', action: () => Promise<T>): Promise<T> {
    return this.#oneByOne(() => this.#stop(state, action));
  }

  /** Runs `action` when all that was asked for before is done, a background save too. */
  #oneByOne<T>(action: () => Promise<T>): Promise<T> {
    const work = this.#exclusive.then(async () => {
      await this.#background?.done.catch(() => undefined);
      return action();
    });
    this.#exclusive = work.catch(() => {});
    return work;
  }

  async #stop<T>(state: 'save-vm' | 'restore-vm', action: () => Promise<T>): Promise<T> {
    const before = this.#state;
    await this.#halt();
    await this.#drain();
    const after = this.#state === 'running' || this.#state === before ? before : this.#state;
    this.#stateBeforeSave = after === 'internal-error' || after === 'debug' ? 'paused' : after;
    this.#state = state;
    if (after === 'running') this.#events.emit('frozen', true);
    try {
      return await action();
    } finally {
      this.#state = this.#ramFailure === undefined ? this.#afterStop(after) : 'internal-error';
      if (this.#state === 'running') {
        this.#ensureLoop();
        this.#events.emit('frozen', false);
      }
    }
  }

  /** A good snapshot was loaded in place of a bad one: the machine waits to be started. */
  #afterStop(state: RunState): RunState {
    return state === 'internal-error' ? 'paused' : state;
  }

  #snapshotDisks(): SnapshotDisk[] {
    return this.disks.flatMap((d) => (d.node === undefined ? [] : [{ device: d.device, node: d.node }]));
  }

  #migratable() {
    const { devices, ramBlocks } = this.board;
    return { machineType: this.options.machineType ?? MACHINE_TYPE, devices, ramBlocks };
  }

  /** Saves the whole machine into its disks. Nothing is changed if it fails. Default tag: vm-YYYYMMDDhhmmss. */
  async savevm(tag: string = this.#newTag(), options: SaveOptions = {}): Promise<SavevmResult> {
    if (this.#state === 'internal-error') throw this.#ramFailure!;
    const { incremental = true, compress, job: jobOptions, signal, onProgress } = options;
    return this.jobs.run('snapshot-save', tag, { ...jobOptions, signal }, (job) =>
      this.#stopped('save-vm', async () => {
        const disks = this.#snapshotDisks();
        const node = vmStateNode(disks);
        const share = await this.#snapshots.saveOptions(node, tag, incremental);
        const saved = await savevm(this.#migratable(), disks, this.#moment(), tag, {
          ...share,
          ...watch(job, onProgress),
          ...(compress === undefined ? {} : { compress: compressOptions(compress)! }),
        });
        await this.#snapshots.saved(node, saved.info, saved.index);
        finishCpuSave(this.cpu);
        return saved;
      }),
    );
  }

  /**
   * savevm of this instant while the guest runs on: it stops for the device state only (docs/snapshots.md). Resolves when
   * it runs on; {@link BackgroundSave.done} when the snapshot is there. What comes next (savevm, loadvm, delvm) waits for
   * that; `close` cancels it.
   */
  async savevmInBackground(
    tag: string = this.#newTag(),
    options: BackgroundSaveOptions = {},
  ): Promise<BackgroundSave> {
    if (this.#state === 'internal-error') throw this.#ramFailure!;
    const { incremental = true, compress, copyBytes, job: jobOptions, signal, onProgress } = options;
    return new Promise((resolve, reject) => {
      const how = { ...jobOptions, isBackground: true, signal };
      const work = this.jobs.run('snapshot-save', tag, how, async (job) => {
        const watched = this.jobs.on('change', (changed) => {
          if (changed === job && job.status === 'running' && job.totalBytes > 0)
            onProgress?.(job.currentBytes, job.totalBytes);
        });
        try {
          const save = await this.#oneByOne(async () => {
            const what = { incremental, compress: compressOptions(compress), copyBytes };
            this.#background = await startBackgroundSave(this.#backgroundHost(), job, what);
            return this.#background;
          });
          resolve(save);
          try {
            return await save.done;
          } finally {
            if (this.#background === save) this.#background = undefined;
          }
        } finally {
          watched();
        }
      });
      // Before the instant: it cannot be begun. Behind it whoever wants to know awaits `done`.
      work.catch(reject);
    });
  }

  #backgroundHost(): Parameters<typeof startBackgroundSave>[0] {
    const { host } = this.options;
    return {
      host,
      memory: this.memory,
      snapshots: this.#snapshots,
      machine: () => this.#migratable(),
      disks: () => this.#snapshotDisks(),
      moment: () => this.#moment(),
      stopped: async (action) => {
        const begin = host.now();
        await this.#stop('save-vm', action);
        return host.now() - begin;
      },
      cpuSaved: () => finishCpuSave(this.cpu),
      isBusy: () => this.#loop !== undefined && !this.#isAsleep,
      ranNs: () => this.#ranNs,
      endRun: () => this.cpu.endRun(),
    };
  }

  /** QEMU's tag for a snapshot without a name. */
  #newTag(): string {
    return defaultTag(Math.floor(this.options.host.wallClock() / 1000));
  }

  #moment(): SnapshotMoment {
    const ms = this.options.host.wallClock();
    return {
      dateSec: Math.floor(ms / 1000),
      dateNsec: Math.floor((ms % 1000) * 1e6),
      vmClockNs: Math.floor(this.clock.now()),
      icount: this.clock.icount === undefined ? -1 : this.cpu.instructions,
    };
  }

  /**
   * Goes back to a snapshot. Everything is checked first: if it fails, the machine is as it was and goes on if it ran.
   * Returns what was skipped ("notices").
   */
  async loadvm(
    tag: string,
    { lazy = true, job: jobOptions, signal, onProgress }: LoadOptions = {},
  ): Promise<{ readonly info: SnapshotInfo; readonly notices: readonly string[] }> {
    return this.jobs.run('snapshot-load', tag, { ...jobOptions, signal }, (job) =>
      this.#stopped('restore-vm', () => this.#load(tag, lazy, watch(job, onProgress))),
    );
  }

  async #load(
    tag: string,
    lazy: boolean,
    options: Pick<LoadOptions, 'signal' | 'onProgress'>,
  ): Promise<{ readonly info: SnapshotInfo; readonly notices: readonly string[] }> {
    let keepsCode = false;
    const loaded = await loadvm(this.#migratable(), this.#snapshotDisks(), tag, async (node, info) => {
      const prepared = await this.#snapshots.prepare(node, info, lazy, options);
      keepsCode = prepared.keepsCode;
      return prepared;
    });
    this.#ramFailure = undefined;
    this.board.afterLoad();
    finishCpuLoad(this.cpu, this.board.apic, keepsCode);
    this.#freshlyLoaded = true;
    await this.#snapshots.loaded();
    this.#events.emit('loaded', { tag: loaded.info.tag });
    return { info: loaded.info, notices: loaded.notices };
  }

  /** Groups of RAM pages (15 as a rule) that the last loadvm has still to bring in, behind the running guest. */
  get absentGroups(): number {
    return this.#snapshots.absentGroups;
  }

  /** Brings in all RAM that a lazy loadvm left in the image. Throws when the snapshot is bad. */
  async finishLoad(): Promise<void> {
    await this.#snapshots.finish();
  }

  #ramFailure: MigrationError | undefined;

  /** RAM of the snapshot being loaded is bad or unreadable: not one more instruction. */
  #ramFailed(error: MigrationError): void {
    this.#ramFailure ??= error;
    this.#background?.job.cancel();
    this.board.cpu.endRun();
    if (['running', 'paused', 'debug'].includes(this.#state)) this.#setState('internal-error');
    this.#events.emit('io-error', { device: 'vmstate', operation: 'read', error });
  }

  /** Whether there was such a snapshot. */
  async delvm(tag: string, options: JobOptions = {}): Promise<boolean> {
    return this.jobs.run('snapshot-delete', tag, options, () =>
      this.#stopped('save-vm', async () => {
        // What is still to be read may lie in the clusters that go. If it cannot be read, so be it: the machine has stopped.
        await this.#snapshots.finish().catch(() => undefined);
        return delvm(this.#snapshotDisks(), tag);
      }),
    );
  }

  listSnapshots(): SnapshotLists {
    return listSnapshots(this.#snapshotDisks());
  }
}
