// QEMU's test-i386 and its self-checking x87 programs, in Debian's Linux: line for line what they print under QEMU's TCG.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { guest, haveGuests, isLongRun } from '../support/guests.ts';
import { hasQemu, hasSeabios, Qemu } from '../support/qemu.ts';
import { buildTcgInitramfs, outputs, SELF_CHECKING, tcgTestsAvailable } from '../support/tcg-tests.ts';
import { boot } from '../support/vm.ts';

const RUN_MS = isLongRun ? 3_600_000 : 300_000;
vi.setConfig({ testTimeout: 60_000, hookTimeout: 3 * RUN_MS });

const COMMAND = 'sh /tests/run\n';
const APPEND = 'console=ttyS0,115200 quiet cryptomgr.notests';

/** What TCG gets wrong: an Intel Xeon prints our line. */
const SETTLED = [
  {
    ours: 'fpuc=037f fpus=1c00 fptag=003f',
    theirs: 'fpuc=037f fpus=1e00 fptag=003f',
    why: 'FLD clears C1 (SDM 2A, FLD); TCG leaves what an earlier instruction set',
  },
];

const available =
  hasQemu && hasSeabios && tcgTestsAvailable() && haveGuests('vmlinuz-686', 'initramfs-686.gz');

describe.skipIf(!available)(
  'QEMU’s i386 tests (skipped without its source, gcc -m32, cpio, QEMU, SeaBIOS)',
  () => {
    const folder = mkdtempSync(join(tmpdir(), 'ambervm-tcg-'));
    const initrd = join(folder, 'initrd');
    let ours = new Map<string, string[]>();
    let theirs = new Map<string, string[]>();

    beforeAll(async () => {
      buildTcgInitramfs(guest('initramfs-686.gz'), initrd);
      const kernel = guest('vmlinuz-686');
      const qemu = await Qemu.start({
        memoryMiB: 128,
        kernel: { file: kernel, initrd, append: APPEND },
      });
      try {
        await qemu.serial.waitFor('GUEST-READY', 300_000);
        qemu.serial.send(COMMAND);
        await qemu.serial.waitFor('@@ END', RUN_MS);
        theirs = outputs(qemu.serial.text);
      } finally {
        await qemu[Symbol.asyncDispose]();
      }
      await using vm = await boot({ kernel, initrd, append: APPEND });
      await vm.serial.waitFor('GUEST-READY');
      vm.serial.type(COMMAND);
      await vm.serial.waitFor('@@ END', RUN_MS);
      ours = outputs(vm.serial.text);
    });
    afterAll(() => rmSync(folder, { recursive: true }));

    test.each(['test-i386', ...SELF_CHECKING])('%s', (name) => {
      const expected = theirs.get(name);
      expect(expected?.length).toBeGreaterThan(0);
      const found = ours.get(name) ?? [];
      const different = expected!.flatMap((line, i) =>
        line === found[i] || SETTLED.some((s) => s.ours === found[i] && s.theirs === line)
          ? []
          : [`${i}\n  ours   ${found[i]}\n  theirs ${line}`],
      );
      expect(different.slice(0, 40)).toEqual([]);
      expect(found).toHaveLength(expected!.length);
    });
  },
);
