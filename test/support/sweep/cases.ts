/** The cases of the protected-mode sweep, by group. */
import type { Case, Poke } from './image.ts';
import * as I from './image.ts';

const hex = (n: number): string => n.toString(16);
const le16 = (n: number): number[] => [n & 0xff, (n >> 8) & 0xff];
const le32 = (n: number): number[] => [...le16(n & 0xffff), ...le16((n >>> 16) & 0xffff)];

/** Pairs of CPL and RPL that a sweep goes through. */
const LEVELS: readonly (readonly [cpl: number, rpl: number])[] = [
  [0, 0],
  [0, 3],
  [1, 1],
  [2, 3],
  [3, 3],
  [3, 0],
];

/** A descriptor of every type, DPL and present bit at `address`: system types lead to something that works. */
function descriptorOf(address: number, access: number): Poke[] {
  const type = access & 15;
  if ((access & 0x10) !== 0) return I.descriptor(address, 0, 0xfffff, access, 0xc);
  switch (type) {
    case 4:
    case 6:
    case 7:
      return I.gate(address, I.CODE0, I.LANDING, access);
    case 12:
    case 14:
    case 15:
      return I.gate(address, I.CODE0, I.LANDING, access);
    case 5:
      return I.gate(address, I.TSS32_SELECTOR, 0, access);
    case 1:
    case 3:
      return I.descriptor(address, I.TSS16, 0x2b, access);
    case 9:
    case 11:
      return I.descriptor(address, I.TSS32, 0x67, access);
    default:
      return I.descriptor(address, I.LDT, 0xff, access);
  }
}

/** All access bytes. */
const ACCESS = Array.from({ length: 256 }, (_, i) => i);

type Maker = (selector: number, cpl: number, access: number) => Partial<Case> & { code: readonly number[] };

function everyDescriptor(
  name: string,
  make: Maker,
  levels = LEVELS,
  accesses: readonly number[] = ACCESS,
): Case[] {
  return levels.flatMap(([cpl, rpl]) =>
    accesses.map((access) => {
      const selector = I.FREE | rpl;
      const made = make(selector, cpl, access);
      return {
        name: `${name} access ${hex(access)} cpl ${cpl} rpl ${rpl}`,
        cpl,
        ...made,
        pokes: [...descriptorOf(I.GDT + I.FREE, access), ...(made.pokes ?? [])],
      };
    }),
  );
}

const stackFrame = (cpl: number, values: readonly number[]): { pokes: Poke[]; esp: number } => {
  const esp = (cpl === 0 ? I.STACK0 : I.STACK3) - values.length * 4;
  return { esp, pokes: values.map((v, i): Poke => [esp + i * 4, v >>> 0]) };
};

/** LAR, LSL, VERR, VERW in one. */
export function queries(): Case[] {
  const levels = [0, 1, 2, 3].flatMap((cpl) => [0, 1, 2, 3].map((rpl) => [cpl, rpl] as const));
  // lar edx,ax; setz bl; lsl esi,ax; setz bh; verr ax; setz cl; verw ax; setz ch
  const code = [0x0f, 0x02, 0xd0, 0x0f, 0x94, 0xc3, 0x0f, 0x03, 0xf0, 0x0f, 0x94, 0xc7];
  code.push(0x0f, 0x00, 0xe0, 0x0f, 0x94, 0xc1, 0x0f, 0x00, 0xe8, 0x0f, 0x94, 0xc5);
  return everyDescriptor('lar lsl verr verw', (selector) => ({ code, regs: { eax: selector } }), levels);
}

export function dataLoads(): Case[] {
  return [
    ...everyDescriptor('mov ds', (selector) => ({ code: [0x8e, 0xd8], regs: { eax: selector } })),
    ...everyDescriptor('mov ss', (selector) => ({ code: [0x8e, 0xd0], regs: { eax: selector } })),
    ...everyDescriptor(
      'lfs',
      (selector) => ({
        code: [0x0f, 0xb4, 0x05, ...le32(I.DATA)],
        pokes: [
          [I.DATA, 0x1234],
          [I.DATA + 4, selector],
        ],
      }),
      [
        [0, 0],
        [3, 3],
      ],
    ),
    ...everyDescriptor(
      'pop gs',
      (selector, cpl) => ({ code: [0x0f, 0xa9], ...stackFrame(cpl, [selector, 1]) }),
      [
        [0, 0],
        [3, 3],
      ],
    ),
  ];
}

export function farTransfers(): Case[] {
  return [
    ...everyDescriptor('jmp far', (s) => ({ code: [0xea, ...le32(I.LANDING + 4), ...le16(s)] })),
    ...everyDescriptor('call far', (s) => ({ code: [0x9a, ...le32(I.LANDING + 4), ...le16(s)] })),
    ...everyDescriptor('call far 16', (s) => ({ code: [0x66, 0x9a, ...le16(I.LANDING + 4), ...le16(s)] }), [
      [0, 0],
      [3, 3],
    ]),
  ];
}

export function farReturns(): Case[] {
  const target = I.LANDING + 8;
  return [
    ...everyDescriptor('retf', (s, cpl) => ({
      code: [0xcb],
      ...stackFrame(cpl, [target, s, I.STACK3, I.dataSelector(s & 3)]),
    })),
    ...everyDescriptor('iret', (s, cpl) => ({
      code: [0xcf],
      ...stackFrame(cpl, [target, s, 0x3ed7, I.STACK3, I.dataSelector(s & 3)]),
    })),
    ...everyDescriptor(
      'retf ss',
      (s) => ({ code: [0xca, 8, 0], ...stackFrame(0, [target, I.CODE3 | 3, 1, 2, I.STACK3 - 8, s, 0, 0]) }),
      [
        [0, 3],
        [0, 0],
      ],
    ),
    ...everyDescriptor(
      'iret ss',
      (s) => ({ code: [0xcf], ...stackFrame(0, [target, I.CODE3 | 3, 0x4202, I.STACK3, s]) }),
      [
        [0, 3],
        [0, 1],
      ],
    ),
  ];
}

export function systemSelectors(): Case[] {
  const levels = [
    [0, 0],
    [0, 3],
    [1, 0],
    [3, 3],
  ] as const;
  return [
    ...everyDescriptor('lldt', (s) => ({ code: [0x0f, 0x00, 0xd0], regs: { eax: s } }), levels),
    ...everyDescriptor('ltr', (s) => ({ code: [0x0f, 0x00, 0xd8], regs: { eax: s } }), levels),
    ...[0, 1, 4, 7, 0x87, 0x3f8, 0x400, 0xfff8].flatMap((s): Case[] => [
      { name: `lldt ${hex(s)}`, code: [0x0f, 0x00, 0xd0], regs: { eax: s } },
      { name: `ltr ${hex(s)}`, code: [0x0f, 0x00, 0xd8], regs: { eax: s } },
      { name: `mov es ${hex(s)}`, code: [0x8e, 0xc0], regs: { eax: s } },
      { name: `mov ss ${hex(s)}`, code: [0x8e, 0xd0], regs: { eax: s } },
      { name: `mov ss ${hex(s)} cpl 3`, cpl: 3, code: [0x8e, 0xd0], regs: { eax: s } },
      { name: `jmp ${hex(s)}`, code: [0xea, ...le32(0), ...le16(s)] },
      { name: `call ${hex(s)}`, code: [0x9a, ...le32(0), ...le16(s)] },
      { name: `retf ${hex(s)}`, code: [0xcb], ...stackFrame(0, [0, s]) },
      { name: `iret ${hex(s)}`, code: [0xcf], ...stackFrame(0, [0, s, 2]) },
      { name: `lar ${hex(s)}`, code: [0x0f, 0x02, 0xc0, 0x9c, 0x5b], regs: { eax: s } },
    ]),
    ...[0, 4, 0x0c, 0xfc, 0x104].map(
      (s): Case => ({
        name: `mov es ldt ${hex(s)}`,
        ldt: I.LDT_SELECTOR,
        pokes: [...I.descriptor(I.LDT, 0, 0xf, 0x92), ...I.descriptor(I.LDT + 8, 0, 0xf, 0x12)],
        code: [0x8e, 0xc0],
        regs: { eax: s },
      }),
    ),
  ];
}

/** Code segments for gates: base 0, access as given. */
const codeAt = (slot: number, access: number): Poke[] => I.descriptor(I.GDT + slot, 0, 0xfffff, access, 0xc);

export function callGates(): Case[] {
  const cases: Case[] = [];
  const G = I.FREE;
  const T = I.FREE + 8;
  for (const jump of [false, true])
    for (const type of [4, 12])
      for (const cpl of [0, 1, 2, 3])
        for (const gateDpl of [0, 2, 3])
          for (const rpl of [0, 3])
            for (const dpl of [0, 1, 2, 3])
              for (const access of [0x9a, 0x9e, 0x1a, 0x92, 0x82]) {
                if (access === 0x1a && (dpl & 1) !== 0) continue;
                cases.push({
                  name: `${jump ? 'jmp' : 'call'} gate type ${type} cpl ${cpl} gate dpl ${gateDpl} rpl ${rpl} code ${hex(access)} dpl ${dpl}`,
                  cpl,
                  code: [jump ? 0xea : 0x9a, 1, 2, 3, 4, ...le16(G | rpl)],
                  pokes: [
                    ...I.gate(I.GDT + G, T | (dpl & 2), I.LANDING + 12, 0x80 | type | (gateDpl << 5), 2),
                    ...codeAt(T, access | (dpl << 5)),
                    [(cpl === 0 ? I.STACK0 : I.STACK3) - 8, 0x11223344],
                    [(cpl === 0 ? I.STACK0 : I.STACK3) - 4, 0x55667788],
                  ],
                  esp: (cpl === 0 ? I.STACK0 : I.STACK3) - 8,
                });
              }
  return cases;
}

/** What can be wrong with the inner stack. */
function stackTroubles(): { name: string; pokes: Poke[] }[] {
  const S = I.FREE + 0x10;
  const ss = (
    name: string,
    selector: number,
    access: number,
    limit = 0xfffff,
    flags = 0xc,
    esp = I.INNER1,
  ) => ({
    name,
    pokes: [
      ...I.descriptor(I.GDT + S, 0, limit, access, flags),
      [I.TSS0 + 12, esp],
      [I.TSS0 + 16, selector],
    ] as Poke[],
  });
  return [
    { name: 'good', pokes: [] },
    ss('null', 0, 0x92),
    ss('null rpl', 3, 0x92),
    ss('outside', 0x3f9 | 0x4000, 0x92),
    ss('ldt', S | 5, 0xb2),
    ss('rpl 0', S, 0xb2),
    ss('dpl 0', S | 1, 0x92),
    ss('dpl 2', S | 1, 0xd2),
    ss('read only', S | 1, 0xb0),
    ss('code', S | 1, 0xba),
    ss('system', S | 1, 0xa2),
    ss('absent', S | 1, 0x32),
    ss('expand down', S | 1, 0xb6, 0x7, 0xc),
    ss('expand down, no room', S | 1, 0xb6, 0xffff, 0x4),
    ss('no room', S | 1, 0xb2, 0xabf0 - 1, 0x4),
    ss('little room', S | 1, 0xb2, 0xabff, 0x4, 0xc),
    ss('16 bit', S | 1, 0xb2, 0xffff, 0, 0x7700ac00),
    ss('16 bit wraps', S | 1, 0xb2, 0xffff, 0, 4),
    ss('not accessed', S | 1, 0xb2),
    { name: 'tss too small', pokes: I.descriptor(I.GDT + I.TSS0_SELECTOR, I.TSS0, 0x10, 0x89) },
    { name: 'tss just too small', pokes: I.descriptor(I.GDT + I.TSS0_SELECTOR, I.TSS0, 0x11, 0x8b) },
  ];
}

export function innerStacks(): Case[] {
  const G = I.FREE;
  const T = I.FREE + 8;
  return stackTroubles().flatMap(({ name, pokes }) =>
    [4, 12, 6, 14].map((type): Case => {
      const isCall = type === 4 || type === 12;
      const access = 0x80 | type | 0x60;
      return {
        name: `inner stack ${name}, gate ${type}`,
        cpl: 3,
        code: isCall ? [0x9a, 0, 0, 0, 0, ...le16(G | 3)] : [0xcd, 0x60],
        pokes: [
          ...(isCall
            ? I.gate(I.GDT + G, T, I.LANDING + 12, access, 1)
            : I.gate(I.IDT + 0x60 * 8, T, I.LANDING + 12, access)),
          ...codeAt(T, 0xba),
          ...pokes,
        ],
        esp: I.STACK3 - 16,
      };
    }),
  );
}

export function interruptGates(): Case[] {
  const cases: Case[] = [];
  const T = I.FREE + 8;
  // Every type of entry, by INT n, INT3, an exception without and one with an error code.
  for (const cpl of [0, 2, 3])
    for (let access = 0; access < 256; access++) {
      const entry = (v: number): Poke[] =>
        (access & 0x1f) === 5
          ? I.gate(I.IDT + v * 8, I.TSS32_SELECTOR, 0, access)
          : I.gate(I.IDT + v * 8, I.CODE0, I.LANDING + 16, access);
      cases.push({
        name: `int 60 entry ${hex(access)} cpl ${cpl}`,
        cpl,
        code: [0xcd, 0x60],
        pokes: entry(0x60),
      });
      if ((access & 0x1f) > 15 || (access & 0x60) === 0x20) continue;
      cases.push({ name: `int3 entry ${hex(access)} cpl ${cpl}`, cpl, code: [0xcc], pokes: entry(3) });
      cases.push({ name: `ud entry ${hex(access)} cpl ${cpl}`, cpl, code: [0x0f, 0x0b], pokes: entry(6) });
      cases.push({
        name: `gp entry ${hex(access)} cpl ${cpl}`,
        cpl,
        code: [0xcd, 0x61],
        pokes: [...entry(13), ...I.gate(I.IDT + 0x61 * 8, 0, 0, 0)],
      });
      cases.push({ name: `int1 entry ${hex(access)} cpl ${cpl}`, cpl, code: [0xf1], pokes: entry(1) });
    }
  for (const soft of [true, false])
    for (const type of [6, 7, 14, 15])
      for (const cpl of [0, 1, 3])
        for (const dpl of [0, 1, 2, 3])
          for (const access of [0x9a, 0x9e, 0x1a, 0x92, 0x82, 0x98])
            for (const rpl of [0, 3]) {
              const v = soft ? 0x60 : 6;
              cases.push({
                name: `${soft ? 'int' : 'ud'} gate ${type} cpl ${cpl} code ${hex(access)} dpl ${dpl} rpl ${rpl}`,
                cpl,
                code: soft ? [0xcd, 0x60] : [0x0f, 0x0b],
                pokes: [
                  ...I.gate(I.IDT + v * 8, T | rpl, I.LANDING + 16, 0xe0 | type),
                  ...codeAt(T, access | (dpl << 5)),
                ],
                eflags: 0x4000,
              });
            }
  for (const selector of [0, 3, 4, 0x400, 0x84])
    cases.push({
      name: `int selector ${hex(selector)}`,
      code: [0xcd, 0x60],
      pokes: I.gate(I.IDT + 0x60 * 8, selector, 0, 0xee),
    });
  cases.push({
    name: 'int offset beyond limit',
    code: [0xcd, 0x60],
    pokes: [...I.gate(I.IDT + 0x60 * 8, T, 0x2000, 0xee), ...I.descriptor(I.GDT + T, 0, 0x1fff, 0x9a, 4)],
  });
  return cases;
}

/** Changes to the TSS switched to. */
function taskTroubles(): { name: string; pokes: Poke[] }[] {
  const S = I.FREE + 0x20;
  const troubles: { name: string; pokes: Poke[] }[] = [{ name: 'good', pokes: [] }];
  const field = (name: string, offset: number, selector: number, access: number): void => {
    troubles.push({
      name: `${name} ${hex(selector)} access ${hex(access)}`,
      pokes: [[I.TSS32 + offset, selector], ...I.descriptor(I.GDT + S, 0, 0xfffff, access, 0xc)],
    });
  };
  for (const access of [0x9a, 0x9e, 0x92, 0x1a, 0xba, 0xfa, 0xfe, 0x82, 0x98])
    for (const rpl of [0, 3]) field('cs', 0x4c, S | rpl, access);
  for (const access of [0x92, 0x90, 0x12, 0xb2, 0xf2, 0x9a, 0x96, 0x82])
    for (const rpl of [0, 3]) field('ss', 0x50, S | rpl, access);
  for (const access of [0x92, 0x90, 0x12, 0xf2, 0x9a, 0x98, 0x9c, 0x1e, 0x82])
    for (const [name, offset] of [
      ['ds', 0x54],
      ['es', 0x48],
      ['gs', 0x5c],
    ] as const)
      field(name, offset, S | 1, access);
  for (const access of [0x82, 0x02, 0x92, 0x89, 0xe2]) field('ldt', 0x60, S, access);
  for (const selector of [0, 3, 4, 0x404]) {
    field('cs', 0x4c, selector, 0x9a);
    field('ss', 0x50, selector, 0x92);
    field('ds', 0x54, selector, 0x92);
    field('ldt', 0x60, selector, 0x82);
  }
  troubles.push(
    { name: 'limit 66', pokes: I.descriptor(I.GDT + I.TSS32_SELECTOR, I.TSS32, 0x66, 0x89) },
    { name: 'limit 2b', pokes: I.descriptor(I.GDT + I.TSS32_SELECTOR, I.TSS32, 0x2b, 0x89) },
    { name: 'as 16', pokes: I.descriptor(I.GDT + I.TSS32_SELECTOR, I.TSS32, 0x67, 0x81) },
    { name: '16 limit 2a', pokes: I.descriptor(I.GDT + I.TSS32_SELECTOR, I.TSS16, 0x2a, 0x81) },
    { name: '16', pokes: I.descriptor(I.GDT + I.TSS32_SELECTOR, I.TSS16, 0x2b, 0x81) },
    { name: 'busy', pokes: I.descriptor(I.GDT + I.TSS32_SELECTOR, I.TSS32, 0x67, 0x8b) },
    { name: 'absent', pokes: I.descriptor(I.GDT + I.TSS32_SELECTOR, I.TSS32, 0x67, 0x09) },
    {
      name: 'eip beyond',
      pokes: [[I.TSS32 + 0x20, 0x3000], ...I.descriptor(I.GDT + S, 0, 0x2fff, 0x9a, 4), [I.TSS32 + 0x4c, S]],
    },
    { name: 'flags', pokes: [[I.TSS32 + 0x24, 0x3ed7 | 0x240000]] },
    {
      name: 'v86',
      pokes: [
        [I.TSS32 + 0x24, 0x23002],
        [I.TSS32 + 0x4c, I.CODE >> 4],
        [I.TSS32 + 0x20, I.LANDING + 32 - I.CODE],
        [I.TSS32 + 0x50, 0xb00],
        [I.TSS32 + 0x38, 0x500],
      ],
    },
    {
      name: 'cpl 3',
      pokes: [
        [I.TSS32 + 0x4c, I.CODE3 | 3],
        [I.TSS32 + 0x50, I.DATA3 | 3],
      ],
    },
  );
  return troubles;
}

export function tasks(): Case[] {
  const G = I.FREE;
  const by: { name: string; code: readonly number[]; pokes: Poke[]; eflags?: number }[] = [
    { name: 'jmp tss', code: [0xea, 0, 0, 0, 0, ...le16(I.TSS32_SELECTOR)], pokes: [] },
    { name: 'call tss', code: [0x9a, 0, 0, 0, 0, ...le16(I.TSS32_SELECTOR)], pokes: [] },
    {
      name: 'jmp task gate',
      code: [0xea, 0, 0, 0, 0, ...le16(G)],
      pokes: I.gate(I.GDT + G, I.TSS32_SELECTOR, 0, 0x85),
    },
    {
      name: 'call task gate',
      code: [0x9a, 0, 0, 0, 0, ...le16(G)],
      pokes: I.gate(I.GDT + G, I.TSS32_SELECTOR, 0, 0x85),
    },
    { name: 'int task gate', code: [0xcd, 0x60], pokes: I.gate(I.IDT + 0x60 * 8, I.TSS32_SELECTOR, 0, 0x85) },
    { name: 'ud task gate', code: [0x0f, 0x0b], pokes: I.gate(I.IDT + 6 * 8, I.TSS32_SELECTOR, 0, 0x85) },
    {
      name: 'gp task gate',
      code: [0xcd, 0x61],
      pokes: [...I.gate(I.IDT + 13 * 8, I.TSS32_SELECTOR, 0, 0x85), ...I.gate(I.IDT + 0x61 * 8, 0, 0, 0)],
    },
    {
      name: 'iret',
      code: [0xcf],
      pokes: [
        [I.TSS0, I.TSS32_SELECTOR],
        [I.GDT + I.TSS32_SELECTOR + 4, 0x8b00],
      ],
      eflags: 0x4000,
    },
  ];
  const cases = by.flatMap((way) =>
    taskTroubles().map(({ name, pokes }): Case => {
      // IRET wants the task busy.
      const fixed =
        way.name === 'iret'
          ? pokes.map(([a, v]): Poke => (a === I.GDT + I.TSS32_SELECTOR + 4 ? [a, v ^ 0x200] : [a, v]))
          : pokes;
      return {
        name: `${way.name}: ${name}`,
        code: way.code,
        pokes: [...way.pokes, ...fixed],
        ...(way.eflags === undefined ? {} : { eflags: way.eflags }),
      };
    }),
  );
  for (const selector of [0, 3, 4, 0x2c, 0x404, 0x400, 0x10, 0x20, I.TSS16_SELECTOR])
    for (const way of by) {
      const pokes = way.pokes.map(
        ([a, v]): Poke =>
          v >>> 16 === I.TSS32_SELECTOR
            ? [a, (v & 0xffff) | (selector << 16)]
            : v === I.TSS32_SELECTOR
              ? [a, selector]
              : [a, v],
      );
      const code = way.code.map((b) => b);
      cases.push({
        name: `${way.name} selector ${hex(selector)}`,
        code,
        pokes,
        ...(way.eflags === undefined ? {} : { eflags: way.eflags }),
      });
    }
  for (const cpl of [1, 3]) {
    for (const way of by)
      cases.push({
        name: `${way.name} cpl ${cpl}`,
        cpl,
        code: way.code,
        pokes: way.pokes,
        ...(way.eflags === undefined ? {} : { eflags: way.eflags }),
      });
    for (const dpl of [0, 2, 3]) {
      cases.push({
        name: `jmp tss dpl ${dpl} cpl ${cpl}`,
        cpl,
        code: [0xea, 0, 0, 0, 0, ...le16(I.TSS32_SELECTOR | 3)],
        pokes: I.descriptor(I.GDT + I.TSS32_SELECTOR, I.TSS32, 0x67, 0x89 | (dpl << 5)),
      });
      cases.push({
        name: `call task gate dpl ${dpl} cpl ${cpl}`,
        cpl,
        code: [0x9a, 0, 0, 0, 0, ...le16(G)],
        pokes: I.gate(I.GDT + G, I.TSS32_SELECTOR, 0, 0x85 | (dpl << 5)),
      });
    }
  }
  return cases;
}

const VM = 0x20000;
const IOPL3 = 0x3000;

/** Code in virtual-8086 mode at IOPL 0 and 3, with and without VME. */
function inV86(name: string, code: readonly number[], more: Partial<Case> = {}): Case[] {
  return [0, IOPL3].flatMap((iopl) =>
    [0, 1].map(
      (cr4): Case => ({
        name: `v86 ${name} iopl ${iopl >> 12} vme ${cr4}`,
        code,
        ...more,
        eflags: VM | iopl | (more.eflags ?? 0),
        cr4,
      }),
    ),
  );
}

/** Privileged and IOPL-sensitive instructions at every CPL and IOPL, with PVI, and in virtual-8086 mode. */
export function privileged(): Case[] {
  const eax: [string, number[], number][] = [
    ['cli', [0xfa, 0x9c], 0],
    ['sti', [0xfb, 0x9c, 0xfa], 0],
    ['hlt', [0xf4], 0],
    ['clts', [0x0f, 0x06], 0],
    ['invd', [0x0f, 0x08], 0],
    ['wbinvd', [0x0f, 0x09], 0],
    ['lmsw', [0x0f, 0x01, 0xf0], 0x000f],
    ['smsw', [0x0f, 0x01, 0xe0], 0],
    ['smsw 16', [0x66, 0x0f, 0x01, 0xe0], 0],
    ['mov eax,cr0', [0x0f, 0x20, 0xc0], 0],
    ['mov eax,cr1', [0x0f, 0x20, 0xc8], 0],
    ['mov eax,cr2', [0x0f, 0x20, 0xd0], 0],
    ['mov eax,cr3', [0x0f, 0x20, 0xd8], 0],
    ['mov eax,cr4', [0x0f, 0x20, 0xe0], 0],
    ['mov eax,cr5', [0x0f, 0x20, 0xe8], 0],
    ['mov cr0,eax', [0x0f, 0x22, 0xc0], 0x13],
    ['mov cr0 PG without PE', [0x0f, 0x22, 0xc0], 0x80000010],
    ['mov cr0 NW without CD', [0x0f, 0x22, 0xc0], 0x20000011],
    ['mov cr4 reserved', [0x0f, 0x22, 0xe0], 0x80000000],
    ['mov cr4', [0x0f, 0x22, 0xe0, 0x0f, 0x20, 0xe1], 0x10],
    ['mov cr2 mod 0', [0x0f, 0x22, 0x15], 0x55],
    ['mov cr2 mod 1', [0x0f, 0x22, 0x50], 0x55],
    ['mov eax,cr0 mod 2 sib', [0x0f, 0x20, 0x84], 0x55],
    ['mov dr0,eax', [0x0f, 0x23, 0xc0, 0x0f, 0x21, 0xc1], 0x1234],
    ['mov dr6,eax', [0x0f, 0x23, 0xf0, 0x0f, 0x21, 0xf1], 0xffffffff],
    ['mov dr4,eax', [0x0f, 0x23, 0xe0, 0x0f, 0x21, 0xe1], 0],
    ['mov dr7,eax', [0x0f, 0x23, 0xf8, 0x0f, 0x21, 0xf9], 0x0000f055],
    ['mov dr7 GD', [0x0f, 0x23, 0xf8, 0x90, 0x0f, 0x21, 0xf9], 0x2000],
    ['lgdt', [0x0f, 0x01, 0x15, ...le32(I.DATA)], 0],
    ['lgdt reg', [0x0f, 0x01, 0xd0], 0],
    ['sgdt', [0x0f, 0x01, 0x05, ...le32(I.DATA), 0x8b, 0x15, ...le32(I.DATA + 2)], 0],
    ['sgdt 16', [0x66, 0x0f, 0x01, 0x05, ...le32(I.DATA), 0x8b, 0x15, ...le32(I.DATA + 2)], 0],
    ['sidt', [0x0f, 0x01, 0x0d, ...le32(I.DATA), 0x8b, 0x15, ...le32(I.DATA + 2)], 0],
    ['sidt reg', [0x0f, 0x01, 0xc8], 0],
    ['invlpg', [0x0f, 0x01, 0x38], 0],
    ['invlpg reg', [0x0f, 0x01, 0xf8], 0],
    ['sldt', [0x0f, 0x00, 0xc0], -1],
    ['sldt 16', [0x66, 0x0f, 0x00, 0xc0], -1],
    ['str', [0x0f, 0x00, 0xc8], -1],
    ['lldt', [0x0f, 0x00, 0xd0], I.LDT_SELECTOR],
    ['verr', [0x0f, 0x00, 0xe0, 0x9c, 0x5b], I.DATA0],
    ['lar', [0x0f, 0x02, 0xc0], I.DATA0],
    ['arpl', [0x63, 0xc8, 0x9c, 0x5b], 0x10],
    ['in al,imm', [0xe4, 0x28], 0],
    ['out imm,al', [0xe6, 0x80], 0],
    ['rsm', [0x0f, 0xaa], 0],
    ['ud2', [0x0f, 0x0b], 0],
    ['sysenter', [0x0f, 0x34], 0],
    ['sysexit', [0x0f, 0x35], 0],
    ['int1', [0xf1], 0],
    ['into', [0xce], 0],
    ['bound', [0x62, 0x05, ...le32(I.DATA)], 0],
    ['pushf', [0x9c, 0x5b], 0],
    ['pushf 16', [0x66, 0x9c, 0x5b], 0],
    ['popf', [0x9d, 0x9c, 0x5b], 0],
    ['popf 16', [0x66, 0x9d, 0x9c, 0x5b], 0],
    ['iret 16', [0x66, 0xcf], 0],
  ];
  const cases: Case[] = [];
  for (const [name, code, value] of eax) {
    // HLT at CPL 0 would end the sweep.
    for (const cpl of name === 'hlt' ? [1, 3] : [0, 1, 3])
      for (const iopl of [0, 1, 3])
        for (const [what, cr4] of [
          ['', 0],
          [' pvi', 2],
          [' de', 8],
        ] as const) {
          if (what === ' de' && !name.includes('dr')) continue;
          const more: Partial<Case> = /popf|iret/.test(name)
            ? stackFrame(cpl, [0x3ed7 | 0x200000, 0x3ed7, 0, 0])
            : {};
          cases.push({
            name: `${name} cpl ${cpl} iopl ${iopl}${what}`,
            cpl,
            code,
            regs: { eax: value },
            eflags: iopl << 12,
            cr4,
            pokes: [
              [I.DATA, 0x800003ff],
              [I.DATA + 4, 0],
            ],
            ...more,
          });
        }
    if (/dr|lgdt|sgdt|sidt|bound|iret 16/.test(name)) continue;
    const v86 = /popf/.test(name) ? { pokes: [[0xb400, 0x7cd5]] as Poke[] } : {};
    cases.push(...inV86(name, code, { regs: { eax: value }, ...v86 }));
  }
  return cases;
}

export function ports(): Case[] {
  const cases: Case[] = [];
  for (const cpl of [0, 3])
    for (const iopl of [0, 3])
      for (const port of [0x80, 0x2ff, 0x300, 0x307, 0x308, 0x30d, 0x30f, 0x310, 0x1ca8, 0x1cb0, 0xffff])
        for (const [name, code] of [
          ['in al', [0xec]],
          ['in ax', [0x66, 0xed]],
          ['in eax', [0xed]],
        ] as const) {
          cases.push({
            name: `${name} ${hex(port)} cpl ${cpl} iopl ${iopl}`,
            cpl,
            code: [...code, 0x31, 0xc0],
            regs: { edx: port },
            eflags: iopl << 12,
          });
          if (cpl === 0)
            cases.push({
              name: `v86 ${name} ${hex(port)} iopl ${iopl}`,
              code: [
                ...(code[0] === 0xec ? [0xec] : code.length === 2 ? [0xed] : [0x66, 0xed]),
                0x66,
                0x31,
                0xc0,
              ],
              regs: { edx: port },
              eflags: VM | (iopl << 12),
            });
        }
  return cases;
}

/** Accesses at the edges of segments of all kinds. */
export function limits(): Case[] {
  const cases: Case[] = [];
  const S = I.FREE;
  const kinds: [string, number, number, number, number[]][] = [
    ['up', 0x92, 0x1fff, 4, [0, 0x1ffc, 0x1ffd, 0x1ffe, 0x1fff, 0x2000, 0xffffffff, 0xfffffffd]],
    ['up G', 0x92, 1, 0xc, [0x1ffc, 0x1ffd, 0x1fff, 0x2000]],
    ['up 4G', 0x92, 0xfffff, 0xc, [0xfffc, 0xffff, 0x10000]],
    ['up 16', 0x92, 0xffff, 0, [0xfffc, 0xfffd, 0xfffe, 0xffff, 0x10000]],
    ['down', 0x96, 0x1fff, 4, [0, 0x1ffc, 0x1fff, 0x2000, 0x2001, 0xfffc, 0xffff, 0x10000]],
    ['down 16', 0x96, 0x1fff, 0, [0x1fff, 0x2000, 0xfffc, 0xfffd, 0xfffe, 0xffff, 0x10000]],
    ['down G', 0x96, 1, 0xc, [0x1ffe, 0x1fff, 0x2000, 0x2003]],
    ['down all', 0x96, 0xfffff, 0xc, [0, 0x2000]],
    ['read only', 0x90, 0x1fff, 4, [0, 0x1ffe, 0x2000]],
    ['code', 0x9a, 0x1fff, 4, [0, 0x1ffe, 0x2000]],
    ['code, not readable', 0x98, 0x1fff, 4, [0]],
  ];
  const ops: [string, number[]][] = [
    ['read 8', [0x8a, 0x08]],
    ['read 16', [0x66, 0x8b, 0x08]],
    ['read 32', [0x8b, 0x08]],
    ['write 8', [0x88, 0x08]],
    ['write 16', [0x66, 0x89, 0x08]],
    ['write 32', [0x89, 0x08]],
    ['add 32', [0x01, 0x08]],
    ['cmpxchg8b', [0x0f, 0xc7, 0x08]],
    ['fld 80', [0xdb, 0x28]],
  ];
  for (const [kind, access, limit, flags, offsets] of kinds)
    for (const [op, bytes] of ops)
      for (const offset of offsets) {
        const pokes = I.descriptor(I.GDT + S, I.DATA - 0x1000, limit, access, flags);
        if (access !== 0x98)
          cases.push({
            name: `${op} ${kind} at ${hex(offset)}`,
            code: [0x65, ...bytes],
            pokes,
            gs: S,
            regs: { eax: offset },
          });
        if ((access & 0xa) === 2 && !op.startsWith('f'))
          cases.push({
            name: `${op} ${kind} at ${hex(offset)} ss`,
            code: [0x8e, 0xd2, 0x36, ...bytes, 0x8c, 0xda, 0x66, 0xba, 0x10, 0, 0x8e, 0xd2],
            pokes: [...I.descriptor(I.GDT + S, 0, limit, access, flags)],
            regs: { eax: offset, edx: S },
            cs: I.CODE3 | 3,
            ss: I.DATA3 | 3,
          });
      }
  // Null and wrapped.
  for (const [op, bytes] of ops) {
    cases.push({ name: `${op} null`, code: [0x65, ...bytes], regs: { eax: 0 } });
    cases.push({ name: `${op} null rpl`, code: [0x65, ...bytes], gs: 3, regs: { eax: 0 } });
    for (const at of [0, 0x7ffc, 0xfffe, 0xffff])
      cases.push(
        ...inV86(
          `${op} at ${hex(at)}`,
          op.endsWith('32')
            ? [0x66, bytes[0]!, 0x0f]
            : op.endsWith('16')
              ? [bytes[1]!, 0x0f]
              : op.endsWith('80')
                ? [0xdb, 0x2f]
                : op.endsWith('8')
                  ? [bytes[0]!, 0x0f]
                  : [0x0f, 0xc7, 0x0f],
          { regs: { ebx: at } },
        ).slice(2, 3),
      );
  }
  return cases;
}

/** Stack operations where the stack ends or wraps. */
export function stacks(): Case[] {
  const S = I.FREE;
  const cases: Case[] = [];
  const ops: [string, number[]][] = [
    ['push', [0x50]],
    ['push 16', [0x66, 0x50]],
    ['pop', [0x5b]],
    ['pop 16', [0x66, 0x5b]],
    ['pusha', [0x60]],
    ['pusha 16', [0x66, 0x60]],
    ['popa', [0x61, 0x31, 0xc0]],
    ['popa 16', [0x66, 0x61]],
    ['call', [0xe8, 0, 0, 0, 0]],
    ['ret 4', [0xc2, 4, 0]],
    ['enter 0', [0xc8, 4, 0, 0]],
    ['enter 3', [0xc8, 8, 0, 3]],
    ['enter 3 16', [0x66, 0xc8, 8, 0, 3]],
    ['leave', [0xc9]],
    ['leave 16', [0x66, 0xc9]],
    ['pushf', [0x9c]],
    ['push ds', [0x1e]],
    ['pop es', [0x07]],
    ['push [esp]', [0xff, 0x34, 0x24]],
    ['pop [esp]', [0x8f, 0x04, 0x24]],
    ['pop esp', [0x5c]],
    ['push esp', [0x54]],
    ['int', [0xcd, 0x40]],
    ['retf', [0xcb]],
    ['iret', [0xcf]],
    ['call far', [0x9a, ...le32(I.CODE + 7), ...le16(I.CODE0)]],
  ];
  const kinds: [string, number, number, number, number[]][] = [
    ['32', 0x92, 0xafff, 4, [0, 2, 4, 0xa000, 0xaffc, 0xaffe, 0xb000, 0xb008, 0xaff0]],
    ['16', 0x92, 0xffff, 0, [0, 1, 2, 3, 4, 0x1234a000, 0x5678fffe, 0xffffffff, 0xfffc]],
    ['16 short', 0x92, 0xafff, 0, [0, 0xaffe, 0xafff, 0xb000, 0xb002]],
    ['down 32', 0x96, 0x9fff, 4, [0, 0xa000, 0xa004, 0xa010, 0xfffffffe]],
    ['down 16', 0x96, 0x9fff, 0, [0, 0xa000, 0xa004, 0xa010, 0xfffe, 2]],
  ];
  for (const [op, code] of ops)
    for (const [kind, access, limit, flags, pointers] of kinds)
      for (const esp of pointers)
        cases.push({
          name: `${op} stack ${kind} at ${hex(esp)}`,
          // The stack is loaded in the case itself; its end is at CPL 3, so that its faults have a stack.
          cpl: 3,
          code: [0x8e, 0xd1, 0x89, 0xf4, ...code],
          pokes: I.descriptor(I.GDT + S, 0, limit, access | 0x60, flags),
          regs: { ecx: S | 3, esi: esp, ebp: esp },
        });
  return cases;
}

/** Page states × privilege × access. Page 0x50 is under test, 0x51 behind it is present. */
export function pages(): Case[] {
  const cases: Case[] = [];
  const PT = 0x31000;
  const at = 0x20000;
  const ops: [string, number[]][] = [
    ['read', [0x8b, 0x08]],
    ['write', [0x89, 0x08]],
    ['add', [0x01, 0x08]],
    ['test', [0x85, 0x08]],
    ['shl 0', [0xc1, 0x20, 0x00]],
    ['shl cl', [0xd3, 0x20]],
    ['xchg', [0x87, 0x08]],
    ['cmpxchg', [0x0f, 0xb1, 0x08]],
    ['cmpxchg8b', [0x0f, 0xc7, 0x08]],
    ['bts', [0x0f, 0xab, 0x08]],
    ['push', [0xff, 0x30]],
    ['pop', [0x8f, 0x00]],
    ['movs to', [0x89, 0xc7, 0xbe, ...le32(I.DATA), 0xa5]],
    ['stos rep', [0x89, 0xc7, 0xb9, 3, 0, 0, 0, 0xf3, 0xab]],
    ['call', [0xff, 0xd0]],
    ['invlpg', [0x0f, 0x01, 0x38]],
    ['setz', [0x0f, 0x94, 0x00]],
    ['sgdt', [0x0f, 0x01, 0x00]],
    ['smsw', [0x0f, 0x01, 0x20]],
    ['arpl', [0x63, 0x08]],
    ['fst', [0xdd, 0x10]],
    ['fld', [0xdd, 0x00]],
    ['enter', [0x89, 0xc4, 0xc8, 0, 0, 0]],
    ['ins', [0x89, 0xc7, 0x6d]],
    ['bound', [0x62, 0x08]],
    ['les', [0xc4, 0x08]],
  ];
  // The page with offsets that cross into the next one: 0x25ffe. Page 0x25 is free RAM in the harness's hole.
  for (const [op, code] of ops)
    for (const pte of [0, 1, 3, 5, 7, 0x67])
      for (const cpl of [0, 3])
        for (const wp of [0, 0x10000])
          for (const where of [0x100, 0xffe, -2]) {
            if (where === -2 && op === 'call') continue;
            if (wp !== 0 && cpl === 3) continue;
            cases.push({
              name: `${op} pte ${hex(pte)} cpl ${cpl} wp ${wp >> 16} offset ${where}`,
              cpl,
              code,
              cr0: 0x80000000 | wp,
              pokes: [
                [PT + 0x28 * 4, 0x28000 | pte],
                [at + 0x8100, 0xcd],
                [at + 0x8ffc, 0],
              ],
              regs: { eax: at + 0x8000 + where, ecx: 0 },
              eflags: IOPL3,
            });
          }
  for (const pde of [0x31001, 0x31003, 0x31005, 0x31007])
    for (const [op, code] of ops.slice(0, 2))
      cases.push({
        name: `${op} pde ${hex(pde)}`,
        cpl: 3,
        code,
        cr0: 0x80000000,
        cr4: 0,
        pokes: [
          [0x30004, pde],
          [0x31000 + 0x28 * 4, 0x28007],
        ],
        regs: { eax: 0x428000 },
      });
  for (const pde of [0x83, 0x87, 0x85, 0x81, 0x2087, 0x200087, 0x1e7])
    for (const [op, code] of ops.slice(0, 2))
      for (const cpl of [0, 3])
        cases.push({
          name: `${op} large ${hex(pde)} cpl ${cpl}`,
          cpl,
          code,
          cr0: 0x80010000,
          cr4: 0x10,
          pokes: [[0x30004, pde]],
          regs: { eax: 0x428000 },
        });
  return cases;
}

/** Operands and stacks out of alignment at CPL 3, with CR0.AM and EFLAGS.AC each set and clear. */
export function alignment(): Case[] {
  const AC = 0x40000;
  const list: readonly (readonly [name: string, code: readonly number[]])[] = [
    ['mov r32', [0x8b, 0x03]],
    ['mov r16', [0x66, 0x8b, 0x03]],
    ['mov r8', [0x8a, 0x03]],
    ['mov m32', [0x89, 0x03]],
    ['mov m16', [0x66, 0x89, 0x03]],
    ['add m32', [0x01, 0x03]],
    ['add m16', [0x66, 0x01, 0x03]],
    ['inc m8', [0xfe, 0x03]],
    ['xchg', [0x87, 0x03]],
    ['cmpxchg8b', [0x0f, 0xc7, 0x0b]],
    ['push m', [0xff, 0x33]],
    ['pop m', [0x6a, 0x01, 0x8f, 0x03]],
    ['call m', [0xff, 0x13]],
    ['movsd', [0x89, 0xde, 0xa5]],
    ['rep movsw', [0x89, 0xdf, 0x66, 0xf3, 0xa5]],
    ['stosd', [0x89, 0xdf, 0xab]],
    ['cmpsd', [0x89, 0xde, 0xa7]],
    ['scasd', [0x89, 0xdf, 0xaf]],
    ['bt', [0x0f, 0xa3, 0x03]],
    ['movzx', [0x0f, 0xb7, 0x03]],
    ['push, stack out of line', [0x83, 0xec, 0x02, 0x50]],
    ['push16', [0x66, 0x50, 0x58]],
    ['call, stack out of line', [0x4c, 0xe8, 0, 0, 0, 0]],
    ['pusha, stack out of line', [0x4c, 0x60]],
    ['popa, stack out of line', [0x83, 0xec, 0x30, 0x4c, 0x61]],
    ['enter, stack out of line', [0x4c, 0xc8, 4, 0, 0]],
    ['leave', [0x89, 0xdd, 0xc9]],
    ['pushf, stack out of line', [0x4c, 0x9c]],
    ['mov sreg', [0x8e, 0x03]],
    ['les', [0xc4, 0x03]],
    ['sldt', [0x0f, 0x00, 0x03]],
    ['fld m32', [0xdb, 0xe3, 0xd9, 0x03]],
    ['fld m64', [0xdb, 0xe3, 0xdd, 0x03]],
    ['fstp m80', [0xdb, 0xe3, 0xd9, 0xe8, 0xdb, 0x3b]],
    ['fild m16', [0xdb, 0xe3, 0xdf, 0x03]],
    ['fistp m64', [0xdb, 0xe3, 0xd9, 0xe8, 0xdf, 0x3b]],
    ['fnstcw', [0xd9, 0x3b]],
    ['page fault or misaligned', [0x8b, 0x83, ...le32(0x500000)]],
    ['popf sets ac', [0x68, ...le32(0x202 | AC), 0x9d, 0x8b, 0x03]],
    ['popf clears ac', [0x68, ...le32(0x202), 0x9d, 0x8b, 0x03]],
    ['interrupt and back', [0x9c, 0x0e, 0xe8, 0, 0, 0, 0, 0x83, 0x04, 0x24, 5, 0xcf, 0x8b, 0x03]],
  ];
  const cases: Case[] = [];
  for (const [name, code] of list)
    for (const off of [0, 1, 2, 4])
      for (const [cpl, am, ac] of [
        [3, 1, 1],
        [3, 0, 1],
        [3, 1, 0],
        [0, 1, 1],
      ] as const)
        for (const paging of [0, 0x80000000])
          cases.push({
            name: `${name} +${off} cpl ${cpl} am ${am} ac ${ac} paging ${paging !== 0}`,
            cpl,
            code,
            eflags: ac * AC,
            cr0: am * AC + paging,
            regs: { ebx: I.DATA + 0x100 + off, ecx: 3 },
          });
  return cases;
}
