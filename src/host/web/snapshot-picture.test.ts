/** The picture in a snapshot's extra data: always fits, survives the process, QEMU's tools leave it alone. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inflateSync } from 'node:zlib';
import { afterAll, expect, test } from 'vitest';
import { hasQemuImg, qemuCheck, run } from '../../../test/support/qemu-img.ts';
import { tinyMachine } from '../../../test/support/tiny-machine.ts';
import { MAX_SNAPSHOT_EXTRA } from '../../block/block-node.ts';
import { openImage } from '../../block/open.ts';
import { createQcow2 } from '../../block/qcow2/create.ts';
import { pictureOf, type Rgb, snapshotExtra } from './snapshot-picture.ts';
import { Thumbnails } from './thumbnails.ts';

const folder = mkdtempSync(join(tmpdir(), 'ambervm-picture-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function screenOf(width: number, height: number, color: (x: number, y: number) => number): Rgb {
  const rgb = new Uint8Array(width * height * 3);
  for (let i = 0; i < width * height; i++) {
    const value = color(i % width, Math.floor(i / width));
    rgb.set([value >>> 16, (value >>> 8) & 0xff, value & 0xff], i * 3);
  }
  return { width, height, rgb };
}

/** Width, height, and how many bytes its rows have. */
function facts(png: Uint8Array): { width: number; height: number; bits: number; rows: number } {
  const file = Buffer.from(png);
  const data = file.indexOf('IDAT') + 4;
  const rows = inflateSync(file.subarray(data, data + file.readUInt32BE(data - 8))).length;
  return { width: file.readUInt32BE(16), height: file.readUInt32BE(20), bits: file[24]!, rows };
}

const noise = (x: number, y: number) => Math.imul(x * 7919 + y * 104_729 + 1, 0x9e3779b1) >>> 8;
test.each([
  ['one colour', 720, 400, () => 0x0000a8],
  [
    'text',
    720,
    400,
    (x: number, y: number) => (noise(x >> 2, y >> 2) % 3 || y % 16 > 11 || y > 250 ? 0 : 0xa8a8a8),
  ],
  ['noise', 1024, 768, noise],
  ['a gradient', 640, 480, (x: number, y: number) => ((x >> 2) << 16) | ((y >> 1) << 8)],
  ['a tall one', 16, 4000, noise],
  ['one pixel', 1, 1, () => 0xffffff],
] as const)('%s fits', (_name, width, height, color) => {
  const extra = snapshotExtra(screenOf(width, height, color))!;
  expect(extra.length).toBeLessThanOrEqual(MAX_SNAPSHOT_EXTRA);
  const png = facts(pictureOf(extra)!);
  expect(png.width).toBeGreaterThanOrEqual(Math.min(width, 40));
  expect(png.rows).toBe((Math.ceil((png.width * png.bits) / 8) + 1) * png.height);
});

test('is none of ours', () => {
  expect(pictureOf(undefined)).toBeUndefined();
  expect(pictureOf(new Uint8Array(64))).toBeUndefined();
});

test('is there in another machine on the same image, and QEMU finds nothing wrong with it', async () => {
  const file = join(folder, 'disk.qcow2');
  await createQcow2(file, { sizeBytes: 1 << 20 });
  const first = await tinyMachine(undefined, { disk: await openImage(file, { format: 'qcow2' }) });
  const before = new Thumbnails(first);
  await first.savevm('here');
  before.close();
  await first.savevm('without');
  await first.close();

  const second = await tinyMachine(undefined, { disk: await openImage(file, { format: 'qcow2' }) });
  const thumbnails = new Thumbnails(second);
  const [here, without] = second.listSnapshots().everywhere;
  const url = thumbnails.of(here!)!;
  const png = Buffer.from(url.slice(url.indexOf(',') + 1), 'base64');
  expect(url.startsWith('data:image/png;base64,')).toBe(true);
  expect(facts(png)).toMatchObject({ width: 160, height: 120 });
  expect(thumbnails.of(without!)).toBeUndefined();
  await second.close();
  if (!hasQemuImg) return;
  expect(qemuCheck(file)).toMatchObject({ corruptions: 0, leaks: 0 });
  // A snapshot more rewrites the table: what is unknown to QEMU stays.
  run('qemu-img', 'snapshot', '-c', 'third', file);
  const image = await openImage(file, { format: 'qcow2' });
  const third = await tinyMachine(undefined, { disk: image });
  expect(new Thumbnails(third).of(third.listSnapshots().everywhere[0]!)).toBe(url);
  await third.close();
});
