/** The disassembler beside objdump: random instructions of the table's opcodes, 16 and 32 bit, and the code of a real program. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { disassemble, disassemblyLine } from '../../src/machine/cpu/disassemble.ts';
import { requireProgram } from '../support/programs.ts';

const LONG = process.env['AMBERVM_LONG'] === '1';
const COUNT = LONG ? 100_000 : 5_000;
const SLOT = 32;
const BITS = [32, 16] as const;
/** Programs of the real world; those that are not there are not compared. AMBERVM_I386_PROGRAM names one more. */
const PROGRAMS = ['/usr/share/seabios/bios-256k.bin', '/usr/share/seabios/vgabios-stdvga.bin'];
const EXTRA = process.env['AMBERVM_I386_PROGRAM'];
if (EXTRA !== undefined) PROGRAMS.push(EXTRA);
/** Instructions of a program that are compared. */
const PROGRAM_COUNT = LONG ? 100_000 : 5_000;

const folder = mkdtempSync(join(tmpdir(), 'ambervm-disassemble-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Text of each address, from objdump's listing. */
function objdump(bytes: Uint8Array, bits: 16 | 32): Map<number, { length: number; text: string }> {
  const file = join(folder, `code${bits}.bin`);
  writeFileSync(file, bytes);
  const mode = bits === 16 ? ['-m', 'i8086'] : ['-m', 'i386'];
  const args = ['-D', '-b', 'binary', ...mode, '-M', 'att,suffix', '--insn-width=16', file];
  const listing = execFileSync('objdump', args, { encoding: 'latin1', maxBuffer: 1 << 30 });
  const found = new Map<number, { length: number; text: string }>();
  for (const line of listing.split('\n')) {
    const match = /^\s*([0-9a-f]+):\t([0-9a-f ]+?)\s*\t(.*)$/.exec(line);
    if (match === null) continue;
    const length = match[2]!.trim().split(' ').length;
    found.set(Number.parseInt(match[1]!, 16), { length, text: match[3]! });
  }
  return found;
}

/** Other spellings of the same: GNU's on the left of each pair. */
const SPELLINGS: readonly (readonly [RegExp, string])[] = [
  [/#.*$/, ''],
  [/<[^>]*>/g, ''],
  [/\b(addr16|addr32|data16|data32|bnd|notrack|xacquire|xrelease|[c-gs]s|es)\s+(?=[a-z])/g, ''],
  [/^(rep[a-z]*\s+)+(?=rep)/, ''],
  [/^rep[a-z]*\s+(?!(movs|stos|lods|cmps|scas|ins|outs)[bwl]\b)/, ''],
  [/^repn?[ez]*\s+/, 'rep '],
  [/\s*,\s*/g, ','],
  [/,%e?iz(,\d)?/g, ''],
  [/\(\)/, ''],
  [/0x0\(/, '('],
  [/^(f\w+p) %st,(%st\(\d\))$/, '$1 $2'],
  [/\(8087 only\)|\(287 only\)/, ''],
  // Later processors read F3 before these as another instruction.
  [/^tzcnt/, 'bsf'],
  [/^lzcnt/, 'bsr'],
  [/^wbnoinvd/, 'wbinvd'],
  [/%st\(0\)/g, '%st'],
  [/,1\)/g, ')'],
  [/^(\S+)\.s /, '$1 '],
  [/^([a-z]+)l?,p[nt] /, '$1 '],
  [/^(l(?:jmp|call).*):/, '$1,'],
  [/\(%dx\)/, '%dx'],
  [/%ds:(\(%e?si\))/, '$1'],
  [/%db(\d)/, '%dr$1'],
  [/^((?:ro|rc|sh|sa)[lr][bwl]) \$(?:0x)?1,/, '$1 '],
  [/^xchg(.) (.*),(%\w+)$/, 'xchg$1 $3,$2'],
  [/^xchg(.) (%\w+),(%\w+)$/, 'xchg$1 both $2 $3'],
  [/^fwait$/, 'wait'],
  [/^xlatb?.*/, 'xlat'],
  [
    /^(loopn?e?|jmp|lldt|ltr|lmsw|enter|leave|fnsave|frstor|fldenv|fnstenv|bound|sysexit|sysenter|bswap|sysret|movnti)[wls]( |$)/,
    '$1$2',
  ],
  [/^bound (%\w+),(.*)$/, 'bound $2,$1'],
  [/,%st$/, ''],
];

function normal(text: string): string {
  let plain = text.toLowerCase().trim().replace(/\s+/g, ' ');
  for (const [pattern, to] of SPELLINGS) plain = plain.replace(pattern, to);
  const both = /^(xchg.) both (%\w+) (%\w+)$/.exec(plain.trim());
  if (both !== null) return `${both[1]} ${[both[2], both[3]].sort().join(',')}`;
  return plain.trim();
}

/** Numbers out of a text, and the text without them. */
function numbers(text: string): { shape: string; values: bigint[] } {
  const values: bigint[] = [];
  const shape = text.replace(
    /(-?)\b(0x[0-9a-f]+|\d+)\b(?!\))/g,
    (all, sign: string, digits: string, at: number) => {
      if (/%(st\(|[a-z]*)$/.test(text.slice(0, at))) return all;
      values.push(sign === '-' ? -BigInt(digits) : BigInt(digits));
      return '#';
    },
  );
  return { shape, values };
}

function isSame(ours: string, theirs: string): boolean {
  const [a, b] = [numbers(normal(ours)), numbers(normal(theirs))];
  if (a.shape !== b.shape || a.values.length !== b.values.length) return false;
  return a.values.every((v, i) => isEqual(v, b.values[i]!, a.shape));
}

/** objdump lets 16-bit targets run over and writes addresses of 16 bits with a sign. */
function isEqual(our: bigint, their: bigint, shape: string): boolean {
  if (BigInt.asUintN(32, our) === BigInt.asUintN(32, their)) return true;
  if (shape.startsWith('enter')) return BigInt.asUintN(8, our) === BigInt.asUintN(8, their);
  const isShort = /^(j|loop|call)/.test(shape) || their < 0n || /^(lock )?\S*w /.test(shape);
  return isShort && our < 0x10000n && BigInt.asUintN(16, our) === BigInt.asUintN(16, their);
}

/** xorshift; the same instructions in each run. */
function random(seed: number): () => number {
  let s = seed;
  return () => {
    s ^= s << 13;
    s ^= s >>> 17;
    s ^= s << 5;
    return s >>> 0;
  };
}

const PREFIXES = [0x66, 0x67, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0xf3, 0xf2];

/** Instructions in slots, with NOPs behind so that one does not run into the next. */
function randomCode(count: number, seed: number): Uint8Array {
  const next = random(seed);
  const bytes = new Uint8Array(count * SLOT).fill(0x90);
  for (let i = 0; i < count; i++) {
    let at = i * SLOT;
    const prefix = next() % 4 === 0 ? PREFIXES[next() % PREFIXES.length] : undefined;
    if (prefix !== undefined) bytes[at++] = prefix;
    if (next() % 2 === 0) bytes[at++] = 0x0f;
    for (let k = 0; k < 11; k++) bytes[at++] = next() >>> 8;
  }
  return bytes;
}

/** `addresses`: where instructions begin; by default where objdump thinks they do. */
function differences(bytes: Uint8Array, bits: 16 | 32, addresses?: Iterable<number>) {
  const theirs = objdump(bytes, bits);
  const padded = new Uint8Array(bytes.length + SLOT);
  padded.set(bytes);
  const wrong: string[] = [];
  let compared = 0;
  for (const at of addresses ?? theirs.keys()) {
    const their = theirs.get(at);
    const our = disassemble(padded, at, at, bits === 32);
    if (their === undefined || our.mnemonic === '.byte' || their.text.includes('(bad)')) continue;
    // Hints and prefetches of 1995 got meanings of their own.
    if (/^(nop|prefetch|rep[a-z]* nop)/.test(our.mnemonic)) continue;
    // GNU takes WAIT and the instruction behind it as one, and prefixes apart if there are very many.
    if (our.mnemonic === 'wait' || our.length === 15) continue;
    compared++;
    const text = `${our.mnemonic} ${our.operands}`;
    if (our.length !== their.length || !isSame(text, their.text)) {
      const hex = Buffer.from(bytes.subarray(at, at + their.length)).toString('hex');
      wrong.push(`${bits} ${hex}: ${text} (${our.length}) | ${their.text} (${their.length})`);
    }
  }
  return { wrong, compared };
}

describe.skipIf(!requireProgram('objdump'))('beside objdump', () => {
  test.each(BITS)('%i-bit: random instructions', (bits) => {
    const count = COUNT / BITS.length;
    const code = randomCode(count, 0x1234567 + bits);
    const { wrong, compared } = differences(
      code,
      bits,
      Array.from({ length: count }, (_, i) => i * SLOT),
    );
    if (process.env['SHOW']) console.log(bits, compared, wrong.length, wrong.join('\n'));
    expect(wrong).toEqual([]);
    expect(compared).toBeGreaterThan(count * 0.5);
  });

  test.each(
    PROGRAMS.flatMap((file) => BITS.map((bits) => [file, bits] as const)).filter(([f]) => existsSync(f)),
  )('%s as %i-bit code', (file, bits) => {
    // The end of a BIOS is its code; three bytes an instruction.
    const bytes = readFileSync(file).subarray(-PROGRAM_COUNT * 3);
    const { wrong, compared } = differences(bytes, bits);
    if (process.env['SHOW']) console.log(bits, compared, wrong.length, wrong.join('\n'));
    expect(wrong).toEqual([]);
    expect(compared).toBeGreaterThan(1000);
  });
});

describe('lines as the monitor prints them', () => {
  const line = (hex: string, code32: boolean, address = 0xfe05b) => {
    const bytes = new Uint8Array(40);
    bytes.set(Buffer.from(hex, 'hex'));
    const found = disassemble(bytes, 0, address, code32);
    return disassemblyLine(address, bytes.subarray(0, found.length), found);
  };

  // Measured: QEMU 7.2, SeaBIOS at 0xfe05b.
  test('16 bit', () => {
    expect(line('2e66833ec86100', false)).toBe(
      '0x000fe05b:  2e 66 83 3e c8 61 00     cmpl     $0, %cs:0x61c8',
    );
    expect(line('0f8536f0', false, 0xfe062)).toBe('0x000fe062:  0f 85 36 f0              jne      0xd09c');
    expect(line('67668904240000', false)).toBe('0x000fe05b:  67 66 89 04 24           movl     %eax, (%esp)');
    expect(line('ea5be000f0', false, 0xfffffff0)).toBe(
      '0xfffffff0:  ea 5b e0 00 f0           ljmpw    $0xf000:$0xe05b',
    );
  });

  test('more than eight bytes go on a second line; what is undefined is a byte', () => {
    expect(line('c7841011223344aabbccdd', true)).toBe(
      '0x000fe05b:  c7 84 10 11 22 33 44 aa  movl     $0xddccbbaa, 0x44332211(%eax, %edx)\n0x000fe063:  bb cc dd',
    );
    expect(line('0fff', true)).toBe('0x000fe05b:  0f                       .byte    0x0f');
  });
});
