/**
 * Finds the system firmware: `-bios`, else SeaBIOS where Debian's or QEMU's packages put it, else from a per-user cache
 * that is filled by `apt-get download` (no root needed), else our own small BIOS, which brings its own VGA services.
 */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { KernelKind } from '../devices/kernel-loader.ts';

const run = promisify(execFile);

/** Files that come with ambervm: `amberbios.bin`, `linuxboot.bin`, `multiboot.bin`. Same depth from src/host and dist/host. */
export const OWN_FIRMWARE_DIR: string = fileURLToPath(new URL('../../images/firmware', import.meta.url));

/** Where other packages put theirs. */
export const SYSTEM_FIRMWARE_DIRS: readonly string[] = [
  '/usr/share/seabios',
  '/usr/share/qemu',
  '/usr/local/share/qemu',
  '/usr/share/qemu-kvm',
];
const SEABIOS = 'bios-256k.bin';
const OWN_BIOS = 'amberbios.bin';
const VGA_BIOS = 'vgabios-stdvga.bin';
/** A BIOS is mapped in whole blocks of 64 KiB. */
const BIOS_BLOCK = 65_536;
const MAX_BIOS_BYTES = 16 * 1024 * 1024;
/** After a download that failed, how long not to try again, ms. */
const RETRY_AFTER_MS = 24 * 3600 * 1000;
const DOWNLOAD_TIMEOUT_MS = 60_000;

export interface Firmware {
  readonly bios: { readonly name: string; readonly data: Uint8Array };
  readonly vgaRom: Uint8Array | undefined;
}

/** Option ROMs that start what -kernel gives. */
export type KernelRoms = Readonly<Record<KernelKind, Uint8Array>>;

export interface FirmwareOptions {
  /** `-bios`: a file, or a name to look for in the data folders. */
  readonly bios?: string | undefined;
  /** `-L`, in order; they come before all others. */
  readonly dirs?: readonly string[];
  /** Told what the user should know. */
  readonly notice?: (message: string) => void;
  /** Default true, unless AMBERVM_NO_DOWNLOAD is set. */
  readonly download?: boolean;
}

/** `message` is QEMU's. */
export class FirmwareError extends Error {
  /** What went wrong, for programs. */
  readonly code = 'firmware';
}

export async function findFirmware(options: FirmwareOptions = {}): Promise<Firmware> {
  const { bios, dirs = [] } = options;
  const data = [...dirs, OWN_FIRMWARE_DIR, ...SYSTEM_FIRMWARE_DIRS, join(cacheDir(), 'seabios')];
  const path = bios === undefined ? await defaultBios(data, options) : await namedBios(bios, data);
  const isOwn = basename(path) === OWN_BIOS;
  const vga = isOwn ? undefined : await firstFile(data, [VGA_BIOS]);
  return {
    bios: { name: basename(path), data: await readBios(path, bios ?? path) },
    vgaRom: vga === undefined ? undefined : await readFile(vga),
  };
}

/** Only for a machine that is given a kernel: others do without. Rejects with FirmwareError. */
export async function findKernelRoms(dirs: readonly string[] = []): Promise<KernelRoms> {
  const own = [...dirs, OWN_FIRMWARE_DIR];
  return {
    linux: await readRom('linuxboot.bin', own),
    multiboot: await readRom('multiboot.bin', own),
  };
}

async function readRom(name: string, dirs: readonly string[]): Promise<Uint8Array> {
  const path = await firstFile(dirs, [name]);
  if (path === undefined) throw new FirmwareError(`could not load option ROM '${name}'`);
  return readFile(path);
}

async function namedBios(name: string, dirs: readonly string[]): Promise<string> {
  if (await isFile(name)) return name;
  const found = name.includes('/') ? undefined : await firstFile(dirs, [name, `${name}.bin`]);
  if (found === undefined) throw new FirmwareError(`could not load PC BIOS '${name}'`);
  return found;
}

async function defaultBios(dirs: readonly string[], options: FirmwareOptions): Promise<string> {
  const found = await firstFile(dirs, [SEABIOS]);
  if (found !== undefined) return found;
  if (options.download ?? process.env['AMBERVM_NO_DOWNLOAD'] === undefined) {
    const fetched = await downloadSeabios(options.notice ?? (() => {}));
    if (fetched !== undefined) return fetched;
  }
  const own = join(OWN_FIRMWARE_DIR, OWN_BIOS);
  if (await isFile(own)) return own;
  throw new FirmwareError(`could not load PC BIOS '${SEABIOS}'`);
}

async function readBios(path: string, shown: string): Promise<Uint8Array> {
  const { size } = await stat(path);
  if (size === 0 || size % BIOS_BLOCK !== 0 || size > MAX_BIOS_BYTES) {
    throw new FirmwareError(
      `could not load PC BIOS '${shown}'\n` +
        `(file '${path}', size ${size}, expected a multiple of ${BIOS_BLOCK} up to ${MAX_BIOS_BYTES})`,
    );
  }
  return readFile(path);
}

async function firstFile(dirs: readonly string[], names: readonly string[]): Promise<string | undefined> {
  for (const dir of dirs) {
    for (const name of names) {
      const path = join(dir, name);
      if (await isFile(path)) return path;
    }
  }
  return undefined;
}

async function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (entry) => entry.isFile(),
    () => false,
  );
}

/** `$XDG_CACHE_HOME/ambervm`, usually ~/.cache/ambervm. */
export function cacheDir(): string {
  return join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'ambervm');
}

/** Debian's package, unpacked into the cache. Undefined if that is not possible here. */
async function downloadSeabios(notice: (message: string) => void): Promise<string | undefined> {
  const marker = join(cacheDir(), 'seabios-failed');
  if (await wasTriedLately(marker)) return undefined;
  if (!(await isOnPath('apt-get')) || !(await isOnPath('dpkg-deb'))) return undefined;
  await mkdir(cacheDir(), { recursive: true });
  const work = await mkdtemp(join(cacheDir(), 'download-'));
  try {
    notice('fetching SeaBIOS with apt-get download (once; AMBERVM_NO_DOWNLOAD=1 prevents it)');
    await run('apt-get', ['download', 'seabios'], { cwd: work, timeout: DOWNLOAD_TIMEOUT_MS });
    const archive = (await readdir(work)).find((name) => name.endsWith('.deb'));
    if (archive === undefined) throw new Error('no package came');
    await run('dpkg-deb', ['-x', archive, 'unpacked'], { cwd: work });
    await rename(join(work, 'unpacked/usr/share/seabios'), join(cacheDir(), 'seabios'));
    return join(cacheDir(), 'seabios', SEABIOS);
  } catch {
    await writeFile(marker, '').catch(() => {});
    return undefined;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function wasTriedLately(marker: string): Promise<boolean> {
  return stat(marker).then(
    (entry) => Date.now() - entry.mtimeMs < RETRY_AFTER_MS,
    () => false,
  );
}

async function isOnPath(program: string): Promise<boolean> {
  const dirs = (process.env['PATH'] ?? '').split(delimiter);
  return (await firstFile(dirs, [program])) !== undefined;
}
