/** Addresses and raw form of CD sectors (ECMA-130 sections 14 and 21). Pure. */
import { CD_RAW_SECTOR_BYTES, CD_SECTOR_BYTES } from './constants.ts';

const FRAMES_PER_SECOND = 75;
const LEAD_IN_FRAMES = 150;

/** Minute, second, frame of a sector; the first two seconds are lead-in. */
export function lbaToMsf(lba: number): [number, number, number] {
  const frame = lba + LEAD_IN_FRAMES;
  const second = Math.floor(frame / FRAMES_PER_SECOND);
  return [Math.floor(second / 60) & 0xff, second % 60, frame % FRAMES_PER_SECOND];
}

/**
 * Makes the 2352 bytes of a mode 1 sector at `at`, whose 2048 data bytes are in place, 16 bytes in: sync pattern and
 * header before them, zeroes for the error correction codes behind.
 */
export function frameRawSector(buffer: Uint8Array, at: number, lba: number): void {
  buffer[at] = 0;
  buffer.fill(0xff, at + 1, at + 11);
  buffer[at + 11] = 0;
  buffer.set(lbaToMsf(lba), at + 12);
  buffer[at + 15] = 1;
  buffer.fill(0, at + 16 + CD_SECTOR_BYTES, at + CD_RAW_SECTOR_BYTES);
}
