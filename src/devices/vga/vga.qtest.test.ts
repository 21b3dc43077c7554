/**
 * The VGA beside QEMU's: the same port and memory accesses to both, then the same pixels, register values and video
 * memory expected.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { requireProgram } from '../../../test/support/programs.ts';
import type { Picture } from '../../../test/support/qtest.ts';
import { QtestMachine } from '../../../test/support/qtest.ts';
import {
  createBench,
  type PortWriter,
  portWriter,
  STANDARD_MODES,
  type StandardMode,
  setStandardMode,
  setTestPalette,
  setVbeMode,
  testBytes,
  type VgaBench,
} from './fakes.ts';

const FRAMEBUFFER = 0xe0000000;
const MMIO = 0xfebf0000;
const SLOT = 2;

/** Says where two pictures differ, or undefined. */
function difference(ours: Picture, theirs: Picture): string | undefined {
  if (ours.width !== theirs.width || ours.height !== theirs.height) {
    return `ours ${ours.width}x${ours.height}, QEMU's ${theirs.width}x${theirs.height}`;
  }
  if (Buffer.compare(ours.rgb, theirs.rgb) === 0) return undefined;
  const at = ours.rgb.findIndex((byte, index) => byte !== theirs.rgb[index]);
  const pixel = Math.floor(at / 3);
  const pair = [ours, theirs].map(({ rgb }) =>
    Buffer.from(rgb.subarray(pixel * 3, pixel * 3 + 3)).toString('hex'),
  );
  return `at (${pixel % ours.width}, ${Math.floor(pixel / ours.width)}): ours ${pair[0]}, QEMU's ${pair[1]}`;
}

describe.skipIf(!requireProgram('qemu-system-i386'))('QEMU: VGA', () => {
  let qemu: QtestMachine;
  let bench: VgaBench;
  let both: PortWriter;

  const mapBars = () => {
    for (const [offset, value] of [
      [0x10, FRAMEBUFFER],
      [0x18, MMIO],
      [0x04, 0x0003],
    ] as const) {
      qemu.pciWrite(SLOT, offset, value);
      bench.bus.find(SLOT * 8)!.write(offset, 4, value);
    }
  };

  const reset = async () => {
    await qemu.sync();
    await qemu.qmp('system_reset');
    await qemu.sync();
    bench.vga.reset();
    mapBars();
    // QEMU's reset keeps the latches: load them alike.
    bench.memory.read(0xa0000, 1);
    await qemu.readb(0xa0000);
  };

  beforeAll(async () => {
    qemu = await QtestMachine.start(['-device', `VGA,addr=${SLOT},romfile=`]);
    bench = createBench();
    const ours = portWriter(bench);
    both = {
      outb: (port, value) => {
        ours.outb(port, value);
        qemu.outb(port, value);
      },
      outw: (port, value) => {
        ours.outw(port, value);
        qemu.outw(port, value);
      },
    };
    mapBars();
  });

  afterAll(async () => {
    await qemu?.[Symbol.asyncDispose]();
  });

  const status = () => {
    bench.ports.read(0x3da, 1);
    void qemu.inb(0x3da);
  };

  const fillVram = (bytes: Uint8Array, offset = 0) => {
    bench.vram.set(bytes, offset);
    qemu.write(FRAMEBUFFER + offset, bytes);
  };

  /** Compares with the cursor in the phase in which QEMU has it: every switch to text toggles it there. */
  const expectSamePicture = async () => {
    const theirs = await qemu.screendump();
    bench.vga.framebuffer.write8(0, bench.vram[0]!);
    const found = [true, false].map((cursor) => difference(bench.vga.render(cursor), theirs));
    expect(found.includes(undefined) ? undefined : found[0]).toBeUndefined();
  };

  const setMode = (mode: StandardMode) => {
    both.outw(0x1ce, 4);
    both.outw(0x1d0, 0);
    setStandardMode(both, status, mode);
    setTestPalette(both);
  };

  it('has the same configuration space', async () => {
    const theirs: string[] = [];
    const ours: string[] = [];
    for (let offset = 0; offset < 0x40; offset += 4) {
      theirs.push((await qemu.pciRead(SLOT, offset)).toString(16));
      ours.push(
        bench.bus
          .find(SLOT * 8)!
          .read(offset, 4)
          .toString(16),
      );
    }
    expect(ours).toEqual(theirs);
  });

  it('describes the same monitor', async () => {
    const theirs = await qemu.read(MMIO, 384);
    const ours = Array.from({ length: 384 }, (_, offset) => bench.memory.read(MMIO + offset, 1));
    expect(ours).toEqual([...theirs]);
  });

  it.each(STANDARD_MODES)('shows the same picture in mode $name', async (mode) => {
    setMode(mode);
    fillVram(testBytes(0x40000, 3));
    await expectSamePicture();
  });

  it.each([
    { width: 800, height: 600, bpp: 4 },
    { width: 800, height: 600, bpp: 8 },
    { width: 800, height: 600, bpp: 8, enable: 0x61 },
    { width: 640, height: 480, bpp: 15 },
    { width: 640, height: 480, bpp: 16 },
    { width: 800, height: 600, bpp: 24 },
    { width: 1024, height: 768, bpp: 32 },
    { width: 640, height: 480, bpp: 32, virtualWidth: 1000 },
  ])('shows the same picture in VBE mode $width x $height x $bpp ($enable, $virtualWidth)', async (mode) => {
    setMode(STANDARD_MODES[0]!);
    setVbeMode(both, mode);
    fillVram(testBytes(mode.width * mode.height * 4, mode.bpp));
    await expectSamePicture();
    for (const [index, value] of [
      [8, 24],
      [9, 100],
    ] as const) {
      both.outw(0x1ce, index);
      both.outw(0x1d0, value);
    }
    await expectSamePicture();
  });

  it.each([15, 16, 24, 32])('shows a big-endian framebuffer of %i bits alike', async (bpp) => {
    const setOrder = (order: number) => {
      bench.memory.write(MMIO + 0x604, 4, order);
      qemu.writel(MMIO + 0x604, order);
    };
    setMode(STANDARD_MODES[0]!);
    setOrder(0xbebebebe);
    setVbeMode(both, { width: 640, height: 480, bpp });
    fillVram(testBytes(640 * 480 * 4, bpp + 1));
    await expectSamePicture();
    setOrder(0x1e1e1e1e);
    setMode(STANDARD_MODES[0]!);
    await qemu.screendump();
  });

  it('draws the cursor where and as QEMU does', async () => {
    await using fresh = await QtestMachine.start(['-device', `VGA,addr=${SLOT},romfile=`]);
    const own = createBench();
    const pair: PortWriter = {
      outb: (port, value) => {
        portWriter(own).outb(port, value);
        fresh.outb(port, value);
      },
      outw: (port, value) => {
        portWriter(own).outw(port, value);
        fresh.outw(port, value);
      },
    };
    fresh.pciWrite(SLOT, 0x10, FRAMEBUFFER);
    fresh.pciWrite(SLOT, 0x04, 3);
    setStandardMode(pair, () => {}, STANDARD_MODES[0]!);
    setTestPalette(pair);
    const bytes = testBytes(0x40000, 9);
    own.vram.set(bytes);
    fresh.write(FRAMEBUFFER, bytes);
    for (const [start, end, position] of [
      [0x0d, 0x0e, 0],
      [0x00, 0x1f, 81],
      [0x0e, 0x0d, 82],
      [0x2d, 0x0e, 83],
      [0x05, 0x05, 1999],
    ] as const) {
      pair.outw(0x3d4, 0x0a | (start << 8));
      pair.outw(0x3d4, 0x0b | (end << 8));
      pair.outw(0x3d4, 0x0e | ((position >> 8) << 8));
      pair.outw(0x3d4, 0x0f | ((position & 0xff) << 8));
      expect(difference(own.vga.render(true), await fresh.screendump())).toBeUndefined();
    }
  });

  it('shows the same picture after any change of CRTC, attribute and sequencer registers', async () => {
    fillVram(testBytes(0x40000, 5));
    const change = fc.oneof(
      // Display end, offsets, start, max scan, line compare, mode: what the picture is made from.
      fc.tuple(
        fc.constant(0x3d4),
        fc.constantFrom(0x06, 0x08, 0x09, 0x0c, 0x0d, 0x13, 0x17, 0x18),
        fc.nat(255),
      ),
      fc.tuple(fc.constant(0x3d4), fc.constantFrom(0x07), fc.constantFrom(0x1f, 0x0f, 0x1d, 0x3e)),
      fc.tuple(fc.constant(0x3c4), fc.constantFrom(1, 3), fc.nat(255)),
      fc.tuple(fc.constant(0x3ce), fc.constantFrom(5), fc.nat(255)),
      fc.tuple(fc.constant(0x3c0), fc.nat(0x14), fc.nat(255)),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...STANDARD_MODES),
        fc.array(change, { minLength: 1, maxLength: 6 }),
        async (mode, changes) => {
          setMode(mode);
          for (const [port, index, value] of changes) {
            if (port === 0x3c0) {
              status();
              both.outb(port, index);
              both.outb(port, value);
            } else {
              both.outw(port, index | (value << 8));
            }
          }
          // QEMU draws rows that it believes unchanged no more: leave the mode and come back.
          status();
          both.outb(0x3c0, 0);
          await qemu.screendump();
          status();
          both.outb(0x3c0, 0x20);
          bench.vga.render(false);
          await expectSamePicture();
        },
      ),
      { numRuns: 60, endOnFailure: true },
    );
  });

  it('answers every port, window and register access alike', async () => {
    const vgaPort = fc.integer({ min: 0x3b0, max: 0x3df });
    const byte = fc.nat(255);
    const indexed = fc.constantFrom(0x3c4, 0x3ce, 0x3d4);
    const windowAt = fc.oneof(fc.nat(0x1ffff), fc.nat(64), fc.integer({ min: 0x18000, max: 0x18040 }));
    const vbeValue = fc.oneof(
      fc.constantFrom(0, 1, 4, 8, 15, 16, 24, 32, 0x41, 0x43, 0x61, 0xc1),
      fc.nat(0xffff),
      fc.nat(2048),
    );
    const mmioAt = fc.oneof(
      fc.integer({ min: 0x400, max: 0x41c }),
      fc.integer({ min: 0x280, max: 0x288 }).map((half) => half * 2),
      fc.constantFrom(0x600, 0x604, 0x100, 0x300, 0x700),
    );
    const operation = fc.oneof(
      fc.tuple(fc.constant('outb'), vgaPort, byte),
      fc.tuple(fc.constant('outw'), indexed, fc.nat(0xffff)),
      fc.tuple(
        fc.constant('outw'),
        fc.constant(0x3ce),
        fc.constantFrom(0x0005, 0x0105, 0x0205, 0x0b05, 0x0504, 0x0406),
      ),
      fc.tuple(fc.constant('outw'), fc.constant(0x3c4), fc.constantFrom(0x0f02, 0x0604, 0x0e04, 0x0204)),
      fc.tuple(fc.constant('inb'), vgaPort, byte),
      fc.tuple(fc.constant('outb'), fc.constant(0x3c2), fc.constantFrom(0x63, 0x62)),
      fc.tuple(fc.constant('outw'), fc.constant(0x1ce), fc.nat(12)),
      fc.tuple(fc.constant('outw'), fc.constantFrom(0x1cf, 0x1d0), vbeValue),
      fc.tuple(fc.constant('inw'), fc.constantFrom(0x1ce, 0x1cf, 0x1d0), byte),
      fc.tuple(fc.constant('inb'), fc.constantFrom(0x1ce, 0x1d0), byte),
      ...[1, 2, 3].map(() => fc.tuple(fc.constant('writeb'), windowAt, byte)),
      fc.tuple(fc.constant('writel'), windowAt, fc.nat(0xffffffff)),
      fc.tuple(fc.constant('readb'), windowAt, byte),
      fc.tuple(fc.constant('readl'), windowAt, byte),
      fc.tuple(fc.constantFrom('mreadb', 'mreadw', 'mreadl'), mmioAt, byte),
      fc.tuple(fc.constantFrom('mwriteb', 'mwritew', 'mwritel'), mmioAt, fc.nat(0xffffffff)),
    );
    const width: Record<string, number> = { b: 1, w: 2, l: 4 };
    await fc.assert(
      fc.asyncProperty(
        fc.array(operation, { minLength: 20, maxLength: 400, size: 'max' }),
        async (operations) => {
          await reset();
          const pending: Promise<unknown>[] = [];
          for (const [step, [kind, where, value]] of operations.entries()) {
            const bytes = width[kind.at(-1)!]!;
            const inMemory = kind.includes('read') || kind.includes('write');
            const isWrite = kind.includes('write') || kind.startsWith('out');
            let address = where;
            if (kind.startsWith('m')) address = MMIO + where - (where % bytes);
            else if (inMemory) address = 0xa0000 + Math.min(where, 0x20000 - bytes);
            const board = inMemory ? bench.memory : bench.ports;
            const short = kind.replace(/^m/, '');
            if (isWrite) {
              const cut = bytes === 4 ? value : value & ((1 << (bytes * 8)) - 1);
              board.write(address, bytes, cut);
              pending.push(qemu.command(`${short} ${address} ${cut}`));
            } else {
              const ours = board.read(address, bytes);
              const name = `${step}: ${kind} ${address.toString(16)}`;
              pending.push(
                qemu
                  .command(`${short} ${address}`)
                  .then((answer) => expect([name, Number(answer)]).toEqual([name, ours])),
              );
            }
          }
          await Promise.all(pending);
          for (const offset of [0, 0x20000, 0x40000, 0x60000]) {
            const theirs = await qemu.read(FRAMEBUFFER + offset, 0x20000);
            expect(Buffer.compare(theirs, bench.vram.subarray(offset, offset + 0x20000))).toBe(0);
          }
        },
      ),
      { numRuns: 40, endOnFailure: true },
    );
  });
});
