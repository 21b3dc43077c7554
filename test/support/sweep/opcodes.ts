/**
 * Every opcode, with every prefix that can change what it means, as a case of the sweep: whether it executes, faults and with
 * what, and where it ends. At CPL 3, where privileged instructions fault instead of stopping the harness. Code ends at C0FF and
 * data at FFFFF, so that wild jumps and addresses fault.
 */
import type { Case, Poke } from './image.ts';
import { CODE, DATA, descriptor, FREE, GDT, STACK3, TSS0 } from './image.ts';

/** Whatever is taken for immediates of the instruction, the rest runs on (ADD AL,4) to INT 40h. */
const BEHIND = [4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 0xcd, 0x40, 0xcd, 0x40];
const PREFIXES: readonly (readonly number[])[] = [[], [0x66], [0xf2], [0xf3], [0xf0], [0xf0, 0x66]];
const MEMORY = 3; // [EBX]
const REGISTER = 0xc1; // ECX

const hex = (list: readonly number[]): string => list.map((n) => n.toString(16).padStart(2, '0')).join(' ');

const SEGMENTS: readonly Poke[] = [
  ...descriptor(GDT + FREE, 0, 0xc0ff, 0xfb, 4),
  ...descriptor(GDT + FREE + 8, 0, 0xfffff, 0xf3, 4),
];
/** No port is allowed; [EBX] is a usual MXCSR, also for FXRSTOR. */
const POKES: readonly Poke[] = [...SEGMENTS, [TSS0 + 0x64, 0xffff0000], [DATA, 0x1f80], [DATA + 24, 0x1f80]];

function one(instruction: readonly number[], cr4: number): Case {
  const fpu = instruction.some((b) => b === 0x0f || b === 0x9b || (b >= 0xd8 && b <= 0xdf));
  return {
    name: hex(instruction),
    cpl: 3,
    cs: FREE | 3,
    ds: (FREE + 8) | 3,
    es: (FREE + 8) | 3,
    esp: STACK3 - 64,
    // FNINIT: no x87 exception of an earlier case is pending.
    code: [...(fpu ? [0xdb, 0xe3] : []), ...instruction, ...BEHIND],
    eip: CODE,
    pokes: POKES,
    cr4,
    regs: { ebx: DATA, esi: DATA + 0x40, edi: DATA + 0x80, ebp: STACK3 - 64 },
  };
}

function hasModrm(opcode: number): boolean {
  if (opcode < 0x40) return (opcode & 7) < 4;
  if (opcode >= 0x80 && opcode < 0x90) return true;
  return [
    ...[0x62, 0x63, 0x69, 0x6b, 0xc0, 0xc1, 0xc4, 0xc5, 0xc6, 0xc7, 0xd0, 0xd1, 0xd2, 0xd3],
    ...[0xf6, 0xf7, 0xfe, 0xff],
  ].includes(opcode);
}
const isPrefix = (opcode: number): boolean =>
  [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3].includes(opcode);

const BYTES = Array.from({ length: 256 }, (_, i) => i);
const FORMS = [
  ...BYTES.slice(0, 8).map((r) => MEMORY | (r << 3)),
  ...BYTES.slice(0, 8).map((r) => REGISTER | (r << 3)),
];

export function oneByteOpcodes(cr4: number): Case[] {
  return PREFIXES.flatMap((prefix) =>
    BYTES.filter((o) => !isPrefix(o) && o !== 0x0f && (o < 0xd8 || o > 0xdf)).flatMap((o) =>
      (hasModrm(o) ? FORMS : [4]).map((m) => one([...prefix, o, m], cr4)),
    ),
  );
}
export function twoByteOpcodes(cr4: number): Case[] {
  return PREFIXES.flatMap((prefix) =>
    BYTES.flatMap((o) => FORMS.map((m) => one([...prefix, 0x0f, o, m], cr4))),
  );
}
/** The maps behind 0F 38 and 0F 3A: SSSE3 and later. */
export function threeByteOpcodes(cr4: number): Case[] {
  return PREFIXES.flatMap((prefix) =>
    [0x38, 0x3a].flatMap((map) =>
      BYTES.flatMap((o) => [MEMORY, REGISTER].map((m) => one([...prefix, 0x0f, map, o, m], cr4))),
    ),
  );
}
export function fpuOpcodes(cr4: number): Case[] {
  return [[], [0x66], [0xf0]].flatMap((prefix) =>
    BYTES.slice(0xd8, 0xe0).flatMap((o) =>
      [...FORMS.slice(0, 8), ...BYTES.slice(0xc0)].map((m) => one([...prefix, o, m], cr4)),
    ),
  );
}

/** Lengths around 15 bytes: prefixes before instructions with displacement and immediate; what ends a line is a valid one. */
export function lengths(cr4: number): Case[] {
  const instructions = [
    [0x90],
    [0x01, 0xc8],
    [0x81, 0x83, 0, 0, 0, 0, 1, 2, 3, 4],
    [0xc7, 0x84, 0x23, 0, 0, 0, 0, 1, 2, 3, 4],
    [0x0f, 0xb6, 0xc1],
    [0x0f, 0x0b],
    [0x0f, 0x04],
    [0xd9, 0xc0],
    [0xf4],
    [0x0f, 0x58, 0xc1],
    [0x0f, 0xff],
    [0xd6],
    [0xcd, 0x41],
  ];
  return instructions.flatMap((i) =>
    Array.from({ length: 17 - i.length }, (_, n) =>
      [0x3e, 0x66, 0x67, 0xf3, 0xf0].map((p) => one([...new Array<number>(n).fill(p), ...i], cr4)),
    ).flat(),
  );
}
