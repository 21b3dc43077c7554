/** Guests that tests boot: built from Debian's packages by scripts/guests/build.mjs, kept in a cache. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

export type GuestName =
  | 'vmlinuz-686'
  | 'vmlinuz-686-pae'
  | 'initramfs-686.gz'
  | 'initramfs-686-pae.gz'
  | 'linux-disk.qcow2'
  | 'grub-rescue-floppy.img'
  | 'grub-rescue-cd.iso'
  | 'grub-linux.iso'
  | 'isolinux.iso'
  | 'memtest86+.iso'
  | 'ipxe.iso'
  | 'multiboot.iso'
  | 'tools.iso'
  | 'grub-legacy.img'
  | 'floppy-720k.img'
  | 'installer-linux'
  | 'installer-text.gz'
  | 'installer-gtk.gz';

const BUILDER = join(import.meta.dirname, '../../scripts/guests/build.mjs');
/** Exit code of the builder when packages cannot be had here. */
const UNAVAILABLE = 3;
const BUILD_TIMEOUT_MS = 20 * 60_000;

const paths = new Map<GuestName, string | undefined>();

/**
 * Path of a guest, never to be written to; built if need be. Undefined if Debian's packages cannot be had (no apt, no
 * network): the test is to be skipped by name. In CI (environment variable CI=true) that is an error.
 */
export function findGuest(name: GuestName): string | undefined {
  if (!paths.has(name)) paths.set(name, build(name));
  return paths.get(name);
}

/** Path of a guest that is known to be there. */
export function guest(name: GuestName): string {
  const path = findGuest(name);
  if (path === undefined) throw new Error(`guest ${name} cannot be had here`);
  return path;
}

/** Whether all of these can be had. For `test.skipIf(!haveGuests(…))`. */
export function haveGuests(...names: readonly GuestName[]): boolean {
  return names.every((name) => findGuest(name) !== undefined);
}

function build(name: GuestName): string | undefined {
  const run = spawnSync(process.execPath, [BUILDER, name], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: BUILD_TIMEOUT_MS,
  });
  if (run.status === 0) return run.stdout.trim();
  if (run.status === UNAVAILABLE && process.env['CI'] !== 'true') {
    process.stderr.write(`guest ${name}: ${run.stderr.trim()}\n`);
    return undefined;
  }
  throw new Error(`guest ${name} could not be built:\n${run.stderr}`);
}

/** True when the long suite was asked for (`npm run test:long`). */
export const isLongRun: boolean = process.env['AMBERVM_LONG'] === '1';
