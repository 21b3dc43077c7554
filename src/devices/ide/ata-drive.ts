/**
 * One drive position of an IDE channel: ATA command set (ATA/ATAPI-6 chapter 8), for disks, CD drives and empty
 * positions. Packet commands are in atapi.ts, SMART in smart.ts, DMA transfers in ata-dma.ts. Which commands exist and
 * what they answer follows QEMU 7.2 hw/ide/core.c.
 *
 * Not emulated: power management (accepted), security, HPA (SET MAX), queued commands, CFA, streaming, media status.
 */
import { CD, COMMANDS, DISK, SEEKS } from './ata-command-set.ts';
import { AtaDma } from './ata-dma.ts';
import { AtaSettings } from './ata-settings.ts';
import type { AtapiUnit } from './atapi.ts';
import * as ata from './constants.ts';
import type { DriveCore } from './drive-core.ts';
import { fillIdentifyDisk, fillIdentifyPacket } from './identify.ts';
import { Smart } from './smart.ts';

const { STATUS_BSY, STATUS_DRDY, STATUS_DRQ, STATUS_DSC, SECTOR_BYTES } = ata;

/** Byte of the IDENTIFY data with the write cache's enable bit: low byte of word 85. */
const WRITE_CACHE_BYTE = 170;
/** DATA SET MANAGEMENT: the only subcommand. */
const DSM_TRIM = 0x01;

export class AtaDrive {
  readonly core: DriveCore;
  readonly atapi: AtapiUnit | undefined;
  readonly #smart: Smart;
  readonly #settings: AtaSettings;
  readonly #readDma: AtaDma;
  readonly #writeDma: AtaDma;
  readonly #trimDma: AtaDma;

  /** `atapi` for a CD drive. */
  constructor(core: DriveCore, atapi: AtapiUnit | undefined) {
    this.core = core;
    this.atapi = atapi;
    this.#smart = new Smart(core);
    this.#settings = new AtaSettings(core);
    this.#readDma = new AtaDma(core, 'read');
    this.#writeDma = new AtaDma(core, 'write');
    this.#trimDma = new AtaDma(core, 'trim');
  }

  /** Power-on: as a soft reset, and the CHS translation, IDENTIFY data and SMART counters start anew. */
  powerOn(): void {
    const { core } = this;
    core.state.identifySet = 0;
    core.state.identifyData.fill(0);
    core.state.events.newMedia = false;
    core.state.events.ejectRequest = false;
    core.pio.ioBuffer.fill(0);
    if (core.io) core.io.writeCache = true;
    this.#smart.powerOn();
    this.#settings.resetReverts = true;
    this.reset();
    core.updateSize();
  }

  /** Software reset or DEVICE RESET: whatever runs is given up. */
  reset(): void {
    const { core } = this;
    if (this.#settings.resetReverts) {
      this.#settings.resetReverts = false;
      core.heads = core.defaultGeometry.heads;
      core.sectors = core.defaultGeometry.sectors;
    }
    core.reset();
    this.atapi?.reset();
  }

  /** SRST: reset, then diagnose (ATA/ATAPI-6 9.2). */
  softReset(): void {
    this.reset();
    this.#diagnose();
  }

  /** Command register written, the drive being selected. */
  execute(command: number): void {
    const { core } = this;
    const { state } = core;
    const flags = COMMANDS[command]!;
    if ((state.status & (STATUS_BSY | STATUS_DRQ)) !== 0) {
      // While busy only a packet device listens, and only to DEVICE RESET.
      if (command !== ata.CMD_DEVICE_RESET || core.kind !== 'cdrom') return;
    }
    if ((flags & (core.kind === 'cdrom' ? CD : DISK)) === 0) {
      core.abort();
      core.raiseIrq();
      return;
    }
    state.status = STATUS_DRDY | STATUS_BSY;
    state.error = 0;
    if (!this.#start(command)) return;
    state.status &= ~STATUS_BSY;
    if ((flags & SEEKS) !== 0 && state.error === 0) state.status |= STATUS_DSC;
    core.raiseIrq();
  }

  /** The data block that the guest read or wrote is used up. */
  endBlock(): void {
    const { core } = this;
    core.state.status &= ~STATUS_DRQ;
    switch (core.pio.endTransferFnIdx) {
      case ata.END_SECTOR_READ:
        this.#readSectors();
        return;
      case ata.END_SECTOR_WRITE:
        this.#writeSectors();
        return;
      case ata.END_TRANSFER_STOP:
        core.stopBlock();
        return;
      case ata.END_PACKET_REPLY:
        this.atapi?.continueReply();
        return;
      case ata.END_PACKET_COMMAND:
        this.atapi?.execute();
        return;
    }
  }

  /** Repeats what a loaded state says was cut off: `status` of RETRY_…. The machine runs again. */
  retry(status: number): void {
    const { core } = this;
    const { retry } = core.bus;
    if (!core.io) return;
    const reads = (status & ata.RETRY_READ) !== 0;
    if ((status & ata.RETRY_DMA) !== 0) {
      core.setSectorNumber(retry.retrySectorNum);
      core.state.nsector = retry.retryNsector;
      core.busMaster.rewind();
      const trims = (status & ata.RETRY_TRIM) !== 0;
      core.startDma(trims ? this.#trimDma : reads ? this.#readDma : this.#writeDma);
    } else if ((status & ata.RETRY_PIO) !== 0) {
      if (reads) this.#readSectors();
      else this.#writeSectors();
    } else if ((status & ata.RETRY_FLUSH) !== 0) {
      this.#flush();
    } else if ((status & ata.RETRY_MASK) === ata.RETRY_ATAPI) {
      core.busMaster.rewind();
      this.atapi?.execute();
    }
  }

  /** After a load: nothing runs; what the host has may differ from what it had. */
  afterLoad(): void {
    const { core } = this;
    const { state, io } = core;
    io?.cancel();
    core.updateSize();
    if (io) io.writeCache = state.identifySet === 0 || (state.identifyData[WRITE_CACHE_BYTE]! & 0x20) !== 0;
    this.atapi?.afterLoad();
  }

  /** True when the command is over, false when it goes on by itself. */
  #start(command: number): boolean {
    const { core } = this;
    switch (command) {
      case ata.CMD_READ_SECTORS:
      case ata.CMD_READ_SECTORS_NO_RETRY:
      case ata.CMD_READ_SECTORS_EXT:
        return this.#startRead(command === ata.CMD_READ_SECTORS_EXT, 1);
      case ata.CMD_READ_MULTIPLE:
      case ata.CMD_READ_MULTIPLE_EXT:
        return this.#startRead(command === ata.CMD_READ_MULTIPLE_EXT, core.state.multSectors);
      case ata.CMD_WRITE_SECTORS:
      case ata.CMD_WRITE_SECTORS_NO_RETRY:
      case ata.CMD_WRITE_VERIFY:
      case ata.CMD_WRITE_SECTORS_EXT:
        return this.#startWrite(command === ata.CMD_WRITE_SECTORS_EXT, 1);
      case ata.CMD_WRITE_MULTIPLE:
      case ata.CMD_WRITE_MULTIPLE_EXT:
        return this.#startWrite(command === ata.CMD_WRITE_MULTIPLE_EXT, core.state.multSectors);
      case ata.CMD_READ_DMA:
      case ata.CMD_READ_DMA_NO_RETRY:
      case ata.CMD_READ_DMA_EXT:
        return this.#startDma(command === ata.CMD_READ_DMA_EXT, this.#readDma);
      case ata.CMD_WRITE_DMA:
      case ata.CMD_WRITE_DMA_NO_RETRY:
      case ata.CMD_WRITE_DMA_EXT:
        return this.#startDma(command === ata.CMD_WRITE_DMA_EXT, this.#writeDma);
      case ata.CMD_READ_VERIFY:
      case ata.CMD_READ_VERIFY_NO_RETRY:
      case ata.CMD_READ_VERIFY_EXT:
        this.#takeCount(command === ata.CMD_READ_VERIFY_EXT);
        return true;
      case ata.CMD_READ_NATIVE_MAX:
      case ata.CMD_READ_NATIVE_MAX_EXT:
        return this.#readNativeMax(command === ata.CMD_READ_NATIVE_MAX_EXT);
      case ata.CMD_FLUSH_CACHE:
      case ata.CMD_FLUSH_CACHE_EXT:
        return this.#flush();
      case ata.CMD_IDENTIFY:
        return this.#identify();
      case ata.CMD_IDENTIFY_PACKET:
        return this.#identifyPacket();
      case ata.CMD_PACKET:
        return this.atapi!.acceptPacket();
      case ata.CMD_DEVICE_RESET:
        return this.#deviceReset();
      case ata.CMD_EXECUTE_DIAGNOSTIC:
        return this.#diagnose();
      case ata.CMD_DATA_SET_MANAGEMENT:
        return this.#dataSetManagement();
      case ata.CMD_SMART:
        return this.#smart.execute();
      default:
        return this.#settings.execute(command) === 'done' ? true : this.#flush();
    }
  }

  /** Makes the full sector count of the two bytes: 0 stands for 256, or 65536. */
  #takeCount(lba48: boolean): void {
    const { state } = this.core;
    state.lba48 = lba48 ? 1 : 0;
    if (!lba48) state.nsector = state.nsector === 0 ? 256 : state.nsector;
    else state.nsector = (state.hobNsector << 8) | (state.nsector & 0xff) || 65536;
  }

  #startRead(lba48: boolean, sectorsPerBlock: number): boolean {
    const { core } = this;
    if (core.kind === 'cdrom') core.setSignature(); // ATA/ATAPI-4 8.27.5.2: how hosts find out
    if (core.kind === 'cdrom' || !core.io || sectorsPerBlock === 0) return this.#refuse();
    this.#takeCount(lba48);
    core.pio.reqNbSectors = sectorsPerBlock;
    this.#readSectors();
    return false;
  }

  #startWrite(lba48: boolean, sectorsPerBlock: number): boolean {
    const { core } = this;
    if (!core.io || sectorsPerBlock === 0) return this.#refuse();
    this.#takeCount(lba48);
    core.pio.reqNbSectors = sectorsPerBlock;
    core.state.status = STATUS_DSC | STATUS_DRDY;
    core.startBlock(0, this.#blockSectors() * SECTOR_BYTES, ata.END_SECTOR_WRITE);
    return false;
  }

  #startDma(lba48: boolean, transfer: AtaDma): boolean {
    const { core } = this;
    if (!core.io) return this.#refuse();
    this.#takeCount(lba48);
    core.state.status = STATUS_DRDY | STATUS_DSC | STATUS_DRQ;
    core.startDma(transfer);
    return false;
  }

  #refuse(): boolean {
    this.core.abort();
    return true;
  }

  /** Sectors of the next data block. */
  #blockSectors(): number {
    return Math.min(this.core.state.nsector, this.core.pio.reqNbSectors);
  }

  #readSectors(): void {
    const { core } = this;
    const { state } = core;
    state.status = STATUS_DRDY | STATUS_DSC;
    state.error = 0;
    const count = this.#blockSectors();
    if (count === 0) {
      core.stopBlock();
      return;
    }
    const first = core.sectorNumber();
    if (!core.io || !core.inRange(first, count)) {
      core.failPio();
      return;
    }
    state.status |= STATUS_BSY;
    core.io.read(first * SECTOR_BYTES, count * SECTOR_BYTES, this.#onRead);
  }

  readonly #onRead = (error: Error | undefined): void => {
    const { core } = this;
    const { state } = core;
    state.status &= ~STATUS_BSY;
    if (error) {
      core.failPio();
      return;
    }
    const count = this.#blockSectors();
    core.pio.ioBuffer.set(core.io!.buffer.subarray(0, count * SECTOR_BYTES));
    core.setSectorNumber(core.sectorNumber() + count);
    state.nsector -= count;
    core.startBlock(0, count * SECTOR_BYTES, ata.END_SECTOR_READ);
    core.raiseIrq();
  };

  #writeSectors(): void {
    const { core } = this;
    core.state.status = STATUS_DRDY | STATUS_DSC;
    const count = this.#blockSectors();
    const first = core.sectorNumber();
    if (!core.io || !core.inRange(first, count)) {
      core.failPio();
      return;
    }
    core.state.status |= STATUS_BSY;
    core.io.buffer.set(core.pio.ioBuffer.subarray(0, count * SECTOR_BYTES));
    core.io.write(first * SECTOR_BYTES, count * SECTOR_BYTES, this.#onWritten);
  }

  readonly #onWritten = (error: Error | undefined): void => {
    const { core } = this;
    const { state } = core;
    state.status &= ~STATUS_BSY;
    if (error) {
      core.failPio();
      return;
    }
    const count = this.#blockSectors();
    state.nsector -= count;
    core.setSectorNumber(core.sectorNumber() + count);
    if (state.nsector === 0) core.stopBlock();
    else core.startBlock(0, this.#blockSectors() * SECTOR_BYTES, ata.END_SECTOR_WRITE);
    core.raiseIrq();
  };

  #flush(): boolean {
    const { core } = this;
    if (!core.io) {
      this.#onFlushed(undefined);
    } else {
      core.state.status |= STATUS_BSY;
      core.setRetry();
      core.io.flush(this.#onFlushed);
    }
    return false;
  }

  readonly #onFlushed = (error: Error | undefined): void => {
    const { core } = this;
    if (error) {
      core.failPio();
      return;
    }
    core.state.status = STATUS_DRDY | STATUS_DSC;
    core.raiseIrq();
  };

  #identify(): boolean {
    const { core } = this;
    const { state } = core;
    if (core.kind === 'cdrom') core.setSignature();
    if (core.kind === 'cdrom' || !core.io) return this.#refuse();
    if (state.identifySet === 0) {
      const { cylinders } = core.defaultGeometry;
      const { heads, sectors } = core;
      const geometry = { cylinders, heads, sectors };
      const { writeCache } = core.io;
      fillIdentifyDisk(
        state.identifyData,
        core.identity,
        geometry,
        core.sectorCount,
        state.multSectors,
        writeCache,
      );
      state.identifySet = 1;
    }
    return this.#sendIdentity();
  }

  #identifyPacket(): boolean {
    const { state, identity } = this.core;
    if (state.identifySet === 0) {
      fillIdentifyPacket(state.identifyData, identity);
      state.identifySet = 1;
    }
    return this.#sendIdentity();
  }

  #sendIdentity(): boolean {
    const { core } = this;
    core.pio.ioBuffer.set(core.state.identifyData);
    core.state.status = STATUS_DRDY | STATUS_DSC;
    core.startBlock(0, SECTOR_BYTES, ata.END_TRANSFER_STOP);
    core.raiseIrq();
    return false;
  }

  #readNativeMax(lba48: boolean): boolean {
    const { core } = this;
    if (core.sectorCount === 0) return this.#refuse();
    this.#takeCount(lba48);
    core.setSectorNumber(core.sectorCount - 1);
    return true;
  }

  #dataSetManagement(): boolean {
    const { core } = this;
    if (core.state.feature !== DSM_TRIM || !core.io) return this.#refuse();
    core.state.status = STATUS_DRDY | STATUS_DSC | STATUS_DRQ;
    core.startDma(this.#trimDma);
    return false;
  }

  #deviceReset(): boolean {
    this.core.busMaster.finish(false);
    this.reset();
    this.core.state.status = 0;
    return false;
  }

  #diagnose(): boolean {
    const { core } = this;
    const { state } = core;
    state.select = ata.DEVICE_OBSOLETE_ONES;
    core.setSignature();
    // 0x01: device 0 passed, device 1 passed or not present. Not an error, so ERR stays clear.
    state.error = 0x01;
    state.status = core.kind === 'cdrom' ? 0 : STATUS_DRDY | STATUS_DSC;
    if (core.kind !== 'cdrom') core.raiseIrq();
    return false;
  }
}
