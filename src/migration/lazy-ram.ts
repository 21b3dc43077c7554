/**
 * RAM that is still in a snapshot while the guest already runs (lazy loadvm). Pages are marked absent; the first access
 * fetches the page's whole group, at once, in the middle of whatever touched it; everything else comes in behind by
 * large sequential reads, the working set first. What the guest sees does not depend on when a page arrives.
 *
 * Every unit is checked against its checksum before a byte of it is used.
 */
import type { VmStateHandle } from '../block/block-node.ts';
import type { Crc32 } from './crc32.ts';
import { MigrationError } from './errors.ts';
import { planReads, planWorkingSet, type ReadRequest } from './lazy-plan.ts';
import { groupRange, pageOffsetInUnit } from './ram-layout.ts';
import type { RamBlock } from './ram-block.ts';
import { PAGE_BYTES } from './stream-format.ts';
import type { RamIndex } from './trailer.ts';
import { isZeroRange } from './zero-page.ts';

/** Absent marks of the pages of one block. */
export interface PageMarks {
  isAbsent(page: number): boolean;
  setAbsent(page: number): void;
  /** Pages `from` … `to` - 1. */
  setAbsentRange(from: number, to: number): void;
  setPresent(page: number): void;
}

export interface LazyRamOptions {
  readonly handle: VmStateHandle;
  readonly index: RamIndex;
  /** Which block of the index, and the machine's RAM of it. */
  readonly block: number;
  readonly ram: RamBlock;
  readonly marks: PageMarks;
  readonly crc32: Crc32;
  /** By group of the index: order of first touch, 1 … 255, 0 for unknown. */
  readonly workingSet: Uint8Array;
  readonly readBytes?: number;
  readonly queueDepth?: number;
  readonly allocate?: (bytes: number) => Uint8Array;
  readonly release?: (buffer: Uint8Array) => void;
  /** Lets others have a turn. */
  readonly pause: () => Promise<void>;
  /** The snapshot is bad or cannot be read: the machine must not go on. Called before the error is thrown or kept. */
  readonly onFailure: (error: MigrationError) => void;
}

const DEFAULT_READ_BYTES = 2 << 20;
/** What is fetched of the working set at once when the guest waits for a group of it, and gaps that are read over, bytes. */
const FETCH_BYTES = 512 * 1024;
const FETCH_GAP_BYTES = 64 * 1024;
/** Groups of zeros that are put in place between two turns of the event loop. */
const ZERO_GROUPS_A_TURN = 256;

export class LazyRam {
  readonly handle: VmStateHandle;
  readonly #o: LazyRamOptions;
  /** By group of the block: 1 while pages of it are absent. */
  readonly #left: Uint8Array;
  readonly #first: number;
  readonly #pages: number;
  readonly #offsets: number[] = [];
  readonly #staging: Uint8Array;
  /** By group of the working set: the read that brings it and its neighbours in the file. */
  #neighbours: Map<number, ReadRequest> | undefined;
  #neighbourBytes: Uint8Array | undefined;
  /** Groups that the guest waited for, in order. */
  readonly #touched: number[] = [];
  #recording = true;
  #groupsLeft = 0;
  #streaming: Promise<void> | undefined;
  #stopped = false;
  /** Nothing is put in place by the background reader until then. */
  #held: Promise<void> | undefined;
  #failure: MigrationError | undefined;

  constructor(options: LazyRamOptions) {
    this.#o = options;
    this.handle = options.handle;
    const { geometry } = options.index;
    this.#first = geometry.firstGroup[options.block]!;
    this.#left = new Uint8Array(geometry.firstGroup[options.block + 1]! - this.#first);
    this.#pages = geometry.pagesPerGroup;
    for (let i = 0; i < this.#pages; i++) this.#offsets.push(pageOffsetInUnit(options.ram.name, i));
    this.#staging = new Uint8Array(geometry.unitBytes);
  }

  /** Groups not all there yet. */
  get groupsLeft(): number {
    return this.#groupsLeft;
  }

  get done(): boolean {
    return this.#groupsLeft === 0;
  }

  /** Marks groups `from` … `to` - 1 of the block as absent, every page. */
  markGroups(from: number, to: number): void {
    const pages = this.#o.ram.sizeBytes / PAGE_BYTES;
    this.#o.marks.setAbsentRange(from * this.#pages, Math.min(to * this.#pages, pages));
    for (let group = from; group < to; group++) this.adopt(group);
  }

  /** Marks pages of a group that `wanted` says. Pages that are absent already stay so. */
  markPages(group: number, wanted: (page: number) => boolean): void {
    const { marks, ram } = this.#o;
    const start = group * this.#pages;
    const end = Math.min(start + this.#pages, ram.sizeBytes / PAGE_BYTES);
    let any = false;
    for (let page = start; page < end; page++) {
      if (wanted(page)) marks.setAbsent(page);
      if (marks.isAbsent(page)) any = true;
    }
    if (any) this.adopt(group);
  }

  /** Pages of the group are absent already, and are in this snapshot what they were in the one before. */
  adopt(group: number): void {
    if (this.#left[group] === 0) this.#groupsLeft++;
    this.#left[group] = 1;
  }

  /** Whether any page of the group has still to come. */
  isWaiting(group: number): boolean {
    return this.#left[group] !== 0;
  }

  /** Brings in the group of an absent page now. Throws when it cannot be had. */
  fetch(page: number): void {
    const group = Math.floor(page / this.#pages);
    if (this.#recording) this.#touched.push(this.#first + group);
    const unit = this.#o.index.unitOfGroup[this.#first + group]!;
    if (unit === 0) {
      this.#zero(group);
      return;
    }
    if (this.#o.workingSet[this.#first + group] !== 0 && this.#fetchNeighbours(group)) return;
    const offset = unit * this.#o.index.geometry.unitBytes;
    try {
      this.handle.readSync!(offset, this.#staging);
    } catch (cause) {
      throw this.#fail(this.#unreadable(unit, cause));
    }
    this.#place(group, unit, this.#staging, 0);
  }

  /**
   * Brings in a group of the working set and those beside it in the file: the guest is about to want them too, and one read of
   * many costs little more than one of one. False: not done.
   */
  #fetchNeighbours(group: number): boolean {
    const { handle } = this;
    if (handle.readHostSync === undefined) return false;
    this.#neighbours ??= this.#planNeighbours();
    const request = this.#neighbours.get(group);
    if (request === undefined || request.hostOffset === 0 || request.groups.length === 1) return false;
    this.#neighbourBytes ??= new Uint8Array(Math.max(FETCH_BYTES, this.#o.index.geometry.unitBytes));
    const bytes = this.#neighbourBytes.subarray(0, request.bytes);
    try {
      handle.readHostSync(request.hostOffset, bytes);
    } catch {
      // Alone it may be readable, or fails with the right words.
      return false;
    }
    this.#placeAll(request, bytes);
    return true;
  }

  #planNeighbours(): Map<number, ReadRequest> {
    const { index, workingSet } = this.#o;
    const groups = this.#wanted().filter((group) => workingSet[group] !== 0);
    const found = new Map<number, ReadRequest>();
    for (const request of planWorkingSet(index, this.handle, groups, FETCH_BYTES, FETCH_GAP_BYTES)) {
      for (const group of request.groups) found.set(group - this.#first, request);
    }
    return found;
  }

  /** Groups of the index that are absent and not zero. */
  #wanted(): Uint32Array {
    const { index } = this.#o;
    const all = new Uint32Array(this.#groupsLeft);
    let count = 0;
    for (let group = 0; group < this.#left.length; group++) {
      if (this.#left[group] !== 0 && index.unitOfGroup[this.#first + group] !== 0) {
        all[count++] = this.#first + group;
      }
    }
    return all.subarray(0, count);
  }

  #placeAll({ at, groups }: ReadRequest, bytes: Uint8Array): void {
    for (const [i, group] of groups.entries()) {
      if (this.#left[group - this.#first] === 0) continue;
      this.#place(group - this.#first, this.#o.index.unitOfGroup[group]!, bytes, at[i]!);
    }
  }

  /** Starts to read the rest in the background. */
  start(): void {
    this.#streaming ??= this.#stream().catch((error: unknown) => {
      if (this.#stopped) return;
      this.#fail(error instanceof MigrationError ? error : this.#unreadable(0, error));
    });
  }

  /** Everything in place. Throws when the snapshot turned out to be bad. */
  async finish(): Promise<void> {
    this.start();
    await this.#streaming;
    if (this.#failure !== undefined) throw this.#failure;
  }

  /**
   * The background reader waits until the function that is returned is called: somebody else is in a hurry, and perhaps takes
   * over. What is touched is fetched as ever.
   */
  hold(): () => void {
    let release: () => void = () => {};
    this.#held = new Promise((resolve) => {
      release = () => {
        this.#held = undefined;
        resolve();
      };
    });
    return release;
  }

  /** Somebody else looks after the absent pages now, or nobody. Waits for reads in flight. */
  async abandon(): Promise<void> {
    this.#stopped = true;
    await this.#streaming;
  }

  /** Groups that the guest waited for so far, in order; no more are recorded. */
  endRecording(): readonly number[] {
    this.#recording = false;
    return this.#touched;
  }

  async #stream(): Promise<void> {
    await this.#o.pause();
    const { index, handle, workingSet } = this.#o;
    const plan = planReads(
      index,
      handle,
      this.#wanted(),
      workingSet,
      this.#o.readBytes ?? DEFAULT_READ_BYTES,
    );
    const depth = Math.max(1, this.#o.queueDepth ?? 3);
    await Promise.all(Array.from({ length: depth }, () => this.#worker(plan)));
    await this.#zeroRest();
  }

  /** One of several that take requests off the plan, so that as many reads are in flight. */
  async #worker(plan: Iterator<ReadRequest>): Promise<void> {
    const { allocate, readBytes = DEFAULT_READ_BYTES, release } = this.#o;
    let buffer: Uint8Array | undefined;
    try {
      for (let next = plan.next(); !next.done && !this.#stopped; next = plan.next()) {
        const { bytes, groups } = next.value;
        if (groups.every((group) => this.#left[group - this.#first] === 0)) continue;
        if (buffer === undefined || bytes > buffer.length) {
          if (buffer) release?.(buffer);
          const size = Math.max(bytes, readBytes);
          buffer = allocate?.(size) ?? new Uint8Array(size);
        }
        await this.#bring(next.value, buffer.subarray(0, bytes));
      }
    } finally {
      if (buffer) release?.(buffer);
    }
  }

  async #bring(request: ReadRequest, target: Uint8Array): Promise<void> {
    const { index } = this.#o;
    const { hostOffset, unit } = request;
    try {
      if (hostOffset > 0) await this.handle.readHost(hostOffset, target);
      else await this.handle.read(unit * index.geometry.unitBytes, target);
    } catch (cause) {
      throw this.#unreadable(unit, cause);
    }
    await this.#held;
    if (this.#stopped) return;
    this.#placeAll(request, target);
  }

  async #zeroRest(): Promise<void> {
    let count = 0;
    for (let group = 0; group < this.#left.length && this.#groupsLeft > 0; group++) {
      if (this.#left[group] === 0) continue;
      if (++count % ZERO_GROUPS_A_TURN === 0) await this.#o.pause();
      if (this.#stopped) return;
      if (this.#left[group] !== 0) this.#zero(group);
    }
  }

  /** Checks a unit and puts the group's absent pages where they belong. */
  #place(group: number, unit: number, bytes: Uint8Array, at: number): void {
    const { index, marks, ram } = this.#o;
    const { unitBytes } = index.geometry;
    const found = this.#o.crc32(bytes.subarray(at, at + unitBytes));
    if (found !== index.checksums[unit]) throw this.#fail(this.#damaged(group, unit, found));
    const start = group * this.#pages;
    const end = Math.min(start + this.#pages, ram.sizeBytes / PAGE_BYTES);
    for (let page = start; page < end; page++) {
      if (!marks.isAbsent(page)) continue;
      const from = at + this.#offsets[page - start]!;
      ram.bytes.set(bytes.subarray(from, from + PAGE_BYTES), page * PAGE_BYTES);
      marks.setPresent(page);
    }
    this.#present(group);
  }

  #zero(group: number): void {
    const { marks, ram } = this.#o;
    const start = group * this.#pages;
    const end = Math.min(start + this.#pages, ram.sizeBytes / PAGE_BYTES);
    for (let page = start; page < end; page++) {
      if (!marks.isAbsent(page)) continue;
      // Memory that nobody ever wrote costs nothing as long as nobody writes zeros to it either.
      const at = page * PAGE_BYTES;
      if (!isZeroRange(ram.bytes, at, PAGE_BYTES)) ram.bytes.fill(0, at, at + PAGE_BYTES);
      marks.setPresent(page);
    }
    this.#present(group);
  }

  #present(group: number): void {
    if (this.#left[group] !== 0) this.#groupsLeft--;
    this.#left[group] = 0;
  }

  #fail(error: MigrationError): MigrationError {
    const first = this.#failure === undefined;
    this.#failure ??= error;
    this.#stopped = true;
    if (first) this.#o.onFailure(error);
    return error;
  }

  /** Where a unit's first cluster lies in the file. */
  #hostOffset(unit: number): number {
    const { handle, index } = this.#o;
    return Math.abs(handle.hostOffsets[(unit * index.geometry.unitBytes) / handle.clusterBytes] ?? 0);
  }

  #damaged(group: number, unit: number, found: number): MigrationError {
    const { index, ram } = this.#o;
    const { start, end } = groupRange(index.geometry, this.#first + group);
    const host = this.#hostOffset(unit);
    return new MigrationError(
      'checksum',
      `RAM 0x${start.toString(16)}–0x${(end - 1).toString(16)} of ${ram.name} is damaged in snapshot ` +
        `'${this.handle.info.tag}', in the cluster at offset 0x${host.toString(16)} of the image`,
      {
        section: 'ram',
        field: `page 0x${start.toString(16)}`,
        offset: unit * index.geometry.unitBytes,
        expected: `CRC-32 0x${index.checksums[unit]!.toString(16)}`,
        found: `0x${found.toString(16)}`,
        hint: `Load another snapshot; this one can be deleted with delvm ${this.handle.info.tag}`,
      },
    );
  }

  #unreadable(unit: number, cause: unknown): MigrationError {
    const { index } = this.#o;
    const reason = cause instanceof Error ? cause.message : String(cause);
    const host = this.#hostOffset(unit).toString(16);
    return new MigrationError(
      'io',
      `RAM of snapshot '${this.handle.info.tag}' cannot be read, in the cluster at offset 0x${host} of the image: ${reason}`,
      { section: 'ram', offset: unit * index.geometry.unitBytes, cause },
    );
  }
}
