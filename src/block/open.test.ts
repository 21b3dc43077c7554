import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { BlockNode } from './block-node.ts';
import { openFile } from './file.ts';
import { MAX_CHAIN_DEPTH, openImage, plainName } from './open.ts';
import { createQcow2 } from './qcow2/create.ts';

const MIB = 1024 * 1024;
const unlocked: typeof openFile = (name, options) => openFile(name, { ...options, lock: false });

let folder = '';
let nodes: BlockNode[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ambervm-open-'));
  nodes = [];
});
afterEach(async () => {
  for (const node of nodes) await node.close();
  rmSync(folder, { recursive: true, force: true });
});

const path = (name: string): string => join(folder, name);

async function open(name: string, options: Parameters<typeof openImage>[1] = {}): Promise<BlockNode> {
  const node = await openImage(name, options);
  nodes.push(node);
  return node;
}

async function read(node: BlockNode, offset: number, length: number): Promise<Buffer> {
  const data = Buffer.alloc(length);
  await node.read(offset, data);
  return data;
}

describe('names', () => {
  it('json: and protocols are refused by name', async () => {
    await expect(open('json:{"driver":"raw"}')).rejects.toMatchObject({ code: 'unsupported' });
    await expect(open('nbd://host/x')).rejects.toThrow(
      "Could not open 'nbd://host/x': Unknown protocol 'nbd'",
    );
    expect(plainName('file:a.img')).toBe('a.img');
    expect(plainName('./nbd:a')).toBe('./nbd:a');
    expect(plainName('/tmp/a:b')).toBe('/tmp/a:b');
  });

  it('errors of the host are in QEMU words', async () => {
    const missing = path('missing');
    await expect(open(missing)).rejects.toMatchObject({
      code: 'not-found',
      message: `Could not open '${missing}': No such file or directory`,
    });
    await expect(open(folder)).rejects.toThrow(`Could not open '${folder}': Is a directory`);
  });

  it('a backing name inside an image is a plain path only', async () => {
    await createQcow2(path('a'), {
      sizeBytes: MIB,
      backingFile: 'json:{"driver":"nbd"}',
      backingFormat: 'raw',
    });
    await expect(open(path('a'))).rejects.toMatchObject({ code: 'unsupported' });
    const alone = await open(path('a'), { backing: false });
    expect((await read(alone, 0, 512)).every((byte) => byte === 0)).toBe(true);
  });
});

describe('probing', () => {
  it('a guest cannot make a probed raw disk into a qcow2 image', async () => {
    writeFileSync(path('raw'), Buffer.alloc(MIB));
    const warnings: string[] = [];
    const probed = await open(path('raw'), { warn: (message) => warnings.push(message) });
    expect(warnings[0]).toContain('write operations on block 0 will be restricted');
    const header = Buffer.alloc(512);
    header.write('QFI\xfb\0\0\0\x03', 'latin1');
    await expect(probed.write(0, header)).rejects.toMatchObject({ code: 'read-only' });
    await probed.write(0, header.subarray(0, 3));
    await expect(probed.write(3, header.subarray(3, 4))).rejects.toMatchObject({ code: 'read-only' });
    await probed.write(512, header);
    await probed.close();
    const given = await open(path('raw'), { format: 'raw' });
    await given.write(0, header);
  });

  it('formats that we do not read are refused by name', async () => {
    writeFileSync(path('vmdk'), Buffer.concat([Buffer.from('KDMV'), Buffer.alloc(1020)]));
    await expect(open(path('vmdk'))).rejects.toThrow("Unknown driver 'vmdk'");
    await expect(open(path('vmdk'), { format: 'vpc' })).rejects.toThrow("Unknown driver 'vpc'");
  });
});

describe('backing chains', () => {
  it('are found beside the overlay, and are not written', async () => {
    mkdirSync(path('sub'));
    writeFileSync(path('sub/base.raw'), Buffer.alloc(MIB, 7));
    await createQcow2(path('sub/mid'), { sizeBytes: 2 * MIB, backingFile: 'base.raw', backingFormat: 'raw' });
    await createQcow2(path('top'), { sizeBytes: 3 * MIB, backingFile: 'sub/mid', backingFormat: 'qcow2' });
    const top = await open(path('top'));
    expect(await read(top, MIB - 4, 8)).toEqual(Buffer.from([7, 7, 7, 7, 0, 0, 0, 0]));
    await top.write(MIB - 2, new Uint8Array([1, 2, 3]));
    expect(await read(top, MIB - 4, 8)).toEqual(Buffer.from([7, 7, 1, 2, 3, 0, 0, 0]));
    await top.writeZeroes(0, 100_000);
    expect(await read(top, 99_999, 2)).toEqual(Buffer.from([0, 7]));
    await top.close();
    expect(readFileSync(path('sub/base.raw')).every((byte) => byte === 7)).toBe(true);
  });

  it('that bite their own tail are refused', async () => {
    await createQcow2(path('a'), { sizeBytes: MIB, backingFile: 'b', backingFormat: 'qcow2' });
    await createQcow2(path('b'), { sizeBytes: MIB, backingFile: './a', backingFormat: 'qcow2' });
    const opening = open(path('a'), { openFile: unlocked });
    await expect(opening).rejects.toMatchObject({
      code: 'corrupt',
      message: expect.stringContaining('own backing chain'),
    });
  });

  it('have a limit', async () => {
    for (let i = 0; i <= MAX_CHAIN_DEPTH; i++) {
      await createQcow2(
        path(String(i)),
        { sizeBytes: 512, clusterSize: 512, backingFile: String(i + 1) },
        unlockedCreate,
      );
    }
    const opening = open(path('0'), { openFile: unlocked });
    await expect(opening).rejects.toMatchObject({ code: 'limit' });
  });
});

const unlockedCreate = { lock: false };

describe('-snapshot', () => {
  it('keeps writes in memory', async () => {
    writeFileSync(path('raw'), Buffer.alloc(MIB + 512, 7));
    const node = await open(path('raw'), { format: 'raw', snapshot: true });
    expect(node.readOnly).toBe(false);
    await Promise.all([
      node.write(65_000, new Uint8Array(2000).fill(1)),
      node.write(66_000 + 1500, new Uint8Array(10).fill(2)),
      node.writeZeroes(MIB, 512),
    ]);
    const disk = await read(node, 0, MIB + 512);
    expect([disk[64_999], disk[65_000], disk[66_999], disk[67_000], disk[67_500], disk[MIB]]).toEqual([
      7, 1, 1, 7, 2, 0,
    ]);
    await node.flush();
    await node.close();
    expect(readFileSync(path('raw')).every((byte) => byte === 7)).toBe(true);
  });
});
