/**
 * IDENTIFY DEVICE and IDENTIFY PACKET DEVICE data and disk geometry. The values equal those of QEMU 7.2
 * (hw/ide/core.c, hw/block/hd-geometry.c), so that a guest moved between the two sees the same drive.
 * Words: ATA/ATAPI-6 section 8.15 and 8.16. Pure functions.
 */
import { MAX_MULTIPLE } from './constants.ts';

/** Cylinders, heads, sectors per track. */
export interface DiskGeometry {
  readonly cylinders: number;
  readonly heads: number;
  readonly sectors: number;
}

/** How a BIOS translates CHS: the values of CMOS register 0x39, two bits a disk. */
export const TRANSLATION_NONE = 0;
export const TRANSLATION_LBA = 1;
export const TRANSLATION_LARGE = 2;

export interface GuessedGeometry extends DiskGeometry {
  readonly translation: number;
}

/** What a drive says of itself. */
export interface DriveIdentity {
  readonly serial: string;
  readonly model: string;
  readonly version: string;
}

const STANDARD_HEADS = 16;
const STANDARD_SECTORS = 63;
const MAX_CYLINDERS = 16383;
const MBR_TABLE = 0x1be;

/** Geometry of a disk of this size when nothing is known of its contents. */
export function standardGeometry(sizeBytes: number): DiskGeometry {
  const wanted = Math.floor(Math.floor(sizeBytes / 512) / (STANDARD_HEADS * STANDARD_SECTORS));
  const cylinders = Math.max(2, Math.min(MAX_CYLINDERS, wanted));
  return { cylinders, heads: STANDARD_HEADS, sectors: STANDARD_SECTORS };
}

/** Geometry that the first sensible partition of an MBR was made with: it ends on a cylinder boundary. */
function partitionGeometry(sizeBytes: number, mbr: Uint8Array): DiskGeometry | undefined {
  if (mbr[510] !== 0x55 || mbr[511] !== 0xaa) return undefined;
  const view = new DataView(mbr.buffer, mbr.byteOffset, 512);
  for (let entry = MBR_TABLE; entry < MBR_TABLE + 64; entry += 16) {
    const endHead = view.getUint8(entry + 5);
    const sectors = view.getUint8(entry + 6) & 0x3f;
    if (view.getUint32(entry + 12, true) === 0 || endHead === 0 || sectors === 0) continue;
    const heads = endHead + 1;
    const cylinders = Math.floor(Math.floor(sizeBytes / 512) / (heads * sectors));
    if (cylinders >= 1 && cylinders <= MAX_CYLINDERS) return { cylinders, heads, sectors };
  }
  return undefined;
}

/**
 * Geometry and BIOS translation of a disk from its size and first sector (512 bytes; undefined if unreadable).
 * The board asks this before it makes the controller and writes the CMOS bytes from the same answer.
 */
export function guessGeometry(sizeBytes: number, firstSector: Uint8Array | undefined): GuessedGeometry {
  const guessed = firstSector === undefined ? undefined : partitionGeometry(sizeBytes, firstSector);
  const standard = standardGeometry(sizeBytes);
  if (guessed === undefined) {
    const small = standard.cylinders <= 1024 && standard.heads <= 16 && standard.sectors <= 63;
    return { ...standard, translation: small ? TRANSLATION_NONE : TRANSLATION_LBA };
  }
  if (guessed.heads <= STANDARD_HEADS) return { ...guessed, translation: TRANSLATION_NONE };
  const large = standard.cylinders * standard.heads <= 131072;
  return { ...standard, translation: large ? TRANSLATION_LARGE : TRANSLATION_LBA };
}

/** Writes 16-bit words by their number. */
function word(data: Uint8Array, index: number, value: number): void {
  data[index * 2] = value & 0xff;
  data[index * 2 + 1] = (value >>> 8) & 0xff;
}

/** ATA strings have the two characters of every word swapped and are padded with blanks. */
function text(data: Uint8Array, index: number, bytes: number, value: string): void {
  for (let i = 0; i < bytes; i++) {
    data[index * 2 + (i ^ 1)] = i < value.length ? value.charCodeAt(i) & 0xff : 0x20;
  }
}

function strings(data: Uint8Array, identity: DriveIdentity): void {
  text(data, 10, 20, identity.serial);
  text(data, 23, 8, identity.version);
  text(data, 27, 40, identity.model);
}

/** Words 60-61 and 100-103: sectors addressable by LBA28 and LBA48. */
export function fillIdentifySize(data: Uint8Array, sectorCount: number): void {
  const lba28 = Math.min(sectorCount, 0x0fffffff);
  const high = Math.floor(sectorCount / 0x1_0000_0000);
  word(data, 60, lba28);
  word(data, 61, lba28 >>> 16);
  word(data, 100, sectorCount % 0x10000);
  word(data, 101, Math.floor(sectorCount / 0x10000) % 0x10000);
  word(data, 102, high);
  word(data, 103, high >>> 16);
}

/** Word 85: command sets enabled; the write cache bit follows SET FEATURES. */
export function fillIdentifyWriteCache(data: Uint8Array, enabled: boolean): void {
  word(data, 85, enabled ? 0x4021 : 0x4001);
}

/** Words 62, 63, 88: the single-word, multiword and Ultra DMA mode selected; all modes up to UDMA 5 are supported. */
export function fillIdentifyDmaMode(data: Uint8Array, single: number, multi: number, ultra: number): void {
  word(data, 62, 0x07 | single);
  word(data, 63, 0x07 | multi);
  word(data, 88, 0x3f | ultra);
}

/** Fills `data` (512 bytes) for a hard disk. `current` is the CHS translation in force. */
export function fillIdentifyDisk(
  data: Uint8Array,
  identity: DriveIdentity,
  current: DiskGeometry,
  sectorCount: number,
  multSectors: number,
  writeCache: boolean,
): void {
  const { cylinders, heads, sectors } = current;
  const chsCapacity = cylinders * heads * sectors;
  data.fill(0);
  word(data, 0, 0x0040);
  word(data, 1, cylinders);
  word(data, 3, heads);
  word(data, 4, 512 * sectors);
  word(data, 5, 512);
  word(data, 6, sectors);
  word(data, 20, 3);
  word(data, 21, 512);
  word(data, 22, 4);
  strings(data, identity);
  word(data, 47, 0x8000 | MAX_MULTIPLE);
  word(data, 48, 1);
  word(data, 49, 0x0b00);
  word(data, 51, 0x200);
  word(data, 52, 0x200);
  word(data, 53, 7);
  word(data, 54, cylinders);
  word(data, 55, heads);
  word(data, 56, sectors);
  word(data, 57, chsCapacity);
  word(data, 58, chsCapacity >>> 16);
  if (multSectors !== 0) word(data, 59, 0x100 | multSectors);
  fillIdentifyDmaMode(data, 0, 0, 1 << 13);
  word(data, 64, 3);
  for (let cycle = 65; cycle <= 68; cycle++) word(data, cycle, 120);
  word(data, 69, 1 << 14);
  word(data, 80, 0xf0);
  word(data, 81, 0x16);
  word(data, 82, 0x4021);
  word(data, 83, 0x7400);
  word(data, 84, 0x4000);
  fillIdentifyWriteCache(data, writeCache);
  word(data, 86, 0x3400);
  word(data, 87, 0x4000);
  word(data, 93, 0x6001);
  word(data, 106, 0x6000);
  word(data, 169, 1);
  fillIdentifySize(data, sectorCount);
}

/** Fills `data` (512 bytes) for a CD drive: removable, 12-byte packets, DRQ within 50 microseconds. */
export function fillIdentifyPacket(data: Uint8Array, identity: DriveIdentity): void {
  data.fill(0);
  word(data, 0, 0x85c0);
  word(data, 20, 3);
  word(data, 21, 512);
  word(data, 22, 4);
  strings(data, identity);
  word(data, 48, 1);
  word(data, 49, 0x0300);
  word(data, 53, 7);
  fillIdentifyDmaMode(data, 0, 0, 1 << 13);
  word(data, 64, 3);
  word(data, 65, 0xb4);
  word(data, 66, 0xb4);
  word(data, 67, 0x12c);
  word(data, 68, 0xb4);
  word(data, 71, 30);
  word(data, 72, 30);
  word(data, 80, 0x1e);
}
