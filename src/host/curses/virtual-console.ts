/**
 * A `vc`: a character back end that the terminal shows while it is chosen. Its bytes go to the terminal as they are, and
 * what was printed before is printed again, so the terminal itself does what control sequences ask for.
 */
import { type CharBackend, type CharFrontend, InputQueue } from '../chardev/chardev.ts';

/** Kept to be shown again, bytes. */
const HISTORY_BYTES = 64 * 1024;
/** Input that the front end has not taken; more is dropped. */
const INPUT_LIMIT = 4096;

export class VirtualConsole implements CharBackend {
  readonly filename: string = 'vc';
  /** Where it is shown, while it is; gives how many bytes were taken. */
  shown: ((bytes: Uint8Array) => number) | undefined;
  readonly label: string;
  #history: Buffer = Buffer.alloc(0);
  #frontend: CharFrontend | undefined;
  readonly #input = new InputQueue();

  constructor(label: string) {
    this.label = label;
  }

  get history(): Buffer {
    return this.#history;
  }

  attach(frontend: CharFrontend): void {
    this.#frontend = frontend;
    this.#input.frontend = frontend;
    frontend.onEvent?.('opened');
  }

  write(bytes: Uint8Array): number {
    const taken = this.shown === undefined ? bytes.length : this.shown(bytes);
    this.#history = Buffer.concat([this.#history, bytes.subarray(0, taken)]).subarray(-HISTORY_BYTES);
    return taken;
  }

  /** There is room again, or nobody looks any more. */
  writable(): void {
    this.#frontend?.writable?.();
  }

  type(bytes: Uint8Array): void {
    this.#input.offer(bytes, INPUT_LIMIT);
  }

  acceptInput(): void {
    this.#input.deliver();
  }

  async close(): Promise<void> {}
}
