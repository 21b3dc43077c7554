/**
 * What the board writes into the RTC's CMOS memory before the firmware runs. Places and meanings: QEMU 7.2
 * hw/i386/pc.c, pc_cmos_init; SeaBIOS src/hw/rtc.h. The clock's own registers are the RTC's.
 */

const FLOPPY_TYPES = 0x10;
const DISK_TYPES = 0x12;
const EQUIPMENT = 0x14;
const BASE_MEMORY = 0x15;
const EXTENDED_MEMORY = 0x17;
const BOOT_ORDER_2 = 0x38;
const TRANSLATION = 0x39;
const EXTENDED_MEMORY_2 = 0x30;
const MEMORY_ABOVE_16M = 0x34;
const BOOT_ORDER_1 = 0x3d;
const MEMORY_ABOVE_4G = 0x5b;
const CPU_COUNT = 0x5f;
/** For the two disks of the primary channel: place of the type byte, and of the nine geometry bytes. */
const DISKS = [
  { type: 0x19, geometry: 0x1b },
  { type: 0x1a, geometry: 0x24 },
] as const;
/** Disk type that says: see the geometry bytes. */
const USER_DEFINED = 47;

const EQUIPMENT_FPU = 0x02;
const EQUIPMENT_MOUSE = 0x04;

export type FloppyType = 'none' | '1.2M' | '1.44M' | '2.88M';
const FLOPPY_CODES: Readonly<Record<FloppyType, number>> = { none: 0, '1.2M': 2, '1.44M': 4, '2.88M': 5 };

/** How the BIOS translates the geometry for int 13h. */
export type Translation = 'none' | 'lba' | 'large' | 'rechs';
const TRANSLATION_CODES: Readonly<Record<Translation, number>> = { none: 0, lba: 1, large: 2, rechs: 3 };

/** Physical geometry of an ATA disk: at most 16383 / 16 / 63. */
export interface CmosDisk {
  readonly cylinders: number;
  readonly heads: number;
  readonly sectors: number;
  /** Default: none up to 1024 cylinders, else LBA. */
  readonly translation?: Translation;
}

export interface CmosOptions {
  /** Bytes, all below 4 GiB. */
  readonly ramSize: number;
  /** `-boot order=`: up to three of a (floppy), c (disk), d (CD), n (network). Default "cad". */
  readonly bootOrder?: string;
  /** Check the boot signature of floppies. Default true. */
  readonly checkFloppySignature?: boolean;
  readonly floppies?: readonly [FloppyType, FloppyType];
  /** Disks (not CDs) at primary master, primary slave, secondary master, secondary slave. */
  readonly disks?: readonly (CmosDisk | undefined)[];
}

const BOOT_CODES: Readonly<Record<string, number>> = { a: 1, b: 1, c: 2, d: 3, n: 4 };

function setWord(cmos: Map<number, number>, at: number, value: number): void {
  cmos.set(at, value & 0xff);
  cmos.set(at + 1, (value >> 8) & 0xff);
}

function setMemory(cmos: Map<number, number>, ramSize: number): void {
  const kibibytes = Math.floor(ramSize / 1024);
  const extended = Math.min(0xffff, Math.max(0, kibibytes - 1024));
  setWord(cmos, BASE_MEMORY, Math.min(640, kibibytes));
  setWord(cmos, EXTENDED_MEMORY, extended);
  setWord(cmos, EXTENDED_MEMORY_2, extended);
  setWord(cmos, MEMORY_ABOVE_16M, Math.min(0xffff, Math.max(0, Math.floor(kibibytes / 64) - 256)));
  for (let i = 0; i < 3; i++) cmos.set(MEMORY_ABOVE_4G + i, 0);
}

function setDisk(cmos: Map<number, number>, place: (typeof DISKS)[number], disk: CmosDisk): void {
  cmos.set(place.type, USER_DEFINED);
  setWord(cmos, place.geometry, disk.cylinders);
  cmos.set(place.geometry + 2, disk.heads);
  // No write precompensation.
  setWord(cmos, place.geometry + 3, 0xffff);
  cmos.set(place.geometry + 5, 0xc0 | (disk.heads > 8 ? 8 : 0));
  setWord(cmos, place.geometry + 6, disk.cylinders);
  cmos.set(place.geometry + 8, disk.sectors);
}

function translationOf(disk: CmosDisk): Translation {
  return disk.translation ?? (disk.cylinders <= 1024 ? 'none' : 'lba');
}

/** Bytes to write, by index. Throws RangeError on a boot order that QEMU refuses. */
export function cmosImage(options: CmosOptions): Map<number, number> {
  const cmos = new Map<number, number>();
  setMemory(cmos, options.ramSize);

  const order = options.bootOrder ?? 'cad';
  if (order.length > 3) throw new RangeError('Too many boot devices for PC');
  const codes = [...order].map((letter) => {
    const code = BOOT_CODES[letter];
    if (code === undefined) throw new RangeError(`Invalid boot device for PC: '${letter}'`);
    return code;
  });
  cmos.set(BOOT_ORDER_1, ((codes[1] ?? 0) << 4) | (codes[0] ?? 0));
  cmos.set(BOOT_ORDER_2, ((codes[2] ?? 0) << 4) | ((options.checkFloppySignature ?? true) ? 0 : 1));

  const floppies = options.floppies ?? ['none', 'none'];
  const floppyCount = floppies.filter((type) => type !== 'none').length;
  cmos.set(FLOPPY_TYPES, (FLOPPY_CODES[floppies[0]] << 4) | FLOPPY_CODES[floppies[1]]);
  const drives = floppyCount === 0 ? 0 : floppyCount === 1 ? 0x01 : 0x41;
  cmos.set(EQUIPMENT, EQUIPMENT_FPU | EQUIPMENT_MOUSE | drives);

  const disks = options.disks ?? [];
  DISKS.forEach((place, index) => {
    const disk = disks[index];
    if (disk) setDisk(cmos, place, disk);
  });
  cmos.set(DISK_TYPES, (disks[0] ? 0xf0 : 0) | (disks[1] ? 0x0f : 0));
  let translations = 0;
  disks.forEach((disk, index) => {
    if (disk) translations |= TRANSLATION_CODES[translationOf(disk)] << (index * 2);
  });
  cmos.set(TRANSLATION, translations);
  cmos.set(CPU_COUNT, 0);
  return cmos;
}
