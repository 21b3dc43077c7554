/**
 * State of the floppy controller and its wire schema: section `fdc`, version 2. Field order, names and conditions: QEMU
 * 7.2 hw/block/fdc.c and fdc-isa.c.
 */
import { NOT_ARMED, type Ns } from '../../machine/clock.ts';
import { array, i32, struct, structs, timer, u8, u32, type VmState } from '../../migration/vmstate.ts';

export const FIFO_BYTES = 512;
export const DRIVE_COUNT = 2;

export const MSR_NONDMA = 0x20;
export const MSR_DIO = 0x40;
export const MSR_RQM = 0x80;

/** Where a command stands. {@link PHASE_UNKNOWN}: not on the stream, to be told from MSR. */
export const PHASE_UNKNOWN = 0;
export const PHASE_COMMAND = 1;
export const PHASE_EXECUTION = 2;
export const PHASE_RESULT = 3;

export interface FloppyDriveState {
  head: number;
  track: number;
  /** Counts from 1. */
  sect: number;
  readonly changed: { mediaChanged: number };
  readonly rate: { mediaRate: number };
  readonly mode: { perpendicular: number };
}

export interface FdcState {
  sra: number;
  srb: number;
  /** DOR with the drive selected by the last command. Made in beforeSave. */
  dorVmstate: number;
  tdr: number;
  dsr: number;
  msr: number;
  status0: number;
  status1: number;
  status2: number;
  /** Command, result, or the sector in transfer. */
  readonly fifo: Uint8Array;
  /** Bytes of the current phase done, and wanted. */
  dataPos: number;
  dataLen: number;
  dataState: number;
  dataDir: number;
  /** Last sector wanted in a track. */
  eot: number;
  timer0: number;
  timer1: number;
  precompTrk: number;
  config: number;
  lock: number;
  pwrd: number;
  numFloppies: number;
  readonly drives: readonly FloppyDriveState[];
  /** SENSE INTERRUPTs still to come after a reset. */
  readonly reset: { resetSensei: number };
  /** End of READ ID, virtual ns. */
  readonly result: { resultTimer: Ns };
  readonly progress: { phase: number };
}

/** The section holds one structure of the same name. */
export interface IsaFdcState {
  readonly state: FdcState;
}

const newDriveState = (): FloppyDriveState => ({
  head: 0,
  track: 0,
  sect: 0,
  changed: { mediaChanged: 1 },
  rate: { mediaRate: 0 },
  mode: { perpendicular: 0 },
});

export const newFdcState = (): FdcState => ({
  sra: 0,
  srb: 0xc0,
  dorVmstate: 0,
  tdr: 0,
  dsr: 0,
  msr: MSR_RQM,
  status0: 0,
  status1: 0,
  status2: 0,
  fifo: new Uint8Array(FIFO_BYTES),
  dataPos: 0,
  dataLen: 0,
  dataState: 0,
  dataDir: 0,
  eot: 0,
  timer0: 0,
  timer1: 0,
  precompTrk: 0,
  config: 0,
  lock: 0,
  pwrd: 0,
  numFloppies: DRIVE_COUNT,
  drives: [newDriveState(), newDriveState()],
  reset: { resetSensei: 0 },
  result: { resultTimer: NOT_ARMED },
  progress: { phase: PHASE_COMMAND },
});

/** Phase as old QEMUs had it: told from MSR. The phase is on the stream only where it differs. */
export function phaseOfMsr(msr: number): number {
  if ((msr & MSR_NONDMA) !== 0 || (msr & MSR_RQM) === 0) return PHASE_EXECUTION;
  return (msr & MSR_DIO) !== 0 ? PHASE_RESULT : PHASE_COMMAND;
}

const driveVmState: VmState<FloppyDriveState, 'changed' | 'rate' | 'mode'> = {
  name: 'fdrive',
  version: 1,
  minimumVersion: 1,
  fields: { head: u8(), track: u8(), sect: u8() },
  subsections: {
    changed: {
      vmstate: {
        name: 'fdrive/media_changed',
        version: 1,
        minimumVersion: 1,
        fields: { mediaChanged: u8() },
      },
      needed: (drive) => drive.changed.mediaChanged !== 1,
      absent: () => ({ mediaChanged: 1 }),
    },
    rate: {
      vmstate: { name: 'fdrive/media_rate', version: 1, minimumVersion: 1, fields: { mediaRate: u8() } },
      needed: () => true,
      absent: () => ({ mediaRate: 0 }),
    },
    mode: {
      vmstate: {
        name: 'fdrive/perpendicular',
        version: 1,
        minimumVersion: 1,
        fields: { perpendicular: u8() },
      },
      needed: (drive) => drive.mode.perpendicular !== 0,
      absent: () => ({ perpendicular: 0 }),
    },
  },
};

const fdcVmState: VmState<FdcState, 'reset' | 'result' | 'progress'> = {
  name: 'fdc',
  version: 2,
  minimumVersion: 2,
  fields: {
    sra: u8(),
    srb: u8(),
    dorVmstate: u8(),
    tdr: u8(),
    dsr: u8(),
    msr: u8(),
    status0: u8(),
    status1: u8(),
    status2: u8(),
    fifo: array<Uint8Array>(u8(), FIFO_BYTES),
    dataPos: u32(),
    dataLen: u32(),
    dataState: u8(),
    dataDir: u8(),
    eot: u8(),
    timer0: u8(),
    timer1: u8(),
    precompTrk: u8(),
    config: u8(),
    lock: u8(),
    pwrd: u8(),
    numFloppies: u8({ equal: true }),
    drives: structs(driveVmState, DRIVE_COUNT, { since: 1 }),
  },
  subsections: {
    reset: {
      vmstate: { name: 'fdc/reset_sensei', version: 1, minimumVersion: 1, fields: { resetSensei: i32() } },
      needed: (fdc) => fdc.reset.resetSensei !== 0,
      absent: () => ({ resetSensei: 0 }),
    },
    result: {
      vmstate: { name: 'fdc/result_timer', version: 1, minimumVersion: 1, fields: { resultTimer: timer() } },
      needed: (fdc) => fdc.result.resultTimer !== NOT_ARMED,
      absent: () => ({ resultTimer: NOT_ARMED }),
    },
    progress: {
      vmstate: {
        name: 'fdc/phase',
        version: 1,
        minimumVersion: 1,
        fields: { phase: u8({ max: PHASE_RESULT }) },
      },
      needed: (fdc) => phaseOfMsr(fdc.msr) !== fdc.progress.phase,
      absent: () => ({ phase: PHASE_UNKNOWN }),
    },
  },
};

/** Stream section `fdc`. */
export const isaFdcVmState: VmState<IsaFdcState> = {
  name: 'fdc',
  version: 2,
  minimumVersion: 2,
  fields: { state: struct(fdcVmState) },
};
