/**
 * Big-endian 64-bit table entries without bigint: an entry is read as two 32-bit halves, an offset is a safe integer.
 * L1, L2 and refcount tables stay in memory as they lie on disk, so that writing one back copies nothing.
 */

const TWO_32 = 0x1_0000_0000;

/** Entry flags, as bits of the upper or lower half. qcow2 specification, "Cluster mapping". */
export const COPIED_HI = 0x8000_0000;
export const COMPRESSED_HI = 0x4000_0000;
export const ZERO_LO = 1;
/** Bits 32–55 of an offset. */
const OFFSET_HI_MASK = 0x00ff_ffff;
/** Bits 9–31 of an offset. */
const OFFSET_LO_MASK = 0xffff_fe00;

/** Bits 9–55 of entry `index`. May exceed 2^53 in a damaged table; compared with a limit, never trusted. */
export function entryOffset(table: Buffer, index: number): number {
  const at = index * 8;
  const hi = table.readUInt32BE(at) & OFFSET_HI_MASK;
  return hi * TWO_32 + ((table.readUInt32BE(at + 4) & OFFSET_LO_MASK) >>> 0);
}

export function entryIsCopied(table: Buffer, index: number): boolean {
  return (table[index * 8]! & 0x80) !== 0;
}

export function setEntry(
  table: Buffer,
  index: number,
  offset: number,
  flagsHi: number,
  flagsLo: number,
): void {
  const at = index * 8;
  table.writeUInt32BE((Math.floor(offset / TWO_32) | flagsHi) >>> 0, at);
  table.writeUInt32BE(((offset % TWO_32) | flagsLo) >>> 0, at + 4);
}

export function setCopied(table: Buffer, index: number, copied: boolean): void {
  const at = index * 8;
  table[at] = copied ? table[at]! | 0x80 : table[at]! & 0x7f;
}

/** A 64-bit field as a number; Infinity-like large values stay large and fail the caller's limit check. */
export function readU64(buffer: Buffer, at: number): number {
  return buffer.readUInt32BE(at) * TWO_32 + buffer.readUInt32BE(at + 4);
}

export function writeU64(buffer: Buffer, value: number, at: number): void {
  buffer.writeUInt32BE(Math.floor(value / TWO_32), at);
  buffer.writeUInt32BE(value % TWO_32, at + 4);
}
