/** The web display's door: tokens, origins, hosts; its control connection. */
import { request } from 'node:http';
import { connect } from 'node:net';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { expectFlatMemory, heldBytes } from '../../../test/support/held-bytes.ts';
import { tinyMachine } from '../../../test/support/tiny-machine.ts';
import type { Machine } from '../../machine/machine.ts';
import { Hmp } from '../../monitor/hmp.ts';
import type { MonitorHost } from '../../monitor/command.ts';
import type { CharFrontend } from '../chardev/chardev.ts';
import { VncServer } from '../vnc/server.ts';
import { isLocalOrigin, VncWebSockets } from '../vnc/websocket.ts';
import { ConsoleTap } from './console-tap.ts';
import { parseRequest } from './control.ts';
import { isOurHost } from './security.ts';
import { WebDisplay } from './server.ts';
import { Thumbnails } from './thumbnails.ts';

let machine: Machine;
let vnc: VncServer;
let display: WebDisplay;
let tap: ConsoleTap;
let url: URL;
const typed: number[] = [];

const frontend: CharFrontend = {
  canReceive: () => 16,
  receive: (bytes) => typed.push(...bytes),
};
const nowhere = {
  filename: 'null',
  attach: () => {},
  write: (bytes: Uint8Array) => bytes.length,
  acceptInput: () => {},
  close: async () => {},
};

beforeAll(async () => {
  machine = await tinyMachine();
  vnc = new VncServer({ machine, name: 'test', authenticate: false });
  tap = new ConsoleTap(nowhere);
  tap.attach(frontend);
  display = new WebDisplay({
    machine,
    vnc,
    hmp: new Hmp({ machine, host: {} as MonitorHost }),
    serial: tap,
    thumbnails: new Thumbnails(machine),
    onFault: (error) => {
      throw error;
    },
  });
  await display.listen('127.0.0.1', 0);
  url = new URL(display.url);
});
afterAll(async () => {
  await display.close();
  await vnc.close();
  await machine.close();
});

function get(path: string, headers: Record<string, string> = {}): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    request({ host: url.hostname, port: url.port, path, headers }, (response) => {
      let body = '';
      response.on('data', (chunk) => {
        body += chunk;
      });
      response.on('end', () => resolve({ status: response.statusCode!, body }));
    })
      .on('error', reject)
      .end();
  });
}

/** Status of a refusal, or `open`. */
function dial(path: string, headers: Record<string, string> = {}): Promise<number | 'open'> {
  const socket = new WebSocket(`ws://${url.host}${path}`, { headers });
  return new Promise((resolve) => {
    socket.on('error', () => {});
    socket.on('unexpected-response', (_request, response) => resolve(response.statusCode!));
    socket.on('open', () => {
      socket.terminate();
      resolve('open');
    });
  });
}

describe('who may come in', () => {
  test('the page: with the token only', async () => {
    expect((await get(`/${url.search}`)).body).toContain('<title>ambervm');
    for (const path of ['/', '/?token=', '/?token=wrong', `/?token=${url.search.slice(7, -1)}x`]) {
      expect((await get(path)).status, path).toBe(403);
    }
  });

  test('by our own name only', async () => {
    expect((await get(`/${url.search}`, { host: `evil.example:${url.port}` })).status).toBe(403);
    expect((await get(`/${url.search}`, { host: `localhost:${url.port}` })).status).toBe(200);
    expect(isOurHost('10.0.0.1:80', '127.0.0.1')).toBe(false);
    expect(isOurHost('10.0.0.1:80', '0.0.0.0')).toBe(true);
    expect(isOurHost('evil.example', '0.0.0.0')).toBe(false);
  });

  test.each(['/control', '/screen'])('%s: token, origin, host', async (path) => {
    const good = `${path}${url.search}`;
    expect(await dial(good)).toBe('open');
    expect(await dial(good, { origin: `http://${url.host}` })).toBe('open');
    expect(await dial(good, { origin: 'http://evil.example' })).toBe(403);
    expect(await dial(good, { origin: 'null' })).toBe(403);
    expect(await dial(good, { origin: 'http://127.0.0.1:1' })).toBe(403);
    expect(await dial(good, { host: 'evil.example', origin: 'http://evil.example' })).toBe(403);
    expect(await dial(path)).toBe(403);
    expect(await dial(`${path}?token=wrong`)).toBe(403);
  });

  test('files: ours and the library, nothing else', async () => {
    expect((await get('/style.css')).status).toBe(200);
    expect((await get('/novnc/core/rfb.js')).body).toContain('class RFB');
    for (const path of [
      '/novnc/../package.json',
      '/novnc/core/../../package.json',
      '/novnc/core/%2e%2e/%2e%2e/package.json',
      '/novnc/core/nothing.js',
      '/etc/passwd',
    ]) {
      expect((await get(path)).status, path).toBe(404);
    }
  });

  test('-vnc websocket=on: pages of this computer, unless there is a password', async () => {
    expect([undefined, 'http://localhost:8000', 'http://evil.example', 'null'].map(isLocalOrigin)).toEqual([
      true,
      true,
      false,
      false,
    ]);
    const sockets = new VncWebSockets(vnc, { anyOrigin: false });
    await sockets.listen('127.0.0.1', 0);
    const address = `ws://127.0.0.1:${sockets.address!.port}/`;
    for (const protocols of [[], ['binary']]) {
      const socket = new WebSocket(address, protocols);
      const first = await new Promise((resolve) => socket.once('message', resolve));
      expect(String(first)).toBe('RFB 003.008\n');
      expect(socket.protocol).toBe(protocols[0] ?? '');
      socket.terminate();
    }
    const foreign = new WebSocket(address, { headers: { origin: 'http://evil.example' } });
    await new Promise((resolve) => foreign.once('error', resolve));
    await sockets.close();
  });
});

const RUNS = process.env['AMBERVM_LONG'] === '1' ? 10_000 : 300;

describe('hostile', () => {
  test.each(['/control', '/screen'])(
    'random messages to %s',
    async (path) => {
      const attack = (numRuns: number) =>
        fc.assert(
          fc.asyncProperty(
            fc.array(fc.oneof(fc.string(), fc.json(), fc.uint8Array({ maxLength: 200 })), { maxLength: 10 }),
            async (messages) => {
              const socket = new WebSocket(`ws://${url.host}${path}${url.search}`);
              const closed = new Promise((resolve) => socket.once('close', resolve));
              socket.on('error', () => {});
              await new Promise((resolve) => socket.once('open', resolve).once('close', resolve));
              for (const message of messages) if (socket.readyState === socket.OPEN) socket.send(message);
              socket.close();
              await closed;
            },
          ),
          { numRuns },
        );
      await attack(50);
      const before = await heldBytes();
      await attack(RUNS);
      await expectFlatMemory(before);
      expect(await dial(`${path}${url.search}`)).toBe('open');
    },
    900_000,
  );

  test('random bytes at the door', async () => {
    const attack = (numRuns: number) =>
      fc.assert(
        fc.asyncProperty(
          fc.constantFrom('', 'GET ', `GET /control${url.search} HTTP/1.1\r\nUpgrade: websocket\r\n`),
          fc.uint8Array({ maxLength: 300 }),
          async (begin, bytes) => {
            const socket = connect(Number(url.port), '127.0.0.1');
            socket.on('error', () => {});
            socket.resume();
            socket.end(Buffer.concat([Buffer.from(begin), bytes]));
            await new Promise((resolve) => socket.once('close', resolve));
          },
        ),
        { numRuns },
      );
    await attack(50);
    const before = await heldBytes();
    await attack(RUNS);
    await expectFlatMemory(before);
    expect((await get(`/${url.search}`)).status).toBe(200);
  }, 900_000);
});

describe('control', () => {
  async function open(): Promise<{
    socket: WebSocket;
    run: (command: string, argument?: string) => Promise<Record<string, unknown>>;
    events: Record<string, unknown>[];
  }> {
    const socket = new WebSocket(`ws://${url.host}/control${url.search}`);
    const events: Record<string, unknown>[] = [];
    const waiting = new Map<number, (message: Record<string, unknown>) => void>();
    socket.on('message', (data) => {
      const message = JSON.parse(String(data)) as Record<string, unknown>;
      if (typeof message['id'] === 'number') waiting.get(message['id'])?.(message);
      else events.push(message);
    });
    await new Promise((resolve) => socket.once('open', resolve));
    let last = 0;
    return {
      socket,
      events,
      run: (command, argument = '') =>
        new Promise((resolve) => {
          waiting.set(++last, resolve);
          socket.send(JSON.stringify({ id: last, command, argument }));
        }),
    };
  }

  test('pause, resume, monitor, serial, errors', async () => {
    tap.write(Buffer.from('before\n'));
    const { run, events, socket } = await open();
    expect((await run('monitor', 'info status'))['text']).toContain('VM status: paused');
    await run('resume');
    expect(machine.state).toBe('running');
    await run('pause');
    expect(machine.state).toBe('paused');
    tap.write(Buffer.from('hello'));
    await run('serial', 'ls\r');
    expect(Buffer.from(typed).toString()).toBe('ls\r');
    expect(events).toEqual([
      { event: 'state', state: 'prelaunch' },
      { event: 'serial', text: 'before\n' },
      { event: 'state', state: 'running' },
      { event: 'state', state: 'paused' },
      { event: 'serial', text: 'hello' },
    ]);
    expect((await run('loadvm', 'none'))['error']).toBeTypeOf('string');
    expect((await run('dance'))['error']).toBe("unknown command: 'dance'");
    // No disk that could hold one.
    expect((await run('snapshots'))['error']).toBeTypeOf('string');
    socket.terminate();
  });

  test('what is no request ends the connection', async () => {
    const { socket } = await open();
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.send('{"id":"x"}');
    expect(await closed).toBe(1008);
  });

  test('any text is a request or is none', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        const found = parseRequest(text);
        expect(found === undefined || typeof found.command === 'string').toBe(true);
      }),
    );
  });
});
