/**
 * Date arithmetic of the real-time clock: proleptic Gregorian calendar, seconds since 1970-01-01 00:00 UTC. Pure.
 *
 * Days are counted in 400-year eras that begin on 1 March, so that the leap day is the last of its year.
 */
const SECONDS_PER_DAY = 86_400;
const DAYS_PER_ERA = 146_097;
/** Days from 0000-03-01 to 1970-01-01. */
const EPOCH_DAYS = 719_468;

export interface CivilTime {
  second: number;
  minute: number;
  hour: number;
  /** 0 is Sunday. */
  weekday: number;
  /** 1 to 31. */
  day: number;
  /** 1 to 12. */
  month: number;
  year: number;
}

/** Fills `target` with the date and time at `seconds`. */
export function toCivil(seconds: number, target: CivilTime): CivilTime {
  const days = Math.floor(seconds / SECONDS_PER_DAY);
  const secondOfDay = seconds - days * SECONDS_PER_DAY;
  target.second = secondOfDay % 60;
  target.minute = Math.floor(secondOfDay / 60) % 60;
  target.hour = Math.floor(secondOfDay / 3600);
  target.weekday = (((days + 4) % 7) + 7) % 7;
  const shifted = days + EPOCH_DAYS;
  const era = Math.floor(shifted / DAYS_PER_ERA);
  const dayOfEra = shifted - era * DAYS_PER_ERA;
  const leapDays =
    Math.floor(dayOfEra / 1460) - Math.floor(dayOfEra / 36_524) + Math.floor(dayOfEra / 146_096);
  const yearOfEra = Math.floor((dayOfEra - leapDays) / 365);
  const dayOfYear = dayOfEra - daysBeforeYear(yearOfEra);
  const monthFromMarch = Math.floor((5 * dayOfYear + 2) / 153);
  target.day = dayOfYear - daysBeforeMonth(monthFromMarch) + 1;
  target.month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9;
  target.year = era * 400 + yearOfEra + (target.month <= 2 ? 1 : 0);
  return target;
}

/** Seconds since 1970 at a date and time. Fields out of range (a guest may write anything) carry over. */
export function fromCivil(time: CivilTime): number {
  const monthFromMarch = time.month - 3;
  const year = time.year + Math.floor(monthFromMarch / 12);
  const month = monthFromMarch - Math.floor(monthFromMarch / 12) * 12;
  const era = Math.floor(year / 400);
  const days =
    era * DAYS_PER_ERA +
    daysBeforeYear(year - era * 400) +
    daysBeforeMonth(month) +
    time.day -
    1 -
    EPOCH_DAYS;
  return days * SECONDS_PER_DAY + time.hour * 3600 + time.minute * 60 + time.second;
}

/** Days of an era before its year 0-399, years beginning in March. */
function daysBeforeYear(year: number): number {
  return year * 365 + Math.floor(year / 4) - Math.floor(year / 100);
}

/** Days of a year before its month, 0 being March. */
function daysBeforeMonth(month: number): number {
  return Math.floor((153 * month + 2) / 5);
}

/** Means "any" in {@link secondsToAlarm}. */
export const DONT_CARE = -1;

/**
 * Seconds (1 to 86400) from `now` until the clock shows the alarm's hour, minute and second, any of which may be
 * {@link DONT_CARE}. An alarm that no time matches counts as a day away.
 */
export function secondsToAlarm(now: CivilTime, hour: number, minute: number, second: number): number {
  const start = now.hour * 3600 + now.minute * 60 + now.second;
  const end = start + SECONDS_PER_DAY;
  let candidate = start + 1;
  while (candidate < end) {
    if (hour !== DONT_CARE && Math.floor(candidate / 3600) % 24 !== hour) {
      candidate = (Math.floor(candidate / 3600) + 1) * 3600;
    } else if (minute !== DONT_CARE && Math.floor(candidate / 60) % 60 !== minute) {
      candidate = (Math.floor(candidate / 60) + 1) * 60;
    } else if (second !== DONT_CARE && candidate % 60 !== second) {
      candidate++;
    } else {
      return candidate - start;
    }
  }
  return SECONDS_PER_DAY;
}
