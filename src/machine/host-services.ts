/** What the machine needs of the program that hosts it: monotonic time, wall-clock time, turns of the event loop. */
import type { Crc32 } from '../migration/crc32.ts';
import type { IsZero } from '../migration/zero-page.ts';

export interface HostServices {
  /** Monotonic, ns. */
  now(): number;
  /** Wall clock, ms since the epoch. */
  wallClock(): number;
  /** Lets pending I/O, sockets and timers of the host have a turn. */
  yield(): Promise<void>;
  /**
   * Resolves after `ms` or when wake() of the returned handle is called. `mayBlock`: nothing is awaited from the host but
   * time, so a wait shorter than its timers can tell may hold up the event loop.
   */
  sleep(ms: number, mayBlock?: boolean): { readonly done: Promise<void>; wake(): void };
  /** Faster ways to do what the core can do itself. */
  readonly crc32?: Crc32;
  readonly isZero?: IsZero;
  /** Buffers that files read into and write from, with anything in them; given back by `release`. */
  readonly allocate?: (bytes: number) => Uint8Array;
  readonly release?: (buffer: Uint8Array) => void;
}
