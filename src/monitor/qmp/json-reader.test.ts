import fc from 'fast-check';
import { expect, test } from 'vitest';
import { JsonReader, MAX_DEPTH, MAX_MESSAGE_BYTES } from './json-reader.ts';

const bytes = (text: string) => new TextEncoder().encode(text);
const read = (text: string) => new JsonReader().push(bytes(text));

test('values one behind the other, in whatever pieces they come', () => {
  const object = fc.dictionary(fc.string(), fc.jsonValue());
  fc.assert(
    fc.property(
      fc.array(object, { maxLength: 5 }),
      fc.nat(),
      fc.constantFrom('', ' ', '\r\n'),
      (values, cut, gap) => {
        const all = bytes(values.map((value) => JSON.stringify(value) + gap).join(''));
        const at = all.length === 0 ? 0 : cut % all.length;
        const reader = new JsonReader();
        const found = [...reader.push(all.subarray(0, at)), ...reader.push(all.subarray(at))];
        // -0 becomes 0 in JSON.
        expect(found).toEqual(values.map((value) => ({ value: JSON.parse(JSON.stringify(value)) })));
      },
    ),
  );
});

test('brackets in strings, escapes', () => {
  expect(read('{"a":"}\\"{"}[1]')).toEqual([{ value: { a: '}"{' } }, { value: [1] }]);
});

test('what is no JSON is said, and the next value is read', () => {
  expect(read('{"a" 1}{}')).toEqual([{ error: 'JSON parse error, invalid input' }, { value: {} }]);
  expect(read(']}{"b":2}')).toEqual([
    { error: 'JSON parse error, invalid input' },
    { error: 'JSON parse error, invalid input' },
    { value: { b: 2 } },
  ]);
});

test('limits: depth and length', () => {
  expect(read('['.repeat(MAX_DEPTH + 1))).toEqual([{ error: 'JSON nesting depth limit exceeded' }]);
  expect(read(`"${'x'.repeat(MAX_MESSAGE_BYTES)}`)).toEqual([{ error: 'JSON token size limit exceeded' }]);
});

test('any bytes at all: values or errors, no more than bytes', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), (input) => {
      expect(new JsonReader().push(input).length).toBeLessThanOrEqual(input.length);
    }),
    { numRuns: process.env['AMBERVM_LONG'] === undefined ? 500 : 10_000 },
  );
});
