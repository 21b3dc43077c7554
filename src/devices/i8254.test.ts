import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { FakeBus, FakeClock, FakeIrq } from '../../test/support/fakes.ts';
import { currentCount, I8254, nextTransition, outputLevel, PIT_HZ, type PitChannel } from './i8254.ts';
import { PcSpeaker } from './pcspk.ts';

const TICK = 1e9 / PIT_HZ;
/** A time safely inside the given input clock. */
const at = (tick: number) => Math.ceil(tick * TICK) + 1;

function channel(mode: number, count: number): PitChannel {
  const pit = new I8254({ clock: new FakeClock(), irq: new FakeIrq() });
  return Object.assign(pit.state.channels[0]!, { mode, count, countLoadTime: 0 });
}

describe('counting', () => {
  it('gives OUT of each mode around the terminal count', () => {
    const levels = (mode: number) => [0, 1, 4, 5, 6, 9, 10].map((t) => outputLevel(channel(mode, 5), at(t)));
    expect(levels(0)).toEqual([0, 0, 0, 1, 1, 1, 1]);
    expect(levels(1)).toEqual([1, 1, 1, 0, 0, 0, 0]);
    expect(levels(2)).toEqual([0, 0, 0, 1, 0, 0, 1]);
    expect(levels(3)).toEqual([1, 1, 0, 1, 1, 0, 1]);
    expect(levels(4)).toEqual([0, 0, 0, 1, 0, 0, 0]);
  });

  it('counts down, wrapping where the mode does not reload', () => {
    expect(currentCount(channel(0, 5), at(6))).toBe(0xffff);
    expect(currentCount(channel(2, 5), at(6))).toBe(4);
    expect(currentCount(channel(3, 10), at(1))).toBe(8);
    expect(currentCount(channel(2, 0x10000), at(0))).toBe(0);
    expect(currentCount(channel(2, 1), at(7))).toBe(1);
  });

  it('finds the next change of OUT exactly', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 5 }),
        fc.integer({ min: 1, max: 0x10000 }),
        fc.integer({ min: 0, max: 1e13 }),
        (mode, count, now) => {
          const c = channel(mode, count);
          const next = nextTransition(c, now);
          if (next < 0) return;
          expect(next).toBeGreaterThan(now);
          // A period of one clock changes within a clock: OUT may be back already.
          if (count > 2 && next - now > 1) {
            expect(outputLevel(c, Math.max(next - 2, now))).toBe(outputLevel(c, now));
          }
        },
      ),
    );
  });
});

describe('I8254', () => {
  let clock: FakeClock;
  let irq: FakeIrq;
  let pit: I8254;
  let bus: FakeBus;

  beforeEach(() => {
    clock = new FakeClock(12_345);
    irq = new FakeIrq();
    pit = new I8254({ clock, irq });
    pit.reset();
    bus = new FakeBus(pit, new PcSpeaker({ clock, pit }));
  });

  it('raises IRQ 0 once a period in mode 2', () => {
    bus.out8(0x43, 0x34);
    bus.outs8(0x40, 0xa9, 0x04);
    irq.log.length = 0;
    clock.advance(1e9);
    expect(irq.log.filter((level) => level === 1)).toHaveLength(Math.floor(PIT_HZ / 0x4a9));
  });

  it('runs on for an hour without drift', () => {
    bus.out8(0x43, 0x36);
    bus.outs8(0x40, 0, 0);
    irq.log.length = 0;
    clock.advance(3600e9, 1e6);
    // The first level is already high.
    expect(irq.log.filter((level) => level === 1)).toHaveLength(Math.floor((3600 * PIT_HZ) / 0x10000));
  });

  it('fires once in mode 0', () => {
    bus.out8(0x43, 0x30);
    bus.outs8(0x40, 0x10, 0x00);
    expect(irq.level).toBe(0);
    clock.advance(1e6);
    expect(irq.level).toBe(1);
    expect(clock.deadline('pit')).toBe(-1);
  });

  it('latches count and status and reads them byte by byte', () => {
    bus.out8(0x43, 0xb4);
    bus.outs8(0x42, 0x34, 0x12);
    bus.out8(0x43, 0x80);
    clock.advance(1e6);
    expect(bus.in8(0x42)).toBe(0x34);
    expect(bus.in8(0x42)).toBe(0x12);
    bus.out8(0x43, 0xe8);
    expect(bus.in8(0x42)).toBe(0x34);
    bus.out8(0x43, 0xc8);
    expect(bus.in8(0x42)).toBe(0x34);
    const low = bus.in8(0x42);
    const high = bus.in8(0x42);
    expect(low | (high << 8)).toBe(0x1234 - 1193);
    expect(bus.in8(0x43)).toBe(0);
  });

  it('gates channel 2 and shows its OUT and the refresh toggle at port 0x61', () => {
    bus.out8(0x43, 0xb0);
    bus.out8(0x61, 0x01);
    bus.outs8(0x42, 0xff, 0xff);
    expect(bus.in8(0x61) & 0x23).toBe(0x01);
    clock.advance(60e6);
    expect(bus.in8(0x61) & 0x23).toBe(0x21);
    const first = bus.in8(0x61) & 0x10;
    expect(bus.in8(0x61) & 0x10).toBe(first);
    clock.advance(15_085);
    expect(bus.in8(0x61) & 0x10).toBe(first ^ 0x10);
  });

  it('restarts channel 2 in mode 3 when its gate rises', () => {
    bus.out8(0x43, 0xb6);
    bus.outs8(0x42, 0x00, 0x10);
    clock.advance(1e6);
    bus.out8(0x61, 0x03);
    expect(pit.state.channels[2]!.countLoadTime).toBe(clock.now());
    expect(pit.toneHz(2)).toBeCloseTo(291.3, 1);
  });

  it('re-arms after a load without touching the line', () => {
    bus.out8(0x43, 0x34);
    bus.outs8(0x40, 0, 0);
    pit.beforeSave();
    const { irqTimer } = pit.state;
    irq.log.length = 0;
    pit.reset();
    pit.state.irqTimer = irqTimer;
    pit.afterLoad();
    expect(clock.deadline('pit')).toBe(irqTimer);
    expect(irq.log).toEqual([]);
  });
});
