// The committed firmware and demo disk are what their sources assemble to, and they boot in QEMU.
import { execFileSync, spawn } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { requireProgram } from './support/programs.ts';

const root = join(import.meta.dirname, '..');
const bios = join(root, 'images/firmware/amberbios.bin');
const demo = join(root, 'images/demo/demo.img');
const hasNasm = requireProgram('nasm');
const hasQemu = requireProgram('qemu-system-i386');

function sum(bytes: Uint8Array): number {
  return bytes.reduce((total, byte) => (total + byte) & 0xff, 0);
}

/** Runs QEMU until its serial port has printed `wanted`; returns all that was printed. */
function bootUntil(args: readonly string[], wanted: RegExp): Promise<string> {
  const machine = [
    '-M',
    'pc-i440fx-7.2,hpet=off,vmport=off',
    '-cpu',
    'pentium3',
    '-accel',
    'tcg',
    '-m',
    '16',
  ];
  const rest = ['-nodefaults', '-vga', 'std', '-display', 'none', '-serial', 'stdio', ...args];
  const qemu = spawn('qemu-system-i386', [...machine, ...rest], { stdio: ['ignore', 'pipe', 'pipe'] });
  let printed = '';
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => qemu.kill(), 45_000);
    const take = (text: Buffer): void => {
      printed += text.toString('latin1');
      if (wanted.test(printed)) qemu.kill();
    };
    qemu.stdout.on('data', take);
    qemu.stderr.on('data', take);
    qemu.on('error', reject);
    qemu.on('close', () => {
      clearTimeout(timer);
      resolve(printed);
    });
  });
}

/** A bzImage (boot protocol 2.06) of 16-bit code that prints ENTERED on COM1 if its payload is at 1 MiB. */
function writeTinyKernel(path: string): void {
  const image = Buffer.alloc(1024 + 4096);
  image[0x1f1] = 1; // setup: one sector besides the first
  image.set([0xeb, 0x6e], 0x200); // jmp 0x270
  image.write('HdrS', 0x202, 'latin1');
  image.writeUInt16LE(0x0206, 0x206);
  image[0x211] = 1; // loaded high
  const code = [
    [0xb8, 0xff, 0xff, 0x8e, 0xc0], // mov ax, 0xffff; mov es, ax
    [0x26, 0x81, 0x3e, 0x10, 0x00, 0x34, 0x12, 0x75, 0xfe], // cmp word [es:0x10], 0x1234; jne $
    [0xbe, 0x90, 0x02, 0xba, 0xf8, 0x03], // mov si, 0x290; mov dx, 0x3f8
    [0xac, 0x84, 0xc0, 0x74, 0xfe, 0xee, 0xeb, 0xf8], // lodsb; test al, al; jz $; out dx, al; jmp lodsb
  ];
  image.set(code.flat(), 0x270);
  image.write('ENTERED\n', 0x290, 'latin1');
  image.writeUInt16LE(0x1234, 1024);
  writeFileSync(path, image);
}

describe('firmware', () => {
  test.skipIf(!hasNasm)('binaries are what their sources assemble to (nasm)', () => {
    const script = join(root, 'scripts/build-firmware.mjs');
    expect(() => execFileSync(process.execPath, [script, '--check'], { stdio: 'pipe' })).not.toThrow();
  });

  test('BIOS is 64 KiB and jumps from its reset vector', () => {
    const bytes = readFileSync(bios);
    expect(bytes.length).toBe(0x10000);
    expect(bytes[0xfff0]).toBe(0xe9);
    expect(bytes[0xfffe]).toBe(0xfc);
  });

  test.each(['linuxboot', 'multiboot'])('option ROM %s has signature, size and checksums', (name) => {
    const rom = readFileSync(join(root, `images/firmware/${name}.bin`));
    expect(rom.readUInt16LE(0)).toBe(0xaa55);
    expect(rom.length).toBe(rom[2]! * 512);
    expect(sum(rom)).toBe(0);
    const header = rom.readUInt16LE(0x1a);
    expect(rom.toString('latin1', header, header + 4)).toBe('$PnP');
    expect(sum(rom.subarray(header, header + 32))).toBe(0);
  });

  test.skipIf(!hasQemu)('demo runs on our BIOS and loses nothing (qemu-system-i386)', async () => {
    const drive = `file=${demo},if=ide,format=raw,snapshot=on`;
    const printed = await bootUntil(['-bios', bios, '-drive', drive], /tick 0003 [^\n]*\n/);
    expect(printed).toMatch(/tick 0001 disk OK .*\r\ntick 0002 disk OK .*\r\ntick 0003 disk OK/);
    expect(printed).not.toContain('ERROR');
  });

  test.skipIf(!hasQemu)('option ROM enters a kernel on our BIOS (qemu-system-i386)', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'amber-rom-'));
    try {
      // QEMU looks into this folder first and finds everything else in its own.
      copyFileSync(join(root, 'images/firmware/linuxboot.bin'), join(folder, 'linuxboot_dma.bin'));
      const kernel = join(folder, 'kernel');
      writeTinyKernel(kernel);
      const printed = await bootUntil(['-L', folder, '-bios', bios, '-kernel', kernel], /ENTERED/);
      expect(printed).toContain('ENTERED');
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
