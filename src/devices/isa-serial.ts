/**
 * A 16550A on the ISA bus: stream section `serial` (QEMU 7.2 hw/char/serial-isa.c), which holds the chip's state as a
 * structure of its own. COM1 is at 0x3f8 with IRQ 4; the board decides.
 *
 * Not emulated: see {@link Uart16550}.
 */
import type { Device, Mapping } from '../machine/device.ts';
import { struct, type VmState } from '../migration/vmstate.ts';
import { Uart16550, type UartOptions } from './uart16550.ts';
import { type UartState, uartVmState } from './uart16550-state.ts';

export interface IsaSerialState {
  readonly state: UartState;
}

export const isaSerialVmState: VmState<IsaSerialState> = {
  name: 'serial',
  version: 3,
  minimumVersion: 2,
  fields: { state: struct(uartVmState) },
};

export interface IsaSerialOptions extends UartOptions {
  /** First of eight ports. */
  readonly base: number;
  /** Instance id on the stream: 0 for the first port that the machine has. */
  readonly instance?: number;
}

export class IsaSerial implements Device<IsaSerialState> {
  readonly name: string = 'serial';
  readonly instance: number;
  readonly vmstate: VmState<IsaSerialState> = isaSerialVmState;
  readonly state: IsaSerialState;
  /** The chip: what the host's backend talks to. */
  readonly uart: Uart16550;
  readonly #mappings: readonly Mapping[];

  constructor({ base, instance = 0, ...uart }: IsaSerialOptions) {
    this.instance = instance;
    this.uart = new Uart16550(uart);
    this.state = { state: this.uart.state };
    this.#mappings = [{ base, region: this.uart.region }];
  }

  ports(): readonly Mapping[] {
    return this.#mappings;
  }

  reset(): void {
    this.uart.reset();
  }

  beforeSave(): void {
    this.uart.beforeSave();
  }

  validate(candidate: IsaSerialState): string | undefined {
    return this.uart.validate(candidate.state);
  }

  afterLoad(version = isaSerialVmState.version): void {
    this.uart.afterLoad(version);
  }

  /** See {@link Uart16550.resume}. */
  resume(): void {
    this.uart.resume();
  }
}
