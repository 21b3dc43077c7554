import * as zlib from 'node:zlib';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { crc32 } from '../migration/crc32.ts';
import { FOLD_SCRATCH_BYTES, foldingCrc32, LONG_STEPS, SHORT_STEPS } from './fold-crc32.ts';

const PAGES = 40;
const memory = new WebAssembly.Memory({ initial: PAGES });
const all = new Uint8Array(memory.buffer);
for (let i = 0; i < all.length; i++) all[i] = Math.imul(i, 2654435761) >>> 13;
const folding = foldingCrc32((bytes) => (bytes.buffer === memory.buffer ? memory : undefined), crc32);

/** x^n modulo CRC-32's polynomial (IEEE 802.3), bit 31 the highest. */
function powerOfX(n: number): number {
  let value = 1;
  for (let i = 0; i < n; i++) value = ((value << 1) ^ (value >>> 31 ? 0x04c11db7 : 0)) >>> 0;
  return value;
}

test.each([[LONG_STEPS], [SHORT_STEPS]])('the polynomial divides the multiple with steps %j', (steps) => {
  const degree = steps.at(-1)!;
  const terms = [degree, ...steps.map((step) => degree - step)];
  expect(terms.reduce((sum, term) => sum ^ powerOfX(term * 128), 0)).toBe(0);
});

test('is what dividing gives, at any place and length', () => {
  const place = fc.integer({ min: FOLD_SCRATCH_BYTES, max: all.length });
  fc.assert(
    fc.property(place, fc.integer({ min: 0, max: 300_000 }), (start, length) => {
      const bytes = all.subarray(start, Math.min(all.length, start + length));
      expect(folding(bytes)).toBe(crc32(bytes));
    }),
    { numRuns: 60 },
  );
});

test('units of every size', () => {
  for (let length = 16 * 1024; length <= 2 << 20; length *= 2) {
    const bytes = all.subarray(128 * 1024, 128 * 1024 + length);
    expect(folding(bytes)).toBe(crc32(bytes));
    bytes[length - 1]! ^= 1;
    expect(folding(bytes)).toBe(crc32(bytes));
  }
});

test('other memory goes the ordinary way, and can be gone on from', () => {
  const bytes = Uint8Array.from(all.subarray(0, 100_000));
  expect(folding(bytes)).toBe(crc32(bytes));
  expect(crc32(bytes.subarray(777), crc32(bytes.subarray(0, 777)))).toBe(crc32(bytes));
  const ofZlib = (zlib as { crc32?: (data: Uint8Array) => number }).crc32;
  if (ofZlib !== undefined) expect(crc32(bytes)).toBe(ofZlib(bytes));
});
