/** Text screens as what a terminal must be told: only what changed since the last time. Colours are the terminal's 16. */
import { CP437 } from '../../devices/vga/cp437.ts';
import type { TextCells } from '../../devices/vga/text.ts';

/** The order of red, green and blue is the other way round in a terminal's numbers. */
const ANSI = [0, 4, 2, 6, 1, 5, 3, 7] as const;
const UNKNOWN = -1;

function colors(attribute: number): string {
  const foreground = ANSI[attribute & 7]! + (attribute & 8 ? 90 : 30);
  const background = ANSI[(attribute >> 4) & 7]! + (attribute & 0x80 ? 100 : 40);
  return `\x1b[0;${foreground};${background}m`;
}

/** A text in the middle of an otherwise empty screen. */
export function messageScreen(text: string): TextCells {
  const [columns, rows] = [60, 3];
  const cells = new Uint16Array(columns * rows).fill(0x0720);
  const left = Math.floor((columns - text.length) / 2);
  for (let i = 0; i < text.length; i++) cells[columns + left + i] = 0x0700 | text.charCodeAt(i);
  return { columns, rows, cells, cursor: undefined };
}

export class Painter {
  #terminal = { columns: 0, rows: 0 };
  /** What the terminal shows, by its own rows and columns. */
  #shown: Int32Array = new Int32Array(0);
  #layout = '';
  #cursor = '';

  /** The terminal has this size, and nobody knows what it shows. */
  reset(columns: number, rows: number): void {
    this.#terminal = { columns, rows };
    this.#shown = new Int32Array(columns * rows);
    this.#layout = '';
    this.#cursor = '';
  }

  /** Control sequences and text that make the terminal show the screen. Empty if it does. */
  paint(screen: TextCells): string {
    const { columns, rows } = this.#terminal;
    // Smaller screens stand in the middle; of larger ones the part around the cursor is shown.
    const left = Math.max(0, Math.floor((columns - screen.columns) / 2));
    const top = Math.max(0, Math.floor((rows - screen.rows) / 2));
    const width = Math.min(columns, screen.columns);
    const height = Math.min(rows, screen.rows);
    const skip = Math.min(Math.max(0, (screen.cursor?.row ?? 0) - height + 1), screen.rows - height);
    const layout = `${left},${top},${width},${height}`;
    let text = '';
    if (layout !== this.#layout) {
      this.#layout = layout;
      this.#shown.fill(UNKNOWN);
      text = '\x1b[0m\x1b[2J';
    }
    let attribute = UNKNOWN;
    for (let y = 0; y < height; y++) {
      let isThere = false;
      for (let x = 0; x < width; x++) {
        const cell = screen.cells[(y + skip) * screen.columns + x]!;
        const at = (top + y) * columns + left + x;
        if (this.#shown[at] === cell) {
          isThere = false;
          continue;
        }
        this.#shown[at] = cell;
        if (!isThere) text += `\x1b[${top + y + 1};${left + x + 1}H`;
        isThere = true;
        if (cell >> 8 !== attribute) {
          attribute = cell >> 8;
          text += colors(attribute);
        }
        text += CP437[cell & 0xff]!;
      }
    }
    return text + this.#placeCursor(screen.cursor, left, top - skip, text !== '', width);
  }

  #placeCursor(
    cursor: TextCells['cursor'],
    left: number,
    top: number,
    hasMoved: boolean,
    width: number,
  ): string {
    const isShown = cursor !== undefined && cursor.column < width;
    const wanted = isShown
      ? `\x1b[${top + cursor.row + 1};${left + cursor.column + 1}H\x1b[?25h`
      : '\x1b[?25l';
    if (wanted === this.#cursor && !(hasMoved && isShown)) return '';
    this.#cursor = wanted;
    return wanted;
  }
}
