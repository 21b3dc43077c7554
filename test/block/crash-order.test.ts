/**
 * Whatever prefix of the writes has reached the disk, and whatever part of those behind the last flush: the file is an
 * image without corruption, with every snapshot of before or of after.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { SnapshotMeta, VmStateOptions } from '../../src/block/block-node.ts';
import { type LogEntry, logged } from '../../src/block/filters/log.ts';
import { checkImage } from '../../src/block/qcow2/check.ts';
import { layOut } from '../../src/block/qcow2/create.ts';
import { openQcow2, type Qcow2 } from '../../src/block/qcow2/qcow2.ts';
import { MemoryFile } from '../support/memory-file.ts';
import { hasQemuImg, qemuCheck } from '../support/qemu-img.ts';

const CLUSTER = 4096;
const SIZE = 4 * 1024 * 1024;

const meta = (tag: string, vmStateBytes = 0): SnapshotMeta => ({
  tag,
  dateSec: 1,
  dateNsec: 2,
  vmClockNs: 3,
  icount: -1,
  vmStateBytes,
});

const filled = (bytes: number, value: number): Uint8Array => new Uint8Array(bytes).fill(value);

async function vmState(
  node: Qcow2,
  tag: string,
  clusters: number,
  sharedFrom?: string,
  options: VmStateOptions = {},
): Promise<void> {
  const writer = await node.createVmState(options);
  for (let i = 0; i < clusters; i++) {
    if (sharedFrom !== undefined && i % 2 === 0) await writer.shareCluster(i, sharedFrom, i);
    else await writer.writeClusters(i, filled(CLUSTER, 0x40 + i));
  }
  await writer.commit(meta(tag, clusters * CLUSTER));
}

/** The steps whose writes are looked at one by one; `setup` runs before recording. */
const scenarios: Record<
  string,
  { setup?: (node: Qcow2) => Promise<void>; steps: (node: Qcow2) => Promise<void> }
> = {
  'allocating writes': {
    steps: async (node) => {
      await node.write(100, filled(3 * CLUSTER, 1));
      await node.flush();
      await node.write(SIZE - 5000, filled(5000, 2));
      await node.write(1_000_000, filled(100_000, 3));
      await node.writeZeroes(1_010_000, 50_000);
      await node.flush();
    },
  },
  'overwriting a snapshot': {
    setup: async (node) => {
      await node.write(0, filled(20 * CLUSTER, 1));
      await node.createSnapshot(meta('base'));
    },
    steps: async (node) => {
      await node.write(CLUSTER, filled(5 * CLUSTER, 2));
      await node.flush();
      await node.writeZeroes(0, 8 * CLUSTER);
      await node.write(3 * CLUSTER, filled(CLUSTER, 4));
      await node.flush();
    },
  },
  'create, apply, delete': {
    setup: (node) => node.write(5000, filled(30 * CLUSTER, 1)),
    steps: async (node) => {
      await node.createSnapshot(meta('one'));
      await node.write(0, filled(10 * CLUSTER, 2));
      await node.createSnapshot(meta('two'));
      await node.applySnapshot('one');
      await node.write(0, filled(CLUSTER, 3));
      await node.createSnapshot(meta('one'));
      await node.deleteSnapshot('two');
      await node.deleteSnapshot('one');
      await node.write(0, filled(2 * CLUSTER, 5));
    },
  },
  'VM state, shared and replaced': {
    setup: (node) => node.write(0, filled(10 * CLUSTER, 1)),
    steps: async (node) => {
      await vmState(node, 'vm', 12);
      await vmState(node, 'vm2', 12, 'vm');
      await node.write(0, filled(3 * CLUSTER, 9));
      await vmState(node, 'vm', 14, 'vm2');
      await node.deleteSnapshot('vm2');
    },
  },
  'VM state, compressed, shared and replaced': {
    setup: (node) => node.write(0, filled(10 * CLUSTER, 1)),
    steps: async (node) => {
      const compress = { workers: 1 };
      await vmState(node, 'vm', 40, undefined, { compress });
      await vmState(node, 'vm2', 40, 'vm', { compress });
      await node.write(0, filled(3 * CLUSTER, 9));
      await vmState(node, 'vm', 44, 'vm2');
      await node.deleteSnapshot('vm2');
      const writer = await node.createVmState({ compress });
      await writer.writeClusters(0, filled(30 * CLUSTER, 7));
      await writer.replace!('vm', 30 * CLUSTER);
    },
  },
  'a refcount table that grows': {
    setup: async () => {},
    steps: async (node) => {
      for (let at = 0; at < SIZE; at += SIZE / 8) await node.write(at, filled(SIZE / 8, 6));
    },
  },
};

function apply(image: MemoryFile, entry: LogEntry): Promise<void> {
  if (entry.kind === 'write') return image.write(entry.offset, entry.data);
  return entry.kind === 'truncate' ? image.truncate(entry.sizeBytes) : Promise.resolve();
}

async function ownCheck(bytes: Buffer): Promise<{ corruptions: number; messages: readonly string[] }> {
  const node = await openQcow2(new MemoryFile(bytes, 'prefix', true));
  return checkImage(node.image);
}

/** Images after each prefix, and with random holes behind the last flush. */
async function* crashes(
  base: Buffer,
  log: readonly LogEntry[],
): AsyncGenerator<{ what: string; bytes: Buffer }> {
  const prefix = new MemoryFile(base);
  const flushed = new MemoryFile(base);
  let epoch: LogEntry[] = [];
  let seed = 1;
  for (const [i, entry] of log.entries()) {
    await apply(prefix, entry);
    if (entry.kind !== 'flush') {
      epoch.push(entry);
      yield { what: `prefix ${i}`, bytes: prefix.bytes };
      const partial = new MemoryFile(flushed.bytes);
      for (const later of epoch) {
        seed = (seed * 1103515245 + 12345) % 2 ** 31;
        if ((seed & 0x10000) !== 0) await apply(partial, later);
      }
      yield { what: `subset up to ${i}`, bytes: partial.bytes };
      continue;
    }
    for (const later of epoch) await apply(flushed, later);
    epoch = [];
  }
}

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'ambervm-crash-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function record(name: string, refcountBits: number): Promise<{ base: Buffer; log: LogEntry[] }> {
  const { setup, steps } = scenarios[name]!;
  const file = new MemoryFile(layOut('t', { sizeBytes: SIZE, clusterSize: CLUSTER, refcountBits }));
  const before = await openQcow2(file);
  await setup?.(before);
  await before.close();
  const base = Buffer.from(file.bytes);
  const log: LogEntry[] = [];
  const node = await openQcow2(logged(file, log));
  await steps(node);
  await node.close();
  expect(await ownCheck(file.bytes)).toMatchObject({ corruptions: 0, leaks: 0 });
  return { base, log };
}

describe('any prefix of the writes, by our own check', () => {
  for (const name of Object.keys(scenarios)) {
    it(name, async () => {
      for (const refcountBits of [16, 64]) {
        const { base, log } = await record(name, refcountBits);
        for await (const { what, bytes } of crashes(base, log)) {
          const result = await ownCheck(bytes);
          expect(result.corruptions, `${what}: ${result.messages.join('; ')}`).toBe(0);
        }
      }
    });
  }
});

describe.skipIf(!hasQemuImg)('any prefix of the writes, by qemu-img check', () => {
  for (const name of Object.keys(scenarios)) {
    it(name, async () => {
      const { base, log } = await record(name, 16);
      const filename = join(folder, 'image.qcow2');
      for await (const { what, bytes } of crashes(base, log)) {
        writeFileSync(filename, bytes);
        const result = qemuCheck(filename);
        expect(result.corruptions, `${what}: ${result.text}`).toBe(0);
      }
    });
  }
});
