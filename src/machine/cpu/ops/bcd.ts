/** Decimal adjustments, LAHF, SAHF, POP r/m: cold operations on flags and AX. Intel SDM volume 2. */
import { type CpuState, EXC_DE, NEXT } from '../cpu-state.ts';
import { FLAG_AF, FLAG_CF, FLAG_OF, FLAG_PF, FLAG_SF, FLAG_ZF } from '../eflags.ts';
import { immediate } from '../operands.ts';

const AL = 0;
const AH = 4;

function parityFlag(v: number): number {
  let p = v & 0xff;
  p ^= p >> 4;
  return ((0x6996 >> (p & 15)) & 1) === 0 ? FLAG_PF : 0;
}
function resultFlags(al: number): number {
  return (al === 0 ? FLAG_ZF : 0) | ((al & 0x80) !== 0 ? FLAG_SF : 0) | parityFlag(al);
}

function daa(c: CpuState): number {
  const old = c.reg8(AL);
  const flags = c.eflags();
  let al = old;
  let set = 0;
  if ((old & 15) > 9 || (flags & FLAG_AF) !== 0) {
    al += 6;
    set |= FLAG_AF;
  }
  if (old > 0x99 || (flags & FLAG_CF) !== 0) {
    al += 0x60;
    set |= FLAG_CF;
  }
  al &= 0xff;
  // OF is undefined; silicon and QEMU leave what the addition gives: clear it.
  c.setReg8(AL, al);
  c.setArithmeticFlags(set | resultFlags(al));
  return NEXT;
}

function das(c: CpuState): number {
  const old = c.reg8(AL);
  const flags = c.eflags();
  let al = old;
  let set = 0;
  if ((old & 15) > 9 || (flags & FLAG_AF) !== 0) {
    if (old < 6 || (flags & FLAG_CF) !== 0) set |= FLAG_CF;
    al -= 6;
    set |= FLAG_AF;
  }
  if (old > 0x99 || (flags & FLAG_CF) !== 0) {
    al -= 0x60;
    set |= FLAG_CF;
  }
  al &= 0xff;
  c.setReg8(AL, al);
  c.setArithmeticFlags(set | resultFlags(al));
  return NEXT;
}

/** AAA and AAS: SF, ZF, PF, OF are undefined; they stay. */
function asciiAdjust(c: CpuState, step: number): number {
  const flags = c.eflags();
  const keep = flags & (FLAG_SF | FLAG_ZF | FLAG_PF | FLAG_OF);
  if ((c.reg8(AL) & 15) > 9 || (flags & FLAG_AF) !== 0) {
    const ax = c.reg16(0) + (step > 0 ? 0x106 : -6);
    c.setReg16(0, ax);
    if (step < 0) c.setReg8(AH, c.reg8(AH) - 1);
    c.setArithmeticFlags(keep | FLAG_AF | FLAG_CF);
  } else c.setArithmeticFlags(keep);
  c.setReg8(AL, c.reg8(AL) & 15);
  return NEXT;
}

function aam(c: CpuState): number {
  const base = immediate(c) & 0xff;
  if (base === 0) c.raise(EXC_DE);
  const old = c.reg8(AL);
  const al = old % base;
  c.setReg8(AH, Math.floor(old / base));
  c.setReg8(AL, al);
  c.setArithmeticFlags(resultFlags(al));
  return NEXT;
}

function aad(c: CpuState): number {
  const al = (c.reg8(AL) + c.reg8(AH) * (immediate(c) & 0xff)) & 0xff;
  c.setReg16(0, al);
  c.setArithmeticFlags(resultFlags(al));
  return NEXT;
}

function lahf(c: CpuState): number {
  c.setReg8(AH, (c.eflags() & 0xd5) | 2);
  return NEXT;
}

function sahf(c: CpuState): number {
  c.setArithmeticFlags((c.eflags() & FLAG_OF) | (c.reg8(AH) & 0xd5));
  return NEXT;
}

export const BCD_OPERATIONS: Readonly<Record<string, (c: CpuState) => number>> = {
  daa,
  das,
  aaa: (c) => asciiAdjust(c, 1),
  aas: (c) => asciiAdjust(c, -1),
  aam,
  aad,
  lahf,
  sahf,
};
