/**
 * Heart of the floppy controller: registers' live values, phases, interrupt, results. Intel 82078 datasheet 290475,
 * chapter 5 (controller phases) and 6.0 (status registers); behaviour of QEMU 7.2 hw/block/fdc.c.
 */
import type { Timer } from '../../machine/clock.ts';
import type { IrqLine } from '../../machine/device.ts';
import type { FloppyDrive } from './drive.ts';
import { type FdcState, MSR_DIO, MSR_NONDMA, MSR_RQM, PHASE_COMMAND, PHASE_RESULT } from './state.ts';

export const MSR_CMDBUSY = 0x10;

/** Digital Output Register. */
export const DOR_SELECT = 0x01;
export const DOR_NOT_RESET = 0x04;
export const DOR_DMA = 0x08;
export const DOR_MOTOR_0 = 0x10;
export const DOR_MOTOR_1 = 0x20;

export const DSR_RATE = 0x03;
export const DSR_POWER_DOWN = 0x40;
export const DSR_RESET = 0x80;

const SRA_INTERRUPT = 0x80;
const SRA_NO_DRIVE_2 = 0x40;
const SRB_POWER_ON = 0xc0;

/** Status register 0. */
const ST0_DRIVE_SELECT = 0x03;
const ST0_HEAD = 0x04;
export const ST0_SEEK_END = 0x20;
export const ST0_ABNORMAL = 0x40;
export const ST0_INVALID = 0x80;
export const ST0_READY_CHANGED = 0xc0;
/** Status register 1. */
export const ST1_MISSING_MARK = 0x01;
export const ST1_NOT_WRITABLE = 0x02;
export const ST1_DATA_ERROR = 0x20;
export const ST1_END_OF_CYLINDER = 0x80;
/** Status register 2. */
export const ST2_SCAN_FAILED = 0x04;
export const ST2_SCAN_EQUAL = 0x08;

/** Transfer directions, as they are on the stream. */
export const DIRECTION_WRITE = 0;
export const DIRECTION_READ = 1;
export const DIRECTION_SCAN_EQUAL = 2;
export const DIRECTION_SCAN_LOW = 3;
export const DIRECTION_SCAN_HIGH = 4;
export const DIRECTION_VERIFY = 5;

const STATE_MULTI_TRACK = 0x01;
const SECTOR_SIZE_CODE = 2;
/** SENSE INTERRUPTs that a reset asks for, one a drive. */
export const RESET_SENSE_COUNT = 4;
const BOOT_SELECT = 0x04;

/** What the controller needs of the DMA controller; `I8257` is one. `position` counts bytes from the programmed start. */
export interface FloppyDma {
  /** The handler is called while DREQ is held: it moves what it can and returns the position it got to. */
  registerChannel(
    channel: number,
    handler: (channel: number, position: number, size: number) => number,
  ): void;
  /** Asserts DREQ; may call the handler at once. */
  hold(channel: number): void;
  release(channel: number): void;
  /** From memory to the device. */
  readMemory(channel: number, target: Uint8Array, position: number, length: number): void;
  /** From the device to memory. */
  writeMemory(channel: number, source: Uint8Array, position: number, length: number): void;
}

export interface FdcCoreOptions {
  readonly state: FdcState;
  readonly drives: readonly FloppyDrive[];
  readonly irq: IrqLine;
  readonly dma: FloppyDma;
  readonly channel: number;
  /** End of READ ID. */
  readonly resultTimer: Timer;
}

export class FdcCore {
  readonly state: FdcState;
  readonly drives: readonly FloppyDrive[];
  readonly dma: FloppyDma;
  readonly channel: number;
  readonly resultTimer: Timer;
  /** DOR as written; the selected drive apart, since commands select, too. */
  dor = 0;
  selected = 0;
  /** A sector for the FIFO (non-DMA) is on its way: RQM reads as zero. Never so in a saved state. */
  waiting = false;
  readonly #irq: IrqLine;

  constructor(options: FdcCoreOptions) {
    this.state = options.state;
    this.drives = options.drives;
    this.dma = options.dma;
    this.channel = options.channel;
    this.resultTimer = options.resultTimer;
    this.#irq = options.irq;
  }

  /** Drive by number, through the boot select bit of TDR that swaps the two. */
  drive(unit: number): FloppyDrive {
    const swapped = (this.state.tdr & BOOT_SELECT) !== 0 ? 1 : 0;
    return this.drives[(unit & 1) ^ swapped]!;
  }

  get current(): FloppyDrive {
    return this.drive(this.selected);
  }

  /** Selects the drive that byte 1 of a command names. */
  selectFrom(byte: number): FloppyDrive {
    this.selected = byte & DOR_SELECT;
    return this.current;
  }

  get multiTrack(): boolean {
    return (this.state.dataState & STATE_MULTI_TRACK) !== 0;
  }

  set multiTrack(on: boolean) {
    const others = this.state.dataState & ~STATE_MULTI_TRACK;
    this.state.dataState = others | (on ? STATE_MULTI_TRACK : 0);
  }

  get interruptPending(): boolean {
    return (this.state.sra & SRA_INTERRUPT) !== 0;
  }

  raiseIrq(): void {
    this.state.sra |= SRA_INTERRUPT;
    this.#irq.set(1);
    this.state.reset.resetSensei = 0;
  }

  lowerIrq(): void {
    this.state.status0 = 0;
    this.state.sra &= ~SRA_INTERRUPT;
    this.#irq.set(0);
  }

  /** Hardware reset, or software reset (DOR, DSR), which interrupts. */
  reset(interrupt: boolean): void {
    const { state } = this;
    for (const drive of this.drives) drive.io?.cancel();
    this.dma.release(this.channel);
    this.waiting = false;
    this.lowerIrq();
    state.sra = this.drives[1]!.io ? 0 : SRA_NO_DRIVE_2;
    state.srb = SRB_POWER_ON;
    this.selected = 0;
    this.dor = DOR_NOT_RESET | DOR_DMA;
    state.msr = MSR_RQM;
    state.reset.resetSensei = 0;
    this.resultTimer.cancel();
    state.dataState = 0;
    for (const drive of this.drives) drive.recalibrate();
    this.toCommandPhase();
    if (interrupt) {
      state.status0 |= ST0_READY_CHANGED;
      this.raiseIrq();
      state.reset.resetSensei = RESET_SENSE_COUNT;
    }
  }

  /** Ready for the next command. */
  toCommandPhase(): void {
    const { state } = this;
    state.progress.phase = PHASE_COMMAND;
    state.dataDir = DIRECTION_WRITE;
    state.dataPos = 0;
    state.dataLen = 1;
    state.msr = (state.msr & ~(MSR_CMDBUSY | MSR_DIO)) | MSR_RQM;
  }

  /** `bytes` bytes of result are in the FIFO. */
  toResultPhase(bytes: number): void {
    const { state } = this;
    state.progress.phase = PHASE_RESULT;
    state.dataDir = DIRECTION_READ;
    state.dataLen = bytes;
    state.dataPos = 0;
    state.msr |= MSR_CMDBUSY | MSR_RQM | MSR_DIO;
  }

  /** A command's only result bytes. */
  answer(...bytes: number[]): void {
    this.state.fifo.set(bytes);
    this.toResultPhase(bytes.length);
  }

  /** RECALIBRATE or a seek is over: no result phase, an interrupt. */
  seekDone(): void {
    this.toCommandPhase();
    this.state.status0 |= ST0_SEEK_END;
    this.raiseIrq();
  }

  /** End of a data transfer, READ ID or FORMAT: seven bytes of result and an interrupt. */
  finish(status0: number, status1: number, status2: number): void {
    const { state } = this;
    const { head, track, sect } = this.current.state;
    state.status0 &= ~(ST0_DRIVE_SELECT | ST0_HEAD);
    state.status0 |= this.selected | (head !== 0 ? ST0_HEAD : 0) | status0;
    if ((state.msr & MSR_NONDMA) === 0) this.dma.release(this.channel);
    state.msr &= ~MSR_NONDMA;
    this.answer(state.status0, status1, status2, track, head, sect, SECTOR_SIZE_CODE);
    this.raiseIrq();
  }

  /** A transfer that cannot begin: the result tells the place that was asked for. */
  refuse(status1: number, track: number, head: number, sector: number): void {
    this.finish(ST0_ABNORMAL, status1, 0);
    this.state.fifo.set([track, head, sector], 3);
  }
}
