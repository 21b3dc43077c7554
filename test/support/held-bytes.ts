/** How much memory this process holds, for tests that send thousands of messages: it must not become more. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect } from 'vitest';

/** What may be more in the end: caches, compiled code. Hoarded messages would be more. */
const MAX_GROWTH_BYTES = 24 << 20;
const READINGS = 8;
const READING_MS = 50;

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** The smallest of a few readings: buffers are given back some time after nobody holds them any more. */
export async function heldBytes(): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < READINGS; i++) {
    collect();
    const { heapUsed, external, arrayBuffers } = process.memoryUsage();
    least = Math.min(least, heapUsed + external + arrayBuffers);
    await new Promise((resolve) => setTimeout(resolve, READING_MS));
  }
  return least;
}

/** `before`: heldBytes() of a moment when everything was in use already. */
export async function expectFlatMemory(before: number): Promise<void> {
  expect((await heldBytes()) - before).toBeLessThan(MAX_GROWTH_BYTES);
}
