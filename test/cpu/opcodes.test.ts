/**
 * The opcode map, for each CPU model, against Bochs's model of the same age: every opcode with every prefix that can change it,
 * in register and memory forms; x87; instructions around 15 bytes. Compared: which vector ends the case, its error code, EIP.
 * An even sample; all 34,000 for each model with AMBERVM_LONG=1.
 */
import { describe, expect, test } from 'vitest';
import { CPU_MODELS } from '../../src/machine/cpu/system/cpu-models.ts';
import { requireProgram } from '../support/programs.ts';
import { type Case, sweepRom } from '../support/sweep/image.ts';
import {
  fpuOpcodes,
  lengths,
  oneByteOpcodes,
  threeByteOpcodes,
  twoByteOpcodes,
} from '../support/sweep/opcodes.ts';
import { runBochs, runOurs } from '../support/sweep/run.ts';

const CASES_A_ROM = 3000;
const LONG = process.env['AMBERVM_LONG'] === '1';
const SAMPLE = 1000;
const OSFXSR = 0x200;

/** Where Bochs is not followed: our model, the case, why. */
const SETTLED: readonly { readonly model: RegExp; readonly name: RegExp; readonly why: string }[] = [
  { model: /^pentium3$/, name: /^0f 1[45] /, why: 'UNPCKLPS, UNPCKHPS are SSE (SDM 2B); Bochs wants SSE2' },
  { model: /^pentium3$/, name: /^f2 0f 70 /, why: 'PSHUFLW is SSE2 (SDM 2B); Bochs wants SSE' },
  {
    model: /^pentium$/,
    name: / ?0f (0d|19|1[a-f]) /,
    why: 'NOP r/m came with the Pentium Pro (SDM 2B, NOP)',
  },
  {
    model: /^pentium2$/,
    name: /^(66 |f. )*0f 18 /,
    why: 'hints are NOP r/m since the Pentium Pro (SDM 2B, NOP and PREFETCHh); Bochs wants SSE',
  },
  { model: /^pentium2$/, name: /^(66 |f. )*0f ae/, why: 'FXSAVE: this model is the later one that has it' },
  { model: /./, name: /^(66 )?d[bdf] 0b$/, why: 'FISTTP is on every model, as with QEMU’s TCG' },
  { model: /^qemu32$/, name: /^0f ae 3b$/, why: 'CLFLUSH: CPUID does not announce it' },
];

/** MMX, CMPXCHG8B and those with TSC and MSRs (which fault at CPL 3, or do not). */
const SINCE_PENTIUM = /^(66 |f. )*0f (3[0-3]|[67][0-9a-f]|[def][0-9a-f]|c7|aa)/;

/** Vector and the two words behind it: error code and EIP, or EIP and CS. */
const outcome = (line: string | undefined): string => (line ?? 'none').split(' ').slice(0, 3).join(' ');

function sample(cr4: number): Case[] {
  const every: Case[] = [
    ...oneByteOpcodes(cr4),
    ...twoByteOpcodes(cr4),
    ...threeByteOpcodes(cr4),
    ...fpuOpcodes(cr4),
    ...lengths(cr4),
  ];
  const step = LONG ? 1 : Math.ceil(every.length / SAMPLE) | 1;
  return every.filter((_, i) => i % step === 0);
}

function inRoms(all: readonly Case[]): { readonly cases: readonly Case[]; readonly rom: Uint8Array }[] {
  const roms = [];
  for (let first = 0; first < all.length; first += CASES_A_ROM) {
    const cases = all.slice(first, first + CASES_A_ROM);
    roms.push({ cases, rom: sweepRom(cases) });
  }
  return roms;
}

const available = requireProgram('nasm') && requireProgram('bochs');

describe.skipIf(!available)('opcode map', () => {
  test.each([
    ['pentium3', 'p3_katmai', OSFXSR],
    ['qemu32', 'p4_willamette', OSFXSR],
    ['pentium2', 'p2_klamath', 0],
    ['pentium', 'pentium_mmx', 0],
  ] as const)('%s as %s', async (model, bochs, cr4) => {
    for (const { cases, rom } of inRoms(sample(cr4))) {
      const theirs = await runBochs(rom, bochs);
      const ours = runOurs(rom, CPU_MODELS[model]);
      expect(ours).toHaveLength(cases.length);
      const found = cases
        .map(({ name }, i) => ({ name, ours: outcome(ours[i]), theirs: outcome(theirs[i]) }))
        .filter((c) => c.ours !== c.theirs)
        .filter((c) => !SETTLED.some((s) => s.model.test(model) && s.name.test(c.name)));
      expect(found).toEqual([]);
    }
  });

  // Bochs has no 486. Ours is our Pentium, which Bochs has judged, without what came with the Pentium.
  test('486 as pentium', () => {
    for (const { cases, rom } of inRoms(sample(0))) {
      const [ours, pentium] = [CPU_MODELS['486'], CPU_MODELS.pentium].map((model) => runOurs(rom, model));
      const found = cases
        .map(({ name }, i) => ({ name, ours: outcome(ours![i]), pentium: outcome(pentium![i]) }))
        .filter((c) => c.ours !== c.pentium);
      expect(found.filter((c) => !SINCE_PENTIUM.test(c.name))).toEqual([]);
      expect(found.filter((c) => !c.ours.startsWith('6 '))).toEqual([]);
      expect(found.length).toBeGreaterThan(0);
    }
  });
});
