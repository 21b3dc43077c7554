/** Cases of the sweep in real mode: ends of 64 KiB, the vector table, far control, what protected mode alone has. */
import type { Case, Poke } from './image.ts';
import * as I from './image.ts';

const hex = (n: number): string => n.toString(16);
const le16 = (n: number): number[] => [n & 0xff, (n >> 8) & 0xff];
const le32 = (n: number): number[] => [...le16(n & 0xffff), ...le16((n >>> 16) & 0xffff)];

/** Real mode: where code, data and stack lie, and the vector table's limit. */
interface RealState {
  readonly ds?: number;
  readonly es?: number;
  readonly ss?: number;
  readonly esp?: number;
  readonly limit?: number;
  readonly pokes?: readonly Poke[];
  readonly regs?: Case['regs'];
  /** Code to jump to at 0000:at instead of what follows the prologue. */
  readonly at?: number;
}
const REAL_TABLE = 0x24000;
const REAL_IDTR = 0xcff0;

/** Leaves protected mode, loads IDTR and segments, then runs `code`. */
function real(name: string, code: readonly number[], state: RealState = {}): Case {
  const { ds = 0xd00, es = 0xd00, ss = 0xb00, esp = 0x800, limit = 0x3ff, pokes = [], regs = {}, at } = state;
  // Segments of 64 KiB, or real mode would be left with those of 4 GiB.
  const prologue = [0xb8, ...le16(I.FREE), 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0];
  prologue.push(0x0f, 0x20, 0xc0, 0x24, 0xfe, 0x0f, 0x22, 0xc0, 0xea, 0x16, 0, 0, 0x0c);
  prologue.push(0x2e, 0x0f, 0x01, 0x1e, ...le16(REAL_IDTR - I.CODE));
  prologue.push(0xb8, ...le16(ds), 0x8e, 0xd8, 0xb8, ...le16(es), 0x8e, 0xc0);
  prologue.push(0xb8, ...le16(ss), 0x8e, 0xd0, 0x66, 0xbc, ...le32(esp));
  prologue.push(0x66, 0xb8, ...le32(regs.eax ?? 0x12345678));
  const placed = at === undefined ? [] : I.bytes(at & ~3, [...new Array<number>(at & 3).fill(0x90), ...code]);
  return {
    name,
    code: at === undefined ? [...prologue, ...code] : [...prologue, 0xea, ...le16(at), 0, 0],
    cs: I.CODE16,
    eip: 0,
    regs,
    pokes: [
      ...[
        [REAL_IDTR, limit | ((REAL_TABLE & 0xffff) << 16)] as Poke,
        [REAL_IDTR + 4, REAL_TABLE >>> 16] as Poke,
        [I.DATA, 0x11223344] as Poke,
      ],
      ...I.descriptor(I.GDT + I.FREE, 0, 0xffff, 0x93),
      // Words to pop and to return to, and something to find there.
      ...[0, 4, 8, 12].map((k): Poke => [ss * 16 + ((esp + k) & 0xfffc), 0x01010101]),
      ...[0, 0xf000, 0x1100].flatMap((place) =>
        I.bytes(place, new Array<number[]>(16).fill([0xcd, 0x41]).flat()),
      ),
      ...placed,
      ...pokes,
    ],
  };
}

/** Instructions that end at FFFF, in front of it or behind it: hot, cold, jumps. */
function realEnds(): Case[] {
  const list: readonly (readonly number[])[] = [
    [0x90],
    [0x40],
    [0x89, 0xc8],
    [0x05, 0x34, 0x12],
    [0x66, 0x05, 1, 2, 3, 4],
    [0x9c],
    [0x60],
    [0xd4, 0x0a],
    [0x0f, 0xa2],
    [0xfa],
    [0xfb],
    [0x8e, 0xd8],
    [0x8e, 0xd0],
    [0xcd, 0x41],
    [0xcc],
    [0xeb, 0x00],
    [0xe8, 0x10, 0x00],
    [0xe8, 0x00, 0xf0],
    [0x74, 0x10],
    [0x75, 0x10],
    [0xe2, 0x10],
    [0xe3, 0x10],
    [0xff, 0xe3],
    [0xff, 0xd3],
    [0x66, 0xff, 0xe3],
    [0xc3],
    [0xcb],
    [0xcf],
    [0xf3, 0xaa],
    [0xa4],
    [0x0f, 0x0b],
    [0xd9, 0xe8],
    [0x0f, 0x58, 0xc1],
    [0xf7, 0xf1],
  ];
  return list.flatMap((code) =>
    [-1, 0, 1, 2].map((behind) =>
      real(`ends ${behind} behind ffff: ${code.map(hex)}`, code, {
        at: 0x10000 - code.length + behind,
        regs: { ebx: 0xffff, ecx: 1, esi: 0, edi: 0x80 },
        pokes: [],
      }),
    ),
  );
}

/** Operands at the end of 64 KiB. */
function realOperands(): Case[] {
  const list: readonly (readonly [string, readonly number[]])[] = [
    ['mov r8', [0x8a, 0x07]],
    ['mov r16', [0x8b, 0x07]],
    ['mov r32', [0x66, 0x8b, 0x07]],
    ['mov m16', [0x89, 0x07]],
    ['mov m32', [0x66, 0x89, 0x07]],
    ['add m16', [0x01, 0x07]],
    ['add r32 32-bit address', [0x67, 0x66, 0x03, 0x03]],
    ['mov ss:m16', [0x36, 0x89, 0x07]],
    ['mov es:r32', [0x26, 0x66, 0x8b, 0x07]],
    ['les', [0xc4, 0x37]],
    ['les32', [0x66, 0xc4, 0x37]],
    ['bound', [0x62, 0x07]],
    ['sgdt', [0x0f, 0x01, 0x07]],
    ['call far m', [0xff, 0x1f]],
    ['jmp far m', [0xff, 0x2f]],
    ['push m', [0xff, 0x37]],
    ['pop m', [0x8f, 0x07]],
    ['fld m32', [0xd9, 0x07]],
    ['fld m64', [0xdd, 0x07]],
    ['fld m80', [0xdb, 0x2f]],
    ['fnsave', [0xdd, 0x37]],
    ['fnstenv', [0xd9, 0x37]],
    ['cmpxchg8b', [0x0f, 0xc7, 0x0f]],
    ['bt', [0x0f, 0xa3, 0x07]],
    ['movsw', [0x89, 0xde, 0xa5]],
    ['stosw', [0x89, 0xdf, 0xab]],
    ['rep stosd', [0x89, 0xdf, 0xf3, 0x66, 0xab]],
    ['lodsd', [0x89, 0xde, 0x66, 0xad]],
    ['cmpsw', [0x89, 0xde, 0xa7]],
    ['insw', [0x89, 0xdf, 0x6d]],
    ['outsw', [0x89, 0xde, 0x6f]],
    ['xlat', [0xb0, 0x01, 0xd7]],
  ];
  return list.flatMap(([name, code]) =>
    (name.includes('far') ? [0xfffd, 0xfffe, 0xffff] : [0xfff0, 0xfffc, 0xfffd, 0xfffe, 0xffff, 0x10000]).map(
      (ebx) =>
        real(`${name} at ${hex(ebx)}`, [0xdb, 0xe3, ...code], {
          ds: 0,
          es: 0,
          regs: { ebx, ecx: 4, edx: 0x300 },
        }),
    ),
  );
}

/** Stack pointers at both ends of the segment (1 is not here: it shuts the CPU down). */
function realStacks(): Case[] {
  const list: readonly (readonly [string, readonly number[]])[] = [
    ['push', [0x50]],
    ['push32', [0x66, 0x50]],
    ['pop', [0x58]],
    ['pop32', [0x66, 0x58]],
    ['pusha', [0x60]],
    ['popa', [0x61]],
    ['pushf', [0x9c]],
    ['popf', [0x9d]],
    ['call', [0xe8, 0, 0]],
    ['ret', [0xc3]],
    ['enter', [0xc8, 4, 0, 1]],
    ['leave', [0x89, 0xe5, 0xc9]],
    ['int', [0xcd, 0x42]],
    ['iret', [0xcf]],
    ['retf', [0xcb]],
    ['retf 2', [0xca, 2, 0]],
    ['pop m', [0x8f, 0x06, 0x20, 0x00]],
    ['push sreg', [0x1e]],
    ['pop sreg', [0x07]],
  ];
  return list
    .flatMap(([name, code]) =>
      [
        0, 2, 4, 6, 8, 0x10, 0x12, 0x20, 0x22, 0xfff9, 0xfffa, 0xfffb, 0xfffc, 0xfffd, 0xfffe, 0xffff,
        0x10000, 0x12340100, 0x1fffe,
      ].map((esp) => real(`${name}, esp ${hex(esp)}`, [...code], { ss: 0xb00, esp })),
    )
    .filter(({ name }) => name !== 'retf 2, esp fffb'); // leaves SP at 1
}

export function realMode(): Case[] {
  const table = [0x3ff, 0x10f, 0x10b, 0x107, 0x103, 0x102].map((limit) =>
    real(`int 42h, table limit ${hex(limit)}`, [0xcd, 0x42], { limit }),
  );
  const far: readonly (readonly [string, readonly number[]])[] = [
    ['jmp far', [0xea, ...le16(I.LANDING - I.CODE), ...le16(I.CODE >> 4)]],
    ['jmp far 32', [0x66, 0xea, ...le32(0x10000), ...le16(0xc00)]],
    ['call far', [0x9a, ...le16(I.LANDING - I.CODE), ...le16(I.CODE >> 4)]],
    ['call far 32', [0x66, 0x9a, ...le32(I.LANDING - I.CODE), ...le16(I.CODE >> 4)]],
    ['call far 32 outside', [0x66, 0x9a, ...le32(0x12340000), ...le16(0xc00)]],
    ['retf', [0x68, ...le16(0xc00), 0x68, ...le16(I.LANDING - I.CODE), 0xcb]],
    ['retf 32', [0x66, 0x68, ...le32(0xc00), 0x66, 0x68, ...le32(I.LANDING - I.CODE), 0x66, 0xcb]],
    ['retf 32 outside', [0x66, 0x68, ...le32(0xc00), 0x66, 0x68, ...le32(0x10000), 0x66, 0xcb]],
    ['iret', [0x68, ...le16(0x7ed7), 0x68, ...le16(0xc00), 0x68, ...le16(I.LANDING - I.CODE), 0xcf]],
    [
      'iretd',
      [0x66, 0x68, ...le32(0x3f7ed7 & ~0x100), 0x66, 0x68, ...le32(0xc00), 0x66, 0x68].concat([
        ...le32(I.LANDING - I.CODE),
        0x66,
        0xcf,
      ]),
    ],
    ['popf 7000', [0x68, ...le16(0x7ed7), 0x9d, 0x9c, 0x58]],
    ['popfd', [0x66, 0x68, ...le32(0x3f7ed7 & ~0x100), 0x66, 0x9d, 0x66, 0x9c, 0x66, 0x58]],
    ['ltr', [0x0f, 0x00, 0xd8]],
    ['lldt', [0x0f, 0x00, 0xd0]],
    ['sldt', [0x0f, 0x00, 0xc0]],
    ['str', [0x0f, 0x00, 0xc8]],
    ['verr', [0x0f, 0x00, 0xe0]],
    ['lar', [0x0f, 0x02, 0xc0]],
    ['lsl', [0x0f, 0x03, 0xc0]],
    ['arpl', [0x63, 0xc0]],
    ['smsw', [0x0f, 0x01, 0xe0]],
    ['clts', [0x0f, 0x06]],
    ['sysenter', [0x0f, 0x34]],
    ['sysexit', [0x0f, 0x35]],
    ['mov cs', [0x8e, 0xc8]],
    ['lock nop', [0xf0, 0x90]],
    ['into', [0xb0, 0x7f, 0xfe, 0xc0, 0xce]],
    ['int3', [0xcc]],
    ['int1', [0xf1]],
    ['div 0', [0x31, 0xc9, 0xf7, 0xf1]],
    ['bound', [0x62, 0x06, 0x00, 0x00]],
    ['single step', [0x9c, 0x80, 0x4e, 0x01, 0x01, 0x9d, 0x90, 0x90]],
    ['popf with tf', [0x68, ...le16(0x102), 0x9d, 0x90, 0x90]],
    ['in', [0xba, 0x00, 0x03, 0xec]],
  ];
  return [
    ...table,
    ...far.map(([name, code]) => real(name, code)),
    ...realEnds(),
    ...realOperands(),
    ...realStacks(),
  ];
}
