/** Opens an image, reads all of it and then 4 KiB of every 64; a line of JSON: seconds, and peak memory in MB. */
import { openImage } from '../../src/block/open.ts';

const PIECE = 2 << 20;

const start = performance.now();
const node = await openImage(process.argv[2]!, { readOnly: true });
const open = performance.now() - start;
const cpuStart = process.cpuUsage();
const piece = Buffer.alloc(PIECE);
for (let at = 0; at < node.sizeBytes; at += PIECE) await node.read(at, piece);
const read = performance.now() - start - open;
const cpu = process.cpuUsage(cpuStart);
const stridedStart = process.cpuUsage();
const small = Buffer.alloc(4096);
for (let at = 0; at < node.sizeBytes; at += 65_536) await node.read(at, small);
const strided = performance.now() - start - open - read;
const stridedUsage = process.cpuUsage(stridedStart);
await node.close();
console.log(
  JSON.stringify({
    open: open / 1e3,
    read: read / 1e3,
    readCpu: (cpu.user + cpu.system) / 1e6,
    strided: strided / 1e3,
    stridedCpu: (stridedUsage.user + stridedUsage.system) / 1e6,
    memory: process.resourceUsage().maxRSS / 1024,
  }),
);
