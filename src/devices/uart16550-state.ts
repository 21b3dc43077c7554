/**
 * State of the 16550A, its registers' bits, and the schema of QEMU's `serial` state (7.2, hw/char/serial.c): a small
 * fixed part and a subsection for everything that is usually at rest.
 */
import { NOT_ARMED, type Ns } from '../machine/clock.ts';
import {
  buffer,
  i32,
  type Subsection,
  struct,
  timer,
  u8,
  u16,
  u32,
  type VmState,
} from '../migration/vmstate.ts';

export const IER_RECEIVE = 0x01;
export const IER_TRANSMIT = 0x02;
export const IER_STATUS = 0x04;
export const IER_MODEM = 0x08;

export const IIR_NONE = 0x01;
export const IIR_ID = 0x06;
export const IIR_MODEM = 0x00;
export const IIR_TRANSMIT = 0x02;
export const IIR_RECEIVE = 0x04;
export const IIR_STATUS = 0x06;
export const IIR_TIMEOUT = 0x0c;
export const IIR_FIFO_ENABLED = 0xc0;

export const FCR_ENABLE = 0x01;
export const FCR_CLEAR_RECEIVE = 0x02;
export const FCR_CLEAR_TRANSMIT = 0x04;
/** Bits that stay: enable, DMA mode, trigger level. */
export const FCR_STICKY = 0xc9;

export const LCR_STOP2 = 0x04;
export const LCR_PARITY = 0x08;
export const LCR_BREAK = 0x40;
export const LCR_DLAB = 0x80;

export const MCR_OUT2 = 0x08;
export const MCR_LOOP = 0x10;

export const LSR_DATA = 0x01;
export const LSR_OVERRUN = 0x02;
export const LSR_BREAK = 0x10;
/** Bits that raise the line status interrupt. */
export const LSR_ERRORS = 0x1e;
export const LSR_THRE = 0x20;
export const LSR_TEMT = 0x40;

export const MSR_DELTAS = 0x0f;
/** DCD, DSR and CTS. */
export const MSR_LINES_UP = 0xb0;

export const FIFO_SIZE = 16;
/** Largest tsrRetry that QEMU knows. */
export const MAX_RETRY = 4;
/** thrIpending of a stream that does not say: it follows from IIR. */
export const THR_UNKNOWN = -1;
/** pollMsl of a host without modem lines. */
export const MODEM_ABSENT = -1;

/** QEMU's Fifo8 (util/fifo8.c): a ring of 16 bytes. */
export interface Fifo {
  data: Uint8Array;
  /** Index of the oldest byte. */
  head: number;
  num: number;
}

export function fifoIsFull(fifo: Fifo): boolean {
  return fifo.num >= FIFO_SIZE;
}

/** The caller has made sure that there is room. */
export function fifoPush(fifo: Fifo, byte: number): void {
  fifo.data[(fifo.head + fifo.num) % FIFO_SIZE] = byte;
  fifo.num++;
}

/** The oldest byte, 0 when there is none. */
export function fifoPop(fifo: Fifo): number {
  if (fifo.num === 0) return 0;
  const byte = fifo.data[fifo.head]!;
  fifo.head = (fifo.head + 1) % FIFO_SIZE;
  fifo.num--;
  return byte;
}

export function fifoClear(fifo: Fifo): void {
  fifo.head = 0;
  fifo.num = 0;
}

/** Bytes in the receive FIFO that raise the interrupt (table II, FCR bits 7:6). */
export function receiveTrigger(fcr: number): number {
  const level = fcr >> 6;
  if (level === 0) return 1;
  return level === 3 ? 14 : level * 4;
}

export interface UartState {
  divider: number;
  rbr: number;
  ier: number;
  iir: number;
  lcr: number;
  mcr: number;
  lsr: number;
  msr: number;
  scr: number;
  fcr: number;
  readonly thrPending: { thrIpending: number };
  /** Holding and shift register; tsrRetry > 0 while a byte waits for the host. */
  readonly tsr: { tsrRetry: number; thr: number; tsr: number };
  readonly receive: { readonly recvFifo: Fifo };
  readonly transmit: { readonly xmitFifo: Fifo };
  readonly timer: { fifoTimeoutTimer: Ns };
  readonly timeout: { timeoutIpending: number };
  /** Polling of the host's modem lines, which nothing here does: carried for QEMU. */
  readonly modem: { pollMsl: number; modemStatusPoll: Ns };
}

function newFifo(): Fifo {
  return { data: new Uint8Array(FIFO_SIZE), head: 0, num: 0 };
}

export function newUartState(): UartState {
  return {
    divider: 12,
    rbr: 0,
    ier: 0,
    iir: IIR_NONE,
    lcr: 0,
    mcr: MCR_OUT2,
    lsr: LSR_TEMT | LSR_THRE,
    msr: MSR_LINES_UP,
    scr: 0,
    fcr: 0,
    thrPending: { thrIpending: 0 },
    tsr: { tsrRetry: 0, thr: 0, tsr: 0 },
    receive: { recvFifo: newFifo() },
    transmit: { xmitFifo: newFifo() },
    timer: { fifoTimeoutTimer: NOT_ARMED },
    timeout: { timeoutIpending: 0 },
    modem: { pollMsl: MODEM_ABSENT, modemStatusPoll: NOT_ARMED },
  };
}

const fifoVmState: VmState<Fifo> = {
  name: 'Fifo8',
  version: 1,
  minimumVersion: 1,
  fields: { data: buffer(FIFO_SIZE), head: u32({ max: FIFO_SIZE - 1 }), num: u32({ max: FIFO_SIZE }) },
};

function subsection<T extends object>(
  name: string,
  fields: VmState<T>['fields'],
  needed: (state: UartState) => boolean,
  absent: () => T,
): Subsection<UartState, T> {
  return { vmstate: { name: `serial/${name}`, version: 1, minimumVersion: 1, fields }, needed, absent };
}

/** IIR tells whether the transmitter interrupt is pending, unless a higher one hides it. */
function isThrHidden(state: UartState): boolean {
  const { thrIpending } = state.thrPending;
  if ((state.ier & IER_TRANSMIT) === 0 || thrIpending === THR_UNKNOWN) return false;
  return thrIpending !== ((state.iir & IIR_ID) === IIR_TRANSMIT ? 1 : 0);
}

type UartSubsection = 'thrPending' | 'tsr' | 'receive' | 'transmit' | 'timer' | 'timeout' | 'modem';

export const uartVmState: VmState<UartState, UartSubsection> = {
  name: 'serial',
  version: 3,
  minimumVersion: 2,
  fields: {
    divider: u16({ since: 2 }),
    rbr: u8(),
    ier: u8(),
    iir: u8(),
    lcr: u8(),
    mcr: u8(),
    lsr: u8(),
    msr: u8(),
    scr: u8(),
    fcr: u8({ since: 3, name: 'fcr_vmstate' }),
  },
  subsections: {
    thrPending: subsection('thr_ipending', { thrIpending: i32() }, isThrHidden, () => ({
      thrIpending: THR_UNKNOWN,
    })),
    tsr: subsection(
      'tsr',
      { tsrRetry: u32(), thr: u8(), tsr: u8() },
      (state) => state.tsr.tsrRetry !== 0,
      () => ({ tsrRetry: 0, thr: 0, tsr: 0 }),
    ),
    receive: subsection(
      'recv_fifo',
      { recvFifo: struct(fifoVmState) },
      (state) => state.receive.recvFifo.num !== 0,
      () => ({ recvFifo: newFifo() }),
    ),
    transmit: subsection(
      'xmit_fifo',
      { xmitFifo: struct(fifoVmState) },
      (state) => state.transmit.xmitFifo.num !== 0,
      () => ({ xmitFifo: newFifo() }),
    ),
    timer: subsection(
      'fifo_timeout_timer',
      { fifoTimeoutTimer: timer() },
      (state) => state.timer.fifoTimeoutTimer !== NOT_ARMED,
      () => ({ fifoTimeoutTimer: NOT_ARMED }),
    ),
    timeout: subsection(
      'timeout_ipending',
      { timeoutIpending: i32() },
      (state) => state.timeout.timeoutIpending !== 0,
      () => ({ timeoutIpending: 0 }),
    ),
    modem: subsection(
      'poll',
      { pollMsl: i32(), modemStatusPoll: timer() },
      (state) => state.modem.pollMsl >= 0,
      () => ({ pollMsl: MODEM_ABSENT, modemStatusPoll: NOT_ARMED }),
    ),
  },
};
