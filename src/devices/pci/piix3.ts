/**
 * Intel 82371SB (PIIX3), function 0: PCI-to-ISA bridge 00:01.0. Datasheet: Intel 290550. Routes PIRQA#-PIRQD# to ISA
 * interrupts and holds the reset control register at port 0xcf9.
 *
 * Not emulated: X-bus chip selects, APIC base relocation, serial IRQ, USB function, the type F DMA and the other
 * configuration registers (writable, without effect).
 */
import type { Device, IoRegion, IrqLine } from '../../machine/device.ts';
import { array, i32, struct, u8, type VmState } from '../../migration/vmstate.ts';
import { type PciBus, PIRQ_COUNT, type PirqRouter } from './bus.ts';
import { PciFunction, type PciFunctionState, pciFunctionVmState } from './config-space.ts';

/** PIRQRC[A:D], section 2.2.10: bit 7 set disables the route, bits 3:0 name the ISA interrupt. */
const PIRQ_ROUTE = 0x60;
/** Reset control register, section 2.5.2.2: bit 2 reset now, bit 1 hard reset. */
const RCR_RESET = 0x04;
const RCR_HARD = 0x02;
const ISA_IRQ_COUNT = 16;

/** Bytes that differ from zero, or that reset sets (QEMU 7.2 hw/isa/piix3.c, after the datasheet's default values). */
const POWER_ON: readonly (readonly [number, number])[] = [
  [0x06, 0x00],
  [0x07, 0x02],
  [0x4c, 0x4d],
  [0x4e, 0x03],
  [0x4f, 0x00],
  [0x60, 0x80],
  [0x61, 0x80],
  [0x62, 0x80],
  [0x63, 0x80],
  [0x69, 0x02],
  [0x70, 0x80],
  [0x76, 0x0c],
  [0x77, 0x0c],
  [0x78, 0x02],
  [0x79, 0x00],
  [0x80, 0x00],
  [0x82, 0x00],
  [0xa0, 0x08],
  [0xa2, 0x00],
  [0xa3, 0x00],
  [0xa4, 0x00],
  [0xa5, 0x00],
  [0xa6, 0x00],
  [0xa7, 0x00],
  [0xa8, 0x0f],
  [0xaa, 0x00],
  [0xab, 0x00],
  [0xac, 0x00],
  [0xae, 0x00],
];

export interface Piix3ResetControl {
  /** Bit 1: the reset type last written. */
  rcr: number;
}

export interface Piix3State {
  dev: PciFunctionState;
  /** Level of each PIRQ; written for old readers, rebuilt from the bus on load. */
  pciIrqLevels: Int32Array;
  /** Rides in a subsection that is absent while it is zero. */
  resetControl: Piix3ResetControl;
}

const resetControlVmState: VmState<Piix3ResetControl> = {
  name: 'PIIX3/rcr',
  version: 1,
  minimumVersion: 1,
  fields: { rcr: u8() },
};

/** Stream section `0000:00:01.0/PIIX3` (QEMU 7.2 hw/isa/piix3.c). */
export const piix3VmState: VmState<Piix3State, 'resetControl'> = {
  name: 'PIIX3',
  version: 3,
  minimumVersion: 2,
  fields: {
    dev: struct(pciFunctionVmState),
    pciIrqLevels: array<Int32Array>(i32(), PIRQ_COUNT, { name: 'pci_irq_levels_vmstate', since: 3 }),
  },
  subsections: {
    resetControl: {
      vmstate: resetControlVmState,
      needed: (state) => state.resetControl.rcr !== 0,
      absent: () => ({ rcr: 0 }),
    },
  },
};

export interface Piix3Options {
  readonly bus: PciBus;
  /** ISA interrupts 0-15: what a PIRQ can be routed to. */
  readonly isaIrqs: readonly IrqLine[];
  /** A guest wrote the reset bit of port 0xcf9: the machine resets at the next instruction boundary. */
  readonly requestReset: () => void;
}

export class Piix3 implements Device<Piix3State>, PirqRouter {
  readonly name: string = '0000:00:01.0/PIIX3';
  readonly vmstate: VmState<Piix3State, 'resetControl'> = piix3VmState;
  readonly state: Piix3State;
  /** Port 0xcf9. It lies inside CONFADD: give it to {@link import('./bus.ts').PciHost}. */
  readonly resetControl: IoRegion;
  readonly #bus: PciBus;
  readonly #pci: PciFunction;
  readonly #isaIrqs: readonly IrqLine[];
  readonly #requestReset: () => void;
  /** For each ISA interrupt, which PIRQs assert it (one bit each). Derived from routes and bus levels. */
  readonly #asserted: Uint8Array = new Uint8Array(ISA_IRQ_COUNT);

  constructor({ bus, isaIrqs, requestReset }: Piix3Options) {
    this.#bus = bus;
    this.#isaIrqs = isaIrqs;
    this.#requestReset = requestReset;
    this.#pci = new PciFunction({
      bus,
      slot: 1,
      vendorId: 0x8086,
      deviceId: 0x7000,
      classCode: 0x0601,
      multifunction: true,
      onConfigWrite: (offset, size) => {
        if (offset < PIRQ_ROUTE + PIRQ_COUNT && offset + size > PIRQ_ROUTE) this.#routesChanged();
      },
    });
    this.resetControl = {
      name: 'piix3-reset-control',
      size: 1,
      read8: () => this.state.resetControl.rcr,
      write8: (_offset, value) => this.#writeResetControl(value),
    };
    this.state = {
      dev: this.#pci.state,
      pciIrqLevels: new Int32Array(PIRQ_COUNT),
      resetControl: { rcr: 0 },
    };
    bus.setRouter(this);
  }

  reset(): void {
    for (const [offset, value] of POWER_ON) this.#pci.config[offset] = value;
    this.#pci.reset();
    this.#asserted.fill(0);
    this.state.pciIrqLevels.fill(0);
    this.state.resetControl.rcr = 0;
  }

  beforeSave(): void {
    for (let pirq = 0; pirq < PIRQ_COUNT; pirq++) this.state.pciIrqLevels[pirq] = this.#bus.pirqLevel(pirq);
  }

  validate(candidate: Piix3State): string | undefined {
    return this.#pci.validate(candidate.dev);
  }

  /** The levels of the ISA interrupts are in the interrupt controllers' sections: nothing is driven here. */
  afterLoad(): void {
    this.#pci.afterLoad();
    this.#rebuildAsserted();
  }

  /** ISA interrupt that PIRQ 0-3 goes to, or -1 (`info pic`, tests). */
  route(pirq: number): number {
    const register = this.#pci.config[PIRQ_ROUTE + pirq]!;
    return register < ISA_IRQ_COUNT ? register : -1;
  }

  setPirq(pirq: number, level: number): void {
    const isaIrq = this.route(pirq);
    if (isaIrq < 0) return;
    const bit = 1 << pirq;
    this.#asserted[isaIrq] = (this.#asserted[isaIrq]! & ~bit) | (level !== 0 ? bit : 0);
    this.#isaIrqs[isaIrq]!.set(this.#asserted[isaIrq]! !== 0 ? 1 : 0);
  }

  #rebuildAsserted(): void {
    this.#asserted.fill(0);
    for (let pirq = 0; pirq < PIRQ_COUNT; pirq++) {
      const isaIrq = this.route(pirq);
      if (isaIrq >= 0 && this.#bus.pirqLevel(pirq) !== 0) {
        this.#asserted[isaIrq] = this.#asserted[isaIrq]! | (1 << pirq);
      }
    }
  }

  /** Drives only the interrupts whose level changed: the others may belong to ISA devices. */
  #routesChanged(): void {
    const before = this.#asserted.slice();
    this.#rebuildAsserted();
    for (let isaIrq = 0; isaIrq < ISA_IRQ_COUNT; isaIrq++) {
      const level = this.#asserted[isaIrq]! !== 0 ? 1 : 0;
      if (level !== (before[isaIrq]! !== 0 ? 1 : 0)) this.#isaIrqs[isaIrq]!.set(level);
    }
  }

  #writeResetControl(value: number): void {
    if ((value & RCR_RESET) !== 0) this.#requestReset();
    else this.state.resetControl.rcr = value & RCR_HARD;
  }
}
