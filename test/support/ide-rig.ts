/** A PIIX3 IDE controller on a bench of fakes, with the accesses a driver makes. For the tests in src/devices/ide. */
import { FakeClock, FakeDisk, FakeIrq, FakeMemory } from './fakes.ts';
import { PciBus } from '../../src/devices/pci/bus.ts';
import type { IoRegion } from '../../src/machine/device.ts';
import { FakeAddressSpace } from './fake-address-space.ts';
import { type IdeDriveOptions, Piix3Ide } from '../../src/devices/ide/controller.ts';

/** PCI devfn of the controller, and its COMMAND register value with I/O and bus master on. */
const DEVFN = 9;
const COMMAND_IO_MASTER = 5;
export const BMDMA_BASE = 0xc000;

export class IdeRig {
  readonly memory: FakeMemory = new FakeMemory();
  readonly clock: FakeClock = new FakeClock(1000);
  readonly irqs: readonly [FakeIrq, FakeIrq] = [new FakeIrq(), new FakeIrq()];
  readonly io: FakeAddressSpace = new FakeAddressSpace();
  readonly bus: PciBus;
  readonly ide: Piix3Ide;
  readonly disk: FakeDisk;
  readonly cd: FakeDisk;

  /** Default: a 1 MiB disk as primary master, a CD of 100 sectors as secondary master. Contents are a pattern. */
  constructor(drives?: readonly (IdeDriveOptions | undefined)[]) {
    this.disk = new FakeDisk(2048 * 512);
    this.cd = new FakeDisk(100 * 2048);
    for (const { bytes } of [this.disk, this.cd]) {
      for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 7 + (i >> 9) * 13 + (i >> 11)) & 0xff;
    }
    this.bus = new PciBus({ io: this.io, memory: new FakeAddressSpace() });
    this.ide = new Piix3Ide({
      bus: this.bus,
      memory: this.memory,
      clock: this.clock,
      irqs: this.irqs,
      drives: drives ?? [
        { kind: 'disk', backend: this.disk },
        undefined,
        { kind: 'cdrom', backend: this.cd },
        undefined,
      ],
    });
    this.enableBusMaster();
  }

  enableBusMaster(): void {
    const pci = this.bus.find(DEVFN)!;
    pci.write(0x20, 4, BMDMA_BASE);
    pci.write(0x04, 2, COMMAND_IO_MASTER);
  }

  in8(port: number): number {
    const { region, offset } = this.#find(port);
    return region.read8!(offset);
  }

  out8(port: number, value: number): void {
    const { region, offset } = this.#find(port);
    region.write8!(offset, value);
  }

  in16(port: number): number {
    const { region, offset } = this.#find(port);
    return region.read16!(offset);
  }

  out16(port: number, value: number): void {
    const { region, offset } = this.#find(port);
    region.write16!(offset, value);
  }

  in32(port: number): number {
    const { region, offset } = this.#find(port);
    return region.read32!(offset);
  }

  out32(port: number, value: number): void {
    const { region, offset } = this.#find(port);
    region.write32!(offset, value);
  }

  /** Writes features, count, LBA low, mid, high, device, command. */
  command(base: number, registers: readonly number[], command: number): void {
    registers.forEach((value, index) => {
      this.out8(base + 1 + index, value);
    });
    this.out8(base + 7, command);
  }

  readWords(base: number, count: number): Uint8Array {
    const bytes = new Uint8Array(count * 2);
    for (let i = 0; i < count; i++) {
      const value = this.in16(base);
      bytes[i * 2] = value & 0xff;
      bytes[i * 2 + 1] = value >>> 8;
    }
    return bytes;
  }

  writeWords(base: number, bytes: Uint8Array): void {
    for (let i = 0; i < bytes.length; i += 2) this.out16(base, bytes[i]! | (bytes[i + 1]! << 8));
  }

  /** Writes a PRD table at `table`: [address, length, end of table]. */
  prds(table: number, entries: readonly (readonly [number, number])[]): void {
    const view = new DataView(this.memory.bytes.buffer);
    entries.forEach(([address, length], index) => {
      view.setUint32(table + index * 8, address, true);
      const last = index === entries.length - 1 ? 0x8000_0000 : 0;
      view.setUint32(table + index * 8 + 4, ((length & 0xffff) | last) >>> 0, true);
    });
  }

  /** Sends a packet to the CD drive (secondary master): features 0 for PIO or 1 for DMA, byte count limit. */
  packet(packet: readonly number[], limit = 0xfffe, features = 0): void {
    this.command(0x170, [features, 0, 0, limit & 0xff, limit >>> 8, 0], 0xa0);
    const bytes = new Uint8Array(12);
    bytes.set(packet);
    this.writeWords(0x170, bytes);
  }

  #find(port: number): { region: IoRegion; offset: number } {
    for (const { base, region } of this.ide.ports()) {
      if (port >= base && port < base + region.size) return { region, offset: port - base };
    }
    for (const [region, base] of this.io.mapped) {
      if (port >= base && port < base + region.size) return { region, offset: port - base };
    }
    throw new Error(`nothing at port 0x${port.toString(16)}`);
  }
}
