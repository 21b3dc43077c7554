/** Clients that others wrote against our VNC server: gtk-vnc's gvnccapture (ZRLE, Hextile) and vncsnapshot (Tight, Hextile, raw). */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { decodePng } from '../../src/host/display/png-decode.ts';
import { VncServer } from '../../src/host/vnc/server.ts';
import type { Machine } from '../../src/machine/machine.ts';
import { requireProgram } from '../support/programs.ts';
import { parsePpm } from '../support/qtest.ts';
import { setLinearMode, tinyMachine } from '../support/tiny-machine.ts';

const [WIDTH, HEIGHT] = [496, 240];
const PORT_BASE = 5900;
const folder = mkdtempSync(join(tmpdir(), 'ambervm-vnc-clients-'));

/** Tiles of one, two, few and very many colours. */
function colorAt(x: number, y: number): number {
  const [column, row] = [x >> 4, y >> 4];
  if (x < 128) return 0x204060;
  if (x < 192) return (column + row) & 1 ? 0xffffff : 0x802000;
  if (x < 320) return ((column * 37 + row * 11) % 7) * 0x241a0c;
  return ((x >> 1) << 16) | (y << 8) | (((x + y) >> 2) & 0xff);
}

let machine: Machine;
let server: VncServer;
let port: number;

beforeAll(async () => {
  machine = await tinyMachine();
  setLinearMode(machine, WIDTH, HEIGHT);
  const { framebuffer } = machine.screen!;
  for (let i = 0; i < WIDTH * HEIGHT; i++) {
    framebuffer.write32!(i * 4, colorAt(i % WIDTH, Math.floor(i / WIDTH)));
  }
  server = new VncServer({ machine, name: 'test', authenticate: false });
  await server.listen({ kind: 'tcp', host: '127.0.0.1', port: 0 });
  port = server.address?.kind === 'tcp' ? server.address.port : 0;
  machine.start();
});
afterAll(async () => {
  await server.close();
  await machine.close();
  rmSync(folder, { recursive: true, force: true });
});

async function runClient(program: string, ...args: string[]): Promise<void> {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let printed = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (printed += data));
  const code = await new Promise((resolve) => child.on('exit', resolve));
  if (code !== 0) throw new Error(`${program}: ${printed}`);
}

/** Takes ZRLE out of the list of encodings that a client sends: it then gets its next choice. Gives the port. */
async function withoutZrle(): Promise<{ port: number; close: () => void }> {
  const proxy = createServer((client) => {
    const upstream = connect(port, '127.0.0.1');
    client.on('data', (data) => {
      const isEncodings = data.length >= 4 && data[0] === 2 && data.length >= 4 + 4 * data.readUInt16BE(2);
      for (let at = 4; isEncodings && at < 4 + 4 * data.readUInt16BE(2); at += 4) {
        if (data.readInt32BE(at) === 16) data.writeInt32BE(-1, at);
      }
      upstream.write(data);
    });
    upstream.on('data', (data) => client.write(data));
    client.on('close', () => upstream.destroy()).on('error', () => {});
    upstream.on('close', () => client.destroy()).on('error', () => {});
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  return { port: (proxy.address() as AddressInfo).port, close: () => proxy.close() };
}

describe.skipIf(!requireProgram('gvnccapture'))('gvnccapture', () => {
  const expectSame = (file: string): void => {
    const { width, height, rgb } = decodePng(readFileSync(file));
    expect([width, height]).toEqual([WIDTH, HEIGHT]);
    expect(Buffer.compare(rgb, machine.screen!.render().rgb)).toBe(0);
  };

  test('ZRLE, pixel for pixel', async () => {
    const file = join(folder, 'zrle.png');
    await runClient('gvnccapture', '-q', `127.0.0.1:${port - PORT_BASE}`, file);
    expectSame(file);
  });

  test('Hextile, pixel for pixel', async () => {
    const proxy = await withoutZrle();
    const file = join(folder, 'hextile.png');
    await runClient('gvnccapture', '-q', `127.0.0.1:${proxy.port - PORT_BASE}`, file);
    proxy.close();
    expectSame(file);
  });
});

describe.skipIf(!requireProgram('vncsnapshot') || !requireProgram('djpeg'))('vncsnapshot', () => {
  test.each(['tight', 'hextile', 'raw'])('%s, as near as its JPEG file is', async (encoding) => {
    const file = join(folder, `${encoding}.jpg`);
    const display = `127.0.0.1:${port - PORT_BASE}`;
    await runClient('vncsnapshot', '-quiet', '-quality', '100', '-encodings', encoding, display, file);
    const { stdout } = spawnSync('djpeg', ['-ppm', file], { maxBuffer: 1 << 24 });
    const { width, height, rgb } = parsePpm(stdout);
    expect([width, height]).toEqual([WIDTH, HEIGHT]);
    const screen = machine.screen!.render().rgb;
    let error = 0;
    for (let i = 0; i < rgb.length; i++) error += Math.abs(rgb[i]! - screen[i]!);
    expect(error / rgb.length).toBeLessThan(2);
  });
});
