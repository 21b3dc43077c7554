import { describe, expect, it } from 'vitest';
import { conformance } from '../../test/conformance/device-suite.ts';
import { FakeBus, FakeClock, FakeDisk, FakeIrq, FakeMemory } from '../../test/support/fakes.ts';
import { requireProgram } from '../../test/support/programs.ts';
import { compareSchemaWithDump, vmStateDump } from '../../test/support/vmstate-dump.ts';
import { assignState } from '../migration/assign.ts';
import { decode, encode } from '../migration/codec.ts';
import { ByteReader } from '../migration/reader.ts';
import { ByteWriter } from '../migration/writer.ts';
import { pickFormat } from './fdc/formats.ts';
import { Fdc, floppyCmosType } from './fdc.ts';
import { I8257 } from './i8257.ts';

const MSR = 0x3f4;
const FIFO = 0x3f5;
const TARGET = 0x20000;

class FdcRig {
  readonly clock = new FakeClock(5000);
  readonly irq = new FakeIrq();
  readonly memory = new FakeMemory();
  readonly dma = new I8257({ instance: 0, memory: this.memory });
  readonly disk: FakeDisk;
  readonly fdc: Fdc;
  readonly bus: FakeBus;

  constructor(sizeBytes = 2880 * 512) {
    this.disk = new FakeDisk(sizeBytes);
    const { bytes } = this.disk;
    for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 5 + (i >> 9) * 11) & 0xff;
    this.fdc = new Fdc({ clock: this.clock, irq: this.irq, dma: this.dma, drives: [this.disk, undefined] });
    this.bus = new FakeBus(this.fdc, this.dma);
  }

  /** Software reset with the four SENSE INTERRUPTs, motor on, SPECIFY. */
  start(dma = true): void {
    this.bus.out8(0x3f2, 0);
    this.bus.out8(0x3f2, 0x1c);
    for (let drive = 0; drive < 4; drive++) expect(this.command([8], 2)[0]).toBe(0xc0 + drive);
    this.command([3, 0xaf, dma ? 2 : 3], 0);
    this.bus.out8(0x3f7, 0);
  }

  send(bytes: readonly number[]): void {
    for (const byte of bytes) {
      expect(this.bus.in8(MSR) & 0xc0).toBe(0x80);
      this.bus.out8(FIFO, byte);
    }
  }

  result(count: number): number[] {
    return Array.from({ length: count }, () => {
      expect(this.bus.in8(MSR) & 0xd0).toBe(0xd0);
      return this.bus.in8(FIFO);
    });
  }

  command(bytes: readonly number[], results: number): number[] {
    this.send(bytes);
    return this.result(results);
  }

  /** Programs DMA channel 2: mode 0x46 to memory, 0x4a from memory. */
  program(mode: number, address: number, length: number): void {
    this.bus.out8(0x0a, 6);
    this.bus.out8(0x0c, 0);
    this.bus.out8(0x0b, mode);
    this.bus.outs8(0x04, address & 0xff, (address >> 8) & 0xff);
    this.bus.out8(0x81, address >> 16);
    this.bus.outs8(0x05, (length - 1) & 0xff, (length - 1) >> 8);
    this.bus.out8(0x0a, 2);
  }

  save(): Uint8Array {
    const writer = new ByteWriter();
    this.fdc.beforeSave();
    encode(this.fdc.vmstate, this.fdc.state, writer);
    return writer.bytes().slice();
  }

  load(bytes: Uint8Array): void {
    const { fdc } = this;
    const state = decode(fdc.vmstate, new ByteReader(bytes), 2, fdc.state) as typeof fdc.state;
    expect(fdc.validate(state)).toBeUndefined();
    fdc.reset();
    const edges = this.irq.log.length;
    assignState(fdc.state, state);
    fdc.afterLoad();
    expect(this.irq.log.length).toBe(edges);
  }
}

const sectors = (rig: FdcRig, first: number, count: number): Uint8Array =>
  rig.disk.bytes.slice(first * 512, (first + count) * 512);

describe('floppy controller', () => {
  it('resets, identifies itself and keeps its modes', () => {
    const rig = new FdcRig();
    rig.start();
    expect(rig.command([0x10], 1)).toEqual([0x90]);
    expect(rig.command([0x18], 1)).toEqual([0x41]);
    expect(rig.command([0x94], 1)).toEqual([0x10]);
    rig.send([0x13, 0, 0x57, 3]);
    rig.send([0x12, 0x84]);
    expect(rig.command([0x0e], 10)).toEqual([0, 0, 0, 0, 0x0a, 3, 18, 0x90, 0x57, 3]);
    expect(rig.command([0x55], 1)).toEqual([0x80]);
    expect(rig.command([8], 1)).toEqual([0x80]);
    expect(rig.bus.in8(MSR)).toBe(0x80);
    expect(rig.irq.level).toBe(0);
  });

  it('seeks, recalibrates and tells drive status', () => {
    const rig = new FdcRig();
    rig.start();
    expect(rig.bus.in8(0x3f7)).toBe(0x80);
    rig.send([0x0f, 0, 40]);
    expect(rig.irq.level).toBe(1);
    expect(rig.command([8], 2)).toEqual([0x20, 40]);
    expect(rig.irq.level).toBe(0);
    expect(rig.bus.in8(0x3f7)).toBe(0);
    expect(rig.command([4, 4], 1)).toEqual([0x2c]);
    rig.send([0x8f, 0, 10]);
    expect(rig.command([8], 2)).toEqual([0x20, 30]);
    rig.send([7, 0]);
    expect(rig.command([8], 2)).toEqual([0x20, 0]);
    rig.command([4, 1], 1);
    rig.disk.inserted = false;
    rig.disk.onMediaChange!();
    rig.bus.out8(0x3f2, 0x1c);
    expect(rig.bus.in8(0x3f7)).toBe(0x80);
  });

  it('reads over the side and the track by DMA', () => {
    const rig = new FdcRig();
    rig.start();
    rig.program(0x46, TARGET, 40 * 512);
    rig.send([0xe6, 0, 3, 0, 10, 2, 18, 0x1b, 0xff]);
    expect(rig.bus.in8(MSR)).toBe(0x10);
    rig.disk.complete(1);
    expect(rig.irq.level).toBe(0);
    rig.disk.complete();
    expect(rig.irq.level).toBe(1);
    const first = 3 * 36 + 9;
    expect(rig.memory.bytes.slice(TARGET, TARGET + 27 * 512)).toEqual(sectors(rig, first, 27));
    const [status0, status1, status2, ...place] = rig.result(7);
    expect([status0! & 0xc0, status1, status2]).toEqual([0, 0, 0]);
    expect(rig.irq.level).toBe(0);
    expect(place.length).toBe(4);
    expect(rig.bus.in8(MSR)).toBe(0x80);
  });

  it('stops at the end of the memory block, with terminal count', () => {
    const rig = new FdcRig();
    rig.start();
    rig.program(0x46, TARGET, 1024);
    rig.send([0xe6, 0, 0, 0, 1, 2, 18, 0x1b, 0xff]);
    rig.disk.complete();
    expect(rig.result(7)).toEqual([0, 0, 0, 0, 0, 3, 2]);
    expect(rig.memory.bytes.slice(TARGET, TARGET + 1024)).toEqual(sectors(rig, 0, 2));
    expect(rig.memory.bytes[TARGET + 1024]).toBe(0);
    expect(rig.bus.in8(0x08) & 4).toBe(4);
  });

  it('writes by DMA, part of a sector too', () => {
    const rig = new FdcRig();
    rig.start();
    const before = rig.disk.bytes.slice();
    rig.memory.bytes.fill(0x3c, TARGET, TARGET + 4096);
    rig.program(0x4a, TARGET, 1300);
    rig.send([0xc5, 0, 1, 0, 17, 2, 18, 0x1b, 0xff]);
    rig.disk.complete();
    expect(rig.result(7)[0]! & 0xc0).toBe(0);
    const at = (36 + 16) * 512;
    expect(rig.disk.bytes.slice(at, at + 1300).every((byte) => byte === 0x3c)).toBe(true);
    expect(rig.disk.bytes.slice(at + 1300)).toEqual(before.slice(at + 1300));
    expect(rig.disk.bytes.slice(0, at)).toEqual(before.slice(0, at));
  });

  it('refuses what cannot be', () => {
    const rig = new FdcRig();
    rig.start();
    rig.program(0x4a, TARGET, 512);
    expect(rig.command([0xc6, 0, 90, 0, 1, 2, 18, 0x1b, 0xff], 7)).toEqual([0x40, 0, 0, 90, 0, 1, 2]);
    expect(rig.command([0xc6, 0, 0, 0, 19, 2, 19, 0x1b, 0xff], 7)).toEqual([0x40, 0x80, 0, 0, 0, 19, 2]);
    rig.bus.out8(0x3f7, 2);
    expect(rig.command([0xc6, 0, 0, 0, 1, 2, 18, 0x1b, 0xff], 7).slice(0, 2)).toEqual([0x40, 1]);
    rig.bus.out8(0x3f7, 0);
    rig.disk.readOnly = true;
    expect(rig.command([0xc5, 0, 0, 0, 1, 2, 18, 0x1b, 0xff], 7).slice(0, 2)).toEqual([0x60, 2]);
    rig.disk.readOnly = false;
    rig.send([0xc5, 0, 0, 0, 1, 2, 18, 0x1b, 0xff]);
    rig.disk.failure = new Error('full');
    rig.disk.complete();
    expect(rig.result(7)[0]).toBe(0x60);
    rig.send([0xc6, 0, 0, 0, 1, 2, 18, 0x1b, 0xff]);
    rig.disk.failure = new Error('bad');
    rig.disk.complete();
    expect(rig.result(7).slice(0, 3)).toEqual([0x40, 0x20, 0x20]);
    expect(rig.command([0xc6, 1, 0, 0, 1, 2, 18, 0x1b, 0xff], 7)[0]! & 0xc1).toBe(0x41);
  });

  it('reads and writes through the FIFO', () => {
    const rig = new FdcRig();
    rig.start(false);
    rig.send([0x46, 0, 0, 0, 2, 2, 3, 0x1b, 0xff]);
    expect(rig.bus.in8(MSR) & 0x80).toBe(0);
    const data: number[] = [];
    while (data.length < 1024) {
      rig.disk.complete();
      expect(rig.bus.in8(MSR)).toBe(0xf0);
      data.push(rig.bus.in8(FIFO));
    }
    expect(Uint8Array.from(data)).toEqual(sectors(rig, 1, 2));
    expect(rig.result(7).slice(0, 6)).toEqual([0, 0, 0, 0, 0, 3]);
    rig.send([0x45, 0, 0, 0, 5, 2, 6, 0x1b, 0xff]);
    for (let i = 0; i < 1024; i++) {
      expect(rig.bus.in8(MSR)).toBe(0xb0);
      rig.bus.out8(FIFO, i & 0x7f);
      rig.disk.complete();
    }
    rig.result(7);
    expect([...sectors(rig, 4, 2)]).toEqual(Array.from({ length: 1024 }, (_, i) => i & 0x7f));
  });

  it('takes 20 ms for READ ID, verifies and scans', () => {
    const rig = new FdcRig();
    rig.start();
    rig.send([0x4a, 0]);
    expect(rig.clock.deadline('fdc-result')).toBe(rig.clock.now() + 20_000_000);
    rig.clock.advance(20_000_000);
    expect(rig.result(7)).toEqual([0, 0, 0, 0, 0, 2, 2]);
    expect(rig.command([0x56, 0, 0, 0, 1, 2, 4, 0x1b, 0xff], 7).slice(0, 3)).toEqual([0x20, 0, 0]);
    rig.memory.bytes.set(sectors(rig, 1, 1), TARGET);
    rig.program(0x4a, TARGET, 512);
    rig.send([0x51, 0, 0, 0, 2, 2, 2, 0x1b, 0xff]);
    rig.disk.complete();
    expect(rig.result(7)[2]).toBe(8);
    rig.memory.bytes[TARGET + 3]!++;
    rig.program(0x4a, TARGET, 512);
    rig.send([0x51, 0, 0, 0, 2, 2, 2, 0x1b, 0xff]);
    rig.disk.complete();
    expect(rig.result(7)[2]).toBe(4);
  });

  it('gives a transfer up on reset', () => {
    const rig = new FdcRig();
    rig.start();
    rig.program(0x46, TARGET, 512);
    rig.send([0x46, 0, 0, 0, 1, 2, 18, 0x1b, 0xff]);
    rig.start();
    rig.disk.complete();
    expect(rig.memory.bytes[TARGET + 1]).toBe(0);
    expect(rig.bus.in8(MSR)).toBe(0x80);
    rig.fdc.reset();
    rig.fdc.reset();
    expect([rig.irq.level, rig.bus.in8(MSR)]).toEqual([0, 0x80]);
  });

  it.each([
    [2880, '144', 18, 80, 0, 4],
    [5760, '288', 36, 80, 3, 5],
    [1440, '144', 9, 80, 2, 4],
    [2400, '120', 15, 80, 0, 2],
    [720, '120', 9, 40, 1, 2],
    [640, '120', 8, 40, 2, 2],
    [100, '288', 36, 80, 3, 5],
  ] as const)('takes an image of %i sectors for what it is', (count, type, perTrack, tracks, rate, cmos) => {
    const rig = new FdcRig(count * 512);
    expect([rig.fdc.driveType(0), rig.fdc.driveType(1)]).toEqual([type, 'none']);
    expect(pickFormat(count * 512, undefined)).toMatchObject({ sectors: perTrack, tracks, rate });
    expect([floppyCmosType(type), floppyCmosType('none')]).toEqual([cmos, 0]);
  });
});

describe('floppy controller on the stream', () => {
  it.skipIf(!requireProgram('qemu-system-i386'))('has the schema that QEMU dumps', () => {
    const { fdc } = new FdcRig();
    expect(compareSchemaWithDump(fdc.vmstate, vmStateDump()['isa-fdc']!.Description!)).toEqual([]);
  });

  it('carries on in every phase', () => {
    const rig = new FdcRig();
    rig.start();
    const steps: readonly (readonly number[])[] = [
      [],
      [0x46, 0, 0],
      [0x46, 0, 0, 0, 1, 2, 18, 0x1b, 0xff],
      [0x4a, 0],
      [0x0f, 0, 7],
      [0x0e],
    ];
    for (const bytes of steps) {
      rig.start();
      rig.send(bytes);
      const saved = rig.save();
      const other = new FdcRig();
      other.load(saved);
      expect(Buffer.compare(other.save(), saved)).toBe(0);
      rig.fdc.reset();
    }
  });

  it('goes on with a DMA read after a load, and counts READ ID down', () => {
    const rig = new FdcRig();
    rig.start();
    rig.bus.out8(0x0a, 6);
    rig.send([0x46, 0, 0, 0, 5, 2, 6, 0x1b, 0xff]);
    const other = new FdcRig();
    other.load(rig.save());
    other.clock.advance(1);
    other.program(0x46, TARGET, 1024);
    other.disk.complete();
    expect(other.memory.bytes.slice(TARGET, TARGET + 1024)).toEqual(sectors(rig, 4, 2));
    expect(other.irq.level).toBe(1);
    expect(other.result(7)[0]! & 0xc0).toBe(0);

    other.send([0x4a, 0]);
    const third = new FdcRig();
    third.load(other.save());
    third.clock.advance(20_000_001);
    expect(third.result(7)[0]).toBe(0);
  });

  it('goes on through the FIFO after a load between two sectors', () => {
    const rig = new FdcRig();
    rig.start(false);
    rig.send([0x46, 0, 0, 0, 2, 2, 3, 0x1b, 0xff]);
    rig.disk.complete();
    const data = Array.from({ length: 512 }, () => rig.bus.in8(FIFO));
    rig.disk.complete();
    const other = new FdcRig();
    other.load(rig.save());
    other.clock.advance(1);
    other.disk.complete();
    for (let i = 0; i < 512; i++) data.push(other.bus.in8(FIFO));
    expect(Uint8Array.from(data)).toEqual(sectors(rig, 1, 2));
    expect(other.result(7)[0]! & 0xc0).toBe(0);
  });
});

const rigs = new WeakMap<object, FdcRig>();

for (const [name, bytes] of [
  ['in a command', [0xc6, 0, 3]],
  ['in READ ID', [0x4a, 0]],
  ['in a DMA read', [0xc6, 0, 3, 0, 1, 2, 18, 0x1b, 0xff]],
  ['in a result', [0x0e]],
] as const) {
  conformance(
    `floppy controller ${name}`,
    () => {
      const rig = new FdcRig();
      rigs.set(rig.fdc, rig);
      const { fdc, clock, irq, disk } = rig;
      return { device: fdc, mappings: fdc.ports(), clock, irqs: [irq], settle: () => disk.complete() };
    },
    ({ device }) => {
      const rig = rigs.get(device)!;
      rig.start();
      rig.send(bytes);
    },
  );
}
