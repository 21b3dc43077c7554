/** Puts a QMP session on a character back end. A client that does not read gets no more events, and its requests wait. */
import { QmpSession, type QmpSessionOptions } from '../monitor/qmp/session.ts';
import type { CharBackend, CharEvent, CharFrontend } from './chardev/chardev.ts';

/** Output that may wait for the client, bytes; events beyond are lost. */
const MAX_OUTPUT_BYTES = 256 * 1024;

export interface QmpLinkOptions extends Omit<QmpSessionOptions, 'write' | 'onReady'> {
  readonly backend: CharBackend;
}

export class QmpLink implements CharFrontend {
  readonly #backend: CharBackend;
  readonly #session: QmpSession;
  #output: Uint8Array = new Uint8Array(0);

  constructor({ backend, ...options }: QmpLinkOptions) {
    this.#backend = backend;
    this.#session = new QmpSession({
      ...options,
      write: (text) => this.#write(text),
      onReady: () => this.#backend.acceptInput(),
    });
    backend.attach(this);
  }

  #write(text: string): void {
    const isEvent = text.startsWith('{"timestamp"');
    if (isEvent && this.#output.length > MAX_OUTPUT_BYTES) return;
    this.#output = Buffer.concat([this.#output, Buffer.from(`${text}\r\n`)]);
    this.writable();
  }

  writable(): void {
    if (this.#output.length === 0) return;
    this.#output = this.#output.subarray(this.#backend.write(this.#output));
    if (this.#output.length === 0) queueMicrotask(() => this.#backend.acceptInput());
  }

  canReceive(): number {
    return this.#output.length > 0 ? 0 : this.#session.canReceive();
  }

  receive(bytes: Uint8Array): void {
    this.#session.receive(bytes);
  }

  onEvent(event: CharEvent): void {
    if (event === 'opened') this.#session.opened();
    else if (event === 'closed') {
      this.#output = new Uint8Array(0);
      this.#session.closed();
    }
  }
}
