/** A hundred snapshots of a running Linux in one image: every one loads, here and in QEMU; deleted in any order, the others stay. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findGuest, isLongRun } from '../support/guests.ts';
import { Pc } from '../support/pc.ts';
import { hasQemu, hasSeabios, Qemu } from '../support/qemu.ts';
import { qemuCheck } from '../support/qemu-img.ts';
import { temporaryFolder } from '../support/qemu-snapshot.ts';
import { linuxScene } from './scenes.ts';

const COUNT = 100;
const RAM_FROM = 0x100000;
const BUSY =
  'i=0; while :; do i=$((i+1)); echo $i > /mnt/n; head -c 20000 /dev/urandom > /tmp/r; cp /tmp/r /mnt/r$((i%20)); done &\n';

const [kernel, initrd] = isLongRun ? [findGuest('vmlinuz-686'), findGuest('initramfs-686.gz')] : [];
const isReady = isLongRun && hasQemu && hasSeabios && kernel !== undefined && initrd !== undefined;

let folder: ReturnType<typeof temporaryFolder>;
beforeAll(() => {
  folder = temporaryFolder();
});
afterAll(() => folder?.[Symbol.dispose]());

const sha = (bytes: Uint8Array): string => createHash('sha1').update(bytes).digest('hex');

/** RAM above the legacy area, and the disk. */
async function contents(pc: Pc, ramBytes: number): Promise<string> {
  await pc.machine.finishLoad();
  const node = pc.machine.disks[0]!.node!;
  const disk = new Uint8Array(node.sizeBytes);
  await node.read(0, disk);
  return `${sha(await pc.readMemory(RAM_FROM, ramBytes))} ${sha(disk)}`;
}

describe.skipIf(!isReady)('a hundred snapshots of a running Linux', () => {
  it('load here and in QEMU, and outlive each other', { timeout: 3_600_000 }, async () => {
    const scene = linuxScene(kernel!, initrd!);
    const { memoryMiB } = scene;
    const ramBytes = (memoryMiB << 20) - RAM_FROM;
    const image = join(folder.path, 'hundred.qcow2');
    scene.makeImage(image);
    const pc = await Pc.start({ memoryMiB, image, ...scene.boot });
    await scene.moments[0]!.reach(pc);
    pc.serial.send(BUSY);
    const wanted = new Map<string, string>();
    let written = 0;
    for (let i = 0; i < COUNT; i++) {
      await delay(100);
      await pc.pause();
      const tag = `s${i}`;
      if (i % 2 === 0) {
        const { done } = await pc.machine.savevmInBackground(tag);
        // Disk requests were completed for the instant.
        wanted.set(tag, await contents(pc, ramBytes));
        pc.machine.start();
        written += (await done).writtenBytes;
      } else {
        written += (await pc.machine.savevm(tag)).writtenBytes;
        wanted.set(tag, await contents(pc, ramBytes));
        pc.machine.start();
      }
    }
    expect(new Set(wanted.values()).size).toBeGreaterThan(COUNT / 2);
    await pc.pause();
    const check = async (tags: readonly string[]): Promise<void> => {
      for (const tag of tags) {
        await pc.machine.loadvm(tag);
        expect(await contents(pc, ramBytes), tag).toBe(wanted.get(tag));
      }
    };
    // A step that visits all, never neighbours.
    const shuffled = Array.from({ length: COUNT }, (_, i) => `s${(i * 37) % COUNT}`);
    await check(shuffled);
    await pc.quit();
    expect(qemuCheck(image)).toMatchObject({ corruptions: 0, leaks: 0 });
    console.log(`${COUNT} snapshots, ${Math.round(written / 2 ** 20)} MiB of VM state written`);

    const qemu = await Qemu.start({ memoryMiB, image, loadvm: 's0', stopped: true });
    for (const tag of shuffled) {
      await qemu.loadvm(tag);
      expect(sha(await qemu.readMemory(RAM_FROM, ramBytes)), tag).toBe(wanted.get(tag)!.split(' ')[0]);
    }
    await qemu.quit();
    expect(qemuCheck(image)).toMatchObject({ corruptions: 0, leaks: 0 });

    await using again = await Pc.start({ memoryMiB, image, stopped: true });
    for (const [i, tag] of shuffled.slice(0, 80).entries()) {
      expect(await again.machine.delvm(tag)).toBe(true);
      if (i % 8 !== 7) continue;
      const survivor = shuffled[80 + (i % 20)]!;
      await again.machine.loadvm(survivor, { lazy: i % 16 === 7 });
      expect(await contents(again, ramBytes), survivor).toBe(wanted.get(survivor));
    }
    for (const tag of shuffled.slice(80)) {
      await again.machine.loadvm(tag);
      expect(await contents(again, ramBytes), tag).toBe(wanted.get(tag));
    }
    await again.quit();
    expect(qemuCheck(image)).toMatchObject({ corruptions: 0, leaks: 0 });
  });
});
