/**
 * Output side of a PS/2 device: a ring of 256 bytes of which 16 hold data (scan codes, packets), with replies to
 * commands put in front of them. Layout and limits are QEMU 7.2's (hw/input/ps2.c), because the ring is on the stream.
 */
import { buffer, i32, type VmState } from '../migration/vmstate.ts';

const RING_SIZE = 256;
const RING_MASK = RING_SIZE - 1;
/** What the device's own buffer holds; more is lost. */
const DATA_LIMIT = 16;
/** Largest reply to a command, generously. */
const REPLY_LIMIT = 8;
/** writeCmd while no command waits for its parameter. */
export const NO_COMMAND = -1;
/** cwptr while no reply is queued. */
export const NO_REPLY = -1;

export interface Ps2QueueState {
  /** The command whose parameter comes next, or NO_COMMAND. */
  writeCmd: number;
  rptr: number;
  wptr: number;
  count: number;
  data: Uint8Array;
}

export const ps2QueueVmState: VmState<Ps2QueueState> = {
  name: 'PS2 Common State',
  version: 3,
  minimumVersion: 2,
  fields: {
    writeCmd: i32(),
    rptr: i32({ name: 'queue.rptr' }),
    wptr: i32({ name: 'queue.wptr' }),
    count: i32({ name: 'queue.count' }),
    data: buffer(RING_SIZE, { name: 'queue.data' }),
  },
};

export class Ps2Queue {
  readonly state: Ps2QueueState = {
    writeCmd: NO_COMMAND,
    rptr: 0,
    wptr: 0,
    count: 0,
    data: new Uint8Array(RING_SIZE),
  };
  /** The controller sets this: 1 while there is data. It is called for every byte, also without a change. */
  onLevel: ((level: number) => void) | undefined;
  /** Where the replies end and data begins, NO_REPLY without replies. On the stream for keyboards only. */
  replyEnd: number = NO_REPLY;

  reset(): void {
    this.state.writeCmd = NO_COMMAND;
    this.clear();
    this.onLevel?.(0);
  }

  clear(): void {
    this.state.rptr = 0;
    this.state.wptr = 0;
    this.state.count = 0;
    this.replyEnd = NO_REPLY;
  }

  /** Bytes of data that still fit. */
  get room(): number {
    return Math.max(0, DATA_LIMIT - this.state.count);
  }

  /** Queues all of the bytes, or none if they do not fit together. */
  push(...bytes: readonly number[]): void {
    const state = this.state;
    if (bytes.length > this.room) return;
    for (const byte of bytes) {
      state.data[state.wptr] = byte;
      state.wptr = (state.wptr + 1) & RING_MASK;
      state.count++;
    }
    this.onLevel?.(1);
  }

  /** Puts the reply to a command in front of everything, in place of an earlier reply. */
  reply(...bytes: readonly number[]): void {
    const state = this.state;
    this.dropReply();
    state.rptr = (state.rptr - bytes.length) & RING_MASK;
    for (let i = 0; i < bytes.length; i++) state.data[(state.rptr + i) & RING_MASK] = bytes[i]!;
    state.count += bytes.length;
    this.replyEnd = (state.rptr + bytes.length) & RING_MASK;
    this.onLevel?.(1);
  }

  /** Forgets what is left of the last reply: a new command has come. */
  dropReply(): void {
    if (this.replyEnd === NO_REPLY) return;
    const state = this.state;
    state.count -= (this.replyEnd - state.rptr) & RING_MASK;
    state.rptr = this.replyEnd;
    this.replyEnd = NO_REPLY;
  }

  /** The next byte. Of an empty queue the last one again, which EMM386 needs. */
  read(): number {
    const state = this.state;
    if (state.count === 0) return state.data[(state.rptr - 1) & RING_MASK]!;
    const byte = state.data[state.rptr]!;
    state.rptr = (state.rptr + 1) & RING_MASK;
    state.count--;
    if (state.rptr === this.replyEnd) this.replyEnd = NO_REPLY;
    this.onLevel?.(0);
    if (state.count !== 0) this.onLevel?.(1);
    return byte;
  }

  /** Makes a loaded ring consistent: earlier QEMUs kept up to 256 bytes, and pointers may be damaged. */
  afterLoad(replyEnd: number): void {
    const state = this.state;
    const replies = replyEnd === NO_REPLY ? 0 : Math.min((replyEnd - state.rptr) & RING_MASK, REPLY_LIMIT);
    state.count = Math.min(Math.max(state.count, replies), replies + DATA_LIMIT);
    state.rptr &= RING_MASK;
    state.wptr = (state.rptr + state.count) & RING_MASK;
    this.replyEnd = replies === 0 ? NO_REPLY : (state.rptr + replies) & RING_MASK;
  }
}
