/**
 * savevm while the guest runs on. It stops for the device state, for marking RAM (frozen-ram.ts) and for freezing the disks
 * (DiskInstant); everything else happens between its slices. The snapshot is of the instant of the stop.
 *
 * Until the last step nothing of it is in the image; cancelled or failed, all is given back.
 */
import type { CompressOptions, DiskInstant, VmStateWriter } from '../block/block-node.ts';
import { MigrationError } from '../migration/errors.ts';
import type { MigratableMachine } from '../migration/machine.ts';
import { ramGeometry, unitBytesFor } from '../migration/ram-layout.ts';
import { encodeDevices, saveVmState, type SaveVmStateOptions } from '../migration/save-vmstate.ts';
import {
  commitSnapshot,
  onDisk,
  participants,
  type SavevmResult,
  type SnapshotDisk,
  type SnapshotMoment,
  vmStateDisk,
} from '../migration/savevm.ts';
import type { CapableDisk } from '../migration/snapshot-set.ts';
import { isZeroRange } from '../migration/zero-page.ts';
import { FrozenRam } from './frozen-ram.ts';
import type { HostServices } from './host-services.ts';
import type { Job } from './jobs.ts';
import type { PhysicalMemory } from './memory.ts';
import type { Snapshots } from './snapshots.ts';

/** Work done at a time, host ns, and how many times as long the guest then runs if it has something to do. */
const QUANTUM_NS = 1_000_000;
const GUEST_SHARE = 5;
/** The guest has a turn after a device that took this long to rehearse, host ns. */
const REHEARSED_NS = 200_000;
/** For how long a moment without disk requests is looked for; then the guest stands still until they are done, ms. */
const QUIET_MS = 100;
/** Bytes a write: what is framed and checksummed at a time. */
const WRITE_BYTES = 1 << 20;

/** What a background save needs of the machine. */
export interface BackgroundHost {
  readonly host: HostServices;
  readonly memory: PhysicalMemory;
  readonly snapshots: Snapshots;
  machine(): MigratableMachine;
  disks(): readonly SnapshotDisk[];
  moment(): SnapshotMoment;
  /** Resolves at a moment without disk requests, or after `ms`. */
  untilQuiet(ms: number): Promise<void>;
  /** Runs `action` with the machine stopped and drained. */
  stopped(action: () => Promise<void>): Promise<void>;
  /** The CPU was saved and goes on as a loaded one would. */
  cpuSaved(): void;
  /** Whether the guest has instructions to execute, and host ns that it has spent on them. */
  isBusy(): boolean;
  ranNs(): number;
  /** The guest's slice shall end. */
  endRun(): void;
}

export interface BackgroundSaveOptions {
  readonly incremental: boolean;
  readonly compress?: CompressOptions | undefined;
  /** Copies of pages that the guest changes meanwhile, bytes; beyond that it waits. Default 64 MiB. */
  readonly copyBytes?: number | undefined;
}

/** A background save whose instant has passed. */
export interface BackgroundSave {
  readonly job: Job;
  /** How long the guest stood still, host ns. */
  readonly stoppedNs: number;
  /** What the guest has to wait for before it runs on. */
  readonly room: Promise<void> | undefined;
  /** The snapshot is in the image; or why it is not. */
  readonly done: Promise<SavevmResult>;
}

/** Resolves when the guest runs on. */
export async function startBackgroundSave(
  from: BackgroundHost,
  job: Job,
  options: BackgroundSaveOptions,
): Promise<BackgroundSave> {
  const disks = participants(from.disks());
  const main = vmStateDisk(disks);
  const writer = await onDisk(main, 'Could not open VM state file', () =>
    main.node.createVmState(options.compress && { compress: options.compress }),
  );
  const save = new Save(from, job, disks, writer, options);
  try {
    await save.takeInstant();
  } catch (error) {
    await save.giveUp();
    throw error;
  }
  save.begin();
  return save;
}

class Save implements BackgroundSave {
  readonly job: Job;
  done!: Promise<SavevmResult>;
  readonly #from: BackgroundHost;
  readonly #disks: readonly CapableDisk[];
  readonly #main: CapableDisk;
  readonly #writer: VmStateWriter;
  readonly #options: BackgroundSaveOptions;
  readonly #ram: FrozenRam;
  readonly #instants: DiskInstant[] = [];
  #saveOptions: SaveVmStateOptions = {};
  #moment: SnapshotMoment | undefined;
  #undo: () => void = () => {};
  #turnBegan = 0;

  constructor(
    from: BackgroundHost,
    job: Job,
    disks: readonly CapableDisk[],
    writer: VmStateWriter,
    options: BackgroundSaveOptions,
  ) {
    this.#from = from;
    this.job = job;
    this.#disks = disks;
    this.#main = vmStateDisk(disks);
    this.#writer = writer;
    this.#options = options;
    const { ramBlocks } = from.machine();
    this.#ram = new FrozenRam({
      memory: from.memory,
      blocks: ramBlocks,
      geometry: ramGeometry(ramBlocks, unitBytesFor(writer.clusterBytes)),
      isZero: from.host.isZero ?? isZeroRange,
      ...(options.copyBytes === undefined ? {} : { limitBytes: options.copyBytes }),
      turn: () => this.#turn(),
      onFull: () => from.endRun(),
    });
  }

  get stoppedNs(): number {
    return this.job.stoodStillNs;
  }

  get room(): Promise<void> | undefined {
    return this.#ram.room;
  }

  async takeInstant(): Promise<void> {
    const { machine, snapshots } = this.#from;
    const { node } = this.#main;
    for (const disk of this.#disks) await this.#prepare(disk);
    const base = await snapshots.backgroundBase(node, this.job.tag, this.#options.incremental);
    this.#throwIfCancelled();
    await this.#rehearseDevices();
    snapshots.rehearse(unitBytesFor(this.#writer.clusterBytes));
    await this.#from.host.yield();
    await this.#from.untilQuiet(QUIET_MS);
    let end: () => Uint8Array = () => new Uint8Array();
    await this.#from.stopped(async () => {
      this.#moment = this.#from.moment();
      end = encodeDevices(machine());
      for (const instant of this.#instants) await instant.take();
      const frozen = snapshots.freeze(base, this.#ram, unitBytesFor(this.#writer.clusterBytes));
      this.#undo = frozen.undo;
      this.#saveOptions = frozen.options;
      this.#from.cpuSaved();
    });
    this.#saveOptions = { ...this.#saveOptions, devicePart: end() };
  }

  /** Once before it counts, and in pieces: code that has never run takes ten times as long. */
  async #rehearseDevices(): Promise<void> {
    const { host, machine } = this.#from;
    const all = machine();
    for (const device of all.devices) {
      const begin = host.now();
      encodeDevices({ ...all, devices: [device] })();
      if (host.now() - begin > REHEARSED_NS) await host.yield();
    }
    await host.yield();
  }

  async #prepare(disk: CapableDisk): Promise<void> {
    const text = `Could not prepare '${disk.device}' for a snapshot`;
    const { node } = disk;
    if (node.prepareInstant === undefined) {
      throw new MigrationError('no-snapshots', `${text}: it has to stand still`, { file: node.filename });
    }
    this.#instants.push(await onDisk(disk, text, () => node.prepareInstant!()));
  }

  #throwIfCancelled(): void {
    if (this.job.signal.aborted) throw new MigrationError('cancelled', 'savevm was cancelled');
  }

  begin(): void {
    this.#turnBegan = this.#from.host.now();
    this.done = this.#run();
    // Whoever wants to know looks at the job or awaits this.
    this.done.catch(() => undefined);
  }

  async #run(): Promise<SavevmResult> {
    const { machine, snapshots } = this.#from;
    const { job } = this;
    try {
      const saved = await saveVmState(machine(), this.#writer, {
        ...this.#saveOptions,
        view: this.#ram,
        writeBytes: WRITE_BYTES,
        signal: job.signal,
        onProgress: (done, total) => job.progress(done, total),
      });
      this.#throwIfCancelled();
      job.pend();
      const meta = { tag: job.tag, ...this.#moment!, vmStateBytes: saved.vmStateBytes };
      const info = await commitSnapshot(this.#disks, meta, this.#writer);
      await snapshots.savedInBackground(this.#main.node, info, saved.index);
      this.#undo = () => {};
      return { ...saved, tag: job.tag, info };
    } catch (error) {
      if (!job.signal.aborted) throw error;
      throw new MigrationError('cancelled', 'savevm was cancelled', { cause: error });
    } finally {
      await this.giveUp();
    }
  }

  /** Whatever was not used: RAM and disks are the guest's alone again. */
  async giveUp(): Promise<void> {
    this.#ram.end();
    this.#undo();
    await this.#writer.abort().catch(() => undefined);
    // What cannot be let go now is let go when the image is opened again.
    for (const instant of this.#instants) await instant.release().catch(() => undefined);
  }

  #turn(): Promise<void> | undefined {
    const worked = this.#from.host.now() - this.#turnBegan;
    return worked < QUANTUM_NS ? undefined : this.#letGuestRun(worked);
  }

  async #letGuestRun(worked: number): Promise<void> {
    const { host, isBusy, ranNs } = this.#from;
    const until = ranNs() + worked * GUEST_SHARE;
    do {
      await host.yield();
    } while (isBusy() && !this.#ram.isAwaited && ranNs() < until && !this.job.signal.aborted);
    this.#turnBegan = host.now();
  }
}
