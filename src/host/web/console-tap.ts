/** Lets others see what a serial port prints, and type into it, beside whoever is connected to it. */
import type { CharBackend, CharEvent, CharFrontend } from '../chardev/chardev.ts';

/** Kept for those who come later, and taken from one who types faster than the guest reads: bytes. */
const HISTORY_BYTES = 64 * 1024;

export class ConsoleTap implements CharBackend, CharFrontend {
  readonly #inner: CharBackend;
  readonly #listeners = new Set<(bytes: Uint8Array) => void>();
  #frontend: CharFrontend | undefined;
  #history: Buffer = Buffer.alloc(0);
  #input: Buffer = Buffer.alloc(0);

  constructor(inner: CharBackend) {
    this.#inner = inner;
  }

  // ---- for those who look

  get history(): Buffer {
    return this.#history;
  }

  /** Returns a function that removes the listener. */
  onOutput(listener: (bytes: Uint8Array) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** What does not fit is dropped. */
  type(bytes: Uint8Array): void {
    this.#input = Buffer.concat([this.#input, bytes]).subarray(0, HISTORY_BYTES);
    this.#deliver();
  }

  #deliver(): void {
    while (this.#input.length > 0) {
      const room = Math.min(this.#input.length, this.#frontend?.canReceive() ?? 0);
      if (room <= 0) return;
      const chunk = this.#input.subarray(0, room);
      this.#input = this.#input.subarray(room);
      this.#frontend!.receive(chunk);
    }
  }

  // ---- the back end, as the port sees it

  get filename(): string {
    return this.#inner.filename;
  }

  attach(frontend: CharFrontend): void {
    this.#frontend = frontend;
    this.#inner.attach(this);
  }

  write(bytes: Uint8Array): number {
    const taken = this.#inner.write(bytes);
    if (taken > 0) {
      const seen = Buffer.from(bytes.subarray(0, taken));
      this.#history = Buffer.concat([this.#history, seen]).subarray(-HISTORY_BYTES);
      for (const listener of this.#listeners) listener(seen);
    }
    return taken;
  }

  acceptInput(): void {
    this.#deliver();
    this.#inner.acceptInput();
  }

  close(): Promise<void> {
    return this.#inner.close();
  }

  // ---- the front end, as the inner back end sees it

  canReceive(): number {
    return this.#input.length > 0 ? 0 : (this.#frontend?.canReceive() ?? 0);
  }
  receive(bytes: Uint8Array): void {
    this.#frontend?.receive(bytes);
  }
  writable(): void {
    this.#frontend?.writable?.();
  }
  onEvent(event: CharEvent): void {
    this.#frontend?.onEvent?.(event);
  }
}
