/**
 * savevm, loadvm and delvm of a machine: one after the other, each with the machine stopped and drained, as jobs that can be watched
 * and cancelled. What they do to disks and streams is in src/migration, what becomes of RAM in snapshots.ts.
 */
import type { CompressOptions, SnapshotInfo } from '../block/block-node.ts';
import type { MigrationError } from '../migration/errors.ts';
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
import { type BackgroundSave, startBackgroundSave } from './background-save.ts';
import type { Board } from './board/pc-i440fx.ts';
import { finishCpuLoad, finishCpuSave } from './cpu-section.ts';
import { type Job, type JobOptions, Jobs } from './jobs.ts';
import type { MachineOptions } from './options.ts';
import type { RunLoop } from './run-loop.ts';
import type { RunState } from './run-state.ts';
import { Snapshots } from './snapshots.ts';
import type { VirtualClock } from './virtual-clock.ts';

export const MACHINE_TYPE = 'pc-i440fx-7.2';

/** How to make a snapshot. */
export interface SaveOptions {
  /** Cancels it: nothing of it is left. */
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

/** How to load a snapshot. */
export interface LoadOptions {
  /** Cancels it: the machine goes on as it was. */
  readonly signal?: AbortSignal;
  /** Told how far it is, bytes. */
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
  /** Run before RAM is read, where the snapshot's layout allows it; default true. */
  readonly lazy?: boolean;
  /** How it appears in {@link Machine.jobs}. */
  readonly job?: JobOptions;
}

export interface LoadedSnapshot {
  readonly info: SnapshotInfo;
  /** What was skipped. */
  readonly notices: readonly string[];
}

/** Whose state is saved and loaded, and what it is told. */
export interface SaveAndLoadOwner {
  readonly options: MachineOptions;
  readonly board: Board;
  readonly clock: VirtualClock;
  readonly loop: RunLoop;
  /** What a display wants to be kept with a snapshot. */
  readonly snapshotExtra: () => Uint8Array | undefined;
  /** The machine stands still for a snapshot (true), or goes on. */
  readonly onFrozen: (frozen: boolean) => void;
  readonly onLoaded: (tag: string) => void;
  /** RAM of the snapshot being loaded is bad or unreadable. */
  readonly onRamFailure: (error: MigrationError) => void;
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

export class SaveAndLoad {
  /** Snapshots being saved, loaded, deleted. */
  readonly jobs = new Jobs();
  readonly #owner: SaveAndLoadOwner;
  readonly #snapshots: Snapshots;
  /** Savevm, loadvm and the like, one after the other. */
  #exclusive: Promise<unknown> = Promise.resolve();
  #background: BackgroundSave | undefined;
  #ramFailure: MigrationError | undefined;
  #freshlyLoaded = false;
  #savedState: RunState = 'prelaunch';
  #standing: Promise<void> | undefined;

  constructor(owner: SaveAndLoadOwner) {
    this.#owner = owner;
    this.#snapshots = new Snapshots({
      memory: owner.board.memory,
      host: owner.options.host,
      machine: () => this.#migratable(),
      onFailure: (error) => this.#ramFailed(error),
    });
  }

  /** The run state a snapshot records: that before it was stopped for the save. */
  get savedState(): RunState {
    return this.#savedState;
  }
  /** Groups of RAM pages (15 as a rule) that the last loadvm has still to bring in, behind the running guest. */
  get absentGroups(): number {
    return this.#snapshots.absentGroups;
  }
  /** What the guest waits for: room for copies of pages that a background save has still to write. */
  get gate(): Promise<void> | undefined {
    return this.#background?.room;
  }
  /** The end of the stop that a savevm, loadvm or delvm needs, while there is one: until then nobody starts the guest. */
  get standing(): Promise<void> | undefined {
    return this.#standing;
  }
  /** What stands still is behind what was asked for so far. */
  get settled(): Promise<unknown> {
    return this.#exclusive;
  }
  /** RAM of the snapshot that was loaded is bad or unreadable: not one more instruction. */
  get ramFailure(): MigrationError | undefined {
    return this.#ramFailure;
  }
  /** True once behind each loadvm: the host's side of the machine has never seen what waits in it. */
  takeFreshlyLoaded(): boolean {
    const fresh = this.#freshlyLoaded;
    this.#freshlyLoaded = false;
    return fresh;
  }

  /** Brings in all RAM that a lazy loadvm left in the image. Throws when the snapshot is bad. */
  async finishLoad(): Promise<void> {
    await this.#snapshots.finish();
  }

  /** Cancels a background save and waits for its end. */
  async cancelBackground(): Promise<void> {
    this.#background?.job.cancel();
    await this.#background?.done.catch(() => undefined);
  }

  /** No more snapshots; the loop is halted and drained. */
  async close(): Promise<void> {
    await this.#snapshots.close();
  }

  #ramFailed(error: MigrationError): void {
    this.#ramFailure ??= error;
    this.#background?.job.cancel();
    this.#owner.onRamFailure(error);
  }

  // ---- standing still

  /** Runs `action` with the machine stopped and drained, then goes on if it ran. */
  #stopped<T>(state: 'save-vm' | 'restore-vm', job: Job, action: () => Promise<T>): Promise<T> {
    return this.#oneByOne(() => this.#stop(state, job, action));
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

  async #stop<T>(state: 'save-vm' | 'restore-vm', job: Job, action: () => Promise<T>): Promise<T> {
    const { loop, onFrozen, options } = this.#owner;
    const { host } = options;
    // Of a delvm nobody is told, as in QEMU.
    const isTold = job.type !== 'snapshot-delete';
    const before = loop.state;
    const begin = host.now();
    await loop.halt();
    await loop.drain();
    const { ranUntil } = loop;
    const after = loop.state === 'running' || loop.state === before ? before : loop.state;
    this.#savedState = after === 'internal-error' || after === 'debug' ? 'paused' : after;
    loop.become(state);
    let end: () => void = () => {};
    this.#standing = new Promise((resolve) => {
      end = resolve;
    });
    if (isTold && after === 'running') onFrozen(true);
    try {
      return await action();
    } finally {
      loop.become(this.#ramFailure === undefined ? this.#afterStop(after) : 'internal-error');
      if (loop.state === 'running') {
        loop.onResume(() => {
          const now = host.now();
          job.guestResumed(now - begin, now - ranUntil);
        });
        loop.ensure();
        if (isTold) onFrozen(false);
      } else if (loop.state === 'suspended') loop.ensure();
      this.#standing = undefined;
      end();
    }
  }

  /** A good snapshot was loaded in place of a bad one: the machine waits to be started. */
  #afterStop(state: RunState): RunState {
    return state === 'internal-error' ? 'paused' : state;
  }

  #snapshotDisks(): SnapshotDisk[] {
    return this.#owner.board.disks.flatMap((d) =>
      d.node === undefined ? [] : [{ device: d.device, node: d.node }],
    );
  }

  #migratable() {
    const { board, options } = this.#owner;
    const { devices, ramBlocks } = board;
    return { machineType: options.machineType ?? MACHINE_TYPE, devices, ramBlocks };
  }

  /** Saves the whole machine into its disks. Nothing is changed if it fails. Default tag: vm-YYYYMMDDhhmmss. */
  async savevm(tag: string = this.#newTag(), options: SaveOptions = {}): Promise<SavevmResult> {
    if (this.#owner.loop.state === 'internal-error') throw this.#ramFailure!;
    const { incremental = true, compress, job: jobOptions, signal, onProgress } = options;
    return this.jobs.run('snapshot-save', tag, { ...jobOptions, signal }, (job) =>
      this.#stopped('save-vm', job, async () => {
        const disks = this.#snapshotDisks();
        const node = vmStateNode(disks);
        const share = await this.#snapshots.saveOptions(node, tag, incremental);
        const saved = await savevm(this.#migratable(), disks, this.#moment(), tag, {
          ...share,
          ...watch(job, onProgress),
          ...(compress === undefined ? {} : { compress: compressOptions(compress)! }),
        });
        await this.#snapshots.saved(node, saved.info, saved.index);
        finishCpuSave(this.#owner.board.cpu);
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
    if (this.#owner.loop.state === 'internal-error') throw this.#ramFailure!;
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
            this.#background = await startBackgroundSave(this.#backgroundHost(job), job, what);
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

  #backgroundHost(job: Job): Parameters<typeof startBackgroundSave>[0] {
    const { board, loop, options } = this.#owner;
    const { host } = options;
    return {
      host,
      memory: board.memory,
      snapshots: this.#snapshots,
      machine: () => this.#migratable(),
      disks: () => this.#snapshotDisks(),
      moment: () => this.#moment(),
      untilQuiet: (ms) => loop.untilQuiet(ms),
      stopped: (action) => this.#stop('save-vm', job, action),
      cpuSaved: () => finishCpuSave(board.cpu),
      isBusy: () => loop.isBusy,
      ranNs: () => loop.ranNs,
      endRun: () => board.cpu.endRun(),
    };
  }

  /** QEMU's tag for a snapshot without a name. */
  #newTag(): string {
    return defaultTag(Math.floor(this.#owner.options.host.wallClock() / 1000));
  }

  #moment(): SnapshotMoment {
    const { board, clock, options } = this.#owner;
    const ms = options.host.wallClock();
    return {
      dateSec: Math.floor(ms / 1000),
      dateNsec: Math.floor((ms % 1000) * 1e6),
      vmClockNs: Math.floor(clock.now()),
      icount: clock.icount === undefined ? -1 : board.cpu.instructions,
      extra: this.#owner.snapshotExtra(),
    };
  }

  /**
   * Goes back to a snapshot. Everything is checked first: if it fails, the machine is as it was and goes on if it ran.
   * Returns what was skipped ("notices").
   */
  async loadvm(
    tag: string,
    { lazy = true, job: jobOptions, signal, onProgress }: LoadOptions = {},
  ): Promise<LoadedSnapshot> {
    return this.jobs.run('snapshot-load', tag, { ...jobOptions, signal }, (job) =>
      this.#stopped('restore-vm', job, () => this.#load(tag, lazy, watch(job, onProgress))),
    );
  }

  async #load(
    tag: string,
    lazy: boolean,
    options: Pick<LoadOptions, 'signal' | 'onProgress'>,
  ): Promise<LoadedSnapshot> {
    let keepsCode = false;
    const loaded = await loadvm(this.#migratable(), this.#snapshotDisks(), tag, async (node, info) => {
      const prepared = await this.#snapshots.prepare(node, info, lazy, options);
      keepsCode = prepared.keepsCode;
      return prepared;
    });
    this.#ramFailure = undefined;
    const { board, onLoaded } = this.#owner;
    board.afterLoad();
    finishCpuLoad(board.cpu, board.apic, keepsCode);
    this.#freshlyLoaded = true;
    this.#snapshots.loaded();
    onLoaded(loaded.info.tag);
    return { info: loaded.info, notices: loaded.notices };
  }

  /** Whether there was such a snapshot. */
  async delvm(tag: string, options: JobOptions = {}): Promise<boolean> {
    return this.jobs.run('snapshot-delete', tag, options, (job) =>
      this.#stopped('save-vm', job, async () => {
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
