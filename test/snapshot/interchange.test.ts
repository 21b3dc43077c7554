/** Saved by us, loaded by QEMU 7.2; saved by QEMU, loaded by us; and saved again from there and taken back. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findGuest, isLongRun } from '../support/guests.ts';
import { hasQemu, hasSeabios } from '../support/qemu.ts';
import { temporaryFolder } from '../support/qemu-snapshot.ts';
import { hop, type Kind, type Saved, saveMoments } from './relay.ts';
import { demoScene, firmwareScene, grubScene, linuxScene, type Scene } from './scenes.ts';

const DEMO = fileURLToPath(new URL('../../images/demo/demo.img', import.meta.url));

function guestScenes(): Scene[] {
  const cdrom = findGuest('grub-rescue-cd.iso');
  const [kernel, initrd] = [findGuest('vmlinuz-686'), findGuest('initramfs-686.gz')];
  return [
    ...(cdrom === undefined ? [] : [grubScene(cdrom)]),
    ...(kernel === undefined || initrd === undefined ? [] : [linuxScene(kernel, initrd)]),
  ];
}

const isReady = hasQemu && hasSeabios;
const scenes: readonly Scene[] = [firmwareScene, demoScene(DEMO), ...(isReady ? guestScenes() : [])];
const SAVE_MS = 600_000;
const HOP_MS = 400_000;

let folder: ReturnType<typeof temporaryFolder>;
beforeAll(() => {
  folder = temporaryFolder();
});
afterAll(() => folder?.[Symbol.dispose]());

for (const scene of scenes) {
  describe.skipIf(!isReady)(scene.name, () => {
    for (const [first, second] of [
      ['ours', 'qemu'],
      ['qemu', 'ours'],
    ] as const satisfies readonly (readonly [Kind, Kind])[]) {
      describe(`saved by ${first}`, () => {
        let saved: Saved;
        beforeAll(async () => {
          saved = await saveMoments(first, scene, join(folder.path, `${scene.name}-${first}.qcow2`));
        }, SAVE_MS);
        for (const moment of scene.moments) {
          const again = `${moment.tag}-again`;
          it(`${moment.tag}: loaded by ${second}`, { timeout: HOP_MS }, async () => {
            expect(await hop(saved, moment, second, moment.tag, again)).toEqual([]);
          });
          // The second time is quick to say for small guests; of Linux the busiest moment stands for all.
          const isTaken = isLongRun || scene.moments.length === 1 || moment.tag === 'dd';
          it.skipIf(!isTaken)(
            `${moment.tag}: saved again there, loaded by ${first}`,
            { timeout: HOP_MS },
            async () => {
              expect(await hop(saved, moment, first, again, `${again}-2`)).toEqual([]);
            },
          );
        }
      });
    }
  });
}
