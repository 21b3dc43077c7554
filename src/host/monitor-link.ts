/** Puts a monitor session on a character back end: line ends, and output that waits for a slow reader. */
import type { Hmp } from '../monitor/hmp.ts';
import { MonitorSession } from '../monitor/session.ts';
import type { CharBackend, CharEvent, CharFrontend } from './chardev/chardev.ts';

export interface MonitorLinkOptions {
  readonly hmp: Hmp;
  readonly version: string;
  readonly backend: CharBackend;
  readonly muxed: boolean;
  readonly onFault: (error: unknown) => void;
}

export class MonitorLink implements CharFrontend {
  readonly #backend: CharBackend;
  readonly #session: MonitorSession;
  /** What the back end did not take yet; no command is read before it is gone. */
  #output: Uint8Array = new Uint8Array(0);

  constructor({ backend, ...options }: MonitorLinkOptions) {
    this.#backend = backend;
    this.#session = new MonitorSession({
      ...options,
      write: (text) => this.#write(text),
      onReady: () => this.#backend.acceptInput(),
    });
    backend.attach(this);
  }

  #write(text: string): void {
    this.#output = Buffer.concat([this.#output, Buffer.from(text.replaceAll('\n', '\r\n'))]);
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
    else if (event === 'focus') this.#session.focus();
    else if (event === 'blur') this.#session.blur();
    else if (event === 'closed') this.#output = new Uint8Array(0);
  }
}
