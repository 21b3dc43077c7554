/**
 * Compressed VM state: what chunk size (= qcow2 cluster size), level and number of worker threads make of real guest RAM.
 * The RAM is that of a Linux that has just booted, taken once from QEMU; zero pieces are left out, as savevm does.
 */
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CompressOptions } from '../../src/block/block-node.ts';
import { openImage } from '../../src/block/open.ts';
import { createQcow2 } from '../../src/block/qcow2/create.ts';
import type { Qcow2 } from '../../src/block/qcow2/qcow2.ts';
import { Qemu } from '../../test/support/qemu.ts';
import { loadAverage } from '../harness/process-usage.ts';

const PIECE_BYTES = 64 * 1024;
/** As savevm: bytes a write, and writes in flight. */
const WRITE_BYTES = 1 << 20;
const QUEUE_DEPTH = 4;
const META = { tag: 'a', dateSec: 0, dateNsec: 0, vmClockNs: 0, icount: -1 };

export interface CompressRow {
  readonly clusterBytes: number;
  readonly level: number | undefined;
  readonly workers: number;
  /** RAM bytes a second into the image, durable, 10^6. */
  readonly saveRate: number;
  /** And back. */
  readonly loadRate: number;
  /** Bytes of the image for each byte of RAM, tables included. */
  readonly ratio: number;
}

/** RAM of a Linux at its shell. */
export async function linuxRam(kernel: string, initrd: string, memoryMiB: number): Promise<Uint8Array> {
  const append = 'console=ttyS0 cryptomgr.notests';
  await using qemu = await Qemu.start({ memoryMiB, kernel: { file: kernel, initrd, append } });
  await qemu.serial.waitFor(/GUEST-READY/, 120_000);
  await qemu.pause();
  return qemu.readMemory(0, memoryMiB << 20);
}

/** What savevm would write: pieces that are not all zero, together. */
export function usedPieces(ram: Uint8Array): Uint8Array {
  const zero = Buffer.alloc(PIECE_BYTES);
  const used: Uint8Array[] = [];
  for (let at = 0; at < ram.length; at += PIECE_BYTES) {
    const piece = ram.subarray(at, at + PIECE_BYTES);
    if (Buffer.compare(piece, zero) !== 0) used.push(piece);
  }
  return Buffer.concat(used);
}

/** `compress` undefined: as it is. */
export async function measure(
  data: Uint8Array,
  clusterBytes: number,
  compress: CompressOptions | undefined,
  reps: number,
): Promise<CompressRow> {
  const folder = mkdtempSync(join(tmpdir(), 'ambervm-bench-'));
  const file = join(folder, 'z.qcow2');
  const saves: number[] = [];
  const loads: number[] = [];
  try {
    for (let rep = 0; rep < reps; rep++) {
      await createQcow2(file, { sizeBytes: 1 << 20, clusterSize: clusterBytes });
      const empty = allocated(file);
      const node = (await openImage(file, { format: 'qcow2' })) as Qcow2;
      saves.push(await seconds(() => save(node, data, compress)));
      loads.push(await seconds(() => load(node, data)));
      await node.close();
      if (rep === reps - 1) {
        const ratio = (allocated(file) - empty) / data.length;
        const rate = (times: number[]): number => data.length / Math.min(...times) / 1e6;
        const workers = compress === undefined ? 0 : (compress.workers ?? availableParallelism());
        const level = compress?.level;
        return { clusterBytes, level, workers, saveRate: rate(saves), loadRate: rate(loads), ratio };
      }
    }
    throw new Error('no repetitions');
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Space for VM state is reserved in large pieces: the file's length says less than its blocks. */
function allocated(file: string): number {
  return statSync(file).blocks * 512;
}

async function seconds(task: () => Promise<void>): Promise<number> {
  const begin = performance.now();
  await task();
  return (performance.now() - begin) / 1000;
}

async function save(node: Qcow2, data: Uint8Array, compress: CompressOptions | undefined): Promise<void> {
  const writer = await node.createVmState(compress && { compress });
  const { clusterBytes } = writer;
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < data.length) {
      const at = next;
      next += WRITE_BYTES;
      await writer.writeClusters(at / clusterBytes, data.subarray(at, Math.min(next, data.length)));
    }
  };
  await Promise.all(Array.from({ length: QUEUE_DEPTH }, lane));
  await writer.commit({ ...META, vmStateBytes: data.length });
}

async function load(node: Qcow2, data: Uint8Array): Promise<void> {
  const handle = await node.openVmState('a');
  const buffer = new Uint8Array(WRITE_BYTES);
  for (let at = 0; at < data.length; at += WRITE_BYTES) {
    const part = buffer.subarray(0, Math.min(WRITE_BYTES, data.length - at));
    await handle.read(at, part);
    if (Buffer.compare(part, data.subarray(at, at + part.length)) !== 0) throw new Error(`wrong at ${at}`);
  }
}

function table(title: string, rows: readonly CompressRow[]): string {
  const lines = [
    `### ${title}`,
    '',
    '| chunk | level | workers | save MB/s | load MB/s | file / RAM |',
    '| ---: | ---: | ---: | ---: | ---: | ---: |',
  ];
  for (const { clusterBytes, level, workers, saveRate, loadRate, ratio } of rows) {
    const kind = workers === 0 ? 'none' : String(level ?? 3);
    const cells = [`${clusterBytes / 1024} KiB`, kind, workers === 0 ? '–' : String(workers)];
    cells.push(saveRate.toFixed(0), loadRate.toFixed(0), ratio.toFixed(3));
    lines.push(`| ${cells.join(' | ')} |`);
  }
  return lines.join('\n');
}

export interface CompressBenchOptions {
  /** File with guest RAM, or kernel and initrd to make it. */
  readonly ram?: string;
  readonly kernel?: string;
  readonly initrd?: string;
  readonly memoryMiB: number;
  readonly reps: number;
}

/** The report as Markdown. */
export async function compressReport(options: CompressBenchOptions): Promise<string> {
  const { ram, kernel, initrd, memoryMiB, reps } = options;
  const memory = ram === undefined ? await linuxRam(kernel!, initrd!, memoryMiB) : readFileSync(ram);
  const data = usedPieces(memory);
  const begin = loadAverage();
  const cores = availableParallelism();
  const chunks: CompressRow[] = [];
  for (const kib of [1, 4, 16, 64]) {
    chunks.push(await measure(data, kib * 1024, undefined, reps));
    chunks.push(await measure(data, kib * 1024, {}, reps));
  }
  const levels: CompressRow[] = [];
  for (const level of [1, 3, 6, 9]) levels.push(await measure(data, PIECE_BYTES, { level }, reps));
  const counts: CompressRow[] = [];
  for (let workers = 1; workers <= cores * 2 && workers <= 16; workers *= 2) {
    counts.push(await measure(data, PIECE_BYTES, { workers }, reps));
  }
  return [
    '## Compressed snapshots',
    '',
    `${(memory.length / 2 ** 20).toFixed(0)} MiB of guest RAM, ${(data.length / 2 ** 20).toFixed(0)} MiB of it in use; ` +
      `${cores} cores (${cpus()[0]?.model.trim() ?? 'unknown'}), Node ${process.version}, ` +
      `load average ${begin.toFixed(1)} at the start; best of ${reps}.`,
    '',
    table('Chunk size', chunks),
    '',
    table('Level', levels),
    '',
    table('Worker threads', counts),
    '',
  ].join('\n');
}
