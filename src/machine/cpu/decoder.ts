/**
 * Decodes one instruction from bytes to operands, following the instruction table. Pure: knows nothing of records or handlers.
 * Intel SDM volume 2, chapter 2.
 */
import { type Definition, ISA, PREFIX_66, PREFIX_F2, PREFIX_F3 } from './isa.ts';
import * as L from './layout.ts';

/** Longest instruction; a longer one is #GP. */
export const MAX_LENGTH = 15;
export const NO_REGISTER = 8;

/** A decoded instruction. One object is reused: decoding allocates nothing. */
export interface Decoded {
  definition: Definition | undefined;
  length: number;
  /** 16 or 32. */
  operandSize: number;
  addressSize: number;
  /** Memory operand: ModRM mod < 3, or an absolute address. */
  memory: boolean;
  reg: number;
  rm: number;
  /** Register numbers, NO_REGISTER for none. */
  base: number;
  index: number;
  scale: number;
  displacement: number;
  /** Segment of the memory operand (ES…GS), override applied. */
  segment: number;
  /** Segment that a prefix names (ES…GS), or -1. */
  override: number;
  immediate: number;
  immediate2: number;
  /** L.RF_REP, L.RF_REPNE or 0. */
  repeat: number;
  lock: boolean;
  /** Low opcode byte. */
  opcode: number;
  modrm: number;
  /** Why `definition` is undefined: 'ud' or 'gp' (too long). */
  invalid: 'ud' | 'gp';
}

export function newDecoded(): Decoded {
  return {
    definition: undefined,
    length: 0,
    operandSize: 32,
    addressSize: 32,
    memory: false,
    reg: 0,
    rm: 0,
    base: NO_REGISTER,
    index: NO_REGISTER,
    scale: 0,
    displacement: 0,
    segment: L.DS,
    override: -1,
    immediate: 0,
    immediate2: 0,
    repeat: 0,
    lock: false,
    opcode: 0,
    modrm: 0,
    invalid: 'ud',
  };
}

let bytes: Uint8Array = new Uint8Array(0);
let position = 0;

function u8(): number {
  return bytes[position++]!;
}
function s8(): number {
  return (bytes[position++]! << 24) >> 24;
}
function u16(): number {
  const v = bytes[position]! | (bytes[position + 1]! << 8);
  position += 2;
  return v;
}
function i32(): number {
  const v =
    bytes[position]! |
    (bytes[position + 1]! << 8) |
    (bytes[position + 2]! << 16) |
    (bytes[position + 3]! << 24);
  position += 4;
  return v;
}

/**
 * Decodes at `at`; up to 15 + 8 readable bytes must follow (what lies behind the 15th does not matter).
 * `code32`: CS.D.
 */
export function decode(source: Uint8Array, at: number, code32: boolean, d: Decoded): void {
  bytes = source;
  position = at;
  d.definition = undefined;
  d.invalid = 'ud';
  d.memory = false;
  d.base = NO_REGISTER;
  d.index = NO_REGISTER;
  d.scale = 0;
  d.displacement = 0;
  d.immediate = 0;
  d.immediate2 = 0;
  d.repeat = 0;
  d.lock = false;
  d.modrm = 0;
  let override = -1;
  let prefix66 = false;
  let prefix67 = false;
  let opcode = u8();
  prefixes: for (;;) {
    switch (opcode) {
      case 0x26:
        override = L.ES;
        break;
      case 0x2e:
        override = L.CS;
        break;
      case 0x36:
        override = L.SS;
        break;
      case 0x3e:
        override = L.DS;
        break;
      case 0x64:
        override = L.FS;
        break;
      case 0x65:
        override = L.GS;
        break;
      case 0x66:
        prefix66 = true;
        break;
      case 0x67:
        prefix67 = true;
        break;
      case 0xf0:
        d.lock = true;
        break;
      case 0xf2:
        d.repeat = L.RF_REPNE;
        break;
      case 0xf3:
        d.repeat = L.RF_REP;
        break;
      default:
        break prefixes;
    }
    if (position - at >= MAX_LENGTH) {
      tooLong(d);
      return;
    }
    opcode = u8();
  }
  d.operandSize = code32 !== prefix66 ? 32 : 16;
  d.addressSize = code32 !== prefix67 ? 32 : 16;
  d.override = override;
  let number = opcode;
  if (opcode === 0x0f) {
    opcode = u8();
    number = 0x100 + opcode;
  }
  d.opcode = opcode;
  const entry = findOpcode(number, prefix66, d.repeat);
  if (entry === undefined) {
    d.length = position - at;
    if (d.length > MAX_LENGTH) tooLong(d);
    return;
  }
  let definition = entry.plain;
  if (entry.group !== undefined || definition!.modrm) {
    modrm(d, number >= MOV_FROM_CR && number <= MOV_TO_DR);
    if (entry.group !== undefined) definition = entry.group[d.reg];
  }
  if (definition !== undefined) operands(d, definition, opcode);
  d.segment = override >= 0 ? override : d.base === 4 || d.base === 5 ? defaultSegment(d) : L.DS;
  d.length = position - at;
  if (d.length > MAX_LENGTH) {
    tooLong(d);
    return;
  }
  if (definition === undefined || !valid(d, definition)) return;
  d.definition = definition;
}

/** A mandatory prefix chooses the row; F3 and F2 win over 66. Integer instructions ignore F2 and F3. */
function findOpcode(number: number, prefix66: boolean, repeat: number) {
  const table = ISA.opcodes;
  const plain = table[number];
  if (number < 0x100) return plain;
  const prefix =
    repeat === L.RF_REP ? PREFIX_F3 : repeat === L.RF_REPNE ? PREFIX_F2 : prefix66 ? PREFIX_66 : 0;
  if (prefix === 0) return plain;
  return table[number + prefix] ?? (plain?.mandatory === true ? undefined : plain);
}

function tooLong(d: Decoded): void {
  d.length = MAX_LENGTH;
  d.definition = undefined;
  d.invalid = 'gp';
}

/** SS for addresses through ESP, EBP or (16-bit) BP. */
function defaultSegment(d: Decoded): number {
  return d.memory ? L.SS : L.DS;
}

/** MOV to and from control and debug registers takes ModRM as naming a register whatever mod says: no SIB, no displacement. */
const MOV_FROM_CR = 0x120;
const MOV_TO_DR = 0x123;

function modrm(d: Decoded, registerOnly: boolean): void {
  const m = u8();
  d.modrm = m;
  const mod = registerOnly ? 3 : m >> 6;
  d.reg = (m >> 3) & 7;
  d.rm = m & 7;
  if (mod === 3) return;
  d.memory = true;
  if (d.addressSize === 32) modrm32(d, mod);
  else modrm16(d, mod);
}

function modrm32(d: Decoded, mod: number): void {
  d.base = d.rm;
  if (d.rm === 4) {
    const sib = u8();
    d.scale = sib >> 6;
    d.index = (sib >> 3) & 7;
    if (d.index === 4) {
      d.index = NO_REGISTER;
      d.scale = 0;
    }
    d.base = sib & 7;
  }
  if (mod === 0 && d.base === 5) {
    d.base = NO_REGISTER;
    d.displacement = i32();
  } else if (mod === 1) d.displacement = s8();
  else if (mod === 2) d.displacement = i32();
}

const BASE16 = [3, 3, 5, 5, NO_REGISTER, NO_REGISTER, 5, 3];
const INDEX16 = [6, 7, 6, 7, 6, 7, NO_REGISTER, NO_REGISTER];

function modrm16(d: Decoded, mod: number): void {
  d.base = BASE16[d.rm]!;
  d.index = INDEX16[d.rm]!;
  if (mod === 0 && d.rm === 6) {
    d.base = NO_REGISTER;
    d.displacement = u16();
  } else if (mod === 1) d.displacement = s8();
  else if (mod === 2) d.displacement = (u16() << 16) >> 16;
}

const SEGMENT_NAMES: Readonly<Record<string, number>> = { ES: 0, CS: 1, SS: 2, DS: 3, FS: 4, GS: 5 };

function operands(d: Decoded, definition: Definition, opcode: number): void {
  let first = true;
  for (const o of definition.operands) {
    let v = 0;
    switch (o) {
      case 'Ib':
        v = u8();
        break;
      case 'Is':
        v = s8();
        break;
      case 'Iw':
        v = u16();
        break;
      case 'Iv':
        v = d.operandSize === 32 ? i32() : u16();
        break;
      case 'Jb':
        v = s8();
        break;
      case 'Jv':
        v = d.operandSize === 32 ? i32() : (u16() << 16) >> 16;
        break;
      case '1':
        v = 1;
        break;
      case 'Ap':
        d.immediate = d.operandSize === 32 ? i32() : u16();
        d.immediate2 = u16();
        continue;
      case 'Ob':
      case 'Ov':
        d.memory = true;
        d.displacement = d.addressSize === 32 ? i32() : u16();
        continue;
      case 'Zb':
      case 'Zv':
        d.reg = opcode & 7;
        continue;
      default: {
        const segment = SEGMENT_NAMES[o];
        if (segment !== undefined) d.reg = segment;
        continue;
      }
    }
    if (first) d.immediate = v;
    else d.immediate2 = v;
    first = false;
  }
  if (definition.constant !== undefined) d.immediate = definition.constant;
}

/** Encodings that are undefined although the opcode is known. */
function valid(d: Decoded, definition: Definition): boolean {
  if (d.lock && !(definition.lockable && d.memory)) return false;
  for (const o of definition.operands) {
    if (o[0] === 'M' && !d.memory) return false;
    if ((o[0] === 'N' || o[0] === 'U') && d.memory) return false;
    if (o === 'Sw' && (d.reg > 5 || (d.reg === 1 && definition.operation === 'mov_to_sreg'))) return false;
    if (o[0] === 'C' && o[1] === 'd' && (d.reg === 1 || d.reg > 4)) return false;
  }
  return true;
}
