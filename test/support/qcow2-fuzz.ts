/**
 * Fuzzing of qcow2 images: structured seeds are damaged where it matters and then used in every way. Whatever an image
 * says, an operation ends within a second, takes less than 64 MiB, and throws nothing but BlockErrors.
 */
import { getHeapStatistics } from 'node:v8';
import { BlockError } from '../../src/block/errors.ts';
import type { BlockFile } from '../../src/block/file.ts';
import { checkImage } from '../../src/block/qcow2/check.ts';
import { type CreateQcow2Options, layOut } from '../../src/block/qcow2/create.ts';
import { openQcow2, type Qcow2 } from '../../src/block/qcow2/qcow2.ts';
import { changeBackingFile } from '../../src/block/qcow2/rewrite-header.ts';
import { MemoryFile } from './memory-file.ts';

export const MAX_MILLISECONDS = 1000;
export const MAX_BYTES = 64 * 1024 * 1024;
const MAX_FILE_BYTES = 2 ** 22;
/** What the operations below read and write at most. Small: what counts is what the tables say. */
const MAX_DATA_BYTES = 6000;
const DATA_FILE_BYTES = 48 * 1024;

/** Writes far away are a failure of the disk, not of the memory of this test. */
class SmallFile extends MemoryFile implements BlockFile {
  override async write(offset: number, source: Uint8Array): Promise<void> {
    if (offset + source.length > MAX_FILE_BYTES) throw new BlockError('no-space', 'test file is full', {});
    await super.write(offset, source);
  }
  override async truncate(sizeBytes: number): Promise<void> {
    if (sizeBytes > MAX_FILE_BYTES) throw new BlockError('no-space', 'test file is full', {});
    await super.truncate(sizeBytes);
  }
}

export interface Seed {
  readonly name: string;
  readonly bytes: Buffer;
  /** Places worth damaging: offset, width. */
  readonly places: readonly (readonly [number, number])[];
  readonly clusterSize: number;
}

const meta = (tag: string, vmStateBytes = 0) => ({
  tag,
  dateSec: 1,
  dateNsec: 2,
  vmClockNs: 3,
  icount: -1,
  vmStateBytes,
});

const SEEDS: readonly (CreateQcow2Options & { readonly name: string })[] = [
  { name: 'v2', sizeBytes: 96 * 1024, clusterSize: 512, version: 2 },
  { name: 'v3', sizeBytes: 96 * 1024, clusterSize: 512 },
  {
    name: 'wide counts',
    sizeBytes: 64 * 1024,
    clusterSize: 1024,
    refcountBits: 64,
    backingFile: 'b',
    backingFormat: 'raw',
  },
  { name: 'narrow counts', sizeBytes: 64 * 1024, clusterSize: 512, refcountBits: 1, lazyRefcounts: true },
  { name: 'extended L2', sizeBytes: 256 * 1024, clusterSize: 16_384, extendedL2: true },
  { name: 'data file', sizeBytes: DATA_FILE_BYTES, clusterSize: 4096, dataFile: 'd' },
];

export async function makeSeeds(): Promise<Seed[]> {
  const seeds: Seed[] = [];
  for (const { name, ...options } of SEEDS) seeds.push(await makeSeed(name, options));
  return seeds;
}

function open(bytes: Buffer, isReadOnly: boolean, repair?: boolean): Promise<Qcow2> {
  return openQcow2(new SmallFile(bytes, 'fuzzed', isReadOnly), {
    openDataFile: async () => new SmallFile(Buffer.alloc(DATA_FILE_BYTES), 'data', isReadOnly),
    ...(repair === undefined ? {} : { repair }),
  });
}

async function makeSeed(name: string, options: CreateQcow2Options): Promise<Seed> {
  const file = new MemoryFile(layOut('seed', options));
  const node = await openQcow2(file, {
    openDataFile: async () => new MemoryFile(Buffer.alloc(DATA_FILE_BYTES)),
  });
  const { clusterSize, hasDataFile, refcounts } = node.image;
  const canShare = !hasDataFile && refcounts.max > 1;
  await node.write(1000, new Uint8Array(12_000).fill(1));
  if (canShare) await node.createSnapshot(meta('one'));
  await node.write(9000, new Uint8Array(10_000).fill(2));
  // Into the second L2 table, where clusters are small.
  await node.write(33_000, new Uint8Array(3000).fill(3));
  await node.writeZeroes(4096, 4096);
  if (!hasDataFile) {
    const from = Math.max(38_912, 3 * clusterSize);
    for (let i = 0; i < 3; i++)
      await node.writeCompressed(from + i * clusterSize, new Uint8Array(clusterSize).fill(i));
  }
  if (canShare) {
    const writer = await node.createVmState();
    await writer.writeClusters(0, new Uint8Array(4 * clusterSize).fill(3));
    await writer.commit(meta('vm', 4 * clusterSize));
  }
  await node.close();
  return { name, bytes: file.bytes, places: placesOf(node), clusterSize };
}

function placesOf({ image }: Qcow2): [number, number][] {
  const places: [number, number][] = [];
  const { header } = image;
  const fields: [number, number][] = [];
  for (const at of [8, 24, 40, 48, 64]) fields.push([at, 8]);
  for (const at of [4, 16, 20, 32, 36, 56, 60, 112, 116, 120]) fields.push([at, 4]);
  if (header.version === 3) fields.push([72, 8], [76, 4], [80, 8], [88, 8], [96, 4], [100, 4], [104, 1]);
  for (let i = 0; i < 6; i++) places.push(...fields);
  const table = (offset: number, bytes: number, width = 8): void => {
    for (let at = 0; at < bytes; at += width) places.push([offset + at, width]);
  };
  for (let i = 0; i < 4; i++) table(header.l1Offset, Math.min(64, header.l1Entries * 8));
  for (let i = 0; i < Math.min(3, header.l1Entries); i++) {
    const l2 = image.l2Offset(image.l1, i);
    if (l2 !== 0) table(l2, Math.min(image.clusterSize, 512));
  }
  for (let i = 0; i < 4; i++) table(header.refcountTableOffset, 64);
  table(image.refcounts.blockOffset(0), 64, 2);
  for (const { l1Entries, l1Offset } of image.snapshots) table(l1Offset, l1Entries * 8);
  for (let i = 0; i < 3; i++) table(header.snapshotsOffset, image.snapshots.length * 72, 4);
  return places.filter(([at]) => at >= 4);
}

/** xorshift32: the same on every machine. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 1;
  }

  below(limit: number): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return (x >>> 0) % limit;
  }
}

const VALUES = [
  0n,
  1n,
  2n,
  63n,
  0xffn,
  0xffffn,
  0x7fff_ffffn,
  0xffff_ffffn,
  1n << 32n,
  1n << 53n,
  (1n << 56n) - 1n,
];

export function damage(seed: Seed, random: Random): Buffer {
  const bytes = Buffer.from(seed.bytes);
  const field = Buffer.alloc(8);
  for (let n = 1 + random.below(4); n > 0; n--) {
    if (random.below(8) === 0) {
      bytes[random.below(bytes.length)]! ^= 1 << random.below(8);
      continue;
    }
    const [at, width] = seed.places[random.below(seed.places.length)]!;
    let value = VALUES[random.below(VALUES.length)]!;
    const kind = random.below(8);
    const cluster = BigInt(random.below(200) * seed.clusterSize);
    if (kind < 2) value = cluster;
    else if (kind < 4) value = cluster | (1n << 63n);
    else if (kind === 4) value = cluster | (1n << 62n);
    else if (kind === 5) value = (BigInt(random.below(2 ** 32)) << 32n) | BigInt(random.below(2 ** 32));
    field.writeBigUInt64BE(value & ((1n << 64n) - 1n));
    field.copy(bytes, at, 8 - width, 8);
  }
  return random.below(30) === 0 ? bytes.subarray(0, random.below(bytes.length)) : bytes;
}

/** Of everything outside the heap, buffers above all, dead or alive. */
const externalBytes = (): number => getHeapStatistics().external_memory;

class TooSlow extends Error {}

/** Runs one operation: only BlockErrors, not for long, and what the image says is not allocated. */
async function tolerate<T>(task: () => Promise<T>): Promise<T | undefined> {
  const before = performance.now();
  const memory = externalBytes();
  let result: T | undefined;
  try {
    result = await task();
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
  }
  if (externalBytes() - memory > MAX_BYTES) throw new Error(`took more than 64 MiB: ${task}`);
  const took = performance.now() - before;
  if (took > MAX_MILLISECONDS) throw new TooSlow(`took ${took} ms: ${task}`);
  return result;
}

/** Everything that can be done with an image; which of it, `random` says. */
export async function exercise(bytes: Buffer, random: Random): Promise<void> {
  const isReadOnly = random.below(3) === 0;
  const node = await tolerate(() => open(bytes, isReadOnly, [undefined, false, true][random.below(3)]));
  if (node === undefined) return;
  const size = node.sizeBytes;
  const small = Math.min(size, 1 + random.below(MAX_DATA_BYTES));
  // Mostly where there is something.
  const at = random.below(4) === 0 ? size - small : random.below(Math.min(size - small, 44_000) + 1);
  const tasks: (() => Promise<unknown>)[] = [
    () => node.read(at, new Uint8Array(small)),
    () => node.read(0, new Uint8Array(small)),
    () => node.readVmState('vm', 0, new Uint8Array(1000)),
    () => checkImage(node.image),
    async () => {
      for await (const extent of node.extents(at, small))
        if (extent.bytes <= 0) throw new Error('empty extent');
    },
    () => node.openVmState('vm'),
    () => node.write(at, new Uint8Array(small).fill(9)),
    () => node.writeZeroes(at, small),
    () => node.discard(at, small),
    () => node.writeCompressed(0, new Uint8Array(Math.min(node.image.clusterSize, node.sizeBytes)).fill(4)),
    () => node.resize(size + 4096),
    () => node.resize(Math.floor(at / 512) * 512),
    () => node.createSnapshot(meta('new')),
    () => node.applySnapshot('one'),
    () => node.deleteSnapshot('one'),
    () => node.deleteSnapshot('vm'),
    () => changeBackingFile(node.image, { file: 'other', format: 'raw' }),
    () => node.flush(),
  ];
  const count = isReadOnly ? 6 : tasks.length;
  for (let n = 1 + random.below(4); n > 0; n--) await tolerate(tasks[random.below(count)]!);
  await tolerate(() => checkImage(node.image));
  await tolerate(() => node.close());
}

export interface Finding {
  readonly seed: string;
  readonly random: number;
  readonly what: string;
  readonly isSlow: boolean;
}

/** Others may have had the processor: too slow is what takes too much of its time when it is done again. */
async function run(seeds: readonly Seed[], number: number): Promise<Finding | undefined> {
  const random = new Random(number * 2_654_435_761);
  const seed = seeds[random.below(seeds.length)]!;
  const bytes = damage(seed, random);
  try {
    await exercise(bytes, random);
    return undefined;
  } catch (error) {
    const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
    return { seed: seed.name, random: number, what, isSlow: error instanceof TooSlow };
  }
}

/** Runs `count` damaged images from `start` on; gives what went wrong, with the number that repeats it. */
export async function fuzz(
  start: number,
  count: number,
  until = Number.POSITIVE_INFINITY,
): Promise<{ done: number; findings: Finding[] }> {
  const seeds = await makeSeeds();
  const findings: Finding[] = [];
  let done = 0;
  for (; done < count && findings.length < 10 && performance.now() < until; done++) {
    let finding = await run(seeds, start + done);
    if (finding?.isSlow) {
      const cpu = process.cpuUsage();
      finding = await run(seeds, start + done);
      const { system, user } = process.cpuUsage(cpu);
      if (finding?.isSlow && (system + user) / 1000 < MAX_MILLISECONDS) finding = undefined;
    }
    if (finding !== undefined) findings.push(finding);
  }
  return { done, findings };
}
