import { AcpiBuild } from '../../src/devices/acpi/acpi-build.ts';
import { Apic } from '../../src/devices/apic.ts';
import { FwCfg } from '../../src/devices/fw-cfg.ts';
import { IoApic } from '../../src/devices/ioapic.ts';
import { PciBus, PciHost } from '../../src/devices/pci/bus.ts';
import { PciFunction } from '../../src/devices/pci/config-space.ts';
import { I440fx } from '../../src/devices/pci/i440fx.ts';
import { Piix3 } from '../../src/devices/pci/piix3.ts';
import { Piix4Pm } from '../../src/devices/pci/piix4-pm.ts';
import type { Device, Mapping } from '../../src/machine/device.ts';
import { FakeAddressSpace } from '../support/fake-address-space.ts';
import { FakeClock, FakeIrq, FakeMemory } from '../support/fakes.ts';
import { accessRegion, conformance, type Subject } from './device-suite.ts';

function write(mappings: readonly Mapping[], address: number, width: number, value: number): void {
  const hit = mappings.find(({ base, region }) => address >= base && address < base + region.size)!;
  accessRegion(hit.region, address - hit.base, width, value);
}

/** The whole chipset around a bus; `configure` writes a configuration register. */
function chipset() {
  const clock = new FakeClock(777);
  const irqs = Array.from({ length: 16 }, () => new FakeIrq());
  let hostEvents = 0;
  const told = (): void => {
    hostEvents++;
  };
  const io = new FakeAddressSpace();
  const bus = new PciBus({ io, memory: new FakeAddressSpace() });
  const piix3 = new Piix3({ bus, isaIrqs: irqs, requestReset: told });
  const i440fx = new I440fx({ bus, ramSize: 64 << 20, setPam: () => {} });
  const pm = new Piix4Pm({
    bus,
    clock,
    sci: irqs[9]!,
    requestShutdown: told,
    requestSuspend: told,
    requestWake: told,
  });
  const endpoint = new PciFunction({
    bus,
    slot: 3,
    vendorId: 0x1234,
    deviceId: 1,
    classCode: 0xff00,
    interruptPin: 1,
  });
  const host = new PciHost({ bus, resetControl: piix3.resetControl });
  for (const device of [bus, host, i440fx, piix3, pm]) device.reset();
  const configure = (devfn: number, offset: number, width: number, value: number): void =>
    bus.find(devfn)!.write(offset, width, value);
  return { clock, irqs, io, bus, piix3, i440fx, pm, host, endpoint, configure, hostEvents: () => hostEvents };
}

type Chipset = ReturnType<typeof chipset>;

function chipsetConformance(
  name: string,
  device: (all: Chipset) => Device,
  mappings: (all: Chipset) => readonly Mapping[],
  poke: (all: Chipset) => void,
): void {
  conformance(
    name,
    () => {
      const all = chipset();
      const { clock, irqs, hostEvents } = all;
      return { device: device(all), mappings: mappings(all), clock, irqs, hostEvents, all };
    },
    (subject) => poke((subject as Subject & { all: Chipset }).all),
  );
}

chipsetConformance(
  'PCIHost',
  (all) => all.host,
  (all) => all.host.ports(),
  (all) => write(all.host.ports(), 0xcf8, 4, 0x80000844),
);

chipsetConformance(
  'PCIBUS',
  (all) => all.bus,
  (all) => all.host.ports(),
  (all) => all.endpoint.irq.set(1),
);

chipsetConformance(
  'I440FX',
  (all) => all.i440fx,
  (all) => all.host.ports(),
  (all) => all.configure(0, 0x58, 4, 0x33333300),
);

chipsetConformance(
  'PIIX3',
  (all) => all.piix3,
  (all) => all.host.ports(),
  (all) => {
    // The level of the endpoint's pin is in PCIBUS: pci_irq_levels only repeats it.
    all.configure(8, 0x60, 4, 0x0b0b0a0a);
    all.piix3.resetControl.write8!(0, 2);
  },
);

chipsetConformance(
  'piix4_pm',
  (all) => all.pm,
  (all) => all.pm.ports(),
  (all) => {
    all.configure(0x0b, 0x40, 4, 0x601);
    all.configure(0x0b, 0x80, 1, 1);
    const pm = all.io.find('piix4-pm');
    pm.write16!(0, 1);
    pm.write16!(2, 0x101);
    pm.write16!(4, 1);
    all.io.find('pm-smbus').write8!(4, 0xa1);
    write(all.pm.ports(), 0xaf00, 4, 0);
    write(all.pm.ports(), 0xafe2, 1, 3);
  },
);

chipsetConformance(
  'i2c_bus',
  (all) => all.pm.i2cBus,
  (all) => all.pm.ports(),
  (all) => {
    const smbus = all.io.find('pm-smbus');
    smbus.write8!(4, 0xa1);
    smbus.write8!(2, 0x59);
  },
);

conformance(
  'fw_cfg',
  () => {
    const device = new FwCfg({ memory: new FakeMemory() });
    device.addFile('etc/test', Uint8Array.of(1, 2, 3, 4));
    device.reset();
    return { device, mappings: device.ports() };
  },
  ({ device }) => {
    write(device.ports(), 0x510, 2, 0x20);
    device.ports()[0]!.region.read8!(1);
    write(device.ports(), 0x514, 4, 0x12345678);
  },
);

conformance(
  'acpi_build',
  () => {
    const fwCfg = new FwCfg({ memory: new FakeMemory() });
    const device = new AcpiBuild({
      dsdt: {
        lowMemoryEnd: 64 << 20,
        hasSerial: true,
        floppies: [true, true],
        suspendToRam: true,
        suspendToDisk: false,
      },
      tables: new Uint8Array(0x20000),
      loader: new Uint8Array(0x1000),
      rsdp: new Uint8Array(0x1000),
      pmIoBase: () => 0x600,
      fwCfg,
    });
    device.reset();
    return { device, mappings: fwCfg.ports() };
  },
  ({ mappings }) => {
    for (let file = 0x20; file < 0x23; file++) write(mappings, 0x510, 2, file);
  },
);

function interruptControllers() {
  const clock = new FakeClock(777);
  const intr = new FakeIrq();
  let hostEvents = 0;
  const told = (): void => {
    hostEvents++;
  };
  const pic = { pending: false, acknowledge: () => 0x20 };
  const apic: Apic = new Apic({
    clock,
    pic,
    intr,
    cpu: { nmi: told, init: told },
    broadcastEoi: (vector) => ioApic.endOfInterrupt(vector),
  });
  const ioApic = new IoApic({
    deliver: (...message) => apic.deliver(...message),
    acknowledgePic: () => pic.acknowledge(),
  });
  apic.reset();
  ioApic.reset();
  // As far as there are registers: each access is an assertion, and the pages are large.
  const mappings = (device: Apic | IoApic, size: number): Mapping[] =>
    device.memory().map(({ base, region }) => ({ base, region: { ...region, size } }));
  return { clock, irqs: [intr], apic, ioApic, mappings, hostEvents: () => hostEvents };
}

conformance(
  'apic',
  () => {
    const all = interruptControllers();
    return { ...all, device: all.apic, mappings: all.mappings(all.apic, 0x400) };
  },
  ({ clock, mappings }) => {
    write(mappings, 0xfee000f0, 4, 0x1ff);
    write(mappings, 0xfee00320, 4, 0x20030);
    write(mappings, 0xfee003e0, 4, 3);
    write(mappings, 0xfee00380, 4, 62_500);
    clock!.advance(1_500_000);
    write(mappings, 0xfee00300, 4, 0x40041);
  },
);

conformance(
  'ioapic',
  () => {
    const all = interruptControllers();
    return { ...all, device: all.ioApic, mappings: all.mappings(all.ioApic, 0x50) };
  },
  ({ device, mappings }) => {
    write(mappings, 0xfec00000, 1, 0x26);
    write(mappings, 0xfec00010, 4, 0x803b);
    device.inputs[11]!.set(1);
    write(mappings, 0xfec00000, 1, 0x27);
    write(mappings, 0xfec00010, 4, 0x01000000);
  },
);
