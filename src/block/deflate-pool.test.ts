import * as zlib from 'node:zlib';
import { expect, it } from 'vitest';
import { DeflatePool } from './deflate-pool.ts';

const CLUSTER = 4096;

function pieces(count: number): Uint8Array {
  const bytes = new Uint8Array(count * CLUSTER);
  let state = 1;
  for (let i = 0; i < bytes.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    // Every third cluster is noise.
    bytes[i] = Math.floor(i / CLUSTER) % 3 === 2 ? state >>> 24 : i % 23;
  }
  return bytes;
}

it('compresses as qcow2 wants it, many batches at once, noise left alone', async () => {
  const pool = new DeflatePool({ workers: 2 });
  const data = pieces(30);
  const batches = Array.from({ length: 10 }, (_, n) =>
    pool.compress(data.subarray(n * 3 * CLUSTER, (n + 1) * 3 * CLUSTER), CLUSTER),
  );
  for (const [n, batch] of (await Promise.all(batches)).entries()) {
    const [first, second, third] = batch.lengths;
    expect(third).toBe(0);
    const parts = [batch.data.subarray(0, first), batch.data.subarray(first, first! + second!)];
    for (const [i, part] of parts.entries()) {
      const cluster = zlib.inflateRawSync(part, { windowBits: 12 });
      const at = (n * 3 + i) * CLUSTER;
      expect(Buffer.compare(cluster, data.subarray(at, at + CLUSTER))).toBe(0);
    }
    pool.release(batch);
  }
  await pool.close();
});

it('gives up what is under way when it is closed', async () => {
  const pool = new DeflatePool({ workers: 1 });
  const data = pieces(3);
  const all = Promise.allSettled(Array.from({ length: 20 }, () => pool.compress(data, CLUSTER)));
  await pool.close();
  for (const result of await all) {
    if (result.status === 'rejected') expect(String(result.reason)).toMatch('given up');
  }
  await expect(pool.compress(data, CLUSTER)).rejects.toThrow('given up');
});
