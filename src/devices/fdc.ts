/**
 * Floppy disk controller Intel 82078 (NEC 765 family) at ports 0x3f1-0x3f5 and 0x3f7, IRQ 6, DMA channel 2, with two
 * drives. Datasheet: Intel 290475. Section `fdc` on the stream; behaviour of QEMU 7.2 hw/block/fdc.c.
 *
 * Not emulated: rotation and stepping times (but READ ID takes 20 ms), deleted data marks, sector sizes other than 512
 * bytes, formatting (FORMAT TRACK succeeds and changes nothing), FORMAT AND WRITE, tape drives, status register A at
 * 0x3f0 (not decoded by QEMU either).
 *
 *     const fdc = new Fdc({ clock, irq, dma, drives: [backend, undefined] });
 *     cmos[0x10] = (floppyCmosType(fdc.driveType(0)) << 4) | floppyCmosType(fdc.driveType(1));
 */
import type { Clock, Timer } from '../machine/clock.ts';
import type { Device, DiskBackend, IrqLine, Mapping } from '../machine/device.ts';
import type { VmState } from '../migration/vmstate.ts';
import { commandOf, type FdcParts, readIdDone } from './fdc/commands.ts';
import {
  DOR_MOTOR_0,
  DOR_MOTOR_1,
  DOR_NOT_RESET,
  DOR_SELECT,
  DSR_POWER_DOWN,
  DSR_RATE,
  DSR_RESET,
  FdcCore,
  type FloppyDma,
  MSR_CMDBUSY,
} from './fdc/core.ts';
import { FloppyDrive } from './fdc/drive.ts';
import type { FloppyDriveType } from './fdc/formats.ts';
import {
  FIFO_BYTES,
  type IsaFdcState,
  isaFdcVmState,
  MSR_DIO,
  MSR_RQM,
  newFdcState,
  PHASE_COMMAND,
  PHASE_EXECUTION,
  PHASE_RESULT,
  PHASE_UNKNOWN,
  phaseOfMsr,
} from './fdc/state.ts';
import { FdcTransfer } from './fdc/transfer.ts';

export type { FloppyDma } from './fdc/core.ts';
export { type FloppyDriveType, floppyCmosType } from './fdc/formats.ts';

/** Registers, by offset from 0x3f0. */
const SRB = 1;
const DOR = 2;
const TDR = 3;
const MSR_DSR = 4;
const FIFO = 5;
const DIR_CCR = 7;

const BASE = 0x3f0;
const DMA_CHANNEL = 2;
/** CONFIGURE after power-on: implied seek, FIFO off (as QEMU). */
const CONFIG_POWER_ON = 0x60;
const SRB_MOTOR_0 = 0x01;
const SRB_MOTOR_1 = 0x02;
const SRB_SELECT_0 = 0x20;
const TDR_BOOT_SELECT = 0x04;
const DIR_DISK_CHANGED = 0x80;

export interface FdcOptions {
  readonly clock: Clock;
  readonly irq: IrqLine;
  readonly dma: FloppyDma;
  /** Drives A and B: undefined for none; an empty drive has a backend that is not inserted. */
  readonly drives: readonly (DiskBackend | undefined)[];
}

export class Fdc implements Device<IsaFdcState> {
  readonly name: string = 'fdc';
  readonly vmstate: VmState<IsaFdcState> = isaFdcVmState;
  readonly state: IsaFdcState = { state: newFdcState() };
  readonly #core: FdcCore;
  readonly #transfer: FdcTransfer;
  readonly #parts: FdcParts;
  readonly #clock: Clock;
  /** Fires when the machine runs on after a load. */
  readonly #resumeTimer: Timer;

  constructor({ clock, irq, dma, drives }: FdcOptions) {
    const { state } = this.state;
    this.#clock = clock;
    this.#resumeTimer = clock.createTimer('fdc-resume', () => this.#transfer.resume());
    this.#core = new FdcCore({
      state,
      drives: state.drives.map((drive, unit) => new FloppyDrive(drive, drives[unit])),
      irq,
      dma,
      channel: DMA_CHANNEL,
      resultTimer: clock.createTimer('fdc-result', () => readIdDone(this.#core)),
    });
    this.#transfer = new FdcTransfer(this.#core);
    this.#parts = { core: this.#core, transfer: this.#transfer, now: () => clock.now() };
    this.#core.drives.forEach((drive, unit) => {
      const backend = drives[unit];
      if (backend) backend.onMediaChange = () => drive.mediumChanged();
    });
    this.reset();
  }

  ports(): readonly Mapping[] {
    const block = (first: number, size: number): Mapping => ({
      base: BASE + first,
      region: {
        name: 'fdc',
        size,
        read8: (offset) => this.#read(first + offset),
        write8: (offset, value) => this.#write(first + offset, value),
      },
    });
    return [block(SRB, 5), block(DIR_CCR, 1)];
  }

  /** Drive A (0) or B (1): the type to tell in CMOS and ACPI tables. */
  driveType(unit: number): FloppyDriveType {
    return this.#core.drives[unit]!.type;
  }

  reset(): void {
    const { state } = this.state;
    this.#resumeTimer.cancel();
    Object.assign(state, { tdr: 0, dsr: 0, status1: 0, status2: 0, eot: 0, timer0: 0, timer1: 0 });
    Object.assign(state, { precompTrk: 0, config: CONFIG_POWER_ON, lock: 0, pwrd: 0 });
    state.fifo.fill(0);
    for (const drive of this.#core.drives) {
      Object.assign(drive.state, { head: 0, track: 0, sect: 0 });
      drive.state.changed.mediaChanged = 1;
      drive.state.mode.perpendicular = 0;
      drive.takeFormat();
    }
    this.#transfer.drop();
    this.#core.reset(false);
  }

  beforeSave(): void {
    const { state } = this.state;
    state.dorVmstate = this.#core.dor | this.#core.selected;
    state.result.resultTimer = this.#core.resultTimer.deadline;
  }

  validate(candidate: IsaFdcState): string | undefined {
    const { dataPos, dataLen, progress, msr } = candidate.state;
    const phase = progress.phase === PHASE_UNKNOWN ? phaseOfMsr(msr) : progress.phase;
    if (phase !== PHASE_EXECUTION && (dataPos >= FIFO_BYTES || dataLen > FIFO_BYTES)) {
      return `state.data_pos ${dataPos} of ${dataLen}: expected less than ${FIFO_BYTES} outside a transfer`;
    }
    return undefined;
  }

  afterLoad(): void {
    const { state } = this.state;
    const core = this.#core;
    core.selected = state.dorVmstate & DOR_SELECT;
    core.dor = state.dorVmstate & ~DOR_SELECT;
    core.waiting = false;
    if (state.progress.phase === PHASE_UNKNOWN) state.progress.phase = phaseOfMsr(state.msr);
    for (const drive of core.drives) {
      const { mediaRate } = drive.state.rate;
      drive.io?.cancel();
      drive.takeFormat();
      drive.state.rate.mediaRate = mediaRate;
    }
    this.#transfer.drop();
    if (state.result.resultTimer >= 0) core.resultTimer.arm(state.result.resultTimer);
    else core.resultTimer.cancel();
    if (state.progress.phase === PHASE_EXECUTION) this.#resumeTimer.arm(this.#clock.now());
    else this.#resumeTimer.cancel();
  }

  #read(register: number): number {
    const { state } = this.state;
    const core = this.#core;
    switch (register) {
      case SRB:
        return state.srb;
      case DOR:
        return core.dor | core.selected;
      case TDR:
        return state.tdr;
      case MSR_DSR:
        // Reading MSR wakes the controller up and, in QEMU, ends a reset.
        state.dsr &= ~DSR_POWER_DOWN;
        core.dor |= DOR_NOT_RESET;
        return core.waiting ? state.msr & ~MSR_RQM : state.msr;
      case FIFO:
        return this.#readFifo();
      case DIR_CCR:
        return core.current.state.changed.mediaChanged !== 0 ? DIR_DISK_CHANGED : 0;
      default:
        return 0xff;
    }
  }

  #write(register: number, value: number): void {
    const { state } = this.state;
    if (register === DOR) {
      this.#writeDor(value);
      return;
    }
    if ((this.#core.dor & DOR_NOT_RESET) === 0) return;
    if (register === TDR) state.tdr = value & TDR_BOOT_SELECT;
    else if (register === MSR_DSR) this.#writeDsr(value);
    else if (register === FIFO) this.#writeFifo(value);
    else if (register === DIR_CCR) state.dsr = (state.dsr & ~DSR_RATE) | (value & DSR_RATE);
  }

  #writeDor(value: number): void {
    const { state } = this.state;
    const core = this.#core;
    if ((value & DOR_NOT_RESET) !== 0 && (core.dor & DOR_NOT_RESET) === 0) {
      this.#softReset();
      state.dsr &= ~DSR_POWER_DOWN;
    }
    state.srb &= ~(SRB_MOTOR_0 | SRB_MOTOR_1 | SRB_SELECT_0);
    if ((value & DOR_MOTOR_0) !== 0) state.srb |= SRB_MOTOR_0;
    if ((value & DOR_MOTOR_1) !== 0) state.srb |= SRB_MOTOR_1;
    if ((value & DOR_SELECT) !== 0) state.srb |= SRB_SELECT_0;
    core.selected = value & DOR_SELECT;
    core.dor = value;
  }

  #writeDsr(value: number): void {
    if ((value & (DSR_RESET | DSR_POWER_DOWN)) !== 0) this.#softReset();
    this.state.state.dsr = value;
  }

  #softReset(): void {
    this.#transfer.drop();
    this.#core.reset(true);
  }

  #readFifo(): number {
    const { state } = this.state;
    const core = this.#core;
    state.dsr &= ~DSR_POWER_DOWN;
    if (core.waiting || (state.msr & (MSR_RQM | MSR_DIO)) !== (MSR_RQM | MSR_DIO)) return 0;
    if (state.progress.phase === PHASE_EXECUTION) return this.#transfer.readByte();
    if (state.progress.phase !== PHASE_RESULT) return 0;
    const value = state.fifo[state.dataPos % FIFO_BYTES]!;
    state.dataPos++;
    if (state.dataPos >= state.dataLen) {
      core.toCommandPhase();
      core.lowerIrq();
    }
    return value;
  }

  #writeFifo(value: number): void {
    const { state } = this.state;
    if (this.#core.waiting || (state.msr & (MSR_RQM | MSR_DIO)) !== MSR_RQM) return;
    state.dsr &= ~DSR_POWER_DOWN;
    if (state.progress.phase === PHASE_EXECUTION) {
      this.#transfer.writeByte(value);
      return;
    }
    if (state.progress.phase !== PHASE_COMMAND) return;
    if (state.dataPos === 0) {
      state.dataLen = commandOf(value).parameters + 1;
      state.msr |= MSR_CMDBUSY;
    }
    state.fifo[state.dataPos % FIFO_BYTES] = value;
    state.dataPos++;
    if (state.dataPos < state.dataLen) return;
    state.msr &= ~MSR_RQM;
    state.progress.phase = PHASE_EXECUTION;
    commandOf(state.fifo[0]!).run(this.#parts);
  }
}
