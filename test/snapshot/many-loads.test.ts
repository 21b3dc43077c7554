/**
 * Loads by the thousand in one process, as a test suite or a fuzzer has them: neither memory nor the image grows, and the last run is
 * the first one. AMBERVM_LONG=1: 5,000 loads.
 */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { isLongRun } from '../support/guests.ts';
import { heldBytes } from '../support/held-bytes.ts';
import type { Pc } from '../support/pc.ts';
import { qemuCheck } from '../support/qemu-img.ts';
import { temporaryFolder } from '../support/qemu-snapshot.ts';
import { bootChurn, hasChurn, makeChurnImage, openChurn, runFor } from './churn.ts';
import { type Fingerprint, fingerprint } from './fingerprint.ts';

const LOADS = isLongRun ? 5000 : 200;
/** Until all that is made once has been made. */
const WARM = 50;
/** How long the guest runs between two loads, instructions: it writes some pages, and every other time a sector of its disk. */
const STEP = 100_000;
/** Every so manieth load is of the other snapshot, lazily, or of one with all of RAM read. */
const OTHER_EVERY = 10;
const WHOLE_EVERY = 25;
/** What may be held at the end beyond what was held at the beginning: less than a page a load in the long run. */
const MAX_GROWTH = 4 << 20;

/** Run after load; what the guest comes to after each load of `b` is always the same. */
async function loadOften(pc: Pc, from: number, to: number, expected: Fingerprint): Promise<void> {
  for (let i = from; i < to; i++) {
    if (i % OTHER_EVERY === 3) {
      await pc.machine.loadvm('a');
      await runFor(pc, STEP);
    }
    await pc.machine.loadvm('b', { lazy: i % WHOLE_EVERY !== 7 });
    await runFor(pc, STEP);
    if (i % WARM !== WARM - 1) continue;
    const found = await fingerprint(pc);
    expect(found, `load ${i}`).toEqual(expected);
  }
}

describe.skipIf(!hasChurn)('loadvm', () => {
  it(`${LOADS} times: nothing grows`, { timeout: isLongRun ? 1_800_000 : 120_000 }, async () => {
    using folder = temporaryFolder();
    const image = join(folder.path, 'many.qcow2');
    makeChurnImage(image);
    {
      await using pc = await bootChurn(image);
      await runFor(pc, 2_000_000);
      await pc.machine.savevm('a');
      await runFor(pc, STEP);
      await pc.machine.savevm('b');
    }
    await using pc = await openChurn(image, { loadvm: 'b' });
    await runFor(pc, STEP);
    const expected = await fingerprint(pc);
    await loadOften(pc, 0, WARM, expected);
    const [held, bytes] = [await heldBytes(), statSync(image).size];
    await loadOften(pc, WARM, LOADS, expected);
    expect(statSync(image).size).toBe(bytes);
    expect((await heldBytes()) - held).toBeLessThan(MAX_GROWTH);
    await pc.machine.close();
    expect(qemuCheck(image)).toMatchObject({ corruptions: 0, leaks: 0 });
  });
});
