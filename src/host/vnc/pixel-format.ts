/** Pixels as a client wants them: RFB's PIXEL_FORMAT (RFC 6143, section 7.4), true colour of 8, 16 or 32 bits. */

export interface PixelFormat {
  readonly bitsPerPixel: 8 | 16 | 32;
  readonly depth: number;
  readonly bigEndian: boolean;
  readonly redMax: number;
  readonly greenMax: number;
  readonly blueMax: number;
  readonly redShift: number;
  readonly greenShift: number;
  readonly blueShift: number;
}

export const PIXEL_FORMAT_BYTES = 16;

/** What the server has: 0x00RRGGBB, little-endian. */
export const NATIVE_FORMAT: PixelFormat = {
  bitsPerPixel: 32,
  depth: 24,
  bigEndian: false,
  redMax: 255,
  greenMax: 255,
  blueMax: 255,
  redShift: 16,
  greenShift: 8,
  blueShift: 0,
};

export function encodePixelFormat(format: PixelFormat): Buffer {
  const bytes = Buffer.alloc(PIXEL_FORMAT_BYTES);
  bytes[0] = format.bitsPerPixel;
  bytes[1] = format.depth;
  bytes[2] = format.bigEndian ? 1 : 0;
  bytes[3] = 1;
  bytes.writeUInt16BE(format.redMax, 4);
  bytes.writeUInt16BE(format.greenMax, 6);
  bytes.writeUInt16BE(format.blueMax, 8);
  bytes[10] = format.redShift;
  bytes[11] = format.greenShift;
  bytes[12] = format.blueShift;
  return bytes;
}

/** Undefined: not one that can be served (a colour map, an odd size, colours outside the pixel). */
export function decodePixelFormat(bytes: Buffer): PixelFormat | undefined {
  const bitsPerPixel = bytes[0]!;
  if (bitsPerPixel !== 8 && bitsPerPixel !== 16 && bitsPerPixel !== 32) return undefined;
  if (bytes[3] === 0) return undefined;
  const format: PixelFormat = {
    bitsPerPixel,
    depth: bytes[1]!,
    bigEndian: bytes[2] !== 0,
    redMax: bytes.readUInt16BE(4),
    greenMax: bytes.readUInt16BE(6),
    blueMax: bytes.readUInt16BE(8),
    redShift: bytes[10]!,
    greenShift: bytes[11]!,
    blueShift: bytes[12]!,
  };
  const fits = (max: number, shift: number): boolean => shift < 32 && max * 2 ** shift < 2 ** bitsPerPixel;
  const isServable =
    fits(format.redMax, format.redShift) &&
    fits(format.greenMax, format.greenShift) &&
    fits(format.blueMax, format.blueShift);
  return isServable ? format : undefined;
}

/** Makes pixels of the screen into a client's, and writes them. */
export class PixelWriter {
  readonly format: PixelFormat;
  readonly bytesPerPixel: number;
  /** ZRLE leaves out the byte of a pixel that is never used: 3 bytes then (RFC 6143, section 7.7.5). */
  readonly compactBytes: number;
  /** Tight sends 8 bits of red, green, blue where that is what the pixel holds. */
  readonly tightBytes: number;
  /** Where the colours lie when compact: the low three bytes, or the high ones. */
  readonly #isHigh: boolean;
  readonly #red: Uint32Array;
  readonly #green: Uint32Array;
  readonly #blue: Uint32Array;

  constructor(format: PixelFormat) {
    this.format = format;
    this.bytesPerPixel = format.bitsPerPixel / 8;
    const table = (max: number, shift: number): Uint32Array =>
      Uint32Array.from({ length: 256 }, (_, value) => Math.round((value * max) / 255) * 2 ** shift);
    this.#red = table(format.redMax, format.redShift);
    this.#green = table(format.greenMax, format.greenShift);
    this.#blue = table(format.blueMax, format.blueShift);
    const used = (this.#red[255]! | this.#green[255]! | this.#blue[255]!) >>> 0;
    const isCompact = format.bitsPerPixel === 32 && format.depth <= 24;
    this.#isHigh = isCompact && used > 0xffffff && (used & 0xff) === 0;
    const isEight = format.redMax === 255 && format.greenMax === 255 && format.blueMax === 255;
    this.tightBytes = format.bitsPerPixel === 32 && format.depth === 24 && isEight ? 3 : this.bytesPerPixel;
    this.compactBytes = isCompact && (used <= 0xffffff || this.#isHigh) ? 3 : this.bytesPerPixel;
  }

  /** The client's pixel for 0x00RRGGBB. */
  convert(pixel: number): number {
    return (
      (this.#red[(pixel >>> 16) & 0xff]! | this.#green[(pixel >>> 8) & 0xff]! | this.#blue[pixel & 0xff]!) >>>
      0
    );
  }

  /** Writes a converted pixel; returns the offset behind it. */
  put(target: Buffer, at: number, value: number): number {
    const { bytesPerPixel, format } = this;
    if (bytesPerPixel === 1) target[at] = value;
    else if (bytesPerPixel === 2) {
      if (format.bigEndian) target.writeUInt16BE(value, at);
      else target.writeUInt16LE(value, at);
    } else if (format.bigEndian) target.writeUInt32BE(value, at);
    else target.writeUInt32LE(value, at);
    return at + bytesPerPixel;
  }

  /** The same, as ZRLE wants it. */
  putCompact(target: Buffer, at: number, value: number): number {
    if (this.compactBytes !== 3) return this.put(target, at, value);
    const three = this.#isHigh ? value >>> 8 : value;
    const high = three >>> 16;
    target[at] = this.format.bigEndian ? high : three;
    target[at + 1] = three >>> 8;
    target[at + 2] = this.format.bigEndian ? three : high;
    return at + 3;
  }

  /** The same, as Tight wants it. */
  putTight(target: Buffer, at: number, value: number): number {
    if (this.tightBytes !== 3) return this.put(target, at, value);
    const { redShift, greenShift, blueShift } = this.format;
    target[at] = value >>> redShift;
    target[at + 1] = value >>> greenShift;
    target[at + 2] = value >>> blueShift;
    return at + 3;
  }
}
