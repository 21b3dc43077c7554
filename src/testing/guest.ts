/**
 * Boot once, restore per test. The state after booting is kept in a cache folder on disk, under a fingerprint of all it
 * depends on: the next run of the tests does not boot at all.
 */
import { constants } from 'node:fs';
import { copyFile, mkdir, mkdtemp, readdir, rename, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Machine } from '../api/machine.ts';
import type { MachineOptions } from '../api/options.ts';
import { fingerprint } from './fingerprint.ts';
import { onOverlays } from './overlays.ts';

/** A machine, and how it boots. */
export interface GuestSpec {
  /** Images named here are never written: tests run on overlays. */
  readonly machine: MachineOptions;
  /** Brings the machine from power-on to where the tests begin. Its source text is part of the fingerprint. */
  readonly boot: (vm: Machine) => Promise<unknown>;
  /** Anything else that the state depends on; change it to have it made anew. */
  readonly version?: string;
  /** Default `node_modules/.cache/ambervm`. */
  readonly cacheDir?: string;
}

/** Tag of the snapshot that tests begin with. */
export const BOOTED = 'booted';
/** Cached states that no run has used for this long are deleted, ms. */
const UNUSED_AFTER_MS = 14 * 24 * 3600 * 1000;

/** A machine that was booted once, and goes back to that state as often as asked. */
export class Guest {
  /** The one machine. */
  readonly vm: Machine;
  /** Whether this run had to boot. */
  readonly wasBooted: boolean;
  readonly #folder: string;

  private constructor(vm: Machine, folder: string, wasBooted: boolean) {
    this.vm = vm;
    this.#folder = folder;
    this.wasBooted = wasBooted;
  }

  /** A machine of one's own that stands, paused, on the booted state. Boots if the cache does not have it. */
  static async open(spec: GuestSpec): Promise<Guest> {
    const { cacheDir = join('node_modules', '.cache', 'ambervm'), version = '' } = spec;
    const key = await fingerprint(spec.machine, [version, spec.boot.toString()]);
    const cached = join(cacheDir, key);
    const wasBooted = !(await exists(cached));
    if (wasBooted) await build(spec, cacheDir, cached);
    const folder = await mkdtemp(join(tmpdir(), 'ambervm-test-'));
    try {
      for (const name of await readdir(cached)) {
        await copyFile(join(cached, name), join(folder, name), constants.COPYFILE_FICLONE);
      }
      const machine = await onOverlays(spec.machine, folder, false);
      return new Guest(await Machine.create({ ...machine, loadvm: BOOTED }), folder, wasBooted);
    } catch (error) {
      await rm(folder, { recursive: true, force: true });
      throw error;
    }
  }

  /** Back to the booted state. */
  async restore(): Promise<Machine> {
    await this.vm.pause();
    await this.vm.loadvm(BOOTED);
    return this.vm;
  }

  /** Ends the machine, deletes the overlays. */
  async close(): Promise<void> {
    await this.vm.close();
    await rm(this.#folder, { recursive: true, force: true });
  }

  /** As `close()`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** Boots in a folder of its own, which takes its place in the cache when all is done: never half a state. */
async function build(spec: GuestSpec, cacheDir: string, cached: string): Promise<void> {
  await mkdir(cacheDir, { recursive: true });
  await removeUnused(cacheDir);
  const work = await mkdtemp(join(cacheDir, 'boot-'));
  try {
    const vm = await Machine.create(await onOverlays(spec.machine, work, true));
    try {
      await spec.boot(vm);
      await vm.pause();
      await vm.savevm(BOOTED);
    } finally {
      await vm.close();
    }
    // Another worker may have been faster: its state is as good.
    await rename(work, cached).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function removeUnused(cacheDir: string): Promise<void> {
  for (const name of await readdir(cacheDir)) {
    const folder = join(cacheDir, name);
    const entry = await stat(folder).catch(() => undefined);
    if (entry !== undefined && Date.now() - entry.atimeMs > UNUSED_AFTER_MS) {
      await rm(folder, { recursive: true, force: true });
    }
  }
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
