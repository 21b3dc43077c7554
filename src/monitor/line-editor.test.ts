import { describe, expect, test } from 'vitest';
import { LineEditor } from './line-editor.ts';

const ESCAPE = String.fromCharCode(27);
/** A cursor movement, or a character. */
const TOKEN = new RegExp(`${ESCAPE}\\[(\\d*)([CDK])|[^${ESCAPE}]`, 'g');

/** A terminal of one line that understands what the editor writes. */
class Screen {
  raw = '';
  readonly lines: string[] = [];
  readonly editor: LineEditor;
  readonly entered: string[] = [];

  constructor(words: readonly string[] = []) {
    this.editor = new LineEditor({
      prompt: '(qemu) ',
      write: (text) => {
        this.raw += text;
      },
      onLine: (line) => {
        this.entered.push(line);
        this.editor.prompt();
      },
      complete: (line) => {
        const start = /\S*$/.exec(line)!.index;
        return { start, words: words.filter((word) => word.startsWith(line.slice(start))) };
      },
    });
    this.editor.prompt();
  }

  type(text: string): this {
    for (const byte of Buffer.from(text)) this.editor.input(byte);
    return this;
  }

  /** What is on the last line, and the cursor as |. */
  get line(): string {
    let text = '';
    let at = 0;
    const last = this.raw.slice(this.raw.lastIndexOf('\n') + 1);
    for (const match of last.matchAll(TOKEN)) {
      const [token, count, letter] = match;
      if (letter === 'D') at -= Number(count);
      else if (letter === 'C') at += Number(count);
      else if (letter === 'K') text = text.slice(0, at);
      else {
        text = text.slice(0, at) + token + text.slice(at + 1);
        at++;
      }
    }
    return `${text.slice(0, at)}|${text.slice(at)}`;
  }
}

describe('line editor', () => {
  test('the prompt stands plain at the end of the output, for expect scripts', () => {
    const screen = new Screen();
    screen.type('info status\n');
    expect(screen.raw).toBe('(qemu) info status\n(qemu) ');
    expect(screen.entered).toEqual(['info status']);
  });

  test('CR LF is one line end, each of them alone is one, too', () => {
    expect(new Screen().type('a\r\nb\rc\n').entered).toEqual(['a', 'b', 'c']);
  });

  test.each([
    ['abc\x1b[D\x1b[DX', '(qemu) aX|bc'],
    ['abc\x01X', '(qemu) X|abc'],
    ['abc\x01\x05X', '(qemu) abcX|'],
    ['abc\x02\x7f', '(qemu) a|c'],
    ['abc\x01\x04', '(qemu) |bc'],
    ['abc def\x17', '(qemu) abc |'],
    ['abc def\x02\x02\x0b', '(qemu) abc d|'],
    ['abc def\x02\x15', '(qemu) |f'],
    ['abc\x1b[H\x1b[3~\x1b[F!', '(qemu) bc!|'],
    ['abc\x1bOD\x1bOC.', '(qemu) abc.|'],
    ['naïve\x02\x7f', '(qemu) naï|e'],
  ])('%j', (keys, line) => {
    expect(new Screen().type(keys).line).toBe(line);
  });

  test('history: up, down, the line being typed comes back, no doubles', () => {
    const screen = new Screen().type('one\ntwo\none\nhalf\x1b[A\x1b[A');
    expect(screen.line).toBe('(qemu) two|');
    expect(screen.editor.history).toEqual(['two', 'one']);
    expect(screen.type('\x0e\x0e').line).toBe('(qemu) half|');
  });

  test('Tab: one fit is taken with a blank, several are listed in columns', () => {
    const screen = new Screen(['savevm', 'sendkey', 'stop']);
    expect(screen.type('sa\t').line).toBe('(qemu) savevm |');
    screen.type('\x15s\t');
    expect(screen.raw).toContain('\nsavevm   sendkey  stop\n');
    expect(screen.line).toBe('(qemu) s|');
  });

  test('a line has a limit', () => {
    const screen = new Screen().type('x'.repeat(5000));
    screen.type('\n');
    expect(screen.entered[0]).toHaveLength(4095);
  });
});
