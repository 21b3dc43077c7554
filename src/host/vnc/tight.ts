/**
 * Tight (the community's RFB specification, "Tight Encoding"): tiles of one colour, of few by palette, of many as they
 * are, the last two compressed. Each tile is a rectangle.
 *
 * Not here: the gradient filter, JPEG (nothing is lost, whatever quality a client asks for), PNG.
 */
import { type Picture, type Rectangle, rectangleHeader, TIGHT } from './encodings.ts';
import type { PendingRectangle, PictureEncoder } from './picture-encoder.ts';
import type { PixelWriter } from './pixel-format.ts';
import { ZlibStream } from './zlib-stream.ts';

const TILE = 64;
const FILL = 0x80;
const EXPLICIT_FILTER = 0x40;
const FILTER_PALETTE = 1;
const MAX_PALETTE = 256;
/** Less than this is sent as it is. */
const MIN_COMPRESSED = 12;
/** Streams by what they carry, so that each sees its like. */
const STREAM_FULL = 0;
const STREAM_TWO = 1;
const STREAM_PALETTE = 2;

export class TightEncoder implements PictureEncoder {
  readonly #streams: (ZlibStream | undefined)[] = [undefined, undefined, undefined];
  readonly #pixels = new Float64Array(TILE * TILE);
  readonly #palette = new Map<number, number>();

  take(picture: Picture, area: Rectangle, writer: PixelWriter): PendingRectangle[] {
    const pending: PendingRectangle[] = [];
    for (let y = 0; y < area.height; y += TILE) {
      for (let x = 0; x < area.width; x += TILE) {
        const tile = {
          x: area.x + x,
          y: area.y + y,
          width: Math.min(TILE, area.width - x),
          height: Math.min(TILE, area.height - y),
        };
        this.#collect(picture, tile, writer);
        pending.push({ header: rectangleHeader(tile, TIGHT), finish: this.#encode(tile, writer) });
      }
    }
    return pending;
  }

  close(): void {
    for (const stream of this.#streams) stream?.close();
  }

  /** The tile's pixels as the client has them, and its colours as long as they are few. */
  #collect(
    { pixels, width: stride }: Picture,
    { x, y, width, height }: Rectangle,
    writer: PixelWriter,
  ): void {
    const palette = this.#palette;
    palette.clear();
    let count = 0;
    let last = -1;
    for (let row = y; row < y + height; row++) {
      for (let column = x; column < x + width; column++) {
        const value = writer.convert(pixels[row * stride + column]!);
        this.#pixels[count++] = value;
        if (value === last) continue;
        last = value;
        if (palette.size <= MAX_PALETTE && !palette.has(value)) palette.set(value, palette.size);
      }
    }
  }

  #encode(tile: Rectangle, writer: PixelWriter): () => Buffer | Promise<Buffer> {
    const { size } = this.#palette;
    if (size === 1) {
      const bytes = Buffer.allocUnsafe(1 + writer.tightBytes);
      bytes[0] = FILL;
      writer.putTight(bytes, 1, this.#pixels[0]!);
      return () => bytes;
    }
    const count = tile.width * tile.height;
    if (size > MAX_PALETTE || size * writer.tightBytes + count > count * writer.tightBytes) {
      const data = Buffer.allocUnsafe(count * writer.tightBytes);
      for (let i = 0, at = 0; i < count; i++) at = writer.putTight(data, at, this.#pixels[i]!);
      return () => this.#compress(Buffer.of(STREAM_FULL << 4), STREAM_FULL, data);
    }
    const stream = size === 2 ? STREAM_TWO : STREAM_PALETTE;
    const head = Buffer.allocUnsafe(3 + size * writer.tightBytes);
    head[0] = EXPLICIT_FILTER | (stream << 4);
    head[1] = FILTER_PALETTE;
    head[2] = size - 1;
    let at = 3;
    for (const value of this.#palette.keys()) at = writer.putTight(head, at, value);
    const data = size === 2 ? this.#bits(tile) : this.#indices(count);
    return () => this.#compress(head, stream, data);
  }

  /** A bit a pixel, rows in whole bytes. */
  #bits({ width, height }: Rectangle): Buffer {
    const rowBytes = Math.ceil(width / 8);
    const data = Buffer.alloc(rowBytes * height);
    for (let y = 0, i = 0; y < height; y++) {
      for (let x = 0; x < width; x++, i++) {
        if (this.#palette.get(this.#pixels[i]!) === 0) continue;
        const at = y * rowBytes + (x >> 3);
        data[at] = data[at]! | (0x80 >> (x & 7));
      }
    }
    return data;
  }

  #indices(count: number): Buffer {
    const data = Buffer.allocUnsafe(count);
    for (let i = 0; i < count; i++) data[i] = this.#palette.get(this.#pixels[i]!)!;
    return data;
  }

  async #compress(head: Buffer, index: number, data: Buffer): Promise<Buffer> {
    if (data.length < MIN_COMPRESSED) return Buffer.concat([head, data]);
    const stream = (this.#streams[index] ??= new ZlibStream());
    const packed = await stream.compress(data);
    return Buffer.concat([head, compactLength(packed.length), packed]);
  }
}

/** Seven bits a byte, the lowest first; the third has eight. */
function compactLength(length: number): Buffer {
  if (length < 0x80) return Buffer.of(length);
  if (length < 0x4000) return Buffer.of((length & 0x7f) | 0x80, length >> 7);
  return Buffer.of((length & 0x7f) | 0x80, ((length >> 7) & 0x7f) | 0x80, length >> 14);
}
