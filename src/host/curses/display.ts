/**
 * `-display curses`: the text screen on the terminal, by control sequences of our own. Escape and a digit, or Alt and a
 * digit, chooses what is shown: 1 the screen, then monitor and serial ports that are `vc`.
 *
 * Not here: the mouse, colours beyond the terminal's 16, a guest's own font.
 */
import type { Machine } from '../../machine/machine.ts';
import { KeyQueue } from '../../monitor/commands/keys.ts';
import { OUTPUT_LIMIT } from '../chardev/chardev.ts';
import { fullScreen, rawTerminal, restoreTerminal } from '../terminal.ts';
import { parseTerminalInput } from './keys.ts';
import { messageScreen, Painter } from './painter.ts';
import type { VirtualConsole } from './virtual-console.ts';

const REFRESH_MS = 33;
/** A key is down so long, and up before the next; virtual time. */
const HOLD_MS = 10;
const ENTER = '\x1b[?1049h\x1b[2J\x1b[H';
const LEAVE = '\x1b[0m\x1b[?25h\x1b[?1049l';
const ESCAPE = 0x1b;

export class CursesDisplay {
  readonly #machine: Machine;
  readonly #consoles: readonly VirtualConsole[];
  readonly #painter = new Painter();
  readonly #keys: KeyQueue;
  #timer: NodeJS.Timeout | undefined;
  #chosen: VirtualConsole | undefined;

  /** Console 2 is the first of `consoles`. */
  constructor(machine: Machine, consoles: readonly VirtualConsole[]) {
    this.#machine = machine;
    this.#consoles = consoles;
    this.#keys = new KeyQueue(machine);
  }

  start(): void {
    const { stdin, stdout } = process;
    rawTerminal();
    fullScreen(ENTER, LEAVE);
    stdin.on('data', this.#onInput);
    stdout.on('resize', this.#onResize);
    stdout.on('drain', this.#onDrain);
    this.#onResize();
    this.#timer = setInterval(() => this.#refresh(), REFRESH_MS);
  }

  close(): void {
    if (this.#timer === undefined) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    const { stdin, stdout } = process;
    stdin.off('data', this.#onInput);
    stdout.off('resize', this.#onResize);
    stdout.off('drain', this.#onDrain);
    stdin.pause();
    restoreTerminal();
  }

  // ---- output

  readonly #onResize = (): void => {
    const { columns, rows } = process.stdout;
    this.#painter.reset(columns, rows);
    this.#refresh();
  };

  readonly #onDrain = (): void => this.#chosen?.writable();

  #refresh(): void {
    // A terminal that does not keep up gets the next picture later.
    if (this.#chosen !== undefined || process.stdout.writableLength > 0) return;
    const text = this.#painter.paint(this.#screen());
    if (text !== '') process.stdout.write(text);
  }

  #screen(): ReturnType<typeof messageScreen> {
    const { screen } = this.#machine;
    if (screen === undefined) return messageScreen('This VM has no graphic display device.');
    const cells = screen.textCells();
    if (cells !== undefined) return cells;
    if (screen.mode !== 'graphics') return messageScreen('VGA Blank mode');
    const { width, height } = screen.graphicsSize;
    return messageScreen(`${width} x ${height} Graphic mode`);
  }

  #choose(number: number): void {
    const next = this.#consoles[number - 1];
    if (number > 0 && next === undefined) return;
    const last = this.#chosen;
    if (next !== undefined && next === last) return;
    this.#chosen = next;
    if (last !== undefined) {
      last.shown = undefined;
      last.writable();
    }
    const { stdout } = process;
    if (next === undefined) {
      this.#onResize();
      return;
    }
    stdout.write('\x1b[0m\x1b[2J\x1b[H\x1b[?25h');
    stdout.write(next.history);
    next.shown = (bytes) => {
      const count = Math.min(bytes.length, OUTPUT_LIMIT - stdout.writableLength);
      if (count <= 0) return 0;
      stdout.write(Buffer.from(bytes.subarray(0, count)));
      return count;
    };
  }

  // ---- input

  readonly #onInput = (chunk: Uint8Array | string): void => {
    let bytes: Uint8Array = typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
    while (bytes.length > 0) bytes = bytes.subarray(this.#take(bytes));
  };

  /** Returns how many bytes belonged to what is shown now. */
  #take(bytes: Uint8Array): number {
    const at = bytes.findIndex((byte, i) => byte === ESCAPE && isDigit(bytes[i + 1]));
    const mine = at < 0 ? bytes : bytes.subarray(0, at);
    if (mine.length > 0) {
      if (this.#chosen !== undefined) this.#chosen.type(Uint8Array.from(mine));
      else this.#press(mine);
    }
    if (at < 0) return bytes.length;
    this.#choose(bytes[at + 1]! - 0x31);
    return at + 2;
  }

  #press(bytes: Uint8Array): void {
    for (const keys of parseTerminalInput(bytes)) this.#keys.play(keys, HOLD_MS);
  }
}

/** 1 to 9. */
function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 0x31 && byte <= 0x39;
}
