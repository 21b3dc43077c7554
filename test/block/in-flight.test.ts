/** Requests in flight together, over a file whose requests complete in any order; and requests that fail. */
import { describe, expect, it } from 'vitest';
import { BlockError } from '../../src/block/errors.ts';
import { delayed } from '../../src/block/filters/delay.ts';
import { injectErrors, type Operation } from '../../src/block/filters/inject-error.ts';
import { checkImage } from '../../src/block/qcow2/check.ts';
import { Lru } from '../../src/block/lru.ts';
import { layOut } from '../../src/block/qcow2/create.ts';
import { openQcow2, type Qcow2 } from '../../src/block/qcow2/qcow2.ts';
import { MemoryFile } from '../support/memory-file.ts';

const CLUSTER = 4096;
const SECTOR = 512;
const SIZE = 1024 * 1024;
const WORKERS = 4;

const meta = (tag: string, vmStateBytes = 0) => ({
  tag,
  dateSec: 1,
  dateNsec: 2,
  vmClockNs: 3,
  icount: -1,
  vmStateBytes,
});

function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Each writer has the sectors of its own residue, so that all write the same clusters and none the same sector. */
async function writer(node: Qcow2, model: Buffer, number: number, next: () => number): Promise<void> {
  for (let i = 0; i < 120; i++) {
    const sector = Math.floor((next() * SIZE) / SECTOR / WORKERS) * WORKERS + number;
    const at = sector * SECTOR;
    const value = 1 + Math.floor(next() * 255);
    if (next() < 0.1) {
      await node.writeZeroes(at, SECTOR);
      model.fill(0, at, at + SECTOR);
    } else {
      await node.write(at, new Uint8Array(SECTOR).fill(value));
      model.fill(value, at, at + SECTOR);
    }
    const back = Buffer.alloc(SECTOR);
    await node.read(at, back);
    expect(back.equals(model.subarray(at, at + SECTOR))).toBe(true);
  }
}

async function snapshots(node: Qcow2): Promise<void> {
  for (let i = 0; i < 4; i++) {
    await node.createSnapshot(meta(`s${i % 2}`));
    const state = await node.createVmState();
    const writes: Promise<void>[] = [];
    for (let j = 0; j < 6; j++) writes.push(state.writeClusters(5 - j, new Uint8Array(CLUSTER).fill(j)));
    await Promise.all(writes);
    await state.commit(meta('vm', 6 * CLUSTER));
    await node.flush();
    if (i === 2) await node.deleteSnapshot('s0');
  }
}

describe('requests in flight together', () => {
  for (const seed of [1, 2, 3]) {
    it(`seed ${seed}`, async () => {
      const next = random(seed);
      const file = new MemoryFile(layOut('t', { sizeBytes: SIZE, clusterSize: CLUSTER }));
      const slow = delayed(file, async () => {
        for (let turns = Math.floor(next() * 6); turns > 0; turns--) await new Promise(setImmediate);
      });
      const node = await openQcow2(slow, { lru: new Lru(1) });
      const model = Buffer.alloc(SIZE);
      const work: Promise<void>[] = [snapshots(node)];
      for (let i = 0; i < WORKERS; i++) work.push(writer(node, model, i, next));
      await Promise.all(work);
      const disk = Buffer.alloc(SIZE);
      await node.read(0, disk);
      expect(disk.equals(model)).toBe(true);
      await node.close();
      const again = await openQcow2(file);
      await again.read(0, disk);
      expect(disk.equals(model)).toBe(true);
      expect(await checkImage(again.image)).toMatchObject({ corruptions: 0, leaks: 0 });
    });
  }
});

async function history(node: Qcow2, model: Buffer): Promise<void> {
  const write = async (at: number, length: number, value: number): Promise<void> => {
    await node.write(at, Buffer.alloc(length, value));
    model.fill(value, at, at + length);
  };
  await write(100, 50_000, 1);
  await node.createSnapshot(meta('one'));
  await write(20_000, 30_000, 2);
  await node.flush();
  const state = await node.createVmState();
  await state.writeClusters(0, new Uint8Array(8 * CLUSTER).fill(7));
  await state.commit(meta('one', 8 * CLUSTER));
  await write(0, 5000, 3);
  await node.deleteSnapshot('one');
  await node.flush();
}

describe('failing requests', () => {
  for (const operation of ['write', 'flush'] as const satisfies readonly Operation[]) {
    it(`each ${operation} in turn`, async () => {
      let failed = true;
      for (let number = 0; failed; number++) {
        const file = new MemoryFile(layOut('t', { sizeBytes: SIZE, clusterSize: CLUSTER }));
        const injector = injectErrors(file);
        const node = await openQcow2(injector.file);
        const model = Buffer.alloc(SIZE);
        injector.failAt(operation, number, 'no-space');
        failed = false;
        try {
          await history(node, model);
        } catch (error) {
          expect(error).toBeInstanceOf(BlockError);
          failed = true;
        }
        injector.heal();
        await node.close().catch((error: unknown) => expect(error).toBeInstanceOf(BlockError));
        const again = await openQcow2(new MemoryFile(file.bytes));
        const result = await checkImage(again.image);
        expect(result.corruptions, `${operation} ${number}: ${result.messages.join('; ')}`).toBe(0);
        expect(result.leaks, `${operation} ${number}: ${result.messages.join('; ')}`).toBe(0);
        const disk = Buffer.alloc(5000);
        await again.read(30_000, disk);
        expect([0, 1, 2]).toContain(disk[0]);
      }
    });
  }
});
