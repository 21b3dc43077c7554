import { describe, expect, it } from 'vitest';
import { requireProgram } from '../../../test/support/programs.ts';
import { compareSchemaWithDump, vmStateDump } from '../../../test/support/vmstate-dump.ts';
import { assignState } from '../../migration/assign.ts';
import { decode, encode } from '../../migration/codec.ts';
import { ByteReader } from '../../migration/reader.ts';
import { ByteWriter } from '../../migration/writer.ts';
import {
  createBench,
  portWriter,
  STANDARD_MODES,
  setStandardMode,
  setTestPalette,
  setVbeMode,
  testBytes,
  type VgaBench,
} from './fakes.ts';
import type { VramDirty } from './state.ts';
import { isCursorShownAt } from './render.ts';
import { vgaVmState } from './vga.ts';

/** Pages written, as a machine would keep them. */
class FakeDirty implements VramDirty {
  readonly pages: Set<number> = new Set();

  mark(offset: number, length: number): void {
    for (let page = offset >>> 12; page <= (offset + length - 1) >>> 12; page++) this.pages.add(page);
  }

  isDirty(first: number, last: number): boolean {
    return [...this.pages].some((page) => page >= first && page <= last);
  }

  clear(first: number, last: number): void {
    for (const page of this.pages) if (page >= first && page <= last) this.pages.delete(page);
  }
}

function setMode(bench: VgaBench, index: number): void {
  setStandardMode(portWriter(bench), () => bench.ports.read(0x3da, 1), STANDARD_MODES[index]!);
  setTestPalette(portWriter(bench));
}

/** Text mode 3 with a font in which glyph `c` shows the bits of `c` on every line. */
function textBench(dirty?: VramDirty): VgaBench {
  const bench = createBench(dirty ? { dirty } : {});
  setMode(bench, 0);
  for (let code = 0; code < 256; code++) {
    for (let line = 0; line < 32; line++) bench.vram[(code * 32 + line) * 4 + 2] = code;
  }
  return bench;
}

function print(bench: VgaBench, column: number, row: number, text: string, attribute = 0x07): void {
  [...text].forEach((character, index) => {
    const address = 0xb8000 + (row * 80 + column + index) * 2;
    bench.memory.write(address, 2, character.charCodeAt(0) | (attribute << 8));
  });
}

function save(bench: VgaBench): Uint8Array {
  const writer = new ByteWriter();
  bench.vga.beforeSave();
  encode(bench.vga.vmstate, bench.vga.state, writer);
  return writer.bytes();
}

function load(bench: VgaBench, bytes: Uint8Array): void {
  const candidate = decode(vgaVmState, new ByteReader(bytes), 2, bench.vga.state);
  expect(bench.vga.validate(candidate)).toBeUndefined();
  assignState(bench.vga.state, candidate);
  bench.vga.afterLoad();
}

describe('VGA registers', () => {
  it('answer at 0x3dx or 0x3bx as the misc output register says', () => {
    const { ports } = createBench();
    ports.write(0x3c2, 1, 0x67);
    ports.write(0x3d4, 1, 0x0c);
    expect(ports.read(0x3d4, 1)).toBe(0x0c);
    expect(ports.read(0x3b4, 1)).toBe(0xff);
    ports.write(0x3c2, 1, 0x66);
    expect(ports.read(0x3b4, 1)).toBe(0x0c);
    expect(ports.read(0x3d4, 1)).toBe(0xff);
  });

  it('toggle retrace at every read of status 1 and reset the attribute flip-flop', () => {
    const { ports, vga } = createBench();
    ports.write(0x3c2, 1, 0x67);
    ports.write(0x3c0, 1, 0x10);
    expect([ports.read(0x3da, 1), ports.read(0x3da, 1)]).toEqual([9, 0]);
    expect(vga.state.vga.arFlipFlop).toBe(0);
  });

  it('protect CRTC registers 0 to 7 but for line compare bit 8', () => {
    const { ports, vga } = createBench();
    ports.write(0x3c2, 1, 0x67);
    ports.write(0x3d4, 2, 0x8011);
    ports.write(0x3d4, 2, 0x5500);
    ports.write(0x3d4, 2, 0xff07);
    expect([vga.state.vga.cr[0], vga.state.vga.cr[7]]).toEqual([0, 0x10]);
  });

  it('take a colour when its third component is written, and step through the DAC', () => {
    const { ports } = createBench();
    ports.write(0x3c8, 1, 255);
    for (const value of [1, 2, 3, 4, 5, 6]) ports.write(0x3c9, 1, value);
    ports.write(0x3c7, 1, 255);
    expect([1, 2, 3, 4, 5, 6].map(() => ports.read(0x3c9, 1))).toEqual([1, 2, 3, 4, 5, 6]);
  });
});

describe('VBE', () => {
  it('pulls impossible modes into video memory', () => {
    const bench = createBench();
    setVbeMode(portWriter(bench), { width: 16001, height: 60000, bpp: 33 });
    expect([...bench.vga.state.vga.vbeRegs]).toEqual([0xb0c5, 16000, 1048, 8, 0x41, 0, 16000, 1048, 0, 0]);
  });

  it('answers its capabilities, its memory size and its id', () => {
    const { ports } = createBench();
    const read = (index: number) => {
      ports.write(0x1ce, 2, index);
      return ports.read(0x1d0, 2);
    };
    ports.write(0x1ce, 2, 4);
    ports.write(0x1d0, 2, 2);
    expect([0, 1, 2, 3, 10, 11].map(read)).toEqual([0xb0c5, 16000, 12000, 32, 256, 0]);
  });

  it('clears the screen unless told not to', () => {
    const bench = createBench();
    bench.vram.fill(0x77);
    setVbeMode(portWriter(bench), { width: 640, height: 480, bpp: 8, enable: 0xc1 });
    expect(bench.vram[0]).toBe(0x77);
    setVbeMode(portWriter(bench), { width: 640, height: 480, bpp: 8 });
    expect([bench.vram[0], bench.vram[640 * 480 - 1], bench.vram[640 * 480]]).toEqual([0, 0, 0x77]);
  });

  it('shows what is written to the framebuffer behind BAR 0', () => {
    const moves: number[] = [];
    const bench = createBench({ onFramebufferMoved: (base) => moves.push(base) });
    const config = bench.bus.find(16)!;
    config.write(0x10, 4, 0xe0000000);
    config.write(0x04, 4, 2);
    expect(moves).toEqual([0xe0000000]);
    setMode(bench, 0);
    setVbeMode(portWriter(bench), { width: 64, height: 32, bpp: 32 });
    bench.memory.write(0xe0000000 + (5 * 64 + 3) * 4, 4, 0x00123456);
    const { width, height, rgb } = bench.vga.render();
    expect([width, height]).toEqual([64, 32]);
    expect([...rgb.subarray((5 * 64 + 3) * 3, (5 * 64 + 4) * 3)]).toEqual([0x12, 0x34, 0x56]);
  });
});

describe('the text screen', () => {
  it('is read back as Unicode', () => {
    const bench = textBench();
    print(bench, 2, 1, 'Hello \x81\xcd\x01');
    const rows = bench.vga.textScreen()!;
    expect(rows.length).toBe(25);
    expect(rows[1]).toBe(`  Hello ü═☺`.padEnd(80));
    setMode(bench, 7);
    expect(bench.vga.textScreen()).toBeUndefined();
  });

  it('is drawn with the font in plane 2, line graphics over nine dots', () => {
    const bench = textBench();
    print(bench, 0, 0, '\xa5\xc5\x45', 0x1e);
    const { width, height, pixels } = bench.vga.render(false);
    expect([width, height]).toEqual([720, 400]);
    const line = Array.from(pixels.subarray(720, 720 + 27), (pixel) => (pixel === pixels[720] ? '#' : '.'));
    // 0xa5 is 10100101; the ninth dot repeats only for 0xc0-0xdf and its neighbours from 0xb0.
    expect(line.join('')).toBe('#.#..#.#.##...#.##.#...#.#.');
  });

  it('has a cursor that blinks with the phase asked for', () => {
    const bench = textBench();
    const hidden = Buffer.from(bench.vga.render(false).rgb);
    print(bench, 0, 0, '\0', 0x0f);
    const dark = Buffer.from(bench.vga.render(false).rgb);
    const lit = Buffer.from(bench.vga.render(true).rgb);
    expect(hidden.length).toBe(dark.length);
    const rowOf = (picture: Buffer, y: number) => picture.subarray(y * 720 * 3, y * 720 * 3 + 27);
    const differing = Array.from({ length: 16 }, (_, y) => y).filter(
      (y) => !rowOf(lit, y).equals(rowOf(dark, y)),
    );
    expect(differing).toEqual([13, 14]);
    expect([0, 265_999_999, 266_000_000, 532_000_000].map(isCursorShownAt)).toEqual([
      true,
      true,
      false,
      true,
    ]);
  });
});

describe('the display', () => {
  it('draws nothing while nothing changes, and again after any kind of write', () => {
    const dirty = new FakeDirty();
    const bench = textBench(dirty);
    const generation = () => bench.vga.render(true).generation;
    const first = generation();
    expect(generation()).toBe(first);
    print(bench, 0, 0, 'x');
    expect(generation()).toBe(first + 1);
    // Written past the device, as a CPU does to directly mapped memory.
    dirty.mark(0x100, 1);
    expect(generation()).toBe(first + 2);
    bench.ports.write(0x3d4, 2, 0x050f);
    expect(generation()).toBe(first + 3);
    expect(bench.vga.render(false).generation).toBe(first + 4);
    // Far from what is shown.
    dirty.mark(0x800000, 1);
    expect(bench.vga.render(false).generation).toBe(first + 4);
  });

  it('goes dark when the palette is disconnected', () => {
    const bench = textBench();
    print(bench, 0, 0, 'xyz');
    bench.vga.render();
    bench.ports.read(0x3da, 1);
    bench.ports.write(0x3c0, 1, 0);
    const { width, height, rgb } = bench.vga.render();
    expect([bench.vga.mode, width, height]).toEqual(['blank', 720, 400]);
    expect(rgb.every((byte) => byte === 0)).toBe(true);
  });
});

describe('VGA state', () => {
  it.skipIf(!requireProgram('qemu-system-i386'))('has the schema that QEMU dumps', () => {
    expect(compareSchemaWithDump(vgaVmState, vmStateDump()['VGA']!.Description!)).toEqual([]);
  });

  it("is 276 bytes of PCI function and 1131 of VGA, as in QEMU's stream", () => {
    expect(save(createBench()).length).toBe(276 + 1131);
  });

  it('goes on in another machine as if nothing had happened', () => {
    for (const prepare of [
      (bench: VgaBench) => setMode(bench, 6),
      (bench: VgaBench) => setVbeMode(portWriter(bench), { width: 320, height: 200, bpp: 16 }),
      (bench: VgaBench) => setVbeMode(portWriter(bench), { width: 320, height: 200, bpp: 8, enable: 0x61 }),
    ]) {
      const from = createBench();
      setMode(from, 0);
      prepare(from);
      from.vram.set(testBytes(0x60000, 4));
      from.memory.read(0xa0123, 1);
      const stream = save(from);
      const to = createBench({ vram: from.vram.slice() });
      setMode(to, 3);
      to.vga.render();
      load(to, stream);
      expect(Buffer.from(save(to)).equals(stream)).toBe(true);
      expect(to.vga.legacyWindowDirect()).toEqual(from.vga.legacyWindowDirect());
      expect(Buffer.from(to.vga.render().rgb).equals(from.vga.render().rgb)).toBe(true);
      for (const bench of [from, to]) bench.memory.write(0xa0200, 4, 0x12345678);
      expect(Buffer.from(to.vram).equals(from.vram)).toBe(true);
    }
  });

  it('carries the byte order of the framebuffer in a subsection', () => {
    const bench = createBench();
    const config = bench.bus.find(16)!;
    config.write(0x18, 4, 0xfebf0000);
    config.write(0x04, 4, 2);
    bench.memory.write(0xfebf0604, 4, 0xbebebebe);
    const stream = save(bench);
    expect(Buffer.from(stream).includes('vga.endian')).toBe(true);
    const other = createBench();
    load(other, stream);
    expect(other.vga.state.vga.endian.bigEndianFb).toBe(true);
    load(other, save(createBench()));
    expect(other.vga.state.vga.endian.bigEndianFb).toBe(false);
  });

  it('is refused when the bank lies outside video memory', () => {
    const bench = createBench();
    const candidate = decode(vgaVmState, new ByteReader(save(bench)), 2, bench.vga.state);
    candidate.vga.bankOffset = 0x1000000;
    expect(bench.vga.validate(candidate)).toMatch(/bank_offset/);
  });

  it('is the power-on state again after reset, twice', () => {
    const bench = createBench();
    const fresh = save(bench);
    setMode(bench, 7);
    setVbeMode(portWriter(bench), { width: 640, height: 480, bpp: 8 });
    for (let i = 0; i < 2; i++) {
      bench.vga.reset();
      expect(Buffer.from(save(bench)).equals(fresh)).toBe(true);
    }
    expect(bench.vga.legacyWindowDirect()).toBeUndefined();
  });
});
