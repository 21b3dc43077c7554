/** Our check against qemu-img's on images with damaged tables: both see damage or both see none, and agree on leaks. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BlockError } from '../../src/block/errors.ts';
import { type CheckResult, checkImage } from '../../src/block/qcow2/check.ts';
import { layOut } from '../../src/block/qcow2/create.ts';
import { openQcow2 } from '../../src/block/qcow2/qcow2.ts';
import { MemoryFile } from '../support/memory-file.ts';
import { hasQemuImg, qemuCheck } from '../support/qemu-img.ts';

const CLUSTER = 4096;
const meta = { tag: 'one', dateSec: 1, dateNsec: 2, vmClockNs: 3, icount: -1, vmStateBytes: 0 };

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'ambervm-check-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function sample(): Promise<{ bytes: Buffer; targets: number[] }> {
  const file = new MemoryFile(layOut('t', { sizeBytes: 1 << 22, clusterSize: CLUSTER }));
  const node = await openQcow2(file);
  await node.write(0, new Uint8Array(20 * CLUSTER).fill(1));
  await node.createSnapshot(meta);
  await node.write(5 * CLUSTER, new Uint8Array(4 * CLUSTER).fill(2));
  await node.writeZeroes(10 * CLUSTER, CLUSTER);
  await node.close();
  const { image } = node;
  const l2 = image.l2Offset(image.l1, 0);
  const targets: number[] = [];
  // qemu-img does not look at counts of clusters behind the end of the file.
  const clusters = Math.floor(file.bytes.length / CLUSTER);
  for (let i = 0; i < 24; i++) targets.push(l2 + i * 8 + (i % 2 === 0 ? 0 : 6));
  for (let i = 0; i < clusters; i++) targets.push(image.refcounts.blockOffset(0) + i * 2);
  for (const at of [image.header.l1Offset, image.header.l1Offset + 6]) targets.push(at);
  return { bytes: file.bytes, targets };
}

describe.skipIf(!hasQemuImg)('check against qemu-img', () => {
  it('agrees on damaged tables', async () => {
    const { bytes, targets } = await sample();
    const filename = join(folder, 'damaged.qcow2');
    for (const at of targets) {
      const damaged = Buffer.from(bytes);
      damaged[at + 1] = damaged[at + 1]! ^ 0x01;
      damaged[at] = damaged[at]! ^ (at % 3 === 0 ? 0x80 : 0x10);
      writeFileSync(filename, damaged);
      const theirs = qemuCheck(filename);
      let ours: CheckResult | undefined;
      try {
        const node = await openQcow2(new MemoryFile(damaged, 'damaged', true));
        ours = await checkImage(node.image);
      } catch (error) {
        expect(error).toBeInstanceOf(BlockError);
      }
      const told = `at ${at}: ours ${JSON.stringify(ours)}\nqemu ${theirs.text}`;
      expect((ours?.corruptions ?? 1) > 0, told).toBe(theirs.corruptions > 0);
      if (theirs.corruptions === 0) expect(ours?.leaks, told).toBe(theirs.leaks);
    }
  });
});
