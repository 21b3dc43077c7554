/**
 * Random instructions of every integer form of the instruction table, with operands that lie in the test's memory window,
 * and which flags the manual leaves undefined behind them. Intel SDM volume 2.
 */
import { type Definition, ISA } from '../../src/machine/cpu/isa.ts';
import type { Random } from './guest-case.ts';
import {
  CASE_BYTES,
  CASE_CODE,
  CASE_FLAGS,
  CASE_LENGTH,
  CASE_OPTIONS,
  CASE_WINDOW,
  LANDING,
  SEGMENT_BASE,
  WINDOW,
  WINDOW_BYTES,
} from './host-integer.ts';

export const STATUS = 0x8d5;
const CF = 1;
const PF = 4;
const AF = 0x10;
const ZF = 0x40;
const SF = 0x80;
const DF = 0x400;
const OF = 0x800;

/** Operations of the table that user programs may execute and that concern integers. */
const INTEGER = new Set(
  (
    'add or adc sbb and sub xor cmp test not neg inc dec mov lea movzx8 movzx16 movsx8 movsx16 xchg xadd cmpxchg bswap cbw cwd ' +
    'nop salc clc stc cmc cld std mul imul1 imul2 imul3 div idiv shl shr sar rol ror rcl rcr shld shrd bt bts btr btc bsf bsr ' +
    'jmp call ret push pop pop_rm leave loop loope loopne jcxz movs stos lods cmps scas xlat daa das aaa aas aam aad lahf sahf ' +
    'enter pusha popa pushf popf bound into int3 cmpxchg8b ud2'
  ).split(' '),
);
const STACK = new Set('call ret push pop pop_rm pusha popa pushf popf enter'.split(' '));
const BRANCH = new Set('jmp call ret loop loope loopne jcxz'.split(' '));

export interface Form {
  readonly name: string;
  readonly opcode: readonly number[];
  readonly reg: number | undefined;
  readonly definition: Definition;
  readonly size: 8 | 16 | 32;
}

function sized(d: Definition): boolean {
  return d.implied === 'v' || d.operands.some((o) => /v$|^eAX$|^I[sw]$/.test(o));
}
function isBranch(d: Definition): boolean {
  return BRANCH.has(d.operation) || /^j\d/.test(d.operation);
}

/** Every form: opcode × reg field × operand size. */
export function integerForms(): Form[] {
  const forms: Form[] = [];
  for (let n = 0; n < 0x200; n++) {
    const entry = ISA.opcodes[n];
    if (entry === undefined) continue;
    const opcode = n < 0x100 ? [n] : [0x0f, n - 0x100];
    const rows: [number | undefined, Definition | undefined][] = entry.group
      ? entry.group.map((d, i) => [i, d])
      : [[undefined, entry.plain]];
    for (const [reg, definition] of rows) {
      if (definition === undefined) continue;
      const { operation } = definition;
      if (!INTEGER.has(operation) && !/^(j|set|cmov)\d+$/.test(operation)) continue;
      const b = definition.implied === 'b' || definition.operands[0]?.endsWith('b') === true;
      const sizes: (8 | 16 | 32)[] = b ? [8] : sized(definition) && !isBranch(definition) ? [16, 32] : [32];
      for (const size of sizes) {
        if (operation === 'bswap' && size === 16) continue;
        const digits = opcode.map((o) => o.toString(16).padStart(2, '0')).join('');
        const name = `${digits}${reg === undefined ? '' : `/${reg}`} ${definition.mnemonic} ${size}`;
        forms.push({ name, opcode, reg, definition, size });
      }
    }
  }
  return forms;
}

const SPECIAL = [
  0, 1, 2, -1, -2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, -0x80000000, 31, 32, 33,
];

/** One case being made: registers, code, memory operand. */
interface Draft {
  readonly random: Random;
  readonly form: Form;
  readonly regs: Int32Array;
  readonly code: number[];
  based: boolean;
  a16: boolean;
  memory: boolean;
  /** Linear address of the memory operand. */
  target: number;
}

/** Writes a random case of `form` at `at` and returns it for {@link undefinedFlags}. */
export function makeCase(random: Random, form: Form, out: DataView, at: number): void {
  for (;;) {
    const draft: Draft = {
      random,
      form,
      regs: new Int32Array(8),
      code: [],
      based: random.below(4) === 0,
      a16: random.below(5) === 0,
      memory: false,
      target: 0,
    };
    const uniform = random.below(4) === 0;
    const byte = random.below(256) * 0x01010101;
    const operand = (): number =>
      uniform ? byte : random.below(3) === 0 ? random.pick(SPECIAL) : random.next();
    for (let r = 0; r < 8; r++) draft.regs[r] = operand();
    for (let i = 0; i < WINDOW_BYTES; i += 4) out.setInt32(at + CASE_WINDOW + i, operand(), true);
    if (!encode(draft)) continue;
    const { code, regs } = draft;
    if (code.length > 15) continue;
    if (STACK.has(form.definition.operation) && (regs[4]! < WINDOW + 80 || regs[4]! > WINDOW + 200)) continue;
    prepareMemory(draft, out, at);
    for (let r = 0; r < 8; r++) out.setInt32(at + r * 4, regs[r]!, true);
    out.setUint32(at + CASE_FLAGS, (random.next() & (STATUS | DF)) | 0x202, true);
    out.setUint32(at + CASE_OPTIONS, draft.based ? 1 : 0, true);
    out.setUint32(at + CASE_LENGTH, code.length, true);
    for (let i = 0; i < 16; i++) out.setUint8(at + CASE_CODE + i, code[i] ?? 0x90);
    return;
  }
}

/** What instructions expect to find in memory: return addresses, flags to pop. */
function prepareMemory(d: Draft, out: DataView, at: number): void {
  const put = (linear: number, v: number): void => out.setInt32(at + CASE_WINDOW + linear - WINDOW, v, true);
  const { operation } = d.form.definition;
  if (operation === 'ret') put(d.regs[4]!, LANDING);
  if (operation === 'popf') put(d.regs[4]!, d.random.next() & (STATUS | DF));
  if ((operation === 'jmp' || operation === 'call') && d.memory) put(d.target, LANDING);
}

function encode(d: Draft): boolean {
  const { random, form, regs } = d;
  const { definition } = form;
  const { operation } = definition;
  const implicitMemory = ['movs', 'stos', 'lods', 'cmps', 'scas', 'xlat'].includes(operation);
  if (STACK.has(operation)) regs[4] = WINDOW + 96 + random.below(80);
  if (operation === 'enter' || operation === 'leave') regs[5] = WINDOW + 120 + random.below(80);
  if (/^i?div$/.test(operation) && random.below(2) === 0) {
    regs[2] = random.below(4) - 2;
    if (random.below(2) === 0) regs[0] = random.below(600) - 300;
  }
  if (operation === 'cmpxchg8b' && random.below(2) === 0) regs[2] = regs[0]!;
  const tail: number[] = [];
  if (definition.modrm && !modrm(d, tail)) return false;
  const absolute = definition.operands.some((o) => o[0] === 'O');
  if (absolute) absoluteOperand(d, tail);
  let segment = -1;
  if (d.memory && (d.a16 || random.below(4) === 0)) segment = 0x64;
  if (implicitMemory) {
    if (d.a16) d.based = true;
    implied(d, operation);
  }
  if (isBranch(definition)) d.a16 = d.a16 && (d.memory || /^(loop|jcxz)/.test(operation));
  if (operation === 'lea') segment = -1;
  const prefixes: number[] = [];
  if (form.size === 16) prefixes.push(0x66);
  if (d.a16) prefixes.push(0x67);
  if (segment >= 0 && operation !== 'lea') prefixes.push(segment);
  const lock = random.below(16) === 0;
  if (lock) prefixes.push(0xf0);
  if (definition.repeat !== '' && random.below(4) !== 0) prefixes.push(random.below(2) === 0 ? 0xf3 : 0xf2);
  if (d.memory && operation !== 'lea') {
    if (!place(d, segment >= 0 || d.based ? d.target - SEGMENT_BASE : d.target, tail)) return false;
  }
  d.code.push(...prefixes, ...form.opcode, ...tail);
  return immediates(d);
}

/** Where the pieces of the last ModRM operand lie, for {@link place}. */
const operand = { base: -1, index: -1, scale: 0, dispAt: -1, dispSize: 0, stackBased: false };

function modrm(d: Draft, tail: number[]): boolean {
  const { random, form } = d;
  const reg = form.reg ?? random.below(8);
  const memoryOnly = form.definition.operands.some((o) => o[0] === 'M');
  operand.base = -1;
  operand.index = -1;
  operand.scale = 0;
  operand.dispAt = -1;
  if (!memoryOnly && random.below(3) === 0) {
    const rm = random.below(8);
    tail.push(0xc0 | (reg << 3) | rm);
    if (/^(jmp|call)$/.test(form.definition.operation)) d.regs[rm] = LANDING;
    return !STACK.has(form.definition.operation) || rm !== 4 || form.definition.operation === 'push';
  }
  d.memory = true;
  d.target = WINDOW + 16 + random.below(WINDOW_BYTES - 32);
  const mod = random.below(3);
  const rm = random.below(8);
  tail.push((mod << 6) | (reg << 3) | rm);
  operand.dispSize = mod === 1 ? 1 : mod === 2 ? (d.a16 ? 2 : 4) : 0;
  if (d.a16) {
    operand.base = [3, 3, 5, 5, 6, 7, 5, 3][rm]!;
    operand.index = rm < 4 ? [6, 7, 6, 7][rm]! : -1;
    if (mod === 0 && rm === 6) {
      operand.base = -1;
      operand.dispSize = 2;
    }
  } else sib(d, tail, mod, rm);
  operand.dispAt = tail.length;
  for (let i = 0; i < operand.dispSize; i++) tail.push(random.below(256));
  operand.stackBased = operand.base === 5 || operand.base === 4;
  // SS is flat: only DS's accesses follow the other base.
  if (d.based && operand.stackBased && !d.a16) d.based = false;
  return true;
}

function sib(d: Draft, tail: number[], mod: number, rm: number): void {
  operand.base = rm;
  if (rm === 4) {
    const byte = d.random.below(256);
    tail.push(byte);
    operand.base = byte & 7;
    operand.index = ((byte >> 3) & 7) === 4 ? -1 : (byte >> 3) & 7;
    operand.scale = operand.index < 0 ? 0 : byte >> 6;
  }
  if (mod === 0 && operand.base === 5) {
    operand.base = -1;
    operand.dispSize = 4;
  }
}

function absoluteOperand(d: Draft, tail: number[]): void {
  d.memory = true;
  d.target = WINDOW + 16 + d.random.below(WINDOW_BYTES - 32);
  operand.base = -1;
  operand.index = -1;
  operand.dispAt = 0;
  operand.dispSize = d.a16 ? 2 : 4;
  for (let i = 0; i < operand.dispSize; i++) tail.push(0);
}

/** Inverses of 3, 5 and 9 modulo 2^32: base and index are the same register. */
const INVERSE: readonly number[] = [0, 0xaaaaaaab, 0xcccccccd, 0x38e38e39];

/** Makes the operand's offset `offset` by its displacement, else by a register. False: not possible. */
function place(d: Draft, offset: number, tail: number[]): boolean {
  const { regs } = d;
  const { base, index, scale, dispAt, dispSize } = operand;
  if (/^bt[src]?$/.test(d.form.definition.operation) && d.form.reg === undefined) {
    // A bit string: the register moves the access by whole elements; keep it near.
    const r = (tail[0]! >> 3) & 7;
    if (r === base || r === index) return false;
    regs[r] = d.random.below(64) - 32;
    if (d.form.size === 16) regs[r] = (regs[r]! & 0xffff) | (d.random.next() & ~0xffff);
  }
  const scaled = index >= 0 ? regs[index]! << scale : 0;
  if (dispSize > 1) {
    const v = offset - (base >= 0 ? regs[base]! : 0) - scaled;
    for (let i = 0; i < dispSize; i++) tail[dispAt + i] = (v >> (i * 8)) & 0xff;
    return true;
  }
  const disp = dispSize === 1 ? (tail[dispAt]! << 24) >> 24 : 0;
  if (base === index) {
    const v = offset - disp;
    if (scale === 0 && (v & 1) !== 0) return false;
    regs[base] = scale === 0 ? v >> 1 : Math.imul(v, INVERSE[scale]!);
    return true;
  }
  const v = offset - disp - scaled;
  regs[base] = d.a16 ? (regs[base]! & ~0xffff) | (v & 0xffff) : v;
  return true;
}

/** Registers of string operations and XLAT. */
function implied(d: Draft, operation: string): void {
  const { random, regs } = d;
  const base = d.based ? SEGMENT_BASE : 0;
  const set = (r: number, v: number): void => {
    regs[r] = d.a16 ? (regs[r]! & ~0xffff) | (v & 0xffff) : v;
  };
  set(6, WINDOW + 100 + random.below(56) - base);
  set(7, WINDOW + 100 + random.below(56) - base);
  set(1, random.below(24));
  if (operation === 'xlat') set(3, WINDOW - base + random.below(256) - (regs[0]! & 0xff));
}

function immediates(d: Draft): boolean {
  const { random, form, code } = d;
  const { operation, operands } = form.definition;
  for (const o of operands) {
    if (o === 'Ib' || o === 'Is') code.push(operation === 'enter' ? random.below(12) : random.below(256));
    else if (o === 'Iw') code.push(random.below(32), 0);
    else if (o === 'Iv') {
      const v = random.below(3) === 0 ? random.pick(SPECIAL) : random.next();
      for (let i = 0; i < (form.size === 16 ? 2 : 4); i++) code.push((v >> (i * 8)) & 0xff);
    } else if (o === 'Jb') code.push(0x40 - code.length - 1);
    else if (o === 'Jv') code.push(0x40 - code.length - 4, 0, 0, 0);
  }
  return true;
}

/** Flags (and, as bit 31, the destination) that are undefined behind this case. */
export function undefinedFlags(form: Form, before: DataView, at: number): number {
  const { operation, operands } = form.definition;
  switch (operation) {
    case 'and':
    case 'or':
    case 'xor':
    case 'test':
      return AF;
    case 'shl':
    case 'shr':
    case 'sar':
    case 'rol':
    case 'ror':
    case 'rcl':
    case 'rcr':
    case 'shld':
    case 'shrd':
      return shiftUndefined(form, before, at);
    case 'mul':
    case 'imul1':
    case 'imul2':
    case 'imul3':
      return SF | ZF | AF | PF;
    case 'div':
    case 'idiv':
      return STATUS;
    case 'bsf':
    case 'bsr':
      return STATUS & ~ZF;
    case 'bt':
    case 'bts':
    case 'btr':
    case 'btc':
      return OF | SF | AF | PF;
    case 'daa':
    case 'das':
      return OF;
    case 'aaa':
    case 'aas':
      return OF | SF | ZF | PF;
    case 'aam':
    case 'aad':
      return OF | AF | CF;
    default:
      return operands.length > 9 ? STATUS : 0;
  }
}

function shiftUndefined(form: Form, before: DataView, at: number): number {
  const { operation, operands } = form.definition;
  const last = operands[operands.length - 1];
  const length = before.getUint32(at + CASE_LENGTH, true);
  let count = 1;
  if (last === 'CL') count = before.getUint8(at + 4) & 31;
  else if (last === 'Ib') count = before.getUint8(at + CASE_CODE + length - 1) & 31;
  if (count === 0) return 0;
  const of = count === 1 ? 0 : OF;
  if (operation[0] === 'r') return of;
  if (operation.startsWith('sh') && operation.length === 4) {
    return count > form.size ? STATUS | (1 << 31) : of | AF;
  }
  const cf = operation !== 'sar' && count >= form.size ? CF : 0;
  return of | AF | cf;
}

/** Buffer for `count` cases. */
export function newCases(count: number): { bytes: Uint8Array; view: DataView } {
  const bytes = new Uint8Array(count * CASE_BYTES);
  return { bytes, view: new DataView(bytes.buffer) };
}
