/**
 * Strangers at the monitor and at a serial port, both on telnet: commands with odd arguments, bytes that are no text, telnet
 * commands, lines without an end, clients that do not read. AMBERVM_LONG=1: 10,000 of each.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { BlockError } from '../../src/block/errors.ts';
import { SocketChardev } from '../../src/host/chardev/socket.ts';
import { parseCharSpec } from '../../src/host/chardev/spec.ts';
import { MonitorLink } from '../../src/host/monitor-link.ts';
import { SerialLink } from '../../src/host/serial-link.ts';
import type { Machine } from '../../src/machine/machine.ts';
import type { MonitorHost } from '../../src/monitor/command.ts';
import { COMMANDS } from '../../src/monitor/commands/index.ts';
import { Hmp } from '../../src/monitor/hmp.ts';
import { expectFlatMemory, heldBytes } from '../support/held-bytes.ts';
import { HALT, tinyMachine } from '../support/tiny-machine.ts';

const RUNS = process.env['AMBERVM_LONG'] === '1' ? 10_000 : 300;

const refuse = async () => Promise.reject(new BlockError('not-found', 'Could not open: not in this test'));
const host: MonitorHost = {
  version: 'ambervm test',
  name: undefined,
  uuid: undefined,
  processId: 1,
  async writeFile(_path, data) {
    if (!(data instanceof Uint8Array))
      for (const piece of data) if (piece.length > 2 << 20) throw new Error();
  },
  encodePng: () => Uint8Array.of(1),
  encodePpm: () => Uint8Array.of(2),
  imageFacts: async () => ({}),
  openImage: refuse,
  characters: () => [],
  setLog: () => false,
  setLogFile: () => {},
  logHelp: () => 'none\n',
  completeFile: (prefix) => [`${prefix}a`, `${prefix}b`],
  gdbserver: async () => '',
  quit: () => {},
};

/** Asked for at once by a client that does not read. */
const LINES = Buffer.from('info mtree\nhelp\n'.repeat(1000));

/** All but the end. */
class Endless extends Hmp {
  override async execute(line: string, history: readonly string[]): Promise<string> {
    return /^\s*q(uit)?\b/.test(line) ? '' : super.execute(line, history);
  }
}

const folder = mkdtempSync(join(tmpdir(), 'ambervm-hostile-'));
const MONITOR = join(folder, 'monitor');
const SERIAL = join(folder, 'serial');
const faults: unknown[] = [];
let machine: Machine;
let monitor: SocketChardev;
let serial: SocketChardev;

beforeAll(async () => {
  const open = (path: string): Promise<SocketChardev> => {
    const { spec } = parseCharSpec(`unix:${path},server=on,wait=off,telnet=on`)!;
    return SocketChardev.open(spec as Parameters<typeof SocketChardev.open>[0], () => {});
  };
  monitor = await open(MONITOR);
  serial = await open(SERIAL);
  const link = new SerialLink(serial);
  machine = await tinyMachine(HALT, { serials: [link] });
  link.connect(machine.serial(0)!.receiver, () => machine.wake());
  serial.attach(link);
  const hmp = new Endless({ machine, host });
  new MonitorLink({
    hmp,
    version: '0',
    backend: monitor,
    muxed: false,
    onFault: (error) => faults.push(error),
  });
  machine.start();
});
afterAll(async () => {
  await monitor.close();
  await serial.close();
  await machine.close();
  rmSync(folder, { recursive: true, force: true });
});

const names = COMMANDS.flatMap(({ name, subcommands = [] }) => [
  name,
  ...subcommands.map((sub) => `${name} ${sub.name}`),
]).filter((name) => name !== 'quit');
const number = fc.oneof(
  fc.integer({ min: -5, max: 0x4000 }).map(String),
  fc.constantFrom(
    '0xffffffff',
    '-1',
    '1<<70',
    '$eip',
    '$nosuch',
    '1/0',
    '('.repeat(500),
    `0x${'f'.repeat(300)}`,
  ),
);
const word = fc.oneof(
  number,
  fc.constantFrom(
    '-f',
    '-b',
    '-n',
    'all',
    'ide0-hd0',
    'floppy0',
    'on',
    '"',
    '"\\x"',
    '/3i',
    '/99xb',
    '/q',
    '*',
    'help',
  ),
  fc.string({ maxLength: 20 }),
);
// `sum` and its like take their time over 4 GiB, here as in QEMU.
const command = fc
  .tuple(fc.constantFrom(...names), fc.array(word, { maxLength: 4 }))
  .map(([name, words]) =>
    /sum|save/.test(name) ? `${name} 0 ${words.length * 4096} f` : `${name} ${words.join(' ')}`,
  )
  .map((text) => Buffer.from(`${text.replace(/[\r\n]/g, ' ')}\n`));
const noise = fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes));
const telnet = fc
  .array(fc.constantFrom([255, 253, 1], [255, 250, 24, 1, 255], [255], [255, 255], [255, 244], [255, 240]), {
    maxLength: 8,
  })
  .map((parts) => Buffer.from(parts.flat()));
const keys = fc
  .array(
    fc.constantFrom(
      '\t',
      '\x1b[A',
      '\x1b[B',
      '\x1b[',
      '\x1bO',
      '\x01',
      '\x05',
      '\x0b',
      '\x17',
      '\x7f',
      'info ',
      'x',
      '\0',
    ),
    {
      maxLength: 30,
    },
  )
  .map((parts) => Buffer.from(parts.join('')));
const message = fc.oneof(
  { weight: 5, arbitrary: command },
  noise,
  telnet,
  keys,
  fc.constant(Buffer.alloc(5000, 'a')),
);

const clients = new Set<Socket>();
// Only one client is served at a time: one left over from a test that failed would be in the way.
afterEach(() => {
  for (const socket of clients) socket.destroy();
  clients.clear();
});

function connectTo(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path, () => resolve(socket));
    clients.add(socket);
    socket.on('error', reject);
  });
}

/** Sends all, in pieces as they come; the socket says when there is room. */
async function send(socket: Socket, messages: readonly Buffer[]): Promise<void> {
  for (const bytes of messages) {
    if (!socket.write(bytes)) await new Promise((resolve) => socket.once('drain', resolve));
  }
}

/** A new client is greeted and answered: the monitor lives. */
async function expectAnswer(): Promise<void> {
  const socket = await connectTo(MONITOR);
  let text = '';
  socket.on('data', (bytes) => {
    text += bytes.toString('latin1');
  });
  // Whatever an earlier client left half typed is finished, and what it held with \x01 or ESC is over.
  socket.write('\n\ninfo name\nprint 21*2\n');
  await expect.poll(() => text, { timeout: 60_000 }).toMatch(/0x2a/);
  await new Promise<void>((resolve) => socket.once('close', () => resolve()).destroy());
}

test('the monitor answers, forgets, and goes on', async () => {
  await expectAnswer();
  const warm = await connectTo(MONITOR);
  warm.resume();
  await send(warm, fc.sample(message, { numRuns: 100, seed: 1 }));
  warm.destroy();
  await expectAnswer();
  const before = await heldBytes();
  const socket = await connectTo(MONITOR);
  let bytes = 0;
  socket.on('data', (chunk) => {
    bytes += chunk.length;
  });
  for (let done = 0; done < RUNS; done += 100) await send(socket, fc.sample(message, 100));
  socket.destroy();
  await expectAnswer();
  expect(bytes).toBeGreaterThan(RUNS);
  expect(faults).toEqual([]);
  await expectFlatMemory(before);
}, 900_000);

test('a client that does not read stops being answered, nothing is hoarded, the next one is served', async () => {
  const before = await heldBytes();
  const socket = await connectTo(MONITOR);
  socket.pause();
  for (let i = 0; i < 200 && socket.writableLength < 1 << 20; i++) {
    socket.write(LINES);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  await expectFlatMemory(before);
  socket.destroy();
  await expectAnswer();
}, 120_000);

test('a serial port on telnet whose guest does not read', async () => {
  const before = await heldBytes();
  const socket = await connectTo(SERIAL);
  socket.resume();
  const bytes = fc.oneof(noise, telnet, fc.constant(Buffer.alloc(3000, 'x')));
  let sent = 0;
  for (; sent < RUNS && socket.writableLength < 1 << 20; sent += 100) {
    for (const each of fc.sample(bytes, 100)) socket.write(each);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await expectFlatMemory(before);
  socket.destroy();
  await expectAnswer();
}, 120_000);
