/**
 * Connects a serial port of the machine to a character back end. Output is gathered and handed on in lumps; when the
 * back end is full the port is told to wait, so nothing is lost.
 */
import type { CharReceiver, CharSink } from '../machine/device.ts';
import type { CharBackend, CharEvent, CharFrontend } from './chardev/chardev.ts';

const BUFFER_BYTES = 4096;

export class SerialLink implements CharSink, CharFrontend {
  onWritable: (() => void) | undefined;
  readonly #backend: CharBackend;
  readonly #buffer = new Uint8Array(BUFFER_BYTES);
  #length = 0;
  #isScheduled = false;
  #isRefused = false;
  #receiver: CharReceiver | undefined;
  #wake: () => void = () => {};

  constructor(backend: CharBackend) {
    this.#backend = backend;
  }

  /** Once the machine exists. `wake`: the CPU may have something to do. */
  connect(receiver: CharReceiver, wake: () => void): void {
    this.#receiver = receiver;
    this.#wake = wake;
    // The guest reads its FIFO in the middle of a slice; the next bytes come between slices.
    receiver.onReady = () => setImmediate(() => this.#backend.acceptInput());
  }

  // ---- from the guest

  write(byte: number): boolean {
    if (this.#length === BUFFER_BYTES) this.#flush();
    if (this.#length === BUFFER_BYTES) {
      this.#isRefused = true;
      return false;
    }
    this.#buffer[this.#length++] = byte;
    if (!this.#isScheduled) {
      this.#isScheduled = true;
      setImmediate(this.#flushLater);
    }
    return true;
  }

  readonly #flushLater = (): void => {
    this.#isScheduled = false;
    this.#flush();
  };

  #flush(): void {
    if (this.#length === 0) return;
    const taken = this.#backend.write(this.#buffer.subarray(0, this.#length));
    this.#buffer.copyWithin(0, taken, this.#length);
    this.#length -= taken;
  }

  /** Hands on what is gathered, before the end. */
  finish(): void {
    this.#flush();
  }

  // ---- from the host

  writable(): void {
    this.#flush();
    if (!this.#isRefused || this.#length === BUFFER_BYTES) return;
    this.#isRefused = false;
    this.onWritable?.();
    this.#wake();
  }

  canReceive(): number {
    return this.#receiver?.canReceive() ?? 0;
  }

  receive(bytes: Uint8Array): void {
    for (const byte of bytes) this.#receiver?.receive(byte);
    this.#wake();
  }

  onEvent(event: CharEvent): void {
    if (event !== 'break') return;
    this.#receiver?.receiveBreak();
    this.#wake();
  }
}
