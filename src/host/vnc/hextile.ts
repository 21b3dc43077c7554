/**
 * Hextile (RFC 6143, section 7.7.4): tiles of 16 × 16, each raw, or a background with rectangles on it. Old clients and
 * small ones know nothing better.
 */
import type { Picture, Rectangle } from './encodings.ts';
import type { PixelWriter } from './pixel-format.ts';

const TILE = 16;
const IS_RAW = 1;
const HAS_BACKGROUND = 2;
const HAS_FOREGROUND = 4;
const HAS_RECTANGLES = 8;
const HAS_COLORS = 16;
/** No pixel of a client's: what the client knows of background and foreground is void. */
const UNKNOWN = -1;

export function encodeHextile(picture: Picture, area: Rectangle, writer: PixelWriter): Buffer {
  const tiles = Math.ceil(area.width / TILE) * Math.ceil(area.height / TILE);
  // A tile is never larger than when raw, but for its first byte; a try may be, before it is given up.
  const room =
    area.width * area.height * writer.bytesPerPixel + tiles + TILE * TILE * (writer.bytesPerPixel + 2);
  const encoder = new Hextile(Buffer.allocUnsafe(room + 16), writer);
  for (let y = 0; y < area.height; y += TILE) {
    for (let x = 0; x < area.width; x += TILE) {
      const width = Math.min(TILE, area.width - x);
      const height = Math.min(TILE, area.height - y);
      encoder.take(picture, area.x + x, area.y + y, width, height);
      encoder.write();
    }
  }
  return encoder.bytes;
}

class Hextile {
  readonly #target: Buffer;
  readonly #writer: PixelWriter;
  readonly #pixels = new Float64Array(TILE * TILE);
  /** The same while rectangles are found: what is found becomes background. */
  readonly #left = new Float64Array(TILE * TILE);
  #width = 0;
  #height = 0;
  #at = 0;
  #background = UNKNOWN;
  #foreground = UNKNOWN;

  constructor(target: Buffer, writer: PixelWriter) {
    this.#target = target;
    this.#writer = writer;
  }

  get bytes(): Buffer {
    return this.#target.subarray(0, this.#at);
  }

  take({ pixels, width: stride }: Picture, left: number, top: number, width: number, height: number): void {
    this.#width = width;
    this.#height = height;
    let count = 0;
    for (let y = top; y < top + height; y++) {
      for (let x = left; x < left + width; x++) {
        this.#pixels[count++] = this.#writer.convert(pixels[y * stride + x]!);
      }
    }
  }

  /** Most frequent colour, and the other one where there are two; 3 stands for any more. */
  #colors(): { background: number; other: number; kinds: number } {
    const count = this.#width * this.#height;
    const first = this.#pixels[0]!;
    let other = UNKNOWN;
    let others = 0;
    let kinds = 1;
    for (let i = 1; i < count; i++) {
      const pixel = this.#pixels[i]!;
      if (pixel === first) continue;
      others++;
      if (other === UNKNOWN) {
        other = pixel;
        kinds = 2;
      } else if (pixel !== other) kinds = 3;
    }
    if (others * 2 > count && kinds === 2) return { background: other, other: first, kinds };
    return { background: first, other, kinds };
  }

  write(): void {
    const start = this.#at;
    const { background, other, kinds } = this.#colors();
    const { bytesPerPixel } = this.#writer;
    const rawBytes = this.#width * this.#height * bytesPerPixel;
    let mask = 0;
    this.#at++;
    if (background !== this.#background) {
      mask |= HAS_BACKGROUND;
      this.#put(background);
    }
    if (kinds > 1) {
      mask |= HAS_RECTANGLES;
      if (kinds > 2) mask |= HAS_COLORS;
      else if (other !== this.#foreground) {
        mask |= HAS_FOREGROUND;
        this.#put(other);
      }
      if (!this.#rectangles(background, kinds > 2, start + 1 + rawBytes)) {
        this.#writeRaw(start);
        return;
      }
    }
    this.#target[start] = mask;
    this.#background = background;
    // Rectangles with colours of their own leave the foreground as it was: it is told again to be safe.
    this.#foreground = kinds === 2 ? other : UNKNOWN;
  }

  #put(pixel: number): void {
    this.#at = this.#writer.put(this.#target, this.#at, pixel);
  }

  /** What is not background, as rectangles. False: more bytes than the tile raw, or more than 255. */
  #rectangles(background: number, colored: boolean, limit: number): boolean {
    const countAt = this.#at++;
    let count = 0;
    this.#left.set(this.#pixels);
    for (let y = 0; y < this.#height; y++) {
      for (let x = 0; x < this.#width; x++) {
        const color = this.#left[y * this.#width + x]!;
        if (color === background) continue;
        const [width, height] = this.#claim(x, y, color, background);
        if (++count > 255 || this.#at >= limit) return false;
        if (colored) this.#put(color);
        this.#target[this.#at++] = (x << 4) | y;
        this.#target[this.#at++] = ((width - 1) << 4) | (height - 1);
      }
    }
    this.#target[countAt] = count;
    return this.#at <= limit;
  }

  /** The rectangle of one colour at a place: as wide as can be, then as high. Becomes background. */
  #claim(left: number, top: number, color: number, background: number): [number, number] {
    const pixels = this.#left;
    const stride = this.#width;
    let right = left + 1;
    while (right < stride && pixels[top * stride + right] === color) right++;
    let below = top + 1;
    const isRowOfColor = (y: number): boolean => {
      for (let x = left; x < right; x++) if (pixels[y * stride + x] !== color) return false;
      return true;
    };
    while (below < this.#height && isRowOfColor(below)) below++;
    for (let y = top; y < below; y++) pixels.fill(background, y * stride + left, y * stride + right);
    return [right - left, below - top];
  }

  #writeRaw(start: number): void {
    this.#target[start] = IS_RAW;
    this.#at = start + 1;
    const count = this.#width * this.#height;
    for (let i = 0; i < count; i++) this.#put(this.#pixels[i]!);
    this.#background = this.#foreground = UNKNOWN;
  }
}
