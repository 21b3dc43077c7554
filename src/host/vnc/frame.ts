/**
 * What is on the screen, kept for comparing: which tiles of 64 × 64 pixels changed since the last look. One for all
 * clients. A look at a screen that did not change costs the look at the dirty pages of video memory.
 */
import { isCursorShownAt } from '../../devices/vga/render.ts';
import type { Machine } from '../../machine/machine.ts';
import type { Picture, Rectangle } from './encodings.ts';

export const TILE = 64;
/** What a machine without a screen shows. */
const BLANK = { width: 640, height: 480 };

export interface FrameChange {
  /** The size is another; `tiles` are those of the new picture, all changed. */
  readonly resized: boolean;
  /** By row, then column: 1 is changed. */
  readonly tiles: Uint8Array;
}

export class Frame implements Picture {
  readonly #machine: Machine;
  width: number = BLANK.width;
  height: number = BLANK.height;
  pixels: Uint32Array = new Uint32Array(BLANK.width * BLANK.height);
  #generation = -1;

  constructor(machine: Machine) {
    this.#machine = machine;
  }

  get columns(): number {
    return Math.ceil(this.width / TILE);
  }
  get rows(): number {
    return Math.ceil(this.height / TILE);
  }

  /** Takes over what the screen shows now. Undefined: nothing changed. */
  refresh(): FrameChange | undefined {
    const { screen, clock } = this.#machine;
    if (screen === undefined) return undefined;
    const surface = screen.render(isCursorShownAt(clock.now()));
    if (surface.generation === this.#generation) return undefined;
    this.#generation = surface.generation;
    const { width, height } = surface;
    if (width !== this.width || height !== this.height) {
      this.width = width;
      this.height = height;
      this.pixels = surface.pixels.slice(0, width * height);
      return { resized: true, tiles: new Uint8Array(this.columns * this.rows).fill(1) };
    }
    return this.#compare(surface.pixels);
  }

  #compare(now: Uint32Array): FrameChange | undefined {
    const { width, height, columns, pixels } = this;
    const tiles = new Uint8Array(columns * this.rows);
    let isChanged = false;
    for (let y = 0; y < height; y++) {
      const tileRow = Math.floor(y / TILE) * columns;
      for (let column = 0; column < columns; column++) {
        const from = y * width + column * TILE;
        const to = Math.min(from + TILE, (y + 1) * width);
        let at = from;
        while (at < to && pixels[at] === now[at]) at++;
        if (at === to) continue;
        for (; at < to; at++) pixels[at] = now[at]!;
        tiles[tileRow + column] = 1;
        isChanged = true;
      }
    }
    return isChanged ? { resized: false, tiles } : undefined;
  }

  /** Marked tiles as few rectangles, a run of neighbours in a row each. */
  rectangles(tiles: Uint8Array): Rectangle[] {
    const { columns, rows } = this;
    const found: Rectangle[] = [];
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        if (!tiles[row * columns + column]) continue;
        const first = column;
        while (column + 1 < columns && tiles[row * columns + column + 1]) column++;
        const x = first * TILE;
        const y = row * TILE;
        found.push({
          x,
          y,
          width: Math.min((column + 1) * TILE, this.width) - x,
          height: Math.min(TILE, this.height - y),
        });
      }
    }
    return joined(found);
  }
}

/** Rectangles right below one another become one. */
function joined(rectangles: readonly Rectangle[]): Rectangle[] {
  const result: Rectangle[] = [];
  for (const next of rectangles) {
    const above = result.findIndex(
      ({ x, y, width, height }) => x === next.x && width === next.width && y + height === next.y,
    );
    if (above < 0) result.push(next);
    else result[above] = { ...result[above]!, height: result[above]!.height + next.height };
  }
  return result;
}
