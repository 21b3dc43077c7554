/**
 * From registers and video memory to a picture: chooses text, graphics or blank, keeps the surface, and draws only
 * when something may have changed. A frame is always drawn whole from what is in memory; QEMU's screendump can show
 * stale rows after changes that it does not watch (plane enable, CGA addressing).
 */
import type { Ns } from '../../machine/clock.ts';
import { drawGraphics, graphicsGeometry } from './graphics.ts';
import { palette16, palette256 } from './palette.ts';
import type { VgaCore } from './state.ts';
import { GR_MISC, VBE_YRES, vbeEnabled } from './state.ts';
import { Surface } from './surface.ts';
import { drawText, isDrawableText, type TextCells, textCells, textGeometry, textRows } from './text.ts';

const PAGE_SHIFT = 12;
/** What start address and pitch registers can reach in standard modes, fonts included: 256 KiB and 1024 long lines. */
const STANDARD_MEMORY = 0x40000 + 1024 * 2048;
/** Until a mode is set the screen has this size (QEMU's placeholder surface). */
const INITIAL_WIDTH = 640;
const INITIAL_HEIGHT = 480;
/** The text cursor changes every 16 frames of a 60 Hz display (QEMU VGA_TEXT_CURSOR_PERIOD_MS / 2). */
const CURSOR_HALF_PERIOD_NS: Ns = 266_000_000;

export type ScreenMode = 'blank' | 'text' | 'graphics';

/** Blink phase of the text cursor at a virtual time, for {@link Display.render}. */
export function isCursorShownAt(now: Ns): boolean {
  return Math.floor(now / CURSOR_HALF_PERIOD_NS) % 2 === 0;
}

export class Display {
  readonly #core: VgaCore;
  readonly #surface: Surface = new Surface(INITIAL_WIDTH, INITIAL_HEIGHT);
  readonly #palette: Uint32Array = new Uint32Array(256);
  /** False until a first mode was drawn: blanking then leaves the screen as it is. */
  #hasPicture: boolean = false;
  #drawnMode: ScreenMode | undefined;
  #drawnCursor: boolean = false;

  constructor(core: VgaCore) {
    this.#core = core;
  }

  get mode(): ScreenMode {
    const { state } = this.#core;
    // Attribute index bit 5 connects the palette to the display: clear, the screen is dark.
    if (!(state.arIndex & 0x20)) return 'blank';
    return state.gr[GR_MISC]! & 1 ? 'graphics' : 'text';
  }

  /** After reset the last picture stays until a mode is set. */
  reset(): void {
    this.#hasPicture = false;
    this.#drawnMode = undefined;
  }

  /** The next render draws, whatever the dirty log says. */
  invalidate(): void {
    this.#drawnMode = undefined;
  }

  /** The current frame; the same object every time, its generation unchanged if nothing was drawn. */
  render(cursorShown: boolean): Surface {
    const { mode } = this;
    if (!this.#mayHaveChanged(mode, cursorShown)) return this.#surface;
    this.#core.touched = false;
    const [first, last] = this.#visiblePages();
    this.#core.dirty?.clear(first, last);
    this.#drawnMode = mode;
    this.#drawnCursor = cursorShown;
    if (mode === 'text') this.#renderText(cursorShown);
    else if (mode === 'graphics') this.#renderGraphics();
    else this.#renderBlank();
    return this.#surface;
  }

  /** Rows of the text screen, or undefined in other modes. */
  text(): string[] | undefined {
    if (this.mode !== 'text') return undefined;
    const geometry = textGeometry(this.#core);
    return isDrawableText(geometry) ? textRows(this.#core, geometry) : undefined;
  }

  /** Pixels of the graphics mode, without drawing it. */
  get graphicsSize(): { readonly width: number; readonly height: number } {
    return graphicsGeometry(this.#core);
  }

  /** The text screen with its attributes, or undefined in other modes. */
  cells(): TextCells | undefined {
    if (this.mode !== 'text') return undefined;
    const geometry = textGeometry(this.#core);
    return isDrawableText(geometry) ? textCells(this.#core, geometry) : undefined;
  }

  #mayHaveChanged(mode: ScreenMode, cursorShown: boolean): boolean {
    if (this.#core.touched || mode !== this.#drawnMode) return true;
    if (mode === 'blank') return false;
    if (mode === 'text' && cursorShown !== this.#drawnCursor) return true;
    const { dirty } = this.#core;
    // Without a log, writes to the linear framebuffer cannot be told.
    if (dirty === undefined) return true;
    const [first, last] = this.#visiblePages();
    return dirty.isDirty(first, last);
  }

  /** First and last page that the picture may be made from. */
  #visiblePages(): readonly [first: number, last: number] {
    const { state, vram } = this.#core;
    const lastPage = (vram.length >>> PAGE_SHIFT) - 1;
    if (!vbeEnabled(state)) return [0, Math.min((STANDARD_MEMORY >>> PAGE_SHIFT) - 1, lastPage)];
    const start = state.vbeStartAddr * 4;
    const end = start + state.vbeLineOffset * state.vbeRegs[VBE_YRES]!;
    return end > vram.length ? [0, lastPage] : [start >>> PAGE_SHIFT, Math.min(end >>> PAGE_SHIFT, lastPage)];
  }

  #renderText(cursorShown: boolean): void {
    const geometry = textGeometry(this.#core);
    if (!isDrawableText(geometry)) return;
    this.#begin(geometry.columns * geometry.cellWidth, geometry.rows * geometry.cellHeight);
    palette16(this.#core.state, this.#palette);
    drawText(this.#core, this.#surface, geometry, this.#palette, cursorShown);
  }

  #renderGraphics(): void {
    const geometry = graphicsGeometry(this.#core);
    this.#begin(geometry.width, geometry.height);
    if (geometry.shift < 2) palette16(this.#core.state, this.#palette);
    else palette256(this.#core.state, this.#palette);
    drawGraphics(this.#core, this.#surface, geometry, this.#palette);
  }

  #renderBlank(): void {
    if (!this.#hasPicture) return;
    this.#surface.pixels.fill(0);
    this.#surface.generation++;
  }

  #begin(width: number, height: number): void {
    this.#surface.resize(width, height);
    this.#surface.generation++;
    this.#hasPicture = true;
  }
}
