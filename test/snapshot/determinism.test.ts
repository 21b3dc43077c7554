/**
 * With -icount a run is the same every time: from power-on, from a snapshot, in another process, in steps of any
 * length. The machine is saved at a row of instructions X0 < X1 < …; loaded at each Xi it must be at Xi+1 what the first
 * run was there: RAM, registers, every device, the disk.
 */
import { spawnSync } from 'node:child_process';
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findGuest, isLongRun } from '../support/guests.ts';
import { hasSeabios } from '../support/qemu.ts';
import { hasQemuImg } from '../support/qemu-img.ts';
import { qemuImg, temporaryFolder } from '../support/qemu-snapshot.ts';
import type { ChildTask } from './deterministic-child.ts';
import {
  compareFingerprints,
  type GuestOptions,
  runAndSave,
  startDeterministic,
} from './deterministic-pc.ts';
import type { Fingerprint } from './fingerprint.ts';

const M = 1_000_000;
const CHILD = fileURLToPath(new URL('./deterministic-child.ts', import.meta.url));
const DEMO = fileURLToPath(new URL('../../images/demo/demo.img', import.meta.url));
/** For all steps of a test; a host with much else to do takes minutes for each of twenty. */
const RUN_MS = isLongRun ? 3_600_000 : 600_000;

interface MissingRun {
  readonly name: string;
  /** Guests that cannot be had here. */
  readonly missing: string;
}

interface Run {
  readonly name: string;
  readonly missing?: undefined;
  readonly options: Omit<GuestOptions, 'image' | 'loadvm'>;
  makeImage(image: string): void;
  /** Millions of instructions. */
  readonly points: readonly number[];
  readonly manyPoints: readonly number[];
  /** For the second run from power-on; not a multiple of anything. */
  readonly step: number;
}

const emptyDisk = (image: string): void => {
  qemuImg('create', '-q', '-f', 'qcow2', image, '16M');
};
/** `count` points evenly from `first` to `last`. */
const row = (first: number, last: number, count: number): number[] =>
  Array.from(
    { length: count },
    (_, i) => Math.round((first + ((last - first) * i) / (count - 1)) * 1e6) / 1e6,
  );

function linuxRun(): Run | MissingRun {
  const [file, initrd] = [findGuest('vmlinuz-686'), findGuest('initramfs-686.gz')];
  if (file === undefined || initrd === undefined) {
    return { name: 'Linux boot', missing: 'vmlinuz-686 or initramfs-686.gz' };
  }
  return {
    name: 'Linux boot',
    options: {
      memoryMiB: 96,
      kernel: { file, initrd, append: 'console=tty0 console=ttyS0 cryptomgr.notests' },
    },
    makeImage: emptyDisk,
    points: [900.000_123, 2400, 2650],
    manyPoints: row(200, 3300, 20),
    step: 97_000_013,
  };
}

function grubRun(): Run | MissingRun {
  const cdrom = findGuest('grub-rescue-cd.iso');
  if (cdrom === undefined) return { name: 'GRUB from CD', missing: 'grub-rescue-cd.iso' };
  return {
    name: 'GRUB from CD',
    options: { memoryMiB: 64, cdrom },
    makeImage: emptyDisk,
    points: [8.5, 20, 45],
    manyPoints: row(7.3, 80, 20),
    step: 1_777_777,
  };
}

const runs: readonly (Run | MissingRun)[] = [
  {
    name: 'SeaBIOS',
    options: { memoryMiB: 16 },
    makeImage: emptyDisk,
    points: [0.1, 1.000_003, 3, 5.5, 9],
    manyPoints: row(0.05, 9, 20),
    step: 77_777,
  },
  {
    name: 'demo disk',
    options: { memoryMiB: 16 },
    makeImage: (image) => {
      qemuImg('convert', '-O', 'qcow2', DEMO, image);
    },
    points: [6, 9, 15.000_001, 30],
    manyPoints: row(5.5, 60, 20),
    step: 777_777,
  },
  grubRun(),
  linuxRun(),
];

function inNewProcess(task: ChildTask): Fingerprint {
  const child = spawnSync(process.execPath, ['--import', 'tsx', CHILD, JSON.stringify(task)], {
    encoding: 'utf8',
    timeout: RUN_MS,
  });
  if (child.status !== 0) throw new Error(`${child.stdout}${child.stderr}`);
  return JSON.parse(child.stdout) as Fingerprint;
}

let folder: ReturnType<typeof temporaryFolder>;
beforeAll(() => {
  folder = temporaryFolder();
});
afterAll(() => folder?.[Symbol.dispose]());

for (const run of runs) {
  if (run.missing !== undefined) {
    it.skip(`${run.name}: guest ${run.missing} cannot be had here`);
    continue;
  }
  describe.skipIf(!hasSeabios || !hasQemuImg)(run.name, () => {
    const points = (isLongRun ? run.manyPoints : run.points).map((millions) => Math.round(millions * M));
    const first: Fingerprint[] = [];
    let image = '';

    beforeAll(async () => {
      image = join(folder.path, `${run.name}.qcow2`);
      run.makeImage(image);
      const pc = await startDeterministic({ ...run.options, image });
      for (const [i, point] of points.entries()) first.push(await runAndSave(pc, point, `at${i}`));
      await pc.quit();
    }, RUN_MS);

    it('goes on from each snapshot as the first run did', { timeout: RUN_MS }, async () => {
      const copy = `${image}.loads`;
      copyFileSync(image, copy);
      // One machine for half of them, a process of its own for each of the others.
      const pc = await startDeterministic({ ...run.options, image: copy });
      for (let i = 0; i + 1 < points.length; i += 2) {
        await pc.loadvm(`at${i}`);
        const found = await runAndSave(pc, points[i + 1]!, 'again');
        expect(compareFingerprints(first[i + 1]!, found), `from ${points[i]} to ${points[i + 1]}`).toEqual(
          [],
        );
      }
      await pc.quit();
      for (let i = 1; i + 1 < points.length; i += 2) {
        const options = { ...run.options, image: copy, loadvm: `at${i}` };
        const found = inNewProcess({ options, runTo: points[i + 1]!, saveAs: 'again' });
        expect(compareFingerprints(first[i + 1]!, found), `from ${points[i]} to ${points[i + 1]}`).toEqual(
          [],
        );
      }
    });

    const isQuick = isLongRun || run.points.at(-1)! < 40;
    it.skipIf(!isQuick)(
      'is the same from power-on in steps of another length',
      { timeout: RUN_MS },
      async () => {
        const other = `${image}.steps`;
        run.makeImage(other);
        const pc = await startDeterministic({ ...run.options, image: other });
        for (const [i, point] of points.entries()) {
          while (pc.machine.cpu.instructions + run.step < point) {
            await pc.machine.runTo(pc.machine.cpu.instructions + run.step);
          }
          const found = await runAndSave(pc, point, `at${i}`);
          expect(compareFingerprints(first[i]!, found), `at ${point}`).toEqual([]);
        }
        await pc.quit();
      },
    );
  });
}
