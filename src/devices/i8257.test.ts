import { beforeEach, describe, expect, it } from 'vitest';
import { FakeBus, FakeMemory } from '../../test/support/fakes.ts';
import { I8257 } from './i8257.ts';

describe('I8257', () => {
  let memory: FakeMemory;
  let bytes: I8257;
  let words: I8257;
  let bus: FakeBus;

  beforeEach(() => {
    memory = new FakeMemory();
    bytes = new I8257({ instance: 0, memory, highPages: true });
    words = new I8257({ instance: 1, memory });
    bytes.reset();
    words.reset();
    bus = new FakeBus(bytes, words);
  });

  /** Channel 2 as for a floppy: 512 bytes at 0x12345. */
  const program = (mode: number) => {
    bus.out8(0x0c, 0);
    bus.out8(0x0b, mode);
    bus.outs8(0x04, 0x45, 0x23);
    bus.outs8(0x05, 0xff, 0x01);
    bus.out8(0x81, 0x01);
  };

  it('moves a sector into memory when DREQ meets an open mask, and reports the terminal count', () => {
    const sector = Uint8Array.from({ length: 512 }, (_, i) => i & 0xff);
    bytes.registerChannel(2, (channel, position, size) => {
      expect([channel, position, size]).toEqual([2, 0, 512]);
      bytes.writeMemory(channel, sector.subarray(0, 256), 0, 256);
      bytes.writeMemory(channel, sector.subarray(256), 256, 256);
      bytes.release(channel);
      return 512;
    });
    program(0x46);
    bytes.hold(2);
    expect(bus.in8(0x08)).toBe(0x40);
    bus.out8(0x0a, 0x02);
    expect(memory.bytes.subarray(0x12345, 0x12545)).toEqual(sector);
    expect(bus.in8(0x08)).toBe(0x04);
    expect(bus.in8(0x08)).toBe(0);
    expect([bus.in8(0x04), bus.in8(0x04), bus.in8(0x05), bus.in8(0x05)]).toEqual([0x45, 0x25, 0xff, 0xff]);
  });

  it('reads memory, backwards in decrement mode, and not at all in verify mode', () => {
    memory.bytes.set([1, 2, 3, 4], 0x12345 - 4);
    const target = new Uint8Array(8);
    program(0x6a);
    expect(bytes.readMemory(2, target, 0, 4)).toBe(4);
    expect([...target.subarray(0, 4)]).toEqual([4, 3, 2, 1]);
    program(0x42);
    target.fill(9);
    expect(bytes.readMemory(2, target, 0, 4)).toBe(4);
    expect(target[0]).toBe(9);
  });

  it('counts words on the second controller', () => {
    bus.outs8(0xc4, 0x34, 0x12);
    bus.outs8(0xc6, 0x0f, 0x00);
    bus.out8(0xd6, 0x49);
    let size = 0;
    words.registerChannel(5, (_channel, _position, length) => {
      size = length;
      return 8;
    });
    words.hold(5);
    bus.out8(0xd4, 0x01);
    expect(size).toBe(32);
    bus.out8(0xd8, 0);
    expect([bus.in8(0xc4), bus.in8(0xc4), bus.in8(0xc6), bus.in8(0xc6)]).toEqual([0x38, 0x12, 0x0b, 0]);
  });

  it('has page registers at their crooked places and keeps them over a master clear', () => {
    for (const [port, value] of [
      [0x87, 1],
      [0x83, 2],
      [0x81, 3],
      [0x82, 4],
      [0x8f, 5],
      [0x8b, 6],
    ] as const) {
      bus.out8(port, value);
    }
    bus.out8(0x0d, 0);
    expect(bytes.state.regs.map((regs) => regs.page)).toEqual([1, 2, 3, 4]);
    expect([bus.in8(0x8f), bus.in8(0x8b), words.state.regs[1]!.page]).toEqual([5, 6, 6]);
    bus.out8(0x481, 0x7f);
    expect(bytes.state.regs[2]!.pageh).toBe(0x7f);
    expect(bus.in8(0x09)).toBe(0xff);
    expect(bus.in8(0x84)).toBe(0xff);
  });
});
