/**
 * Motorola MC146818 real-time clock with 128 bytes of CMOS RAM. Datasheet: Motorola ADI-1026 (MC146818A). Ports 0x70
 * (index) and 0x71 (data), IRQ 8.
 *
 * Not emulated: square-wave output, daylight saving, the NMI mask in bit 7 of port 0x70, reinjection of periodic
 * interrupts that the guest was too slow for (QEMU's `lost_tick_policy=slew`; the default `discard` is what happens).
 * Differences to QEMU 7.2 (hw/rtc/mc146818rtc.c): the shutdown status byte 0x0f survives a reset as on an AT, where
 * programs leave protected mode by it; a 12-hour alarm uses its own PM bit.
 *
 * Times on the stream are nanoseconds of QEMU's RTC clock: since 1970 with `-rtc clock=host` (QEMU's default), virtual
 * with `-rtc clock=vm`. They exceed the safe integers, hence bigint in the state; the chip counts from an origin.
 */
import { type Clock, mulDiv, NOT_ARMED, NS_PER_SECOND, type Ns, type Timer } from '../machine/clock.ts';
import type { Device, IrqLine, Mapping } from '../machine/device.ts';
import type { VmState } from '../migration/vmstate.ts';
import {
  A_DIVIDER,
  A_DIVIDER_32K,
  A_DIVIDER_RESET,
  A_RATE,
  A_UIP,
  B_24H,
  B_AIE,
  B_PIE,
  B_SET,
  B_SQWE,
  B_UIE,
  C_AF,
  C_IRQF,
  C_PF,
  C_UF,
  CENTURY,
  CMOS_SIZE,
  D_VRT,
  HOURS_ALARM,
  MINUTES_ALARM,
  NOT_ARMED_64,
  PS2_CENTURY,
  REG_A,
  REG_B,
  REG_C,
  REG_D,
  type RtcState,
  rtcVmState,
  SECONDS_ALARM,
} from './mc146818-state.ts';
import { isTimeRegister, secondsToShownAlarm, showTime, shownSeconds } from './mc146818-time.ts';

const RTC_HZ = 32_768;
/** UIP rises this long before the update: 244 µs. */
const UIP_LEAD: Ns = Math.floor((8 * NS_PER_SECOND) / RTC_HZ);
/** First update after the divider is released (datasheet, "Divider control"). */
const HALF_SECOND: Ns = NS_PER_SECOND / 2;
/** A clock that jumped further than this loses its periodic interrupts instead of getting them in a burst. */
const MAX_CLOCK_JUMP: Ns = 60 * NS_PER_SECOND;
const DAY: Ns = 86_400 * NS_PER_SECOND;
const NS_PER_SECOND_BIG = 1_000_000_000n;
/** Seconds from 1970 beyond which a saved date is damage, either way (about 35 000 years). */
const MAX_BASE = 1n << 40n;

/** Why the CPU was reset, told by one program to the next; and QEMU's value for SeaBIOS: back from suspend to RAM. */
const SHUTDOWN_STATUS = 0x0f;
const SHUTDOWN_RESUME = 0xfe;

/** The clock that the RTC shows: the host's, or virtual time. */
export interface RtcTimeSource {
  /** Nanoseconds since the origin, not negative. Runs as fast as virtual time but may jump (paused machine). */
  rtcNow(): Ns;
  /** Whole seconds that the stream counts more: Unix time of the origin for the host's clock, 0 for virtual time. */
  readonly originSeconds: number;
}

export interface RtcOptions {
  readonly clock: Clock;
  readonly irq: IrqLine;
  readonly rtc: RtcTimeSource;
  /** Date at power-on, seconds since 1970 (`-rtc base=`). */
  readonly startSeconds: number;
  /** The alarm went off, and its interrupt is enabled: wakes a suspended machine. */
  readonly onAlarm?: () => void;
}

export class Mc146818 implements Device<RtcState> {
  readonly name: string = 'mc146818rtc';
  readonly vmstate: VmState<RtcState, 'reinject'> = rtcVmState;
  readonly state: RtcState;
  readonly #clock: Clock;
  readonly #irq: IrqLine;
  readonly #rtc: RtcTimeSource;
  readonly #originNs: bigint;
  readonly #periodicTimer: Timer;
  readonly #updateTimer: Timer;
  readonly #onAlarm: (() => void) | undefined;
  readonly #mappings: readonly Mapping[];
  /** Guest time = rtcNow() + these. Derived from baseRtc, lastUpdate and offset. */
  #biasSeconds = 0;
  #biasNs: Ns = 0;
  /** `updateTimer` from the origin on, NOT_ARMED for none: guests poll for the update. */
  #updateDeadline: Ns = NOT_ARMED;

  constructor({ clock, irq, rtc, startSeconds, onAlarm }: RtcOptions) {
    this.#onAlarm = onAlarm;
    this.#clock = clock;
    this.#irq = irq;
    this.#rtc = rtc;
    this.#originNs = BigInt(rtc.originSeconds) * NS_PER_SECOND_BIG;
    this.#periodicTimer = clock.createTimer('rtc-periodic', () => this.#periodicFired());
    this.#updateTimer = clock.createTimer('rtc-update', () => this.#updateFired());
    this.state = {
      cmosData: new Uint8Array(CMOS_SIZE),
      cmosIndex: 0,
      periodicTimer: NOT_ARMED_64,
      nextPeriodicTime: 0n,
      irqCoalesced: 0,
      period: 0,
      baseRtc: 0n,
      lastUpdate: 0n,
      offset: 0,
      updateTimer: NOT_ARMED_64,
      nextAlarmTime: 0n,
      reinject: { irqReinjectOnAckCount: 0 },
    };
    const cmos = this.state.cmosData;
    cmos[REG_A] = 0x26;
    cmos[REG_B] = B_24H;
    cmos[REG_D] = D_VRT;
    this.setDate(startSeconds);
    this.#mappings = [
      {
        base: 0x70,
        region: {
          name: 'rtc',
          size: 2,
          read8: (offset) => (offset === 0 ? 0xff : this.#read()),
          write8: (offset, value) => {
            if (offset === 0) this.state.cmosIndex = value & 0x7f;
            else this.#write(value & 0xff);
          },
        },
      },
    ];
  }

  ports(): readonly Mapping[] {
    return this.#mappings;
  }

  /** Time and memory run on the battery: RESET only clears interrupt enables and flags (datasheet, "RESET"). */
  reset(): void {
    const cmos = this.state.cmosData;
    cmos[REG_B] = cmos[REG_B]! & ~(B_PIE | B_AIE | B_SQWE);
    cmos[REG_C] = 0;
    this.state.period = 0;
    this.state.irqCoalesced = 0;
    this.state.reinject.irqReinjectOnAckCount = 0;
    this.#cancelPeriodic();
    this.#scheduleUpdate();
    this.#irq.set(0);
  }

  /** Sets a byte of memory, as a board does that describes itself to its BIOS. */
  setCmos(index: number, value: number): void {
    this.state.cmosData[index & 0x7f] = value;
  }

  getCmos(index: number): number {
    return this.state.cmosData[index & 0x7f]!;
  }

  /** Date the guest sees, seconds since 1970, as if the clock always ran. */
  get dateSeconds(): number {
    return this.#guestSeconds(this.#rtc.rtcNow());
  }

  setDate(seconds: number): void {
    this.state.offset = 0;
    this.#setBase(seconds);
    showTime(this.state.cmosData, seconds);
    this.#scheduleUpdate();
  }

  /** After a load: goes on from the date at which the snapshot was taken instead of following the RTC clock. */
  continueFromSavedDate(): void {
    this.state.offset = 0;
    this.#setBase(shownSeconds(this.state.cmosData));
    this.#scheduleUpdate();
  }

  beforeSave(): void {
    this.#refreshTime();
  }

  validate(candidate: RtcState): string | undefined {
    const base = BigInt.asIntN(64, candidate.baseRtc);
    if (base < -MAX_BASE || base > MAX_BASE) return `base_rtc, found ${base}, expected a date`;
    return undefined;
  }

  afterLoad(version = rtcVmState.version): void {
    const state = this.state;
    if (version < 3) {
      state.offset = 0;
      this.#setBase(shownSeconds(this.state.cmosData));
      this.#scheduleUpdate();
    }
    this.#rebase();
    state.period = this.#periodTicks();
    const now = this.#rtc.rtcNow();
    const next = this.#fromWire(state.nextPeriodicTime);
    const isFarOff = now > next + MAX_CLOCK_JUMP || next > now + MAX_CLOCK_JUMP;
    if (state.period === 0 || isFarOff || state.periodicTimer === NOT_ARMED_64) {
      this.#schedulePeriodic(now, 0);
    } else {
      this.#arm(this.#periodicTimer, next);
    }
    if (state.updateTimer === NOT_ARMED_64) {
      this.#cancelUpdate();
      return;
    }
    this.#updateDeadline = this.#fromWire(state.updateTimer);
    if (this.#updateDeadline > now + DAY) this.#scheduleUpdate();
    else this.#arm(this.#updateTimer, this.#updateDeadline);
  }

  // Time

  #toWire(time: Ns): bigint {
    return BigInt.asUintN(64, BigInt(time) + this.#originNs);
  }

  #fromWire(time: bigint): Ns {
    return Number(BigInt.asIntN(64, time) - this.#originNs);
  }

  #setBase(seconds: number): void {
    this.state.baseRtc = BigInt.asUintN(64, BigInt(seconds));
    this.state.lastUpdate = this.#toWire(this.#rtc.rtcNow());
    this.#rebase();
  }

  #rebase(): void {
    const { baseRtc, lastUpdate, offset } = this.state;
    const since = BigInt.asIntN(64, lastUpdate) - this.#originNs;
    const bias = BigInt.asIntN(64, baseRtc) * NS_PER_SECOND_BIG - since + BigInt(offset);
    const rest = ((bias % NS_PER_SECOND_BIG) + NS_PER_SECOND_BIG) % NS_PER_SECOND_BIG;
    this.#biasNs = Number(rest);
    this.#biasSeconds = Number((bias - rest) / NS_PER_SECOND_BIG);
  }

  #guestSeconds(now: Ns): number {
    return Math.floor((now + this.#biasNs) / NS_PER_SECOND) + this.#biasSeconds;
  }

  /** Nanoseconds into the guest's second. */
  #guestFraction(now: Ns): Ns {
    return (now + this.#biasNs) % NS_PER_SECOND;
  }

  #isRunning(): boolean {
    const cmos = this.state.cmosData;
    return (cmos[REG_B]! & B_SET) === 0 && (cmos[REG_A]! & A_DIVIDER) <= A_DIVIDER_32K;
  }

  /** Brings the time registers up to date, unless the guest is setting them. */
  #refreshTime(): void {
    const cmos = this.state.cmosData;
    if ((cmos[REG_B]! & B_SET) === 0) showTime(cmos, this.#guestSeconds(this.#rtc.rtcNow()));
  }

  // Interrupts

  /** Arms a timer for a time of the RTC clock. */
  #arm(timer: Timer, deadline: Ns): void {
    const wait = Math.max(0, deadline - this.#rtc.rtcNow());
    timer.arm(Math.min(this.#clock.now() + wait, Number.MAX_SAFE_INTEGER));
  }

  #cancelPeriodic(): void {
    this.#periodicTimer.cancel();
    this.state.periodicTimer = NOT_ARMED_64;
  }

  /** Period of the periodic interrupt in 32.768 kHz clocks (datasheet, table 5), 0 when it is off. */
  #periodTicks(): number {
    const cmos = this.state.cmosData;
    const rate = cmos[REG_A]! & A_RATE;
    if ((cmos[REG_B]! & B_PIE) === 0 || rate === 0) return 0;
    return 1 << ((rate <= 2 ? rate + 7 : rate) - 1);
  }

  /**
   * Arms the periodic interrupt a period after `from`. After a change of rate (`oldPeriod` > 0) what has passed of
   * the old period counts for the new one.
   */
  #schedulePeriodic(from: Ns, oldPeriod: number): void {
    const state = this.state;
    const period = this.#periodTicks();
    state.period = period;
    if (period === 0) {
      state.irqCoalesced = 0;
      this.#cancelPeriodic();
      return;
    }
    const now = mulDiv(Math.max(0, from), RTC_HZ, NS_PER_SECOND);
    let passed = 0;
    if (oldPeriod > 0) {
      const next = mulDiv(Math.max(0, this.#fromWire(state.nextPeriodicTime)), RTC_HZ, NS_PER_SECOND);
      passed = Math.min(period, Math.max(0, now - (next - oldPeriod)));
    }
    const deadline = mulDiv(now + period - passed, NS_PER_SECOND, RTC_HZ) + 1;
    state.nextPeriodicTime = this.#toWire(deadline);
    state.periodicTimer = state.nextPeriodicTime;
    this.#arm(this.#periodicTimer, deadline);
  }

  #periodicFired(): void {
    const due = this.#fromWire(this.state.nextPeriodicTime);
    const now = this.#rtc.rtcNow();
    if (now < due) {
      this.#arm(this.#periodicTimer, due);
      return;
    }
    this.#schedulePeriodic(now > due + MAX_CLOCK_JUMP ? now : due, 0);
    const cmos = this.state.cmosData;
    cmos[REG_C] = cmos[REG_C]! | C_PF;
    if ((cmos[REG_B]! & B_PIE) !== 0) {
      cmos[REG_C] = cmos[REG_C]! | C_IRQF;
      this.#irq.set(1);
    }
  }

  /**
   * Arms the update timer for the next second, or only for the next alarm while the update flag is set anyway: a guest
   * that does not read register C costs nothing.
   */
  #scheduleUpdate(): void {
    const state = this.state;
    const cmos = state.cmosData;
    if ((cmos[REG_A]! & A_DIVIDER_RESET) === A_DIVIDER_RESET) {
      this.#cancelUpdate();
      return;
    }
    const now = this.#rtc.rtcNow();
    const nextSecond = now + NS_PER_SECOND - this.#guestFraction(now);
    this.#refreshTime();
    const nextAlarm = nextSecond + (secondsToShownAlarm(cmos) - 1) * NS_PER_SECOND;
    state.nextAlarmTime = this.#toWire(nextAlarm);
    let deadline = nextSecond;
    if ((cmos[REG_A]! & A_UIP) === 0 && (cmos[REG_C]! & C_UF) !== 0) {
      if ((cmos[REG_B]! & B_SET) !== 0 || (cmos[REG_C]! & C_AF) !== 0) {
        this.#cancelUpdate();
        return;
      }
      deadline = nextAlarm;
    }
    this.#updateDeadline = deadline;
    state.updateTimer = this.#toWire(deadline);
    this.#arm(this.#updateTimer, deadline);
  }

  #cancelUpdate(): void {
    this.#updateTimer.cancel();
    this.#updateDeadline = NOT_ARMED;
    this.state.updateTimer = NOT_ARMED_64;
  }

  #updateFired(): void {
    const state = this.state;
    const cmos = state.cmosData;
    const now = this.#rtc.rtcNow();
    if (now < this.#updateDeadline) {
      this.#arm(this.#updateTimer, this.#updateDeadline);
      return;
    }
    this.#cancelUpdate();
    this.#refreshTime();
    cmos[REG_A] = cmos[REG_A]! & ~A_UIP;
    const flags = now >= this.#fromWire(state.nextAlarmTime) ? C_UF | C_AF : C_UF;
    if ((flags & cmos[REG_B]! & C_AF) !== 0) this.#onAlarm?.();
    const fresh = flags & ~cmos[REG_C]!;
    cmos[REG_C] = cmos[REG_C]! | flags;
    if ((fresh & cmos[REG_B]!) !== 0) {
      cmos[REG_C] = cmos[REG_C]! | C_IRQF;
      this.#irq.set(1);
    }
    this.#scheduleUpdate();
  }

  /** The machine was suspended to RAM: at the reset that wakes it the BIOS is to go where the guest wants to wake. */
  suspended(): void {
    this.state.cmosData[SHUTDOWN_STATUS] = SHUTDOWN_RESUME;
  }

  // Registers

  #read(): number {
    const state = this.state;
    const cmos = state.cmosData;
    if (state.cmosIndex === PS2_CENTURY) state.cmosIndex = CENTURY;
    const index = state.cmosIndex;
    if (isTimeRegister(index)) {
      if (this.#isRunning()) this.#refreshTime();
    } else if (index === REG_A) {
      return cmos[REG_A]! | (this.#isUpdateInProgress() ? A_UIP : 0);
    } else if (index === REG_C) {
      return this.#readFlags();
    }
    return cmos[index]!;
  }

  /** Reading register C clears it and lets IRQ 8 go. */
  #readFlags(): number {
    const cmos = this.state.cmosData;
    const flags = cmos[REG_C]!;
    this.#irq.set(0);
    cmos[REG_C] = 0;
    if ((flags & (C_UF | C_AF)) !== 0) this.#scheduleUpdate();
    return flags;
  }

  #isUpdateInProgress(): boolean {
    if (!this.#isRunning()) return false;
    const now = this.#rtc.rtcNow();
    const { cmosData } = this.state;
    if (this.#updateDeadline !== NOT_ARMED && now >= this.#updateDeadline - UIP_LEAD) {
      // Stays up until the timer takes it away, so that a guest that polls sees it fall after the update.
      cmosData[REG_A] = cmosData[REG_A]! | A_UIP;
      return true;
    }
    return this.#guestFraction(now) >= NS_PER_SECOND - UIP_LEAD;
  }

  #write(value: number): void {
    const state = this.state;
    const cmos = state.cmosData;
    if (state.cmosIndex === PS2_CENTURY) state.cmosIndex = CENTURY;
    const index = state.cmosIndex;
    if (isTimeRegister(index)) {
      cmos[index] = value;
      if (this.#isRunning()) {
        this.#setBase(shownSeconds(this.state.cmosData));
        this.#scheduleUpdate();
      }
      return;
    }
    switch (index) {
      case SECONDS_ALARM:
      case MINUTES_ALARM:
      case HOURS_ALARM:
        cmos[index] = value;
        this.#scheduleUpdate();
        break;
      case REG_A:
        this.#writeRegA(value);
        break;
      case REG_B:
        this.#writeRegB(value);
        break;
      case REG_C:
      case REG_D:
        break;
      default:
        cmos[index] = value;
    }
  }

  #writeRegA(value: number): void {
    const cmos = this.state.cmosData;
    const before = cmos[REG_A]!;
    const oldPeriod = this.#periodTicks();
    let uip = before & A_UIP;
    if ((value & A_DIVIDER_RESET) === A_DIVIDER_RESET) {
      if (this.#isRunning()) this.#refreshTime();
      uip = 0;
    } else if ((before & A_DIVIDER_RESET) === A_DIVIDER_RESET && (value & A_DIVIDER) <= A_DIVIDER_32K) {
      if ((cmos[REG_B]! & B_SET) === 0) {
        this.state.offset = HALF_SECOND;
        this.#setBase(shownSeconds(this.state.cmosData));
      }
      uip = 0;
    }
    cmos[REG_A] = (value & ~A_UIP) | uip;
    if (((before ^ value) & A_RATE) !== 0) this.#schedulePeriodic(this.#rtc.rtcNow(), oldPeriod);
    this.#scheduleUpdate();
  }

  #writeRegB(written: number): void {
    const cmos = this.state.cmosData;
    const before = cmos[REG_B]!;
    const oldPeriod = this.#periodTicks();
    let value = written;
    if ((value & B_SET) !== 0) {
      if (this.#isRunning()) this.#refreshTime();
      cmos[REG_A] = cmos[REG_A]! & ~A_UIP;
      value &= ~B_UIE;
    } else if ((before & B_SET) !== 0 && (cmos[REG_A]! & A_DIVIDER) <= A_DIVIDER_32K) {
      // The second goes on from where it was when the guest began to set the time.
      this.state.offset = this.#guestFraction(this.#rtc.rtcNow());
      this.#setBase(shownSeconds(this.state.cmosData));
    }
    // A flag that is already up interrupts as soon as it is enabled.
    const isPending = (value & cmos[REG_C]! & (C_PF | C_AF | C_UF)) !== 0;
    cmos[REG_C] = (cmos[REG_C]! & ~C_IRQF) | (isPending ? C_IRQF : 0);
    this.#irq.set(isPending ? 1 : 0);
    cmos[REG_B] = value;
    if (((before ^ value) & B_PIE) !== 0) this.#schedulePeriodic(this.#rtc.rtcNow(), oldPeriod);
    this.#scheduleUpdate();
  }
}
