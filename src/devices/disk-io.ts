/**
 * One disk request at a time, cancellable. A backend cannot take a request back: a cancelled one (soft reset, bus
 * master stopped) runs to its end unheard, and the next one waits for that, so that a write given up on can never
 * land after a later one.
 */
import type { DiskBackend } from '../machine/device.ts';

/** Bytes that one request may have: 128 KiB, and what a packet reply of 65534 bytes in raw sectors needs. */
export const REQUEST_BYTES = 256 * 512;

type Done = (error: Error | undefined) => void;
type Kind = 'read' | 'write' | 'flush' | 'discard';

export class DiskIo {
  readonly disk: DiskBackend;
  /** Where a read's data arrive and a write's data are put before {@link write}. Replaced by {@link cancel}. */
  buffer: Uint8Array = new Uint8Array(REQUEST_BYTES);
  /** False: every write is followed by a flush (SET FEATURES 0x82). */
  writeCache = true;
  #inFlight = false;
  #done: Done | undefined;
  #kind: Kind = 'flush';
  #offset = 0;
  #length = 0;
  /** The next request (kind, place and done above) waits for the end of a cancelled one. */
  #waiting = false;
  readonly #onEnd = (error?: Error): void => this.#ended(error);
  readonly #onWritten = (error?: Error): void => {
    if (error !== undefined || this.#done === undefined || this.#waiting) this.#ended(error);
    else this.disk.flush(this.#onEnd);
  };

  constructor(disk: DiskBackend) {
    this.disk = disk;
  }

  /** True while someone waits for an answer. */
  get active(): boolean {
    return this.#done !== undefined;
  }

  /** Reads `length` bytes (at most {@link REQUEST_BYTES}) at byte `offset` into {@link buffer}. */
  read(offset: number, length: number, done: Done): void {
    this.#submit('read', offset, length, done);
  }

  write(offset: number, length: number, done: Done): void {
    this.#submit('write', offset, length, done);
  }

  flush(done: Done): void {
    this.#submit('flush', 0, 0, done);
  }

  /** Only where the disk has it. `length` may be more than {@link REQUEST_BYTES}. */
  discard(offset: number, length: number, done: Done): void {
    this.#submit('discard', offset, length, done);
  }

  /** Nobody waits for the request any more. Its buffer stays its own. */
  cancel(): void {
    this.#done = undefined;
    this.#waiting = false;
    if (this.#inFlight) this.buffer = new Uint8Array(REQUEST_BYTES);
  }

  #submit(kind: Kind, offset: number, length: number, done: Done): void {
    this.#kind = kind;
    this.#offset = offset;
    this.#length = length;
    this.#done = done;
    if (this.#inFlight) this.#waiting = true;
    else this.#start();
  }

  #start(): void {
    this.#inFlight = true;
    this.#waiting = false;
    if (this.#kind === 'discard') {
      this.disk.discard!(this.#offset, this.#length, this.#onEnd);
      return;
    }
    const data = this.buffer.subarray(0, this.#length);
    if (this.#kind === 'read') this.disk.read(this.#offset, data, this.#onEnd);
    else if (this.#kind === 'flush') this.disk.flush(this.#onEnd);
    else this.disk.write(this.#offset, data, this.writeCache ? this.#onEnd : this.#onWritten);
  }

  #ended(error: Error | undefined): void {
    this.#inFlight = false;
    if (this.#waiting) {
      this.#start();
      return;
    }
    const done = this.#done;
    this.#done = undefined;
    done?.(error);
  }
}
