/**
 * Intel 8254 programmable interval timer. Datasheet: Intel 231164. Ports 0x40-0x43; OUT of channel 0 is IRQ 0, channel
 * 2 belongs to the speaker (pcspk.ts). A channel keeps no running counter: count and OUT are functions of the load time
 * and now, so a halted guest costs nothing.
 *
 * Not emulated: BCD counting (counts binary), the null-count bit of the read-back status, stopping of the count while
 * GATE is low, the extra clock between writing and loading a count, GATE of channels 0 and 1 (tied high). Modes 6 and 7
 * are no aliases of 2 and 3. All these are QEMU 7.2's (hw/timer/i8254.c), so that a snapshot counts on in either.
 */
import { type Clock, mulDiv, NOT_ARMED, NS_PER_SECOND, type Ns, type Timer } from '../machine/clock.ts';
import type { Device, IrqLine, Mapping } from '../machine/device.ts';
import { i32, i64, structs, u8, u16, u32, type VmState } from '../migration/vmstate.ts';

/** Input frequency in Hz: 14.31818 MHz / 12. */
export const PIT_HZ = 1_193_182;
/** A count of 0 written means this. */
const FULL_COUNT = 0x10000;
const CHANNEL_COUNT = 3;

/** RW field of the control word, also what `readState`, `writeState` and `countLatched` hold; 1 is LSB only. */
const RW_MSB = 2;
/** LSB first, then MSB: next is the LSB. */
const RW_WORD_LSB = 3;
/** LSB first, then MSB: next is the MSB. */
const RW_WORD_MSB = 4;

/** Control word, bits 7:6 = 3: read-back command; bits 5 and 4 (low active) latch count and status. */
const READ_BACK = 3;
const READ_BACK_NO_COUNT = 0x20;
const READ_BACK_NO_STATUS = 0x10;

export interface PitChannel {
  /** Initial count, 1 to 0x10000. */
  count: number;
  latchedCount: number;
  /** RW_…: which byte of the latched count is read next; 0 when none is latched. */
  countLatched: number;
  statusLatched: number;
  status: number;
  readState: number;
  writeState: number;
  writeLatch: number;
  rwMode: number;
  mode: number;
  bcd: number;
  gate: number;
  /** When the initial count was loaded. */
  countLoadTime: Ns;
  /** Next change of OUT; NOT_ARMED for none. Kept for channel 0 only. */
  nextTransitionTime: Ns;
}

export interface PitState {
  /** Nonzero while an HPET in legacy mode has taken IRQ 0 over. */
  irqDisabled: number;
  readonly channels: readonly PitChannel[];
  /** nextTransitionTime of channel 0 once more; this one counts on load. */
  irqTimer: Ns;
}

const channelVmState: VmState<PitChannel> = {
  name: 'pit channel',
  version: 2,
  minimumVersion: 2,
  fields: {
    count: i32({ min: 1, max: FULL_COUNT }),
    latchedCount: u16(),
    countLatched: u8(),
    statusLatched: u8(),
    status: u8(),
    readState: u8(),
    writeState: u8(),
    writeLatch: u8(),
    rwMode: u8(),
    mode: u8(),
    bcd: u8(),
    gate: u8(),
    countLoadTime: i64(),
    nextTransitionTime: i64(),
  },
};

/** Stream section `i8254` (QEMU 7.2 hw/timer/i8254_common.c). */
export const pitVmState: VmState<PitState> = {
  name: 'i8254',
  version: 3,
  minimumVersion: 2,
  fields: {
    irqDisabled: u32({ since: 3, name: 'channels[0].irq_disabled' }),
    channels: structs(channelVmState, CHANNEL_COUNT),
    irqTimer: i64({ name: 'channels[0].next_transition_time' }),
  },
};

/** Input clocks since the count was loaded. */
function elapsedTicks(channel: PitChannel, now: Ns): number {
  return mulDiv(Math.max(0, now - channel.countLoadTime), PIT_HZ, NS_PER_SECOND);
}

/** What the counting element holds at `now`, 16 bits. */
export function currentCount(channel: PitChannel, now: Ns): number {
  const ticks = elapsedTicks(channel, now);
  const { count } = channel;
  switch (channel.mode) {
    case 0:
    case 1:
    case 4:
    case 5:
      return (count - (ticks % FULL_COUNT)) & 0xffff;
    case 3:
      // Counts by two, through the whole period once for each level of OUT.
      return (count - ((2 * ticks) % count)) & 0xffff;
    default:
      return (count - (ticks % count)) & 0xffff;
  }
}

/** OUT pin at `now`, 0 or 1. */
export function outputLevel(channel: PitChannel, now: Ns): number {
  const ticks = elapsedTicks(channel, now);
  const { count } = channel;
  let high: boolean;
  switch (channel.mode) {
    case 1:
      high = ticks < count;
      break;
    case 2:
      // The pulse that ends a period, seen as a rise: one clock high.
      high = ticks !== 0 && ticks % count === 0;
      break;
    case 3:
      high = ticks % count < (count + 1) >> 1;
      break;
    case 4:
    case 5:
      high = ticks === count;
      break;
    default:
      high = ticks >= count;
  }
  return high ? 1 : 0;
}

/** Input clock at which OUT changes next, or -1 for never. */
function nextTransitionTick(channel: PitChannel, ticks: number): number {
  const { count } = channel;
  const intoPeriod = ticks % count;
  const periodStart = ticks - intoPeriod;
  switch (channel.mode) {
    case 2:
      return periodStart + (intoPeriod === 0 && ticks !== 0 ? 1 : count);
    case 3: {
      const half = (count + 1) >> 1;
      return periodStart + (intoPeriod < half ? half : count);
    }
    case 4:
    case 5:
      return ticks <= count ? count + (ticks === count ? 1 : 0) : -1;
    default:
      return ticks < count ? count : -1;
  }
}

/** First time after `now` at which OUT changes, or NOT_ARMED. */
export function nextTransition(channel: PitChannel, now: Ns): Ns {
  const tick = nextTransitionTick(channel, elapsedTicks(channel, now));
  if (tick < 0) return NOT_ARMED;
  // Rounding down may land on `now` itself: the change is then a nanosecond away.
  return Math.max(now + 1, channel.countLoadTime + mulDiv(tick, NS_PER_SECOND, PIT_HZ));
}

function newChannel(): PitChannel {
  return {
    count: FULL_COUNT,
    latchedCount: 0,
    countLatched: 0,
    statusLatched: 0,
    status: 0,
    readState: 0,
    writeState: 0,
    writeLatch: 0,
    rwMode: 0,
    mode: 3,
    bcd: 0,
    gate: 0,
    countLoadTime: 0,
    nextTransitionTime: 0,
  };
}

export interface PitOptions {
  readonly clock: Clock;
  /** OUT of channel 0. */
  readonly irq: IrqLine;
}

export class I8254 implements Device<PitState> {
  readonly name: string = 'i8254';
  readonly vmstate: VmState<PitState> = pitVmState;
  readonly state: PitState;
  readonly #clock: Clock;
  readonly #irq: IrqLine;
  readonly #timer: Timer;
  readonly #mappings: readonly Mapping[];

  constructor({ clock, irq }: PitOptions) {
    this.#clock = clock;
    this.#irq = irq;
    this.#timer = clock.createTimer('pit', (deadline) => this.#updateIrq(deadline));
    this.state = {
      irqDisabled: 0,
      channels: [newChannel(), newChannel(), newChannel()],
      irqTimer: NOT_ARMED,
    };
    this.#mappings = [
      {
        base: 0x40,
        region: {
          name: 'pit',
          size: 4,
          read8: (offset) => this.#read(offset),
          write8: (offset, value) => this.#write(offset, value),
        },
      },
    ];
  }

  ports(): readonly Mapping[] {
    return this.#mappings;
  }

  reset(): void {
    const now = this.#clock.now();
    this.state.irqDisabled = 0;
    for (const channel of this.state.channels) {
      Object.assign(channel, newChannel());
      channel.countLoadTime = now;
      channel.gate = channel === this.state.channels[2] ? 0 : 1;
    }
    const channel = this.state.channels[0]!;
    channel.nextTransitionTime = nextTransition(channel, now);
    this.#armTimer();
  }

  beforeSave(): void {
    this.state.irqTimer = this.state.channels[0]!.nextTransitionTime;
  }

  /** IRQ 0's level is in the PIC's section. */
  afterLoad(): void {
    this.state.channels[0]!.nextTransitionTime = this.state.irqTimer;
    this.#armTimer();
  }

  /** GATE of a channel: a rise restarts the count in the modes that it triggers. */
  setGate(index: number, level: number): void {
    const channel = this.state.channels[index]!;
    const rises = channel.gate === 0 && level !== 0;
    channel.gate = level;
    const mode = channel.mode;
    if (rises && (mode === 1 || mode === 2 || mode === 3 || mode === 5)) this.#restart(channel);
  }

  gate(index: number): number {
    return this.state.channels[index]!.gate;
  }

  /** OUT of a channel now, 0 or 1. */
  output(index: number): number {
    return outputLevel(this.state.channels[index]!, this.#clock.now());
  }

  /** Frequency in Hz that a channel in mode 3 sounds, 0 in other modes (the speaker's host side). */
  toneHz(index: number): number {
    const channel = this.state.channels[index]!;
    return channel.mode === 3 ? PIT_HZ / channel.count : 0;
  }

  #read(offset: number): number {
    // The control word register is write-only.
    if (offset === 3) return 0;
    const channel = this.state.channels[offset]!;
    if (channel.statusLatched !== 0) {
      channel.statusLatched = 0;
      return channel.status;
    }
    if (channel.countLatched !== 0) return this.#readLatched(channel);
    const count = currentCount(channel, this.#clock.now());
    switch (channel.readState) {
      case RW_MSB:
        return count >> 8;
      case RW_WORD_LSB:
        channel.readState = RW_WORD_MSB;
        return count & 0xff;
      case RW_WORD_MSB:
        channel.readState = RW_WORD_LSB;
        return count >> 8;
      default:
        return count & 0xff;
    }
  }

  #readLatched(channel: PitChannel): number {
    const part = channel.countLatched;
    channel.countLatched = part === RW_WORD_LSB ? RW_MSB : 0;
    return part === RW_MSB ? channel.latchedCount >> 8 : channel.latchedCount & 0xff;
  }

  #write(offset: number, value: number): void {
    if (offset === 3) {
      this.#writeControl(value);
      return;
    }
    const channel = this.state.channels[offset]!;
    switch (channel.writeState) {
      case RW_MSB:
        this.#load(channel, value << 8);
        break;
      case RW_WORD_LSB:
        channel.writeLatch = value;
        channel.writeState = RW_WORD_MSB;
        break;
      case RW_WORD_MSB:
        channel.writeState = RW_WORD_LSB;
        this.#load(channel, channel.writeLatch | (value << 8));
        break;
      default:
        this.#load(channel, value);
    }
  }

  #writeControl(value: number): void {
    const select = value >> 6;
    if (select === READ_BACK) {
      for (let i = 0; i < CHANNEL_COUNT; i++) {
        if ((value & (2 << i)) !== 0) this.#readBack(this.state.channels[i]!, value);
      }
      return;
    }
    const channel = this.state.channels[select]!;
    const access = (value >> 4) & 3;
    if (access === 0) {
      this.#latchCount(channel);
      return;
    }
    channel.rwMode = access;
    channel.readState = access;
    channel.writeState = access;
    channel.mode = (value >> 1) & 7;
    channel.bcd = value & 1;
  }

  #readBack(channel: PitChannel, command: number): void {
    if ((command & READ_BACK_NO_COUNT) === 0) this.#latchCount(channel);
    if ((command & READ_BACK_NO_STATUS) === 0 && channel.statusLatched === 0) {
      const out = outputLevel(channel, this.#clock.now());
      channel.status = ((out << 7) | (channel.rwMode << 4) | (channel.mode << 1) | channel.bcd) & 0xff;
      channel.statusLatched = 1;
    }
  }

  /** A latched count stays until it is read; further latch commands are ignored. */
  #latchCount(channel: PitChannel): void {
    if (channel.countLatched !== 0) return;
    channel.latchedCount = currentCount(channel, this.#clock.now());
    channel.countLatched = channel.rwMode;
  }

  #load(channel: PitChannel, count: number): void {
    channel.count = count === 0 ? FULL_COUNT : count;
    this.#restart(channel);
  }

  #restart(channel: PitChannel): void {
    channel.countLoadTime = this.#clock.now();
    if (channel === this.state.channels[0]) this.#updateIrq(channel.countLoadTime);
  }

  /** Drives IRQ 0 as OUT is at `now` and arms the timer for its next change. */
  #updateIrq(now: Ns): void {
    if (this.state.irqDisabled !== 0) return;
    const channel = this.state.channels[0]!;
    channel.nextTransitionTime = nextTransition(channel, now);
    this.#armTimer();
    this.#irq.set(outputLevel(channel, now));
  }

  #armTimer(): void {
    const next = this.state.channels[0]!.nextTransitionTime;
    if (next !== NOT_ARMED && this.state.irqDisabled === 0) this.#timer.arm(next);
    else this.#timer.cancel();
  }
}
