/**
 * A VM state field by field, for people (`ambervm vmstate dump`). Sections are read by our schemas where there is one,
 * else by the JSON description that ends the stream: QEMU's own sections print, too.
 */
import { decode, encode } from './codec.ts';
import { type Crc32, crc32 as defaultCrc32 } from './crc32.ts';
import type { FieldDescription, StreamDescription, StructDescription } from './description.ts';
import { findDescription } from './device-sections.ts';
import { MigrationError } from './errors.ts';
import { MAX_DEVICE_PART_BYTES } from './load-vmstate.ts';
import type { RamBlock, RamSink } from './ram-block.ts';
import { RAM_SAVE_FLAG_MEM_SIZE, RamReader } from './ram-reader.ts';
import { readRamSections, withReader } from './ram-sections.ts';
import { ByteReader } from './reader.ts';
import { QEMU_VM_EOF, QEMU_VM_SECTION_FULL, QEMU_VM_SUBSECTION } from './markers.ts';
import {
  PAGE_BYTES,
  readFooter,
  readHeader,
  readSectionHeader,
  type SectionHeader,
} from './stream-format.ts';
import { type InputWindow, StreamInput, type VmStateSource } from './stream-input.ts';
import { readTrailer } from './trailer.ts';
import type { Schema } from './vmstate.ts';
import { ByteWriter } from './writer.ts';

/** Most RAM that a stream may list to be described: 64 GiB. */
const MAX_RAM_BYTES = 2 ** 36;
/** Longest array that is believed. */
const MAX_ELEMENTS = 1 << 16;
/** Longest block list that is looked at. */
const MAX_LIST_BYTES = 32 * 1024;

export interface DescribeOptions {
  /** Our schema of a section, if there is one. */
  readonly schema?: (section: string) => Schema | undefined;
  /** Bytes of a buffer that are printed; default 32. */
  readonly bufferBytes?: number;
  readonly crc32?: Crc32;
}

/** The lines of the dump. */
export async function describeVmState(
  source: VmStateSource,
  options: DescribeOptions = {},
): Promise<string[]> {
  const input = new StreamInput(source);
  try {
    const lines = [`machine ${await withReader(input, readHeader)}, ${source.sizeBytes} bytes`];
    const counter = await countPages(input);
    lines.push(...counter.lines(), '');
    const offset = input.offset;
    const bytes = await input.rest(MAX_DEVICE_PART_BYTES);
    lines.push(...describeDevices(bytes, offset, options));
    lines.push(...(await describeTrailer(source, options.crc32 ?? defaultCrc32)));
    return lines;
  } finally {
    await input.close();
  }
}

/** The sections with their places and sizes: `offset size name`, a line each. */
export async function listSections(source: VmStateSource, options: DescribeOptions = {}): Promise<string[]> {
  const input = new StreamInput(source);
  try {
    await withReader(input, readHeader);
    const start = input.offset;
    const counter = await countPages(input);
    const offset = input.offset;
    const bytes = await input.rest(MAX_DEVICE_PART_BYTES);
    const sections = readDevices(bytes, offset, options);
    const last = sections.at(-1);
    const end = last === undefined ? offset : last.header.offset + last.sizeBytes;
    const lines = ['      OFFSET       BYTES  SECTION', sectionLine(0, start, 'header and configuration')];
    lines.push(sectionLine(start, offset - start, `ram (${counter.lines().length} blocks)`));
    for (const { header, sizeBytes } of sections) {
      const { name, instance, version } = header;
      lines.push(sectionLine(header.offset, sizeBytes, `${name} instance ${instance} version ${version}`));
    }
    lines.push(sectionLine(end, source.sizeBytes - end, 'end: JSON description, index'));
    return [...lines, '', ...counter.lines()];
  } finally {
    await input.close();
  }
}

function sectionLine(offset: number, bytes: number, text: string): string {
  return `${`0x${offset.toString(16)}`.padStart(12)}${String(bytes).padStart(12)}  ${text}`;
}

async function countPages(input: InputWindow): Promise<PageCounter> {
  const blocks = await peekBlockList(input);
  const counter = new PageCounter(blocks);
  await readRamSections(input, new RamReader(blocks, counter));
  return counter;
}

async function describeTrailer(source: VmStateSource, crc32: Crc32): Promise<string[]> {
  const trailer = await readTrailer(source, crc32);
  if (trailer === undefined) return ['no index of ours: RAM as QEMU writes it'];
  if ('problem' in trailer) return [`index not usable: ${trailer.problem}`];
  const { geometry, headUnits, ramUnits } = trailer.index;
  return [
    `index: units of ${geometry.unitBytes} bytes, ${headUnits} head, ${ramUnits} RAM; ` +
      `${geometry.pagesPerGroup} pages a group`,
  ];
}

/**
 * The block list is the first record of the RAM section; it stays to be read. The blocks have names and sizes, no bytes.
 */
export async function peekBlockList(input: InputWindow): Promise<RamBlock[]> {
  await input.fill(MAX_LIST_BYTES);
  const reader = new ByteReader(input.bytes.subarray(input.position, input.end), input.offset);
  reader.skip(1);
  readSectionHeader(reader);
  const offset = reader.offset;
  const record = reader.big64();
  let left = Number(record & ~0xfffn);
  if ((Number(record & 0xfffn) & RAM_SAVE_FLAG_MEM_SIZE) === 0 || left > MAX_RAM_BYTES) {
    throw new MigrationError('invalid-format', 'The VM state does not begin with a list of RAM blocks', {
      offset,
    });
  }
  const blocks: RamBlock[] = [];
  while (left > 0) {
    const name = reader.counted();
    const sizeBytes = reader.i64();
    if (sizeBytes <= 0 || sizeBytes > left || sizeBytes % PAGE_BYTES !== 0) {
      throw new MigrationError('invalid-format', `RAM block "${name}" has an impossible size`, {
        offset: reader.offset,
        found: sizeBytes,
      });
    }
    blocks.push({ name, sizeBytes, bytes: new Uint8Array(0) });
    left -= sizeBytes;
  }
  return blocks;
}

class PageCounter implements RamSink {
  readonly #blocks: readonly RamBlock[];
  readonly #data: number[];
  readonly #zero: number[];

  constructor(blocks: readonly RamBlock[]) {
    this.#blocks = blocks;
    this.#data = blocks.map(() => 0);
    this.#zero = blocks.map(() => 0);
  }

  page(block: number): void {
    this.#data[block]! += 1;
  }

  fill(block: number): void {
    this.#zero[block]! += 1;
  }

  lines(): string[] {
    return this.#blocks.map(
      ({ name, sizeBytes }, i) =>
        `ram ${name}: ${sizeBytes} bytes, ${this.#data[i]} pages, ${this.#zero[i]} zero records`,
    );
  }
}

/** A record in memory, field by field, as a section of a stream would have it. */
export function describeState(schema: Schema, state: object, bufferBytes: number = 32): string[] {
  const writer = new ByteWriter();
  const description = encode(schema, state, writer);
  const printer = new Printer(new ByteReader(writer.bytes(), 0), bufferBytes);
  printer.structure(description, '  ');
  return printer.lines;
}

/** One device section of a stream. */
export interface DescribedSection {
  readonly header: SectionHeader;
  /** From its type byte to the end of its footer. */
  readonly sizeBytes: number;
  /** Its fields, a line each. */
  readonly lines: readonly string[];
}

/** The device part, from the first section's type byte on. */
export function describeDevices(
  bytes: Uint8Array,
  baseOffset: number,
  options: DescribeOptions = {},
): string[] {
  return readDevices(bytes, baseOffset, options).flatMap(({ header, lines }) => {
    const place = `offset 0x${header.offset.toString(16)}`;
    return [
      `## ${header.name} instance ${header.instance} version ${header.version}, ${place}`,
      ...lines,
      '',
    ];
  });
}

/** The same, section by section. */
export function readDevices(
  bytes: Uint8Array,
  baseOffset: number,
  options: DescribeOptions = {},
): DescribedSection[] {
  const reader = new ByteReader(bytes, baseOffset);
  const stream = findDescription(bytes);
  const sections: DescribedSection[] = [];
  for (;;) {
    const type = reader.u8();
    if (type === QEMU_VM_EOF) return sections;
    if (type !== QEMU_VM_SECTION_FULL) {
      throw new MigrationError('invalid-format', `Unknown savevm section type ${type}`, {
        offset: reader.offset - 1,
      });
    }
    const header = readSectionHeader(reader);
    const start = reader.offset;
    const body = bytes.subarray(start - baseOffset);
    const description = sectionDescription(header, body, start, stream, options);
    const printer = new Printer(reader, options.bufferBytes ?? 32);
    printer.structure(description, '  ');
    readFooter(reader, header);
    sections.push({ header, sizeBytes: reader.offset - header.offset, lines: printer.lines });
  }
}

function sectionDescription(
  header: SectionHeader,
  body: Uint8Array,
  offset: number,
  stream: StreamDescription | undefined,
  options: DescribeOptions,
): StructDescription {
  const schema = options.schema?.(header.name);
  // Decoded and encoded again: what encode says of it is the description of these very bytes.
  if (schema)
    return encode(schema, decode(schema, new ByteReader(body, offset), header.version), new ByteWriter());
  const found = stream?.devices.find((d) => d.name === header.name && d.instance_id === header.instance);
  if (found) return found;
  throw new MigrationError('unknown-section', `Nothing says how section '${header.name}' is laid out`, {
    section: header.name,
    instance: header.instance,
    offset: header.offset,
  });
}

/** Prints the values of a structure as its description says, reading on. */
class Printer {
  readonly lines: string[] = [];
  readonly #reader: ByteReader;
  readonly #bufferBytes: number;

  constructor(reader: ByteReader, bufferBytes: number) {
    this.#reader = reader;
    this.#bufferBytes = bufferBytes;
  }

  structure(description: StructDescription, indent: string): void {
    for (const field of description.fields) this.#field(field, indent);
    for (const subsection of description.subsections ?? []) this.#subsection(subsection, indent);
  }

  #subsection(description: StructDescription, indent: string): void {
    const reader = this.#reader;
    const offset = reader.offset;
    const marker = reader.u8();
    const name = marker === QEMU_VM_SUBSECTION ? reader.counted() : undefined;
    if (name !== description.vmsd_name) {
      const context = { offset, expected: description.vmsd_name, found: name ?? marker };
      throw new MigrationError('invalid-format', 'The description does not match the VM state', context);
    }
    this.lines.push(`${indent}>> ${name} version ${reader.u32()}`);
    this.structure(description, `${indent}  `);
  }

  #field(field: FieldDescription, indent: string): void {
    const count = field.array_len ?? 1;
    if (count > MAX_ELEMENTS) {
      throw new MigrationError('limit', 'The description has an impossible array', {
        field: field.name,
        found: count,
      });
    }
    const name = field.index === undefined ? field.name : `${field.name}[${field.index}]`;
    if (field.struct) {
      for (let i = 0; i < count; i++) {
        this.lines.push(`${indent}${name}${count > 1 ? `[${i}]` : ''}:`);
        this.structure(field.struct, `${indent}  `);
      }
      return;
    }
    const values: string[] = [];
    for (let i = 0; i < count; i++)
      values.push(valueText(field.type, this.#reader.take(field.size), this.#bufferBytes));
    const text = count > 1 ? `[${values.join(', ')}]` : values[0];
    this.lines.push(`${indent}${name}: ${field.type} = ${text}`);
  }
}

function valueText(type: string, bytes: Uint8Array, bufferBytes: number): string {
  const isNumber = /^(u?int(8|16|32|64)|timer)\b/.test(type) && [1, 2, 4, 8].includes(bytes.length);
  if (type === 'bool') return bytes[0] ? 'true' : 'false';
  if (!isNumber) return hex(bytes, bufferBytes);
  let value = 0n;
  for (const byte of bytes) value = (value << 8n) | BigInt(byte);
  if (!type.startsWith('uint')) return String(BigInt.asIntN(bytes.length * 8, value));
  return value < 10n ? String(value) : `0x${value.toString(16)}`;
}

function hex(bytes: Uint8Array, most: number): string {
  let last = bytes.length;
  while (last > 0 && bytes[last - 1] === 0) last--;
  if (last === 0) return `${bytes.length} zero bytes`;
  const shown = bytes.subarray(0, Math.min(last, most));
  const text = [...shown].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
  if (shown.length === bytes.length) return text;
  return `${text}${last > most ? ' …' : ' then zeros'} (${bytes.length} bytes)`;
}
