/**
 * The options that QEMU's users type from memory, one by one: what each does, seen by the monitor of a running program or in
 * what is read of the command line; and what is said of a wrong argument, in QEMU 7.2's words (measured).
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createQcow2 } from '../../src/block/qcow2/create.ts';
import type { Config } from '../../src/cli/config.ts';
import { placeDrives } from '../../src/cli/drives.ts';
import { EarlyExit } from '../../src/cli/early-exit.ts';
import { UsageError } from '../../src/cli/grammar.ts';
import { parseCommandLine } from '../../src/cli/options.ts';
import { buildProgram, endRuns, Run } from '../support/program-run.ts';
import { biosOf, HALT } from '../support/tiny-machine.ts';

const folder = mkdtempSync(join(tmpdir(), 'ambervm-must-'));
const parse = (line: string): Config => parseCommandLine(line.split(' '));

beforeAll(async () => {
  buildProgram();
  for (const name of ['a', 'b', 'c', 'd', 'e', 'g', 'm', 's']) {
    await createQcow2(join(folder, `${name}.qcow2`), { sizeBytes: 1 << 20 });
  }
  for (const name of ['f', 'h']) writeFileSync(join(folder, `${name}.img`), new Uint8Array(1_474_560));
  writeFileSync(join(folder, 'cd.iso'), new Uint8Array(1 << 20));
  writeFileSync(join(folder, 'halt.bin'), biosOf(HALT));
  writeFileSync(join(folder, 'halt.cfg'), '[name]\n  guest = "read"\n[ambervm]\n  m = "24"\n');
});
afterAll(() => {
  endRuns();
  rmSync(folder, { recursive: true, force: true });
});

/** Option and argument, monitor command, what it must print. */
type Effect = readonly [option: string, command: string, printed: string | RegExp];

const BASE = '-bios halt.bin -display none -monitor stdio -S';
/** Each group is one run of the program, with all its options. */
const EFFECTS: Readonly<Record<string, readonly Effect[]>> = {
  'old disks and machine': [
    ['-S', 'info status', 'VM status: paused (prelaunch)\n'],
    ['-M pc', 'info qtree', /bus: main-system-bus\n/],
    ['-machine pc-i440fx-7.2,hpet=off,vmport=off', 'info qtree', /dev: i440FX-pcihost/],
    ['-m 16', 'info memory_size_summary', /base memory: 16777216\n/],
    ['-cpu pentium', 'info registers', /EIP=0000fff0/],
    ['-smp 1', 'info cpus', /^\* CPU #0: thread_id=\d+\n$/],
    ['-hda a.qcow2', 'info block ide0-hd0', /^ide0-hd0 \(#block\d+\): a.qcow2 \(qcow2\)\n/],
    ['-hdb b.qcow2', 'info block ide0-hd1', /b.qcow2 \(qcow2\)\n/],
    ['-hdc c.qcow2', 'info block ide1-hd0', /c.qcow2 \(qcow2\)\n/],
    ['-hdd d.qcow2', 'info block ide1-hd1', /d.qcow2 \(qcow2\)\n/],
    ['-fda f.img', 'info block floppy0', /f.img \(raw\)\n/],
    ['-fdb h.img', 'info block floppy1', /h.img \(raw\)\n/],
    ['-boot order=dc', 'o /b 0x70 0x3d', ''],
    ['', 'i /b 0x71', 'portb[0x0071] = 0x23\n'],
    ['-bios halt.bin', 'xp/1xb 0xffff0', /^000ffff0: 0xe9|0xea|0x/],
    ['-name foo,debug-threads=on', 'info name', 'foo\n'],
    ['-uuid 550e8400-e29b-41d4-a716-446655440000', 'info uuid', '550e8400-e29b-41d4-a716-446655440000\n'],
    ['-rtc base=2006-06-17T16:01:21,clock=vm', 'o /b 0x70 0x09', ''],
    ['', 'i /b 0x71', 'portb[0x0071] = 0x06\n'],
    ['-vga std', 'info pci', /VGA controller/],
    ['-serial null', 'info chardev', /^serial0: filename=null$/m],
    ['-parallel none', 'info chardev', /^(?!.*parallel)/],
    ['-monitor stdio', 'info chardev', /^compat_monitor0: filename=stdio$/m],
    ['-qmp unix:q.sock,server=on,wait=off', 'info chardev', /filename=disconnected:unix:.*q.sock,server=on/],
    ['-vnc 127.0.0.1:77,to=99', 'info vnc', /Server: 127\.0\.0\.1:59\d\d \(ipv4\)/],
    ['-nic none', 'info network', ''],
    ['-accel tcg', 'info kvm', 'kvm support: disabled\n'],
    ['-d int -D int.log', 'info name', 'foo\n'],
    ['-trace runstate_*', 'info trace-events runstate_set', 'runstate_set : state 1\n'],
    ['-pidfile pid', 'info name', 'foo\n'],
    ['-k de', 'info name', 'foo\n'],
    ['-action reboot=shutdown', 'info status', /paused/],
  ],
  'drives, devices, snapshot': [
    ['-nodefaults', 'info block nosuch', /not found/],
    ['-drive file=e.qcow2,if=none,id=x', 'info block', /^x \(#block\d+\): e.qcow2/],
    ['-device ide-hd,drive=x,bus=ide.1,unit=1,bootindex=2', 'info qtree', /ide-hd/],
    ['-blockdev driver=file,filename=g.qcow2,node-name=f', 'info name', ''],
    ['-blockdev driver=qcow2,file=f,node-name=q', 'info block', /^q \(q\): g.qcow2/m],
    ['-device ide-hd,drive=q,id=disk,bootindex=1', 'o /b 0x70 0x3d', ''],
    ['', 'i /b 0x71', 'portb[0x0071] = 0x02\n'],
    ['-cdrom cd.iso', 'info block ide1-cd0', /cd.iso \(raw, read-only\)/],
    ['-snapshot', 'info block q', /copy-on-write/],
    ['-chardev ringbuf,id=ring,size=1K', 'info chardev', /^ring: filename=ringbuf$/m],
    ['-device isa-serial,chardev=ring', 'o /b 0x3f8 0x41', ''],
    ['', 'ringbuf_read ring 10', 'A\n'],
    ['', 'ringbuf_write ring "x\\ry"', ''],
    ['', 'ringbuf_read ring 10', 'x\\u000Dy\n'],
    ['-chardev null,id=mon0 -mon mon0', 'info chardev', /^mon0: filename=null$/m],
    ['-global isa-debug-exit.iobase=0xf4', 'info name', ''],
    ['-device isa-debug-exit,iosize=4', 'info mtree', /00000000000000f4-00000000000000f7.*isa-debug-exit/],
    ['-device VGA,vgamem_mb=16', 'info pci', /VGA controller/],
    ['-icount shift=4,sleep=off', 'info status', /paused/],
  ],
  // The machine stands before its first instruction, with a disk and an empty CD drive.
  monitor: [
    ['-nodefaults -hda m.qcow2 -drive if=ide,index=2,media=cdrom -vga std -m 16', 'stop', ''],
    ['', 'help savevm', /^savevm .*tag -- save a VM snapshot/],
    ['', 'savevm one', ''],
    ['', 'info snapshots', /^-- {8}one /m],
    ['', 'loadvm one', ''],
    ['', 'delvm one', ''],
    ['', 'cont', ''],
    ['', 'info status', 'VM status: running\n'],
    ['', 'stop', ''],
    ['', 'info status', 'VM status: paused\n'],
    ['', 'system_reset', ''],
    ['', 'info status', 'VM status: paused (prelaunch)\n'],
    ['', 'system_powerdown', ''],
    ['', 'screendump s.ppm', ''],
    ['', 'screendump s.png -f png', ''],
    ['', 'sendkey ctrl-alt-f1 20', ''],
    ['', 'sendkey bogus', 'invalid parameter: bogus\n'],
    ['', 'mouse_move 3 -4 1', ''],
    ['', 'mouse_button 1', ''],
    ['', 'xp/4xb 0xfff0', /^000000000000fff0:( 0x[0-9a-f]{2}){4}\n$/],
    ['', 'x/2i $eip', /^0x[0-9a-f]{8}: {2}.*\n0x[0-9a-f]{8}: {2}.*\n$/],
    ['', 'p/x $eip', '0xfff0\n'],
    ['', 'print 1+2*3', '0x7\n'],
    ['', 'o /b 0x80 1', ''],
    ['', 'i /b 0x61', /^portb\[0x0061\] = 0x[0-9a-f]{2}\n$/],
    ['', 'change ide1-cd0 cd.iso', ''],
    ['', 'eject ide1-cd0', ''],
    ['', 'info block ide1-cd0', /not inserted\]\n.*\n.*tray open/],
    ['', 'commit nosuch', "Device 'nosuch' not found\n"],
    ['', 'gdbserver none', 'Disabled gdbserver\n'],
    ['', 'log none', ''],
    ['', 'log bogus', /^Log items \(comma separated\):/],
    ['', 'logfile mon.log', ''],
    ['', 'logfile /nope/x', /^Error opening logfile \/nope\/x: No such file or directory/m],
    ['', 'trace-event machine_reset on', ''],
    ['', 'info trace-events machine_*', 'machine_reset : state 1\n'],
    ['', 'memsave 0 16 mem.bin', ''],
    ['', 'pmemsave 0xffff0 16 pmem.bin', ''],
    ['', 'nmi', ''],
    ['', 'boot_set c', 'boot device list now set to c\n'],
    ['', 'sum 0 16', /^\d{5}\n$/],
    ['', 'info block -v', /^Format specific information:\n {4}compat: 1.1$/m],
    ['', 'info blockstats', /^ide0-hd0: rd_bytes=0 /],
    ['', 'info registers', /EAX=/],
    ['', 'info cpus', /CPU #0/],
    ['', 'info pic', /^pic0: irr=/m],
    ['', 'info irq', /^IRQ statistics for isa-i8259:/m],
    ['', 'info mtree', /\(prio 0, i\/o\): pic$/m],
    ['', 'info qtree', /drive = "ide0-hd0"/],
    ['', 'info pci', /IDE controller: PCI device 8086:7010/],
    ['', 'info mem', 'PG disabled\n'],
    ['', 'info tlb', 'PG disabled\n'],
    ['', 'info jit', /^units /m],
    ['', 'info device', /i8254/],
    ['', 'info vnc', /None|disabled/],
    ['', 'info mice', '* Mouse #2: QEMU PS/2 Mouse\n'],
    ['', 'info version', /^ambervm \d/],
    ['', 'info history', /^0: '.*'$/m],
    ['', 'info bogus', "unknown command: 'info bogus'\n"],
    ['', 'bogus', "unknown command: 'bogus'\n"],
    ['', 'loadvm', 'loadvm: string expected\nTry "help loadvm" for more information\n'],
    ['', 'delvm nosuch', "There is no snapshot 'nosuch'.\n"],
  ],
  'from a file': [
    ['-nodefaults -readconfig halt.cfg', 'info name', 'read\n'],
    ['--smp 1', 'info memory_size_summary', /base memory: 25165824\n/],
  ],
};

describe.each(Object.entries(EFFECTS))('%s', (_name, effects) => {
  let run: Run;
  beforeAll(async () => {
    const words = `${BASE} ${effects.map(([option]) => option).join(' ')}`.split(' ');
    const args = words.filter((word, i) => word !== '' && !(word === '-S' && words.indexOf('-S') < i));
    // Given once already.
    const monitor = args.lastIndexOf('-monitor');
    if (monitor !== args.indexOf('-monitor')) args.splice(monitor, 2);
    run = new Run(folder, args);
    await run.until('(qemu) ');
  }, 60_000);

  test.each(effects)('%s: %s', async (_option, command, printed) => {
    const text = await run.command(command);
    if (typeof printed === 'string') expect(text).toBe(printed);
    else expect(text).toMatch(printed);
  });

  test('quit ends with 0', async () => {
    run.child.stdin!.write('quit\n');
    expect(await run.exit).toBe(0);
  });
});

test('files that options name: -D, -pidfile', async () => {
  expect(existsSync(join(folder, 'int.log'))).toBe(true);
  const run = new Run(folder, `${BASE} -nodefaults -pidfile pid2`.split(' '));
  await run.until('(qemu) ');
  expect(readFileSync(join(folder, 'pid2'), 'latin1')).toBe(`${run.child.pid}\n`);
  run.child.stdin!.write('quit\n');
  await run.exit;
  expect(existsSync(join(folder, 'pid2'))).toBe(false);
});

test('-loadvm: what the snapshot holds; -nographic: monitor and serial port on one terminal', async () => {
  const disk = '-bios halt.bin -hda s.qcow2';
  const first = new Run(folder, `${disk} -display none -serial null -monitor stdio`.split(' '));
  await first.until('(qemu) ');
  expect(await first.command('savevm one')).toBe('');
  first.child.stdin!.write('quit\n');
  await first.exit;
  const second = new Run(folder, '-bios halt.bin -hda s.qcow2 -nographic -loadvm one'.split(' '));
  await new Promise((resolve) => setTimeout(resolve, 300));
  second.child.stdin!.write('\x01c');
  await second.until('(qemu) ');
  expect(await second.command('info snapshots')).toContain('--        one ');
  second.child.stdin!.write('\x01x');
  expect(await second.exit).toBe(0);
});

test('-d, -D, -trace: lines as documented, patterns from a file, turned on and off in the monitor', async () => {
  writeFileSync(join(folder, 'events'), '# a remark\nsavevm_*\n-savevm_begin\n');
  const line =
    '-nodefaults -hda s.qcow2 -d cpu_reset,trace:runstate_* -trace enable=machine_reset,file=t.log';
  const run = new Run(folder, [...BASE.split(' '), ...line.split(' '), '-trace', 'events=events']);
  await run.until('(qemu) ');
  const shown = await run.command('info trace-events *_begin');
  expect(shown).toContain('savevm_begin : state 0\n');
  await run.command('savevm t');
  await run.command('cont');
  await run.command('trace-event machine_reset off');
  await run.command('system_reset');
  await run.command('trace-event machine_reset on');
  await run.command('system_reset');
  run.child.stdin!.write('quit\n');
  expect(await run.exit).toBe(0);
  const log = readFileSync(join(folder, 't.log'), 'utf8');
  expect(log).toMatch(/^runstate_set current prelaunch, new running$/m);
  expect(log).toMatch(/^savevm_end tag t, bytes \d+, error$/m);
  expect(log).not.toContain('savevm_begin');
  expect(log.match(/^machine_reset by host$/gm)).toHaveLength(1);
  expect(log).toMatch(/^CPU Reset \(CPU 0\)\nEAX=[0-9a-f]{8} EBX=/m);
});

/** What is read of the command line, where no monitor shows it. */
const READ: readonly (readonly [line: string, config: object])[] = [
  ['-s', { gdb: 'tcp::1234' }],
  ['-gdb tcp:127.0.0.1:2345,server=on,wait=off', { gdb: 'tcp:127.0.0.1:2345,server=on,wait=off' }],
  ['-no-reboot', { noReboot: true }],
  ['-no-shutdown', { noShutdown: true }],
  ['-action shutdown=pause,panic=none', { noShutdown: true }],
  ['-L /usr/share/seabios', { dataDirs: ['/usr/share/seabios'] }],
  ['-display curses', { curses: '-display curses' }],
  ['-kernel k -initrd i -append console=ttyS0', { kernel: 'k', initrd: 'i', append: 'console=ttyS0' }],
  ['-icount auto', { icount: { shift: 3, sleep: true } }],
  ['-drive file=d,cache.direct=on', { drives: [{ cache: 'none' }] }],
  ['-drive file=d,cache=none,cache.writeback=off', { drives: [{ cache: 'directsync' }] }],
  ['-drive file.filename=d,driver=qcow2,file.locking=off', { drives: [{ file: 'd', lock: false }] }],
  [
    '-blockdev {"driver":"qcow2","node-name":"q","read-only":true,"file":{"driver":"file","filename":"d"}}',
    { drives: [{ file: 'd', id: 'q', nodeName: 'q', interface: 'none', format: 'qcow2', readOnly: true }] },
  ],
  ['-device isa-serial,index=1', { serials: [{ spec: { kind: 'none' } }, { spec: { kind: 'null' } }] }],
  ['-chardev null,id=p -device isa-parallel,chardev=p', { parallel: { spec: { kind: 'null' } } }],
  ['-drive if=none,id=f -device floppy,drive=f,unit=1', { drives: [{ interface: 'floppy', unit: 1 }] }],
  ['-device ide-cd', { drives: [{ media: 'cdrom', file: undefined }] }],
];

test.each(READ)('%s', (line, config) => {
  expect(parse(line)).toMatchObject(config);
});

function complaint(line: string): string {
  try {
    placeDrives(parse(line).drives);
  } catch (error) {
    if (error instanceof UsageError) return error.message;
    if (error instanceof EarlyExit) return `exit ${error.code}: ${error.text.split('\n')[0]}`;
    throw error;
  }
  return 'accepted';
}

/** More of what QEMU says, beside options.test.ts. */
const WRONG: readonly (readonly [line: string, message: string])[] = [
  ['-smp bogus', "Parameter 'smp.cpus' expects integer"],
  ['-cpu host', "CPU model 'host' requires KVM or HVF"],
  ['-M pc,help', 'exit 0: pc-i440fx-7.2-machine options:'],
  ['-accel tcg,bogus=1', "-accel tcg,bogus=1: Property 'tcg-accel.bogus' not found"],
  ['-display none,foo=1', "-display none,foo=1: Parameter 'foo' is unexpected"],
  ['-rtc help', 'exit 0: rtc options:'],
  ['-drive bogus', '-drive bogus: Must specify either driver or file'],
  ['-drive file=d,format=?', 'exit 0: Supported formats: qcow2 raw'],
  ['-chardev help', 'exit 0: Available chardev backend types: '],
  ['-chardev file,id=x', '-chardev file,id=x: chardev: file: no filename given'],
  ['-chardev null,id=x -chardev null,id=x', "-chardev null,id=x: Duplicate ID 'x' for chardev"],
  [
    '-chardev ringbuf,id=x,size=1000',
    '-chardev ringbuf,id=x,size=1000: size of ringbuf chardev must be power of two',
  ],
  ['-device help', 'exit 0: Storage devices:'],
  ['-device isa-debug-exit,help', 'exit 0: isa-debug-exit options:'],
  ['-device ide-hd', '-device ide-hd: No drive specified'],
  ['-device ide-hd,drive=z', "-device ide-hd,drive=z: Property 'ide-hd.drive' can't find value 'z'"],
  ['-device ide-cd,bus=ide.7', "-device ide-cd,bus=ide.7: Bus 'ide.7' not found"],
  [
    '-device isa-serial,chardev=z',
    "-device isa-serial,chardev=z: Property 'isa-serial.chardev' can't find value 'z'",
  ],
  ['-blockdev node-name=x', "-blockdev node-name=x: Parameter 'driver' is missing"],
  [
    '-blockdev driver=bogus,node-name=x',
    "-blockdev driver=bogus,node-name=x: Parameter 'driver' does not accept value 'bogus'",
  ],
  ['-blockdev driver=qcow2', "-blockdev driver=qcow2: Parameter 'file' is missing"],
  [
    '-blockdev driver=qcow2,node-name=x,file=nope',
    "-blockdev driver=qcow2,node-name=x,file=nope: Cannot find device='nope' nor node-name='nope'",
  ],
  ['-global bogus', "-global bogus: Invalid parameter 'bogus'"],
  ['-usb', '-usb: there is no USB'],
  ['-daemonize', '-daemonize: start it with `&` or nohup'],
];

test.each(WRONG)('%s', (line, message) => {
  expect(complaint(line)).toBe(message);
});
