/**
 * Random programs for the sweep's harness: arithmetic in all sizes, memory operands that are unaligned and cross pages,
 * 16-bit addressing, strings, branches, loops, calls, self-modification, page faults. No undefined flag is ever looked at:
 * a comparison follows whatever leaves one.
 */
import type { Random } from '../guest-case.ts';
import type { Case, Poke } from './image.ts';
import { bytes, CODE, DATA } from './image.ts';

const le32 = (n: number): number[] => [n & 0xff, (n >> 8) & 0xff, (n >> 16) & 0xff, (n >>> 24) & 0xff];
/** EBX holds the address of the data, ESP the stack. */
const FREE_REGISTERS = [0, 1, 2, 5, 6, 7] as const;
const MAX_BYTES = 900;

class Program {
  readonly out: number[] = [];
  readonly #random: Random;
  readonly #at: number;

  constructor(random: Random, at: number) {
    this.#random = random;
    this.#at = at;
  }

  #reg(): number {
    return this.#random.pick(FREE_REGISTERS);
  }
  #byte(): number {
    return this.#random.below(256);
  }
  #emit(...list: number[]): void {
    this.out.push(...list);
  }
  /** Defines all six arithmetic flags. */
  #settle(): void {
    this.#emit(0x39, 0xc0 | (this.#reg() << 3) | this.#reg());
  }
  /** 8-bit registers by their numbers: BL, BH are the base's. */
  #byteReg(): number {
    return this.#random.pick([0, 1, 2, 4, 5, 6]);
  }

  /** Opcode with a random r/m operand; `wide`: operand size prefix possible. */
  #rm(opcode: readonly number[], reg: number, wide: boolean, memoryOnly = false): void {
    const random = this.#random;
    const prefixes = wide && random.below(3) === 0 ? [0x66] : [];
    if (!memoryOnly && random.below(2) === 0) {
      this.#emit(...prefixes, ...opcode, 0xc0 | (reg << 3) | (wide ? this.#reg() : this.#byteReg()));
      return;
    }
    if (random.below(4) === 0) prefixes.push(random.pick([0x3e, 0x26, 0x36]));
    switch (random.below(5)) {
      case 0:
        this.#emit(...prefixes, 0x67, ...opcode, 0x47 | (reg << 3), random.below(128));
        return;
      case 1: {
        const index = this.#reg();
        this.#emit(0x83, 0xe0 | index, 0x7f);
        this.#settle();
        this.#emit(
          ...prefixes,
          ...opcode,
          0x44 | (reg << 3),
          (random.below(3) << 6) | (index << 3) | 3,
          this.#byte(),
        );
        return;
      }
      case 2:
        this.#emit(...prefixes, ...opcode, 0x83 | (reg << 3), ...le32(random.below(0x200)));
        return;
      case 3:
        this.#emit(...prefixes, ...opcode, 0x05 | (reg << 3), ...le32(DATA + random.below(0xff0)));
        return;
      default:
        this.#emit(...prefixes, ...opcode, 0x43 | (reg << 3), this.#byte());
    }
  }

  #arithmetic(): void {
    const random = this.#random;
    const op = random.below(8);
    const wide = random.below(3) !== 0;
    const direction = random.below(2) * 2;
    const reg = wide ? this.#reg() : this.#byteReg();
    this.#rm([(op << 3) | direction | (wide ? 1 : 0)], reg, wide);
    if (op === 1 || op === 4 || op === 6) this.#settle();
  }
  #immediate(): void {
    const op = this.#random.below(8);
    const reg = this.#reg();
    if (this.#random.below(2) === 0) this.#emit(0x83, 0xc0 | (op << 3) | reg, this.#byte());
    else this.#emit(0x81, 0xc0 | (op << 3) | reg, ...le32(this.#random.next()));
    if (op === 1 || op === 4 || op === 6) this.#settle();
  }
  #shift(): void {
    const op = this.#random.below(8);
    switch (this.#random.below(4)) {
      case 0:
        this.#rm([0xd3], op, true);
        break;
      case 1:
        this.#emit(0xc1, 0xc0 | (op << 3) | this.#reg(), this.#byte());
        break;
      case 2:
        this.#emit(0xc0, 0xc0 | (op << 3) | this.#byteReg(), this.#random.below(8));
        break;
      default:
        this.#emit(0x0f, this.#random.pick([0xa5, 0xad]), 0xc0 | (this.#reg() << 3) | this.#reg());
    }
    this.#settle();
  }
  #multiply(): void {
    const random = this.#random;
    if (random.below(3) === 0) {
      // 31 D2: XOR EDX,EDX; 83 C9 01: OR ECX,1; DIV ECX.
      this.#emit(0x31, 0xd2, 0x83, 0xc9, 1, 0xf7, 0xf1);
    } else if (random.below(2) === 0) this.#rm([0x0f, 0xaf], this.#reg(), true);
    else this.#rm([0xf7], 4 + random.below(2), true);
    this.#settle();
  }
  #bits(): void {
    const random = this.#random;
    if (random.below(2) === 0)
      this.#emit(0x0f, 0xba, 0xe0 | (random.below(4) << 3) | this.#reg(), this.#byte());
    else this.#emit(0x0f, random.pick([0xbc, 0xbd]), 0xc0 | (this.#reg() << 3) | this.#reg());
    this.#settle();
  }
  #single(): void {
    const random = this.#random;
    const cc = random.below(16);
    const kind = random.below(12);
    if (kind === 0) this.#emit(0x40 | this.#reg());
    else if (kind === 1) this.#emit(0x48 | this.#reg());
    else if (kind === 2) this.#emit(0x0f, 0xc8 | this.#reg());
    else if (kind === 3) this.#rm([0x0f, 0x90 | cc], 0, false);
    else if (kind === 4) this.#rm([0x0f, 0x40 | cc], this.#reg(), true);
    else if (kind === 5) this.#rm([0x0f, random.pick([0xb6, 0xb7, 0xbe, 0xbf])], this.#reg(), true, true);
    else if (kind === 6) this.#rm([random.pick([0x89, 0x8b])], this.#reg(), true);
    else if (kind === 7) this.#rm([random.pick([0x88, 0x8a])], this.#byteReg(), false);
    else if (kind === 8) this.#rm([0x87], this.#reg(), true);
    else if (kind === 9) this.#rm([0x0f, random.pick([0xb1, 0xc1])], this.#reg(), true);
    else if (kind === 10) this.#rm([0xf7], random.pick([2, 3]), true);
    else this.#emit(random.pick([0x98, 0x99, 0xf5, 0xf8, 0xf9, 0x9f]));
  }
  #stack(): void {
    const random = this.#random;
    if (random.below(3) === 0) this.#emit(0x9c, 0x58 | this.#reg());
    else this.#emit(0x50 | this.#reg());
    if (this.out.at(-1)! < 0x58) {
      this.op(0);
      this.#emit(0x58 | this.#reg());
    }
    if (random.below(4) === 0) this.#emit(0x1e, 0x07);
  }
  #string(): void {
    const random = this.#random;
    const down = random.below(3) === 0;
    this.#emit(
      0x8d,
      0xb3,
      ...le32(0x80 + random.below(0x80)),
      0x8d,
      0xbb,
      ...le32(0x80 + random.below(0x80)),
    );
    this.#emit(0xb9, ...le32(random.below(20)));
    if (down) this.#emit(0xfd);
    const prefixes = random.below(3) === 0 ? [0x66] : [];
    if (random.below(5) !== 0) prefixes.push(random.pick([0xf2, 0xf3]));
    this.#emit(...prefixes, random.pick([0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf]), 0xfc);
  }
  /** A branch over some operations. */
  #branch(depth: number): void {
    const long = this.#random.below(2) === 0;
    const cc = this.#random.below(16);
    if (long) this.#emit(0x0f, 0x80 | cc, 0, 0, 0, 0);
    else this.#emit(0x70 | cc, 0);
    const from = this.out.length;
    this.op(depth);
    this.op(0);
    const distance = this.out.length - from;
    if (long) this.out.splice(from - 4, 4, ...le32(distance));
    else if (distance < 128) this.out[from - 1] = distance;
  }
  #loop(depth: number): void {
    this.#emit(0x6a, 1 + this.#random.below(9));
    const from = this.out.length;
    for (let i = this.#random.below(6); i >= 0; i--) this.op(depth);
    this.#emit(0xff, 0x0c, 0x24, 0x0f, 0x85);
    this.#emit(...le32(from - this.out.length - 4), 0x58 | this.#reg());
  }
  #call(depth: number): void {
    const random = this.#random;
    this.#emit(0xe8, 5, 0, 0, 0, 0xe9, 0, 0, 0, 0);
    const from = this.out.length;
    this.op(depth);
    this.op(depth);
    if (random.below(2) === 0) this.#emit(0xc3);
    else this.#emit(0x58 | this.#reg(), 0x83, 0xec, 4, 0xc2, 0, 0);
    this.out.splice(from - 4, 4, ...le32(this.out.length - from));
    this.#settle();
  }
  /** Changes the immediate of an instruction that comes at once, or of one that has run. */
  #modify(): void {
    const target = this.#at + this.out.length + 7 + 1;
    this.#emit(0xc6, 0x05, ...le32(target + this.#random.below(4)), this.#byte());
    this.#emit(0xb8 | this.#reg(), ...le32(this.#random.next()));
  }

  /** One operation, up to `depth` levels of blocks. */
  op(depth: number): void {
    const kind = this.#random.below(depth > 0 ? 24 : 17);
    if (kind < 5) this.#arithmetic();
    else if (kind < 6) this.#immediate();
    else if (kind < 8) this.#shift();
    else if (kind < 9) this.#multiply();
    else if (kind < 10) this.#bits();
    else if (kind < 15) this.#single();
    else if (kind < 16) this.#string();
    else if (kind < 17) this.#modify();
    else if (kind < 18) this.#stack();
    else if (kind < 20) this.#branch(depth - 1);
    else if (kind < 22) this.#loop(depth - 1);
    else if (kind < 23) this.#call(depth - 1);
    else
      this.#emit(
        0xbb,
        ...le32(this.#random.pick([DATA + 0x100, DATA + 0xe7d, DATA + 0xf81]) + this.#random.below(16)),
      );
  }

  /** Pushes a counter; returns where the program starts again. */
  begin(repeat: number): number {
    this.#emit(0x68, ...le32(repeat));
    return this.out.length;
  }
  finish(again: number): void {
    this.#emit(0xff, 0x0c, 0x24, 0x0f, 0x85);
    this.#emit(...le32(again - this.out.length - 4), 0x58);
    this.#settle();
    this.#emit(0xcd, 0x40);
  }
}

/** A random program as a case of the sweep, run `repeat` times over; its code crosses a page. */
export function stream(random: Random, name: string, repeat = 1): Case {
  const at = 0xf000 - random.below(MAX_BYTES / 2);
  const program = new Program(random, at);
  const again = program.begin(repeat);
  while (program.out.length < MAX_BYTES / 3 + random.below(MAX_BYTES / 2)) program.op(2);
  program.finish(again);
  const pokes: Poke[] = bytes(at, program.out);
  for (let i = 0; i < 16; i++) pokes.push([DATA + random.below(0x3f8) * 4, random.next() >>> 0]);
  const paging = random.below(2) === 0;
  // Sometimes a page is absent, read-only or the supervisor's.
  if (paging && random.below(3) === 0) {
    const page = random.pick([0xd, 0xe]);
    pokes.push([0x31000 + page * 4, (page << 12) | random.pick([0, 1, 3, 5])]);
  }
  const cpl = random.below(2) * 3;
  const [eax, ecx, edx, ebp, esi, edi] = Array.from({ length: 6 }, () => random.next() >>> 0) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  return {
    name,
    cpl,
    code: [0xe9, ...le32(at - CODE - 5)],
    pokes,
    regs: { eax, ecx, edx, ebp, esi, edi, ebx: DATA + 0x100 + random.below(0xd00) },
    cr0: paging ? 0x80010000 : 0,
  };
}
