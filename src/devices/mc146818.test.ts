import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { FakeBus, FakeClock, FakeIrq } from '../../test/support/fakes.ts';
import { Mc146818 } from './mc146818.ts';
import { type CivilTime, fromCivil, secondsToAlarm, toCivil } from './rtc-calendar.ts';

const blank = (): CivilTime => ({ second: 0, minute: 0, hour: 0, weekday: 0, day: 1, month: 1, year: 1970 });
const START = Date.UTC(2023, 11, 31, 23, 59, 50) / 1000;

describe('calendar', () => {
  it('agrees with the host for every date', () => {
    fc.assert(
      fc.property(fc.integer({ min: -60_000_000_000, max: 250_000_000_000 }), (seconds) => {
        const host = new Date(seconds * 1000);
        const time = toCivil(seconds, blank());
        expect(time).toEqual({
          second: host.getUTCSeconds(),
          minute: host.getUTCMinutes(),
          hour: host.getUTCHours(),
          weekday: host.getUTCDay(),
          day: host.getUTCDate(),
          month: host.getUTCMonth() + 1,
          year: host.getUTCFullYear(),
        });
        expect(fromCivil(time)).toBe(seconds);
      }),
    );
  });

  it('finds the next alarm as trying every second does', () => {
    const part = (max: number) => fc.integer({ min: -1, max });
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 86_399 }),
        part(23),
        part(59),
        part(59),
        (now, hour, minute, second) => {
          const found = secondsToAlarm(toCivil(now, blank()), hour, minute, second);
          const matches = (seconds: number) => {
            const t = toCivil(seconds, blank());
            return (
              (hour < 0 || t.hour === hour) &&
              (minute < 0 || t.minute === minute) &&
              (second < 0 || t.second === second)
            );
          };
          expect(matches(now + found)).toBe(true);
          for (let s = 1; s < Math.min(found, 5000); s++) if (matches(now + s)) expect(s).toBe(found);
        },
      ),
      { numRuns: 40 },
    );
  });
});

describe('Mc146818', () => {
  let clock: FakeClock;
  let irq: FakeIrq;
  let rtc: Mc146818;
  let bus: FakeBus;

  beforeEach(() => {
    clock = new FakeClock();
    irq = new FakeIrq();
    rtc = new Mc146818({
      clock,
      irq,
      rtc: { rtcNow: () => clock.now(), originSeconds: START },
      startSeconds: START,
    });
    rtc.reset();
    bus = new FakeBus(rtc);
  });

  const read = (index: number) => {
    bus.out8(0x70, index);
    return bus.in8(0x71);
  };
  const write = (index: number, value: number) => {
    bus.out8(0x70, index);
    bus.out8(0x71, value);
  };
  const date = () =>
    [0x32, 9, 8, 7, 4, 2, 0].map((index) => read(index).toString(16).padStart(2, '0')).join(' ');

  it('runs over the end of the year, in BCD', () => {
    expect(date()).toBe('20 23 12 31 23 59 50');
    clock.advance(10e9);
    expect(date()).toBe('20 24 01 01 00 00 00');
    expect(read(6)).toBe(2);
    expect(bus.in8(0x70)).toBe(0xff);
  });

  it('shows 12-hour and binary formats', () => {
    write(0x0b, 0x04);
    expect(read(4)).toBe(0x80 | 11);
    expect(read(0)).toBe(50);
    write(0x0b, 0x00);
    expect(read(4)).toBe(0x91);
  });

  it('is set by the guest, and goes on from there', () => {
    write(0x0b, 0x82);
    for (const [index, value] of [
      [0x37, 0x19],
      [9, 0x99],
      [8, 2],
      [7, 0x28],
      [4, 0x23],
      [2, 0x59],
      [0, 0x59],
    ]) {
      write(index!, value!);
    }
    clock.advance(5e9);
    expect(date()).toBe('19 99 02 28 23 59 59');
    write(0x0b, 0x02);
    clock.advance(1e9);
    expect(date()).toBe('19 99 03 01 00 00 00');
  });

  it('raises UIP before the update and sets UF after it', () => {
    clock.advance(1e9 - 300_000);
    expect(read(0x0a) & 0x80).toBe(0);
    clock.advance(100_000);
    expect(read(0x0a) & 0x80).toBe(0x80);
    clock.advance(200_000);
    expect(read(0x0a) & 0x80).toBe(0);
    expect(read(0x0c)).toBe(0x10);
    expect(read(0x0c)).toBe(0);
  });

  it('interrupts at every update while UIE is set', () => {
    write(0x0b, 0x12);
    for (let i = 0; i < 3; i++) {
      clock.advance(1e9);
      expect(irq.level).toBe(1);
      expect(read(0x0c)).toBe(0x90);
      expect(irq.level).toBe(0);
    }
  });

  it('interrupts at the alarm only', () => {
    write(1, 0x05);
    write(3, 0xc0);
    write(5, 0xff);
    write(0x0b, 0x22);
    clock.advance(14e9);
    expect(irq.level).toBe(0);
    clock.advance(1e9);
    expect(irq.level).toBe(1);
    expect(read(0x0c)).toBe(0xb0);
  });

  it('interrupts periodically at 1024 Hz', () => {
    write(0x0b, 0x42);
    let count = 0;
    for (let i = 0; i < 2048; i++) {
      clock.advance(1e9 / 1024);
      if ((read(0x0c) & 0xc0) === 0xc0) count++;
    }
    expect(count).toBeGreaterThanOrEqual(2046);
    write(0x0b, 0x02);
    expect(clock.deadline('rtc-periodic')).toBe(-1);
  });

  it('keeps memory over a reset, also the shutdown byte', () => {
    rtc.setCmos(0x0f, 0x0a);
    rtc.setCmos(0x34, 0x77);
    rtc.reset();
    expect([read(0x0f), read(0x34), read(0x0d), read(0x8a)]).toEqual([0x0a, 0x77, 0x80, 0x26]);
  });

  it('saves times as QEMU does, nanoseconds since 1970', () => {
    write(0, 0x30);
    clock.advance(250e6);
    expect(rtc.state.lastUpdate).toBe(BigInt(START) * 1_000_000_000n);
    expect(rtc.state.updateTimer).toBe((BigInt(START) + 1n) * 1_000_000_000n);
    rtc.afterLoad();
    expect(clock.deadline('rtc-update')).toBe(1e9);
  });

  it('follows the host after a year in a drawer, or goes on from the saved date', () => {
    rtc.beforeSave();
    const year = 365 * 86_400;
    const later = new Mc146818({
      clock,
      irq,
      rtc: { rtcNow: () => clock.now(), originSeconds: START + year },
      startSeconds: 0,
    });
    Object.assign(later.state, rtc.state);
    later.afterLoad();
    expect(later.dateSeconds).toBe(START + year);
    later.continueFromSavedDate();
    expect(later.dateSeconds).toBe(START);
  });
});
