/**
 * READ TOC/PMA/ATIP answers (MMC-3 6.27) of a disc with one session and one data track. Contents as QEMU 7.2
 * hw/block/cdrom.c. Pure.
 */
import { lbaToMsf } from './cd-sector.ts';

const LEAD_OUT = 0xaa;
const DATA_TRACK = 0x14;

/** An address as the host wants it: 32 bits, or minute, second, frame. */
function address(lba: number, msf: boolean): number[] {
  if (msf) return [0, ...lbaToMsf(lba)];
  return [(lba >>> 24) & 0xff, (lba >>> 16) & 0xff, (lba >>> 8) & 0xff, lba & 0xff];
}

/** Format 0: the tracks from `start` on, then the lead-out. */
function tracks(sectors: number, msf: boolean, start: number): number[] {
  const first = start <= 1 ? [0, DATA_TRACK, 1, 0, ...address(0, msf)] : [];
  return [1, 1, ...first, 0, 0x16, LEAD_OUT, 0, ...address(sectors, msf)];
}

/** Format 2: raw entries of the lead-in: first and last track, lead-out, track 1. */
function rawEntries(sectors: number, msf: boolean): number[] {
  const entry = (point: number, place: number[]): number[] => [1, DATA_TRACK, 0, point, 0, 0, 0, ...place];
  return [
    1,
    1,
    ...entry(0xa0, [0, 1, 0, 0]),
    ...entry(0xa1, [0, 1, 0, 0]),
    ...entry(0xa2, address(sectors, msf)),
    ...entry(1, address(0, msf)),
  ];
}

/** Fills `reply` and returns the length, or 0 for a format or start that there is not. */
export function readToc(
  reply: Uint8Array,
  format: number,
  sectors: number,
  msf: boolean,
  start: number,
): number {
  if (format === 1) {
    reply.set([0, 0x0a, 1, 1]); // one complete session
    return 12;
  }
  if (format === 3 || (format === 0 && start > 1 && start !== LEAD_OUT)) return 0;
  const body = format === 0 ? tracks(sectors, msf, start) : rawEntries(sectors, msf);
  reply.set([0, body.length, ...body]);
  return body.length + 2;
}
