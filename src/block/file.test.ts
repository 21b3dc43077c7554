import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { giveAligned, isAligned, takeAligned } from './aligned-memory.ts';
import { type CacheMode, createFile, openFile } from './file.ts';
import { detectOnly } from './lock.ts';
import { openImage } from './open.ts';

const linux = process.platform === 'linux';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ambervm-file-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('file', () => {
  it('reads, writes, and reads zero behind its end', async () => {
    const file = await createFile(join(folder, 'f'));
    await file.write(10, new Uint8Array([1, 2, 3]));
    await file.writev(13, [new Uint8Array([4]), new Uint8Array(0), new Uint8Array([5, 6])]);
    const back = new Uint8Array(8).fill(255);
    await file.read(11, back);
    expect([...back]).toEqual([2, 3, 4, 5, 6, 0, 0, 0]);
    expect(await file.size()).toBe(16);
    await file.truncate(12);
    await file.flush();
    await file.close();
    await file.close();
    expect(readFileSync(join(folder, 'f'))).toHaveLength(12);
    await expect(file.read(0, back)).rejects.toMatchObject({ code: 'closed' });
  });

  it('more parts than one system call takes', async () => {
    const file = await createFile(join(folder, 'f'));
    const parts = Array.from({ length: 2500 }, (_, i) => new Uint8Array([i & 255, i >> 8]));
    await file.writev(3, parts);
    const back = Buffer.alloc(5000);
    await file.read(3, back);
    expect(back.readUInt16LE(2499 * 2)).toBe(2499);
    await file.close();
  });

  it.each<CacheMode>(['writeback', 'none', 'writethrough', 'directsync', 'unsafe'])(
    'cache=%s: aligned or not, large or small, at the end of the file',
    async (cache) => {
      const name = join(folder, 'f');
      writeFileSync(name, Buffer.alloc(5));
      const file = await openFile(name, { readOnly: false, cache });
      const expected = Buffer.alloc(3 << 20);
      const aligned = takeAligned(1 << 20);
      expect(isAligned(aligned)).toBe(true);
      const unaligned = new Uint8Array((1 << 20) + 8192);
      let seed = 1;
      const fill = (bytes: Uint8Array) => {
        for (let i = 0; i < bytes.length; i++) bytes[i] = seed = (seed * 73 + 19) & 0xff;
      };
      const writes: [number, Uint8Array][] = [
        [8192, aligned],
        [4096 + 1, aligned],
        [1 << 20, unaligned],
        [(2 << 20) + 8192, unaligned.subarray(0, 65536)],
        [3, unaligned.subarray(5, 1000)],
        [(2 << 20) + 4096 * 40, aligned.subarray(0, 70000)],
      ];
      for (const [at, source] of writes) {
        fill(source);
        await file.write(at, source);
        expected.set(source, at);
      }
      await file.flush();
      const back = takeAligned(3 << 20);
      await file.read(0, back);
      expect(Buffer.compare(back, expected)).toBe(0);
      // More than the pool has.
      const large = takeAligned(20 << 20);
      expect(isAligned(large)).toBe(true);
      await file.read(0, large);
      expect(Buffer.compare(large.subarray(0, expected.length), expected)).toBe(0);
      const plain = Buffer.alloc(3 << 20, 1);
      await file.read(0, plain);
      expect(Buffer.compare(plain, expected)).toBe(0);
      await file.close();
      expect(Buffer.compare(readFileSync(name), expected.subarray(0, readFileSync(name).length))).toBe(0);
      giveAligned(aligned);
      giveAligned(back);
      expect(takeAligned(3 << 20).byteOffset).toBe(back.byteOffset);
    },
  );

  it.skipIf(!linux)('a full disk is `no-space`, in the words of the system', async () => {
    const file = await openFile('/dev/full', { readOnly: false, lock: false });
    await expect(file.write(0, new Uint8Array(10))).rejects.toMatchObject({
      code: 'no-space',
      message: "Could not write '/dev/full': No space left on device",
    });
    await file.close();
  });

  it.skipIf(!linux)('locks show in /proc/locks, and go with the handle', async () => {
    const name = join(folder, 'f');
    writeFileSync(name, Buffer.alloc(512));
    const file = await openFile(name, { readOnly: false });
    const handle = await open(name, 'r');
    await expect(detectOnly(handle, name, [201])).rejects.toMatchObject({ code: 'in-use' });
    await detectOnly(handle, name, [202]);
    await file.close();
    await detectOnly(handle, name, [201]);
    await handle.close();
  });
});

describe('raw image', () => {
  it('ends with a whole sector, which may lie partly behind the file', async () => {
    const name = join(folder, 'raw');
    writeFileSync(name, Buffer.alloc(1000, 7));
    const node = await openImage(name, { format: 'raw' });
    expect(node.sizeBytes).toBe(1024);
    const back = Buffer.alloc(1024);
    await node.read(0, back);
    expect([back[999], back[1000]]).toEqual([7, 0]);
    await node.writeZeroes(100, 200);
    await expect(node.write(1020, new Uint8Array(5))).rejects.toMatchObject({ code: 'out-of-bounds' });
    await expect(node.read(-1, new Uint8Array(1))).rejects.toMatchObject({ code: 'out-of-bounds' });
    await node.close();
    expect([...readFileSync(name).subarray(98, 102)]).toEqual([7, 7, 0, 0]);
  });

  it('read-only is refused by name', async () => {
    const name = join(folder, 'raw');
    writeFileSync(name, Buffer.alloc(1024));
    const node = await openImage(name, { readOnly: true });
    await expect(node.write(0, new Uint8Array(512))).rejects.toMatchObject({ code: 'read-only' });
    await node.close();
  });
});
