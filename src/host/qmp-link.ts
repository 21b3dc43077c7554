/** Puts a QMP session on a character back end. A client that does not read gets no more events, and its requests wait. */
import { QmpSession, type QmpSessionOptions } from '../monitor/qmp/session.ts';
import type { CharBackend, CharEvent, CharFrontend } from './chardev/chardev.ts';
import { PendingOutput } from './pending-output.ts';

/** Output that may wait for the client, bytes; events beyond are lost. */
const MAX_OUTPUT_BYTES = 256 * 1024;

export interface QmpLinkOptions extends Omit<QmpSessionOptions, 'write' | 'onReady'> {
  readonly backend: CharBackend;
}

export class QmpLink implements CharFrontend {
  readonly #session: QmpSession;
  readonly #output: PendingOutput;

  constructor({ backend, ...options }: QmpLinkOptions) {
    this.#output = new PendingOutput(backend);
    this.#session = new QmpSession({
      ...options,
      write: (text, isEvent) => {
        if (!isEvent || this.#output.length <= MAX_OUTPUT_BYTES) this.#output.write(`${text}\r\n`);
      },
      onReady: () => backend.acceptInput(),
    });
    backend.attach(this);
  }

  writable(): void {
    this.#output.flush();
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
      this.#output.clear();
      this.#session.closed();
    }
  }
}
