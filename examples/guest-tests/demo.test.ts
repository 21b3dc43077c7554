import { DEMO_IMAGE } from 'ambervm';
import { expect, expectScreen, expectSerial, guestTest } from 'ambervm/testing';
import { afterAll, describe } from 'vitest';

// The demo prints a line a second on its serial port: "tick 0007 disk OK writes=140 …"; `t` is text mode, `h` help.
const test = guestTest({
  machine: { hda: DEMO_IMAGE, memory: '8M', bios: 'amberbios.bin', icount: true },
  boot: async (vm) => {
    await vm.run({ until: vm.serial().waitFor('tick 0001') });
    await vm.run({ until: vm.keyboard.type('t') });
    await vm.run({ until: vm.serial().waitFor('tick 0003') });
  },
});

const restoreMs: number[] = [];
test.beforeEach(async ({ guest }) => {
  const begin = performance.now();
  await guest.restore();
  restoreMs.push(performance.now() - begin);
});
afterAll(() => {
  restoreMs.sort((a, b) => a - b);
  const [median, longest] = [restoreMs[restoreMs.length >> 1], restoreMs.at(-1)];
  console.log(
    `restored ${restoreMs.length} times, median ${median?.toFixed(1)} ms, longest ${longest?.toFixed(1)} ms`,
  );
});

describe('the demo disk', () => {
  for (const n of [1, 2, 3]) {
    test(`goes on with tick 4, every time (${n})`, async ({ vm }) => {
      const [line] = await expectSerial(vm, /tick \d+.*/);
      expect(line).toContain('tick 0004');
    });
  }

  test('finds no fault on its disk', async ({ vm }) => {
    const [line] = await expectSerial(vm, /tick 0006.*/);
    expect(line).toContain('disk OK');
    expect(line).toContain('errors=0');
  });

  test('answers keys', async ({ vm }) => {
    await vm.run({ until: vm.keyboard.type('h') });
    await expectSerial(vm, 'key=h');
  });

  test('answers the serial port', async ({ vm }) => {
    vm.serial().write('h');
    await expectSerial(vm, 'key=h');
  });

  test('shows its name in text mode', async ({ vm }) => {
    await expectScreen(vm, 'ambervm');
    expect(vm).toShowText('ambervm demo');
  });

  test('switches to graphics', async ({ vm }) => {
    await vm.run({ until: vm.keyboard.type('t') });
    await vm.run({ until: vm.screen.waitForPicture(({ height }) => height === 200 || height === 400) });
    expect(vm.screen.png().length).toBeGreaterThan(100);
  });

  test('begins anew after a reset', async ({ vm }) => {
    vm.reset();
    await expectSerial(vm, 'tick 0001');
  });

  test('powers off by key q', async ({ vm }) => {
    vm.keyboard.key('q', true);
    await vm.run({ timeoutMs: 30_000 });
    expect(vm.state).toBe('shutdown');
  });
});
