/** block-stream: a disk takes over its backing file while it is written; the same events and answers as QEMU's. */
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { createQcow2 } from '../../src/block/qcow2/create.ts';
import { requireProgram } from '../support/programs.ts';
import { hasQemuImg, qemuCheck, run } from '../support/qemu-img.ts';
import { MACHINE, ourPeer, type Peer, qemuPeer } from './client.ts';

const SIZE = 8 << 20;
const folder = mkdtempSync(join(tmpdir(), 'ambervm-stream-'));
const peers: Peer[] = [];
let count = 0;

afterEach(async () => {
  for (const peer of peers.splice(0)) await peer.close();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Data, zeroes, and an end that is shorter than the disk. */
async function overlay(): Promise<{ file: string; contents: Buffer }> {
  const base = join(folder, `base${count}.img`);
  const file = join(folder, `disk${count++}.qcow2`);
  const contents = Buffer.alloc(SIZE);
  for (let at = 0; at < SIZE - (1 << 20); at++)
    contents[at] = (at >> 16) & 4 ? 0 : (at * 31 + (at >> 9)) & 0xff;
  writeFileSync(base, contents.subarray(0, SIZE - (1 << 20)));
  await createQcow2(file, { sizeBytes: SIZE, backingFile: base, backingFormat: 'raw' });
  return { file, contents };
}

const OURS = ['-bios', 'amberbios.bin'];

async function ours(file: string) {
  const peer = await ourPeer([...MACHINE, ...OURS, '-hda', file]);
  peers.push(peer);
  await peer.client.ask('qmp_capabilities');
  return peer;
}

const concluded = ({ client }: Peer, id: string) =>
  client.event('JOB_STATUS_CHANGE', (data) => data['id'] === id && data['status'] === 'concluded');

test('the disk has all, needs no backing file, and keeps what was written meanwhile', async () => {
  const { file, contents } = await overlay();
  const peer = await ours(file);
  const { node } = peer.machine.disks.find(({ device }) => device === 'ide0-hd0')!;
  await peer.client.ask('block-stream', { device: 'ide0-hd0', speed: 65_536 });
  const jobs = (await peer.client.ask('query-block-jobs'))['return'] as unknown[];
  expect(jobs).toMatchObject([{ device: 'ide0-hd0', type: 'stream', len: SIZE, speed: 65_536 }]);
  // Random writes: nearly all is below still, then it goes on meanwhile.
  let seed = 7;
  for (let i = 0; i < 300; i++) {
    if (i === 100) await peer.client.ask('block-job-set-speed', { device: 'ide0-hd0', speed: 0 });
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    const at = (seed % (SIZE - 8192)) & ~511;
    const data = Buffer.alloc(512 * (1 + (seed % 9)), i + 1);
    data.copy(contents, at);
    await node!.write(at, data);
  }
  await concluded(peer, 'ide0-hd0');
  expect((await peer.client.ask('query-block-jobs'))['return']).toEqual([]);
  const seen = Buffer.alloc(SIZE);
  await node!.read(0, seen);
  expect(seen.equals(contents)).toBe(true);
  await node!.write(0, Buffer.alloc(100, 9));
  contents.fill(9, 0, 100);
  await peer.close();
  if (!hasQemuImg) return;
  expect(qemuCheck(file)).toMatchObject({ corruptions: 0, leaks: 0 });
  const info = JSON.parse(run('qemu-img', 'info', '--output=json', file));
  expect(info['backing-filename']).toBeUndefined();
  run('qemu-img', 'convert', '-O', 'raw', file, `${file}.raw`);
  expect(readFileSync(`${file}.raw`).equals(contents)).toBe(true);
});

test('a cancelled one leaves the image as it was used, and can be begun again', async () => {
  const { file, contents } = await overlay();
  const peer = await ours(file);
  const { client } = peer;
  expect(
    await client.ask('human-monitor-command', { 'command-line': 'block_stream ide0-hd0 64K' }),
  ).toMatchObject({
    return: '',
  });
  const info = await client.ask('human-monitor-command', { 'command-line': 'info block-jobs' });
  expect(info['return']).toMatch(
    /^Streaming device ide0-hd0: Completed \d+ of 8388608 bytes, speed limit 65536 bytes\/s\r\n$/,
  );
  await client.ask('human-monitor-command', { 'command-line': 'block_job_cancel ide0-hd0' });
  await client.event('BLOCK_JOB_CANCELLED');
  const { node } = peer.machine.disks.find(({ device }) => device === 'ide0-hd0')!;
  const seen = Buffer.alloc(SIZE);
  await node!.read(0, seen);
  expect(seen.equals(contents)).toBe(true);
  await client.ask('block-stream', { device: 'ide0-hd0', 'job-id': 'again' });
  await concluded(peer, 'again');
  await node!.read(0, seen);
  expect(seen.equals(contents)).toBe(true);
});

test('internal snapshots keep their backing file', async () => {
  const { file } = await overlay();
  const { client } = await ours(file);
  await client.ask('human-monitor-command', { 'command-line': 'savevm here' });
  expect(await client.ask('block-stream', { device: 'ide0-hd0' })).toMatchObject({
    error: { desc: expect.stringContaining('its internal snapshots need the backing file') },
  });
});

describe.skipIf(!requireProgram('qemu-system-i386'))(
  'beside QEMU 7.2 (skipped without qemu-system-i386)',
  () => {
    test('events, statuses, answers and errors are the same', async () => {
      const { file } = await overlay();
      const copy = `${file}.copy`;
      copyFileSync(file, copy);
      const own = await ours(file);
      const peer = qemuPeer([...MACHINE, '-drive', `if=ide,format=qcow2,file=${copy}`]);
      peers.push(peer);
      await peer.client.ask('qmp_capabilities');
      const script = async ({ client }: Peer): Promise<unknown[]> => {
        const said: unknown[] = [];
        const ask = async (name: string, args?: object) => {
          const { id: _id, ...answer } = await client.ask(name, args);
          said.push([name, answer]);
        };
        await ask('query-block-jobs');
        await ask('block-stream', { device: 'nosuch' });
        await ask('block-job-cancel', { device: 'nosuch' });
        await ask('block-stream', { device: 'ide0-hd0', speed: 65_536 });
        await ask('block-stream', { device: 'ide0-hd0', 'job-id': 'ide0-hd0' });
        const [job] = (await client.ask('query-block-jobs'))['return'] as Record<string, unknown>[];
        said.push(Object.keys(job!).sort(), { ...job, offset: 0, busy: true });
        await ask('job-resume', { id: 'ide0-hd0' });
        await ask('job-pause', { id: 'ide0-hd0' });
        await client.event('JOB_STATUS_CHANGE', (data) => data['status'] === 'paused');
        await ask('job-pause', { id: 'ide0-hd0' });
        const [still] = (await client.ask('query-block-jobs'))['return'] as Record<string, unknown>[];
        said.push({ ...still, offset: 0 });
        await ask('block-job-resume', { device: 'ide0-hd0' });
        await ask('block-job-complete', { device: 'ide0-hd0' });
        await ask('job-finalize', { id: 'ide0-hd0' });
        await ask('block-job-cancel', { device: 'ide0-hd0' });
        await client.event('JOB_STATUS_CHANGE', (data) => data['status'] === 'null');
        await ask('block-stream', { device: 'ide0-hd0', 'job-id': 'second' });
        await client.event(
          'JOB_STATUS_CHANGE',
          (data) => data['id'] === 'second' && data['status'] === 'null',
        );
        const events = client.messages
          .filter((message) => message['event'] !== undefined)
          .map(({ event, data }) => [event, { ...(data as object), offset: 0 }]);
        return [...said, ...events];
      };
      expect(await script(own)).toEqual(await script(peer));
    });
  },
);
