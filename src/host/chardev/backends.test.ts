import { createSocket } from 'node:dgram';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import type { CharEvent, CharFrontend } from './chardev.ts';
import { LoggedChardev } from './logged.ts';
import { loadNativePty, PtyChardev } from './pty.ts';
import { FileChardev, RingBufferChardev } from './simple.ts';
import { SocketChardev } from './socket.ts';
import { parseCharSpec } from './spec.ts';
import { TelnetFilter } from './telnet.ts';
import { UdpChardev } from './udp.ts';

const folder = mkdtempSync(join(tmpdir(), 'ambervm-chardev-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

class Collector implements CharFrontend {
  text = '';
  readonly events: CharEvent[] = [];
  canReceive(): number {
    return 16;
  }
  receive(bytes: Uint8Array): void {
    this.text += Buffer.from(bytes).toString('latin1');
  }
  onEvent(event: CharEvent): void {
    this.events.push(event);
  }
}

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 500 && !condition(); i++) await new Promise((resolve) => setTimeout(resolve, 5));
  expect(condition()).toBe(true);
}

function client(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path, () => resolve(socket));
    socket.on('error', reject);
  });
}

async function server(path: string): Promise<SocketChardev> {
  const { spec } = parseCharSpec(`unix:${path},server=on,wait=off`)!;
  return SocketChardev.open(spec as Parameters<typeof SocketChardev.open>[0], () => {});
}

describe('unix socket', () => {
  test('both ways; a second client waits for its turn', async () => {
    const path = join(folder, 'a.sock');
    const chardev = await server(path);
    const frontend = new Collector();
    chardev.attach(frontend);
    expect(chardev.filename).toBe(`disconnected:unix:${path},server=on`);
    const first = await client(path);
    first.write('hello from the first client, more than sixteen bytes');
    await until(() => frontend.text.endsWith('sixteen bytes'));
    const second = await client(path);
    second.write('second');
    let received = '';
    first.on('data', (chunk) => {
      received += chunk;
    });
    chardev.write(Buffer.from('answer'));
    await until(() => received === 'answer');
    frontend.text = '';
    first.destroy();
    await until(() => frontend.text === 'second');
    expect(frontend.events).toEqual(['opened', 'closed', 'opened']);
    second.destroy();
    await chardev.close();
  });

  test('a reader that does not read makes us wait; nothing is lost', async () => {
    const path = join(folder, 'b.sock');
    const chardev = await server(path);
    const frontend = new Collector();
    let isWritable = 0;
    chardev.attach(Object.assign(frontend, { writable: () => isWritable++ }));
    const socket = await client(path);
    socket.pause();
    await until(() => frontend.events.includes('opened'));
    let sent = 0;
    const block = Buffer.alloc(32 * 1024, 'x');
    for (;;) {
      const taken = chardev.write(block);
      sent += taken;
      if (taken < block.length) break;
      await new Promise((resolve) => setImmediate(resolve));
    }
    let received = 0;
    socket.on('data', (chunk) => {
      received += chunk.length;
    });
    socket.resume();
    await until(() => received === sent && isWritable > 0);
    socket.destroy();
    await chardev.close();
  });

  test('nobody there: refused with the reason', async () => {
    const { spec } = parseCharSpec('unix:/nope/x')!;
    await expect(SocketChardev.open(spec as never, () => {})).rejects.toThrow(
      "Failed to connect to '/nope/x': No such file or directory",
    );
  });
});

test('file: every byte is there at once; a folder that is not is refused', () => {
  const path = join(folder, 'out.log');
  const file = new FileChardev(path, false);
  file.write(Buffer.from('abc'));
  expect(readFileSync(path, 'latin1')).toBe('abc');
  expect(() => new FileChardev('/nope/x', false)).toThrow(
    "Could not open '/nope/x': No such file or directory",
  );
});

test('ring buffer keeps the last bytes', () => {
  const ring = new RingBufferChardev(4);
  ring.write(Buffer.from('abcdef'));
  expect(Buffer.from(ring.take(3)).toString()).toBe('cde');
  expect(Buffer.from(ring.take(9)).toString()).toBe('f');
});

test('telnet: commands are taken out, also when cut in two', () => {
  const filter = new TelnetFilter();
  const parts = [
    [97, 255],
    [251, 1, 98],
    [255, 250, 24, 1, 255],
    [240, 255, 255, 99],
  ];
  const out = parts.flatMap((part) => [...filter.decode(Uint8Array.from(part))]);
  expect(out).toEqual([97, 98, 255, 99]);
  expect([...filter.encode(Uint8Array.of(1, 255))]).toEqual([1, 255, 255]);
});

const pty = (await loadNativePty()) === undefined ? 'node-pty is not installed' : undefined;

test.skipIf(pty !== undefined)(
  `pty: bytes both ways, clients come and go${pty ? ` (${pty})` : ''}`,
  async () => {
    const { closeSync, openSync, readSync, writeSync, constants } = await import('node:fs');
    const chardev = await PtyChardev.open();
    const frontend = new Collector();
    chardev.attach(frontend);
    expect(chardev.filename).toMatch(/^pty:\/dev\/pts\/[0-9]+$/);
    for (const word of ['one\n', 'two\r\n']) {
      const fd = openSync(chardev.path, constants.O_RDWR | constants.O_NOCTTY);
      writeSync(fd, word);
      await until(() => frontend.text === word);
      frontend.text = '';
      chardev.write(Buffer.from(`got ${word}`));
      const buffer = Buffer.alloc(64);
      expect(buffer.toString('latin1', 0, readSync(fd, buffer))).toBe(`got ${word}`);
      closeSync(fd);
    }
    await chardev.close();
  },
);

describe('udp', () => {
  test('both ways, and what does not parse', async () => {
    const peer = createSocket('udp4');
    await new Promise<void>((resolve) => peer.bind(0, '127.0.0.1', resolve));
    let received = '';
    peer.on('message', (data) => {
      received += data.toString();
    });
    const { spec } = parseCharSpec(`udp:127.0.0.1:${peer.address().port}@127.0.0.1:0`)!;
    const chardev = await UdpChardev.open(spec as Parameters<typeof UdpChardev.open>[0]);
    const frontend = new Collector();
    chardev.attach(frontend);
    expect(chardev.write(Buffer.from('from the guest'))).toBe(14);
    await until(() => received === 'from the guest');
    peer.send('to the guest, more than sixteen bytes', chardev.localPort, '127.0.0.1');
    await until(() => frontend.text === 'to the guest, more than sixteen bytes');
    await chardev.close();
    await chardev.close();
    peer.close();
    expect(parseCharSpec('udp::99999')).toBeUndefined();
    expect(parseCharSpec('udp::4555')?.spec).toMatchObject({ host: '127.0.0.1', port: 4555, localPort: 0 });
    expect(parseCharSpec('udp:[::1]:7@:8')?.spec).toMatchObject({ host: '::1', port: 7, localPort: 8 });
  });
});

describe('logfile', () => {
  test('has what was taken; logappend keeps what was there', async () => {
    const path = join(folder, 'log');
    const line = (text: string) => parseCharSpec(`null${text}`);
    expect(line(`,logfile=${path}`)).toMatchObject({ spec: { kind: 'null' }, log: { path, append: false } });
    for (const append of [false, true]) {
      const chardev = new LoggedChardev(new RingBufferChardev(), { path, append });
      chardev.attach(new Collector());
      chardev.write(Buffer.from('line\n'));
      await chardev.close();
    }
    expect(readFileSync(path, 'latin1')).toBe('line\nline\n');
    expect(() => new LoggedChardev(new RingBufferChardev(), { path: folder, append: false })).toThrow(
      `Could not open '${folder}'`,
    );
  });
});
