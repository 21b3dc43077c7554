/** Stream section `timer`: virtual clock and time stamp counter. Facts: QEMU 7.2 softmmu/cpu-timers.c. */
import { i64, type VmState } from '../migration/vmstate.ts';
import type { Device } from './device.ts';
import type { VirtualClock } from './virtual-clock.ts';

export interface IcountState {
  icountBias: number;
  icount: number;
}

export interface TimersState {
  /** Time stamp counter. */
  cpuTicksOffset: number;
  /** Virtual time, ns. */
  cpuClockOffset: number;
  icount: IcountState;
}

const icountVmState: VmState<IcountState> = {
  name: 'timer/icount',
  version: 1,
  minimumVersion: 1,
  fields: { icountBias: i64({ name: 'qemu_icount_bias' }), icount: i64({ name: 'qemu_icount' }) },
};

/** Latest virtual time accepted from a snapshot, ns: 52 days. Deadlines behind it are still safe integers. */
const MAX_TIME = 2 ** 52;

/** A rate is taken from counters that ran at least this long, ns, and lie within these GHz. */
const MIN_RATE_TIME = 1e9;
const MIN_RATE = 0.5;
const MAX_RATE = 8;

export class TimerSection implements Device<TimersState> {
  readonly name: string = 'timer';
  readonly vmstate: VmState<TimersState, 'icount'>;
  readonly state: TimersState = {
    cpuTicksOffset: 0,
    cpuClockOffset: 0,
    icount: { icountBias: 0, icount: 0 },
  };
  readonly #clock: VirtualClock;
  readonly #instructions: { get(): number; set(value: number): void };
  /**
   * TSC = #tscStart + (virtual ns - #tscSince) × #tscRate. It counts at 1 GHz; QEMU without -icount counts host cycles,
   * and a guest that measured its rate there goes on at that rate here.
   */
  #tscStart = 0;
  #tscSince = 0;
  #tscRate = 1;

  constructor(clock: VirtualClock, instructions: { get(): number; set(value: number): void }) {
    this.#clock = clock;
    this.#instructions = instructions;
    this.vmstate = {
      name: 'timer',
      version: 2,
      minimumVersion: 1,
      fields: {
        cpuTicksOffset: i64({ unusedAfter: 8 }),
        cpuClockOffset: i64({ since: 2 }),
      },
      subsections: {
        icount: {
          vmstate: icountVmState,
          needed: () => clock.icount !== undefined,
          absent: () => ({ icountBias: 0, icount: -1 }),
        },
      },
    };
  }

  tsc(): number {
    return this.#tscStart + Math.floor((this.#clock.now() - this.#tscSince) * this.#tscRate);
  }

  reset(): void {}

  beforeSave(): void {
    const now = this.#clock.now();
    this.state.cpuTicksOffset = Math.floor(this.tsc());
    this.state.cpuClockOffset = now;
    const count = this.#instructions.get();
    const shift = this.#clock.icount?.shift ?? 0;
    this.state.icount.icount = count;
    this.state.icount.icountBias = now - count * 2 ** shift;
  }

  validate(candidate: TimersState): string | undefined {
    const { cpuClockOffset, cpuTicksOffset, icount } = candidate;
    if (cpuClockOffset < 0 || cpuClockOffset > MAX_TIME) {
      return `cpu_clock_offset: found ${cpuClockOffset}, expected 0 to ${MAX_TIME}`;
    }
    if (Math.abs(cpuTicksOffset) > MAX_TIME) {
      return `cpu_ticks_offset: found ${cpuTicksOffset}, expected at most ${MAX_TIME}`;
    }
    const most = MAX_TIME / 2 ** (this.#clock.icount?.shift ?? 0);
    if (icount.icount > most) return `qemu_icount: found ${icount.icount}, expected at most ${most}`;
    return undefined;
  }

  afterLoad(): void {
    if (this.state.icount.icount >= 0) this.#instructions.set(this.state.icount.icount);
    this.#clock.set(this.state.cpuClockOffset);
    this.#tscStart = this.state.cpuTicksOffset;
    this.#tscSince = this.state.cpuClockOffset;
    this.#tscRate = this.state.icount.icount >= 0 ? 1 : this.#savedRate();
  }

  /** Both counters of a machine start at 0, so their ratio is the rate in GHz; within what processors have. */
  #savedRate(): number {
    const { cpuTicksOffset, cpuClockOffset } = this.state;
    const rate = cpuTicksOffset / cpuClockOffset;
    return cpuClockOffset >= MIN_RATE_TIME && rate > MIN_RATE && rate < MAX_RATE ? rate : 1;
  }
}
