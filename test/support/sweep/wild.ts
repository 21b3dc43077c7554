/**
 * Wild programs: any bytes that a CPU may be given, under a kernel (wild.asm) that mends faults or sends the program elsewhere,
 * so that it never ends. Every linear address leads to some page, of 4 KiB or 4 MiB: absent, read-only, the supervisor's, code that is
 * data that is code. For comparisons of our CPU with itself; flags that Intel leaves undefined are part of them.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Random } from '../guest-case.ts';

export const CODE = 0x10000;
const CODE_BYTES = 0x8000;
const DATA = 0x18000;
const STACK = 0x24000;
const SLOT = 64;
export const RAM_BYTES = 0x100000;

const PD = 0x1000;
const TABLES = [0x2000, 0x3000, 0x4000, 0x5000] as const;
export const GDT = 0x6000;
export const IDT = 0x6800;
export const TSS = 0x7000;
const VARS = 0x7800;
/** How often each vector came: a dword each. */
export const FAULTS = VARS + 0x100;
const KERNEL = 0x9000;
const KERNEL_STACK = 0x8ff0;
const VECTORS = 48;

/** Selectors and descriptors: flat ones, then code and data with base and limit, 32 and 16 bits. */
export const DESCRIPTORS: Readonly<Record<number, readonly [low: number, high: number]>> = {
  8: [0x0000ffff, 0x00cf9b00],
  16: [0x0000ffff, 0x00cf9300],
  24: [0x0000ffff, 0x00cffb00],
  32: [0x0000ffff, 0x00cff300],
  40: [(TSS << 16) | 0x1ff, 0x00008b00],
  48: [0x00007fff, 0x0040fb01],
  56: [0x0000ffff, 0x0041f301],
  64: [0x00007fff, 0x0000fb01],
  72: [0x00008fff, 0x0000f701], // expand-down: offsets above 8FFF
  80: [0x00007fff, 0x00009b01],
  88: [0x00007fff, 0x00409b01],
  96: [0x00007e7b, 0x0000fb01],
};

export interface WildProgram {
  readonly name: string;
  readonly ram: Uint8Array;
  readonly cs: number;
  readonly ss: number;
  readonly ds: number;
  readonly es: number;
  readonly sse2: boolean;
  readonly eflags: number;
}

let kernel: Uint8Array | undefined;
function assembleKernel(): Uint8Array {
  const folder = mkdtempSync(join(tmpdir(), 'ambervm-wild-'));
  try {
    const source = new URL('wild.asm', import.meta.url).pathname;
    const done = spawnSync('nasm', ['-f', 'bin', '-o', join(folder, 'out'), source], { encoding: 'utf8' });
    if (done.status !== 0) throw new Error(`nasm: ${done.stderr}`);
    return new Uint8Array(readFileSync(join(folder, 'out')));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Everything of the kernel's: tables, descriptors, handlers. */
export function pokeKernel(
  ram: Uint8Array,
  program: Pick<WildProgram, 'cs' | 'ds' | 'ss'>,
  random: Random,
): void {
  const view = new DataView(ram.buffer, ram.byteOffset);
  const set = (address: number, value: number): void => view.setUint32(address, value >>> 0, true);
  kernel ??= assembleKernel();
  ram.fill(0, 0, KERNEL);
  ram.set(kernel, KERNEL);
  for (let i = 0; i < 1024; i++) set(PD + i * 4, directoryEntry(i, random));
  for (let i = 0; i < 1024; i++) {
    const code = i >= 0x10 && i < 0x18;
    if (i < 0x10) set(TABLES[0] + i * 4, (i << 12) | 3);
    else if (i < 0x100) set(TABLES[0] + i * 4, (i << 12) | (code && random.below(3) !== 0 ? 5 : 7));
    else if (i < 0x200) set(TABLES[0] + i * 4, ((i - 0x100) << 12) | 3);
    else set(TABLES[0] + i * 4, alias(random));
    for (const table of TABLES.slice(1)) set(table + i * 4, alias(random));
  }
  for (const [selector, [low, high]] of Object.entries(DESCRIPTORS)) {
    set(GDT + Number(selector), low);
    set(GDT + Number(selector) + 4, high);
  }
  for (let v = 0; v < VECTORS; v++) {
    const user = v === 3 || v === 4 || v > 32 ? 0x60 : 0;
    set(IDT + v * 8, (8 << 16) | (KERNEL + v * 16));
    set(IDT + v * 8 + 4, 0x8e00 | (user << 8) | (v > 40 ? 0x100 : 0));
  }
  set(TSS + 4, KERNEL_STACK);
  set(TSS + 8, 0x10);
  set(TSS + 0x64, 0x00680000);
  set(VARS, random.next());
  const based = (DESCRIPTORS[program.cs & ~3]![1] & 0xff) !== 0;
  [based ? 0 : CODE, program.cs, program.ds, stackOf(program)].forEach((value, i) => {
    set(VARS + 4 + i * 4, value);
  });
}

/** A table, or 4 MiB from 0 on that the program may only read, or the kernel only has. */
function directoryEntry(i: number, random: Random): number {
  if (i > 0 && random.below(6) === 0) return random.pick([0x85, 0x85, 0x83, 0xe5]);
  return (TABLES[i === 0 ? 0 : 1 + (i % 3)] ?? 0) | 7;
}

/** An entry for an address far from everything: mostly data, sometimes code, sometimes nothing. */
function alias(random: Random): number {
  const kind = random.below(16);
  if (kind === 0) return (0x18 + random.below(16)) << 12;
  if (kind < 3) return ((0x10 + random.below(8)) << 12) | 5;
  if (kind === 3) return ((0x18 + random.below(16)) << 12) | 3;
  if (kind === 4) return ((0x18 + random.below(16)) << 12) | 5;
  return ((0x18 + random.below(16)) << 12) | 7;
}

const le32 = (n: number): number[] => [n & 0xff, (n >> 8) & 0xff, (n >> 16) & 0xff, (n >>> 24) & 0xff];

interface CodeKind {
  /** The program sees its code and data at their addresses; else bases are 64 KiB. */
  readonly flat: boolean;
  /** 32 bits. */
  readonly wide: boolean;
  readonly tame: boolean;
  /** Slots in several pages that most jumps lead to, so that loops over pages become hot; or none. */
  readonly ring: readonly number[];
}

/** Vector instructions that do not fault by themselves: behind 0F, with any of the prefixes. */
const TAME_VECTOR =
  '10 11 14 15 28 51 54 55 56 57 58 59 5c 5d 5e 5f 60 61 62 67 6b 6e 6f 70 7e 7f c6 d5 d8 df e5 eb ef f5 fa fe'
    .split(' ')
    .map((text) => Number.parseInt(text, 16));

class Writer {
  readonly #random: Random;
  readonly #flat: boolean;
  readonly #wide: boolean;
  /** Little in it faults, and no code changes: it becomes hot. */
  readonly #tame: boolean;
  readonly #ring: readonly number[];
  out: number[] = [];

  constructor(random: Random, { flat, wide, tame, ring }: CodeKind) {
    this.#ring = ring;
    this.#random = random;
    this.#flat = flat;
    this.#wide = wide;
    this.#tame = tame;
  }

  #byte(): number {
    return this.#random.below(256);
  }
  #immediate(): number[] {
    const n = this.#random.below(3) === 0 ? this.#random.below(256) : this.#random.next();
    return this.#wide ? le32(n) : le32(n).slice(0, 2);
  }
  #data(): number[] {
    const at = (this.#flat ? DATA : 0x9000) + this.#random.below(this.#flat ? 0x3000 : 0x2000);
    const near = this.#random.below(8) === 0 ? at | 0xff8 : at;
    return this.#wide ? le32(near) : le32(near).slice(0, 2);
  }
  #emit(...bytes: number[]): void {
    this.out.push(...bytes);
  }
  /** ModRM and what belongs to it: registers, [EBX], [ESI], [EDI] with displacements, any other form now and then. */
  #modrm(reg = this.#random.below(8)): number[] {
    const random = this.#random;
    const kind = random.below(16);
    const r = reg << 3;
    if (kind < 7) return [0xc0 | r | random.below(8)];
    if (!this.#wide) {
      if (kind < 14 || this.#tame) return [0x40 | r | (4 + random.below(4)), this.#byte()];
      return [random.pick([0x00, 0x80]) | r | random.below(8), this.#byte(), this.#byte()];
    }
    if (kind < 12) return [0x40 | r | random.pick([3, 6, 7]), this.#byte()];
    if (kind === 12) return [0x05 | r, ...this.#data()];
    if (kind === 13 || this.#tame)
      return [0x44 | r, (random.below(2) << 6) | (random.below(8) << 3) | 3, this.#byte()];
    return [
      (random.below(3) << 6) | r | random.below(8),
      ...Array.from({ length: random.below(6) }, () => this.#byte()),
    ];
  }
  #size(): number[] {
    return this.#random.below(5) === 0 ? [0x66] : [];
  }
  #alu(): void {
    const random = this.#random;
    if (random.below(4) === 0) {
      const op = random.pick([0x80, 0x81, 0x83, 0xc0, 0xc1, 0xd0, 0xd1, 0xd2, 0xd3, 0xf6, 0xf7, 0xfe, 0xff]);
      const reg = op >= 0xfe ? random.below(2) : random.below(8);
      const tail = op === 0x81 ? this.#immediate() : op <= 0xc1 ? [this.#byte()] : [];
      const test =
        op >= 0xf6 && op < 0xf8 && reg < 2 ? (op === 0xf6 ? [this.#byte()] : this.#immediate()) : [];
      this.#emit(op, ...this.#modrm(reg), ...tail, ...test);
      return;
    }
    this.#emit(...this.#size(), (random.below(8) << 3) | random.below(4), ...this.#modrm());
  }
  #move(): void {
    const random = this.#random;
    const kind = random.below(9);
    if (kind < 4) this.#emit(...this.#size(), 0x88 + random.below(4), ...this.#modrm());
    else if (kind === 4) this.#emit(0x8d, ...this.#modrm());
    else if (kind === 5) this.#emit(0xb8 | random.pick([0, 1, 2, 5]), ...this.#immediate());
    else if (kind === 6) this.#emit(0xb8 | random.pick([3, 6, 7]), ...this.#data());
    else if (kind === 7) this.#emit(0x0f, random.pick([0xb6, 0xb7, 0xbe, 0xbf]), ...this.#modrm());
    else this.#emit(random.pick([0x86, 0x87, 0x84, 0x85]), ...this.#modrm());
  }
  #twoByte(): void {
    const random = this.#random;
    const common = [0xa3, 0xab, 0xb3, 0xbb, 0xa5, 0xad, 0xaf, 0xb0, 0xb1, 0xbc, 0xbd, 0xc0, 0xc1, 0xc7];
    const op = random.below(2) === 0 ? random.pick(common) : 0x40 + random.below(16);
    const lock = random.below(12) === 0 ? [0xf0] : [];
    if (random.below(4) === 0) this.#emit(0x0f, 0xba, ...this.#modrm(4 + random.below(4)), this.#byte());
    else if (op < 0x44) this.#emit(0x0f, 0x90 + random.below(16), ...this.#modrm());
    else this.#emit(...lock, ...this.#size(), 0x0f, op, ...this.#modrm());
  }
  #vector(): void {
    const random = this.#random;
    if (this.#tame) {
      const op = random.pick(TAME_VECTOR);
      const scalar = op > 0x50 && op < 0x60 && op !== 0x54 && random.below(2) === 0 ? [0xf3] : [];
      const aligned = [0x05 | (random.below(8) << 3), ...le32(DATA + (random.below(0x400) << 4))];
      const memory = this.#flat && random.below(3) === 0;
      this.#emit(...scalar, 0x0f, op, ...(memory ? aligned : [0xc0 | random.below(64)]));
      if (op === 0x70 || op === 0xc6) this.#emit(this.#byte());
      return;
    }
    const prefix = random.pick([[], [], [0x66], [0xf3], [0xf2]]);
    const op = random.pick([0x10, 0x28, 0x50, 0x60, 0x70, 0xd0, 0xe0, 0xf0]) + random.below(16);
    this.#emit(...prefix, 0x0f, op, ...this.#modrm());
    if (op >= 0x70 && op < 0x74) this.#emit(this.#byte());
  }
  #x87(): void {
    const memory = this.#tame && this.#random.below(2) === 0;
    if (memory)
      this.#emit(
        this.#random.pick([0xd8, 0xd9, 0xdb, 0xdc, 0xdd, 0xde]),
        ...this.#modrm(this.#random.pick([0, 2, 3])),
      );
    else if (this.#tame)
      this.#emit(this.#random.pick([0xd8, 0xdc, 0xde]), this.#random.pick([0xc0, 0xc8, 0xe0, 0xe8, 0xf8]));
    else this.#emit(0xd8 + this.#random.below(8), ...this.#modrm());
  }
  #stack(): void {
    const random = this.#random;
    const kind = random.below(14);
    if (kind < 4) this.#emit(0x50 | random.below(8));
    else if (kind < 8) this.#emit(0x58 | random.pick([0, 1, 2, 3, 5, 6, 7]));
    else if (kind === 8) this.#emit(0x9c);
    else if (kind === 9) this.#emit(random.pick([0x60, 0x61]));
    else if (kind === 10) this.#emit(0xff, ...this.#modrm(6));
    else if (kind === 11) this.#emit(0x8f, ...this.#modrm(0));
    else if (kind === 12) this.#emit(0xc8, this.#byte() & 0x3f, 0, this.#byte() & 3, 0xc9);
    else this.#emit(0x68, ...this.#immediate(), 0x9d);
  }
  #string(): void {
    const random = this.#random;
    if (random.below(2) === 0) this.#emit(0xbe, ...this.#data());
    if (random.below(2) === 0) this.#emit(0xbf, ...this.#data());
    const count = random.below(6) === 0 ? random.below(4000) : random.below(40);
    this.#emit(0xb9, ...(this.#wide ? le32(count) : le32(count).slice(0, 2)));
    if (random.below(8) === 0) this.#emit(random.pick([0xfc, 0xfd]));
    const rep = random.below(5) === 0 ? [] : [random.pick([0xf2, 0xf3])];
    this.#emit(...rep, ...this.#size());
    this.#emit(random.pick([0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf]));
  }
  #odd(): void {
    const random = this.#random;
    const kind = this.#tame && random.below(8) !== 0 ? 99 : random.below(12);
    const single = [0x27, 0x2f, 0x37, 0x3f, 0x98, 0x99, 0x9b, 0x9e, 0x9f, 0xd6, 0xd7, 0xf5, 0xf8, 0xf9, 0xfa];
    if (kind < 5) this.#emit(random.pick([...single, 0xfb, 0xfc, 0xcc, 0xce, 0xf1]));
    else if (kind === 5) this.#emit(0xcd, 0x21 + random.below(20));
    else if (kind === 99)
      this.#emit(random.pick([0x27, 0x3f, 0x98, 0x99, 0x9e, 0x9f, 0xd7, 0xf5, 0xf8, 0xf9]));
    else if (kind === 6) this.#emit(0x8e, ...this.#modrm(random.pick([0, 3, 4, 5])));
    else if (kind === 7) this.#emit(0x8c, ...this.#modrm());
    else if (kind === 8) this.#emit(random.pick([0xd4, 0xd5]), this.#byte());
    else if (kind === 9)
      this.#emit(0x0f, random.pick([0xa2, 0x31, 0x77, 0x06, 0x0b, 0x00, 0x01, 0x08]), 0xc0);
    else if (kind === 10)
      this.#emit(random.pick([0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x67]), 0x8b, ...this.#modrm());
    else for (let i = random.below(8); i >= 0; i--) this.#emit(this.#byte());
  }
  /** Changes code: somewhere, or just ahead. */
  #modify(at: number): void {
    const ahead = this.#random.below(2) === 0;
    const target = ahead ? at + this.out.length + 4 + this.#random.below(12) : this.#random.below(CODE_BYTES);
    const address = target + (this.#flat ? CODE : 0);
    const where = this.#wide ? [0x05, ...le32(address)] : [0x06, ...le32(address).slice(0, 2)];
    this.#emit(
      ...(this.#flat ? [] : [0x2e]),
      0x80,
      where[0]! | (this.#random.below(8) << 3),
      ...where.slice(1),
    );
    this.#emit(this.#byte());
  }
  /** To a slot nearby, far away, or to somewhere that may not be there. */
  jump(at: number): void {
    const random = this.#random;
    const slot = at & ~(SLOT - 1);
    const reach = random.below(8);
    const near = slot + (random.below(8) - 4) * SLOT;
    const far = this.#ring.length > 0 ? random.pick(this.#ring) : random.below(CODE_BYTES / SLOT) * SLOT;
    const isNear = this.#ring.length > 0 ? reach === 0 : reach < 5;
    const target = (isNear ? near : far) & (CODE_BYTES - 1);
    const width = this.#wide ? 4 : 2;
    const relative = (length: number): number[] => {
      const distance = target - at - this.out.length - length;
      const wild = random.below(this.#tame ? 400 : 40) === 0 ? random.next() : distance;
      return le32(wild).slice(0, width);
    };
    const absolute = le32(target + (this.#flat ? CODE : 0)).slice(0, width);
    const kind = random.below(16);
    if (kind < 7) this.#emit(0x0f, 0x80 + random.below(16), ...relative(2 + width));
    else if (kind < 9) this.#emit(0xe9, ...relative(1 + width));
    else if (kind < 11) this.#emit(0xe8, ...relative(1 + width));
    else if (kind === 11) this.#emit(0x68, ...absolute, 0xc3);
    else if (kind === 12) this.#emit(0xb8, ...absolute, 0xff, random.pick([0xe0, 0xd0]));
    else if (kind === 13) this.#emit(random.pick([0xc3, 0xc3, 0xc2]), 4, 0);
    else if (kind === 14) this.#emit(0xe0 + random.below(4), (random.below(4) - 3) * 16);
    else if (random.below(4) === 0) {
      const selector = random.pick([0x0b, 0x08, 0x1b, 0x33, 0x43, 0x50, 0x58, 0x63]);
      this.#emit(random.pick([0xea, 0x9a]), ...absolute, selector, 0);
    }
  }
  /** A jump that is always taken. */
  hop(at: number, target: number): void {
    const width = this.#wide ? 4 : 2;
    this.#emit(0xe9, ...le32(target - at - this.out.length - 1 - width).slice(0, width));
  }
  operation(at: number): void {
    const kind = this.#random.below(64);
    if (kind < 18) this.#alu();
    else if (kind < 29) this.#move();
    else if (kind < 36) this.#twoByte();
    else if (kind < 41) this.#vector();
    else if (kind < 46) this.#x87();
    else if (kind < 52) this.#stack();
    else if (kind < 54) this.#string();
    else if (kind < 57) this.#odd();
    else if (kind < 58 && !this.#tame && this.#random.below(4) === 0) this.#modify(at);
    else this.jump(at);
  }
}

function writeCode(random: Random, ram: Uint8Array, kind: CodeKind): void {
  let spilt = 0;
  for (let slot = 0; slot < CODE_BYTES; slot += SLOT) {
    const writer = new Writer(random, kind);
    const from = slot + spilt;
    // Slots whose beginning holds the rest of an instruction: a jump there finds other instructions in the same bytes.
    const place = kind.ring.indexOf(slot);
    const room = place < 0 ? SLOT : 24;
    while (from + writer.out.length < slot + room - 8) writer.operation(from);
    if (place >= 0) writer.hop(from, kind.ring[(place + 1) % kind.ring.length]!);
    writer.jump(from);
    const crosses = (slot & 0xfff) === 0x1000 - SLOT || random.below(8) === 0;
    if (!crosses) writer.out.length = Math.min(writer.out.length, slot + SLOT - from);
    spilt = Math.max(0, from + writer.out.length - slot - SLOT);
    ram.set(writer.out.slice(0, CODE_BYTES - from), CODE + from);
  }
}

/** Modes of the program's own code: flat ones, which are compiled, more often than others. */
const KINDS = [
  { name: 'flat, CPL 3', cs: 0x1b, ss: 0x23, ds: 0x23 },
  { name: 'flat, CPL 3', cs: 0x1b, ss: 0x23, ds: 0x23 },
  { name: 'flat, CPL 3', cs: 0x1b, ss: 0x23, ds: 0x23 },
  { name: 'flat, CPL 0', cs: 0x08, ss: 0x10, ds: 0x10 },
  { name: 'flat, CPL 0', cs: 0x08, ss: 0x10, ds: 0x10 },
  { name: 'limits, CPL 3', cs: 0x33, ss: 0x23, ds: 0x3b },
  { name: '16 bits, CPL 3', cs: 0x43, ss: 0x4b, ds: 0x3b },
  { name: '16 bits, CPL 0', cs: 0x50, ss: 0x10, ds: 0x3b },
  { name: 'limits, CPL 0', cs: 0x58, ss: 0x10, ds: 0x38 },
  { name: '16 bits, odd limit', cs: 0x63, ss: 0x4b, ds: 0x3b },
] as const;

export function wildProgram(random: Random, name: string): WildProgram {
  const kind = random.pick(KINDS);
  const ram = new Uint8Array(RAM_BYTES);
  for (let i = DATA; i < 0x28000; i++) ram[i] = random.below(3) === 0 ? 0 : random.below(256);
  const flat = kind.cs === 0x1b || kind.cs === 0x08;
  const wide = flat || kind.cs === 0x33 || kind.cs === 0x58;
  const tame = random.below(3) !== 0;
  const isRoaming = tame && random.below(2) === 0;
  const ring = Array.from({ length: isRoaming ? 5 : 0 }, () => random.below(CODE_BYTES / SLOT) * SLOT);
  writeCode(random, ram, { flat, wide, tame, ring });
  pokeKernel(ram, kind, random);
  const rights = random.below(4) === 0 ? 0x3000 : 0;
  const checked = !tame && random.below(4) === 0 ? 0x40000 : 0;
  return {
    ...{ ...kind, name: `${name}, ${kind.name}${tame ? (isRoaming ? ', roaming' : '') : ', rough'}` },
    es: kind.ds,
    ram,
    sse2: random.below(3) !== 0,
    eflags: 0x202 | rights | checked,
  };
}

/** Where the stack of a program begins. */
export const stackOf = (program: Pick<WildProgram, 'ss'>): number => (program.ss === 0x4b ? 0xf000 : STACK);
