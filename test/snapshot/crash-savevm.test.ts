/**
 * A crash at any moment of savevm, loadvm and delvm: the image is not corrupt, every snapshot of before is there bit for bit,
 * the new one wholly or not at all, and what is there loads. AMBERVM_LONG=1: every moment, three to five kinds of loss,
 * about 4,000 images.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { crashPoints } from '../support/crash/points.ts';
import { isLongRun } from '../support/guests.ts';
import { hasQemuImg, qemuCheck } from '../support/qemu-img.ts';
import { loadAll, record, workloads } from './crash-savevm-workloads.ts';

const POINTS = isLongRun ? 600 : 40;
/** Every so manieth image is also shown to qemu-img, or has all its snapshots loaded by a machine. */
const QEMU_EVERY = isLongRun ? 50 : 10;
const LOAD_EVERY = isLongRun ? 40 : 10;

let folder = '';
let total = 0;
let loaded = 0;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'ambervm-crash-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
  process.stderr.write(`${total} crashed images, ${loaded} of them loaded\n`);
});

describe('a crash in the middle of', () => {
  for (const [name, workload] of Object.entries(workloads)) {
    it(name, { timeout: isLongRun ? 1_200_000 : 120_000 }, async () => {
      const { rig, saved } = await record(workload);
      expect(await loadAll(rig.file.bytes, saved)).toBeUndefined();
      for await (const { time, what, file } of crashPoints(rig.base, rig.log.entries, {
        count: POINTS,
        from: rig.begin,
      })) {
        expect(await rig.judge(file, time), what).toBeUndefined();
        total++;
        if (total % LOAD_EVERY === 0) {
          expect(await loadAll(file.bytes, saved), what).toBeUndefined();
          loaded++;
        }
        if (!hasQemuImg || total % QEMU_EVERY !== 0) continue;
        const filename = join(folder, 'image.qcow2');
        writeFileSync(filename, file.bytes);
        const result = qemuCheck(filename);
        expect(result.corruptions, `${what}: ${result.text}`).toBe(0);
      }
    });
  }
});
