/**
 * Time and date registers of the MC146818, in BCD or binary, 12 or 24 hours as register B says. Pure functions of the
 * register bytes.
 */
import {
  B_24H,
  B_BINARY,
  CENTURY,
  DAY_OF_MONTH,
  DAY_OF_WEEK,
  HOURS,
  HOURS_ALARM,
  MINUTES,
  MINUTES_ALARM,
  MONTH,
  REG_B,
  SECONDS,
  SECONDS_ALARM,
  YEAR,
} from './mc146818-state.ts';
import { type CivilTime, DONT_CARE, fromCivil, secondsToAlarm, toCivil } from './rtc-calendar.ts';

const HOUR_PM = 0x80;
/** Alarm bytes with both bits set match anything. */
const ALARM_ANY = 0xc0;

/** Scratch for the functions below, none of which calls another that uses it. */
const scratch: CivilTime = { second: 0, minute: 0, hour: 0, weekday: 0, day: 1, month: 1, year: 1970 };

/** Writes the date and time at `seconds` since 1970 into the registers. */
export function showTime(cmos: Uint8Array, seconds: number): void {
  const time = toCivil(seconds, scratch);
  cmos[SECONDS] = toBcd(cmos, time.second);
  cmos[MINUTES] = toBcd(cmos, time.minute);
  if ((cmos[REG_B]! & B_24H) !== 0) cmos[HOURS] = toBcd(cmos, time.hour);
  else cmos[HOURS] = toBcd(cmos, time.hour % 12 || 12) | (time.hour >= 12 ? HOUR_PM : 0);
  cmos[DAY_OF_WEEK] = toBcd(cmos, time.weekday + 1);
  cmos[DAY_OF_MONTH] = toBcd(cmos, time.day);
  cmos[MONTH] = toBcd(cmos, time.month);
  cmos[YEAR] = toBcd(cmos, time.year % 100);
  cmos[CENTURY] = toBcd(cmos, Math.floor(time.year / 100));
}

/** The date and time in the registers, seconds since 1970. */
export function shownSeconds(cmos: Uint8Array): number {
  const time = scratch;
  readTimeOfDay(cmos, time);
  time.day = fromBcd(cmos, cmos[DAY_OF_MONTH]!);
  time.month = fromBcd(cmos, cmos[MONTH]!);
  time.year = fromBcd(cmos, cmos[YEAR]!) + 100 * fromBcd(cmos, cmos[CENTURY]!);
  return fromCivil(time);
}

/** Seconds from the time shown to the alarm that is set, 1 to 86400. */
export function secondsToShownAlarm(cmos: Uint8Array): number {
  readTimeOfDay(cmos, scratch);
  const hour = cmos[HOURS_ALARM]!;
  return secondsToAlarm(
    scratch,
    (hour & ALARM_ANY) === ALARM_ANY ? DONT_CARE : hourOf(cmos, hour),
    fromBcd(cmos, cmos[MINUTES_ALARM]!),
    fromBcd(cmos, cmos[SECONDS_ALARM]!),
  );
}

export function isTimeRegister(index: number): boolean {
  return index === CENTURY || (index <= YEAR && (index >= DAY_OF_WEEK || (index & 1) === 0));
}

function readTimeOfDay(cmos: Uint8Array, time: CivilTime): void {
  time.second = fromBcd(cmos, cmos[SECONDS]!);
  time.minute = fromBcd(cmos, cmos[MINUTES]!);
  time.hour = hourOf(cmos, cmos[HOURS]!);
}

/** An hour register's value as 0-23. */
function hourOf(cmos: Uint8Array, value: number): number {
  const hour = fromBcd(cmos, value & ~HOUR_PM);
  if ((cmos[REG_B]! & B_24H) !== 0) return hour;
  return (hour % 12) + ((value & HOUR_PM) !== 0 ? 12 : 0);
}

function toBcd(cmos: Uint8Array, value: number): number {
  if ((cmos[REG_B]! & B_BINARY) !== 0) return value & 0xff;
  return ((Math.floor(value / 10) << 4) | (value % 10)) & 0xff;
}

/** What a register shows as a number; -1 for what would be "any" in an alarm, wherever it stands. */
function fromBcd(cmos: Uint8Array, value: number): number {
  if ((value & ALARM_ANY) === ALARM_ANY) return DONT_CARE;
  return (cmos[REG_B]! & B_BINARY) !== 0 ? value : (value >> 4) * 10 + (value & 0x0f);
}
