/**
 * Loads VM state in two phases: {@link prepareLoad} reads, checks and decodes all of it beside the machine; `commit`
 * then puts it in place and cannot fail. Reads QEMU's snapshots and ours alike.
 */
import { assignState } from './assign.ts';
import { type Crc32, crc32 as defaultCrc32 } from './crc32.ts';
import { type DecodedSections, decodeDeviceSections } from './device-sections.ts';
import { MigrationError } from './errors.ts';
import type { MigratableMachine } from './machine.ts';
import type { RamBlock, RamSink } from './ram-block.ts';
import { RamReader } from './ram-reader.ts';
import { DirectRam, NotedRam, SortedRam, SwappedRam, type UndoableRam } from './ram-sinks.ts';
import { readRamSections, withReader } from './ram-sections.ts';
import { RAM_SECTION_NAME, readHeader } from './stream-format.ts';
import { type InputWindow, StreamInput, type VmStateSource } from './stream-input.ts';
import { type RamIndex, readTrailer } from './trailer.ts';
import { WholeInput } from './whole-input.ts';
import { type IsZero, isZeroRange } from './zero-page.ts';

/** Device sections, description and trailer: largest rest of a stream after RAM. */
export const MAX_DEVICE_PART_BYTES = 128 << 20;
const READ_BYTES = 4 << 20;

export interface LoadVmStateOptions {
  readonly crc32?: Crc32;
  readonly signal?: AbortSignal;
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
  /** Bytes a read; rounded up to whole units. Default 4 MiB. */
  readonly readBytes?: number;
  /** For the machine's RAM. */
  readonly isZero?: IsZero;
  readonly allocate?: (bytes: number) => Uint8Array;
  readonly release?: (buffer: Uint8Array) => void;
  /**
   * What to do when the stream has no section for a device of ours: refuse (default), or leave the device in its reset
   * state, as QEMU does.
   */
  readonly missingSections?: 'refuse' | 'reset';
  /**
   * True: pages go straight into the machine's RAM while the stream is read. Only for a machine that has not run and
   * is thrown away when the load fails (`-loadvm`).
   */
  readonly directRam?: boolean;
  /**
   * Blocks, by name, that nobody reads or writes until this load has ended: their pages are put in place while others are still
   * being read, and go back when the load fails.
   */
  readonly early?: readonly string[];
}

export interface PreparedLoad {
  /** For the user: sections that were skipped, a trailer that does not check. */
  readonly notices: readonly string[];
  /** Where RAM lies in this VM state: the parent of the next incremental save. Undefined for QEMU's own. */
  readonly index: RamIndex | undefined;
  /** Puts everything in place. The machine is stopped and drained. */
  commit(): void;
  /** In its place: the machine is as it was. */
  undo(): void;
}

export async function loadVmState(
  machine: MigratableMachine,
  source: VmStateSource,
  options: LoadVmStateOptions = {},
): Promise<PreparedLoad> {
  const prepared = await prepareLoad(machine, source, options);
  prepared.commit();
  return prepared;
}

/** Phase one: nothing of the machine changes, whatever is wrong with the VM state (but see `directRam`). */
export async function prepareLoad(
  machine: MigratableMachine,
  source: VmStateSource,
  options: LoadVmStateOptions = {},
): Promise<PreparedLoad> {
  const crc32 = options.crc32 ?? defaultCrc32;
  const trailer = await wrapIo(() => readTrailer(source, crc32));
  const index = trailer && 'index' in trailer ? trailer.index : undefined;
  const { input, ram: sink } = openInput(machine, source, index, crc32, options);
  try {
    const ram = await readToDevices(machine, input, sink);
    const offset = input.offset;
    const sections = decodeDeviceSections(machine.devices, await input.rest(MAX_DEVICE_PART_BYTES), offset);
    ram.checkComplete();
    const notices = noticesOf(sections, options);
    if (trailer && 'problem' in trailer) notices.push(`The snapshot's index is not used: ${trailer.problem}`);
    for (const name of ram.unlisted())
      notices.push(`RAM block '${name}' is not in the snapshot: it is left as it is`);
    const commit = (): void => putInPlace(sections, () => sink.commit());
    return { notices, index, commit, undo: () => sink.undo() };
  } catch (error) {
    sink.undo();
    throw options.signal?.aborted
      ? new MigrationError('cancelled', 'loadvm was cancelled', { cause: error })
      : error;
  } finally {
    await input.close();
  }
}

function openInput(
  machine: MigratableMachine,
  source: VmStateSource,
  index: RamIndex | undefined,
  crc32: Crc32,
  options: LoadVmStateOptions,
): { readonly input: InputWindow; readonly ram: UndoableRam } {
  const { ramBlocks } = machine;
  const { isZero = isZeroRange } = options;
  const how = inputOptions(source, index, crc32, options);
  if (options.directRam)
    return { input: new StreamInput(source, how), ram: new DirectRam(ramBlocks, isZero) };
  checkLength(source, ramBlocks);
  const input = new WholeInput(source, how);
  const noted = new NotedRam(ramBlocks, input.bytes, isZero);
  const { early = [] } = options;
  if (early.length === 0) return { input, ram: noted };
  const swapped = new SwappedRam(ramBlocks, input.bytes, isZero);
  const ram = new SortedRam(ramBlocks.map(({ name }) => (early.includes(name) ? swapped : noted)));
  return { input, ram };
}

/** All of it is going to be held in memory. Nobody writes a page more than once. */
function checkLength({ sizeBytes }: VmStateSource, ramBlocks: readonly RamBlock[]): void {
  const ramBytes = ramBlocks.reduce((sum, block) => sum + block.sizeBytes, 0);
  const limit = 2 * ramBytes + MAX_DEVICE_PART_BYTES;
  if (sizeBytes <= limit) return;
  throw new MigrationError('limit', 'The VM state is longer than any of this machine can be', {
    expected: `at most ${limit} bytes for ${ramBytes} bytes of RAM`,
    found: sizeBytes,
  });
}

/** Device state, RAM, then what the devices make of both. */
export function putInPlace(sections: DecodedSections, commitRam: () => void): void {
  for (const device of sections.missing) device.reset();
  for (const { device, record } of sections.decoded) assignState(device.state, record);
  commitRam();
  for (const { device, version } of sections.decoded) device.afterLoad?.(version);
}

/** What the user should hear of the device part; throws when a section is missing that must not be. */
export function noticesOf(sections: DecodedSections, options: LoadVmStateOptions): string[] {
  checkMissing(sections, options);
  const reset = sections.missing.map((device) => `No saved state for '${device.name}': it is reset`);
  return [...sections.notices, ...reset];
}

function checkMissing(sections: DecodedSections, options: LoadVmStateOptions): void {
  if (sections.missing.length === 0 || options.missingSections === 'reset') return;
  const names = sections.missing.map((device) => device.name);
  throw new MigrationError(
    'missing-section',
    `The snapshot has no state for ${names.map((n) => `'${n}'`).join(', ')}`,
    {
      expected: names.join(', '),
      found: 'no such section',
      hint: 'Start this machine with the devices that the snapshot was saved with',
    },
  );
}

/** Whole units a chunk, so that each can be checked as it comes in. */
function inputOptions(
  source: VmStateSource,
  index: RamIndex | undefined,
  crc32: Crc32,
  options: LoadVmStateOptions,
) {
  const unitBytes = index?.geometry.unitBytes ?? 1 << 16;
  const chunkBytes = Math.ceil((options.readBytes ?? READ_BYTES) / unitBytes) * unitBytes;
  const onChunk = (offset: number, bytes: Uint8Array) => {
    if (index) checkUnits(index, offset, bytes, crc32);
    options.onProgress?.(Math.min(offset + bytes.length, source.sizeBytes), source.sizeBytes);
  };
  const { signal, allocate, release } = options;
  return {
    chunkBytes,
    onChunk,
    ...(signal ? { signal } : {}),
    ...(allocate ? { allocate } : {}),
    ...(release ? { release } : {}),
  };
}

function checkUnits(index: RamIndex, offset: number, bytes: Uint8Array, crc32: Crc32): void {
  const { unitBytes } = index.geometry;
  const first = offset / unitBytes;
  for (let i = 0; (i + 1) * unitBytes <= bytes.length && first + i < index.checksums.length; i++) {
    const found = crc32(bytes.subarray(i * unitBytes, (i + 1) * unitBytes));
    const expected = index.checksums[first + i]!;
    if (found === expected) continue;
    throw new MigrationError('checksum', 'The VM state is damaged', {
      section: first + i < index.headUnits ? 'header' : RAM_SECTION_NAME,
      offset: offset + i * unitBytes,
      expected: `CRC-32 0x${expected.toString(16)}`,
      found: `0x${found.toString(16)}`,
    });
  }
}

async function wrapIo<T>(action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (cause) {
    if (cause instanceof MigrationError) throw cause;
    throw new MigrationError('io', 'Could not read the VM state', { cause });
  }
}

/** Header and RAM, up to the first device section or the end. */
async function readToDevices(
  machine: MigratableMachine,
  input: InputWindow,
  sink: RamSink,
): Promise<RamReader> {
  const machineType = await withReader(input, readHeader);
  if (machineType !== machine.machineType) {
    throw new MigrationError(
      'mismatch',
      `Machine type received is '${machineType}' and local is '${machine.machineType}'`,
      {
        section: 'configuration',
        expected: machine.machineType,
        found: machineType,
        hint: `Save it again in a QEMU started with -M ${machine.machineType}`,
      },
    );
  }
  const ram = new RamReader(machine.ramBlocks, sink);
  await readRamSections(input, ram);
  return ram;
}
