/** Registers, state and wire schema of the MC146818: see mc146818.ts. */
import type { Ns } from '../machine/clock.ts';
import { big64, buffer, i64, type Subsection, u8, u16, u32, type VmState } from '../migration/vmstate.ts';

/** CMOS indices of the clock (datasheet, "Address Map"). */
export const SECONDS = 0x00;
export const SECONDS_ALARM = 0x01;
export const MINUTES = 0x02;
export const MINUTES_ALARM = 0x03;
export const HOURS = 0x04;
export const HOURS_ALARM = 0x05;
export const DAY_OF_WEEK = 0x06;
export const DAY_OF_MONTH = 0x07;
export const MONTH = 0x08;
export const YEAR = 0x09;
export const REG_A = 0x0a;
export const REG_B = 0x0b;
export const REG_C = 0x0c;
export const REG_D = 0x0d;
/** Century byte of PC BIOSes; the PS/2 has it at 0x37. */
export const CENTURY = 0x32;
export const PS2_CENTURY = 0x37;

export const A_UIP = 0x80;
export const A_DIVIDER = 0x70;
export const A_DIVIDER_RESET = 0x60;
/** Largest divider setting that lets the clock run: 32.768 kHz. */
export const A_DIVIDER_32K = 0x20;
export const A_RATE = 0x0f;
export const B_SET = 0x80;
export const B_PIE = 0x40;
export const B_AIE = 0x20;
export const B_UIE = 0x10;
export const B_SQWE = 0x08;
export const B_BINARY = 0x04;
export const B_24H = 0x02;
export const C_IRQF = 0x80;
export const C_PF = 0x40;
export const C_AF = 0x20;
export const C_UF = 0x10;
export const D_VRT = 0x80;

export const CMOS_SIZE = 128;
/** A timer that is not armed, as the stream has it. */
export const NOT_ARMED_64 = (1n << 64n) - 1n;

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
