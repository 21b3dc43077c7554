/**
 * A pseudo-terminal of its own, through the optional package node-pty. Only its bare `native.open` is used: the public
 * `open()` reads its own slave. Raw mode comes from stty, because libuv's raw mode keeps ONLCR and would turn the
 * client's newlines into CR LF. The slave stays open so that clients may come and go.
 */
import { execFileSync } from 'node:child_process';
import { closeSync, writeSync } from 'node:fs';
import { ReadStream } from 'node:tty';
import { type CharBackend, CharDeviceError, type CharFrontend, InputQueue } from './chardev.ts';
import { reasonOf } from './reason.ts';

interface NativePty {
  open(
    columns: number,
    rows: number,
  ): { readonly master: number; readonly slave: number; readonly pty: string };
}

/** Undefined where node-pty is not installed or was not built. */
export async function loadNativePty(): Promise<NativePty | undefined> {
  try {
    const name = 'node-pty';
    const module = (await import(name)) as { native?: NativePty; default?: { native?: NativePty } };
    return module.native ?? module.default?.native;
  } catch {
    return undefined;
  }
}

export class PtyChardev implements CharBackend {
  /** `/dev/pts/N`. */
  readonly path: string;
  readonly #master: number;
  readonly #slave: number;
  readonly #reader: ReadStream;
  readonly #input: InputQueue;
  #isClosed = false;

  static async open(): Promise<PtyChardev> {
    const native = await loadNativePty();
    if (native === undefined) {
      throw new CharDeviceError(
        "pseudo-terminals need the optional package 'node-pty': npm install node-pty",
      );
    }
    try {
      return new PtyChardev(native.open(80, 25));
    } catch (cause) {
      throw new CharDeviceError(`Failed to create PTY: ${reasonOf(cause)}`, cause);
    }
  }

  private constructor({ master, slave, pty }: ReturnType<NativePty['open']>) {
    this.#master = master;
    this.#slave = slave;
    this.path = pty;
    execFileSync('stty', ['-F', pty, 'raw', '-echo'], { stdio: 'ignore' });
    this.#reader = new ReadStream(master);
    this.#reader.unref();
    this.#reader.on('error', () => {});
    this.#input = new InputQueue(
      () => this.#reader.pause(),
      () => this.#reader.resume(),
    );
  }

  get filename(): string {
    return `pty:${this.path}`;
  }

  attach(frontend: CharFrontend): void {
    this.#input.frontend = frontend;
    this.#reader.on('data', (chunk: Buffer) => this.#input.push(chunk));
    frontend.onEvent?.('opened');
  }

  /** With nobody reading, the kernel's buffer fills up; what follows is lost, as on a line without a listener. */
  write(bytes: Uint8Array): number {
    if (this.#isClosed) return bytes.length;
    let written = 0;
    try {
      while (written < bytes.length) written += writeSync(this.#master, bytes, written);
    } catch {
      return bytes.length;
    }
    return written;
  }

  acceptInput(): void {
    this.#input.deliver();
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#reader.destroy();
    closeSync(this.#slave);
  }
}
