import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Clock, Timer } from '../machine/clock.ts';
import { Apic } from './apic.ts';
import { apicCurrentCount, highestVector, nextApicTimer } from './apic-state.ts';
import { createIsaIrqs } from './gsi.ts';
import { IoApic } from './ioapic.ts';

class FakeClock implements Clock {
  time = 0;
  deadline = -1;
  #callback: (deadline: number) => void = () => {};
  now(): number {
    return this.time;
  }
  createTimer(name: string, callback: (deadline: number) => void): Timer {
    this.#callback = callback;
    const clock = this;
    return {
      name,
      get deadline() {
        return clock.deadline;
      },
      arm: (deadline) => {
        clock.deadline = deadline;
      },
      cancel: () => {
        clock.deadline = -1;
      },
    };
  }
  run(to: number): void {
    while (this.deadline >= 0 && this.deadline <= to) {
      this.time = this.deadline;
      this.deadline = -1;
      this.#callback(this.time);
    }
    this.time = to;
  }
}

function make() {
  const clock = new FakeClock();
  const pic = {
    pending: false,
    vector: 0x08,
    acknowledge: () => {
      pic.pending = false;
      return pic.vector;
    },
  };
  const events: string[] = [];
  let intr = 0;
  const apic: Apic = new Apic({
    clock,
    pic,
    cpu: { nmi: () => events.push('nmi'), init: () => events.push('init') },
    intr: { set: (level) => (intr = level) },
    broadcastEoi: (vector) => ioApic.endOfInterrupt(vector),
  });
  const ioApic = new IoApic({
    deliver: (...message) => apic.deliver(...message),
    acknowledgePic: () => pic.acknowledge(),
  });
  apic.reset();
  ioApic.reset();
  const registers = apic.memory()[0]!.region;
  const io = ioApic.memory()[0]!.region;
  const read = (offset: number) => registers.read32!(offset);
  const write = (offset: number, value: number) => registers.write32!(offset, value);
  const redirect = (pin: number, low: number, high = 0) => {
    io.write32!(0, 0x11 + pin * 2);
    io.write32!(0x10, high);
    io.write32!(0, 0x10 + pin * 2);
    io.write32!(0x10, low);
  };
  const entry = (pin: number) => {
    io.write32!(0, 0x10 + pin * 2);
    return io.read32!(0x10);
  };
  return { clock, pic, events, apic, ioApic, io, read, write, redirect, entry, intr: () => intr };
}

const SVR = 0xf0;
const EOI = 0xb0;
const TPR = 0x80;

describe('local APIC', () => {
  it('has power-on values', () => {
    const m = make();
    expect(m.apic.base).toBe(0xfee00900);
    expect(m.read(0x30)).toBe(0x00050014);
    expect(m.read(SVR)).toBe(0xff);
    expect(m.read(0xe0)).toBe(0xffffffff);
    for (let offset = 0x320; offset <= 0x370; offset += 0x10) expect(m.read(offset)).toBe(0x10000);
  });

  it('orders interrupts by priority, in service and TPR', () => {
    const m = make();
    m.write(0x300, 0x40030);
    expect(m.apic.hasPending()).toBe(false);
    m.write(SVR, 0x1ff);
    expect(m.intr()).toBe(1);
    expect(m.apic.acknowledge()).toBe(0x30);
    expect([m.read(0x110), m.read(0x210), m.intr()]).toEqual([1 << 16, 0, 0]);
    m.write(0x300, 0x40031);
    expect(m.intr()).toBe(0);
    m.write(0x300, 0x40041);
    expect(m.intr()).toBe(1);
    m.apic.cr8 = 4;
    expect([m.intr(), m.read(TPR), m.read(0xa0)]).toEqual([0, 0x40, 0x40]);
    expect(m.apic.acknowledge()).toBe(0xff);
    m.write(TPR, 0);
    expect(m.apic.acknowledge()).toBe(0x41);
    m.write(EOI, 0);
    expect(m.intr()).toBe(0);
    m.write(EOI, 0);
    expect(m.apic.acknowledge()).toBe(0x31);
  });

  it('lets the PIC through LINT0 as ExtINT, or when disabled', () => {
    const m = make();
    m.pic.pending = true;
    m.apic.lint0.set(1);
    expect([m.apic.hasPending(), m.apic.acceptPicIntr()]).toEqual([false, false]);
    m.write(0x350, 0x8700);
    expect([m.intr(), m.apic.acceptPicIntr()]).toEqual([1, true]);
    expect(m.apic.acknowledge()).toBe(0x08);
    expect(m.intr()).toBe(0);
    m.write(0x350, 0x10000);
    m.apic.setBase(0xfee00100);
    m.pic.pending = true;
    m.apic.lint0.set(1);
    expect(m.intr()).toBe(1);
    m.apic.setBase(0xfee00900);
    expect(m.apic.base).toBe(0xfee00100);
  });

  it('takes LINT0 as a fixed vector, and NMIs by LINT1', () => {
    const m = make();
    m.write(SVR, 0x1ff);
    m.write(0x350, 0x35);
    m.apic.lint0.set(1);
    expect(m.apic.acknowledge()).toBe(0x35);
    m.apic.nmi();
    m.write(0x360, 0x400);
    m.apic.nmi();
    expect(m.events).toEqual(['nmi']);
  });

  it('sends interrupts to itself', () => {
    const m = make();
    m.write(0x300, 0x000c4500);
    expect(m.events).toEqual([]);
    m.write(0x310, 0);
    m.write(0x300, 0x00004500);
    m.write(0x300, 0x00000400);
    m.write(0x310, 1 << 24);
    m.write(0x300, 0x00000400);
    expect(m.events).toEqual(['init', 'nmi']);
    m.write(0x300, 0x0000c600);
  });

  it('counts down once or over and over', () => {
    const m = make();
    m.write(SVR, 0x1ff);
    m.write(0x3e0, 0xb);
    m.write(0x320, 0x50);
    m.write(0x380, 999);
    m.clock.run(500);
    expect(m.read(0x390)).toBe(499);
    m.clock.run(1000);
    expect(m.apic.acknowledge()).toBe(0x50);
    expect([m.read(0x390), m.clock.deadline]).toEqual([0, -1]);
    m.write(EOI, 0);
    m.write(0x3e0, 0x3);
    m.write(0x320, 0x20051);
    m.write(0x380, 9);
    expect(m.clock.deadline).toBe(1000 + 160);
    m.clock.run(1160);
    expect([m.apic.acknowledge(), m.clock.deadline]).toEqual([0x51, 1320]);
    m.clock.deadline = -1;
    m.apic.afterLoad();
    expect(m.clock.deadline).toBe(1320);
    m.write(0x320, 0x10051);
    expect(m.apic.state.timerExpiry).toBe(-1);
  });

  it('agrees between count and deadline', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 0xffffffff }),
        fc.integer({ min: 0, max: 7 }),
        fc.boolean(),
        fc.integer({ min: 0, max: 1e13 }),
        fc.integer({ min: 0, max: 1e12 }),
        (initialCount, countShift, periodic, load, later) => {
          const lvt = Uint32Array.of(periodic ? 0x20030 : 0x30, 0, 0, 0, 0, 0);
          const state = { lvt, countShift, initialCount, initialCountLoadTime: load };
          const now = load + later;
          const next = nextApicTimer(state, now);
          const count = apicCurrentCount(state, now);
          if (next === -1) return count === 0 && !periodic;
          const left = Math.ceil((next - now) / 2 ** countShift);
          return next > now && left === count + 1;
        },
      ),
    );
  });

  it('finds the highest bit', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.integer({ min: 0, max: 255 })), (vectors) => {
        const bits = new Uint32Array(8);
        for (const vector of vectors) bits[vector >> 5]! |= 1 << (vector & 31);
        return highestVector(bits) === Math.max(-1, ...vectors);
      }),
    );
  });
});

describe('I/O APIC', () => {
  it('identifies itself', () => {
    const m = make();
    m.io.write32!(0, 1);
    expect(m.io.read32!(0x10)).toBe(0x00170020);
    m.io.write32!(0, 0);
    m.io.write32!(0x10, 0x0f000000);
    expect(m.io.read32!(0x10)).toBe(0x0f000000);
    expect(m.entry(5)).toBe(0x10000);
  });

  it('delivers edges once and loses them while masked', () => {
    const m = make();
    m.write(SVR, 0x1ff);
    m.ioApic.inputs[4]!.set(1);
    m.redirect(4, 0x34);
    expect(m.intr()).toBe(0);
    m.ioApic.inputs[4]!.set(0);
    m.ioApic.inputs[4]!.set(1);
    expect(m.apic.acknowledge()).toBe(0x34);
    m.write(EOI, 0);
    expect(m.intr()).toBe(0);
  });

  it('repeats levels after the EOI', () => {
    const m = make();
    m.write(SVR, 0x1ff);
    m.redirect(11, 0x803b | 0x10000);
    m.ioApic.inputs[11]!.set(1);
    m.redirect(11, 0x803b);
    expect(m.apic.acknowledge()).toBe(0x3b);
    expect(m.entry(11) & 0x4000).toBe(0x4000);
    m.write(EOI, 0);
    expect(m.apic.acknowledge()).toBe(0x3b);
    m.ioApic.inputs[11]!.set(0);
    m.write(EOI, 0);
    expect([m.intr(), m.entry(11) & 0x4000]).toEqual([0, 0]);
    m.ioApic.inputs[11]!.set(1);
    m.apic.acknowledge();
    m.ioApic.inputs[11]!.set(0);
    m.io.write32!(0x40, 0x3b);
    expect(m.entry(11) & 0x4000).toBe(0);
  });

  it('comes back from a snapshot without delivering', () => {
    const m = make();
    m.redirect(11, 0x803b, 0xff000000);
    m.ioApic.inputs[11]!.set(1);
    m.ioApic.beforeSave();
    expect(m.ioApic.state.ioredtbl[11]).toBe(0xff0000000000c03bn);
    const saved = [...m.ioApic.state.ioredtbl];
    m.ioApic.reset();
    m.ioApic.state.ioredtbl.splice(0, 24, ...saved);
    m.ioApic.afterLoad();
    expect(m.ioApic.entry(11)).toEqual([0xc03b, 0xff000000]);
  });

  it('has the timer at pin 2', () => {
    const m = make();
    m.write(SVR, 0x1ff);
    m.redirect(2, 0x30);
    const pic = Array.from({ length: 16 }, () => ({
      level: 0,
      set(level: number) {
        this.level = level;
      },
    }));
    const isa = createIsaIrqs({ pic, ioApic: m.ioApic.inputs });
    isa[0]!.set(1);
    expect([pic[0]!.level, m.apic.acknowledge()]).toEqual([1, 0x30]);
    isa[2]!.set(1);
    expect(pic[2]!.level).toBe(0);
  });
});
