// A disk image with an MBR partition table.
import {
  closeSync,
  copyFileSync,
  openSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';

const SECTOR = 512;
/** Partitions begin at multiples of this many sectors (1 MiB). */
const ALIGNMENT = 2048;
const TABLE = 446;

/** @param {{ path: string, type: number, active: boolean }[]} partitions at most four, in order */
export function writePartitioned(path, mbrCode, partitions) {
  const mbr = Buffer.alloc(SECTOR);
  readFileSync(mbrCode).copy(mbr, 0, 0, TABLE);
  mbr.writeUInt32LE(0x1badcafe, 440);
  mbr.writeUInt16LE(0xaa55, 510);
  let first = ALIGNMENT;
  const places = partitions.map((partition, i) => {
    const sectors = Math.ceil(statSync(partition.path).size / SECTOR);
    const place = { ...partition, first };
    const at = TABLE + i * 16;
    mbr[at] = partition.active ? 0x80 : 0;
    mbr[at + 4] = partition.type;
    // Beyond cylinder 1023: "use the LBA fields".
    mbr.fill(Buffer.from([0xfe, 0xff, 0xff]), at + 1, at + 4);
    mbr.fill(Buffer.from([0xfe, 0xff, 0xff]), at + 5, at + 8);
    mbr.writeUInt32LE(first, at + 8);
    mbr.writeUInt32LE(sectors, at + 12);
    first = Math.ceil((first + sectors) / ALIGNMENT) * ALIGNMENT;
    return place;
  });
  writeFileSync(path, mbr);
  truncateSync(path, first * SECTOR);
  const file = openSync(path, 'r+');
  for (const place of places) writeSync(file, readFileSync(place.path), 0, undefined, place.first * SECTOR);
  closeSync(file);
}

/** A copy of an image, filled up with zeros to `bytes`. */
export function copyPadded(source, target, bytes) {
  copyFileSync(source, target);
  truncateSync(target, bytes);
}
