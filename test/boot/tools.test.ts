// Guests that are no operating systems: memtest86+ uses PAE paging and SMBus, iPXE switches modes all the time.
import { expect, test, vi } from 'vitest';
import { guest, haveGuests, isLongRun } from '../support/guests.ts';
import { boot } from '../support/vm.ts';

vi.setConfig({ testTimeout: 900_000 });

test.skipIf(!haveGuests('memtest86+.iso'))(
  'memtest86+ tests the memory it was given and finds no error',
  async () => {
    await using vm = await boot({ cdrom: guest('memtest86+.iso') });
    await vm.screen.waitFor(/Memtest86\+ v6[\s\S]*Status: Testing/);
    await vm.screen.waitFor(/Test #3/);
    expect(vm.screen.text).toMatch(/Memory\s*: +127MB/);
    expect(vm.screen.text).toMatch(/Errors: 0/);
  },
);

test.skipIf(!isLongRun || !haveGuests('memtest86+.iso'))(
  'memtest86+ makes a whole pass',
  async () => {
    await using vm = await boot({ cdrom: guest('memtest86+.iso'), memory: 16 });
    await vm.screen.waitFor(/Pass: +1 +Errors: 0/, 3_000_000);
  },
  3_100_000,
);

test.skipIf(!haveGuests('ipxe.iso'))('iPXE comes to its prompt', async () => {
  await using vm = await boot({ cdrom: guest('ipxe.iso') });
  await vm.screen.waitFor(/iPXE 1\.[\s\S]*Features: DNS HTTP/);
  await vm.screen.waitFor('Ctrl-B');
});
