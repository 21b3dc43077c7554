/**
 * Line editing on any stream of bytes: cursor keys, Ctrl-a b d e f h k n p u w, history, Tab. Written for the monitor
 * because expect scripts wait for a plain `(qemu) ` at the end of the output, where node:readline adds escape sequences,
 * and so that it works the same on a terminal, a socket and in a browser.
 */
import type { Completion } from './completion.ts';

export interface LineEditorOptions {
  readonly prompt: string;
  /** Text for the terminal; \n ends a line. */
  readonly write: (text: string) => void;
  readonly onLine: (line: string) => void;
  readonly complete: (line: string) => Completion;
}

/** A longer line is cut off: QEMU's READLINE_CMD_BUF_SIZE. */
const MAX_LINE = 4095;
/** QEMU's READLINE_MAX_CMDS. */
const MAX_HISTORY = 64;
/** Widths of the list of completions. */
const SCREEN_COLUMNS = 80;
const BELL = '\x07';

const CONTROL_KEYS: Readonly<Record<number, Action>> = {
  1: 'home',
  2: 'left',
  4: 'delete',
  5: 'end',
  6: 'right',
  8: 'backspace',
  9: 'complete',
  11: 'kill-to-end',
  12: 'redraw',
  14: 'next',
  16: 'previous',
  21: 'kill-to-start',
  23: 'kill-word',
  127: 'backspace',
};
const ESCAPE_KEYS: Readonly<Record<string, Action>> = {
  '[A': 'previous',
  '[B': 'next',
  '[C': 'right',
  '[D': 'left',
  '[H': 'home',
  '[F': 'end',
  '[1~': 'home',
  '[3~': 'delete',
  '[4~': 'end',
  '[7~': 'home',
  '[8~': 'end',
  OA: 'previous',
  OB: 'next',
  OC: 'right',
  OD: 'left',
  OH: 'home',
  OF: 'end',
};

type Action =
  | 'home'
  | 'left'
  | 'delete'
  | 'end'
  | 'right'
  | 'backspace'
  | 'complete'
  | 'kill-to-end'
  | 'redraw'
  | 'next'
  | 'previous'
  | 'kill-to-start'
  | 'kill-word';

export class LineEditor {
  /** Oldest first. */
  readonly history: string[] = [];
  readonly #options: LineEditorOptions;
  #text = '';
  #cursor = 0;
  /** Place in the history; its length while a new line is typed. */
  #place = 0;
  #draft = '';
  #escape: string | undefined;
  #wasReturn = false;
  #decoder = new TextDecoder();

  constructor(options: LineEditorOptions) {
    this.#options = options;
  }

  /** Begins a new line. */
  prompt(): void {
    this.#text = '';
    this.#cursor = 0;
    this.#place = this.history.length;
    this.#escape = undefined;
    this.#options.write(this.#options.prompt);
  }

  /** One byte from the terminal. */
  input(byte: number): void {
    const wasReturn = this.#wasReturn;
    this.#wasReturn = byte === 13;
    if (this.#escape !== undefined) this.#escapeByte(byte);
    else if (byte === 10 && wasReturn) return;
    else if (byte === 10 || byte === 13) this.#enter();
    else if (byte === 27) this.#escape = '';
    else if (byte < 32 || byte === 127) {
      const action = CONTROL_KEYS[byte];
      if (action !== undefined) this.#act(action);
    } else this.#insert(this.#decoder.decode(Uint8Array.of(byte), { stream: true }));
  }

  #escapeByte(byte: number): void {
    this.#escape += String.fromCharCode(byte);
    const sequence = this.#escape!;
    if (sequence === '[' || sequence === 'O') return;
    const isWhole = byte >= 0x40 && byte <= 0x7e;
    if (!isWhole && sequence.length < 8) return;
    this.#escape = undefined;
    const action = ESCAPE_KEYS[sequence];
    if (action !== undefined) this.#act(action);
  }

  #enter(): void {
    const line = this.#text;
    this.#options.write('\n');
    if (line.trim() !== '') this.#remember(line);
    this.#text = '';
    this.#cursor = 0;
    this.#options.onLine(line);
  }

  #remember(line: string): void {
    const known = this.history.indexOf(line);
    if (known >= 0) this.history.splice(known, 1);
    this.history.push(line);
    if (this.history.length > MAX_HISTORY) this.history.shift();
  }

  #insert(text: string): void {
    if (text === '') return;
    if (this.#text.length + text.length > MAX_LINE) {
      this.#options.write(BELL);
      return;
    }
    const atEnd = this.#cursor === this.#text.length;
    if (atEnd) {
      this.#text += text;
      this.#cursor += text.length;
      this.#options.write(text);
    } else {
      this.#replace(
        this.#text.slice(0, this.#cursor) + text + this.#text.slice(this.#cursor),
        this.#cursor + text.length,
      );
    }
  }

  #act(action: Action): void {
    const edit = edited(action, this.#text, this.#cursor);
    if (edit !== undefined) {
      if (edit.text === this.#text) this.#move(edit.cursor);
      else this.#replace(edit.text, edit.cursor);
    } else if (action === 'previous') this.#recall(this.#place - 1);
    else if (action === 'next') this.#recall(this.#place + 1);
    else if (action === 'complete') this.#complete();
    else {
      this.#options.write('\x1b[2J\x1b[1;1H');
      this.redraw();
    }
  }

  #recall(place: number): void {
    if (place < 0 || place > this.history.length) return;
    if (this.#place === this.history.length) this.#draft = this.#text;
    this.#place = place;
    const text = this.history[place] ?? this.#draft;
    this.#replace(text, text.length);
  }

  #complete(): void {
    const before = this.#text.slice(0, this.#cursor);
    const { start, words } = this.#options.complete(before);
    if (words.length === 0) return;
    const typed = before.slice(start);
    if (words.length === 1) {
      const word = words[0]!;
      this.#insert(word.slice(typed.length) + (word.endsWith('/') ? '' : ' '));
      return;
    }
    const common = words.reduce(commonPrefix);
    if (common.length > typed.length) this.#insert(common.slice(typed.length));
    this.#options.write(`\n${inColumns(words)}`);
    this.redraw();
  }

  /** Prompt and line again, after other output. */
  redraw(): void {
    this.#options.write(this.#options.prompt + this.#text);
    this.#options.write(cursorLeft(this.#text.length - this.#cursor));
  }

  #move(to: number): void {
    const by = to - this.#cursor;
    if (by === 0) return;
    this.#cursor = to;
    this.#options.write(by > 0 ? `\x1b[${by}C` : cursorLeft(-by));
  }

  #replace(text: string, cursor: number): void {
    const back = cursorLeft(this.#cursor);
    this.#text = text.slice(0, MAX_LINE);
    this.#cursor = Math.min(cursor, this.#text.length);
    this.#options.write(`${back}${this.#text}\x1b[K${cursorLeft(this.#text.length - this.#cursor)}`);
  }
}

/** Line and cursor after an action that changes only those. */
function edited(action: Action, text: string, at: number): { text: string; cursor: number } | undefined {
  switch (action) {
    case 'home':
      return { text, cursor: 0 };
    case 'end':
      return { text, cursor: text.length };
    case 'left':
      return { text, cursor: Math.max(0, at - 1) };
    case 'right':
      return { text, cursor: Math.min(text.length, at + 1) };
    case 'backspace':
      return { text: text.slice(0, Math.max(0, at - 1)) + text.slice(at), cursor: Math.max(0, at - 1) };
    case 'delete':
      return { text: text.slice(0, at) + text.slice(at + 1), cursor: at };
    case 'kill-to-end':
      return { text: text.slice(0, at), cursor: at };
    case 'kill-to-start':
      return { text: text.slice(at), cursor: 0 };
    case 'kill-word': {
      const start = /\S*\s*$/.exec(text.slice(0, at))!.index;
      return { text: text.slice(0, start) + text.slice(at), cursor: start };
    }
    default:
      return undefined;
  }
}

function cursorLeft(count: number): string {
  return count === 0 ? '' : `\x1b[${count}D`;
}

function commonPrefix(a: string, b: string): string {
  let length = 0;
  while (length < a.length && a[length] === b[length]) length++;
  return a.slice(0, length);
}

function inColumns(words: readonly string[]): string {
  const width = Math.min(SCREEN_COLUMNS, Math.max(...words.map((word) => word.length)) + 2);
  const perLine = Math.max(1, Math.floor(SCREEN_COLUMNS / width));
  let text = '';
  words.forEach((word, i) => {
    const isLast = i % perLine === perLine - 1 || i === words.length - 1;
    text += isLast ? `${word}\n` : word.padEnd(width);
  });
  return text;
}
