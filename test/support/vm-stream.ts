/**
 * A reader of QEMU's VM state that knows nothing of src/migration: RAM blocks, and every device field by the JSON
 * description that ends the stream. What two programs saved is compared field by field with it.
 * Facts: QEMU 7.2 docs/devel/migration.rst, migration/ram.c, scripts/analyze-migration.py.
 */

/** Section and field (`i8254/0 channels[1].count`) → its bytes on the wire in hex. */
export type FieldMap = ReadonlyMap<string, string>;

export interface VmStream {
  readonly machineType: string;
  /** Block name → its bytes. */
  readonly ram: ReadonlyMap<string, Uint8Array>;
  /** `name/instance`, in stream order. */
  readonly sections: readonly string[];
  /** `name/instance` → version. */
  readonly versions: ReadonlyMap<string, number>;
  readonly fields: FieldMap;
}

interface Described {
  readonly name: string;
  readonly instance_id?: number;
  readonly vmsd_name: string;
  readonly version: number;
  readonly fields: readonly DescribedField[];
  readonly subsections?: readonly Described[];
}

interface DescribedField {
  readonly name: string;
  readonly type: string;
  readonly size: number;
  readonly index?: number;
  readonly array_len?: number;
  readonly struct?: Described;
  /** QEMU's VMSTATE_WITH_TMP: these stand in the place of the field. */
  readonly fields?: readonly DescribedField[];
}

const PAGE = 4096;
const FLAG_ZERO = 0x02;
const FLAG_MEM_SIZE = 0x04;
const FLAG_PAGE = 0x08;
const FLAG_END = 0x10;
const FLAG_CONTINUE = 0x20;
const SECTION_FULL = 4;
const SECTION_START = 1;
const SUBSECTION = 5;
const DESCRIPTION = 6;
const FOOTER = 0x7e;

class Cursor {
  at = 0;
  readonly bytes: Buffer;
  constructor(bytes: Uint8Array) {
    this.bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  }
  u8(): number {
    return this.bytes.readUInt8(this.at++);
  }
  u32(): number {
    this.at += 4;
    return this.bytes.readUInt32BE(this.at - 4);
  }
  u64(): number {
    this.at += 8;
    return Number(this.bytes.readBigUInt64BE(this.at - 8));
  }
  text(length: number): string {
    this.at += length;
    return this.bytes.toString('latin1', this.at - length, this.at);
  }
  counted(): string {
    return this.text(this.u8());
  }
  hex(length: number): string {
    this.at += length;
    return this.bytes.toString('hex', this.at - length, this.at);
  }
}

export function parseVmStream(bytes: Uint8Array): VmStream {
  const cursor = new Cursor(bytes);
  if (cursor.text(4) !== 'QEVM' || cursor.u32() !== 3 || cursor.u8() !== 7) throw new Error('no VM state');
  const machineType = cursor.text(cursor.u32());
  const ram = readRam(cursor);
  const [versions, places] = [new Map<string, number>(), [] as [string, number, number][]];
  const described = findDescription(cursor.bytes);
  const fields = new Map<string, string>();
  for (const device of described) {
    if (cursor.u8() !== SECTION_FULL) throw new Error(`no section at ${cursor.at - 1}`);
    const id = cursor.u32();
    const name = `${cursor.counted()}/${cursor.u32()}`;
    if (name !== `${device.name}/${device.instance_id}`) throw new Error(`${name}, described ${device.name}`);
    versions.set(name, cursor.u32());
    places.push([name, cursor.at, id]);
    readFields(cursor, device, name, fields);
    readSubsections(cursor, device.subsections ?? [], name, fields);
    if (cursor.u8() !== FOOTER || cursor.u32() !== id) throw new Error(`${name}: no footer at ${cursor.at}`);
  }
  if (cursor.u8() !== 0 || cursor.u8() !== DESCRIPTION) throw new Error(`no end at ${cursor.at - 2}`);
  return { machineType, ram, sections: places.map(([name]) => name), versions, fields };
}

function findDescription(bytes: Buffer): Described[] {
  const start = bytes.lastIndexOf('{"page_size"');
  const length = bytes.readUInt32BE(start - 4);
  return (JSON.parse(bytes.toString('latin1', start, start + length)) as { devices: Described[] }).devices;
}

function readFields(
  cursor: Cursor,
  of: Pick<Described, 'fields'>,
  path: string,
  into: Map<string, string>,
): void {
  const separator = path.includes(' ') ? '.' : ' ';
  for (const field of of.fields) {
    if (field.type === 'tmp') {
      readFields(cursor, { fields: field.fields! }, path, into);
      continue;
    }
    const count = field.array_len ?? 1;
    for (let i = 0; i < count; i++) {
      const index = field.index ?? (field.array_len === undefined ? undefined : i);
      const name = `${path}${separator}${field.name}${index === undefined ? '' : `[${index}]`}`;
      if (field.struct === undefined) {
        let key = name;
        for (let n = 2; into.has(key); n++) key = `${name}#${n}`;
        into.set(key, cursor.hex(field.size));
        continue;
      }
      readFields(cursor, field.struct, name, into);
      readSubsections(cursor, field.struct.subsections ?? [], name, into);
    }
  }
}

function readSubsections(
  cursor: Cursor,
  described: readonly Described[],
  path: string,
  into: Map<string, string>,
): void {
  for (const subsection of described) {
    if (cursor.u8() !== SUBSECTION) throw new Error(`${path}: no subsection at ${cursor.at - 1}`);
    const name = cursor.counted();
    if (name !== subsection.vmsd_name) throw new Error(`${path}: subsection ${name}`);
    cursor.u32();
    const inside = `${path}${path.includes(' ') ? '.' : ' '}<${name}>`;
    into.set(inside, '');
    readFields(cursor, subsection, inside, into);
    readSubsections(cursor, subsection.subsections ?? [], inside, into);
  }
}

function readRam(cursor: Cursor): Map<string, Uint8Array> {
  const ram = new Map<string, Uint8Array>();
  let block: Uint8Array | undefined;
  for (;;) {
    const type = cursor.bytes[cursor.at];
    if (type === SECTION_FULL) return ram;
    cursor.at++;
    const id = cursor.u32();
    if (type === SECTION_START) {
      if (cursor.counted() !== 'ram') throw new Error('not RAM');
      cursor.at += 8;
    }
    block = readRamRecords(cursor, ram, block);
    if (cursor.u8() !== FOOTER || cursor.u32() !== id) throw new Error(`RAM: no footer at ${cursor.at}`);
  }
}

/** `block`: the one named last, in an earlier part of RAM too. */
function readRamRecords(
  cursor: Cursor,
  ram: Map<string, Uint8Array>,
  block: Uint8Array | undefined,
): Uint8Array | undefined {
  for (;;) {
    const high = cursor.u32();
    const low = cursor.u32();
    const flags = low & (PAGE - 1);
    const address = high * 2 ** 32 + (low - flags);
    if (flags === FLAG_END) return block;
    if (flags === FLAG_MEM_SIZE) {
      for (let left = address; left > 0; ) {
        const name = cursor.counted();
        const size = cursor.u64();
        ram.set(name, new Uint8Array(size));
        left -= size;
      }
      continue;
    }
    if ((flags & FLAG_CONTINUE) === 0) block = ram.get(cursor.counted());
    if (block === undefined) throw new Error(`RAM: unknown block at ${cursor.at}`);
    if ((flags & FLAG_PAGE) !== 0) {
      block.set(cursor.bytes.subarray(cursor.at, cursor.at + PAGE), address);
      cursor.at += PAGE;
    } else if ((flags & FLAG_ZERO) !== 0) block.fill(cursor.u8(), address, address + PAGE);
    else throw new Error(`RAM: flags ${flags} at ${cursor.at}`);
  }
}

export interface FieldDifference {
  readonly field: string;
  readonly left: string | undefined;
  readonly right: string | undefined;
}

/** Fields that are not the same in both, or in one only. */
export function compareFields(left: FieldMap, right: FieldMap): FieldDifference[] {
  const names = new Set([...left.keys(), ...right.keys()]);
  return [...names]
    .filter((field) => left.get(field) !== right.get(field))
    .map((field) => ({ field, left: left.get(field), right: right.get(field) }));
}

/** Addresses (block:offset) of the first bytes that differ, at most `limit`; blocks that one side lacks by name. */
export function compareRam(left: VmStream['ram'], right: VmStream['ram'], limit = 8): string[] {
  const found: string[] = [];
  for (const name of new Set([...left.keys(), ...right.keys()])) {
    const [a, b] = [left.get(name), right.get(name)];
    if (a === undefined || b === undefined) {
      found.push(`${name}: only ${a === undefined ? 'right' : 'left'}`);
      continue;
    }
    if (a.length !== b.length) found.push(`${name}: ${a.length} and ${b.length} bytes`);
    if (Buffer.compare(a, b) === 0) continue;
    for (let at = 0; at < a.length && found.length < limit; at++) {
      if (a[at] !== b[at]) found.push(`${name}:${at.toString(16)}: ${a[at]} and ${b[at]}`);
    }
  }
  return found;
}
