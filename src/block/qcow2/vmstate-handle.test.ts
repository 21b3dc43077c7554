import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hasQemuImg, qemuCheck, run } from '../../../test/support/qemu-img.ts';
import { openImage } from '../open.ts';
import type { Qcow2 } from './qcow2.ts';

const META = { dateSec: 1, dateNsec: 0, vmClockNs: 0, icount: -1 };
const CLUSTER = 65536;
let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'ambervm-handle-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function clusters(count: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(count * CLUSTER);
  for (let i = 0; i < count; i++) bytes.fill(seed + i, i * CLUSTER, (i + 1) * CLUSTER);
  return bytes;
}

async function image(name: string): Promise<Qcow2> {
  const file = join(folder, name);
  run('qemu-img', 'create', '-q', '-f', 'qcow2', file, '600M');
  return (await openImage(file)) as Qcow2;
}

async function save(node: Qcow2, tag: string, data: Uint8Array): Promise<void> {
  const writer = await node.createVmState();
  await writer.writeClusters(0, data);
  await writer.commit({ ...META, tag, vmStateBytes: data.length });
}

describe.skipIf(!hasQemuImg)('VM state with its place in the file', () => {
  it('is read at once and later, until the snapshot is gone', async () => {
    const node = await image('read.qcow2');
    await save(node, 'a', clusters(5, 1));
    const handle = await node.openVmState('a');
    const [one, two, raw] = [new Uint8Array(100), new Uint8Array(100), new Uint8Array(2 * CLUSTER)];
    handle.readSync!(2 * CLUSTER - 50, one);
    await handle.read(2 * CLUSTER - 50, two);
    expect([one[49], one[50]]).toEqual([2, 3]);
    expect(two).toEqual(one);
    await handle.readHost(handle.hostOffsets[3]!, raw);
    expect([raw[0], raw[CLUSTER]]).toEqual([4, 5]);
    expect(handle.alive).toBe(true);
    await node.deleteSnapshot('a');
    expect(handle.alive).toBe(false);
    expect(await handle.overwrite(0, one)).toBe(false);
    await node.close();
  });

  it('lays out writes under way at a time side by side, across the pieces in which space is reserved', async () => {
    const node = await image('large.qcow2');
    const writer = await node.createVmState();
    const [writes, each] = [6, 45];
    const data = clusters(each, 1);
    await Promise.all(
      Array.from({ length: writes }, (_, i) =>
        writer.writeClusters(
          i * each,
          data.map((byte) => byte + i),
        ),
      ),
    );
    await writer.commit({ ...META, tag: 'a', vmStateBytes: writes * each * CLUSTER });
    const handle = await node.openVmState('a');
    const places = [...handle.hostOffsets].sort((a, b) => a - b);
    expect(places.every((place, i) => place === places[0]! + i * CLUSTER)).toBe(true);
    const byte = new Uint8Array(1);
    for (let i = 0; i < writes; i++) {
      for (let n = 1; n < each; n++) {
        expect(handle.hostOffsets[i * each + n]).toBe(handle.hostOffsets[i * each]! + n * CLUSTER);
      }
      handle.readSync!((i * each + 7) * CLUSTER, byte);
      expect(byte[0]).toBe(8 + i);
    }
    await node.close();
    expect(qemuCheck(join(folder, 'large.qcow2'))).toMatchObject({ corruptions: 0, leaks: 0 });
  });

  it('shares many clusters in one pass, and scatters others together', async () => {
    const node = await image('share.qcow2');
    await save(node, 'a', clusters(20, 1));
    const writer = await node.createVmState();
    const shared = [...Array(20).keys()].filter((i) => i % 3 !== 0);
    const own = [...Array(20).keys()].filter((i) => i % 3 === 0);
    await writer.shareClusters(shared, 'a', shared);
    await writer.writeScattered(own, clusters(own.length, 101));
    await writer.commit({ ...META, tag: 'b', vmStateBytes: 20 * CLUSTER });
    const [a, b] = [await node.openVmState('a'), await node.openVmState('b')];
    for (const i of shared) expect(b.hostOffsets[i]).toBe(a.hostOffsets[i]);
    // Holes first, then one piece.
    const places = own.map((i) => b.hostOffsets[i]!);
    const gaps = places.filter((place, n) => n > 0 && place !== places[n - 1]! + CLUSTER);
    expect(gaps.length).toBeLessThanOrEqual(1);
    const byte = new Uint8Array(1);
    b.readSync!(6 * CLUSTER, byte);
    expect(byte[0]).toBe(103);
    expect(await b.overwrite(4 * CLUSTER, byte)).toBe(false);
    expect(await b.overwrite(6 * CLUSTER + 5, new Uint8Array([9, 9]))).toBe(true);
    b.readSync!(6 * CLUSTER + 6, byte);
    expect(byte[0]).toBe(9);
    await node.deleteSnapshot('a');
    expect(await b.overwrite(4 * CLUSTER, byte)).toBe(true);
    await node.close();
    expect(qemuCheck(join(folder, 'share.qcow2'))).toMatchObject({ corruptions: 0, leaks: 0 });
  });

  it('expands compressed clusters at once', async () => {
    const node = await image('plain.qcow2');
    await save(node, 'a', clusters(4, 1));
    await node.close();
    // qemu-img knows no compressed VM state: make the disk compressed and name its clusters from a snapshot.
    const file = join(folder, 'compressed.qcow2');
    run('qemu-img', 'create', '-q', '-f', 'qcow2', join(folder, 'raw.qcow2'), '1M');
    run('qemu-io', '-c', 'write -P 7 0 256k', join(folder, 'raw.qcow2'));
    run('qemu-img', 'convert', '-c', '-O', 'qcow2', join(folder, 'raw.qcow2'), file);
    const compressed = (await openImage(file)) as Qcow2;
    const l2 = await compressed.image.l2Cache.get(compressed.image.l2Offset(compressed.image.l1, 0));
    await save(compressed, 'a', clusters(4, 1));
    const snapshotL2 = (await compressed.openVmState('a')).hostOffsets;
    expect(snapshotL2[0]).toBeGreaterThan(0);
    const table = await vmTable(compressed);
    l2.copy(table, 0, 0, 16);
    const handle = await compressed.openVmState('a');
    expect(handle.hostOffsets[0]).toBeLessThan(0);
    const bytes = new Uint8Array(CLUSTER);
    handle.readSync!(CLUSTER / 2, bytes);
    expect(bytes.every((b) => b === 7)).toBe(true);
    compressed.image.l2Cache.clear();
    await compressed.close();
  });
});

/** The cached L2 table of snapshot 1's VM state (a disk of 1 MiB has one table before it). */
async function vmTable(node: Qcow2): Promise<Buffer> {
  const snapshot = node.image.snapshots[0]!;
  const l1 = Buffer.alloc(snapshot.l1Entries * 8);
  await node.image.file.read(snapshot.l1Offset, l1);
  return node.image.l2Cache.get(node.image.l2Offset(l1, 1));
}

describe.skipIf(!hasQemuImg)('applySnapshot', () => {
  it('costs what was written since', async () => {
    const node = await image('apply.qcow2');
    for (let at = 0; at < 600; at += 100) await node.write(at << 20, new Uint8Array(CLUSTER).fill(1));
    await node.createSnapshot({ ...META, tag: 'a', vmStateBytes: 0 });
    const before = node.image.header.l1Offset;
    await node.applySnapshot('a');
    expect(node.image.header.l1Offset).toBe(before);
    const byte = new Uint8Array(1);
    for (let round = 0; round < 5; round++) {
      await node.write(300 << 20, new Uint8Array([5]));
      await node.write(599 << 20, new Uint8Array([6]));
      await node.applySnapshot('a');
      await node.read(300 << 20, byte);
      expect(byte[0]).toBe(1);
      await node.read(599 << 20, byte);
      expect(byte[0]).toBe(0);
    }
    expect(qemuCheck(join(folder, 'apply.qcow2'), true)).toMatchObject({ corruptions: 0 });
    await node.deleteSnapshot('a');
    await node.read(500 << 20, byte);
    expect(byte[0]).toBe(1);
    await node.close();
    expect(qemuCheck(join(folder, 'apply.qcow2'))).toMatchObject({ corruptions: 0, leaks: 0 });
  });
});
