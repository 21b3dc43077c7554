/** Output of a monitor on its way to a reader that may be slow. While any waits, no input is taken. */
import type { CharBackend } from './chardev/chardev.ts';

export class PendingOutput {
  readonly #backend: CharBackend;
  #bytes: Uint8Array = new Uint8Array(0);

  constructor(backend: CharBackend) {
    this.#backend = backend;
  }

  /** Bytes that the back end did not take yet. */
  get length(): number {
    return this.#bytes.length;
  }

  write(text: string): void {
    this.#bytes = Buffer.concat([this.#bytes, Buffer.from(text)]);
    this.flush();
  }

  /** The back end has room. */
  flush(): void {
    if (this.#bytes.length === 0) return;
    this.#bytes = this.#bytes.subarray(this.#backend.write(this.#bytes));
    if (this.#bytes.length === 0) queueMicrotask(() => this.#backend.acceptInput());
  }

  /** The reader has gone. */
  clear(): void {
    this.#bytes = new Uint8Array(0);
  }
}
