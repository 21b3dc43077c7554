/**
 * VM state read into one piece of memory, several large reads in flight and the parser behind them. What was parsed stays where it
 * is: pages are put in place from there when all of it is known to be good.
 */
import {
  type InputWindow,
  readChunk,
  type StreamInputOptions,
  tooLong,
  type VmStateSource,
} from './stream-input.ts';

const DEFAULT_CHUNK_BYTES = 4 << 20;
const READS_AHEAD = 4;

export type WholeInputOptions = Pick<StreamInputOptions, 'chunkBytes' | 'onChunk' | 'signal' | 'allocate'>;

export class WholeInput implements InputWindow {
  /** Byte n of the VM state at n, up to `end`. */
  readonly bytes: Uint8Array;
  position = 0;
  end = 0;
  readonly #source: VmStateSource;
  readonly #options: WholeInputOptions;
  readonly #chunkBytes: number;
  /** Lengths of the reads in flight, in order. */
  readonly #ahead: { readonly length: number; readonly done: Promise<void> }[] = [];
  #nextOffset = 0;

  constructor(source: VmStateSource, options: WholeInputOptions = {}) {
    this.#source = source;
    this.#options = options;
    this.#chunkBytes = options.chunkBytes ?? DEFAULT_CHUNK_BYTES;
    this.bytes = options.allocate?.(source.sizeBytes) ?? new Uint8Array(source.sizeBytes);
  }

  get offset(): number {
    return this.position;
  }

  get available(): number {
    return this.end - this.position;
  }

  get atEnd(): boolean {
    return this.end >= this.#source.sizeBytes;
  }

  async fill(count: number): Promise<void> {
    while (this.available < count && !this.atEnd) await this.#advance();
  }

  async rest(limit: number): Promise<Uint8Array> {
    const total = this.#source.sizeBytes - this.position;
    if (total > limit) throw tooLong(this.position, limit, total);
    while (!this.atEnd) await this.#advance();
    const rest = this.bytes.subarray(this.position, this.end);
    this.position = this.end;
    return rest;
  }

  async close(): Promise<void> {
    await Promise.all(this.#ahead.map(({ done }) => done.catch(() => undefined)));
    this.#ahead.length = 0;
  }

  async #advance(): Promise<void> {
    const { onChunk, signal } = this.#options;
    signal?.throwIfAborted();
    this.#readAhead();
    const { done, length } = this.#ahead[0]!;
    await done;
    this.#ahead.shift();
    this.#readAhead();
    const start = this.end;
    this.end += length;
    onChunk?.(start, this.bytes.subarray(start, this.end));
  }

  #readAhead(): void {
    const { sizeBytes } = this.#source;
    while (this.#ahead.length < READS_AHEAD && this.#nextOffset < sizeBytes) {
      const offset = this.#nextOffset;
      const length = Math.min(this.#chunkBytes, sizeBytes - offset);
      this.#nextOffset += length;
      const done = readChunk(this.#source, offset, this.bytes.subarray(offset, offset + length));
      // A failure is reported when the chunk is asked for; until then it is no unhandled rejection.
      done.catch(() => undefined);
      this.#ahead.push({ length, done });
    }
  }
}
