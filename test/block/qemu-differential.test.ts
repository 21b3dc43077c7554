/**
 * Random histories of one image, some steps by us, some by QEMU's tools: contents are those of a simple model, snapshots
 * too, and qemu-img check finds nothing whenever the image is closed.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type BlockNode, type SnapshotMeta, supportsSnapshots } from '../../src/block/block-node.ts';
import { openImage } from '../../src/block/open.ts';
import { createQcow2 } from '../../src/block/qcow2/create.ts';
import type { Qcow2 } from '../../src/block/qcow2/qcow2.ts';
import { hasQemuImg, qemuCheck, run } from '../support/qemu-img.ts';

const SIZE = 3 * 1024 * 1024 + 512 * 7;
const TAGS = ['a', 'b', 'c'];

const meta = (tag: string, vmStateBytes = 0): SnapshotMeta => ({
  tag,
  dateSec: 1_700_000_000,
  dateNsec: 2,
  vmClockNs: 3_000_000,
  icount: -1,
  vmStateBytes,
});

type Step =
  | {
      readonly kind: 'write' | 'zero' | 'qemu-write';
      readonly at: number;
      readonly length: number;
      readonly value: number;
    }
  | {
      readonly kind: 'snapshot' | 'apply' | 'delete' | 'qemu-apply' | 'qemu-delete' | 'qemu-snapshot';
      readonly tag: string;
    }
  | { readonly kind: 'vmstate'; readonly tag: string; readonly clusters: number; readonly share: string }
  | { readonly kind: 'flush' | 'reopen' };

const extent = {
  at: fc.nat(SIZE - 1),
  length: fc.oneof(fc.nat(3000), fc.nat(400_000)),
  value: fc.integer({ min: 1, max: 255 }),
};
const tag = fc.constantFrom(...TAGS);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('write' as const), ...extent }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('zero' as const), ...extent }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('qemu-write' as const), ...extent }) },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constantFrom(
        'snapshot' as const,
        'apply' as const,
        'delete' as const,
        'qemu-apply' as const,
        'qemu-delete' as const,
        'qemu-snapshot' as const,
      ),
      tag,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('vmstate' as const),
      tag,
      clusters: fc.integer({ min: 1, max: 40 }),
      share: tag,
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('flush' as const, 'reopen' as const) }) },
);

interface Saved {
  readonly disk: Buffer;
  readonly vm: Buffer;
}

class History {
  readonly filename: string;
  readonly folder: string;
  readonly hasBacking: boolean;
  /**
   * Compressed clusters share a cluster of the file, which counts once for each and again for each snapshot: counts of 4 bits
   * (to 15) run over, and QEMU then refuses the next snapshot (-EINVAL).
   */
  readonly mayCompress: boolean;
  disk: Buffer;
  readonly saved = new Map<string, Saved>();
  node: BlockNode & Qcow2 = undefined as never;

  constructor(folder: string, filename: string, disk: Buffer, hasBacking: boolean, mayCompress: boolean) {
    this.folder = folder;
    this.filename = filename;
    this.disk = disk;
    this.hasBacking = hasBacking;
    this.mayCompress = mayCompress;
  }

  async open(): Promise<void> {
    const node = await openImage(this.filename, { cacheBytes: 1 });
    if (!supportsSnapshots(node)) throw new Error('not qcow2');
    this.node = node as Qcow2;
  }

  async closeAndCheck(): Promise<void> {
    await this.node.close();
    const check = qemuCheck(this.filename);
    expect({ corruptions: check.corruptions, leaks: check.leaks }, check.text).toEqual({
      corruptions: 0,
      leaks: 0,
    });
    const raw = join(this.folder, 'out.raw');
    run('qemu-img', 'convert', '-f', 'qcow2', '-O', 'raw', this.filename, raw);
    expect(readFileSync(raw).equals(this.disk), 'contents by qemu-img convert').toBe(true);
    expect(
      this.node
        .listSnapshots()
        .map((s) => s.tag)
        .sort(),
    ).toEqual([...this.saved.keys()].sort());
  }

  async readAll(): Promise<void> {
    const disk = Buffer.alloc(SIZE);
    await this.node.read(0, disk);
    expect(disk.equals(this.disk), 'contents by us').toBe(true);
    for (const [name, { vm }] of this.saved) {
      const state = Buffer.alloc(vm.length);
      if (vm.length > 0) await this.node.readVmState(name, 0, state);
      expect(state.equals(vm), `VM state of ${name}`).toBe(true);
    }
  }

  /** A step that QEMU's tools do on the closed image. */
  async byQemu(...command: string[]): Promise<void> {
    await this.closeAndCheck();
    run(command[0]!, ...command.slice(1), this.filename);
    await this.open();
  }

  async step(step: Step): Promise<void> {
    switch (step.kind) {
      case 'write':
      case 'zero':
      case 'qemu-write':
        return this.#write(step.kind, step.at, Math.min(step.length, SIZE - step.at), step.value);
      case 'vmstate':
        return this.#vmState(step.tag, step.clusters, step.share);
      case 'flush':
        return this.node.flush();
      case 'reopen':
        await this.closeAndCheck();
        await this.open();
        return this.readAll();
      default:
        return this.#snapshot(step.kind, step.tag);
    }
  }

  async #write(kind: string, at: number, length: number, value: number): Promise<void> {
    if (kind === 'qemu-write') {
      if (length > 0) await this.byQemu('qemu-io', '-f', 'qcow2', '-c', `write -P ${value} ${at} ${length}`);
    } else if (kind === 'write') {
      await this.node.write(at, Buffer.alloc(length, value));
    } else {
      await this.node.writeZeroes(at, length);
    }
    this.disk.fill(kind === 'zero' ? 0 : value, at, at + length);
  }

  async #snapshot(kind: string, name: string): Promise<void> {
    const saved = this.saved.get(name);
    if (kind === 'snapshot') {
      await this.node.createSnapshot(meta(name));
      this.saved.set(name, { disk: Buffer.from(this.disk), vm: Buffer.alloc(0) });
    } else if (kind === 'qemu-snapshot') {
      if (saved !== undefined) return;
      await this.byQemu('qemu-img', 'snapshot', '-c', name);
      this.saved.set(name, { disk: Buffer.from(this.disk), vm: Buffer.alloc(0) });
    } else if (saved === undefined) {
      if (!kind.startsWith('qemu')) {
        const act = kind === 'apply' ? this.node.applySnapshot(name) : this.node.deleteSnapshot(name);
        await expect(act).rejects.toMatchObject({ code: 'not-found' });
      }
    } else if (kind.endsWith('apply')) {
      if (kind === 'apply') await this.node.applySnapshot(name);
      else await this.byQemu('qemu-img', 'snapshot', '-a', name);
      this.disk = Buffer.from(saved.disk);
    } else {
      if (kind === 'delete') await this.node.deleteSnapshot(name);
      else await this.byQemu('qemu-img', 'snapshot', '-d', name);
      this.saved.delete(name);
    }
  }

  async #vmState(name: string, clusters: number, share: string): Promise<void> {
    const compress = { workers: 1 };
    const writer = await this.node.createVmState(clusters % 2 === 0 && this.mayCompress ? { compress } : {});
    const bytes = writer.clusterBytes;
    const vm = Buffer.alloc(clusters * bytes);
    const from = this.saved.get(share)?.vm ?? Buffer.alloc(0);
    for (let i = 0; i < clusters; i++) {
      const cluster = vm.subarray(i * bytes, (i + 1) * bytes);
      if (i % 3 === 0 && (i + 1) * bytes <= from.length) {
        from.copy(cluster, 0, i * bytes, (i + 1) * bytes);
        await writer.shareCluster(i, share, i);
      } else {
        cluster.fill(i + clusters);
        await writer.writeClusters(i, cluster);
      }
    }
    await writer.commit(meta(name, vm.length));
    this.saved.set(name, { disk: Buffer.from(this.disk), vm });
  }
}

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'ambervm-diff-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const layouts = [
  { clusterSize: 512, refcountBits: 16, version: 3, backing: false },
  { clusterSize: 4096, refcountBits: 64, version: 3, backing: true },
  { clusterSize: 65_536, refcountBits: 16, version: 3, backing: true },
  { clusterSize: 65_536, refcountBits: 16, version: 2, backing: true },
  { clusterSize: 16_384, refcountBits: 4, version: 3, backing: false },
] as const;

async function start(layout: (typeof layouts)[number], number: number): Promise<History> {
  const filename = join(folder, `image${number}.qcow2`);
  const disk = Buffer.alloc(SIZE);
  const backingFile = join(folder, 'backing.qcow2');
  if (layout.backing) {
    run('qemu-img', 'create', '-q', '-f', 'qcow2', backingFile, String(SIZE - 512 * 100));
    run('qemu-io', '-c', 'write -P 77 100000 900000', backingFile);
    disk.fill(77, 100_000, 1_000_000);
  }
  const { clusterSize, refcountBits, version } = layout;
  await createQcow2(filename, {
    sizeBytes: SIZE,
    clusterSize,
    refcountBits,
    version,
    ...(layout.backing ? { backingFile: 'backing.qcow2', backingFormat: 'qcow2' } : {}),
  });
  const history = new History(folder, filename, disk, layout.backing, layout.refcountBits >= 16);
  await history.open();
  return history;
}

describe.skipIf(!hasQemuImg)('histories shared with QEMU', () => {
  let number = 0;
  for (const layout of layouts) {
    it(`version ${layout.version}, cluster ${layout.clusterSize}, refcounts ${layout.refcountBits}`, async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 25 }), async (steps) => {
          const history = await start(layout, number++);
          try {
            for (const one of steps) await history.step(one);
            await history.readAll();
          } finally {
            await history.node.close();
          }
          await history.closeAndCheck();
          for (const [name, { disk }] of history.saved) {
            await history.open();
            await history.node.applySnapshot(name);
            history.disk = disk;
            await history.readAll();
            await history.closeAndCheck();
          }
          rmSync(history.filename);
        }),
        { numRuns: Number(process.env['PROPERTY_RUNS'] ?? 6) },
      );
    });
  }
});
