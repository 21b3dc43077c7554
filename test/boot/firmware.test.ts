// The first thing a machine does: SeaBIOS and our own BIOS without a drive, and with the demo disk.
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { boot, type FirmwareName } from '../support/vm.ts';

vi.setConfig({ testTimeout: 900_000 });

const demo = join(import.meta.dirname, '../../images/demo/demo.img');

describe.each<FirmwareName>(['seabios', 'amberbios'])('%s', (firmware) => {
  test('says that there is nothing to boot', async () => {
    await using vm = await boot({ firmware });
    await vm.screen.waitFor('No bootable device');
    expect(vm.screen.size).toBe('720x400');
  });

  test('says so with an empty CD drive and 512 MiB too', async () => {
    await using vm = await boot({ firmware, memory: 512, bootOrder: 'd' });
    await vm.screen.waitFor('No bootable device');
  });

  test('boots the demo disk, which counts, checks its disk, answers keys and switches off', async () => {
    await using vm = await boot({ firmware, memory: 16, disk: { file: demo, format: 'raw' } });
    await vm.serial.waitFor(/tick 0003 disk OK .*errors=0/);
    vm.serial.type('t');
    await vm.serial.waitFor(/errors=0 key=t/);
    await vm.keyboard.press('x');
    await vm.serial.waitFor(/errors=0 key=x/);
    await vm.keyboard.press('q');
    await vm.waitForState('shutdown');
    expect(vm.serial.text).not.toContain('ERROR');
  });

  test('boots the demo disk again after a reset by the guest and by the host', async () => {
    await using vm = await boot({ firmware, memory: 16, disk: { file: demo, format: 'raw' } });
    await vm.serial.waitFor('tick 0002 disk OK');
    let from = vm.serial.text.length;
    await vm.keyboard.press('r');
    await vm.waitForResets(1);
    await vm.serial.waitFor('tick 0001 disk OK', undefined, from);
    from = vm.serial.text.length;
    vm.machine.reset();
    await vm.waitForResets(2);
    await vm.serial.waitFor('tick 0001 disk OK', undefined, from);
    expect(vm.serial.text).not.toContain('ERROR');
  });
});
