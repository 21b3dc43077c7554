import { beforeEach, describe, expect, it } from 'vitest';
import { FakeBus, FakeClock, FakeIrq } from '../../test/support/fakes.ts';
import { I8042 } from './i8042.ts';
import { SCAN_CODES, translateSet2 } from './keycodes.ts';
import { Ps2Keyboard } from './ps2-keyboard.ts';
import { Ps2Mouse } from './ps2-mouse.ts';

function make() {
  const leds: number[] = [];
  const keyboard = new Ps2Keyboard({ onLeds: (mask) => leds.push(mask) });
  const mouse = new Ps2Mouse();
  const clock = new FakeClock();
  const irq1 = new FakeIrq();
  const irq12 = new FakeIrq();
  const a20 = new FakeIrq();
  const resets: number[] = [];
  const kbc = new I8042({
    clock,
    keyboard,
    mouse,
    keyboardIrq: irq1,
    mouseIrq: irq12,
    a20,
    requestReset: () => resets.push(1),
  });
  keyboard.reset();
  mouse.reset();
  kbc.reset();
  const bus = new FakeBus(kbc);
  const command = (...bytes: number[]) => {
    bus.out8(0x64, bytes[0]!);
    if (bytes.length > 1) bus.out8(0x60, bytes[1]!);
  };
  /** Everything that can be read, 'm' marking bytes of the mouse. */
  const drain = () => {
    const bytes: (number | string)[] = [];
    for (let status = bus.in8(0x64); (status & 1) !== 0; status = bus.in8(0x64)) {
      const byte = bus.in8(0x60);
      bytes.push((status & 0x20) !== 0 ? `m${byte.toString(16)}` : byte);
    }
    return bytes;
  };
  return { keyboard, mouse, clock, irq1, irq12, a20, resets, leds, kbc, bus, command, drain };
}

describe('I8042', () => {
  let t: ReturnType<typeof make>;
  beforeEach(() => {
    t = make();
  });

  it('starts as firmware expects: self-test, interface tests, command byte', () => {
    expect(t.bus.in8(0x64)).toBe(0x18);
    t.command(0xaa);
    expect(t.drain()).toEqual([0x55]);
    expect(t.bus.in8(0x64)).toBe(0x1c);
    t.command(0xab);
    expect(t.drain()).toEqual([0]);
    t.command(0x60, 0x61);
    t.command(0x20);
    expect(t.drain()).toEqual([0x61]);
  });

  it('interrupts for each byte and not while the keyboard is disabled', () => {
    t.keyboard.key('a', true);
    t.keyboard.key('a', false);
    expect(t.irq1.level).toBe(1);
    expect(t.drain()).toEqual([0x1c, 0xf0, 0x1c]);
    expect(t.irq1.log).toEqual([1, 0, 1, 0, 1, 0]);
    t.command(0xad);
    t.keyboard.key('b', true);
    expect(t.bus.in8(0x64) & 1).toBe(0);
    t.command(0xae);
    expect(t.irq1.level).toBe(1);
    expect(t.drain()).toEqual([0x32]);
    expect(t.bus.in8(0x60)).toBe(0x32);
  });

  it('translates to set 1', () => {
    t.command(0x60, 0x41);
    t.keyboard.key('up', true);
    t.keyboard.key('up', false);
    expect(t.drain()).toEqual([0xe0, 0x48, 0xe0, 0xc8]);
    t.keyboard.key('pause', true);
    expect(t.drain()).toEqual([0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5]);
    t.keyboard.key('alt', true);
    t.keyboard.key('print', true);
    expect(t.drain()).toEqual([0x38, 0xb8, 0x38, 0x54]);
  });

  it('resets, identifies and sets up the keyboard', () => {
    t.bus.out8(0x60, 0xff);
    expect(t.drain()).toEqual([0xfa, 0xaa]);
    t.bus.out8(0x60, 0xf2);
    expect(t.drain()).toEqual([0xfa, 0xab, 0x83]);
    t.bus.outs8(0x60, 0xed, 0x02);
    expect(t.drain()).toEqual([0xfa]);
    expect(t.leds).toEqual([2]);
    t.bus.outs8(0x60, 0xf0, 0x00);
    expect(t.drain()).toEqual([0xfa, 2]);
    t.bus.outs8(0x60, 0xf0, 0x03);
    t.drain();
    t.keyboard.key('ret', true);
    t.keyboard.key('ret', false);
    expect(t.drain()).toEqual([0x5a, 0xf0, 0x5a]);
    t.bus.out8(0x60, 0x77);
    expect(t.drain()).toEqual([0xfe]);
    t.bus.out8(0x60, 0xf5);
    expect(t.drain()).toEqual([0xfa]);
    t.keyboard.key('a', true);
    expect(t.drain()).toEqual([]);
  });

  it('puts replies before scan codes and drops keys beyond 16 bytes', () => {
    for (let i = 0; i < 20; i++) t.keyboard.key('a', true);
    t.bus.out8(0x60, 0xee);
    const bytes = t.drain();
    expect(bytes).toHaveLength(17);
    expect(bytes[0]).toBe(0xee);
  });

  it('knocks for the wheel and reports motion, wheel and buttons', () => {
    const mouse = (...bytes: number[]) => {
      for (const byte of bytes) t.command(0xd4, byte);
      return t.drain();
    };
    t.command(0xa8);
    expect(mouse(0xff)).toEqual(['mfa', 'maa', 'm0']);
    expect(mouse(0xf3, 200, 0xf3, 100, 0xf3, 80, 0xf2)).toEqual([...Array(7).fill('mfa'), 'm3']);
    t.mouse.motion(1, 1);
    expect(t.drain()).toEqual([]);
    expect(mouse(0xf4)).toEqual(['mfa']);
    t.mouse.motion(5, 3, -1);
    expect(t.irq12.level).toBe(1);
    expect(t.drain()).toEqual(['m28', 'm5', 'mfd', 'mff']);
    t.mouse.buttons(0x03);
    expect(t.drain()).toEqual(['mb', 'm0', 'm0', 'm0']);
    t.mouse.motion(200, 0);
    expect(t.drain()).toEqual(['mb', 'm7f', 'm0', 'm0', 'mb', 'm49', 'm0', 'm0']);
    expect(mouse(0xf0, 0xe9)).toEqual(['mfa', 'mfa', 'm60', 'm2', 'm50']);
    t.mouse.motion(1, 0);
    expect(t.drain()).toEqual([]);
    expect(mouse(0xeb)).toEqual(['mfa', 'mb', 'm1', 'm0', 'm0']);
    expect(mouse(0xee, 0x12, 0xec)).toEqual(['mfa', 'm12', 'mfa']);
    expect(mouse(0xf3, 200, 0xf3, 200, 0xf3, 80, 0xf2).at(-1)).toBe('m4');
  });

  it('serves A20 and reset, and loops bytes through', () => {
    t.command(0xd1, 0xdf);
    expect(t.a20.level).toBe(1);
    t.command(0xdd);
    expect(t.a20.level).toBe(0);
    t.command(0xd0);
    expect(t.drain()).toEqual([0xdd]);
    t.command(0xfe);
    t.command(0xff);
    expect(t.resets).toHaveLength(1);
    t.command(0xd3, 0x42);
    expect(t.irq12.level).toBe(1);
    expect(t.drain()).toEqual(['m42']);
    t.command(0xd2, 0x43);
    expect(t.drain()).toEqual([0x43]);
  });

  it('keeps the keyboard byte in the buffer while the mouse reports', () => {
    t.command(0xd4, 0xf4);
    t.drain();
    t.keyboard.key('a', true);
    t.mouse.motion(1, 0);
    expect(t.drain()).toEqual([0x1c, 'm8', 'm1', 'm0']);
  });
});

describe('scan codes', () => {
  it('agree between set 1 and the translation of set 2', () => {
    for (const [name, codes] of Object.entries(SCAN_CODES)) {
      const [set1, set2] = codes!;
      if (set1 === 0 || set2 === 0 || name === 'print' || name === 'pause') continue;
      expect(translateSet2(set2 & 0xff), name).toBe(set1 & 0xff);
      expect(set2 > 0xff, name).toBe(set1 > 0xff);
    }
  });
});
