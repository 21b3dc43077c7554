/** Back ends without a peer: null, file, ring buffer. */
import { closeSync, openSync, writeSync } from 'node:fs';
import { type CharBackend, CharDeviceError, type CharFrontend } from './chardev.ts';
import { reasonOf } from './reason.ts';

/** Takes everything, says nothing. */
export class NullChardev implements CharBackend {
  readonly filename: string = 'null';
  attach(): void {}
  write(bytes: Uint8Array): number {
    return bytes.length;
  }
  acceptInput(): void {}
  async close(): Promise<void> {}
}

/** Output to a file. Written at once: a log must be whole even if the process is killed. */
export class FileChardev implements CharBackend {
  readonly filename: string = 'file';
  #fd: number | undefined;

  constructor(path: string, append: boolean) {
    try {
      this.#fd = openSync(path, append ? 'a' : 'w');
    } catch (cause) {
      throw new CharDeviceError(`Could not open '${path}': ${reasonOf(cause)}`, cause);
    }
  }

  attach(frontend: CharFrontend): void {
    frontend.onEvent?.('opened');
  }

  write(bytes: Uint8Array): number {
    if (this.#fd === undefined) return bytes.length;
    let written = 0;
    try {
      while (written < bytes.length) written += writeSync(this.#fd, bytes, written);
    } catch {
      // A full disk must not stop the guest; a real serial line loses bytes, too.
      return bytes.length;
    }
    return written;
  }

  acceptInput(): void {}

  async close(): Promise<void> {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }
}

/** Keeps the last `size` bytes for `ringbuf_read`. */
export class RingBufferChardev implements CharBackend {
  readonly filename: string = 'ringbuf';
  readonly #bytes: Uint8Array;
  #written = 0;
  #read = 0;

  constructor(size = 65_536) {
    this.#bytes = new Uint8Array(size);
  }

  attach(frontend: CharFrontend): void {
    frontend.onEvent?.('opened');
  }

  write(bytes: Uint8Array): number {
    for (const byte of bytes) this.#bytes[this.#written++ % this.#bytes.length] = byte;
    this.#read = Math.max(this.#read, this.#written - this.#bytes.length);
    return bytes.length;
  }

  /** Takes out up to `count` bytes, oldest first. */
  take(count: number): Uint8Array {
    const length = Math.min(count, this.#written - this.#read);
    return Uint8Array.from({ length }, () => this.#bytes[this.#read++ % this.#bytes.length]!);
  }

  acceptInput(): void {}
  async close(): Promise<void> {}
}
