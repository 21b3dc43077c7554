/** What is done to an image while its writes are recorded. Each new operation of the block layer gets an entry here. */
import type { SnapshotMeta, VmStateOptions } from '../../src/block/block-node.ts';
import type { CreateQcow2Options } from '../../src/block/qcow2/create.ts';
import { random } from '../support/crash/points.ts';
import { type Rig, type RigOptions, SECTOR } from '../support/crash/rig.ts';

export interface Workload {
  readonly image: CreateQcow2Options;
  /** Before recording begins. */
  readonly setup?: (rig: Rig) => Promise<void>;
  readonly steps: readonly ((rig: Rig) => Promise<void>)[];
  /** The images above or below it. */
  readonly options?: RigOptions;
}

export const CLUSTER = 4096;
export const SIZE = 2_500_096;
export const image = (options: Partial<CreateQcow2Options> = {}): CreateQcow2Options => ({
  sizeBytes: SIZE,
  clusterSize: CLUSTER,
  ...options,
});

const meta = (tag: string, vmStateBytes = 0): SnapshotMeta => ({
  tag,
  dateSec: 1,
  dateNsec: 2,
  vmClockNs: 3,
  icount: -1,
  vmStateBytes,
});

export const create = (tag: string) => (rig: Rig) =>
  rig.command(`create ${tag}`, async () => void (await rig.node.createSnapshot(meta(tag))));
export const apply = (tag: string) => (rig: Rig) =>
  rig.command(`apply ${tag}`, () => rig.node.applySnapshot(tag), { changesDisk: true });
export const remove = (tag: string) => (rig: Rig) =>
  rig.command(`delete ${tag}`, () => rig.node.deleteSnapshot(tag));
export const write = (cluster: number, clusters: number) => (rig: Rig) =>
  rig.write(cluster * CLUSTER, clusters * CLUSTER);
export const flush = (rig: Rig): Promise<void> => rig.flush();
export const reopen = (rig: Rig): Promise<void> => rig.reopen();

/** VM state of its own, every other cluster shared if there is somebody to share with. */
export const vmState =
  (tag: string, clusters: number, sharedFrom?: string, options: VmStateOptions = {}) =>
  (rig: Rig): Promise<void> =>
    rig.command(`VM state ${tag}`, async () => {
      const bytes = rig.node.image.clusterSize;
      const writer = await rig.node.createVmState(options);
      try {
        for (let i = 0; i < clusters; i++) {
          if (sharedFrom !== undefined && i % 2 === 0) await writer.shareCluster(i, sharedFrom, i);
          else await writer.writeClusters(i, Buffer.alloc(bytes, `${tag} ${i} `));
        }
        await writer.commit(meta(tag, clusters * bytes));
      } catch (error) {
        await writer.abort();
        throw error;
      }
    });

/** Requests that overtake each other; single sectors, runs of clusters, zeroes, flushes. */
const busyGuest =
  (seed: number, requests: number) =>
  async (rig: Rig): Promise<void> => {
    const next = random(seed);
    const size = rig.node.sizeBytes / SECTOR;
    const each = Math.floor(size / 4);
    const worker = async (number: number): Promise<void> => {
      for (let i = 0; i < requests; i++) {
        const first = number * each + Math.floor(next() * (each - 64));
        const count = next() < 0.5 ? 1 + Math.floor(next() * 4) : 1 + Math.floor(next() * 60);
        if (next() < 0.15) await rig.zero(first * SECTOR, count * SECTOR);
        else await rig.write(first * SECTOR, count * SECTOR);
        if (next() < 0.15) await rig.flush();
      }
    };
    await Promise.all([0, 1, 2, 3].map(worker));
  };

/** As it is known to be when a test of errors runs it again: nothing happens at the same time. */
export const sequential: Record<string, Workload> = {
  'allocating writes': {
    image: image(),
    steps: [
      (rig) => rig.write(512, 3 * CLUSTER),
      flush,
      (rig) => rig.write(SIZE - 5120, 5120),
      (rig) => rig.write(1_000_448, 102_400),
      (rig) => rig.zero(1_010_176, 51_200),
      flush,
      write(3, 1),
    ],
  },
  'overwriting a snapshot': {
    image: image({ refcountBits: 64 }),
    setup: async (rig) => {
      await write(0, 20)(rig);
      await create('base')(rig);
    },
    steps: [
      write(1, 5),
      flush,
      (rig) => rig.zero(0, 8 * CLUSTER),
      write(3, 1),
      (rig) => rig.write(2 * CLUSTER + 512, 1024),
      flush,
    ],
  },
  'create, apply, delete': {
    image: image(),
    setup: (rig) => rig.write(5120, 30 * CLUSTER),
    steps: [
      create('one'),
      write(0, 10),
      create('two'),
      write(4, 2),
      apply('one'),
      write(0, 1),
      create('one'),
      remove('two'),
      flush,
      write(20, 1),
      remove('one'),
      write(0, 2),
      flush,
    ],
  },
  'VM state, shared and replaced': {
    image: image(),
    setup: (rig) => rig.write(0, 10 * CLUSTER),
    steps: [
      vmState('vm', 12),
      vmState('vm2', 12, 'vm'),
      write(0, 3),
      vmState('vm', 14, 'vm2'),
      remove('vm2'),
      apply('vm'),
      vmState('vm', 5),
    ],
  },
  'VM state, compressed, shared and replaced': {
    image: image(),
    setup: (rig) => rig.write(0, 10 * CLUSTER),
    steps: [
      vmState('vm', 40, undefined, { compress: { workers: 1 } }),
      vmState('vm2', 40, 'vm', { compress: { workers: 1 } }),
      write(0, 3),
      vmState('vm', 44, 'vm2'),
      remove('vm2'),
    ],
  },
  'a refcount table that grows': {
    image: image({ clusterSize: 512, sizeBytes: 524_288, refcountBits: 64 }),
    steps: [0, 1, 2, 3, 4, 5, 6, 7].map((i) => (rig: Rig) => rig.write(i * 65_536, 65_536)),
  },
  'clusters of 512 bytes, counts of 2 bits': {
    image: image({ clusterSize: 512, sizeBytes: 262_144, refcountBits: 2 }),
    setup: (rig) => rig.write(0, 100 * 512),
    steps: [
      create('one'),
      (rig) => rig.write(0, 200 * 512),
      vmState('one', 80),
      (rig) => rig.write(50 * 512, 100 * 512),
      flush,
      apply('one'),
      remove('one'),
      (rig) => rig.write(512, 200 * 512),
      flush,
    ],
  },
  'version 2': {
    image: image({ version: 2 }),
    setup: (rig) => rig.write(0, 10 * CLUSTER),
    steps: [
      create('one'),
      write(3, 10),
      (rig) => rig.zero(0, 4 * CLUSTER),
      flush,
      apply('one'),
      write(0, 1),
      remove('one'),
    ],
  },
  'closed and opened': {
    image: image(),
    setup: (rig) => rig.write(0, 4 * CLUSTER),
    steps: [write(2, 6), reopen, create('one'), write(0, 3), reopen, remove('one'), write(0, 1), reopen],
  },
};

/** With requests that overtake each other below the image. */
export const overtaking: Record<string, Workload> = {
  'a busy guest': { image: image(), steps: [busyGuest(1, 12)] },
  'a busy guest over snapshots': {
    image: image(),
    setup: async (rig) => {
      await rig.write(0, 200 * CLUSTER);
      await create('base')(rig);
    },
    steps: [
      busyGuest(2, 6),
      create('one'),
      busyGuest(3, 6),
      remove('base'),
      busyGuest(4, 4),
      apply('one'),
      busyGuest(5, 4),
    ],
  },
  'a busy guest while VM state is written': {
    image: image(),
    setup: (rig) => rig.write(0, 100 * CLUSTER),
    steps: [
      async (rig) => {
        await Promise.all([busyGuest(6, 8)(rig), vmState('vm', 30)(rig)]);
      },
      async (rig) => {
        await Promise.all([busyGuest(7, 8)(rig), vmState('vm', 30, 'vm')(rig)]);
      },
    ],
  },
};
