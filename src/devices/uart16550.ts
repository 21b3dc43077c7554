/**
 * 16550A UART. Datasheet: National Semiconductor PC16550D (June 1995); numbers of sections and tables are its.
 *
 * Bytes leave at once, as in QEMU 7.2 (hw/char/serial.c): there is no transmission time, only the host's pace. While
 * the host takes no more, the byte waits in the shift register and the FIFO behind it; nothing is dropped, where QEMU
 * gives up after four tries.
 *
 * Not emulated: baud rate and framing towards the host, DMA modes (RXRDY, TXRDY), parity and framing errors, stick
 * parity, modem input lines of the host (CTS, DSR and DCD are always up).
 */
import { type Clock, NOT_ARMED, NS_PER_SECOND, type Ns, type Timer } from '../machine/clock.ts';
import type { CharReceiver, CharSink, IoRegion, IrqLine } from '../machine/device.ts';
import {
  FCR_ENABLE,
  FCR_STICKY,
  fifoClear,
  fifoIsFull,
  fifoPop,
  fifoPush,
  FCR_CLEAR_RECEIVE,
  FCR_CLEAR_TRANSMIT,
  IER_MODEM,
  IER_RECEIVE,
  IER_STATUS,
  IER_TRANSMIT,
  IIR_FIFO_ENABLED,
  IIR_ID,
  IIR_MODEM,
  IIR_NONE,
  IIR_RECEIVE,
  IIR_STATUS,
  IIR_TIMEOUT,
  IIR_TRANSMIT,
  LCR_BREAK,
  LCR_DLAB,
  LCR_PARITY,
  LCR_STOP2,
  LSR_BREAK,
  LSR_DATA,
  LSR_ERRORS,
  LSR_OVERRUN,
  LSR_TEMT,
  LSR_THRE,
  MAX_RETRY,
  MCR_LOOP,
  MCR_OUT2,
  MODEM_ABSENT,
  MSR_DELTAS,
  MSR_LINES_UP,
  newUartState,
  receiveTrigger,
  THR_UNKNOWN,
  FIFO_SIZE,
  type UartState,
} from './uart16550-state.ts';

/** Baud rate of divisor 1: 1.8432 MHz / 16. */
const BAUD_BASE = 115_200;
/** What a divisor of 0 amounts to on chips that tolerate it. */
const BAUD_OF_ZERO = 3_500;
/** Receive data this long in the FIFO without a read gives the timeout interrupt (8.4, "FIFO interrupt mode"). */
const TIMEOUT_CHARACTERS = 4;
const REGISTER_COUNT = 8;

export interface UartOptions {
  readonly clock: Clock;
  readonly irq: IrqLine;
  /** Where bytes go; the chip sets its `onWritable`. */
  readonly sink: CharSink;
  /** The guest switched the break condition on or off. */
  readonly onBreak?: ((on: boolean) => void) | undefined;
}

export class Uart16550 implements CharReceiver {
  readonly state: UartState = newUartState();
  readonly region: IoRegion;
  /** The host sets this; called when {@link canReceive} may have risen. */
  onReady: (() => void) | undefined;
  readonly #clock: Clock;
  readonly #irq: IrqLine;
  readonly #sink: CharSink;
  readonly #onBreak: ((on: boolean) => void) | undefined;
  readonly #timeout: Timer;
  /** Derived from FCR. */
  #trigger = 1;
  /** Derived from LCR and divisor. */
  #characterTime: Ns = 0;

  constructor({ clock, irq, sink, onBreak }: UartOptions) {
    this.#clock = clock;
    this.#irq = irq;
    this.#sink = sink;
    this.#onBreak = onBreak;
    this.#timeout = clock.createTimer('serial-fifo-timeout', () => this.#timeoutFired());
    sink.onWritable = () => {
      if (this.state.tsr.tsrRetry !== 0) this.#transmit();
    };
    this.region = {
      name: 'serial',
      size: REGISTER_COUNT,
      read8: (offset) => this.#read(offset),
      write8: (offset, value) => this.#write(offset, value),
    };
    this.#derive();
  }

  reset(): void {
    const state = this.state;
    state.divider = 12;
    state.rbr = 0;
    state.ier = 0;
    state.iir = IIR_NONE;
    state.lcr = 0;
    state.mcr = MCR_OUT2;
    state.lsr = LSR_TEMT | LSR_THRE;
    state.msr = MSR_LINES_UP;
    state.scr = 0;
    state.fcr = 0;
    state.thrPending.thrIpending = 0;
    state.tsr.tsrRetry = 0;
    state.tsr.thr = 0;
    state.tsr.tsr = 0;
    fifoClear(state.receive.recvFifo);
    fifoClear(state.transmit.xmitFifo);
    state.timeout.timeoutIpending = 0;
    state.modem.pollMsl = MODEM_ABSENT;
    state.modem.modemStatusPoll = NOT_ARMED;
    this.#timeout.cancel();
    this.#derive();
    this.#irq.set(0);
    this.onReady?.();
  }

  beforeSave(): void {
    this.state.timer.fifoTimeoutTimer = this.#timeout.deadline;
  }

  validate(candidate: UartState): string | undefined {
    const { tsrRetry } = candidate.tsr;
    const isEmpty = (candidate.lsr & LSR_TEMT) !== 0;
    if (tsrRetry !== 0 && isEmpty) return `tsr_retry, found ${tsrRetry}, expected 0 with LSR.TEMT set`;
    if (tsrRetry === 0 && !isEmpty) return 'lsr, found TEMT clear, expected set with tsr_retry 0';
    return undefined;
  }

  afterLoad(version: number): void {
    const state = this.state;
    if (version < 3) state.fcr = 0;
    if (state.thrPending.thrIpending === THR_UNKNOWN) {
      state.thrPending.thrIpending = (state.iir & IIR_ID) === IIR_TRANSMIT ? 1 : 0;
    }
    state.tsr.tsrRetry = Math.min(state.tsr.tsrRetry, MAX_RETRY);
    this.#derive();
    const deadline = state.timer.fifoTimeoutTimer;
    if (deadline === NOT_ARMED) this.#timeout.cancel();
    else this.#timeout.arm(deadline);
  }

  /**
   * After a load and once the machine runs: offers the byte that waited when the snapshot was taken to the host of
   * now, which may never call `onWritable` if it was never full, and lets the host know there is room.
   */
  resume(): void {
    if (this.state.tsr.tsrRetry !== 0) this.#transmit();
    if (this.canReceive() > 0) this.onReady?.();
  }

  // Host side

  /** Up to the trigger level, so that the FIFO is not filled before the guest had a chance to react; then one by one. */
  canReceive(): number {
    const state = this.state;
    if ((state.fcr & FCR_ENABLE) === 0) return (state.lsr & LSR_DATA) !== 0 ? 0 : 1;
    const { num } = state.receive.recvFifo;
    if (num >= FIFO_SIZE) return 0;
    return num < this.#trigger ? this.#trigger - num : 1;
  }

  receive(byte: number): void {
    const state = this.state;
    if ((state.fcr & FCR_ENABLE) !== 0) {
      this.#pushReceived(byte);
      this.#armTimeout();
    } else {
      if ((state.lsr & LSR_DATA) !== 0) state.lsr |= LSR_OVERRUN;
      state.rbr = byte;
    }
    state.lsr |= LSR_DATA;
    this.#updateIrq();
  }

  receiveBreak(): void {
    this.state.rbr = 0;
    this.#pushReceived(0);
    this.state.lsr |= LSR_BREAK | LSR_DATA;
    this.#updateIrq();
  }

  /** An overrun loses the new byte, not the FIFO's. */
  #pushReceived(byte: number): void {
    const fifo = this.state.receive.recvFifo;
    if (fifoIsFull(fifo)) this.state.lsr |= LSR_OVERRUN;
    else fifoPush(fifo, byte);
  }

  #armTimeout(): void {
    this.#timeout.arm(this.#clock.now() + TIMEOUT_CHARACTERS * this.#characterTime);
  }

  #timeoutFired(): void {
    if (this.state.receive.recvFifo.num === 0) return;
    this.state.timeout.timeoutIpending = 1;
    this.#updateIrq();
  }

  /**
   * Moves bytes to the host until there is none or the host is full; tsrRetry > 0 means that one waits in the shift
   * register.
   */
  #transmit(): void {
    const state = this.state;
    do {
      if (state.tsr.tsrRetry === 0) this.#loadShiftRegister();
      if ((state.mcr & MCR_LOOP) !== 0) {
        this.receive(state.tsr.tsr);
      } else if (!this.#sink.write(state.tsr.tsr)) {
        state.tsr.tsrRetry = Math.min(state.tsr.tsrRetry + 1, MAX_RETRY);
        return;
      }
      state.tsr.tsrRetry = 0;
    } while ((state.lsr & LSR_THRE) === 0);
    state.lsr |= LSR_TEMT;
  }

  #loadShiftRegister(): void {
    const state = this.state;
    if ((state.fcr & FCR_ENABLE) !== 0) {
      state.tsr.tsr = fifoPop(state.transmit.xmitFifo);
      if (state.transmit.xmitFifo.num === 0) state.lsr |= LSR_THRE;
    } else {
      state.tsr.tsr = state.tsr.thr;
      state.lsr |= LSR_THRE;
    }
    if ((state.lsr & LSR_THRE) !== 0 && state.thrPending.thrIpending === 0) {
      state.thrPending.thrIpending = 1;
      this.#updateIrq();
    }
  }

  // Interrupts

  /** Highest priority first (table IV). */
  #interruptId(): number {
    const state = this.state;
    const { ier, lsr } = state;
    if ((ier & IER_STATUS) !== 0 && (lsr & LSR_ERRORS) !== 0) return IIR_STATUS;
    if ((ier & IER_RECEIVE) !== 0) {
      if (state.timeout.timeoutIpending !== 0) return IIR_TIMEOUT;
      const isUnbuffered = (state.fcr & FCR_ENABLE) === 0;
      if ((lsr & LSR_DATA) !== 0 && (isUnbuffered || state.receive.recvFifo.num >= this.#trigger)) {
        return IIR_RECEIVE;
      }
    }
    if ((ier & IER_TRANSMIT) !== 0 && state.thrPending.thrIpending !== 0) return IIR_TRANSMIT;
    if ((ier & IER_MODEM) !== 0 && (state.msr & MSR_DELTAS) !== 0) return IIR_MODEM;
    return IIR_NONE;
  }

  #updateIrq(): void {
    const id = this.#interruptId();
    this.state.iir = id | (this.state.iir & 0xf0);
    this.#irq.set(id === IIR_NONE ? 0 : 1);
  }

  /** Rebuilds what follows from FCR, LCR and divisor. */
  #derive(): void {
    const { fcr, lcr, divider } = this.state;
    this.#trigger = receiveTrigger(fcr);
    const bits = 1 + 5 + (lcr & 3) + ((lcr & LCR_PARITY) !== 0 ? 1 : 0) + ((lcr & LCR_STOP2) !== 0 ? 2 : 1);
    const baud = divider === 0 ? BAUD_OF_ZERO : BAUD_BASE / divider;
    this.#characterTime = Math.floor(NS_PER_SECOND / baud) * bits;
    if ((fcr & FCR_ENABLE) !== 0) this.state.iir |= IIR_FIFO_ENABLED;
    else this.state.iir &= ~IIR_FIFO_ENABLED;
  }

  // Registers (table II)

  #read(offset: number): number {
    const state = this.state;
    switch (offset) {
      case 0:
        return (state.lcr & LCR_DLAB) !== 0 ? state.divider & 0xff : this.#readData();
      case 1:
        return (state.lcr & LCR_DLAB) !== 0 ? state.divider >> 8 : state.ier;
      case 2:
        return this.#readIir();
      case 3:
        return state.lcr;
      case 4:
        return state.mcr;
      case 5:
        return this.#readLsr();
      case 6:
        return this.#readMsr();
      default:
        return state.scr;
    }
  }

  #readData(): number {
    const state = this.state;
    let byte = state.rbr;
    if ((state.fcr & FCR_ENABLE) !== 0) {
      const fifo = state.receive.recvFifo;
      byte = fifo.num === 0 ? 0 : fifoPop(fifo);
      if (fifo.num === 0) state.lsr &= ~(LSR_DATA | LSR_BREAK);
      else this.#armTimeout();
      state.timeout.timeoutIpending = 0;
    } else {
      state.lsr &= ~(LSR_DATA | LSR_BREAK);
    }
    this.#updateIrq();
    if ((state.mcr & MCR_LOOP) === 0) this.onReady?.();
    return byte;
  }

  /** Reading IIR takes the transmitter interrupt away, if that is the one it shows. */
  #readIir(): number {
    const { iir } = this.state;
    if ((iir & IIR_ID) === IIR_TRANSMIT) {
      this.state.thrPending.thrIpending = 0;
      this.#updateIrq();
    }
    return iir;
  }

  #readLsr(): number {
    const { lsr } = this.state;
    if ((lsr & (LSR_BREAK | LSR_OVERRUN)) !== 0) {
      this.state.lsr = lsr & ~(LSR_BREAK | LSR_OVERRUN);
      this.#updateIrq();
    }
    return lsr;
  }

  #readMsr(): number {
    const { mcr, msr } = this.state;
    // In loopback the outputs OUT2, OUT1, RTS, DTR are the inputs DCD, RI, CTS, DSR (8.6, "MCR bit 4").
    if ((mcr & MCR_LOOP) !== 0) return ((mcr & 0x0c) << 4) | ((mcr & 0x02) << 3) | ((mcr & 0x01) << 5);
    if ((msr & MSR_DELTAS) !== 0) {
      this.state.msr = msr & ~MSR_DELTAS;
      this.#updateIrq();
    }
    return msr;
  }

  #write(offset: number, value: number): void {
    const state = this.state;
    switch (offset) {
      case 0:
        if ((state.lcr & LCR_DLAB) !== 0) this.#setDivider((state.divider & 0xff00) | value);
        else this.#writeData(value);
        break;
      case 1:
        if ((state.lcr & LCR_DLAB) !== 0) this.#setDivider((state.divider & 0xff) | (value << 8));
        else this.#writeIer(value & 0x0f);
        break;
      case 2:
        this.#writeFcr(value);
        break;
      case 3:
        this.#writeLcr(value);
        break;
      case 4:
        state.mcr = value & 0x1f;
        break;
      case 7:
        state.scr = value;
        break;
      default:
      // LSR and MSR are read-only but for factory tests.
    }
  }

  #setDivider(divider: number): void {
    this.state.divider = divider;
    this.#derive();
  }

  #writeData(value: number): void {
    const state = this.state;
    state.tsr.thr = value;
    if ((state.fcr & FCR_ENABLE) !== 0) {
      // A guest that ignores THRE overwrites its own oldest byte.
      const fifo = state.transmit.xmitFifo;
      if (fifoIsFull(fifo)) fifoPop(fifo);
      fifoPush(fifo, value);
    }
    state.thrPending.thrIpending = 0;
    state.lsr &= ~(LSR_THRE | LSR_TEMT);
    this.#updateIrq();
    if (state.tsr.tsrRetry === 0) this.#transmit();
  }

  /** Enabling the transmitter interrupt raises it while THRE is set, which Windows relies on. */
  #writeIer(value: number): void {
    const state = this.state;
    const changed = state.ier ^ value;
    state.ier = value;
    if ((changed & IER_TRANSMIT) !== 0) {
      const raises = (value & IER_TRANSMIT) !== 0 && (state.lsr & LSR_THRE) !== 0;
      state.thrPending.thrIpending = raises ? 1 : 0;
    }
    if (changed !== 0) this.#updateIrq();
  }

  /** Switching the FIFOs on or off clears them. */
  #writeFcr(value: number): void {
    const state = this.state;
    const switches = ((value ^ state.fcr) & FCR_ENABLE) !== 0;
    if (switches || (value & FCR_CLEAR_RECEIVE) !== 0) {
      state.lsr &= ~(LSR_DATA | LSR_BREAK);
      this.#timeout.cancel();
      state.timeout.timeoutIpending = 0;
      fifoClear(state.receive.recvFifo);
    }
    if (switches || (value & FCR_CLEAR_TRANSMIT) !== 0) {
      state.lsr |= LSR_THRE;
      state.thrPending.thrIpending = 1;
      fifoClear(state.transmit.xmitFifo);
    }
    state.fcr = value & FCR_STICKY;
    this.#derive();
    this.#updateIrq();
    if (this.canReceive() > 0) this.onReady?.();
  }

  #writeLcr(value: number): void {
    const changed = this.state.lcr ^ value;
    this.state.lcr = value;
    this.#derive();
    if ((changed & LCR_BREAK) !== 0) this.#onBreak?.((value & LCR_BREAK) !== 0);
  }
}
