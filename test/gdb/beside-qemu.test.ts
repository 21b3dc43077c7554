/** The same gdb commands for QEMU 7.2 and for us, on the same guest: the demo's boot sector under SeaBIOS, stopped at first. */
import { type ChildProcess, spawn } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { buildMachine } from '../../src/cli/build-machine.ts';
import { parseCommandLine } from '../../src/cli/options.ts';
import { ROOT } from '../support/bundle.ts';
import { requireProgram } from '../support/programs.ts';
import { hasSeabios, SEABIOS } from '../support/qemu.ts';
import { runGdb, serveGdb } from './debugger.ts';

const folder = mkdtempSync(join(tmpdir(), 'ambervm-gdb-qemu-'));
let qemu: ChildProcess | undefined;
afterAll(() => {
  qemu?.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

/** What is compared line by line. */
const COMMANDS = [
  'info registers eax edx eip eflags cs fs_base gs_base k_gs_base cr0 cr2 cr3 cr4 cr8 efer',
  'info registers st0 fctrl fstat fiseg fioff foseg fooff fop xmm0 mxcsr',
  'x/4i 0xfffffff0',
  'x/16xb 0xffff0',
  ...['Hg0', 'Hc-1', 'T1', 'T9', 'vCont?', 'qAttached', 'qOffsets', 'qTStatus', 'qsThreadInfo', 'qSymbol::'],
  ...['p8', 'mffff0,10', 'M500,2:1234', 'm500,4', 'vMustReplyEmpty', 'Z9,7c00,4'],
  ...['qXfer:features:read:nope.xml:0,100', 'qqemu.sstepbits', 'qqemu.sstep', 'Qqemu.sstep=7'],
  ...['qqemu.PhyMemMode', 'Qqemu.PhyMemMode:1', 'm7c00,4', 'qqemu.PhyMemMode', 'Qqemu.PhyMemMode:0'],
  ...[0, 1, 2, 3, 4].flatMap((type) => [`Z${type},7c00,1`, `z${type},7c00,1`]),
  'break *0x7c00',
  'continue',
  'monitor info status',
  'info registers eax esp eip eflags cs ss cr0',
  'x/5i $pc',
  'stepi',
  'stepi',
  'stepi',
  'info registers eip',
  'delete',
  'hbreak *0x7c10',
  'delete',
  'watch *(int*)0x600',
  'rwatch *(int*)0x604',
  'awatch *(int*)0x608',
  'info watchpoints',
  'delete',
  'set $eax = 0x1234',
  'p/x $eax',
  'set *(int*)0x500 = 0x99',
  'x/xw 0x500',
  'p $fctrl',
  'p $mxcsr',
  'p $eflags',
].map((command) =>
  /^[a-z]+[ /]|^(continue|stepi|delete)$/.test(command) ? command : `maintenance packet ${command}`,
);

/** Without what names the program or the peer. */
function lines(text: string): string[] {
  return (
    text
      .replaceAll('\r', '')
      .split('\n')
      // The monitor's words come by another way: their place among the others is chance.
      .filter(
        (line) =>
          !/^VM status|^Remote debugging|warning:|determining executable|detached\]$|^\s*$/.test(line),
      )
  );
}

describe.skipIf(
  !requireProgram('gdb') || !requireProgram('qemu-system-i386') || !hasSeabios || !existsSync(SEABIOS),
)('beside QEMU 7.2 (skipped without gdb, qemu-system-i386, SeaBIOS)', () => {
  test('gdb prints the same', { timeout: 240_000 }, async () => {
    const disk = join(folder, 'demo.img');
    copyFileSync(join(ROOT, 'images/demo/demo.img'), disk);
    const socket = join(folder, 'gdb');
    const machine = ['-M', 'pc-i440fx-7.2,hpet=off,vmport=off', '-cpu', 'pentium3', '-m', '32', '-boot', 'a'];
    const rest = ['-nodefaults', '-vga', 'std', '-drive', `file=${disk},if=floppy,format=raw,snapshot=on`];
    const theirs = [
      ...machine,
      ...rest,
      '-display',
      'none',
      '-S',
      '-gdb',
      `unix:${socket},server=on,wait=off`,
    ];
    qemu = spawn('qemu-system-i386', theirs, { stdio: 'ignore' });
    await expect.poll(() => existsSync(socket), { timeout: 20_000 }).toBe(true);
    const expected = lines(await runGdb(undefined, socket, COMMANDS));

    const config = parseCommandLine([...machine, ...rest, '-bios', SEABIOS]);
    const own = await buildMachine(config, { serials: [], notice: () => {} });
    await using server = await serveGdb(own);
    try {
      expect(lines(await runGdb(undefined, server.port, COMMANDS))).toEqual(expected);
      expect(await runGdb(undefined, server.port, ['monitor info name', 'monitor info status'])).toMatch(
        /^VM status: paused( \(debug\))?$/m,
      );
      expect(expected.length).toBeGreaterThan(COMMANDS.length);
      expect(server.failures).toEqual([]);
    } finally {
      await own.close();
    }
  });
});
