import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseArguments } from './arguments.ts';
import { argument } from './command.ts';
import { parseExpression } from './expression.ts';

const value = (text: string) =>
  parseExpression(text, 0, (name) => (name === 'eax' ? 0x10n : undefined)).value;

describe('expressions', () => {
  test.each([
    ['1+2*3', 7n],
    ['(1+2)*3', 9n],
    ['0x10', 16n],
    ['010', 8n],
    ['-1', -1n],
    ['~0', -1n],
    ["'A'", 65n],
    ['$eax * 2', 32n],
    // QEMU's own precedence: & binds before +.
    ['1 + 3 & 2', 3n],
    ['7 % 4', 3n],
    ['0xffffffffffffffff', -1n],
  ])('%s', (text, expected) => {
    expect(value(text)).toBe(expected);
  });

  test.each([
    ['$nope', 'unknown register'],
    ['(1', "')' expected"],
    ['1/0', 'division by zero'],
    ['', 'unexpected end of expression'],
    ['bogus', "invalid char 'b' in expression"],
  ])('%j is refused', (text, message) => {
    expect(() => value(text)).toThrow(message);
  });

  test('sums of numbers, any grouping of blanks', () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(), { minLength: 1 }),
        fc.constantFrom('+', ' + ', '+ '),
        (numbers, plus) => {
          expect(value(numbers.join(plus))).toBe(numbers.reduce((a, b) => a + BigInt(b), 0n));
        },
      ),
    );
  });
});

describe('arguments', () => {
  const parse = (text: string, ...specs: Parameters<typeof argument>[]) =>
    parseArguments(
      text,
      specs.map((spec) => argument(...spec)),
      () => undefined,
    );

  test('quotes, escapes, flags, formats', () => {
    const args = parse(
      ' /4xw -f "a b\\"c" rest of it',
      ['format', 'fmt'],
      ['flag', 'f'],
      ['filename', 'file'],
      ['rest', 'more'],
    );
    expect(args.format('fmt')).toEqual({ count: 4, format: 'x', size: 4, given: true });
    expect([args.flag('f'), args.string('file'), args.string('more')]).toEqual([true, 'a b"c', 'rest of it']);
  });

  test.each([
    ['', [['device', 'd']], 'block device name expected'],
    ['', [['filename', 'd']], 'filename expected'],
    ['', [['string', 'd']], 'string expected'],
    ['a b', [['string', 'd']], 'extraneous characters at the end of line'],
    ['"a', [['string', 'd']], 'unterminated string'],
    [
      '/4z 0',
      [
        ['format', 'f'],
        ['integer', 'a'],
      ],
      "invalid char in format: 'z'",
    ],
  ] as const)('%j is refused', (text, specs, message) => {
    expect(() => parse(text, ...(specs as unknown as Parameters<typeof argument>[]))).toThrow(message);
  });

  test('no line whatever does more than refuse', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        try {
          parse(text, ['format', 'fmt'], ['integer', 'a'], ['string', 'b?']);
        } catch (error) {
          expect((error as Error).message).not.toBe('');
        }
      }),
    );
  });
});
