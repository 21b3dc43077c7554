/**
 * A chain of 300 overlays of 32 random clusters each over 1 GiB of data, beside its lowest image alone: opening, a full read,
 * 4 KiB of every 64, and streaming it into its top image; ours and QEMU's. `npx tsx bench/block/chain.ts [FOLDER]`.
 */
import { execFileSync, spawn } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { openImage } from '../../src/block/open.ts';
import { createQcow2 } from '../../src/block/qcow2/create.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const DISK_BYTES = 4 * 2 ** 30;
const OVERLAYS = 300;
const CLUSTER = 65_536;

interface Reads {
  readonly open: number;
  readonly read: number;
  readonly strided: number;
  readonly memory: number;
}

/** Makes the chain in `folder`, if it is not there; gives its lowest and its top image. */
export async function makeChain(folder: string): Promise<{ base: string; top: string }> {
  mkdirSync(folder, { recursive: true });
  const base = join(folder, 'base.qcow2');
  const name = (n: number): string => join(folder, `o${n}.qcow2`);
  const top = name(OVERLAYS);
  if (existsSync(top)) return { base, top };
  let seed = 1;
  const random = (): number => (seed = (seed * 48_271) % 0x7fff_ffff);
  for (let n = 1; n <= OVERLAYS; n++) {
    const file = n === 1 ? base : name(n);
    const below = n === 1 ? {} : { backingFile: n === 2 ? base : name(n - 1), backingFormat: 'qcow2' };
    await createQcow2(file, { sizeBytes: DISK_BYTES, ...below }, { lock: false });
    const node = await openImage(file, { format: 'qcow2', backing: false, cache: 'unsafe', lock: false });
    const data = Buffer.alloc(n === 1 ? 4 * CLUSTER : CLUSTER, (n % 251) + 1);
    if (n === 1) for (let at = 0; at < DISK_BYTES; at += 2 ** 20) await node.write(at, data);
    else for (let i = 0; i < 32; i++) await node.write((random() % (DISK_BYTES / CLUSTER)) * CLUSTER, data);
    await node.close();
  }
  return { base, top };
}

function ours(file: string): Reads {
  const worker = join(ROOT, 'bench/block/chain-read.ts');
  const text = execFileSync(process.execPath, ['--import', 'tsx', worker, file], { cwd: ROOT });
  return JSON.parse(text.toString()) as Reads;
}

/** Seconds and peak memory in MB of a command. */
function timed(command: string, args: readonly string[]): { seconds: number; memory: number } {
  const script =
    'import resource,subprocess,sys,time;t=time.monotonic();subprocess.check_call(sys.argv[1:],stdout=subprocess.DEVNULL);' +
    'print(time.monotonic()-t,resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss/1024)';
  const text = execFileSync('python3', ['-c', script, command, ...args]).toString();
  const [seconds, memory] = text.trim().split(' ').map(Number);
  return { seconds: seconds!, memory: memory! };
}

function qemu(file: string): Reads {
  const bench = (count: number, bytes: number, step: number) =>
    timed('qemu-img', [
      'bench',
      '-c',
      `${count}`,
      '-d',
      '1',
      '-s',
      `${bytes}`,
      '-S',
      `${step}`,
      '-o',
      '0',
      file,
    ]);
  const open = timed('qemu-io', ['-r', '-c', 'quit', file]);
  const read = bench(DISK_BYTES / 2 ** 21, 2 ** 21, 2 ** 21);
  const strided = bench(DISK_BYTES / CLUSTER, 4096, CLUSTER);
  const memory = Math.max(read.memory, strided.memory);
  return { open: open.seconds, read: read.seconds, strided: strided.seconds, memory };
}

/** Seconds of QEMU's block-stream job. */
async function qemuStream(file: string): Promise<number> {
  const disk = `driver=qcow2,node-name=d0,file.driver=file,file.filename=${file}`;
  const args = ['-machine', 'none', '-nodefaults', '-display', 'none', '-qmp', 'stdio', '-blockdev', disk];
  const child = spawn('qemu-system-i386', args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const say = (execute: string, more: object = {}): boolean =>
    child.stdin.write(JSON.stringify({ execute, arguments: more }));
  let start = 0;
  let seconds = Number.NaN;
  for await (const line of createInterface(child.stdout)) {
    const message = JSON.parse(line) as { QMP?: unknown; event?: string };
    if (message.QMP !== undefined) {
      say('qmp_capabilities');
      start = performance.now();
      say('block-stream', { 'job-id': 'j', device: 'd0' });
    }
    if (message.event !== 'BLOCK_JOB_COMPLETED' && message.event !== 'BLOCK_JOB_ERROR') continue;
    if (message.event === 'BLOCK_JOB_COMPLETED') seconds = (performance.now() - start) / 1e3;
    say('quit');
  }
  return seconds;
}

/** Rows of a table: what, ours, QEMU, ours ÷ QEMU. */
export async function chainRows(folder: string, log: (line: string) => void): Promise<string[][]> {
  const { base, top } = await makeChain(folder);
  const found = new Map<string, { ours: number; qemu: number }>();
  for (const [what, file] of [
    ['one image', base],
    [`chain of ${OVERLAYS}`, top],
  ] as const) {
    log(`${what}: reading`);
    const [a, b] = [ours(file), qemu(file)];
    found.set(`${what}: open, s`, { ours: a.open, qemu: b.open });
    found.set(`${what}: full read, s`, { ours: a.read, qemu: b.read });
    found.set(`${what}: 4 KiB of every 64, s`, { ours: a.strided, qemu: b.strided });
    found.set(`${what}: peak memory, MB`, { ours: a.memory, qemu: b.memory });
  }
  log('streaming');
  const [mine, theirs] = [join(folder, 'mine.qcow2'), join(folder, 'theirs.qcow2')];
  for (const copy of [mine, theirs]) copyFileSync(top, copy);
  const stream = timed(process.execPath, [join(ROOT, 'bin/ambervm.js'), 'img', 'stream', mine]);
  found.set('stream into the top image, s', { ours: stream.seconds, qemu: await qemuStream(theirs) });
  for (const copy of [mine, theirs]) rmSync(copy);
  return [...found].map(([what, f]) => [
    what,
    f.ours.toFixed(2),
    f.qemu.toFixed(2),
    (f.ours / f.qemu).toFixed(2),
  ]);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const given = process.argv[2];
  const folder = given ?? mkdtempSync(join(tmpdir(), 'ambervm-chain-'));
  const rows = await chainRows(folder, (line) => console.error(line));
  for (const row of [['', 'ours', 'QEMU', 'ours ÷ QEMU'], ...rows]) console.log(row.join(' | '));
  if (given === undefined) rmSync(folder, { recursive: true });
}
