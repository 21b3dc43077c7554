import { describe, expect, it } from 'vitest';
import { AtOnce } from './at-once.ts';

/** Reads that `reads` lets through of `count`, each taking `ms`. */
function done(reads: AtOnce, count: number, ms: number): number {
  let sum = 0;
  for (let i = 0; i < count; i++) {
    if (!reads.may(4096)) continue;
    sum++;
    reads.took(ms);
  }
  return sum;
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('reads at once', () => {
  it('short ones, until the event loop wants a turn', async () => {
    const reads = new AtOnce();
    expect(reads.may(1 << 20)).toBe(false);
    const first = done(reads, 10_000, 0.005);
    expect(first).toBeGreaterThan(100);
    expect(first).toBeLessThan(1000);
    expect(reads.may(4096)).toBe(false);
    await turn();
    expect(reads.may(4096)).toBe(true);
  });

  it('are given up for long on a disk that is slow each time', async () => {
    const reads = new AtOnce();
    let sum = 0;
    for (let i = 0; i < 1000; i++) {
      sum += done(reads, 100, 10);
      await turn();
    }
    expect(sum).toBeLessThan(20);
  });

  it('are soon there again after one that was slow by chance', async () => {
    const reads = new AtOnce();
    for (let i = 0; i < 8; i++) {
      done(reads, 10_000, 10);
      await turn();
    }
    let tries = 0;
    for (; !reads.may(4096); tries++) await turn();
    expect(tries).toBeGreaterThan(100);
    for (let i = 0; i < 100; i++) done(reads, 1, 0.005);
    reads.took(10);
    await turn();
    expect(done(reads, 20, 0.005)).toBeGreaterThan(0);
  });
});
