/** `ambervm vmstate`, `snapshot`, `img` on snapshots of QEMU's and ours, each result judged by QEMU. */
import { closeSync, copyFileSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openImage } from '../../src/block/open.ts';
import type { Qcow2 } from '../../src/block/qcow2/qcow2.ts';
import { runTool } from '../../src/cli/tools/tools.ts';
import { Pc } from '../support/pc.ts';
import { hasQemu, hasSeabios, Qemu } from '../support/qemu.ts';
import { qemuCheck } from '../support/qemu-img.ts';
import { qemuImg, temporaryFolder } from '../support/qemu-snapshot.ts';
import { waitForScreen } from './scenes.ts';

const MEMORY_MIB = 16;
const RAM_BYTES = MEMORY_MIB << 20;
const CLEAN = { corruptions: 0, leaks: 0 };

let folder: ReturnType<typeof temporaryFolder>;
/** Snapshot `q` of QEMU's and `o` of ours, and their RAM. */
let image: string;
const rams = new Map<string, Uint8Array>();
const path = (name: string): string => join(folder.path, name);

async function tool(...args: string[]): Promise<{ code: number; text: string }> {
  const lines: string[] = [];
  const code = await runTool(args, {
    line: (text) => lines.push(text),
    error: (text) => lines.push(text),
    write: () => {},
    progress: () => {},
  });
  return { code, text: lines.join('\n') };
}

async function ok(...args: string[]): Promise<string> {
  const { code, text } = await tool(...args);
  expect(code, text).toBe(0);
  return text;
}

function newImage(name: string): string {
  qemuImg('create', '-q', '-f', 'qcow2', path(name), '16M');
  return path(name);
}

function expectRam(found: Uint8Array, tag: string): void {
  expect(Buffer.compare(found, rams.get(tag)!)).toBe(0);
}

async function expectLoads(file: string, tag: string, like = tag): Promise<void> {
  {
    await using qemu = await Qemu.start({ memoryMiB: MEMORY_MIB, image: file, loadvm: tag, stopped: true });
    expectRam(await qemu.readMemory(0, RAM_BYTES), like);
    await qemu.resume();
    await waitForScreen(qemu, /No bootable device/, 5_000);
  }
  await using pc = await Pc.start({ memoryMiB: MEMORY_MIB, image: file, loadvm: tag, stopped: true });
  await pc.machine.finishLoad();
  expectRam(await pc.readMemory(0, RAM_BYTES), like);
}

describe.skipIf(!hasQemu || !hasSeabios)('tools', () => {
  beforeAll(async () => {
    folder = temporaryFolder();
    image = newImage('both.qcow2');
    {
      await using qemu = await Qemu.start({ memoryMiB: MEMORY_MIB, image });
      await waitForScreen(qemu, /No bootable device/, 30_000);
      await qemu.pause();
      await qemu.savevm('q');
      rams.set('q', await qemu.readMemory(0, RAM_BYTES));
    }
    await using pc = await Pc.start({ memoryMiB: MEMORY_MIB, image, loadvm: 'q', stopped: true });
    const noise = Uint8Array.from({ length: 1 << 20 }, (_, i) => (Math.imul(i, 0x9e3779b1) >>> 13) & 0xff);
    pc.machine.memory.write(0x50_0000, noise);
    await pc.savevm('o');
    rams.set('o', await pc.readMemory(0, RAM_BYTES));
  });
  afterAll(() => folder?.[Symbol.dispose]());

  for (const tag of ['q', 'o']) {
    it(`dump ${tag}`, async () => {
      const text = await ok('vmstate', 'dump', image, tag);
      expect(text).toMatch(/^machine pc-i440fx-7\.2, \d+ bytes\nram pc\.ram: 16777216 bytes, \d+ pages/);
      expect(text).toMatch(/## i8254 instance 0 version 3, offset 0x/);
      expect(text).toMatch(/ {2}env\.eip: uint32 = 0x/);
      expect(text).toMatch(
        tag === 'q' ? /checksums: none, saved by QEMU$/ : /units and the device part are good$/,
      );
      const sections = await ok('vmstate', 'dump', image, tag, '--sections');
      expect(sections).toMatch(/^ +0x[0-9a-f]+ +\d+ {2}0000:00:01\.1\/ide instance 0 version 3$/m);
    });

    it(`export ${tag} to RAM and rest, and import`, async () => {
      const [ram, rest] = [path(`${tag}-ram.qcow2`), path(`${tag}-rest.bin`)];
      await ok('snapshot', 'export', image, tag, '--ram', ram, '--vmstate', rest);
      qemuImg('convert', '-O', 'raw', ram, path('ram.raw'));
      const raw = readFileSync(path('ram.raw'));
      // ROM lies over what RAM has at 640 KiB to 1 MiB.
      expect(raw.length).toBe(RAM_BYTES);
      expect(Buffer.compare(raw.subarray(0, 0xa0000), rams.get(tag)!.subarray(0, 0xa0000))).toBe(0);
      expect(Buffer.compare(raw.subarray(0x100000), rams.get(tag)!.subarray(0x100000))).toBe(0);
      const target = newImage(`${tag}-imported.qcow2`);
      await ok('snapshot', 'import', target, 'back', '--ram', ram, '--vmstate', rest);
      await ok('snapshot', 'import', target, 'small', '--ram', ram, '--vmstate', rest, '--compress');
      expect(qemuCheck(target)).toMatchObject(CLEAN);
      await expectLoads(target, 'back', tag);
      await expectLoads(target, 'small', tag);
      expect(await ok('vmstate', 'verify', target, 'back')).toMatch(/are good/);
    });
  }

  it('export to one image that holds everything, import over a snapshot whose disk stays', async () => {
    const ram = path('alone.qcow2');
    await ok('snapshot', 'export', image, 'o', '--ram', ram);
    expect(qemuCheck(ram)).toMatchObject(CLEAN);
    const target = path('over.qcow2');
    copyFileSync(image, target);
    const text = await ok('snapshot', 'import', target, 'q', '--ram', ram);
    expect(text).toMatch(/snapshot 'q' has a new VM state/);
    expect(qemuCheck(target)).toMatchObject(CLEAN);
    await expectLoads(target, 'q', 'o');
    await expectLoads(target, 'o');
  });

  for (const tag of ['q', 'o']) {
    it(`export ${tag} to a migration stream that QEMU's -incoming reads`, async () => {
      const file = path(`${tag}.stream`);
      await ok('snapshot', 'export', image, tag, '--stream', file);
      const more = ['-incoming', `exec:cat ${file}`];
      const disk = newImage(`${tag}-incoming.qcow2`);
      await using qemu = await Qemu.start({ memoryMiB: MEMORY_MIB, image: disk, stopped: true, more });
      for (let tries = 0; (await qemu.status()) === 'inmigrate' && tries < 100; tries++) await delay(50);
      expect(await qemu.status()).toMatch(/^(paused|prelaunch)$/);
      expectRam(await qemu.readMemory(0, RAM_BYTES), tag);
      await qemu.resume();
      await waitForScreen(qemu, /No bootable device/, 5_000);
    });
  }

  it('imports what QEMU migrated to a file', async () => {
    const file = path('migrated.stream');
    {
      await using qemu = await Qemu.start({ memoryMiB: MEMORY_MIB, image, loadvm: 'o', stopped: true });
      await qemu.qmp('migrate', { uri: `exec:cat > ${file}` });
      for (let tries = 0; tries < 100; tries++) {
        if (/completed/.test(await qemu.hmp('info migrate'))) break;
        await delay(50);
      }
    }
    const target = newImage('migrated.qcow2');
    await ok('snapshot', 'import', target, 'm', '--stream', file);
    expect(qemuCheck(target)).toMatchObject(CLEAN);
    await expectLoads(target, 'm', 'o');
  });

  it('compresses snapshots that are there', async () => {
    const target = path('compressed.qcow2');
    copyFileSync(image, target);
    expect(await ok('snapshot', 'compress', target, 'q')).toMatch(
      /^\d+ clusters compressed, 0 were already$/,
    );
    await ok('img', 'compress', target, 'o');
    expect(qemuCheck(target)).toMatchObject(CLEAN);
    expect(await ok('img', 'check', target)).toContain('No errors were found on the image.');
    await expectLoads(target, 'q');
    await expectLoads(target, 'o');
    const again = await ok('snapshot', 'compress', target, 'o');
    expect(again).not.toMatch(/ 0 were already$/);
    expect(qemuCheck(target)).toMatchObject(CLEAN);
    await expectLoads(target, 'o');
    expect(await ok('snapshot', 'list', target)).toMatch(/^ID +TAG[\s\S]*\n1 +q .*\n2 +o /);
  });

  it('finds a damaged cluster', async () => {
    const target = path('damaged.qcow2');
    copyFileSync(image, target);
    const node = (await openImage(target, { readOnly: true })) as Qcow2;
    const { hostOffsets } = await node.openVmState('o');
    await node.close();
    const file = openSync(target, 'r+');
    writeSync(file, Buffer.from('damage'), 0, 6, hostOffsets[3]! + 1000);
    closeSync(file);
    const { code, text } = await tool('vmstate', 'verify', target, 'o');
    expect(code).toBe(1);
    expect(text).toMatch(/1 of \d+ units are DAMAGED\n {2}damaged: VM state offset 0x30000/);
    await expect(tool('snapshot', 'export', target, 'o', '--ram', path('x.qcow2'))).rejects.toThrow(
      'damaged',
    );
  });

  it.each([
    [['vmstate', 'dump', 'IMAGE', 'nope'], /There is no snapshot 'nope' in/],
    [['vmstate', 'dump', 'IMAGE'], /vmstate dump: TAG is missing\nusage: ambervm vmstate dump IMAGE TAG/],
    [['vmstate', 'frob'], /vmstate: no command 'frob'/],
    [['snapshot', 'export', 'IMAGE', 'q'], /either --ram or --stream/],
  ])('%j', async (args, message) => {
    await expect(tool(...args.map((word) => (word === 'IMAGE' ? image : word)))).rejects.toThrow(message);
  });
});
