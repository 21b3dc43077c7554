import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openFile } from './file.ts';
import { openImage } from './open.ts';
import { createQcow2 } from './qcow2/create.ts';

const unlocked: typeof openFile = (name, options) => openFile(name, { ...options, lock: false });

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ambervm-chain-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const SIZE = 512 * 1024;
const layer = fc.record({
  sectors: fc.integer({ min: 1, max: SIZE / 512 }),
  clusterSize: fc.constantFrom(512, 4096, 65_536, 65_536, 65_536, 131_072),
  writes: fc.array(
    fc.record({ at: fc.nat(SIZE), length: fc.nat(100_000), value: fc.integer({ min: 0, max: 255 }) }),
    { maxLength: 4 },
  ),
});

describe('a chain behind a map', () => {
  it('reads what the chain reads', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(layer, { minLength: 2, maxLength: 6 }), async (layers) => {
        const bottom = Buffer.alloc(100_352, 9);
        writeFileSync(join(folder, '0'), bottom);
        let model: Buffer = bottom;
        for (const [i, { sectors, clusterSize, writes }] of layers.entries()) {
          const filename = join(folder, String(i + 1));
          const backingFormat = i === 0 ? 'raw' : 'qcow2';
          const sizeBytes = sectors * 512;
          await createQcow2(
            filename,
            { sizeBytes, clusterSize, backingFile: String(i), backingFormat },
            { lock: false },
          );
          const disk = Buffer.alloc(sizeBytes);
          model.copy(disk);
          const node = await openImage(filename, { openFile: unlocked });
          for (const { at, length, value } of writes) {
            const bytes = Math.max(0, Math.min(length, sizeBytes - at));
            if (bytes === 0) continue;
            if (value === 0) await node.writeZeroes(at, bytes);
            else await node.write(at, Buffer.alloc(bytes, value));
            disk.fill(value, at, at + bytes);
          }
          for (let pass = 0; pass < 2; pass++) {
            const back = Buffer.alloc(sizeBytes);
            await node.read(0, back);
            expect(back.equals(disk)).toBe(true);
          }
          await node.close();
          model = disk;
        }
      }),
      { numRuns: 30 },
    );
  });
});
