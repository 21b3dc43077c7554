/**
 * Writes a machine's VM state in our layout (ram-layout.ts): whole clusters only, in large writes, a few in flight.
 * The machine is stopped and drained; nothing of it changes but what `beforeSave` brings up to date.
 */
import type { VmStateWriter } from '../block/block-node.ts';
import { type Crc32, crc32 as defaultCrc32 } from './crc32.ts';
import { AssertionError, MigrationError } from './errors.ts';
import type { MigratableMachine } from './machine.ts';
import {
  buildHead,
  buildUnit,
  groupCount,
  groupRange,
  ramGeometry,
  type RamGeometry,
  unitBytesFor,
  writeRamEnd,
} from './ram-layout.ts';
import { RAM_SECTION_ID, writeDeviceSections, writeEnd } from './stream-format.ts';
import { isUsableParent, type RamIndex, tailOffset, writeTrailer } from './trailer.ts';
import { ByteWriter } from './writer.ts';
import { type IsZero, isZeroRange } from './zero-page.ts';

/** A snapshot whose RAM units may be shared by the next one. */
export interface ParentVmState {
  readonly idOrTag: string;
  readonly index: RamIndex;
  /** Whether any page of the group changed since that snapshot was saved or loaded. */
  readonly isDirty: (group: number) => boolean;
}

/** RAM as it was at an instant, while the guest goes on changing it (background save). */
export interface RamView {
  /** Whether all of a group was zero; asked once. */
  isZero(group: number): boolean;
  /** Frames a group as buildUnit does; asked once. */
  build(group: number, target: Uint8Array, at: number): void;
  /** A group that the guest has changed since, and that should be built soon; maybe one that was built already. */
  nextUrgent(): number | undefined;
  /** To be asked now and then: what to wait for, so that the guest gets its share of time. */
  turn(): Promise<void> | undefined;
}

export interface SaveVmStateOptions {
  /** RAM to be saved in place of what the machine has now; needs `devicePart`. */
  readonly view?: RamView;
  readonly isZero?: IsZero;
  readonly crc32?: Crc32;
  readonly parent?: ParentVmState;
  /** Without a parent: groups that are zero since power-on, so that they need not be looked at. */
  readonly isUntouched?: (group: number, geometry: RamGeometry) => boolean;
  /**
   * By group: order of first touch after an earlier load, 1 … 255, or 0. What of it is written is written first, so that it
   * lies together and the next load reads it at one go; and it goes into the trailer.
   */
  readonly workingSet?: Uint8Array;
  readonly signal?: AbortSignal;
  /** Bytes done and to do, after each write. */
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
  /** Bytes a write; default 2 MiB. */
  readonly writeBytes?: number;
  /** Writes in flight; default 3. */
  readonly queueDepth?: number;
  /** Staging buffers; page-aligned ones make O_DIRECT possible. */
  readonly allocate?: (bytes: number) => Uint8Array;
  /** Takes them back when all is written. */
  readonly release?: (buffer: Uint8Array) => void;
  /** Device sections, end and description of another stream, to be written as they are in place of the machine's. */
  readonly devicePart?: Uint8Array;
}

export interface SavedVmState {
  /** For SnapshotMeta.vmStateBytes. */
  readonly vmStateBytes: number;
  readonly index: RamIndex;
  /** Bytes that were really written; the rest is shared with the parent. */
  readonly writtenBytes: number;
}

/** Everything is encoded before the first write, so that a device that cannot be saved leaves no trace. */
export async function saveVmState(
  machine: MigratableMachine,
  writer: VmStateWriter,
  options: SaveVmStateOptions = {},
): Promise<SavedVmState> {
  const crc32 = options.crc32 ?? defaultCrc32;
  const geometry = ramGeometry(machine.ramBlocks, unitBytesFor(writer.clusterBytes));
  const tail = encodeTail(machine, options.devicePart);
  const parent =
    options.parent && isUsableParent(options.parent.index, geometry) ? options.parent : undefined;
  const groups = await groupsWithUnits(machine, geometry, parent, options);
  // What is done for each group at one go takes some ms with 2 GiB.
  await options.view?.turn();
  const sameHead = parent !== undefined && hasSameZeroGroups(parent.index, groups);
  const head = sameHead
    ? undefined
    : buildHead(machine.machineType, geometry, (group) => groups.flags[group] === 0);
  await options.view?.turn();
  const index = makeIndex(geometry, head?.length ?? parent!.index.headUnits * geometry.unitBytes, groups);
  const queue = new WriteQueue(writer, index, tail.length, options);
  try {
    if (head !== undefined) await queue.writeWhole(0, head, crc32);
    else await shareHead(parent!, index, queue);
    const order = workingSetFirst(groups.list, options.workingSet);
    await options.view?.turn();
    await writeRam(machine, parent, index, order, queue, { crc32, view: options.view });
    await options.view?.turn();
    writeTrailer(tail, index, crc32, options.workingSet);
    await options.view?.turn();
    await queue.writeTail(tailOffset(index), tail.bytes());
    await queue.drain();
  } catch (error) {
    await queue.drain().catch(() => undefined);
    throw asMigrationError(error);
  } finally {
    queue.release();
  }
  return { vmStateBytes: tailOffset(index) + tail.length, index, writtenBytes: queue.writtenBytes };
}

function encodeTail(machine: MigratableMachine, devicePart: Uint8Array | undefined): ByteWriter {
  const tail = new ByteWriter(256 * 1024);
  writeRamEnd(tail);
  if (devicePart !== undefined) tail.write(devicePart);
  else writeDevices(tail, machine);
  return tail;
}

/**
 * Device sections of the machine as it is now. The function returned adds end and description, which need not be made while
 * the guest stands still; see {@link SaveVmStateOptions.devicePart}.
 */
export function encodeDevices(machine: MigratableMachine): () => Uint8Array {
  const writer = new ByteWriter(256 * 1024);
  const descriptions = writeSections(writer, machine);
  return () => {
    writeEnd(writer, descriptions);
    return writer.bytes();
  };
}

function writeSections(writer: ByteWriter, machine: MigratableMachine) {
  for (const device of machine.devices) device.beforeSave?.();
  return writeDeviceSections(writer, machine.devices, RAM_SECTION_ID + 1);
}

function writeDevices(writer: ByteWriter, machine: MigratableMachine): void {
  writeEnd(writer, writeSections(writer, machine));
}

interface Groups {
  /** Groups with a unit, ascending. */
  readonly list: Uint32Array;
  /** By group: 1 with a unit, 0 all zero. */
  readonly flags: Uint8Array;
}

async function groupsWithUnits(
  machine: MigratableMachine,
  geometry: RamGeometry,
  parent: ParentVmState | undefined,
  { isZero = isZeroRange, isUntouched, signal, view }: SaveVmStateOptions,
): Promise<Groups> {
  const flags = new Uint8Array(groupCount(geometry));
  let count = 0;
  for (let group = 0; group < flags.length; group++) {
    let used: boolean;
    if (parent && !parent.isDirty(group)) {
      used = parent.index.unitOfGroup[group] !== 0;
    } else if (isUntouched?.(group, geometry)) {
      used = false;
    } else if (view !== undefined) {
      if (signal?.aborted) throw new MigrationError('cancelled', 'savevm was cancelled');
      const turn = view.turn();
      if (turn !== undefined) await turn;
      used = !view.isZero(group);
    } else {
      const { block, start, end } = groupRange(geometry, group);
      used = !isZero(machine.ramBlocks[block]!.bytes, start, end - start);
    }
    if (used) {
      flags[group] = 1;
      count++;
    }
  }
  const list = new Uint32Array(count);
  let next = 0;
  for (let group = 0; group < flags.length; group++) if (flags[group]) list[next++] = group;
  return { list, flags };
}

function makeIndex(geometry: RamGeometry, headBytes: number, groups: Groups): RamIndex {
  const headUnits = headBytes / geometry.unitBytes;
  const unitOfGroup = new Uint32Array(groups.flags.length);
  const ramUnits = groups.list.length;
  for (let i = 0; i < ramUnits; i++) unitOfGroup[groups.list[i]!] = headUnits + i;
  return { geometry, headUnits, ramUnits, unitOfGroup, checksums: new Uint32Array(headUnits + ramUnits) };
}

/** The groups in the order in which they are written: those that the next load wants first lie together. */
function workingSetFirst(groups: Uint32Array, workingSet: Uint8Array | undefined): Uint32Array {
  if (workingSet === undefined) return groups;
  const isFirst = (group: number): boolean => (workingSet[group] ?? 0) !== 0;
  const first = groups.filter(isFirst);
  if (first.length === 0) return groups;
  const ordered = new Uint32Array(groups.length);
  ordered.set(first);
  ordered.set(
    groups.filter((group) => !isFirst(group)),
    first.length,
  );
  return ordered;
}

/** What the head says follows from which groups are zero: then it is the parent's, and need not even be made. */
function hasSameZeroGroups(parent: RamIndex, groups: Groups): boolean {
  return groups.flags.every((flag, group) => (flag !== 0) === (parent.unitOfGroup[group] !== 0));
}

async function shareHead(parent: ParentVmState, index: RamIndex, queue: WriteQueue): Promise<void> {
  const units = Array.from({ length: index.headUnits }, (_, unit) => unit);
  for (const unit of units) index.checksums[unit] = parent.index.checksums[unit]!;
  await queue.share(units, parent.idOrTag, units);
}

async function writeRam(
  machine: MigratableMachine,
  parent: ParentVmState | undefined,
  index: RamIndex,
  groups: Uint32Array,
  queue: WriteQueue,
  { crc32, view }: { readonly crc32: Crc32; readonly view: RamView | undefined },
): Promise<void> {
  const { unitBytes } = index.geometry;
  const changed: number[] = [];
  const shared: number[] = [];
  const from: number[] = [];
  for (const group of groups) {
    const unit = index.unitOfGroup[group]!;
    if (parent && !parent.isDirty(group)) {
      const parentUnit = parent.index.unitOfGroup[group]!;
      index.checksums[unit] = parent.index.checksums[parentUnit]!;
      shared.push(unit);
      from.push(parentUnit);
      continue;
    }
    if (view !== undefined) {
      changed.push(group);
      const turn = view.turn();
      if (turn !== undefined) await turn;
      continue;
    }
    const at = await queue.reserve(unit);
    buildUnit(index.geometry, machine.ramBlocks, group, queue.staging, at);
    index.checksums[unit] = crc32(queue.staging.subarray(at, at + unitBytes));
  }
  if (view !== undefined) await writeView(view, index, changed, queue, crc32);
  await queue.flush();
  if (parent) await queue.share(shared, parent.idOrTag, from);
}

/** In the order of the groups, but for those that the guest changes: the sooner they are built, the fewer copies. */
async function writeView(
  view: RamView,
  index: RamIndex,
  groups: readonly number[],
  queue: WriteQueue,
  crc32: Crc32,
): Promise<void> {
  const { unitBytes } = index.geometry;
  const left = new Uint8Array(index.unitOfGroup.length);
  for (const group of groups) left[group] = 1;
  const write = async (group: number): Promise<void> => {
    if (left[group] === 0) return;
    left[group] = 0;
    const unit = index.unitOfGroup[group]!;
    const at = await queue.reserve(unit);
    view.build(group, queue.staging, at);
    index.checksums[unit] = crc32(queue.staging.subarray(at, at + unitBytes));
    const turn = view.turn();
    if (turn !== undefined) await turn;
  };
  for (const group of groups) {
    for (let urgent = view.nextUrgent(); urgent !== undefined; urgent = view.nextUrgent())
      await write(urgent);
    await write(group);
  }
}

/** Gathers units into large writes and keeps a few of them in flight. */
class WriteQueue {
  /** Where the unit that {@link reserve} returned is to be built. */
  staging: Uint8Array;
  writtenBytes = 0;
  readonly #writer: VmStateWriter;
  readonly #index: RamIndex;
  readonly #options: SaveVmStateOptions;
  readonly #unitBytes: number;
  readonly #clustersPerUnit: number;
  readonly #totalBytes: number;
  readonly #bufferBytes: number;
  #buffersLeft: number;
  readonly #free: Uint8Array[] = [];
  readonly #allocated: Uint8Array[] = [];
  readonly #inFlight = new Set<Promise<void>>();
  #error: unknown;
  /** Units staged, in the order of their places in {@link staging}. */
  #units: number[] = [];
  #doneBytes = 0;

  constructor(writer: VmStateWriter, index: RamIndex, tailBytes: number, options: SaveVmStateOptions) {
    this.#writer = writer;
    this.#index = index;
    this.#options = options;
    this.#unitBytes = index.geometry.unitBytes;
    this.#clustersPerUnit = this.#unitBytes / writer.clusterBytes;
    this.#totalBytes = tailOffset(index) + tailBytes;
    this.#bufferBytes =
      Math.max(1, Math.floor((options.writeBytes ?? 2 << 20) / this.#unitBytes)) * this.#unitBytes;
    this.#buffersLeft = Math.max(1, options.queueDepth ?? 3) + 1;
    this.staging = this.#take();
  }

  /** A buffer that nothing is in flight from; made when it is needed: a small save needs one. */
  #take(): Uint8Array {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    this.#buffersLeft--;
    return this.#allocate(this.#bufferBytes);
  }

  #allocate(bytes: number): Uint8Array {
    const buffer = this.#options.allocate?.(bytes) ?? new Uint8Array(bytes);
    this.#allocated.push(buffer);
    return buffer;
  }

  /** Gives all buffers back; nothing is in flight. */
  release(): void {
    for (const buffer of this.#allocated) this.#options.release?.(buffer);
    this.#allocated.length = 0;
  }

  /** Offset in {@link staging} for unit `unit`. Units that come one after the other lie together in the file. */
  async reserve(unit: number): Promise<number> {
    if (this.#units.length * this.#unitBytes === this.staging.length) await this.flush();
    this.#units.push(unit);
    return (this.#units.length - 1) * this.#unitBytes;
  }

  /** Sends off what is staged and waits until there is a buffer to go on with. */
  async flush(): Promise<void> {
    if (this.#units.length === 0) return;
    const [buffer, units] = [this.staging, this.#units];
    this.#units = [];
    this.#start(this.#clusters(units), buffer.subarray(0, units.length * this.#unitBytes), buffer);
    while (this.#free.length === 0 && this.#buffersLeft === 0) await Promise.race(this.#inFlight);
    this.#check();
    this.staging = this.#take();
  }

  #clusters(units: readonly number[]): number[] {
    const n = this.#clustersPerUnit;
    if (n === 1) return units as number[];
    return units.flatMap((unit) => Array.from({ length: n }, (_, i) => unit * n + i));
  }

  /** The same clusters as another snapshot's: nothing is written. */
  async share(units: readonly number[], idOrTag: string, fromUnits: readonly number[]): Promise<void> {
    this.#check();
    await this.#writer.shareClusters(this.#clusters(units), idOrTag, this.#clusters(fromUnits));
    this.#progress(units.length * this.#unitBytes);
  }

  /** Whole units from a buffer that nobody writes to any more, with their checksums. */
  async writeWhole(unit: number, data: Uint8Array, crc32: Crc32): Promise<void> {
    const size = this.#unitBytes;
    for (let i = 0; i * size < data.length; i++) {
      const at = await this.reserve(unit + i);
      this.staging.set(data.subarray(i * size, (i + 1) * size), at);
      this.#index.checksums[unit + i] = crc32(this.staging.subarray(at, at + size));
    }
    await this.flush();
  }

  /** The tail, padded with zeros to a whole cluster. */
  async writeTail(offset: number, tail: Uint8Array): Promise<void> {
    const { clusterBytes } = this.#writer;
    const padded = this.#allocate(Math.ceil(tail.length / clusterBytes) * clusterBytes);
    padded.set(tail);
    padded.fill(0, tail.length);
    const first = offset / clusterBytes;
    const clusters = Array.from({ length: padded.length / clusterBytes }, (_, i) => first + i);
    this.#start(clusters, padded, undefined);
    await this.drain();
  }

  async drain(): Promise<void> {
    while (this.#inFlight.size > 0) await Promise.race(this.#inFlight);
    this.#check();
  }

  #start(clusters: number[], data: Uint8Array, buffer: Uint8Array | undefined): void {
    const write = this.#write(clusters, data)
      .then(
        () => {
          this.writtenBytes += data.length;
          this.#progress(data.length);
        },
        (error: unknown) => {
          this.#error ??= error;
        },
      )
      .then(() => {
        if (buffer) this.#free.push(buffer);
        this.#inFlight.delete(write);
      });
    this.#inFlight.add(write);
  }

  #write(clusters: number[], data: Uint8Array): Promise<void> {
    const first = clusters[0]!;
    if (clusters.every((cluster, i) => cluster === first + i)) return this.#writer.writeClusters(first, data);
    return this.#writer.writeScattered(clusters, data);
  }

  #check(): void {
    if (this.#error !== undefined) throw this.#error;
    if (this.#options.signal?.aborted) throw new MigrationError('cancelled', 'savevm was cancelled');
  }

  #progress(bytes: number): void {
    this.#doneBytes += bytes;
    this.#options.onProgress?.(Math.min(this.#doneBytes, this.#totalBytes), this.#totalBytes);
  }
}

function asMigrationError(error: unknown): unknown {
  if (error instanceof MigrationError || error instanceof AssertionError || !(error instanceof Error))
    return error;
  return new MigrationError('io', `Could not write the VM state: ${error.message}`, { cause: error });
}
