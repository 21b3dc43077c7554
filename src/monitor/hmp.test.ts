import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { tinyMachine } from '../../test/support/tiny-machine.ts';
import { openImage } from '../block/open.ts';
import { createQcow2 } from '../block/qcow2/create.ts';
import type { Machine } from '../machine/machine.ts';
import type { MonitorHost } from './command.ts';
import { COMMANDS } from './commands/index.ts';
import { Hmp } from './hmp.ts';

const folder = mkdtempSync(join(tmpdir(), 'ambervm-hmp-'));
const files = new Map<string, Uint8Array>();
let machine: Machine;
let hmp: Hmp;

const host: MonitorHost = {
  version: 'ambervm test',
  name: 'box',
  uuid: undefined,
  processId: 42,
  async writeFile(path, data) {
    if (path.startsWith('/nope')) throw new Error('No such file or directory');
    files.set(path, data instanceof Uint8Array ? data : Buffer.concat([...data]));
  },
  encodePng: (width, height) => Uint8Array.of(0x89, width & 0xff, height & 0xff),
  encodePpm: (width, height) => Uint8Array.of(0x50, width & 0xff, height & 0xff),
  openImage: (filename, options) => openImage(filename, options),
  characters: () => [{ label: 'serial0', filename: 'null' }],
  imageFacts: async () => ({}),
  gdbserver: async (device) => `gdbserver ${device}\n`,
  setLogFile: () => {},
  setLog: (items) => items.every((item) => item === 'unimp' || item === 'none'),
  logHelp: () => 'Log items (comma separated):\n',
  completeFile: (prefix) => ['disk.img', 'dump.bin'].filter((name) => name.startsWith(prefix)),
  quit: () => {},
};

beforeAll(async () => {
  const path = join(folder, 'd.qcow2');
  await createQcow2(path, { sizeBytes: 1024 * 1024 });
  machine = await tinyMachine(undefined, { disk: await openImage(path, { format: 'qcow2' }) });
  hmp = new Hmp({ machine, host });
});

afterAll(async () => {
  await machine.close();
  rmSync(folder, { recursive: true, force: true });
});

const run = (line: string) => hmp.execute(line);

describe('words as QEMU says them', () => {
  test.each([
    ['', ''],
    ['# a comment', ''],
    ['bogus', "unknown command: 'bogus'\n"],
    ['info bogus', "unknown command: 'info bogus'\n"],
    ['sav x', "unknown command: 'sav'\n"],
    ['loadvm', 'loadvm: string expected\nTry "help loadvm" for more information\n'],
    [
      'savevm a b',
      'savevm: extraneous characters at the end of line\nTry "help savevm" for more information\n',
    ],
    ['stop x', 'stop|s: extraneous characters at the end of line\nTry "help stop" for more information\n'],
    [
      'info version x',
      'version: extraneous characters at the end of line\nTry "help info version" for more information\n',
    ],
    ['screendump', 'screendump: filename expected\nTry "help screendump" for more information\n'],
    ['eject', 'eject: block device name expected\nTry "help eject" for more information\n'],
    ['x', 'unexpected end of expression\nTry "help x" for more information\n'],
    ['p $bogus', 'unknown register\nTry "help p" for more information\n'],
    [
      'help savevm',
      'savevm [-b] [-z] tag -- save a VM snapshot (-b: while the guest runs, -z: compressed). If no tag is provided, a new snapshot is created\n',
    ],
    ['help quit', 'quit|q  -- quit the emulator\n'],
    ['help info status', 'info status  -- show the current VM status (running|paused)\n'],
    ['help bogus', "unknown command: 'bogus'\n"],
    ['eject bogus', "Error: Device 'bogus' not found\n"],
    ['eject ide0-hd0', "Error: Device 'ide0-hd0' is not removable\n"],
    ['change ide1-cd0 nope', "Error: Could not open 'nope': No such file or directory\n"],
    ['screendump a -f foo', 'Error: invalid parameter value: foo\n'],
    ['screendump /nope/x', "Error: failed to open file '/nope/x': No such file or directory\n"],
    ['pmemsave 0 16 "/nope/x"', "Error: Could not open '/nope/x': No such file or directory\n"],
    ['sendkey foo', 'invalid parameter: foo\n'],
    ['sendkey ctrl-foo', 'invalid parameter: foo\n'],
    ['sendkey ctrl-alt-delete', ''],
    ['boot_set c', 'boot device list now set to c\n'],
    ['boot_set zz', "Invalid boot device 'z'\n"],
    ['info name', 'box\n'],
    ['info uuid', '00000000-0000-0000-0000-000000000000\n'],
    ['info chardev', 'serial0: filename=null\n'],
    ['info cpus', '* CPU #0: thread_id=42\n'],
    ['info mem', 'PG disabled\n'],
    ['info snapshots', 'There is no snapshot available.\n'],
    ['info status', 'VM status: paused (prelaunch)\n'],
  ])('%s', async (line, text) => {
    expect(await run(line)).toBe(text);
  });

  test('aliases are fixed, not prefixes', async () => {
    expect(await run('p/x 255')).toBe('0xff\n');
    expect(await run('? stop')).toBe('stop|s  -- stop emulation\n');
    expect(await run('qui')).toBe("unknown command: 'qui'\n");
  });
});

describe('memory', () => {
  beforeAll(() =>
    machine.memory.write(
      0x1000,
      Uint8Array.from({ length: 32 }, (_, i) => i * 9),
    ),
  );

  test.each([
    ['xp/4xb 0x1000', '0000000000001000: 0x00 0x09 0x12 0x1b\n'],
    ['x/3xh 0x1000', '00001000: 0x0900 0x1b12 0x2d24\n'],
    ['x/2xg 0x1000', '00001000: 0x3f362d241b120900 0x877e756c635a5148\n'],
    ['x/3uh 0x1000', '00001000:  2304  6930 11556\n'],
    ['x/3dw 0x1018', '00001018: -202710568  386795004          0\n'],
    ['xp/9xb 0x1000', '0000000000001000: 0x00 0x09 0x12 0x1b 0x24 0x2d 0x36 0x3f\n0000000000001008: 0x48\n'],
    ['x/3cb 0x1020', "00001020: '\\x00' '\\x00' '\\x00'\n"],
    ['p/d 0x10', '16\n'],
    ['p/c 65', "'A'\n"],
    ['p/x 0', '0\n'],
    ['sum 0x1000 4', '16422\n'],
  ])('%s', async (line, text) => {
    expect(await run(line)).toBe(text);
  });

  test('formats stay for the next command', async () => {
    await run('xp/2xb 0x1000');
    expect(await run('xp 0x1001')).toBe('0000000000001001: 0x09\n');
  });

  test('pmemsave writes what is there; the name is quoted, or the slash divides', async () => {
    expect(await run('pmemsave 0x1000 4 "/tmp/m"')).toBe('');
    expect([...files.get('/tmp/m')!]).toEqual([0, 9, 18, 27]);
    expect(await run('pmemsave 0x1000 4 /tmp/m')).toContain("invalid char 't' in expression");
  });
});

describe('the machine', () => {
  test('cont, stop, savevm, loadvm, delvm', async () => {
    expect(await run('c')).toBe('');
    expect(await run('info status')).toBe('VM status: running\n');
    expect(await run('savevm one')).toBe('');
    expect(await run('info snapshots')).toMatch(
      /^List of snapshots present on all disks:\nID {8}TAG .*\n-- {8}one .*\n$/,
    );
    expect(await run('loadvm zz')).toMatch(/^Error: Snapshot 'zz' does not exist in one or more devices\n/);
    expect(await run('info status')).toBe('VM status: running\n');
    expect(await run('stop')).toBe('');
    expect(await run('loadvm one')).toBe('');
    expect(await run('info status')).toBe('VM status: paused\n');
    expect(hmp.complete('loadvm ').words).toEqual(['1', 'one']);
    expect(await run('delvm one')).toBe('');
    expect(await run('delvm one')).toBe("There is no snapshot 'one'.\n");
  });

  test('screendump: PNG by the name, PPM otherwise, -f decides', async () => {
    await run('screendump a.png');
    await run('screendump b.ppm');
    await run('screendump c.png -f ppm');
    expect(['a.png', 'b.ppm', 'c.png'].map((name) => files.get(name)![0])).toEqual([0x89, 0x50, 0x50]);
  });

  test('info registers, pic, pci and mtree have their shapes', async () => {
    expect(await run('info registers')).toMatch(/\nEIP=[0-9a-f]{8} EFL=[0-9a-f]{8} \[.{7}\] CPL=0 /);
    expect(await run('info pic')).toContain('pic0: irr=');
    expect(await run('info pci')).toContain(
      '  Bus  0, device   1, function 1:\n    IDE controller: PCI device 8086:7010\n',
    );
    expect(await run('info mtree -f')).toContain('0000000000000040-0000000000000043 (prio 0, i/o): ');
    expect(await run('info block')).toContain('ide1-cd0: [not inserted]\n');
  });
});

describe('completion', () => {
  test.each([
    ['sav', ['savevm']],
    ['info s', ['snapshots', 'status']],
    ['help inf', ['info']],
    ['eject ide', ['ide0-hd0', 'ide1-cd0']],
    ['change ide1-cd0 d', ['disk.img', 'dump.bin']],
    ['sendkey ctrl-al', ['ctrl-alt', 'ctrl-alt_r']],
    ['bogus x', []],
  ])('%s', (line, words) => {
    expect(hmp.complete(line).words).toEqual(words);
  });
});

test('every command has help, and its parameters name its arguments', () => {
  for (const { name, params, help, args } of COMMANDS.flatMap((c) => [c, ...(c.subcommands ?? [])])) {
    expect(help, name).not.toBe('');
    const isShown = args.every(({ kind }) => kind === 'flag') || params !== '';
    expect(isShown, name).toBe(true);
  }
});
