import { describe, expect, it } from 'vitest';
import { MemoryFile } from '../../../test/support/memory-file.ts';
import { openRaw } from '../raw/raw.ts';
import { supportsSnapshots } from '../block-node.ts';
import { layOut } from '../qcow2/create.ts';
import { openQcow2 } from '../qcow2/qcow2.ts';
import { DATA } from '../qcow2/references.ts';
import { copyOnWrite } from './copy-on-write.ts';
import { detectZeroes } from './detect-zeroes.ts';
import { filterFile, filterNode } from './filter.ts';
import { Stats } from './stats.ts';
import { delayed } from './delay.ts';
import { injectErrors, planErrors } from './inject-error.ts';
import { Log, logged } from './log.ts';
import { readOnly } from './readonly.ts';

const memory = (): MemoryFile => new MemoryFile(Buffer.alloc(256 * 1024, 7));

describe('filters', () => {
  it('stack: one thing around each request, of files and of images', async () => {
    const below = new Stats();
    const above = new Stats();
    const errors = planErrors('t');
    const file = filterFile(filterFile(memory(), below.around), errors.around);
    const node = filterNode(await openRaw(file), 'stats', above.around);
    errors.failAt('write', 1);
    await node.write(0, new Uint8Array(512));
    await expect(node.write(0, new Uint8Array(512))).rejects.toMatchObject({ code: 'io' });
    await Promise.all([node.read(0, new Uint8Array(1024)), node.read(0, new Uint8Array(512))]);
    await node.writeZeroes(0, 4096);
    await node.discard?.(0, 4096);
    await node.flush();
    expect(above.of('write')).toEqual({ requests: 2, bytes: 1024, errors: 1 });
    expect(above.of('read')).toEqual({ requests: 2, bytes: 1536, errors: 0 });
    expect(above.of('zero').bytes).toBe(4096);
    expect(above.of('discard').requests).toBe(1);
    expect(above.mostInFlight).toBe(2);
    expect(below.of('write')).toEqual({ requests: 2, bytes: 4608, errors: 0 });
    expect(below.of('flush').requests).toBe(1);
  });

  it('detect-zeroes: zeroes become holes', async () => {
    const file = new MemoryFile(layOut('t', { sizeBytes: 1 << 20 }));
    const node = detectZeroes(await openQcow2(file));
    await node.write(0, new Uint8Array(65_536).fill(1));
    await node.write(0, new Uint8Array(65_536));
    await node.write(131_072, new Uint8Array(65_536));
    expect(supportsSnapshots(node)).toBe(true);
    for await (const { kind } of node.extents(0, 1 << 20)) expect(kind).not.toBe(DATA);
    await node.close();
  });

  it('log: what is written and flushed, when it was made and when it was done, copied', async () => {
    const log = new Log();
    const file = logged(memory(), log);
    const data = Buffer.from([1, 2]);
    const write = file.write(5, data);
    data[0] = 9;
    const flush = file.flush();
    await Promise.all([write, flush]);
    await file.writev(7, [Buffer.from([3]), Buffer.from([4])]);
    await file.truncate(100);
    expect(log.entries).toEqual([
      { kind: 'write', offset: 5, data: new Uint8Array([1, 2]), begun: 1, ended: 3 },
      { kind: 'flush', begun: 2, ended: 4 },
      { kind: 'write', offset: 7, data: new Uint8Array([3]), begun: 5, ended: 7 },
      { kind: 'write', offset: 8, data: new Uint8Array([4]), begun: 6, ended: 8 },
      { kind: 'truncate', sizeBytes: 100, begun: 9, ended: 10 },
    ]);
  });

  it('log: what failed may have reached the disk', async () => {
    const log = new Log();
    const { file, failAt } = injectErrors(memory());
    failAt('write', 0);
    await expect(logged(file, log).write(0, new Uint8Array(1))).rejects.toThrow('injected');
    expect(log.entries[0]!.ended).toBe(Infinity);
  });

  it('inject-error: the request with that number, as often as told', async () => {
    const { file, failAt, heal } = injectErrors(memory());
    failAt('write', 1, 'no-space', 2);
    await file.write(0, new Uint8Array(1));
    await file.read(0, new Uint8Array(1));
    await expect(file.write(0, new Uint8Array(1))).rejects.toMatchObject({ code: 'no-space' });
    await expect(file.writev(0, [])).rejects.toMatchObject({ code: 'no-space' });
    await file.write(0, new Uint8Array(1));
    failAt('flush', 0);
    heal();
    await file.flush();
  });

  it('delay: requests overtake each other', async () => {
    const order: number[] = [];
    const file = delayed(
      memory(),
      (_kind, offset) => new Promise((resolve) => setTimeout(resolve, 20 - offset)),
    );
    const read = async (offset: number): Promise<void> => {
      await file.read(offset, new Uint8Array(1));
      order.push(offset);
    };
    await Promise.all([read(0), read(18)]);
    expect(order).toEqual([18, 0]);
  });

  it('read-only: refuses writes, reads on', async () => {
    const node = readOnly(await openRaw(memory()));
    await expect(node.write(0, new Uint8Array(1))).rejects.toMatchObject({ code: 'read-only' });
    await expect(node.writeZeroes(0, 1)).rejects.toMatchObject({ code: 'read-only' });
    const back = new Uint8Array(2);
    await node.read(0, back);
    expect([...back]).toEqual([7, 7]);
  });

  it('copy-on-write: two writers of a new cluster both get through; a limit is kept', async () => {
    const file = memory();
    const node = copyOnWrite(await openRaw(file), { maxBytes: 128 * 1024 });
    await Promise.all([node.write(10, new Uint8Array([1])), node.write(20, new Uint8Array([2]))]);
    const back = new Uint8Array(30);
    await node.read(0, back);
    expect([back[9], back[10], back[20], back[21]]).toEqual([7, 1, 2, 7]);
    await node.write(100_000, new Uint8Array(10));
    await expect(node.write(200_000, new Uint8Array(10))).rejects.toMatchObject({ code: 'no-space' });
    expect(file.bytes.every((byte) => byte === 7)).toBe(true);
    await expect(node.read(256 * 1024, new Uint8Array(1))).rejects.toMatchObject({ code: 'out-of-bounds' });
  });

  it('copy-on-write: what was written goes into the image at a commit, once', async () => {
    const file = memory();
    const opened: boolean[] = [];
    const reopen = async (asReadOnly: boolean) => {
      opened.push(asReadOnly);
      return openRaw(file);
    };
    const node = copyOnWrite(await openRaw(file), { reopen });
    await node.write(10, new Uint8Array([1, 2, 3]));
    expect(file.bytes[10]).toBe(7);
    await node.commit();
    expect(opened).toEqual([false, true]);
    expect([...file.bytes.subarray(9, 14)]).toEqual([7, 1, 2, 3, 7]);
    await node.write(10, new Uint8Array([9]));
    expect(file.bytes[10]).toBe(1);
    const back = new Uint8Array(4);
    await node.read(9, back);
    expect([...back]).toEqual([7, 9, 2, 3]);
  });

  it('copy-on-write: where the image cannot be written, a commit says so and keeps what was written', async () => {
    const file = memory();
    const reopen = async (asReadOnly: boolean) =>
      asReadOnly ? openRaw(file) : Promise.reject(new Error('Permission denied'));
    const node = copyOnWrite(await openRaw(file), { reopen });
    await node.write(10, new Uint8Array([1]));
    await expect(node.commit()).rejects.toThrow('Permission denied');
    const back = new Uint8Array(2);
    await node.read(10, back);
    expect([...back]).toEqual([1, 7]);
  });
});
