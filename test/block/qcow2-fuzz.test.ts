/**
 * Images with damaged headers, tables and snapshot tables: every operation ends, with data or with a BlockError. The seed
 * image has snapshots, VM state, zero and shared clusters; damage goes to fields by their meaning, not to random bytes.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BlockError } from '../../src/block/errors.ts';
import type { BlockFile } from '../../src/block/file.ts';
import { checkImage } from '../../src/block/qcow2/check.ts';
import { layOut } from '../../src/block/qcow2/create.ts';
import { openQcow2, type Qcow2 } from '../../src/block/qcow2/qcow2.ts';
import { MemoryFile } from '../support/memory-file.ts';
import { fuzz } from '../support/qcow2-fuzz.ts';

const LONG = process.env['AMBERVM_LONG'] === '1';
const RUNS = Number(process.env['FUZZ_RUNS'] ?? (LONG ? 1_000_000 : 1000));

const CLUSTER = 512;
const SIZE = 256 * 1024;
const meta = (tag: string, vmStateBytes = 0) => ({
  tag,
  dateSec: 1,
  dateNsec: 2,
  vmClockNs: 3,
  icount: -1,
  vmStateBytes,
});

/** Writes far away are a failure of the disk, not of the memory of this test. */
class SmallFile extends MemoryFile implements BlockFile {
  override async write(offset: number, source: Uint8Array): Promise<void> {
    if (offset + source.length > 2 ** 24) throw new BlockError('no-space', 'test file is full', {});
    await super.write(offset, source);
  }
}

interface Seed {
  readonly bytes: Buffer;
  /** Places worth damaging: [offset, width]. */
  readonly places: readonly (readonly [number, number])[];
}

async function makeSeed(version: 2 | 3): Promise<Seed> {
  const file = new MemoryFile(layOut('seed', { sizeBytes: SIZE, clusterSize: CLUSTER, version }));
  const node = await openQcow2(file);
  await node.write(1000, new Uint8Array(40_000).fill(1));
  await node.createSnapshot(meta('one'));
  await node.write(30_000, new Uint8Array(30_000).fill(2));
  await node.writeZeroes(4096, 4096);
  const writer = await node.createVmState();
  await writer.writeClusters(0, new Uint8Array(20 * CLUSTER).fill(3));
  await writer.commit(meta('vm', 20 * CLUSTER));
  await node.close();
  const { image } = node;
  const places: [number, number][] = [];
  const header: [number, number][] = [
    [0, 4],
    [4, 4],
    [8, 8],
    [16, 4],
    [20, 4],
    [24, 8],
    [32, 4],
    [36, 4],
    [40, 8],
    [48, 8],
    [56, 4],
    [60, 4],
    [64, 8],
  ];
  if (version === 3)
    header.push([72, 8], [76, 4], [80, 8], [88, 8], [96, 4], [100, 4], [104, 8], [112, 4], [116, 4]);
  for (let i = 0; i < 4; i++) places.push(...header);
  const table = (offset: number, entries: number): void => {
    for (let i = 0; i < entries; i++) places.push([offset + i * 8, 8]);
  };
  table(image.header.l1Offset, image.header.l1Entries);
  table(image.l2Offset(image.l1, 0), 64);
  table(image.l2Offset(image.l1, 1), 64);
  table(image.header.refcountTableOffset, 8);
  for (let i = 0; i < 20; i++) places.push([image.refcounts.blockOffset(0) + i * 2, 2]);
  for (const snapshot of image.snapshots) table(snapshot.l1Offset, snapshot.l1Entries);
  for (let i = 0; i < 3; i++) {
    let at = image.header.snapshotsOffset;
    for (const _ of image.snapshots) {
      for (const [offset, width] of [
        [0, 8],
        [8, 4],
        [12, 2],
        [14, 2],
        [24, 8],
        [32, 4],
        [36, 4],
        [40, 8],
        [48, 8],
        [56, 8],
      ] as const) {
        places.push([at + offset, width]);
      }
      at += 72;
    }
  }
  return { bytes: file.bytes, places };
}

const values = fc.oneof(
  fc.constantFrom(
    0n,
    1n,
    2n,
    63n,
    0xffn,
    0xffffn,
    0x7fffffffn,
    0xffffffffn,
    1n << 32n,
    1n << 53n,
    (1n << 56n) - 1n,
    1n << 62n,
    1n << 63n,
    (1n << 64n) - 1n,
  ),
  fc.nat(200).map((n) => BigInt(n * CLUSTER)),
  fc.nat(200).map((n) => BigInt(n * CLUSTER) | (1n << 63n)),
  fc.nat(200).map((n) => BigInt(n * CLUSTER) | (1n << 62n)),
  fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
);

function damage(bytes: Buffer, at: number, width: number, value: bigint): void {
  const field = Buffer.alloc(8);
  field.writeBigUInt64BE(value & ((1n << 64n) - 1n));
  field.copy(bytes, at, 8 - width, 8);
}

/** Whatever it does, it ends, and throws nothing but BlockErrors. */
async function tolerate(task: () => Promise<unknown>): Promise<void> {
  try {
    await task();
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    expect(error.message).not.toBe('');
  }
}

async function exercise(bytes: Buffer, readOnly: boolean): Promise<void> {
  let node: Qcow2;
  try {
    node = await openQcow2(new SmallFile(bytes, 'fuzzed', readOnly));
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    return;
  }
  const small = Math.min(node.sizeBytes, 100_000);
  await tolerate(() => node.read(0, new Uint8Array(small)));
  await tolerate(() =>
    node.read(Math.max(0, node.sizeBytes - 5000), new Uint8Array(Math.min(5000, node.sizeBytes))),
  );
  const first = node.listSnapshots()[0];
  if (first !== undefined) {
    await tolerate(() => node.readVmState('vm', 0, new Uint8Array(1000)));
  }
  if (!readOnly) {
    await tolerate(() =>
      node.write(500, new Uint8Array(small).fill(9).subarray(0, Math.max(0, small - 500))),
    );
    await tolerate(() => node.writeZeroes(0, small));
    await tolerate(() => node.createSnapshot(meta('new')));
    await tolerate(() => node.applySnapshot('one'));
    await tolerate(() => node.deleteSnapshot('one'));
    await tolerate(() => node.deleteSnapshot('vm'));
    await tolerate(() => node.flush());
  }
  await tolerate(() => checkImage(node.image));
  await tolerate(() => node.close());
}

describe('damaged images', () => {
  for (const version of [2, 3] as const) {
    it(`version ${version}: data or a BlockError`, async () => {
      const seed = await makeSeed(version);
      const harm = fc.record({ place: fc.nat(seed.places.length - 1), value: values });
      await fc.assert(
        fc.asyncProperty(
          fc.array(harm, { minLength: 1, maxLength: 3 }),
          fc.boolean(),
          async (harms, readOnly) => {
            const bytes = Buffer.from(seed.bytes);
            for (const { place, value } of harms) {
              const [at, width] = seed.places[place]!;
              damage(bytes, at, width, value);
            }
            await exercise(bytes, readOnly);
          },
        ),
        {
          numRuns: Number(process.env['FUZZ_RUNS'] ?? 400),
          interruptAfterTimeLimit: 50_000,
          markInterruptAsFailure: true,
        },
      );
    });
  }

  it(
    `structured images of all layouts, ${RUNS}`,
    async () => {
      const { done, findings } = await fuzz(1, RUNS);
      expect(findings).toEqual([]);
      expect(done).toBe(RUNS);
    },
    LONG ? 12 * 3_600_000 : 600_000,
  );

  it('cut short anywhere', async () => {
    const seed = await makeSeed(3);
    for (let length = 0; length < 2000; length += 13) await exercise(seed.bytes.subarray(0, length), false);
    for (let length = 2000; length < seed.bytes.length; length += 1111) {
      await exercise(seed.bytes.subarray(0, length), length % 2 === 0);
    }
  });
});
