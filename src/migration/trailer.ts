/**
 * Our trailer, after the JSON description, where QEMU no longer reads: which unit holds which RAM group, checksums,
 * and room for a working set. Integers big-endian.
 *
 *     index, 8-aligned                                   footer, the last 24 bytes of the VM state
 *      0  8  "AMBERIDX"                                   0  8  offset of the index in the VM state
 *      8  4  version, 1                                   8  4  bytes of the index, with its checksum
 *     12  4  bytes in a unit                             12  4  CRC-32 of the 12 bytes before
 *     16  4  pages in a group                            16  8  "AMBEREND"
 *     20  4  head units
 *     24  4  RAM units
 *     28  4  blocks
 *     32  8  bytes of the tail before the index (padding included)
 *     40  4  CRC-32 of those bytes
 *     44  4  bytes reserved for the working set, between index and footer
 *     48  …  for each block: name length (1), name, size (8)
 *         …  for each head unit: CRC-32 (4)
 *         …  for each RAM unit: block (4), group within the block (4), CRC-32 (4)
 *         4  CRC-32 of the index up to here
 *
 * The working set area is not covered by a checksum, so that it can be filled in later: a byte a group, in the order of
 * blocks, 0 for a group that is not in the working set (or not known to be), else 1 … 255 by order of first touch.
 */
import type { Crc32 } from './crc32.ts';
import { assert, MigrationError } from './errors.ts';
import { groupCount, ramGeometry, type RamGeometry, sameGeometry } from './ram-layout.ts';
import { ByteReader } from './reader.ts';
import type { VmStateSource } from './stream-input.ts';
import { ByteWriter } from './writer.ts';

const INDEX_MAGIC = 'AMBERIDX';
const FOOTER_MAGIC = 'AMBEREND';
const TRAILER_VERSION = 1;
const FOOTER_BYTES = 24;
/** Of a RAM unit in the index: block, group, CRC-32. */
const UNIT_ENTRY_BYTES = 12;
/** Index of 64 GiB of RAM is 13 MB. */
const MAX_INDEX_BYTES = 64 << 20;
/** Largest tail (device sections and description) that is checked. */
const MAX_TAIL_BYTES = 64 << 20;

/** Most RAM that an index is believed to speak of: 256 GiB. */
const MAX_RAM_BYTES = 2 ** 38;

/** Powers of two from 64 KiB to qcow2's largest cluster, 2 MiB. */
function isUnitSize(bytes: number): boolean {
  return bytes >= 1 << 16 && bytes <= 1 << 21 && (bytes & (bytes - 1)) === 0;
}

/** Where everything lies in a VM state of ours. */
export interface RamIndex {
  readonly geometry: RamGeometry;
  readonly headUnits: number;
  readonly ramUnits: number;
  /** Unit of each group; 0 for a group that is all zero. */
  readonly unitOfGroup: Uint32Array;
  /** CRC-32 of each head and RAM unit. */
  readonly checksums: Uint32Array;
}

export function tailOffset(index: RamIndex): number {
  return (index.headUnits + index.ramUnits) * index.geometry.unitBytes;
}

/** Appends index, working set area and footer to the tail that `writer` holds so far. */
export function writeTrailer(
  writer: ByteWriter,
  index: RamIndex,
  crc32: Crc32,
  workingSet?: Uint8Array,
): void {
  writer.zeros((8 - (writer.length % 8)) % 8);
  const tailBytes = writer.length;
  const tailChecksum = crc32(writer.bytes());
  const workingSetBytes = groupCount(index.geometry);
  const body = new ByteWriter(4096);
  body.text(INDEX_MAGIC);
  const { geometry, headUnits, ramUnits } = index;
  const words = [TRAILER_VERSION, geometry.unitBytes, geometry.pagesPerGroup, headUnits, ramUnits];
  for (const word of [...words, geometry.blocks.length]) body.u32(word);
  body.u64(tailBytes);
  body.u32(tailChecksum);
  body.u32(workingSetBytes);
  for (const { name, sizeBytes } of geometry.blocks) {
    body.counted(name);
    body.u64(sizeBytes);
  }
  for (let unit = 0; unit < headUnits; unit++) body.u32(index.checksums[unit]!);
  writeUnits(body, index);
  body.u32(crc32(body.bytes()));
  writer.write(body.bytes());
  if (workingSet?.length === workingSetBytes) writer.write(workingSet);
  else writer.zeros(workingSetBytes);
  const footer = new ByteWriter(FOOTER_BYTES);
  footer.u64(tailOffset(index) + tailBytes);
  footer.u32(body.length);
  footer.u32(crc32(footer.bytes()));
  footer.text(FOOTER_MAGIC);
  writer.write(footer.bytes());
}

function writeUnits(body: ByteWriter, index: RamIndex): void {
  const { firstGroup, blocks } = index.geometry;
  const table = new Uint8Array(index.ramUnits * UNIT_ENTRY_BYTES);
  const view = new DataView(table.buffer);
  let at = 0;
  let expected = index.headUnits;
  for (let block = 0; block < blocks.length; block++) {
    const first = firstGroup[block]!;
    for (let group = first; group < firstGroup[block + 1]!; group++) {
      const unit = index.unitOfGroup[group]!;
      if (unit === 0) continue;
      assert(unit === expected++, 'units are in the order of their groups');
      view.setUint32(at, block);
      view.setUint32(at + 4, group - first);
      view.setUint32(at + 8, index.checksums[unit]!);
      at += UNIT_ENTRY_BYTES;
    }
  }
  body.write(table);
}

/** The index; or why a VM state of ours cannot be trusted to have one; or undefined: it was written by QEMU. */
export type TrailerResult = { readonly index: RamIndex } | { readonly problem: string } | undefined;

/** All of a trailer that checks, and the device part that it vouches for. */
export interface Trailer {
  readonly index: RamIndex;
  /** From the end of RAM's section to the JSON description (and padding). */
  readonly tail: Uint8Array;
  /** By group: order of first touch, see above. */
  readonly workingSet: Uint8Array;
  /** Where the working set lies in the VM state. */
  readonly workingSetOffset: number;
}

/**
 * Looks for our trailer and checks it, and the tail with the device sections by its checksum. Whatever is wrong with it
 * is no error: the stream can be read as any QEMU stream.
 */
export async function readTrailer(source: VmStateSource, crc32: Crc32): Promise<TrailerResult> {
  const found = await readWholeTrailer(source, crc32);
  return found !== undefined && 'index' in found ? { index: found.index } : found;
}

/** The same, with what else there is. */
export async function readWholeTrailer(
  source: VmStateSource,
  crc32: Crc32,
): Promise<Trailer | { readonly problem: string } | undefined> {
  if (source.sizeBytes < FOOTER_BYTES) return undefined;
  const footer = new Uint8Array(FOOTER_BYTES);
  const footerOffset = source.sizeBytes - FOOTER_BYTES;
  await source.read(footerOffset, footer);
  const reader = new ByteReader(footer);
  const offset = reader.big64();
  const indexBytes = reader.u32();
  const checksum = reader.u32();
  if (reader.text(8) !== FOOTER_MAGIC) return undefined;
  if (crc32(footer.subarray(0, 12)) !== checksum) return { problem: 'the footer is damaged' };
  if (indexBytes > MAX_INDEX_BYTES || offset + BigInt(indexBytes) > BigInt(footerOffset)) {
    return { problem: 'the index lies outside of the VM state' };
  }
  if (footerOffset - Number(offset) - indexBytes > MAX_INDEX_BYTES)
    return { problem: 'the working set is implausible' };
  const bytes = new Uint8Array(footerOffset - Number(offset));
  await source.read(Number(offset), bytes);
  try {
    return await parseIndex(source, bytes, indexBytes, Number(offset), crc32);
  } catch (error) {
    if (error instanceof MigrationError && error.code === 'truncated') return { problem: error.text };
    throw error;
  }
}

/** `rest`: everything from the index to the footer. */
async function parseIndex(
  source: VmStateSource,
  rest: Uint8Array,
  indexBytes: number,
  offset: number,
  crc32: Crc32,
): Promise<Trailer | { readonly problem: string }> {
  const bytes = rest.subarray(0, indexBytes);
  const workingSet = rest.subarray(indexBytes);
  const reader = new ByteReader(bytes, offset);
  if (reader.text(8) !== INDEX_MAGIC) return { problem: 'the index is not where the footer says' };
  const version = reader.u32();
  if (version !== TRAILER_VERSION) return { problem: `version ${version} of the index is not known` };
  if (crc32(bytes.subarray(0, bytes.length - 4)) !== new ByteReader(bytes.subarray(-4)).u32()) {
    return { problem: 'the index is damaged' };
  }
  const unitBytes = reader.u32();
  const pages = reader.u32();
  const headUnits = reader.u32();
  const ramUnits = reader.u32();
  const blockCount = reader.u32();
  const tailBytes = reader.i64();
  const tailChecksum = reader.u32();
  reader.skip(4);
  const blocks: { name: string; sizeBytes: number }[] = [];
  for (let i = 0; i < blockCount; i++) blocks.push({ name: reader.counted(), sizeBytes: reader.i64() });
  const fits = headUnits * 4 + ramUnits * UNIT_ENTRY_BYTES <= bytes.length;
  const ramBytes = blocks.reduce((sum, block) => sum + block.sizeBytes, 0);
  if (!fits || !isUnitSize(unitBytes) || !(ramBytes <= MAX_RAM_BYTES))
    return { problem: 'the index is implausible' };
  const geometry = ramGeometry(blocks, unitBytes);
  const tail = (headUnits + ramUnits) * unitBytes;
  if (geometry.pagesPerGroup !== pages || tail + tailBytes !== offset || headUnits === 0 || tailBytes < 0) {
    return { problem: 'the index contradicts itself' };
  }
  if (tailBytes > MAX_TAIL_BYTES) return { problem: 'the device part is too large' };
  const unitOfGroup = new Uint32Array(groupCount(geometry));
  const checksums = new Uint32Array(headUnits + ramUnits);
  const table = reader.take(headUnits * 4 + ramUnits * UNIT_ENTRY_BYTES);
  if (!readUnits(table, headUnits, geometry, unitOfGroup, checksums)) {
    return { problem: 'a group is out of range' };
  }
  const tailPart = new Uint8Array(tailBytes);
  await source.read(tail, tailPart);
  if (crc32(tailPart) !== tailChecksum) return { problem: 'the device part does not match its checksum' };
  // A working set of another length is somebody else's: there is none then.
  const usable = workingSet.length === unitOfGroup.length;
  return {
    index: { geometry, headUnits, ramUnits, unitOfGroup, checksums },
    tail: tailPart,
    workingSet: usable ? workingSet : new Uint8Array(unitOfGroup.length),
    workingSetOffset: usable ? offset + indexBytes : -1,
  };
}

/** The checksums of the head units, and what each RAM unit holds. False: a group that is not there. */
function readUnits(
  table: Uint8Array,
  headUnits: number,
  { blocks, firstGroup }: RamGeometry,
  unitOfGroup: Uint32Array,
  checksums: Uint32Array,
): boolean {
  const view = new DataView(table.buffer, table.byteOffset, table.byteLength);
  for (let unit = 0; unit < headUnits; unit++) checksums[unit] = view.getUint32(unit * 4);
  let at = headUnits * 4;
  for (let unit = headUnits; unit < checksums.length; unit++) {
    const block = view.getUint32(at);
    if (block >= blocks.length) return false;
    const group = firstGroup[block]! + view.getUint32(at + 4);
    if (group >= firstGroup[block + 1]!) return false;
    unitOfGroup[group] = unit;
    checksums[unit] = view.getUint32(at + 8);
    at += UNIT_ENTRY_BYTES;
  }
  return true;
}

/** Whether RAM of this machine lies in that VM state as it would in a new one. */
export function isUsableParent(index: RamIndex, geometry: RamGeometry): boolean {
  return sameGeometry(index.geometry, geometry);
}
