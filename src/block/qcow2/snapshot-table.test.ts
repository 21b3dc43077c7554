import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { layOut } from './create.ts';
import { parseHeader } from './header.ts';
import { parseSnapshots, serializeSnapshots, type Snapshot, snapshotTableBytes } from './snapshot-table.ts';

const BASE = layOut('t', { sizeBytes: 1 << 30 });
const FILE_BYTES = 2 ** 40;

const snapshot: fc.Arbitrary<Snapshot> = fc.record({
  l1Offset: fc.nat(1000).map((n) => (n + 1) * 65_536),
  l1Entries: fc.nat(1000),
  id: fc.nat(99_999).map(String),
  tag: fc.string({ minLength: 1, maxLength: 60 }),
  dateSec: fc.nat(2 ** 31),
  dateNsec: fc.nat(999_999_999),
  vmClockNs: fc.maxSafeNat(),
  vmStateBytes: fc.nat(2 ** 31).map((n) => n * 8),
  diskBytes: fc.nat(2 ** 30).map((n) => n * 512),
  icount: fc.oneof(fc.constant(-1), fc.maxSafeNat()),
  unknownExtra: fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
});

function parse(table: Buffer, count: number): ReturnType<typeof parseSnapshots> {
  const header = { ...parseHeader(BASE, 't', BASE.length), snapshotCount: count, snapshotsOffset: 65_536 };
  return parseSnapshots(header, 't', FILE_BYTES, async (offset, length) => {
    const bytes = Buffer.alloc(length);
    table.copy(bytes, 0, offset);
    return bytes;
  });
}

describe('snapshot table', () => {
  it('is read as it was written, unknown extra data included', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(snapshot, { maxLength: 20 }), async (snapshots) => {
        const table = serializeSnapshots(snapshots);
        expect(snapshotTableBytes(snapshots)).toBe(table.length);
        expect(await parse(table, snapshots.length)).toEqual({ snapshots, bytes: table.length });
      }),
    );
  });

  it('entries without extra data are old ones', async () => {
    const entry = Buffer.alloc(48);
    entry.writeUInt32BE(65_536, 4);
    entry.writeUInt16BE(1, 12);
    entry.writeUInt16BE(2, 14);
    entry.writeUInt32BE(77, 32);
    entry.write('1ab', 40, 'latin1');
    const { snapshots, bytes } = await parse(entry, 1);
    expect(bytes).toBe(48);
    expect(snapshots[0]).toMatchObject({
      id: '1',
      tag: 'ab',
      vmStateBytes: 77,
      diskBytes: 1 << 30,
      icount: -1,
    });
  });

  it.each([
    ['extra_data_size', 36, 4, 2000],
    ['id_str_size', 12, 2, 200],
    ['vm_state_size', 40, 2, 0xffff],
    ['disk size', 48, 2, 0xffff],
    ['l1_size', 8, 4, 0x7fffffff],
    ['l1_table_offset', 6, 2, 12],
  ])('%s is checked', async (field, at, width, value) => {
    const good = fc.sample(snapshot, 1)[0]!;
    const table = serializeSnapshots([{ ...good, l1Entries: 10 }]);
    table.writeUIntBE(value, at, width);
    await expect(parse(table, 1)).rejects.toMatchObject({ code: 'invalid-format', context: { field } });
  });
});
