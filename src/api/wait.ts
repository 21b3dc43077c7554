/** Waiting for something to become true, with a time limit and an AbortSignal. */
import { MachineError } from './errors.ts';

/** Limits of a wait. */
export interface WaitOptions {
  /** Host time, ms; default 30,000. */
  readonly timeoutMs?: number;
  /** Ends the wait; it rejects with the signal’s reason. */
  readonly signal?: AbortSignal;
}

export const DEFAULT_TIMEOUT_MS = 30_000;

/** Calls `poll` when told to; settles with the first value that is not undefined. */
export class Waiter<T> {
  readonly promise: Promise<T>;
  readonly #poll: () => T | undefined;
  #settle: (value: T) => void = () => {};
  #fail: (error: unknown) => void = () => {};
  #isDone = false;

  /** `what` ends the sentence "timed out waiting for …"; `detail` adds what was there instead. */
  constructor(
    poll: () => T | undefined,
    what: string,
    options: WaitOptions,
    detail: () => string = () => '',
  ) {
    this.#poll = poll;
    const { timeoutMs = DEFAULT_TIMEOUT_MS, signal } = options;
    this.promise = new Promise<T>((resolve, reject) => {
      this.#settle = resolve;
      this.#fail = reject;
    });
    // Whoever waits learns of it; nobody waiting is no crash.
    this.promise.catch(() => {});
    if (signal?.aborted) {
      this.fail(signal.reason);
      return;
    }
    const onAbort = () => this.fail(signal!.reason);
    const timer = setTimeout(() => {
      this.fail(
        new MachineError('timeout', `timed out after ${timeoutMs} ms waiting for ${what}${detail()}`),
      );
    }, timeoutMs);
    signal?.addEventListener('abort', onAbort, { once: true });
    this.#release = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    };
    this.check();
  }
  #release: () => void = () => {};

  get isDone(): boolean {
    return this.#isDone;
  }

  /** Looks again. */
  check(): void {
    if (this.#isDone) return;
    const value = this.#poll();
    if (value === undefined) return;
    this.#end();
    this.#settle(value);
  }

  fail(error: unknown): void {
    if (this.#isDone) return;
    this.#end();
    this.#fail(error);
  }

  #end(): void {
    this.#isDone = true;
    this.#release();
  }
}

export function toPattern(wanted: string | RegExp): RegExp {
  return typeof wanted === 'string' ? new RegExp(wanted.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')) : wanted;
}
