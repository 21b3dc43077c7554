import { describe, expect, it } from 'vitest';
import { FakeAddressSpace } from '../../../test/support/fake-address-space.ts';
import { FakeIrq } from '../../../test/support/fakes.ts';
import type { IoRegion } from '../../machine/device.ts';
import { PciBus, PciHost, pirqOfPin } from './bus.ts';
import { BAR_UNMAPPED, decodeBar, PciFunction, ROM_SLOT } from './config-space.ts';
import { I440fx, PAM_SEGMENTS } from './i440fx.ts';
import { Piix3 } from './piix3.ts';

const region = (name: string, size: number): IoRegion => ({ name, size });

function machine() {
  const io = new FakeAddressSpace();
  const memory = new FakeAddressSpace();
  const bus = new PciBus({ io, memory });
  const isaIrqs = Array.from({ length: 16 }, () => new FakeIrq());
  let resets = 0;
  const piix3 = new Piix3({ bus, isaIrqs, requestReset: () => resets++ });
  const pam: number[] = new Array(13).fill(-1);
  const i440fx = new I440fx({ bus, ramSize: 128 << 20, setPam: (segment, mode) => (pam[segment] = mode) });
  const host = new PciHost({ bus, resetControl: piix3.resetControl });
  const ports = host.ports()[0]!.region;
  const lfb = region('lfb', 0x1000000);
  const dma = region('bmdma', 16);
  const rom = region('rom', 0x10000);
  const vga = new PciFunction({
    bus,
    slot: 2,
    vendorId: 0x1234,
    deviceId: 0x1111,
    classCode: 0x0300,
    interruptPin: 1,
    bars: [
      { kind: 'memory', size: 0x1000000, region: lfb, prefetchable: true },
      { kind: 'io', size: 16, region: dma },
    ],
    rom: { size: 0x10000, region: rom },
  });
  const devices = [bus, host, i440fx, piix3];
  for (const device of devices) device.reset();
  const address = (devfn: number, offset: number) => (0x80000000 | (devfn << 8) | (offset & 0xfc)) >>> 0;
  const read = (devfn: number, offset: number, size = 4) => {
    ports.write32!(0, address(devfn, offset));
    const at = 4 + (offset & 3);
    return size === 1 ? ports.read8!(at) : size === 2 ? ports.read16!(at) : ports.read32!(at);
  };
  const write = (devfn: number, offset: number, value: number, size = 4) => {
    ports.write32!(0, address(devfn, offset));
    const at = 4 + (offset & 3);
    if (size === 1) ports.write8!(at, value);
    else if (size === 2) ports.write16!(at, value);
    else ports.write32!(at, value);
  };
  return {
    bus,
    host,
    ports,
    piix3,
    i440fx,
    vga,
    io,
    memory,
    isaIrqs,
    pam,
    lfb,
    dma,
    rom,
    read,
    write,
    resets: () => resets,
  };
}

const VGA = 2 << 3;
const ISA = 1 << 3;

describe('configuration ports', () => {
  it('finds functions and answers all-ones where there are none', () => {
    const m = machine();
    expect(m.read(0, 0)).toBe(0x12378086);
    expect(m.read(ISA, 0)).toBe(0x70008086);
    expect(m.read(ISA, 0x0e, 1)).toBe(0x80);
    expect(m.read(VGA, 2, 2)).toBe(0x1111);
    expect(m.read(VGA, 0x2c)).toBe(0x11001af4);
    expect(m.read(3 << 3, 0)).toBe(0xffffffff);
    expect(m.read(3 << 3, 1, 1)).toBe(0xff);
    m.ports.write32!(0, 0x80010000);
    expect(m.ports.read32!(4)).toBe(0xffffffff);
    m.ports.write32!(0, 0x00000000);
    expect(m.ports.read16!(4)).toBe(0xffff);
  });

  it('takes CONFADD as 32 bits only, and leaves 0xcf9 to the reset control register', () => {
    const m = machine();
    m.ports.write32!(0, 0x80000010);
    m.ports.write8!(0, 0);
    m.ports.write16!(0, 0);
    expect(m.ports.read32!(0)).toBe(0x80000010);
    m.ports.write8!(1, 2);
    expect(m.ports.read8!(1)).toBe(2);
    expect(m.piix3.vmstate.subsections!.resetControl.needed(m.piix3.state)).toBe(true);
    m.ports.write8!(1, 6);
    expect(m.resets()).toBe(1);
    expect(m.ports.read32!(0)).toBe(0x80000010);
  });

  it('keeps read-only bytes', () => {
    const m = machine();
    m.write(VGA, 0, 0);
    m.write(VGA, 0x2c, 0);
    expect(m.read(VGA, 0)).toBe(0x11111234);
    m.write(VGA, 4, 0xffff, 2);
    expect(m.read(VGA, 4, 2)).toBe(0x0507);
    m.write(VGA, 0x3c, 0x0b, 1);
    expect(m.read(VGA, 0x3c, 2)).toBe(0x010b);
  });
});

describe('base address registers', () => {
  it('tells sizes', () => {
    const m = machine();
    m.write(VGA, 0x10, 0xffffffff);
    m.write(VGA, 0x14, 0xffffffff);
    m.write(VGA, 0x18, 0xffffffff);
    m.write(VGA, 0x30, 0xfffffffe);
    expect(m.read(VGA, 0x10)).toBe(0xff000008);
    expect(m.read(VGA, 0x14)).toBe(0xfffffff1);
    expect(m.read(VGA, 0x18)).toBe(0);
    expect(m.read(VGA, 0x30)).toBe(0xffff0000);
  });

  it('maps windows while the command register lets it', () => {
    const m = machine();
    m.write(VGA, 0x10, 0xfd000000);
    m.write(VGA, 0x14, 0xc041);
    m.write(VGA, 0x30, 0xfeb00001);
    expect(m.memory.mapped.size + m.io.mapped.size).toBe(0);
    m.write(VGA, 4, 2, 2);
    expect(m.memory.mapped.get(m.lfb)).toBe(0xfd000000);
    expect(m.memory.mapped.get(m.rom)).toBe(0xfeb00000);
    expect(m.io.mapped.size).toBe(0);
    m.write(VGA, 4, 3, 2);
    expect(m.io.mapped.get(m.dma)).toBe(0xc040);
    m.write(VGA, 0x30, 0xfeb00000);
    expect(m.memory.mapped.has(m.rom)).toBe(false);
    expect(m.vga.barAddress(ROM_SLOT)).toBe(BAR_UNMAPPED);
    m.vga.reset();
    expect(m.memory.mapped.size + m.io.mapped.size).toBe(0);
    expect(m.read(VGA, 0x10)).toBe(8);
  });

  it('decodes edges', () => {
    expect(decodeBar('memory', 0xffff0000, 0x10000, 2, false)).toBe(BAR_UNMAPPED);
    expect(decodeBar('memory', 0xfffe0000, 0x10000, 2, false)).toBe(0xfffe0000);
    expect(decodeBar('memory', 0x00000008, 0x10000, 2, false)).toBe(0);
    expect(decodeBar('io', 0xfffffff1, 16, 1, false)).toBe(BAR_UNMAPPED);
    expect(decodeBar('io', 0xc001, 16, 2, false)).toBe(BAR_UNMAPPED);
  });

  it('is mapped anew after a load, once', () => {
    const m = machine();
    const config = m.vga.config.slice();
    config[4] = 2;
    config[0x13] = 0xe0;
    expect(m.vga.validate({ ...m.vga.state, config })).toBeUndefined();
    m.vga.config.set(config);
    m.vga.afterLoad();
    m.vga.afterLoad();
    expect(m.memory.mapped.get(m.lfb)).toBe(0xe0000000);
    expect(m.memory.changes).toBe(1);
  });

  it('refuses the configuration space of another device', () => {
    const m = machine();
    const config = m.vga.config.slice();
    config[2] = 0x12;
    expect(m.vga.validate({ ...m.vga.state, config })).toMatch(/config\[0x2\]: found 0x12, expected 0x11/);
    expect(m.vga.validate({ ...m.vga.state, irqState: new Uint8Array(16).fill(1) })).toMatch(/irq_state/);
  });
});

describe('interrupt routing', () => {
  it('swizzles pins', () => {
    expect([1, 2, 3, 4].map((slot) => pirqOfPin(slot, 0))).toEqual([0, 1, 2, 3]);
    expect(pirqOfPin(0, 0)).toBe(3);
  });

  it('goes from pin through PIRQ to the ISA interrupt', () => {
    const m = machine();
    m.write(ISA, 0x61, 0x0b, 1);
    m.vga.irq.set(1);
    expect(m.isaIrqs[11]!.level).toBe(1);
    expect(m.read(VGA, 6, 2) & 8).toBe(8);
    m.write(ISA, 0x61, 0x0a, 1);
    expect([m.isaIrqs[11]!.level, m.isaIrqs[10]!.level]).toEqual([0, 1]);
    m.write(VGA, 4, 0x0400, 2);
    expect(m.isaIrqs[10]!.level).toBe(0);
    m.write(VGA, 4, 0, 2);
    expect(m.isaIrqs[10]!.level).toBe(1);
    m.piix3.beforeSave();
    expect([...m.piix3.state.pciIrqLevels]).toEqual([0, 1, 0, 0]);
    m.vga.irq.set(0);
    expect(m.isaIrqs[10]!.level).toBe(0);
    expect([...m.bus.state.irqCount]).toEqual([0, 0, 0, 0]);
  });

  it('drives nothing on load, and goes on from there', () => {
    const m = machine();
    m.bus.state.irqCount[1] = 1;
    m.vga.state.irqState[3] = 1;
    m.piix3.state.dev.config[0x61] = 5;
    m.isaIrqs[5]!.level = 1;
    const calls = m.isaIrqs[5]!.log.length;
    m.vga.afterLoad();
    m.piix3.afterLoad();
    expect(m.isaIrqs[5]!.log.length).toBe(calls);
    m.vga.irq.set(0);
    expect(m.isaIrqs[5]!.log.length).toBe(calls + 1);
    expect(m.bus.state.irqCount[1]).toBe(0);
  });

  it('survives a bus reset with a pin high', () => {
    const m = machine();
    m.vga.irq.set(1);
    m.bus.reset();
    m.vga.reset();
    expect([...m.bus.state.irqCount]).toEqual([0, 0, 0, 0]);
    m.vga.irq.set(1);
    expect(m.bus.pirqLevel(1)).toBe(1);
  });
});

describe('i440FX', () => {
  it('switches shadow RAM by PAM', () => {
    const m = machine();
    expect(m.pam).toEqual(new Array(13).fill(0));
    m.write(0, 0x59, 0x30, 1);
    expect(m.pam[0]).toBe(3);
    m.write(0, 0x5a, 0x21, 1);
    expect([m.pam[1], m.pam[2]]).toEqual([1, 2]);
    m.write(0, 0x5f, 0x31, 1);
    expect([m.pam[11], m.pam[12]]).toEqual([1, 3]);
    expect(PAM_SEGMENTS[12]).toEqual({ base: 0xec000, size: 0x4000 });
    m.i440fx.reset();
    expect(m.pam).toEqual(new Array(13).fill(0));
    m.i440fx.state.parentObj.config[0x59] = 0x10;
    m.i440fx.afterLoad();
    expect(m.pam[0]).toBe(1);
  });
});
