/**
 * Text modes: characters and attributes from planes 0 and 1, glyphs from plane 2.
 * Reference: IBM VGA technical reference, "Alphanumeric Modes"; picture as QEMU's screendump shows it.
 *
 * Not emulated, as in QEMU: blinking characters (attribute bit 7 is always bright background), underline, double
 * scan, 18-dot characters, pixel panning, preset row scan.
 */
import { CP437 } from './cp437.ts';
import type { VgaCore } from './state.ts';
import {
  AR_MODE,
  CR_CURSOR_END,
  CR_CURSOR_HIGH,
  CR_CURSOR_LOW,
  CR_CURSOR_START,
  CR_H_DISPLAY_END,
  CR_MAX_SCAN,
  CR_V_TOTAL,
  lineCompare,
  lineOffset,
  SR_CHARACTER_MAP,
  SR_CLOCKING_MODE,
  sequencer,
  startAddress,
  verticalDisplayEnd,
} from './state.ts';
import type { Surface } from './surface.ts';

/** QEMU draws no text screen of more characters (CH_ATTR_SIZE). */
const MAX_CHARACTERS = 160 * 100;
/** Bytes between glyphs and between font tables, in interleaved memory. */
const GLYPH_BYTES = 32 * 4;
const FONT_BYTES = 8192 * 4;

export interface TextGeometry {
  readonly columns: number;
  readonly rows: number;
  /** Dots: 8, 9, or 16 for the half dot clock. */
  readonly cellWidth: number;
  readonly cellHeight: number;
}

export function textGeometry(core: VgaCore): TextGeometry {
  const { cr } = core.state;
  const clocking = sequencer(core, SR_CLOCKING_MODE);
  const cellHeight = (cr[CR_MAX_SCAN]! & 0x1f) + 1;
  let cellWidth = clocking & 0x01 ? 8 : 9;
  if (clocking & 0x08) cellWidth = 16;
  // A vertical total of 100 is the CGA 160x100 trick, whose rows cannot be told from the display end.
  const rows = cr[CR_V_TOTAL] === 100 ? 100 : Math.floor(verticalDisplayEnd(core.state) / cellHeight);
  return { columns: cr[CR_H_DISPLAY_END]! + 1, rows, cellWidth, cellHeight };
}

/** Sizes that a guest passes through while it programs a mode, or that are beyond the limit, are not drawn. */
export function isDrawableText({ columns, rows }: TextGeometry): boolean {
  return rows * columns > 1 && rows * columns <= MAX_CHARACTERS;
}

/** Where the two fonts that attribute bit 3 chooses from begin in video memory. */
function fontOffsets(core: VgaCore): [number, number] {
  const map = sequencer(core, SR_CHARACTER_MAP);
  const first = ((map >> 4) & 1) | ((map << 1) & 6);
  const second = ((map >> 5) & 1) | ((map >> 1) & 6);
  return [first * FONT_BYTES + 2, second * FONT_BYTES + 2];
}

/** Cursor scan lines within a cell, or undefined when it is off or its shape is empty. */
function cursorLines(cr: Uint8Array, cellHeight: number): [number, number] | undefined {
  if (cr[CR_CURSOR_START]! & 0x20) return undefined;
  const first = cr[CR_CURSOR_START]! & 0x1f;
  const last = Math.min(cr[CR_CURSOR_END]! & 0x1f, cellHeight - 1);
  return first <= last ? [first, last] : undefined;
}

/** The 8 bits of a glyph's line, widened to the cell: bit 15 of the result is the leftmost dot. */
function dots(bits: number, cellWidth: number, repeatLast: boolean): number {
  if (cellWidth === 16) {
    let wide = 0;
    for (let i = 0; i < 8; i++) if (bits & (1 << i)) wide |= 3 << (2 * i);
    return wide;
  }
  return (bits << 8) | (repeatLast && bits & 1 ? 0x80 : 0);
}

/** Draws the text screen; the surface has its size already. */
export function drawText(
  core: VgaCore,
  surface: Surface,
  geometry: TextGeometry,
  palette: Uint32Array,
  cursorShown: boolean,
): void {
  const { state, vram } = core;
  const { columns, rows, cellWidth, cellHeight } = geometry;
  const fonts = fontOffsets(core);
  const cursor = cursorShown ? cursorLines(state.cr, cellHeight) : undefined;
  const cursorAddress = ((state.cr[CR_CURSOR_HIGH]! << 8) | state.cr[CR_CURSOR_LOW]!) * 4;
  // Line graphics characters 0xb0-0xdf carry on into the ninth dot.
  const lineGraphics = (state.ar[AR_MODE]! & 0x04) !== 0;
  const compare = lineCompare(state);
  const pitch = lineOffset(state);
  let rowAddress = startAddress(state) * 4;
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const address = rowAddress + column * 4;
      if (address + 2 > vram.length) break;
      const code = vram[address]!;
      const attribute = vram[address + 1]!;
      const foreground = palette[attribute & 15]!;
      const background = palette[attribute >> 4]!;
      const glyph = fonts[(attribute >> 3) & 1]! + code * GLYPH_BYTES;
      const repeatLast = lineGraphics && code >= 0xb0 && code <= 0xdf;
      const hasCursor = cursor !== undefined && address === cursorAddress;
      let at = row * cellHeight * surface.width + column * cellWidth;
      for (let line = 0; line < cellHeight; line++) {
        const inCursor = hasCursor && line >= cursor[0] && line <= cursor[1];
        const bits = inCursor ? 0xffff : dots(vram[glyph + line * 4]!, cellWidth, repeatLast);
        for (let x = 0; x < cellWidth; x++) {
          surface.pixels[at + x] = bits & (0x8000 >> x) ? foreground : background;
        }
        at += surface.width;
      }
    }
    rowAddress += pitch;
    const top = row * cellHeight;
    if (top < compare && top + cellHeight >= compare) rowAddress = 0;
  }
}

/** The screen's characters as Unicode, one string a row, trailing blanks kept. */
export function textRows(core: VgaCore, { columns, rows, cellHeight }: TextGeometry): string[] {
  const { state, vram } = core;
  const compare = lineCompare(state);
  const pitch = lineOffset(state);
  let rowAddress = startAddress(state) * 4;
  const result: string[] = [];
  for (let row = 0; row < rows; row++) {
    let text = '';
    for (let column = 0; column < columns; column++) text += CP437[vram[rowAddress + column * 4] ?? 0]!;
    result.push(text);
    rowAddress += pitch;
    const top = row * cellHeight;
    if (top < compare && top + cellHeight >= compare) rowAddress = 0;
  }
  return result;
}

/** The text screen as codes: what a terminal needs to show it. */
export interface TextCells {
  readonly columns: number;
  readonly rows: number;
  /** Character of code page 437 in the low byte, attribute in the high one; row by row. */
  readonly cells: Uint16Array;
  /** Undefined: off, or not on the screen. */
  readonly cursor: { readonly column: number; readonly row: number } | undefined;
}

export function textCells(core: VgaCore, { columns, rows, cellHeight }: TextGeometry): TextCells {
  const { state, vram } = core;
  const { cr } = state;
  const compare = lineCompare(state);
  const pitch = lineOffset(state);
  const hasCursor = cursorLines(cr, cellHeight) !== undefined;
  const cursorAddress = ((cr[CR_CURSOR_HIGH]! << 8) | cr[CR_CURSOR_LOW]!) * 4;
  const cells = new Uint16Array(columns * rows);
  let cursor: TextCells['cursor'];
  let rowAddress = startAddress(state) * 4;
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const address = rowAddress + column * 4;
      cells[row * columns + column] = (vram[address] ?? 0) | ((vram[address + 1] ?? 0) << 8);
      if (hasCursor && address === cursorAddress) cursor = { column, row };
    }
    rowAddress += pitch;
    const top = row * cellHeight;
    if (top < compare && top + cellHeight >= compare) rowAddress = 0;
  }
  return { columns, rows, cells, cursor };
}
