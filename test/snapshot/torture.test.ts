/** Snapshots at the worst moments: each test is an item of a list of things that go wrong in machines that are saved. */
import { spawn } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { setTimeout as delay } from 'node:timers/promises';
import { layOut } from '../../src/block/qcow2/create.ts';
import { openQcow2 } from '../../src/block/qcow2/qcow2.ts';
import { delayed } from '../../src/block/filters/delay.ts';
import type { Machine } from '../../src/machine/machine.ts';
import { findGuest, isLongRun } from '../support/guests.ts';
import { MemoryFile } from '../support/memory-file.ts';
import { requireProgram } from '../support/programs.ts';
import { Pc } from '../support/pc.ts';
import { hasQemu, hasSeabios, Qemu } from '../support/qemu.ts';
import { temporaryFolder } from '../support/qemu-snapshot.ts';
import { compareFingerprints } from './deterministic-pc.ts';
import { type Fingerprint, fingerprint } from './fingerprint.ts';
import { grubScene } from './scenes.ts';
import {
  copyOf,
  counters,
  emptyImage,
  ICOUNT,
  isInState,
  moreRounds,
  openGuest,
  RAM_BYTES,
  registers,
  romFile,
  romOf,
  type SceneName,
} from './torture-guests.ts';

const hasNasm = requireProgram('nasm');
const TEST_MS = 180_000;

let folder: ReturnType<typeof temporaryFolder>;
beforeAll(() => {
  folder = temporaryFolder();
});
afterAll(() => folder?.[Symbol.dispose]());

const rom = (scene: SceneName): Uint8Array => romOf(scene, folder.path);
const path = (name: string): string => join(folder.path, name);

// ---- the same run, however it was saved and loaded

/** Instructions from the snapshot to where runs are compared. */
const FURTHER = 400_000;
/** A machine that sleeps goes a long way with few of them. */
const furtherIn = (scene: SceneName): number => (scene === 'HLT' ? 3000 : FURTHER);

interface Moment {
  readonly scene: Exclude<SceneName, 'KEYS'>;
  /** What the machine is in the middle of. */
  readonly what: string;
  /** About where to look for it, in instructions. */
  readonly points: readonly number[];
}

const moments: readonly Moment[] = [
  { scene: 'REP', what: 'a REP MOVS', points: [70_001, 200_003, 333_337] },
  { scene: 'HLT', what: 'HLT', points: [200, 999, 1501] },
  { scene: 'UNREAL', what: 'real mode, with limits left from protected mode', points: [5_003, 100_001] },
  { scene: 'V86', what: 'virtual-8086 mode', points: [10_007, 123_457] },
  { scene: 'DMA', what: 'DMA', points: [15_000, 100_000, 250_000] },
];

function differing(found: Fingerprint, wanted: Fingerprint): string[] {
  return compareFingerprints(wanted, found);
}

/** The first instruction from `from` on where the machine is in the state; runs there. */
async function runInto(machine: Machine, { scene }: Moment, from: number): Promise<number> {
  await machine.runTo(from);
  for (let tries = 0; tries < 20_000; tries++) {
    if (isInState[scene](machine)) return machine.cpu.instructions;
    await machine.runTo(machine.cpu.instructions + 7);
  }
  throw new Error(`${scene}: not in its state after ${machine.cpu.instructions} instructions`);
}

const openExact = (scene: SceneName, file: MemoryFile): Promise<Machine> =>
  openGuest(rom(scene), { file, icount: ICOUNT });

/** Runs on, and to the first moment without a disk request: what only a request in flight can see is nobody's. */
async function stateAt(machine: Machine, instructions: number): Promise<Fingerprint> {
  await machine.runTo(instructions);
  await machine.savevm('end');
  return fingerprint({ machine });
}

/** In the run state in which the others are saved. */
async function openPaused(scene: SceneName, file: MemoryFile): Promise<Machine> {
  const machine = await openExact(scene, file);
  await machine.runTo(0);
  return machine;
}

async function uninterrupted(scene: SceneName, instructions: number): Promise<Fingerprint> {
  await using machine = await openExact(scene, emptyImage());
  return await stateAt(machine, instructions);
}

describe.skipIf(!hasNasm)('savevm in the middle of', () => {
  for (const moment of moments) {
    const { scene, what } = moment;
    it(`${what}: the run goes on bit for bit, loaded whole, lazily, incrementally saved`, {
      timeout: TEST_MS,
    }, async () => {
      for (const from of isLongRun ? moment.points : moment.points.slice(-1)) {
        const file = emptyImage();
        let point = 0;
        {
          await using machine = await openExact(scene, file);
          await machine.runTo(Math.floor(from / 2));
          await machine.savevm('before');
          point = await runInto(machine, moment, from);
          await machine.savevm('full', { incremental: false });
          expect(machine.cpu.instructions).toBeGreaterThanOrEqual(point);
        }
        {
          // The same moment, saved on top of another snapshot.
          await using machine = await openExact(scene, file);
          await machine.loadvm('before');
          expect(await runInto(machine, moment, from)).toBe(point);
          await machine.savevm('incremental');
        }
        const end = point + furtherIn(scene);
        const wanted = await uninterrupted(scene, end);
        for (const [tag, lazy] of [
          ['full', false],
          ['full', true],
          ['incremental', true],
          ['incremental', false],
          ['before', true],
        ] as const) {
          await using machine = await openExact(scene, copyOf(file));
          for (let round = 0; round < 2; round++) {
            await machine.loadvm(tag, { lazy });
            const found = await stateAt(machine, end);
            expect(differing(found, wanted), `${tag}, lazy ${lazy}, from ${point}, load ${round}`).toEqual(
              [],
            );
          }
          expect(counters(machine).errors).toBe(0);
        }
      }
    });
  }

  it.skipIf(!hasQemu)('each of them: QEMU goes on from there', { timeout: TEST_MS }, async () => {
    for (const { scene } of moments) {
      const file = emptyImage();
      {
        await using machine = await openGuest(rom(scene), { file });
        machine.start();
        await moreRounds(machine, 2);
        await machine.savevm('a');
        await machine.pause();
      }
      const image = path(`qemu-${scene}.qcow2`);
      writeFileSync(image, file.bytes);
      await using qemu = await Qemu.start({
        memoryMiB: RAM_BYTES >> 20,
        image,
        loadvm: 'a',
        stopped: true,
        more: ['-bios', romFile(scene, folder.path), '-vga', 'none'],
      });
      const words = async (): Promise<Uint32Array> =>
        new Uint32Array(Uint8Array.from(await qemu.readMemory(0x9000, 8)).buffer);
      const before = (await words())[0]!;
      await qemu.resume();
      let now = await words();
      for (let tries = 0; tries < 200 && now[0]! < before + 3; tries++) {
        await delay(50);
        now = await words();
      }
      expect(now[0], scene).toBeGreaterThanOrEqual(before + 3);
      expect(now[1], scene).toBe(0);
    }
  });
});

describe.skipIf(!hasNasm || !hasSeabios)('savevm in firmware', () => {
  it('in a 16-bit BIOS call: the call returns after a load', { timeout: TEST_MS }, async () => {
    const image = path('bios.qcow2');
    writeFileSync(image, layOut('t', { sizeBytes: 1 << 20 }));
    {
      const node = await openQcow2(new MemoryFile(layOut('t', { sizeBytes: 1 << 20 })));
      await node.close();
    }
    const file = emptyImage();
    const disk = await openQcow2(file);
    await disk.write(0, biosCaller());
    await disk.close();
    writeFileSync(image, file.bytes);
    const options = { memoryMiB: 16, image, icount: ICOUNT, date: 1_700_000_000, stopped: true };
    const end: Fingerprint[] = [];
    const tags: string[] = [];
    {
      await using pc = await Pc.start(options);
      const { machine } = pc;
      const rounds = (): number => machine.memory.read32(0x9000) >>> 0;
      while (rounds() < 3) await machine.runTo(machine.cpu.instructions + 100_000);
      for (const where of [0xf000, 0xc000]) {
        // In the BIOS, in the VGA BIOS: 16-bit code both.
        for (let tries = 0; registers(machine).segs[1]!.selector !== where; tries++) {
          expect(tries, `never at ${where.toString(16)}`).toBeLessThan(20_000);
          await machine.runTo(machine.cpu.instructions + 13);
        }
        const tag = where.toString(16);
        await machine.savevm(tag);
        tags.push(tag);
        await machine.runTo(machine.cpu.instructions + FURTHER);
        end.push(await fingerprint(pc));
      }
    }
    await using pc = await Pc.start(options);
    for (const [i, tag] of tags.entries()) {
      await pc.machine.loadvm(tag);
      await pc.machine.runTo(pc.machine.cpu.instructions + FURTHER);
      expect(differing(await fingerprint(pc), end[i]!), tag).toEqual([]);
    }
    expect(pc.machine.memory.read32(0x9004)).toBe(0);
  });

  const cd = findGuest('grub-rescue-cd.iso');
  it.skipIf(cd === undefined)(
    'at the GRUB menu: it counts down, and takes keys',
    {
      timeout: TEST_MS,
    },
    async () => {
      const scene = grubScene(cd!);
      const [menu] = scene.moments;
      const image = path('grub.qcow2');
      scene.makeImage(image);
      const options = { memoryMiB: scene.memoryMiB, image, cdrom: cd! };
      {
        await using pc = await Pc.start(options);
        await menu!.reach(pc);
        await pc.savevm('menu');
        await menu!.goesOn(pc);
      }
      await using pc = await Pc.start({ ...options, loadvm: 'menu' });
      await menu!.goesOn(pc);
    },
  );
});

/** A boot sector that calls the BIOS: clock, screen, disk; counts rounds and errors as torture.asm does. */
function biosCaller(): Uint8Array {
  const sector = new Uint8Array(512);
  sector.set([
    ...[0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0xbc, 0x00, 0x7c, 0xfb], // segments 0, stack, sti
    ...[0x88, 0x16, 0x08, 0x90], // mov [9008h], dl: the boot drive
    ...[0x66, 0x31, 0xc0, 0x66, 0xa3, 0x00, 0x90, 0x66, 0xa3, 0x04, 0x90], // both counters 0
    // again:
    ...[0xb4, 0x00, 0xcd, 0x1a], // int 1Ah: clock
    ...[0xb8, 0x41, 0x0e, 0xbb, 0x07, 0x00, 0xcd, 0x10], // int 10h: 'A'
    ...[0xb8, 0x01, 0x02, 0xb9, 0x01, 0x00, 0xb6, 0x00, 0x8a, 0x16, 0x08, 0x90], // ax 0201h, cx 1, dh 0, dl
    ...[0xbb, 0x00, 0xa0, 0xcd, 0x13], // bx A000h, int 13h: reads this sector
    ...[0x72, 0x08], // jc error
    ...[0x81, 0x3e, 0xfe, 0xa1, 0x55, 0xaa], // cmp word [A1FEh], AA55h
    ...[0x74, 0x05], // je good
    ...[0x66, 0xff, 0x06, 0x04, 0x90], // error: inc dword [9004h]
    ...[0x66, 0xff, 0x06, 0x00, 0x90], // good: inc dword [9000h]
  ]);
  const again = 28;
  const jump = again + 4 + 8 + 12 + 5 + 2 + 6 + 2 + 5 + 5;
  sector.set([0xeb, (again - (jump + 2)) & 0xff], jump);
  sector.set([0x55, 0xaa], 510);
  return sector;
}

describe.skipIf(!hasNasm)('saved and loaded', () => {
  it('save of a load of a save: the same, byte for byte', { timeout: TEST_MS }, async () => {
    for (const { scene, points } of moments) {
      const file = emptyImage();
      {
        await using machine = await openExact(scene, file);
        await machine.runTo(points[0]!);
        await machine.savevm('first');
      }
      {
        await using machine = await openPaused(scene, file);
        await machine.loadvm('first');
        await machine.savevm('second', { incremental: false });
      }
      {
        await using machine = await openPaused(scene, file);
        await machine.loadvm('second', { lazy: false });
        await machine.savevm('third');
      }
      const node = await openQcow2(file);
      const [first, second, third] = await Promise.all(
        node.listSnapshots().map(async ({ tag, vmStateBytes }) => {
          const bytes = Buffer.alloc(vmStateBytes);
          await node.readVmState(tag, 0, bytes);
          // The working set behind the index is a hint.
          const index = Number(bytes.readBigUInt64BE(vmStateBytes - 24));
          return bytes.subarray(0, index + bytes.readUInt32BE(vmStateBytes - 16));
        }),
      );
      expect(second!.equals(first!), scene).toBe(true);
      expect(third!.equals(first!), scene).toBe(true);
    }
  });

  it('load in a fresh process', { timeout: TEST_MS }, async () => {
    const program = fileURLToPath(new URL('../../bin/ambervm.js', import.meta.url));
    if (!existsSync(fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url)))) return;
    const file = emptyImage();
    let rounds = 0;
    {
      await using machine = await openGuest(rom('REP'), { file });
      machine.start();
      await moreRounds(machine, 3);
      await machine.savevm('a');
      await machine.pause();
      rounds = 3;
    }
    const image = path('process.qcow2');
    writeFileSync(image, file.bytes);
    const args = ['-bios', romFile('REP', folder.path), '-m', '2', '-vga', 'none', '-nodefaults', '-display'];
    args.push('none', '-hda', image, '-loadvm', 'a', '-monitor', 'stdio');
    const child = spawn(process.execPath, [program, ...args], { stdio: 'pipe' });
    let text = '';
    child.stdout.on('data', (data) => {
      text += data;
    });
    child.stderr.on('data', (data) => {
      text += data;
    });
    const gone = new Promise((resolve) => child.on('close', resolve));
    try {
      let found: RegExpExecArray | undefined;
      for (let tries = 0; tries < 600 && Number.parseInt(found?.[1] ?? '0', 16) < rounds + 3; tries++) {
        child.stdin.write('xp /2wx 0x9000\n');
        await delay(100);
        found = [...text.matchAll(/0*9000: 0x([0-9a-f]{8}) 0x([0-9a-f]{8})/g)].at(-1);
      }
      expect(Number.parseInt(found?.[1] ?? '0', 16), text).toBeGreaterThanOrEqual(rounds + 3);
      expect(Number.parseInt(found![2]!, 16)).toBe(0);
      child.stdin.write('quit\n');
      await gone;
    } finally {
      child.kill('SIGKILL');
    }
  });

  it('load while disk I/O is in flight', { timeout: TEST_MS }, async () => {
    // A disk that takes its time.
    const slow = delayed(emptyImage(), (kind) => (kind === 'write' ? delay(3) : Promise.resolve()));
    const drive = { device: 'ide0-hd0', kind: 'disk', index: 0, node: await openQcow2(slow) } as const;
    await using machine = await openGuest(rom('DMA'), { moreDrives: [drive] });
    machine.start();
    await moreRounds(machine, 2);
    await machine.savevm('a');
    let busy = 0;
    for (let i = 0; i < 20; i++) {
      await moreRounds(machine, 1);
      for (let tries = 0; tries < 200 && !isInState.DMA(machine); tries++) await delay(1);
      if (isInState.DMA(machine)) busy++;
      await machine.loadvm(i % 3 === 1 ? 'b' : 'a');
      if (i % 5 === 0) await machine.savevm('b');
    }
    await moreRounds(machine, 5);
    expect(counters(machine).errors).toBe(0);
    expect(busy).toBeGreaterThan(0);
  });

  it('a long row of savevm and loadvm while the guest runs', { timeout: TEST_MS }, async () => {
    for (const scene of ['DMA', 'REP', 'V86'] as const) {
      await using machine = await openGuest(rom(scene), { file: emptyImage() });
      machine.start();
      for (let i = 0; i < (isLongRun ? 100 : 12); i++) {
        await moreRounds(machine, 1);
        await machine.savevm(`s${i % 3}`);
        if (i > 3 && i % 2 === 0) await machine.loadvm(`s${(i + 1) % 3}`);
      }
      await moreRounds(machine, 3);
    }
  });
});
