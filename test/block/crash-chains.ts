/** Resize, commit and stream while writes are recorded: what img's commands do, on the image that they change. */
import type { BlockNode } from '../../src/block/block-node.ts';
import { layOut } from '../../src/block/qcow2/create.ts';
import { openQcow2, type Qcow2 } from '../../src/block/qcow2/qcow2.ts';
import { emptyImage } from '../../src/block/qcow2/resize.ts';
import { changeBackingFile } from '../../src/block/qcow2/rewrite-header.ts';
import { commitInto } from '../../src/cli/tools/img/commit.ts';
import { streamInto } from '../../src/cli/tools/img/stream.ts';
import { type Rig, wholeDisk } from '../support/crash/rig.ts';
import { MemoryFile } from '../support/memory-file.ts';
import {
  apply,
  CLUSTER,
  create,
  flush,
  image,
  remove,
  reopen,
  SIZE,
  type Workload,
  write,
} from './crash-workloads.ts';

const nothing = (): void => {};

const resize = (sizeBytes: number) => (rig: Rig) =>
  rig.command(`resize ${sizeBytes}`, () => rig.node.resize(sizeBytes), { changesDisk: true });

const resizing: Workload = {
  image: image({ sizeBytes: 1_000_448 }),
  setup: (rig) => rig.write(512, 40 * CLUSTER),
  steps: [
    write(3, 9),
    // A longer L1 table; and a size in the middle of a cluster.
    resize(5_000_192),
    (rig) => rig.write(4_900_352, 80_384),
    flush,
    create('large'),
    write(1210, 6),
    resize(700_416),
    write(160, 8),
    resize(2_000_384),
    flush,
    reopen,
    apply('large'),
    write(1200, 3),
    remove('large'),
    resize(4096),
    resize(900_096),
    write(100, 4),
    flush,
  ],
};

/** An image in memory, made by `fill`. */
async function made(
  options: Partial<Parameters<typeof image>[0]>,
  fill: (node: Qcow2) => Promise<void>,
): Promise<Uint8Array> {
  const file = new MemoryFile(layOut('made', image(options)));
  const node = await openQcow2(file);
  await fill(node);
  await node.close();
  return file.bytes;
}

/** Runs of whole clusters, every third of them of zeroes: no backing file is asked for anything. */
async function scatter(node: Qcow2, step: number, value: number): Promise<void> {
  for (let cluster = 1, n = 0; (cluster + 3) * CLUSTER < SIZE; cluster += step, n++) {
    if (n % 3 === 2) await node.writeZeroes(cluster * CLUSTER, 2 * CLUSTER);
    else await node.write(cluster * CLUSTER, Buffer.alloc(3 * CLUSTER, value + n));
  }
}

const opened = (bytes: Uint8Array, below?: BlockNode): Promise<Qcow2> =>
  openQcow2(
    new MemoryFile(bytes, 'other', true),
    below === undefined ? {} : { openBacking: async () => below },
  );

const backing = { backingFile: 'base', backingFormat: 'qcow2' } as const;

/** The overlay shows the same at every moment, whatever of it the base has got. */
function committing(): Workload {
  let overlay: Uint8Array;
  let shown: Buffer;
  return {
    image: image(),
    setup: async (rig) => {
      await write(0, 60)(rig);
      await create('before')(rig);
      await write(10, 10)(rig);
      overlay = await made(backing, (node) => scatter(node, 19, 0x40));
      shown = await wholeDisk(await opened(overlay, rig.node));
    },
    options: {
      alsoJudge: async (node) => {
        const now = await wholeDisk(await opened(overlay, node));
        return now.equals(shown) ? undefined : 'the overlay shows something else';
      },
    },
    steps: [
      (rig) =>
        rig.command(
          'commit',
          async () => {
            await commitInto(await opened(overlay, rig.node), rig.node, nothing);
            await rig.node.flush();
          },
          { changesDisk: shown },
        ),
      flush,
      remove('before'),
    ],
  };
}

/** The overlay after a commit: it is emptied, and goes on. */
function emptying(): Workload {
  let base = made({}, (node) => scatter(node, 7, 1));
  return {
    image: image(backing),
    options: { openBacking: async () => opened(await base) },
    setup: async (rig) => {
      await write(5, 30)(rig);
      await create('kept')(rig);
      await write(200, 50)(rig);
      const file = new MemoryFile(await base);
      const target = await openQcow2(file);
      await commitInto(rig.node, target, nothing);
      await target.close();
      base = Promise.resolve(file.bytes);
    },
    steps: [
      (rig) => rig.command('empty', () => emptyImage(rig.node.image)),
      write(20, 4),
      flush,
      (rig) => rig.command('empty', () => emptyImage(rig.node.image), { changesDisk: true }),
      remove('kept'),
    ],
  };
}

const streaming: Workload = (() => {
  const base = made({}, (node) => scatter(node, 9, 1));
  const middle = made(backing, (node) => scatter(node, 23, 0x80));
  const openBacking = async (name: string): Promise<BlockNode> =>
    name === 'base' ? opened(await base) : opened(await middle, await opened(await base));
  const stream = (name: string, depth: number, file: string | undefined) => async (rig: Rig) => {
    await rig.command(`stream ${name}`, () => streamInto(rig.node, depth, nothing));
    await rig.command(`without ${name}`, () =>
      changeBackingFile(rig.node.image, { file, format: file && 'qcow2' }),
    );
  };
  return {
    image: image({ backingFile: 'middle', backingFormat: 'qcow2' }),
    options: { openBacking },
    setup: async (rig) => {
      await write(3, 12)(rig);
      await create('before')(rig);
      await rig.zero(30 * CLUSTER, 10 * CLUSTER);
    },
    steps: [
      stream('the middle', 2, 'base'),
      reopen,
      write(50, 9),
      stream('all', Infinity, undefined),
      flush,
      reopen,
    ],
  };
})();

/** Each made anew for who runs it. */
export const chains: Record<string, () => Workload> = {
  resize: () => resizing,
  commit: committing,
  'emptied after a commit': emptying,
  stream: () => streaming,
};
