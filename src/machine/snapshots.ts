/**
 * Which snapshot the machine stands on, and what that saves: the next savevm writes what changed since, loadvm of the same
 * snapshot puts back what changed since, and any other load of ours runs before RAM is read (docs/snapshots.md).
 *
 * "Clean" (GUARD_SNAPSHOT set) means: as in the snapshot stood on, or, before there is one, zero as at power-on.
 */
import type { BlockNode, SnapshotInfo, Snapshotting, VmStateHandle } from '../block/block-node.ts';
import { crc32 as portableCrc32, type Crc32 } from '../migration/crc32.ts';
import { MigrationError } from '../migration/errors.ts';
import {
  differingGroups,
  type OpenSnapshot,
  openSnapshot,
  putGroup,
  type RamBase,
  stageGroups,
  zeroBase,
} from '../migration/lazy-load.ts';
import { LazyRam } from '../migration/lazy-ram.ts';
import {
  type LoadVmStateOptions,
  type PreparedLoad,
  prepareLoad,
  putInPlace,
} from '../migration/load-vmstate.ts';
import type { MigratableMachine } from '../migration/machine.ts';
import { ramGeometry, sameGeometry } from '../migration/ram-layout.ts';
import type { SaveVmStateOptions } from '../migration/save-vmstate.ts';
import { vmStateSource } from '../migration/savevm.ts';
import { isUsableParent, type RamIndex } from '../migration/trailer.ts';
import type { IsZero } from '../migration/zero-page.ts';
import { DirtyPages } from './dirty-pages.ts';
import type { FrozenRam } from './frozen-ram.ts';
import type { HostServices } from './host-services.ts';
import { GUARD_ABSENT, GUARD_DISPLAY, PAGE_BYTES, type PhysicalMemory } from './memory.ts';
import { traceRamFetch } from './trace.ts';
import { UndoJournal } from './undo-journal.ts';
import { RECORDING_MS, storeWorkingSet } from './working-set.ts';
import { zeroScan } from './zero-scan.ts';

type SnapshotNode = BlockNode & Snapshotting;

/** Snapshots that are kept decoded, so that going to and fro between them reads nothing but RAM: 2 MB each with 2 GiB. */
const MAX_OPENED = 4;

/** The block that is loaded lazily; the others are small and read by devices directly. */
const LAZY_BLOCK = 'pc.ram';

interface Base extends RamBase {
  readonly node: SnapshotNode;
  readonly handle: VmStateHandle;
  /** Decoded, once it has been loaded. */
  readonly opened: OpenSnapshot | undefined;
}

/** A snapshot that the machine stands on, for a save to share with. */
export type ParentBase = Pick<Base, 'handle' | 'index'>;

export interface SnapshotsOptions {
  readonly memory: PhysicalMemory;
  readonly host: HostServices;
  readonly machine: () => MigratableMachine;
  /** A page cannot be had: the machine must stop where it is. */
  readonly onFailure: (error: MigrationError) => void;
}

export interface PreparedMachineLoad extends PreparedLoad {
  /** Decoded code is still right for all pages but those that were told of. */
  readonly keepsCode: boolean;
}

export class Snapshots {
  readonly dirty: DirtyPages;
  readonly #o: SnapshotsOptions;
  readonly #crc32: Crc32;
  readonly #journal: UndoJournal;
  #isZero: IsZero | undefined;
  /** What was touched first after the last load, by group; snapshots saved from here on are laid out by it. */
  #workingSet: Uint8Array | undefined;
  #base: Base | undefined;
  #opened: { readonly node: SnapshotNode; readonly opened: OpenSnapshot }[] = [];
  /** Nothing was loaded or saved yet: clean pages are zero. */
  #fresh = true;
  #lazy: LazyRam | undefined;
  #recording: { wake: () => void; readonly done: Promise<void> } | undefined;
  /** What was recorded is kept, as far as it can be. */
  #recorded: Promise<void> = Promise.resolve();

  constructor(options: SnapshotsOptions) {
    this.#o = options;
    this.#crc32 = options.host.crc32 ?? portableCrc32;
    const { ramBlocks } = options.machine();
    this.dirty = new DirtyPages(options.memory, ramBlocks);
    this.#journal = new UndoJournal(options.memory);
    for (const [i, { name }] of ramBlocks.entries()) if (isZeroAtStart(name)) this.dirty.markBlockClean(i);
  }

  /** Groups of RAM that a lazy load has still to bring in. */
  get absentGroups(): number {
    return this.#lazy?.groupsLeft ?? 0;
  }

  /** Brings in everything that is absent. Throws when the snapshot is bad. */
  async finish(): Promise<void> {
    if (this.#lazy !== undefined && !this.#lazy.done) await this.#lazy.finish();
  }

  async close(): Promise<void> {
    await this.#endRecording();
    await this.#lazy?.abandon();
    this.#journal.stop();
  }

  // ---- saving

  /** What a save into `node` can leave out. Call with the machine stopped. */
  async saveOptions(
    node: SnapshotNode,
    tag: string | undefined,
    incremental: boolean,
  ): Promise<SaveVmStateOptions> {
    const common = this.#hostOptions();
    const base = incremental ? this.#usableBase(node) : undefined;
    // Absent pages are clean: an incremental save shares them. But not from a snapshot that this save replaces.
    const replaces = node.listSnapshots().some((info) => info.tag === tag);
    if (base === undefined || replaces) await this.finish();
    if (base === undefined) return { ...common, ...this.#knownZeros() };
    const dirty = this.dirty.dirtyGroups(base.index.geometry);
    const isDirty = (group: number): boolean => dirty[group] !== 0;
    return {
      ...common,
      parent: { idOrTag: base.handle.info.id, index: base.index, isDirty },
    };
  }

  #hostOptions(): SaveVmStateOptions {
    return { ...this.#common(), ...(this.#workingSet ? { workingSet: this.#workingSet } : {}) };
  }

  /** What saves and loads alike use of the host. */
  #common(): Pick<SaveVmStateOptions, 'crc32' | 'isZero' | 'allocate' | 'release'> {
    const { crc32, allocate, release } = this.#o.host;
    return {
      ...(crc32 ? { crc32 } : {}),
      isZero: this.isZero,
      ...(allocate ? { allocate } : {}),
      ...(release ? { release } : {}),
    };
  }

  get isZero(): IsZero {
    this.#isZero ??= this.#o.host.isZero ?? zeroScan(this.#o.memory.memory);
    return this.#isZero;
  }

  /** What a background save into `node` can share. The guest may run: what has to be read for the save is read here. */
  async backgroundBase(
    node: SnapshotNode,
    tag: string,
    incremental: boolean,
  ): Promise<ParentBase | undefined> {
    const replaces = node.listSnapshots().some((info) => info.tag === tag);
    if (!incremental || replaces || this.#usableBase(node) === undefined) await this.finish();
    return incremental ? this.#usableBase(node) : undefined;
  }

  /** What {@link freeze} will do, without effect. */
  rehearse(unitBytes: number): void {
    this.dirty.dirtyGroups(ramGeometry(this.#o.machine().ramBlocks, unitBytes));
  }

  /**
   * The instant of a background save, with the machine stopped: marks what is to be saved, and everything as clean.
   * `undo`: there will be no snapshot; what had changed before has changed still.
   */
  freeze(
    base: ParentBase | undefined,
    ram: FrozenRam,
    unitBytes: number,
  ): { readonly options: SaveVmStateOptions; readonly undo: () => void } {
    const geometry = ramGeometry(this.#o.machine().ramBlocks, unitBytes);
    const parent = base !== undefined && isUsableParent(base.index, geometry) ? base : undefined;
    const dirty = this.dirty.dirtyGroups(geometry);
    const isDirty = (group: number): boolean => dirty[group] !== 0;
    const knowsClean = parent !== undefined || this.#fresh;
    this.#journal.stop();
    this.dirty.markAllClean();
    ram.freeze(knowsClean ? dirty : new Uint8Array(dirty.length).fill(1));
    const options: SaveVmStateOptions = {
      ...this.#hostOptions(),
      ...(parent ? { parent: { idOrTag: parent.handle.info.id, index: parent.index, isDirty } } : {}),
      ...(parent === undefined && knowsClean ? { isUntouched: (group) => dirty[group] === 0 } : {}),
    };
    return { options, undo: () => this.dirty.markDirty(geometry, dirty) };
  }

  /** After a background save that succeeded: what changed since its instant is known. */
  savedInBackground(node: SnapshotNode, info: SnapshotInfo, index: RamIndex): Promise<void> {
    return this.#standOn(node, info, index);
  }

  /** Before the first save, untouched RAM need not be looked at. */
  #knownZeros(): Pick<SaveVmStateOptions, 'isUntouched'> {
    if (!this.#fresh) return {};
    let dirty: Uint8Array | undefined;
    return {
      isUntouched: (group, geometry) => {
        dirty ??= this.dirty.dirtyGroups(geometry);
        return dirty[group] === 0;
      },
    };
  }

  /** After a save that succeeded, with the machine as it was saved. */
  async saved(node: SnapshotNode, info: SnapshotInfo, index: RamIndex): Promise<void> {
    await this.#standOn(node, info, index);
    this.#journal.stop();
    this.dirty.markAllClean();
  }

  async #standOn(node: SnapshotNode, info: SnapshotInfo, index: RamIndex): Promise<void> {
    this.#fresh = false;
    this.#base = undefined;
    // The snapshot is made, whatever happens here: without its map the next save is a full one.
    const handle = await node.openVmState?.(info.id).catch(() => undefined);
    if (handle !== undefined) this.#base = { node, handle, index, opened: undefined };
  }

  #usableBase(node: SnapshotNode): Base | undefined {
    const base = this.#base;
    if (base === undefined || base.node !== node || !base.handle.alive) return undefined;
    const { ramBlocks } = this.#o.machine();
    const { geometry } = base.index;
    return sameGeometry(geometry, ramGeometry(ramBlocks, geometry.unitBytes)) ? base : undefined;
  }

  // ---- loading

  /** Reads and checks all that must be right before the machine changes. What the load before still brings in waits for it. */
  async prepare(
    node: SnapshotNode,
    info: SnapshotInfo,
    lazy: boolean,
    options: LoadVmStateOptions,
  ): Promise<PreparedMachineLoad> {
    const release = this.#lazy?.done === false ? this.#lazy.hold() : undefined;
    if (release === undefined) return this.#prepare(node, info, lazy, options);
    try {
      const prepared = await this.#prepare(node, info, lazy, options);
      const endingWith = (end: () => void) => (): void => {
        end();
        release();
      };
      return { ...prepared, commit: endingWith(prepared.commit), undo: endingWith(prepared.undo) };
    } catch (error) {
      release();
      throw error;
    }
  }

  async #prepare(
    node: SnapshotNode,
    info: SnapshotInfo,
    lazy: boolean,
    options: LoadVmStateOptions,
  ): Promise<PreparedMachineLoad> {
    const all = { ...this.#common(), ...options };
    const opened = lazy ? await this.#open(node, info, all) : undefined;
    if (opened === undefined) return this.#prepareWhole(node, info, all);
    if (options.signal?.aborted) throw new MigrationError('cancelled', 'loadvm was cancelled');
    const base = this.#usableBase(node);
    if (base?.opened === opened && this.#journal.complete) return this.#prepareReturn(opened);
    return this.#prepareLazy(node, opened, base);
  }

  async #open(
    node: SnapshotNode,
    info: SnapshotInfo,
    options: LoadVmStateOptions,
  ): Promise<OpenSnapshot | undefined> {
    const base = this.#usableBase(node);
    const known = this.#opened.find((o) => o.node === node && o.opened.handle.info.id === info.id);
    if (known?.opened.handle.alive) return known.opened;
    const handle = base?.handle.info.id === info.id ? base.handle : await node.openVmState?.(info.id);
    if (handle === undefined) return undefined;
    const opened = await openSnapshot(this.#o.machine(), handle, this.#crc32, options);
    const others = this.#opened.filter((o) => o.opened.handle.alive && o !== known);
    if (opened !== undefined) this.#opened = [{ node, opened }, ...others].slice(0, MAX_OPENED);
    return opened;
  }

  /** The whole stream, from its beginning to its end. */
  async #prepareWhole(
    node: SnapshotNode,
    info: SnapshotInfo,
    options: LoadVmStateOptions,
  ): Promise<PreparedMachineLoad> {
    // What is still coming in of an earlier load must not come in between.
    const early = this.absentGroups === 0 ? [LAZY_BLOCK] : [];
    const whole = await prepareLoad(this.#o.machine(), vmStateSource(node, info), { ...options, early });
    // Without its map the next save is a full one.
    const handle =
      whole.index === undefined ? undefined : await node.openVmState?.(info.id).catch(() => undefined);
    const commit = (): void => {
      this.#forgetAbsent();
      whole.commit();
      this.#fresh = false;
      this.#journal.stop();
      this.dirty.markAllClean();
      this.#base = handle && { node, handle, index: whole.index!, opened: undefined };
    };
    return { ...whole, keepsCode: false, commit };
  }

  /** Back to where one stands: the journal knows all that changed. */
  #prepareReturn(opened: OpenSnapshot): PreparedMachineLoad {
    const { index, notices, sections } = opened;
    return {
      index,
      notices,
      keepsCode: true,
      commit: () => putInPlace(sections, () => this.#journal.restore()),
      undo: () => {},
    };
  }

  async #prepareLazy(
    node: SnapshotNode,
    opened: OpenSnapshot,
    base: Base | undefined,
  ): Promise<PreparedMachineLoad> {
    const machine = this.#o.machine();
    const { handle, index, notices, sections, trailer } = opened;
    const { geometry } = index;
    const from = base ?? (this.#fresh ? zeroBase(opened) : undefined);
    const differs = differingGroups(opened, from);
    const dirty = this.dirty.dirtyGroups(geometry);
    const block = machine.ramBlocks.findIndex(({ name }) => name === LAZY_BLOCK);
    const first = geometry.firstGroup[block]!;
    const end = geometry.firstGroup[block + 1]!;
    const eager: number[] = [];
    for (let group = 0; group < differs.length; group++) {
      if ((group < first || group >= end) && (differs[group] || dirty[group])) eager.push(group);
    }
    const staged = await stageGroups(opened, eager, this.#crc32);
    const marks = this.dirty.absentMarks(block);
    const lazy = new LazyRam({
      handle,
      index,
      block,
      ram: machine.ramBlocks[block]!,
      marks,
      crc32: this.#crc32,
      workingSet: trailer.workingSet,
      pause: () => this.#o.host.yield(),
      onFailure: this.#o.onFailure,
      ...(this.#o.host.allocate ? { allocate: this.#o.host.allocate } : {}),
      ...(this.#o.host.release ? { release: this.#o.host.release } : {}),
    });
    const isDirty = (page: number): boolean => marks.isDirty(page);
    const placeRam = (): void => {
      const previous = this.#lazy;
      void previous?.abandon();
      for (const group of staged) {
        putGroup(machine, group);
        this.#redraw(this.dirty.firstPage(group.block), group.start, group.end);
      }
      markAbsent(lazy, previous, differs.subarray(first, end), dirty.subarray(first, end), isDirty);
      this.#lazy = lazy;
      this.#o.memory.onAbsent = (page) => {
        if (traceRamFetch.enabled) traceRamFetch.emit((page - marks.firstPage) * PAGE_BYTES);
        lazy.fetch(page - marks.firstPage);
      };
      this.#fresh = false;
      this.#base = { node, handle, index, opened };
      this.dirty.markAllClean();
      this.#journal.start();
    };
    const commit = (): void => putInPlace(sections, placeRam);
    return { index, notices, keepsCode: false, commit, undo: () => {} };
  }

  #redraw(firstPage: number, start: number, end: number): void {
    const { guard } = this.#o.memory;
    const last = firstPage + end / PAGE_BYTES;
    for (let page = firstPage + start / PAGE_BYTES; page < last; page++) {
      guard[page] = guard[page]! & ~GUARD_DISPLAY;
    }
  }

  /** RAM is about to be overwritten as a whole. */
  #forgetAbsent(): void {
    void this.#lazy?.abandon();
    this.#lazy = undefined;
    const { guard } = this.#o.memory;
    for (let page = 0; page < guard.length; page++) guard[page] = guard[page]! & ~GUARD_ABSENT;
  }

  /** The load has succeeded and the guest is about to run: reads the rest behind its back. */
  loaded(): void {
    void this.#endRecording();
    const [lazy, opened] = [this.#lazy, this.#base?.opened];
    if (lazy === undefined || opened === undefined || opened.handle !== lazy.handle) return;
    // Grows as the recording goes on.
    this.#workingSet = opened.trailer.workingSet;
    lazy.start();
    if (lazy.done) return;
    const { done, wake } = this.#o.host.sleep(RECORDING_MS);
    const record = async (): Promise<void> => {
      await done;
      // A hint only: that it could not be written is nobody's concern.
      await storeWorkingSet(opened, lazy.endRecording()).catch(() => undefined);
    };
    this.#recording = { done: record(), wake };
  }

  /** Ends the recording of what was touched after the last load, and keeps it. */
  #endRecording(): Promise<void> {
    const recording = this.#recording;
    this.#recording = undefined;
    if (recording !== undefined) {
      recording.wake();
      this.#recorded = this.#recorded.then(() => recording.done);
    }
    return this.#recorded;
  }
}

/** What differs is absent as a whole; where something changed, the pages that did; what was absent stays absent. */
function markAbsent(
  lazy: LazyRam,
  previous: LazyRam | undefined,
  differs: Uint8Array,
  dirty: Uint8Array,
  isDirty: (page: number) => boolean,
): void {
  for (let group = 0; group < differs.length; group++) {
    if (differs[group]) {
      const from = group;
      while (differs[group + 1]) group++;
      lazy.markGroups(from, group + 1);
    } else if (dirty[group]) lazy.markPages(group, isDirty);
    else if (previous?.isWaiting(group)) lazy.adopt(group);
  }
}

/** Blocks that are zero in a new machine; the others hold firmware and tables. */
function isZeroAtStart(name: string): boolean {
  return name === LAZY_BLOCK || name.endsWith('.vram');
}
