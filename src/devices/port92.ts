/**
 * System control port A (0x92) of the PS/2: fast A20 gate and fast reset. IBM PS/2 Hardware Interface Technical
 * Reference, "System control port A".
 *
 * Not emulated: security lock, watchdog status, activity light (bits that read back as written).
 */
import type { Device, IrqLine, Mapping } from '../machine/device.ts';
import { u8, type VmState } from '../migration/vmstate.ts';

const FAST_RESET = 0x01;
const A20 = 0x02;

export interface Port92State {
  outport: number;
}

/** Stream section `port92` (QEMU 7.2 hw/i386/port92.c). */
export const port92VmState: VmState<Port92State> = {
  name: 'port92',
  version: 1,
  minimumVersion: 1,
  fields: { outport: u8() },
};

export interface Port92Options {
  /** Address line 20: 1 lets it through. Shared with the keyboard controller; who drives last wins. */
  readonly a20: IrqLine;
  readonly requestReset: () => void;
}

export class Port92 implements Device<Port92State> {
  readonly name: string = 'port92';
  readonly vmstate: VmState<Port92State> = port92VmState;
  readonly state: Port92State = { outport: 0 };
  readonly #a20: IrqLine;
  readonly #requestReset: () => void;
  readonly #mappings: readonly Mapping[];

  constructor({ a20, requestReset }: Port92Options) {
    this.#a20 = a20;
    this.#requestReset = requestReset;
    this.#mappings = [
      {
        base: 0x92,
        region: {
          name: 'port92',
          size: 1,
          read8: () => this.state.outport,
          write8: (_offset, value) => this.#write(value),
        },
      },
    ];
  }

  ports(): readonly Mapping[] {
    return this.#mappings;
  }

  /** The A20 bit stays as written, as in QEMU; the CPU's reset opens the gate. */
  reset(): void {
    this.state.outport &= ~FAST_RESET;
  }

  #write(value: number): void {
    const before = this.state.outport;
    this.state.outport = value;
    this.#a20.set((value & A20) !== 0 ? 1 : 0);
    if ((value & FAST_RESET) !== 0 && (before & FAST_RESET) === 0) this.#requestReset();
  }
}
