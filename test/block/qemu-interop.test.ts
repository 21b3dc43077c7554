/** Images that QEMU's tools made, and locks between them and us. */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openImage } from '../../src/block/open.ts';
import { AUTOCLEAR_BITMAPS } from '../../src/block/qcow2/header.ts';
import { checkImage } from '../../src/block/qcow2/check.ts';
import { createQcow2 } from '../../src/block/qcow2/create.ts';
import type { Qcow2 } from '../../src/block/qcow2/qcow2.ts';
import { hasQemuImg, qemuCheck, run } from '../support/qemu-img.ts';

const MIB = 1024 * 1024;
const meta = (tag: string, vmStateBytes = 0) => ({
  tag,
  dateSec: 1_700_000_000,
  dateNsec: 5,
  vmClockNs: 3_600_000_000_000,
  icount: 42,
  vmStateBytes,
});

let folder = '';
let image = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ambervm-interop-'));
  image = join(folder, 'image.qcow2');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const open = async (options = {}): Promise<Qcow2> => (await openImage(image, options)) as Qcow2;

async function contents(node: Qcow2): Promise<Buffer> {
  const disk = Buffer.alloc(node.sizeBytes);
  await node.read(0, disk);
  return disk;
}

describe.skipIf(!hasQemuImg)('images that QEMU made', () => {
  it('compressed clusters are read, overwritten and released', async () => {
    const source = Buffer.alloc(4 * MIB);
    for (let i = 0; i < source.length; i++) source[i] = (i >> 9) ^ (i & 15);
    writeFileSync(join(folder, 'raw'), source);
    for (const clusterSize of [512, 65_536, 2 * MIB]) {
      run(
        'qemu-img',
        'convert',
        '-c',
        '-O',
        'qcow2',
        '-o',
        `cluster_size=${clusterSize}`,
        join(folder, 'raw'),
        image,
      );
      const node = await open();
      expect((await contents(node)).equals(source)).toBe(true);
      await node.createSnapshot(meta('one'));
      await node.write(700_000, new Uint8Array(300_000).fill(9));
      await node.deleteSnapshot('one');
      await node.close();
      expect(qemuCheck(image)).toMatchObject({ corruptions: 0, leaks: 0 });
      const expected = Buffer.from(source);
      expected.fill(9, 700_000, 1_000_000);
      run('qemu-img', 'convert', '-O', 'raw', image, join(folder, 'out'));
      expect(readFileSync(join(folder, 'out')).equals(expected)).toBe(true);
    }
  });

  it('an image with lazy refcounts that was not closed is repaired', async () => {
    run('qemu-img', 'create', '-q', '-f', 'qcow2', '-o', 'lazy_refcounts=on', image, '64M');
    spawnSync('qemu-io', ['-c', 'write -P 3 0 5M', '-c', 'flush', '-c', 'abort', image]);
    expect(qemuCheck(image).corruptions).toBeGreaterThan(0);
    const reader = await open({ readOnly: true });
    await reader.close();
    const node = await open();
    await node.write(MIB, new Uint8Array(MIB).fill(4));
    await node.close();
    expect(qemuCheck(image)).toMatchObject({ corruptions: 0, leaks: 0 });
    run('qemu-io', '-c', 'read -P 3 0 1M', '-c', 'read -P 4 1M 1M', '-c', 'read -P 3 2M 3M', image);
  });

  it('leaked clusters are found, and freed when asked', async () => {
    run('qemu-img', 'create', '-q', '-f', 'qcow2', image, '64M');
    spawnSync('qemu-io', ['-c', 'write -P 3 0 5M', image]);
    const bytes = readFileSync(image);
    bytes.writeUInt16BE(1, 2 * 65_536 + 500 * 2);
    writeFileSync(image, bytes);
    expect(qemuCheck(image).leaks).toBe(0);
    const node = await open();
    expect(await checkImage(node.image)).toMatchObject({ corruptions: 0, leaks: 1 });
    await node.close();
    const repaired = await open({ repair: true });
    expect(await checkImage(repaired.image)).toMatchObject({ corruptions: 0, leaks: 0 });
    await repaired.close();
    expect(qemuCheck(image)).toMatchObject({ corruptions: 0, leaks: 0 });
  });

  it('a dirty bitmap is in use from the first write on, and the rest stays whole', async () => {
    run('qemu-img', 'create', '-q', '-f', 'qcow2', image, '64M');
    run('qemu-img', 'bitmap', '--add', image, 'b0');
    run('qemu-img', 'bitmap', '--add', '--disable', image, 'still');
    const before = await open({ readOnly: true });
    expect(before.image.header.autoclear).toBe(AUTOCLEAR_BITMAPS);
    expect(await checkImage(before.image)).toMatchObject({ corruptions: 0, leaks: 0 });
    await before.close();
    const flags = (): unknown => {
      const info = JSON.parse(run('qemu-img', 'info', '-U', '--output=json', image)) as {
        'format-specific': { data: { bitmaps: { name: string; flags: string[] }[] } };
      };
      return info['format-specific'].data.bitmaps.map((bitmap) => [bitmap.name, bitmap.flags.join()]);
    };
    const node = await open();
    await node.flush();
    expect(flags()).toEqual([
      ['b0', 'auto'],
      ['still', ''],
    ]);
    await node.write(0, new Uint8Array(100_000).fill(1));
    await node.close();
    expect(flags()).toEqual([
      ['b0', 'in-use,auto'],
      ['still', ''],
    ]);
    expect(qemuCheck(image)).toMatchObject({ corruptions: 0, leaks: 0 });
    run('qemu-io', '-c', 'read -P 1 0 100000', image);
    // QEMU does not trust it any more.
    const merge = spawnSync('qemu-img', ['bitmap', '--merge', 'b0', image, 'still'], { encoding: 'utf8' });
    expect(merge.stderr).toContain("Bitmap 'b0' is inconsistent and cannot be used");
    run('qemu-img', 'bitmap', '--remove', image, 'b0');
    expect(flags()).toEqual([['still', '']]);
  });

  it('a dirty bitmap is not trusted after any other change of the disk either', async () => {
    const changes: Record<string, (node: Qcow2) => Promise<unknown>> = {
      zeroes: (node) => node.writeZeroes(65_536, 65_536),
      discard: (node) => node.discard(0, 65_536),
      compressed: (node) => node.writeCompressed(131_072, new Uint8Array(65_536).fill(1)),
      'a snapshot applied': (node) => node.applySnapshot('s'),
    };
    for (const [name, change] of Object.entries(changes)) {
      rmSync(image, { force: true });
      run('qemu-img', 'create', '-q', '-f', 'qcow2', image, '1M');
      run('qemu-img', 'snapshot', '-c', 's', image);
      run('qemu-img', 'bitmap', '--add', image, 'b0');
      run('qemu-io', '-c', 'write -P 3 0 64k', image);
      const node = await open();
      await change(node);
      await node.close();
      expect(run('qemu-img', 'info', image), name).toMatch(/flags:\s+\[0\]: in-use\s+\[1\]: auto\s+name: b0/);
      expect(qemuCheck(image), name).toMatchObject({ corruptions: 0, leaks: 0 });
    }
  });

  it('snapshots made by qemu-img of another disk size are applied', async () => {
    run('qemu-img', 'create', '-q', '-f', 'qcow2', image, '8M');
    run('qemu-io', '-c', 'write -P 6 0 8M', image);
    run('qemu-img', 'snapshot', '-c', 'small', image);
    run('qemu-img', 'resize', '-q', image, '2G');
    run('qemu-io', '-c', 'write -P 7 1G 1M', image);
    const node = await open();
    await node.createSnapshot(meta('large'));
    await node.applySnapshot('small');
    expect(node.sizeBytes).toBe(8 * MIB);
    expect((await contents(node)).every((byte) => byte === 6)).toBe(true);
    await node.applySnapshot('large');
    expect(node.sizeBytes).toBe(2048 * MIB);
    const part = Buffer.alloc(MIB);
    await node.read(1024 * MIB, part);
    expect(part.every((byte) => byte === 7)).toBe(true);
    await node.close();
    expect(qemuCheck(image)).toMatchObject({ corruptions: 0, leaks: 0 });
  });
});

describe.skipIf(!hasQemuImg)('images that we made', () => {
  it('qemu-img lists a snapshot with VM state, clock and instruction count', async () => {
    await createQcow2(image, { sizeBytes: 16 * MIB });
    const node = await open();
    const writer = await node.createVmState();
    await writer.writeClusters(0, new Uint8Array(32 * 65_536).fill(5));
    await writer.commit(meta('boot', 2 * MIB - 1000));
    await node.close();
    const list = run('qemu-img', 'snapshot', '-l', image);
    expect(list).toMatch(/^1\s+boot\s+2 MiB .*01:00:00\.000\s+42$/m);
    const json = JSON.parse(run('qemu-img', 'info', '-U', '--output=json', image)) as {
      snapshots: unknown[];
    };
    expect(json.snapshots).toMatchObject([
      { name: 'boot', id: '1', 'vm-state-size': 2 * MIB - 1000, icount: 42 },
    ]);
    expect(qemuCheck(image)).toMatchObject({ corruptions: 0, leaks: 0 });
    // VM state through the active L1 table, as QEMU reads it after loading.
    run('qemu-img', 'snapshot', '-a', 'boot', image);
    expect(qemuCheck(image)).toMatchObject({ corruptions: 0, leaks: 0 });
    const again = await open();
    const state = Buffer.alloc(1000);
    await again.readVmState('boot', 65_536, state);
    expect(state.every((byte) => byte === 5)).toBe(true);
    await again.createSnapshot(meta('after'));
    await again.close();
    expect(qemuCheck(image)).toMatchObject({ corruptions: 0, leaks: 0 });
  });
});

describe.skipIf(!hasQemuImg || process.platform !== 'linux')('locks', () => {
  it('QEMU is refused while we write, not while we read', async () => {
    await createQcow2(image, { sizeBytes: MIB });
    const node = await open();
    const refused = spawnSync('qemu-io', ['-c', 'read 0 512', image], { encoding: 'utf8' });
    expect(refused.stderr).toContain('Failed to get "write" lock');
    expect(spawnSync('qemu-img', ['info', image]).status).not.toBe(0);
    await node.close();
    const reader = await open({ readOnly: true });
    expect(spawnSync('qemu-img', ['info', image]).status).toBe(0);
    expect(spawnSync('qemu-io', ['-r', '-c', 'read 0 512', image]).status).toBe(0);
    expect(spawnSync('qemu-io', ['-c', 'read 0 512', image]).status).not.toBe(0);
    await reader.close();
    expect(spawnSync('qemu-io', ['-c', 'read 0 512', image]).status).toBe(0);
  });

  it('we are refused while QEMU or we have the image', async () => {
    await createQcow2(image, { sizeBytes: MIB });
    const qemu = spawn('qemu-io', [image], { stdio: ['pipe', 'pipe', 'inherit'] });
    await new Promise<void>((resolve) => qemu.stdout.once('data', () => resolve()));
    await expect(open()).rejects.toMatchObject({
      code: 'in-use',
      message: expect.stringMatching(/^Failed to get .*lock\nIs another process using the image \[.*\]\?$/),
    });
    await expect(open({ readOnly: true })).rejects.toMatchObject({ code: 'in-use' });
    const shared = await open({ readOnly: true, forceShare: true });
    await shared.close();
    const gone = new Promise((resolve) => qemu.once('close', resolve));
    qemu.kill('SIGKILL');
    await gone;
    const node = await open();
    await expect(open()).rejects.toMatchObject({ code: 'in-use' });
    await node.close();
    await (await open()).close();
  });
});
