/**
 * VM state as a sequential input: large aligned reads, the next ones in flight while this one is parsed. Bytes left at
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

/** Bytes of a VM state that have been read, for a parser. */
export interface InputWindow {
  /** Bytes [position, end) are there to be parsed. The parser moves `position`. */
  readonly bytes: Uint8Array;
  position: number;
  readonly end: number;
  /** Offset within the VM state of the next byte. */
  readonly offset: number;
  readonly available: number;
  /** No more will come: what is in the window is all there is. */
  readonly atEnd: boolean;
  /** Reads on until `count` bytes are in the window or the VM state ends. */
  fill(count: number): Promise<void>;
  /** All that is left, at most `limit` bytes, in one array; the input is used up then. */
  rest(limit: number): Promise<Uint8Array>;
  /** Waits for reads in flight, whose result nobody wants. */
  close(): Promise<void>;
}

export interface StreamInputOptions {
  /** Bytes a read; a multiple of the image's cluster. */
  readonly chunkBytes?: number;
  /** Sees every chunk before it is parsed, whole and in order (checksums). May throw. */
  readonly onChunk?: (offset: number, bytes: Uint8Array) => void;
  readonly signal?: AbortSignal;
  /** Buffers for reading; page-aligned ones make O_DIRECT possible. Called for each that is in use at a time. */
  readonly allocate?: (bytes: number) => Uint8Array;
  /** Takes them back; called by {@link StreamInput.close}. */
  readonly release?: (buffer: Uint8Array) => void;
}

/** Room for what is carried over: more than the longest record. */
const CARRY_BYTES = 64 * 1024;
const DEFAULT_CHUNK_BYTES = 2 << 20;
/** Reads in flight: the next begins when one has completed and its bytes are parsed. */
const READS_AHEAD = 2;

interface Ahead {
  readonly buffer: Uint8Array;
  readonly offset: number;
  readonly length: number;
  readonly done: Promise<void>;
}

export class StreamInput implements InputWindow {
  bytes: Uint8Array;
  position: number;
  end: number;
  readonly #source: VmStateSource;
  readonly #chunkBytes: number;
  readonly #options: StreamInputOptions;
  /** Offset in the VM state of the chunk that the window ends with, and its place in the buffer. */
  #chunkOffset = 0;
  #spare: Uint8Array | undefined;
  #nextOffset = 0;
  /** In the order of their offsets. */
  readonly #ahead: Ahead[] = [];
  readonly #allocate: (bytes: number) => Uint8Array;

  constructor(source: VmStateSource, options: StreamInputOptions = {}) {
    this.#source = source;
    this.#options = options;
    this.#chunkBytes = Math.min(options.chunkBytes ?? DEFAULT_CHUNK_BYTES, Math.max(source.sizeBytes, 1));
    this.#allocate = options.allocate ?? ((bytes: number) => new Uint8Array(bytes));
    this.bytes = this.#buffer();
    this.position = CARRY_BYTES;
    this.end = CARRY_BYTES;
  }

  get offset(): number {
    return this.#chunkOffset + this.position - CARRY_BYTES;
  }

  get available(): number {
    return this.end - this.position;
  }

  get atEnd(): boolean {
    return this.#ahead.length === 0 && this.#nextOffset >= this.#source.sizeBytes;
  }

  async fill(count: number): Promise<void> {
    assert(count <= CARRY_BYTES, `${count} bytes fit the carry-over`);
    while (this.available < count && !this.atEnd) await this.#advance();
  }

  async rest(limit: number): Promise<Uint8Array> {
    const total = this.#source.sizeBytes - this.offset;
    if (total > limit) throw tooLong(this.offset, limit, total);
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

  /** Gives the buffers back, too. */
  async close(): Promise<void> {
    const { release } = this.#options;
    await Promise.all(this.#ahead.map(({ done }) => done.catch(() => undefined)));
    for (const { buffer } of this.#ahead) release?.(buffer);
    this.#ahead.length = 0;
    this.#nextOffset = this.#source.sizeBytes;
    release?.(this.bytes);
    if (this.#spare !== undefined) release?.(this.#spare);
    this.#spare = undefined;
  }

  #buffer(): Uint8Array {
    return this.#allocate(CARRY_BYTES + this.#chunkBytes);
  }

  async #advance(): Promise<void> {
    this.#options.signal?.throwIfAborted();
    this.#readAhead();
    const next = this.#ahead[0]!;
    await next.done;
    this.#ahead.shift();
    const left = this.available;
    assert(left <= CARRY_BYTES, 'the parser left less than a record');
    const filled = next.buffer;
    filled.set(this.bytes.subarray(this.position, this.end), CARRY_BYTES - left);
    this.#spare = this.bytes;
    this.bytes = filled;
    this.position = CARRY_BYTES - left;
    this.end = CARRY_BYTES + next.length;
    this.#chunkOffset = next.offset;
    this.#readAhead();
    this.#options.onChunk?.(next.offset, filled.subarray(CARRY_BYTES, this.end));
  }

  #readAhead(): void {
    while (this.#ahead.length < READS_AHEAD && this.#nextOffset < this.#source.sizeBytes) {
      const buffer = this.#spare ?? this.#buffer();
      this.#spare = undefined;
      const offset = this.#nextOffset;
      const length = Math.min(this.#chunkBytes, this.#source.sizeBytes - offset);
      this.#nextOffset += length;
      const done = readChunk(this.#source, offset, buffer.subarray(CARRY_BYTES, CARRY_BYTES + length));
      // A failure is reported when the chunk is asked for; until then it is no unhandled rejection.
      done.catch(() => undefined);
      this.#ahead.push({ buffer, offset, length, done });
    }
  }
}

export async function readChunk(source: VmStateSource, offset: number, target: Uint8Array): Promise<void> {
  try {
    await source.read(offset, target);
  } catch (cause) {
    throw new MigrationError('io', 'Could not read the VM state', { offset, cause });
  }
}

export function tooLong(offset: number, limit: number, found: number): MigrationError {
  return new MigrationError('limit', 'The device part of the VM state is too large', {
    offset,
    expected: `at most ${limit} bytes`,
    found,
  });
}
