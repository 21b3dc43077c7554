/** What management programs ask when they connect, beside QEMU 7.2: the same answers, the same keys, the same errors. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createQcow2 } from '../../src/block/qcow2/create.ts';
import { requireProgram } from '../support/programs.ts';
import { MACHINE, type Message, ourPeer, type Peer, qemuPeer, shapeOf } from './client.ts';

const folder = mkdtempSync(join(tmpdir(), 'ambervm-breadth-'));
const peers: Peer[] = [];

/** Command and arguments; the whole answer is the same. */
const SAME: readonly (readonly [name: string, args?: object])[] = [
  ['query-acpi-ospm-status'],
  ['query-balloon'],
  ['query-block-exports'],
  ['query-colo-status'],
  ['query-display-options'],
  ['query-dump'],
  ['query-fdsets'],
  ['query-hotpluggable-cpus'],
  ['query-iothreads'],
  ['query-memdev'],
  ['query-memory-devices'],
  ['query-memory-size-summary'],
  ['query-migrate'],
  ['query-replay'],
  ['query-rx-filter'],
  ['query-spice'],
  ['query-stats-schemas'],
  ['query-tpm'],
  ['query-uuid'],
  ['query-vm-generation-id'],
  ['query-vnc-servers'],
  ['qom-list', { path: '/machine/peripheral' }],
  ['qom-list', { path: '/nope' }],
  ['qom-get', { path: '/machine', property: 'type' }],
  ['qom-get', { path: '/machine/unattached/device[0]', property: 'type' }],
  ['qom-get', { path: '/machine', property: 'nope' }],
  ['qom-get', { path: '/nope', property: 'nope' }],
  ['qom-set', { path: '/machine', property: 'nope', value: 1 }],
  ['device-list-properties', { typename: 'nope' }],
  ['device_add', {}],
  ['device_add', { driver: 'nope', id: 'x', anything: 1 }],
  ['device_del', { id: 'nope' }],
  ['object-add', {}],
  ['object-add', { 'qom-type': 'nope', id: 'x' }],
  ['object-del', { id: 'nope' }],
  ['job-pause', { id: 'nope' }],
  ['job-resume', { id: 'nope' }],
  ['job-complete', { id: 'nope' }],
  ['job-finalize', { id: 'nope' }],
  ['block-job-pause', { device: 'nope' }],
  ['block-job-complete', { device: 'nope' }],
  ['block-job-dismiss', { id: 'nope' }],
  ['block-job-finalize', { id: 'nope' }],
  ['chardev-send-break', { id: 'nope' }],
  ['ringbuf-read', { device: 'nope', size: 1 }],
  ['trace-event-get-state', { name: 'nope' }],
  ['trace-event-set-state', { name: 'nope', enable: true }],
  ['set_password', { protocol: 'vnc', password: 'x' }],
  ['change-vnc-password', { password: 'x' }],
  ['expire_password', { protocol: 'vnc', time: 'now' }],
  ['system_wakeup'],
  ['eject', { device: 'ide1-cd0' }],
  ['blockdev-change-medium', { device: 'ide1-cd0', filename: join(folder, 'cd.iso') }],
  ['blockdev-change-medium', { device: 'ide1-cd0', filename: join(folder, 'cd.iso') }],
  ['eject', { device: 'ide1-cd0' }],
  ['cont'],
  ['stop'],
  ['system_reset'],
  ['query-status'],
];

/** The keys are. */
const ALIKE: readonly string[] = [
  'query-block',
  'query-blockstats',
  'query-chardev-backends',
  'query-cpus-fast',
  'query-named-block-nodes',
  'query-version',
];

beforeAll(() => writeFileSync(join(folder, 'cd.iso'), new Uint8Array(1 << 20)));
afterAll(async () => {
  for (const peer of peers) await peer.close();
  rmSync(folder, { recursive: true, force: true });
});

async function own(): Promise<Peer> {
  const file = join(folder, `own${peers.length}.qcow2`);
  await createQcow2(file, { sizeBytes: 4 << 20 });
  const more = ['-bios', 'amberbios.bin', '-hda', file, '-drive', 'if=ide,index=2,media=cdrom'];
  const peer = await ourPeer([...MACHINE, ...more]);
  peers.push(peer);
  await peer.client.ask('qmp_capabilities');
  return peer;
}

describe.skipIf(!requireProgram('qemu-system-i386'))(
  'beside QEMU 7.2 (skipped without qemu-system-i386)',
  () => {
    let ours: Peer;
    let theirs: Peer;
    beforeAll(async () => {
      ours = await own();
      const file = join(folder, 'theirs.qcow2');
      await createQcow2(file, { sizeBytes: 4 << 20 });
      const disk = ['-drive', `if=ide,format=qcow2,file=${file}`, '-drive', 'if=ide,index=2,media=cdrom'];
      theirs = qemuPeer([...MACHINE, ...disk]);
      peers.push(theirs);
      await theirs.client.ask('qmp_capabilities');
    }, 60_000);

    const ask = async ({ client }: Peer, name: string, args?: object): Promise<Message> => {
      const { id: _id, ...answer } = await client.ask(name, args);
      return answer;
    };

    test.each(SAME.map(([name, args]) => ({ name, args })))('$name $args', async ({ name, args }) => {
      expect(await ask(ours, name, args)).toEqual(await ask(theirs, name, args));
    });

    test.each(ALIKE)('%s: keys', async (name) => {
      expect(shapeOf(await ask(ours, name))).toEqual(shapeOf(await ask(theirs, name)));
    });

    test('every node is there: formats and files', async () => {
      const drivers = async (peer: Peer) =>
        ((await ask(peer, 'query-named-block-nodes'))['return'] as Message[]).map(({ drv }) => drv).sort();
      expect(await drivers(ours)).toEqual(await drivers(theirs));
    });

    test('entries of the schema have its form, and each command an object of arguments', async () => {
      const schema = async (peer: Peer) => (await ask(peer, 'query-qmp-schema'))['return'] as Message[];
      const [a, b] = [await schema(ours), await schema(theirs)];
      const keysOf = (entries: readonly Message[], kind: string) =>
        Object.keys(entries.find((entry) => entry['meta-type'] === kind && entry['name'] !== '0')!).sort();
      for (const kind of ['command', 'event', 'builtin', 'object', 'array']) {
        expect(keysOf(a, kind), kind).toEqual(keysOf(b, kind));
      }
      const names = new Map(a.map((entry) => [entry['name'], entry]));
      const commands = a.filter((entry) => entry['meta-type'] === 'command');
      const known = ((await ask(ours, 'query-commands'))['return'] as Message[]).map(({ name }) => name);
      expect(commands.map(({ name }) => name).sort()).toEqual(known.sort());
      const theirNames = new Set(b.map(({ name }) => name));
      for (const command of commands) {
        expect(names.get(command['arg-type'])?.['meta-type']).toBe('object');
        expect(theirNames.has(command['name']), String(command['name'])).toBe(true);
      }
    });

    test('events so far', () => {
      const told = (peer: Peer) => {
        const events = peer.client.messages.filter((message) => message['event'] !== undefined);
        return events.map(({ event, data }) => [event, shapeOf(data ?? {})]);
      };
      expect(told(ours)).toEqual(told(theirs));
    });
  },
);

test('trace events by QMP', async () => {
  const { client } = await own();
  const state = async () =>
    (await client.ask('trace-event-get-state', { name: 'machine_reset' }))['return'] as unknown;
  expect(await state()).toEqual([{ name: 'machine_reset', vcpu: false, state: 'disabled' }]);
  await client.ask('trace-event-set-state', { name: 'machine_*', enable: true });
  expect(await state()).toEqual([{ name: 'machine_reset', vcpu: false, state: 'enabled' }]);
  await client.ask('trace-event-set-state', { name: 'machine_*', enable: false });
});
