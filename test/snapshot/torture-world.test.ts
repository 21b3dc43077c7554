/** Snapshots and what lies around the machine: another machine, several disks, serial lines, keys held down. */
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { setTimeout as delay } from 'node:timers/promises';
import { openQcow2 } from '../../src/block/qcow2/qcow2.ts';
import { readOnly } from '../../src/block/filters/readonly.ts';
import { openRaw } from '../../src/block/raw/raw.ts';
import { SocketChardev } from '../../src/host/chardev/socket.ts';
import { SerialLink } from '../../src/host/serial-link.ts';
import type { Machine } from '../../src/machine/machine.ts';
import { MigrationError } from '../../src/migration/errors.ts';
import { MemoryFile } from '../support/memory-file.ts';
import { requireProgram } from '../support/programs.ts';
import { temporaryFolder } from '../support/qemu-snapshot.ts';
import { compareFingerprints } from './deterministic-pc.ts';
import { type Fingerprint, fingerprint } from './fingerprint.ts';
import {
  copyOf,
  emptyImage,
  ICOUNT,
  KEYS_HELD,
  moreRounds,
  openGuest,
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

const differing = (found: Fingerprint, wanted: Fingerprint): string[] => compareFingerprints(wanted, found);

describe.skipIf(!hasNasm)('refused, with what to change', () => {
  async function saved(): Promise<MemoryFile> {
    const file = emptyImage();
    await using machine = await openGuest(rom('REP'), { file });
    await machine.runTo(1000);
    await machine.savevm('a');
    return file;
  }

  async function refusal(machine: Machine, tag = 'a'): Promise<string> {
    const before = await fingerprint({ machine });
    const error = await machine.loadvm(tag).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(MigrationError);
    expect(differing(await fingerprint({ machine }), before)).toEqual([]);
    machine.start();
    await moreRounds(machine, 1);
    await machine.pause();
    return (error as Error).message;
  }

  it('another RAM size', async () => {
    await using machine = await openGuest(rom('REP'), { file: await saved(), ramBytes: 4 << 20 });
    expect(await refusal(machine)).toMatch(/pc\.ram[\s\S]*-m 2M?\b/);
  });

  it('another machine type', async () => {
    await using machine = await openGuest(rom('REP'), { file: await saved(), machineType: 'pc-i440fx-6.2' });
    expect(await refusal(machine)).toMatch(/pc-i440fx-7\.2[\s\S]*-M pc-i440fx/);
  });

  it('another set of devices', async () => {
    await using machine = await openGuest(rom('REP'), { file: await saved(), vga: 'std' });
    expect(await refusal(machine)).toMatch(/vga[\s\S]*\n.*(start|Start|-vga)/);
  });

  it('another disk: of several, the one without the snapshot by its name', async () => {
    const other = await openQcow2(emptyImage());
    await using machine = await openGuest(rom('REP'), {
      file: await saved(),
      moreDrives: [{ device: 'ide0-hd1', kind: 'disk', index: 1, node: other }],
    });
    expect(await refusal(machine)).toMatch(/does not exist in one or more devices[\s\S]*'ide0-hd1'/);
  });

  it('another disk: none with that snapshot', async () => {
    await using machine = await openGuest(rom('REP'), { file: emptyImage() });
    expect(await refusal(machine)).toMatch(/'a' does not exist/);
  });
});

describe.skipIf(!hasNasm)('several disks', () => {
  const raw = async (writable: boolean) => {
    const node = await openRaw(new MemoryFile(Buffer.alloc(1 << 20, 7), 'data.img'));
    return {
      device: 'ide1-hd0',
      kind: 'disk' as const,
      index: 2,
      node: writable ? node : readOnly(node),
    };
  };

  it('two that are saved, one read-only', async () => {
    const [file, second] = [emptyImage(), emptyImage()];
    const open = async () =>
      openGuest(rom('REP'), {
        file,
        icount: ICOUNT,
        moreDrives: [
          { device: 'ide0-hd1', kind: 'disk', index: 1, node: await openQcow2(second) },
          await raw(false),
        ],
      });
    {
      await using machine = await open();
      await machine.runTo(1000);
      for (const [i, value] of [1, 2].entries()) {
        for (const disk of machine.disks.slice(0, 2)) await disk.node!.write(0, Buffer.alloc(4096, value));
        await machine.savevm(`s${i}`);
      }
      for (const disk of machine.disks.slice(0, 2)) await disk.node!.write(0, Buffer.alloc(4096, 9));
    }
    await using machine = await open();
    for (const [i, value] of [1, 2].entries()) {
      await machine.loadvm(`s${i}`);
      for (const disk of machine.disks.slice(0, 2)) {
        const bytes = new Uint8Array(4096);
        await disk.node!.read(0, bytes);
        expect([...new Set(bytes)]).toEqual([value]);
      }
    }
    expect(machine.listSnapshots().everywhere.map(({ tag }) => tag)).toEqual(['s0', 's1']);
  });

  it('a writable raw one is refused by its name', async () => {
    const file = emptyImage();
    await using machine = await openGuest(rom('REP'), { file, moreDrives: [await raw(true)] });
    machine.start();
    await moreRounds(machine, 1);
    const error = await machine.savevm('a').catch((thrown: unknown) => thrown);
    expect((error as Error).message).toMatch(
      /^Device 'ide1-hd0' is writable but does not support snapshots\n.*qemu-img convert/,
    );
    await moreRounds(machine, 1);
    expect((await openQcow2(copyOf(file))).listSnapshots()).toEqual([]);
  });
});

describe.skipIf(!hasNasm)('the world outside', () => {
  it('a serial connection survives a load', { timeout: TEST_MS }, async () => {
    const socket = path('serial.sock');
    const backend = await SocketChardev.open(
      { kind: 'unix', path: socket, server: true, wait: false, telnet: false },
      () => {},
    );
    const link = new SerialLink(backend);
    backend.attach(link);
    await using machine = await openGuest(rom('KEYS'), { file: emptyImage(), serials: [link] });
    link.connect(machine.serial(0)!.receiver, () => machine.wake());
    const client = connect(socket);
    let text = '';
    client.on('data', (data) => {
      text += data.toString('latin1');
    });
    await new Promise<void>((resolve) => client.once('connect', () => resolve()));
    const echo = async (word: string): Promise<void> => {
      client.write(word);
      for (let tries = 0; tries < 2000 && !text.endsWith(word); tries++) await delay(5);
      expect(text.endsWith(word), text).toBe(true);
    };
    machine.start();
    await echo('one');
    await machine.savevm('a');
    await echo('two');
    for (let i = 0; i < 5; i++) {
      await machine.loadvm('a');
      await echo(`after load ${i}`);
    }
    expect(client.destroyed).toBe(false);
    client.destroy();
    await machine.close();
    await backend.close();
  });

  const held = async (machine: Machine): Promise<number[]> => {
    await moreRounds(machine, 2000);
    const keys = new Uint8Array(128);
    machine.memory.read(KEYS_HELD, keys);
    return [...keys.keys()].filter((code) => keys[code] !== 0);
  };
  const [A, SHIFT] = [0x1e, 0x2a];

  it('no key is stuck: down when saved, released after the load', { timeout: TEST_MS }, async () => {
    const file = emptyImage();
    {
      await using machine = await openGuest(rom('KEYS'), { file });
      machine.start();
      await held(machine);
      machine.keyboard.key('shift', true);
      machine.keyboard.key('a', true);
      expect(await held(machine)).toEqual([A, SHIFT]);
      await machine.savevm('down');
      machine.keyboard.key('a', false);
      machine.keyboard.key('shift', false);
      expect(await held(machine)).toEqual([]);
    }
    await using machine = await openGuest(rom('KEYS'), { file });
    await machine.loadvm('down');
    machine.start();
    expect(await held(machine)).toEqual([A, SHIFT]);
    machine.keyboard.key('a', false);
    machine.keyboard.key('shift', false);
    expect(await held(machine)).toEqual([]);
  });

  it('no key is stuck: up when saved, held over the load', { timeout: TEST_MS }, async () => {
    await using machine = await openGuest(rom('KEYS'), { file: emptyImage() });
    machine.start();
    await held(machine);
    await machine.savevm('up');
    machine.keyboard.key('a', true);
    expect(await held(machine)).toEqual([A]);
    await machine.loadvm('up');
    expect(await held(machine)).toEqual([]);
    machine.keyboard.key('a', false);
    expect(await held(machine)).toEqual([]);
  });

  it('what was typed before the save and not yet read is read once, after the load', {
    timeout: TEST_MS,
  }, async () => {
    await using machine = await openGuest(rom('KEYS'), { file: emptyImage() });
    machine.start();
    await held(machine);
    await machine.pause();
    machine.keyboard.key('a', true);
    await machine.savevm('queued');
    for (let i = 0; i < 2; i++) {
      machine.start();
      expect(await held(machine)).toEqual([A]);
      machine.keyboard.key('a', false);
      expect(await held(machine)).toEqual([]);
      await machine.pause();
      await machine.loadvm('queued');
    }
  });
});
