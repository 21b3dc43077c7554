/** What a snapshot in the cache depends on. When any of it changes, another snapshot is made: a stale one is never used. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { MachineOptions } from '../api/options.ts';
import { toArguments } from '../api/options.ts';
import { VERSION } from '../cli/version.ts';
import { kernelKind } from '../devices/kernel-loader.ts';
import { moduleNames } from '../devices/multiboot-loader.ts';
import { findFirmware } from '../host/firmware.ts';

/** Larger files count by size and time of change: hashing them would take longer than booting. */
const MAX_HASHED_BYTES = 256 * 1024 * 1024;

/** SHA-256 over machine, images, firmware, our version and `extra`, in hex. */
export async function fingerprint(options: MachineOptions, extra: readonly string[]): Promise<string> {
  const hash = createHash('sha256');
  const add = (text: string) => hash.update(`${text.length}:${text}`);
  add(VERSION);
  for (const text of [...toArguments(options), String(options.serialPorts ?? 1), ...extra]) add(text);
  for (const file of await filesOf(options)) add(await fileIdentity(file));
  const { bios, vgaRom } = await findFirmware({ bios: options.bios });
  hash.update(bios.data);
  if (vgaRom !== undefined) hash.update(vgaRom);
  return hash.digest('hex');
}

async function filesOf(options: MachineOptions): Promise<string[]> {
  const { hda, hdb, hdc, hdd, cdrom, fda, fdb, kernel, initrd, drives = [] } = options;
  const all = [hda, hdb, hdc, hdd, cdrom, fda, fdb, kernel, ...drives.map(({ file }) => file)];
  if (kernel !== undefined && initrd !== undefined) all.push(...(await initrdFiles(kernel, initrd)));
  return all.filter((file) => file !== undefined);
}

/** One file, or the modules of a multiboot kernel. */
async function initrdFiles(kernel: string, initrd: string): Promise<string[]> {
  if (kernelKind(await readFile(kernel)) === 'linux') return [initrd];
  return moduleNames(initrd).map((name) => name.split(' ', 1)[0]!);
}

async function fileIdentity(file: string): Promise<string> {
  const { size, mtimeMs } = await stat(file);
  if (size > MAX_HASHED_BYTES) return `${resolve(file)} ${size} ${mtimeMs}`;
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file)) hash.update(chunk as Uint8Array);
  return hash.digest('hex');
}
