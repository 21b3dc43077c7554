/** A floppy drive: where its heads are, what is in it. Rules of seeking: QEMU 7.2 hw/block/fdc.c. */
import { DiskIo } from '../disk-io.ts';
import type { DiskBackend } from '../../machine/device.ts';
import { FALLBACK_DRIVE, type FloppyDriveType, pickFormat } from './formats.ts';
import type { FloppyDriveState } from './state.ts';

export const SECTOR_BYTES = 512;
/** An empty drive steps as far as it is told: the limits come with a disk. */
const NO_LIMIT = 0xff;

export type SeekResult = 'same-track' | 'moved' | 'bad-track' | 'bad-sector';

export class FloppyDrive {
  readonly state: FloppyDriveState;
  /** Undefined: no drive is connected. */
  readonly io: DiskIo | undefined;
  type: FloppyDriveType = 'none';
  /** Sectors in a track, and tracks. */
  lastSector = 0;
  maxTrack = 0;
  doubleSided = false;

  constructor(state: FloppyDriveState, backend: DiskBackend | undefined) {
    this.state = state;
    this.io = backend && new DiskIo(backend);
    if (!backend) return;
    this.type = backend.inserted ? pickFormat(backend.sizeBytes, undefined).drive : FALLBACK_DRIVE;
    this.takeFormat();
  }

  get inserted(): boolean {
    return this.io?.disk.inserted ?? false;
  }

  get readOnly(): boolean {
    return this.io?.disk.readOnly ?? true;
  }

  /** Geometry and data rate of the disk that is in now. */
  takeFormat(): void {
    if (!this.io) return;
    if (!this.inserted) {
      this.lastSector = NO_LIMIT;
      this.maxTrack = NO_LIMIT;
      return;
    }
    const format = pickFormat(this.io.disk.sizeBytes, this.type);
    this.lastSector = format.sectors;
    this.maxTrack = format.tracks;
    this.doubleSided = format.heads === 2;
    this.state.rate.mediaRate = format.rate;
  }

  /** Another disk, or none: the change line is set until the heads step with a disk in. */
  mediumChanged(): void {
    this.state.changed.mediaChanged = 1;
    this.takeFormat();
  }

  /** Byte offset in the image of the sector under the head. */
  get offset(): number {
    return this.sectorIndex(this.state.head, this.state.track, this.state.sect) * SECTOR_BYTES;
  }

  sectorIndex(head: number, track: number, sector: number): number {
    return (track * (this.doubleSided ? 2 : 1) + head) * this.lastSector + sector - 1;
  }

  /** Moves the heads. A drive without a disk moves and reports a bad track. */
  seek(head: number, track: number, sector: number): SeekResult {
    const { state } = this;
    if (track > this.maxTrack || (head !== 0 && !this.doubleSided)) return 'bad-track';
    if (sector > this.lastSector) return 'bad-sector';
    let result: SeekResult = 'same-track';
    if (this.sectorIndex(head, track, sector) * SECTOR_BYTES !== this.offset) {
      state.head = head;
      if (state.track !== track) {
        if (this.inserted) state.changed.mediaChanged = 0;
        result = 'moved';
      }
      state.track = track;
      state.sect = sector;
    }
    return this.inserted ? result : 'bad-track';
  }

  recalibrate(): void {
    this.seek(0, 0, 1);
  }
}
