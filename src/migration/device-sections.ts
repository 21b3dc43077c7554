/** Decodes the device part of a stream, everything after RAM, into fresh records. Changes nothing of the machine. */
import type { Device } from '../machine/device.ts';
import { decode } from './codec.ts';
import { parseDescription, type StreamDescription } from './description.ts';
import { MigrationError } from './errors.ts';
import { avoidingOptions } from './hints.ts';
import { ByteReader, latin1 } from './reader.ts';
import { SKIPPED_SECTIONS } from './skipped-sections.ts';
import { QEMU_VM_EOF, QEMU_VM_SECTION_FULL } from './markers.ts';
import { readDescription, readFooter, readSectionHeader, type SectionHeader } from './stream-format.ts';

/** A device and the state that the stream has for it, valid but not yet in place. */
export interface DecodedDevice {
  readonly device: Device;
  readonly record: object;
  readonly version: number;
}

export interface DecodedSections {
  readonly decoded: readonly DecodedDevice[];
  /** Devices of this machine that the stream has nothing for. */
  readonly missing: readonly Device[];
  readonly notices: readonly string[];
  readonly description: StreamDescription | undefined;
}

/**
 * `bytes` starts with a section type byte and ends with the VM state; `baseOffset` is its place in the VM state. The JSON
 * description behind the sections is for who wants to show them (`withDescription`).
 */
export function decodeDeviceSections(
  devices: readonly Device[],
  bytes: Uint8Array,
  baseOffset: number,
  withDescription: boolean = true,
): DecodedSections {
  const reader = new ByteReader(bytes, baseOffset);
  const found = new Map<Device, DecodedDevice>();
  const notices: string[] = [];
  for (;;) {
    const offset = reader.offset;
    const type = reader.u8();
    if (type === QEMU_VM_EOF) break;
    if (type !== QEMU_VM_SECTION_FULL) {
      throw new MigrationError('invalid-format', `Unknown savevm section type ${type}`, {
        offset,
        expected: 'a device section or the end of the VM state',
        found: type,
      });
    }
    const header = readSectionHeader(reader);
    const device = devices.find((d) => d.name === header.name && (d.instance ?? 0) === header.instance);
    if (device !== undefined) {
      if (found.has(device)) throw twice(header);
      found.set(device, readDevice(device, header, reader));
      continue;
    }
    const skipped = SKIPPED_SECTIONS.get(header.name);
    if (skipped === undefined) throw unknownSection(devices, header, bytes);
    inSection(header, () => decode(skipped, reader, header.version));
    readFooter(reader, header);
    notices.push(`Section '${header.name}' skipped: this machine has no such device`);
  }
  const missing = devices.filter((device) => !found.has(device));
  const decoded = devices.flatMap((device) => found.get(device) ?? []);
  const description = withDescription ? readDescription(reader) : undefined;
  return { decoded, missing, notices, description };
}

function readDevice(device: Device, header: SectionHeader, reader: ByteReader): DecodedDevice {
  const { vmstate } = device;
  if (header.version > vmstate.version) {
    const text = `savevm: unsupported version ${header.version} for '${header.name}' v${vmstate.version}`;
    throw new MigrationError('version', text, {
      section: header.name,
      instance: header.instance,
      offset: header.offset,
      expected: `version ${vmstate.minimumVersion} to ${vmstate.version}`,
      found: header.version,
    });
  }
  const record = inSection(header, () => decode(vmstate, reader, header.version, device.state));
  readFooter(reader, header);
  const reason = device.validate?.(record);
  if (reason !== undefined) {
    throw new MigrationError(
      'rejected',
      `Device '${header.name}' cannot run with the saved state: ${reason}`,
      {
        section: header.name,
        instance: header.instance,
        offset: header.offset,
      },
    );
  }
  return { device, record, version: header.version };
}

function inSection<T>(header: SectionHeader, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw error instanceof MigrationError
      ? error.within({ section: header.name, instance: header.instance })
      : error;
  }
}

function twice(header: SectionHeader): MigrationError {
  return new MigrationError('invalid-format', `Section '${header.name}' comes twice`, {
    section: header.name,
    instance: header.instance,
    offset: header.offset,
  });
}

/** Lists all that is unknown, not only the first: the JSON description at the end names every section. */
function unknownSection(
  devices: readonly Device[],
  header: SectionHeader,
  bytes: Uint8Array,
): MigrationError {
  const isKnown = (name: string, instance: number) =>
    SKIPPED_SECTIONS.has(name) || devices.some((d) => d.name === name && (d.instance ?? 0) === instance);
  const listed = findDescription(bytes)?.devices ?? [];
  const names = new Map<string, string>([[`${header.name} ${header.instance}`, header.name]]);
  for (const { name, instance_id } of listed) {
    if (!isKnown(name, instance_id)) names.set(`${name} ${instance_id}`, name);
  }
  return new MigrationError(
    'unknown-section',
    `Unknown savevm section or instance '${header.name}' ${header.instance}. Make sure that your current VM setup ` +
      'matches your saved VM setup, including any hotplugged devices',
    {
      section: header.name,
      instance: header.instance,
      offset: header.offset,
      found: `devices that this machine does not have: ${[...names.keys()].join(', ')}`,
      hint: avoidingOptions([...names.values()]),
    },
  );
}

/** The JSON description of a stream whose sections cannot be walked, by its first words; undefined when not found. */
export function findDescription(bytes: Uint8Array): StreamDescription | undefined {
  const start = lastIndexOf(bytes, '{"page_size"');
  if (start < 4) return undefined;
  const length = new ByteReader(bytes.subarray(start - 4, start)).u32();
  return length > bytes.length - start
    ? undefined
    : parseDescription(latin1(bytes.subarray(start, start + length)));
}

function lastIndexOf(bytes: Uint8Array, text: string): number {
  for (let at = bytes.length - text.length; at >= 0; at--) {
    let i = 0;
    while (i < text.length && bytes[at + i] === text.charCodeAt(i)) i++;
    if (i === text.length) return at;
  }
  return -1;
}
