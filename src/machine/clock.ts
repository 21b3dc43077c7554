/**
 * Virtual time (QEMU_CLOCK_VIRTUAL) and named timers. Interface only: implementations live in the machine.
 *
 * Time is in nanoseconds, a safe-integer number (2^53 ns = 104 days). It stands still while the machine is stopped.
 */
export type Ns = number;

/** Nanoseconds in a second. */
export const NS_PER_SECOND: Ns = 1_000_000_000;

/** Deadline of a timer that is not armed; also what QEMU writes to the stream for it (-1). */
export const NOT_ARMED: Ns = -1;

/** A named one-shot timer. Its deadline is state; its callback is not. */
export interface Timer {
  readonly name: string;
  /** Absolute virtual time in ns, or {@link NOT_ARMED}. */
  readonly deadline: Ns;
  /** Arms (or moves) the timer. A deadline in the past fires at the next instruction boundary. */
  arm(deadline: Ns): void;
  /** Disarms. Harmless when not armed. */
  cancel(): void;
}

export interface Clock {
  /** Current virtual time in ns. */
  now(): Ns;
  /** The callback gets the deadline that expired; the timer is disarmed before it is called. */
  createTimer(name: string, callback: (deadline: Ns) => void): Timer;
}

/**
 * floor(a * b / c) without leaving the safe integers, for 0 <= a <= 2^53, 0 < b, c < 2^32.
 * Exact also where (a mod c) * b leaves them: b is split into halves then.
 */
export function mulDiv(a: number, b: number, c: number): number {
  const whole = Math.floor(a / c) * b;
  const rest = a % c;
  const product = rest * b;
  if (product <= Number.MAX_SAFE_INTEGER) return whole + Math.floor(product / c);
  // rest < c < 2^32 and b < 2^32: split b into 16-bit halves, so that every product stays below 2^48.
  const high = Math.floor(b / 65536);
  const low = b % 65536;
  const highProduct = rest * high;
  const highQuotient = Math.floor(highProduct / c);
  const highRest = highProduct % c;
  return whole + highQuotient * 65536 + Math.floor((highRest * 65536 + rest * low) / c);
}
