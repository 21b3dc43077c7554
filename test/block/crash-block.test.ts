/**
 * A crash at any moment, and whatever part of the writes behind the last flush has reached the disk: the file is an image
 * without corruption, with all that a flush had promised, with every snapshot of before or of after.
 * AMBERVM_LONG=1: every moment, every kind of loss (more than 10,000 images).
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkImage } from '../../src/block/qcow2/check.ts';
import { layOut } from '../../src/block/qcow2/create.ts';
import { openQcow2 } from '../../src/block/qcow2/qcow2.ts';
import { delayed } from '../../src/block/filters/delay.ts';
import type { BlockFile } from '../../src/block/file.ts';
import { crashPoints, random } from '../support/crash/points.ts';
import { Rig } from '../support/crash/rig.ts';
import { isLongRun } from '../support/guests.ts';
import { MemoryFile } from '../support/memory-file.ts';
import { hasQemuImg, qemuCheck } from '../support/qemu-img.ts';
import { chains } from './crash-chains.ts';
import { image, overtaking, sequential, type Workload } from './crash-workloads.ts';

const POINTS = isLongRun ? 700 : 40;
const SEEDS = isLongRun ? [1, 2] : [1];
/** Every so manieth image is also shown to qemu-img, or opened for writing and worked on. */
const QEMU_EVERY = isLongRun ? 50 : 10;
const GO_ON_EVERY = isLongRun ? 20 : 10;

let folder = '';
let total = 0;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'ambervm-crash-'));
  // What overlays name; qemu-img wants it to be there.
  for (const name of ['base', 'middle']) writeFileSync(join(folder, name), layOut(name, image()));
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
  process.stderr.write(`${total} crashed images\n`);
});

/** Requests are done in an order that depends on nothing but the seed. */
function reordered(seed: number): (file: BlockFile) => BlockFile {
  const next = random(seed);
  return (file) =>
    delayed(file, async () => {
      for (let turns = Math.floor(next() * 20); turns > 0; turns--) await Promise.resolve();
    });
}

async function record(workload: Workload, under: (file: BlockFile) => BlockFile): Promise<Rig> {
  const file = new MemoryFile(layOut('t', workload.image));
  const before = await Rig.open(file, workload.options);
  await workload.setup?.(before);
  await before.node.close();
  const rig = await Rig.open(file, { ...workload.options, under });
  for (const step of workload.steps) await step(rig);
  await rig.node.close();
  return rig;
}

async function check(file: MemoryFile): Promise<{ corruptions: number; leaks: number }> {
  return checkImage((await openQcow2(file)).image);
}

/** The image is opened by the next program, which writes, makes a snapshot, and closes it. */
async function goesOn(file: MemoryFile): Promise<void> {
  const again = new MemoryFile(file.bytes);
  const node = await openQcow2(again);
  const tags = node.listSnapshots().map(({ tag }) => tag);
  const write = (offset: number, bytes: number, value: number): Promise<void> =>
    node.write(offset, Buffer.alloc(Math.max(0, Math.min(bytes, node.sizeBytes - offset)), value));
  await write(512, 30_000, 0xee);
  const moment = { dateSec: 1, dateNsec: 2, vmClockNs: 3, icount: -1, vmStateBytes: 0 };
  await node.createSnapshot({ tag: 'after the crash', ...moment });
  await write(Math.min(70_000, node.sizeBytes - 512), 3000, 0xdd);
  for (const tag of tags) await node.deleteSnapshot(tag);
  await node.close();
  expect((await check(again)).corruptions).toBe(0);
}

async function judgeAll(rig: Rig, seed: number): Promise<void> {
  for await (const { time, what, file } of crashPoints(rig.base, rig.log.entries, { count: POINTS, seed })) {
    expect(await rig.judge(file, time), what).toBeUndefined();
    total++;
    if (total % GO_ON_EVERY === 0) await goesOn(file);
    if (hasQemuImg && total % QEMU_EVERY === 0) {
      const filename = join(folder, 'image.qcow2');
      writeFileSync(filename, file.bytes);
      // The images below are in memory only; a check does not need them.
      const alone = { driver: 'qcow2', backing: null, file: { driver: 'file', filename } };
      const result = qemuCheck(`json:${JSON.stringify(alone)}`);
      expect(result.corruptions, `${what}: ${result.text}`).toBe(0);
    }
  }
}

const timeout = isLongRun ? 1_200_000 : 120_000;

describe('after a crash', () => {
  const inOrder = Object.entries(sequential).map(([name, workload]) => [name, () => workload] as const);
  for (const [name, make] of [...inOrder, ...Object.entries(chains)]) {
    it(name, { timeout }, async () => {
      const rig = await record(make(), (file) => file);
      expect(await check(rig.file)).toMatchObject({ corruptions: 0, leaks: 0 });
      for (const seed of SEEDS) await judgeAll(rig, seed);
    });
  }

  for (const [name, workload] of Object.entries(overtaking)) {
    it(`${name}, requests overtaking each other`, { timeout }, async () => {
      for (const seed of SEEDS) {
        const rig = await record(workload, reordered(seed));
        expect(await check(rig.file)).toMatchObject({ corruptions: 0, leaks: 0 });
        await judgeAll(rig, seed);
      }
    });
  }
});
