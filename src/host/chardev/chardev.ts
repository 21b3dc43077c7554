/**
 * Character back ends and who uses them. Bytes are never dropped while somebody is connected, and nothing grows without
 * bound: a front end says how much it can take, a back end how much it took.
 */

/** `opened` and `closed`: a client came or went; `focus` and `blur`: the multiplexer switched to or from us. */
export type CharEvent = 'opened' | 'closed' | 'break' | 'focus' | 'blur';

/** Who sits at a back end: a serial port, a monitor, a multiplexer. */
export interface CharFrontend {
  /** Bytes it can take now. When this rises from 0 it calls acceptInput() of its back end. */
  canReceive(): number;
  /** At most canReceive() bytes. The array is valid only during the call. */
  receive(bytes: Uint8Array): void;
  /** There is room again after write() took less than all. */
  writable?(): void;
  onEvent?(event: CharEvent): void;
}

export interface CharBackend {
  /** As `info chardev` shows it. */
  readonly filename: string;
  /** At most one front end. `opened` follows at once if somebody is connected already. */
  attach(frontend: CharFrontend): void;
  /** How many bytes were taken; the rest is to be offered again after writable(). */
  write(bytes: Uint8Array): number;
  /** The front end can receive again. */
  acceptInput(): void;
  /** Writes out what was taken, then lets go of everything. Idempotent. */
  close(): Promise<void>;
}

/** A back end could not be opened; `message` is QEMU's. */
export class CharDeviceError extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'CharDeviceError';
  }
}

/** Most bytes that a back end holds back for a reader that is slow. */
export const OUTPUT_LIMIT = 64 * 1024;

/** Input that came faster than the front end takes it; says when to stop and when to go on reading. */
export class InputQueue {
  #chunks: Uint8Array[] = [];
  #waiting = 0;
  readonly #pause: () => void;
  readonly #resume: () => void;
  #isPaused = false;
  #isDelivering = false;
  frontend: CharFrontend | undefined;

  /** Without the two: a source that cannot wait; see {@link offer}. */
  constructor(pause: () => void = () => {}, resume: () => void = () => {}) {
    this.#pause = pause;
    this.#resume = resume;
  }

  push(chunk: Uint8Array): void {
    this.#chunks.push(chunk);
    this.#waiting += chunk.length;
    this.deliver();
  }

  /** From a source that cannot wait: dropped where more than `limit` bytes would lie here. */
  offer(chunk: Uint8Array, limit: number): void {
    if (this.#waiting + chunk.length <= limit) this.push(chunk);
  }

  /** Hands over what the front end can take. */
  deliver(): void {
    if (this.#isDelivering) return;
    this.#isDelivering = true;
    while (this.#chunks.length > 0) {
      const room = this.frontend?.canReceive() ?? 0;
      if (room <= 0) break;
      const chunk = this.#chunks[0]!;
      if (chunk.length > room) this.#chunks[0] = chunk.subarray(room);
      else this.#chunks.shift();
      const taken = chunk.subarray(0, room);
      this.#waiting -= taken.length;
      this.frontend!.receive(taken);
    }
    this.#isDelivering = false;
    const isFull = this.#chunks.length > 0;
    if (isFull === this.#isPaused) return;
    this.#isPaused = isFull;
    if (isFull) this.#pause();
    else this.#resume();
  }

  /** Forgets what was not delivered (the client is gone). */
  clear(): void {
    this.#chunks = [];
    this.#waiting = 0;
    this.#isPaused = false;
  }
}
