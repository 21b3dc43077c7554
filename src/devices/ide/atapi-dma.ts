/**
 * DMA phase of a packet command: a reply or sectors go through the bus master's table as far as it reaches. QEMU 7.2
 * hw/ide/atapi.c: a table that is too short ends the transfer without an interrupt.
 */
import type { AtapiUnit } from './atapi.ts';
import type { DmaTransfer } from './bmdma.ts';
import { frameRawSector } from './cd-sector.ts';
import {
  CD_RAW_SECTOR_BYTES,
  CD_SECTOR_BYTES,
  REASON_COMMAND,
  REASON_TO_HOST,
  RETRY_ATAPI,
  STATUS_BSY,
  STATUS_DRDY,
  STATUS_DRQ,
  STATUS_DSC,
} from './constants.ts';
import { REQUEST_BYTES } from '../disk-io.ts';
import type { DriveCore } from './drive-core.ts';

export class AtapiDma implements DmaTransfer {
  readonly retryStatus: number = RETRY_ATAPI;
  readonly #core: DriveCore;
  readonly #unit: AtapiUnit;
  /** Bytes of a reply, or 0: sectors. */
  #replyBytes = 0;
  #lba = 0;
  #sectorsLeft = 0;
  #sectorBytes = 0;
  #reading = 0;
  readonly #raw = new Uint8Array(CD_RAW_SECTOR_BYTES);

  constructor(core: DriveCore, unit: AtapiUnit) {
    this.#core = core;
    this.#unit = unit;
  }

  /** `length` bytes of the unit's reply. */
  startReply(length: number): void {
    this.#replyBytes = length;
    this.#sectorsLeft = 0;
    this.#core.state.status = STATUS_DRDY | STATUS_DSC | STATUS_DRQ;
    this.#core.startDma(this);
  }

  startSectors(lba: number, count: number, sectorBytes: number): void {
    this.#replyBytes = 0;
    this.#lba = lba;
    this.#sectorsLeft = count;
    this.#sectorBytes = sectorBytes;
    this.#core.state.status = STATUS_DRDY | STATUS_DSC | STATUS_DRQ | STATUS_BSY;
    this.#core.startDma(this);
  }

  run(): void {
    const core = this.#core;
    if (core.io!.active) return;
    if (this.#sectorsLeft > 0) this.#readMore();
    else if (core.busMaster.writeNext(this.#unit.reply.subarray(0, this.#replyBytes))) this.#complete();
    else core.endDma(false);
  }

  /** The guest gave up. The command ends with an error, as QEMU's does. */
  stop(): void {
    this.#core.io!.cancel();
    this.#unit.failRead();
    this.#core.endDma(false);
  }

  #readMore(): void {
    this.#reading = Math.min(this.#sectorsLeft, REQUEST_BYTES / CD_SECTOR_BYTES);
    this.#core.io!.read(this.#lba * CD_SECTOR_BYTES, this.#reading * CD_SECTOR_BYTES, this.#onRead);
  }

  readonly #onRead = (error: Error | undefined): void => {
    const core = this.#core;
    if (error) {
      this.#unit.failRead();
      core.endDma(false);
      return;
    }
    const fits = this.#writeSectors(core.io!.buffer);
    this.#lba += this.#reading;
    this.#sectorsLeft -= this.#reading;
    if (!fits) core.endDma(false);
    else if (this.#sectorsLeft > 0) this.#readMore();
    else this.#complete();
  };

  #writeSectors(source: Uint8Array): boolean {
    const { busMaster } = this.#core;
    if (this.#sectorBytes === CD_SECTOR_BYTES) {
      return busMaster.writeNext(source.subarray(0, this.#reading * CD_SECTOR_BYTES));
    }
    for (let i = 0; i < this.#reading; i++) {
      this.#raw.set(source.subarray(i * CD_SECTOR_BYTES, (i + 1) * CD_SECTOR_BYTES), 16);
      frameRawSector(this.#raw, 0, this.#lba + i);
      if (!busMaster.writeNext(this.#raw)) return false;
    }
    return true;
  }

  #complete(): void {
    const core = this.#core;
    core.state.status = STATUS_DRDY | STATUS_DSC;
    this.#unit.setReason(REASON_TO_HOST | REASON_COMMAND);
    core.raiseIrq();
    core.endDma(false);
  }
}
