/** Order among asynchronous requests: a mutex for metadata changes, a gate that lets one request have the image alone. */

/** First come, first served. */
export class Mutex {
  #tail: Promise<unknown> = Promise.resolve();

  /** Runs `task` after all earlier ones have settled. Not reentrant. */
  run<T>(task: () => Promise<T>): Promise<T> {
    const result = this.#tail.then(task);
    this.#tail = result.then(ignore, ignore);
    return result;
  }
}

function ignore(): void {}

/**
 * Guest requests share the gate; a snapshot operation has it alone: it waits until the requests in flight have
 * completed and holds back later ones. Every request has a number, so that a cluster that was freed is used again only
 * after the requests that might still touch it are done.
 */
export class Gate {
  #sequence = 0;
  readonly #inFlight = new Set<number>();
  readonly #exclusive = new Mutex();
  #closed: Promise<void> | undefined;
  #drained: (() => void) | undefined;

  /** The promise to await before {@link enter}, or undefined when the gate stands open. */
  get closed(): Promise<void> | undefined {
    return this.#closed;
  }

  /** Number of the request, for {@link leave}. Call in the tick in which `closed` was seen undefined. */
  enter(): number {
    const ticket = ++this.#sequence;
    this.#inFlight.add(ticket);
    return ticket;
  }

  leave(ticket: number): void {
    this.#inFlight.delete(ticket);
    if (this.#inFlight.size === 0) this.#drained?.();
  }

  /** Number of the latest request. */
  get sequence(): number {
    return this.#sequence;
  }

  /** Number of the oldest request in flight, or Infinity. */
  get oldest(): number {
    for (const ticket of this.#inFlight) return ticket;
    return Number.POSITIVE_INFINITY;
  }

  /** Runs `task` with no request in flight. */
  exclusive<T>(task: () => Promise<T>): Promise<T> {
    return this.#exclusive.run(async () => {
      let open = ignore;
      this.#closed = new Promise<void>((resolve) => {
        open = resolve;
      });
      try {
        if (this.#inFlight.size > 0) {
          await new Promise<void>((resolve) => {
            this.#drained = resolve;
          });
          this.#drained = undefined;
        }
        return await task();
      } finally {
        this.#closed = undefined;
        open();
      }
    });
  }
}
