/** Loads, stores, exchanges, constants, conditional moves: everything that moves without computing. */
import { type CpuState, NEXT } from '../cpu-state.ts';
import { FLAG_CF, FLAG_PF, FLAG_ZF } from '../eflags.ts';
import { FPU_CW, FPU_TOP } from '../layout.ts';
import { readSeg16, readSeg32, writeSeg16, writeSeg32 } from '../operands.ts';
import {
  bits,
  fromDecimal,
  fromDouble,
  fromInt32,
  fromInt64,
  fromSingle,
  toDecimal,
  toDouble,
  toInteger,
  toSingle,
} from './convert.ts';
import { fp, IE, PE, set } from './extended.ts';
import { read64, read80, readBytes, write64, write80, writeBytes } from './memory.ts';
import {
  begin,
  clearC1,
  finish,
  isEmpty,
  load,
  pop,
  push,
  setEmpty,
  setTop,
  stackFault,
  store,
  x,
  y,
  z,
} from './stack.ts';

export type MemoryOperation = (c: CpuState, seg: number, offset: number) => number;
export type RegisterOperation = (c: CpuState, i: number) => number;

// ---- loads

/** Pushes `z` after a conversion that may have raised something. A full stack wins over what the operand is. */
function pushConverted(c: CpuState): number {
  if (!isEmpty(c, -1)) {
    push(c);
    return NEXT;
  }
  // An unmasked denormal is reported, yet silicon pushes it.
  finish(c);
  if ((fp.flags & ~fp.masks & IE) === 0) push(c);
  return NEXT;
}

export const fldSingle: MemoryOperation = (c, seg, offset) => {
  const v = readSeg32(c, seg, offset);
  begin(c);
  fromSingle(v, z);
  return pushConverted(c);
};
export const fldDouble: MemoryOperation = (c, seg, offset) => {
  read64(c, seg, offset);
  begin(c);
  fromDouble(bits.hi, bits.lo, z);
  return pushConverted(c);
};
export const fldExtended: MemoryOperation = (c, seg, offset) => {
  read80(c, seg, offset, z);
  begin(c);
  return pushConverted(c);
};
export const fild16: MemoryOperation = (c, seg, offset) => {
  const v = (readSeg16(c, seg, offset) << 16) >> 16;
  begin(c);
  fromInt32(v, z);
  return pushConverted(c);
};
export const fild32: MemoryOperation = (c, seg, offset) => {
  const v = readSeg32(c, seg, offset);
  begin(c);
  fromInt32(v, z);
  return pushConverted(c);
};
export const fild64: MemoryOperation = (c, seg, offset) => {
  read64(c, seg, offset);
  begin(c);
  fromInt64(bits.hi, bits.lo, z);
  return pushConverted(c);
};

const decimal = new Uint8Array(10);

export const fbld: MemoryOperation = (c, seg, offset) => {
  readBytes(c, seg, offset, decimal);
  begin(c);
  fromDecimal(decimal, z);
  return pushConverted(c);
};

export function fldRegister(c: CpuState, i: number): number {
  begin(c);
  // A full stack with an empty source counts as underflow.
  if (isEmpty(c, i)) {
    if (!stackFault(c, false)) return NEXT;
    setTop(c, c.get(FPU_TOP) - 1);
    store(c, 0, z);
    return NEXT;
  }
  load(c, i, z);
  finish(c);
  push(c);
  return NEXT;
}

/** FLD1 … FLDZ: exponent, significand cut off after 64 bits, whether nearest rounds up, whether there is more. SDM 2A, FLD1. */
const CONSTANTS: readonly (readonly [number, number, number, number, number])[] = [
  [0x3fff, 0x80000000 | 0, 0, 0, 0],
  [0x4000, 0xd49a784b | 0, 0xcd1b8afe | 0, 0, 1],
  [0x3fff, 0xb8aa3b29 | 0, 0x5c17f0bb, 1, 1],
  [0x4000, 0xc90fdaa2 | 0, 0x2168c234, 1, 1],
  [0x3ffd, 0x9a209a84 | 0, 0xfbcff798 | 0, 1, 1],
  [0x3ffe, 0xb17217f7 | 0, 0xd1cf79ab | 0, 1, 1],
  [0, 0, 0, 0, 0],
];

export function fldConstant(c: CpuState, i: number): number {
  begin(c);
  const [se, hi, lo, nearestUp, inexact] = CONSTANTS[i]!;
  const up = fp.rounding === 0 ? nearestUp : fp.rounding === 2 ? inexact : 0;
  set(z, se, hi, lo + up);
  finish(c);
  push(c);
  return NEXT;
}

// ---- stores

/** Converts `x` for a store into `bits`; returns whether to go on. An empty register gives the indefinite. */
function source(c: CpuState): boolean {
  begin(c);
  if (isEmpty(c, 0)) {
    if (!stackFault(c, false)) return false;
    set(x, z.se, z.hi, z.lo);
    return true;
  }
  load(c, 0, x);
  return true;
}

/** The register was empty: its fault is noted already, the conversion's flags do not count. */
function done(c: CpuState, wasEmpty: boolean, popping: boolean): number {
  if (!wasEmpty) finish(c);
  if (popping) pop(c);
  return NEXT;
}

type Convert = () => void;
type Write = (c: CpuState, seg: number, offset: number) => void;

/** A store of ST(0): convert, write (may fault), then change the status word and the stack. */
function storing(convert: Convert, write: Write, popping: boolean): MemoryOperation {
  return (c, seg, offset) => {
    const empty = isEmpty(c, 0);
    if (empty && (c.get(FPU_CW) & IE) === 0) {
      stackFault(c, false);
      return NEXT;
    }
    begin(c);
    if (empty) set(x, 0xffff, 0xc0000000 | 0, 0);
    else load(c, 0, x);
    convert();
    const withheld = fp.flags & ~fp.masks & ~0x20;
    if (!empty && withheld !== 0) {
      // Nothing was stored, so nothing was rounded.
      fp.flags &= ~PE;
      fp.up = 0;
      finish(c);
      return NEXT;
    }
    write(c, seg, offset);
    if (empty) stackFault(c, false);
    return done(c, empty, popping);
  };
}

const writeLow16: Write = (c, seg, offset) => writeSeg16(c, seg, offset, bits.lo);
const writeLow32: Write = (c, seg, offset) => writeSeg32(c, seg, offset, bits.lo);
const single: Convert = () => toSingle(x);
const double: Convert = () => toDouble(x);
const integer16: Convert = () => toInteger(x, 16);
const integer32: Convert = () => toInteger(x, 32);
const integer64: Convert = () => toInteger(x, 64);

const truncating =
  (convert: Convert): Convert =>
  () => {
    fp.rounding = 3;
    convert();
  };

export const fstSingle = storing(single, writeLow32, false);
export const fstpSingle = storing(single, writeLow32, true);
export const fstDouble = storing(double, write64, false);
export const fstpDouble = storing(double, write64, true);
export const fist16 = storing(integer16, writeLow16, false);
export const fistp16 = storing(integer16, writeLow16, true);
export const fist32 = storing(integer32, writeLow32, false);
export const fistp32 = storing(integer32, writeLow32, true);
export const fistp64 = storing(integer64, write64, true);
/** SSE3's, but QEMU's TCG has them on every model, and so have programs that run there. */
export const fisttp16 = storing(truncating(integer16), writeLow16, true);
export const fisttp32 = storing(truncating(integer32), writeLow32, true);
export const fisttp64 = storing(truncating(integer64), write64, true);
export const fstpExtended = storing(
  () => {},
  (c, seg, offset) => write80(c, seg, offset, x),
  true,
);
export const fbstp = storing(
  () => toDecimal(x, decimal),
  (c, seg, offset) => writeBytes(c, seg, offset, decimal),
  true,
);

export function fstRegister(c: CpuState, i: number): number {
  if (!source(c)) return NEXT;
  if (!isEmpty(c, 0)) finish(c);
  store(c, i, x);
  return NEXT;
}
export function fstpRegister(c: CpuState, i: number): number {
  if (!source(c)) return NEXT;
  if (!isEmpty(c, 0)) finish(c);
  store(c, i, x);
  pop(c);
  return NEXT;
}

// ---- moves within the stack

export function fxch(c: CpuState, i: number): number {
  begin(c);
  load(c, 0, x);
  load(c, i, y);
  if (isEmpty(c, 0) || isEmpty(c, i)) {
    if (!stackFault(c, false)) return NEXT;
    if (isEmpty(c, 0)) set(x, z.se, z.hi, z.lo);
    if (isEmpty(c, i)) set(y, z.se, z.hi, z.lo);
  } else finish(c);
  store(c, 0, y);
  store(c, i, x);
  return NEXT;
}

export function ffree(c: CpuState, i: number): number {
  clearC1(c);
  setEmpty(c, i);
  return NEXT;
}
/** Undocumented, and used by compilers of the 287's time. */
export function ffreep(c: CpuState, i: number): number {
  clearC1(c);
  setEmpty(c, i);
  pop(c);
  return NEXT;
}

/** FCMOVcc, which leaves C1 alone: `mask` of EFLAGS, moved when any of it is set (`want` true) or none is. */
function conditionalMove(mask: number, want: boolean): RegisterOperation {
  return (c, i) => {
    if (isEmpty(c, 0) || isEmpty(c, i)) {
      if (stackFault(c, false)) store(c, 0, z);
      return NEXT;
    }
    if (((c.eflags() & mask) !== 0) === want) {
      load(c, i, z);
      store(c, 0, z);
    }
    return NEXT;
  };
}

/** By bit 0 of the escape byte (DA: 0, DB: 1) and the reg field: B, E, BE, U. */
export const CONDITIONAL_MOVES: readonly (readonly RegisterOperation[])[] = [true, false].map((want) =>
  [FLAG_CF, FLAG_ZF, FLAG_CF | FLAG_ZF, FLAG_PF].map((mask) => conditionalMove(mask, want)),
);
