/** Puts a monitor session on a character back end: line ends, and commands that wait for a slow reader. */
import type { Hmp } from '../monitor/hmp.ts';
import { MonitorSession } from '../monitor/session.ts';
import type { CharBackend, CharEvent, CharFrontend } from './chardev/chardev.ts';
import { PendingOutput } from './pending-output.ts';

export interface MonitorLinkOptions {
  readonly hmp: Hmp;
  readonly version: string;
  readonly backend: CharBackend;
  readonly muxed: boolean;
  readonly onFault: (error: unknown) => void;
}

export class MonitorLink implements CharFrontend {
  readonly #session: MonitorSession;
  readonly #output: PendingOutput;

  constructor({ backend, ...options }: MonitorLinkOptions) {
    this.#output = new PendingOutput(backend);
    this.#session = new MonitorSession({
      ...options,
      write: (text) => this.#output.write(text.replaceAll('\n', '\r\n')),
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
    else if (event === 'focus') this.#session.focus();
    else if (event === 'blur') this.#session.blur();
    else if (event === 'closed') this.#output.clear();
  }
}
