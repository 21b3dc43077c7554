/**
 * The machine: board, clock and run loop put together; what the guest and the people outside may ask of it.
 * How it runs is in run-loop.ts, how it is saved and loaded in save-and-load.ts.
 */
import type { SavevmResult, SnapshotLists } from '../migration/savevm.ts';
import type { MigrationError } from '../migration/errors.ts';
import type { WakeReason } from '../devices/pci/acpi-pm1.ts';
import type { Ps2Keyboard } from '../devices/ps2-keyboard.ts';
import type { Ps2Mouse } from '../devices/ps2-mouse.ts';
import type { Uart16550 } from '../devices/uart16550.ts';
import type { Vga } from '../devices/vga/vga.ts';
import type { BackgroundSave } from './background-save.ts';
import { Board } from './board/pc-i440fx.ts';
import type { Cpu } from './cpu/cpu.ts';
import { type DiskHost, MachineDisk } from './disk.ts';
import { Emitter } from './emitter.ts';
import type { JobOptions, Jobs } from './jobs.ts';
import type { PhysicalMemory } from './memory.ts';
import type { DriveOptions, MachineOptions } from './options.ts';
import { RunLoop, type RunLoopOwner } from './run-loop.ts';
import type { RunState } from './run-state.ts';
import {
  type BackgroundSaveOptions,
  type LoadedSnapshot,
  type LoadOptions,
  SaveAndLoad,
  type SaveOptions,
} from './save-and-load.ts';
import { traceReset } from './trace.ts';
import { VirtualClock } from './virtual-clock.ts';

/** What happens to a machine, by name. */
export interface MachineEvents {
  /** It runs, stands still, or does something else than before. */
  state: RunState;
  /** A reset is about to happen: registers are as they were. */
  resetting: undefined;
  /** A reset; `guest`: the guest asked for it. */
  reset: {
    /** Asked for by the guest. */
    readonly guest: boolean;
  };
  /** Power-off; `guest`: by the guest. */
  shutdown: {
    /** By the guest. */
    readonly guest: boolean;
    /** As QMP’s SHUTDOWN names it. */
    readonly reason: string;
  };
  /** The guest went to sleep (ACPI S3). */
  suspend: undefined;
  /** It was woken, and goes on. */
  wakeup: undefined;
  /** A CD drive's tray was opened or closed from outside. */
  tray: {
    /** The drive, as `info block` names it. */
    readonly device: string;
    /** It is open now. */
    readonly isOpen: boolean;
  };
  /** The power button was pressed from outside. */
  powerdown: undefined;
  /** A machine that runs stands still for a snapshot (true), or goes on. Its state says save-vm or restore-vm meanwhile. */
  frozen: boolean;
  /** A loadvm has put another state in place: keys held, text waited for and the like are things of the past. */
  loaded: {
    /** The snapshot’s. */
    readonly tag: string;
  };
  /** isa-debug-exit: the process should end with (value << 1) | 1. */
  exit: {
    /** Exit code for the process. */
    readonly code: number;
  };
  /** A disk request failed. The guest has seen it. */
  'io-error': {
    /** QEMU’s name of the drive. */
    readonly device: string;
    /** `read`, `write` or `flush`. */
    readonly operation: string;
    /** A BlockError mostly. */
    readonly error: Error;
  };
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
  /** Asked at every savevm for bytes to be kept with the snapshot (`SnapshotMeta.extra`). The machine stands still. */
  snapshotExtra: (() => Uint8Array | undefined) | undefined;
  readonly #loop: RunLoop;
  readonly #saving: SaveAndLoad;
  readonly #events = new Emitter<MachineEvents>();
  #resetRequested: 'guest' | 'host' | undefined;
  #wakeRequested: WakeReason | undefined;

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
    this.board = new Board(options, {
      clock: this.clock,
      runState: () => this.#saving.savedState,
      requestReset: () => this.#requestReset('guest'),
      requestShutdown: () => this.#shutdown('guest-shutdown'),
      requestSuspend: () => this.#suspend(),
      requestWake: (reason) => this.wakeUp(reason),
      requestExit: (code) => this.#exit(code),
      disk: (drive) => new MachineDisk(drive, this.#diskHost()),
    });
    this.#loop = new RunLoop(this.#loopOwner());
    this.#saving = new SaveAndLoad({
      options,
      board: this.board,
      clock: this.clock,
      loop: this.#loop,
      snapshotExtra: () => this.snapshotExtra?.(),
      onFrozen: (frozen) => this.#events.emit('frozen', frozen),
      onLoaded: (tag) => this.#events.emit('loaded', { tag }),
      onRamFailure: (error) => this.#ramFailed(error),
    });
    this.clock.onEarlier = () => this.board.cpu.endRun();
    this.board.reset();
  }

  #diskHost(): DiskHost {
    const { host } = this.options;
    return {
      clock: this.clock,
      now: () => host.now(),
      inFlight: (change) => this.#loop.countInFlight(change),
      wake: () => this.wake(),
      trayMoved: (device, isOpen) => this.#events.emit('tray', { device, isOpen }),
      ioError: (device, operation, error) => this.#events.emit('io-error', { device, operation, error }),
      failed: (error) => {
        if (error !== this.#saving.ramFailure) throw error;
      },
    };
  }

  #loopOwner(): RunLoopOwner {
    return {
      host: this.options.host,
      clock: this.clock,
      cpu: this.cpu,
      isLoading: () => this.absentGroups > 0,
      gate: () => this.#saving.gate,
      onBegin: () => {
        if (this.#saving.takeFreshlyLoaded()) for (const serial of this.board.serials) serial?.resume();
      },
      onTurn: () => {
        if (this.#resetRequested !== undefined) this.#doReset();
        if (this.#wakeRequested !== undefined) this.#doWakeUp(this.#wakeRequested);
      },
      onTripleFault: () => this.#requestReset('guest'),
      onState: (state) => this.#events.emit('state', state),
      isKnown: (error) => error === this.#saving.ramFailure,
      completeDisks: async () => {
        for (const disk of this.disks) await disk.completeNow();
      },
    };
  }

  // ---- what it is made of

  get state(): RunState {
    return this.#loop.state;
  }
  get running(): boolean {
    return this.state === 'running';
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
  /** Snapshots being saved, loaded, deleted. */
  get jobs(): Jobs {
    return this.#saving.jobs;
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

  /** Starts or continues; during a savevm or loadvm, when that has ended. */
  start(): void {
    const { standing } = this.#saving;
    if (standing !== undefined) {
      void standing.then(() => {
        if (this.state !== 'internal-error') this.start();
      });
      return;
    }
    // A suspended guest goes on when something wakes it, as in QEMU.
    if (this.running || this.state === 'suspended') return;
    this.#loop.change('running');
    this.#loop.ensure();
  }

  /** Stops at the next instruction boundary; during a savevm or loadvm, when that has ended. */
  async pause(): Promise<void> {
    const { standing } = this.#saving;
    if (standing !== undefined) await standing;
    if (!this.running) return;
    await this.#loop.halt();
    if (this.running) this.#loop.change('paused');
  }

  /** Runs until `instructions` have been executed since power-on (exact), or the machine stops for another reason. */
  async runTo(instructions: number): Promise<void> {
    if (this.running) throw new Error('the machine is running');
    await this.#loop.runTo(instructions, () => this.#saving.settled);
  }

  /** A host event may have given the CPU something to do. */
  wake(): void {
    this.#loop.wake();
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

  /** system_wakeup, or what the guest wanted to be woken by. Returns whether it was suspended. */
  wakeUp(reason: WakeReason = 'other'): boolean {
    if (this.state !== 'suspended') return false;
    if (this.board.pm.mayWake(reason)) {
      this.#wakeRequested = reason;
      this.wake();
    }
    return true;
  }

  nmi(): void {
    this.board.cpu.raiseNmi();
    this.wake();
  }

  /** Stops for good and closes all images. */
  async close(): Promise<void> {
    await this.#saving.cancelBackground();
    await this.#loop.halt();
    await this.#loop.drain();
    await this.#saving.close();
    for (const disk of this.disks) await disk.node?.close();
    this.#loop.become('shutdown');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  // ---- requests from the guest and the monitor

  #requestReset(by: 'guest' | 'host'): void {
    if (by === 'guest' && this.options.noReboot === true) {
      this.#shutdown('guest-reset');
      return;
    }
    this.#resetRequested = by;
    this.board.cpu.endRun();
    if (this.#loop.isTurning) this.wake();
    else this.#doReset();
  }

  #doReset(): void {
    const guest = this.#resetRequested === 'guest';
    this.#resetRequested = undefined;
    this.#events.emit('resetting', undefined);
    this.board.reset();
    if (!this.running) this.#loop.change('prelaunch');
    if (traceReset.enabled) traceReset.emit(guest ? 'guest' : 'host');
    this.#events.emit('reset', { guest });
  }

  #shutdown(reason: string): void {
    this.board.cpu.endRun();
    if (this.running) this.#loop.change('shutdown');
    this.#events.emit('shutdown', { guest: true, reason });
  }

  #suspend(): void {
    this.board.cpu.endRun();
    if (this.running) this.#loop.change('suspended');
    this.board.rtc.suspended();
    this.#events.emit('suspend', undefined);
  }

  /** At the turn of the loop: the reset that the BIOS goes on from, where the guest wants it. */
  #doWakeUp(reason: WakeReason): void {
    this.#wakeRequested = undefined;
    this.board.wake(reason);
    this.#loop.change('running');
    this.#events.emit('wakeup', undefined);
  }

  #exit(code: number): void {
    this.board.cpu.endRun();
    if (this.running) this.#loop.change('shutdown');
    this.#events.emit('exit', { code });
  }

  /** RAM of the snapshot being loaded is bad or unreadable: not one more instruction. */
  #ramFailed(error: MigrationError): void {
    this.board.cpu.endRun();
    if (['running', 'paused', 'debug'].includes(this.state)) this.#loop.change('internal-error');
    this.#events.emit('io-error', { device: 'vmstate', operation: 'read', error });
  }

  // ---- snapshots

  /** Saves the whole machine into its disks. Nothing is changed if it fails. Default tag: vm-YYYYMMDDhhmmss. */
  savevm(tag?: string, options?: SaveOptions): Promise<SavevmResult> {
    return this.#saving.savevm(tag, options);
  }
  /** savevm of this instant while the guest runs on; see {@link SaveAndLoad.savevmInBackground}. */
  savevmInBackground(tag?: string, options?: BackgroundSaveOptions): Promise<BackgroundSave> {
    return this.#saving.savevmInBackground(tag, options);
  }
  /** Goes back to a snapshot. If it fails, the machine is as it was and goes on if it ran. */
  loadvm(tag: string, options?: LoadOptions): Promise<LoadedSnapshot> {
    return this.#saving.loadvm(tag, options);
  }
  /** Whether there was such a snapshot. */
  delvm(tag: string, options?: JobOptions): Promise<boolean> {
    return this.#saving.delvm(tag, options);
  }
  listSnapshots(): SnapshotLists {
    return this.#saving.listSnapshots();
  }
  /** Groups of RAM pages (15 as a rule) that the last loadvm has still to bring in, behind the running guest. */
  get absentGroups(): number {
    return this.#saving.absentGroups;
  }
  /** Brings in all RAM that a lazy loadvm left in the image. Throws when the snapshot is bad. */
  finishLoad(): Promise<void> {
    return this.#saving.finishLoad();
  }
}
