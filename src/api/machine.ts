/**
 * A PC in a program: create it, run it until something happens, save it, go back. Several may live in one process.
 *
 *     await using vm = await Machine.create({ hda: 'guest.qcow2', memory: '64M' });
 *     await vm.run({ until: vm.serial(0).waitFor('login: ') });
 *     const booted = await vm.savevm('booted');
 */
import type { SnapshotInfo } from '../block/block-node.ts';
import { buildMachine } from '../cli/build-machine.ts';
import type { Config } from '../cli/config.ts';
import { EventLog } from '../cli/log.ts';
import { createMonitorHost } from '../cli/monitor-host.ts';
import { publishTraceEvents } from '../host/trace-channel.ts';
import type { Machine as Core, MachineEvents } from '../machine/machine.ts';
import type { LoadOptions, SaveOptions } from '../machine/save-and-load.ts';
import type { RunState } from '../machine/run-state.ts';
import { Hmp } from '../monitor/hmp.ts';
import { MachineError } from './errors.ts';
import { Keyboard } from './keyboard.ts';
import { GuestMemory } from './memory.ts';
import { Mouse } from './mouse.ts';
import { type MachineOptions, toConfig } from './options.ts';
import { type Registers, readRegisters } from './registers.ts';
import { Screen } from './screen.ts';
import { SerialPort } from './serial.ts';

/** When a run ends. */
export interface RunOptions<T = void> {
  /** The run ends when this settles; its value is returned, its failure thrown. */
  readonly until?: Promise<T>;
  /** The run ends after this many instructions, exactly. */
  readonly instructions?: number;
  /** Limit of host time, ms: MachineError 'timeout' beyond. Default none: `until` has one of its own. */
  readonly timeoutMs?: number;
  /** Ends the run; it rejects with the signal’s reason, the machine is paused. */
  readonly signal?: AbortSignal;
}

/** An event with its name, as `events()` gives them. */
export type MachineEvent = {
  [K in keyof MachineEvents]: {
    /** Its name. */
    readonly type: K;
    /** What comes with it. */
    readonly data: MachineEvents[K];
  };
}[keyof MachineEvents];

const EVENT_NAMES = [
  'state',
  'reset',
  'shutdown',
  'suspend',
  'wakeup',
  'powerdown',
  'frozen',
  'loaded',
  'exit',
  'io-error',
] as const satisfies readonly (keyof MachineEvents)[];

/** A PC in this process. Several can run side by side. Closed by `close()` or at the end of `await using`. */
export class Machine {
  /** What the guest shows. */
  readonly screen: Screen;
  /** The PS/2 keyboard. */
  readonly keyboard: Keyboard;
  /** The PS/2 mouse. */
  readonly mouse: Mouse;
  /** Guest-physical memory. */
  readonly memory: GuestMemory;
  readonly #core: Core;
  readonly #serials: readonly SerialPort[];
  readonly #hmp: Hmp;
  #isClosed = false;

  /**
   * Opens the images and powers the machine on; the CPU stands still until run() or start(). Rejects with UsageError,
   * FirmwareError, BlockError, KernelLoadError, and, for `loadvm`, MigrationError.
   */
  static async create(options: MachineOptions = {}): Promise<Machine> {
    const config = toConfig(options);
    const serials = Array.from({ length: options.serialPorts ?? 1 }, () => new SerialPort());
    const notice = options.notice ?? (() => {});
    for (const warning of config.warnings) notice(warning);
    publishTraceEvents();
    const core = await buildMachine(config, { serials, notice });
    const machine = new Machine(core, serials, config);
    try {
      if (options.loadvm !== undefined) await machine.loadvm(options.loadvm);
    } catch (error) {
      await machine.close();
      throw error;
    }
    return machine;
  }

  private constructor(core: Core, serials: readonly SerialPort[], config: Config) {
    this.#core = core;
    this.#serials = serials;
    serials.forEach((port, n) => {
      const guest = core.serial(n);
      if (guest !== undefined) port.connect(guest.receiver, () => core.wake());
    });
    this.screen = new Screen(core);
    this.keyboard = new Keyboard(core);
    this.mouse = new Mouse(core);
    this.memory = new GuestMemory(core);
    const host = createMonitorHost({
      config,
      characters: { open: [] },
      log: new EventLog(config.logItems, config.logFile),
      gdbserver: async () => 'gdb is served by the program, not by a machine in a program\n',
      quit: () => void this.close(),
    });
    this.#hmp = new Hmp({ machine: core, host });
    core.on('loaded', () => {
      for (const port of serials) port.loaded();
    });
  }

  /** `prelaunch`, `running`, `paused`, `shutdown`, `suspended`, `internal-error`, … as QEMU names them. */
  get state(): RunState {
    return this.#core.state;
  }

  /** Instructions executed since power-on. */
  get instructions(): number {
    return this.#core.cpu.instructions;
  }

  /** Virtual time, ns. */
  get virtualTimeNs(): number {
    return this.#core.clock.now();
  }

  /** Serial port n, COM1 first. Throws MachineError 'argument' when there is none. */
  serial(n: number = 0): SerialPort {
    const port = this.#serials[n];
    if (port === undefined) throw new MachineError('argument', `there is no serial port ${n}`);
    return port;
  }

  /** All serial ports, COM1 first. */
  get serialPorts(): readonly SerialPort[] {
    return this.#serials;
  }

  // ---- running

  /** Lets the machine run and returns at once. */
  start(): void {
    this.#assertOpen();
    this.#core.start();
  }

  /** Stops at the next instruction boundary. */
  async pause(): Promise<void> {
    await this.#core.pause();
  }

  /**
   * Runs until `until` settles, `instructions` are done, or the machine stops by itself (shut down, say), then pauses.
   * Rejects with MachineError 'stopped' when it stops before `until` settles.
   */
  async run<T = void>(options: RunOptions<T> = {}): Promise<T> {
    this.#assertOpen();
    options.signal?.throwIfAborted();
    const { until, instructions } = options;
    if (instructions !== undefined) {
      await this.#guarded(this.#core.runTo(this.instructions + instructions), options);
      return undefined as T;
    }
    const stopped = this.#whenStopped();
    this.#core.start();
    try {
      if (until === undefined) {
        await this.#guarded(stopped.promise, options);
        return undefined as T;
      }
      const failure = stopped.promise.then((state) => {
        throw new MachineError('stopped', `the machine stopped (${state}) before what was waited for came`);
      });
      failure.catch(() => {});
      return await this.#guarded(Promise.race([until, failure]), options);
    } finally {
      stopped.forget();
      await this.#core.pause();
    }
  }

  #whenStopped(): { readonly promise: Promise<RunState>; readonly forget: () => void } {
    let forget = () => {};
    const promise = new Promise<RunState>((resolve) => {
      forget = this.#core.on('state', (state) => {
        if (state !== 'running') resolve(state);
      });
    });
    return { promise, forget };
  }

  /** Adds a time limit and a signal; the machine is paused when they end the wait. */
  async #guarded<T>(
    work: Promise<T>,
    { timeoutMs, signal }: Pick<RunOptions, 'timeoutMs' | 'signal'>,
  ): Promise<T> {
    if (timeoutMs === undefined && signal === undefined) return work;
    let timer: NodeJS.Timeout | undefined;
    let onAbort = () => {};
    const limit = new Promise<never>((_, reject) => {
      if (timeoutMs !== undefined) {
        const error = new MachineError('timeout', `the run took longer than ${timeoutMs} ms`);
        timer = setTimeout(() => reject(error), timeoutMs);
      }
      onAbort = () => reject(signal!.reason);
      signal?.addEventListener('abort', onAbort, { once: true });
    });
    try {
      return await Promise.race([work, limit]);
    } catch (error) {
      work.catch(() => {});
      await this.#core.pause();
      throw error;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    }
  }

  /** Presses the reset button. */
  reset(): void {
    this.#core.reset();
  }

  /** Presses the ACPI power button: a guest that listens shuts down. */
  powerButton(): void {
    this.#core.powerButton();
  }

  // ---- snapshots

  /** Saves the whole machine into its disks. If it fails, or the signal ends it, machine and images are as before. */
  async savevm(tag?: string, options?: SaveOptions): Promise<SnapshotInfo> {
    this.#assertOpen();
    const { info } = await this.#core.savevm(tag, options);
    return info;
  }

  /**
   * Goes back to a snapshot, by tag, id, or what savevm returned. If it fails the machine is as it was. A machine that ran
   * runs on; one that stood still stands still.
   */
  async loadvm(snapshot: string | SnapshotInfo, options?: LoadOptions): Promise<SnapshotInfo> {
    this.#assertOpen();
    const { info } = await this.#core.loadvm(typeof snapshot === 'string' ? snapshot : snapshot.tag, options);
    return info;
  }

  /** Whether there was such a snapshot. */
  async delvm(snapshot: string | SnapshotInfo): Promise<boolean> {
    return this.#core.delvm(typeof snapshot === 'string' ? snapshot : snapshot.tag);
  }

  /** Those that are on all disks, and can be loaded. */
  snapshots(): readonly SnapshotInfo[] {
    return this.#core.listSnapshots().everywhere;
  }

  // ---- looking in

  /** The registers of the CPU as they are now, unsigned. */
  registers(): Registers {
    return readRegisters(this.#core.cpu);
  }

  /** Runs a line of the human monitor (`info registers`, `x/10i $eip`) and returns what it prints. */
  monitor(line: string): Promise<string> {
    return this.#hmp.execute(line);
  }

  /** Returns a function that removes the listener. */
  on<K extends keyof MachineEvents>(event: K, listener: (value: MachineEvents[K]) => void): () => void {
    return this.#core.on(event, listener);
  }

  /** What happens from now on: `for await (const event of vm.events({ signal }))`. Ends with the signal, or close(). */
  async *events({ signal }: { readonly signal?: AbortSignal } = {}): AsyncGenerator<MachineEvent, void> {
    const queue: MachineEvent[] = [];
    let wake = () => {};
    const removers = EVENT_NAMES.map((type) =>
      this.#core.on(type, (data) => {
        queue.push({ type, data } as MachineEvent);
        wake();
      }),
    );
    const onAbort = () => wake();
    signal?.addEventListener('abort', onAbort);
    this.#enders.add(onAbort);
    try {
      while (signal?.aborted !== true) {
        const event = queue.shift();
        if (event !== undefined) yield event;
        else if (this.#isClosed) return;
        else
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
      }
    } finally {
      for (const remove of removers) remove();
      signal?.removeEventListener('abort', onAbort);
      this.#enders.delete(onAbort);
    }
  }
  readonly #enders = new Set<() => void>();

  // ---- the end

  /** Stops the machine and closes its images. Harmless when repeated. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#core.close();
    for (const port of this.#serials) port.closed();
    for (const end of this.#enders) end();
  }

  /** As `close()`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #assertOpen(): void {
    if (this.#isClosed) throw new MachineError('closed', 'the machine was closed');
  }
}
