/**
 * Portable Network Graphics, 8 bits RGB or a palette, not interlaced. PNG specification (W3C, third edition), sections 5 and 9.
 * Each row is filtered against the one above: screens repeat rows, so that most bytes become zero.
 */
import { deflateSync } from 'node:zlib';

const SIGNATURE = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
const FILTER_UP = 2;
const COLOR_RGB = 2;
const COLOR_PALETTE = 3;

/** CRC-32 of ISO 3309 by byte, reflected polynomial 0xedb88320. (zlib.crc32 needs a newer Node than ours.) */
const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  return crc;
});

function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ CRC_TABLE[(crc ^ byte) & 0xff]!;
  return ~crc >>> 0;
}

/** Length, type, data, CRC over type and data. */
function chunk(type: string, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(data.length + 12);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  bytes.set(new TextEncoder().encode(type), 4);
  bytes.set(data, 8);
  view.setUint32(data.length + 8, crc32(bytes.subarray(4, data.length + 8)));
  return bytes;
}

function filterRows(width: number, height: number, rgb: Uint8Array): Uint8Array {
  const stride = width * 3;
  const rows = new Uint8Array((stride + 1) * height);
  for (let y = 0; y < height; y++) {
    const from = y * stride;
    const to = y * (stride + 1);
    rows[to] = FILTER_UP;
    for (let x = 0; x < stride; x++) {
      const above = y === 0 ? 0 : rgb[from - stride + x]!;
      rows[to + 1 + x] = rgb[from + x]! - above;
    }
  }
  return rows;
}

/** Pixels as numbers in a palette of at most 2 ** `bits` colours, 0x00RRGGBB; `bits` is 1, 2, 4 or 8. */
export function encodePalettePng(
  width: number,
  height: number,
  { indices, palette, bits }: { indices: Uint8Array; palette: readonly number[]; bits: 1 | 2 | 4 | 8 },
): Uint8Array {
  const stride = Math.ceil((width * bits) / 8);
  // No filter: numbers of colours have no neighbours.
  const rows = new Uint8Array((stride + 1) * height);
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      const bit = x * bits;
      rows[y * (stride + 1) + 1 + (bit >> 3)]! |= indices[i]! << (8 - bits - (bit & 7));
    }
  }
  return Buffer.concat([
    SIGNATURE,
    chunk('IHDR', header(width, height, bits, COLOR_PALETTE)),
    chunk(
      'PLTE',
      Uint8Array.from(palette.flatMap((color) => [color >>> 16, (color >>> 8) & 0xff, color & 0xff])),
    ),
    chunk('IDAT', deflateSync(rows, { level: 9 })),
    chunk('IEND', new Uint8Array(0)),
  ]);
}

function header(width: number, height: number, bits: number, color: number): Uint8Array {
  const bytes = new Uint8Array(13);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  bytes.set([bits, color, 0, 0, 0], 8);
  return bytes;
}

/** `rgb` holds width × height × 3 bytes; neither side may be zero. */
export function encodePng(width: number, height: number, rgb: Uint8Array): Uint8Array {
  return Buffer.concat([
    SIGNATURE,
    chunk('IHDR', header(width, height, 8, COLOR_RGB)),
    chunk('IDAT', deflateSync(filterRows(width, height, rgb), { level: 6 })),
    chunk('IEND', new Uint8Array(0)),
  ]);
}
