/** Saved by us, loaded by QEMU 7.2; saved by QEMU, loaded by us; and saved again from there and taken back. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hasQemu, hasSeabios } from '../support/qemu.ts';
import { temporaryFolder } from '../support/qemu-snapshot.ts';
import { hop, type Kind, type Saved, saveMoments } from './relay.ts';
import { demoScene, firmwareScene, grubScene, linuxScene, type Scene } from './scenes.ts';

const DEMO = fileURLToPath(new URL('../../images/demo/demo.img', import.meta.url));
const GUESTS = process.env['AMBERVM_GUESTS'] ?? '';
const scenes: readonly Scene[] = [
  firmwareScene,
  demoScene(DEMO),
  grubScene(join(GUESTS, 'grub-rescue-cdrom.iso')),
  linuxScene(join(GUESTS, 'vmlinuz-686'), join(GUESTS, 'initramfs-686.gz')),
];
const SAVE_MS = 300_000;
const HOP_MS = 180_000;

let folder: ReturnType<typeof temporaryFolder>;
beforeAll(() => {
  folder = temporaryFolder();
});
afterAll(() => folder?.[Symbol.dispose]());

const isReady = hasQemu && hasSeabios;
for (const scene of scenes) {
  const lacks = scene.files.filter((file) => !existsSync(file));
  describe.skipIf(!isReady || lacks.length > 0)(scene.name, () => {
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
          it(`${moment.tag}: saved again there, loaded by ${first}`, { timeout: HOP_MS }, async () => {
            expect(await hop(saved, moment, first, again, `${again}-2`)).toEqual([]);
          });
        }
      });
    }
  });
}
