/**
 * I/O APIC, at 0xfec00000: 24 inputs, each with a redirection entry. Datasheet: Intel 82093AA, 290566. Version 0x20 as
 * QEMU 7.2's (hw/intc/ioapic.c): it has the EOI register of later chipsets at offset 0x40.
 *
 * Not emulated: input polarity (all lines are active high in this machine, whatever the guest programs), delivery
 * status (always idle), arbitration, QEMU's delay of an interrupt storm (10 000 level interrupts in a row).
 */
import type { Device, IrqLine, Mapping } from '../machine/device.ts';
import { array, big64, u8, u32, type VmState } from '../migration/vmstate.ts';

/** Physical address of the registers. */
export const IOAPIC_BASE = 0xfec0_0000;
export const IOAPIC_PIN_COUNT = 24;
const VERSION = 0x20 | ((IOAPIC_PIN_COUNT - 1) << 16);

const REGSEL = 0x00;
const WINDOW = 0x10;
const EOI = 0x40;

const REGISTER_ID = 0x00;
const REGISTER_VERSION = 0x01;
const REGISTER_ARBITRATION = 0x02;
const REGISTER_TABLE = 0x10;

// Low half of a redirection entry.
const VECTOR_MASK = 0xff;
const LOGICAL = 0x800;
const DELIVERY_STATUS = 0x1000;
const REMOTE_IRR = 0x4000;
const LEVEL = 0x8000;
const MASKED = 0x1_0000;
const READ_ONLY = DELIVERY_STATUS | REMOTE_IRR;
const DELIVERY_EXTINT = 7;

export interface IoApicState {
  id: number;
  ioregsel: number;
  /** Requests, one bit a pin: the level of level-triggered ones, edges not yet delivered of the others. */
  irr: number;
  /** Redirection entries as they lie on the wire; at run time the two halves below are used. */
  ioredtbl: bigint[];
}

/** Stream section `ioapic` (QEMU 7.2 hw/intc/ioapic_common.c). */
export const ioApicVmState: VmState<IoApicState> = {
  name: 'ioapic',
  version: 3,
  minimumVersion: 1,
  fields: {
    id: u8(),
    ioregsel: u8(),
    irr: u32({ since: 2, unusedBefore: 8 }),
    ioredtbl: array<bigint[]>(big64(), IOAPIC_PIN_COUNT),
  },
};

export interface IoApicOptions {
  /** Sends a message to the local APIC ({@link import('./apic.ts').Apic.deliver}). */
  readonly deliver: (
    destination: number,
    logical: boolean,
    mode: number,
    vector: number,
    level: boolean,
  ) => void;
  /** INTA cycle of the 8259As, for an ExtINT entry. */
  readonly acknowledgePic: () => number;
}

export class IoApic implements Device<IoApicState> {
  readonly name: string = 'ioapic';
  readonly vmstate: VmState<IoApicState> = ioApicVmState;
  readonly state: IoApicState = {
    id: 0,
    ioregsel: 0,
    irr: 0,
    ioredtbl: new Array<bigint>(IOAPIC_PIN_COUNT).fill(BigInt(MASKED)),
  };
  /** Pins 0-23. */
  readonly inputs: readonly IrqLine[];
  readonly #deliver: IoApicOptions['deliver'];
  readonly #acknowledgePic: () => number;
  /** Halves of the redirection entries: bits 31:0 and 63:32. */
  readonly #low: Uint32Array = new Uint32Array(IOAPIC_PIN_COUNT).fill(MASKED);
  readonly #high: Uint32Array = new Uint32Array(IOAPIC_PIN_COUNT);

  constructor({ deliver, acknowledgePic }: IoApicOptions) {
    this.#deliver = deliver;
    this.#acknowledgePic = acknowledgePic;
    this.inputs = Array.from({ length: IOAPIC_PIN_COUNT }, (_, pin) => ({
      set: (level: number) => this.#setInput(pin, level),
    }));
  }

  memory(): readonly Mapping[] {
    return [
      {
        base: IOAPIC_BASE,
        region: {
          name: 'ioapic',
          size: 0x1000,
          read8: (offset) => this.#read(offset & 0xff, 1) & 0xff,
          write8: (offset, value) => this.#write(offset & 0xff, value, 1),
          read32: (offset) => this.#read(offset & 0xff, 4) >>> 0,
          write32: (offset, value) => this.#write(offset & 0xff, value, 4),
        },
      },
    ];
  }

  /** Redirection entry of a pin as [low, high] (`info pic`). */
  entry(pin: number): readonly [number, number] {
    return [this.#low[pin]!, this.#high[pin]!];
  }

  /** The CPU ended a level-triggered interrupt: entries of that vector may fire again. */
  endOfInterrupt(vector: number): void {
    for (let pin = 0; pin < IOAPIC_PIN_COUNT; pin++) {
      const low = this.#low[pin]!;
      if ((low & VECTOR_MASK) !== vector || (low & (LEVEL | REMOTE_IRR)) !== (LEVEL | REMOTE_IRR)) continue;
      this.#low[pin] = low & ~REMOTE_IRR;
      this.#service(pin);
    }
  }

  reset(): void {
    this.state.id = this.state.ioregsel = this.state.irr = 0;
    this.#low.fill(MASKED);
    this.#high.fill(0);
    this.beforeSave();
  }

  beforeSave(): void {
    for (let pin = 0; pin < IOAPIC_PIN_COUNT; pin++) {
      this.state.ioredtbl[pin] = (BigInt(this.#high[pin]!) << 32n) | BigInt(this.#low[pin]!);
    }
  }

  afterLoad(): void {
    for (let pin = 0; pin < IOAPIC_PIN_COUNT; pin++) {
      const entry = this.state.ioredtbl[pin]!;
      this.#low[pin] = Number(entry & 0xffff_ffffn);
      this.#high[pin] = Number(entry >> 32n);
    }
  }

  #setInput(pin: number, level: number): void {
    const bit = 1 << pin;
    const low = this.#low[pin]!;
    if ((low & LEVEL) !== 0) {
      if (level === 0) {
        this.state.irr &= ~bit;
        return;
      }
      this.state.irr |= bit;
      this.#service(pin);
    } else if (level !== 0 && (low & MASKED) === 0) {
      // Section 3.4.2: an edge at a masked pin is lost.
      this.state.irr |= bit;
      this.#service(pin);
    }
  }

  #service(pin: number): void {
    const bit = 1 << pin;
    const low = this.#low[pin]!;
    if ((this.state.irr & bit) === 0 || (low & MASKED) !== 0) return;
    const level = (low & LEVEL) !== 0;
    if (!level) {
      this.state.irr &= ~bit;
    } else {
      // The guest still works on the last one: its EOI comes back here.
      if ((low & REMOTE_IRR) !== 0) return;
      this.#low[pin] = low | REMOTE_IRR;
    }
    const mode = (low >> 8) & 7;
    const vector = mode === DELIVERY_EXTINT ? this.#acknowledgePic() : low & VECTOR_MASK;
    this.#deliver(this.#high[pin]! >>> 24, (low & LOGICAL) !== 0, mode, vector, level);
  }

  #read(offset: number, size: number): number {
    if (offset === REGSEL) return this.state.ioregsel;
    if (offset !== WINDOW || size !== 4) return 0;
    const { ioregsel } = this.state;
    switch (ioregsel) {
      case REGISTER_ID:
      case REGISTER_ARBITRATION:
        return this.state.id << 24;
      case REGISTER_VERSION:
        return VERSION;
    }
    const pin = (ioregsel - REGISTER_TABLE) >> 1;
    if (pin < 0 || pin >= IOAPIC_PIN_COUNT) return 0;
    return (ioregsel & 1) !== 0 ? this.#high[pin]! : this.#low[pin]!;
  }

  #write(offset: number, value: number, size: number): void {
    if (offset === REGSEL) this.state.ioregsel = value & 0xff;
    else if (offset === WINDOW && size === 4) this.#writeWindow(value);
    else if (offset === EOI && size === 4) this.endOfInterrupt(value & VECTOR_MASK);
  }

  #writeWindow(value: number): void {
    const { ioregsel } = this.state;
    if (ioregsel === REGISTER_ID) {
      this.state.id = (value >>> 24) & 0xf;
      return;
    }
    const pin = (ioregsel - REGISTER_TABLE) >> 1;
    if (pin < 0 || pin >= IOAPIC_PIN_COUNT) return;
    if ((ioregsel & 1) !== 0) {
      this.#high[pin] = value;
    } else {
      const kept = this.#low[pin]! & READ_ONLY;
      // Linux clears a stuck remote IRR by making the entry edge-triggered for a moment.
      const low = (value & ~READ_ONLY) | kept;
      this.#low[pin] = (low & LEVEL) === 0 ? low & ~REMOTE_IRR : low;
    }
    this.#service(pin);
  }
}
