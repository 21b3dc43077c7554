/** Floppy formats by image size, and drive types. The table is QEMU 7.2's (hw/block/fdc.c): its order decides ties. */

/** What a drive is: nothing, 5.25" 1.2 MB, 3.5" 1.44 MB, 3.5" 2.88 MB. */
export type FloppyDriveType = 'none' | '120' | '144' | '288';

/** Data rates as CCR and DSR have them: 500, 300, 250 kbit/s and 1 Mbit/s. */
const RATE_500K = 0;
const RATE_300K = 1;
const RATE_250K = 2;
const RATE_1M = 3;

export interface FloppyFormat {
  readonly drive: FloppyDriveType;
  /** Sectors of 512 bytes in a track. */
  readonly sectors: number;
  readonly tracks: number;
  readonly heads: number;
  readonly rate: number;
}

type Row = readonly [drive: FloppyDriveType, sectors: number, tracks: number, heads: number, rate: number];

const ROWS: readonly Row[] = [
  ['144', 18, 80, 2, RATE_500K],
  ['144', 20, 80, 2, RATE_500K],
  ['144', 21, 80, 2, RATE_500K],
  ['144', 21, 82, 2, RATE_500K],
  ['144', 21, 83, 2, RATE_500K],
  ['144', 22, 80, 2, RATE_500K],
  ['144', 23, 80, 2, RATE_500K],
  ['144', 24, 80, 2, RATE_500K],
  ['288', 36, 80, 2, RATE_1M],
  ['288', 39, 80, 2, RATE_1M],
  ['288', 40, 80, 2, RATE_1M],
  ['288', 44, 80, 2, RATE_1M],
  ['288', 48, 80, 2, RATE_1M],
  ['144', 9, 80, 2, RATE_250K],
  ['144', 10, 80, 2, RATE_250K],
  ['144', 10, 82, 2, RATE_250K],
  ['144', 10, 83, 2, RATE_250K],
  ['144', 13, 80, 2, RATE_250K],
  ['144', 14, 80, 2, RATE_250K],
  ['120', 15, 80, 2, RATE_500K],
  ['120', 18, 80, 2, RATE_500K],
  ['120', 18, 82, 2, RATE_500K],
  ['120', 18, 83, 2, RATE_500K],
  ['120', 20, 80, 2, RATE_500K],
  ['120', 9, 80, 2, RATE_250K],
  ['120', 11, 80, 2, RATE_250K],
  ['120', 9, 40, 2, RATE_300K],
  ['120', 9, 40, 1, RATE_300K],
  ['120', 10, 41, 2, RATE_300K],
  ['120', 10, 42, 2, RATE_300K],
  ['120', 8, 40, 2, RATE_250K],
  ['120', 8, 40, 1, RATE_250K],
  ['144', 9, 80, 1, RATE_250K],
];

const FORMATS: readonly FloppyFormat[] = ROWS.map(([drive, sectors, tracks, heads, rate]) => ({
  drive,
  sectors,
  tracks,
  heads,
  rate,
}));

/** Drive made for an image that fits no format, or for none at all. */
export const FALLBACK_DRIVE: FloppyDriveType = '288';

const isThreeInch = (drive: FloppyDriveType): boolean => drive === '144' || drive === '288';

/**
 * Format of an image in a drive; `drive` undefined asks for the drive type, too. An image of no known size is taken
 * for the drive's first format: what is beyond its end reads as zero.
 */
export function pickFormat(sizeBytes: number, drive: FloppyDriveType | undefined): FloppyFormat {
  const sectors = Math.floor(sizeBytes / 512);
  const fitting = FORMATS.filter((format) => format.sectors * format.tracks * format.heads === sectors);
  const wanted = drive ?? fitting[0]?.drive ?? FALLBACK_DRIVE;
  return (
    fitting.find((format) => format.drive === wanted) ??
    fitting.find((format) => isThreeInch(format.drive) === isThreeInch(wanted)) ??
    FORMATS.find((format) => format.drive === wanted) ??
    FORMATS[0]!
  );
}

/** CMOS register 0x10's value for a drive, four bits: drive 0 in the high half, drive 1 in the low half. */
export function floppyCmosType(drive: FloppyDriveType): number {
  return drive === '120' ? 2 : drive === '144' ? 4 : drive === '288' ? 5 : 0;
}
