/**
 * READ DMA, WRITE DMA and DATA SET MANAGEMENT (TRIM) of a disk through the bus master. When the guest starts that, the
 * table is walked once, then the data go in chunks between disk and guest memory. Early ends as in QEMU 7.2
 * hw/ide/core.c: a table too short ends the command without an interrupt, one too long leaves ACTIVE set.
 *
 * TRIM gives its ranges to the disk one after another, if that wants them (`discard=unmap`), and checks each before.
 */
import type { DmaTransfer } from './bmdma.ts';
import { RETRY_DMA, RETRY_READ, RETRY_TRIM, SECTOR_BYTES, STATUS_DRDY, STATUS_DSC } from './constants.ts';
import { REQUEST_BYTES } from '../disk-io.ts';
import type { DriveCore } from './drive-core.ts';

export type AtaDmaKind = 'read' | 'write' | 'trim';

const RETRY: { readonly [K in AtaDmaKind]: number } = {
  read: RETRY_DMA | RETRY_READ,
  write: RETRY_DMA,
  trim: RETRY_DMA | RETRY_TRIM,
};
const TRIM_ENTRY_BYTES = 8;

export class AtaDma implements DmaTransfer {
  readonly retryStatus: number;
  readonly #core: DriveCore;
  readonly #kind: AtaDmaKind;
  /** Byte on the disk where the transfer starts; bytes of it done; its length; and what the table has room for. */
  #start = 0;
  #done = 0;
  #length = 0;
  #described = 0;
  /** A sector of a TRIM's list. */
  readonly #trimList = new Uint8Array(SECTOR_BYTES);
  readonly #trimView = new DataView(this.#trimList.buffer);

  constructor(core: DriveCore, kind: AtaDmaKind) {
    this.#core = core;
    this.#kind = kind;
    this.retryStatus = RETRY[kind];
  }

  run(): void {
    const core = this.#core;
    const { state, busMaster } = core;
    // Started again for a command that a stop has cut off already, or while its data are on their way: nothing to do.
    if (core.io!.active) return;
    const first = core.sectorNumber();
    this.#start = first * SECTOR_BYTES;
    this.#done = 0;
    this.#length = state.nsector * SECTOR_BYTES;
    this.#described = busMaster.gather(this.#length);
    if (this.#described < this.#length) {
      state.status = STATUS_DRDY | STATUS_DSC;
      core.endDma(false);
    } else if (this.#kind === 'trim') {
      this.#trim();
    } else if (!core.inRange(first, state.nsector)) {
      core.failDma();
    } else {
      this.#nextChunk();
    }
  }

  /** The guest gave up (a timeout, usually). The command ends with ABRT. */
  stop(): void {
    this.#core.io!.cancel();
    this.#core.failDma();
  }

  #chunkBytes(): number {
    return Math.min(this.#length - this.#done, REQUEST_BYTES);
  }

  #nextChunk(): void {
    const io = this.#core.io!;
    const bytes = this.#chunkBytes();
    if (this.#kind === 'read') {
      io.read(this.#start + this.#done, bytes, this.#onChunk);
    } else {
      this.#core.busMaster.transferListed(this.#done, io.buffer.subarray(0, bytes), false);
      io.write(this.#start + this.#done, bytes, this.#onChunk);
    }
  }

  readonly #onChunk = (error: Error | undefined): void => {
    const core = this.#core;
    if (error) {
      core.failDma();
      return;
    }
    const bytes = this.#chunkBytes();
    if (this.#kind === 'read') {
      core.busMaster.transferListed(this.#done, core.io!.buffer.subarray(0, bytes), true);
    }
    this.#done += bytes;
    if (this.#done < this.#length) this.#nextChunk();
    else this.#complete();
  };

  #complete(): void {
    const core = this.#core;
    const { state } = core;
    core.setSectorNumber(core.sectorNumber() + state.nsector);
    state.nsector = 0;
    state.status = STATUS_DRDY | STATUS_DSC;
    core.raiseIrq();
    core.endDma(this.#described > this.#length);
  }

  /**
   * Entries of a 48-bit first sector and a 16-bit count (ACS-2 7.10.3.2), from byte `done` of the list on. Those before one
   * that is out of range are trimmed, as by QEMU.
   */
  #trim(): void {
    const core = this.#core;
    const { busMaster, io } = core;
    for (; this.#done < this.#length; this.#done += TRIM_ENTRY_BYTES) {
      if (this.#done % SECTOR_BYTES === 0) {
        busMaster.transferListed(this.#done, this.#trimList, false);
      }
      const at = this.#done % SECTOR_BYTES;
      const view = this.#trimView;
      const count = view.getUint16(at + 6, true);
      const first = view.getUint16(at + 4, true) * 0x1_0000_0000 + view.getUint32(at, true);
      if (count === 0) continue;
      if (!core.inRange(first, count)) {
        core.failDma();
        return;
      }
      if (io!.disk.discard === undefined) continue;
      io!.discard(first * SECTOR_BYTES, count * SECTOR_BYTES, this.#onTrimmed);
      return;
    }
    this.#complete();
  }

  readonly #onTrimmed = (error: Error | undefined): void => {
    if (error) {
      this.#core.failDma();
      return;
    }
    this.#done += TRIM_ENTRY_BYTES;
    this.#trim();
  };
}
