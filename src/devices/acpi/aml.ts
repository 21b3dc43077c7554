/**
 * A small emitter of ACPI Machine Language. Every function gives the bytes of one term; terms nest by passing bytes on.
 * ACPI specification 6.4, chapter 20 (grammar) and section 6.4 (resource descriptors).
 *
 * Not here: what the DSDT of this machine does not need (loops, mutexes, notifications, external declarations).
 */

/** Bytes of a term. */
export type Aml = Uint8Array;

export function bytes(...values: number[]): Aml {
  return Uint8Array.from(values);
}

export function concat(...parts: readonly Aml[]): Aml {
  const result = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    result.set(part, at);
    at += part.length;
  }
  return result;
}

/** `value` in `size` little-endian bytes. */
export function little(value: number, size: number): Aml {
  const result = new Uint8Array(size);
  let rest = value;
  for (let i = 0; i < size; i++) {
    result[i] = rest % 256;
    rest = Math.floor(rest / 256);
  }
  return result;
}

/** PkgLength, section 20.2.4: counts itself. */
export function packageLength(contentLength: number): Aml {
  if (contentLength + 1 < 64) return bytes(contentLength + 1);
  for (let extra = 1; extra <= 3; extra++) {
    const total = contentLength + 1 + extra;
    if (total < 2 ** (4 + 8 * extra)) {
      return concat(bytes((extra << 6) | (total & 0xf)), little(total >>> 4, extra));
    }
  }
  throw new RangeError(`AML package of ${contentLength} bytes`);
}

function withLength(opcode: readonly number[], content: Aml): Aml {
  return concat(bytes(...opcode), packageLength(content.length), content);
}

/** NameString, section 20.2.2: `\_SB.PCI0`, `^X`, `_CRS`. Segments are padded with underscores. */
export function path(text: string): Aml {
  const prefix = /^(\\|\^*)/.exec(text)![0];
  const rest = text.slice(prefix.length);
  const segments = rest === '' ? [] : rest.split('.').map((segment) => segment.padEnd(4, '_'));
  if (segments.some((segment) => !/^[A-Z_][A-Z0-9_]{3}$/.test(segment))) {
    throw new RangeError(`not an AML name: ${text}`);
  }
  const count =
    segments.length === 0
      ? bytes(0)
      : segments.length === 1
        ? bytes()
        : segments.length === 2
          ? bytes(0x2e)
          : bytes(0x2f, segments.length);
  return concat(new TextEncoder().encode(prefix), count, new TextEncoder().encode(segments.join('')));
}

/** Shortest encoding of an unsigned integer below 2^32. */
export function integer(value: number): Aml {
  if (value === 0 || value === 1) return bytes(value);
  if (value < 0x100) return bytes(0x0a, value);
  if (value < 0x1_0000) return concat(bytes(0x0b), little(value, 2));
  return concat(bytes(0x0c), little(value, 4));
}

export function string(text: string): Aml {
  return concat(bytes(0x0d), new TextEncoder().encode(text), bytes(0));
}

export function buffer(content: Aml): Aml {
  return withLength([0x11], concat(integer(content.length), content));
}

export function pkg(...elements: readonly Aml[]): Aml {
  return withLength([0x12], concat(bytes(elements.length), ...elements));
}

export function name(identifier: string, value: Aml): Aml {
  return concat(bytes(0x08), path(identifier), value);
}

export function scope(identifier: string, ...content: readonly Aml[]): Aml {
  return withLength([0x10], concat(path(identifier), ...content));
}

export function device(identifier: string, ...content: readonly Aml[]): Aml {
  return withLength([0x5b, 0x82], concat(path(identifier), ...content));
}

/** Processor without a P_BLK. */
export function processor(identifier: string, id: number): Aml {
  return withLength([0x5b, 0x83], concat(path(identifier), bytes(id), little(0, 4), bytes(0)));
}

/** `serialized` for methods that create named objects. */
export function method(
  identifier: string,
  options: { readonly args?: number; readonly serialized?: boolean },
  ...body: readonly Aml[]
): Aml {
  const flags = (options.args ?? 0) | (options.serialized ? 8 : 0);
  return withLength([0x14], concat(path(identifier), bytes(flags), ...body));
}

export const arg = (index: number): Aml => bytes(0x68 + index);
export const local = (index: number): Aml => bytes(0x60 + index);
export const returns = (value: Aml): Aml => concat(bytes(0xa4), value);
export const store = (value: Aml, target: Aml): Aml => concat(bytes(0x70), value, target);
export const and = (a: Aml, b: Aml): Aml => concat(bytes(0x7b), a, b, bytes(0));
/** `target = a | b`. */
export const orInto = (a: Aml, b: Aml, target: Aml): Aml => concat(bytes(0x7d), a, b, target);
export const less = (a: Aml, b: Aml): Aml => concat(bytes(0x95), a, b);
export const when = (condition: Aml, ...body: readonly Aml[]): Aml =>
  withLength([0xa0], concat(condition, ...body));
export const call = (identifier: string, ...args: readonly Aml[]): Aml => concat(path(identifier), ...args);

/** Names the 32 bits at a byte offset of a buffer. */
export function createDwordField(source: Aml, offset: number, identifier: string): Aml {
  return concat(bytes(0x8a), source, integer(offset), path(identifier));
}

/** Address spaces of operation regions. */
export const PCI_CONFIG = 2;

export function operationRegion(identifier: string, space: number, offset: number, length: number): Aml {
  return concat(bytes(0x5b, 0x80), path(identifier), bytes(space), integer(offset), integer(length));
}

/** Consecutive byte-wide fields of a region: byte access, no lock, other bits preserved. */
export function byteFields(region: string, ...names: readonly string[]): Aml {
  const entries = names.map((each) => concat(path(each), bytes(8)));
  return withLength([0x5b, 0x81], concat(path(region), bytes(0x01), ...entries));
}

/** EISA ID, section 19.3.4: `PNP0A03` as a 32-bit integer. */
export function eisaId(id: string): Aml {
  const letters = (id.charCodeAt(0) - 0x40) * 1024 + (id.charCodeAt(1) - 0x40) * 32 + id.charCodeAt(2) - 0x40;
  const product = Number.parseInt(id.slice(3), 16);
  return bytes(0x0c, letters >> 8, letters & 0xff, product >> 8, product & 0xff);
}

/** A resource template: descriptors and the end tag (its checksum 0 is not checked). */
export function resources(...descriptors: readonly Aml[]): Aml {
  return buffer(concat(...descriptors, bytes(0x79, 0)));
}

/** I/O ports that are decoded with 16 address bits. */
export function ioPorts(base: number, length: number): Aml {
  return concat(bytes(0x47, 1), little(base, 2), little(base, 2), bytes(1, length));
}

/** ISA interrupt: edge, active high, exclusive. */
export function isaIrq(irq: number): Aml {
  return concat(bytes(0x22), little(1 << irq, 2));
}

/** ISA DMA channel, 8 bits, compatible timing. */
export function isaDma(channel: number): Aml {
  return bytes(0x2a, 1 << channel, 0);
}

/** Interrupts of which the device uses one: level, active high, shared. */
export function sharedInterrupts(...interrupts: readonly number[]): Aml {
  const list = interrupts.map((each) => little(each, 4));
  return concat(bytes(0x89), little(2 + 4 * list.length, 2), bytes(0x09, list.length), ...list);
}
/** Where the first number stands in {@link sharedInterrupts} as the first descriptor of a template. */
export const SHARED_INTERRUPT_OFFSET = 5;

/** Produced, positively decoded, both ends fixed. */
const PRODUCER_FIXED = 0x0c;

export type WindowKind = 'bus' | 'io' | 'memory' | 'cacheable-memory';
const WINDOW_TYPES: Readonly<Record<WindowKind, readonly [type: number, flags: number]>> = {
  'cacheable-memory': [0, 0x03],
  memory: [0, 0x01],
  io: [1, 0x03],
  bus: [2, 0x00],
};

/** A window from `first` to `last` inclusive that a bridge passes on. 16-bit numbers for buses and ports. */
export function bridgeWindow(kind: WindowKind, first: number, last: number): Aml {
  const [type, flags] = WINDOW_TYPES[kind];
  const size = type === 0 ? 4 : 2;
  const numbers = [0, first, last, 0, last - first + 1].map((value) => little(value, size));
  return concat(
    bytes(type === 0 ? 0x87 : 0x88),
    little(3 + 5 * size, 2),
    bytes(type, PRODUCER_FIXED, flags),
    ...numbers,
  );
}
