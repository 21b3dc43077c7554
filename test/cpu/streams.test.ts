/**
 * Random programs (test/support/sweep/streams.ts): on our CPU in slices of any length they do the same, to the instruction
 * and the byte; and their ends (registers, flags, faults, memory, page tables) are those of QEMU and Bochs.
 * AMBERVM_LONG=1: 60 times as many, each repeated 20 times over beside QEMU and Bochs: some 8 million instructions a round.
 */
import { describe, expect, test } from 'vitest';
import { Random } from '../support/guest-case.ts';
import { requireProgram } from '../support/programs.ts';
import { sweepRom } from '../support/sweep/image.ts';
import { lastRun, runBochs, runOurs, runQemu, runSliced } from '../support/sweep/run.ts';
import { stream } from '../support/sweep/streams.ts';

const ROUNDS = process.env['AMBERVM_LONG'] === '1' ? 60 : 1;
const REPEAT = ROUNDS > 1 ? 20 : 1;
const PROGRAMS = 300;
const RF = 0x10000;
/** Places in a line. */
const CR2 = 23;
const PAGE_TABLE_DIGEST = 27;

function programs(round: number, repeat = 1) {
  const random = new Random(0x5eed + round * 7919);
  return Array.from({ length: PROGRAMS }, (_, i) => stream(random, `round ${round} program ${i}`, repeat));
}

/**
 * What QEMU gets right: it pushes faults without RF, reports the read of a read-modify-write, may have changed flags before a
 * fault, reads CMPS's second operand first, and sets accessed bits at other times.
 */
function asQemu(line: string): string {
  const words = line.split(' ');
  const fault = words[0] === 'e';
  for (const i of [3, 4]) words[i] = (Number.parseInt(words[i] ?? '0', 16) & ~RF).toString(16);
  if (fault) {
    words[1] = '-';
    words[4] = '-';
    words[CR2] = '-';
  }
  words[PAGE_TABLE_DIGEST] = '-';
  return words.join(' ');
}

function differing(ours: readonly string[], theirs: readonly string[]): string[] {
  return ours
    .flatMap((line, i) => (line === theirs[i] ? [] : [`${i}\n  ours   ${line}\n  theirs ${theirs[i]}`]))
    .slice(0, 10);
}

describe.skipIf(!requireProgram('nasm'))('random programs', () => {
  const rounds = Array.from({ length: ROUNDS }, (_, i) => i);

  test.each(rounds)('slices of odd lengths, round %i', (round) => {
    const rom = sweepRom(programs(round));
    const whole = runSliced(rom, () => 1e9);
    expect(whole.lines).toHaveLength(PROGRAMS);
    const random = new Random(99 + round);
    expect(runSliced(rom, () => 61)).toEqual(whole);
    expect(runSliced(rom, () => 1 + random.below(400))).toEqual(whole);
    const few = sweepRom(programs(round).slice(0, 30));
    expect(runSliced(few, () => 3)).toEqual(runSliced(few, () => 1e9));
  });

  test.each(rounds)('JIT on against off, round %i', (round) => {
    const random = new Random(0xa11 + round * 101);
    // Few programs a ROM, each repeated until it is compiled; slices end often, as samples are taken there.
    for (let rom = 0; rom < 4; rom++) {
      const image = sweepRom(Array.from({ length: 8 }, (_, i) => stream(random, `hot ${i}`, 120)));
      const length = 301 + random.below(1000);
      const on = runSliced(image, () => length, true);
      expect(lastRun.compiled).toBeGreaterThan(0);
      expect(on).toEqual(runSliced(image, () => length, false));
      expect(on).toEqual(runSliced(image, () => 1e9, false));
    }
  });

  test.skipIf(!requireProgram('qemu-system-i386')).each(rounds)('QEMU, round %i', async (round) => {
    const rom = sweepRom(programs(round, REPEAT));
    const theirs = runQemu(rom);
    const ours = runOurs(rom).map(asQemu);
    expect(differing(ours, (await theirs).map(asQemu))).toEqual([]);
  });

  test.skipIf(!requireProgram('bochs')).each(rounds)('Bochs, round %i', async (round) => {
    const rom = sweepRom(programs(round, REPEAT));
    const theirs = runBochs(rom);
    expect(differing(runOurs(rom), await theirs)).toEqual([]);
  });
});
