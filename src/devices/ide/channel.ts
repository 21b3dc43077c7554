/**
 * One IDE channel: command block (8 ports), control block (1 port), two drive positions. Both drives take register
 * writes; the selected one answers (ATA/ATAPI-6 chapter 7). What empty positions answer: QEMU 7.2 hw/ide/core.c.
 *
 * Data port accesses are the hot path (REP INSW): no allocation, one test for data left.
 */
import type { IoRegion } from '../../machine/device.ts';
import type { AtaDrive } from './ata-drive.ts';
import type { BusMaster } from './bmdma.ts';
import {
  CONTROL_HOB,
  CONTROL_SRST,
  DEVICE_DEV,
  DEVICE_OBSOLETE_ONES,
  END_PACKET_COMMAND,
  END_SECTOR_WRITE,
  STATUS_BSY,
  STATUS_DRQ,
} from './constants.ts';
import type { BusState } from './vmstate.ts';

/** Command block registers. */
const DATA = 0;
const ERROR_FEATURES = 1;
const SECTOR_COUNT = 2;
const LBA_LOW = 3;
const LBA_MID = 4;
const LBA_HIGH = 5;
const DEVICE = 6;

/** True if the data block goes from the guest to the drive. */
function takesData(endTransferFnIdx: number): boolean {
  return endTransferFnIdx === END_SECTOR_WRITE || endTransferFnIdx === END_PACKET_COMMAND;
}

export class IdeChannel {
  readonly state: BusState;
  readonly drives: readonly [AtaDrive, AtaDrive];
  readonly busMaster: BusMaster;
  /** 0x1f0-0x1f7 or 0x170-0x177. */
  readonly commandBlock: IoRegion;
  /** 0x3f6 or 0x376. */
  readonly controlBlock: IoRegion;
  #selected: AtaDrive;

  constructor(name: string, state: BusState, drives: readonly [AtaDrive, AtaDrive], busMaster: BusMaster) {
    this.state = state;
    this.drives = drives;
    this.busMaster = busMaster;
    this.#selected = drives[0];
    this.commandBlock = {
      name: `${name}-command`,
      size: 8,
      read8: (offset) => this.#readRegister(offset),
      write8: (offset, value) => this.#writeRegister(offset, value),
      read16: (offset) =>
        offset === DATA
          ? this.readData16()
          : this.#readRegister(offset) | (this.#readRegister(offset + 1) << 8),
      write16: (offset, value) => this.#write16(offset, value),
      read32: (offset) => (offset === DATA ? this.readData32() : this.#split32(offset)),
      write32: (offset, value) => this.#write32(offset, value),
    };
    this.controlBlock = {
      name: `${name}-control`,
      size: 1,
      read8: () => this.#status(),
      write8: (_offset, value) => this.#writeControl(value),
    };
  }

  /** Power-on or PCI reset. */
  reset(): void {
    this.state.unit = 0;
    this.state.cmd = 0;
    Object.assign(this.state.retry, { errorStatus: 0, retrySectorNum: 0, retryNsector: 0, retryUnit: 0xff });
    this.#selected = this.drives[0];
    for (const drive of this.drives) drive.powerOn();
    this.busMaster.reset();
    this.busMaster.setIrq(0);
  }

  /** After `state` was loaded. */
  afterLoad(): void {
    this.#selected = this.drives[this.state.unit & 1]!;
  }

  /** Data port, 16 bits. */
  readData16(): number {
    const drive = this.#selected;
    const { pio, state } = drive.core;
    if ((state.status & STATUS_DRQ) === 0 || pio.curIoBufferLen < 2 || takesData(pio.endTransferFnIdx))
      return 0;
    const at = pio.curIoBufferOffset;
    const value = pio.ioBuffer[at]! | (pio.ioBuffer[at + 1]! << 8);
    pio.curIoBufferOffset = at + 2;
    if ((pio.curIoBufferLen -= 2) === 0) drive.endBlock();
    return value;
  }

  /** Data port, 32 bits. */
  readData32(): number {
    const drive = this.#selected;
    const { pio, state } = drive.core;
    if ((state.status & STATUS_DRQ) === 0 || pio.curIoBufferLen < 4 || takesData(pio.endTransferFnIdx))
      return 0;
    const at = pio.curIoBufferOffset;
    const { ioBuffer } = pio;
    const low = ioBuffer[at]! | (ioBuffer[at + 1]! << 8) | (ioBuffer[at + 2]! << 16);
    const value = (low | (ioBuffer[at + 3]! << 24)) >>> 0;
    pio.curIoBufferOffset = at + 4;
    if ((pio.curIoBufferLen -= 4) === 0) drive.endBlock();
    return value;
  }

  writeData16(value: number): void {
    const drive = this.#selected;
    const { pio, state } = drive.core;
    if ((state.status & STATUS_DRQ) === 0 || pio.curIoBufferLen < 2 || !takesData(pio.endTransferFnIdx))
      return;
    const at = pio.curIoBufferOffset;
    pio.ioBuffer[at] = value;
    pio.ioBuffer[at + 1] = value >>> 8;
    pio.curIoBufferOffset = at + 2;
    if ((pio.curIoBufferLen -= 2) === 0) drive.endBlock();
  }

  writeData32(value: number): void {
    const drive = this.#selected;
    const { pio, state } = drive.core;
    if ((state.status & STATUS_DRQ) === 0 || pio.curIoBufferLen < 4 || !takesData(pio.endTransferFnIdx))
      return;
    const at = pio.curIoBufferOffset;
    pio.ioBuffer[at] = value;
    pio.ioBuffer[at + 1] = value >>> 8;
    pio.ioBuffer[at + 2] = value >>> 16;
    pio.ioBuffer[at + 3] = value >>> 24;
    pio.curIoBufferOffset = at + 4;
    if ((pio.curIoBufferLen -= 4) === 0) drive.endBlock();
  }

  /**
   * REP INSW or INSD in one go: copies up to `length` bytes (a multiple of 4) of the current data block to `target` at
   * `offset`, and returns how many. 0: no data now; the caller falls back to single accesses.
   */
  readDataBlock(target: Uint8Array, offset: number, length: number): number {
    const drive = this.#selected;
    const { pio, state } = drive.core;
    if ((state.status & STATUS_DRQ) === 0 || takesData(pio.endTransferFnIdx)) return 0;
    const bytes = Math.min(length, pio.curIoBufferLen) & ~3;
    if (bytes === 0) return 0;
    const at = pio.curIoBufferOffset;
    target.set(pio.ioBuffer.subarray(at, at + bytes), offset);
    pio.curIoBufferOffset = at + bytes;
    if ((pio.curIoBufferLen -= bytes) === 0) drive.endBlock();
    return bytes;
  }

  #split32(offset: number): number {
    const low = this.#readRegister(offset) | (this.#readRegister(offset + 1) << 8);
    return (low | (this.#readRegister(offset + 2) << 16) | (this.#readRegister(offset + 3) << 24)) >>> 0;
  }

  #write16(offset: number, value: number): void {
    if (offset === DATA) {
      this.writeData16(value);
      return;
    }
    this.#writeRegister(offset, value & 0xff);
    this.#writeRegister(offset + 1, value >>> 8);
  }

  #write32(offset: number, value: number): void {
    if (offset === DATA) {
      this.writeData32(value);
      return;
    }
    for (let i = 0; i < 4; i++) this.#writeRegister(offset + i, (value >>> (8 * i)) & 0xff);
  }

  get #empty(): boolean {
    return !this.drives[0].core.io && !this.drives[1].core.io;
  }

  /** A drive 1 that is not there pulls nothing: its status reads as zero. Drive 0 answers for itself. */
  #answers(): boolean {
    return !this.#empty && (this.#selected === this.drives[0] || this.#selected.core.io !== undefined);
  }

  #status(): number {
    return this.#answers() ? this.#selected.core.state.status : 0;
  }

  #readRegister(register: number): number {
    if (register > 7) return 0xff;
    if (register > DEVICE) {
      const status = this.#status();
      this.busMaster.setIrq(0);
      return status;
    }
    // The Solaris boot loader reads the data port by bytes and means words.
    if (register === DATA) return this.readData16() & 0xff;
    if (register === ERROR_FEATURES && !this.#answers()) return 0;
    return this.#empty ? 0 : this.#taskFile(register, (this.state.cmd & CONTROL_HOB) !== 0);
  }

  /** `previous`: what was in the register before the last write (LBA48's high order bytes). */
  #taskFile(register: number, previous: boolean): number {
    const { state } = this.#selected.core;
    switch (register) {
      case ERROR_FEATURES:
        return previous ? state.hobFeature : state.error;
      case SECTOR_COUNT:
        return previous ? state.hobNsector : state.nsector & 0xff;
      case LBA_LOW:
        return previous ? state.hobSector : state.sector;
      case LBA_MID:
        return previous ? state.hobLcyl : state.lcyl;
      case LBA_HIGH:
        return previous ? state.hobHcyl : state.hcyl;
      default:
        return state.select;
    }
  }

  #writeRegister(register: number, value: number): void {
    if (register > 7) return;
    const drive = this.#selected;
    // While a command runs, its registers are not the guest's.
    if (register <= DEVICE && (drive.core.state.status & (STATUS_BSY | STATUS_DRQ)) !== 0) return;
    if (register === DATA) return;
    this.state.cmd &= ~CONTROL_HOB;
    if (register > DEVICE) {
      this.busMaster.setIrq(0);
      if (drive === this.drives[0] || drive.core.io) drive.execute(value);
      return;
    }
    this.#writeTaskFile(this.drives[0], register, value);
    this.#writeTaskFile(this.drives[1], register, value);
    if (register === DEVICE) {
      this.state.unit = (value & DEVICE_DEV) !== 0 ? 1 : 0;
      this.#selected = this.drives[this.state.unit]!;
    }
  }

  #writeTaskFile(drive: AtaDrive, register: number, value: number): void {
    const { state } = drive.core;
    switch (register) {
      case ERROR_FEATURES:
        state.hobFeature = state.feature;
        state.feature = value;
        return;
      case SECTOR_COUNT:
        state.hobNsector = state.nsector & 0xff;
        state.nsector = value;
        return;
      case LBA_LOW:
        state.hobSector = state.sector;
        state.sector = value;
        return;
      case LBA_MID:
        state.hobLcyl = state.lcyl;
        state.lcyl = value;
        return;
      case LBA_HIGH:
        state.hobHcyl = state.hcyl;
        state.hcyl = value;
        return;
      case DEVICE:
        state.select = value | DEVICE_OBSOLETE_ONES;
    }
  }

  /** Device Control. SRST acts when it rises and is over at once; hosts wait for BSY to fall. */
  #writeControl(value: number): void {
    const rises = (value & ~this.state.cmd & CONTROL_SRST) !== 0;
    this.state.cmd = value;
    if (!rises) return;
    if (this.busMaster.pending !== undefined) this.busMaster.finish(false);
    for (const drive of this.drives) drive.softReset();
    this.state.cmd &= ~CONTROL_SRST;
  }
}
