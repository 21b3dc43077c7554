/**
 * EIO, ENOSPC and short writes at every request of each workload: the error reaches who asked, what was done before is
 * seen as before, a second try works, and what comes out in the end is what was asked for.
 */
import { describe, expect, it } from 'vitest';
import { BlockError } from '../../src/block/errors.ts';
import { injectErrors } from '../../src/block/filters/inject-error.ts';
import { checkImage } from '../../src/block/qcow2/check.ts';
import { layOut } from '../../src/block/qcow2/create.ts';
import { openQcow2 } from '../../src/block/qcow2/qcow2.ts';
import { FAILURES, type Failure } from '../support/crash/failures.ts';
import { Rig } from '../support/crash/rig.ts';
import { isLongRun } from '../support/guests.ts';
import { MemoryFile } from '../support/memory-file.ts';
import { chains } from './crash-chains.ts';
import { sequential, type Workload } from './crash-workloads.ts';

async function prepared({ image, options, setup }: Workload): Promise<Uint8Array> {
  const file = new MemoryFile(layOut('t', image));
  const rig = await Rig.open(file, options);
  await setup?.(rig);
  await rig.node.close();
  return file.bytes;
}

/** Runs the workload with request `number` failing. False: there are not so many. */
async function runWithError(
  workload: Workload,
  base: Uint8Array,
  kind: Failure,
  number: number,
): Promise<boolean> {
  let injector: ReturnType<typeof injectErrors> | undefined;
  const rig = await Rig.open(new MemoryFile(base), {
    ...workload.options,
    under: (file) => {
      injector = injectErrors(file);
      return injector.file;
    },
    onLooking: (looking) => {
      injector!.paused = looking;
    },
  });
  injector!.shortBytes = kind.shortBytes;
  injector!.failAt(kind.operation, number, kind.code);
  let failed = false;
  for (const [i, step] of workload.steps.entries()) {
    try {
      await step(rig);
      continue;
    } catch (error) {
      expect(error, `step ${i}`).toBeInstanceOf(BlockError);
      expect((error as BlockError).code, `step ${i}`).toBe(kind.code);
    }
    failed = true;
    injector!.heal();
    const crashed = await openQcow2(new MemoryFile(rig.file.bytes, 'crash', true));
    const check = await checkImage(crashed.image);
    expect(check.corruptions, `step ${i}: ${check.messages.join('; ')}`).toBe(0);
    expect(await rig.judgeLive(), `step ${i}, seen`).toBeUndefined();
    await again(rig, step, `step ${i}`);
  }
  injector!.heal();
  await rig.flush();
  expect(await rig.judgeLive()).toBeUndefined();
  await rig.node.close();
  expect(await rig.judge(new MemoryFile(rig.file.bytes, 'end', true), rig.log.tick())).toBeUndefined();
  const end = await openQcow2(new MemoryFile(rig.file.bytes, 'end', true));
  expect(await checkImage(end.image)).toMatchObject({ corruptions: 0, leaks: 0 });
  return failed;
}

/** A second try; in a new process where nobody knows what the first has done to the header. */
async function again(rig: Rig, step: (rig: Rig) => Promise<void>, what: string): Promise<void> {
  rig.forgetFailed();
  try {
    await step(rig);
    return;
  } catch (error) {
    expect((error as Error).message, what).toMatch(/an earlier metadata write failed/);
  }
  rig.forgetFailed();
  await rig.reopenBroken();
  // It may have happened after all: then there is nothing left to delete.
  await step(rig).catch((error: unknown) => expect((error as BlockError).code, what).toBe('not-found'));
}

describe('a request that fails', () => {
  const inOrder = Object.entries(sequential).map(([name, workload]) => [name, () => workload] as const);
  for (const [name, make] of [...inOrder, ...Object.entries(chains)]) {
    if (name === 'closed and opened') continue;
    it(name, { timeout: isLongRun ? 1_200_000 : 120_000 }, async () => {
      const workload = make();
      const base = await prepared(workload);
      for (const kind of FAILURES) {
        const stride = isLongRun ? 1 : name.includes('compressed') || name in chains ? 37 : 7;
        for (let number = 0; ; number += stride) {
          const what = `${kind.operation} ${number}, ${kind.code}, ${kind.shortBytes} bytes done`;
          let goesOn = false;
          try {
            goesOn = await runWithError(workload, base, kind, number);
          } catch (error) {
            throw new Error(`${what}: ${(error as Error).message}`, { cause: error });
          }
          if (!goesOn) break;
        }
      }
    });
  }
});
