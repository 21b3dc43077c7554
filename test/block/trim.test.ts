/** What a guest trims is given back: from the command on the IDE port to the clusters of the image (`discard=unmap`). */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { detectZeroes } from '../../src/block/filters/detect-zeroes.ts';
import { openImage } from '../../src/block/open.ts';
import { createQcow2 } from '../../src/block/qcow2/create.ts';
import type { Qcow2 } from '../../src/block/qcow2/qcow2.ts';
import { DATA, ZERO } from '../../src/block/qcow2/references.ts';
import { MachineDisk } from '../../src/machine/disk.ts';
import type { VirtualClock } from '../../src/machine/virtual-clock.ts';
import { BMDMA_BASE, IdeRig } from '../support/ide-rig.ts';
import { hasQemuImg, qemuCheck } from '../support/qemu-img.ts';

const BASE = 0x1f0;
const LBA = 0xe0;
const TABLE = 0x1000;
const CLUSTER = 65_536;
const DATA_SET_MANAGEMENT = 0x06;
const TRIM = 1;

let folder = '';
let image = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ambervm-trim-'));
  image = join(folder, 'image.qcow2');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** A controller whose primary master is `node`; `idle` waits for the request in flight. */
function rigFor(node: Qcow2, discards: boolean): { rig: IdeRig; idle(): Promise<void> } {
  let inFlight = 0;
  const host = {
    clock: { icount: undefined } as VirtualClock,
    now: () => 0,
    inFlight: (change: number) => {
      inFlight += change;
    },
    wake: () => {},
    trayMoved: () => {},
    ioError: () => {},
    failed: (error: unknown) => {
      throw error;
    },
  };
  const backend = new MachineDisk({ device: 'ide0-hd0', node, discard: discards }, host);
  const rig = new IdeRig([{ kind: 'disk', backend }, undefined, undefined, undefined]);
  const idle = async (): Promise<void> => {
    do await new Promise((resolve) => setImmediate(resolve));
    while (inFlight > 0);
  };
  return { rig, idle };
}

/** Trims ranges of sectors [first, count]; gives the drive's status. */
async function trim(
  node: Qcow2,
  discards: boolean,
  ranges: readonly (readonly [number, number])[],
): Promise<number> {
  const { rig, idle } = rigFor(node, discards);
  const view = new DataView(rig.memory.bytes.buffer);
  ranges.forEach(([first, count], i) => {
    view.setUint32(0x20000 + i * 8, first, true);
    view.setUint16(0x20006 + i * 8, count, true);
  });
  rig.prds(TABLE, [[0x20000, 512]]);
  rig.out32(BMDMA_BASE + 4, TABLE);
  rig.command(BASE, [TRIM, 1, 0, 0, 0, LBA], DATA_SET_MANAGEMENT);
  rig.out8(BMDMA_BASE, 1);
  await idle();
  return rig.in8(BASE + 7);
}

async function kinds(node: Qcow2): Promise<number[]> {
  const found: number[] = [];
  for await (const { kind, bytes } of node.extents(0, node.sizeBytes)) {
    for (let i = 0; i < bytes / CLUSTER; i++) found.push(kind);
  }
  return found;
}

async function openFull(): Promise<Qcow2> {
  await createQcow2(image, { sizeBytes: 8 * CLUSTER });
  const node = (await openImage(image)) as Qcow2;
  await node.write(0, new Uint8Array(8 * CLUSTER).fill(0x5a));
  return node;
}

describe('TRIM', () => {
  it('tells in IDENTIFY that it is there, and gives whole clusters back', async () => {
    const node = await openFull();
    const { rig } = rigFor(node, true);
    rig.command(BASE, [0, 0, 0, 0, 0, LBA], 0xec);
    expect(rig.readWords(BASE, 256)[169 * 2]).toBe(1);
    // Clusters 1 and 2, half of 4, and the last one.
    const ranges = [
      [128, 256],
      [512, 64],
      [7 * 128, 128],
    ] as const;
    expect(await trim(node, true, ranges)).toBe(0x50);
    expect(await kinds(node)).toEqual([DATA, ZERO, ZERO, DATA, DATA, DATA, DATA, ZERO]);
    const disk = Buffer.alloc(8 * CLUSTER, 1);
    await node.read(0, disk);
    expect([disk[CLUSTER - 1], disk[CLUSTER], disk[3 * CLUSTER], disk[8 * CLUSTER - 1]]).toEqual([
      90, 0, 90, 0,
    ]);
    // Their places are used again.
    await node.flush();
    const end = node.image.fileEnd;
    await node.write(CLUSTER, new Uint8Array(2 * CLUSTER).fill(3));
    expect(node.image.fileEnd).toBe(end);
    await node.close();
    if (hasQemuImg) expect(qemuCheck(image)).toMatchObject({ corruptions: 0, leaks: 0 });
  });

  it('keeps everything without discard=unmap', async () => {
    const node = await openFull();
    expect(await trim(node, false, [[0, 1024]])).toBe(0x50);
    expect(await kinds(node)).toEqual(Array(8).fill(DATA));
    await node.close();
  });

  it('refuses what lies beyond the disk, behind what does not', async () => {
    const node = await openFull();
    const ranges = [
      [0, 128],
      [1000, 128],
      [256, 128],
    ] as const;
    expect(await trim(node, true, ranges)).toBe(0x41);
    expect((await kinds(node)).slice(0, 3)).toEqual([ZERO, DATA, DATA]);
    await node.close();
  });
});

it('detect-zeroes=unmap: zeroes that a guest writes take no place', async () => {
  const node = detectZeroes(await openFull());
  await node.write(2 * CLUSTER, new Uint8Array(3 * CLUSTER));
  const found = await kinds(node);
  expect(found.slice(2, 5)).toEqual([ZERO, ZERO, ZERO]);
  const end = node.image.fileEnd;
  await node.flush();
  await node.write(2 * CLUSTER, new Uint8Array(3 * CLUSTER).fill(1));
  expect(node.image.fileEnd).toBe(end);
  await node.close();
  if (hasQemuImg) expect(qemuCheck(image)).toMatchObject({ corruptions: 0, leaks: 0 });
});
