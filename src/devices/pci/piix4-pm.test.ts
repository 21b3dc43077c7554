import { describe, expect, it } from 'vitest';
import { FakeAddressSpace } from '../../../test/support/fake-address-space.ts';
import { FakeClock, FakeIrq } from '../../../test/support/fakes.ts';
import { PciBus } from './bus.ts';
import { Piix4Pm } from './piix4-pm.ts';

function make() {
  const io = new FakeAddressSpace();
  const bus = new PciBus({ io, memory: new FakeAddressSpace() });
  const clock = new FakeClock();
  const sci = new FakeIrq();
  const requests: string[] = [];
  const device = new Piix4Pm({
    bus,
    clock,
    sci,
    requestShutdown: () => requests.push('shutdown'),
    requestSuspend: () => requests.push('suspend'),
    requestWake: (reason) => requests.push(reason),
  });
  device.reset();
  const config = bus.find(0x0b)!;
  config.write(0x40, 4, 0x601);
  config.write(0x80, 1, 1);
  const region = (name: string) => [...io.mapped.keys()].find((each) => each.name === name)!;
  const fixed = (name: string) => device.ports().find((each) => each.region.name === name)!.region;
  return { io, bus, clock, sci, requests, device, config, region, fixed };
}

describe('PIIX4 power management', () => {
  it('maps its blocks where the configuration space says', () => {
    const m = make();
    expect(m.io.mapped.get(m.region('piix4-pm'))).toBe(0x600);
    expect(m.io.mapped.get(m.region('pm-smbus'))).toBe(0xb100);
    expect(m.device.pmIoBase).toBe(0x600);
    m.config.write(0x80, 1, 0);
    m.config.write(0x90, 4, 0x701);
    expect(m.region('piix4-pm')).toBeUndefined();
    expect(m.io.mapped.get(m.region('pm-smbus'))).toBe(0x700);
    const { changes } = m.io;
    m.device.afterLoad();
    expect(m.io.changes).toBe(changes);
  });

  it('counts at 3.579545 MHz and interrupts when bit 23 changes', () => {
    const m = make();
    const pm = m.region('piix4-pm');
    m.clock.advance(1_000_000_000);
    expect(pm.read32!(8)).toBe(3579545);
    pm.write16!(0, 1);
    pm.write16!(2, 1);
    expect(m.sci.level).toBe(0);
    m.device.beforeSave();
    const deadline = m.device.state.tmrTimer;
    expect(deadline).toBe(Math.ceil((0x800000 * 1e9) / 3579545));
    m.clock.advance(deadline - m.clock.now());
    expect(m.sci.level).toBe(1);
    expect(pm.read16!(0) & 1).toBe(1);
    pm.write16!(0, 1);
    expect(m.sci.level).toBe(0);
    m.clock.advance(1_000_000);
    expect(m.sci.level).toBe(0);
  });

  it('reports the power button, if the guest asked for it', () => {
    const m = make();
    const pm = m.region('piix4-pm');
    m.device.pressPowerButton();
    expect(pm.read16!(0) & 0x100).toBe(0);
    pm.write16!(2, 0x100);
    m.device.pressPowerButton();
    expect([pm.read16!(0) & 0x100, m.sci.level]).toEqual([0x100, 1]);
    pm.write8!(1, 1);
    expect(m.sci.level).toBe(0);
  });

  it('turns off and suspends', () => {
    const m = make();
    const pm = m.region('piix4-pm');
    pm.write16!(4, 0x2001);
    pm.write16!(4, 0x2401);
    pm.write16!(4, 0x2801);
    expect(m.requests).toEqual(['shutdown', 'suspend', 'shutdown']);
    expect(pm.read16!(4)).toBe(0x0801);
  });

  it('enters and leaves ACPI mode through port 0xb2', () => {
    const m = make();
    const pm = m.region('piix4-pm');
    const apm = m.fixed('apm-io');
    apm.write8!(0, 0xf1);
    expect(pm.read16!(4) & 1).toBe(1);
    apm.write8!(0, 0xf0);
    expect(pm.read16!(4) & 1).toBe(0);
    apm.write8!(1, 0x12);
    expect([apm.read8!(0), apm.read8!(1)]).toEqual([0xf0, 0x12]);
  });

  it('finds eight empty EEPROMs on the SMBus and nothing else', () => {
    const m = make();
    const smbus = m.region('pm-smbus');
    const readByte = (address: number) => {
      smbus.write8!(0, 0xfe);
      smbus.write8!(4, (address << 1) | 1);
      smbus.write8!(3, 0);
      smbus.write8!(2, 0x48);
      smbus.read8!(0);
      return smbus.read8!(0);
    };
    expect(readByte(0x50)).toBe(2);
    expect(smbus.read8!(5)).toBe(0);
    expect(readByte(0x57)).toBe(2);
    expect(readByte(0x58)).toBe(4);
  });

  it('switches the CPU hot-plug block to its modern form', () => {
    const m = make();
    const cpus = m.fixed('acpi-cpu-hotplug');
    expect([cpus.read8!(0), cpus.read8!(1)]).toEqual([1, 0]);
    expect(m.device.vmstate.subsections!.cpuhp.needed(m.device.state)).toBe(false);
    cpus.write32!(0, 0);
    expect(m.device.vmstate.subsections!.cpuhp.needed(m.device.state)).toBe(true);
    expect(cpus.read8!(4)).toBe(1);
    cpus.write32!(0, 1);
    expect(cpus.read8!(4)).toBe(0);
    const pci = m.fixed('acpi-pci-hotplug');
    expect(pci.read32!(0x0c)).toBe(0xfffffff8);
  });
});
