/**
 * QEMU's JSON description of a stream (the QEMU_VM_VMDESCRIPTION part): names, types and sizes as 7.2 writes them, so
 * that QEMU's own tools read ours. Facts: migration/vmstate.c, vmsd_desc_field_start and vmsd_can_compress.
 */
import type { Field, Schema, WireKind } from './vmstate.ts';

export interface FieldDescription {
  readonly name: string;
  /** Elements, where one description stands for all of them. */
  readonly array_len?: number;
  /** Position, where every element is described by itself. */
  readonly index?: number;
  readonly type: string;
  readonly struct?: StructDescription;
  /** Bytes of one element on the wire. */
  readonly size: number;
}

export interface StructDescription {
  readonly vmsd_name: string;
  readonly version: number;
  readonly fields: readonly FieldDescription[];
  readonly subsections?: readonly StructDescription[];
}

export interface SectionDescription extends StructDescription {
  readonly name: string;
  readonly instance_id: number;
}

export interface StreamDescription {
  readonly page_size: number;
  readonly devices: readonly SectionDescription[];
}

const TYPE_NAMES: { readonly [K in WireKind]: string } = {
  u8: 'uint8',
  i8: 'int8',
  bool: 'bool',
  u16: 'uint16',
  i16: 'int16',
  u32: 'uint32',
  i32: 'int32',
  u64: 'uint64',
  i64: 'int64',
  big64: 'uint64',
  buffer: 'buffer',
  struct: 'struct',
};

/** QEMU's types that stand for one element of an array; any other explicit type names the array as a whole. */
const ELEMENT_TYPES = new Set([
  ...Object.values(TYPE_NAMES),
  'timer',
  'tmp',
  'cpudouble',
  'int32 le',
  'CPU_Double_U',
]);

export interface DescribedType {
  readonly name: string;
  /** One description for the whole array (`pci irq state`: four integers, one field of 16 bytes). */
  readonly whole: boolean;
}

export function describedType(field: Field<unknown>): DescribedType {
  const explicit = field.options.type;
  if (explicit !== undefined) {
    return { name: explicit, whole: field.kind !== 'struct' && !ELEMENT_TYPES.has(explicit) };
  }
  const suffix = field.options.equal ? ' equal' : field.options.le ? ' le' : '';
  return { name: TYPE_NAMES[field.kind] + suffix, whole: false };
}

/** Whether all elements of an array look alike, so that QEMU describes only the first. */
export function isCompressible(field: Field<unknown>): boolean {
  if (field.options.when !== undefined) return false;
  if (field.struct === undefined) return true;
  if (field.struct.subsections !== undefined) return false;
  return Object.values(field.struct.fields).every(isCompressible);
}

/** `countLoadTime` → `count_load_time`. */
export function snakeCase(property: string): string {
  let name = snakeNames.get(property);
  if (name === undefined) {
    name = property.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    snakeNames.set(property, name);
  }
  return name;
}

/** Names of schemas, which are there once and for all. */
const snakeNames = new Map<string, string>();

/** QEMU's name of a field, without the suffix that makes it unique. */
export function wireName(property: string, field: Field<unknown>): string {
  return field.options.name ?? snakeCase(property);
}

/** Names the fields of one structure; `unused` gaps are numbered where there are several, as QEMU does. */
export class FieldNamer {
  readonly #gaps: number;
  #gap = 0;

  constructor(schema: Schema) {
    let gaps = 0;
    for (const property in schema.fields) gaps += gapsOf(schema.fields[property]!);
    this.#gaps = gaps;
  }

  name(property: string, field: Field<unknown>): string {
    return wireName(property, field);
  }

  unused(): string {
    const number = this.#gap++;
    return this.#gaps > 1 ? `unused[${number}]` : 'unused';
  }

  /** Passes over a field that is not on the wire: its gaps keep their numbers. */
  skip(field: Field<unknown>): void {
    this.#gap += gapsOf(field);
  }
}

function gapsOf(field: Field<unknown>): number {
  return (field.options.unusedBefore ? 1 : 0) + (field.options.unusedAfter ? 1 : 0);
}

/** Deepest nesting of structures that is believed. */
const MAX_DEPTH = 16;

/** The description that somebody wrote, or undefined if it is not of the form that QEMU's has. */
export function parseDescription(json: string): StreamDescription | undefined {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    return undefined;
  }
  if (!isObject(value) || !Array.isArray(value['devices'])) return undefined;
  const isSection = (d: unknown) =>
    isObject(d) && typeof d['name'] === 'string' && Number.isInteger(d['instance_id']) && isStructure(d, 0);
  return value['devices'].every(isSection) ? (value as unknown as StreamDescription) : undefined;
}

function isStructure(value: unknown, depth: number): boolean {
  if (!isObject(value) || depth > MAX_DEPTH) return false;
  const { fields, subsections } = value;
  return (
    Array.isArray(fields) &&
    fields.every((field) => isField(field, depth)) &&
    (subsections === undefined ||
      (Array.isArray(subsections) && subsections.every((s) => isStructure(s, depth + 1) && isNamed(s))))
  );
}

function isNamed(value: unknown): boolean {
  return isObject(value) && typeof value['vmsd_name'] === 'string';
}

function isField(value: unknown, depth: number): boolean {
  if (!isObject(value) || typeof value['name'] !== 'string') return false;
  const { size, array_len, struct } = value;
  return (
    isCount(size) &&
    (array_len === undefined || isCount(array_len)) &&
    (struct === undefined || isStructure(struct, depth + 1))
  );
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isObject(value: unknown): value is { [key: string]: unknown } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
