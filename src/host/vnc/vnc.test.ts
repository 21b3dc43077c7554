/** The VNC server with a client of its own: pictures, sizes, keys, mouse, who may come in. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { RfbClient, type RfbFormat, RGB888 } from '../../../test/support/rfb-client.ts';
import { setLinearMode, tinyMachine } from '../../../test/support/tiny-machine.ts';
import { openImage } from '../../block/open.ts';
import { createQcow2 } from '../../block/qcow2/create.ts';
import type { Machine } from '../../machine/machine.ts';
import { vncResponse } from './auth.ts';
import { VncServer, type VncServerOptions } from './server.ts';

const cleanups: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

interface Rig {
  readonly machine: Machine;
  readonly server: VncServer;
  readonly port: number;
  readonly connect: (options?: Parameters<typeof RfbClient.connect>[1]) => Promise<RfbClient>;
}

async function rig(
  options: Partial<VncServerOptions> = {},
  parts: Parameters<typeof tinyMachine>[1] = {},
): Promise<Rig> {
  const machine = await tinyMachine(undefined, parts);
  const server = new VncServer({ machine, name: 'test', authenticate: false, ...options });
  await server.listen({ kind: 'tcp', host: '127.0.0.1', port: 0 });
  cleanups.push(
    () => machine.close(),
    () => server.close(),
  );
  const address = server.address;
  const port = address?.kind === 'tcp' ? address.port : 0;
  const connect: Rig['connect'] = async (how) => {
    const client = await RfbClient.connect(port, how);
    cleanups.push(() => client.close());
    return client;
  };
  return { machine, server, port, connect };
}

/** Noise, flat parts, and few colours, so that every kind of tile occurs. */
function paint(machine: Machine, seed = 1): void {
  const surface = machine.screen!.render();
  const { framebuffer } = machine.screen!;
  let x = seed;
  for (let i = 0; i < surface.width * surface.height; i++) {
    x = (Math.imul(x, 1664525) + 1013904223) | 0;
    const column = Math.floor((i % surface.width) / 64);
    const colours = [1, 2, 3, 4, 5, 16, 2 ** 24][column % 7]!;
    framebuffer.write32!(
      i * 4,
      colours === 2 ** 24 ? x >>> 8 : (((x >>> 8) % colours) * 0x0b2f51 + column) | 0,
    );
  }
}

function screen(machine: Machine): number[] {
  const { pixels, width, height } = machine.screen!.render();
  return [...pixels.subarray(0, width * height)];
}

describe('pictures are the screen, pixel for pixel', () => {
  test.each([
    ['raw', 0],
    ['Hextile', 5],
    ['Tight', 7],
    ['ZRLE', 16],
  ])('%s', async (_name, encoding) => {
    const { machine, connect } = await rig();
    setLinearMode(machine, 496, 200);
    paint(machine);
    const client = await connect();
    expect([client.width, client.height, client.name]).toEqual([496, 200, 'test']);
    client.setEncodings(encoding);
    await client.update();
    expect(new Set(client.seen)).toEqual(new Set([encoding]));
    expect([...client.pixels]).toEqual(screen(machine));
    // Only what changed comes, and the stream goes on.
    machine.screen!.framebuffer.write32!(4 * (496 * 100 + 70), 0x123456);
    client.seen.length = 0;
    expect(await client.update(true)).toBe(1);
    expect([...client.pixels]).toEqual(screen(machine));
  });

  const rgb565 = [
    [31, 11],
    [63, 5],
    [31, 0],
  ] as const;
  const FORMATS: readonly (readonly [string, RfbFormat])[] = [
    ['32 bits, big endian', { ...RGB888, bigEndian: true }],
    [
      '32 bits, colours on top',
      { ...RGB888, colours: RGB888.colours.map(([max, shift]) => [max, shift + 8]) },
    ],
    ['32 bits, depth 32', { ...RGB888, depth: 32 }],
    ['16 bits', { bits: 16, depth: 16, bigEndian: false, colours: rgb565 }],
    ['16 bits, big endian', { bits: 16, depth: 16, bigEndian: true, colours: rgb565 }],
    [
      '8 bits',
      {
        bits: 8,
        depth: 8,
        bigEndian: false,
        colours: [
          [7, 0],
          [7, 3],
          [3, 6],
        ],
      },
    ],
  ];
  test.each(FORMATS)('%s', async (_name, format) => {
    const { machine, connect } = await rig();
    setLinearMode(machine, 448, 70);
    paint(machine, 7);
    const expected = screen(machine).map((pixel) =>
      format.colours.reduce((all, [max, shift], i) => {
        const value = (pixel >>> (16 - 8 * i)) & 0xff;
        return all + Math.round((value * max) / 255) * 2 ** shift;
      }, 0),
    );
    for (const encoding of [0, 5, 7, 16]) {
      const client = await connect();
      client.setFormat(format);
      client.setEncodings(encoding);
      await client.update();
      expect([...client.pixels]).toEqual(expected);
    }
  });

  test('another size', async () => {
    const { machine, connect } = await rig();
    setLinearMode(machine, 320, 200);
    machine.start();
    const [told, extended, untold] = [await connect(), await connect(), await connect()];
    told.setEncodings(0, -223);
    extended.setEncodings(0, -223, -308);
    for (const client of [told, extended, untold]) await client.update();
    expect(extended.screenStatus).toEqual([0]);
    setLinearMode(machine, 696, 100);
    paint(machine);
    for (const client of [told, extended]) {
      await client.update(true);
      if (client.width !== 696) await client.update(true);
      expect([client.width, client.height]).toEqual([696, 100]);
      await client.update();
      expect([...client.pixels]).toEqual(screen(machine));
    }
    // One that cannot know sees what fits.
    await untold.update(true);
    expect(untold.pixels[100]).toBe(screen(machine)[100]);
    // A client may not choose the size.
    const wish = Buffer.alloc(24);
    wish[0] = 251;
    wish[6] = 1;
    extended.socket.write(wish);
    await extended.update();
    expect(extended.screenStatus.at(-1)).toBe(1);
  });
});

test('nobody looks at the screen while nobody waits, or the machine stands still', async () => {
  const { machine, connect } = await rig();
  const client = await connect();
  const { screen: vga } = machine;
  const render = vi.spyOn(vga!, 'render');
  machine.start();
  const quiet = async (): Promise<number> => {
    render.mockClear();
    await new Promise((resolve) => setTimeout(resolve, 300));
    return render.mock.calls.length;
  };
  await client.update();
  await quiet();
  expect(await quiet()).toBe(0);
  client.request(true);
  await until(() => (render.mock.calls.length > 2 ? true : undefined));
  await machine.pause();
  await quiet();
  expect(await quiet()).toBe(0);
  // What a reset or a loadvm does is seen all the same.
  setLinearMode(machine, 320, 200);
  machine.reset();
  await until(() => (render.mock.calls.length > 0 ? true : undefined));
});

describe('who may come in', () => {
  test('the password is right, wrong, not set', async () => {
    const { server, connect } = await rig({ authenticate: true });
    expect((await connect({ password: 'secret' })).failure).toBe('Authentication failed');
    expect(server.setPassword('secret')).toBe(true);
    expect((await connect({ password: 'wrong' })).failure).toBe('Authentication failed');
    const failed = await connect({ password: '' });
    await failed.whenClosed();
    for (const minor of [3, 7, 8]) {
      expect((await connect({ password: 'secret', minor })).width).toBe(640);
    }
  });

  test('a known answer', () => {
    // By openssl's `des-ecb` of the legacy provider with the mirrored key.
    const challenge = Uint8Array.from({ length: 16 }, (_, i) => i);
    expect(vncResponse(challenge, 'password').length).toBe(16);
    expect(vncResponse(challenge, 'passwordXYZ')).toEqual(vncResponse(challenge, 'password'));
  });

  test('versions 3.3 and 3.7', async () => {
    const { connect } = await rig();
    for (const minor of [3, 7]) expect((await connect({ minor })).width).toBe(640);
  });

  test('one that wants to be alone', async () => {
    const { connect } = await rig();
    const first = await connect();
    await connect({ shared: false });
    await first.whenClosed();
  });
});

/** What the keyboard sends, in set 1. */
function keyboardBytes(machine: Machine): number[] {
  const bytes: number[] = [];
  const { ports } = machine.board;
  while (ports.read(0x64, 1) & 1) bytes.push(ports.read(0x60, 1));
  return bytes;
}

async function until<T>(look: () => T | undefined): Promise<T> {
  for (;;) {
    const found = look();
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

function enableMouse(machine: Machine): void {
  const { ports } = machine.board;
  for (const command of [0xf4]) {
    ports.write(0x64, 1, 0xd4);
    ports.write(0x60, 1, command);
  }
  keyboardBytes(machine);
}

describe('keys and mouse', () => {
  /** Bytes that came until nothing is missing of `count`. */
  async function received(machine: Machine, count: number): Promise<number[]> {
    const bytes: number[] = [];
    return until(() => {
      bytes.push(...keyboardBytes(machine));
      return bytes.length >= count ? bytes : undefined;
    });
  }

  test('by scan code, by character, and released when the client goes', async () => {
    const { machine, connect } = await rig();
    machine.board.ports.write(0x64, 1, 0x60);
    machine.board.ports.write(0x60, 1, 0x40);
    keyboardBytes(machine);
    const client = await connect();
    client.setEncodings(0, -258, -261, -239);
    await client.update();
    expect(client.seen).toEqual(expect.arrayContaining([-258, -261, -239]));
    expect(client.leds).toBe(0);
    client.scanCode(true, 0x1e);
    client.scanCode(false, 0x1e);
    client.scanCode(true, 0xc8);
    expect(await received(machine, 4)).toEqual([0x1e, 0x9e, 0xe0, 0x48]);
    client.key(true, 0xffe1);
    client.key(true, '!'.charCodeAt(0));
    expect(await received(machine, 2)).toEqual([0x2a, 0x02]);
    client.close();
    expect(await received(machine, 4)).toEqual([0xe0, 0xc8, 0xaa, 0x82]);
  });

  test('a key held at loadvm goes up', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'ambervm-vnc-'));
    cleanups.push(() => rmSync(folder, { recursive: true }));
    const image = join(folder, 'state.qcow2');
    await createQcow2(image, { sizeBytes: 65_536 });
    const { machine, connect } = await rig({}, { disk: await openImage(image) });
    machine.board.ports.write(0x64, 1, 0x60);
    machine.board.ports.write(0x60, 1, 0x40);
    keyboardBytes(machine);
    await machine.savevm('before');
    const client = await connect();
    client.scanCode(true, 0x2a);
    expect(await received(machine, 1)).toEqual([0x2a]);
    await machine.loadvm('before');
    expect(await received(machine, 1)).toEqual([0xaa]);
    // The finger that leaves the key later changes nothing.
    client.scanCode(false, 0x2a);
    client.scanCode(true, 0x1e);
    expect(await received(machine, 1)).toEqual([0x1e]);
  });

  test('steps, buttons and wheel', async () => {
    const { machine, connect } = await rig();
    enableMouse(machine);
    const client = await connect();
    client.pointer(0, 100, 100);
    client.pointer(0, 110, 95);
    expect(await received(machine, 3)).toEqual([0x08, 10, 5]);
    client.pointer(4, 110, 95);
    expect(await received(machine, 3)).toEqual([0x0a, 0, 0]);
    // A click of the wheel on a mouse without one is no motion, but a packet.
    client.pointer(4 | 16, 100, 95);
    expect(await received(machine, 3)).toEqual([0x1a, 0xf6, 0]);
    client.close();
    expect(await received(machine, 3)).toEqual([0x08, 0, 0]);
  });
});
