/**
 * Packet device (CD/DVD-ROM drive): takes the 12-byte packet, checks readiness and unit attention, hands out replies
 * and sectors by PIO or DMA. Protocol: ATA/ATAPI-6 9.7 and 9.10; sense rules: MMC-3 4.1; what changed media report and
 * in which order: QEMU 7.2 hw/ide/atapi.c. The answers themselves are in atapi-commands.ts.
 *
 * One difference to QEMU: before a data block (up to 65534 bytes) is offered, all its sectors are read, not one by one.
 * And where QEMU forgets on a save where a PIO read stands (the guest then sees an error and retries), we keep it in
 * the last bytes of the data buffer, which no PIO transfer uses; QEMU carries them along unread.
 */
import { ATAPI_COMMANDS, type AtapiCommand, COMMAND_ANY_TIME, COMMAND_NO_DATA } from './atapi-commands.ts';
import {
  ASC_ILLEGAL_OPCODE,
  ASC_LBA_OUT_OF_RANGE,
  ASC_MEDIUM_CHANGED,
  ASC_NO_MEDIUM,
} from './atapi-commands.ts';
import { COMMAND_MAYBE_DATA, COMMAND_NEEDS_MEDIUM, SENSE_ILLEGAL_REQUEST } from './atapi-commands.ts';
import { SENSE_NOT_READY, SENSE_UNIT_ATTENTION } from './atapi-commands.ts';
import { AtapiDma } from './atapi-dma.ts';
import { frameRawSector } from './cd-sector.ts';
import {
  CD_RAW_SECTOR_BYTES,
  CD_SECTOR_BYTES,
  END_PACKET_COMMAND,
  END_PACKET_REPLY,
  ERROR_MC,
  IO_BUFFER_BYTES,
  PACKET_BYTES,
  REASON_COMMAND,
  REASON_TO_HOST,
  STATUS_BSY,
  STATUS_DRDY,
  STATUS_DSC,
  STATUS_ERR,
} from './constants.ts';
import type { DriveCore } from './drive-core.ts';

/** Largest reply that is not sectors: READ DVD STRUCTURE. */
const REPLY_BYTES = 2052;
/** Where a PIO read stands, at the end of the data buffer: magic, next sector, sector size, data start and end. */
const PLACE_OFFSET = IO_BUFFER_BYTES - 20;
const PLACE_MAGIC = 0x616d4344;
const NO_SECTOR = -1;

export class AtapiUnit {
  readonly core: DriveCore;
  /** Reply of the running command, before it goes out. */
  readonly reply: Uint8Array = new Uint8Array(REPLY_BYTES);
  /** The packet being executed; a copy, since the reply overwrites the buffer it came in. */
  readonly packet: Uint8Array = new Uint8Array(PACKET_BYTES);
  /** Told when the guest opens or closes the tray (the host may then eject the image). */
  onTray: ((open: boolean) => void) | undefined;
  readonly #dma: AtapiDma;
  /** Next sector to read for a PIO reply, or {@link NO_SECTOR}. */
  #lba = NO_SECTOR;
  #sectorBytes = 0;
  /** Bytes of the reply that are in ioBuffer and not yet offered: from start to end. */
  #start = 0;
  #end = 0;
  /** Sectors being read. */
  #reading = 0;

  constructor(core: DriveCore) {
    this.core = core;
    this.#dma = new AtapiDma(core, this);
  }

  reset(): void {
    this.#lba = NO_SECTOR;
    this.#sectorBytes = 0;
    this.#start = 0;
    this.#end = 0;
  }

  /** True if a disc is in and the tray is shut. */
  get mediumPresent(): boolean {
    return !this.core.state.tray.trayOpen && this.core.sectorCount > 0;
  }

  get inserted(): boolean {
    return this.core.io!.disk.inserted;
  }

  /** Size in sectors of 2048 bytes. */
  get cdSectors(): number {
    return Math.floor(this.core.sectorCount / 4);
  }

  /** The host put another disc in, or took it out. The guest first hears "no disc", then "disc changed". */
  mediumChanged(): void {
    const { core } = this;
    core.updateSize();
    core.state.tray.trayOpen = !this.inserted;
    core.state.cdromChanged = 1;
    core.state.events.newMedia = true;
    core.state.events.ejectRequest = false;
    core.raiseIrq();
  }

  /** The user pressed the eject button (`eject` in the monitor). `force` breaks the guest's lock. */
  ejectRequested(force: boolean): void {
    const { state } = this.core;
    state.events.ejectRequest = true;
    if (force) state.tray.trayLocked = false;
    this.core.raiseIrq();
  }

  /** ATA command PACKET. True when it is over (refused). */
  acceptPacket(): boolean {
    const { core } = this;
    const { state } = core;
    if ((state.feature & 0x02) !== 0) {
      core.abort(); // overlapped commands
      return true;
    }
    state.status = STATUS_DRDY | STATUS_DSC;
    state.nsector = 1;
    core.startBlock(0, PACKET_BYTES, END_PACKET_COMMAND);
    return false;
  }

  /** The packet is in ioBuffer. Also to repeat a command after a load. */
  execute(): void {
    const { state, pio } = this.core;
    this.packet.set(pio.ioBuffer.subarray(0, PACKET_BYTES));
    const command: AtapiCommand | undefined = ATAPI_COMMANDS[this.packet[0]!];
    const flags = command?.flags ?? 0;
    const anyTime = (flags & COMMAND_ANY_TIME) !== 0;
    if (state.senseKey === SENSE_UNIT_ATTENTION && !anyTime) {
      state.error = ERROR_MC | (SENSE_UNIT_ATTENTION << 4);
      state.status = STATUS_ERR;
      state.nsector = 0;
      this.core.raiseIrq();
    } else if (!anyTime && !state.tray.trayOpen && this.inserted && state.cdromChanged !== 0) {
      this.#reportChange();
    } else if ((flags & COMMAND_NEEDS_MEDIUM) !== 0 && !(this.mediumPresent && this.inserted)) {
      this.fail(SENSE_NOT_READY, ASC_NO_MEDIUM);
    } else if (command === undefined) {
      this.fail(SENSE_ILLEGAL_REQUEST, ASC_ILLEGAL_OPCODE);
    } else if ((flags & (COMMAND_NO_DATA | COMMAND_MAYBE_DATA)) !== 0 || this.checkByteCount()) {
      this.reply.fill(0);
      command.run(this);
    }
  }

  /** First the old disc is gone, then there is a new one: guests that poll need to see both. */
  #reportChange(): void {
    const { state } = this.core;
    const gone = state.cdromChanged === 1;
    state.cdromChanged = gone ? 2 : 0;
    if (gone) this.fail(SENSE_NOT_READY, ASC_NO_MEDIUM);
    else this.fail(SENSE_UNIT_ATTENTION, ASC_MEDIUM_CHANGED);
  }

  /** Command done, no (more) data. */
  succeed(): void {
    const { core } = this;
    core.state.error = 0;
    core.state.status = STATUS_DRDY | STATUS_DSC;
    this.setReason(REASON_TO_HOST | REASON_COMMAND);
    core.stopBlock();
    core.raiseIrq();
  }

  /** CHECK CONDITION with a sense key and additional sense code. */
  fail(senseKey: number, asc: number): void {
    const { core } = this;
    const { state } = core;
    state.error = senseKey << 4;
    state.status = STATUS_DRDY | STATUS_ERR;
    this.setReason(REASON_TO_HOST | REASON_COMMAND);
    state.senseKey = senseKey;
    state.asc = asc;
    core.stopBlock();
    core.raiseIrq();
  }

  /** The backend could not read. */
  failRead(): void {
    if (this.inserted) this.fail(SENSE_ILLEGAL_REQUEST, ASC_LBA_OUT_OF_RANGE);
    else this.fail(SENSE_NOT_READY, ASC_NO_MEDIUM);
  }

  /** Interrupt reason bits, in the low bits of the sector count. */
  setReason(reason: number): void {
    const { state } = this.core;
    state.nsector = ((state.nsector & ~7) | reason) >>> 0;
  }

  /** A PIO command with data needs a byte count limit; 0 aborts it, without an interrupt. */
  checkByteCount(): boolean {
    if (this.#usesDma || this.#byteCountLimit !== 0) return true;
    this.core.abort();
    return false;
  }

  get #usesDma(): boolean {
    return (this.core.state.feature & 1) !== 0;
  }

  /** Largest data block the host wants: the cylinder registers. */
  get #byteCountLimit(): number {
    const { state } = this.core;
    const limit = state.lcyl | (state.hcyl << 8);
    return limit === 0xffff ? 0xfffe : limit;
  }

  /** Sends `size` bytes of {@link reply}, cut to the host's allocation length. */
  send(size: number, allocation: number): void {
    const { core } = this;
    const length = Math.min(size, allocation);
    if (this.#usesDma) {
      this.#dma.startReply(length);
      return;
    }
    core.pio.ioBuffer.set(this.reply.subarray(0, length));
    this.#startPio(NO_SECTOR, 0, length, length);
  }

  /** Sends `count` sectors from `lba`, 2048 bytes each or 2352 with headers. */
  sendSectors(lba: number, count: number, sectorBytes: number): void {
    if (this.#usesDma) this.#dma.startSectors(lba, count, sectorBytes);
    else this.#startPio(lba, sectorBytes, 0, (count * sectorBytes) | 0);
  }

  #startPio(lba: number, sectorBytes: number, inBuffer: number, total: number): void {
    const { core } = this;
    this.#lba = lba;
    this.#sectorBytes = sectorBytes;
    this.#start = 0;
    this.#end = inBuffer;
    core.pio.packetTransferSize = total;
    core.pio.elementaryTransferSize = 0;
    core.state.status = STATUS_DRDY | STATUS_DSC;
    this.continueReply();
  }

  /** Next data block, or the end of the command. */
  continueReply(): void {
    const { core } = this;
    const { state, pio } = core;
    if (pio.packetTransferSize <= 0) {
      this.succeed();
      return;
    }
    const limit = this.#byteCountLimit;
    // A limit that cuts the reply must be even (ATA/ATAPI-6 8.23.3).
    const size = pio.packetTransferSize > limit ? limit & ~1 : pio.packetTransferSize;
    if (this.#end - this.#start < size) {
      this.#readAhead(size - (this.#end - this.#start));
      return;
    }
    this.setReason(REASON_TO_HOST);
    state.lcyl = size & 0xff;
    state.hcyl = (size >>> 8) & 0xff;
    pio.packetTransferSize -= size;
    const from = this.#start;
    this.#start += size;
    core.startBlock(from, size, END_PACKET_REPLY);
    core.raiseIrq();
  }

  /** Reads the sectors that hold the next `bytes` bytes, behind what is left of the last one. */
  #readAhead(bytes: number): void {
    const { core } = this;
    const { ioBuffer } = core.pio;
    if (this.#lba === NO_SECTOR || bytes <= 0) {
      // Only after a load of a state that did not say where the read stood.
      this.fail(SENSE_ILLEGAL_REQUEST, ASC_LBA_OUT_OF_RANGE);
      return;
    }
    ioBuffer.copyWithin(0, this.#start, this.#end);
    this.#end -= this.#start;
    this.#start = 0;
    this.#reading = Math.ceil(bytes / this.#sectorBytes);
    core.state.status |= STATUS_BSY;
    core.io!.read(this.#lba * CD_SECTOR_BYTES, this.#reading * CD_SECTOR_BYTES, this.#onRead);
  }

  readonly #onRead = (error: Error | undefined): void => {
    const { core } = this;
    const { ioBuffer } = core.pio;
    if (error) {
      this.failRead();
      return;
    }
    const source = core.io!.buffer;
    const raw = this.#sectorBytes === CD_RAW_SECTOR_BYTES;
    for (let i = 0; i < this.#reading; i++) {
      const data = source.subarray(i * CD_SECTOR_BYTES, (i + 1) * CD_SECTOR_BYTES);
      ioBuffer.set(data, this.#end + (raw ? 16 : 0));
      if (raw) frameRawSector(ioBuffer, this.#end, this.#lba);
      this.#lba++;
      this.#end += this.#sectorBytes;
    }
    core.state.status &= ~STATUS_BSY;
    this.continueReply();
  };

  /** Leaves a note of where the read stands, see the file header. */
  beforeSave(): void {
    const { pio } = this.core;
    const view = new DataView(pio.ioBuffer.buffer, pio.ioBuffer.byteOffset + PLACE_OFFSET);
    const needed = pio.endTransferFnIdx === END_PACKET_REPLY && pio.packetTransferSize > 0;
    if (needed) {
      const place = [PLACE_MAGIC, this.#lba, this.#sectorBytes, this.#start, this.#end];
      place.forEach((value, index) => {
        view.setInt32(index * 4, value);
      });
    } else if (view.getInt32(0) === PLACE_MAGIC) {
      pio.ioBuffer.fill(0, PLACE_OFFSET);
    }
  }

  afterLoad(): void {
    const { pio } = this.core;
    const view = new DataView(pio.ioBuffer.buffer, pio.ioBuffer.byteOffset + PLACE_OFFSET);
    this.core.updateSize();
    this.reset();
    if (pio.endTransferFnIdx !== END_PACKET_REPLY || view.getInt32(0) !== PLACE_MAGIC) return;
    const [lba, sectorBytes, start, end] = [4, 8, 12, 16].map((at) => view.getInt32(at));
    const sane = sectorBytes === CD_SECTOR_BYTES || sectorBytes === CD_RAW_SECTOR_BYTES;
    if (lba! < 0 || !sane || start! < 0 || start! > end! || end! > PLACE_OFFSET) return;
    this.#lba = lba!;
    this.#sectorBytes = sectorBytes!;
    this.#start = start!;
    this.#end = end!;
  }
}
