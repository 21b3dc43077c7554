/**
 * A qcow2 disk of 1 GiB read and written from one end to the other in requests of a guest's sizes, one at a time, with
 * cache=writeback and none: ours, and QEMU's (`qemu-img bench -d 1`) on the same image in the same run, medians.
 * `npx tsx bench/block/sequential.ts [FOLDER]`.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openImage } from '../../src/block/open.ts';

const DISK_BYTES = 2 ** 30;
const ROUNDS = 3;
const SIZES = [4096, 65_536, 131_072];
/** So many requests at most: small ones read a part of the disk. */
const MAX_REQUESTS = 8192;
const MIB = 2 ** 20;

/** MiB a second. */
async function ours(
  file: string,
  cache: 'writeback' | 'none',
  bytes: number,
  isWrite: boolean,
): Promise<number> {
  const node = await openImage(file, { format: 'qcow2', cache });
  const data = Buffer.alloc(bytes, 0x5a);
  const requests = Math.min(MAX_REQUESTS, DISK_BYTES / bytes);
  const start = performance.now();
  for (let i = 0; i < requests; i++) {
    if (isWrite) await node.write(i * bytes, data);
    else await node.read(i * bytes, data);
  }
  const seconds = (performance.now() - start) / 1e3;
  await node.close();
  return (requests * bytes) / MIB / seconds;
}

/** As qemu-img tells it, without the time to open the image. */
function qemu(file: string, cache: string, bytes: number, isWrite: boolean): number {
  const requests = Math.min(MAX_REQUESTS, DISK_BYTES / bytes);
  const args = ['bench', '-f', 'qcow2', '-t', cache, '-d', '1', '-c', `${requests}`, '-s', `${bytes}`];
  const text = execFileSync('qemu-img', [...args, ...(isWrite ? ['-w'] : []), file]).toString();
  const seconds = Number(/completed in ([\d.]+) seconds/.exec(text)?.[1]);
  return (requests * bytes) / MIB / seconds;
}

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1]!;
}

const given = process.argv[2];
const folder = given ?? mkdtempSync(join(tmpdir(), 'ambervm-sequential-'));
mkdirSync(folder, { recursive: true });
const file = join(folder, 'disk.qcow2');
execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', file, '1G']);
execFileSync('qemu-io', ['-f', 'qcow2', '-c', 'write -q -P 7 0 512M', '-c', 'write -q -P 8 512M 512M', file]);
console.log('one request at a time, MiB/s | ours | QEMU | ours ÷ QEMU');
for (const cache of ['writeback', 'none'] as const) {
  for (const isWrite of [false, true]) {
    for (const bytes of SIZES) {
      const [us, them]: [number[], number[]] = [[], []];
      for (let round = 0; round < ROUNDS; round++) {
        us.push(await ours(file, cache, bytes, isWrite));
        them.push(qemu(file, cache, bytes, isWrite));
      }
      const [a, b] = [median(us), median(them)];
      const what = `${isWrite ? 'write' : 'read'}, ${bytes / 1024} KiB, cache=${cache}`;
      console.log([what, a.toFixed(0), b.toFixed(0), (a / b).toFixed(2)].join(' | '));
    }
  }
}
if (given === undefined) rmSync(folder, { recursive: true });
else rmSync(file);
