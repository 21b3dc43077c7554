import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { escapeCommas, parseBoolean, parsePairs, parseSize, splitAtCommas, toMap } from './grammar.ts';

describe('commas', () => {
  test('any list of values survives joining with doubled commas', () => {
    const value = fc.string({ minLength: 1 }).filter((text) => !text.startsWith(',') && !text.endsWith(','));
    fc.assert(
      fc.property(fc.array(value, { minLength: 1 }), (values) => {
        expect(splitAtCommas(values.map(escapeCommas).join(','))).toEqual(values);
      }),
    );
  });

  test('the first key may be left out, values may hold equals signs', () => {
    expect(parsePairs('a,,b,format=raw,x=y=z,server', 'file')).toEqual([
      { key: 'file', value: 'a,b' },
      { key: 'format', value: 'raw' },
      { key: 'x', value: 'y=z' },
      { key: 'server', value: undefined },
    ]);
  });

  test('a word alone is on, with `no` before it off', () => {
    const map = toMap(parsePairs('server,nowait'), ['server', 'wait'], '-chardev x');
    expect([...map]).toEqual([
      ['server', 'on'],
      ['wait', 'off'],
    ]);
    expect(() => toMap(parsePairs('foo=1'), ['a'], '-m foo=1')).toThrow("-m foo=1: Invalid parameter 'foo'");
  });
});

describe('values', () => {
  test.each([
    ['64', 64 * 1024 ** 2],
    ['1G', 1024 ** 3],
    ['0.5G', 512 * 1024 ** 2],
    ['256k', 256 * 1024],
    ['1024B', 1024],
    ['0x10', 16 * 1024 ** 2],
  ])('%s of memory', (text, bytes) => {
    expect(parseSize('size', text, '', 1024 ** 2)).toBe(bytes);
  });

  test('a size that is none is told as QEMU does, never anything else', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        try {
          expect(parseSize('size', text, '-m x')).toBeGreaterThanOrEqual(0);
        } catch (error) {
          expect((error as Error).message).toMatch(
            /^-m x: Parameter 'size' expects a non-negative number below 2\^64\nOptional suffix k, M/,
          );
        }
      }),
    );
  });

  test('on and off', () => {
    expect(parseBoolean('k', 'on', '')).toBe(true);
    expect(parseBoolean('k', 'off', '')).toBe(false);
    expect(() => parseBoolean('hpet', 'maybe', '')).toThrow("Parameter 'hpet' expects 'on' or 'off'");
  });
});
