/**
 * Data transfers of the floppy controller: READ, WRITE, SCAN, VERIFY by DMA or through the FIFO. The disk is read and
 * written in runs, a run being what is left of a track; meanwhile DREQ is down (DMA) or RQM reads as zero (FIFO).
 *
 * A run's data are nowhere in the saved state: after a load the run is read or fetched from memory again, from the
 * sector where the state stands. So a write may be done twice, with the same data.
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
  ST0_ABNORMAL,
  ST0_SEEK_END,
  ST1_DATA_ERROR,
  ST1_END_OF_CYLINDER,
  ST1_MISSING_MARK,
  ST1_NOT_WRITABLE,
  ST2_SCAN_EQUAL,
  ST2_SCAN_FAILED,
} from './core.ts';
import { SECTOR_BYTES } from './drive.ts';
import { MSR_DIO, MSR_NONDMA, MSR_RQM, PHASE_EXECUTION } from './state.ts';

const COMMAND_MULTI_TRACK = 0x80;

export class FdcTransfer {
  readonly #core: FdcCore;
  /** Bytes of the current run that wait for DMA (read), or that the disk has taken (write). */
  #ready = 0;
  /** Bytes of the run under way. */
  #running = 0;
  /** Position in the memory block; the state's is gone when the result phase begins. */
  #position = 0;
  readonly #compared = new Uint8Array(SECTOR_BYTES);

  constructor(core: FdcCore) {
    this.#core = core;
    core.dma.registerChannel(core.channel, (_channel, position, size) => this.#serve(position, size));
  }

  /** Forgets the run under way (reset, load). */
  drop(): void {
    this.#ready = 0;
    this.#running = 0;
  }

  /** The nine bytes of the command are in the FIFO. */
  start(direction: number): void {
    const core = this.#core;
    const { state } = core;
    const [command, select, track, head, sector, sizeCode, eot, , shortLength] =
      state.fifo as unknown as number[];
    const drive = core.selectFrom(select!);
    this.drop();
    const sought = drive.seek(head!, track!, sector!);
    if (sought === 'bad-track') {
      core.refuse(0, track!, head!, sector!);
      return;
    }
    if (sought === 'bad-sector') {
      core.refuse(ST1_END_OF_CYLINDER, track!, head!, sector!);
      return;
    }
    if (sought === 'moved') state.status0 |= ST0_SEEK_END;
    if ((state.dsr & DSR_RATE) !== drive.state.rate.mediaRate) {
      core.refuse(ST1_MISSING_MARK, track!, head!, sector!);
      return;
    }
    const sectors = eot! - sector! + 1;
    if (sizeCode !== 0 && sectors < 0) {
      core.refuse(ST1_MISSING_MARK, track!, head!, sector!);
      return;
    }
    core.multiTrack = (command! & COMMAND_MULTI_TRACK) !== 0;
    state.dataDir = direction;
    state.dataPos = 0;
    state.dataLen =
      sizeCode === 0
        ? shortLength!
        : (128 << Math.min(sizeCode!, 7)) * (sectors + (core.multiTrack ? eot! : 0));
    state.eot = eot!;
    if ((core.dor & DOR_DMA) === 0) {
      this.#startFifo();
      return;
    }
    state.msr &= ~MSR_RQM;
    if (direction === DIRECTION_VERIFY) this.#verify();
    else core.dma.hold(core.channel);
  }

  /** After a load, the machine running again: goes on with a transfer that the state is in the middle of. */
  resume(): void {
    const core = this.#core;
    const { state } = core;
    if (state.progress.phase !== PHASE_EXECUTION || core.resultTimer.deadline >= 0) return;
    if (!core.current.inserted) core.finish(ST0_ABNORMAL, 0, 0);
    else if ((state.msr & MSR_NONDMA) !== 0) {
      if ((state.msr & MSR_DIO) !== 0 && state.dataPos % SECTOR_BYTES === 0) this.#fetch();
    } else if ((state.msr & MSR_RQM) === 0) {
      core.dma.hold(core.channel);
    }
  }

  /** DREQ is granted; the memory block programmed is `size` bytes. Returns the position reached. */
  #serve(position: number, size: number): number {
    const core = this.#core;
    const { state } = core;
    const moving = state.progress.phase === PHASE_EXECUTION && core.resultTimer.deadline < 0;
    if (!moving || (state.msr & (MSR_RQM | MSR_NONDMA)) !== 0) return position;
    if (this.#ready > 0 && this.#take()) return this.#position;
    const limit = Math.min(size, state.dataLen);
    this.#position = state.dataPos;
    if (state.dataPos >= limit) core.finish(0, 0, this.#isScan ? ST2_SCAN_FAILED : 0);
    else if (this.#running === 0) this.#startRun(limit);
    return this.#position;
  }

  get #isScan(): boolean {
    const { dataDir } = this.#core.state;
    return dataDir >= DIRECTION_SCAN_EQUAL && dataDir <= DIRECTION_SCAN_HIGH;
  }

  /** Deals with the run that is ready. True if the transfer ended with it. */
  #take(): boolean {
    const core = this.#core;
    const { state } = core;
    const bytes = this.#ready;
    const from = state.dataPos % SECTOR_BYTES;
    const { buffer } = core.current.io!;
    this.#ready = 0;
    this.#running = 0;
    if (state.dataDir === DIRECTION_READ) {
      core.dma.writeMemory(core.channel, buffer.subarray(from, from + bytes), state.dataPos, bytes);
    }
    for (let done = 0; done < bytes; ) {
      const part = Math.min(bytes - done, SECTOR_BYTES - (state.dataPos % SECTOR_BYTES));
      if (this.#isScan && this.#scan(buffer.subarray(from + done, from + done + part))) return true;
      if (!this.#advance(part)) {
        core.finish(0, 0, this.#isScan ? ST2_SCAN_FAILED : 0);
        return true;
      }
      done += part;
    }
    return false;
  }

  /** Compares a sector with memory. True if the condition holds: the scan is over. */
  #scan(disk: Uint8Array): boolean {
    const core = this.#core;
    const memory = this.#compared.subarray(0, disk.length);
    core.dma.readMemory(core.channel, memory, core.state.dataPos, memory.length);
    const different = disk.findIndex((byte, index) => byte !== memory[index]);
    if (different < 0) {
      core.finish(0, 0, ST2_SCAN_EQUAL);
      return true;
    }
    const memoryIsLess = memory[different]! < disk[different]!;
    const wanted = memoryIsLess ? DIRECTION_SCAN_LOW : DIRECTION_SCAN_HIGH;
    if (core.state.dataDir !== wanted) return false;
    core.finish(0, 0, 0);
    return true;
  }

  /** `bytes` of a sector are done. False if that was the last sector that the command can reach. */
  #advance(bytes: number): boolean {
    const { state } = this.#core;
    state.dataPos += bytes;
    this.#position = state.dataPos;
    return state.dataPos % SECTOR_BYTES !== 0 || this.#nextSector();
  }

  /** Next sector; the other side or next track after the last. False at the end of the track or cylinder. */
  #nextSector(): boolean {
    const core = this.#core;
    const drive = core.current;
    const { head, track, sect } = drive.state;
    if (sect < drive.lastSector && sect !== core.state.eot) {
      drive.seek(head, track, sect + 1);
      return true;
    }
    if (core.multiTrack && head === 0 && drive.doubleSided) {
      drive.seek(1, track, 1);
      return true;
    }
    core.state.status0 |= ST0_SEEK_END;
    drive.seek(core.multiTrack ? 0 : head, (track + 1) & 0xff, 1);
    return core.multiTrack && drive.doubleSided;
  }

  /** VERIFY moves no data: it steps over the sectors. */
  #verify(): void {
    const { state } = this.#core;
    while (state.dataPos < state.dataLen) {
      if (!this.#advance(Math.min(SECTOR_BYTES, state.dataLen - state.dataPos))) break;
    }
    this.#core.finish(0, 0, 0);
  }

  /** Reads or writes the sectors up to the end of the track or of the transfer, DREQ being down meanwhile. */
  #startRun(limit: number): void {
    const core = this.#core;
    const { state } = core;
    const drive = core.current;
    const { sect } = drive.state;
    const from = state.dataPos % SECTOR_BYTES;
    const last = state.eot >= sect ? Math.min(state.eot, drive.lastSector) : drive.lastSector;
    const room = Math.max(1, last - sect + 1) * SECTOR_BYTES - from;
    this.#running = Math.min(limit - state.dataPos, room);
    if (!drive.inserted) {
      core.finish(ST0_ABNORMAL, 0, 0);
    } else if (state.dataDir !== DIRECTION_WRITE) {
      core.dma.release(core.channel);
      this.#read(from + this.#running, this.#onRead);
    } else if (drive.readOnly) {
      core.finish(ST0_ABNORMAL | ST0_SEEK_END, ST1_NOT_WRITABLE, 0);
    } else {
      core.dma.release(core.channel);
      // Part of a sector: the rest of it must stay as it is.
      if ((from | this.#running) % SECTOR_BYTES !== 0) this.#read(from + this.#running, this.#onMergeRead);
      else this.#writeRun();
    }
  }

  /** Whole sectors from the head's place on; zeroes beyond the end of a small image. */
  #read(bytes: number, done: (error: Error | undefined) => void): void {
    const drive = this.#core.current;
    const io = drive.io!;
    const whole = Math.ceil(bytes / SECTOR_BYTES) * SECTOR_BYTES;
    const there = Math.max(0, Math.min(whole, io.disk.sizeBytes - drive.offset));
    io.buffer.fill(0, 0, whole);
    io.read(there > 0 ? drive.offset : 0, there, done);
  }

  readonly #onRead = (error: Error | undefined): void => {
    const core = this.#core;
    if (error) {
      core.finish(ST0_ABNORMAL, ST1_DATA_ERROR, ST1_DATA_ERROR);
      return;
    }
    this.#ready = this.#running;
    core.dma.hold(core.channel);
  };

  readonly #onMergeRead = (error: Error | undefined): void => {
    if (error) this.#core.finish(ST0_ABNORMAL, ST1_DATA_ERROR, ST1_DATA_ERROR);
    else this.#writeRun();
  };

  #writeRun(): void {
    const core = this.#core;
    const drive = core.current;
    const from = core.state.dataPos % SECTOR_BYTES;
    const io = drive.io!;
    core.dma.readMemory(
      core.channel,
      io.buffer.subarray(from, from + this.#running),
      core.state.dataPos,
      this.#running,
    );
    io.write(drive.offset, Math.ceil((from + this.#running) / SECTOR_BYTES) * SECTOR_BYTES, this.#onWritten);
  }

  readonly #onWritten = (error: Error | undefined): void => {
    const core = this.#core;
    if (error) {
      core.finish(ST0_ABNORMAL | ST0_SEEK_END, 0, 0);
      return;
    }
    this.#ready = this.#running;
    core.dma.hold(core.channel);
  };

  /** Transfer through the FIFO: the first sector of a read comes before the interrupt. */
  #startFifo(): void {
    const core = this.#core;
    const { state } = core;
    state.msr |= MSR_NONDMA | MSR_RQM;
    if (state.dataDir === DIRECTION_WRITE) {
      if (core.current.readOnly) core.finish(ST0_ABNORMAL | ST0_SEEK_END, ST1_NOT_WRITABLE, 0);
      else core.raiseIrq();
      return;
    }
    state.msr |= MSR_DIO;
    this.#fetch();
  }

  /** Gets the sector of the next byte into the FIFO. The heads move to it when that byte is read. */
  #fetch(): void {
    const core = this.#core;
    const drive = core.current;
    const { head, track, sect } = drive.state;
    const { status0 } = core.state;
    core.waiting = true;
    if (core.state.dataPos > 0) this.#nextSector();
    this.#read(SECTOR_BYTES, this.#onFetched);
    drive.seek(head, track, sect);
    core.state.status0 = status0;
  }

  readonly #onFetched = (error: Error | undefined): void => {
    const core = this.#core;
    core.waiting = false;
    if (error) {
      core.finish(ST0_ABNORMAL, ST1_DATA_ERROR, ST1_DATA_ERROR);
      return;
    }
    core.state.fifo.set(core.current.io!.buffer.subarray(0, SECTOR_BYTES));
    core.raiseIrq();
  };

  /** The guest reads a byte of data from the FIFO. */
  readByte(): number {
    const core = this.#core;
    const { state } = core;
    const at = state.dataPos % SECTOR_BYTES;
    if (at === 0 && state.dataPos > 0 && !this.#nextSector()) {
      core.finish(ST0_ABNORMAL, ST1_END_OF_CYLINDER, 0);
      return 0;
    }
    const value = state.fifo[at]!;
    state.dataPos++;
    if (state.dataPos >= state.dataLen) core.finish(0, 0, 0);
    else if (at === SECTOR_BYTES - 1) this.#fetch();
    return value;
  }

  /** The guest writes a byte of data into the FIFO. */
  writeByte(value: number): void {
    const core = this.#core;
    const { state } = core;
    const at = state.dataPos % SECTOR_BYTES;
    const io = core.current.io;
    state.fifo[at] = value;
    state.dataPos++;
    if ((at < SECTOR_BYTES - 1 && state.dataPos < state.dataLen) || !io) return;
    core.waiting = true;
    io.buffer.set(state.fifo);
    io.write(core.current.offset, SECTOR_BYTES, this.#onFifoWritten);
  }

  readonly #onFifoWritten = (error: Error | undefined): void => {
    const core = this.#core;
    core.waiting = false;
    if (error) {
      core.finish(ST0_ABNORMAL | ST0_SEEK_END, 0, 0);
      return;
    }
    const more = this.#nextSector();
    if (core.state.dataPos >= core.state.dataLen) core.finish(0, 0, 0);
    else if (more) core.raiseIrq();
    else core.finish(ST0_ABNORMAL, ST1_END_OF_CYLINDER, 0);
  };
}
