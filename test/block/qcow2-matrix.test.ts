/**
 * The same random history by us and by QEMU's tools, over a matrix of cluster sizes, refcount widths and features: after
 * every step `qemu-img check` is clean, QEMU reads what a simple model says, and so do we. AMBERVM_LONG=1: 2,000 histories.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openImage } from '../../src/block/open.ts';
import { checkImage } from '../../src/block/qcow2/check.ts';
import { createQcow2 } from '../../src/block/qcow2/create.ts';
import { Qcow2 } from '../../src/block/qcow2/qcow2.ts';
import { hasQemuImg, qemuCheck, run } from '../support/qemu-img.ts';

const LONG = process.env['AMBERVM_LONG'] === '1';
const RUNS = Number(process.env['PROPERTY_RUNS'] ?? (LONG ? 2000 : 100));
/** CI repeats the same histories; the long run makes new ones each time. */
const SEED = process.env['SEED'] ?? (LONG ? undefined : '20261121');
const TAGS = ['a', 'b', 'c'] as const;

interface Layout {
  readonly clusterSize: number;
  readonly refcountBits: number;
  readonly version: 2 | 3;
  readonly extendedL2: boolean;
  readonly lazy: boolean;
  readonly data: 'inside' | 'external' | 'raw';
  readonly backing: 'none' | 'raw' | 'qcow2';
  /** Size of the backing file, in parts of 256 of the image's. */
  readonly backingParts: number;
  readonly byUs: boolean;
  /** Clusters that QEMU writes compressed into the new image. */
  readonly compressed: number;
}

const layouts: fc.Arbitrary<Layout> = fc
  .record({
    clusterBits: fc.constantFrom(9, 9, 10, 12, 12, 14, 16, 16, 17, 21),
    order: fc.integer({ min: 0, max: 6 }),
    version: fc.constantFrom(2 as const, 3 as const, 3 as const, 3 as const),
    extendedL2: fc.boolean(),
    lazy: fc.boolean(),
    data: fc.constantFrom(
      'inside' as const,
      'inside' as const,
      'inside' as const,
      'external' as const,
      'raw' as const,
    ),
    backing: fc.constantFrom('none' as const, 'none' as const, 'raw' as const, 'qcow2' as const),
    backingParts: fc.integer({ min: 1, max: 400 }),
    byUs: fc.boolean(),
    compressed: fc.constantFrom(0, 0, 1, 3),
  })
  .map(({ clusterBits, order, ...rest }) => {
    const { version } = rest;
    const data = version === 2 ? 'inside' : rest.data;
    return {
      clusterSize: 2 ** clusterBits,
      refcountBits: version === 2 ? 16 : 2 ** order,
      version,
      extendedL2: version === 3 && clusterBits >= 14 && rest.extendedL2,
      lazy: version === 3 && rest.lazy,
      data,
      backing: data === 'raw' ? 'none' : rest.backing,
      backingParts: rest.backingParts,
      byUs: rest.byUs,
      compressed: data === 'inside' ? rest.compressed : 0,
    };
  });

/** Numbers from 0 to 1 that become places in a disk whose size changes. */
const share = fc.integer({ min: 0, max: 10_000 }).map((n) => n / 10_000);
const change = fc.record({
  kind: fc.constantFrom('write', 'write', 'write', 'zero', 'zero-unmap', 'discard', 'compressed'),
  at: share,
  length: fc.oneof(
    share.map((n) => n / 100),
    share.map((n) => n / 3),
  ),
  /** 1: at sectors, 0: at clusters. */
  fine: fc.boolean(),
  value: fc.integer({ min: 1, max: 255 }),
});
type Change = typeof change extends fc.Arbitrary<infer T> ? T : never;
const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('us' as const),
      changes: fc.array(change, { minLength: 1, maxLength: 6 }),
      together: fc.boolean(),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('qemu' as const),
      changes: fc.array(change, { minLength: 1, maxLength: 6 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constantFrom('create' as const, 'apply' as const, 'delete' as const),
      tag: fc.constantFrom(...TAGS),
      byUs: fc.boolean(),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('resize' as const), to: share, byUs: fc.boolean() }),
  },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'ambervm-matrix-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

class History {
  readonly image = join(folder, 'image.qcow2');
  readonly model = join(folder, 'model.raw');
  readonly layout: Layout;
  disk: Buffer;
  readonly saved = new Map<string, Buffer>();

  constructor(layout: Layout) {
    this.layout = layout;
    // Two L2 tables where clusters are small, a few clusters where they are large.
    const { clusterSize } = layout;
    const bytes = Math.min(Math.max(clusterSize * 5, 96 * 1024), 5 * 1024 * 1024) + 512 * 3;
    this.disk = Buffer.alloc(bytes);
  }

  async create(): Promise<void> {
    const { backing, backingParts, byUs, clusterSize, data, extendedL2, lazy, refcountBits, version } =
      this.layout;
    const size = this.disk.length;
    rmSync(this.image, { force: true });
    const below = join(folder, `below.${backing}`);
    if (backing !== 'none') {
      const bytes = Math.ceil((size * backingParts) / 256 / 512) * 512;
      run('qemu-img', 'create', '-q', '-f', backing, below, String(bytes));
      const from = Math.floor(bytes / 3072) * 512;
      run('qemu-io', '-f', backing, '-c', `write -P 119 ${from} ${bytes - from}`, below);
      this.disk.fill(119, Math.min(from, size), Math.min(bytes, size));
    }
    if (byUs) {
      await createQcow2(this.image, {
        sizeBytes: size,
        clusterSize,
        refcountBits,
        version,
        extendedL2,
        lazyRefcounts: lazy,
        ...(data === 'inside' ? {} : { dataFile: join(folder, 'data.raw'), dataFileRaw: data === 'raw' }),
        ...(backing === 'none' ? {} : { backingFile: below, backingFormat: backing }),
      });
      return;
    }
    const options = [`cluster_size=${clusterSize}`, `compat=${version === 2 ? 'v2' : 'v3'}`];
    if (version === 3) options.push(`refcount_bits=${refcountBits}`, `lazy_refcounts=${lazy ? 'on' : 'off'}`);
    if (extendedL2) options.push('extended_l2=on');
    if (data !== 'inside') options.push(`data_file=${join(folder, 'data.raw')}`);
    if (data === 'raw') options.push('data_file_raw=on');
    const base = backing === 'none' ? [] : ['-b', below, '-F', backing];
    rmSync(join(folder, 'data.raw'), { force: true });
    run('qemu-img', 'create', '-q', '-f', 'qcow2', ...base, '-o', options.join(), this.image, String(size));
  }

  compress(): void {
    const { clusterSize, compressed } = this.layout;
    const commands: string[] = [];
    for (let i = 0; i < compressed && (i + 1) * clusterSize <= this.disk.length; i++) {
      commands.push('-c', `write -c -P ${i + 1} ${i * clusterSize} ${clusterSize}`);
      this.disk.fill(i + 1, i * clusterSize, (i + 1) * clusterSize);
    }
    if (commands.length > 0) run('qemu-io', '-f', 'qcow2', ...commands, this.image);
  }

  async open<T>(task: (node: Qcow2) => Promise<T>): Promise<T> {
    const node = await openImage(this.image, { cacheBytes: 1, lock: false });
    if (!(node instanceof Qcow2)) throw new Error('not qcow2');
    try {
      return await task(node);
    } finally {
      await node.close();
    }
  }

  /** Where a change goes: whole sectors, or whole clusters. */
  place({ at, fine, kind, length }: Change): { from: number; bytes: number } {
    const unit = fine && kind !== 'compressed' ? 512 : this.layout.clusterSize;
    const size = this.disk.length;
    const from = Math.floor((at * (size - 512)) / unit) * unit;
    const bytes = Math.min(size - from, Math.max(1, Math.round((length * size) / unit)) * unit);
    return { from, bytes: kind === 'compressed' ? Math.min(bytes, this.layout.clusterSize) : bytes };
  }

  /** What a change does to the disk; false if it is not for this image. */
  apply(one: Change, byUs: boolean): boolean {
    const { backing, clusterSize, data, version } = this.layout;
    const { from, bytes } = this.place(one);
    if (one.kind === 'compressed') {
      // QEMU does so only where nothing is.
      if (data !== 'inside' || !byUs) return false;
      this.disk.fill(one.value, from, from + bytes);
    } else if (one.kind === 'discard') {
      const end = from + bytes;
      const first = Math.ceil(from / clusterSize) * clusterSize;
      const last = end === this.disk.length ? end : Math.floor(end / clusterSize) * clusterSize;
      const shows = version === 2 && backing !== 'none';
      // Of a raw data file QEMU forgets what it discards, and we keep it.
      if (data === 'raw' && !byUs) return false;
      if (last > first && !shows && data !== 'raw') this.disk.fill(0, first, last);
    } else {
      this.disk.fill(one.kind === 'write' ? one.value : 0, from, from + bytes);
    }
    return true;
  }

  async byUs(changes: readonly Change[], together: boolean): Promise<void> {
    await this.open(async (node) => {
      const running: Promise<void>[] = [];
      let end = 0;
      for (const one of together ? [...changes].sort((a, b) => a.at - b.at) : changes) {
        const { from, bytes } = this.place(one);
        if (together && from < end) continue;
        end = from + bytes;
        if (!this.apply(one, true)) continue;
        running.push(this.#ours(node, one, from, bytes));
        if (!together) await running.pop();
      }
      await Promise.all(running);
    });
  }

  #ours(node: Qcow2, one: Change, from: number, bytes: number): Promise<void> {
    if (one.kind === 'write') return node.write(from, Buffer.alloc(bytes, one.value));
    if (one.kind === 'compressed') return node.writeCompressed(from, Buffer.alloc(bytes, one.value));
    return one.kind === 'discard' ? node.discard(from, bytes) : node.writeZeroes(from, bytes);
  }

  byQemu(changes: readonly Change[]): void {
    const commands: string[] = [];
    for (const one of changes) {
      const { from, bytes } = this.place(one);
      if (!this.apply(one, false)) continue;
      const words: Record<string, string> = {
        write: `write -P ${one.value}`,
        zero: 'write -z',
        'zero-unmap': 'write -z -u',
        discard: 'discard',
      };
      commands.push('-c', `${words[one.kind]} ${from} ${bytes}`);
    }
    if (commands.length === 0) return;
    const text = run('qemu-io', '-d', 'unmap', '-f', 'qcow2', ...commands, this.image);
    if (/failed|error/i.test(text)) throw new Error(`${commands.join(' ')}: ${text}`);
  }

  async snapshot(kind: 'create' | 'apply' | 'delete', tag: string, byUs: boolean): Promise<void> {
    const { data, refcountBits } = this.layout;
    const saved = this.saved.get(tag);
    if (data !== 'inside' || refcountBits < 4) return;
    if ((kind === 'create') === (saved !== undefined)) return;
    if (byUs) {
      await this.open(async (node) => {
        if (kind === 'apply') await node.applySnapshot(tag);
        else if (kind === 'delete') await node.deleteSnapshot(tag);
        else {
          const meta = { tag, dateSec: 1, dateNsec: 2, vmClockNs: 3, icount: -1, vmStateBytes: 0 };
          await node.createSnapshot(meta);
        }
      });
    } else {
      run('qemu-img', 'snapshot', { create: '-c', apply: '-a', delete: '-d' }[kind], tag, this.image);
    }
    if (kind === 'create') this.saved.set(tag, Buffer.from(this.disk));
    else if (kind === 'apply') this.disk = Buffer.from(saved!);
    else this.saved.delete(tag);
  }

  async resize(to: number, byUs: boolean): Promise<void> {
    if (this.layout.version === 2 && this.saved.size > 0) return;
    // QEMU leaves what is behind a size that is no whole cluster, and shows it again later.
    const unit = byUs ? 512 : this.layout.clusterSize;
    const bytes = Math.max(1, Math.round((to * 1.5 * this.disk.length) / unit)) * unit;
    if (bytes > 12 * 1024 * 1024 || (!byUs && this.disk.length % unit !== 0)) return;
    // QEMU refuses to grow what a backing file would shine through: version 2 has no zero clusters.
    const { version, backing } = this.layout;
    if (!byUs && version === 2 && backing !== 'none' && bytes > this.disk.length) return;
    if (byUs) await this.open((node) => node.resize(bytes));
    else run('qemu-img', 'resize', '-q', '-f', 'qcow2', '--shrink', this.image, String(bytes));
    const disk = Buffer.alloc(bytes);
    this.disk.copy(disk);
    this.disk = disk;
  }

  async step(one: Step): Promise<void> {
    if (one.kind === 'us') await this.byUs(one.changes, one.together);
    else if (one.kind === 'qemu') this.byQemu(one.changes);
    else if (one.kind === 'resize') await this.resize(one.to, one.byUs);
    else await this.snapshot(one.kind, one.tag, one.byUs);
  }

  async check(): Promise<void> {
    const { corruptions, leaks, text } = qemuCheck(this.image);
    expect({ corruptions, leaks }, text).toEqual({ corruptions: 0, leaks: 0 });
    writeFileSync(this.model, this.disk);
    const compare = spawnSync('qemu-img', ['compare', '-f', 'qcow2', '-F', 'raw', this.image, this.model], {
      encoding: 'utf8',
    });
    expect(compare.status, `QEMU reads: ${compare.stdout}${compare.stderr}`).toBe(0);
    const node = (await openImage(this.image, { readOnly: true, lock: false, cacheBytes: 1 })) as Qcow2;
    const ours = Buffer.alloc(this.disk.length);
    expect(node.sizeBytes).toBe(ours.length);
    await node.read(0, ours);
    const own = await checkImage(node.image);
    await node.close();
    expect(firstDifference(ours, this.disk), 'we read').toBe(-1);
    expect(own.messages).toEqual([]);
    const raw = join(folder, 'data.raw');
    if (this.layout.data === 'raw' && existsSync(raw)) {
      const file = readFileSync(raw).subarray(0, this.disk.length);
      expect(firstDifference(file, this.disk), 'raw data file').toBe(-1);
    }
  }
}

function firstDifference(a: Buffer, b: Buffer): number {
  if (a.equals(b)) return -1;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return i;
  return Math.min(a.length, b.length);
}

describe.skipIf(!hasQemuImg)('histories shared with QEMU', () => {
  it(
    `${RUNS} of them`,
    async () => {
      await fc.assert(
        fc.asyncProperty(
          layouts,
          fc.array(step, { minLength: 2, maxLength: LONG ? 12 : 3 }),
          async (layout, steps) => {
            const history = new History(layout);
            await history.create();
            history.compress();
            await history.check();
            for (const one of steps) {
              await history.step(one);
              await history.check();
            }
            for (const [tag, disk] of history.saved) {
              await history.open((node) => node.applySnapshot(tag));
              history.disk = Buffer.from(disk);
              await history.check();
            }
          },
        ),
        {
          numRuns: RUNS,
          endOnFailure: process.env['SHRINK'] === undefined,
          ...(SEED === undefined ? {} : { seed: Number(SEED) }),
        },
      );
    },
    LONG ? 4 * 3_600_000 : 900_000,
  );
});
