/**
 * 81,250 single-instruction tests taken from a real 80286, as far as they apply to a 386 in real mode (see
 * test/support/vectors-80286.ts). AMBERVM_VECTORS names another folder in the same layout, for the full set.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { revocationList, runFile, vectorCpu, vectorFiles } from '../support/vectors-80286.ts';

const ROOT = join(import.meta.dirname, '../../../shared/vectors');
const FOLDER = process.env['AMBERVM_VECTORS'] ?? join(ROOT, '80286');
const AVAILABLE = existsSync(join(FOLDER, 'metadata.json.gz'));

/** Tests whose recorded result is not that of a 386, with the reason; those from CD on are in the full set only. */
const NOT_ALIKE: readonly (readonly [tests: RegExp, why: string])[] = [
  [/^CE #1193 /, 'misrecorded, one of 238: the word pushed for CS is SS'],
  [/^(CD #2044|FF\.3 #1141) /, 'misrecorded, likewise'],
  [
    /^D4 #\d+ aam 0:/,
    'AAM 0: #DE leaves flags alone on later CPUs; the 286 sets PF by an unfinished division',
  ],
  [/^F6\.7 #(952|1085|2653|4297) /, 'IDIV: some quotients that do not fit, which the 286 misses'],
  [/^D8 #(2655|3961|4347) /, 'x87 operand at FFFE: without a coprocessor nobody looks at its limit'],
];

describe.skipIf(!AVAILABLE && process.env['CI'] !== 'true')('80286 vectors', () => {
  it('the vectors are there', () => {
    expect(AVAILABLE, FOLDER).toBe(true);
  });

  it('all that apply pass', { timeout: 600_000 }, () => {
    const cpu = vectorCpu();
    const revoked = revocationList(join(ROOT, 'revocation_list.txt'));
    const failures: string[] = [];
    let passed = 0;
    let excluded = 0;
    for (const file of vectorFiles(FOLDER)) {
      const result = runFile(cpu, file, revoked);
      passed += result.passed;
      excluded += result.excluded;
      failures.push(...result.failures.filter((f) => !NOT_ALIKE.some(([tests]) => tests.test(f))));
    }
    expect(failures).toEqual([]);
    expect(passed).toBeGreaterThan(excluded * 20);
  });
});
