/** Reader for MOO files (SingleStepTests): instruction tests taken from real hardware. Format: ../shared/guests.md. */
import { gunzipSync } from 'node:zlib';

export type Registers = Readonly<Record<string, number>>;

export interface MachineState {
  readonly registers: Registers;
  readonly ram: readonly (readonly [address: number, value: number])[];
}

export interface MooTest {
  readonly index: number;
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly initial: MachineState;
  /** Only what changed. */
  readonly final: MachineState;
  readonly exception: { readonly vector: number; readonly flagsAddress: number } | undefined;
  /** SHA-1 in hex; names the test in revocation lists. */
  readonly hash: string;
}

const NAMES_16 = 'ax bx cx dx cs ss ds es sp bp si di ip flags'.split(' ');
const NAMES_32 = 'cr0 cr3 eax ebx ecx edx esi edi ebp esp cs ds es fs gs ss eip eflags dr6 dr7'.split(' ');

function* chunks(b: DataView, from: number, to: number): Generator<[id: string, start: number, end: number]> {
  let at = from;
  while (at + 8 <= to) {
    const id = String.fromCharCode(
      b.getUint8(at),
      b.getUint8(at + 1),
      b.getUint8(at + 2),
      b.getUint8(at + 3),
    );
    const length = b.getUint32(at + 4, true);
    yield [id, at + 8, at + 8 + length];
    at += 8 + length;
  }
}

function registers(b: DataView, at: number, names: readonly string[], wide: boolean): Registers {
  const bitmap = wide ? b.getUint32(at, true) : b.getUint16(at, true);
  let p = at + (wide ? 4 : 2);
  const result: Record<string, number> = {};
  names.forEach((name, i) => {
    if (((bitmap >>> i) & 1) === 0) return;
    result[name] = wide ? b.getUint32(p, true) : b.getUint16(p, true);
    p += wide ? 4 : 2;
  });
  return result;
}

function state(b: DataView, from: number, to: number): MachineState {
  let regs: Registers = {};
  const ram: [number, number][] = [];
  for (const [id, start] of chunks(b, from, to)) {
    if (id === 'REGS') regs = registers(b, start, NAMES_16, false);
    else if (id === 'RG32') regs = registers(b, start, NAMES_32, true);
    else if (id === 'RAM ') {
      const count = b.getUint32(start, true);
      for (let i = 0; i < count; i++) {
        ram.push([b.getUint32(start + 4 + i * 5, true), b.getUint8(start + 8 + i * 5)]);
      }
    }
  }
  return { registers: regs, ram };
}

function text(raw: Uint8Array, start: number, end: number): string {
  return String.fromCharCode(...raw.subarray(start + 4, end));
}

export function readMoo(file: Uint8Array): MooTest[] {
  const raw = file[0] === 0x1f && file[1] === 0x8b ? new Uint8Array(gunzipSync(file)) : file;
  const b = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  const tests: MooTest[] = [];
  for (const [id, start, end] of chunks(b, 0, raw.length)) {
    if (id !== 'TEST') continue;
    let name = '';
    let bytes = new Uint8Array(0);
    let initial: MachineState = { registers: {}, ram: [] };
    let final = initial;
    let exception: MooTest['exception'];
    let hash = '';
    for (const [part, p, q] of chunks(b, start + 4, end)) {
      if (part === 'NAME') name = text(raw, p, q);
      else if (part === 'BYTS') bytes = raw.slice(p + 4, q);
      else if (part === 'INIT') initial = state(b, p, q);
      else if (part === 'FINA') final = state(b, p, q);
      else if (part === 'EXCP') exception = { vector: b.getUint8(p), flagsAddress: b.getUint32(p + 1, true) };
      else if (part === 'HASH')
        hash = [...raw.subarray(p, q)].map((x) => x.toString(16).padStart(2, '0')).join('');
    }
    tests.push({ index: b.getUint32(start, true), name, bytes, initial, final, exception, hash });
  }
  return tests;
}
