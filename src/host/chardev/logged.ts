/** `logfile=`: what a back end is given goes to a file too, as it is taken. */
import type { CharBackend, CharFrontend } from './chardev.ts';
import { FileChardev } from './simple.ts';

export class LoggedChardev implements CharBackend {
  readonly #inner: CharBackend;
  readonly #log: FileChardev;

  /** Throws CharDeviceError. */
  constructor(inner: CharBackend, { path, append }: { readonly path: string; readonly append: boolean }) {
    this.#inner = inner;
    this.#log = new FileChardev(path, append);
  }

  get filename(): string {
    return this.#inner.filename;
  }

  attach(frontend: CharFrontend): void {
    this.#inner.attach(frontend);
  }

  write(bytes: Uint8Array): number {
    const taken = this.#inner.write(bytes);
    if (taken > 0) this.#log.write(bytes.subarray(0, taken));
    return taken;
  }

  acceptInput(): void {
    this.#inner.acceptInput();
  }

  async close(): Promise<void> {
    await this.#inner.close();
    await this.#log.close();
  }
}
