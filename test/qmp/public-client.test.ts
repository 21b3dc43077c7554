/**
 * A public QMP client, QEMU's own Python package qemu.qmp, runs one script against this program and against QEMU 7.2. The
 * answers are compared key by key, errors and statuses whole.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createQcow2 } from '../../src/block/qcow2/create.ts';
import { bundleProgram, ROOT } from '../support/bundle.ts';
import { requireProgram } from '../support/programs.ts';
import { QEMU_SOURCE } from '../support/qemu-source.ts';
import { shapeOf } from './client.ts';

const CLIENT = join(QEMU_SOURCE, 'python');
const hasClient = existsSync(join(CLIENT, 'qemu/qmp')) && requireProgram('python3');
const folder = mkdtempSync(join(tmpdir(), 'ambervm-qmp-client-'));
const children: ChildProcess[] = [];

/** Commands as JSON on standard input; answers and events on standard output. */
const SCRIPT = `
import asyncio, json, sys
from qemu.qmp import QMPClient, ExecuteError

async def main():
    client = QMPClient('comparison')
    await client.connect(sys.argv[1])
    answers, events = [], []
    with client.listener() as listener:
        for name, arguments, event in json.load(sys.stdin):
            try:
                answers.append({'return': await client.execute(name, arguments)})
            except ExecuteError as error:
                told = error.error.error
                answers.append({'error': {'class': told.class_, 'desc': told.desc}})
            while event is not None:
                message = await asyncio.wait_for(listener.get(), 60)
                events.append(dict(message))
                if message['event'] == event[0] and event[1].items() <= message.get('data', {}).items():
                    break
    try:
        await client.disconnect()
    except EOFError:
        pass  # It has quit.
    print(json.dumps({'answers': answers, 'events': events}))

asyncio.run(main())
`;

/** Name, arguments, and the event that must follow. */
type Step = readonly [name: string, args?: object, event?: readonly [name: string, data: object]];

const ended = (id: string, status = 'concluded') => ['JOB_STATUS_CHANGE', { id, status }] as const;

/** `node`: the disk's block node. */
function steps(node: string, screenshot: string): Step[] {
  const snapshot = (id: string) => ({ 'job-id': id, tag: 't', vmstate: node, devices: [node] });
  return [
    ['query-version'],
    ['query-status'],
    ['query-name'],
    ['query-uuid'],
    ['query-kvm'],
    ['query-target'],
    ['query-cpus-fast'],
    ['query-mice'],
    ['query-commands'],
    ['query-chardev'],
    ['query-block'],
    ['query-named-block-nodes'],
    ['query-blockstats'],
    ['query-jobs'],
    ['query-block-jobs'],
    ['query-vnc'],
    ['cont', {}, ['RESUME', {}]],
    ['query-status'],
    ['human-monitor-command', { 'command-line': 'info status' }],
    ['human-monitor-command', { 'command-line': 'bogus' }],
    ['send-key', { keys: [{ type: 'qcode', data: 'a' }], 'hold-time': 10 }],
    ['input-send-event', { events: [{ type: 'rel', data: { axis: 'x', value: 3 } }] }],
    ['screendump', { filename: screenshot }],
    ['system_powerdown', {}, ['POWERDOWN', {}]],
    ['snapshot-save', snapshot('save'), ended('save')],
    ['query-jobs'],
    ['job-dismiss', { id: 'save' }, ended('save', 'null')],
    ['snapshot-load', snapshot('load'), ended('load')],
    ['job-dismiss', { id: 'load' }, ended('load', 'null')],
    ['snapshot-delete', { 'job-id': 'gone', tag: 't', devices: [node] }, ended('gone')],
    ['job-dismiss', { id: 'gone' }, ended('gone', 'null')],
    ['block-stream', { device: node, 'job-id': 'stream' }, ended('stream', 'null')],
    ['system_reset', {}, ['RESET', {}]],
    ['stop', {}, ['STOP', {}]],
    ['query-status'],
    ['stop', { extra: 1 }],
    ['nosuch'],
    ['job-cancel', { id: 'nosuch' }],
    ['block-job-cancel', { device: 'nosuch' }],
    ['snapshot-save', { tag: 't' }],
    ['quit', {}, ['SHUTDOWN', {}]],
  ];
}

/** Answers that are compared whole, where they do not fail; of the others the keys. */
const WHOLE = ['query-status', 'query-target', 'query-uuid', 'human-monitor-command'];

interface Transcript {
  readonly answers: readonly { readonly return?: unknown; readonly error?: unknown }[];
  readonly events: readonly { readonly event: string; readonly data?: Record<string, unknown> }[];
}

async function transcript(socket: string, list: readonly Step[]): Promise<Transcript> {
  for (let i = 0; i < 3000 && !existsSync(socket); i++) await delay(20);
  const script = join(folder, 'script.py');
  writeFileSync(script, SCRIPT);
  const env = { ...process.env, PYTHONPATH: CLIENT, PYTHONDONTWRITEBYTECODE: '1' };
  const python = spawn('python3', [script, socket], { env });
  children.push(python);
  let [out, err] = ['', ''];
  python.stdout.on('data', (data) => (out += data));
  python.stderr.on('data', (data) => (err += data));
  python.stdin.end(JSON.stringify(list.map(([name, args, event]) => [name, args ?? null, event ?? null])));
  const code = await new Promise((resolve) => python.on('close', resolve));
  if (code !== 0) throw new Error(err);
  return JSON.parse(out) as Transcript;
}

function comparable({ answers, events }: Transcript, list: readonly Step[]): unknown {
  return {
    answers: list.map(([name], i) => {
      const answer = answers[i]!;
      return [name, WHOLE.includes(name) || 'error' in answer ? answer : shapeOf(answer)];
    }),
    events: events.map(({ event, data = {} }) => [
      event,
      event === 'JOB_STATUS_CHANGE' ? data : shapeOf(data),
    ]),
  };
}

beforeAll(async () => {
  if (hasClient) await bundleProgram(folder);
});
afterAll(() => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

describe.skipIf(!hasClient || !requireProgram('qemu-system-i386'))(
  "QEMU's Python client (skipped without its source, scripts/qemu-source.mjs)",
  () => {
    test('hears the same from both', { timeout: 300_000 }, async () => {
      const start = async (whose: string, program: string, first: readonly string[], display: number) => {
        const disk = join(folder, `${whose}.qcow2`);
        await createQcow2(disk, { sizeBytes: 4 << 20 });
        const socket = join(folder, `${whose}.sock`);
        const machine = ['-M', 'pc-i440fx-7.2,hpet=off,vmport=off', '-cpu', 'pentium3', '-m', '16', '-S'];
        const rest = ['-nodefaults', '-vga', 'std', '-qmp', `unix:${socket},server=on,wait=off`];
        const drive = ['-drive', `if=ide,format=qcow2,file=${disk}`, '-vnc', `127.0.0.1:${display}`];
        const args = [
          ...first,
          ...machine,
          ...rest,
          ...drive,
          '-chardev',
          'null,id=n',
          '-serial',
          'chardev:n',
        ];
        const child = spawn(program, args, { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] });
        children.push(child);
        return socket;
      };
      const bios = join(ROOT, 'images/firmware/amberbios.bin');
      const ours = await start('ours', process.execPath, ['bundle/program/run.mjs', '-bios', bios], 61);
      const theirs = await start('qemu', 'qemu-system-i386', [], 62);
      const nodeOf = async (socket: string): Promise<string> => {
        const { answers } = await transcript(socket, [['query-named-block-nodes']]);
        const nodes = answers[0]!.return as { 'node-name': string; drv: string }[];
        return nodes.find(({ drv }) => drv === 'qcow2')!['node-name'];
      };
      const [a, b] = [
        steps(await nodeOf(ours), join(folder, 'a.ppm')),
        steps(await nodeOf(theirs), join(folder, 'b.ppm')),
      ];
      const said = comparable(await transcript(ours, a), a);
      expect(said).toEqual(comparable(await transcript(theirs, b), b));
    });
  },
);
