/** FCOM and its kin: how two extended numbers compare. Intel SDM volume 1, 8.3.6. */
import {
  classify,
  DE,
  DENORMAL,
  type Extended,
  fp,
  IE,
  INFINITY,
  QUIET,
  unpack,
  unpacked,
  ZERO,
} from './extended.ts';

export const LESS = -1;
export const EQUAL = 0;
export const GREATER = 1;
export const UNORDERED = 2;

const ua = unpacked();
const ub = unpacked();

/** `quiet`: a quiet NaN raises nothing (FUCOM). */
export function compare(a: Extended, b: Extended, quiet: boolean): number {
  const ka = classify(a);
  const kb = classify(b);
  if (ka >= QUIET || kb >= QUIET) {
    if (!quiet || ka > QUIET || kb > QUIET) fp.flags |= IE;
    return UNORDERED;
  }
  if (ka === DENORMAL || kb === DENORMAL) fp.flags |= DE;
  if (ka === ZERO && kb === ZERO) return EQUAL;
  const sa = a.se >> 15;
  const sb = b.se >> 15;
  if (ka === ZERO) return sb !== 0 ? GREATER : LESS;
  if (kb === ZERO || sa !== sb) return sa !== 0 ? LESS : GREATER;
  return sa !== 0 ? -magnitudes(a, ka, b, kb) | 0 : magnitudes(a, ka, b, kb);
}

function magnitudes(a: Extended, ka: number, b: Extended, kb: number): number {
  if (ka === INFINITY || kb === INFINITY) return ka === kb ? EQUAL : ka === INFINITY ? GREATER : LESS;
  unpack(a, ua);
  unpack(b, ub);
  if (ua.exp !== ub.exp) return ua.exp > ub.exp ? GREATER : LESS;
  if (ua.hi !== ub.hi) return ua.hi >>> 0 > ub.hi >>> 0 ? GREATER : LESS;
  if (ua.lo !== ub.lo) return ua.lo >>> 0 > ub.lo >>> 0 ? GREATER : LESS;
  return EQUAL;
}
