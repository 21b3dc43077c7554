/** The same accesses to our chipset and to QEMU's: both must answer the same. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FakeAddressSpace } from '../../test/support/fake-address-space.ts';
import { FakeClock, FakeIrq, FakeMemory } from '../../test/support/fakes.ts';
import { requireProgram } from '../../test/support/programs.ts';
import { QtestMachine } from '../../test/support/qtest.ts';
import { PortSpace } from '../machine/port-space.ts';
import { AcpiBuild } from './acpi/acpi-build.ts';
import { FW_CFG_FILE_DIR, FwCfg } from './fw-cfg.ts';
import { addMachineItems } from './fw-cfg-items.ts';
import { IoApic } from './ioapic.ts';
import { PciBus, PciHost } from './pci/bus.ts';
import { I440fx } from './pci/i440fx.ts';
import { Piix3 } from './pci/piix3.ts';
import { Piix4Pm } from './pci/piix4-pm.ts';

const RAM_SIZE = 128 << 20;

function ourChipset() {
  const ports = new PortSpace();
  const bus = new PciBus({ io: ports, memory: new FakeAddressSpace() });
  const isaIrqs = Array.from({ length: 16 }, () => new FakeIrq());
  const piix3 = new Piix3({ bus, isaIrqs, requestReset: () => {} });
  const i440fx = new I440fx({ bus, ramSize: RAM_SIZE, setPam: () => {} });
  const host = new PciHost({ bus, resetControl: piix3.resetControl });
  const pm = new Piix4Pm({
    bus,
    clock: new FakeClock(),
    sci: isaIrqs[9]!,
    hasSerial: false,
    requestShutdown: () => {},
    requestSuspend: () => {},
    requestWake: () => {},
  });
  const fwCfg = new FwCfg({ memory: new FakeMemory() });
  addMachineItems(fwCfg, { ramSize: RAM_SIZE });
  const acpi = new AcpiBuild({
    dsdt: {
      lowMemoryEnd: RAM_SIZE,
      hasSerial: false,
      floppies: [false, false],
      suspendToRam: true,
      suspendToDisk: true,
    },
    tables: new Uint8Array(0x20000),
    loader: new Uint8Array(0x1000),
    rsdp: new Uint8Array(0x1000),
    pmIoBase: () => pm.pmIoBase,
    fwCfg,
  });
  const ioApic = new IoApic({ deliver: () => {}, acknowledgePic: () => 0 });
  for (const device of [bus, host, i440fx, piix3, pm, fwCfg, acpi, ioApic]) device.reset();
  for (const device of [host, pm, fwCfg]) ports.mapAll(device.ports());
  return { ports, fwCfg, ioApic: ioApic.memory()[0]!.region };
}

type Access = readonly ['in' | 'out', width: 1 | 2 | 4, port: number, value?: number];

describe.skipIf(!requireProgram('qemu-system-i386'))('chipset beside QEMU’s', () => {
  let qemu: QtestMachine;
  beforeAll(async () => {
    // With smm=off QEMU's PIIX4 comes up as ours, which has no SMM either.
    qemu = await QtestMachine.start(['-machine', 'smm=off', '-vga', 'std']);
  });
  afterAll(async () => qemu[Symbol.asyncDispose]());

  /** Runs accesses on both and gives what was read, as [QEMU's, ours]. */
  async function both(ours: PortSpace, accesses: readonly Access[]): Promise<[string[], string[]]> {
    const theirs: string[] = [];
    const found: string[] = [];
    for (const [direction, width, port, value] of accesses) {
      const suffix = width === 1 ? 'b' : width === 2 ? 'w' : 'l';
      if (direction === 'out') {
        qemu[`out${suffix}`](port, value!);
        ours.write(port, width, value!);
      } else {
        const label = `${suffix} ${port.toString(16)}:`;
        theirs.push(`${label} ${(await qemu[`in${suffix}`](port)).toString(16)}`);
        found.push(`${label} ${ours.read(port, width).toString(16)}`);
      }
    }
    return [theirs, found];
  }

  const select = (devfn: number, offset: number): Access => [
    'out',
    4,
    0xcf8,
    0x80000000 + devfn * 0x100 + (offset & 0xfc),
  ];

  it('has the same configuration space at power-on and with every bit written', async () => {
    const { ports } = ourChipset();
    for (const devfn of [0x00, 0x08, 0x0b]) {
      const accesses: Access[] = [];
      for (let offset = 0; offset < 256; offset += 4) accesses.push(select(devfn, offset), ['in', 4, 0xcfc]);
      const [theirs, ours] = await both(ports, accesses);
      expect(ours, `function ${devfn}`).toEqual(theirs);
      const written: Access[] = [];
      for (let offset = 0; offset < 256; offset += 4) {
        // Not the enable bits and bases of what is mapped, nor the routes: they are tested apart.
        if ((devfn === 0x0b && [0x40, 0x80, 0x90, 0xd0].includes(offset)) || offset === 0x58) continue;
        for (const value of [0xffffffff, 0x00000000, 0x5aa5c33c]) {
          written.push(select(devfn, offset), ['out', 4, 0xcfc, value], ['in', 4, 0xcfc]);
          written.push(['out', 1, 0xcfd, 0x11], ['in', 2, 0xcfe], ['in', 1, 0xcfd]);
        }
      }
      const [theirs2, ours2] = await both(ports, written);
      expect(ours2, `function ${devfn} written`).toEqual(theirs2);
    }
  });

  it('answers at the configuration ports', async () => {
    const { ports } = ourChipset();
    const [theirs, ours] = await both(ports, [
      ['out', 4, 0xcf8, 0x80000804],
      ['in', 4, 0xcf8],
      ['in', 2, 0xcf8],
      ['in', 1, 0xcf8],
      ['in', 1, 0xcfa],
      ['out', 1, 0xcf8, 0x11],
      ['out', 2, 0xcf8, 0x1111],
      ['in', 4, 0xcf8],
      ['out', 1, 0xcf9, 0x02],
      ['in', 1, 0xcf9],
      ['in', 4, 0xcf8],
      ['out', 1, 0xcf9, 0x00],
      ['out', 4, 0xcf8, 0x00000804],
      ['in', 4, 0xcfc],
      ['in', 1, 0xcfd],
      ['out', 4, 0xcf8, 0x8000f800],
      ['in', 2, 0xcfc],
    ]);
    expect(ours).toEqual(theirs);
  });

  it('has the same power management registers', async () => {
    const { ports } = ourChipset();
    const accesses: Access[] = [select(0x0b, 0x40), ['out', 4, 0xcfc, 0x601], ['in', 4, 0xcfc]];
    accesses.push(select(0x0b, 0x80), ['out', 1, 0xcfc, 1], select(0x0b, 0x90), ['out', 4, 0xcfc, 0x701]);
    accesses.push(select(0x0b, 0xd0), ['out', 1, 0xcfe, 9]);
    for (const [port, value] of [
      [0x602, 0x0521],
      [0x604, 0x1c01],
      [0x604, 0x0001],
      [0x602, 0x0000],
    ] as const) {
      accesses.push(['out', 2, port, value], ['in', 2, port], ['in', 2, 0x602]);
    }
    for (const value of [0xf1, 0xf0, 0xf1]) accesses.push(['out', 1, 0xb2, value], ['in', 1, 0xb2]);
    accesses.push(['out', 1, 0xb3, 0x77], ['in', 1, 0xb3]);
    for (let port = 0xafe0; port < 0xafe4; port++) {
      accesses.push(['out', 1, port, 0x5a], ['in', 1, port], ['out', 1, port, 0], ['in', 1, port]);
    }
    for (let port = 0xae00; port < 0xae18; port += 4) accesses.push(['in', 4, port]);
    for (const bus of [0, 5, 300])
      accesses.push(['out', 4, 0xae10, bus], ['in', 4, 0xae10], ['in', 4, 0xae00]);
    for (let port = 0xaf00; port < 0xaf04; port++) accesses.push(['in', 1, port]);
    for (let port = 0xa00; port < 0xa18; port += 4) accesses.push(['in', 4, port]);
    const [theirs, ours] = await both(ports, accesses);
    expect(ours).toEqual(theirs);
  });

  it('speaks the same SMBus', async () => {
    const { ports } = ourChipset();
    const accesses: Access[] = [select(0x0b, 0x90), ['out', 4, 0xcfc, 0x701]];
    const at = (register: number): number => 0x700 + register;
    const status: Access[] = [0, 0, 2, 5, 6, 7].map((register) => ['in', 1, at(register)] as const);
    for (const address of [0x50, 0x57, 0x4f, 0x58]) {
      // Not 6, I2C block read: QEMU's EEPROMs get stuck when the next command breaks it off.
      for (const protocol of [0, 1, 2, 3, 4, 5, 7]) {
        for (const read of [1, 0]) {
          for (const aux of [0, 2]) {
            accesses.push(['out', 1, at(2), 2], ['out', 1, at(0), 0xff], ['out', 1, at(0x0d), aux]);
            accesses.push(['out', 1, at(4), address * 2 + read], ['out', 1, at(3), 1]);
            // Nothing but zeros is written: our EEPROMs keep nothing.
            accesses.push(['out', 1, at(5), read], ['out', 1, at(6), 0], ['out', 1, at(7), 0]);
            accesses.push(['out', 1, at(2), 0x40 | (protocol << 2)], ...status);
            accesses.push(['out', 1, at(0), 0x80], ...status);
          }
        }
      }
    }
    const [theirs, ours] = await both(ports, accesses);
    expect(ours).toEqual(theirs);
  });

  it('gives the firmware the same items', async () => {
    const { ports } = ourChipset();
    const accesses: Access[] = [];
    const read = (item: number, count: number): void => {
      accesses.push(['out', 2, 0x510, item]);
      for (let i = 0; i < count; i++) accesses.push(['in', 1, 0x511]);
    };
    const items = [0, 1, 2, 3, 5, 0x0c, 0x0d, 0x0e, 0x0f, 0x07, 0x11, 0x8000, 0x8001, 0x8002, 0x8004, 0x3000];
    for (const item of items) read(item, 10);
    for (let port = 0x514; port < 0x51c; port++) accesses.push(['in', 1, port]);
    accesses.push(['in', 4, 0x514], ['in', 2, 0x518]);
    const [theirs, ours] = await both(ports, accesses);
    expect(ours).toEqual(theirs);
  });

  it('has the same files, but for those left out', async () => {
    const { fwCfg } = ourChipset();
    qemu.outw(0x510, FW_CFG_FILE_DIR);
    const bytes: number[] = [];
    for (let i = 0; i < 4; i++) bytes.push(await qemu.inb(0x511));
    const files = new Map<string, number>();
    for (let file = 0; file < bytes[3]!; file++) {
      const entry: number[] = [];
      for (let i = 0; i < 64; i++) entry.push(await qemu.inb(0x511));
      const name = String.fromCharCode(...entry.slice(8)).replace(/\0.*$/s, '');
      files.set(
        name,
        entry.slice(0, 4).reduce((value, byte) => value * 256 + byte, 0),
      );
    }
    const ours = new Map(fwCfg.directory().map(({ name, size }) => [name, size]));
    for (const [name, size] of ours) expect(files.get(name), name).toBe(size);
    const missing = [...files.keys()].filter((name) => !ours.has(name)).sort();
    // SMBIOS is added by the board, which knows the CPU.
    const smbios = ['etc/smbios/smbios-anchor', 'etc/smbios/smbios-tables'];
    expect(missing).toEqual([...smbios, 'etc/tpm/log', 'genroms/kvmvapic.bin']);
  });

  it('has the same I/O APIC registers', async () => {
    const { ioApic } = ourChipset();
    const base = 0xfec00000;
    for (let register = 0; register < 0x48; register++) {
      for (const value of [0xffffffff, 0x0001a5a5, 0x00010000]) {
        qemu.writel(base, register);
        qemu.writel(base + 0x10, value);
        ioApic.write32!(0, register);
        ioApic.write32!(0x10, value);
        const theirs = [await qemu.readl(base), await qemu.readl(base + 0x10)];
        expect([ioApic.read32!(0), ioApic.read32!(0x10)], `register ${register}`).toEqual(theirs);
      }
    }
  });
});
