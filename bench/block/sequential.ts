/**
 * A qcow2 disk read, written where it is allocated, and written where it is not, from its start on in requests of a guest's
 * sizes, one at a time, with cache=writeback and none: ours, `qemu-img bench -d 1` and qemu-io (a command a request, without
 * the time that it takes to start) on the same image in the same run; medians, MiB/s. The last column is against the
 * quicker of QEMU's two. `npx tsx bench/block/sequential.ts [FOLDER]`.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openImage } from '../../src/block/open.ts';

const DISK_BYTES = 512 * 2 ** 20;
const ROUNDS = 3;
const SIZES = [4096, 65_536, 2 ** 20];
/** So many requests at most: small ones touch a part of the disk. */
const MAX_REQUESTS = 4096;
const MIB = 2 ** 20;

type Kind = 'read' | 'write' | 'allocating write';

interface Work {
  readonly file: string;
  readonly cache: 'writeback' | 'none';
  readonly bytes: number;
  readonly requests: number;
  readonly isWrite: boolean;
}

/** Seconds. */
async function ours({ file, cache, bytes, requests, isWrite }: Work): Promise<number> {
  const node = await openImage(file, { format: 'qcow2', cache });
  const data = Buffer.alloc(bytes, 0x5a);
  const start = performance.now();
  for (let i = 0; i < requests; i++) {
    if (isWrite) await node.write(i * bytes, data);
    else await node.read(i * bytes, data);
  }
  const seconds = (performance.now() - start) / 1e3;
  await node.close();
  return seconds;
}

/** As qemu-img tells it, without the time to open the image. */
function bench({ file, cache, bytes, requests, isWrite }: Work): number {
  const args = ['bench', '-f', 'qcow2', '-t', cache, '-d', '1', '-c', `${requests}`, '-s', `${bytes}`];
  const text = execFileSync('qemu-img', [...args, ...(isWrite ? ['-w'] : []), file]).toString();
  return Number(/completed in ([\d.]+) seconds/.exec(text)?.[1]);
}

function qemuIo({ file, cache, bytes, requests, isWrite }: Work): number {
  const command = (i: number): string => `${isWrite ? 'write' : 'read'} -q ${i * bytes} ${bytes}\n`;
  const run = (input: string): number => {
    const start = performance.now();
    execFileSync('qemu-io', ['-f', 'qcow2', '-t', cache, file], {
      input,
      stdio: ['pipe', 'ignore', 'inherit'],
    });
    return (performance.now() - start) / 1e3;
  };
  const empty = run('quit\n');
  return run(`${Array.from({ length: requests }, (_, i) => command(i)).join('')}quit\n`) - empty;
}

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1]!;
}

function makeDisk(file: string, isFull: boolean): void {
  rmSync(file, { force: true });
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', file, `${DISK_BYTES}`]);
  if (isFull) execFileSync('qemu-io', ['-f', 'qcow2', '-c', `write -q -P 7 0 ${DISK_BYTES}`, file]);
}

async function measure(file: string, cache: Work['cache'], kind: Kind, bytes: number): Promise<string> {
  const requests = Math.min(MAX_REQUESTS, DISK_BYTES / bytes);
  const work: Work = { file, cache, bytes, requests, isWrite: kind !== 'read' };
  const seconds: number[][] = [[], [], []];
  makeDisk(file, kind !== 'allocating write');
  for (let round = 0; round < ROUNDS; round++) {
    for (const [i, run] of [ours, bench, qemuIo].entries()) {
      if (kind === 'allocating write') makeDisk(file, false);
      seconds[i]!.push(await run(work));
    }
  }
  const rates = seconds.map((some) => (requests * bytes) / MIB / median(some));
  const ratio = rates[0]! / Math.max(rates[1]!, rates[2]!);
  const what = `${kind}, ${bytes / 1024} KiB, cache=${cache}`;
  return [what, ...rates.map((rate) => rate.toFixed(0)), ratio.toFixed(2)].join(' | ');
}

const given = process.argv[2];
const folder = given ?? mkdtempSync(join(tmpdir(), 'ambervm-sequential-'));
mkdirSync(folder, { recursive: true });
const file = join(folder, 'disk.qcow2');
console.log('one request at a time, MiB/s | ours | qemu-img bench | qemu-io | ours ÷ QEMU');
for (const cache of ['writeback', 'none'] as const) {
  for (const kind of ['read', 'write', 'allocating write'] as const) {
    for (const bytes of SIZES) console.log(await measure(file, cache, kind, bytes));
  }
}
if (given === undefined) rmSync(folder, { recursive: true });
else rmSync(file);
