import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createBench, setVbeMode, portWriter, type VgaBench } from './fakes.ts';

/** The graphics controller by the book: four planes apart, a bit at a time. */
class ReferencePlanes {
  readonly planes: number[][] = [0, 1, 2, 3].map(() => new Array<number>(256).fill(0));
  latches: number[] = [0, 0, 0, 0];

  write(gr: readonly number[], mapMask: number, address: number, value: number): void {
    const [setReset, enable, , rotateFunction, , mode, , , bitMask] = gr as number[];
    const rotate = rotateFunction! & 7;
    const rotated = ((value >> rotate) | (value << (8 - rotate))) & 0xff;
    for (let plane = 0; plane < 4; plane++) {
      if (!((mapMask >> plane) & 1)) continue;
      let result = 0;
      for (let bit = 0; bit < 8; bit++) {
        const latch = (this.latches[plane]! >> bit) & 1;
        const set = (setReset! >> plane) & 1;
        let data = (rotated >> bit) & 1;
        let masked = ((bitMask! >> bit) & 1) === 0;
        const writeMode = mode! & 3;
        if (writeMode === 0 && (enable! >> plane) & 1) data = set;
        if (writeMode === 2) data = (value >> plane) & 1;
        if (writeMode === 3) {
          masked ||= data === 0;
          data = set;
        }
        const combined = [data, data & latch, data | latch, data ^ latch][(rotateFunction! >> 3) & 3]!;
        const out = writeMode === 1 || masked ? latch : combined;
        result |= out << bit;
      }
      this.planes[plane]![address] = result;
    }
  }

  read(gr: readonly number[], address: number): number {
    this.latches = this.planes.map((plane) => plane[address]!);
    if (!(gr[5]! & 8)) return this.latches[gr[4]! & 3]!;
    let result = 0;
    for (let bit = 0; bit < 8; bit++) {
      const equal = [0, 1, 2, 3].every(
        (plane) =>
          !((gr[7]! >> plane) & 1) || ((this.latches[plane]! >> bit) & 1) === ((gr[2]! >> plane) & 1),
      );
      if (equal) result |= 1 << bit;
    }
    return result;
  }
}

function setGraphics({ ports }: VgaBench, values: readonly number[]): void {
  values.forEach((value, index) => {
    ports.write(0x3ce, 2, index | (value << 8));
  });
}

describe('the legacy window', () => {
  it('writes and reads planes as the reference does', () => {
    const nibble = fc.nat(15);
    const step = fc.record({
      setReset: nibble,
      enable: nibble,
      compare: nibble,
      rotateFunction: fc.nat(31),
      readMap: fc.nat(3),
      writeMode: fc.nat(3),
      readMode: fc.nat(1),
      dontCare: nibble,
      bitMask: fc.nat(255),
      mapMask: nibble,
      readAddress: fc.nat(255),
      writeAddress: fc.nat(255),
      value: fc.nat(255),
    });
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 40 }), (steps) => {
        const bench = createBench({ vram: new Uint8Array(0x40000) });
        const reference = new ReferencePlanes();
        for (const s of steps) {
          const mode = s.writeMode | (s.readMode << 3);
          const gr = [
            s.setReset,
            s.enable,
            s.compare,
            s.rotateFunction,
            s.readMap,
            mode,
            5,
            s.dontCare,
            s.bitMask,
          ];
          setGraphics(bench, gr);
          bench.ports.write(0x3c4, 2, 0x02 | (s.mapMask << 8));
          expect(bench.memory.read(0xa0000 + s.readAddress, 1)).toBe(reference.read(gr, s.readAddress));
          bench.memory.write(0xa0000 + s.writeAddress, 1, s.value);
          reference.write(gr, s.mapMask, s.writeAddress, s.value);
        }
        const planes = [0, 1, 2, 3].map((p) => Array.from({ length: 256 }, (_, i) => bench.vram[i * 4 + p]!));
        expect(planes).toEqual(reference.planes);
      }),
      { numRuns: 100 },
    );
  });

  it('puts characters in plane 0 and attributes in plane 1 in odd/even mode', () => {
    const bench = createBench();
    setGraphics(bench, [0, 0, 0, 0, 0, 0x10, 0x0e, 0, 0xff]);
    bench.ports.write(0x3c4, 2, 0x0302);
    bench.memory.write(0xb8000 + 4, 2, 0x0741);
    expect([...bench.vram.subarray(8, 12)]).toEqual([0x41, 0x07, 0, 0]);
    expect(bench.memory.read(0xb8004, 2)).toBe(0x0741);
    // Outside the 32 KiB map nobody answers.
    expect(bench.memory.read(0xa0000, 1)).toBe(0xff);
  });

  it('may be mapped directly in chain-4 modes, with the bank that VBE selects', () => {
    const changes: unknown[] = [];
    const bench = createBench({ onLegacyWindowChange: (direct) => changes.push(direct) });
    setGraphics(bench, [0, 0, 0, 0, 0, 0x40, 0x05, 0x0f, 0xff]);
    bench.ports.write(0x3c4, 2, 0x0f02);
    expect(bench.vga.legacyWindowDirect()).toBeUndefined();
    bench.ports.write(0x3c4, 2, 0x0e04);
    expect(bench.vga.legacyWindowDirect()).toEqual({ base: 0xa0000, size: 0x10000, offset: 0 });
    setVbeMode(portWriter(bench), { width: 640, height: 480, bpp: 8 });
    bench.ports.write(0x1ce, 2, 5);
    bench.ports.write(0x1d0, 2, 3);
    expect(bench.vga.legacyWindowDirect()).toEqual({ base: 0xa0000, size: 0x10000, offset: 0x30000 });
    bench.memory.write(0xa0010, 1, 0x5a);
    expect(bench.vram[0x30010]).toBe(0x5a);
    // One plane masked: the device must see every write again.
    bench.ports.write(0x1ce, 2, 4);
    bench.ports.write(0x1d0, 2, 0);
    bench.ports.write(0x3c4, 2, 0x0702);
    expect(changes.at(-1)).toBeUndefined();
    expect(changes.length).toBe(4);
  });
});
