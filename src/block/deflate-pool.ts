/**
 * Compresses clusters in worker threads, as qcow2 wants them: raw deflate with a 4 KiB window (zlib's window bits -12), or
 * zstd. The main thread copies clusters into a buffer, hands the buffer over and gets it back; it never compresses.
 *
 * Clusters that would not get at least a sixteenth smaller are left as they are: reading those raw costs nothing.
 */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import * as zlib from 'node:zlib';

export type CompressionMethod = 'zlib' | 'zstd';

/** Bytes handed to a worker at a time, rounded to whole clusters: long enough that messages cost nothing. */
export const BATCH_BYTES = 128 * 1024;
/** Batches under way for each worker: one that it works on and one that waits. */
const BATCHES_A_WORKER = 2;
const MAX_WORKERS = 16;
/** Of 1 … 9: half again as quick as zlib's default 6 for 2 % more bytes (bench/snapshot/compress.ts). */
const DEFAULT_LEVEL = 3;
/** zstd's own default. */
const DEFAULT_ZSTD_LEVEL = 3;

/** Runs in the worker. A text, so that it is the same in dist, under tsx and in tests, without a file to be found. */
const WORKER_PROGRAM = `
const { parentPort, workerData } = require('node:worker_threads');
const zlib = require('node:zlib');
const { method, level } = workerData;
const deflate = (cluster) => zlib.deflateRawSync(cluster, { windowBits: 12, memLevel: 9, level });
const zstd = (cluster) =>
  zlib.zstdCompressSync(cluster, { params: { [zlib.constants.ZSTD_c_compressionLevel]: level } });
const compress = method === 'zstd' ? zstd : deflate;
parentPort.on('message', ({ buffer, bytes, clusterBytes }) => {
  const lengths = new Uint32Array(bytes / clusterBytes);
  const limit = clusterBytes - Math.floor(clusterBytes / 16);
  const all = new Uint8Array(buffer);
  let end = 0;
  for (let i = 0; i < lengths.length; i++) {
    const packed = compress(all.subarray(i * clusterBytes, (i + 1) * clusterBytes));
    if (packed.length > limit) continue;
    // What is overwritten was compressed already.
    all.set(packed, end);
    end += packed.length;
    lengths[i] = packed.length;
  }
  parentPort.postMessage({ buffer, lengths }, [buffer, lengths.buffer]);
});
`;

/** Clusters compressed one after the other. */
export interface CompressedBatch {
  /** Bytes of each cluster; 0: it did not get smaller. */
  readonly lengths: Uint32Array;
  /** The compressed ones, back to back; valid until {@link DeflatePool.release}. */
  readonly data: Uint8Array;
}

export interface DeflatePoolOptions {
  readonly method?: CompressionMethod;
  /** Default: one for each core, at most 16. */
  readonly workers?: number;
  readonly level?: number;
}

interface Task {
  readonly resolve: (batch: CompressedBatch) => void;
  readonly reject: (error: Error) => void;
}

interface Lane {
  readonly worker: Worker;
  /** Oldest first: a worker answers in order. */
  readonly tasks: Task[];
}

/** Whether this Node compresses by that method. */
export function canCompress(method: CompressionMethod): boolean {
  return method === 'zlib' || 'zstdCompressSync' in zlib;
}

export class DeflatePool {
  readonly #workerData: { readonly method: CompressionMethod; readonly level: number };
  readonly #maxWorkers: number;
  /** Started when there is something to do for one more. */
  readonly #lanes: Lane[] = [];
  readonly #waiting: (() => void)[] = [];
  readonly #buffers: ArrayBuffer[] = [];
  #error: Error | undefined;

  constructor({ method = 'zlib', workers = availableParallelism(), level }: DeflatePoolOptions = {}) {
    this.#workerData = { method, level: level ?? (method === 'zstd' ? DEFAULT_ZSTD_LEVEL : DEFAULT_LEVEL) };
    this.#maxWorkers = Math.max(1, Math.min(workers, MAX_WORKERS));
  }

  #addLane(): Lane {
    const worker = new Worker(WORKER_PROGRAM, { eval: true, workerData: this.#workerData, execArgv: [] });
    const lane: Lane = { worker, tasks: [] };
    this.#lanes.push(lane);
    worker.on('message', ({ buffer, lengths }: { buffer: ArrayBuffer; lengths: Uint32Array }) => {
      lane.tasks.shift()!.resolve({ lengths, data: new Uint8Array(buffer) });
      this.#waiting.shift()?.();
    });
    worker.on('error', (error) => this.#fail(error instanceof Error ? error : new Error(String(error))));
    return lane;
  }

  /** Takes a copy of `data`, whole clusters; waits while too much is under way. */
  async compress(data: Uint8Array, clusterBytes: number): Promise<CompressedBatch> {
    let lane = this.#freeLane();
    while (lane === undefined && this.#error === undefined) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
      lane = this.#freeLane();
    }
    if (this.#error !== undefined || lane === undefined) throw this.#error;
    const kept = this.#buffers.pop();
    const buffer =
      kept !== undefined && kept.byteLength >= data.length
        ? kept
        : new ArrayBuffer(Math.max(data.length, BATCH_BYTES));
    new Uint8Array(buffer).set(data);
    const { tasks, worker } = lane;
    return new Promise((resolve, reject) => {
      tasks.push({ resolve, reject });
      worker.postMessage({ buffer, bytes: data.length, clusterBytes }, [buffer]);
    });
  }

  /** The batch's buffer may be used again. */
  release(batch: CompressedBatch): void {
    this.#buffers.push(batch.data.buffer as ArrayBuffer);
  }

  async close(): Promise<void> {
    this.#fail(new Error('compression was given up'));
    await Promise.all(this.#lanes.map(({ worker }) => worker.terminate()));
  }

  /** The one with the least to do, if it may have more. */
  #freeLane(): Lane | undefined {
    if (this.#error !== undefined) return undefined;
    let lane: Lane | undefined;
    for (const each of this.#lanes) {
      if (lane === undefined || each.tasks.length < lane.tasks.length) lane = each;
    }
    if (lane === undefined || (lane.tasks.length > 0 && this.#lanes.length < this.#maxWorkers)) {
      return this.#addLane();
    }
    return lane.tasks.length < BATCHES_A_WORKER ? lane : undefined;
  }

  #fail(error: Error): void {
    this.#error ??= error;
    for (const { tasks } of this.#lanes) for (const { reject } of tasks.splice(0)) reject(this.#error);
    for (const wake of this.#waiting.splice(0)) wake();
  }
}
