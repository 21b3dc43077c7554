/**
 * Commands of the floppy controller other than data transfers. Intel 82078 datasheet, chapter 7; the set and the
 * answers of QEMU 7.2 hw/block/fdc.c.
 */
import {
  DIRECTION_READ,
  DIRECTION_SCAN_EQUAL,
  DIRECTION_SCAN_HIGH,
  DIRECTION_SCAN_LOW,
  DIRECTION_VERIFY,
  DIRECTION_WRITE,
  DOR_DMA,
  DSR_RATE,
  type FdcCore,
  RESET_SENSE_COUNT,
  ST0_ABNORMAL,
  ST0_INVALID,
  ST0_READY_CHANGED,
  ST0_SEEK_END,
  ST1_MISSING_MARK,
} from './core.ts';
import type { FdcTransfer } from './transfer.ts';

/** What a command works on. */
export interface FdcParts {
  readonly core: FdcCore;
  readonly transfer: FdcTransfer;
  /** Virtual time now, ns. */
  readonly now: () => number;
}

export interface FdcCommand {
  /** Command byte under `mask`. */
  readonly value: number;
  readonly mask: number;
  /** Bytes that follow the command byte. */
  readonly parameters: number;
  readonly run: (parts: FdcParts) => void;
}

const VERSION_82078 = 0x90;
const PART_ID_STEPPING = 0x41;
/** Time until READ ID has seen a sector go by: 20 ms. */
const READ_ID_NS = 20_000_000;
const NOT_READ_ONLY = 0x28;

const transfer =
  (direction: number) =>
  ({ transfer: data }: FdcParts): void =>
    data.start(direction);

function invalid({ core }: FdcParts): void {
  core.answer(ST0_INVALID);
}

/** Deleted data marks are not kept: such a transfer ends at once. */
function deletedData({ core }: FdcParts): void {
  core.finish(ST0_ABNORMAL | ST0_SEEK_END, 0, 0);
}

function specify({ core }: FdcParts): void {
  const { fifo } = core.state;
  core.state.timer0 = fifo[1]! >> 4;
  core.state.timer1 = fifo[2]! >> 1;
  core.dor = (fifo[2]! & 1) !== 0 ? core.dor & ~DOR_DMA : core.dor | DOR_DMA;
  core.toCommandPhase();
}

function senseDrive({ core }: FdcParts): void {
  const { fifo } = core.state;
  const drive = core.selectFrom(fifo[1]!);
  const { state, readOnly } = drive;
  state.head = (fifo[1]! >> 2) & 1;
  const flags = NOT_READ_ONLY | (readOnly ? 0x40 : 0) | (state.track === 0 ? 0x10 : 0);
  core.answer(flags | (state.head << 2) | core.selected);
}

function recalibrate({ core }: FdcParts): void {
  core.selectFrom(core.state.fifo[1]!).recalibrate();
  core.seekDone();
}

function senseInterrupt({ core }: FdcParts): void {
  const { state } = core;
  const { track } = core.current.state;
  let status = state.status0 & 0xf8;
  if (state.reset.resetSensei > 0) {
    status = ST0_READY_CHANGED + RESET_SENSE_COUNT - state.reset.resetSensei;
    state.reset.resetSensei--;
  } else if (!core.interruptPending) {
    core.answer(ST0_INVALID);
    return;
  } else {
    status |= core.selected;
  }
  core.answer(status, track);
  core.lowerIrq();
  state.status0 = ST0_READY_CHANGED;
}

function seek({ core }: FdcParts): void {
  const { fifo } = core.state;
  const drive = core.selectFrom(fifo[1]!);
  drive.seek(drive.state.head, fifo[2]!, drive.state.sect);
  core.seekDone();
}

function relativeSeek(inwards: boolean) {
  return ({ core }: FdcParts): void => {
    const { fifo } = core.state;
    const drive = core.selectFrom(fifo[1]!);
    const { head, track, sect } = drive.state;
    const target = inwards ? Math.min(track + fifo[2]!, drive.maxTrack - 1) : Math.max(0, track - fifo[2]!);
    drive.seek(head, Math.max(0, target), sect);
    core.seekDone();
  };
}

/** The heads need a while to find a sector: the result comes by {@link readIdDone}. */
function readId({ core, now }: FdcParts): void {
  core.current.state.head = (core.state.fifo[1]! >> 2) & 1;
  core.resultTimer.arm(now() + READ_ID_NS);
}

/** READ ID's time is over: the disk has turned to the next sector. */
export function readIdDone(core: FdcCore): void {
  const drive = core.current;
  if (drive.lastSector !== 0) drive.state.sect = (drive.state.sect % drive.lastSector) + 1;
  const rateFits = (core.state.dsr & DSR_RATE) === drive.state.rate.mediaRate;
  if (rateFits) core.finish(0, 0, 0);
  else core.finish(ST0_ABNORMAL, ST1_MISSING_MARK, 0);
}

/** The image has its sectors already; they keep their contents, as in QEMU. */
function formatTrack({ core }: FdcParts): void {
  const { fifo } = core.state;
  const drive = core.selectFrom(fifo[1]!);
  core.multiTrack = (fifo[0]! & 0x80) !== 0;
  drive.lastSector = fifo[3]!;
  core.finish(0, 0, 0);
}

function perpendicular({ core }: FdcParts): void {
  const { fifo } = core.state;
  if ((fifo[1]! & 0x80) !== 0) core.current.state.mode.perpendicular = fifo[1]! & 7;
  core.toCommandPhase();
}

function configure({ core }: FdcParts): void {
  core.state.config = core.state.fifo[2]!;
  core.state.precompTrk = core.state.fifo[3]!;
  core.toCommandPhase();
}

function lock({ core }: FdcParts): void {
  core.state.lock = core.state.fifo[0]! >> 7;
  core.answer(core.state.lock << 4);
}

/** LOCK and perpendicular mode in one byte, as DUMPREG and SAVE give it. */
function lockAndMode(core: FdcCore): number {
  return (core.state.lock << 7) | (core.current.state.mode.perpendicular << 2);
}

function dumpRegisters({ core }: FdcParts): void {
  const { timer0, timer1, config, precompTrk } = core.state;
  const tracks = [core.drive(0).state.track, core.drive(1).state.track, 0, 0];
  const timers = [timer0, (timer1 << 1) | ((core.dor & DOR_DMA) !== 0 ? 1 : 0)];
  core.answer(...tracks, ...timers, core.current.lastSector, lockAndMode(core), config, precompTrk);
}

function save({ core }: FdcParts): void {
  const { timer0, timer1, config, precompTrk, pwrd } = core.state;
  const tracks = [core.drive(0).state.track, core.drive(1).state.track, 0, 0];
  const modes = [core.current.lastSector, lockAndMode(core), config, precompTrk, pwrd];
  core.answer(0, 0, ...tracks, timer0, timer1, ...modes, 0, 0);
}

function restore({ core }: FdcParts): void {
  const { state } = core;
  const { fifo } = state;
  core.drive(0).state.track = fifo[3]!;
  core.drive(1).state.track = fifo[4]!;
  state.timer0 = fifo[7]!;
  state.timer1 = fifo[8]!;
  core.current.lastSector = fifo[9]!;
  state.lock = fifo[10]! >> 7;
  core.current.state.mode.perpendicular = (fifo[10]! >> 2) & 0x0f;
  state.config = fifo[11]!;
  state.precompTrk = fifo[12]!;
  state.pwrd = fifo[13]!;
  core.toCommandPhase();
}

function powerDownMode({ core }: FdcParts): void {
  core.state.pwrd = core.state.fifo[1]!;
  core.answer(core.state.pwrd);
}

function driveSpecification({ core }: FdcParts): void {
  const { fifo, dataPos } = core.state;
  const last = fifo[dataPos - 1]!;
  if ((last & 0xc0) === 0xc0) core.answer(fifo[1]!, fifo[1]!, 0, 0);
  else core.toCommandPhase();
}

const nothing = ({ core }: FdcParts): void => core.toCommandPhase();

/** The first that fits counts. */
const COMMANDS: readonly FdcCommand[] = [
  { value: 0x06, mask: 0x1f, parameters: 8, run: transfer(DIRECTION_READ) }, // READ DATA
  { value: 0x05, mask: 0x3f, parameters: 8, run: transfer(DIRECTION_WRITE) }, // WRITE DATA
  { value: 0x0f, mask: 0xff, parameters: 2, run: seek },
  { value: 0x08, mask: 0xff, parameters: 0, run: senseInterrupt },
  { value: 0x07, mask: 0xff, parameters: 1, run: recalibrate },
  { value: 0x0d, mask: 0xbf, parameters: 5, run: formatTrack },
  { value: 0x02, mask: 0xbf, parameters: 8, run: transfer(DIRECTION_READ) }, // READ TRACK
  { value: 0x4e, mask: 0xff, parameters: 17, run: restore },
  { value: 0x2e, mask: 0xff, parameters: 0, run: save },
  { value: 0x0c, mask: 0x1f, parameters: 8, run: deletedData }, // READ DELETED DATA
  { value: 0x11, mask: 0x1f, parameters: 8, run: transfer(DIRECTION_SCAN_EQUAL) },
  { value: 0x16, mask: 0x1f, parameters: 8, run: transfer(DIRECTION_VERIFY) },
  { value: 0x19, mask: 0x1f, parameters: 8, run: transfer(DIRECTION_SCAN_LOW) },
  { value: 0x1d, mask: 0x1f, parameters: 8, run: transfer(DIRECTION_SCAN_HIGH) },
  { value: 0x09, mask: 0x3f, parameters: 8, run: deletedData }, // WRITE DELETED DATA
  { value: 0x0a, mask: 0xbf, parameters: 1, run: readId },
  { value: 0x03, mask: 0xff, parameters: 2, run: specify },
  { value: 0x04, mask: 0xff, parameters: 1, run: senseDrive },
  { value: 0x12, mask: 0xff, parameters: 1, run: perpendicular },
  { value: 0x13, mask: 0xff, parameters: 3, run: configure },
  { value: 0x17, mask: 0xff, parameters: 2, run: powerDownMode },
  { value: 0x33, mask: 0xff, parameters: 1, run: nothing }, // OPTION
  { value: 0x8e, mask: 0xff, parameters: 5, run: driveSpecification },
  { value: 0x8f, mask: 0xff, parameters: 2, run: relativeSeek(false) },
  { value: 0xcf, mask: 0xff, parameters: 2, run: relativeSeek(true) },
  { value: 0xcd, mask: 0xff, parameters: 10, run: invalid }, // FORMAT AND WRITE
  { value: 0x14, mask: 0x7f, parameters: 0, run: lock },
  { value: 0x0e, mask: 0xff, parameters: 0, run: dumpRegisters },
  { value: 0x10, mask: 0xff, parameters: 0, run: ({ core }) => core.answer(VERSION_82078) },
  { value: 0x18, mask: 0xff, parameters: 0, run: ({ core }) => core.answer(PART_ID_STEPPING) },
  { value: 0x05, mask: 0x1f, parameters: 8, run: transfer(DIRECTION_WRITE) }, // as BeOS 4.5 writes it
  { value: 0x00, mask: 0x00, parameters: 0, run: invalid },
];

const BY_BYTE: readonly FdcCommand[] = Array.from({ length: 256 }, (_, byte) => {
  return COMMANDS.find(({ value, mask }) => (byte & mask) === value)!;
});

/** Command for a command byte. Every byte has one: those that mean nothing answer so. */
export function commandOf(byte: number): FdcCommand {
  return BY_BYTE[byte]!;
}
