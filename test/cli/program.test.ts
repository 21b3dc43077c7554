/** The program as a whole: exit codes and messages (measured on QEMU 7.2), monitor on stdio, snapshots by name. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createQcow2 } from '../../src/block/qcow2/create.ts';
import { buildProgram, endRuns, Run } from '../support/program-run.ts';
import { biosOf, HALT } from '../support/tiny-machine.ts';

const folder = mkdtempSync(join(tmpdir(), 'ambervm-cli-'));

beforeAll(buildProgram);

afterAll(() => {
  endRuns();
  rmSync(folder, { recursive: true, force: true });
});

/** Code for a BIOS: out dx, al. */
const out = (port: number, value: number) => [0xba, port & 0xff, port >> 8, 0xb0, value, 0xee];

function bios(name: string, code: readonly number[]): string {
  const path = join(folder, `${name}.bin`);
  writeFileSync(path, biosOf(code));
  return path;
}

async function outcome(...args: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const run = new Run(folder, args);
  const code = await run.exit;
  return { code, stdout: run.stdout, stderr: run.stderr };
}

const QUIET = ['-nodefaults', '-display', 'none', '-m', '2'];

describe('wrong use: message and exit code 1', () => {
  test.each([
    [['-bogus'], 'ambervm: -bogus: invalid option\n'],
    [
      ['-hda', 'nope.qcow2'],
      "ambervm: -hda nope.qcow2: Could not open 'nope.qcow2': No such file or directory\n",
    ],
    [['-bios', 'nope.bin'], "ambervm: could not load PC BIOS 'nope.bin'\n"],
    [['-kernel', 'nope'], "ambervm: could not open kernel file 'nope': No such file or directory\n"],
    [
      ['-serial', 'file:/nope/x'],
      "ambervm: -serial file:/nope/x: Could not open '/nope/x': No such file or directory\n" +
        "ambervm: -serial file:/nope/x: could not connect serial device to character backend 'file:/nope/x'\n",
    ],
    [['-monitor', 'stdio', '-serial', 'stdio'], /cannot use stdio by multiple character devices\n/],
    [['-nodefaults', '-loadvm', 'x'], /^ambervm: no block device can store vmstate for snapshot\n/],
    [
      ['-drive', 'file=empty.qcow2,bogus=1'],
      "ambervm: -drive file=empty.qcow2,bogus=1: Block format 'qcow2' does not support the option 'bogus'\n",
    ],
    [
      ['-nodefaults', '-hda', 'empty.qcow2', '-loadvm', 'nosuch'],
      /^ambervm: Snapshot 'nosuch' does not exist in one or more devices\n/,
    ],
    [['-drive', 'file=empty.qcow2,format=bogus'], /Unknown driver 'bogus'\n/],
  ] as const)('%j', async (args, message) => {
    if (!existsSync(join(folder, 'empty.qcow2'))) {
      await createQcow2(join(folder, 'empty.qcow2'), { sizeBytes: 1024 * 1024 });
    }
    const { code, stderr } = await outcome(...args);
    expect(code).toBe(1);
    if (typeof message === 'string') expect(stderr).toBe(message);
    else expect(stderr).toMatch(message);
  });

  test('help, version and lists go to standard output, code 0', async () => {
    const version = await outcome('-version');
    expect([version.code, version.stderr]).toEqual([0, '']);
    expect(version.stdout).toMatch(/^ambervm version \d+\.\d+\.\d+ /);
    const help = await outcome('-h');
    expect(help.stdout).toContain('Disks and images:\n-hda file       IDE disk 0\n');
  });
});

describe('how it ends', () => {
  test('isa-debug-exit: (value << 1) | 1', async () => {
    const path = bios('exit', [...out(0x501, 0x10), ...HALT]);
    expect((await outcome(...QUIET, '-bios', path, '-device', 'isa-debug-exit')).code).toBe(33);
  });

  test('a reset with -no-reboot: 0', async () => {
    const path = bios('reset', [...out(0x64, 0xfe), ...HALT]);
    expect((await outcome(...QUIET, '-bios', path, '-no-reboot')).code).toBe(0);
  });

  test('SIGTERM: says so, 0', async () => {
    const run = new Run(folder, [
      ...QUIET,
      '-bios',
      bios('ok', [...out(0x3f8, 0x41), ...HALT]),
      '-serial',
      'stdio',
    ]);
    await run.until('A');
    run.child.kill('SIGTERM');
    expect(await run.exit).toBe(0);
    expect(run.stderr).toMatch(/^ambervm: terminating on signal 15 from pid \d+ \(.*\)\n$/);
  });

  test('Ctrl-a x: `QEMU: Terminated`, 0; the end of input alone ends nothing', async () => {
    const path = bios('ok', [...out(0x3f8, 0x41), ...HALT]);
    const run = new Run(folder, [...QUIET, '-bios', path, '-serial', 'mon:stdio']);
    await run.until('A');
    run.child.stdin!.write('\x01x');
    expect(await run.exit).toBe(0);
    expect(run.stdout).toContain('QEMU: Terminated');
    const other = new Run(folder, [...QUIET, '-bios', path, '-monitor', 'stdio', '-serial', 'null']);
    await other.until('(qemu) ');
    other.child.stdin!.end();
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(other.child.exitCode).toBe(null);
    other.child.kill('SIGTERM');
    expect(await other.exit).toBe(0);
  });

  test('a stopped machine that nobody is connected to waits', async () => {
    const args = ['-S', '-serial', 'null', '-qmp', 'unix:waits.sock,server=on,wait=off'];
    const run = new Run(folder, [...QUIET, '-bios', bios('halt', HALT), ...args]);
    const socket = join(folder, 'waits.sock');
    await expect.poll(() => existsSync(socket), { timeout: 20_000 }).toBe(true);
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(run.child.exitCode).toBe(null);
    run.child.kill('SIGTERM');
    expect(await run.exit).toBe(0);
  });

  test('-serial file: holds every byte', async () => {
    const text = 'hello, serial port';
    const path = bios('text', [
      ...[...Buffer.from(text)].flatMap((c) => out(0x3f8, c)),
      ...out(0x501, 0),
      ...HALT,
    ]);
    await outcome(...QUIET, '-bios', path, '-serial', 'file:out.log', '-device', 'isa-debug-exit');
    expect(readFileSync(join(folder, 'out.log'), 'latin1')).toBe(text);
  });
});

describe('monitor and snapshots', () => {
  const args = () => [...QUIET, '-bios', bios('halt', HALT), '-monitor', 'stdio', '-hda', 'work.qcow2'];

  test('savevm, quit, -loadvm; -S stays stopped', async () => {
    await createQcow2(join(folder, 'work.qcow2'), { sizeBytes: 1024 * 1024 });
    const first = new Run(folder, args());
    await first.until('(qemu) ');
    expect(first.stdout).toMatch(/^QEMU \S+ monitor - type 'help' for more information\r\n\(qemu\) $/);
    expect(await first.command('savevm work')).toBe('');
    expect(await first.command('info snapshots')).toContain('\n--        work ');
    first.child.stdin!.write('quit\n');
    expect(await first.exit).toBe(0);

    const second = new Run(folder, [...args(), '-loadvm', 'work']);
    await second.until('(qemu) ');
    expect(await second.command('info status')).toBe('VM status: running\n');
    second.child.stdin!.write('q\n');
    await second.exit;

    const stopped = new Run(folder, [...args(), '-S', '-loadvm', 'work']);
    await stopped.until('(qemu) ');
    expect(await stopped.command('info status')).toMatch(/^VM status: paused/);
    expect(await stopped.command('c')).toBe('');
    expect(await stopped.command('info status')).toBe('VM status: running\n');
    stopped.child.stdin!.write('q\n');
    expect(await stopped.exit).toBe(0);
  });

  test('several commands at once are done one after the other', async () => {
    await createQcow2(join(folder, 'work.qcow2'), { sizeBytes: 1024 * 1024 });
    const run = new Run(folder, args());
    await run.until('(qemu) ');
    run.child.stdin!.write('stop\nsavevm a\ninfo status\nquit\n');
    expect(await run.exit).toBe(0);
    expect(run.stdout).toContain('VM status: paused\r\n');
  });

  test('Ctrl-a c goes from the serial port to the monitor and back', async () => {
    const path = bios('ok', [...out(0x3f8, 0x41), ...HALT]);
    const run = new Run(folder, [...QUIET, '-bios', path, '-serial', 'mon:stdio']);
    await run.until('A');
    expect(run.stdout).not.toContain('(qemu)');
    run.child.stdin!.write('\x01c');
    await run.until('(qemu) ');
    expect(await run.command('info chardev')).toBe('serial0-base: filename=stdio\nserial0: filename=mux\n');
    run.child.stdin!.write('quit\n');
    expect(await run.exit).toBe(0);
  });
});
