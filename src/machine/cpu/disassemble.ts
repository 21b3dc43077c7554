/**
 * The disassembler: text of one instruction in AT&T syntax, spelled as QEMU's monitor (capstone 4) spells it. Encodings, names
 * and operands come from the instruction table through the decoder; here is only how they are written.
 *
 * Not here: what the table does not have (SSE3 and later, VEX): `.byte`.
 */
import { type Decoded, decode, NO_REGISTER, newDecoded } from './decoder.ts';
import type { Definition } from './isa.ts';
import { x87Name } from './isa-x87.ts';
import * as L from './layout.ts';

export interface Disassembled {
  /** Bytes; 1 for an undefined instruction. */
  length: number;
  mnemonic: string;
  operands: string;
}

/** Bytes that must be readable behind the address of an instruction. */
export const DISASSEMBLE_BYTES = 24;

const REG32 = ['eax', 'ecx', 'edx', 'ebx', 'esp', 'ebp', 'esi', 'edi'];
const REG16 = ['ax', 'cx', 'dx', 'bx', 'sp', 'bp', 'si', 'di'];
const REG8 = ['al', 'cl', 'dl', 'bl', 'ah', 'ch', 'dh', 'bh'];
const SEGMENTS = ['es', 'cs', 'ss', 'ds', 'fs', 'gs'];

const decoded = newDecoded();

/**
 * The instruction at `at` of `source`, which lies at `address` (offset in its code segment). At least DISASSEMBLE_BYTES
 * bytes must follow `at`, with anything in them. `code32`: CS.D.
 */
export function disassemble(source: Uint8Array, at: number, address: number, code32: boolean): Disassembled {
  const d = decoded;
  decode(source, at, code32, d);
  const text = d.definition === undefined ? undefined : instruction(d, d.definition, address);
  if (text === undefined) return { length: 1, mnemonic: '.byte', operands: `0x${hex(source[at]!, 2)}` };
  return { length: d.length, ...text };
}

/** A line of the monitor's `x/i` without its end of line; continued on further lines behind eight bytes. QEMU disas/capstone.c. */
export function disassemblyLine(
  address: number,
  bytes: Uint8Array,
  { mnemonic, operands }: Disassembled,
): string {
  const rows: string[] = [];
  for (let done = 0; done < bytes.length; done += 8) {
    const part = [...bytes.subarray(done, done + 8)].map((byte) => hex(byte, 2)).join(' ');
    const row = `0x${hex(address + done, 8)}:  ${part}`;
    rows.push(done === 0 ? `${row.padEnd(12 + 25)} ${mnemonic.padEnd(8)} ${operands}` : row);
  }
  return rows.join('\n');
}

function hex(value: number, digits = 1): string {
  return (value >>> 0).toString(16).padStart(digits, '0');
}

/** Up to nine in decimal, as capstone. */
function number(value: number): string {
  const size = Math.abs(value);
  return `${value < 0 ? '-' : ''}${size > 9 ? `0x${size.toString(16)}` : size}`;
}

interface Text {
  mnemonic: string;
  operands: string;
}

function instruction(d: Decoded, definition: Definition, address: number): Text | undefined {
  if (definition.operation === 'fpu_escape') return floatingPoint(d);
  const special = SPECIAL[definition.mnemonic]?.(d, definition);
  const list = special?.operands ?? listOperands(d, definition, address);
  let mnemonic = special?.mnemonic ?? definition.mnemonic + suffix(d, definition);
  if (d.lock) mnemonic = `lock ${mnemonic}`;
  if (d.repeat !== 0 && definition.repeat !== '') mnemonic = `${repeatName(d, definition)} ${mnemonic}`;
  return { mnemonic, operands: list };
}

function repeatName(d: Decoded, { repeat }: Definition): string {
  if (d.repeat === L.RF_REPNE) return 'repne';
  return repeat === 'repcc' ? 'repe' : 'rep';
}

function listOperands(d: Decoded, definition: Definition, address: number): string {
  // A constant belongs to the operation; it takes the place of no operand.
  let immediates = 0;
  const texts = definition.operands.map((o) => {
    const isNumber = /^[IJ1]/.test(o);
    const value = isNumber && immediates++ > 0 ? d.immediate2 : d.immediate;
    return operand(d, definition, o, value, address);
  });
  return (texts.length > 1 && definition.mnemonic === 'enter' ? texts : texts.reverse()).join(', ');
}

function operand(d: Decoded, definition: Definition, o: string, value: number, address: number): string {
  const size = o[1];
  switch (o) {
    case 'AL':
    case 'CL':
      return `%${o.toLowerCase()}`;
    case 'eAX':
      return d.operandSize === 32 ? '%eax' : '%ax';
    case 'DX':
      return '%dx';
    case '1':
      return '$1';
    case 'Ap':
      return `$0x${hex(d.immediate2)}:$0x${hex(d.immediate)}`;
  }
  if (SEGMENTS.includes(o.toLowerCase())) return `%${o.toLowerCase()}`;
  switch (o[0]) {
    case 'I':
      return `$${number(immediateValue(d, definition, o, value))}`;
    case 'J': {
      const target = (address + d.length + value) >>> 0;
      return `0x${hex(d.operandSize === 32 ? target : target & 0xffff)}`;
    }
    case 'S':
      return `%${SEGMENTS[d.reg]}`;
    case 'C':
      return `%cr${d.reg}`;
    case 'D':
      return `%dr${d.reg}`;
    case 'G':
    case 'Z':
      return register(d, size, d.reg);
    case 'R':
      return `%${REG32[d.rm]}`;
    case 'P':
      return `%mm${d.reg}`;
    case 'N':
      return `%mm${d.rm}`;
    case 'V':
      return `%xmm${d.reg}`;
    case 'U':
      return `%xmm${d.rm}`;
  }
  if (d.memory) return memory(d);
  if (o[0] === 'Q') return `%mm${d.rm}`;
  return o[0] === 'W' ? `%xmm${d.rm}` : register(d, size, d.rm);
}

/** Sign-extended bytes are written with their sign where the instruction calculates with them. */
const SIGNED = new Set(['push', 'imul', 'add', 'adc', 'sub', 'sbb', 'cmp']);

function immediateValue(d: Decoded, { mnemonic, operands }: Definition, o: string, value: number): number {
  if (o === 'Ib') return mnemonic === 'enter' ? (value << 24) >> 24 : value & 0xff;
  if (o === 'Is' && SIGNED.has(mnemonic)) return value;
  if (o === 'Iw') return value & 0xffff;
  const isByte = operands[0]?.[1] === 'b';
  return isByte ? value & 0xff : d.operandSize === 32 ? value >>> 0 : value & 0xffff;
}

function register(d: Decoded, size: string | undefined, n: number): string {
  if (size === 'b') return `%${REG8[n]}`;
  const is16 = size === 'w' || (size === 'v' && d.operandSize === 16);
  return `%${(is16 ? REG16 : REG32)[n]}`;
}

function memory(d: Decoded): string {
  const segment = d.override < 0 ? '' : `%${SEGMENTS[d.override]}:`;
  const names = d.addressSize === 32 ? REG32 : REG16;
  if (d.base === NO_REGISTER && d.index === NO_REGISTER) {
    return `${segment}${number(d.addressSize === 32 ? d.displacement >>> 0 : d.displacement & 0xffff)}`;
  }
  const displacement = d.displacement === 0 ? '' : number(d.displacement);
  const base = d.base === NO_REGISTER ? '' : `%${names[d.base]}`;
  const comma = d.addressSize === 16 && base === '' ? '' : ', ';
  const index = d.index === NO_REGISTER ? '' : `${comma}%${names[d.index]}`;
  const scale = d.index === NO_REGISTER || d.scale === 0 ? '' : `, ${1 << d.scale}`;
  return `${segment}${displacement}(${base}${index}${scale})`;
}

/** The letter behind a name that says how large its operands are. */
const NO_SUFFIX = new Set(
  'bound arpl verr verw invlpg enter leave aam aad int bswapq movd movq loop loope loopne jcxz'.split(' '),
);
/** Instructions whose size is that of the operand that is not their first. */
const WORD_ONLY = new Set(['lldt', 'ltr', 'lmsw']);
/** Conversions from a general register, which take its size. */
const FROM_GENERAL = new Set(['cvtsi2ss', 'cvtsi2sd', 'movnti']);

function suffix(d: Decoded, definition: Definition): string {
  const { mnemonic, operands, implied } = definition;
  if (NO_SUFFIX.has(mnemonic)) return '';
  const letter = d.operandSize === 32 ? 'l' : 'w';
  if (implied === 'b') return 'b';
  if (implied === 'v') return letter;
  if (WORD_ONLY.has(mnemonic)) return 'w';
  if (FROM_GENERAL.has(mnemonic)) return 'l';
  if (/^(j|set)/.test(mnemonic) && operands[0] !== 'Ev') return '';
  const sized = operands.find((o) => /^([EGZOR][bwvd]|I[vs]|AL|eAX)$/.test(o));
  if (sized === undefined || operands.some((o) => /^[PQVWNU]/.test(o)))
    return mnemonic === 'call' ? letter : '';
  if (sized === 'AL' || sized[1] === 'b') return 'b';
  if (sized[1] === 'w' && sized !== 'Ew') return 'w';
  return sized[0] === 'R' ? 'l' : letter;
}

type Special = (d: Decoded, definition: Definition) => Partial<Text> | undefined;

const letterOf = (d: Decoded) => (d.operandSize === 32 ? 'l' : 'w');
const wide = (d: Decoded, wideName: string, name: string) => (d.operandSize === 32 ? wideName : name);
const source = (d: Decoded) =>
  `${d.override < 0 ? '' : `%${SEGMENTS[d.override]}:`}(%${d.addressSize === 32 ? 'esi' : 'si'})`;
const target = (d: Decoded) => `%es:(%${d.addressSize === 32 ? 'edi' : 'di'})`;
const accumulator = (d: Decoded, { implied }: Definition) =>
  implied === 'b' ? '%al' : wide(d, '%eax', '%ax');
const COMPARISONS = ['eq', 'lt', 'le', 'unord', 'neq', 'nlt', 'nle', 'ord'];

const plain =
  (name: string): Special =>
  () => ({ mnemonic: name });
const far =
  (name: string): Special =>
  (d, { operands }) => {
    const o = operands[0]!;
    if (o === 'Ap') return { mnemonic: `l${name}${letterOf(d)}` };
    if (o[0] === 'J') return name === 'jmp' ? { mnemonic: name } : undefined;
    return {
      mnemonic: `${o === 'M' ? 'l' : ''}${name}${letterOf(d)}`,
      operands: `*${d.memory ? memory(d) : register(d, 'v', d.rm)}`,
    };
  };
const extend =
  (name: string): Special =>
  (d, { operands }) => ({ mnemonic: `${name}${operands[1]![1]}${letterOf(d)}` });
/** Stores 16 bits to memory, or a whole register. */
const storeWord =
  (name: string): Special =>
  (d) =>
    d.memory ? { mnemonic: `${name}w` } : { mnemonic: name + letterOf(d), operands: register(d, 'v', d.rm) };
const tableRegister =
  (name: string): Special =>
  (d) => ({ mnemonic: name + letterOf(d) });
const farPointer = tableRegister;
const compare =
  (end: string): Special =>
  (d, { operands }) => {
    const relation = COMPARISONS[d.immediate & 0xff];
    if (relation === undefined) return undefined;
    const from = d.memory ? memory(d) : `%xmm${d.rm}`;
    return { mnemonic: `cmp${relation}${end}`, operands: `${from}, %xmm${operands.length > 0 ? d.reg : 0}` };
  };
const highLow =
  (name: string, registers: string): Special =>
  (d) =>
    d.memory ? { mnemonic: name } : { mnemonic: registers };

function move(d: Decoded, { operation }: Definition): Partial<Text> | undefined {
  const isStore = operation === 'mov_from_sreg';
  if (!isStore && operation !== 'mov_to_sreg') return undefined;
  const rm = d.memory ? memory(d) : register(d, 'v', d.rm);
  const operands = isStore ? `%${SEGMENTS[d.reg]}, ${rm}` : `${rm}, %${SEGMENTS[d.reg]}`;
  return { mnemonic: `mov${d.memory ? 'w' : letterOf(d)}`, operands };
}

function prefetch(d: Decoded): Partial<Text> {
  if (d.opcode === 0x90) return { mnemonic: d.repeat === L.RF_REP ? 'pause' : 'nop' };
  if (d.opcode === 0x0d && d.memory) return { mnemonic: d.reg === 1 ? 'prefetchw' : 'prefetch' };
  const hint = ['nta', 't0', 't1', 't2'][d.reg];
  if (d.opcode === 0x18 && d.memory && hint !== undefined) return { mnemonic: `prefetch${hint}` };
  return { mnemonic: `nop${letterOf(d)}` };
}

/** Names that are not their row's with a size letter, and operands that no row has. */
const SPECIAL: Readonly<Record<string, Special>> = {
  mov: move,
  nop: prefetch,
  call: far('call'),
  jmp: far('jmp'),
  ret: tableRegister('ret'),
  retf: tableRegister('lret'),
  pusha: (d) => ({ mnemonic: wide(d, 'pushal', 'pushaw') }),
  popa: (d) => ({ mnemonic: wide(d, 'popal', 'popaw') }),
  cbw: (d) => ({ mnemonic: wide(d, 'cwtl', 'cbtw') }),
  cwd: (d) => ({ mnemonic: wide(d, 'cltd', 'cwtd') }),
  jcxz: (d) => ({ mnemonic: d.addressSize === 32 ? 'jecxz' : 'jcxz' }),
  leave: plain('leave'),
  fwait: plain('wait'),
  xlat: plain('xlatb'),
  movs: (d) => ({ operands: `${source(d)}, ${target(d)}` }),
  cmps: (d) => ({ operands: `${target(d)}, ${source(d)}` }),
  stos: (d, r) => ({ operands: `${accumulator(d, r)}, ${target(d)}` }),
  lods: (d, r) => ({ operands: `${source(d)}, ${accumulator(d, r)}` }),
  scas: (d, r) => ({ operands: `${target(d)}, ${accumulator(d, r)}` }),
  ins: (d) => ({ operands: `%dx, ${target(d)}` }),
  outs: (d) => ({ operands: `${source(d)}, %dx` }),
  movzx: extend('movz'),
  movsx: extend('movs'),
  sldt: storeWord('sldt'),
  str: storeWord('str'),
  smsw: storeWord('smsw'),
  sgdt: tableRegister('sgdt'),
  sidt: tableRegister('sidt'),
  lgdt: tableRegister('lgdt'),
  lidt: tableRegister('lidt'),
  les: farPointer('les'),
  lds: farPointer('lds'),
  lss: farPointer('lss'),
  lfs: farPointer('lfs'),
  lgs: farPointer('lgs'),
  lar: (d, r) => loadRights(d, r),
  lsl: (d, r) => loadRights(d, r),
  cmpps: compare('ps'),
  cmpss: compare('ss'),
  cmppd: compare('pd'),
  cmpsd: compare('sd'),
  movlps: highLow('movlps', 'movhlps'),
  movhps: highLow('movhps', 'movlhps'),
  pinsrw: (d, { operands }) => ({
    operands: `$${number(d.immediate & 0xff)}, ${d.memory ? memory(d) : register(d, 'd', d.rm)}, %${operands[0] === 'Vo' ? 'xmm' : 'mm'}${d.reg}`,
  }),
  sfence: (d) => (d.memory ? { mnemonic: 'clflush' } : { operands: '' }),
  lfence: () => ({ operands: '' }),
  mfence: () => ({ operands: '' }),
};

function loadRights(d: Decoded, { mnemonic }: Definition): Partial<Text> {
  const rm = d.memory ? memory(d) : register(d, 'v', d.rm);
  return { mnemonic: mnemonic + letterOf(d), operands: `${rm}, ${register(d, 'v', d.reg)}` };
}

function floatingPoint(d: Decoded): Text | undefined {
  const name = x87Name(d.opcode, d.modrm, d.memory);
  if (name === undefined) return undefined;
  if (d.memory) return { mnemonic: name, operands: memory(d) };
  const [mnemonic = '', form = ''] = name.split(':');
  const operands = form
    .split(',')
    .map((part) => (part === '' ? '' : part === 'ax' ? '%ax' : `%st(${part === 'i' ? d.rm : part})`))
    .join(', ');
  return { mnemonic, operands };
}
