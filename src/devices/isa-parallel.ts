/**
 * A printer port on the ISA bus with a printer at it that takes what it is given: LPT1, ports 0x378-0x37f, IRQ 7. Stream
 * section `parallel_isa` (QEMU 7.2 hw/char/parallel.c). Reference: IEEE 1284, compatibility mode; IBM PC technical reference.
 *
 * Not emulated: EPP and ECP, reverse transfers, the host's own parallel port, the device in the DSDT (guests find it by its
 * ports). Not saved, as there is no field for it: a byte that the host has not taken yet.
 */
import type { CharSink, Device, IrqLine, Mapping } from '../machine/device.ts';
import { i32, u8, type VmState } from '../migration/vmstate.ts';

const DATA = 0;
const STATUS = 1;
const CONTROL = 2;
const PORTS = 8;

/** Status: busy and error are inverted. */
const NOT_BUSY = 0x80;
const NOT_ACK = 0x40;
const SELECTED = 0x10;
const NO_ERROR = 0x08;
const EPP_TIMEOUT = 0x01;
const READY = NOT_BUSY | NOT_ACK | SELECTED | NO_ERROR;
/** Control. */
const REVERSE = 0x20;
const IRQ_ENABLE = 0x10;
const SELECT_IN = 0x08;
const NOT_INIT = 0x04;
const STROBE = 0x01;
const UNUSED = 0xc0;

export interface ParallelState {
  dataWritten: number;
  dataRead: number;
  status: number;
  control: number;
  irqPending: number;
  eppTimeout: number;
}

export const parallelVmState: VmState<ParallelState> = {
  name: 'parallel_isa',
  version: 1,
  minimumVersion: 1,
  fields: {
    dataWritten: u8({ name: 'state.dataw' }),
    dataRead: u8({ name: 'state.datar' }),
    status: u8({ name: 'state.status' }),
    control: u8({ name: 'state.control' }),
    irqPending: i32({ name: 'state.irq_pending' }),
    eppTimeout: i32({ name: 'state.epp_timeout' }),
  },
};

export interface ParallelOptions {
  readonly base: number;
  readonly irq: IrqLine;
  /** Where bytes go; the port sets its `onWritable`. */
  readonly sink: CharSink;
}

export class IsaParallel implements Device<ParallelState> {
  readonly name: string = 'parallel_isa';
  readonly vmstate: VmState<ParallelState> = parallelVmState;
  readonly state: ParallelState = {
    dataWritten: 0,
    dataRead: 0,
    status: 0,
    control: 0,
    irqPending: 0,
    eppTimeout: 0,
  };
  readonly #irq: IrqLine;
  readonly #sink: CharSink;
  readonly #mappings: readonly Mapping[];
  /** A byte that the host did not take: the printer stays busy. -1: none. */
  #waiting = -1;

  constructor({ base, irq, sink }: ParallelOptions) {
    this.#irq = irq;
    this.#sink = sink;
    sink.onWritable = () => this.#retry();
    this.#mappings = [
      {
        base,
        region: {
          name: 'parallel',
          size: PORTS,
          read8: (offset) => this.#read(offset),
          write8: (offset, value) => this.#write(offset, value),
        },
      },
    ];
    this.#powerOn();
  }

  ports(): readonly Mapping[] {
    return this.#mappings;
  }

  reset(): void {
    this.#powerOn();
  }

  #powerOn(): void {
    const { state } = this;
    state.dataWritten = state.dataRead = 0xff;
    state.status = READY | EPP_TIMEOUT;
    state.control = UNUSED | SELECT_IN | NOT_INIT;
    state.irqPending = state.eppTimeout = 0;
    this.#waiting = -1;
  }

  #read(offset: number): number {
    const { state } = this;
    if (offset === DATA) return state.control & REVERSE ? state.dataRead : state.dataWritten;
    if (offset === CONTROL) return state.control;
    return offset === STATUS ? this.#readStatus() : 0xff;
  }

  /** The printer answers as often as it is asked: busy, then acknowledged, then ready. */
  #readStatus(): number {
    const { state } = this;
    const { status } = state;
    state.irqPending = 0;
    if (!(status & NOT_BUSY) && !(state.control & STROBE) && this.#waiting < 0) {
      if (status & NOT_ACK) state.status &= ~NOT_ACK;
      else state.status |= NOT_ACK | NOT_BUSY;
    }
    this.#irq.set(0);
    return status;
  }

  #write(offset: number, value: number): void {
    const { state } = this;
    if (offset === DATA) state.dataWritten = value;
    else if (offset === CONTROL) this.#writeControl(value | UNUSED);
    else return;
    this.#irq.set(state.irqPending === 0 ? 0 : 1);
  }

  #writeControl(value: number): void {
    const { state } = this;
    if (!(value & NOT_INIT)) state.status = READY;
    else if (value & SELECT_IN) {
      if (value & STROBE) {
        state.status &= ~NOT_BUSY;
        // The byte goes with the strobe's edge.
        if (!(state.control & STROBE) && !this.#sink.write(state.dataWritten))
          this.#waiting = state.dataWritten;
      } else if (state.control & IRQ_ENABLE) state.irqPending = 1;
    }
    state.control = value;
  }

  #retry(): void {
    if (this.#waiting >= 0 && this.#sink.write(this.#waiting)) this.#waiting = -1;
  }

  /** The interrupt controllers carry the line's level. */
  afterLoad(): void {
    this.#waiting = -1;
  }
}
