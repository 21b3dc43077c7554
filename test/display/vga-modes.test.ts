/** A guest that draws in every mode, here and in QEMU: the screens are compared pixel for pixel. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { encodePng } from '../../src/host/display/png.ts';
import { requireProgram } from '../support/programs.ts';
import { hasQemu, hasSeabios, Qemu } from '../support/qemu.ts';
import { run } from '../support/qemu-img.ts';
import { type Picture, parsePpm } from '../support/qtest.ts';
import { boot } from '../support/vm.ts';

const START_MS = 120_000;
const FLOPPY_BYTES = 1_474_560;
const folder = mkdtempSync(join(tmpdir(), 'ambervm-modes-'));
const image = join(folder, 'modes.img');
/** AMBERVM_PICTURES names a folder for the pictures of both. */
const pictures = process.env['AMBERVM_PICTURES'];

function keep(name: string, whose: string, { width, height, rgb }: Picture): void {
  if (pictures === undefined) return;
  const file = `${name.replace(/[^\w]+/g, '-')}.${whose}.png`;
  writeFileSync(join(pictures, file), encodePng(width, height, rgb));
}

/** Where two pictures differ, or undefined. */
function difference(ours: Picture, theirs: Picture): string | undefined {
  if (ours.width !== theirs.width || ours.height !== theirs.height) {
    return `ours ${ours.width} x ${ours.height}, QEMU's ${theirs.width} x ${theirs.height}`;
  }
  let first: number | undefined;
  let count = 0;
  for (let at = 0; at < ours.rgb.length; at += 3) {
    const isSame = [0, 1, 2].every((i) => ours.rgb[at + i] === theirs.rgb[at + i]);
    if (isSame) continue;
    first ??= at / 3;
    count++;
  }
  if (first === undefined) return undefined;
  const place = `(${first % ours.width}, ${Math.floor(first / ours.width)})`;
  const color = ({ rgb }: Picture) => Buffer.from(rgb.subarray(first * 3, first * 3 + 3)).toString('hex');
  return `${count} pixels, the first at ${place}: ours ${color(ours)}, QEMU's ${color(theirs)}`;
}

describe.skipIf(!requireProgram('nasm') || !hasQemu || !hasSeabios)('screens of every mode', () => {
  beforeAll(() => {
    const source = join(import.meta.dirname, 'vga-modes.asm');
    run('nasm', '-f', 'bin', '-I', `${import.meta.dirname}/`, '-o', image, source);
    const disk = Buffer.alloc(FLOPPY_BYTES);
    readFileSync(image).copy(disk);
    writeFileSync(image, disk);
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test('are those of QEMU, pixel for pixel', { timeout: 600_000 }, async () => {
    await using qemu = await Qemu.start({
      memoryMiB: 32,
      more: ['-drive', `file=${image},format=raw,if=floppy,readonly=on`, '-boot', 'a'],
    });
    await using vm = await boot({ memory: 32, floppy: image, bootOrder: 'a', icount: false });
    const different: Record<string, string> = {};
    let count = 0;
    for (let seen = 0; ; count++) {
      const [line, name] = await vm.serial.waitFor(/(.*)\n/, undefined, seen);
      const other = await qemu.serial.waitFor(/(.*)\n/, START_MS);
      seen += line.length;
      expect(name).toBe(other[1]);
      if (name === 'end') break;
      const found = await compare(vm.machine.screen!, qemu, name!);
      if (found !== undefined) different[name!] = found;
      qemu.serial.mark();
      vm.serial.type(' ');
      qemu.serial.send(' ');
    }
    expect(different).toEqual({});
    expect(count).toBe(92);
  });

  /** QEMU's cursor blinks by the host's time: ours is taken in both phases. */
  async function compare(
    screen: NonNullable<Awaited<ReturnType<typeof boot>>['machine']['screen']>,
    qemu: Qemu,
    name: string,
  ): Promise<string | undefined> {
    const file = join(folder, 'qemu.ppm');
    await qemu.qmp('screendump', { filename: file });
    const theirs = parsePpm(readFileSync(file));
    keep(name, 'qemu', theirs);
    let found: string | undefined;
    for (const cursorShown of [true, false]) {
      const { width, height, rgb } = screen.render(cursorShown);
      keep(name, 'ours', { width, height, rgb });
      found = difference({ width, height, rgb }, theirs);
      if (found === undefined) return undefined;
    }
    return found;
  }
});
