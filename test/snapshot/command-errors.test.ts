/**
 * EIO, ENOSPC and short writes at the requests below savevm, loadvm and delvm: the error reaches the command, machine and
 * snapshots are as before, the same command works when there is room again. AMBERVM_LONG=1: every third request.
 */
import { describe, expect, it } from 'vitest';
import { BlockError } from '../../src/block/errors.ts';
import { type Injector, injectErrors } from '../../src/block/filters/inject-error.ts';
import { checkImage } from '../../src/block/qcow2/check.ts';
import { layOut } from '../../src/block/qcow2/create.ts';
import { openQcow2 } from '../../src/block/qcow2/qcow2.ts';
import { MigrationError } from '../../src/migration/errors.ts';
import { FAILURES, type Failure } from '../support/crash/failures.ts';
import { Rig } from '../support/crash/rig.ts';
import { isLongRun } from '../support/guests.ts';
import { MemoryFile } from '../support/memory-file.ts';
import { tinyMachine } from '../support/tiny-machine.ts';
import {
  CLUSTER,
  COUNTER,
  disk,
  DISK_BYTES,
  loadAll,
  ram,
  remove,
  save,
  type Step,
  withoutWorkingSet,
  work,
  type World,
} from './crash-savevm-workloads.ts';

const STRIDES = isLongRun ? { write: 3, flush: 3, read: 3 } : { write: 67, flush: 19, read: 9 };

/** The disk goes back as a whole, RAM follows: what fails behind the command is the RAM's. */
const load =
  (tag: string): Step =>
  async ({ rig, machine }) => {
    await rig.command(`loadvm ${tag}`, () => machine.loadvm(tag), { changesDisk: true });
    await machine.finishLoad();
  };

const guest: readonly Step[] = [work(2, 6), disk(2)];
const commands: readonly Step[] = [
  save('a'),
  save('b', { compress: { workers: 1 } }),
  save('a'),
  load('b'),
  remove('a'),
  load('start'),
  save('start', { incremental: false }),
];

async function prepared(): Promise<{ bytes: Uint8Array; saved: Map<string, Buffer> }> {
  const file = new MemoryFile(layOut('t', { sizeBytes: DISK_BYTES, clusterSize: CLUSTER }));
  const rig = await Rig.open(file);
  const machine = await tinyMachine(COUNTER, { disk: rig.node, vga: 'none' });
  const saved = new Map<string, Buffer>();
  for (const step of [work(1, 20), disk(1), save('start')]) await step({ rig, machine, saved });
  await machine.close();
  return { bytes: file.bytes, saved };
}

/** What the block layer said, at the end of the chain of causes. */
function blockError(error: unknown): BlockError | undefined {
  for (let at = error; at instanceof Error; ) {
    if (at instanceof BlockError) return at;
    at = at.cause ?? (at instanceof MigrationError ? at.context.cause : undefined);
  }
  return undefined;
}

class Run {
  readonly #kind: Failure;
  world!: World;
  injector!: Injector;

  constructor(kind: Failure) {
    this.#kind = kind;
  }

  async open({ bytes, saved }: Awaited<ReturnType<typeof prepared>>): Promise<void> {
    const rig = await Rig.open(new MemoryFile(bytes), {
      maskVmState: withoutWorkingSet,
      under: (file) => {
        this.injector = injectErrors(file);
        return this.injector.file;
      },
      onLooking: (looking) => {
        this.injector.paused = looking;
      },
    });
    const machine = await tinyMachine(COUNTER, { disk: rig.node, vga: 'none' });
    this.world = { rig, machine, saved: new Map(saved) };
  }

  /** Whether it failed, and was done again. */
  async step(step: Step, what: string): Promise<boolean> {
    const { rig, machine } = this.world;
    // The test looks: pages that are still to come must not fail here.
    this.injector.paused = true;
    const before = ram(machine);
    this.injector.paused = false;
    try {
      await step(this.world);
      return false;
    } catch (error) {
      const cause = blockError(error);
      expect(cause?.code, `${what}: ${(error as Error).stack}`).toBe(this.#kind.code);
    }
    this.injector.heal();
    const crashed = await openQcow2(new MemoryFile(rig.file.bytes, 'crash', true));
    const check = await checkImage(crashed.image);
    expect(check.corruptions, `${what}: ${check.messages.join('; ')}`).toBe(0);
    expect(await rig.judgeLive(), `${what}, seen`).toBeUndefined();
    // RAM that a load could not bring in: the machine says so, and takes another load.
    if (machine.state !== 'internal-error' && machine.absentGroups === 0)
      expect(ram(machine).equals(before), `${what}: RAM`).toBe(true);
    await this.#again(step, what);
    return true;
  }

  /** In a new process, where nobody knows what the first try has done to the header. */
  async #again(step: Step, what: string): Promise<void> {
    const { machine, rig, saved } = this.world;
    rig.forgetFailed();
    try {
      await step(this.world);
      return;
    } catch (error) {
      expect(blockError(error)?.message, what).toMatch(/an earlier metadata write failed/);
    }
    rig.forgetFailed();
    await machine.close().catch(() => undefined);
    await rig.reopenBroken();
    this.world = { rig, saved, machine: await tinyMachine(COUNTER, { disk: rig.node, vga: 'none' }) };
    // It may have happened after all: then there is nothing left to delete.
    await step(this.world).catch((error: unknown) => {
      expect((error as MigrationError).code, what).toBe('not-found');
    });
  }
}

describe('savevm, loadvm and delvm on a disk that fails', () => {
  for (const kind of FAILURES) {
    const { code, operation, shortBytes } = kind;
    it(`${operation}: ${code}, ${shortBytes} bytes done`, {
      timeout: isLongRun ? 3_600_000 : 240_000,
    }, async () => {
      const base = await prepared();
      let failures = 0;
      for (let number = 0, failed = true; failed; number += STRIDES[operation]) {
        failed = false;
        const run = new Run(kind);
        await run.open(base);
        run.injector.shortBytes = shortBytes;
        run.injector.failAt(operation, number, code);
        for (const [i, command] of commands.entries()) {
          for (const one of [...guest, command]) {
            if (await run.step(one, `${operation} ${number}, command ${i}`)) failed = true;
          }
        }
        if (failed) failures++;
        run.injector.heal();
        const { machine, rig, saved } = run.world;
        expect(await rig.judgeLive(), `${operation} ${number}`).toBeUndefined();
        await machine.close();
        expect(await loadAll(rig.file.bytes, saved), `${operation} ${number}`).toBeUndefined();
        const end = await openQcow2(new MemoryFile(rig.file.bytes, 'end', true));
        expect(await checkImage(end.image), `${operation} ${number}`).toMatchObject({
          corruptions: 0,
          leaks: 0,
        });
      }
      expect(failures).toBeGreaterThan(1);
    });
  }
});
