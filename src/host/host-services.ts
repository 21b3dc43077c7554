/** Time and turns of the event loop, from Node. */
import { performance } from 'node:perf_hooks';
import * as zlib from 'node:zlib';
import { giveAligned, memoryOf, takeAligned } from '../block/aligned-memory.ts';
import { foldingCrc32 } from '../machine/fold-crc32.ts';
import type { HostServices } from '../machine/host-services.ts';
import { crc32 as portableCrc32 } from '../migration/crc32.ts';

/**
 * Node's timers are no finer, ms. What is left is waited for on a futex, exact and free of cost, or, where completions are
 * awaited, in turns of the event loop: a guest that idles with a tick every 10 ms would else spin for a tenth of its time.
 */
const FINEST_TIMER_MS = 1;

/**
 * From here on a sleep is rounded up to whole ms: 5 % late at most. A BIOS tick of 55 ms then wakes the host once and not
 * twice, and waking is nearly all that an idle guest costs (bench: 0.4 % of a core for 18 bare timers of Node a second).
 */
const LONG_SLEEP_MS = 20;

/** Node 20.15 and 22.2 have it; it is several times as fast as ours for what is short or lies elsewhere. */
const plainCrc32 = (zlib as { crc32?: (data: Uint8Array, before: number) => number }).crc32 ?? portableCrc32;

/** Nobody ever wakes it. */
const FUTEX = new Int32Array(new SharedArrayBuffer(4));

export const nodeHost: HostServices = {
  crc32: foldingCrc32(memoryOf, plainCrc32),
  allocate: takeAligned,
  release: giveAligned,
  now: () => Math.floor(performance.now() * 1e6),
  wallClock: () => Date.now(),
  yield: () => new Promise((resolve) => setImmediate(resolve)),
  sleep(ms, mayBlock = false) {
    const until = performance.now() + ms;
    let wake: () => void = () => {};
    const done = new Promise<void>((resolve) => {
      if (ms < FINEST_TIMER_MS) {
        wake = resolve;
        if (mayBlock) Atomics.wait(FUTEX, 0, 0, ms);
        setImmediate(resolve);
        return;
      }
      const isLong = ms >= LONG_SLEEP_MS;
      const timer = setTimeout(
        () => {
          // The rest at once, not in a sleep of its own: the run loop would else turn twice for each tick of the guest's timer.
          if (mayBlock && !isLong)
            Atomics.wait(FUTEX, 0, 0, Math.min(FINEST_TIMER_MS, Math.max(0, until - performance.now())));
          resolve();
        },
        isLong ? Math.ceil(ms) : Math.floor(ms),
      );
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    return { done, wake };
  },
};
