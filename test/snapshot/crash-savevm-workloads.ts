/** Machines whose snapshots are made, replaced and deleted while every write to their disk is recorded. */
import { layOut } from '../../src/block/qcow2/create.ts';
import { openQcow2 } from '../../src/block/qcow2/qcow2.ts';
import type { Machine } from '../../src/machine/machine.ts';
import type { SaveOptions } from '../../src/machine/save-and-load.ts';
import { random } from '../support/crash/points.ts';
import { Rig } from '../support/crash/rig.ts';
import { MemoryFile } from '../support/memory-file.ts';
import { tinyMachine } from '../support/tiny-machine.ts';

export const CLUSTER = 4096;
export const DISK_BYTES = 300_032;
const RAM_BYTES = 2 * 1024 * 1024;

/** mov ebx, 300000h-like counters: `inc dword [bx]` over a few pages, for ever, so that a running guest dirties RAM. */
export const COUNTER: readonly number[] = [
  0xfa, // cli
  0x31,
  0xc0, // xor ax, ax
  0x8e,
  0xd8, // mov ds, ax
  0xbb,
  0x00,
  0x10, // mov bx, 1000h
  0xff,
  0x07, // again: inc word [bx]
  0x81,
  0xc3,
  0x00,
  0x10, // add bx, 1000h
  0x80,
  0xff,
  0x90, // cmp bh, 90h
  0x75,
  0xf5, // jne again
  0xeb,
  0xf0, // jmp to mov bx
];

export interface World {
  readonly rig: Rig;
  readonly machine: Machine;
  /** RAM as saved, by tag and date of the snapshot. */
  readonly saved: Map<string, Buffer>;
}

export type Step = (world: World) => Promise<void>;

export const save =
  (tag: string, options: SaveOptions = {}): Step =>
  async ({ rig, machine, saved }) => {
    const { info } = await rig.command(`savevm ${tag}`, () => machine.savevm(tag, options));
    saved.set(info.id, ram(machine));
  };
/** The guest runs, its disk is written to, while it is saved. */
const saveBehind =
  (tag: string, seed: number): Step =>
  async (world) => {
    const { rig, machine } = world;
    machine.start();
    await rig.command(`savevm -b ${tag}`, async () => {
      const save = await machine.savevmInBackground(tag, { copyBytes: 1 << 16 });
      await Promise.all([save.done, disk(seed)(world)]);
    });
    await machine.pause();
  };
const load =
  (tag: string): Step =>
  ({ rig, machine }) =>
    rig.command(
      `loadvm ${tag}`,
      async () => {
        await machine.loadvm(tag);
        await machine.finishLoad();
      },
      { changesDisk: true },
    );
export const remove =
  (tag: string): Step =>
  async ({ rig, machine }) => {
    await rig.command(`delvm ${tag}`, () => machine.delvm(tag));
  };
/** The guest's work, by the test's hand: `pages` pages of six groups of RAM, half of them random. */
export const work =
  (seed: number, pages: number): Step =>
  async ({ machine }) => {
    const next = random(seed);
    for (let i = 0; i < pages; i++) {
      const at = 0x10_0000 + Math.floor(next() * 90) * 4096;
      const page = Uint8Array.from({ length: 4096 }, () => (i % 2 === 0 ? seed : Math.floor(next() * 256)));
      machine.memory.write(at, page);
    }
  };
export const disk =
  (seed: number): Step =>
  async ({ rig }) => {
    const next = random(seed);
    for (let i = 0; i < 4; i++) {
      await rig.write(
        Math.floor(next() * (DISK_BYTES / 512 - 30)) * 512,
        512 * (1 + Math.floor(next() * 30)),
      );
    }
    if (next() < 0.5) await rig.flush();
  };

export interface Workload {
  readonly setup: readonly Step[];
  readonly steps: readonly Step[];
  readonly refcountBits?: number;
}

export const workloads: Record<string, Workload> = {
  'full savevm': { setup: [work(1, 60), disk(1)], steps: [save('a'), disk(2)] },
  'incremental savevm': {
    setup: [work(1, 60), disk(1), save('a'), work(2, 5)],
    steps: [save('b'), work(3, 20), disk(2), save('c')],
  },
  'savevm of the same tag': {
    setup: [work(1, 40), save('a'), work(2, 5), disk(1)],
    steps: [save('a'), work(3, 20), disk(2), save('a', { incremental: false }), work(4, 2), save('a')],
  },
  'compressed savevm': {
    setup: [work(1, 40), disk(1)],
    steps: [
      save('a', { compress: { workers: 1 } }),
      work(2, 10),
      disk(2),
      save('b', { compress: { workers: 1 } }),
      work(3, 10),
      save('a'),
    ],
  },
  delvm: {
    setup: [work(1, 40), save('a'), work(2, 10), disk(1), save('b'), work(3, 10), disk(2), save('c')],
    steps: [remove('b'), disk(3), remove('a'), work(4, 4), save('d'), remove('c')],
  },
  'loadvm and savevm': {
    setup: [work(1, 40), disk(1), save('a'), work(2, 10), disk(2)],
    steps: [save('b'), disk(3), load('a'), work(3, 5), disk(4), save('c'), load('b'), save('b')],
  },
  'savevm in the background': {
    setup: [work(1, 40), disk(1), save('a'), work(2, 10), disk(2)],
    steps: [saveBehind('b', 3), disk(4), work(3, 5), saveBehind('a', 5), saveBehind('c', 6)],
  },
  'counts of 2 bits': {
    setup: [work(1, 30), save('a')],
    steps: [work(2, 3), save('b'), work(3, 3), save('c'), remove('a'), save('d')],
    refcountBits: 2,
  },
};

export function ram(machine: Machine): Buffer {
  const bytes = Buffer.alloc(RAM_BYTES);
  machine.memory.read(0, bytes);
  return bytes;
}

/** The working set is a hint, written in place (docs/snapshots.md): as good with any contents. */
export function withoutWorkingSet(vmState: Buffer): void {
  const footer = vmState.length - 24;
  if (footer < 0 || vmState.toString('latin1', footer + 16) !== 'AMBEREND') return;
  const index = Number(vmState.readBigUInt64BE(footer));
  const start = index + vmState.readUInt32BE(footer + 8);
  vmState.fill(0, start, footer);
}

export async function record({ setup, steps, refcountBits = 16 }: Workload): Promise<World> {
  const file = new MemoryFile(layOut('t', { sizeBytes: DISK_BYTES, clusterSize: CLUSTER, refcountBits }));
  const options = { maskVmState: withoutWorkingSet };
  const saved = new Map<string, Buffer>();
  const rig = await Rig.open(file, options);
  const machine = await tinyMachine(COUNTER, { disk: rig.node, vga: 'none' });
  for (const step of setup) await step({ rig, machine, saved });
  // The image from here on, with what is not yet flushed in memory.
  rig.beginHere();
  const world = { rig, machine, saved };
  for (const step of steps) await step(world);
  await machine.close();
  return world;
}

/**
 * All snapshots, one after the other, in a new machine. What nobody has seen when it was saved is seen now. Undefined: RAM
 * is as it was saved.
 */
export async function loadAll(bytes: Uint8Array, saved: Map<string, Buffer>): Promise<string | undefined> {
  await using machine = await tinyMachine(COUNTER, {
    disk: await openQcow2(new MemoryFile(bytes)),
    vga: 'none',
  });
  for (const { tag, id } of machine.listSnapshots().everywhere) {
    await machine.loadvm(tag);
    await machine.finishLoad();
    const found = ram(machine);
    if (!saved.has(id)) saved.set(id, found);
    if (!found.equals(saved.get(id)!)) return `RAM of ${tag} (${id}) has changed`;
  }
  return undefined;
}
