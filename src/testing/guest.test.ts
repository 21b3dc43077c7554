/** The test library, used as its users do: the demo guest with our own BIOS, booted once. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, test as plain } from 'vitest';
import { expect, expectScreen, expectSerial, Guest, type GuestSpec, guestTest } from './index.ts';

const DEMO = fileURLToPath(new URL('../../images/demo/demo.img', import.meta.url));
const cacheDir = mkdtempSync(join(tmpdir(), 'ambervm-cache-'));
const spec: GuestSpec = {
  machine: { hda: DEMO, memory: '8M', bios: 'amberbios.bin', icount: true },
  boot: async (vm) => {
    await vm.run({ until: vm.serial().waitFor(/tick 0*1 /) });
    await vm.run({ until: vm.keyboard.type('t') });
    await vm.run({ until: vm.serial().waitFor(/tick 0*3 /) });
  },
  cacheDir,
};
const test = guestTest(spec);

afterAll(() => rmSync(cacheDir, { recursive: true, force: true }));

describe('one boot, many tests', () => {
  test('goes on where it stood', async ({ vm }) => {
    await expectSerial(vm, /tick 0*4 /);
  });
  test('goes on where it stood again', async ({ vm, guest }) => {
    const before = vm.instructions;
    await expectSerial(vm, /tick 0*4 /);
    expect(guest.wasBooted).toBe(true);
    expect(vm.instructions).toBeGreaterThan(before);
  });
  test('has a screen with text', async ({ vm }) => {
    await expectScreen(vm, 'ambervm');
    expect(vm).toShowText(/ambervm/);
  });
  test('shows the same picture every time', async ({ vm }) => {
    await vm.run({ instructions: 1_000_000 });
    const file = join(cacheDir, 'screens', 'demo.png');
    expect(vm).toHaveScreen(file);
    await vm.loadvm('booted');
    await vm.run({ instructions: 1_000_000 });
    expect(vm).toHaveScreen(file);
  });
});

plain('the next run does not boot; another machine does', async () => {
  await using again = await Guest.open(spec);
  expect(again.wasBooted).toBe(false);
  await using other = await Guest.open({ ...spec, machine: { ...spec.machine, memory: '9M' } });
  expect(other.wasBooted).toBe(true);
  expect(readdirSync(cacheDir).filter((name) => /^[0-9a-f]{64}$/.test(name))).toHaveLength(2);
});

plain('a boot that fails leaves nothing in the cache', async () => {
  const bad = { ...spec, version: 'bad', boot: () => Promise.reject(new Error('no boot')) };
  await expect(Guest.open(bad)).rejects.toThrow('no boot');
  expect(readdirSync(cacheDir).filter((name) => name.startsWith('boot-'))).toEqual([]);
});
