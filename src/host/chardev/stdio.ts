/** Standard input and output of the process: raw if a terminal. End of input leaves the machine running, as in QEMU. */
import { rawTerminal, restoreTerminal } from '../terminal.ts';
import { type CharBackend, CharDeviceError, type CharFrontend, InputQueue, OUTPUT_LIMIT } from './chardev.ts';

const CTRL_C = 3;
let isTaken = false;

export class StdioChardev implements CharBackend {
  readonly filename: string = 'stdio';
  readonly #input: InputQueue;
  readonly #signals: boolean;
  #frontend: CharFrontend | undefined;
  /** The front end has more, and waits to be asked for it. */
  #wasRefused = false;
  #isClosed = false;

  /** `signals`: Ctrl-C ends us; otherwise it goes to the guest. */
  constructor({ signals }: { signals: boolean }) {
    if (isTaken) throw new CharDeviceError('cannot use stdio by multiple character devices');
    isTaken = true;
    this.#signals = signals;
    const { stdin, stdout } = process;
    this.#input = new InputQueue(
      () => stdin.pause(),
      () => stdin.resume(),
    );
    rawTerminal();
    // The reader of our output is gone (`| head`): nothing more to say to it, but the machine runs on.
    stdout.on('error', () => {});
    stdin.on('error', () => {});
  }

  attach(frontend: CharFrontend): void {
    this.#frontend = frontend;
    this.#input.frontend = frontend;
    process.stdin.on('data', this.#onData);
    frontend.onEvent?.('opened');
  }

  readonly #onData = (chunk: Uint8Array | string): void => {
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
    if (this.#signals && process.stdin.isTTY && bytes.includes(CTRL_C)) {
      process.kill(process.pid, 'SIGINT');
      return;
    }
    this.#input.push(bytes);
  };

  write(bytes: Uint8Array): number {
    const { stdout } = process;
    if (stdout.destroyed || !stdout.writable) return bytes.length;
    const count = Math.max(0, Math.min(bytes.length, OUTPUT_LIMIT - stdout.writableLength));
    if (count < bytes.length) this.#wasRefused = true;
    if (count > 0) stdout.write(bytes.slice(0, count), this.#written);
    return count;
  }

  // Not 'drain': what the host takes at once is followed by none, though something was refused.
  readonly #written = (): void => {
    if (!this.#wasRefused) return;
    this.#wasRefused = false;
    this.#frontend?.writable?.();
  };

  acceptInput(): void {
    this.#input.deliver();
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    isTaken = false;
    process.stdin.off('data', this.#onData);
    process.stdin.pause();
    restoreTerminal();
    await flushed(process.stdout);
  }
}

/** Longest wait for a reader that does not read, ms. */
const FLUSH_MS = 500;

/** Resolves when what was written before has left the process, or the reader is too slow. */
export function flushed(stream: NodeJS.WriteStream): Promise<void> {
  if (stream.destroyed || stream.writableLength === 0) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, FLUSH_MS);
    stream.write('', () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
