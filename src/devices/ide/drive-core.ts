/**
 * What ATA disks and ATAPI drives have in common: task file, addresses, PIO data blocks, INTRQ, and the ends of
 * commands. ATA/ATAPI-6; order of status changes and interrupts as QEMU 7.2 hw/ide/core.c has them.
 */
import type { BusMaster, DmaTransfer } from './bmdma.ts';
import {
  CONTROL_NIEN,
  DEVICE_HEAD,
  DEVICE_LBA,
  DEVICE_OBSOLETE_ONES,
  END_NOTHING,
  END_TRANSFER_STOP,
  ERROR_ABRT,
  MAX_MULTIPLE,
  SECTOR_BYTES,
  STATUS_DRDY,
  STATUS_DRQ,
  STATUS_DSC,
  STATUS_ERR,
} from './constants.ts';
import type { DiskIo } from '../disk-io.ts';
import type { DiskGeometry, DriveIdentity } from './identify.ts';
import type { BusState, DriveState, PioState } from './vmstate.ts';

/** An empty position on the cable behaves as a disk that is not there. */
export type DriveKind = 'disk' | 'cdrom';

export interface DriveCoreOptions {
  readonly state: DriveState;
  readonly bus: BusState;
  readonly busMaster: BusMaster;
  readonly unit: number;
  readonly kind: DriveKind;
  readonly io: DiskIo | undefined;
  readonly identity: DriveIdentity;
  readonly geometry: DiskGeometry;
}

export class DriveCore {
  readonly state: DriveState;
  readonly pio: PioState;
  readonly bus: BusState;
  readonly busMaster: BusMaster;
  readonly unit: number;
  readonly kind: DriveKind;
  /** Undefined: no drive at this position. */
  readonly io: DiskIo | undefined;
  readonly identity: DriveIdentity;
  readonly defaultGeometry: DiskGeometry;
  /** CHS translation in force (INITIALIZE DEVICE PARAMETERS). Not on the stream, as in QEMU. */
  heads: number;
  sectors: number;
  /** Size in 512-byte sectors; 0 for a CD drive without a medium. */
  sectorCount = 0;

  constructor(options: DriveCoreOptions) {
    this.state = options.state;
    this.pio = options.state.pio;
    this.bus = options.bus;
    this.busMaster = options.busMaster;
    this.unit = options.unit;
    this.kind = options.kind;
    this.io = options.io;
    this.identity = options.identity;
    this.defaultGeometry = options.geometry;
    this.heads = options.geometry.heads;
    this.sectors = options.geometry.sectors;
    this.updateSize();
  }

  /** Takes the backend's size anew. */
  updateSize(): void {
    const disk = this.io?.disk;
    this.sectorCount = disk?.inserted ? Math.floor(disk.sizeBytes / SECTOR_BYTES) : 0;
  }

  /** Raises INTRQ unless the guest disabled it. */
  raiseIrq(): void {
    if ((this.bus.cmd & CONTROL_NIEN) === 0) this.busMaster.setIrq(1);
  }

  /** Hardware or software reset of the drive: registers, signature, no request (ATA/ATAPI-6 9.2). */
  reset(): void {
    const { state, pio } = this;
    this.io?.cancel();
    state.multSectors = MAX_MULTIPLE;
    state.feature = 0;
    state.error = 0;
    state.hobFeature = 0;
    state.hobSector = 0;
    state.hobNsector = 0;
    state.hobLcyl = 0;
    state.hobHcyl = 0;
    state.select = DEVICE_OBSOLETE_ONES;
    state.status = STATUS_DRDY | STATUS_DSC;
    state.lba48 = 0;
    state.senseKey = 0;
    state.asc = 0;
    state.cdromChanged = 0;
    state.tray.trayLocked = false;
    state.tray.trayOpen = false;
    pio.packetTransferSize = 0;
    pio.elementaryTransferSize = 0;
    pio.reqNbSectors = 0;
    this.setSignature();
    this.#emptyBlock(END_NOTHING);
    pio.ioBuffer.fill(0xff, 0, 4);
  }

  /** Device signature (ATA/ATAPI-6 9.12): how a host tells disk, packet device and nothing apart. */
  setSignature(): void {
    const { state } = this;
    state.select &= ~DEVICE_HEAD;
    state.nsector = 1;
    state.sector = 1;
    const [low, high] = this.kind === 'cdrom' ? [0x14, 0xeb] : this.io ? [0, 0] : [0xff, 0xff];
    state.lcyl = low!;
    state.hcyl = high!;
  }

  /** Offers `size` bytes of ioBuffer from `offset` to the data port, then does `end` (one of END_…). */
  startBlock(offset: number, size: number, end: number): void {
    const { state, pio } = this;
    pio.curIoBufferOffset = offset;
    pio.curIoBufferLen = size;
    pio.endTransferFnIdx = end;
    this.setRetry();
    if ((state.status & STATUS_ERR) === 0) state.status |= STATUS_DRQ;
  }

  /** No more data for the data port. */
  stopBlock(): void {
    this.#emptyBlock(END_TRANSFER_STOP);
    this.state.status &= ~STATUS_DRQ;
  }

  #emptyBlock(end: number): void {
    this.pio.endTransferFnIdx = end;
    this.pio.curIoBufferOffset = 0;
    this.pio.curIoBufferLen = 0;
  }

  /** Ends the command with ABRT. The caller raises INTRQ where the protocol wants it. */
  abort(): void {
    this.stopBlock();
    this.state.status = STATUS_DRDY | STATUS_ERR;
    this.state.error = ERROR_ABRT;
  }

  /** A PIO request failed. */
  failPio(): void {
    this.abort();
    this.raiseIrq();
  }

  /** A DMA request failed: INTRQ, and the bus master stops. */
  failDma(): void {
    this.abort();
    this.endDma(false);
    this.raiseIrq();
  }

  /** Hands a transfer to the bus master; it runs when the guest starts that. */
  startDma(transfer: DmaTransfer): void {
    this.setRetry();
    this.busMaster.begin(transfer);
  }

  endDma(more: boolean): void {
    const { retry } = this.bus;
    retry.retryUnit = 0xff;
    retry.retrySectorNum = 0;
    retry.retryNsector = 0;
    this.busMaster.finish(more);
  }

  /** Notes what would have to be repeated if the machine were saved now. */
  setRetry(): void {
    const { retry } = this.bus;
    retry.retryUnit = this.unit;
    retry.retrySectorNum = this.sectorNumber();
    retry.retryNsector = this.state.nsector;
  }

  /** True if `count` sectors from `first` lie on the disk. */
  inRange(first: number, count: number): boolean {
    return first >= 0 && first + count <= this.sectorCount;
  }

  /** Sector address in the task file: LBA48, LBA28 or CHS. */
  sectorNumber(): number {
    const { state } = this;
    const low = (state.hcyl << 16) | (state.lcyl << 8) | state.sector;
    if ((state.select & DEVICE_LBA) === 0) {
      const track = ((state.hcyl << 8) | state.lcyl) * this.heads + (state.select & DEVICE_HEAD);
      return track * this.sectors + state.sector - 1;
    }
    if (state.lba48 === 0) return ((state.select & DEVICE_HEAD) << 24) | low;
    const high = (state.hobHcyl << 16) | (state.hobLcyl << 8) | state.hobSector;
    return high * 0x100_0000 + low;
  }

  /** Puts a sector address into the task file, in the form of the running command. */
  setSectorNumber(sector: number): void {
    const { state } = this;
    if ((state.select & DEVICE_LBA) === 0) {
      // A translation of 0 heads or sectors cannot be divided by; nothing sensible can be addressed with it.
      const perTrack = Math.max(1, this.sectors);
      const track = Math.floor(sector / perTrack);
      const cylinder = Math.floor(track / this.heads);
      state.hcyl = (cylinder >>> 8) & 0xff;
      state.lcyl = cylinder & 0xff;
      state.select = (state.select & ~DEVICE_HEAD) | ((track % this.heads) & DEVICE_HEAD);
      state.sector = ((sector % perTrack) + 1) & 0xff;
      return;
    }
    const low = sector % 0x100_0000;
    const high = Math.floor(sector / 0x100_0000);
    state.sector = low & 0xff;
    state.lcyl = (low >>> 8) & 0xff;
    state.hcyl = (low >>> 16) & 0xff;
    if (state.lba48 === 0) {
      state.select = (state.select & ~DEVICE_HEAD) | (high & DEVICE_HEAD);
    } else {
      state.hobSector = high & 0xff;
      state.hobLcyl = (high >>> 8) & 0xff;
      state.hobHcyl = (high >>> 16) & 0xff;
    }
  }
}
