/** Compares our schemas with sections that the real QEMU wrote: bytes and description. */
import { join } from 'node:path';
import { decode, encode } from '../../src/migration/codec.ts';
import type { FieldDescription, StructDescription } from '../../src/migration/description.ts';
import { findDescription } from '../../src/migration/device-sections.ts';
import { MigrationError } from '../../src/migration/errors.ts';
import { ByteReader } from '../../src/migration/reader.ts';
import type { Schema } from '../../src/migration/vmstate.ts';
import { ByteWriter } from '../../src/migration/writer.ts';
import { qemuImg, readVmStates, runQemu, temporaryFolder } from './qemu-snapshot.ts';

let cached: Uint8Array | undefined;

/** VM state of the reference machine with one disk, stopped at the start. Call only where QEMU is known to exist. */
export function qemuReferenceStream(): Uint8Array {
  if (cached) return cached;
  using folder = temporaryFolder();
  const image = join(folder.path, 'disk.qcow2');
  qemuImg('create', '-q', '-f', 'qcow2', image, '64M');
  runQemu(image, { commands: ['stop', 'savevm a'] });
  cached = readVmStates(image).get('a')!;
  return cached;
}

export interface RawSection {
  readonly version: number;
  readonly body: Uint8Array;
}

/** A section's version and body, found by its header and footer. */
export function findSection(stream: Uint8Array, name: string, instance = 0): RawSection | undefined {
  const bytes = Buffer.from(stream.buffer, stream.byteOffset, stream.length);
  const head = Buffer.alloc(1 + name.length + 4);
  head[0] = name.length;
  head.write(name, 1, 'latin1');
  head.writeUInt32BE(instance, 1 + name.length);
  const at = bytes.indexOf(head);
  if (at < 0) return undefined;
  const start = at + head.length + 4;
  const footer = Buffer.concat([Buffer.from([0x7e]), bytes.subarray(at - 4, at)]);
  let end = bytes.indexOf(footer, start);
  while (bytes[end + 5] !== 4 && bytes[end + 5] !== 0) end = bytes.indexOf(footer, end + 1);
  return { version: bytes.readUInt32BE(start - 4), body: stream.subarray(start, end) };
}

/**
 * Decodes the section that QEMU wrote and encodes it again: bytes and description must be QEMU's. Returns what
 * differs, a line each.
 */
export function compareSchemaWithQemuSection(schema: Schema, name: string, instance = 0): string[] {
  const stream = qemuReferenceStream();
  const section = findSection(stream, name, instance);
  if (!section) return [`QEMU has no section ${name} instance ${instance}`];
  const writer = new ByteWriter();
  let description: StructDescription;
  try {
    const reader = new ByteReader(section.body);
    const record = decode(schema, reader, section.version);
    if (reader.remaining > 0)
      return [`${name}: ${reader.remaining} bytes of ${section.body.length} are left over`];
    description = encode(schema, record, writer);
  } catch (error) {
    if (error instanceof MigrationError) return [error.message];
    throw error;
  }
  const problems: string[] = [];
  const at = section.body.findIndex((byte, i) => byte !== writer.bytes()[i]);
  if (at >= 0 || writer.length !== section.body.length)
    problems.push(`${name}: encoded again, byte ${at} differs`);
  const theirs = findDescription(stream)!.devices.find((d) => d.name === name && d.instance_id === instance)!;
  const [ours, expected] = [describedLines(description), describedLines(theirs)];
  for (let i = 0; i < Math.max(ours.length, expected.length); i++) {
    if (ours[i] !== expected[i])
      return [...problems, `${name}: described as '${ours[i]}', by QEMU as '${expected[i]}'`];
  }
  return problems;
}

/** A description as lines: name, type, size, array length or index. */
export function describedLines(description: StructDescription, indent = ''): string[] {
  const lines = [`${indent}${description.vmsd_name} v${description.version}`];
  for (const field of description.fields) lines.push(...fieldLines(field, `${indent}  `));
  for (const subsection of description.subsections ?? [])
    lines.push(...describedLines(subsection, `${indent}  >> `));
  return lines;
}

function fieldLines(field: FieldDescription, indent: string): string[] {
  const array = field.array_len === undefined ? '' : ` x${field.array_len}`;
  const index = field.index === undefined ? '' : ` [${field.index}]`;
  const line = `${indent}${field.name}: ${field.type} size=${field.size}${array}${index}`;
  return field.struct ? [line, ...describedLines(field.struct, `${indent}  `)] : [line];
}
