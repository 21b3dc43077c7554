// The Debian installer, text and graphical, to its first question. Two minutes each on a quiet machine: long run only.
import { expect, test, vi } from 'vitest';
import { guest, haveGuests, isLongRun } from '../support/guests.ts';
import { boot, type TestVm } from '../support/vm.ts';

vi.setConfig({ testTimeout: 3_600_000 });

const WAIT_MS = 3_000_000;
const SIZE = '1280x800';

/** How many pixels of the screen have this colour (0xrrggbb). */
function count(vm: TestVm, colour: number): number {
  const { rgb } = vm.machine.screen!.render(false);
  let pixels = 0;
  for (let i = 0; i < rgb.length; i += 3) {
    if (((rgb[i]! << 16) | (rgb[i + 1]! << 8) | rgb[i + 2]!) === colour) pixels++;
  }
  return pixels;
}

/** Waits until the screen has at least so many pixels of a colour. */
async function waitForColour(vm: TestVm, colour: number, pixels: number): Promise<void> {
  const end = Date.now() + WAIT_MS;
  while (vm.screen.size !== SIZE || count(vm, colour) < pixels) {
    if (Date.now() > end) throw vm.failure(`fewer than ${pixels} pixels of ${colour.toString(16)}`);
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

const BLUE = 0x0000aa;
const GREY = 0xaaaaaa;
const RED = 0xaa0000;
const WHITE = 0xffffff;

test.skipIf(!isLongRun || !haveGuests('installer-linux', 'installer-text.gz'))(
  'Debian installer, text: the list of languages, and the cursor in it',
  async () => {
    await using vm = await boot({
      kernel: guest('installer-linux'),
      initrd: guest('installer-text.gz'),
      append: 'vga=normal',
      memory: 512,
    });
    // A grey dialog on blue; one line of the list in red.
    await waitForColour(vm, GREY, 500_000);
    await waitForColour(vm, RED, 4_000);
    expect(count(vm, BLUE)).toBeGreaterThan(50_000);
    const before = Buffer.from(vm.machine.screen!.render(false).rgb);
    await vm.keyboard.press('down');
    await vm.screen.waitForPicture(SIZE);
    expect(before.equals(vm.machine.screen!.render(false).rgb)).toBe(false);
  },
);

test.skipIf(!isLongRun || !haveGuests('installer-linux', 'installer-gtk.gz'))(
  'Debian installer, graphical: the list of languages',
  async () => {
    await using vm = await boot({
      kernel: guest('installer-linux'),
      initrd: guest('installer-gtk.gz'),
      append: 'vga=788',
      memory: 768,
    });
    // The list is white, the line that is chosen dark green on it.
    await waitForColour(vm, WHITE, 600_000);
    const before = Buffer.from(await vm.screen.waitForPicture(SIZE));
    await vm.keyboard.press('down');
    const after = await vm.screen.waitForPicture(SIZE);
    expect(before.equals(after)).toBe(false);
    expect(count(vm, WHITE)).toBeGreaterThan(600_000);
  },
);
