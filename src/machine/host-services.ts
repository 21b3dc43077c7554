/** What the machine needs of the program that hosts it: monotonic time, wall-clock time, turns of the event loop. */
export interface HostServices {
  /** Monotonic, ns. */
  now(): number;
  /** Wall clock, ms since the epoch. */
  wallClock(): number;
  /** Lets pending I/O, sockets and timers of the host have a turn. */
  yield(): Promise<void>;
  /** Resolves after `ms` or when wake() of the returned handle is called. */
  sleep(ms: number): { readonly done: Promise<void>; wake(): void };
}
