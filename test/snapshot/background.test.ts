/** savevm while the guest runs on: the snapshot is of the instant of the stop, and nobody can tell that it was made. */
import { spawn } from 'node:child_process';
import { copyFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Injector, injectErrors } from '../../src/block/filters/inject-error.ts';
import { openFile } from '../../src/block/file.ts';
import { openImage } from '../../src/block/open.ts';
import type { BackgroundSaveOptions } from '../../src/machine/save-and-load.ts';
import { isLongRun } from '../support/guests.ts';
import { Pc } from '../support/pc.ts';
import { hasQemu, Qemu } from '../support/qemu.ts';
import { qemuCheck } from '../support/qemu-img.ts';
import { qemuImg, temporaryFolder } from '../support/qemu-snapshot.ts';
import { bootChurn, CHURN_MIB, hasChurn, ICOUNT, makeChurnImage, openChurn, runFor } from './churn.ts';
import { type Fingerprint, fingerprint } from './fingerprint.ts';

const TEST_MS = 600_000;
const KILLED = fileURLToPath(new URL('./background-child.ts', import.meta.url));

let folder: ReturnType<typeof temporaryFolder>;
let booted = '';
/** Of the booted image: instruction at which its snapshot `boot` was made, and what the machine is at points behind it. */
const POINTS = [600_000, 1_500_000, 2_700_000];
let start = 0;
const expected: Fingerprint[] = [];

beforeAll(async () => {
  folder = temporaryFolder();
  if (!hasChurn) return;
  booted = join(folder.path, 'booted.qcow2');
  makeChurnImage(booted);
  const pc = await bootChurn(booted);
  await pc.machine.savevm('boot');
  start = pc.machine.cpu.instructions;
  await pc.quit();
  const path = join(folder.path, 'expected.qcow2');
  copyFileSync(booted, path);
  const other = await openChurn(path, { loadvm: 'boot' });
  for (const point of POINTS) {
    await other.machine.runTo(start + point);
    // What is saved is what the guest sees from here on: empty TLBs.
    await other.machine.savevm('here');
    expected.push(await fingerprint(other));
  }
  await other.quit();
}, TEST_MS);
afterAll(() => folder?.[Symbol.dispose]());

let count = 0;
function copyOfBooted(): string {
  const image = join(folder.path, `copy${count++}.qcow2`);
  copyFileSync(booted, image);
  return image;
}

function expectSame(found: Fingerprint, wanted: Fingerprint): void {
  expect(Object.keys(wanted).filter((key) => found[key] !== wanted[key])).toEqual([]);
}

function expectClean(image: string): void {
  expect(qemuCheck(image)).toMatchObject({ corruptions: 0, leaks: 0 });
}

/** Saves at each point while the guest runs on to the next, and says what the machine was there. */
async function saveOnTheWay(pc: Pc, options: BackgroundSaveOptions = {}): Promise<void> {
  for (const [i, point] of POINTS.entries()) {
    await pc.machine.runTo(start + point);
    const { done } = await pc.machine.savevmInBackground(`p${i}`, options);
    if (i + 1 < POINTS.length) await pc.machine.runTo(start + POINTS[i + 1]!);
    else expectSame(await fingerprint(pc), expected[i]!);
    await done;
  }
}

describe.skipIf(!hasChurn)('background savevm', () => {
  for (const [name, options] of [
    ['as it is', {}],
    ['whole', { incremental: false }],
    ['with room for few copies', { copyBytes: 128 << 10, incremental: false }],
    ['compressed', { compress: { workers: 1 } }],
  ] as const) {
    it(`is of its instant, and the guest does not notice: ${name}`, { timeout: TEST_MS }, async () => {
      const image = copyOfBooted();
      const pc = await openChurn(image, { loadvm: 'boot' });
      await saveOnTheWay(pc, options);
      await pc.quit();
      expectClean(image);
      await using other = await openChurn(image, { loadvm: 'p1' });
      expectSame(await fingerprint(other), expected[1]!);
      await other.machine.runTo(start + POINTS[2]!);
      await other.machine.savevm('again');
      expectSame(await fingerprint(other), expected[2]!);
      await other.machine.loadvm('p0');
      expectSame(await fingerprint(other), expected[0]!);
      await other.machine.loadvm('p2', { lazy: false });
      expectSame(await fingerprint(other), expected[2]!);
    });
  }

  it('shares with what was before, and what comes next shares with it', { timeout: TEST_MS }, async () => {
    const image = copyOfBooted();
    await using pc = await openChurn(image, { loadvm: 'boot' });
    await runFor(pc, 3_000_000);
    const whole = await (await pc.machine.savevmInBackground('a')).done;
    expect(whole.writtenBytes).toBeGreaterThan(10 << 20);
    await runFor(pc, 2_000);
    const little = await (await pc.machine.savevmInBackground('b')).done;
    expect(little.writtenBytes).toBeLessThan(25 * 65536 + 400_000);
    await runFor(pc, 2_000);
    expect((await pc.machine.savevm('c')).writtenBytes).toBeLessThan(25 * 65536 + 400_000);
    const wanted = await fingerprint(pc);
    for (const tag of ['a', 'boot', 'b']) await pc.machine.delvm(tag);
    await runFor(pc, 2_000);
    await pc.machine.loadvm('c', { lazy: false });
    expectSame(await fingerprint(pc), wanted);
  });

  it('of a machine whose RAM is still coming in', { timeout: TEST_MS }, async () => {
    const image = copyOfBooted();
    const pc = await openChurn(image, { loadvm: 'boot' });
    await pc.machine.runTo(start + POINTS[0]!);
    await pc.machine.savevm('full');
    await pc.quit();
    const other = await openChurn(image, { loadvm: 'full' });
    expect(other.machine.absentGroups).toBeGreaterThan(0);
    // Over the snapshot that RAM comes from, as well.
    for (const tag of ['p', 'full']) {
      const { done } = await other.machine.savevmInBackground(tag);
      await runFor(other, 100_000);
      await done;
      await other.machine.loadvm('boot');
      await other.machine.loadvm(tag);
      expectSame(await fingerprint(other), expected[0]!);
      await other.machine.loadvm('full');
    }
    await other.quit();
    expectClean(image);
  });

  it('cancelled at any time: nothing has happened', { timeout: TEST_MS }, async () => {
    const image = copyOfBooted();
    const pc = await openChurn(image, { loadvm: 'boot' });
    const sizes: number[] = [];
    for (let i = 0; i < 6; i++) {
      const abort = new AbortController();
      let calls = 0;
      const options = {
        incremental: i % 2 === 0,
        signal: abort.signal,
        onProgress: () => {
          if (calls++ === i * 2) abort.abort();
        },
      };
      if (i === 5) abort.abort();
      const running = pc.machine.savevmInBackground('gone', options).then(({ done }) => done);
      const cancelled = expect(running).rejects.toMatchObject({ code: 'cancelled' });
      await runFor(pc, 80_000);
      await cancelled;
      expect(pc.machine.listSnapshots().everywhere.map(({ tag }) => tag)).toEqual(['boot']);
      expect(pc.machine.jobs.list()).toEqual([]);
      await pc.machine.disks[0]!.node!.flush();
      expect(qemuImgCheckOpen(image)).toMatchObject({ corruptions: 0 });
      sizes.push(statSync(image).size);
    }
    expect(sizes.at(-1)!).toBeLessThan(sizes[2]! + (20 << 20));
    await pc.machine.runTo(start + POINTS[0]!);
    await pc.machine.savevm('p0');
    expectSame(await fingerprint(pc), expected[0]!);
    await pc.machine.loadvm('boot');
    await pc.machine.runTo(start + POINTS[0]!);
    await pc.machine.savevm('again');
    expectSame(await fingerprint(pc), expected[0]!);
    await pc.quit();
    expectClean(image);
  });

  it('that fails at a write or flush leaves image and guest as they were', { timeout: TEST_MS }, async () => {
    const image = copyOfBooted();
    let injector: Injector | undefined;
    const node = await openImage(image, {
      openFile: async (...args) => {
        injector = injectErrors(await openFile(...args));
        return injector.file;
      },
    });
    const drives = [{ device: 'ide0-hd0', kind: 'disk', index: 0, node }] as const;
    const pc = await Pc.start({
      memoryMiB: CHURN_MIB,
      drives,
      stopped: true,
      date: 1_700_000_000,
      icount: ICOUNT,
    });
    await pc.machine.loadvm('boot');
    await pc.machine.finishLoad();
    let failures = 0;
    for (let number = 0; number < (isLongRun ? 60 : 14); number++) {
      for (const operation of ['write', 'flush'] as const) {
        // The machine stands still: all writes are the save's.
        injector!.failAt(operation, number, 'no-space');
        const result = await pc.machine
          .savevmInBackground('new')
          .then(({ done }) => done)
          .catch((error: unknown) => error);
        injector!.heal();
        const tags = pc.machine.listSnapshots().everywhere.map(({ tag }) => tag);
        if (result instanceof Error) {
          failures++;
          expect(tags).toEqual(['boot']);
        } else {
          expect(tags).toEqual(['boot', 'new']);
          await pc.machine.delvm('new');
        }
        await runFor(pc, 20_000);
      }
    }
    expect(failures).toBeGreaterThan(6);
    await pc.machine.runTo(start + POINTS[0]!);
    await pc.machine.savevm('here');
    expectSame(await fingerprint(pc), expected[0]!);
    await pc.quit();
    expectClean(image);
  });

  it('killed: what was there is there, and the next open frees what leaked', {
    timeout: TEST_MS,
  }, async () => {
    for (const ms of isLongRun ? [0, 20, 50, 100, 200, 400, 800, 1500] : [0, 300]) {
      const image = copyOfBooted();
      const child = spawn(process.execPath, ['--import', 'tsx', KILLED, image], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      await new Promise((resolve) => child.stdout.once('data', resolve));
      await delay(ms);
      child.kill('SIGKILL');
      await new Promise((resolve) => child.once('exit', resolve));
      expect(qemuCheck(image).corruptions).toBe(0);
      const pc = await openChurn(image, { loadvm: 'boot' });
      await pc.machine.runTo(start + POINTS[0]!);
      await pc.machine.savevm('here');
      expectSame(await fingerprint(pc), expected[0]!);
      await pc.quit();
      expectClean(image);
    }
  });

  it('of several disks: all of the same instant', { timeout: TEST_MS }, async () => {
    const image = copyOfBooted();
    const second = join(folder.path, 'second.qcow2');
    qemuImg('create', '-q', '-f', 'qcow2', second, '4M');
    const node = await openImage(second);
    const drives = [{ device: 'ide0-hd1', kind: 'disk', index: 1, node }] as const;
    const pc = await Pc.start({ memoryMiB: CHURN_MIB, image, drives, stopped: true, icount: ICOUNT });
    await node.write(0, Buffer.alloc(300_000, 1));
    for (const value of [2, 3]) {
      const { done } = await pc.machine.savevmInBackground('both');
      await node.write(100_000, Buffer.alloc(100_000, value));
      await node.writeZeroes(0, 65536);
      await done;
      await node.write(200_000, Buffer.alloc(100_000, 9));
    }
    await pc.machine.loadvm('both');
    const bytes = new Uint8Array(300_000);
    await node.read(0, bytes);
    expect([bytes[0], bytes[66_000], bytes[150_000], bytes[250_000]]).toEqual([0, 1, 2, 9]);
    await pc.quit();
    for (const path of [image, second]) expectClean(path);
  });

  it.skipIf(!hasQemu)('is read by QEMU, RAM equal', { timeout: TEST_MS }, async () => {
    const image = copyOfBooted();
    const pc = await openChurn(image, { loadvm: 'boot' });
    await saveOnTheWay(pc);
    const memory: Uint8Array[] = [];
    for (const i of POINTS.keys()) {
      await pc.machine.loadvm(`p${i}`);
      memory.push(await pc.readMemory(0x100000, (CHURN_MIB - 1) << 20));
    }
    await pc.quit();
    for (const i of isLongRun ? POINTS.keys() : [1]) {
      await using qemu = await Qemu.start({ memoryMiB: CHURN_MIB, image, loadvm: `p${i}`, stopped: true });
      expect(Buffer.compare(await qemu.readMemory(0x100000, (CHURN_MIB - 1) << 20), memory[i]!)).toBe(0);
      await qemu.savevm('theirs');
    }
    expectClean(image);
  });

  it('can be watched as a job', { timeout: TEST_MS }, async () => {
    await using pc = await openChurn(copyOfBooted(), { loadvm: 'boot' });
    const statuses: string[] = [];
    pc.machine.jobs.on('status', (job) => statuses.push(`${job.id} ${job.type} ${job.status}`));
    const save = await pc.machine.savevmInBackground('a', { job: { id: 'j', autoDismiss: false } });
    expect(pc.machine.jobs.list()).toEqual([save.job]);
    await expect(pc.machine.savevm('b', { job: { id: 'j' } })).rejects.toThrow('already in use');
    // What comes next waits.
    await pc.machine.delvm('a');
    await save.done;
    expect(save.job).toMatchObject({ status: 'concluded', error: undefined, tag: 'a' });
    expect(save.job.currentBytes).toBe(save.job.totalBytes);
    expect(pc.machine.jobs.dismiss('j')).toBe(true);
    expect(statuses.filter((line) => line.startsWith('j ')).map((line) => line.split(' ')[2])).toEqual([
      'created',
      'running',
      'waiting',
      'pending',
      'concluded',
      'null',
    ]);
    expect(pc.machine.jobs.list()).toEqual([]);
  });
});

/** The machine has the image open: read past its lock. */
function qemuImgCheckOpen(image: string): ReturnType<typeof qemuCheck> {
  const copy = `${image}.look`;
  copyFileSync(image, copy);
  return qemuCheck(copy, true);
}
