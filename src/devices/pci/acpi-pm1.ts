/**
 * ACPI fixed hardware as the PIIX4 has it: PM1 event and control registers, power management timer, general purpose
 * events, and the level of the SCI that follows from them. ACPI specification 6.4, sections 4.8.3 and 4.8.4.
 *
 * Not emulated: throttling (P_CNT), C2 and C3, bus master status, the global lock's release interrupt.
 */
import { type Clock, mulDiv, NOT_ARMED, NS_PER_SECOND, type Ns, type Timer } from '../../machine/clock.ts';
import type { IoRegion, IrqLine } from '../../machine/device.ts';

/** Hz. */
const PM_TIMER_FREQUENCY = 3_579_545;
/** The timer is 24 bits wide; its overflow status rises with bit 23. */
const PM_TIMER_MASK = 0xff_ffff;
const PM_TIMER_HALF = 0x80_0000;

// PM1 status and enable, section 4.8.3.1.
const TIMER = 0x0001;
const GLOBAL_LOCK = 0x0020;
const POWER_BUTTON = 0x0100;
const RTC = 0x0400;
const WAKE_STATUS = 0x8000;
const SCI_SOURCES = TIMER | GLOBAL_LOCK | POWER_BUTTON | RTC;

// PM1 control, section 4.8.3.2.
const SCI_ENABLE = 0x0001;
const SLEEP_TYPE_SHIFT = 10;
const SLEEP_ENABLE = 0x2000;
/** SLP_TYP values that the DSDT's \_S5, \_S3 and \_S4 name. */
export const SLEEP_TYPE_OFF = 0;
export const SLEEP_TYPE_SUSPEND = 1;
export const SLEEP_TYPE_HIBERNATE = 2;

const PM1_STATUS = 0;
const PM1_ENABLE = 2;
const PM1_CONTROL = 4;
const PM_TIMER = 8;

export interface GpeState {
  /** Status, two bytes, byte 0 lowest. Bit 1: PCI hot-plug, 2: CPU, 3: memory. */
  sts: number;
  en: number;
}

/** The registers; the PIIX4's section holds them. */
export interface Pm1State {
  pm1Sts: number;
  pm1En: number;
  pm1Cnt: number;
  /** Deadline of the overflow interrupt. */
  tmrTimer: Ns;
  /** Next overflow in ticks of the timer since virtual time 0. */
  tmrOverflowTime: number;
  readonly gpe: GpeState;
}

export interface PowerRequests {
  /** The guest turned the machine off: \_S5, or hibernation after it has saved itself. */
  readonly requestShutdown: () => void;
  /** The guest suspends to RAM: the machine stops until it is woken. */
  readonly requestSuspend: () => void;
  /** The power management timer overflowed while the guest listens to it. */
  readonly requestWake: (reason: WakeReason) => void;
}

/** What woke a suspended machine. */
export type WakeReason = 'rtc' | 'pm-timer' | 'other';

/** Ticks of the power management timer at a virtual time. */
export function pmTimerTicks(now: Ns): number {
  return mulDiv(now, PM_TIMER_FREQUENCY, NS_PER_SECOND);
}

export class AcpiPm1 {
  /** 64 bytes, mapped where PMBA says. */
  readonly region: IoRegion = {
    name: 'piix4-pm',
    size: 64,
    read8: (offset) => (this.#readWord(offset & ~1) >> ((offset & 1) * 8)) & 0xff,
    read16: (offset) => this.#readWord(offset),
    read32: (offset) => (this.#readWord(offset) | (this.#readWord(offset + 2) << 16)) >>> 0,
    write8: (offset, value) => this.#writeByte(offset, value),
    write16: (offset, value) => this.#writeWord(offset, value),
  };
  /** GPE0 block: two status bytes, two enable bytes. */
  readonly gpeRegion: IoRegion = {
    name: 'acpi-gpe0',
    size: 4,
    read8: (offset) => this.#readGpe(offset),
    write8: (offset, value) => this.#writeGpe(offset, value),
  };
  readonly #state: Pm1State;
  readonly #clock: Clock;
  readonly #sci: IrqLine;
  readonly #power: PowerRequests;
  readonly #timer: Timer;

  constructor(options: { state: Pm1State; clock: Clock; sci: IrqLine; power: PowerRequests }) {
    this.#state = options.state;
    this.#clock = options.clock;
    this.#sci = options.sci;
    this.#power = options.power;
    this.#timer = options.clock.createTimer('piix4-pm', () => {
      this.#power.requestWake('pm-timer');
      this.updateSci();
    });
  }

  reset(): void {
    const state = this.#state;
    state.pm1Sts = state.pm1En = state.pm1Cnt = 0;
    state.tmrOverflowTime = 0;
    state.gpe.sts = state.gpe.en = 0;
    this.updateSci();
  }

  beforeSave(): void {
    this.#state.tmrTimer = this.#timer.deadline;
  }

  afterLoad(): void {
    if (this.#state.tmrTimer === NOT_ARMED) this.#timer.cancel();
    else this.#timer.arm(this.#state.tmrTimer);
  }

  /** SCI_EN, by way of port 0xb2 (section 4.8.2.5). */
  setAcpiMode(enabled: boolean): void {
    if (enabled) this.#state.pm1Cnt |= SCI_ENABLE;
    else this.#state.pm1Cnt &= ~SCI_ENABLE;
  }

  /** The power button was pressed (`system_powerdown`): a guest that listens to it is told. */
  pressPowerButton(): void {
    if ((this.#state.pm1En & POWER_BUTTON) === 0) return;
    this.#state.pm1Sts |= POWER_BUTTON;
    this.updateSci();
  }

  /** Whether the guest wants to be woken by that; by the others, which have no switch, always. */
  mayWake(reason: WakeReason): boolean {
    const enabled = this.#state.pm1En;
    return reason === 'other' || (enabled & (reason === 'rtc' ? RTC : TIMER)) !== 0;
  }

  /** The machine comes back from suspend. A wake-up without a source is reported as the power button. */
  wake(reason: WakeReason): void {
    const source = reason === 'rtc' ? RTC : reason === 'pm-timer' ? TIMER : POWER_BUTTON;
    this.#state.pm1Sts |= WAKE_STATUS | source;
  }

  /** General purpose event `bit` of the first status byte occurred. */
  raiseGpe(bit: number): void {
    this.#state.gpe.sts |= 1 << bit;
    this.updateSci();
  }

  /** Drives the SCI, and arms the timer for the overflow if that could change it. */
  updateSci(): void {
    const state = this.#state;
    const status = this.#readStatus();
    const gpe = state.gpe.sts & state.gpe.en & 0xff;
    this.#sci.set((status & state.pm1En & SCI_SOURCES) !== 0 || gpe !== 0 ? 1 : 0);
    if ((state.pm1En & TIMER) !== 0 && (status & TIMER) === 0) this.#timer.arm(this.#overflowTime());
    else this.#timer.cancel();
  }

  /**
   * Virtual time of the next overflow: the first at which the timer reads past it. (QEMU rounds down, and there a
   * status cleared in that very nanosecond comes back.)
   */
  #overflowTime(): Ns {
    return mulDiv(this.#state.tmrOverflowTime, NS_PER_SECOND, PM_TIMER_FREQUENCY) + 1;
  }

  #readStatus(): number {
    const state = this.#state;
    // Compared in ns, as the timer is armed in ns: ticks would be off by the rounding, and the status not set when
    // the timer fires.
    if (this.#clock.now() >= this.#overflowTime()) state.pm1Sts |= TIMER;
    return state.pm1Sts;
  }

  #readWord(offset: number): number {
    switch (offset) {
      case PM1_STATUS:
        return this.#readStatus();
      case PM1_ENABLE:
        return this.#state.pm1En;
      case PM1_CONTROL:
        return this.#state.pm1Cnt;
      case PM_TIMER:
        return pmTimerTicks(this.#clock.now()) & PM_TIMER_MASK & 0xffff;
      case PM_TIMER + 2:
        return (pmTimerTicks(this.#clock.now()) & PM_TIMER_MASK) >> 16;
      default:
        return 0;
    }
  }

  #writeByte(offset: number, value: number): void {
    const word = offset & ~1;
    const shift = (offset & 1) * 8;
    // Status bits are cleared by ones: the other byte stays if it is written as zero.
    const others = word === PM1_STATUS ? 0 : this.#readWord(word) & ~(0xff << shift);
    this.#writeWord(word, others | (value << shift));
  }

  #writeWord(offset: number, value: number): void {
    const state = this.#state;
    switch (offset) {
      case PM1_STATUS:
        if ((this.#readStatus() & value & TIMER) !== 0) {
          const ticks = pmTimerTicks(this.#clock.now());
          state.tmrOverflowTime = (Math.floor(ticks / PM_TIMER_HALF) + 1) * PM_TIMER_HALF;
        }
        state.pm1Sts &= ~value;
        this.updateSci();
        break;
      case PM1_ENABLE:
        state.pm1En = value;
        this.updateSci();
        break;
      case PM1_CONTROL:
        this.#writeControl(value);
        break;
    }
  }

  #writeControl(value: number): void {
    this.#state.pm1Cnt = value & ~SLEEP_ENABLE;
    if ((value & SLEEP_ENABLE) === 0) return;
    const sleepType = (value >> SLEEP_TYPE_SHIFT) & 7;
    if (sleepType === SLEEP_TYPE_OFF || sleepType === SLEEP_TYPE_HIBERNATE) this.#power.requestShutdown();
    else if (sleepType === SLEEP_TYPE_SUSPEND) this.#power.requestSuspend();
  }

  #readGpe(offset: number): number {
    const { gpe } = this.#state;
    return ((offset < 2 ? gpe.sts : gpe.en) >> ((offset & 1) * 8)) & 0xff;
  }

  #writeGpe(offset: number, value: number): void {
    const { gpe } = this.#state;
    const shift = (offset & 1) * 8;
    if (offset < 2) gpe.sts &= ~(value << shift);
    else gpe.en = (gpe.en & ~(0xff << shift)) | (value << shift);
    this.updateSci();
  }
}
