/** savevm -z: compressed clusters that QEMU reads, counts that qemu-img finds exact, shared by the next snapshot. */
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openImage } from '../../src/block/open.ts';
import type { Qcow2 } from '../../src/block/qcow2/qcow2.ts';
import { Pc } from '../support/pc.ts';
import { hasQemu, hasSeabios, Qemu } from '../support/qemu.ts';
import { qemuCheck } from '../support/qemu-img.ts';
import { qemuImg, temporaryFolder } from '../support/qemu-snapshot.ts';

const MEMORY_MIB = 16;
/** RAM that the test fills itself, behind what the BIOS uses. */
const FILL_AT = 0x20_0000;
const FILL_BYTES = 4 << 20;

let folder: ReturnType<typeof temporaryFolder>;
beforeAll(() => {
  folder = temporaryFolder();
});
afterAll(() => folder?.[Symbol.dispose]());

/** Half of it compressible, half of it random. */
function content(seed: number): Uint8Array {
  const bytes = new Uint8Array(FILL_BYTES);
  let state = seed;
  for (let i = 0; i < bytes.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = i < FILL_BYTES / 2 ? 65 + (i % 17) + ((i >> 12) % 7) : state >>> 24;
  }
  return bytes;
}

const clean = { corruptions: 0, leaks: 0 };

async function kinds(image: string, tag: string): Promise<{ compressed: number; raw: number }> {
  const node = (await openImage(image, { readOnly: true, forceShare: true })) as Qcow2;
  const { hostOffsets } = await node.openVmState(tag);
  await node.close();
  const compressed = hostOffsets.filter((offset) => offset < 0).length;
  return { compressed, raw: hostOffsets.filter((offset) => offset > 0).length };
}

async function ramInQemu(image: string, tag: string): Promise<Uint8Array> {
  await using qemu = await Qemu.start({ memoryMiB: MEMORY_MIB, image, loadvm: tag, stopped: true });
  return qemu.readMemory(0, MEMORY_MIB << 20);
}

describe.skipIf(!hasQemu || !hasSeabios)('compressed snapshots', () => {
  for (const clusterBytes of [4096, 65536, 1 << 20]) {
    it(`clusters of ${clusterBytes} bytes: saved, shared, loaded here and in QEMU, deleted`, async () => {
      const image = join(folder.path, `z${clusterBytes}.qcow2`);
      qemuImg('create', '-q', '-f', 'qcow2', '-o', `cluster_size=${clusterBytes}`, image, '16M');
      const rams = new Map<string, Uint8Array>();
      {
        await using pc = await Pc.start({ memoryMiB: MEMORY_MIB, image, stopped: true });
        const { machine } = pc;
        machine.memory.write(FILL_AT, content(1));
        await machine.savevm('one', { compress: 'zlib' });
        rams.set('one', await pc.readMemory(0, MEMORY_MIB << 20));
        machine.memory.write(FILL_AT + 0x10_0000, content(2).subarray(0, 0x1000));
        const second = await machine.savevm('two', { compress: 'zlib' });
        rams.set('two', await pc.readMemory(0, MEMORY_MIB << 20));
        expect(second.writtenBytes).toBeLessThanOrEqual(Math.max(2 << 20, 3 * clusterBytes));
        machine.memory.write(FILL_AT, content(3));
        await machine.savevm('raw');
        rams.set('raw', await pc.readMemory(0, MEMORY_MIB << 20));
        for (const tag of ['one', 'two', 'raw', 'one']) {
          await machine.loadvm(tag);
          // What it shares with 'one', which was loaded before, need not be read.
          if (tag === 'two') expect(machine.absentGroups).toBeLessThan(8);
          await machine.finishLoad();
          expect(Buffer.compare(await pc.readMemory(0, MEMORY_MIB << 20), rams.get(tag)!)).toBe(0);
          await machine.loadvm(tag, { lazy: false });
          expect(Buffer.compare(await pc.readMemory(0, MEMORY_MIB << 20), rams.get(tag)!)).toBe(0);
        }
      }
      expect(qemuCheck(image)).toMatchObject(clean);
      const one = await kinds(image, 'one');
      const least = (FILL_BYTES / 2 / clusterBytes - 1) * 0.9;
      expect(one.compressed).toBeGreaterThan(least);
      expect(one.raw).toBeGreaterThan(least);
      for (const tag of ['one', 'two'])
        expect(Buffer.compare(await ramInQemu(image, tag), rams.get(tag)!)).toBe(0);
      // Whoever deletes a parent, the child stays whole.
      const copy = `${image}.copy`;
      copyFileSync(image, copy);
      qemuImg('snapshot', '-d', 'one', copy);
      expect(qemuCheck(copy)).toMatchObject(clean);
      expect(Buffer.compare(await ramInQemu(copy, 'two'), rams.get('two')!)).toBe(0);
      {
        await using pc = await Pc.start({ memoryMiB: MEMORY_MIB, image, loadvm: 'one', stopped: true });
        await pc.machine.delvm('two');
        await pc.machine.savevm('three', { compress: 'zlib' });
        await pc.machine.delvm('one');
        await pc.machine.loadvm('three');
        await pc.machine.finishLoad();
        expect(Buffer.compare(await pc.readMemory(0, MEMORY_MIB << 20), rams.get('one')!)).toBe(0);
      }
      expect(qemuCheck(image)).toMatchObject(clean);
      expect(Buffer.compare(await ramInQemu(image, 'three'), rams.get('one')!)).toBe(0);
    });
  }

  it('stays exact where counts are narrow', async () => {
    for (const bits of [2, 4, 8]) {
      const image = join(folder.path, `bits${bits}.qcow2`);
      qemuImg('create', '-q', '-f', 'qcow2', '-o', `refcount_bits=${bits}`, image, '16M');
      {
        await using pc = await Pc.start({ memoryMiB: MEMORY_MIB, image, stopped: true });
        pc.machine.memory.write(FILL_AT, content(1));
        await pc.machine.savevm('one', { compress: 'zlib' });
        await pc.machine.savevm('two', { compress: 'zlib' });
      }
      expect(qemuCheck(image)).toMatchObject(clean);
    }
  });

  it('leaves nothing behind when cancelled', async () => {
    const image = join(folder.path, 'cancelled.qcow2');
    qemuImg('create', '-q', '-f', 'qcow2', image, '16M');
    {
      await using pc = await Pc.start({ memoryMiB: MEMORY_MIB, image, stopped: true });
      pc.machine.memory.write(FILL_AT, content(1));
      const cancel = new AbortController();
      const saving = pc.machine.savevm('one', {
        compress: 'zlib',
        signal: cancel.signal,
        onProgress: () => cancel.abort(),
      });
      await expect(saving).rejects.toThrow('cancelled');
      expect(pc.machine.listSnapshots().everywhere).toEqual([]);
      await pc.machine.savevm('two', { compress: 'zlib' });
    }
    expect(qemuCheck(image)).toMatchObject(clean);
  });
});
