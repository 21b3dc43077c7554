import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { assignState } from './assign.ts';
import { decode, encode } from './codec.ts';
import { MigrationError } from './errors.ts';
import { ByteReader } from './reader.ts';
import {
  array,
  big64,
  bool,
  buffer,
  i32,
  i64,
  struct,
  structs,
  type Subsection,
  timer,
  u8,
  u16,
  u32,
  u64,
  type VmState,
} from './vmstate.ts';
import { ByteWriter } from './writer.ts';

interface Extra {
  mode: number;
}
interface Inner {
  selector: number;
  flags: number;
  extra: Extra;
}
interface Outer {
  count: number;
  hugeMask: bigint;
  deadline: number;
  enabled: boolean;
  table: Uint32Array;
  bytes: Uint8Array;
  readonly one: Inner;
  readonly many: readonly Inner[];
  legacy: number;
  optional: number;
  extra: Extra;
}

const extraVmState: VmState<Extra> = {
  name: 'outer/extra',
  version: 2,
  minimumVersion: 1,
  fields: { mode: u16({ since: 2 }) },
};
const innerExtra: VmState<Extra> = {
  name: 'inner/extra',
  version: 1,
  minimumVersion: 1,
  fields: { mode: u8() },
};
const innerVmState: VmState<Inner, 'extra'> = {
  name: 'inner',
  version: 1,
  minimumVersion: 0,
  fields: { selector: u16(), flags: i32({ unusedBefore: 2 }) },
  subsections: { extra: subsection(innerExtra, (s: Inner) => s.extra.mode !== 0) },
};
const outerVmState: VmState<Outer, 'extra'> = {
  name: 'outer',
  version: 3,
  minimumVersion: 2,
  fields: {
    count: u8({ max: 200 }),
    hugeMask: big64(),
    deadline: timer(),
    enabled: bool(),
    table: array(u32(), 3),
    bytes: buffer(4),
    one: struct(innerVmState),
    many: structs(innerVmState, 2),
    legacy: u64({ since: 3, absent: () => 7 }),
    optional: i64({ when: (s: Outer) => s.enabled }),
  },
  subsections: { extra: subsection(extraVmState, (s: Outer) => s.extra.mode !== 0) },
};

function subsection<S, T extends Extra>(vmstate: VmState<T>, needed: (s: S) => boolean): Subsection<S, T> {
  return { vmstate, needed, absent: () => ({ mode: 0 }) as T };
}

const safe = fc.integer({ min: Number.MIN_SAFE_INTEGER, max: Number.MAX_SAFE_INTEGER });
const anyExtra = (max: number) => fc.record({ mode: fc.nat(max) });
const anyInner: fc.Arbitrary<Inner> = fc.record({
  selector: fc.nat(0xffff),
  flags: fc.integer(),
  extra: anyExtra(0xff),
});
const anyOuter: fc.Arbitrary<Outer> = fc
  .record({
    count: fc.nat(200),
    hugeMask: fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
    deadline: safe,
    enabled: fc.boolean(),
    table: fc.uint32Array({ minLength: 3, maxLength: 3 }),
    bytes: fc.uint8Array({ minLength: 4, maxLength: 4 }),
    one: anyInner,
    many: fc.array(anyInner, { minLength: 2, maxLength: 2 }),
    legacy: safe,
    optional: safe,
    extra: anyExtra(0xffff),
  })
  .map((state) => ({ ...state, optional: state.enabled ? state.optional : 0 }));

function encoded(state: Outer): Uint8Array {
  const writer = new ByteWriter(16);
  encode(outerVmState, state, writer);
  return writer.bytes().slice();
}

describe('encode and decode', () => {
  it('give back every state, and consume exactly what was written', () => {
    fc.assert(
      fc.property(anyOuter, (state) => {
        const reader = new ByteReader(encoded(state));
        expect(decode(outerVmState, reader, 3)).toEqual(state);
        expect(reader.remaining).toBe(0);
      }),
    );
  });

  it('assign in place: objects and typed arrays stay the same', () => {
    fc.assert(
      fc.property(anyOuter, anyOuter, (live, saved) => {
        const { table, bytes, many } = live;
        const inner = many[0];
        assignState(live, decode(outerVmState, new ByteReader(encoded(saved)), 3, live));
        expect(live).toEqual(saved);
        expect(live.table).toBe(table);
        expect(live.bytes).toBe(bytes);
        expect(live.many[0]).toBe(inner);
      }),
    );
  });

  it('read any bytes or say why not: nothing but MigrationError', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 120 }), fc.integer({ min: -1, max: 5 }), (bytes, version) => {
        try {
          decode(outerVmState, new ByteReader(bytes), version);
        } catch (error) {
          expect(error).toBeInstanceOf(MigrationError);
        }
      }),
    );
  });

  it('lay bytes out as QEMU does', () => {
    const writer = new ByteWriter();
    const state: Inner = { selector: 0x1234, flags: -2, extra: { mode: 9 } };
    encode(innerVmState as never, state, writer);
    const name = [...'inner/extra'].map((c) => c.charCodeAt(0));
    expect([...writer.bytes()]).toEqual(
      [0x12, 0x34, 0, 0, 0xff, 0xff, 0xff, 0xfe].concat([5, 11], name, [0, 0, 0, 1, 9]),
    );
  });

  it('keep what an older version lacks at its `absent` value', () => {
    const state = { ...sample(), legacy: 0x55 };
    const bytes = encoded(state);
    // Version 2 has no `legacy`: cut its eight bytes out.
    const at = bytes.length - 8;
    const old = bytes.slice(0, at);
    expect(decode(outerVmState, new ByteReader(old), 2).legacy).toBe(7);
  });

  it('name the field, the offset and both values', () => {
    const error = thrown(() => decode(outerVmState, new ByteReader(Uint8Array.of(201)), 3));
    expect(error.code).toBe('invalid-format');
    expect(error.context).toMatchObject({ field: 'count', offset: 0, found: 201 });
    const cut = thrown(() => decode(outerVmState, new ByteReader(encoded(sample()).subarray(0, 40)), 3));
    expect(cut.code).toBe('truncated');
    expect(cut.context.field).toMatch(/^one\./);
  });

  it('refuse a version that is too new or too old, in QEMU’s words', () => {
    const reader = () => new ByteReader(encoded(sample()));
    expect(thrown(() => decode(outerVmState, reader(), 4)).text).toBe(
      'outer: incoming version_id 4 is too new for local version_id 3',
    );
    expect(thrown(() => decode(outerVmState, reader(), 1)).text).toBe(
      'outer: incoming version_id 1 is too old for local minimum version_id 2',
    );
  });

  it('compare `equal` fields with the live machine', () => {
    const vmstate: VmState<{ irqs: number }> = {
      name: 'bus',
      version: 1,
      minimumVersion: 1,
      fields: { irqs: i32({ equal: true }) },
    };
    const bytes = Uint8Array.of(0, 0, 0, 5);
    expect(decode(vmstate, new ByteReader(bytes), 1, { irqs: 5 })).toEqual({ irqs: 5 });
    const error = thrown(() => decode(vmstate, new ByteReader(bytes), 1, { irqs: 4 }));
    expect(error).toMatchObject({ code: 'mismatch', context: { field: 'irqs', expected: '4', found: '5' } });
  });

  it('accept for `le` fields 0 to what the live machine has', () => {
    const vmstate: VmState<{ versionId: number }> = {
      name: 'PCIDevice',
      version: 2,
      minimumVersion: 1,
      fields: { versionId: i32({ le: true }) },
    };
    const read = (value: number) =>
      decode(vmstate, new ByteReader(Uint8Array.of(0, 0, 0, value)), 2, { versionId: 2 }).versionId;
    expect([read(0), read(2)]).toEqual([0, 2]);
    expect(thrown(() => read(3)).context).toMatchObject({ field: 'versionId', expected: '0 to 2', found: 3 });
  });

  it('treat a value that does not fit as our own bug', () => {
    expect(() => encoded({ ...sample(), count: 256 })).toThrow(
      /assertion failed: outer.count fits u8, got 256/,
    );
    expect(() => encoded({ ...sample(), table: new Uint32Array(2) })).toThrow(/assertion failed/);
  });
});

describe('the description that encode returns', () => {
  it('has QEMU’s names, types, sizes, array lengths and gaps', () => {
    const description = encode(outerVmState as never, sample(), new ByteWriter());
    const lines = description.fields.map(
      (f) => `${f.name}: ${f.type} ${f.size} x${f.array_len} [${f.index}]`,
    );
    expect(lines).toEqual([
      'count: uint8 1 xundefined [undefined]',
      'huge_mask: uint64 8 xundefined [undefined]',
      'deadline: timer 8 xundefined [undefined]',
      'enabled: bool 1 xundefined [undefined]',
      'table: uint32 4 x3 [undefined]',
      'bytes: buffer 4 xundefined [undefined]',
      'one: struct 8 xundefined [undefined]',
      'many: struct 8 xundefined [0]',
      'many: struct 26 xundefined [1]',
      'legacy: uint64 8 xundefined [undefined]',
    ]);
    expect(description.fields[6]?.struct?.fields.map((f) => `${f.name}: ${f.type}`)).toEqual([
      'selector: uint16',
      'unused: unused_buffer',
      'flags: int32',
    ]);
  });
});

function sample(): Outer {
  return {
    count: 1,
    hugeMask: 0n,
    deadline: -1,
    enabled: false,
    table: new Uint32Array(3),
    bytes: new Uint8Array(4),
    one: { selector: 1, flags: 2, extra: { mode: 0 } },
    many: [
      { selector: 1, flags: 2, extra: { mode: 0 } },
      { selector: 1, flags: 2, extra: { mode: 3 } },
    ],
    legacy: 0,
    optional: 0,
    extra: { mode: 0 },
  };
}

function thrown(action: () => unknown): MigrationError {
  try {
    action();
  } catch (error) {
    if (error instanceof MigrationError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}
