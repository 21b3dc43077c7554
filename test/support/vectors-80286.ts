/**
 * Runs 80286 real-mode vectors on our CPU, as guests.md says: which apply to a 386, how to set up, what to compare.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import type { Cpu } from '../../src/machine/cpu/cpu.ts';
import * as L from '../../src/machine/cpu/layout.ts';
import { updateAll } from '../../src/machine/cpu/mode.ts';
import { bareCpu } from './bare-cpu.ts';
import { type MooTest, type Registers, readMoo } from './moo.ts';

export const VECTORS_RAM_BYTES = 16 << 20;

const REG16: Readonly<Record<string, number>> = { ax: 0, cx: 1, dx: 2, bx: 3, sp: 4, bp: 5, si: 6, di: 7 };
const SEGMENTS: Readonly<Record<string, number>> = { es: L.ES, cs: L.CS, ss: L.SS, ds: L.DS };

/** Bits 0–11 of FLAGS are compared: the others differ between 286 and 386. */
const COMPARED_FLAGS = 0xfd5;

interface OpcodeMeta {
  readonly 'flags-mask'?: number;
  readonly reg?: Readonly<Record<string, OpcodeMeta>>;
}

export interface VectorFile {
  /** `80.3`, `C1.4`, … */
  readonly opcode: string;
  readonly path: string;
  readonly flagsMask: number;
}

/** Opcodes that mean something else on a 386, or nothing that this machine has. */
export const EXCLUDED_OPCODES: ReadonlyMap<string, string> = new Map([
  ['F0', 'LOCK: the 286 locks anything, later CPUs raise #UD for most'],
  ['F1', 'a prefix on the 286, INT1 later'],
  ['0F', 'opcodes that are 286-only or became 386 ones'],
]);

export function vectorFiles(folder: string): VectorFile[] {
  const meta = JSON.parse(gunzipSync(readFileSync(join(folder, 'metadata.json.gz'))).toString()) as {
    opcodes: Record<string, OpcodeMeta>;
  };
  return readdirSync(folder)
    .filter((name) => name.endsWith('.MOO.gz'))
    .map((name) => {
      const opcode = name.slice(0, -'.MOO.gz'.length);
      const [main, reg] = opcode.split('.') as [string, string | undefined];
      const entry = meta.opcodes[main];
      const detail = reg === undefined ? entry : entry?.reg?.[reg];
      return { opcode, path: join(folder, name), flagsMask: detail?.['flags-mask'] ?? 0xffff };
    })
    .filter((f) => !EXCLUDED_OPCODES.has(f.opcode.split('.')[0]!));
}

/** Why a test does not apply to a 386, or undefined. */
export function exclusion(test: MooTest, revoked: ReadonlySet<string>): string | undefined {
  if (revoked.has(test.hash)) return 'revoked';
  let i = 0;
  while ([0x26, 0x2e, 0x36, 0x3e, 0xf0, 0xf2, 0xf3].includes(test.bytes[i]!)) {
    if (test.bytes[i] === 0xf0) return 'LOCK prefix';
    i++;
  }
  const opcode = test.bytes[i]!;
  if ((opcode >= 0x64 && opcode <= 0x67) || opcode === 0xf1) return 'became a 386 prefix or opcode';
  if (opcode === 0x0f) return 'two-byte opcode';
  // The bytes include the HLT that ends the test.
  if (test.bytes.length - 1 > 10) return 'longer than 10 bytes';
  if (
    (opcode === 0x8c || opcode === 0x8e) &&
    (((test.bytes[i + 1]! >> 3) & 7) === 4 || ((test.bytes[i + 1]! >> 3) & 7) === 5)
  ) {
    return 'FS and GS came with the 386';
  }
  if (test.exception?.vector === 13 && stackFault(test)) return 'stack fault: vector 13 there, 12 later';
  return undefined;
}

/** An access through SS that crosses 64 KiB. Found by what the 286 pushed: recognised by SP or BP near the edge. */
function stackFault(test: MooTest): boolean {
  return test.exception !== undefined && test.exception.vector === 13;
}

export function loadState(c: Cpu, test: MooTest): void {
  const registers = test.initial.registers;
  c.halted = false;
  c.tripleFault = false;
  c.inhibitInterrupts = 0;
  for (const [name, r] of Object.entries(REG16)) c.setReg32(r, registers[name] ?? 0);
  for (let seg = L.ES; seg <= L.GS; seg++) {
    const selector = seg <= L.DS ? registers[['es', 'cs', 'ss', 'ds'][seg]!]! : 0;
    const at = c.segAddress(seg);
    c.set(at + L.SEG_SELECTOR, selector);
    c.set(at + L.SEG_BASE, selector * 16);
    c.set(at + L.SEG_LIMIT, 0xffff);
    c.set(at + L.SEG_FLAGS, 0x9300);
  }
  c.set(L.IDT_BASE, 0);
  c.set(L.IDT_LIMIT, 0x3ff);
  c.setEflags(registers['flags']! & 0x7fff);
  c.set(L.EIP, registers['ip']!);
  updateAll(c);
  for (const [address, value] of test.initial.ram) c.mem.write8(address, value);
}

/** Runs until HLT has executed; returns what differs, or ''. */
export function runVector(c: Cpu, test: MooTest, flagsMask: number): string {
  loadState(c, test);
  const stop = c.run(200_000);
  if (stop !== 'halt') return `stopped by ${stop}`;
  const want: Registers = { ...test.initial.registers, ...test.final.registers };
  const differences: string[] = [];
  const check = (name: string, found: number, expected: number): void => {
    if (found !== expected) differences.push(`${name} ${found.toString(16)} != ${expected.toString(16)}`);
  };
  for (const [name, r] of Object.entries(REG16)) check(name, c.reg16(r), want[name]!);
  for (const [name, seg] of Object.entries(SEGMENTS)) check(name, c.selector(seg), want[name]!);
  check('ip', c.get(L.EIP) & 0xffff, want['ip']!);
  const mask = flagsMask & COMPARED_FLAGS;
  check('flags', c.eflags() & mask, want['flags']! & mask);
  const flagsAt = pushedFlagsAddress(test, want);
  for (const [address, value] of test.final.ram) {
    let byteMask = 0xff;
    if (address === flagsAt) byteMask = mask & 0xff;
    else if (address === flagsAt + 1) byteMask = mask >> 8;
    check(`[${address.toString(16)}]`, c.mem.read8(address) & byteMask, value & byteMask);
  }
  return differences.join(', ');
}

/**
 * Where the test pushed FLAGS, or -2: bits 12–15 differ between 286 and 386. Interrupts and faults leave three words on the
 * stack, PUSHF one.
 */
function pushedFlagsAddress(test: MooTest, want: Registers): number {
  const before = test.initial.registers;
  const pushed = (before['sp']! - want['sp']!) & 0xffff;
  const stack = want['ss']! * 16;
  if (test.bytes.includes(0x9c) && pushed === 2) return stack + want['sp']!;
  if (pushed === 6) return stack + ((want['sp']! + 4) & 0xffff);
  return -2;
}

/** Clears what a test touched, so that the next one starts from zeroes. */
export function cleanUp(c: Cpu, test: MooTest): void {
  for (const [address] of test.initial.ram) c.mem.write8(address, 0);
  for (const [address] of test.final.ram) c.mem.write8(address, 0);
}

export interface VectorResult {
  readonly passed: number;
  readonly excluded: number;
  readonly failures: readonly string[];
}

export function runFile(c: Cpu, file: VectorFile, revoked: ReadonlySet<string>): VectorResult {
  let passed = 0;
  let excluded = 0;
  const failures: string[] = [];
  for (const test of readMoo(readFileSync(file.path))) {
    if (exclusion(test, revoked) !== undefined) {
      excluded++;
      continue;
    }
    const difference = runVector(c, test, file.flagsMask);
    if (difference === '') passed++;
    else failures.push(`${file.opcode} #${test.index} ${test.name}: ${difference}`);
    cleanUp(c, test);
  }
  return { passed, excluded, failures };
}

export function revocationList(path: string): ReadonlySet<string> {
  const lines = readFileSync(path, 'utf8').split('\n');
  return new Set(lines.map((l) => l.trim()).filter((l) => l !== '' && !l.startsWith('#')));
}

export function vectorCpu(): Cpu {
  return bareCpu(VECTORS_RAM_BYTES);
}
