/**
 * Wild programs (test/support/sweep/wild.ts): with compiled code and slices of odd lengths our CPU does what the interpreter does
 * in one go, to the instruction, whatever faults, interrupts, page tables and changes of code come in between.
 * AMBERVM_LONG=1: 100 million instructions and more, in pieces.
 */
import { expect, test } from 'vitest';
import { isLongRun } from '../support/guests.ts';
import { Random } from '../support/guest-case.ts';
import { requireProgram } from '../support/programs.ts';
import { compareWild, WildEngine } from '../support/sweep/wild-run.ts';

const PIECES = isLongRun ? 20 : 1;
const PROGRAMS = isLongRun ? 30 : 6;
const INSTRUCTIONS = isLongRun ? 200_000 : 100_000;

/** Units over several pages. */
let regions = 0;

test.skipIf(!requireProgram('nasm')).each(Array.from({ length: PIECES }, (_, i) => i))(
  'compiled or not, in any slices: piece %i',
  (piece) => {
    const random = new Random(piece + 5);
    const compiled = new WildEngine(true, () => (random.below(64) === 0 ? 8000 : 101 + random.below(1400)));
    const interpreted = new WildEngine(false, () => 1e9);
    let units = 0;
    for (let i = 0; i < PROGRAMS; i++) {
      const result = compareWild(compiled, interpreted, piece * 1000 + i, INSTRUCTIONS);
      units += result.compiled;
      regions += result.regions;
    }
    expect(units).toBeGreaterThan(PROGRAMS / 2);
  },
  600_000,
);

test.runIf(isLongRun)('units over several pages were among them', () =>
  expect(regions).toBeGreaterThan(PIECES),
);
