/**
 * How we lay RAM out in the VM state, so that QEMU reads it and clusters can be shared, skipped to and written in any
 * order. The VM state is cut into units: one qcow2 cluster, or 64 KiB where clusters are smaller.
 *
 *     head units   stream header, block list, records of groups that are all zero, filler
 *     RAM units    each one group: a zero record that names the block, its pages in full, filler
 *     tail         end of the RAM section, device sections, end, JSON description, our trailer (trailer.ts)
 *
 * Group g of a block is its pages g × n … g × n + n - 1, n = {@link pagesPerGroup}: 15 for 64 KiB. A group that is
 * all zero has no unit. A RAM unit reads the same wherever it stands, so a later snapshot can share it.
 */
import { assert } from './errors.ts';
import type { RamBlock } from './ram-block.ts';
import {
  RAM_SAVE_FLAG_CONTINUE,
  RAM_SAVE_FLAG_EOS,
  RAM_SAVE_FLAG_MEM_SIZE,
  RAM_SAVE_FLAG_PAGE,
  RAM_SAVE_FLAG_ZERO,
} from './ram-reader.ts';
import { QEMU_VM_SECTION_END, QEMU_VM_SECTION_PART, QEMU_VM_SECTION_START } from './markers.ts';
import {
  PAGE_BYTES,
  RAM_SECTION_ID,
  RAM_SECTION_NAME,
  RAM_SECTION_VERSION,
  writeFooter,
  writeHeader,
  writeSectionHeader,
} from './stream-format.ts';
import { ByteWriter } from './writer.ts';

const MIN_UNIT_BYTES = 64 * 1024;
const ZERO_RECORD = 9;
const PAGE_RECORD = 8 + PAGE_BYTES;
/** Longest start of a RAM unit: the record with a name of 255 bytes, and seven more to be 8-aligned. */
const MAX_UNIT_START = 8 + 1 + 255 + 1 + 7 * ZERO_RECORD;
const FILLER_BYTES = 8;

/** Bytes in a unit for an image's cluster size. */
export function unitBytesFor(clusterBytes: number): number {
  return Math.max(clusterBytes, MIN_UNIT_BYTES);
}

/** Pages in a group: as many as fit a unit whatever the block is called. */
export function pagesPerGroup(unitBytes: number): number {
  return Math.floor((unitBytes - MAX_UNIT_START) / PAGE_RECORD);
}

/** Where groups of a machine's blocks lie; the same for every snapshot of that machine in one cluster size. */
export interface RamGeometry {
  readonly unitBytes: number;
  readonly pagesPerGroup: number;
  readonly blocks: readonly { readonly name: string; readonly sizeBytes: number }[];
  /** Number of the first group of each block, and at the end the number of all groups. */
  readonly firstGroup: readonly number[];
}

export function ramGeometry(blocks: RamGeometry['blocks'], unitBytes: number): RamGeometry {
  const pages = pagesPerGroup(unitBytes);
  const firstGroup = [0];
  for (const { sizeBytes } of blocks) {
    firstGroup.push(firstGroup.at(-1)! + Math.ceil(sizeBytes / PAGE_BYTES / pages));
  }
  const plain = blocks.map(({ name, sizeBytes }) => ({ name, sizeBytes }));
  return { unitBytes, pagesPerGroup: pages, blocks: plain, firstGroup };
}

export function groupCount(geometry: RamGeometry): number {
  return geometry.firstGroup.at(-1)!;
}

/** Block of group number `group`, and the byte range that the group covers in it. */
export function groupRange(
  geometry: RamGeometry,
  group: number,
): { readonly block: number; readonly start: number; readonly end: number } {
  let block = 0;
  while (geometry.firstGroup[block + 1]! <= group) block++;
  const groupBytes = geometry.pagesPerGroup * PAGE_BYTES;
  const start = (group - geometry.firstGroup[block]!) * groupBytes;
  return { block, start, end: Math.min(start + groupBytes, geometry.blocks[block]!.sizeBytes) };
}

export function sameGeometry(a: RamGeometry, b: RamGeometry): boolean {
  return (
    a.unitBytes === b.unitBytes &&
    a.blocks.length === b.blocks.length &&
    a.blocks.every(({ name, sizeBytes }, i) => {
      const other = b.blocks[i]!;
      return name === other.name && sizeBytes === other.sizeBytes;
    })
  );
}

/** The head units: everything up to the first RAM unit. `isZeroGroup` says which groups have no unit. */
export function buildHead(
  machineType: string,
  geometry: RamGeometry,
  isZeroGroup: (group: number) => boolean,
): Uint8Array {
  const writer = new ByteWriter(geometry.unitBytes);
  writeHeader(writer, machineType);
  const section = { id: RAM_SECTION_ID, name: RAM_SECTION_NAME, instance: 0, version: RAM_SECTION_VERSION };
  writeSectionHeader(writer, QEMU_VM_SECTION_START, section);
  writeBlockList(writer, geometry);
  writer.u64(RAM_SAVE_FLAG_EOS);
  writeFooter(writer, RAM_SECTION_ID);
  writer.u8(QEMU_VM_SECTION_PART);
  writer.u32(RAM_SECTION_ID);
  writeZeroRecords(writer, geometry, isZeroGroup);
  align(writer, geometry);
  while (writer.length % geometry.unitBytes !== 0) writer.u64(RAM_SAVE_FLAG_MEM_SIZE);
  return writer.bytes();
}

function writeBlockList(writer: ByteWriter, geometry: RamGeometry): void {
  const total = geometry.blocks.reduce((sum, block) => sum + block.sizeBytes, 0);
  writer.u64(total + RAM_SAVE_FLAG_MEM_SIZE);
  for (const { name, sizeBytes } of geometry.blocks) {
    assert(name.length <= 255 && sizeBytes % PAGE_BYTES === 0, `block ${name} is whole pages`);
    writer.counted(name);
    writer.u64(sizeBytes);
  }
}

function writeZeroRecords(
  writer: ByteWriter,
  geometry: RamGeometry,
  isZero: (group: number) => boolean,
): void {
  for (const [block, { name }] of geometry.blocks.entries()) {
    let named = false;
    for (let group = geometry.firstGroup[block]!; group < geometry.firstGroup[block + 1]!; group++) {
      if (!isZero(group)) continue;
      const { start, end } = groupRange(geometry, group);
      for (let address = start; address < end; address += PAGE_BYTES) {
        writer.u64(address + RAM_SAVE_FLAG_ZERO + (named ? RAM_SAVE_FLAG_CONTINUE : 0));
        if (!named) writer.counted(name);
        named = true;
        writer.u8(0);
      }
    }
  }
}

/** To a multiple of 8 by zero records of the first page of all: it is zero, or its unit, still to come, holds it. */
function align(writer: ByteWriter, geometry: RamGeometry): void {
  if (writer.length % FILLER_BYTES === 0) return;
  writer.u64(RAM_SAVE_FLAG_ZERO);
  writer.counted(geometry.blocks[0]!.name);
  writer.u8(0);
  while (writer.length % FILLER_BYTES !== 0) {
    writer.u64(RAM_SAVE_FLAG_ZERO + RAM_SAVE_FLAG_CONTINUE);
    writer.u8(0);
  }
}

/** Frames one group into `target` at `at`: a whole unit, every byte of it written. No allocation but a view a page. */
export function buildUnit(
  geometry: RamGeometry,
  blocks: readonly RamBlock[],
  group: number,
  target: Uint8Array,
  at: number,
): void {
  const { block, start, end } = groupRange(geometry, group);
  const { name, bytes } = blocks[block]!;
  let position = putRecord(target, at, start, RAM_SAVE_FLAG_ZERO);
  target[position++] = name.length;
  for (let i = 0; i < name.length; i++) target[position++] = name.charCodeAt(i);
  target[position++] = 0;
  while ((position - at) % FILLER_BYTES !== 0) {
    position = putRecord(target, position, start, RAM_SAVE_FLAG_ZERO | RAM_SAVE_FLAG_CONTINUE);
    target[position++] = 0;
  }
  for (let address = start; address < end; address += PAGE_BYTES) {
    position = putRecord(target, position, address, RAM_SAVE_FLAG_PAGE | RAM_SAVE_FLAG_CONTINUE);
    target.set(bytes.subarray(address, address + PAGE_BYTES), position);
    position += PAGE_BYTES;
  }
  const unitEnd = at + geometry.unitBytes;
  for (; position < unitEnd; position += FILLER.length) {
    const left = unitEnd - position;
    target.set(left < FILLER.length ? FILLER.subarray(0, left) : FILLER, position);
  }
}

/** Records of filler, to be copied: some 490 end a unit of 64 KiB. */
const FILLER = new Uint8Array(PAGE_BYTES);
for (let at = 0; at < FILLER.length; at += FILLER_BYTES) putRecord(FILLER, at, 0, RAM_SAVE_FLAG_MEM_SIZE);

/** Where page `page` of a group lies in its unit, in bytes: for reading one group or page by itself. */
export function pageOffsetInUnit(blockName: string, page: number): number {
  const start = 8 + 1 + blockName.length + 1;
  const more = (FILLER_BYTES - (start % FILLER_BYTES)) % FILLER_BYTES;
  // Each record of 9 bytes moves the end by one within 8 bytes.
  return start + more * ZERO_RECORD + page * PAGE_RECORD + 8;
}

function putRecord(target: Uint8Array, at: number, address: number, flags: number): number {
  const high = Math.floor(address / 0x1_0000_0000);
  const low = address | flags;
  target[at] = 0;
  target[at + 1] = 0;
  target[at + 2] = high >>> 8;
  target[at + 3] = high;
  target[at + 4] = low >>> 24;
  target[at + 5] = low >>> 16;
  target[at + 6] = low >>> 8;
  target[at + 7] = low;
  return at + 8;
}

/** What ends the RAM section, at the start of the tail. */
export function writeRamEnd(writer: ByteWriter): void {
  writer.u64(RAM_SAVE_FLAG_EOS);
  writeFooter(writer, RAM_SECTION_ID);
  writer.u8(QEMU_VM_SECTION_END);
  writer.u32(RAM_SECTION_ID);
  writer.u64(RAM_SAVE_FLAG_EOS);
  writeFooter(writer, RAM_SECTION_ID);
}
