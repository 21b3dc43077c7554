/**
 * Turns state records into stream bytes and back, as a schema says. Pure: reads and writes bytes and records, touches
 * no device. The wire rules are those of QEMU 7.2 (migration/vmstate.c): fields in order, then the subsections that
 * are needed, each framed as 0x05, name length, name, version; a nested structure always in its own current version.
 */
import {
  describedType,
  FieldNamer,
  type FieldDescription,
  isCompressible,
  type StructDescription,
} from './description.ts';
import { AssertionError, assert, MigrationError } from './errors.ts';
import type { ByteReader } from './reader.ts';
import { QEMU_VM_SUBSECTION } from './markers.ts';
import type { Field, Schema, Subsection, VmState, WireKind } from './vmstate.ts';
import type { ByteWriter } from './writer.ts';

type Unknown = { [property: string]: unknown };

// biome-ignore lint/suspicious/noExplicitAny: any set of subsections
type AnyVmState<S extends object> = VmState<S, any>;

/**
 * Writes `state` as `schema` says and returns QEMU's description of what was written (for the JSON at the stream's
 * end). A value that does not fit its wire kind is a bug of the device: an assertion, not a MigrationError.
 */
export function encode(schema: Schema, state: object, writer: ByteWriter): StructDescription {
  return encodeRecord(schema, state as Unknown, writer, schema.name);
}

function encodeRecord(schema: Schema, state: Unknown, writer: ByteWriter, path: string): StructDescription {
  const fields: FieldDescription[] = [];
  const namer = new FieldNamer(schema);
  for (const property in schema.fields) {
    const field = schema.fields[property]!;
    if (!isPresent(field, state, schema.version)) {
      namer.skip(field);
      continue;
    }
    encodeUnused(field.options.unusedBefore, namer, fields, writer);
    encodeField(field, namer.name(property, field), state[property], writer, `${path}.${property}`, fields);
    encodeUnused(field.options.unusedAfter, namer, fields, writer);
  }
  const subsections: StructDescription[] = [];
  for (const property in schema.subsections) {
    const subsection = schema.subsections[property]!;
    if (!subsection.needed(state)) continue;
    const inner = subsection.vmstate as unknown as Schema;
    writer.u8(QEMU_VM_SUBSECTION);
    writer.counted(inner.name);
    writer.u32(inner.version);
    subsections.push(encodeRecord(inner, state[property] as Unknown, writer, `${path}.${property}`));
  }
  const description: StructDescription = { vmsd_name: schema.name, version: schema.version, fields };
  return subsections.length === 0 ? description : { ...description, subsections };
}

function encodeUnused(
  count: number | undefined,
  namer: FieldNamer,
  fields: FieldDescription[],
  writer: ByteWriter,
): void {
  if (!count) return;
  writer.zeros(count);
  fields.push({ name: namer.unused(), type: 'unused_buffer', size: count });
}

function encodeField(
  field: Field<unknown>,
  name: string,
  value: unknown,
  writer: ByteWriter,
  path: string,
  fields: FieldDescription[],
): void {
  const type = describedType(field);
  const start = writer.length;
  if (field.kind === 'buffer') {
    assert(value instanceof Uint8Array && value.length === field.count, `${path} is ${field.count} bytes`);
    writer.write(value);
    fields.push({ name, type: type.name, size: writer.length - start });
    return;
  }
  if (field.count === undefined) {
    fields.push(encodeElement(field, { name, type: type.name }, value, writer, path));
    return;
  }
  const elements = value as ArrayLike<unknown>;
  assert(elements.length === field.count, `${path} has ${field.count} elements`);
  if (type.whole) {
    for (let i = 0; i < field.count; i++) encodeScalar(field, elements[i], writer, path, i);
    fields.push({ name, type: type.name, size: writer.length - start });
    return;
  }
  const compress = isCompressible(field);
  const isArray = field.count > 1;
  // The IDE drives' data buffers have 131076 elements: one copy, not as many calls.
  if (isArray && compress && field.kind === 'u8' && value instanceof Uint8Array) {
    writer.write(value);
    fields.push({ name, array_len: field.count, type: type.name, size: 1 });
    return;
  }
  if (isArray && compress && field.kind !== 'struct') {
    for (let i = 0; i < field.count; i++) encodeScalar(field, elements[i], writer, path, i);
    fields.push({
      name,
      array_len: field.count,
      type: type.name,
      size: (writer.length - start) / field.count,
    });
    return;
  }
  for (let i = 0; i < field.count; i++) {
    const position = !isArray ? {} : compress ? { array_len: field.count } : { index: i };
    const head = { name, ...position, type: type.name };
    const described = encodeElement(field, head, elements[i], writer, `${path}[${i}]`);
    if (i === 0 || !compress) fields.push(described);
  }
}

function encodeElement(
  field: Field<unknown>,
  head: Omit<FieldDescription, 'size'>,
  value: unknown,
  writer: ByteWriter,
  path: string,
): FieldDescription {
  const start = writer.length;
  if (field.kind !== 'struct') {
    encodeScalar(field, value, writer, path);
    return { ...head, size: writer.length - start };
  }
  const inner = encodeRecord(field.struct!, value as Unknown, writer, path);
  // A VMSTATE_WITH_TMP field carries the description of its temporary inline (vmstate-types.c, put_tmp).
  if (head.type === 'tmp') return { ...head, ...inner, size: writer.length - start };
  return { ...head, struct: inner, size: writer.length - start };
}

/** `index`: in the array at `path`. No text is made but of what is wrong: a guest waits for thousands of these. */
function encodeScalar(
  field: Field<unknown>,
  value: unknown,
  writer: ByteWriter,
  path: string,
  index = -1,
): void {
  if (field.kind === 'bool') {
    if (typeof value !== 'boolean') throw new AssertionError(`${elementPath(path, index)} is a boolean`);
    writer.u8(value ? 1 : 0);
    return;
  }
  if (field.kind === 'big64') {
    if (typeof value !== 'bigint' || value < 0n || value >= 1n << 64n)
      throw new AssertionError(`${elementPath(path, index)} is a 64-bit bigint`);
    writer.big64(value);
    return;
  }
  const range = RANGES[field.kind];
  const number = value as number;
  if (range === undefined || !Number.isSafeInteger(number) || number < range[0] || number > range[1]) {
    throw new AssertionError(`${elementPath(path, index)} fits ${field.kind}, got ${String(value)}`);
  }
  putInteger(field.kind, number, writer);
}

function elementPath(path: string, index: number): string {
  return index < 0 ? path : `${path}[${index}]`;
}

/** Smallest and largest value of the integer kinds. A u64 may be negative: see {@link decode}. */
const RANGES: { readonly [K in WireKind]?: readonly [number, number] } = {
  u8: [0, 0xff],
  i8: [-0x80, 0x7f],
  u16: [0, 0xffff],
  i16: [-0x8000, 0x7fff],
  u32: [0, 0xffff_ffff],
  i32: [-0x8000_0000, 0x7fff_ffff],
  u64: [Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
  i64: [Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
};

function putInteger(kind: WireKind, value: number, writer: ByteWriter): void {
  if (kind === 'u8' || kind === 'i8') writer.u8(value);
  else if (kind === 'u16' || kind === 'i16') writer.u16(value);
  else if (kind === 'u32' || kind === 'i32') writer.u32(value);
  else writer.u64(value);
}

function isPresent(field: Field<unknown>, record: Unknown, version: number): boolean {
  const { since, when } = field.options;
  return (since === undefined || since <= version) && (when === undefined || when(record, version));
}

/**
 * Reads a record of `schema` in `version` into fresh objects. `current`, when given, is the live state: `equal` fields
 * are checked against it and arrays take its array types; nothing of it is kept or changed. Without it integer arrays
 * become the typed array of their kind.
 *
 * A u64 of 2^64 - n (n ≤ 2^53) reads as -n, so that QEMU's "never" (all ones) is -1.
 */
export function decode<S extends object>(
  schema: AnyVmState<S>,
  reader: ByteReader,
  version: number,
  current?: S,
): S;
export function decode(schema: Schema, reader: ByteReader, version: number, current?: object): object;
export function decode(schema: Schema, reader: ByteReader, version: number, current?: object): object {
  return decodeRecord(schema, reader, version, current as Unknown | undefined, '');
}

function decodeRecord(
  schema: Schema,
  reader: ByteReader,
  version: number,
  current: Unknown | undefined,
  path: string,
): Unknown {
  checkVersion(schema, reader, version, path);
  const record: Unknown = {};
  for (const property in schema.fields) {
    const field = schema.fields[property]!;
    const here = path === '' ? property : `${path}.${property}`;
    if (!isPresent(field, record, version)) {
      record[property] = field.options.absent?.() ?? zeroValue(field, current?.[property]);
      continue;
    }
    try {
      reader.skip(field.options.unusedBefore ?? 0);
      record[property] = decodeField(field, reader, current?.[property], here);
      reader.skip(field.options.unusedAfter ?? 0);
    } catch (error) {
      throw error instanceof MigrationError && error.context.field === undefined
        ? error.within({ field: here })
        : error;
    }
  }
  decodeSubsections(schema, reader, current, record, path);
  return record;
}

function checkVersion(schema: Schema, reader: ByteReader, version: number, path: string): void {
  if (version >= schema.minimumVersion && version <= schema.version) return;
  const text =
    version > schema.version
      ? `${schema.name}: incoming version_id ${version} is too new for local version_id ${schema.version}`
      : `${schema.name}: incoming version_id ${version} is too old for local minimum version_id ` +
        `${schema.minimumVersion}`;
  throw new MigrationError('version', text, {
    ...(path === '' ? {} : { field: path }),
    offset: reader.offset,
    expected: `version ${schema.minimumVersion} to ${schema.version}`,
    found: version,
    hint: 'It was saved by another QEMU version: save it again with machine type pc-i440fx-7.2',
  });
}

function decodeField(field: Field<unknown>, reader: ByteReader, current: unknown, path: string): unknown {
  if (field.kind === 'buffer') {
    const offset = reader.offset;
    const bytes = reader.take(field.count!).slice();
    if (field.options.equal) checkEqual(bytes, current, offset, path);
    return bytes;
  }
  if (field.count === undefined) return decodeElement(field, reader, current, path);
  const { min, max, equal } = field.options;
  const unchecked = min === undefined && max === undefined && !equal;
  if (field.kind === 'u8' && unchecked && (current === undefined || current instanceof Uint8Array)) {
    return reader.take(field.count).slice();
  }
  const elements = newArray(field, current);
  const currentElements = current as ArrayLike<unknown> | undefined;
  for (let i = 0; i < field.count; i++) {
    elements[i] = decodeElement(field, reader, currentElements?.[i], path, i);
  }
  return elements;
}

/** `index`: in the array at `path`. */
function decodeElement(
  field: Field<unknown>,
  reader: ByteReader,
  current: unknown,
  path: string,
  index = -1,
): unknown {
  if (field.kind === 'struct') {
    const inner = field.struct!;
    const here = elementPath(path, index);
    return decodeRecord(inner, reader, inner.version, current as Unknown | undefined, here);
  }
  const offset = reader.offset;
  const value = getScalar(field.kind, reader);
  const { equal, le } = field.options;
  const min = field.options.min ?? (le ? 0 : undefined);
  const max = le && typeof current === 'number' ? current : field.options.max;
  if ((min !== undefined && Number(value) < min) || (max !== undefined && Number(value) > max)) {
    throw new MigrationError('invalid-format', 'A value in the VM state is out of range', {
      field: elementPath(path, index),
      offset,
      expected: `${min ?? '…'} to ${max ?? '…'}`,
      found: value,
    });
  }
  if (equal) checkEqual(value, current, offset, elementPath(path, index));
  return value;
}

function checkEqual(value: unknown, current: unknown, offset: number, path: string): void {
  if (current === undefined || value === current) return;
  if (value instanceof Uint8Array && current instanceof Uint8Array) {
    if (value.every((byte, i) => byte === current[i])) return;
  }
  throw new MigrationError('mismatch', 'The saved machine is not set up like this one', {
    field: path,
    offset,
    expected: String(current),
    found: String(value),
  });
}

function getScalar(kind: WireKind, reader: ByteReader): number | bigint | boolean {
  switch (kind) {
    case 'u8':
      return reader.u8();
    case 'i8':
      return (reader.u8() << 24) >> 24;
    case 'bool':
      return reader.u8() !== 0;
    case 'u16':
      return reader.u16();
    case 'i16':
      return (reader.u16() << 16) >> 16;
    case 'u32':
      return reader.u32();
    case 'i32':
      return reader.u32() | 0;
    case 'u64':
    case 'i64':
      return reader.i64();
    case 'big64':
      return reader.big64();
    default:
      throw new AssertionError(`${kind} is no scalar`);
  }
}

type AnyArray = { [index: number]: unknown };

/** An array of the live state's own type, else the typed array of the kind where there is one. */
function newArray(field: Field<unknown>, current: unknown): AnyArray {
  const count = field.count!;
  if (ArrayBuffer.isView(current)) {
    const Type = current.constructor as new (length: number) => AnyArray;
    return new Type(count);
  }
  if (current !== undefined) return new Array<unknown>(count);
  if (field.kind === 'u8') return new Uint8Array(count);
  if (field.kind === 'u16') return new Uint16Array(count);
  if (field.kind === 'u32') return new Uint32Array(count);
  if (field.kind === 'i32') return new Int32Array(count);
  return new Array<unknown>(count);
}

function zeroValue(field: Field<unknown>, current: unknown): unknown {
  if (field.kind === 'buffer') return new Uint8Array(field.count!);
  if (field.count === undefined) return zeroElement(field, current);
  const elements = newArray(field, current);
  for (let i = 0; i < field.count; i++)
    elements[i] = zeroElement(field, (current as AnyArray | undefined)?.[i]);
  return elements;
}

function zeroElement(field: Field<unknown>, current: unknown): unknown {
  if (field.kind === 'bool') return false;
  if (field.kind === 'big64') return 0n;
  return field.kind === 'struct' ? zeroRecord(field.struct!, current as Unknown | undefined) : 0;
}

/** A record of zeros in a schema's shape, subsections as when absent. */
export function zeroRecord(schema: Schema, current?: object): { [property: string]: unknown } {
  const record: Unknown = {};
  const live = current as Unknown | undefined;
  for (const property in schema.fields) {
    record[property] = zeroValue(schema.fields[property]!, live?.[property]);
  }
  for (const property in schema.subsections) record[property] = schema.subsections[property]!.absent();
  return record;
}

/**
 * Subsections as long as the next byte is 0x05 and a name that starts with ours follows; anything else belongs to
 * whoever comes next on the stream (QEMU's rule, ambiguous by nature, and therefore followed exactly).
 */
function decodeSubsections(
  schema: Schema,
  reader: ByteReader,
  current: Unknown | undefined,
  record: Unknown,
  path: string,
): void {
  while (reader.peek() === QEMU_VM_SUBSECTION) {
    const length = reader.peek(1);
    if (length < schema.name.length + 1) break;
    const name = reader.peekText(2, length);
    if (name === undefined || !name.startsWith(schema.name)) break;
    const found = findSubsection(schema, name);
    if (found === undefined) {
      throw new MigrationError('unknown-section', `Unknown subsection '${name}'`, {
        ...(path === '' ? {} : { field: path }),
        offset: reader.offset,
        expected:
          Object.values(schema.subsections ?? {})
            .map((s) => s.vmstate.name)
            .join(', ') || 'none',
        found: name,
        hint: 'The saved machine has a device feature that this one does not have',
      });
    }
    const [property, subsection] = found;
    reader.skip(2 + length);
    const version = reader.u32();
    const here = path === '' ? property : `${path}.${property}`;
    const inner = subsection.vmstate as unknown as Schema;
    record[property] = decodeRecord(inner, reader, version, current?.[property] as Unknown | undefined, here);
  }
  for (const property in schema.subsections) {
    if (!(property in record)) record[property] = schema.subsections[property]!.absent();
  }
}

// biome-ignore lint/suspicious/noExplicitAny: erased record types
function findSubsection(schema: Schema, name: string): [string, Subsection<any, any>] | undefined {
  return Object.entries(schema.subsections ?? {}).find(([, subsection]) => subsection.vmstate.name === name);
}
