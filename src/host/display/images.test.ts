import { execFileSync } from 'node:child_process';
import { inflateSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { requireProgram } from '../../../test/support/programs.ts';
import { encodePng } from './png.ts';
import { encodePpm } from './ppm.ts';

const WIDTH = 7;
const HEIGHT = 5;
const RGB = Uint8Array.from({ length: WIDTH * HEIGHT * 3 }, (_, i) => (i * 37 + (i >> 3)) & 0xff);

/** Walks the chunks with another CRC, undoes the "up" filter, prints the pixels in hexadecimal. */
const PYTHON = `
import sys, zlib, struct
f = sys.stdin.buffer.read()
assert f[:8] == bytes([137]) + b'PNG' + bytes([13, 10, 26, 10])
at, data = 8, b''
while at < len(f):
    n, = struct.unpack('>I', f[at:at+4])
    kind, body = f[at+4:at+8], f[at+8:at+8+n]
    assert struct.unpack('>I', f[at+8+n:at+12+n])[0] == zlib.crc32(kind + body)
    if kind == b'IHDR': w, h = struct.unpack('>II', body[:8])
    if kind == b'IDAT': data += body
    at += 12 + n
rows, above = zlib.decompress(data), bytes(w * 3)
for y in range(h):
    row = rows[y * (w * 3 + 1):(y + 1) * (w * 3 + 1)]
    assert row[0] == 2
    above = bytes((a + b) & 255 for a, b in zip(row[1:], above))
    print(above.hex(), end='')
`;

describe('encodePpm', () => {
  it('writes the header that QEMU writes, then the bytes', () => {
    const file = Buffer.from(encodePpm(WIDTH, HEIGHT, RGB));
    expect(file.subarray(0, 11).toString()).toBe('P6\n7 5\n255\n');
    expect(file.subarray(11).equals(RGB)).toBe(true);
  });
});

describe('encodePng', () => {
  it('holds every row, filtered against the one above', () => {
    const file = Buffer.from(encodePng(WIDTH, HEIGHT, RGB));
    expect(file.subarray(1, 4).toString()).toBe('PNG');
    expect([file.readUInt32BE(16), file.readUInt32BE(20)]).toEqual([WIDTH, HEIGHT]);
    const start = file.indexOf('IDAT') + 4;
    const rows = inflateSync(file.subarray(start, start + file.readUInt32BE(start - 8)));
    expect(rows.length).toBe((WIDTH * 3 + 1) * HEIGHT);
    expect(rows.subarray(1, WIDTH * 3 + 1).equals(RGB.subarray(0, WIDTH * 3))).toBe(true);
  });

  it.skipIf(!requireProgram('python3'))('is read by python3 as it was written', () => {
    const pixels = execFileSync('python3', ['-c', PYTHON], { input: encodePng(WIDTH, HEIGHT, RGB) });
    expect(pixels.toString()).toBe(Buffer.from(RGB).toString('hex'));
  });
});
