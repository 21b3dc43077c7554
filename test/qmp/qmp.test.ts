/** QMP: the same script to us and to QEMU 7.2, answers compared key by key; jobs, events, errors; hostile input. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { createQcow2 } from '../../src/block/qcow2/create.ts';
import { expectFlatMemory, heldBytes } from '../support/held-bytes.ts';
import { requireProgram } from '../support/programs.ts';
import { MACHINE, type Message, ourPeer, type Peer, qemuPeer, shapeOf } from './client.ts';

const folder = mkdtempSync(join(tmpdir(), 'ambervm-qmp-'));
const peers: Peer[] = [];
let images = 0;

afterEach(async () => {
  for (const peer of peers.splice(0)) await peer.close();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function image(): Promise<string> {
  const file = join(folder, `disk${images++}.qcow2`);
  await createQcow2(file, { sizeBytes: 4 << 20 });
  return file;
}

const BIOS = ['-bios', 'amberbios.bin'];

async function ours(...more: readonly string[]) {
  const peer = await ourPeer([...MACHINE, ...BIOS, ...more]);
  peers.push(peer);
  expect((await peer.client.ask('qmp_capabilities'))['return']).toEqual({});
  return peer;
}

const QUERIES = [
  'query-status',
  'query-version',
  'query-commands',
  'query-name',
  'query-uuid',
  'query-kvm',
  'query-target',
  'query-iothreads',
  'query-memory-devices',
  'query-memory-size-summary',
  'query-current-machine',
  'query-cpus-fast',
  'query-jobs',
  'query-block-jobs',
  'query-mice',
  'query-block',
  'query-named-block-nodes',
];

/** Errors: the whole answer is compared. */
const WRONG: readonly (readonly [string, object?])[] = [
  ['bogus'],
  ['stop', { x: 1 }],
  ['human-monitor-command'],
  ['human-monitor-command', { 'command-line': 5 }],
  ['send-key', { keys: [{ type: 'qcode', data: 'zz' }] }],
  ['screendump', { filename: '/nope/x.ppm' }],
  ['job-dismiss', { id: 'nosuch' }],
  ['job-cancel', { id: 'nosuch' }],
  ['eject', { device: 'nosuch' }],
];
const WRONG_TEXT = ['{"arguments":{}}', '{"execute":5}', '[1]', '{"execute":"stop","bogus":1}'];

describe.skipIf(!requireProgram('qemu-system-i386'))(
  'beside QEMU 7.2 (skipped without qemu-system-i386)',
  () => {
    test('answers have the same keys, errors the same words', async () => {
      const own = await ours('-vga', 'std', '-hda', await image(), '-name', 'foo');
      const peer = qemuPeer([
        ...MACHINE,
        '-vga',
        'std',
        '-drive',
        `if=ide,format=qcow2,file=${await image()}`,
        '-name',
        'foo',
      ]);
      peers.push(peer);
      const greeting = await peer.client.until((m) => m['QMP'] !== undefined, 'greeting');
      expect(shapeOf(own.client.messages[0])).toEqual(
        shapeOf({ ...greeting, QMP: { ...(greeting['QMP'] as object), capabilities: [] } }),
      );
      await peer.client.ask('qmp_capabilities');
      for (const name of QUERIES) {
        const [a, b] = [await own.client.ask(name), await peer.client.ask(name)];
        expect(shapeOf(a), name).toEqual(shapeOf(b));
      }
      for (const [name, args] of WRONG) {
        const [a, b] = [await own.client.ask(name, args), await peer.client.ask(name, args)];
        expect(a['error'], `${name} ${JSON.stringify(args)}`).toEqual(b['error']);
      }
      for (const text of WRONG_TEXT) {
        const answers: unknown[] = [];
        for (const { client } of [own, peer]) {
          const before = client.messages.length;
          client.send(`${text}\n`);
          await client.until((m) => client.messages.indexOf(m) >= before && m['error'] !== undefined, text);
          answers.push(client.messages.slice(before).find((m) => m['error'] !== undefined)!['error']);
        }
        expect(answers[0], text).toEqual(answers[1]);
      }
      expect(own.faults).toEqual([]);
    });

    test('running and stopping tell the same events in the same order', async () => {
      const own = await ours('-hda', await image());
      const peer = qemuPeer([...MACHINE, '-drive', `if=ide,format=qcow2,file=${await image()},node-name=d0`]);
      peers.push(peer);
      await peer.client.ask('qmp_capabilities');
      const script = async ({ client }: Peer, node: string): Promise<string[]> => {
        for (const name of ['cont', 'stop', 'cont', 'system_powerdown']) await client.ask(name);
        const job = { 'job-id': 'j1', tag: 't', vmstate: node, devices: [node] };
        await client.ask('snapshot-save', job);
        await client.event('JOB_STATUS_CHANGE', ({ id, status }) => id === 'j1' && status === 'concluded');
        await client.ask('job-dismiss', { id: 'j1' });
        await client.ask('human-monitor-command', { 'command-line': 'savevm u' });
        await client.ask('system_reset');
        await client.event('RESET');
        await client.ask('stop');
        return client.events.filter((name) => name !== 'JOB_STATUS_CHANGE');
      };
      expect(await script(own, 'ide0-hd0')).toEqual(await script(peer, 'd0'));
    });
  },
);

describe('on its own', () => {
  test('before negotiation only qmp_capabilities is known', async () => {
    const peer = await ourPeer([...MACHINE, ...BIOS]);
    peers.push(peer);
    expect(await peer.client.ask('query-status')).toMatchObject({
      error: {
        class: 'CommandNotFound',
        desc: "Expecting capabilities negotiation with 'qmp_capabilities'",
      },
    });
    await peer.client.ask('qmp_capabilities');
    expect(await peer.client.ask('query-status')).toMatchObject({
      return: { status: 'prelaunch', running: false },
    });
    expect(await peer.client.ask('qmp_capabilities')).toMatchObject({ error: { class: 'CommandNotFound' } });
  });

  test('snapshots are jobs with real progress', async () => {
    const { client, machine } = await ours('-hda', await image());
    await client.ask('cont');
    const node = (await client.ask('query-named-block-nodes'))['return'] as Message[];
    const name = String(node[0]!['node-name']);
    const job = { tag: 't1', vmstate: name, devices: [name] };
    expect(await client.ask('snapshot-save', { ...job, 'job-id': 'save' })).toMatchObject({ return: {} });
    await client.event('JOB_STATUS_CHANGE', ({ id, status }) => id === 'save' && status === 'concluded');
    const [saved] = (await client.ask('query-jobs'))['return'] as Message[];
    expect(saved).toMatchObject({ id: 'save', type: 'snapshot-save', status: 'concluded' });
    expect(saved!['current-progress']).toBe(saved!['total-progress']);
    expect(saved!['total-progress']).toBeGreaterThan(100_000);
    expect(saved!['error']).toBeUndefined();
    expect(await client.ask('snapshot-save', { ...job, 'job-id': 'save' })).toMatchObject({
      error: { desc: "Job ID 'save' already in use" },
    });
    expect(await client.ask('job-cancel', { id: 'save' })).toMatchObject({
      error: { desc: "Job 'save' in state 'concluded' cannot accept command verb 'cancel'" },
    });
    await client.ask('job-dismiss', { id: 'save' });
    expect((await client.ask('query-jobs'))['return']).toEqual([]);

    await client.ask('snapshot-load', { ...job, 'job-id': 'load' });
    await client.event('JOB_STATUS_CHANGE', ({ id, status }) => id === 'load' && status === 'concluded');
    await client.ask('snapshot-load', { ...job, tag: 'nosuch', 'job-id': 'bad' });
    await client.event('JOB_STATUS_CHANGE', ({ id, status }) => id === 'bad' && status === 'concluded');
    await client.ask('snapshot-save', { ...job, devices: ['nope'], vmstate: 'nope', 'job-id': 'bad2' });
    await client.event('JOB_STATUS_CHANGE', ({ id, status }) => id === 'bad2' && status === 'concluded');
    await client.ask('snapshot-save', { ...job, tag: 'bg', background: true, 'job-id': 'bg' });
    await client.event('JOB_STATUS_CHANGE', ({ id, status }) => id === 'bg' && status === 'concluded');
    const jobs = (await client.ask('query-jobs'))['return'] as Message[];
    // The first line is QEMU's; ours may say more behind it.
    const firstLine = (error: unknown) => (error === undefined ? undefined : String(error).split('\n')[0]);
    const errors = Object.fromEntries(jobs.map((entry) => [entry['id'], firstLine(entry['error'])]));
    expect(errors).toEqual({
      load: undefined,
      bad: "Snapshot 'nosuch' does not exist in one or more devices",
      bad2: "No block device node 'nope'",
      bg: undefined,
    });
    await client.ask('snapshot-delete', { tag: 't1', devices: [name], 'job-id': 'del' });
    await client.event('JOB_STATUS_CHANGE', ({ id, status }) => id === 'del' && status === 'concluded');
    expect(machine.listSnapshots().everywhere.map(({ tag }) => tag)).toEqual(['bg']);
  });

  test('keys, mouse, monitor, screendump', async () => {
    const { client } = await ours('-vga', 'std');
    await client.ask('cont');
    expect(await client.ask('human-monitor-command', { 'command-line': 'info status' })).toMatchObject({
      return: 'VM status: running\r\n',
    });
    const keys = [
      { type: 'qcode', data: 'ctrl' },
      { type: 'number', data: 30 },
    ];
    expect(await client.ask('send-key', { keys })).toMatchObject({ return: {} });
    const events = [
      { type: 'key', data: { down: true, key: { type: 'qcode', data: 'a' } } },
      { type: 'key', data: { down: false, key: { type: 'qcode', data: 'a' } } },
      { type: 'rel', data: { axis: 'x', value: 5 } },
      { type: 'btn', data: { down: true, button: 'left' } },
    ];
    expect(await client.ask('input-send-event', { events })).toMatchObject({ return: {} });
    const file = join(folder, 'screen.png');
    expect(await client.ask('screendump', { filename: file, format: 'png' })).toMatchObject({ return: {} });
  });

  test('hostile messages: an answer each, the machine goes on', async () => {
    const { client, machine, faults } = await ours('-vga', 'std');
    const runs = process.env['AMBERVM_LONG'] === undefined ? 300 : 10_000;
    const commands = (await client.ask('query-commands'))['return'] as { name: string }[];
    // These write files or end things.
    const names = commands.map(({ name }) => name).filter((name) => !/quit|save|screendump|human/.test(name));
    const request = fc.record(
      {
        execute: fc.oneof(fc.constantFrom(...names), fc.string(), fc.jsonValue()),
        arguments: fc.oneof(
          fc.jsonValue(),
          fc.dictionary(
            fc.constantFrom('id', 'tag', 'keys', 'events', 'devices', 'job-id', 'vmstate', 'device'),
            fc.jsonValue(),
          ),
        ),
        id: fc.jsonValue(),
      },
      { requiredKeys: ['execute'] },
    );
    const messages = fc.sample(request, runs);
    const held = await heldBytes();
    for (const message of messages) {
      const before = client.messages.length;
      client.send(JSON.stringify(message));
      await client.until((m) => client.messages.indexOf(m) >= before && m['event'] === undefined, 'answer');
      client.messages.length = 0;
    }
    await expectFlatMemory(held);
    expect(faults).toEqual([]);
    expect(await client.ask('query-status')).toHaveProperty('return');
    expect(machine.state).toBeDefined();
  });
});
