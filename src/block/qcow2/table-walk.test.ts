import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openFile } from '../file.ts';
import { checkImage } from './check.ts';
import { createQcow2 } from './create.ts';
import { openQcow2 } from './qcow2.ts';

const CLUSTER = 2 * 1024 * 1024;
/** What one L2 table maps. */
const SPAN = CLUSTER * (CLUSTER / 8);
const TABLES = 5;
const meta = (tag: string) => ({ tag, dateSec: 0, dateNsec: 0, vmClockNs: 0, icount: -1, vmStateBytes: 0 });

describe('a walk of several batches', () => {
  it('shares, keeps apart and gives back the tables of a snapshot', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'ambervm-walk-'));
    try {
      const name = join(folder, 'disk.qcow2');
      await createQcow2(name, { sizeBytes: TABLES * SPAN, clusterSize: CLUSTER });
      const node = await openQcow2(await openFile(name, { readOnly: false }));
      const put = async (value: number): Promise<void> => {
        for (let i = 0; i < TABLES; i++) await node.write(i * SPAN + 4096, Buffer.alloc(8192, value + i));
      };
      const expectDisk = async (value: number): Promise<void> => {
        const got = Buffer.alloc(8192);
        for (let i = 0; i < TABLES; i++) {
          await node.read(i * SPAN + 4096, got);
          expect(got.equals(Buffer.alloc(8192, value + i))).toBe(true);
        }
      };
      await put(10);
      await node.createSnapshot(meta('ten'));
      await put(50);
      await node.createSnapshot(meta('fifty'));
      await node.applySnapshot('ten');
      await expectDisk(10);
      await put(90);
      await node.deleteSnapshot('ten');
      await expectDisk(90);
      await node.applySnapshot('fifty');
      await expectDisk(50);
      await node.deleteSnapshot('fifty');
      await expectDisk(50);
      const { corruptions, leaks } = await checkImage(node.image);
      expect({ corruptions, leaks }).toEqual({ corruptions: 0, leaks: 0 });
      await node.close();
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
