/**
 * The ROM image of the protected-mode sweep: the pristine arena (descriptor tables, TSSs, code and stacks that each case
 * starts from), the harness and the cases.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const ROM_BYTES = 1 << 20;
const ROM_BASE = 0x100000000 - ROM_BYTES;

/** Linear addresses in the arena. */
export const GDT = 0x8000;
export const LDT = 0x8400;
export const IDT = 0x8800;
export const TSS0 = 0x9000;
/** Other tasks: available 32-bit, 16-bit, the double fault's. */
export const TSS32 = 0x9400;
export const TSS16 = 0x9500;
export const TSS_DF = 0x9580;
/** Tops of the stacks for CPL 0 (cases), 0 (inner), 1, 2, 3 and of the new tasks. */
export const STACK0 = 0xa400;
export const INNER0 = 0xa800;
export const INNER1 = 0xac00;
export const INNER2 = 0xb000;
export const STACK3 = 0xb400;
export const TASK_STACK = 0xb800;
/** The case's code. */
export const CODE = 0xc000;
/** Landing n: INT 41h + n. */
export const LANDING = 0xc100;
export const LANDING_BYTES = 4;
/** Free data. */
export const DATA = 0xd000;

/** Selectors with RPL 0. Free: 0x80 (cases put their descriptors there) and on. */
export const CODE0 = 0x08;
export const DATA0 = 0x10;
export const TSS0_SELECTOR = 0x20;
export const TSS32_SELECTOR = 0x28;
export const TSS16_SELECTOR = 0x30;
export const DF_SELECTOR = 0x38;
export const CODE1 = 0x40;
export const CODE2 = 0x48;
export const CODE3 = 0x50;
export const DATA1 = 0x58;
export const DATA2 = 0x60;
export const DATA3 = 0x68;
export const LDT_SELECTOR = 0x70;
/** Code of 16 bits, base 0xc000, limit 0xffff. */
export const CODE16 = 0x78;
export const FREE = 0x80;

export const codeSelector = (cpl: number): number => (cpl === 0 ? CODE0 : CODE1 + (cpl - 1) * 8) | cpl;
export const dataSelector = (cpl: number): number => (cpl === 0 ? DATA0 : DATA1 + (cpl - 1) * 8) | cpl;

export type Poke = readonly [address: number, value: number];

/** A descriptor: base, limit as it stands in the descriptor, access byte, flags nibble (G D - AVL). */
export function descriptor(address: number, base: number, limit: number, access: number, flags = 0): Poke[] {
  return [
    [address, ((limit & 0xffff) | (base << 16)) >>> 0],
    [
      address + 4,
      (((base >>> 16) & 0xff) | (access << 8) | (limit & 0xf0000) | (flags << 20) | (base & 0xff000000)) >>>
        0,
    ],
  ];
}
/** A gate. */
export function gate(address: number, selector: number, offset: number, access: number, count = 0): Poke[] {
  return [
    [address, ((offset & 0xffff) | (selector << 16)) >>> 0],
    [address + 4, ((offset & 0xffff0000) | (access << 8) | count) >>> 0],
  ];
}
/** Bytes as pokes of whole dwords, filled up with NOP. */
export function bytes(address: number, list: readonly number[]): Poke[] {
  const pokes: Poke[] = [];
  for (let i = 0; i < list.length; i += 4) {
    const b = (k: number): number => list[i + k] ?? 0x90;
    pokes.push([address + i, (b(0) | (b(1) << 8) | (b(2) << 16) | (b(3) << 24)) >>> 0]);
  }
  return pokes;
}

export interface Case {
  readonly name: string;
  readonly cpl?: number;
  readonly code: readonly number[];
  readonly pokes?: readonly Poke[];
  /** EAX ECX EDX EBX EBP ESI EDI. */
  readonly regs?: Partial<Readonly<Record<'eax' | 'ecx' | 'edx' | 'ebx' | 'ebp' | 'esi' | 'edi', number>>>;
  /** DS ES FS GS at entry (CPL 0 loads them). */
  readonly ds?: number;
  readonly es?: number;
  readonly fs?: number;
  readonly gs?: number;
  readonly ldt?: number;
  readonly eflags?: number;
  readonly cs?: number;
  readonly eip?: number;
  readonly ss?: number;
  readonly esp?: number;
  /** More CR0 bits; paging maps the first 4 MB one to one, user, writable. */
  readonly cr0?: number;
  readonly cr4?: number;
}

const VM = 0x20000;

function encode(c: Case): number[] {
  const v86 = ((c.eflags ?? 0) & VM) !== 0;
  const cpl = c.cpl ?? 0;
  const r = c.regs ?? {};
  const ds = v86 ? 0 : (c.ds ?? dataSelector(cpl));
  const pokes = [...(c.pokes ?? []), ...bytes(CODE, [...c.code, 0xcd, 0x40])];
  const esp = c.esp ?? (cpl === 0 && !v86 ? STACK0 : v86 ? 0x400 : STACK3);
  return [
    c.cr0 ?? 0,
    c.cr4 ?? 0,
    ...[r.edi ?? 7, r.esi ?? 6, r.ebp ?? 5, 0, r.ebx ?? 3, r.edx ?? 2, r.ecx ?? 1, r.eax ?? 0x12345678],
    ...[ds, v86 ? 0 : (c.es ?? ds), v86 ? 0 : (c.fs ?? 0), v86 ? 0 : (c.gs ?? 0), c.ldt ?? 0],
    ...[c.eip ?? (v86 ? 0 : CODE), c.cs ?? (v86 ? CODE >> 4 : codeSelector(cpl)), (c.eflags ?? 0) | 2],
    ...[esp, c.ss ?? (v86 ? 0xb00 : dataSelector(cpl))],
    ...[c.es ?? 0xd00, c.ds ?? 0xd00, c.fs ?? 0xd00, c.gs ?? 0xd00],
    pokes.length,
    ...pokes.flat(),
  ];
}

function task(at: number, size32: boolean, eip: number): Poke[] {
  if (!size32) {
    const words = [
      0,
      INNER0,
      DATA0,
      0,
      0,
      0,
      0,
      eip,
      2,
      1,
      2,
      3,
      4,
      TASK_STACK,
      6,
      7,
      8,
      DATA0,
      CODE0,
      DATA0,
      DATA0,
      0,
    ];
    const pokes: Poke[] = [];
    for (let i = 0; i < words.length; i += 2) pokes.push([at + i * 2, words[i]! | (words[i + 1]! << 16)]);
    return pokes;
  }
  const fields: Poke[] = [
    [0x04, INNER0],
    [0x08, DATA0],
    [0x1c, 0x30000],
    [0x20, eip],
    [0x24, 2],
    ...[1, 2, 3, 4, TASK_STACK, 6, 7, 8].map((v, i): Poke => [0x28 + i * 4, v]),
    ...[DATA0, CODE0, DATA0, DATA0, 0, 0, 0].map((v, i): Poke => [0x48 + i * 4, v]),
    [0x64, 0x680000],
  ];
  return fields.map(([offset, v]) => [at + offset, v]);
}

/** What every case starts from. `dfEntry`: the harness's double-fault task. */
function arena(dfEntry: number): Uint8Array {
  const out = new DataView(new ArrayBuffer(0x8000));
  const poke = (pokes: readonly Poke[]): void => {
    for (const [address, value] of pokes) out.setUint32(address - 0x8000, value, true);
  };
  const flat = (selector: number, access: number): void =>
    poke(descriptor(GDT + selector, 0, 0xfffff, access, 0xc));
  flat(CODE0, 0x9b);
  flat(DATA0, 0x93);
  for (const cpl of [1, 2, 3]) {
    flat(codeSelector(cpl) & ~3, 0x9b | (cpl << 5));
    flat(dataSelector(cpl) & ~3, 0x93 | (cpl << 5));
  }
  poke(descriptor(GDT + TSS0_SELECTOR, TSS0, 0x3ff, 0x89));
  poke(descriptor(GDT + TSS32_SELECTOR, TSS32, 0x67, 0x89));
  poke(descriptor(GDT + TSS16_SELECTOR, TSS16, 0x2b, 0x81));
  poke(descriptor(GDT + DF_SELECTOR, TSS_DF, 0x67, 0x89));
  poke(descriptor(GDT + LDT_SELECTOR, LDT, 0xff, 0x82));
  poke(descriptor(GDT + CODE16, CODE, 0xffff, 0x9b));
  for (let v = 0; v < 256; v++) poke(gate(IDT + v * 8, CODE0, 0x21000 + v * 16, 0xee));
  poke(gate(IDT + 8 * 8, DF_SELECTOR, 0, 0xe5));
  poke([
    [TSS0 + 4, INNER0],
    [TSS0 + 8, DATA0],
    [TSS0 + 12, INNER1],
    [TSS0 + 16, DATA1 | 1],
    [TSS0 + 20, INNER2],
    [TSS0 + 24, DATA2 | 2],
    [TSS0 + 0x1c, 0x30000],
    [TSS0 + 0x64, 0x00880000],
    // Interrupt redirection: vectors 0x50–0x57 stay in the guest; I/O bitmap: ports 0x300–0x307 denied, 0x310 denied.
    [TSS0 + 0x68 + 8, 0xff00ffff],
    [TSS0 + 0x88 + 0x60, 0x000100ff],
    [TSS0 + 0x3fc, 0xffffffff],
  ]);
  poke(task(TSS32, true, LANDING + LANDING_BYTES * 8));
  poke(task(TSS16, false, LANDING + LANDING_BYTES * 9));
  poke(task(TSS_DF, true, dfEntry));
  for (let n = 0; n < 32; n++) poke([[LANDING + n * LANDING_BYTES, (0x9090_00cd | ((0x41 + n) << 8)) >>> 0]]);
  return new Uint8Array(out.buffer);
}

function assemble(file: string, defines: Readonly<Record<string, number>>): Uint8Array {
  const folder = mkdtempSync(join(tmpdir(), 'ambervm-sweep-'));
  try {
    const options = Object.entries(defines).map(([k, v]) => `-D${k}=0x${v.toString(16)}`);
    const source = new URL(file, import.meta.url).pathname;
    const done = spawnSync('nasm', ['-f', 'bin', ...options, '-o', join(folder, 'out'), source], {
      encoding: 'utf8',
    });
    if (done.status !== 0) throw new Error(`nasm ${file}: ${done.stderr}`);
    return new Uint8Array(readFileSync(join(folder, 'out')));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** `PUSH 8; JMP`: where the harness's double-fault task starts. */
function findDf(harness: Uint8Array): number {
  for (let i = 0x2000; i < harness.length; i++) {
    if (harness[i] === 0x6a && harness[i + 1] === 8 && harness[i + 2] === 0xe9) return 0x20000 + i;
  }
  throw new Error('no double-fault entry in the harness');
}

/** The ROM, for the top of the address space. */
export function sweepRom(cases: readonly Case[]): Uint8Array {
  const rom = new Uint8Array(ROM_BYTES);
  const harness = assemble('harness.asm', { ROMBASE: ROM_BASE });
  const words = [...cases.flatMap(encode), 0xffffffff];
  if (words.length * 4 > ROM_BYTES - 0x20000) throw new Error('too many cases for the ROM');
  const view = new DataView(rom.buffer);
  words.forEach((w, i) => {
    view.setUint32(i * 4, w >>> 0, true);
  });
  rom.set(arena(findDf(harness)), ROM_BYTES - 0x20000);
  rom.set(harness, ROM_BYTES - 0x10000);
  const boot = assemble('boot.asm', {
    ROMEND: 0x100000000,
    HARNESS: 0xffff0000,
    PRISTINE: 0xfffe0000,
  });
  rom.set(boot, ROM_BYTES - 0x1000);
  return rom;
}
