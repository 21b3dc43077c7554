/**
 * A VM state taken apart without a machine: RAM blocks, and the device part as it is. For tools that carry snapshots
 * between images and plain migration streams (what QEMU's `migrate "exec:cat > FILE"` writes). Reads any QEMU stream that
 * ends with its JSON description, whatever devices it has.
 */
import { peekBlockList, readDevices } from './describe.ts';
import { MigrationError } from './errors.ts';
import { MAX_DEVICE_PART_BYTES } from './load-vmstate.ts';
import { QEMU_VM_SECTION_FULL, QEMU_VM_VMDESCRIPTION } from './markers.ts';
import type { RamBlock, RamSink } from './ram-block.ts';
import { buildHead, buildUnit, groupRange, ramGeometry, writeRamEnd } from './ram-layout.ts';
import { RamReader } from './ram-reader.ts';
import { readRamSections, withReader } from './ram-sections.ts';
import { ByteReader } from './reader.ts';
import { PAGE_BYTES, readHeader, readSectionHeader } from './stream-format.ts';
import { StreamInput, type VmStateSource } from './stream-input.ts';
import { ByteWriter } from './writer.ts';
import { isZeroRange } from './zero-page.ts';

/** Most RAM that is held in memory. */
const MAX_RAM_BYTES = 8 * 2 ** 30;
/** Unit of a stream that goes to a file. */
const UNIT_BYTES = 64 * 1024;

export interface WholeState {
  readonly machineType: string;
  readonly ramBlocks: readonly RamBlock[];
  /** Device sections, end marker, JSON description; nothing after it. */
  readonly devicePart: Uint8Array;
  /** Virtual clock in ns, 0 where the stream does not tell. */
  readonly vmClockNs: number;
}

/** `without` names a block whose pages may be missing, since they come from elsewhere. */
export async function readWholeState(
  source: VmStateSource,
  without?: (blocks: readonly RamBlock[]) => string,
): Promise<WholeState> {
  const input = new StreamInput(source);
  try {
    const machineType = await withReader(input, readHeader);
    const listed = await peekBlockList(input);
    const total = listed.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    if (total > MAX_RAM_BYTES) {
      throw new MigrationError('limit', 'The VM state has too much RAM for this tool', {
        expected: `at most ${MAX_RAM_BYTES} bytes`,
        found: total,
      });
    }
    const ramBlocks = listed.map((block) => ({ ...block, bytes: new Uint8Array(block.sizeBytes) }));
    const reader = new RamReader(ramBlocks, new BlockSink(ramBlocks));
    await readRamSections(input, reader);
    reader.checkComplete(without?.(listed));
    const offset = input.offset;
    const rest = await input.rest(MAX_DEVICE_PART_BYTES);
    const devicePart = rest.slice(0, devicePartBytes(rest, offset));
    return { machineType, ramBlocks, devicePart, vmClockNs: virtualClock(devicePart) };
  } finally {
    await input.close();
  }
}

/** Bytes of a VM state up to the end of what QEMU wrote or would write: without our trailer. */
export async function streamBytes(source: VmStateSource): Promise<number> {
  const input = new StreamInput(source);
  try {
    await withReader(input, readHeader);
    const blocks = await peekBlockList(input);
    const reader = new RamReader(blocks, { page: () => {}, fill: () => {} });
    await readRamSections(input, reader);
    reader.checkComplete();
    const offset = input.offset;
    return offset + devicePartBytes(await input.rest(MAX_DEVICE_PART_BYTES), offset);
  } finally {
    await input.close();
  }
}

/** Untouched memory stays untouched: zero pages cost nothing. */
class BlockSink implements RamSink {
  readonly #blocks: readonly RamBlock[];

  constructor(blocks: readonly RamBlock[]) {
    this.#blocks = blocks;
  }

  page(block: number, offset: number, source: Uint8Array, at: number): void {
    this.#blocks[block]!.bytes.set(source.subarray(at, at + PAGE_BYTES), offset);
  }

  fill(block: number, offset: number, value: number): void {
    const { bytes } = this.#blocks[block]!;
    if (value === 0 && isZeroRange(bytes, offset, PAGE_BYTES)) return;
    bytes.fill(value, offset, offset + PAGE_BYTES);
  }
}

/** Length of the sections, the end marker and the description at the start of `bytes`. */
function devicePartBytes(bytes: Uint8Array, offset: number): number {
  const last = readDevices(bytes, offset).at(-1);
  // The end marker is there: readDevices has read it.
  const end = (last === undefined ? 0 : last.header.offset + last.sizeBytes - offset) + 1;
  if (bytes[end] !== QEMU_VM_VMDESCRIPTION) return end;
  const length = new ByteReader(bytes.subarray(end + 1), offset + end + 1).u32();
  return Math.min(end + 5 + length, bytes.length);
}

/** `cpu_clock_offset` of QEMU's section `timer`, which is the virtual clock of a stopped machine. */
function virtualClock(devicePart: Uint8Array): number {
  const reader = new ByteReader(devicePart);
  if (reader.u8() !== QEMU_VM_SECTION_FULL) return 0;
  if (readSectionHeader(reader).name !== 'timer') return 0;
  reader.skip(16);
  return Math.max(0, Number(reader.big64()));
}

/** The main RAM: the largest block. */
export function mainBlock(blocks: readonly RamBlock[]): RamBlock {
  return blocks.reduce((largest, block) => (block.sizeBytes > largest.sizeBytes ? block : largest));
}

/** A stream that lists all blocks and has the pages of all but `without`, which is kept elsewhere. */
export function streamWithout(state: WholeState, without: string): Uint8Array {
  const { machineType, ramBlocks } = state;
  const geometry = ramGeometry(ramBlocks, UNIT_BYTES);
  const kept = geometry.firstGroup.flatMap((first, block) => {
    if (block >= ramBlocks.length || ramBlocks[block]!.name === without) return [];
    return Array.from({ length: geometry.firstGroup[block + 1]! - first }, (_, i) => first + i);
  });
  const isZero = (group: number): boolean => {
    const { block, start, end } = groupRange(geometry, group);
    return isZeroRange(ramBlocks[block]!.bytes, start, end - start);
  };
  const zero = new Set(kept.filter(isZero));
  const writer = new ByteWriter(4 << 20);
  writer.write(buildHead(machineType, geometry, (group) => zero.has(group)));
  const unit = new Uint8Array(UNIT_BYTES);
  for (const group of kept) {
    if (zero.has(group)) continue;
    buildUnit(geometry, ramBlocks, group, unit, 0);
    writer.write(unit);
  }
  writeRamEnd(writer);
  writer.write(state.devicePart);
  return writer.bytes();
}
