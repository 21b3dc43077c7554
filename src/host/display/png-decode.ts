/** Reads PNG files of 8 bits RGB or RGBA, not interlaced, such as ours. PNG specification (W3C, third edition), 5 and 9. */
import { inflateSync } from 'node:zlib';

const SIGNATURE = '89504e470d0a1a0a';
/** Colour type to bytes a pixel. */
const PIXEL_BYTES: Readonly<Record<number, number>> = { 2: 3, 6: 4 };
const MAX_SIDE = 16_384;

export class PngError extends Error {}

/** Width × height × 3 bytes; transparency is dropped. Throws PngError. */
export function decodePng(file: Uint8Array): {
  readonly width: number;
  readonly height: number;
  readonly rgb: Uint8Array;
} {
  const bytes = Buffer.from(file.buffer, file.byteOffset, file.length);
  if (bytes.subarray(0, 8).toString('hex') !== SIGNATURE) throw new PngError('not a PNG file');
  const parts: Buffer[] = [];
  let header: Buffer | undefined;
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = bytes.readUInt32BE(at);
    const type = bytes.toString('latin1', at + 4, at + 8);
    const data = bytes.subarray(at + 8, at + 8 + length);
    if (type === 'IHDR') header = data;
    if (type === 'IDAT') parts.push(data);
    if (type === 'IEND') break;
    at += length + 12;
  }
  if (header === undefined || header.length < 13) throw new PngError('a PNG file without a header');
  const width = header.readUInt32BE(0);
  const height = header.readUInt32BE(4);
  const pixelBytes = PIXEL_BYTES[header[9]!];
  if (header[8] !== 8 || pixelBytes === undefined || header[12] !== 0) {
    throw new PngError(
      `depth ${header[8]}, colour type ${header[9]}, interlace ${header[12]}: not supported`,
    );
  }
  if (width === 0 || height === 0 || width > MAX_SIDE || height > MAX_SIDE) {
    throw new PngError(`size ${width}x${height}, expected 1 to ${MAX_SIDE}`);
  }
  const rows = inflate(parts, (width * pixelBytes + 1) * height);
  unfilter(rows, width * pixelBytes, height, pixelBytes);
  return { width, height, rgb: toRgb(rows, width, height, pixelBytes) };
}

function inflate(parts: readonly Buffer[], expected: number): Buffer {
  let rows: Buffer;
  try {
    rows = inflateSync(Buffer.concat(parts), { maxOutputLength: expected });
  } catch (cause) {
    throw new PngError('the picture does not inflate', { cause });
  }
  if (rows.length !== expected) throw new PngError(`${rows.length} bytes of picture, expected ${expected}`);
  return rows;
}

/** Each row begins with its filter: none, left, above, average, Paeth. */
function unfilter(rows: Buffer, stride: number, height: number, pixelBytes: number): void {
  for (let y = 0; y < height; y++) {
    const row = y * (stride + 1) + 1;
    const filter = rows[row - 1]!;
    for (let x = 0; x < stride; x++) {
      const left = x < pixelBytes ? 0 : rows[row + x - pixelBytes]!;
      const above = y === 0 ? 0 : rows[row + x - stride - 1]!;
      const corner = x < pixelBytes || y === 0 ? 0 : rows[row + x - stride - 1 - pixelBytes]!;
      rows[row + x] = rows[row + x]! + predict(filter, left, above, corner);
    }
  }
}

function predict(filter: number, left: number, above: number, corner: number): number {
  if (filter === 1) return left;
  if (filter === 2) return above;
  if (filter === 3) return (left + above) >> 1;
  if (filter !== 4) return 0;
  const estimate = left + above - corner;
  const [toLeft, toAbove, toCorner] = [left, above, corner].map((value) => Math.abs(estimate - value)) as [
    number,
    number,
    number,
  ];
  if (toLeft <= toAbove && toLeft <= toCorner) return left;
  return toAbove <= toCorner ? above : corner;
}

function toRgb(rows: Buffer, width: number, height: number, pixelBytes: number): Uint8Array {
  const rgb = new Uint8Array(width * height * 3);
  let to = 0;
  for (let y = 0; y < height; y++) {
    const row = y * (width * pixelBytes + 1) + 1;
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < 3; c++) rgb[to++] = rows[row + x * pixelBytes + c]!;
    }
  }
  return rgb;
}
