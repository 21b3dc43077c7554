import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { getRefcount, maxRefcount, setRefcount } from './refcount.ts';

describe('refcount entries', () => {
  for (let order = 0; order <= 6; order++) {
    it(`of ${1 << order} bits hold what was put and touch nobody else`, () => {
      const block = Buffer.alloc(512);
      const entries = (512 * 8) >> order;
      const model = new Array<number>(entries).fill(0);
      const max = maxRefcount(order);
      fc.assert(
        fc.property(fc.nat(entries - 1), fc.double({ min: 0, max: 1, noNaN: true }), (index, part) => {
          const value = Math.round(max * part);
          setRefcount(block, index, order, value);
          model[index] = value;
          for (const near of [index - 1, index, index + 1]) {
            if (near >= 0 && near < entries) expect(getRefcount(block, near, order)).toBe(model[near]);
          }
        }),
      );
    });
  }

  it('below a byte fill it from its low end', () => {
    const block = Buffer.alloc(8);
    setRefcount(block, 0, 0, 1);
    setRefcount(block, 9, 0, 1);
    setRefcount(block, 9, 2, 5);
    expect([...block]).toEqual([1, 2, 0, 0, 0x50, 0, 0, 0]);
  });
});
