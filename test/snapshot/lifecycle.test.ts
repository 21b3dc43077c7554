/** savevm and loadvm of a machine that runs the demo disk, which counts and checks itself all the time. */
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BlockError } from '../../src/block/errors.ts';
import { type BlockFile, openFile } from '../../src/block/file.ts';
import { openImage } from '../../src/block/open.ts';
import { MigrationError } from '../../src/migration/errors.ts';
import { isLongRun } from '../support/guests.ts';
import { Pc, type PcOptions } from '../support/pc.ts';
import { hasSeabios } from '../support/qemu.ts';
import { hasQemuImg, qemuCheck } from '../support/qemu-img.ts';
import { qemuImg, temporaryFolder } from '../support/qemu-snapshot.ts';
import { compareFingerprints } from './deterministic-pc.ts';
import { type Fingerprint, fingerprint } from './fingerprint.ts';
import { demoGoesOn, demoScene } from './scenes.ts';

const scene = demoScene(fileURLToPath(new URL('../../images/demo/demo.img', import.meta.url)));
const { memoryMiB } = scene;
const TEST_MS = 120_000;

let folder: ReturnType<typeof temporaryFolder>;
let count = 0;
beforeAll(() => {
  folder = temporaryFolder();
});
afterAll(() => folder?.[Symbol.dispose]());

function newImage(): string {
  const image = join(folder.path, `demo${count++}.qcow2`);
  scene.makeImage(image);
  return image;
}

async function runDemo(image: string, options: Partial<PcOptions> = {}): Promise<Pc> {
  const pc = await Pc.start({ memoryMiB, image, ...options });
  await pc.serial.waitFor(/tick 0001/, 30_000);
  return pc;
}

/** A host disk on which files stop growing. */
class FullDisk {
  limit = Number.POSITIVE_INFINITY;
  #file: BlockFile | undefined;

  /** `left`: bytes that the image may still grow by. */
  async fill(left: number): Promise<void> {
    this.limit = (await this.#file!.size()) + left;
  }

  readonly openFile: typeof openFile = async (...args) => {
    const below = await openFile(...args);
    const check = (end: number): void => {
      if (end > this.limit)
        throw new BlockError('no-space', 'no space left on device', { file: below.filename });
    };
    const file: BlockFile = {
      filename: below.filename,
      readOnly: below.readOnly,
      size: () => below.size(),
      read: (offset, target) => below.read(offset, target),
      write: async (offset, source) => {
        check(offset + source.length);
        await below.write(offset, source);
      },
      writev: async (offset, parts) => {
        check(offset + parts.reduce((sum, part) => sum + part.length, 0));
        await below.writev(offset, parts);
      },
      truncate: async (size) => {
        check(size);
        await below.truncate(size);
      },
      flush: () => below.flush(),
      close: () => below.close(),
    };
    this.#file = below;
    return file;
  };
}

/** Stops, and waits for disk requests that are on their way. */
async function pauseIdle(pc: Pc): Promise<void> {
  await pc.pause();
  await delay(200);
}

/** RAM, registers, disk; without what follows the host's clock. */
async function still(pc: Pc): Promise<Fingerprint> {
  const { 'mc146818rtc/0': _rtc, timers: _timers, ...rest } = await fingerprint(pc);
  return rest;
}

function expectClean(image: string): void {
  expect(qemuCheck(image)).toMatchObject({ corruptions: 0, leaks: 0 });
}

describe.skipIf(!hasSeabios || !hasQemuImg)('a machine that is saved and loaded', () => {
  it('goes on after savevm, and from loadvm, and a tag is replaced', { timeout: TEST_MS }, async () => {
    const image = newImage();
    const pc = await runDemo(image);
    await pc.savevm('a');
    expect(pc.machine.state).toBe('running');
    await demoGoesOn(pc);
    await pc.savevm('a');
    expect(pc.machine.listSnapshots().everywhere.map(({ tag }) => tag)).toEqual(['a']);
    const before = /tick (\d+)(?![\s\S]*tick)/.exec(pc.serial.text)![1]!;
    await demoGoesOn(pc);
    pc.serial.mark();
    await pc.loadvm('a');
    expect(pc.machine.state).toBe('running');
    // It counts again what it had counted since.
    await pc.serial.waitFor(`tick ${String(Number(before) + 1).padStart(4, '0')}`, 10_000);
    await demoGoesOn(pc);
    expect(pc.serial.text).not.toContain('ERROR');
    await pc.quit();
    expectClean(image);
  });

  it('stays stopped with -S, and as it was otherwise', { timeout: TEST_MS }, async () => {
    const image = newImage();
    const pc = await runDemo(image);
    await pc.savevm('a');
    await pc.pause();
    await pc.loadvm('a');
    expect(pc.machine.state).toBe('paused');
    await pc.quit();
    const stopped = await Pc.start({ memoryMiB, image, loadvm: 'a', stopped: true });
    expect(stopped.machine.state).toBe('prelaunch');
    const { instructions } = stopped.machine.cpu;
    await delay(200);
    expect(stopped.machine.cpu.instructions).toBe(instructions);
    await stopped.resume();
    await demoGoesOn(stopped);
    await stopped.quit();
    expectClean(image);
  });

  it('is not changed by a savevm that finds the disk full', { timeout: TEST_MS }, async () => {
    const image = newImage();
    const disk = new FullDisk();
    const pc = await runDemo(image, { open: { openFile: disk.openFile } });
    await pc.savevm('good');
    await pauseIdle(pc);
    const before = await still(pc);
    for (const left of [0, 1 << 16, 1 << 20, 2 << 20]) {
      for (const tag of ['good', 'new']) {
        await disk.fill(left);
        await expect(pc.machine.savevm(tag, { incremental: false }), `${left} bytes`).rejects.toThrow(
          /no space/,
        );
        disk.limit = Number.POSITIVE_INFINITY;
        expect(pc.machine.state).toBe('paused');
        expect(pc.machine.listSnapshots().everywhere.map((s) => s.tag)).toEqual(['good']);
        expect(compareFingerprints(before, await still(pc)), `${left} bytes`).toEqual([]);
      }
    }
    await pc.resume();
    await demoGoesOn(pc);
    await pc.savevm('new');
    await pc.loadvm('good');
    await demoGoesOn(pc);
    await pc.quit();
    expectClean(image);
  });

  it('refuses to save with a writable disk that cannot, by its name', { timeout: TEST_MS }, async () => {
    const image = newImage();
    const raw = join(folder.path, 'data.img');
    qemuImg('create', '-q', '-f', 'raw', raw, '1M');
    const node = await openImage(raw, { format: 'raw' });
    const pc = await runDemo(image, { drives: [{ device: 'ide0-hd1', kind: 'disk', index: 1, node }] });
    const error = await pc.machine.savevm('a').catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(MigrationError);
    expect((error as Error).message).toContain(
      "Device 'ide0-hd1' is writable but does not support snapshots",
    );
    expect((error as Error).message).toMatch(/qemu-img convert -O qcow2 '.*data\.img' '.*data\.qcow2'/);
    await demoGoesOn(pc);
    await pc.quit();
  });

  it('does not open an image that another machine has', { timeout: TEST_MS }, async () => {
    const image = newImage();
    const pc = await runDemo(image);
    await expect(Pc.start({ memoryMiB, image })).rejects.toThrow(/lock/i);
    expect(() => qemuImg('snapshot', '-c', 'x', image)).toThrow(/lock/);
    await demoGoesOn(pc);
    await pc.quit();
    expectClean(image);
  });
});

/** Images with a snapshot `bad` that the demo machine cannot load, and what it says. */
async function badImages(): Promise<readonly (readonly [what: string, image: string, message: RegExp])[]> {
  const larger = newImage();
  const other = await runDemo(larger, { memoryMiB: memoryMiB * 2 });
  await other.savevm('bad');
  await other.quit();
  const noVga = newImage();
  const blind = await runDemo(noVga, { vga: 'none' });
  await blind.savevm('bad');
  await blind.quit();
  const good = newImage();
  const pc = await runDemo(good);
  await pc.savevm('bad');
  await pc.quit();
  const damaged = (text: string, change: (file: Buffer, at: number) => void): string => {
    const image = join(folder.path, `demo${count++}.qcow2`);
    const file = readFileSync(good);
    // Sections are named once in the binary part, before the JSON description names them again.
    change(file, file.indexOf(text));
    writeFileSync(image, file);
    return image;
  };
  const flip = (offset: number) => (file: Buffer, at: number) => {
    file[at + offset] = file[at + offset]! ^ 0x41;
  };
  const list: (readonly [string, string, RegExp])[] = [
    ['another RAM size', larger, /mismatch|size/i],
    ['no VGA', noVga, /vga/],
    ['magic', damaged('QEVM', flip(0)), /./],
    ['machine type', damaged('pc-i440fx-7.2', flip(3)), /./],
    ['section name', damaged('\x0bmc146818rtc', flip(2)), /./],
    ['section version', damaged('\x05i8254', flip(12)), /./],
    ['field out of range', damaged('\x05i8254', flip(6 + 8 + 4)), /./],
    ['footer', damaged('\x03fdc', flip(-6)), /./],
  ];
  if (isLongRun) {
    for (let i = 0; i < 60; i++) {
      const offset = 100 + i * 257;
      list.push([`byte ${offset} of the devices`, damaged('\x05timer', flip(offset)), /./]);
    }
  }
  return list;
}

describe.skipIf(!hasSeabios || !hasQemuImg)('a loadvm that fails', () => {
  it('leaves the running guest running, RAM unchanged', {
    timeout: isLongRun ? 600_000 : TEST_MS,
  }, async () => {
    for (const [what, image, message] of await badImages()) {
      const copy = `${image}.run`;
      copyFileSync(image, copy);
      const pc = await runDemo(copy);
      const running = await pc.loadvm('bad').then(
        () => undefined,
        (error: unknown) => error,
      );
      // The machine is not told which byte was changed: in the long run some are harmless.
      if (running === undefined && what.startsWith('byte')) {
        await pc.quit();
        continue;
      }
      expect(running, what).toBeInstanceOf(MigrationError);
      expect((running as Error).message, what).toMatch(message);
      expect(pc.machine.state, what).toBe('running');
      await expect(pc.loadvm('missing'), what).rejects.toThrow(/does not exist|Snapshot/);
      await pauseIdle(pc);
      const before = await still(pc);
      await expect(pc.loadvm('bad'), what).rejects.toThrow(MigrationError);
      expect(pc.machine.state, what).toBe('paused');
      expect(compareFingerprints(before, await still(pc)), what).toEqual([]);
      await pc.resume();
      pc.serial.mark();
      await pc.serial.waitFor(/tick \d+ disk OK .*errors=0/, 10_000);
      expect(pc.serial.text, what).not.toContain('ERROR');
      await pc.quit();
      expectClean(copy);
    }
  });
});
