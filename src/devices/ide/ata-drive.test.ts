import { describe, expect, it } from 'vitest';
import { FakeDisk } from '../../../test/support/fakes.ts';
import { IdeRig } from '../../../test/support/ide-rig.ts';

const BASE = 0x1f0;
const LBA = 0xe0;

describe('ATA disk by PIO', () => {
  it('identifies itself', () => {
    const rig = new IdeRig();
    rig.command(BASE, [0, 0, 0, 0, 0, 0xa0], 0xec);
    expect(rig.in8(BASE + 7)).toBe(0x58);
    const data = rig.readWords(BASE, 256);
    const text = (from: number, words: number) =>
      Array.from({ length: words * 2 }, (_, i) => String.fromCharCode(data[from * 2 + (i ^ 1)]!))
        .join('')
        .trim();
    expect([text(27, 20), text(10, 10), text(23, 4)]).toEqual(['QEMU HARDDISK', 'QM00001', '2.5+']);
    expect(data[120]! | (data[121]! << 8)).toBe(2048);
    expect(rig.in8(BASE + 7)).toBe(0x50);
    expect(rig.irqs[0].log).toEqual([1, 0]);
  });

  it('reads several sectors, an interrupt each', () => {
    const rig = new IdeRig();
    rig.command(BASE, [0, 3, 5, 0, 0, LBA], 0x20);
    for (let sector = 5; sector < 8; sector++) {
      expect(rig.in8(BASE + 7) & 0x88).toBe(0x80);
      rig.disk.complete();
      expect(rig.irqs[0].level).toBe(1);
      expect(rig.in8(BASE + 7)).toBe(0x58);
      expect(rig.readWords(BASE, 256)).toEqual(rig.disk.bytes.slice(sector * 512, sector * 512 + 512));
    }
    expect(rig.in8(BASE + 7)).toBe(0x50);
    expect([2, 3, 4].map((register) => rig.in8(BASE + register))).toEqual([0, 8, 0]);
  });

  it('writes several sectors and reads 32 bits at a time', () => {
    const rig = new IdeRig();
    const data = Uint8Array.from({ length: 1024 }, (_, i) => i & 0xff);
    rig.command(BASE, [0, 2, 100, 0, 0, LBA], 0x30);
    expect(rig.in8(BASE + 7)).toBe(0x58);
    rig.writeWords(BASE, data.subarray(0, 512));
    expect(rig.in8(BASE + 7) & 0x88).toBe(0x80);
    rig.disk.complete();
    expect(rig.irqs[0].level).toBe(1);
    rig.writeWords(BASE, data.subarray(512));
    rig.disk.complete();
    expect(rig.in8(BASE + 7)).toBe(0x50);
    expect(rig.disk.bytes.slice(51200, 52224)).toEqual(data);
    rig.command(BASE, [0, 1, 100, 0, 0, LBA], 0x20);
    rig.disk.complete();
    expect([rig.in32(BASE), rig.in32(BASE)]).toEqual([0x03020100, 0x07060504]);
  });

  it('reads and writes multiple sectors a block', () => {
    const rig = new IdeRig();
    rig.command(BASE, [0, 8, 0, 0, 0, LBA], 0xc6);
    rig.command(BASE, [0, 10, 1, 0, 0, LBA], 0xc4);
    rig.disk.complete();
    expect(rig.readWords(BASE, 2048)).toEqual(rig.disk.bytes.slice(512, 512 * 9));
    rig.disk.complete();
    expect(rig.readWords(BASE, 512)).toEqual(rig.disk.bytes.slice(512 * 9, 512 * 11));
    expect(rig.in8(BASE + 7)).toBe(0x50);
    rig.command(BASE, [0, 9, 20, 0, 0, LBA], 0xc5);
    rig.writeWords(BASE, new Uint8Array(8 * 512).fill(0x5a));
    rig.disk.complete();
    rig.writeWords(BASE, new Uint8Array(512).fill(0xa5));
    rig.disk.complete();
    expect([rig.disk.bytes[20 * 512], rig.disk.bytes[28 * 512 - 1], rig.disk.bytes[28 * 512]]).toEqual([
      0x5a, 0x5a, 0xa5,
    ]);
    rig.command(BASE, [0, 3, 0, 0, 0, LBA], 0xc6);
    expect([rig.in8(BASE + 7) & 1, rig.in8(BASE + 1)]).toEqual([1, 4]);
  });

  it('addresses by LBA48 with the high bytes written first', () => {
    const rig = new IdeRig();
    for (const [register, value] of [
      [2, 0],
      [2, 1],
      [3, 0],
      [3, 44],
      [4, 0],
      [4, 1],
      [5, 0],
      [5, 0],
    ] as const) {
      rig.out8(BASE + register, value);
    }
    rig.out8(BASE + 6, 0x40);
    rig.out8(BASE + 7, 0x24);
    rig.disk.complete();
    expect(rig.readWords(BASE, 256)).toEqual(rig.disk.bytes.slice(300 * 512, 301 * 512));
    rig.out8(0x3f6, 0x80);
    expect(rig.in8(BASE + 3)).toBe(0);
    rig.out8(0x3f6, 0);
    expect(rig.in8(BASE + 3)).toBe(45);
  });

  it('addresses by CHS, also after INITIALIZE DEVICE PARAMETERS', () => {
    const rig = new IdeRig();
    rig.command(BASE, [0, 1, 2, 0, 0, 0xa1], 0x20);
    rig.disk.complete();
    expect(rig.readWords(BASE, 256)).toEqual(rig.disk.bytes.slice(64 * 512, 65 * 512));
    rig.command(BASE, [0, 10, 0, 0, 0, 0xa3], 0x91);
    rig.command(BASE, [0, 1, 10, 2, 0, 0xa3], 0x20);
    rig.disk.complete();
    expect(rig.readWords(BASE, 256)).toEqual(rig.disk.bytes.slice(119 * 512, 120 * 512));
    expect([3, 4, 5, 6].map((register) => rig.in8(BASE + register))).toEqual([1, 3, 0, 0xa0]);
  });

  it('answers backend errors and bad addresses with ABRT', () => {
    const rig = new IdeRig();
    rig.disk.failure = new Error('medium');
    rig.command(BASE, [0, 1, 5, 0, 0, LBA], 0x20);
    rig.disk.complete();
    expect([rig.irqs[0].level, rig.in8(BASE + 7), rig.in8(BASE + 1)]).toEqual([1, 0x41, 4]);
    rig.command(BASE, [0, 2, 0xff, 7, 0, LBA], 0xc4);
    expect([rig.in8(BASE + 7), rig.in8(BASE + 1), rig.disk.inFlight]).toEqual([0x41, 4, 0]);
    rig.command(BASE, [0, 1, 1, 0, 0, LBA], 0x30);
    rig.writeWords(BASE, new Uint8Array(512));
    rig.disk.failure = new Error('full');
    rig.disk.complete();
    expect([rig.in8(BASE + 7), rig.in8(BASE + 1)]).toEqual([0x41, 4]);
    rig.command(BASE, [0, 0, 0, 0, 0, LBA], 0x00);
    expect([rig.in8(BASE + 7), rig.in8(BASE + 1)]).toEqual([0x41, 4]);
  });

  it('flushes, verifies, tells size, power and features', () => {
    const rig = new IdeRig();
    rig.command(BASE, [0, 0, 0, 0, 0, LBA], 0xe7);
    expect(rig.in8(BASE + 7) & 0x80).toBe(0x80);
    rig.disk.complete();
    expect(rig.in8(BASE + 7)).toBe(0x50);
    rig.command(BASE, [0, 1, 5, 0, 0, LBA], 0x40);
    expect(rig.in8(BASE + 7)).toBe(0x50);
    rig.command(BASE, [0, 0, 0, 0, 0, LBA], 0xf8);
    expect([3, 4, 5].map((register) => rig.in8(BASE + register))).toEqual([0xff, 7, 0]);
    rig.command(BASE, [0, 0, 0, 0, 0, LBA], 0xe5);
    expect(rig.in8(BASE + 2)).toBe(0xff);
    rig.command(BASE, [3, 0x45, 0, 0, 0, LBA], 0xef);
    expect(rig.in8(BASE + 7)).toBe(0x50);
    rig.command(BASE, [0x82, 0, 0, 0, 0, LBA], 0xef);
    rig.disk.complete();
    rig.command(BASE, [0, 1, 1, 0, 0, LBA], 0x30);
    rig.writeWords(BASE, new Uint8Array(512));
    rig.disk.complete(1);
    expect(rig.disk.inFlight).toBe(1); // the flush behind a write without cache
    rig.disk.complete();
    expect(rig.in8(BASE + 7)).toBe(0x50);
    rig.command(BASE, [0x77, 0, 0, 0, 0, LBA], 0xef);
    expect(rig.in8(BASE + 7)).toBe(0x41);
    rig.command(BASE, [0xda, 0, 0, 0x4f, 0xc2, LBA], 0xb0);
    expect([rig.in8(BASE + 7), rig.in8(BASE + 4), rig.in8(BASE + 5)]).toEqual([0x50, 0x4f, 0xc2]);
    rig.command(BASE, [0xd0, 0, 0, 0x4f, 0xc2, LBA], 0xb0);
    expect(rig.readWords(BASE, 256).reduce((sum, byte) => sum + byte, 0) & 0xff).toBe(0);
  });
});

describe('IDE channel', () => {
  it('answers for drives that are not there', () => {
    const rig = new IdeRig();
    rig.out8(BASE + 6, 0xb0);
    expect(rig.in8(BASE + 7)).toBe(0);
    expect(rig.in8(0x3f6)).toBe(0);
    rig.out8(BASE + 7, 0xec);
    expect(rig.irqs[0].log).toEqual([]);
    const bare = new IdeRig([]);
    expect([bare.in8(BASE + 7), bare.in8(BASE + 2), bare.in8(0x3f6)]).toEqual([0, 0, 0]);
  });

  it('gives up what runs on a soft reset, and keeps later writes behind it', () => {
    const rig = new IdeRig();
    rig.command(BASE, [0, 1, 7, 0, 0, LBA], 0x30);
    rig.writeWords(BASE, new Uint8Array(512).fill(0x11));
    rig.out8(0x3f6, 0x04);
    rig.out8(0x3f6, 0x00);
    expect([1, 2, 3, 4, 5, 7].map((register) => rig.in8(BASE + register))).toEqual([1, 1, 1, 0, 0, 0x50]);
    expect([4, 5].map((register) => rig.in8(0x170 + register))).toEqual([0x14, 0xeb]);
    rig.command(BASE, [0, 1, 7, 0, 0, LBA], 0x30);
    rig.writeWords(BASE, new Uint8Array(512).fill(0x22));
    expect(rig.disk.inFlight).toBe(1);
    rig.disk.complete(1);
    expect([rig.disk.bytes[7 * 512], rig.disk.bytes[7 * 512 + 511]]).toEqual([0x11, 0x11]);
    expect(rig.in8(BASE + 7) & 0x80).toBe(0x80);
    rig.disk.complete();
    expect([rig.disk.bytes[7 * 512], rig.in8(BASE + 7)]).toEqual([0x22, 0x50]);
  });

  it('raises no interrupt while nIEN is set', () => {
    const rig = new IdeRig();
    rig.out8(0x3f6, 2);
    rig.command(BASE, [0, 0, 0, 0, 0, LBA], 0xec);
    expect(rig.irqs[0].level).toBe(0);
    expect(rig.in8(0x3f6)).toBe(0x58);
  });

  it('copies whole blocks at once', () => {
    const rig = new IdeRig();
    rig.command(BASE, [0, 1, 3, 0, 0, LBA], 0x20);
    rig.disk.complete();
    const target = new Uint8Array(600);
    expect(rig.ide.channels[0].readDataBlock(target, 10, 100)).toBe(100);
    expect(rig.ide.channels[0].readDataBlock(target, 110, 1000)).toBe(412);
    expect(target.slice(10, 522)).toEqual(rig.disk.bytes.slice(3 * 512, 4 * 512));
    expect(rig.ide.channels[0].readDataBlock(target, 0, 4)).toBe(0);
    expect(rig.in8(BASE + 7)).toBe(0x50);
  });

  it('takes two drives on a cable', () => {
    const slave = new FakeDisk(512 * 64);
    slave.bytes.fill(0x77);
    const rig = new IdeRig([
      { kind: 'disk', backend: new FakeDisk(512 * 64) },
      { kind: 'disk', backend: slave },
    ]);
    rig.command(BASE, [0, 1, 0, 0, 0, 0xf0], 0x20);
    slave.complete();
    expect(rig.readWords(BASE, 256)).toEqual(slave.bytes.slice(0, 512));
    rig.out8(BASE + 6, 0xe0);
    expect(rig.in8(BASE + 7)).toBe(0x50);
  });
});
