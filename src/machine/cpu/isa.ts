/**
 * The instruction table: encoding, mnemonic, operands and which operation carries it out. The decoder, the interpreter's handlers
 * and the disassembler follow from it. Source: Intel SDM volume 2, appendix A.
 *
 * A row: opcode bytes in hex (`/n` ModRM reg field, `+r` a register in the low three bits, `+cc` sixteen conditions, `f3.` a
 * mandatory prefix), mnemonic, operands, attributes after `!`.
 * Operands: E r/m, G reg field, Z register in the opcode, O absolute memory, M memory only, S segment register of the reg field,
 * C and D control and debug registers; sizes b 8, w 16, d 32, v 16 or 32 by operand size. Ib, Iw, Iv immediates, Is a
 * sign-extended byte; Jb, Jv relative targets; Ap a far pointer; AL, eAX, CL, DX, 1, ES… implied ones.
 * Attributes: `?name` exists only with that CPUID feature (`?p6`: from the Pentium Pro on); `b`, `v`, `d` size of implied operands; `lock` may take LOCK with a memory operand; `rep`, `repcc` string operation;
 * `=name` carried out by an operation of another name than the mnemonic; `#n` a constant for the operation.
 * Operations found in SEMANTICS are generated; all others are cold operations (system/, fpu/, simd/).
 */
import { ISA_SIMD } from './isa-simd.ts';
import { FEATURE_CMOV, FEATURE_CX8, FEATURE_MSR, FEATURE_SEP, FEATURE_TSC } from './system/cpu-models.ts';

const ALU = ['add', 'or', 'adc', 'sbb', 'and', 'sub', 'xor', 'cmp'];
const SHIFTS = ['rol', 'ror', 'rcl', 'rcr', 'shl', 'shr', 'shl', 'sar'];
const CONDITIONS = ['o', 'no', 'b', 'ae', 'e', 'ne', 'be', 'a', 's', 'ns', 'p', 'np', 'l', 'ge', 'le', 'g'];

function hex(n: number): string {
  return n.toString(16).padStart(2, '0');
}

function aluRows(): string[] {
  return ALU.flatMap((name, i) => {
    const lock = name === 'cmp' ? '' : ' !lock';
    const o = i * 8;
    return [
      `${hex(o)} ${name} Eb,Gb${lock}`,
      `${hex(o + 1)} ${name} Ev,Gv${lock}`,
      `${hex(o + 2)} ${name} Gb,Eb`,
      `${hex(o + 3)} ${name} Gv,Ev`,
      `${hex(o + 4)} ${name} AL,Ib`,
      `${hex(o + 5)} ${name} eAX,Iv`,
      `80/${i} ${name} Eb,Ib${lock}`,
      `81/${i} ${name} Ev,Iv${lock}`,
      `82/${i} ${name} Eb,Ib${lock}`,
      `83/${i} ${name} Ev,Is${lock}`,
    ];
  });
}

function shiftRows(): string[] {
  return SHIFTS.flatMap((name, i) => [
    `c0/${i} ${name} Eb,Ib`,
    `c1/${i} ${name} Ev,Ib`,
    `d0/${i} ${name} Eb,1`,
    `d1/${i} ${name} Ev,1`,
    `d2/${i} ${name} Eb,CL`,
    `d3/${i} ${name} Ev,CL`,
  ]);
}

const ONE_BYTE = `
06 push ES !v,=push_sreg
07 pop ES !v,=pop_sreg
0e push CS !v,=push_sreg
16 push SS !v,=push_sreg
17 pop SS !v,=pop_sreg
1e push DS !v,=push_sreg
1f pop DS !v,=pop_sreg
27 daa
2f das
37 aaa
3f aas
40+r inc Zv
48+r dec Zv
50+r push Zv
58+r pop Zv
60 pusha !v
61 popa !v
62 bound Gv,M
63 arpl Ew,Gw
68 push Iv
69 imul Gv,Ev,Iv !=imul3
6a push Is
6b imul Gv,Ev,Is !=imul3
6c ins !b,rep,=ins8
6d ins !v,rep,=insv
6e outs !b,rep,=outs8
6f outs !v,rep,=outsv
70+cc j Jb
84 test Eb,Gb
85 test Ev,Gv
86 xchg Eb,Gb !lock
87 xchg Ev,Gv !lock
88 mov Eb,Gb
89 mov Ev,Gv
8a mov Gb,Eb
8b mov Gv,Ev
8c mov Ew,Sw !=mov_from_sreg
8d lea Gv,M
8e mov Sw,Ew !=mov_to_sreg
8f/0 pop Ev !=pop_rm
90 nop
91+r7 xchg eAX,Zv
98 cbw !v
99 cwd !v
9a call Ap !=call_far_imm
9b fwait
9c pushf !v
9d popf !v
9e sahf
9f lahf
a0 mov AL,Ob
a1 mov eAX,Ov
a2 mov Ob,AL
a3 mov Ov,eAX
a4 movs !b,rep
a5 movs !v,rep
a6 cmps !b,repcc
a7 cmps !v,repcc
a8 test AL,Ib
a9 test eAX,Iv
aa stos !b,rep
ab stos !v,rep
ac lods !b,rep
ad lods !v,rep
ae scas !b,repcc
af scas !v,repcc
b0+r mov Zb,Ib
b8+r mov Zv,Iv
c2 ret Iw !v
c3 ret !v
c4 les Gv,M !=load_far_ptr,#0
c5 lds Gv,M !=load_far_ptr,#3
c6/0 mov Eb,Ib
c7/0 mov Ev,Iv
c8 enter Iw,Ib !v
c9 leave !v
ca retf Iw !v,=ret_far
cb retf !v,=ret_far
cc int3
cd int Ib !=int_n
ce into
cf iret !v
d4 aam Ib
d5 aad Ib
d6 salc
d7 xlat !b
d8 fpu Ex !=fpu_escape
d9 fpu Ex !=fpu_escape
da fpu Ex !=fpu_escape
db fpu Ex !=fpu_escape
dc fpu Ex !=fpu_escape
dd fpu Ex !=fpu_escape
de fpu Ex !=fpu_escape
df fpu Ex !=fpu_escape
e0 loopne Jb
e1 loope Jb
e2 loop Jb
e3 jcxz Jb
e4 in AL,Ib !=in8_imm
e5 in eAX,Ib !=inv_imm
e6 out Ib,AL !=out8_imm
e7 out Ib,eAX !=outv_imm
e8 call Jv
e9 jmp Jv
ea jmp Ap !=jmp_far_imm
eb jmp Jb
ec in AL,DX !=in8_dx
ed in eAX,DX !=inv_dx
ee out DX,AL !=out8_dx
ef out DX,eAX !=outv_dx
f1 int1
f4 hlt
f5 cmc
f6/0 test Eb,Ib
f6/1 test Eb,Ib
f6/2 not Eb !lock
f6/3 neg Eb !lock
f6/4 mul Eb
f6/5 imul Eb !=imul1
f6/6 div Eb
f6/7 idiv Eb
f7/0 test Ev,Iv
f7/1 test Ev,Iv
f7/2 not Ev !lock
f7/3 neg Ev !lock
f7/4 mul Ev
f7/5 imul Ev !=imul1
f7/6 div Ev
f7/7 idiv Ev
f8 clc
f9 stc
fa cli
fb sti
fc cld
fd std
fe/0 inc Eb !lock
fe/1 dec Eb !lock
ff/0 inc Ev !lock
ff/1 dec Ev !lock
ff/2 call Ev
ff/3 call M !=call_far_mem
ff/4 jmp Ev
ff/5 jmp M !=jmp_far_mem
ff/6 push Ev
`;

const TWO_BYTE = `
0f00/0 sldt Ew
0f00/1 str Ew
0f00/2 lldt Ew
0f00/3 ltr Ew
0f00/4 verr Ew
0f00/5 verw Ew
0f01/0 sgdt M
0f01/1 sidt M
0f01/2 lgdt M
0f01/3 lidt M
0f01/4 smsw Ew
0f01/6 lmsw Ew
0f01/7 invlpg M
0f02 lar Gv,Ew
0f03 lsl Gv,Ew
0f06 clts
0f08 invd
0f09 wbinvd
0f0b ud2
0f0d nop Ev !?p6
0f18 nop Ev !?p6
0f19 nop Ev !?p6
0f1a nop Ev !?p6
0f1b nop Ev !?p6
0f1c nop Ev !?p6
0f1d nop Ev !?p6
0f1e nop Ev !?p6
0f1f nop Ev !?p6
0f20 mov Rd,Cd !=mov_from_cr
0f21 mov Rd,Dd !=mov_from_dr
0f22 mov Cd,Rd !=mov_to_cr
0f23 mov Dd,Rd !=mov_to_dr
0f30 wrmsr !?msr
0f31 rdtsc !?tsc
0f32 rdmsr !?msr
0f33 rdpmc !?p6
0f34 sysenter !?sep
0f35 sysexit !?sep
0f40+cc cmov Gv,Ev !?cmov
0f80+cc j Jv
0f90+cc set Eb
0fa0 push FS !v,=push_sreg
0fa1 pop FS !v,=pop_sreg
0fa2 cpuid
0fa3 bt Ev,Gv
0fa4 shld Ev,Gv,Ib
0fa5 shld Ev,Gv,CL
0fa8 push GS !v,=push_sreg
0fa9 pop GS !v,=pop_sreg
0faa rsm
0fab bts Ev,Gv !lock
0fac shrd Ev,Gv,Ib
0fad shrd Ev,Gv,CL
0faf imul Gv,Ev !=imul2
0fb0 cmpxchg Eb,Gb !lock
0fb1 cmpxchg Ev,Gv !lock
0fb2 lss Gv,M !=load_far_ptr,#2
0fb3 btr Ev,Gv !lock
0fb4 lfs Gv,M !=load_far_ptr,#4
0fb5 lgs Gv,M !=load_far_ptr,#5
0fb6 movzx Gv,Eb !=movzx8
0fb7 movzx Gv,Ew !=movzx16
0fba/4 bt Ev,Ib
0fba/5 bts Ev,Ib !lock
0fba/6 btr Ev,Ib !lock
0fba/7 btc Ev,Ib !lock
0fbb btc Ev,Gv !lock
0fbc bsf Gv,Ev
0fbd bsr Gv,Ev
0fbe movsx Gv,Eb !=movsx8
0fbf movsx Gv,Ew !=movsx16
0fc0 xadd Eb,Gb !lock
0fc1 xadd Ev,Gv !lock
0fc7/1 cmpxchg8b M !lock,?cx8
0fc8+r bswap Zv
`;

export interface Definition {
  /** What a disassembler prints. */
  readonly mnemonic: string;
  /** Key into SEMANTICS or the cold operations. */
  readonly operation: string;
  readonly operands: readonly string[];
  /** Size of implied operands: b, v, d or ''. */
  readonly implied: string;
  readonly lockable: boolean;
  /** '', 'rep' or 'repcc'. */
  readonly repeat: string;
  /** Constant for cold operations, else undefined. */
  readonly constant: number | undefined;
  /** Bits of CPUID leaf 1 EDX without which this is an undefined opcode; 0: every model has it. */
  readonly feature: number;
  readonly modrm: boolean;
}

/** Opcode with escape byte: 0–255 one-byte, 0x100 + n two-byte (0F n). A mandatory prefix adds PREFIX_*. */
export const PREFIX_66 = 0x200;
export const PREFIX_F3 = 0x400;
export const PREFIX_F2 = 0x600;
export const OPCODES = 0x800;

/** The Pentium Pro's children, here, are those that have CMOV. */
const FEATURES: Readonly<Record<string, number>> = {
  cmov: FEATURE_CMOV,
  cx8: FEATURE_CX8,
  msr: FEATURE_MSR,
  p6: FEATURE_CMOV,
  sep: FEATURE_SEP,
  tsc: FEATURE_TSC,
};

export interface Opcode {
  readonly plain: Definition | undefined;
  /** By ModRM reg field. */
  readonly group: readonly (Definition | undefined)[] | undefined;
  /** MMX or SSE: 66, F2 and F3 are part of the opcode, and undefined where no row has them. SDM 2A, 2.1.2. */
  readonly mandatory: boolean;
}

function parseRow(row: string): { opcode: string; definition: Definition } {
  const [main, attributeText] = row.split('!') as [string, string | undefined];
  const [opcode, mnemonic, operandText] = main.trim().split(/\s+/) as [string, string, string | undefined];
  const operands = operandText === undefined ? [] : operandText.split(',');
  let operation = mnemonic;
  let implied = '';
  let lockable = false;
  let repeat = '';
  let constant: number | undefined;
  let feature = 0;
  for (const attribute of attributeText?.trim().split(',') ?? []) {
    if (attribute.startsWith('?')) feature = FEATURES[attribute.slice(1)]!;
    else if (attribute.startsWith('=')) operation = attribute.slice(1);
    else if (attribute.startsWith('#')) constant = Number(attribute.slice(1));
    else if (attribute === 'lock') lockable = true;
    else if (attribute === 'rep' || attribute === 'repcc') repeat = attribute;
    else implied = attribute;
  }
  const modrm = operands.some((o) => /^[EGMSCDRPQVWNU]/.test(o) && !/^(CL|CS|DS|DX|SS|ES|GS)$/.test(o));
  return {
    opcode,
    definition: { mnemonic, operation, operands, implied, lockable, repeat, constant, feature, modrm },
  };
}

/** Rows with `+r` and `+cc` written out. */
function expand(row: string): string[] {
  const match = /^(\S*?)([0-9a-f]{2})\+(r7|r|cc) (\S+)(.*)$/.exec(row);
  if (match === null) return [row];
  const [, head, low, kind, name, rest] = match as unknown as [
    string,
    string,
    string,
    string,
    string,
    string,
  ];
  const first = Number.parseInt(low, 16);
  const count = kind === 'cc' ? 16 : kind === 'r7' ? 7 : 8;
  return Array.from({ length: count }, (_, i) => {
    const opcode = `${head}${hex(first + i)}`;
    if (kind !== 'cc') return `${opcode} ${name}${rest}`;
    const [operands, attributes] = rest.split('!') as [string, string | undefined];
    return `${opcode} ${name}${CONDITIONS[i]}${operands} !=${name}${i}${attributes === undefined ? '' : `,${attributes}`}`;
  });
}

function opcodeNumber(text: string): { number: number; reg: number | undefined } {
  let rest = text;
  let number = 0;
  const prefix = /^(66|f3|f2)\./.exec(rest);
  if (prefix !== null) {
    number = prefix[1] === '66' ? PREFIX_66 : prefix[1] === 'f3' ? PREFIX_F3 : PREFIX_F2;
    rest = rest.slice(3);
  }
  const [bytes, reg] = rest.split('/') as [string, string | undefined];
  if (bytes.startsWith('0f') && bytes.length === 4) number += 0x100 + Number.parseInt(bytes.slice(2), 16);
  else number += Number.parseInt(bytes, 16);
  return { number, reg: reg === undefined ? undefined : Number(reg) };
}

function build(): { opcodes: readonly (Opcode | undefined)[]; definitions: readonly Definition[] } {
  const opcodes = new Array<
    | { plain: Definition | undefined; group: (Definition | undefined)[] | undefined; mandatory: boolean }
    | undefined
  >(OPCODES).fill(undefined);
  const definitions: Definition[] = [];
  const integer = [...aluRows(), ...shiftRows(), ...ONE_BYTE.split('\n'), ...TWO_BYTE.split('\n')];
  const simd = new Set(ISA_SIMD.split('\n'));
  for (const row of [...integer, ...simd].filter((r) => r.trim() !== '').flatMap(expand)) {
    const { opcode, definition } = parseRow(row);
    const { number, reg } = opcodeNumber(opcode);
    definitions.push(definition);
    opcodes[number] ??= { plain: undefined, group: undefined, mandatory: simd.has(row) };
    const entry = opcodes[number]!;
    if (reg === undefined) entry.plain = definition;
    else {
      entry.group ??= new Array<Definition | undefined>(8).fill(undefined);
      entry.group[reg] = definition;
    }
  }
  return { opcodes, definitions };
}

export const ISA = build();
