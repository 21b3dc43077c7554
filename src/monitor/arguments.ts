/** How a command's arguments are described and read: QEMU 7.2's rules and messages (monitor/hmp.c). */
import { ArgumentError, ExpressionError, parseExpression, type RegisterSource } from './expression.ts';

export type ArgumentKind =
  /** A word, quoted or not. */
  | 'string'
  | 'filename'
  /** The same where QEMU's table has it as a word: its message differs. */
  | 'path'
  /** Name of a drive. */
  | 'device'
  /** Name of a snapshot. */
  | 'snapshot'
  /** Name of a section of the VM state. */
  | 'section'
  /** Name or pattern of trace events. */
  | 'trace'
  /** Keys of `sendkey`. */
  | 'keys'
  /** An expression. */
  | 'integer'
  /** An expression behind a point: `.1`. Always optional. */
  | 'index'
  /** `on` or `off`. */
  | 'switch'
  /** `/fmt` before the other arguments. */
  | 'format'
  /** `-x`. */
  | 'flag'
  /** Everything up to the end of the line. */
  | 'rest';

export interface ArgumentSpec {
  readonly name: string;
  readonly kind: ArgumentKind;
  readonly optional?: boolean;
}

/** `/4xw`: count, format letter, bytes an item; what was not given is undefined. */
export interface DumpFormat {
  readonly count: number;
  readonly format: string | undefined;
  readonly size: number | undefined;
  /** Whether there was a `/fmt` at all. */
  readonly given: boolean;
}

const WORD_MESSAGES: Readonly<Record<string, string>> = {
  filename: 'filename expected',
  device: 'block device name expected',
};
/** A monitor line that is longer is cut by the editor. */
const MAX_COUNT = 1_000_000;

/** What was given, by name. Asking for an argument of another kind is a fault of ours. */
export class Arguments {
  readonly #values: ReadonlyMap<string, string | bigint | boolean | DumpFormat>;

  constructor(values: ReadonlyMap<string, string | bigint | boolean | DumpFormat>) {
    this.#values = values;
  }

  has(name: string): boolean {
    return this.#values.has(name);
  }
  string(name: string): string {
    return this.#values.get(name) as string;
  }
  optional(name: string): string | undefined {
    return this.#values.get(name) as string | undefined;
  }
  integer(name: string): bigint {
    return this.#values.get(name) as bigint;
  }
  number(name: string, absent = 0): number {
    const value = this.#values.get(name) as bigint | undefined;
    return value === undefined ? absent : Number(value);
  }
  flag(name: string): boolean {
    return this.#values.get(name) === true;
  }
  format(name: string): DumpFormat {
    return this.#values.get(name) as DumpFormat;
  }
}

/** Reads `text` (what follows the command's name) by the command's specification. */
export function parseArguments(
  text: string,
  specs: readonly ArgumentSpec[],
  registers: RegisterSource,
): Arguments {
  const values = new Map<string, string | bigint | boolean | DumpFormat>();
  let at = 0;
  const skip = () => {
    while (at < text.length && /\s/.test(text[at]!)) at++;
  };
  for (const spec of specs) {
    skip();
    switch (spec.kind) {
      case 'flag': {
        const isGiven = text.startsWith(`-${spec.name}`, at) && /^(\s|$)/.test(text.slice(at + 2));
        if (isGiven) at += 2;
        values.set(spec.name, isGiven);
        break;
      }
      case 'format': {
        const { format, end } = parseFormat(text, at);
        values.set(spec.name, format);
        at = end;
        break;
      }
      case 'index': {
        if (text[at] !== '.') break;
        const { value, end } = parseExpression(text, at + 1, registers);
        values.set(spec.name, value);
        at = end;
        break;
      }
      case 'switch': {
        const word = /^(on|off)(?=\s|$)/.exec(text.slice(at))?.[0];
        // QEMU's message stands alone, without the command's name.
        if (word === undefined) throw new ExpressionError("Expected 'on' or 'off'");
        values.set(spec.name, word === 'on');
        at += word.length;
        break;
      }
      case 'rest': {
        const rest = text.slice(at).trimEnd();
        if (rest === '' && spec.optional !== true) throw new ArgumentError('string expected');
        if (rest !== '') values.set(spec.name, rest);
        at = text.length;
        break;
      }
      case 'integer': {
        if (at >= text.length && spec.optional === true) break;
        const { value, end } = parseExpression(text, at, registers);
        values.set(spec.name, value);
        at = end;
        break;
      }
      default: {
        if (at >= text.length) {
          if (spec.optional === true) break;
          throw new ArgumentError(WORD_MESSAGES[spec.kind] ?? 'string expected');
        }
        const { word, end } = parseWord(text, at);
        values.set(spec.name, word);
        at = end;
      }
    }
  }
  skip();
  if (at < text.length) throw new ArgumentError('extraneous characters at the end of line');
  return new Arguments(values);
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', r: '\r', '\\': '\\', "'": "'", '"': '"' };

/** A word up to a blank, or in double quotes with C's escapes. */
export function parseWord(text: string, start: number): { readonly word: string; readonly end: number } {
  if (text[start] !== '"') {
    const word = /^\S*/.exec(text.slice(start))![0];
    return { word, end: start + word.length };
  }
  let word = '';
  let at = start + 1;
  for (;;) {
    const char = text[at++];
    if (char === undefined) throw new ExpressionError('unterminated string');
    if (char === '"') return { word, end: at };
    if (char !== '\\') {
      word += char;
      continue;
    }
    const code = text[at++] ?? '';
    const plain = ESCAPES[code];
    if (plain === undefined) throw new ExpressionError(`unsupported escape code: '\\${code}'`);
    word += plain;
  }
}

const SIZES: Readonly<Record<string, number>> = { b: 1, h: 2, w: 4, g: 8, L: 8 };

function parseFormat(text: string, start: number): { readonly format: DumpFormat; readonly end: number } {
  if (text[start] !== '/') {
    return { format: { count: 1, format: undefined, size: undefined, given: false }, end: start };
  }
  let at = start + 1;
  const digits = /^[0-9]*/.exec(text.slice(at))![0];
  at += digits.length;
  const count = digits === '' ? 1 : Math.min(MAX_COUNT, Number(digits));
  let format: string | undefined;
  let size: number | undefined;
  for (; at < text.length && !/\s/.test(text[at]!); at++) {
    const letter = text[at]!;
    if ('oxduci'.includes(letter)) format = letter;
    else if (SIZES[letter] !== undefined) size = SIZES[letter];
    else throw new ExpressionError(`invalid char in format: '${letter}'`);
  }
  return { format: { count, format, size, given: true }, end: at };
}
