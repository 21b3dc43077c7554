/**
 * The VM state schema: data only, no I/O. One mapped type makes it exhaustive: a property of a state record without a
 * wire field does not compile. Modelled on the facts of QEMU's `VMStateDescription` (include/migration/vmstate.h).
 *
 * Property order in `fields` is wire order; integers are big-endian on the wire.
 */

/** How one element lies on the wire. */
export type WireKind =
  | 'u8'
  | 'i8'
  | 'bool'
  | 'u16'
  | 'i16'
  | 'u32'
  | 'i32'
  /** 64-bit integers held as a JavaScript number: values outside the safe integers are refused (u64 -1 reads as -1). */
  | 'u64'
  | 'i64'
  /** 64-bit unsigned held as bigint: MSRs and masks. Not for hot state. */
  | 'big64'
  | 'buffer'
  | 'struct';

export interface FieldOptions<S = never> {
  /** QEMU's field name as `-dump-vmstate` and the JSON description print it. Default: the property in snake_case. */
  readonly name?: string;
  /** QEMU's type name in the JSON description, where it is not the kind's default ("timer", "pci config", …). */
  readonly type?: string;
  /** On the wire only from this section version on. */
  readonly since?: number;
  /**
   * On the wire only if this holds; sees the state record as far as it is read (fields before this one) and the
   * version of the section or structure. QEMU describes each element of such an array by itself.
   */
  readonly when?: (state: S, version: number) => boolean;
  /** Value when the field is not on the wire (`since`, `when`); zeros without it. Never the live machine's value. */
  readonly absent?: () => unknown;
  /** The value must equal the one that the machine has now, else the load is refused (VMSTATE_*_EQUAL). */
  readonly equal?: boolean;
  /**
   * "Less or equal": the value must be between 0 and the one that the machine has now (VMSTATE_INT32_POSITIVE_LE, type
   * `int32 le`). Nothing on the wire is little-endian.
   */
  readonly le?: boolean;
  /** Bytes that nobody reads, written as zero, before and after the field (VMSTATE_UNUSED). */
  readonly unusedBefore?: number;
  readonly unusedAfter?: number;
  /** Largest and smallest value accepted on load (inclusive), for counts and indices that would break the device. */
  readonly min?: number;
  readonly max?: number;
}

/** A field of type T. `count` > 0 for arrays and buffers. */
export interface Field<T> {
  readonly kind: WireKind;
  readonly count?: number;
  readonly struct?: Schema;
  // biome-ignore lint/suspicious/noExplicitAny: predicates see their own record; the schema is the place that knows it
  readonly options: FieldOptions<any>;
  readonly _type?: T;
}

/** A schema with its record type erased: what the codec walks. Every VmState is one. */
export interface Schema {
  readonly name: string;
  readonly version: number;
  readonly minimumVersion: number;
  readonly fields: { readonly [property: string]: Field<unknown> };
  // biome-ignore lint/suspicious/noExplicitAny: erased record type
  readonly subsections?: { readonly [property: string]: Subsection<any, any> };
}

export interface Subsection<S, T extends object> {
  readonly vmstate: VmState<T, never>;
  /** Written only if this holds. */
  readonly needed: (state: S) => boolean;
  /** State taken on when the stream has no such subsection. */
  readonly absent: () => T;
}

export interface VmState<S extends object, Sub extends keyof S = never> {
  readonly name: string;
  readonly version: number;
  readonly minimumVersion: number;
  /** One entry for every property that is not a subsection. Property order is wire order. */
  readonly fields: { readonly [K in Exclude<keyof S, Sub>]-?: Field<S[K]> };
  /** Properties that ride in a subsection of their own; the key is the property, `vmstate.name` the wire name. */
  readonly subsections?: { readonly [K in Sub]-?: S[K] extends object ? Subsection<S, S[K]> : never };
}

/** Arrays that a schema may hold: plain number arrays or typed ones. */
export type NumberArray = number[] | Uint8Array | Uint16Array | Int32Array | Uint32Array;

function integer(kind: WireKind) {
  // biome-ignore lint/suspicious/noExplicitAny: see Field.options
  return (options: FieldOptions<any> = {}): Field<number> => ({ kind, options });
}

export const u8 = integer('u8');
export const i8 = integer('i8');
export const u16 = integer('u16');
export const i16 = integer('i16');
export const u32 = integer('u32');
export const i32 = integer('i32');
export const u64 = integer('u64');
export const i64 = integer('i64');

// biome-ignore lint/suspicious/noExplicitAny: see Field.options
type AnyOptions = FieldOptions<any>;

/** Virtual-clock deadline in ns, -1 when not armed (VMSTATE_TIMER). */
export const timer = (options: AnyOptions = {}): Field<number> => ({
  kind: 'i64',
  options: { type: 'timer', ...options },
});

export const bool = (options: AnyOptions = {}): Field<boolean> => ({ kind: 'bool', options });

export const big64 = (options: AnyOptions = {}): Field<bigint> => ({ kind: 'big64', options });

/** `count` raw bytes. */
export const buffer = (count: number, options: AnyOptions = {}): Field<Uint8Array> => ({
  kind: 'buffer',
  count,
  options,
});

/** `count` integers of one kind. */
export const array = <A extends NumberArray | bigint[]>(
  element: Field<number> | Field<bigint>,
  count: number,
  options: AnyOptions = {},
): Field<A> => ({ kind: element.kind, count, options: { ...element.options, ...options } });

export const struct = <T extends object, Sub extends keyof T>(
  vmstate: VmState<T, Sub>,
  options: AnyOptions = {},
): Field<T> => ({ kind: 'struct', struct: vmstate as unknown as Schema, options });

/** `count` records of one shape; a readonly array of records that exist once and are filled in place. */
export const structs = <T extends object, Sub extends keyof T>(
  vmstate: VmState<T, Sub>,
  count: number,
  options: AnyOptions = {},
): Field<readonly T[]> => ({ kind: 'struct', count, struct: vmstate as unknown as Schema, options });
