/**
 * The part of a lazy loadvm that happens before the machine changes: trailer, device part and the stream's first unit are
 * read and checked, and it is decided which groups of RAM differ from what the machine has. Reads our own layout only.
 */
import { CLUSTER_ZERO, type VmStateHandle } from '../block/block-node.ts';
import type { Crc32 } from './crc32.ts';
import { type DecodedSections, decodeDeviceSections } from './device-sections.ts';
import { MigrationError } from './errors.ts';
import { isSameUnit } from './lazy-plan.ts';
import type { LoadVmStateOptions } from './load-vmstate.ts';
import { noticesOf } from './load-vmstate.ts';
import type { MigratableMachine } from './machine.ts';
import {
  groupCount,
  groupRange,
  pageOffsetInUnit,
  ramGeometry,
  sameGeometry,
  writeRamEnd,
} from './ram-layout.ts';
import { ByteReader } from './reader.ts';
import { PAGE_BYTES, readHeader } from './stream-format.ts';
import { type RamIndex, readWholeTrailer, tailOffset, type Trailer } from './trailer.ts';
import { ByteWriter } from './writer.ts';

/** A snapshot of ours, checked and decoded as far as it can be without reading RAM. Good for any number of loads. */
export interface OpenSnapshot {
  readonly handle: VmStateHandle;
  readonly index: RamIndex;
  readonly trailer: Trailer;
  readonly sections: DecodedSections;
  readonly notices: readonly string[];
}

/**
 * Undefined when it cannot be loaded lazily: no trailer or one that does not check, RAM of other sizes, another machine
 * type, a file that cannot be read at once. Reading it from beginning to end then gives the right words.
 */
export async function openSnapshot(
  machine: MigratableMachine,
  handle: VmStateHandle,
  crc32: Crc32,
  options: LoadVmStateOptions,
): Promise<OpenSnapshot | undefined> {
  const { readSync } = handle;
  if (readSync === undefined) return undefined;
  // The guest waits for these few reads, and each turn of the event loop would cost it more than the read.
  const source = {
    sizeBytes: handle.info.vmStateBytes,
    read: async (offset: number, target: Uint8Array) => readSync(offset, target),
  };
  let trailer: Trailer | undefined;
  try {
    const found = await readWholeTrailer(source, crc32);
    if (found !== undefined && 'index' in found) trailer = found;
  } catch (cause) {
    throw cause instanceof MigrationError
      ? cause
      : new MigrationError('io', 'Could not read the VM state', { cause });
  }
  if (trailer === undefined) return undefined;
  const { index, tail } = trailer;
  if (!sameGeometry(index.geometry, ramGeometry(machine.ramBlocks, index.geometry.unitBytes)))
    return undefined;
  if (machineTypeOf(handle, index, crc32) !== machine.machineType) return undefined;
  const start = ramEndBytes(tail);
  if (start < 0) return undefined;
  const offset = tailOffset(index) + start;
  const sections = decodeDeviceSections(machine.devices, tail.subarray(start), offset, false);
  return { handle, index, trailer, sections, notices: noticesOf(sections, options) };
}

/** From the stream's first unit, which must check; undefined if it does not. */
function machineTypeOf(handle: VmStateHandle, index: RamIndex, crc32: Crc32): string | undefined {
  const unit = new Uint8Array(index.geometry.unitBytes);
  handle.readSync!(0, unit);
  if (crc32(unit) !== index.checksums[0]) return undefined;
  return readHeader(new ByteReader(unit));
}

/** Where the device sections begin in our tail: behind the end of RAM's section. -1: something else is there. */
function ramEndBytes(tail: Uint8Array): number {
  const end = new ByteWriter(64);
  writeRamEnd(end);
  return end.bytes().every((byte, i) => tail[i] === byte) ? end.length : -1;
}

/** What RAM the machine has: a snapshot's, with what changed since. Undefined index: nothing is known. */
export interface RamBase {
  readonly handle: VmStateHandle;
  readonly index: RamIndex;
}

/** A snapshot of nothing, to stand on at power-on. */
export function zeroBase({ handle, index }: OpenSnapshot): RamBase {
  return { handle, index: { ...index, unitOfGroup: new Uint32Array(index.unitOfGroup.length) } };
}

/** By group: the snapshot's bytes are not what the machine has even where nothing changed since `base`. */
export function differingGroups(target: OpenSnapshot, base: RamBase | undefined): Uint8Array {
  const { geometry } = target.index;
  const flags = new Uint8Array(groupCount(geometry)).fill(1);
  if (base === undefined || !sameGeometry(base.index.geometry, geometry)) return flags;
  const { unitBytes } = geometry;
  const hosts = target.handle.hostOffsets;
  const baseHosts = base.handle.hostOffsets;
  const isOneCluster = target.handle.clusterBytes === unitBytes;
  const [mineOf, wantedOf] = [base.index.unitOfGroup, target.index.unitOfGroup];
  for (let group = 0; group < flags.length; group++) {
    const mine = mineOf[group]!;
    const wanted = wantedOf[group]!;
    if (mine === 0 || wanted === 0) {
      if (mine === wanted) flags[group] = 0;
    } else if (isOneCluster) {
      if (hosts[wanted] === baseHosts[mine] && hosts[wanted] !== CLUSTER_ZERO) flags[group] = 0;
    } else if (isSameUnit(target.handle, wanted, base.handle, mine, unitBytes)) flags[group] = 0;
  }
  return flags;
}

/** Groups of one block read and checked ahead, to be put in place at once. */
export interface StagedGroup {
  readonly block: number;
  readonly start: number;
  readonly end: number;
  /** The unit; undefined: zeros. */
  readonly unit: Uint8Array | undefined;
}

/** As few as these are read at once; more (a screen with millions of pixels) let others have a turn. */
const GROUPS_NOW = 32;

export async function stageGroups(
  snapshot: OpenSnapshot,
  groups: readonly number[],
  crc32: Crc32,
): Promise<StagedGroup[]> {
  const { handle, index } = snapshot;
  const { unitBytes } = index.geometry;
  const staged: StagedGroup[] = [];
  const reads: Promise<void>[] = [];
  const units = groups.map((group) => index.unitOfGroup[group]!).filter((unit) => unit !== 0);
  const bytes = new Uint8Array(units.length * unitBytes);
  for (let i = 0, count = 1; i < units.length; i += count) {
    for (count = 1; units[i + count] === units[i]! + count; ) count++;
    const target = bytes.subarray(i * unitBytes, (i + count) * unitBytes);
    if (units.length <= GROUPS_NOW) handle.readSync!(units[i]! * unitBytes, target);
    else reads.push(handle.read(units[i]! * unitBytes, target));
  }
  await Promise.all(reads);
  for (let i = 0, used = 0; i < groups.length; i++) {
    const isZero = index.unitOfGroup[groups[i]!] === 0;
    const unit = isZero ? undefined : bytes.subarray(used * unitBytes, ++used * unitBytes);
    staged.push({ ...groupRange(index.geometry, groups[i]!), unit });
  }
  for (const [i, { unit }] of staged.entries()) {
    if (unit === undefined) continue;
    const number = index.unitOfGroup[groups[i]!]!;
    const found = crc32(unit);
    if (found === index.checksums[number]) continue;
    throw new MigrationError('checksum', 'The VM state is damaged', {
      section: 'ram',
      offset: number * unitBytes,
      expected: `CRC-32 0x${index.checksums[number]!.toString(16)}`,
      found: `0x${found.toString(16)}`,
    });
  }
  return staged;
}

export function putGroup(machine: MigratableMachine, group: StagedGroup): void {
  const { name, bytes } = machine.ramBlocks[group.block]!;
  if (group.unit === undefined) {
    bytes.fill(0, group.start, group.end);
    return;
  }
  for (let at = group.start; at < group.end; at += PAGE_BYTES) {
    const from = pageOffsetInUnit(name, (at - group.start) / PAGE_BYTES);
    bytes.set(group.unit.subarray(from, from + PAGE_BYTES), at);
  }
}
