/**
 * Compares our schemas with what QEMU itself says about its VM state (`-dump-vmstate`): names, versions, order, sizes.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describedType, wireName } from '../../src/migration/description.ts';
import type { Field, Schema } from '../../src/migration/vmstate.ts';

export interface DumpField {
  readonly field: string;
  /** On the wire from this version on. */
  readonly version_id: number;
  /** QEMU decides at run time whether it is on the wire. */
  readonly field_exists: boolean;
  /** Of the C type; for plain integers and buffers the size on the wire. */
  readonly size: number;
  readonly Description?: DumpDescription;
}

export interface DumpDescription {
  readonly name: string;
  readonly version_id: number;
  readonly minimum_version_id: number;
  readonly Fields?: readonly DumpField[];
  readonly Subsections?: readonly DumpDescription[];
}

/** Device type (`isa-pit`, `PIIX4_PM`) to its description. */
export type VmStateDump = { readonly [deviceType: string]: { readonly Description?: DumpDescription } };

let cached: VmStateDump | undefined;

/** The dump of the QEMU installed here. Call only where qemu-system-i386 is known to exist. */
export function vmStateDump(): VmStateDump {
  if (cached) return cached;
  const folder = mkdtempSync(join(tmpdir(), 'ambervm-dump-'));
  try {
    const file = join(folder, 'dump.json');
    const machine = ['-M', 'pc-i440fx-7.2', '-nodefaults', '-display', 'none'];
    execFileSync('qemu-system-i386', [...machine, '-dump-vmstate', file], { timeout: 30_000 });
    cached = JSON.parse(readFileSync(file, 'utf8')) as VmStateDump;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return cached;
}

export interface CompareOptions {
  /** QEMU's fields and subsections that ours leaves out on purpose. */
  readonly without?: readonly string[];
}

/** What differs, a line each; empty when the schema is QEMU's. */
export function compareSchemaWithDump(
  schema: Schema,
  dump: DumpDescription,
  options: CompareOptions = {},
): string[] {
  return compareStructure(schema, dump, new Set(options.without), schema.name, true);
}

interface Flat {
  readonly name: string;
  readonly since: number | undefined;
  /** Bytes on the wire, where the dump's size says the same. */
  readonly size: number | undefined;
  readonly struct?: Schema;
}

function compareStructure(
  schema: Schema,
  dump: DumpDescription,
  without: ReadonlySet<string>,
  path: string,
  versioned: boolean,
): string[] {
  const problems: string[] = [];
  const check = (what: string, ours: unknown, theirs: unknown) => {
    if (ours !== theirs) problems.push(`${path}: ${what} is ${String(ours)}, QEMU's is ${String(theirs)}`);
  };
  check('name', schema.name, dump.name);
  check('version', schema.version, dump.version_id);
  check('minimum version', schema.minimumVersion, dump.minimum_version_id);
  problems.push(...compareFields(schema, dump, without, path, versioned));
  problems.push(...compareSubsections(schema, dump, without, path));
  return problems;
}

function compareFields(
  schema: Schema,
  dump: DumpDescription,
  without: ReadonlySet<string>,
  path: string,
  versioned: boolean,
): string[] {
  const problems: string[] = [];
  const theirs = withUniqueNames(dump.Fields ?? []);
  let next = 0;
  for (const ours of flatten(schema)) {
    const at = theirs.findIndex(
      (f, i) => i >= next && (ours.name === 'unused' ? f.field.field : f.name) === ours.name,
    );
    if (at < 0) {
      problems.push(
        `${path}: field ${ours.name} is not in QEMU's description, or not after ${theirs[next - 1]?.name}`,
      );
      continue;
    }
    problems.push(...passedOver(theirs.slice(next, at), without, path));
    next = at + 1;
    const { field, name } = theirs[at]!;
    if (ours.size !== undefined && field.size !== 0 && ours.size !== field.size) {
      problems.push(`${path}: ${name} is ${ours.size} bytes, QEMU's is ${field.size}`);
    }
    // A nested structure is always read in its own version; a field that QEMU tests for has its own condition.
    if (versioned && !field.field_exists && field.version_id > dump.minimum_version_id) {
      if (ours.since !== field.version_id) {
        problems.push(`${path}: ${name} is since ${String(ours.since)}, QEMU's since ${field.version_id}`);
      }
    }
    if (ours.struct !== undefined && field.Description !== undefined) {
      problems.push(...compareStructure(ours.struct, field.Description, without, `${path}.${name}`, false));
    }
  }
  problems.push(...passedOver(theirs.slice(next), without, path));
  return problems;
}

interface NamedField {
  readonly name: string;
  readonly field: DumpField;
}

/** QEMU numbers fields of the same name; the dump does not. */
function withUniqueNames(fields: readonly DumpField[]): readonly NamedField[] {
  return fields.map((field, i) => {
    const same = fields.filter((other) => other.field === field.field);
    if (same.length === 1) return { name: field.field, field };
    const number = fields.slice(0, i).filter((other) => other.field === field.field).length;
    return { name: `${field.field}[${number}]`, field };
  });
}

/** Fields that QEMU tests for at run time may be missing in ours; all others must be there. */
function passedOver(fields: readonly NamedField[], without: ReadonlySet<string>, path: string): string[] {
  return fields
    .filter(({ name, field }) => !field.field_exists && !without.has(name) && !without.has(field.field))
    .map(({ name }) => `${path}: QEMU's field ${name} is missing or out of order`);
}

function compareSubsections(
  schema: Schema,
  dump: DumpDescription,
  without: ReadonlySet<string>,
  path: string,
): string[] {
  const problems: string[] = [];
  const theirs = dump.Subsections ?? [];
  const ours = Object.values(schema.subsections ?? {}).map((s) => s.vmstate as unknown as Schema);
  for (const subsection of ours) {
    const match = theirs.find((candidate) => candidate.name === subsection.name);
    if (match === undefined)
      problems.push(`${path}: subsection ${subsection.name} is not in QEMU's description`);
    else problems.push(...compareStructure(subsection, match, without, subsection.name, true));
  }
  for (const { name } of theirs) {
    if (without.has(name) || ours.some((subsection) => subsection.name === name)) continue;
    problems.push(`${path}: QEMU's subsection ${name} is missing`);
  }
  return problems;
}

function flatten(schema: Schema): Flat[] {
  const flat: Flat[] = [];
  for (const [property, field] of Object.entries(schema.fields)) {
    const { unusedBefore, unusedAfter, since } = field.options;
    if (unusedBefore) flat.push({ name: 'unused', since: undefined, size: unusedBefore });
    const size = comparableSize(field);
    const name = wireName(property, field);
    flat.push(field.struct ? { name, since, size, struct: field.struct } : { name, since, size });
    if (unusedAfter) flat.push({ name: 'unused', since: undefined, size: unusedAfter });
  }
  return flat;
}

const KIND_BYTES: { readonly [kind: string]: number } = {
  u8: 1,
  i8: 1,
  bool: 1,
  u16: 2,
  i16: 2,
  u32: 4,
  i32: 4,
  u64: 8,
  i64: 8,
  big64: 8,
};

/** Timers, structures and types of QEMU's own have a size in C that is not that on the wire. */
function comparableSize(field: Field<unknown>): number | undefined {
  if (field.kind === 'buffer') return field.count;
  const size = KIND_BYTES[field.kind];
  if (size === undefined || field.options.type === 'timer') return undefined;
  return describedType(field).whole ? size * field.count! : size;
}
