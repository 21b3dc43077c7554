import { describe, expect, test } from 'vitest';
import { placeDrives } from './drives.ts';
import { UsageError } from './grammar.ts';
import { EarlyExit } from './early-exit.ts';
import { helpText, OPTION_GROUPS, parseCommandLine } from './options.ts';

const parse = (line: string) => parseCommandLine(line.split(' ').filter((word) => word !== ''));

/** The message, or what is printed by an option that only informs. */
function complaint(line: string): string {
  try {
    const config = parse(line);
    placeDrives(config.drives);
  } catch (error) {
    if (error instanceof UsageError) return error.message;
    if (error instanceof EarlyExit) return `exit ${error.code}: ${error.text.split('\n')[0]}`;
    throw error;
  }
  return 'accepted';
}

// What qemu-system-i386 7.2.22 prints behind its name.
const MEASURED: readonly (readonly [string, string])[] = [
  ['-bogus', '-bogus: invalid option'],
  ['--bogus', '--bogus: invalid option'],
  ['-m', '-m: requires an argument'],
  ['-m 16,foo=1', "-m 16,foo=1: Invalid parameter 'foo'"],
  ['-cpu bogus', "unable to find CPU model 'bogus'"],
  ['-M bogus', 'unsupported machine type\nUse -machine help to list supported machines'],
  ['-M pc,bogus=1', "Property 'pc-i440fx-7.2-machine.bogus' not found"],
  ['-M pc,hpet=maybe', "Parameter 'hpet' expects 'on' or 'off'"],
  ['-vga bogus', 'unknown vga type: bogus'],
  ['-boot order=z', "Invalid boot device 'z'"],
  ['-boot bogus', "Invalid boot device 'u'"],
  ['-boot foo=1', "Parameter 'boot.foo' is unexpected"],
  ['-rtc base=bogus', "invalid datetime format\nvalid formats: '2006-06-17T16:01:21' or '2006-06-17'"],
  ['-rtc foo=1', "-rtc foo=1: Invalid parameter 'foo'"],
  ['-rtc clock=foo', "invalid option value 'foo'"],
  ['-icount bogus', '-icount bogus: icount: Invalid shift value'],
  ['-icount shift=99', '-icount shift=99: icount: Invalid shift value'],
  [
    '-serial bogus:',
    "-serial bogus:: 'bogus:' is not a valid char driver\n" +
      "-serial bogus:: could not connect serial device to character backend 'bogus:'",
  ],
  [
    '-serial chardev:foo',
    "-serial chardev:foo: could not connect serial device to character backend 'chardev:foo'",
  ],
  [
    '-monitor bogus',
    "-monitor bogus: 'bogus' is not a valid char driver\n-monitor bogus: parse error: bogus",
  ],
  ['-chardev null', '-chardev null: chardev: no id specified'],
  ['-chardev null,id=x,foo=1', "-chardev null,id=x,foo=1: Invalid parameter 'foo'"],
  ['-mon chardev=x', '-mon chardev=x: chardev "x" not found'],
  ['-action foo=1', "-action foo=1: Invalid parameter 'foo'"],
  ['-action panic=foo', "-action panic=foo: Parameter 'panic' does not accept value 'foo'"],
  ['-device bogus', "-device bogus: 'bogus' is not a valid device model name"],
  ['-device isa-debug-exit,foo=1', "-device isa-debug-exit,foo=1: Property 'isa-debug-exit.foo' not found"],
  ['-device isa-debug-exit,iobase=q', "-device isa-debug-exit,iobase=q: Parameter 'iobase' expects integer"],
  ['-accel bogus', '-accel bogus: invalid accelerator bogus'],
  ['-hda a -hda b', '-hda b: drive with bus=0, unit=0 (index=0) exists'],
  ['-hda a -drive file=b,index=0', '-drive file=b,index=0: drive with bus=0, unit=0 (index=0) exists'],
  ['-drive if=bogus', "-drive if=bogus: unsupported bus type 'bogus'"],
  ['-vmstate-drive file=v,if=ide', '-vmstate-drive file=v,if=ide: if= can only be none here'],
  [
    '-vmstate-drive file=v,readonly=on',
    '-vmstate-drive file=v,readonly=on: VM state cannot be saved in a read-only image',
  ],
  [
    '-vmstate-drive file=v -vmstate-drive file=w',
    '-vmstate-drive file=w: there is one already\n(all VM state goes to one image)',
  ],
  ['-drive file=d,cache=foo', '-drive file=d,cache=foo: invalid cache option'],
  [
    '-drive file=d,readonly=maybe',
    "-drive file=d,readonly=maybe: Parameter 'read-only' expects 'on' or 'off'",
  ],
  ['-drive file=d,index=x', "-drive file=d,index=x: Parameter 'index' expects a number"],
  ['-drive file=d,index=9', '-drive file=d,index=9: machine type does not support if=ide,bus=4,unit=1'],
  ['-drive file=d,bus=5', '-drive file=d,bus=5: machine type does not support if=ide,bus=5,unit=0'],
  ['-drive file=d,media=foo', "-drive file=d,media=foo: 'foo' invalid media"],
  ['-drive file=d,aio=foo', '-drive file=d,aio=foo: invalid aio option'],
  ['-drive file=d,discard=foo', '-drive file=d,discard=foo: Invalid discard option'],
  ['-drive file=d,werror=foo', "-drive file=d,werror=foo: 'foo' invalid write error action"],
  ['-uuid foo', '-uuid foo: failed to parse UUID string: wrong format'],
  ['-name a,foo=b', "-name a,foo=b: Invalid parameter 'foo'"],
  ['-initrd d', '-initrd only allowed with -kernel option'],
  ['-append d', '-append only allowed with -kernel option'],
  ['-display bogus', "-display bogus: Parameter 'type' does not accept value 'bogus'"],
  ['-smp 2,foo=3', "Invalid SMP CPUs 2. The max CPUs supported by machine 'pc-i440fx-7.2' is 1"],
  ['-M help', 'exit 0: Supported machines are:'],
  ['-cpu ?', 'exit 0: Available CPUs:'],
  ['-accel help', 'exit 0: Accelerators supported in ambervm:'],
  ['-boot help', 'exit 0: boot-opts options:'],
  ['-d bogus', 'exit 1: Log items (comma separated):'],
];

describe('messages as measured on QEMU', () => {
  test.each(MEASURED)('%s', (line, message) => {
    expect(complaint(line)).toBe(message);
  });
});

describe('grammar', () => {
  test('one dash or two', () => {
    expect(parse('--m 16 --nodefaults')).toEqual(parse('-m 16 -nodefaults'));
  });

  test('a name alone is the first disk', () => {
    expect(placeDrives(parse('disk.qcow2').drives)).toMatchObject([
      { device: 'ide0-hd0', index: 0, config: { file: 'disk.qcow2', where: 'disk.qcow2' } },
    ]);
  });

  test("drives get QEMU's names and places", () => {
    const line =
      '-hda a -drive file=b -cdrom c -hdd d -fda e -drive file=f,if=floppy -drive file=g,,h,index=1,id=x';
    const names = (words: string) => placeDrives(parse(words).drives).map(({ device }) => device);
    expect(names(line.split(' -drive file=g')[0]!)).toEqual([
      ...['ide0-hd0', 'ide0-hd1', 'ide1-cd0', 'ide1-hd1', 'floppy0', 'floppy1'],
    ]);
    const named = placeDrives(parse('-drive file=g,,h,index=1,id=x').drives)[0]!;
    expect([named.device, named.index, named.config.file]).toEqual(['x', 1, 'g,h']);
  });

  test('icount, rtc, boot', () => {
    expect(parse('-icount 4,sleep=off').icount).toEqual({ shift: 4, sleep: false });
    expect(parse('-icount shift=auto').icount).toEqual({ shift: 3, sleep: true });
    expect(parse('-rtc base=2006-06-17T16:01:21,clock=vm')).toMatchObject({
      rtcBase: Date.UTC(2006, 5, 17, 16, 1, 21) / 1000,
      rtcClock: 'vm',
    });
    expect(parse('-boot d')).toMatchObject({ bootOrder: 'd' });
    expect(parse('-boot once=d,menu=on,order=c')).toMatchObject({
      bootOnce: 'd',
      bootMenu: true,
      bootOrder: 'c',
    });
  });

  test('serial ports and monitors', () => {
    const { serials, monitors } = parse(
      '-serial mon:stdio -serial tcp:[::1]:4000,server,nowait -monitor unix:m,server=on',
    );
    expect(serials[0]).toMatchObject({ mux: true, spec: { kind: 'stdio' } });
    expect(serials[1]!.spec).toEqual({
      kind: 'tcp',
      host: '::1',
      port: 4000,
      server: true,
      wait: false,
      telnet: false,
    });
    expect(monitors[0]!.spec).toMatchObject({ kind: 'unix', path: 'm', server: true, wait: true });
  });

  test('a shared chardev', () => {
    const { serials, monitors } = parse('-chardev stdio,id=c,mux=on -serial chardev:c -mon c');
    expect([serials[0]!.id, serials[0]!.mux, monitors[0]!.id]).toEqual(['c', true, 'c']);
  });
});

test('what QEMU has and we have not is refused with a word on it', () => {
  expect(complaint('-vnc :9,tls-creds=x')).toBe("-vnc :9,tls-creds=x: 'tls-creds' is not supported");
  expect(complaint('-gdb bogus')).toBe("-gdb bogus: 'bogus' is not a valid char driver");
});

test('-vnc', () => {
  expect(parse('-vnc :9').vnc).toMatchObject({
    address: { kind: 'tcp', host: '127.0.0.1', port: 5909 },
    webSocket: undefined,
    password: false,
  });
  expect(parse('-vnc 0.0.0.0:1,websocket=on,password').vnc).toMatchObject({
    address: { host: '0.0.0.0', port: 5901 },
    webSocket: { host: '0.0.0.0', port: 5701 },
    password: true,
  });
  expect(parse('-vnc unix:/tmp/v,websocket=7000').vnc).toMatchObject({
    address: { kind: 'unix', path: '/tmp/v' },
    webSocket: { host: '127.0.0.1', port: 7000 },
  });
  expect(parse('-vnc none').vnc).toBeUndefined();
  for (const [value, message] of [
    ['foo', 'no vnc port specified'],
    [':bogus', "can't convert to a number: bogus"],
    [':-1', "can't convert to a number: -1"],
    [':70000', 'port 70000 out of range'],
    [':9,bogus=on', "Invalid parameter 'bogus'"],
    [':9,password=zz', "Parameter 'password' expects 'on' or 'off'"],
    [':9,websocket=zz', 'address resolution failed for 127.0.0.1:zz: Servname not supported for ai_socktype'],
  ] as const) {
    expect(complaint(`-vnc ${value}`)).toBe(`-vnc ${value}: ${message}`);
  }
});

test('help names every option, in groups', () => {
  const text = helpText();
  for (const { title, options } of OPTION_GROUPS) {
    expect(text).toContain(`${title}:\n`);
    for (const { name } of options) expect(text).toMatch(new RegExp(`(^|\\n)-${name}( |\\n)`));
  }
});
