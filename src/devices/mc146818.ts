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
import { type Clock, mulDiv, NS_PER_SECOND, type Ns, type Timer } from '../machine/clock.ts';
import type { Device, IrqLine, Mapping } from '../machine/device.ts';
import { big64, buffer, i64, type Subsection, u8, u16, u32, type VmState } from '../migration/vmstate.ts';
import { type CivilTime, DONT_CARE, fromCivil, secondsToAlarm, toCivil } from './rtc-calendar.ts';

/** CMOS indices of the clock (datasheet, "Address Map"). */
const SECONDS = 0x00;
const SECONDS_ALARM = 0x01;
const MINUTES = 0x02;
const MINUTES_ALARM = 0x03;
const HOURS = 0x04;
const HOURS_ALARM = 0x05;
const DAY_OF_WEEK = 0x06;
const DAY_OF_MONTH = 0x07;
const MONTH = 0x08;
const YEAR = 0x09;
const REG_A = 0x0a;
const REG_B = 0x0b;
const REG_C = 0x0c;
const REG_D = 0x0d;
/** Century byte of PC BIOSes; the PS/2 has it at 0x37. */
const CENTURY = 0x32;
const PS2_CENTURY = 0x37;

const A_UIP = 0x80;
const A_DIVIDER = 0x70;
const A_DIVIDER_RESET = 0x60;
/** Largest divider setting that lets the clock run: 32.768 kHz. */
const A_DIVIDER_32K = 0x20;
const A_RATE = 0x0f;
const B_SET = 0x80;
const B_PIE = 0x40;
const B_AIE = 0x20;
const B_UIE = 0x10;
const B_SQWE = 0x08;
const B_BINARY = 0x04;
const B_24H = 0x02;
const C_IRQF = 0x80;
const C_PF = 0x40;
const C_AF = 0x20;
const C_UF = 0x10;
const D_VRT = 0x80;

const HOUR_PM = 0x80;
/** Alarm bytes with both bits set match anything. */
const ALARM_ANY = 0xc0;

const CMOS_SIZE = 128;
const RTC_HZ = 32_768;
/** UIP rises this long before the update: 244 µs. */
const UIP_LEAD: Ns = Math.floor((8 * NS_PER_SECOND) / RTC_HZ);
/** First update after the divider is released (datasheet, "Divider control"). */
const HALF_SECOND: Ns = NS_PER_SECOND / 2;
/** A clock that jumped further than this loses its periodic interrupts instead of getting them in a burst. */
const MAX_CLOCK_JUMP: Ns = 60 * NS_PER_SECOND;
const NS_PER_SECOND_BIG = 1_000_000_000n;
/** A timer that is not armed, as the stream has it. */
const NOT_ARMED_64 = (1n << 64n) - 1n;
/** Seconds from 1970 beyond which a saved date is damage, either way (about 35 000 years). */
const MAX_BASE = 1n << 40n;

export interface RtcReinject {
  /** Always 0 here; kept for QEMU. */
  irqReinjectOnAckCount: number;
}

export interface RtcState {
  /** Clock registers and battery-backed memory. */
  cmosData: Uint8Array;
  cmosIndex: number;
  /** Deadlines in RTC clock nanoseconds. */
  periodicTimer: bigint;
  nextPeriodicTime: bigint;
  irqCoalesced: number;
  /** Period of the periodic interrupt in 32.768 kHz clocks, 0 for none. */
  period: number;
  /** The clock showed `baseRtc` seconds since 1970 (two's complement) plus `offset` ns at `lastUpdate`. */
  baseRtc: bigint;
  lastUpdate: bigint;
  offset: Ns;
  updateTimer: bigint;
  nextAlarmTime: bigint;
  reinject: RtcReinject;
}

const reinjectSubsection: Subsection<RtcState, RtcReinject> = {
  vmstate: {
    name: 'mc146818rtc/irq_reinject_on_ack_count',
    version: 1,
    minimumVersion: 1,
    fields: { irqReinjectOnAckCount: u16() },
  },
  needed: (state) => state.reinject.irqReinjectOnAckCount !== 0,
  absent: () => ({ irqReinjectOnAckCount: 0 }),
};

/** Stream section `mc146818rtc` (QEMU 7.2 hw/rtc/mc146818rtc.c). */
export const rtcVmState: VmState<RtcState, 'reinject'> = {
  name: 'mc146818rtc',
  version: 3,
  minimumVersion: 1,
  fields: {
    cmosData: buffer(CMOS_SIZE),
    cmosIndex: u8({ max: CMOS_SIZE - 1, unusedAfter: 7 * 4 }),
    periodicTimer: big64({ type: 'timer' }),
    nextPeriodicTime: big64({ type: 'int64', unusedAfter: 3 * 8 }),
    irqCoalesced: u32({ since: 2 }),
    period: u32({ since: 2 }),
    baseRtc: big64({ since: 3 }),
    lastUpdate: big64({ since: 3 }),
    offset: i64({ since: 3 }),
    updateTimer: big64({ since: 3, type: 'timer' }),
    nextAlarmTime: big64({ since: 3 }),
  },
  subsections: { reinject: reinjectSubsection },
};

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
  readonly #mappings: readonly Mapping[];
  readonly #time: CivilTime = { second: 0, minute: 0, hour: 0, weekday: 0, day: 1, month: 1, year: 1970 };
  /** Guest time = rtcNow() + these. Derived from baseRtc, lastUpdate and offset. */
  #biasSeconds = 0;
  #biasNs: Ns = 0;

  constructor({ clock, irq, rtc, startSeconds }: RtcOptions) {
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
    this.#showTime(seconds);
    this.#scheduleUpdate();
  }

  /** After a load: goes on from the date at which the snapshot was taken instead of following the RTC clock. */
  continueFromSavedDate(): void {
    this.state.offset = 0;
    this.#setBase(this.#shownSeconds());
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
      this.#setBase(this.#shownSeconds());
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
    if (state.updateTimer === NOT_ARMED_64) this.#updateTimer.cancel();
    else if (this.#fromWire(state.updateTimer) > now + 86_400 * NS_PER_SECOND) this.#scheduleUpdate();
    else this.#arm(this.#updateTimer, this.#fromWire(state.updateTimer));
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
    if ((this.state.cmosData[REG_B]! & B_SET) === 0) this.#showTime(this.#guestSeconds(this.#rtc.rtcNow()));
  }

  #showTime(seconds: number): void {
    const cmos = this.state.cmosData;
    const time = toCivil(seconds, this.#time);
    cmos[SECONDS] = this.#toBcd(time.second);
    cmos[MINUTES] = this.#toBcd(time.minute);
    if ((cmos[REG_B]! & B_24H) !== 0) cmos[HOURS] = this.#toBcd(time.hour);
    else cmos[HOURS] = this.#toBcd(time.hour % 12 || 12) | (time.hour >= 12 ? HOUR_PM : 0);
    cmos[DAY_OF_WEEK] = this.#toBcd(time.weekday + 1);
    cmos[DAY_OF_MONTH] = this.#toBcd(time.day);
    cmos[MONTH] = this.#toBcd(time.month);
    cmos[YEAR] = this.#toBcd(time.year % 100);
    cmos[CENTURY] = this.#toBcd(Math.floor(time.year / 100));
  }

  /** The date in the time registers, seconds since 1970. */
  #shownSeconds(): number {
    const cmos = this.state.cmosData;
    const time = this.#time;
    this.#readTimeOfDay(time);
    time.day = this.#fromBcd(cmos[DAY_OF_MONTH]!);
    time.month = this.#fromBcd(cmos[MONTH]!);
    time.year = this.#fromBcd(cmos[YEAR]!) + 100 * this.#fromBcd(cmos[CENTURY]!);
    return fromCivil(time);
  }

  #readTimeOfDay(time: CivilTime): void {
    const cmos = this.state.cmosData;
    time.second = this.#fromBcd(cmos[SECONDS]!);
    time.minute = this.#fromBcd(cmos[MINUTES]!);
    time.hour = this.#hour(cmos[HOURS]!);
  }

  /** An hour register's value as 0-23. */
  #hour(value: number): number {
    const hour = this.#fromBcd(value & ~HOUR_PM);
    if ((this.state.cmosData[REG_B]! & B_24H) !== 0) return hour;
    return (hour % 12) + ((value & HOUR_PM) !== 0 ? 12 : 0);
  }

  #toBcd(value: number): number {
    if ((this.state.cmosData[REG_B]! & B_BINARY) !== 0) return value & 0xff;
    return ((Math.floor(value / 10) << 4) | (value % 10)) & 0xff;
  }

  /** What a register shows as a number; -1 for what would be "any" in an alarm, wherever it stands. */
  #fromBcd(value: number): number {
    if ((value & ALARM_ANY) === ALARM_ANY) return DONT_CARE;
    return (this.state.cmosData[REG_B]! & B_BINARY) !== 0 ? value : (value >> 4) * 10 + (value & 0x0f);
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
    const nextAlarm = nextSecond + (this.#secondsToAlarm() - 1) * NS_PER_SECOND;
    state.nextAlarmTime = this.#toWire(nextAlarm);
    let deadline = nextSecond;
    if ((cmos[REG_A]! & A_UIP) === 0 && (cmos[REG_C]! & C_UF) !== 0) {
      if ((cmos[REG_B]! & B_SET) !== 0 || (cmos[REG_C]! & C_AF) !== 0) {
        this.#cancelUpdate();
        return;
      }
      deadline = nextAlarm;
    }
    state.updateTimer = this.#toWire(deadline);
    this.#arm(this.#updateTimer, deadline);
  }

  #cancelUpdate(): void {
    this.#updateTimer.cancel();
    this.state.updateTimer = NOT_ARMED_64;
  }

  #secondsToAlarm(): number {
    this.#refreshTime();
    const cmos = this.state.cmosData;
    this.#readTimeOfDay(this.#time);
    const hour = cmos[HOURS_ALARM]!;
    return secondsToAlarm(
      this.#time,
      (hour & ALARM_ANY) === ALARM_ANY ? DONT_CARE : this.#hour(hour),
      this.#fromBcd(cmos[MINUTES_ALARM]!),
      this.#fromBcd(cmos[SECONDS_ALARM]!),
    );
  }

  #updateFired(): void {
    const state = this.state;
    const cmos = state.cmosData;
    const now = this.#rtc.rtcNow();
    if (state.updateTimer === NOT_ARMED_64) return;
    const due = this.#fromWire(state.updateTimer);
    if (now < due) {
      this.#arm(this.#updateTimer, due);
      return;
    }
    state.updateTimer = NOT_ARMED_64;
    this.#refreshTime();
    cmos[REG_A] = cmos[REG_A]! & ~A_UIP;
    const flags = now >= this.#fromWire(state.nextAlarmTime) ? C_UF | C_AF : C_UF;
    const fresh = flags & ~cmos[REG_C]!;
    cmos[REG_C] = cmos[REG_C]! | flags;
    if ((fresh & cmos[REG_B]!) !== 0) {
      cmos[REG_C] = cmos[REG_C]! | C_IRQF;
      this.#irq.set(1);
    }
    this.#scheduleUpdate();
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
    const { updateTimer, cmosData } = this.state;
    if (updateTimer !== NOT_ARMED_64 && now >= this.#fromWire(updateTimer) - UIP_LEAD) {
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
        this.#setBase(this.#shownSeconds());
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
        this.#setBase(this.#shownSeconds());
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
      this.#setBase(this.#shownSeconds());
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

function isTimeRegister(index: number): boolean {
  return index === CENTURY || (index <= YEAR && (index >= DAY_OF_WEEK || (index & 1) === 0));
}
