import { expect, it } from 'vitest';
import { isZeroRange } from '../migration/zero-page.ts';
import { zeroScan } from './zero-scan.ts';

it('finds a byte anywhere, and only within the range', () => {
  const memory = new WebAssembly.Memory({ initial: 2 });
  const bytes = new Uint8Array(memory.buffer);
  const isZero = zeroScan(memory);
  expect(isZero).not.toBe(isZeroRange);
  const block = bytes.subarray(8192);
  expect(isZero(block, 0, block.length)).toBe(true);
  for (const at of [0, 1, 15, 16, 63, 64, 4095]) {
    block[4096 + at] = 1;
    expect([isZero(block, 4096, 4096), isZero(block, 0, 4096), isZero(block, 8192, 4096)]).toEqual([
      false,
      true,
      true,
    ]);
    block[4096 + at] = 0;
  }
  bytes[bytes.length - 1] = 128;
  expect(isZero(bytes, bytes.length - 4096, 4096)).toBe(false);
  expect(isZero(bytes, 4, 12)).toBe(true);
  expect(isZero(new Uint8Array(4096), 0, 4096)).toBe(true);
});
