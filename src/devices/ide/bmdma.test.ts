import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BMDMA_BASE, IdeRig } from '../../../test/support/ide-rig.ts';

const BASE = 0x1f0;
const LBA = 0xe0;
const TABLE = 0x1000;

/** Starts a DMA command: table, bus master, then the drive. */
function startDma(
  rig: IdeRig,
  entries: readonly (readonly [number, number])[],
  sector: number,
  count: number,
  command: number,
): void {
  rig.prds(TABLE, entries);
  rig.out32(BMDMA_BASE + 4, TABLE);
  rig.out8(BMDMA_BASE + 2, 0x06);
  rig.command(BASE, [0, count, sector, 0, 0, LBA], command);
  rig.out8(BMDMA_BASE, command === 0xc8 ? 0x09 : 0x01);
}

describe('bus master', () => {
  it('reads into scattered memory', () => {
    const rig = new IdeRig();
    const entries = [
      [0x20000, 700],
      [0x30000, 2],
      [0x40000, 4 * 512 - 702],
    ] as const;
    startDma(rig, entries, 9, 4, 0xc8);
    expect(rig.in8(BMDMA_BASE + 2)).toBe(0x01);
    rig.disk.complete();
    const got = entries.flatMap(([address, length]) => [
      ...rig.memory.bytes.slice(address, address + length),
    ]);
    expect(Uint8Array.from(got)).toEqual(rig.disk.bytes.slice(9 * 512, 13 * 512));
    expect([rig.irqs[0].level, rig.in8(BMDMA_BASE + 2), rig.in8(0x3f6)]).toEqual([1, 4, 0x50]);
    expect([rig.in8(BASE + 2), rig.in8(BASE + 3)]).toEqual([0, 13]);
    rig.out8(BMDMA_BASE, 0);
    rig.out8(BMDMA_BASE + 2, 0x64);
    expect(rig.in8(BMDMA_BASE + 2)).toBe(0x60);
  });

  it('moves any table over any number of sectors', () => {
    const lengths = fc.array(
      fc.integer({ min: 1, max: 300 }).map((words) => words * 2),
      { minLength: 1, maxLength: 12 },
    );
    fc.assert(
      fc.property(lengths, fc.boolean(), (parts, write) => {
        const rig = new IdeRig();
        const total = parts.reduce((sum, part) => sum + part, 0);
        const sectors = Math.floor(total / 512);
        fc.pre(sectors > 0);
        for (let i = 0; i < 0x10000; i++) rig.memory.bytes[0x20000 + i] = (i * 31) & 0xff;
        let next = 0x20000;
        const entries = parts.map((length): [number, number] => {
          next += length + 6;
          return [next - length - 6, length];
        });
        startDma(rig, entries, 3, sectors, write ? 0xca : 0xc8);
        rig.disk.complete();
        const memory = entries.flatMap(([address, length]) => [
          ...rig.memory.bytes.slice(address, address + length),
        ]);
        const disk = rig.disk.bytes.slice(3 * 512, (3 + sectors) * 512);
        expect(Uint8Array.from(memory.slice(0, sectors * 512))).toEqual(disk);
        // More room than data: the bus master stays active.
        expect(rig.in8(BMDMA_BASE + 2)).toBe(total > sectors * 512 ? 5 : 4);
      }),
      { numRuns: 40 },
    );
  });

  it('goes in chunks when there is much', () => {
    const rig = new IdeRig();
    rig.disk.bytes = new Uint8Array(1 << 20).map((_, i) => (i >> 8) ^ i);
    rig.prds(TABLE, [
      [0x20000, 0],
      [0x40000, 0],
      [0x80000, 0],
      [0x90000, 0],
    ]);
    rig.out32(BMDMA_BASE + 4, TABLE);
    rig.out8(BMDMA_BASE, 9);
    for (const [register, value] of [
      [2, 2],
      [2, 0],
      [3, 0],
      [3, 1],
      [4, 0],
      [4, 0],
      [5, 0],
      [5, 0],
      [6, 0x40],
      [7, 0x25],
    ] as const) {
      rig.out8(BASE + register, value);
    }
    rig.disk.complete(1);
    expect(rig.irqs[0].level).toBe(0);
    rig.disk.complete();
    expect(rig.irqs[0].level).toBe(1);
    expect(rig.memory.bytes.slice(0x40000, 0x50000)).toEqual(rig.disk.bytes.slice(0x10200, 0x20200));
    expect(rig.memory.bytes.slice(0x90000, 0xa0000)).toEqual(rig.disk.bytes.slice(0x30200, 0x40200));
  });

  it('ends without an interrupt when the table is too short', () => {
    const rig = new IdeRig();
    startDma(rig, [[0x20000, 512]], 0, 2, 0xc8);
    expect([rig.disk.inFlight, rig.irqs[0].level, rig.in8(BMDMA_BASE + 2), rig.in8(0x3f6)]).toEqual([
      0, 0, 0, 0x50,
    ]);
  });

  it('reports errors of address and backend', () => {
    const rig = new IdeRig();
    rig.disk.failure = new Error('medium');
    startDma(rig, [[0x20000, 512]], 0, 1, 0xc8);
    rig.disk.complete();
    expect([rig.irqs[0].level, rig.in8(BMDMA_BASE + 2), rig.in8(0x3f6), rig.in8(BASE + 1)]).toEqual([
      1, 4, 0x41, 4,
    ]);
    rig.out8(BMDMA_BASE, 0);
    rig.prds(TABLE, [[0x20000, 512]]);
    rig.command(BASE, [0, 1, 0, 8, 0, LBA], 0xca);
    rig.out8(BMDMA_BASE, 1);
    expect([rig.in8(0x3f6), rig.in8(BASE + 1), rig.disk.inFlight]).toEqual([0x41, 4, 0]);
  });

  it('gives up a request when the guest stops it, leaving memory alone', () => {
    const rig = new IdeRig();
    startDma(rig, [[0x20000, 512]], 1, 1, 0xc8);
    rig.out8(BMDMA_BASE, 0);
    expect([rig.in8(BMDMA_BASE + 2) & 1, rig.in8(0x3f6)]).toEqual([0, 0x41]);
    rig.disk.complete();
    expect(rig.memory.bytes[0x20001]).toBe(0);
    startDma(rig, [[0x20000, 512]], 1, 1, 0xc8);
    rig.disk.complete();
    expect(rig.memory.bytes.slice(0x20000, 0x20200)).toEqual(rig.disk.bytes.slice(512, 1024));
  });

  it('does nothing to memory without the bus master bit', () => {
    const rig = new IdeRig();
    rig.bus.find(9)!.write(4, 2, 1);
    startDma(rig, [[0x20000, 512]], 1, 1, 0xc8);
    rig.disk.complete();
    expect(rig.memory.bytes.slice(0x20000, 0x20200).every((byte) => byte === 0)).toBe(true);
  });

  it('checks the ranges of TRIM', () => {
    const rig = new IdeRig();
    rig.memory.bytes.set([5, 0, 0, 0, 0, 0, 8, 0], 0x20000);
    rig.prds(TABLE, [[0x20000, 512]]);
    rig.out32(BMDMA_BASE + 4, TABLE);
    rig.command(BASE, [1, 1, 0, 0, 0, LBA], 0x06);
    rig.out8(BMDMA_BASE, 1);
    expect(rig.in8(BASE + 7)).toBe(0x50);
    rig.memory.bytes.set([5, 0, 1, 0, 0, 0, 8, 0], 0x20008);
    rig.out8(BMDMA_BASE, 0);
    rig.command(BASE, [1, 1, 0, 0, 0, LBA], 0x06);
    rig.out8(BMDMA_BASE, 1);
    expect(rig.in8(BASE + 7)).toBe(0x41);
  });

  it('gives what TRIM names to a disk that wants it, one range after another', () => {
    const rig = new IdeRig();
    rig.disk.bytes.fill(0x5a);
    rig.disk.enableDiscard();
    rig.memory.bytes.fill(0, 0x20000, 0x20200);
    // Sectors 5 to 12, nothing, then 30 and 31, the last entry of the list.
    rig.memory.bytes.set([5, 0, 0, 0, 0, 0, 8, 0], 0x20000);
    rig.memory.bytes.set([30, 0, 0, 0, 0, 0, 2, 0], 0x201f8);
    rig.prds(TABLE, [[0x20000, 512]]);
    rig.out32(BMDMA_BASE + 4, TABLE);
    rig.command(BASE, [1, 1, 0, 0, 0, LBA], 0x06);
    rig.out8(BMDMA_BASE, 1);
    expect([rig.disk.inFlight, rig.in8(BMDMA_BASE + 2) & 1]).toEqual([1, 1]);
    rig.disk.complete();
    expect([rig.in8(BASE + 7), rig.in8(BMDMA_BASE + 2) & 5]).toEqual([0x50, 4]);
    const trimmed = Array.from({ length: 40 }, (_, sector) => sector).filter(
      (s) => rig.disk.bytes[s * 512] === 0,
    );
    expect(trimmed).toEqual([5, 6, 7, 8, 9, 10, 11, 12, 30, 31]);
    rig.disk.failure = new Error('no');
    rig.out8(BMDMA_BASE, 0);
    rig.command(BASE, [1, 1, 0, 0, 0, LBA], 0x06);
    rig.out8(BMDMA_BASE, 1);
    rig.disk.complete();
    expect(rig.in8(BASE + 7)).toBe(0x41);
  });
});
