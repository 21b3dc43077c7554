/** As much of a terminal as tests need: text, line ends, cursor position, erasing, the alternate screen. */

export class TerminalScreen {
  readonly columns: number;
  readonly rows: number;
  cursor = { column: 0, row: 0 };
  #cells: string[];
  #rest = '';

  constructor(columns: number, rows: number) {
    this.columns = columns;
    this.rows = rows;
    this.#cells = new Array<string>(columns * rows).fill(' ');
  }

  /** Rows without trailing blanks, joined by line feeds. */
  get text(): string {
    const rows = Array.from({ length: this.rows }, (_, row) =>
      this.#cells
        .slice(row * this.columns, (row + 1) * this.columns)
        .join('')
        .trimEnd(),
    );
    return rows.join('\n');
  }

  at(column: number, row: number): string {
    return this.#cells[row * this.columns + column]!;
  }

  write(text: string): void {
    let input = this.#rest + text;
    this.#rest = '';
    while (input !== '') {
      // biome-ignore lint/suspicious/noControlCharactersInRegex: it is what terminals are sent
      const sequence = /^\x1b\[([?]?)([\d;]*)([@-~])/.exec(input);
      if (sequence !== null) {
        this.#control(sequence[1]! + sequence[3]!, sequence[2]!.split(';').map(Number));
        input = input.slice(sequence[0].length);
      } else if (input[0] === '\x1b' && input.length < 16) {
        this.#rest = input;
        return;
      } else {
        this.#put(input[0]!);
        input = input.slice(1);
      }
    }
  }

  #control(final: string, [first = 0, second = 0]: readonly number[]): void {
    const { cursor, columns } = this;
    if (final === 'H') {
      this.cursor = { column: Math.max(1, second) - 1, row: Math.max(1, first) - 1 };
    } else if (final === 'J' && first === 2) this.#cells.fill(' ');
    else if (final === 'K') {
      this.#cells.fill(' ', cursor.row * columns + cursor.column, (cursor.row + 1) * columns);
    } else if (final === 'D') cursor.column = Math.max(0, cursor.column - Math.max(1, first));
    else if (final === 'C') cursor.column = Math.min(columns - 1, cursor.column + Math.max(1, first));
  }

  #put(character: string): void {
    const { cursor, columns, rows } = this;
    if (character === '\r') cursor.column = 0;
    else if (character === '\b') cursor.column = Math.max(0, cursor.column - 1);
    else if (character === '\n') this.#lineFeed();
    else if (character >= ' ') {
      if (cursor.column === columns) {
        cursor.column = 0;
        this.#lineFeed();
      }
      if (cursor.row < rows) this.#cells[cursor.row * columns + cursor.column] = character;
      cursor.column++;
    }
  }

  #lineFeed(): void {
    if (this.cursor.row < this.rows - 1) {
      this.cursor.row++;
      return;
    }
    this.#cells = [...this.#cells.slice(this.columns), ...new Array<string>(this.columns).fill(' ')];
  }
}
