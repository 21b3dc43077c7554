// Assembles the firmware and the demo disk with nasm:
//   node scripts/build-firmware.mjs [--check]
// Without an argument the committed binaries are rewritten; with --check they are only compared.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const images = join(dirname(fileURLToPath(import.meta.url)), '..', 'images');

/** Every binary, its source, and what has to be patched into it after assembly. */
export const targets = [
  { source: 'firmware/linuxboot.asm', binary: 'firmware/linuxboot.bin', finish: finishOptionRom },
  { source: 'firmware/multiboot.asm', binary: 'firmware/multiboot.bin', finish: finishOptionRom },
  { source: 'firmware/amberbios.asm', binary: 'firmware/amberbios.bin', finish: () => {} },
  { source: 'demo/demo.asm', binary: 'demo/demo.img', finish: () => {} },
];

/** Makes the bytes of `range` add up to 0 modulo 256 by setting the byte at `at`. */
function balance(bytes, start, end, at) {
  bytes[at] = 0;
  let sum = 0;
  for (let i = start; i < end; i++) sum += bytes[i];
  bytes[at] = -sum & 0xff;
}

/** Checksums of an option ROM: PnP expansion header (PnP BIOS 1.0A, 3.2), then the whole ROM. */
function finishOptionRom(bytes) {
  const pnp = bytes.readUInt16LE(0x1a);
  balance(bytes, pnp, pnp + bytes[pnp + 5] * 16, pnp + 9);
  const end = bytes[2] * 512;
  balance(bytes, 0, end, end - 1);
}

/** Assembles one target; returns the bytes that ought to be committed. */
export function assemble(target) {
  const folder = mkdtempSync(join(tmpdir(), 'amber-nasm-'));
  try {
    const output = join(folder, 'out.bin');
    const source = join(images, target.source);
    execFileSync('nasm', ['-f', 'bin', '-Wall', '-I', `${dirname(source)}/`, '-o', output, source], {
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    const bytes = readFileSync(output);
    target.finish(bytes);
    return bytes;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Path of the committed binary of a target. */
export function committedPath(target) {
  return join(images, target.binary);
}

function main() {
  const check = process.argv.includes('--check');
  const wanted = process.argv.slice(2).filter((word) => !word.startsWith('--'));
  for (const target of targets) {
    if (wanted.length > 0 && !wanted.some((word) => target.source.includes(word))) continue;
    const bytes = assemble(target);
    if (check) {
      if (!bytes.equals(readFileSync(committedPath(target)))) {
        console.error(`${target.binary}: differs from what ${target.source} assembles to`);
        process.exitCode = 1;
      }
    } else {
      writeFileSync(committedPath(target), bytes);
      console.log(`${target.binary}: ${bytes.length} bytes`);
    }
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) main();
