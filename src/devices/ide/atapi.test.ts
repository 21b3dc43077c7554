import { describe, expect, it } from 'vitest';
import { BMDMA_BASE, IdeRig } from '../../../test/support/ide-rig.ts';

const BASE = 0x170;
const BM = BMDMA_BASE + 8;

/** Runs a packet command by PIO and gathers the reply; interrupts and status are checked on the way. */
function run(rig: IdeRig, packet: readonly number[], limit = 0xfffe): Uint8Array {
  const parts: Uint8Array[] = [];
  rig.packet(packet, limit);
  for (;;) {
    rig.cd.complete();
    expect(rig.irqs[1].level).toBe(1);
    const status = rig.in8(BASE + 7);
    if ((status & 8) === 0) break;
    expect(rig.in8(BASE + 2) & 3).toBe(2);
    parts.push(rig.readWords(BASE, ((rig.in8(BASE + 4) | (rig.in8(BASE + 5) << 8)) + 1) >> 1));
  }
  expect(rig.in8(BASE + 2) & 3).toBe(3);
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

/** Sense key and additional code. */
function sense(rig: IdeRig): [number, number] {
  const reply = run(rig, [0x03, 0, 0, 0, 18]);
  return [reply[2]!, reply[12]!];
}

describe('ATAPI drive', () => {
  it('has the signature and identity of a packet device', () => {
    const rig = new IdeRig();
    rig.command(BASE, [0, 0, 0, 0, 0, 0xa0], 0xec);
    expect([4, 5, 7].map((register) => rig.in8(BASE + register))).toEqual([0x14, 0xeb, 0x41]);
    rig.command(BASE, [0, 0, 0, 0, 0, 0xa0], 0xa1);
    expect(rig.in16(BASE)).toBe(0x85c0);
    rig.readWords(BASE, 255);
    rig.out8(BASE + 7, 0x08);
    expect([1, 2, 4, 5, 7].map((register) => rig.in8(BASE + register))).toEqual([0, 1, 0x14, 0xeb, 0]);
  });

  it('answers the questions that need no disc', () => {
    const rig = new IdeRig();
    const inquiry = run(rig, [0x12, 0, 0, 0, 36]);
    expect(Buffer.from(inquiry.subarray(8)).toString('latin1')).toBe('QEMU    QEMU DVD-ROM    2.5+');
    expect([...run(rig, [0x46, 0, 0, 0, 0, 0, 0, 0, 20])]).toEqual([
      0, 0, 0, 16, 0, 0, 0, 8, 0, 0, 3, 8, 0, 16, 0, 0, 0, 8, 1, 0,
    ]);
    expect([...run(rig, [0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8])]).toEqual([0, 4, 4, 16, 0, 2, 0, 0]);
    expect(run(rig, [0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 30])).toHaveLength(30);
    run(rig, [0x77]);
    expect(sense(rig)).toEqual([5, 0x20]);
  });

  it('reads capacity, contents and disc information', () => {
    const rig = new IdeRig();
    expect([...run(rig, [0x25])]).toEqual([0, 0, 0, 99, 0, 0, 8, 0]);
    expect([...run(rig, [0x43, 2, 0, 0, 0, 0, 0, 0, 20])]).toEqual([
      0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 2, 0, 0, 0x16, 0xaa, 0, 0, 0, 3, 25,
    ]);
    expect(run(rig, [0x43, 0, 0, 0, 0, 0, 0, 0, 48, 0x80])).toHaveLength(48);
    expect([...run(rig, [0x51, 0, 0, 0, 0, 0, 0, 0, 8])]).toEqual([0, 32, 14, 1, 1, 1, 1, 32]);
    expect([...run(rig, [0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8])]).toEqual([0, 0, 0, 0, 0, 1, 0, 0]);
    run(rig, [0xad, 0, 0, 0, 0, 0, 0, 0, 8, 4]);
    expect(sense(rig)).toEqual([5, 0x30]);
  });

  it.each([2048, 512, 4096, 0xfffe, 1000])('reads sectors in data blocks of %i bytes', (limit) => {
    const rig = new IdeRig();
    const data = run(rig, [0x28, 0, 0, 0, 0, 10, 0, 0, 40], limit);
    expect(data).toEqual(rig.cd.bytes.slice(10 * 2048, 50 * 2048));
    const raw = run(rig, [0xbe, 0, 0, 0, 0, 5, 0, 0, 3, 0xf8], limit);
    expect([raw.length, ...raw.subarray(0, 16)]).toEqual([
      3 * 2352,
      0,
      255,
      255,
      255,
      255,
      255,
      255,
      255,
      255,
      255,
      255,
      0,
      0,
      2,
      5,
      1,
    ]);
    expect(raw.slice(2 * 2352 + 16, 2 * 2352 + 16 + 2048)).toEqual(rig.cd.bytes.slice(7 * 2048, 8 * 2048));
    expect(run(rig, [0xa8, 0, 0, 0, 0, 99, 0, 0, 0, 1], limit)).toEqual(rig.cd.bytes.slice(99 * 2048));
  });

  it('reads by DMA into scattered memory', () => {
    const rig = new IdeRig();
    const entries = [
      [0x20000, 3000],
      [0x30000, 0xf000],
      [0x50000, 0x10000],
      [0x70000, 70 * 2048 - 3000 - 0x1f000],
    ] as const;
    rig.prds(0x1000, entries);
    rig.out32(BM + 4, 0x1000);
    rig.packet([0x28, 0, 0, 0, 0, 20, 0, 0, 70], 0, 1);
    rig.out8(BM, 9);
    rig.cd.complete();
    const got = entries.flatMap(([at, length]) => [...rig.memory.bytes.slice(at, at + length)]);
    expect(Uint8Array.from(got)).toEqual(rig.cd.bytes.slice(20 * 2048, 90 * 2048));
    expect([rig.irqs[1].level, rig.in8(BM + 2), rig.in8(BASE + 7), rig.in8(BASE + 2) & 3]).toEqual([
      1, 4, 0x50, 3,
    ]);
    rig.out8(BM, 0);
    rig.prds(0x1000, [[0x20000, 36]]);
    rig.packet([0x12, 0, 0, 0, 36], 0, 1);
    rig.out8(BM, 9);
    expect([rig.memory.bytes[0x20000], rig.in8(BASE + 7)]).toEqual([5, 0x50]);
  });

  it('refuses what is not on the disc, and reports read errors', () => {
    const rig = new IdeRig();
    run(rig, [0x28, 0, 0, 0, 0, 99, 0, 0, 2]);
    expect(sense(rig)).toEqual([5, 0x21]);
    rig.cd.failure = new Error('scratch');
    run(rig, [0x28, 0, 0, 0, 0, 1, 0, 0, 2]);
    expect(sense(rig)).toEqual([5, 0x21]);
    rig.packet([0x28, 0, 0, 0, 0, 1, 0, 0, 2], 0);
    expect([rig.in8(BASE + 7), rig.in8(BASE + 1)]).toEqual([0x41, 4]);
  });

  it('tells of a changed disc: gone, then changed, then ready', () => {
    const rig = new IdeRig();
    run(rig, [0x00]);
    rig.cd.inserted = false;
    rig.cd.onMediaChange!();
    run(rig, [0x00]);
    expect(sense(rig)).toEqual([2, 0x3a]);
    rig.cd.inserted = true;
    rig.cd.bytes = new Uint8Array(2048 * 7);
    rig.cd.onMediaChange!();
    run(rig, [0x00]);
    expect(sense(rig)).toEqual([2, 0x3a]);
    run(rig, [0x00]);
    expect(rig.in8(BASE + 1) >> 4).toBe(6);
    run(rig, [0x12, 0, 0, 0, 36]);
    expect(sense(rig)).toEqual([6, 0x28]);
    run(rig, [0x00]);
    expect(rig.in8(BASE + 1)).toBe(0);
    expect([...run(rig, [0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8])].slice(4, 6)).toEqual([2, 2]);
    expect(run(rig, [0x25])[3]).toBe(6);
  });

  it('locks, opens and closes its tray', () => {
    const rig = new IdeRig();
    const told: boolean[] = [];
    rig.ide.drive(2)!.atapi!.onTray = (open) => told.push(open);
    run(rig, [0x1e, 0, 0, 0, 1]);
    run(rig, [0x1b, 0, 0, 0, 2]);
    expect(sense(rig)).toEqual([2, 0x53]);
    run(rig, [0x1e, 0, 0, 0, 0]);
    run(rig, [0x1b, 0, 0, 0, 2]);
    run(rig, [0x00]);
    expect(sense(rig)).toEqual([2, 0x3a]);
    run(rig, [0x1b, 0, 0, 0, 3]);
    run(rig, [0x00]);
    expect(told).toEqual([true, false]);
    rig.ide.drive(2)!.atapi!.ejectRequested(false);
    expect([...run(rig, [0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8])].slice(4, 6)).toEqual([1, 2]);
  });
});
