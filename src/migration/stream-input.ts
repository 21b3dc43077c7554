/**
 * VM state as a sequential input: large aligned reads, the next one in flight while this one is parsed. Bytes left at
 * the end of a chunk are carried over in front of the next, so that a record is always contiguous.
 */
import { assert, MigrationError } from './errors.ts';

/** Where VM state is read from: a snapshot's VM state area, a file, memory. */
export interface VmStateSource {
  /** Bytes of VM state. */
  readonly sizeBytes: number;
  /** Fills `target` from `offset`. */
  read(offset: number, target: Uint8Array): Promise<void>;
}

export interface StreamInputOptions {
  /** Bytes a read; a multiple of the image's cluster. */
  readonly chunkBytes?: number;
  /** Sees every chunk before it is parsed, whole and in order (checksums). May throw. */
  readonly onChunk?: (offset: number, bytes: Uint8Array) => void;
  readonly signal?: AbortSignal;
  /** Buffers for reading; page-aligned ones make O_DIRECT possible. Called twice. */
  readonly allocate?: (bytes: number) => Uint8Array;
  /** Takes them back; called by {@link StreamInput.close}. */
  readonly release?: (buffer: Uint8Array) => void;
}

/** Room for what is carried over: more than the longest record. */
const CARRY_BYTES = 64 * 1024;
const DEFAULT_CHUNK_BYTES = 2 << 20;

export class StreamInput {
  /** Window: bytes [position, end) are there to be parsed. The parser moves `position`. */
  bytes: Uint8Array;
  position: number;
  end: number;
  readonly #source: VmStateSource;
  readonly #chunkBytes: number;
  readonly #options: StreamInputOptions;
  /** Offset in the VM state of the chunk that the window ends with, and its place in the buffer. */
  #chunkOffset = 0;
  #spare: Uint8Array;
  #nextOffset = 0;
  #pending: Promise<number> | undefined;

  constructor(source: VmStateSource, options: StreamInputOptions = {}) {
    this.#source = source;
    this.#options = options;
    this.#chunkBytes = Math.min(options.chunkBytes ?? DEFAULT_CHUNK_BYTES, Math.max(source.sizeBytes, 1));
    const allocate = options.allocate ?? ((bytes: number) => new Uint8Array(bytes));
    this.bytes = allocate(CARRY_BYTES + this.#chunkBytes);
    this.#spare = allocate(CARRY_BYTES + this.#chunkBytes);
    this.position = CARRY_BYTES;
    this.end = CARRY_BYTES;
  }

  /** Offset within the VM state of the next byte. */
  get offset(): number {
    return this.#chunkOffset + this.position - CARRY_BYTES;
  }

  get available(): number {
    return this.end - this.position;
  }

  /** No more chunks: what is in the window is all there is. */
  get atEnd(): boolean {
    return this.#pending === undefined && this.#nextOffset >= this.#source.sizeBytes;
  }

  /** Reads on until `count` bytes are in the window or the VM state ends. */
  async fill(count: number): Promise<void> {
    assert(count <= CARRY_BYTES, `${count} bytes fit the carry-over`);
    while (this.available < count && !this.atEnd) await this.#advance();
  }

  /** All that is left, at most `limit` bytes, in one array; the input is used up then. */
  async rest(limit: number): Promise<Uint8Array> {
    const total = this.#source.sizeBytes - this.offset;
    if (total > limit) {
      throw new MigrationError('limit', 'The device part of the VM state is too large', {
        offset: this.offset,
        expected: `at most ${limit} bytes`,
        found: total,
      });
    }
    const whole = new Uint8Array(total);
    let done = 0;
    for (;;) {
      whole.set(this.bytes.subarray(this.position, this.end), done);
      done += this.available;
      this.position = this.end;
      if (this.atEnd) return whole;
      await this.#advance();
    }
  }

  /** Waits for a read in flight, whose result nobody wants, and gives the buffers back. */
  async close(): Promise<void> {
    await this.#pending?.catch(() => 0);
    this.#pending = undefined;
    const { release } = this.#options;
    release?.(this.bytes);
    release?.(this.#spare);
  }

  async #advance(): Promise<void> {
    this.#options.signal?.throwIfAborted();
    const length = await (this.#pending ?? this.#start());
    this.#pending = undefined;
    const left = this.available;
    assert(left <= CARRY_BYTES, 'the parser left less than a record');
    const filled = this.#spare;
    filled.set(this.bytes.subarray(this.position, this.end), CARRY_BYTES - left);
    this.#spare = this.bytes;
    this.bytes = filled;
    this.position = CARRY_BYTES - left;
    this.end = CARRY_BYTES + length;
    this.#chunkOffset = this.#nextOffset - length;
    if (this.#nextOffset < this.#source.sizeBytes) {
      this.#pending = this.#start();
      // A failure is reported when the chunk is asked for; until then it is no unhandled rejection.
      this.#pending.catch(() => 0);
    }
    this.#options.onChunk?.(this.#chunkOffset, filled.subarray(CARRY_BYTES, this.end));
  }

  async #start(): Promise<number> {
    const offset = this.#nextOffset;
    const length = Math.min(this.#chunkBytes, this.#source.sizeBytes - offset);
    this.#nextOffset = offset + length;
    try {
      await this.#source.read(offset, this.#spare.subarray(CARRY_BYTES, CARRY_BYTES + length));
    } catch (cause) {
      throw new MigrationError('io', 'Could not read the VM state', { offset, cause });
    }
    return length;
  }
}
