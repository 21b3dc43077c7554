/**
 * The framing of QEMU's VM state: header, configuration, sections, footers, end, JSON description.
 * Facts: QEMU 7.2 migration/savevm.c and docs/devel/migration.rst. All integers big-endian.
 *
 * Not read: version 2 streams, QEMU_VM_COMMAND (post-copy, COLO), capabilities other than none.
 */
import type { Device } from '../machine/device.ts';
import { encode } from './codec.ts';
import { parseDescription, type SectionDescription, type StreamDescription } from './description.ts';
import { assert, MigrationError } from './errors.ts';
import {
  QEMU_VM_CONFIGURATION,
  QEMU_VM_EOF,
  QEMU_VM_SECTION_FOOTER,
  QEMU_VM_SECTION_FULL,
  QEMU_VM_SUBSECTION,
  QEMU_VM_VMDESCRIPTION,
} from './markers.ts';
import type { ByteReader } from './reader.ts';
import type { ByteWriter } from './writer.ts';

/** "QEVM" */
export const QEMU_VM_FILE_MAGIC = 0x5145564d;
export const QEMU_VM_FILE_VERSION = 3;

/** Page size that the stream speaks of (TARGET_PAGE_SIZE of i386). */
export const PAGE_BYTES = 4096;
const PAGE_BITS = 12;

/** Section id of RAM in what we write; devices follow. Ids only tie a footer to its section. */
export const RAM_SECTION_ID = 1;
export const RAM_SECTION_NAME = 'ram';
export const RAM_SECTION_VERSION = 4;

/** Longest machine name accepted. */
const MAX_MACHINE_NAME = 255;
/** Largest JSON description accepted: QEMU's own is 100 KB for a pc. */
export const MAX_DESCRIPTION_BYTES = 16 << 20;

export interface SectionHeader {
  readonly id: number;
  readonly name: string;
  readonly instance: number;
  readonly version: number;
  /** Where the section starts in the VM state. */
  readonly offset: number;
}

export function writeHeader(writer: ByteWriter, machineType: string): void {
  writer.u32(QEMU_VM_FILE_MAGIC);
  writer.u32(QEMU_VM_FILE_VERSION);
  writer.u8(QEMU_VM_CONFIGURATION);
  writer.u32(machineType.length);
  writer.text(machineType);
}

/** Everything before the first section; returns the machine type that saved it. */
export function readHeader(reader: ByteReader): string {
  const magic = reader.u32();
  if (magic !== QEMU_VM_FILE_MAGIC) {
    throw new MigrationError('invalid-format', 'Not a migration stream', {
      section: 'header',
      offset: 0,
      expected: `0x${QEMU_VM_FILE_MAGIC.toString(16)}`,
      found: `0x${magic.toString(16)}`,
    });
  }
  const version = reader.u32();
  if (version !== QEMU_VM_FILE_VERSION) {
    throw new MigrationError('version', 'Unsupported migration stream version', {
      section: 'header',
      offset: 4,
      expected: QEMU_VM_FILE_VERSION,
      found: version,
    });
  }
  const marker = reader.u8();
  if (marker !== QEMU_VM_CONFIGURATION) {
    throw new MigrationError('invalid-format', 'Configuration section missing', {
      section: 'configuration',
      offset: 8,
      expected: QEMU_VM_CONFIGURATION,
      found: marker,
    });
  }
  const length = reader.u32();
  if (length > MAX_MACHINE_NAME) {
    throw new MigrationError('limit', 'The machine name in the VM state is too long', {
      section: 'configuration',
      offset: 9,
      expected: `at most ${MAX_MACHINE_NAME} bytes`,
      found: length,
    });
  }
  const machineType = reader.text(length);
  readConfigurationSubsections(reader);
  return machineType;
}

/** QEMU writes these only for unusual settings: page bits, capabilities, and the machine's UUID. */
function readConfigurationSubsections(reader: ByteReader): void {
  while (reader.peek() === QEMU_VM_SUBSECTION) {
    const offset = reader.offset;
    reader.skip(1);
    const name = reader.counted();
    reader.u32();
    const context = { section: 'configuration', offset, found: name };
    if (name === 'configuration/target-page-bits') {
      const bits = reader.u32();
      if (bits !== PAGE_BITS) {
        throw new MigrationError(
          'mismatch',
          `Received TARGET_PAGE_BITS is ${bits} but local is ${PAGE_BITS}`,
          {
            ...context,
            expected: PAGE_BITS,
            found: bits,
          },
        );
      }
    } else if (name === 'configuration/uuid') {
      reader.skip(16);
    } else if (name === 'configuration/capabilities') {
      if (reader.u32() !== 0) {
        throw new MigrationError('unsupported', 'The VM state was saved with migration capabilities', {
          ...context,
          hint: 'Save it again with savevm, without migrate-set-capabilities',
        });
      }
    } else {
      throw new MigrationError('unknown-section', `Unknown subsection '${name}'`, context);
    }
  }
}

export function writeSectionHeader(
  writer: ByteWriter,
  type: number,
  section: Omit<SectionHeader, 'offset'>,
): void {
  writer.u8(type);
  writer.u32(section.id);
  writer.counted(section.name);
  writer.u32(section.instance);
  writer.u32(section.version);
}

/** What follows a SECTION_START or SECTION_FULL byte, which is already read. */
export function readSectionHeader(reader: ByteReader): SectionHeader {
  const offset = reader.offset - 1;
  const id = reader.u32();
  const name = reader.counted();
  const instance = reader.u32();
  const version = reader.u32();
  return { id, name, instance, version, offset };
}

export function writeFooter(writer: ByteWriter, sectionId: number): void {
  writer.u8(QEMU_VM_SECTION_FOOTER);
  writer.u32(sectionId);
}

/** A footer elsewhere than expected means that the section's length is not what the schema says. */
export function readFooter(reader: ByteReader, section: SectionHeader): void {
  const context = { section: section.name, instance: section.instance, offset: reader.offset };
  const marker = reader.u8();
  if (marker !== QEMU_VM_SECTION_FOOTER) {
    throw new MigrationError('footer', `Missing section footer for ${section.name}`, {
      ...context,
      expected: `0x${QEMU_VM_SECTION_FOOTER.toString(16)}`,
      found: `0x${marker.toString(16)}`,
      hint:
        section.name === 'cpu'
          ? 'The CPU section has another size than that of a 32-bit CPU: was it saved by qemu-system-x86_64? ' +
            'Use qemu-system-i386'
          : 'The device was saved with another set of features than this machine has',
    });
  }
  const id = reader.u32();
  if (id !== section.id) {
    throw new MigrationError('footer', `Mismatched section id in footer for ${section.name}`, {
      ...context,
      expected: section.id,
      found: id,
    });
  }
}

/** Every device's section, in the order given, and their description. Brings no state up to date: see beforeSave. */
export function writeDeviceSections(
  writer: ByteWriter,
  devices: readonly Device[],
  firstId: number,
): readonly SectionDescription[] {
  return devices.map((device, i) => {
    const { name, vmstate } = device;
    const instance = device.instance ?? 0;
    assert(name.length <= 255, `section name ${name} fits a length byte`);
    writeSectionHeader(writer, QEMU_VM_SECTION_FULL, {
      id: firstId + i,
      name,
      instance,
      version: vmstate.version,
    });
    const description = encode(vmstate, device.state, writer);
    writeFooter(writer, firstId + i);
    return { name, instance_id: instance, ...description };
  });
}

/** End of the sections, and the JSON description, which QEMU reads and ignores. */
export function writeEnd(writer: ByteWriter, devices: readonly SectionDescription[]): void {
  const description: StreamDescription = { page_size: PAGE_BYTES, devices };
  const json = JSON.stringify(description);
  writer.u8(QEMU_VM_EOF);
  writer.u8(QEMU_VM_VMDESCRIPTION);
  writer.u32(json.length);
  writer.text(json);
}

/** The JSON description after EOF, or undefined where there is none or it is not what QEMU writes. */
export function readDescription(reader: ByteReader): StreamDescription | undefined {
  if (reader.peek() !== QEMU_VM_VMDESCRIPTION) return undefined;
  reader.skip(1);
  const offset = reader.offset;
  const length = reader.u32();
  if (length > MAX_DESCRIPTION_BYTES) {
    throw new MigrationError('limit', 'The JSON description of the VM state is too long', {
      section: 'description',
      offset,
      expected: `at most ${MAX_DESCRIPTION_BYTES} bytes`,
      found: length,
    });
  }
  return parseDescription(reader.text(length));
}
