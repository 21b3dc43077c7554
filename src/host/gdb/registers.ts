/**
 * The CPU's registers as gdb numbers them: features org.gnu.gdb.i386.core and .sse (GDB manual, appendix G.5.5), then
 * our own control registers. Values are little-endian.
 */
import type { Cpu } from '../../machine/cpu/cpu.ts';
import { setTagWord, tagWord } from '../../machine/cpu/fpu/environment.ts';
import * as L from '../../machine/cpu/layout.ts';
import { updateAll } from '../../machine/cpu/mode.ts';
import { setRealSegment, setV86Segment } from '../../machine/cpu/system/segment-load.ts';

interface Register {
  readonly name: string;
  readonly bytes: number;
  readonly type: string;
  readonly feature: 'core' | 'sse' | 'system';
  readonly group?: string;
  readonly read: (cpu: Cpu, target: DataView) => void;
  /** Undefined: cannot be written. */
  readonly write?: (cpu: Cpu, source: DataView) => void;
}

const SEGMENTS = [
  ['cs', L.CS],
  ['ss', L.SS],
  ['ds', L.DS],
  ['es', L.ES],
  ['fs', L.FS],
  ['gs', L.GS],
] as const;

function slot(
  name: string,
  feature: Register['feature'],
  type: string,
  get: (cpu: Cpu) => number,
  set?: (cpu: Cpu, value: number) => void,
  group?: string,
): Register {
  return {
    name,
    bytes: 4,
    type,
    feature,
    ...(group === undefined ? {} : { group }),
    read: (cpu, view) => view.setInt32(0, get(cpu) | 0, true),
    ...(set === undefined ? {} : { write: (cpu: Cpu, view: DataView) => set(cpu, view.getInt32(0, true)) }),
  };
}

function general(name: string, r: number): Register {
  const type = name === 'esp' || name === 'ebp' ? 'data_ptr' : 'int32';
  return slot(
    name,
    'core',
    type,
    (cpu) => cpu.reg32(r),
    (cpu, value) => cpu.setReg32(r, value),
  );
}

/** In protected mode a selector alone says nothing: it is left as it is, as loading it might fault. */
function setSelector(cpu: Cpu, seg: number, value: number): void {
  if (cpu.v8086) setV86Segment(cpu, seg, value & 0xffff);
  else if (!cpu.protectedMode) setRealSegment(cpu, seg, value & 0xffff);
  else return;
  updateAll(cpu);
}

/** Place of st(i). */
const physical = (cpu: Cpu, i: number) => L.FPU_REGS + ((cpu.get(L.FPU_TOP) + i) & 7) * 16;

function st(i: number): Register {
  const copy = (from: DataView, at: number, to: DataView, target: number) => {
    for (let b = 0; b < 10; b++) to.setUint8(target + b, from.getUint8(at + b));
  };
  return {
    name: `st${i}`,
    bytes: 10,
    type: 'i387_ext',
    feature: 'core',
    read: (cpu, view) => copy(cpu.view, physical(cpu, i), view, 0),
    write: (cpu, view) => copy(view, 0, cpu.view, physical(cpu, i)),
  };
}

function xmm(i: number): Register {
  const at = L.XMM + i * 16;
  const copy = (from: DataView, source: number, to: DataView, target: number) => {
    for (let b = 0; b < 16; b++) to.setUint8(target + b, from.getUint8(source + b));
  };
  return {
    name: `xmm${i}`,
    bytes: 16,
    type: 'vec128',
    feature: 'sse',
    read: (cpu, view) => copy(cpu.view, at, view, 0),
    write: (cpu, view) => copy(view, 0, cpu.view, at),
  };
}

const fpuStatus = (cpu: Cpu) => (cpu.get(L.FPU_SW) & 0xc7ff) | ((cpu.get(L.FPU_TOP) & 7) << 11);
const plain = (name: string, address: number) =>
  slot(
    name,
    'core',
    'int',
    (cpu) => cpu.get(address),
    (cpu, value) => cpu.set(address, value),
    'float',
  );

const base = (name: string, segment: number) =>
  slot(`${name}_base`, 'system', 'int', (cpu) => cpu.segBase(segment));

const REGISTERS: readonly Register[] = [
  ...['eax', 'ecx', 'edx', 'ebx', 'esp', 'ebp', 'esi', 'edi'].map(general),
  slot(
    'eip',
    'core',
    'code_ptr',
    (cpu) => cpu.get(L.EIP),
    (cpu, value) => cpu.set(L.EIP, value),
  ),
  slot(
    'eflags',
    'core',
    'i386_eflags',
    (cpu) => cpu.eflags(),
    (cpu, value) => {
      cpu.setEflags(value);
      updateAll(cpu);
    },
  ),
  ...SEGMENTS.map(([name, seg]) =>
    slot(
      name,
      'core',
      'int32',
      (cpu) => cpu.selector(seg),
      (cpu, value) => setSelector(cpu, seg, value),
    ),
  ),
  ...[0, 1, 2, 3, 4, 5, 6, 7].map(st),
  plain('fctrl', L.FPU_CW),
  slot(
    'fstat',
    'core',
    'int',
    fpuStatus,
    (cpu, value) => {
      cpu.set(L.FPU_SW, value & 0xc7ff);
      cpu.set(L.FPU_TOP, (value >> 11) & 7);
    },
    'float',
  ),
  slot('ftag', 'core', 'int', tagWord, setTagWord, 'float'),
  plain('fiseg', L.FPU_CS),
  plain('fioff', L.FPU_IP),
  plain('foseg', L.FPU_DS),
  plain('fooff', L.FPU_DP),
  plain('fop', L.FPU_OPCODE),
  ...[0, 1, 2, 3, 4, 5, 6, 7].map(xmm),
  slot(
    'mxcsr',
    'sse',
    'i386_mxcsr',
    (cpu) => cpu.get(L.MXCSR),
    (cpu, value) => cpu.set(L.MXCSR, value & 0xffff),
    'vector',
  ),
  base('fs', L.FS),
  base('gs', L.GS),
  // Of 64-bit processors: QEMU shows them, so scripts may ask for them.
  slot('k_gs_base', 'system', 'int', () => 0),
  slot('cr0', 'system', 'i386_cr0', (cpu) => cpu.get(L.CR0)),
  slot('cr2', 'system', 'int', (cpu) => cpu.get(L.CR2)),
  slot('cr3', 'system', 'i386_cr3', (cpu) => cpu.get(L.CR3)),
  slot('cr4', 'system', 'i386_cr4', (cpu) => cpu.get(L.CR4)),
  slot('cr8', 'system', 'int', () => 0),
  slot('efer', 'system', 'i386_efer', () => 0),
  base('cs', L.CS),
  base('ss', L.SS),
  base('ds', L.DS),
  base('es', L.ES),
];

/** Bytes of the `g` packet's registers. */
export const ALL_BYTES: number = REGISTERS.reduce((sum, { bytes }) => sum + bytes, 0);

/** All registers, as `g` and `G` have them. */
export function readAll(cpu: Cpu): Buffer {
  return Buffer.concat(REGISTERS.map((_, n) => readOne(cpu, n)!));
}

/** Undefined: there is no such register. */
export function readOne(cpu: Cpu, n: number): Buffer | undefined {
  const register = REGISTERS[n];
  if (register === undefined) return undefined;
  const bytes = Buffer.alloc(register.bytes);
  register.read(cpu, new DataView(bytes.buffer, bytes.byteOffset, bytes.length));
  return bytes;
}

/** False: no such register, or not as many bytes. Registers that cannot be written keep their value. */
export function writeOne(cpu: Cpu, n: number, bytes: Uint8Array): boolean {
  const register = REGISTERS[n];
  if (register === undefined || bytes.length < register.bytes) return false;
  register.write?.(cpu, new DataView(bytes.buffer, bytes.byteOffset, register.bytes));
  return true;
}

/** False, and no change, if there are too few bytes. */
export function writeAll(cpu: Cpu, bytes: Uint8Array): boolean {
  if (bytes.length < ALL_BYTES) return false;
  let at = 0;
  REGISTERS.forEach((register, n) => {
    writeOne(cpu, n, bytes.subarray(at, at + register.bytes));
    at += register.bytes;
  });
  return true;
}

/** A name with its first bit, and its last where it has several. */
type Field = readonly [name: string, start: number, end?: number];

const FLAGS: readonly Field[] = [
  ['CF', 0],
  ['', 1],
  ['PF', 2],
  ['AF', 4],
  ['ZF', 6],
  ['SF', 7],
  ['TF', 8],
  ['IF', 9],
  ['DF', 10],
  ['OF', 11],
  ['IOPL', 12, 13],
  ['NT', 14],
  ['RF', 16],
  ['VM', 17],
  ['AC', 18],
  ['VIF', 19],
  ['VIP', 20],
  ['ID', 21],
];
const CR0_FLAGS: readonly Field[] = [
  ...([
    ['PE', 0],
    ['MP', 1],
    ['EM', 2],
    ['TS', 3],
    ['ET', 4],
    ['NE', 5],
  ] as const),
  ...([
    ['WP', 16],
    ['AM', 18],
    ['NW', 29],
    ['CD', 30],
    ['PG', 31],
  ] as const),
];
const CR3_FLAGS: readonly Field[] = [
  ['PCID', 0, 11],
  ['PDBR', 12, 31],
];
const CR4_FLAGS: readonly Field[] = [
  ...([
    ['VME', 0],
    ['PVI', 1],
    ['TSD', 2],
    ['DE', 3],
    ['PSE', 4],
    ['PAE', 5],
    ['MCE', 6],
  ] as const),
  ...([
    ['PGE', 7],
    ['PCE', 8],
    ['OSFXSR', 9],
    ['OSXMMEXCPT', 10],
  ] as const),
];
const EFER_FLAGS: readonly Field[] = [
  ['SCE', 0],
  ['LME', 8],
  ['LMA', 10],
  ['NXE', 11],
];
const MXCSR_FLAGS: readonly Field[] = [
  'IE',
  'DE',
  'ZE',
  'OE',
  'UE',
  'PE',
  'DAZ',
  'IM',
  'DM',
  'ZM',
  'OM',
  'UM',
  'PM',
].map((name, bit) => [name, bit] as const);

/** As QEMU's gdb-xml has them, and gdb prints them; those of MXCSR begin with the lowest. */
function highestFirst(flags: readonly Field[]): readonly Field[] {
  return [...flags].reverse();
}

function flagsType(id: string, flags: readonly Field[]): string {
  const fields = flags.map(
    ([name, start, end = start]) => `<field name="${name}" start="${start}" end="${end}"/>`,
  );
  return `<flags id="${id}" size="4">${fields.join('')}</flags>`;
}

const VECTOR_TYPES =
  '<vector id="v4f" type="ieee_single" count="4"/><vector id="v2d" type="ieee_double" count="2"/>' +
  '<vector id="v16i8" type="int8" count="16"/><vector id="v8i16" type="int16" count="8"/>' +
  '<vector id="v4i32" type="int32" count="4"/><vector id="v2i64" type="int64" count="2"/>' +
  '<union id="vec128"><field name="v4_float" type="v4f"/><field name="v2_double" type="v2d"/>' +
  '<field name="v16_int8" type="v16i8"/><field name="v8_int16" type="v8i16"/><field name="v4_int32" type="v4i32"/>' +
  '<field name="v2_int64" type="v2i64"/><field name="uint128" type="uint128"/></union>';

function featureXml(feature: Register['feature'], name: string, types: string): string {
  const lines = REGISTERS.filter((register) => register.feature === feature).map(
    ({ name: register, bytes, type, group }) =>
      `<reg name="${register}" bitsize="${bytes * 8}" type="${type}"${group === undefined ? '' : ` group="${group}"`}/>`,
  );
  return `<feature name="${name}">${types}${lines.join('')}</feature>`;
}

/** What qXfer:features:read:target.xml returns. */
export const TARGET_XML: string =
  '<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd"><target><architecture>i386</architecture>' +
  featureXml('core', 'org.gnu.gdb.i386.core', flagsType('i386_eflags', highestFirst(FLAGS))) +
  featureXml('sse', 'org.gnu.gdb.i386.sse', VECTOR_TYPES + flagsType('i386_mxcsr', MXCSR_FLAGS)) +
  featureXml(
    'system',
    'org.ambervm.i386.system',
    flagsType('i386_cr0', highestFirst(CR0_FLAGS)) +
      flagsType('i386_cr3', highestFirst(CR3_FLAGS)) +
      flagsType('i386_cr4', highestFirst(CR4_FLAGS)) +
      flagsType('i386_efer', highestFirst(EFER_FLAGS)),
  ) +
  '</target>';
