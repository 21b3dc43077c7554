/**
 * Every system and far-control instruction over descriptors of every type, DPL, RPL, CPL, present and limit state, and
 * over page states: a ROM of our own runs the cases on our CPU and in Bochs; each line (vector, frame, registers, segments,
 * digests of the descriptor tables, TSSs and page tables) must be equal, except where SETTLED says why not.
 * QEMU does not check limits and rights everywhere: it is asked with AMBERVM_LONG=1, for the groups where it does.
 */
import { describe, expect, test } from 'vitest';
import { requireProgram } from '../support/programs.ts';
import * as groups from '../support/sweep/cases.ts';
import { type Case, sweepRom } from '../support/sweep/image.ts';
import { realMode } from '../support/sweep/real-cases.ts';
import { runBochs, runOurs, runQemu } from '../support/sweep/run.ts';

const CASES_A_ROM = 3000;
const LONG = process.env['AMBERVM_LONG'] === '1';
/** Cases of a group in an ordinary run: an even sample. All of them (29,000) with AMBERVM_LONG=1. */
const SAMPLE = 1200;

/** Where Bochs is not followed, and by what this is settled. */
const SETTLED: readonly { readonly name: RegExp; readonly why: string }[] = [
  {
    name: /^iret ss access (72|73|76|77) cpl 0 rpl 3$/,
    why: 'SDM 2A, IRET: a stack segment that is not present is #SS(selector); Bochs raises #NP',
  },
  {
    name: /^inner stack (expand down, no room|no room|little room|16 bit wraps|tss )/,
    why: 'the accessed bit of an inner stack on which the frame has no room: the manual leaves it open',
  },
  {
    name: /^push ds stack/,
    why: 'SDM 2B, PUSH: 32 bits with zeros (386 to Pentium III, and QEMU); Bochs writes the low 16, as later cores',
  },
  {
    name: /^(retf|iret) stack 16 at fffc$/,
    why: 'a 16-bit stack pointer wraps between two pops (SDM 2B, RET: Pop); Bochs adds without wrapping',
  },
  {
    name: /^arpl pte/,
    why: 'ARPL writes only a changed selector: an Intel Xeon does not fault on a read-only page, Bochs does',
  },
  {
    name: /^fn(save|stenv) at fff[ce]$/,
    why: 'an operand that reaches over the limit is #GP (SDM 2A, FSAVE); Bochs wraps between its words',
  },
  {
    name: /^popa, esp fff9$/,
    why: 'POPA skips the word of SP (SDM 2B), which alone crosses the end; Bochs reads it',
  },
  {
    name: /^les (pte|\+2 )/,
    why: 'far pointers: an Intel Xeon reads the offset first (CR2 tells), Bochs the selector',
  },
];

/** Groups whose checks QEMU makes too. */
const QEMU_GROUPS = new Set(['dataLoads', 'farTransfers', 'callGates', 'systemSelectors']);

function settled(name: string): boolean {
  return SETTLED.some((s) => s.name.test(name));
}

function differences(cases: readonly Case[], ours: readonly string[], theirs: readonly string[]): string[] {
  const found: string[] = [];
  cases.forEach(({ name }, i) => {
    if (ours[i] === theirs[i] || settled(name)) return;
    if (found.length < 20) found.push(`${name}\n  ours   ${ours[i]}\n  theirs ${theirs[i]}`);
  });
  return found;
}

/** QEMU pushes faults without RF and clears LAR's undefined bits. */
function withoutRf(line: string): string {
  const words = line.split(' ');
  for (const i of [3, 4]) {
    const flags = Number.parseInt(words[i] ?? '0', 16);
    words[i] = (flags & ~0x10000).toString(16);
  }
  return words.join(' ');
}

const available = requireProgram('nasm') && requireProgram('bochs');

describe.skipIf(!available)('protected and real mode, line by line with Bochs', () => {
  test.each(Object.entries({ ...groups, realMode }))('%s', async (group, make) => {
    const every = make();
    const step = LONG ? 1 : Math.ceil(every.length / SAMPLE) | 1;
    const all = every.filter((_, i) => i % step === 0);
    for (let first = 0; first < all.length; first += CASES_A_ROM) {
      const cases = all.slice(first, first + CASES_A_ROM);
      const rom = sweepRom(cases);
      const theirs = runBochs(rom);
      const ours = runOurs(rom);
      expect(ours).toHaveLength(cases.length);
      expect(differences(cases, ours, await theirs)).toEqual([]);
      if (LONG && QEMU_GROUPS.has(group)) {
        const qemu = await runQemu(rom);
        expect(differences(cases, ours.map(withoutRf), qemu.map(withoutRf))).toEqual([]);
      }
    }
  });
});
