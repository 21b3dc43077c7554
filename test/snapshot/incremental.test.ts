/** Incremental savevm: many snapshots of a running guest, deleted in any order; across processes; read by QEMU. */
import { cpSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Qemu, hasQemu } from '../support/qemu.ts';
import { qemuCheck } from '../support/qemu-img.ts';
import { temporaryFolder } from '../support/qemu-snapshot.ts';
import { bootChurn, CHURN_MIB, hasChurn, makeChurnImage, openChurn, runFor } from './churn.ts';
import { type Fingerprint, fingerprint } from './fingerprint.ts';

const SECONDS = 1000;
let folder: ReturnType<typeof temporaryFolder>;
beforeAll(() => {
  folder = temporaryFolder();
});
afterAll(() => folder?.[Symbol.dispose]());

/** Everything but what a load cannot bring back: time is set from the stream, disks are compared. */
function expectSame(found: Fingerprint, wanted: Fingerprint): void {
  const differing = Object.keys(wanted).filter((key) => found[key] !== wanted[key]);
  expect(differing).toEqual([]);
}

describe.skipIf(!hasChurn)('incremental savevm', () => {
  it('twenty snapshots, deleted and loaded in any order', { timeout: 240 * SECONDS }, async () => {
    const image = join(folder.path, 'many.qcow2');
    makeChurnImage(image);
    const saved = new Map<string, Fingerprint>();
    const written: number[] = [];
    const pc = await bootChurn(image);
    for (let i = 0; i < 20; i++) {
      const tag = `s${i}`;
      const { writtenBytes } = await pc.machine.savevm(tag);
      written.push(writtenBytes);
      saved.set(tag, await fingerprint(pc));
      await runFor(pc, 20_000 + i * 1000);
      // Now and then from somewhere else on.
      if (i % 7 === 6) await pc.machine.loadvm(`s${i - 3}`);
    }
    expect(Math.max(...written.slice(1))).toBeLessThan(written[0]! + 12_000_000);
    for (const tag of ['s3', 's0', 's19', 's10', 's11']) {
      expect(await pc.machine.delvm(tag)).toBe(true);
      saved.delete(tag);
    }
    for (const tag of [...saved.keys()].reverse()) {
      await pc.machine.loadvm(tag);
      expectSame(await fingerprint(pc), saved.get(tag)!);
    }
    await pc.quit();
    expect(qemuCheck(image)).toMatchObject({ corruptions: 0, leaks: 0 });
    // In a new process each, at the last one incrementally saved again.
    for (const tag of ['s1', 's9', 's18']) {
      await using other = await openChurn(image, { loadvm: tag });
      expectSame(await fingerprint(other), saved.get(tag)!);
      const { writtenBytes } = await other.machine.savevm('again');
      expect(writtenBytes).toBeLessThan(1_000_000);
    }
    expect(qemuCheck(image)).toMatchObject({ corruptions: 0, leaks: 0 });
  });

  it('costs what changed', { timeout: 120 * SECONDS }, async () => {
    const image = join(folder.path, 'cost.qcow2');
    makeChurnImage(image);
    await using pc = await bootChurn(image);
    await runFor(pc, 3_000_000);
    const full = await pc.machine.savevm('full');
    expect(full.writtenBytes).toBeGreaterThan(20 << 20);
    const before = statSync(image).blocks * 512;
    const nothing = await pc.machine.savevm('nothing');
    expect(nothing.writtenBytes).toBeLessThan(400_000);
    await runFor(pc, 10 * 250);
    const little = await pc.machine.savevm('little');
    // About 10 pages, the stack, the screen; the tail with devices and index.
    expect(little.writtenBytes).toBeLessThan(20 * 65536 + 400_000);
    expect(statSync(image).blocks * 512 - before).toBeLessThan(5_000_000);
    expect((await pc.machine.savevm('whole', { incremental: false })).writtenBytes).toBeGreaterThan(20 << 20);
  });

  it('over the tag that it stands on, again and again, keeps the file as it is', {
    timeout: 120 * SECONDS,
  }, async () => {
    const image = join(folder.path, 'same.qcow2');
    makeChurnImage(image);
    await using pc = await bootChurn(image);
    await runFor(pc, 3_000_000);
    await pc.machine.savevm('a');
    const sizes: number[] = [];
    for (let i = 0; i < 12; i++) {
      await runFor(pc, 5_000);
      await pc.machine.savevm('a');
      sizes.push(statSync(image).size);
    }
    expect(sizes.at(-1)! - sizes[3]!).toBeLessThan(3 << 20);
    const wanted = await fingerprint(pc);
    await runFor(pc, 5_000);
    await pc.machine.loadvm('a', { lazy: false });
    expectSame(await fingerprint(pc), wanted);
    expect(qemuCheck(image, true).corruptions).toBe(0);
  });

  for (const clusterBytes of [512, 4096, 2 << 20]) {
    it(`and lazy loadvm with clusters of ${clusterBytes} bytes`, { timeout: 120 * SECONDS }, async () => {
      const image = join(folder.path, `clusters-${clusterBytes}.qcow2`);
      makeChurnImage(image, clusterBytes);
      const pc = await bootChurn(image);
      const saved = new Map<string, Fingerprint>();
      for (const tag of ['a', 'b', 'c']) {
        await runFor(pc, 100_000);
        await pc.machine.savevm(tag);
        saved.set(tag, await fingerprint(pc));
      }
      await pc.machine.delvm('b');
      for (const tag of ['a', 'c', 'a']) {
        await pc.machine.loadvm(tag);
        expectSame(await fingerprint(pc), saved.get(tag)!);
      }
      await pc.quit();
      expect(qemuCheck(image)).toMatchObject({ corruptions: 0, leaks: 0 });
      await using other = await openChurn(image, { loadvm: 'c' });
      expect(other.machine.absentGroups).toBeGreaterThan(0);
      expectSame(await fingerprint(other), saved.get('c')!);
    });
  }

  it('a cancelled savevm leaves nothing', { timeout: 60 * SECONDS }, async () => {
    const image = join(folder.path, 'cancel.qcow2');
    makeChurnImage(image);
    const pc = await bootChurn(image);
    await runFor(pc, 2_000_000);
    await pc.machine.savevm('a');
    await runFor(pc, 2_000_000);
    const abort = new AbortController();
    const progress: number[] = [];
    const onProgress = (done: number, total: number): void => {
      progress.push(done / total);
      if (progress.length === 3) abort.abort();
    };
    await expect(pc.machine.savevm('b', { signal: abort.signal, onProgress })).rejects.toMatchObject({
      code: 'cancelled',
    });
    expect(progress.length).toBeGreaterThan(2);
    expect(pc.machine.listSnapshots().everywhere.map(({ tag }) => tag)).toEqual(['a']);
    const { writtenBytes } = await pc.machine.savevm('b');
    expect(writtenBytes).toBeGreaterThan(10 << 20);
    await pc.quit();
    expect(qemuCheck(image)).toMatchObject({ corruptions: 0, leaks: 0 });
  });

  it.skipIf(!hasQemu)('every one is read by QEMU', { timeout: 120 * SECONDS }, async () => {
    const image = join(folder.path, 'qemu.qcow2');
    makeChurnImage(image);
    const memory = new Map<string, Uint8Array>();
    const pc = await bootChurn(image, { icount: false });
    for (let i = 0; i < 6; i++) {
      await pc.machine.savevm(`s${i}`);
      memory.set(`s${i}`, await pc.readMemory(0x100000, (CHURN_MIB - 1) << 20));
      if (i === 3) await pc.machine.delvm('s2');
      pc.machine.start();
      await new Promise((resolve) => setTimeout(resolve, 20));
      await pc.machine.pause();
    }
    await pc.machine.loadvm('s4');
    pc.machine.start();
    await new Promise((resolve) => setTimeout(resolve, 300));
    await pc.machine.savevm('s6');
    await pc.machine.pause();
    await pc.quit();
    memory.delete('s2');
    for (const [tag, bytes] of memory) {
      const copy = join(folder.path, `qemu-${tag}.qcow2`);
      cpSync(image, copy);
      await using qemu = await Qemu.start({ memoryMiB: CHURN_MIB, image: copy, loadvm: tag, stopped: true });
      expect(Buffer.compare(await qemu.readMemory(0x100000, (CHURN_MIB - 1) << 20), bytes)).toBe(0);
      await qemu.resume();
      await new Promise((resolve) => setTimeout(resolve, 50));
      const count = Buffer.from(await qemu.readMemory(0x300000, 4)).readUInt32LE(0);
      const before = Buffer.from(bytes).readUInt32LE(0x200000);
      expect(count).not.toBe(before);
      await qemu.savevm('theirs');
    }
    expect(qemuCheck(join(folder.path, 'qemu-s5.qcow2'))).toMatchObject({ corruptions: 0, leaks: 0 });
  });
});
