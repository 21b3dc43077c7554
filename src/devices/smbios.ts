/**
 * SMBIOS 2.8 structures for `etc/smbios/smbios-tables` and the entry point for `etc/smbios/smbios-anchor`: types 1, 3,
 * 4, 16, 17, 19, 32 and 127, with the values that QEMU 7.2 gives (hw/smbios/smbios.c). Type 0 is the firmware's own; it
 * also fills in addresses and checksums. System Management BIOS Reference Specification 2.8, chapters 5 to 7.
 */

export interface SmbiosOptions {
  /** Bytes of RAM. */
  readonly ramSize: number;
  /** CPUID leaf 1: EAX (family, model, stepping) and EDX (features). */
  readonly cpuidVersion: number;
  readonly cpuidFeatures: number;
  /** Default QEMU's, since the machine is the same. */
  readonly manufacturer?: string;
  readonly product?: string;
  readonly version?: string;
  /** 16 bytes, wire order of SMBIOS 2.6 and later. */
  readonly uuid?: Uint8Array;
}

export interface Smbios {
  readonly anchor: Uint8Array;
  readonly tables: Uint8Array;
}

/** Builds one structure: formatted area with strings by number, then the strings. */
class Structure {
  readonly #formatted: number[];
  readonly #strings: string[] = [];

  constructor(type: number, handle: number) {
    this.#formatted = [type, 0, handle & 0xff, handle >> 8];
  }

  byte(...values: number[]): this {
    this.#formatted.push(...values);
    return this;
  }

  word(value: number): this {
    return this.byte(value & 0xff, (value >> 8) & 0xff);
  }

  dword(value: number): this {
    return this.word(value & 0xffff).word(value >>> 16);
  }

  zeros(count: number): this {
    for (let i = 0; i < count; i++) this.byte(0);
    return this;
  }

  /** Number of a string, 0 for none. */
  string(text: string | undefined): this {
    if (text === undefined) return this.byte(0);
    this.#strings.push(text);
    return this.byte(this.#strings.length);
  }

  build(): number[] {
    const bytes = [...this.#formatted];
    bytes[1] = bytes.length;
    for (const text of this.#strings) bytes.push(...new TextEncoder().encode(text), 0);
    // A structure without strings ends with two zeros.
    bytes.push(...(this.#strings.length === 0 ? [0, 0] : [0]));
    return bytes;
  }
}

const HANDLE_SYSTEM = 0x100;
const HANDLE_CHASSIS = 0x300;
const HANDLE_CPU = 0x400;
const HANDLE_MEMORY_ARRAY = 0x1000;
const HANDLE_MEMORY_DEVICE = 0x1100;
const HANDLE_MEMORY_MAP = 0x1300;
const HANDLE_BOOT = 0x2000;
const HANDLE_END = 0x7f00;
const NOT_PROVIDED = 0xfffe;
const UNKNOWN = 0xffff;
/** MHz that QEMU states for every CPU. */
const CPU_MHZ = 2000;

function system(manufacturer: string, product: string, version: string, uuid: Uint8Array): Structure {
  const structure = new Structure(1, HANDLE_SYSTEM).string(manufacturer).string(product).string(version);
  // No serial number; woken by the power switch; no SKU, no family.
  return structure.byte(0, ...uuid, 0x06, 0, 0);
}

function chassis(manufacturer: string, version: string): Structure {
  return (
    new Structure(3, HANDLE_CHASSIS)
      .string(manufacturer)
      .byte(1)
      .string(version)
      // Serial, asset tag; boot-up, power and thermal state safe; security unknown.
      .byte(0, 0, 3, 3, 3, 2)
      .dword(0)
      .byte(0, 0, 0, 0, 0)
  );
}

function processor(options: SmbiosOptions, manufacturer: string, version: string): Structure {
  return (
    new Structure(4, HANDLE_CPU)
      .string('CPU 0')
      .byte(3, 1)
      .string(manufacturer)
      .dword(options.cpuidVersion)
      .dword(options.cpuidFeatures)
      .string(version)
      .byte(0)
      .word(0)
      .word(CPU_MHZ)
      .word(CPU_MHZ)
      .byte(0x41, 1)
      .word(UNKNOWN)
      .word(UNKNOWN)
      .word(UNKNOWN)
      // Serial, asset tag, part number; cores, enabled cores, threads.
      .byte(0, 0, 0, 1, 1, 1)
      .word(2)
      .word(1)
  );
}

function memoryArray(ramSize: number): Structure {
  return new Structure(16, HANDLE_MEMORY_ARRAY)
    .byte(1, 3, 6)
    .dword(Math.ceil(ramSize / 1024))
    .word(NOT_PROVIDED)
    .word(1)
    .zeros(8);
}

function memoryDevice(ramSize: number, manufacturer: string): Structure {
  return new Structure(17, HANDLE_MEMORY_DEVICE)
    .word(HANDLE_MEMORY_ARRAY)
    .word(NOT_PROVIDED)
    .word(UNKNOWN)
    .word(UNKNOWN)
    .word(Math.ceil(ramSize / (1 << 20)))
    .byte(9, 0)
    .string('DIMM 0')
    .byte(0, 7)
    .word(2)
    .word(0)
    .string(manufacturer)
    .byte(0, 0, 0, 0)
    .dword(0)
    .zeros(8);
}

function memoryMap(ramSize: number): Structure {
  return new Structure(19, HANDLE_MEMORY_MAP)
    .dword(0)
    .dword(Math.floor((ramSize - 1) / 1024))
    .word(HANDLE_MEMORY_ARRAY)
    .byte(1)
    .zeros(16);
}

function entryPoint(structures: readonly (readonly number[])[]): Uint8Array {
  const anchor = new Uint8Array(31);
  const view = new DataView(anchor.buffer);
  anchor.set(new TextEncoder().encode('_SM_'), 0);
  anchor[5] = anchor.length;
  anchor[6] = 2;
  anchor[7] = 8;
  view.setUint16(8, Math.max(...structures.map((each) => each.length)), true);
  anchor.set(new TextEncoder().encode('_DMI_'), 16);
  view.setUint16(
    22,
    structures.reduce((sum, each) => sum + each.length, 0),
    true,
  );
  view.setUint16(28, structures.length, true);
  anchor[30] = 0x28;
  return anchor;
}

/** Makes both files. RAM in one piece below 4 GiB. */
export function buildSmbios(options: SmbiosOptions): Smbios {
  const manufacturer = options.manufacturer ?? 'QEMU';
  const product = options.product ?? 'Standard PC (i440FX + PIIX, 1996)';
  const version = options.version ?? 'pc-i440fx-7.2';
  const structures = [
    system(manufacturer, product, version, options.uuid ?? new Uint8Array(16)),
    chassis(manufacturer, version),
    processor(options, manufacturer, version),
    memoryArray(options.ramSize),
    memoryDevice(options.ramSize, manufacturer),
    memoryMap(options.ramSize),
    new Structure(32, HANDLE_BOOT).zeros(7),
    new Structure(127, HANDLE_END),
  ].map((structure) => structure.build());
  return { anchor: entryPoint(structures), tables: Uint8Array.from(structures.flat()) };
}
