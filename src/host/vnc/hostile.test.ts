/** Clients that mean no good: bytes that are no RFB, clients that do not read. AMBERVM_LONG=1: more of them. */
import { connect } from 'node:net';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { expectFlatMemory, heldBytes } from '../../../test/support/held-bytes.ts';
import { RfbClient } from '../../../test/support/rfb-client.ts';
import { tinyMachine } from '../../../test/support/tiny-machine.ts';
import type { Machine } from '../../machine/machine.ts';
import { ByteQueue, MAX_NEEDED, MessageReader, ProtocolError } from './messages.ts';
import { VncServer } from './server.ts';

const RUNS = process.env['AMBERVM_LONG'] === '1' ? 10_000 : 300;

let machine: Machine;
let server: VncServer;
let port = 0;
beforeAll(async () => {
  machine = await tinyMachine();
  server = new VncServer({ machine, name: 'test', authenticate: false });
  await server.listen({ kind: 'tcp', host: '127.0.0.1', port: 0 });
  port = server.address?.kind === 'tcp' ? server.address.port : 0;
});
afterAll(async () => {
  await server.close();
  await machine.close();
});

/** Messages that are nearly right, and noise. */
const messages = fc.oneof(
  fc.uint8Array({ maxLength: 40 }),
  fc
    .tuple(fc.constantFrom(0, 2, 3, 4, 5, 6, 251, 255), fc.uint8Array({ minLength: 4, maxLength: 40 }))
    .map(([type, rest]) => Uint8Array.from([type, ...rest])),
);

test('random messages in random pieces: read or refused, and nothing is hoarded', () => {
  fc.assert(
    fc.property(fc.array(messages, { maxLength: 20 }), fc.integer({ min: 1, max: 50 }), (all, piece) => {
      const bytes = Buffer.concat(all);
      const queue = new ByteQueue();
      const reader = new MessageReader(queue);
      try {
        for (let at = 0; at < bytes.length; at += piece) {
          queue.push(bytes.subarray(at, at + piece));
          while (reader.next() !== undefined);
          expect(queue.length).toBeLessThanOrEqual(MAX_NEEDED);
        }
      } catch (error) {
        if (!(error instanceof ProtocolError)) throw error;
      }
    }),
    { numRuns: RUNS },
  );
});

const VERSION = Buffer.from('RFB 003.008\n');

test('random clients: the server lives', async () => {
  const attack = (numRuns: number) =>
    fc.assert(
      fc.asyncProperty(
        fc.constantFrom(Buffer.alloc(0), VERSION, Buffer.concat([VERSION, Buffer.from([1, 1])])),
        fc.array(messages, { maxLength: 10 }),
        async (begin, all) => {
          const socket = connect(port, '127.0.0.1');
          socket.on('error', () => {});
          socket.resume();
          socket.end(Buffer.concat([begin, ...all]));
          await new Promise((resolve) => socket.once('close', resolve));
        },
      ),
      { numRuns },
    );
  await attack(50);
  const before = await heldBytes();
  await attack(RUNS);
  await expectFlatMemory(before);
  const client = await RfbClient.connect(port);
  expect(await client.update()).toBeGreaterThan(0);
  client.close();
}, 900_000);

test('a client that asks and does not read: no more than one picture beyond the limit waits', async () => {
  const client = await RfbClient.connect(port);
  client.setEncodings(0);
  client.socket.pause();
  let most = 0;
  for (let i = 0; i < 200; i++) {
    client.request(false);
    await new Promise((resolve) => setTimeout(resolve, 2));
    for (const { transport } of server.clients) most = Math.max(most, transport.bufferedBytes);
  }
  expect(most).toBeGreaterThan(0);
  expect(most).toBeLessThan(1024 * 1024 + 640 * 480 * 4 + 1024);
  client.socket.resume();
  await client.receiveUpdate();
  client.close();
});

test('a crowd is turned away at the door', async () => {
  const sockets = Array.from({ length: 40 }, () => connect(port, '127.0.0.1'));
  const closed = sockets.map((socket) => {
    socket.on('error', () => {});
    socket.resume();
    return new Promise<void>((resolve) => socket.once('close', () => resolve()));
  });
  await Promise.race(closed);
  for (const socket of sockets) socket.destroy();
  await Promise.all(closed);
});
