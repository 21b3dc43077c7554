/** v86 as a peer: the npm package, fetched into .cache/peers, never a dependency of the project. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Emulator, PeerMissing, type VmSpec } from './emulator.ts';

/** v86 wants the BIOS of 128 KiB. */
const BIOS = '/usr/share/seabios/bios.bin';
const VGA_BIOS = '/usr/share/seabios/vgabios-stdvga.bin';

export function v86(root: string): Emulator {
  const peers = join(root, '.cache', 'peers');
  const folder = join(peers, 'node_modules', 'v86');
  if (!existsSync(folder)) fetchV86(peers);
  for (const path of [BIOS, VGA_BIOS]) {
    if (!existsSync(path)) throw new PeerMissing(`v86: no ${path} (Debian: apt-get install seabios)`);
  }
  const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { version: string };
  return { name: 'v86', title: `v86 ${version}`, command: (spec) => command(folder, spec) };
}

function command(folder: string, spec: VmSpec): string[] {
  const { disk, monitor, kernel, initrd, append, loadvm } = spec;
  const machine = { v86: folder, bios: BIOS, vgaBios: VGA_BIOS, memMiB: spec.memMiB };
  const state = disk?.qcow2.replace(/\.qcow2$/, '.v86');
  const description = { ...machine, disk: disk?.raw, monitor, kernel, initrd, append, loadvm, state };
  return [process.execPath, join(import.meta.dirname, 'v86-vm.mjs'), JSON.stringify(description)];
}

function fetchV86(peers: string): void {
  mkdirSync(peers, { recursive: true });
  try {
    execFileSync('npm', ['i', '--prefix', peers, '--no-audit', '--no-fund', '--loglevel=error', 'v86'], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
  } catch (error) {
    throw new PeerMissing(`v86: npm could not fetch it: ${error instanceof Error ? error.message : error}`);
  }
}
