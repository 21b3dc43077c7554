import { describe, expect, it } from 'vitest';
import { Gate, Mutex } from './mutex.ts';

const turns = async (count: number): Promise<void> => {
  for (let i = 0; i < count; i++) await new Promise(setImmediate);
};

describe('mutex', () => {
  it('one at a time, in order, past failures', async () => {
    const mutex = new Mutex();
    const seen: string[] = [];
    const task = (name: string, length: number) => async () => {
      seen.push(`${name}+`);
      await turns(length);
      seen.push(`${name}-`);
      if (name === 'b') throw new Error('b');
      return name;
    };
    const all = await Promise.allSettled([
      mutex.run(task('a', 3)),
      mutex.run(task('b', 1)),
      mutex.run(task('c', 0)),
    ]);
    expect(seen).toEqual(['a+', 'a-', 'b+', 'b-', 'c+', 'c-']);
    expect(all.map((result) => result.status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
  });
});

describe('gate', () => {
  it('an exclusive task waits for requests in flight and holds back later ones', async () => {
    const gate = new Gate();
    const seen: string[] = [];
    const first = gate.enter();
    const exclusive = gate.exclusive(async () => {
      seen.push('exclusive');
      await turns(2);
    });
    await turns(2);
    expect(gate.closed).toBeDefined();
    const later = gate.closed!.then(() => seen.push('later'));
    seen.push('first');
    expect(gate.oldest).toBe(first);
    gate.leave(first);
    await Promise.all([exclusive, later]);
    expect(seen).toEqual(['first', 'exclusive', 'later']);
    expect(gate.closed).toBeUndefined();
    expect(gate.oldest).toBe(Number.POSITIVE_INFINITY);
  });

  it('opens again after a task that failed', async () => {
    const gate = new Gate();
    await expect(gate.exclusive(() => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(gate.closed).toBeUndefined();
    await gate.exclusive(async () => {});
  });
});
