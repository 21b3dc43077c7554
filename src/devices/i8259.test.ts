import { beforeEach, describe, expect, it } from 'vitest';
import { FakeBus, FakeIrq } from '../../test/support/fakes.ts';
import { priorityOf } from './i8259.ts';
import { PicPair } from './pic-pair.ts';

describe('priorityOf', () => {
  it('counts from the input of highest priority, wrapping', () => {
    expect(priorityOf(0, 3)).toBe(8);
    expect(priorityOf(0b0000_0001, 0)).toBe(0);
    expect(priorityOf(0b1000_0001, 1)).toBe(6);
    expect(priorityOf(0b0000_0001, 1)).toBe(7);
    expect(priorityOf(0xff, 5)).toBe(0);
  });
});

describe('PIC pair', () => {
  let intr: FakeIrq;
  let pics: PicPair;
  let bus: FakeBus;

  beforeEach(() => {
    intr = new FakeIrq();
    pics = new PicPair({ intr });
    pics.master.reset();
    pics.slave.reset();
    bus = new FakeBus(pics);
    bus.out8(0x20, 0x11);
    bus.outs8(0x21, 0x08, 0x04, 0x01);
    bus.out8(0xa0, 0x11);
    bus.outs8(0xa1, 0x70, 0x02, 0x01);
    bus.out8(0x21, 0);
    bus.out8(0xa1, 0);
  });

  const raise = (irq: number) => pics.inputs[irq]!.set(1);
  const lower = (irq: number) => pics.inputs[irq]!.set(0);

  it('latches an edge until it is acknowledged', () => {
    raise(0);
    lower(0);
    expect(intr.level).toBe(1);
    expect(pics.acknowledge()).toBe(0x08);
    expect(intr.level).toBe(0);
    expect(bus.in8(0x20)).toBe(0);
    bus.out8(0x20, 0x0b);
    expect(bus.in8(0x20)).toBe(0x01);
    bus.out8(0x20, 0x20);
    expect(bus.in8(0x20)).toBe(0);
  });

  it('needs a new edge after a held level', () => {
    raise(1);
    pics.acknowledge();
    bus.out8(0x20, 0x20);
    raise(1);
    expect(intr.level).toBe(0);
    lower(1);
    raise(1);
    expect(intr.level).toBe(1);
  });

  it('requests again and again while a level-triggered line is high', () => {
    bus.out8(0x4d1, 0xff);
    expect(bus.in8(0x4d1)).toBe(0xde);
    raise(11);
    expect(pics.acknowledge()).toBe(0x73);
    bus.out8(0xa0, 0x20);
    bus.out8(0x20, 0x20);
    expect(intr.level).toBe(1);
    lower(11);
    // The master's cascade input is edge triggered: it remembers, and the slave answers with its spurious vector.
    expect(pics.acknowledge()).toBe(0x77);
    expect(intr.level).toBe(0);
  });

  it('cascades and gives spurious vectors of either controller', () => {
    raise(14);
    expect(pics.acknowledge()).toBe(0x76);
    bus.out8(0xa0, 0x20);
    bus.out8(0x20, 0x20);
    expect(pics.acknowledge()).toBe(0x0f);
    raise(8);
    bus.out8(0xa1, 0xff);
    expect(pics.acknowledge()).toBe(0x77);
    bus.out8(0x20, 0x0b);
    expect(bus.in8(0x20)).toBe(0x04);
  });

  it('holds back lower priorities while one is in service, and lets higher ones nest', () => {
    raise(4);
    expect(pics.acknowledge()).toBe(0x0c);
    raise(5);
    expect(intr.level).toBe(0);
    raise(3);
    expect(pics.acknowledge()).toBe(0x0b);
    bus.out8(0x20, 0x63);
    bus.out8(0x20, 0x64);
    expect(pics.acknowledge()).toBe(0x0d);
  });

  it('masks, rotates and polls', () => {
    bus.out8(0x21, 0x02);
    raise(1);
    expect(intr.level).toBe(0);
    bus.out8(0x21, 0);
    expect(intr.level).toBe(1);
    bus.out8(0x20, 0xc1);
    expect(pics.master.state.priorityAdd).toBe(2);
    raise(3);
    bus.out8(0x20, 0x0c);
    expect(bus.in8(0x20)).toBe(0x83);
    bus.out8(0x20, 0xa0);
    expect(pics.master.state.priorityAdd).toBe(4);
    bus.out8(0x20, 0x0c);
    expect(bus.in8(0x21)).toBe(0x81);
    bus.out8(0x20, 0x0c);
    expect(bus.in8(0x20)).toBe(0);
  });

  it('does automatic EOI and counts rises', () => {
    bus.out8(0x20, 0x13);
    bus.outs8(0x21, 0x20, 0x03);
    raise(7);
    expect(pics.acknowledge()).toBe(0x27);
    expect(pics.master.state.isr).toBe(0);
    expect(pics.counts()[7]).toBe(1);
  });
});
