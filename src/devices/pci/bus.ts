/**
 * The PCI root bus and its host bridge's configuration ports 0xcf8-0xcff (configuration mechanism #1).
 * PCI Local Bus Specification 3.0, section 3.2.2.3.2; Intel 82441FX datasheet 290549, section 3.1.
 *
 * Not emulated: buses behind bridges, mechanism #2, special cycles, master and target aborts.
 *
 * How a device is made: see config-space.ts. It attaches itself to the bus in its constructor:
 *
 *     const bus = new PciBus({ io, memory });
 *     const host = new PciHost({ bus });
 *     const vga = new Vga({ bus, … });   // holds `new PciFunction({ bus, slot: 2, … })`
 */
import type { AddressSpace, Device, IoRegion, Mapping } from '../../machine/device.ts';
import { array, i32, u32, type VmState } from '../../migration/vmstate.ts';
import type { PciFunction, PciParent } from './config-space.ts';

/** PIRQA# to PIRQD#: interrupt lines of the bus. */
export const PIRQ_COUNT = 4;

/** Who turns PIRQ levels into interrupts: PIIX3. */
export interface PirqRouter {
  /** Level of PIRQ 0-3 changed, or may have. */
  setPirq(pirq: number, level: number): void;
}

export interface PciBusState {
  /** Number of interrupt lines; must be equal at both ends. */
  nirq: number;
  /** For each PIRQ, how many pins assert it. */
  irqCount: Int32Array;
}

/** Stream section `PCIBUS` (QEMU 7.2 hw/pci/pci.c, vmstate_pcibus). */
export const pciBusVmState: VmState<PciBusState> = {
  name: 'PCIBUS',
  version: 1,
  minimumVersion: 1,
  fields: {
    nirq: i32({ equal: true }),
    irqCount: array<Int32Array>(i32({ min: 0, max: 256 }), PIRQ_COUNT, { name: 'irq_count' }),
  },
};

/** PIRQ that pin 0-3 of a slot on the root bus is wired to (pc-i440fx: slot 1 INTA# is PIRQA#). */
export function pirqOfPin(slot: number, pin: number): number {
  return (pin + slot - 1) & 3;
}

/** Root bus: finds functions by number and gathers their interrupt pins. */
export class PciBus implements Device<PciBusState>, PciParent {
  readonly name: string = 'PCIBUS';
  readonly vmstate: VmState<PciBusState> = pciBusVmState;
  readonly state: PciBusState = { nirq: PIRQ_COUNT, irqCount: new Int32Array(PIRQ_COUNT) };
  readonly io: AddressSpace;
  readonly memory: AddressSpace;
  readonly #functions: (PciFunction | undefined)[] = new Array<PciFunction | undefined>(256).fill(undefined);
  #router: PirqRouter | undefined;

  /** `io` and `memory`: where BARs are mapped. */
  constructor({ io, memory }: { io: AddressSpace; memory: AddressSpace }) {
    this.io = io;
    this.memory = memory;
  }

  /** Called by {@link PciFunction}'s constructor. */
  attach(pciFunction: PciFunction): void {
    const taken = this.#functions[pciFunction.devfn];
    if (taken) throw new RangeError(`PCI devfn ${pciFunction.devfn} is in use`);
    this.#functions[pciFunction.devfn] = pciFunction;
  }

  /** Called once, by PIIX3's constructor. */
  setRouter(router: PirqRouter): void {
    this.#router = router;
  }

  /** Function at bus 0, `devfn` = slot × 8 + function. */
  find(devfn: number): PciFunction | undefined {
    return this.#functions[devfn];
  }

  /** All functions in order of devfn (`info pci`). */
  functions(): readonly PciFunction[] {
    return this.#functions.filter((each) => each !== undefined);
  }

  /** Level of PIRQ 0-3: 1 while any pin asserts it. */
  pirqLevel(pirq: number): number {
    return this.state.irqCount[pirq]! !== 0 ? 1 : 0;
  }

  changeInterrupt(slot: number, pin: number, change: number): void {
    const pirq = pirqOfPin(slot, pin);
    this.state.irqCount[pirq] = this.state.irqCount[pirq]! + change;
    this.#router?.setPirq(pirq, this.pirqLevel(pirq));
  }

  /** PCI RST#: resets the header of every function, whatever the order in which the devices are reset. */
  reset(): void {
    for (const each of this.#functions) each?.reset();
    this.state.irqCount.fill(0);
  }
}

export interface PciHostState {
  /** CONFADD, port 0xcf8. */
  configReg: number;
}

/** Stream section `PCIHost` (QEMU 7.2 hw/pci/pci_host.c). */
export const pciHostVmState: VmState<PciHostState> = {
  name: 'PCIHost',
  version: 1,
  minimumVersion: 1,
  fields: { configReg: u32() },
};

const CONFIG_ENABLE = 0x8000_0000;
/** Port 0xcf9 lies inside CONFADD; a byte access there reaches the reset control register. */
const RESET_CONTROL_OFFSET = 1;

/** CONFADD (0xcf8, 32-bit writes only) and CONFDATA (0xcfc-0xcff, any width). */
export class PciHost implements Device<PciHostState> {
  readonly name: string = 'PCIHost';
  readonly vmstate: VmState<PciHostState> = pciHostVmState;
  readonly state: PciHostState = { configReg: 0 };
  readonly #bus: PciBus;
  readonly #resetControl: IoRegion | undefined;

  /** `resetControl`: PIIX3's register at 0xcf9, which overlays CONFADD for byte accesses. */
  constructor({ bus, resetControl }: { bus: PciBus; resetControl?: IoRegion }) {
    this.#bus = bus;
    this.#resetControl = resetControl;
  }

  ports(): readonly Mapping[] {
    return [
      {
        base: 0xcf8,
        region: {
          name: 'pci-conf',
          size: 8,
          read8: (offset) => this.#read(offset, 1),
          write8: (offset, value) => this.#write(offset, 1, value),
          read16: (offset) => this.#read(offset, 2),
          write16: (offset, value) => this.#write(offset, 2, value),
          read32: (offset) => this.#read(offset, 4),
          write32: (offset, value) => this.#write(offset, 4, value),
        },
      },
    ];
  }

  /** CONFADD is not cleared by QEMU's reset either, but a power-on machine has it zero. */
  reset(): void {
    this.state.configReg = 0;
  }

  #read(offset: number, size: number): number {
    const ones = size === 4 ? 0xffff_ffff : (1 << (size * 8)) - 1;
    if (offset < 4) {
      if (offset === RESET_CONTROL_OFFSET) {
        const reset = this.#resetControl?.read8?.(0);
        if (reset !== undefined) return reset;
      }
      // Any offset gives the low bytes of CONFADD, as QEMU answers.
      return (this.state.configReg & ones) >>> 0;
    }
    const target = this.#selected();
    return target ? target.read((this.state.configReg & 0xfc) | (offset & 3), size) : ones;
  }

  #write(offset: number, size: number, value: number): void {
    if (offset < 4) {
      if (offset === RESET_CONTROL_OFFSET && size < 4) this.#resetControl?.write8?.(0, value & 0xff);
      else if (offset === 0 && size === 4) this.state.configReg = value >>> 0;
      return;
    }
    this.#selected()?.write((this.state.configReg & 0xfc) | (offset & 3), size, value);
  }

  /** Function that CONFADD names, if enabled and there: bus 0 only. */
  #selected(): PciFunction | undefined {
    const { configReg } = this.state;
    if ((configReg & CONFIG_ENABLE) === 0 || ((configReg >>> 16) & 0xff) !== 0) return undefined;
    return this.#bus.find((configReg >>> 8) & 0xff);
  }
}
