/**
 * Snapshots of a large image: made, made again, applied, deleted; a line of JSON: for each operation its seconds, CPU
 * seconds, bytes written and read, requests and flushes, and peak memory in MB at the end. `npx tsx bench/block/large-run.ts IMAGE`.
 */
import { type BlockFile, openFile, type OpenFileOptions } from '../../src/block/file.ts';
import { openImage } from '../../src/block/open.ts';
import { supportsSnapshots } from '../../src/block/block-node.ts';

const counts = { readBytes: 0, reads: 0, writtenBytes: 0, writes: 0, flushes: 0, flushSeconds: 0 };

async function counted(name: string, options: OpenFileOptions): Promise<BlockFile> {
  const file = await openFile(name, options);
  const wrote = (bytes: number): void => {
    counts.writes++;
    counts.writtenBytes += bytes;
  };
  return {
    filename: file.filename,
    readOnly: file.readOnly,
    size: () => file.size(),
    read: (offset, target) => {
      counts.reads++;
      counts.readBytes += target.length;
      return file.read(offset, target);
    },
    write: (offset, source) => {
      wrote(source.length);
      return file.write(offset, source);
    },
    writev: (offset, parts) => {
      wrote(parts.reduce((sum, part) => sum + part.length, 0));
      return file.writev(offset, parts);
    },
    truncate: (size) => file.truncate(size),
    flush: async () => {
      const start = performance.now();
      await file.flush();
      counts.flushes++;
      counts.flushSeconds += (performance.now() - start) / 1e3;
    },
    close: () => file.close(),
  };
}

const node = await openImage(process.argv[2]!, {
  format: 'qcow2',
  openFile: counted,
  cache: process.argv[3] === 'none' ? 'none' : 'writeback',
});
if (!supportsSnapshots(node)) throw new Error('no snapshots');
const meta = (tag: string) => ({ tag, dateSec: 0, dateNsec: 0, vmClockNs: 0, icount: -1, vmStateBytes: 0 });

interface Step extends Record<string, number> {
  readonly seconds: number;
}
const steps: Record<string, Step> = {};
async function step(name: string, task: () => Promise<unknown>): Promise<void> {
  for (const key of Object.keys(counts) as (keyof typeof counts)[]) counts[key] = 0;
  const cpu = process.cpuUsage();
  let longest = 0;
  let last = performance.now();
  const timer = setInterval(() => {
    longest = Math.max(longest, performance.now() - last);
    last = performance.now();
  }, 1);
  const start = performance.now();
  await task();
  const seconds = (performance.now() - start) / 1e3;
  clearInterval(timer);
  const { user, system } = process.cpuUsage(cpu);
  steps[name] = { seconds, cpu: (user + system) / 1e6, longestMs: longest, ...counts };
}

await step('create', () => node.createSnapshot(meta('s1')));
await step('create again', () => node.createSnapshot(meta('s2')));
await step('apply', () => node.applySnapshot('s1'));
await step('delete', () => node.deleteSnapshot('s1'));
await step('delete the last', () => node.deleteSnapshot('s2'));
await node.close();
console.log(JSON.stringify({ steps, memory: process.resourceUsage().maxRSS / 1024 }));
