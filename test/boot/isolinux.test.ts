// isolinux with its graphical menu: VBE mode 640 × 480 with a linear frame buffer, drawn and read back pixel by pixel.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { guest, haveGuests, isLongRun } from '../support/guests.ts';
import { requireProgram } from '../support/programs.ts';
import { boot, type FirmwareName } from '../support/vm.ts';

vi.setConfig({ testTimeout: 900_000 });

const SIZE = '640x480';
const hasQemu = requireProgram('qemu-system-i386');

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** R, G, B bytes of QEMU's screen once it has shown 640 × 480 and stood still. */
async function qemuPicture(iso: string): Promise<Buffer> {
  const folder = mkdtempSync(join(tmpdir(), 'amber-screen-'));
  const file = join(folder, 'screen.ppm');
  const machine = ['-M', 'pc-i440fx-7.2,hpet=off,vmport=off', '-cpu', 'pentium3', '-m', '128', '-nodefaults'];
  const devices = ['-vga', 'std', '-display', 'none', '-monitor', 'stdio', '-cdrom', iso];
  const qemu = spawn('qemu-system-i386', [...machine, ...devices], { stdio: ['pipe', 'ignore', 'ignore'] });
  try {
    let last = Buffer.alloc(0);
    for (let tries = 0; tries < 60; tries++) {
      await pause(2000);
      qemu.stdin.write(`screendump ${file}\n`);
      await pause(500);
      if (!existsSync(file)) continue;
      const ppm = readFileSync(file);
      const isSize = ppm.toString('latin1', 0, 11).startsWith('P6\n640 480\n');
      if (isSize && ppm.equals(last)) return ppm.subarray(ppm.length - 640 * 480 * 3);
      last = ppm;
    }
    throw new Error('QEMU did not show the menu');
  } finally {
    qemu.kill();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** How many pixels of a row of text cells differ from the pixel above them: text has many, a plain background few. */
function edges(rgb: Uint8Array, top: number, bottom: number): number {
  let count = 0;
  for (let y = top; y < bottom; y++) {
    for (let x = 100; x < 540; x++) {
      const at = (y * 640 + x) * 3 + 1;
      if (Math.abs(rgb[at]! - rgb[at - 640 * 3]!) > 40) count++;
    }
  }
  return count;
}

describe.skipIf(!haveGuests('isolinux.iso')).each<FirmwareName>(['seabios', 'amberbios'])(
  'isolinux on %s',
  (firmware) => {
    const isEnough = firmware === 'seabios' || isLongRun;

    test('shows its graphical menu, follows the keyboard, and boots Debian’s kernel', async () => {
      await using vm = await boot({ firmware, cdrom: guest('isolinux.iso'), bootOrder: 'd' });
      const menu = Buffer.from(await vm.screen.waitForPicture(SIZE));
      // Title, three entries, nothing below them.
      expect(edges(menu, 24, 40)).toBeGreaterThan(200);
      for (const top of [56, 72, 88]) expect(edges(menu, top, top + 16)).toBeGreaterThan(60);
      expect(edges(menu, 120, 200)).toBe(0);

      await vm.keyboard.press('down');
      const second = Buffer.from(await vm.screen.waitForPicture(SIZE));
      expect(second.equals(menu)).toBe(false);
      await vm.keyboard.press('up');
      expect(menu.equals(await vm.screen.waitForPicture(SIZE))).toBe(true);

      await vm.keyboard.press('ret');
      await vm.serial.waitFor('Linux version 6.1');
      if (!isEnough) return;
      await vm.serial.waitFor('GUEST-READY');
      expect(vm.serial.text).toMatch(/GUEST-DISKS .*sr0/);
    });
  },
);

test.skipIf(!hasQemu || !haveGuests('isolinux.iso'))(
  'the menu is the picture that QEMU shows, to the last pixel (qemu-system-i386)',
  async () => {
    await using vm = await boot({ cdrom: guest('isolinux.iso'), bootOrder: 'd' });
    const ours = Buffer.from(await vm.screen.waitForPicture(SIZE));
    const theirs = await qemuPicture(guest('isolinux.iso'));
    let different = 0;
    for (let i = 0; i < theirs.length; i++) if (theirs[i] !== ours[i]) different++;
    expect(different).toBe(0);
  },
);
