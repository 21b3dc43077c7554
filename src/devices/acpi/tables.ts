/**
 * The ACPI tables and the script by which the firmware puts them into memory. ACPI specification 6.4, section 5.2
 * (tables, in their ACPI 1.0 forms, as QEMU gives); the script: QEMU hw/acpi/bios-linker-loader.c, SeaBIOS
 * src/fw/romfile_loader.c.
 */
import { ACPI_DISABLE_COMMAND, ACPI_ENABLE_COMMAND, GPE0_BASE } from '../pci/piix4-pm.ts';
import { type Aml, bytes, concat, little } from './aml.ts';
import { type DsdtOptions, dsdtBody, PCI_INTERRUPTS, SCI } from './dsdt.ts';

export const TABLES_FILE = 'etc/acpi/tables';
export const RSDP_FILE = 'etc/acpi/rsdp';
export const LOADER_FILE = 'etc/table-loader';

export const HEADER_SIZE = 36;
const CHECKSUM_OFFSET = 9;
const OEM_ID = 'AMBER ';
const OEM_TABLE_ID = 'AMBERVM ';
const CREATOR_ID = 'AMBR';

/** Port where SeaBIOS, and our own BIOS, map the PIIX4's ACPI registers. */
const PM_IO_BASE = 0x600;

export interface AcpiOptions extends DsdtOptions {
  /** Port of the PM1 registers; 0 if the firmware has not mapped them yet. */
  readonly pmIoBase: number;
}

export interface AcpiTables {
  readonly tables: Uint8Array;
  readonly loader: Uint8Array;
  readonly rsdp: Uint8Array;
}

const ascii = (text: string): Aml => new TextEncoder().encode(text);

/** A table with its header; the checksum is the script's business. */
export function table(signature: string, revision: number, body: Aml): Aml {
  return concat(
    ascii(signature),
    little(HEADER_SIZE + body.length, 4),
    bytes(revision, 0),
    ascii(OEM_ID),
    ascii(OEM_TABLE_ID),
    little(1, 4),
    ascii(CREATOR_ID),
    little(1, 4),
    body,
  );
}

/** Firmware ACPI control structure: 64 bytes, mostly zero. */
function facs(): Aml {
  const result = new Uint8Array(64);
  result.set(ascii('FACS'));
  result[4] = 64;
  return result;
}

/** Offsets of the pointers in the FADT. */
const FADT_FACS = 36;
const FADT_DSDT = 40;
/** WBINVD, C1, no sleep button, RTC wakes from S4, platform timer. The power button is the fixed one. */
const FADT_FLAGS = 0x0000_80a5;
/** Latency that says: no such state. */
const NO_LATENCY = 0x0fff;

/** Fixed ACPI description table, revision 1: 116 bytes. */
function fadt(pmIoBase: number, facsOffset: number, dsdtOffset: number): Aml {
  const base = pmIoBase || PM_IO_BASE;
  const body = concat(
    little(facsOffset, 4),
    little(dsdtOffset, 4),
    bytes(1, 0),
    little(SCI, 2),
    little(0xb2, 4),
    bytes(ACPI_ENABLE_COMMAND, ACPI_DISABLE_COMMAND, 0, 0),
    // PM1a and PM1b events, PM1a and PM1b control, PM2 control, timer, GPE0, GPE1.
    ...[base, 0, base + 4, 0, 0, base + 8, GPE0_BASE, 0].map((port) => little(port, 4)),
    bytes(4, 2, 0, 4, 4, 0, 0, 0),
    little(NO_LATENCY, 2),
    little(NO_LATENCY, 2),
    // Cache flush size and stride; duty cycle; alarm day, month; century in CMOS 0x32; boot flags.
    little(0, 4),
    bytes(0, 0, 0, 0, 0x32, 0, 0, 0),
    little(FADT_FLAGS, 4),
  );
  return table('FACP', 1, body);
}

/** Level triggered, active high. */
const LEVEL_HIGH = 0x000d;

/** Multiple APIC description table: one CPU, one I/O APIC, the timer at pin 2, PCI interrupts and SCI level high. */
function madt(): Aml {
  const override = (irq: number, pin: number, flags: number): Aml =>
    concat(bytes(2, 10, 0, irq), little(pin, 4), little(flags, 2));
  const levels = [...PCI_INTERRUPTS, SCI].sort((a, b) => a - b);
  const body = concat(
    little(0xfee0_0000, 4),
    little(1, 4),
    concat(bytes(0, 8, 0, 0), little(1, 4)),
    concat(bytes(1, 12, 0, 0), little(0xfec0_0000, 4), little(0, 4)),
    override(0, 2, 0),
    ...levels.map((irq) => override(irq, irq, LEVEL_HIGH)),
    // NMI at LINT1 of every processor.
    bytes(4, 6, 0xff, 0, 0, 1),
  );
  return table('APIC', 1, body);
}

/** Windows ACPI emulated devices table: the RTC needs no double read, the timer neither. */
function waet(): Aml {
  return table('WAET', 1, little(2, 4));
}

/** One entry of the script: 128 bytes. */
function loaderEntry(command: number, ...parts: readonly Aml[]): Aml {
  const entry = new Uint8Array(128);
  entry.set(concat(little(command, 4), ...parts));
  return entry;
}

function fileName(text: string): Aml {
  const result = new Uint8Array(56);
  result.set(ascii(text));
  return result;
}

/** Zones of an allocation: anywhere below 4 GiB, or in the segment 0xf000, where the RSDP is searched. */
const ZONE_HIGH = 1;
const ZONE_FSEG = 2;

export const allocate = (file: string, alignment: number, zone: number): Aml =>
  loaderEntry(1, fileName(file), little(alignment, 4), bytes(zone));

/** Adds the address at which `source` was put to the 4 bytes at `offset` of `target`. */
export const addPointer = (target: string, offset: number, source: string): Aml =>
  loaderEntry(2, fileName(target), fileName(source), little(offset, 4), bytes(4));

/** Makes the bytes from `start` sum to zero by the byte at `offset`. */
export const addChecksum = (file: string, offset: number, start: number, length: number): Aml =>
  loaderEntry(3, fileName(file), little(offset, 4), little(start, 4), little(length, 4));

/** Root system description pointer, ACPI 1.0: 20 bytes. */
const RSDP_SIZE = 20;
const RSDP_CHECKSUM = 8;
const RSDP_RSDT = 16;

/** Places tables one after the other, and writes the script at the same time. */
class Layout {
  readonly parts: Aml[] = [];
  readonly script: Aml[] = [
    allocate(RSDP_FILE, 16, ZONE_FSEG),
    // 64: the FACS comes first and must be aligned so.
    allocate(TABLES_FILE, 64, ZONE_HIGH),
  ];
  size = 0;

  append(part: Aml): number {
    const offset = this.size;
    this.parts.push(part);
    this.size += part.length;
    return offset;
  }

  /** Appends a table whose bytes at `pointers` hold offsets in the same file. */
  appendTable(part: Aml, pointers: readonly number[] = []): number {
    const offset = this.append(part);
    for (const pointer of pointers) this.script.push(addPointer(TABLES_FILE, offset + pointer, TABLES_FILE));
    this.script.push(addChecksum(TABLES_FILE, offset + CHECKSUM_OFFSET, offset, part.length));
    return offset;
  }
}

/** Makes all tables. Pure: the same options give the same bytes. */
export function buildAcpiTables(options: AcpiOptions): AcpiTables {
  const layout = new Layout();
  const facsOffset = layout.append(facs());
  const dsdtOffset = layout.appendTable(table('DSDT', 1, dsdtBody(options)));
  const listed = [
    layout.appendTable(fadt(options.pmIoBase, facsOffset, dsdtOffset), [FADT_FACS, FADT_DSDT]),
    layout.appendTable(madt()),
    layout.appendTable(waet()),
  ];
  const rsdtBody = concat(...listed.map((offset) => little(offset, 4)));
  const rsdtOffset = layout.appendTable(
    table('RSDT', 1, rsdtBody),
    listed.map((_, index) => HEADER_SIZE + index * 4),
  );
  const rsdp = concat(ascii('RSD PTR '), bytes(0), ascii(OEM_ID), bytes(0), little(rsdtOffset, 4));
  layout.script.push(
    addPointer(RSDP_FILE, RSDP_RSDT, TABLES_FILE),
    addChecksum(RSDP_FILE, RSDP_CHECKSUM, 0, RSDP_SIZE),
  );
  return { tables: concat(...layout.parts), loader: concat(...layout.script), rsdp };
}
