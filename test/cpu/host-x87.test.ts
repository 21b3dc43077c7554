/** x87 instructions against the host's processor: results, status word, tags, stack, memory, EFLAGS. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CASES, GuestCases, Random } from '../support/guest-case.ts';
import { CASE_BYTES, CASE_MEMORY, CASE_REGISTERS, HostCpu, hostCpuAvailable } from '../support/host-cpu.ts';

const SPECIAL: readonly (readonly [number, number, number])[] = [
  [0, 0, 0],
  [0x3fff, 0x80000000, 0],
  [0x3fff, 0x80000000, 1],
  [0x3ffe, 0xffffffff, 0xffffffff],
  [0x4000, 0x80000000, 0],
  [0x3ffe, 0x80000000, 0],
  [0x7fff, 0x80000000, 0],
  [0x7fff, 0xc0000000, 0],
  [0x7fff, 0xc0000000, 5],
  [0x7fff, 0x80000000, 7],
  [0x7fff, 0xa0000000, 0],
  [0x7fff, 0, 0],
  [0x7fff, 0x40000000, 1],
  [0x3fff, 0x40000000, 1],
  [0, 0, 1],
  [0, 0x7fffffff, 0xffffffff],
  [0, 0x80000000, 0],
  [0, 0xc0000000, 1],
  [1, 0x80000000, 0],
  [1, 0x80000000, 1],
  [0x7ffe, 0xffffffff, 0xffffffff],
  [0x7ffe, 0x80000000, 0],
  [0x403e, 0x80000000, 0],
  [0x403d, 0xffffffff, 0xffffffff],
  [0x401e, 0x80000000, 0],
  [0x401d, 0xffffffff, 0],
  [0x400e, 0x80000000, 0],
  [0x400d, 0xffff0000, 0],
  [0x403a, 0xde0b6b3a, 0x763fffff],
];

/** Writes a number at `at`: special, of about 1, of any exponent, or with few bits. */
function writeNumber(r: Random, view: DataView, at: number, near: boolean): void {
  let [se, hi, lo] = r.pick(SPECIAL);
  const kind = r.below(8);
  if (near || kind >= 2) {
    hi = r.next() | 0x80000000;
    lo = r.next();
    if (kind === 3) lo = 0;
    if (kind === 4) {
      hi &= 0xffffff00;
      lo = 0;
    }
    if (near || kind === 5) se = 0x3fff - r.below(70);
    else if (kind === 6) se = 0x3fff + r.below(70) - 4;
    else if (kind === 7) se = r.below(0x7ffe) + 1;
    else se = 0x3fff + r.below(9) - 4;
  }
  view.setUint16(at + 8, se | (r.below(2) << 15), true);
  view.setUint32(at + 4, hi >>> 0, true);
  view.setUint32(at, lo >>> 0, true);
}

interface Options {
  /** All ones: exceptions may be unmasked. */
  readonly unmasked?: boolean;
  /** Smaller operands, for functions with a limited range. */
  readonly near?: boolean;
  /** Bytes of memory operand that hold a float: 4, 8, 10; 0 for random bits. */
  readonly float?: number;
}

function makeCases(r: Random, count: number, options: Options): Uint8Array {
  const bytes = new Uint8Array(count * CASE_BYTES);
  const view = new DataView(bytes.buffer);
  for (let n = 0; n < count; n++) {
    const p = n * CASE_BYTES;
    const masks = options.unmasked === true && r.below(2) === 0 ? r.below(64) : 0x3f;
    view.setUint16(p, (r.below(4) << 10) | (r.pick([0, 2, 3, 3]) << 8) | 0x40 | masks, true);
    view.setUint16(p + 2, (r.below(8) << 11) | (r.next() & 0x4700), true);
    const tags = r.below(4);
    view.setUint8(p + 4, tags === 0 ? r.below(256) : tags === 1 ? 0x7f : 0x3f);
    view.setUint8(
      p + 4,
      tags >= 2 ? fullFrom((view.getUint16(p + 2, true) >> 11) & 7, 4) : view.getUint8(p + 4),
    );
    for (let i = 0; i < 8; i++) writeNumber(r, view, p + 32 + i * 16, options.near === true);
    // Now and then equal operands.
    if (r.below(12) === 0) bytes.copyWithin(p + 48, p + 32, p + 42);
    view.setUint32(p + 24, 0x1f80, true);
    for (let i = 0; i < 64; i += 4) view.setInt32(p + CASE_MEMORY + i, r.next(), true);
    writeMemory(r, view, p + CASE_MEMORY, options.float ?? 0);
    for (let i = 0; i < 3; i++) view.setInt32(p + CASE_REGISTERS + i * 4, r.next(), true);
    view.setInt32(p + CASE_REGISTERS + 12, (r.next() & 0x8d5) | 0x202, true);
  }
  return bytes;
}

/** Abridged tags with ST(0) to ST(n − 1) in use. */
function fullFrom(top: number, n: number): number {
  let tags = 0;
  for (let i = 0; i < n; i++) tags |= 1 << ((top + i) & 7);
  return tags;
}

function writeMemory(r: Random, view: DataView, at: number, float: number): void {
  if (float === 10) writeNumber(r, view, at, false);
  else if (float === 4) {
    const exp = r.pick([0, 0, 0xff, 0x7f, 0x80, r.below(256)]);
    const fraction = r.pick([0, 0x400000, 1, r.next() & 0x7fffff, r.next() & 0x7fffff]);
    view.setInt32(at, (r.below(2) << 31) | (exp << 23) | fraction, true);
  } else if (float === 8) {
    const exp = r.pick([0, 0, 0x7ff, 0x3ff, 0x400, r.below(2048)]);
    const fraction = r.pick([0, 0x80000, 1, r.next() & 0xfffff, r.next() & 0xfffff]);
    view.setInt32(at + 4, (r.below(2) << 31) | (exp << 20) | fraction, true);
    view.setInt32(at, r.pick([0, 1, r.next(), r.next()]), true);
  } else if (float === 2) {
    const nibble = () => r.below(10);
    for (let i = 0; i < 9; i++) view.setUint8(at + i, nibble() | (nibble() << 4));
    view.setUint8(at + 9, r.below(2) << 7);
  }
}

function number(view: DataView, at: number): string {
  const hex = (v: number, digits: number) => v.toString(16).padStart(digits, '0');
  return `${hex(view.getUint16(at + 8, true), 4)}.${hex(view.getUint32(at + 4, true), 8)}${hex(view.getUint32(at, true), 8)}`;
}

/** What counts of a case, as text. */
function show(bytes: Uint8Array, p: number, statusMask: number, registers: boolean): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const st = Array.from({ length: 8 }, (_, i) => number(view, p + 32 + i * 16));
  const word = (v: number) => v.toString(16);
  const memory = Buffer.from(bytes.subarray(p + CASE_MEMORY, p + CASE_MEMORY + 16)).toString('hex');
  const head = `cw ${word(view.getUint16(p, true))} sw ${word(view.getUint16(p + 2, true) & statusMask)} tags ${word(bytes[p + 4]!)}`;
  const flags = word(view.getUint32(p + CASE_REGISTERS + 12, true) & 0x8d5);
  return `${head} mem ${memory} eax ${word(view.getUint32(p + CASE_REGISTERS, true))} fl ${flags} st ${registers ? st.join(' ') : ''}`;
}

/** Distance of two numbers' significands in units of the last place; Infinity if they differ otherwise. */
function ulps(a: DataView, b: DataView, at: number): number {
  const value = (v: DataView) =>
    (BigInt(v.getUint16(at + 8, true) & 0x7fff) << 63n) + (v.getBigUint64(at, true) & 0x7fffffffffffffffn);
  if ((a.getUint16(at + 8, true) ^ b.getUint16(at + 8, true)) & 0x8000) return Infinity;
  const d = value(a) - value(b);
  return Number(d < 0n ? -d : d);
}

function bytesOf(hex: string): Uint8Array {
  return new Uint8Array(Buffer.from(hex.replaceAll(' ', ''), 'hex'));
}

describe.skipIf(!hostCpuAvailable())('x87 against the host (needs gcc on x86-64)', () => {
  let host: HostCpu;
  let guest: GuestCases;
  let compiled: GuestCases;
  beforeAll(() => {
    host = new HostCpu();
    guest = new GuestCases();
    compiled = new GuestCases(true);
  });
  afterAll(() => host.close());
  afterAll(() => expect(compiled.cpu.jit.statistics.compiled).toBeGreaterThan(0));

  /** `instructions`: how many `hex` holds. */
  function compare(
    hex: string,
    options: Options,
    statusMask = 0xffff,
    tolerance = 0,
    instructions = 1,
  ): void {
    const r = new Random(parseInt(hex.slice(0, 8), 16) * 7919 + hex.length);
    const cases = makeCases(r, CASES, options);
    const code = bytesOf(hex);
    const theirs = host.run(code, cases);
    const ours = guest.run(code, cases, instructions);
    expect(differences(cases, theirs, ours, statusMask, tolerance).join('\n')).toBe('');
    // Pointers too: in both tiers all is the same.
    const again = compiled.run(code, cases, instructions);
    const first = again.findIndex((byte, i) => byte !== ours[i]);
    if (first < 0) return;
    const p = first - (first % CASE_BYTES);
    const lines = [cases, ours, again].map((bytes) => show(bytes, p, 0xffff, true));
    expect.fail(`compiled differs at ${first % CASE_BYTES}\n${lines.join('\n')}`);
  }

  function differences(
    cases: Uint8Array,
    theirs: Uint8Array,
    ours: Uint8Array,
    statusMask: number,
    tolerance: number,
  ): string[] {
    const wrong: string[] = [];
    const viewTheirs = new DataView(theirs.buffer, theirs.byteOffset, theirs.length);
    const viewOurs = new DataView(ours.buffer, ours.byteOffset, ours.length);
    for (let p = 0; p < cases.length && wrong.length < 5; p += CASE_BYTES) {
      let same = show(theirs, p, statusMask, tolerance === 0) === show(ours, p, statusMask, tolerance === 0);
      if (tolerance !== 0) {
        for (let i = 0; i < 8; i++) if (ulps(viewTheirs, viewOurs, p + 32 + i * 16) > tolerance) same = false;
      }
      if (same) continue;
      wrong.push(
        `\nin   ${show(cases, p, 0xffff, true)}\nhost ${show(theirs, p, 0xffff, true)}\nours ${show(ours, p, 0xffff, true)}`,
      );
    }
    return wrong;
  }

  const REGISTER: Readonly<Record<string, string>> = {
    fadd: 'd8c1',
    fmul: 'd8c9',
    fcom: 'd8d1',
    fcomp: 'd8d9',
    fsub: 'd8e1',
    fsubr: 'd8e9',
    fdiv: 'd8f1',
    fdivr: 'd8f9',
    'fadd to': 'dcc1',
    'fsubr to': 'dce1',
    'fsub to': 'dce9',
    'fdivr to': 'dcf1',
    'fdiv to': 'dcf9',
    'fmul to': 'dcc9',
    faddp: 'dec1',
    fmulp: 'dec9',
    fsubrp: 'dee1',
    fsubp: 'dee9',
    fdivrp: 'def1',
    fdivp: 'def9',
    fcompp: 'ded9',
    fld: 'd9c2',
    'fld st0': 'd9c0',
    fxch: 'd9c9',
    fst: 'ddd1',
    fstp: 'ddd9',
    'fstp st0': 'ddd8',
    ffree: 'ddc1',
    ffreep: 'dfc1',
    fucom: 'dde1',
    fucomp: 'dde9',
    fucompp: 'dae9',
    fucomi: 'dbe9',
    fcomi: 'dbf1',
    fucomip: 'dfe9',
    fcomip: 'dff1',
    fcmovb: 'dac1',
    fcmove: 'dac9',
    fcmovbe: 'dad1',
    fcmovu: 'dad9',
    fcmovnb: 'dbc1',
    fcmovne: 'dbc9',
    fcmovnbe: 'dbd1',
    fcmovnu: 'dbd9',
    fchs: 'd9e0',
    fabs: 'd9e1',
    ftst: 'd9e4',
    fxam: 'd9e5',
    fld1: 'd9e8',
    fldl2t: 'd9e9',
    fldl2e: 'd9ea',
    fldpi: 'd9eb',
    fldlg2: 'd9ec',
    fldln2: 'd9ed',
    fldz: 'd9ee',
    fxtract: 'd9f4',
    fdecstp: 'd9f6',
    fincstp: 'd9f7',
    fsqrt: 'd9fa',
    frndint: 'd9fc',
    fscale: 'd9fd',
    fninit: 'dbe3',
    fnclex: 'dbe2',
    'fnstsw ax': 'dfe0',
    fnop: 'd9d0',
  };
  for (const [name, hex] of Object.entries(REGISTER)) {
    it(`${name} (${hex})`, () => compare(hex, { unmasked: true }));
  }

  const MEMORY: Readonly<Record<string, readonly [string, number]>> = {
    'fadd m32': ['d807', 4],
    'fmul m32': ['d80f', 4],
    'fcom m32': ['d817', 4],
    'fcomp m32': ['d81f', 4],
    'fsub m32': ['d827', 4],
    'fsubr m32': ['d82f', 4],
    'fdiv m32': ['d837', 4],
    'fdivr m32': ['d83f', 4],
    'fadd m64': ['dc07', 8],
    'fmul m64': ['dc0f', 8],
    'fcomp m64': ['dc1f', 8],
    'fsubr m64': ['dc2f', 8],
    'fdivr m64': ['dc3f', 8],
    'fiadd m32': ['da07', 0],
    'ficom m32': ['da17', 0],
    'fidivr m32': ['da3f', 0],
    'fiadd m16': ['de07', 0],
    'ficomp m16': ['de1f', 0],
    'fisub m16': ['de27', 0],
    'fld m32': ['d907', 4],
    'fld m64': ['dd07', 8],
    'fld m80': ['db2f', 10],
    'fild m16': ['df07', 0],
    'fild m32': ['db07', 0],
    'fild m64': ['df2f', 0],
    fbld: ['df27', 2],
    'fst m32': ['d917', 0],
    'fstp m32': ['d91f', 0],
    'fst m64': ['dd17', 0],
    'fstp m64': ['dd1f', 0],
    'fstp m80': ['db3f', 0],
    'fist m16': ['df17', 0],
    'fistp m16': ['df1f', 0],
    'fist m32': ['db17', 0],
    'fistp m32': ['db1f', 0],
    'fistp m64': ['df3f', 0],
    fnstenv: ['d937', 0],
    'fnstenv 16-bit': ['66d937', 0],
    fldenv: ['d927', 0],
    'fldenv 16-bit': ['66d927', 0],
    fbstp: ['df37', 0],
    fnstcw: ['d93f', 0],
    fnstsw: ['dd3f', 0],
  };
  for (const [name, [hex, float]] of Object.entries(MEMORY)) {
    it(`${name} (${hex})`, () => compare(hex, { unmasked: true, float }));
  }

  // Sequences: a unit knows more of the stack behind the first instruction.
  const SEQUENCE = [
    ...Object.entries(REGISTER)
      .filter(([name]) => !/^(fninit|fnclex)$/.test(name))
      .map(([, hex]) => hex),
    ...['d807', 'dc4f08', 'da5708', 'df07', 'dd4708', 'd907', 'db2f', 'd95f10', 'dd5f18', 'db7f20'],
    ...['df5f28', 'df7f30', 'dd17', 'd97f34', 'dd7f36', '0fefc9', '0f77'],
  ];
  for (let n = 0; n < 24; n++) {
    it(`sequence ${n}`, () => {
      const r = new Random(n * 7919 + 5);
      const instructions = Array.from({ length: 3 + r.below(10) }, () => r.pick(SEQUENCE));
      compare(instructions.join(''), { float: 8 }, 0xffff, 0, instructions.length);
    });
  }

  // How far an incomplete reduction goes is the implementation's choice: only operands that complete at once.
  for (const [name, hex] of Object.entries({ fprem: 'd9f8', fprem1: 'd9f5' })) {
    it(`${name} (${hex})`, () => compare(hex, { unmasked: true, near: true }));
  }

  // C1, the last place and thus UE next to the least normal number are the implementation's.
  const FUNCTIONS: Readonly<Record<string, string>> = {
    f2xm1: 'd9f0',
    fyl2x: 'd9f1',
    fptan: 'd9f2',
    fpatan: 'd9f3',
    fyl2xp1: 'd9f9',
    fsincos: 'd9fb',
    fsin: 'd9fe',
    fcos: 'd9ff',
  };
  for (const [name, hex] of Object.entries(FUNCTIONS)) {
    it(`${name} (${hex}), small operands`, () => compare(hex, { near: true }, 0xfdef, 1));
    it(`${name} (${hex}), any operands`, () => compare(hex, {}, 0xfdef, 1));
  }
});
