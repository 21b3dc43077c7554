import { describe, expect, it } from 'vitest';
import { FakeBus, FakeIrq } from '../../test/support/fakes.ts';
import { DebugConsole, DebugExit, PostCode } from './debug-exit.ts';
import { Port92 } from './port92.ts';

describe('Port92', () => {
  it('drives A20 and resets on a rise of bit 0', () => {
    const a20 = new FakeIrq();
    let resets = 0;
    const port = new Port92({ a20, requestReset: () => resets++ });
    const bus = new FakeBus(port);
    bus.out8(0x92, 0x02);
    expect([a20.level, bus.in8(0x92), resets]).toEqual([1, 2, 0]);
    bus.out8(0x92, 0x03);
    bus.out8(0x92, 0x03);
    expect(resets).toBe(1);
    port.reset();
    expect(bus.in8(0x92)).toBe(0x02);
    bus.out8(0x92, 0x00);
    expect(a20.level).toBe(0);
  });
});

describe('debug ports', () => {
  it('pass exit codes, progress codes and text', () => {
    const seen: number[] = [];
    const bus = new FakeBus(
      new DebugExit({ onExit: (code) => seen.push(code) }),
      new PostCode({ onCode: (code) => seen.push(code) }),
      new DebugConsole({ onByte: (byte) => seen.push(byte) }),
    );
    bus.out8(0x501, 0x10);
    bus.out8(0x80, 0x55);
    bus.out8(0x402, 0x41);
    expect(seen).toEqual([0x21, 0x55, 0x41]);
    expect([bus.in8(0x501), bus.in8(0x80), bus.in8(0x402)]).toEqual([0, 0xff, 0xe9]);
  });
});
