import { beforeEach, describe, expect, it } from 'vitest';
import { FakeBus, FakeClock, FakeIrq, FakeSink } from '../../test/support/fakes.ts';
import { assignState } from '../migration/assign.ts';
import { decode, encode } from '../migration/codec.ts';
import { ByteReader } from '../migration/reader.ts';
import { ByteWriter } from '../migration/writer.ts';
import { IsaSerial } from './isa-serial.ts';

const BASE = 0x3f8;

function make() {
  const clock = new FakeClock(1e9);
  const irq = new FakeIrq();
  const sink = new FakeSink();
  const breaks: boolean[] = [];
  const serial = new IsaSerial({ clock, irq, sink, base: BASE, onBreak: (on) => breaks.push(on) });
  serial.reset();
  const bus = new FakeBus(serial);
  return {
    clock,
    irq,
    sink,
    breaks,
    serial,
    uart: serial.uart,
    get: (register: number) => bus.in8(BASE + register),
    put: (register: number, value: number) => bus.out8(BASE + register, value),
  };
}

function save(serial: IsaSerial): Uint8Array {
  const writer = new ByteWriter();
  serial.beforeSave();
  encode(serial.vmstate, serial.state, writer);
  return writer.bytes().slice();
}

describe('16550A', () => {
  let t: ReturnType<typeof make>;
  beforeEach(() => {
    t = make();
  });

  it('sends at once and reports an empty transmitter', () => {
    t.put(0, 0x41);
    t.put(0, 0x42);
    expect(t.sink.text()).toBe('AB');
    expect(t.get(5)).toBe(0x60);
  });

  it('loses nothing while the host is full', () => {
    t.put(2, 0x01);
    t.sink.room = 0;
    for (let i = 0; i < 17; i++) t.put(0, 0x61 + i);
    expect(t.get(5)).toBe(0x00);
    for (let i = 0; i < 10; i++) t.sink.open(0);
    t.sink.open(1);
    expect(t.sink.text()).toBe('a');
    expect(t.get(5)).toBe(0x00);
    t.sink.open();
    expect(t.sink.text()).toBe('abcdefghijklmnopq');
    expect(t.get(5)).toBe(0x60);
  });

  it('raises the transmitter interrupt when enabled, lowers it by reading IIR', () => {
    t.put(1, 0x02);
    expect(t.irq.level).toBe(1);
    expect(t.get(2)).toBe(0x02);
    expect(t.irq.level).toBe(0);
    expect(t.get(2)).toBe(0x01);
    t.put(0, 0x41);
    expect(t.irq.level).toBe(1);
  });

  it('receives one byte at a time without FIFO, and notes an overrun', () => {
    let ready = 0;
    t.uart.onReady = () => ready++;
    t.put(1, 0x05);
    expect(t.uart.canReceive()).toBe(1);
    t.uart.receive(0x31);
    expect(t.uart.canReceive()).toBe(0);
    expect(t.get(2)).toBe(0x04);
    t.uart.receive(0x32);
    expect(t.get(2)).toBe(0x06);
    expect(t.get(5)).toBe(0x63);
    expect(t.get(5)).toBe(0x61);
    expect(t.get(0)).toBe(0x32);
    expect(ready).toBe(1);
    expect(t.irq.level).toBe(0);
  });

  it('interrupts at the trigger level, else after four character times', () => {
    t.put(2, 0x81);
    t.put(1, 0x01);
    expect(t.uart.canReceive()).toBe(8);
    for (let i = 0; i < 7; i++) t.uart.receive(i);
    expect(t.irq.level).toBe(0);
    expect(t.get(2)).toBe(0xc1);
    t.clock.advance(5e6);
    expect(t.get(2)).toBe(0xcc);
    expect(t.get(0)).toBe(0);
    expect(t.irq.level).toBe(0);
    t.uart.receive(7);
    t.uart.receive(8);
    expect(t.get(2)).toBe(0xc4);
    for (let i = 9; i < 17; i++) t.uart.receive(i);
    expect(t.uart.canReceive()).toBe(0);
    t.uart.receive(99);
    expect(t.get(5) & 0x02).toBe(0x02);
    const read = Array.from({ length: 16 }, () => t.get(0));
    expect(read).toEqual(Array.from({ length: 16 }, (_, i) => i + 1));
    expect(t.get(5)).toBe(0x60);
  });

  it('loops back data and modem lines', () => {
    t.put(4, 0x1a);
    t.put(0, 0x5a);
    expect(t.sink.received).toEqual([]);
    expect(t.get(5) & 1).toBe(1);
    expect(t.get(0)).toBe(0x5a);
    expect(t.get(6)).toBe(0x90);
    t.put(4, 0x03);
    expect(t.get(6)).toBe(0xb0);
  });

  it('passes breaks both ways and keeps divisor and scratch', () => {
    t.put(3, 0x43);
    t.put(3, 0x03);
    expect(t.breaks).toEqual([true, false]);
    t.put(1, 0x04);
    t.uart.receiveBreak();
    expect(t.get(5)).toBe(0x71);
    expect(t.irq.level).toBe(0);
    t.put(3, 0x83);
    t.put(0, 0x34);
    t.put(1, 0x12);
    expect([t.get(0), t.get(1)]).toEqual([0x34, 0x12]);
    t.put(7, 0x99);
    expect(t.get(7)).toBe(0x99);
  });

  it('saves only what is not at rest, and resumes a waiting byte', () => {
    expect(save(t.serial)).toHaveLength(11);
    t.put(2, 0x01);
    t.sink.room = 0;
    t.put(0, 0x78);
    t.put(0, 0x79);
    t.uart.receive(0x33);
    const bytes = save(t.serial);
    const other = make();
    const record = decode(other.serial.vmstate, new ByteReader(bytes), 3, other.serial.state);
    expect(other.serial.validate(record as never)).toBeUndefined();
    assignState(other.serial.state, record);
    other.serial.afterLoad();
    expect(other.sink.received).toEqual([]);
    expect(save(other.serial)).toEqual(bytes);
    other.serial.resume();
    expect(other.sink.text()).toBe('xy');
    expect(other.get(0)).toBe(0x33);
  });

  it('refuses a transmitter that is busy with nothing', () => {
    const bad = make().serial.state;
    bad.state.lsr = 0;
    expect(t.serial.validate(bad)).toContain('TEMT');
  });
});
