/**
 * Pictures as bytes: Raw and ZRLE (RFC 6143, sections 7.7.1 and 7.7.6); the numbers of what clients may ask for.
 * Hextile and Tight have files of their own. Not here: RRE, JPEG.
 */
import type { PixelWriter } from './pixel-format.ts';

export const RAW = 0;
export const HEXTILE = 5;
export const TIGHT = 7;
export const ZRLE = 16;
/** Pseudo-encodings: what a client understands (RFC 6143 7.8, and the community's registry of numbers). */
export const CURSOR = -239;
export const DESKTOP_SIZE = -223;
export const EXTENDED_DESKTOP_SIZE = -308;
export const POINTER_TYPE = -257;
export const EXTENDED_KEY = -258;
export const LED_STATE = -261;

/** Pixels of the screen, 0x00RRGGBB. */
export interface Picture {
  readonly width: number;
  readonly height: number;
  readonly pixels: Uint32Array;
}

export interface Rectangle {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

export function rectangleHeader({ x, y, width, height }: Rectangle, encoding: number): Buffer {
  const bytes = Buffer.alloc(12);
  bytes.writeUInt16BE(x, 0);
  bytes.writeUInt16BE(y, 2);
  bytes.writeUInt16BE(width, 4);
  bytes.writeUInt16BE(height, 6);
  bytes.writeInt32BE(encoding, 8);
  return bytes;
}

export function encodeRaw(picture: Picture, area: Rectangle, writer: PixelWriter): Buffer {
  const bytes = Buffer.allocUnsafe(area.width * area.height * writer.bytesPerPixel);
  let at = 0;
  for (let y = area.y; y < area.y + area.height; y++) {
    const row = y * picture.width;
    for (let x = area.x; x < area.x + area.width; x++) {
      at = writer.put(bytes, at, writer.convert(picture.pixels[row + x]!));
    }
  }
  return bytes;
}

const TILE = 64;
/** Palettes of up to 16 colours are packed into 1, 2 or 4 bits. */
const MAX_PALETTE = 16;

/** ZRLE's tiles, not yet compressed. */
export function encodeZrleTiles(picture: Picture, area: Rectangle, writer: PixelWriter): Buffer {
  // A tile is never larger than when raw, but for its first byte.
  const tiles = Math.ceil(area.width / TILE) * Math.ceil(area.height / TILE);
  const bytes = Buffer.allocUnsafe(area.width * area.height * writer.compactBytes + tiles);
  const tile = new TileEncoder(writer);
  let at = 0;
  for (let y = 0; y < area.height; y += TILE) {
    for (let x = 0; x < area.width; x += TILE) {
      const width = Math.min(TILE, area.width - x);
      const height = Math.min(TILE, area.height - y);
      tile.take(picture, area.x + x, area.y + y, width, height);
      at = tile.write(bytes, at);
    }
  }
  return bytes.subarray(0, at);
}

class TileEncoder {
  readonly #writer: PixelWriter;
  readonly #pixels = new Uint32Array(TILE * TILE);
  readonly #palette = new Map<number, number>();
  #width = 0;
  #height = 0;

  constructor(writer: PixelWriter) {
    this.#writer = writer;
  }

  /** Converts a tile and collects its colours, as long as they are few. */
  take({ pixels, width: stride }: Picture, left: number, top: number, width: number, height: number): void {
    this.#width = width;
    this.#height = height;
    const palette = this.#palette;
    palette.clear();
    let count = 0;
    let last = -1;
    for (let y = 0; y < height; y++) {
      const row = (top + y) * stride + left;
      for (let x = 0; x < width; x++) {
        const value = this.#writer.convert(pixels[row + x]!);
        this.#pixels[count++] = value;
        if (value === last) continue;
        last = value;
        if (palette.size <= MAX_PALETTE && !palette.has(value)) palette.set(value, palette.size);
      }
    }
  }

  write(target: Buffer, at: number): number {
    const { size } = this.#palette;
    if (size === 1) {
      target[at] = 1;
      return this.#writer.putCompact(target, at + 1, this.#pixels[0]!);
    }
    const bits = size <= 2 ? 1 : size <= 4 ? 2 : 4;
    const packed = size * this.#writer.compactBytes + Math.ceil((this.#width * bits) / 8) * this.#height;
    const raw = this.#width * this.#height * this.#writer.compactBytes;
    if (size > MAX_PALETTE || packed > raw) return this.#writeRaw(target, at);
    return this.#writePacked(target, at, bits);
  }

  #writeRaw(target: Buffer, at: number): number {
    target[at++] = 0;
    const count = this.#width * this.#height;
    for (let i = 0; i < count; i++) at = this.#writer.putCompact(target, at, this.#pixels[i]!);
    return at;
  }

  #writePacked(target: Buffer, at: number, bits: number): number {
    const palette = this.#palette;
    target[at++] = palette.size;
    for (const value of palette.keys()) at = this.#writer.putCompact(target, at, value);
    for (let y = 0, i = 0; y < this.#height; y++) {
      let byte = 0;
      let room = 8;
      for (let x = 0; x < this.#width; x++, i++) {
        room -= bits;
        byte |= palette.get(this.#pixels[i]!)! << room;
        if (room > 0) continue;
        target[at++] = byte;
        byte = 0;
        room = 8;
      }
      if (room < 8) target[at++] = byte;
    }
    return at;
  }
}
