/** Debian's gdb on Debian's kernel: a breakpoint by symbol, 1,000 steps, a variable watched, memory and registers changed. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { guest, haveGuests } from '../support/guests.ts';
import { kernelWithSymbols } from '../support/kernel-symbols.ts';
import { requireProgram } from '../support/programs.ts';
import { boot } from '../support/vm.ts';
import { runGdb, serveGdb } from './debugger.ts';

const folder = mkdtempSync(join(tmpdir(), 'ambervm-gdb-linux-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const hasTools = ['gdb', 'objcopy', 'xz'].every((program) => requireProgram(program));

/** The values before and after each hit of the watchpoint. */
function changes(output: string): (readonly [number, number])[] {
  return [...output.matchAll(/Old value = (-?\d+)\s+New value = (-?\d+)/g)].map(
    ([, before, after]) => [Number(before), Number(after)] as const,
  );
}

describe.skipIf(!hasTools || !haveGuests('vmlinuz-686', 'initramfs-686.gz'))(
  'gdb on Linux (skipped without gdb, objcopy, xz, guests)',
  () => {
    test('from start_kernel to init', async () => {
      const elf = join(folder, 'vmlinux');
      kernelWithSymbols(guest('vmlinuz-686'), elf, ['start_kernel', 'jiffies', 'do_timer', 'kernel_init']);
      await using vm = await boot({
        kernel: guest('vmlinuz-686'),
        initrd: guest('initramfs-686.gz'),
        append: 'nokaslr console=ttyS0,115200 cryptomgr.notests',
        memory: 64,
        paused: true,
      });
      await using server = await serveGdb(vm.machine);
      const output = await runGdb(elf, server.port, [
        'break start_kernel',
        'continue',
        'info registers cr0',
        'delete',
        'stepi 1000',
        'printf "stepped: paging %d, in the kernel %d\\n", (unsigned)$cr0 >> 31, $eip > 0xc1000000',
        'watch *(int*)&jiffies',
        'continue',
        'info symbol $eip',
        'continue',
        'delete',
        'break do_timer if $eax == 1',
        'continue',
        'set *(int*)&jiffies = *(int*)&jiffies + 1000',
        'printf "jiffies %d, eax %d\\n", *(int*)&jiffies, $eax',
        'set $edi = 0x1234',
        'printf "edi %x\\n", $edi',
        'x/i $eip',
        'delete',
        'hbreak kernel_init',
        'continue',
        'detach',
      ]);
      expect(output).toMatch(/^Breakpoint 1, 0xc\w+ in start_kernel \(\)$/m);
      expect(output).toMatch(/^cr0 +0x8005003[13]/m);
      expect(output).toContain('stepped: paging 1, in the kernel 1');
      const seen = changes(output);
      expect(seen).toHaveLength(2);
      for (const [before, after] of seen) expect(after).toBe(before + 1);
      expect(output).toMatch(/^do_timer \+ \d+ in section .text/m);
      expect(output).toMatch(/^Breakpoint 3, 0xc\w+ in do_timer \(\)$/m);
      expect(output).toContain(`jiffies ${seen[1]![1] + 1000}, eax 1`);
      expect(output).toContain('edi 1234');
      expect(output).toContain('<do_timer>:');
      expect(output).toMatch(/^Breakpoint 4, 0xc\w+ in kernel_init \(\)$/m);

      // Detached, the guest goes on.
      expect(vm.machine.running).toBe(true);
      const from = vm.serial.text.length;
      await vm.serial.waitFor(/PCI: Using configuration type/, undefined, from);
      expect(server.failures).toEqual([]);
    }, 900_000);
  },
);
