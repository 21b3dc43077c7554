/**
 * Bus master of one IDE channel: command, status and descriptor table registers, and the walk through the table of
 * physical region descriptors (PRD). Intel 82371SB (PIIX3) datasheet 290550, section 2.3.9; "Programming Interface for
 * Bus Master IDE Controller", revision 1.0. Details of early ends from QEMU 7.2 hw/ide/pci.c.
 *
 * Not emulated: the error bit is never set by us; the transfer direction bit is stored and not looked at (QEMU neither).
 */
import type { DmaMemory, IrqLine } from '../../machine/device.ts';
import { BMDMA_COMPAT_BITS, type BmdmaState, type BusState } from './vmstate.ts';

/** Command register. */
const COMMAND_START = 0x01;
const COMMAND_WRITABLE = 0x09;
/** Status register. */
export const BM_STATUS_ACTIVE = 0x01;
const BM_STATUS_ERROR = 0x02;
export const BM_STATUS_INTERRUPT = 0x04;
const BM_STATUS_CAPABLE = 0x60;

const PRD_BYTES = 8;
/** A table may not cross a 64 KiB boundary; nobody walks more than one page of it. */
const TABLE_LIMIT = 4096;

/** A drive's transfer that waits for, or uses, the bus master. */
export interface DmaTransfer {
  /** The guest has started the bus master: go. */
  run(): void;
  /** The guest stopped the bus master in the middle. */
  stop(): void;
  /** Which RETRY_… a saved state says when the guest has not yet started the bus master. */
  readonly retryStatus: number;
}

export class BusMaster {
  readonly state: BmdmaState;
  /** The transfer that the drive asked for, until it is done. */
  pending: DmaTransfer | undefined;
  /** Scatter list made by {@link gather}: physical addresses and lengths in bytes. */
  readonly addresses: number[] = [];
  readonly lengths: number[] = [];
  readonly #bus: BusState;
  readonly #memory: DmaMemory;
  readonly #irq: IrqLine;
  readonly #isMaster: () => boolean;
  readonly #prd = new Uint8Array(PRD_BYTES);
  readonly #prdView = new DataView(this.#prd.buffer);

  /** `isMaster`: the PCI command register's bus master bit; without it reads give ones and writes are lost. */
  constructor(options: {
    state: BmdmaState;
    bus: BusState;
    memory: DmaMemory;
    irq: IrqLine;
    isMaster: () => boolean;
  }) {
    this.state = options.state;
    this.#bus = options.bus;
    this.#memory = options.memory;
    this.#irq = options.irq;
    this.#isMaster = options.isMaster;
  }

  reset(): void {
    const { state } = this;
    this.pending = undefined;
    state.cmd = 0;
    state.live.status = 0;
    state.addr = 0;
    Object.assign(state.current, { curAddr: 0, curPrdLast: 0, curPrdAddr: 0, curPrdLen: 0 });
  }

  /** The channel's INTRQ line: the status register remembers a rise. */
  setIrq(level: number): void {
    if (level !== 0) this.state.live.status |= BM_STATUS_INTERRUPT;
    this.#irq.set(level);
  }

  /** A drive has a transfer to make: at once if the guest has started the bus master already. */
  begin(transfer: DmaTransfer): void {
    const { current, live } = this.state;
    this.pending = transfer;
    current.curPrdLast = 0;
    current.curPrdAddr = 0;
    current.curPrdLen = 0;
    if ((live.status & BM_STATUS_ACTIVE) !== 0) transfer.run();
  }

  /** The transfer is over. `more`: the table describes more memory than the drive had data; ACTIVE stays set then. */
  finish(more: boolean): void {
    const { live } = this.state;
    this.pending = undefined;
    if (more) live.status |= BM_STATUS_ACTIVE;
    else live.status &= ~BM_STATUS_ACTIVE;
  }

  /** Back to the head of the table, to repeat a transfer after a load. */
  rewind(): void {
    this.state.current.curAddr = this.state.addr;
  }

  read8(offset: number): number {
    const { state } = this;
    if (offset >= 4) return (state.addr >>> ((offset - 4) * 8)) & 0xff;
    return offset === 0 ? state.cmd : offset === 2 ? state.live.status : 0xff;
  }

  write8(offset: number, value: number): void {
    const { state } = this;
    if (offset === 0) this.#writeCommand(value);
    else if (offset === 2) {
      const { status } = state.live;
      const cleared = value & (BM_STATUS_ERROR | BM_STATUS_INTERRUPT);
      state.live.status =
        (value & BM_STATUS_CAPABLE) |
        (status & BM_STATUS_ACTIVE) |
        (status & (BM_STATUS_ERROR | BM_STATUS_INTERRUPT) & ~cleared);
    } else if (offset >= 4) {
      const shift = (offset - 4) * 8;
      const kept = offset === 4 ? value & ~3 : value;
      state.addr = ((state.addr & ~(0xff << shift)) | (kept << shift)) >>> 0;
    }
  }

  /** Descriptor table pointer, all four bytes at once. */
  writeAddress(value: number): void {
    this.state.addr = (value & ~3) >>> 0;
  }

  #writeCommand(value: number): void {
    const { state } = this;
    if (((value ^ state.cmd) & COMMAND_START) !== 0) {
      if ((value & COMMAND_START) === 0) {
        if ((state.live.status & BM_STATUS_ACTIVE) !== 0) this.pending?.stop();
        state.live.status &= ~BM_STATUS_ACTIVE;
      } else {
        state.current.curAddr = state.addr;
        if ((state.live.status & BM_STATUS_ACTIVE) === 0) {
          state.live.status |= BM_STATUS_ACTIVE;
          this.pending?.run();
        }
      }
    }
    state.cmd = value & COMMAND_WRITABLE;
  }

  /** Loads the next descriptor. False at the end of the table. */
  #nextPrd(): boolean {
    const { current, addr } = this.state;
    if (current.curPrdLast !== 0 || current.curAddr - addr >= TABLE_LIMIT) return false;
    this.readMemory(current.curAddr, this.#prd);
    current.curAddr = (current.curAddr + PRD_BYTES) >>> 0;
    const control = this.#prdView.getUint32(4, true);
    const length = control & 0xfffe;
    current.curPrdAddr = this.#prdView.getUint32(0, true);
    current.curPrdLen = length === 0 ? 0x10000 : length;
    current.curPrdLast = (control & 0x8000_0000) >>> 0;
    return true;
  }

  /**
   * Walks the table to its end and lists the memory for the first `limit` bytes. Returns the bytes that the whole
   * table describes, which may be more or less than `limit`.
   */
  gather(limit: number): number {
    const { current } = this.state;
    let described = 0;
    this.addresses.length = 0;
    this.lengths.length = 0;
    while (current.curPrdLen !== 0 || this.#nextPrd()) {
      const wanted = Math.min(limit - described, current.curPrdLen);
      if (wanted > 0) {
        this.addresses.push(current.curPrdAddr);
        this.lengths.push(wanted);
      }
      described += current.curPrdLen;
      current.curPrdAddr = (current.curPrdAddr + current.curPrdLen) >>> 0;
      current.curPrdLen = 0;
    }
    return described;
  }

  /** Copies `buffer` from (`toGuest` false) or to the listed memory, `skip` bytes into the list. */
  transferListed(skip: number, buffer: Uint8Array, toGuest: boolean): void {
    let start = skip;
    let done = 0;
    for (let i = 0; i < this.lengths.length && done < buffer.length; i++) {
      const length = this.lengths[i]!;
      if (start >= length) {
        start -= length;
        continue;
      }
      const part = buffer.subarray(done, done + Math.min(length - start, buffer.length - done));
      if (toGuest) this.writeMemory(this.addresses[i]! + start, part);
      else this.readMemory(this.addresses[i]! + start, part);
      done += part.length;
      start = 0;
    }
  }

  /** Writes `source` to guest memory from where the table stands. False if the table ended before the data did. */
  writeNext(source: Uint8Array): boolean {
    const { current } = this.state;
    let done = 0;
    while (done < source.length) {
      if (current.curPrdLen === 0 && !this.#nextPrd()) return false;
      const length = Math.min(source.length - done, current.curPrdLen);
      this.writeMemory(current.curPrdAddr, source.subarray(done, done + length));
      current.curPrdAddr = (current.curPrdAddr + length) >>> 0;
      current.curPrdLen -= length;
      done += length;
    }
    return true;
  }

  readMemory(address: number, target: Uint8Array): void {
    if (this.#isMaster()) this.#memory.read(address, target);
    else target.fill(0xff);
  }

  writeMemory(address: number, source: Uint8Array): void {
    if (this.#isMaster()) this.#memory.write(address, source);
  }

  /** What older readers want: a transfer that still waits for the guest's start is told as one to be retried. */
  beforeSave(): void {
    const { state } = this;
    const { retry } = this.#bus;
    if ((state.live.status & BM_STATUS_ACTIVE) === 0 && this.pending !== undefined) {
      retry.errorStatus = this.pending.retryStatus;
    }
    state.migrationRetryUnit = retry.retryUnit;
    state.migrationRetrySectorNum = retry.retrySectorNum;
    state.migrationRetryNsector = retry.retryNsector;
    state.migrationCompatStatus =
      (state.live.status & ~BMDMA_COMPAT_BITS) | (retry.errorStatus & BMDMA_COMPAT_BITS);
  }

  afterLoad(): void {
    const { state } = this;
    const { retry } = this.#bus;
    this.pending = undefined;
    if (state.live.status === 0) {
      state.live.status = state.migrationCompatStatus & ~BMDMA_COMPAT_BITS;
      retry.errorStatus |= state.migrationCompatStatus & BMDMA_COMPAT_BITS;
    }
    retry.retrySectorNum = state.migrationRetrySectorNum;
    retry.retryNsector = state.migrationRetryNsector;
    // Old writers stored larger numbers; of a unit to be retried only the last bit counts.
    retry.retryUnit = retry.errorStatus === 0 ? state.migrationRetryUnit : state.migrationRetryUnit & 1;
  }
}
