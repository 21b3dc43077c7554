/** The live part of a stream: RAM in as many parts as the writer likes, up to the first device section or the end. */
import { MigrationError } from './errors.ts';
import { avoidingOptions } from './hints.ts';
import type { RamReader } from './ram-reader.ts';
import { ByteReader } from './reader.ts';
import {
  QEMU_VM_EOF,
  QEMU_VM_SECTION_END,
  QEMU_VM_SECTION_FULL,
  QEMU_VM_SECTION_PART,
  QEMU_VM_SECTION_START,
} from './markers.ts';
import {
  RAM_SECTION_NAME,
  RAM_SECTION_VERSION,
  readFooter,
  readSectionHeader,
  type SectionHeader,
} from './stream-format.ts';
import type { InputWindow } from './stream-input.ts';

/** Longest stream header or section header that is looked at in one piece. */
const HEADER_BYTES = 2048;

export async function readRamSections(input: InputWindow, ram: RamReader): Promise<void> {
  let section: SectionHeader | undefined;
  for (;;) {
    const next = await readLiveHeader(input, section);
    if (next === undefined) return;
    section = next;
    await ram.read(input);
    await withReader(input, (reader) => readFooter(reader, next));
  }
}

/** The next part of RAM, or undefined, with nothing read, when there is none. */
async function readLiveHeader(
  input: InputWindow,
  ram: SectionHeader | undefined,
): Promise<SectionHeader | undefined> {
  await input.fill(1);
  const type = input.available > 0 ? input.bytes[input.position] : undefined;
  if (type === QEMU_VM_SECTION_FULL || type === QEMU_VM_EOF) return undefined;
  return withReader(input, (reader) => {
    const offset = reader.offset;
    reader.skip(1);
    if (type === QEMU_VM_SECTION_START) {
      const header = readSectionHeader(reader);
      checkLiveSection(header);
      return header;
    }
    if ((type === QEMU_VM_SECTION_PART || type === QEMU_VM_SECTION_END) && ram !== undefined) {
      const id = reader.u32();
      if (id === ram.id) return ram;
      throw new MigrationError('invalid-format', `Unknown section ${id}`, {
        offset,
        expected: ram.id,
        found: id,
      });
    }
    throw new MigrationError('invalid-format', `Unknown savevm section type ${type}`, {
      offset,
      found: type ?? 'end',
    });
  });
}

function checkLiveSection(header: SectionHeader): void {
  const context = { section: header.name, instance: header.instance, offset: header.offset };
  if (header.name !== RAM_SECTION_NAME || header.instance !== 0) {
    throw new MigrationError(
      'unknown-section',
      `Unknown savevm section or instance '${header.name}' ${header.instance}. Make sure that your current VM setup ` +
        'matches your saved VM setup, including any hotplugged devices',
      { ...context, expected: RAM_SECTION_NAME, found: header.name, hint: avoidingOptions([header.name]) },
    );
  }
  if (header.version !== RAM_SECTION_VERSION) {
    throw new MigrationError('version', `savevm: unsupported version ${header.version} for 'ram' v4`, {
      ...context,
      expected: RAM_SECTION_VERSION,
      found: header.version,
    });
  }
}

/** Parses something short and contiguous at the input's position. */
export async function withReader<T>(input: InputWindow, parse: (reader: ByteReader) => T): Promise<T> {
  await input.fill(HEADER_BYTES);
  const reader = new ByteReader(input.bytes.subarray(input.position, input.end), input.offset);
  const before = reader.remaining;
  const result = parse(reader);
  input.position += before - reader.remaining;
  return result;
}
