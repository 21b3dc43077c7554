/**
 * The options, one table: name, argument, help, what it does. Grammar, names and messages are QEMU's; what is accepted
 * without effect is listed in IGNORED, everything else is an error. Not here: those that print something and end (options.ts).
 */
import { CPUS, LOG_ITEMS, VGA_TYPES } from './choices.ts';
import { DEFAULT_GDB_DEVICE } from './gdb.ts';
import { LIMIT_KEYS, parseDrive } from './drives.ts';
import { EarlyExit } from './early-exit.ts';
import { isHelp, parsePairs } from './grammar.ts';
import { SYSTEM_FIRMWARE_DIRS } from '../host/firmware.ts';
import { addBlockdev } from './blockdev.ts';
import { addDevice, setGlobal } from './devices.ts';
import * as characters from './character-options.ts';
import * as set from './handlers.ts';
import { flag, floppy, ide, ignored, type OptionGroup, text } from './option.ts';
import { setTrace } from './trace.ts';
import { parseVnc } from './vnc.ts';

export const STANDARD: OptionGroup = {
  title: 'Standard options',
  options: [
    {
      name: 'machine',
      aliases: ['M'],
      argument: '[type=]name[,prop=value…]',
      help: 'machine: pc (pc-i440fx-7.2); hpet=off and vmport=off are accepted',
      handler: set.setMachine,
    },
    {
      name: 'cpu',
      argument: 'model',
      help: 'CPU model (-cpu help for a list)',
      values: CPUS.map(([name]) => name),
      handler: set.setCpu,
    },
    {
      name: 'accel',
      argument: 'tcg',
      help: 'accelerator: tcg only',
      handler: set.setAccelerator,
    },
    { name: 'smp', argument: '1', help: 'number of CPUs: 1', handler: set.setSmp },
    {
      name: 'm',
      argument: '[size=]megs',
      help: 'guest memory, MiB or with K M G (default 128, at most 3072)',
      handler: set.setMemory,
    },
    {
      name: 'boot',
      argument: '[order=drives][,once=drives][,menu=on|off][,splash-time=ms]',
      help: 'boot order: floppy (a), disk (c), CD (d)',
      handler: set.setBoot,
    },
    { name: 'name', argument: 'name', help: 'name of the guest', handler: set.setName },
    { name: 'uuid', argument: 'uuid', help: 'UUID of the machine', handler: set.setUuid },
    {
      name: 'device',
      argument: 'driver[,prop=value…]',
      help: 'a device by name (-device help for a list): ide-hd,drive=id, ide-cd, floppy, isa-serial, …',
      handler: addDevice,
    },
    {
      name: 'global',
      argument: 'driver.prop=value',
      help: 'a property of all devices of a kind',
      handler: setGlobal,
    },
    {
      name: 'rtc',
      argument: '[base=utc|localtime|date][,clock=host|rt|vm]',
      help: 'date and time of the guest',
      handler: set.setRtc,
    },
    {
      name: 'icount',
      argument: '[shift=]N|auto[,sleep=on|off]',
      help: 'virtual time is counted instructions, 2^N ns each: runs repeat exactly',
      handler: set.setIcount,
    },
  ],
};

export const BLOCK: OptionGroup = {
  title: 'Disks and images',
  options: [
    { name: 'hda', argument: 'file', help: 'IDE disk 0', handler: ide(0) },
    { name: 'hdb', argument: 'file', help: 'IDE disk 1', handler: ide(1) },
    { name: 'hdc', argument: 'file', help: 'IDE disk 2', handler: ide(2) },
    { name: 'hdd', argument: 'file', help: 'IDE disk 3', handler: ide(3) },
    { name: 'cdrom', argument: 'file', help: 'CD image (IDE 2)', handler: ide(2, 'cdrom') },
    { name: 'fda', argument: 'file', help: 'floppy A', handler: floppy(0) },
    { name: 'fdb', argument: 'file', help: 'floppy B', handler: floppy(1) },
    {
      name: 'drive',
      argument:
        'file=f[,if=ide|floppy|none][,format=raw|qcow2][,media=disk|cdrom][,index=i][,readonly=on][,snapshot=on]…',
      help: 'a drive',
      handler: (config, value, where) => {
        const drive = parseDrive(value, where);
        const limit = parsePairs(value).find(({ key }) => LIMIT_KEYS.includes(key));
        if (limit !== undefined) config.warnings.push(`${where}: '${limit.key}' has no effect`);
        config.drives.push(drive);
      },
    },
    {
      name: 'blockdev',
      argument: '[driver=]qcow2|raw|file,node-name=name,…',
      help: 'an image by name, for -device …,drive=name; pairs or JSON',
      handler: addBlockdev,
    },
    {
      name: 'vmstate-drive',
      argument: 'file=f[,format=qcow2][,cache=mode]…',
      help: 'an image that the guest does not see, for the VM state of savevm',
      handler: set.setVmStateDrive,
    },
    { name: 'snapshot', help: 'write to memory instead of the images', handler: flag('snapshot', true) },
    { name: 'loadvm', argument: 'tag|id', help: 'start with this saved state', handler: text('loadvm') },
  ],
};

export const DISPLAY: OptionGroup = {
  title: 'Display, serial ports and monitor',
  options: [
    {
      name: 'vga',
      argument: 'std|none',
      help: 'video card',
      values: VGA_TYPES.map(([name]) => name),
      handler: set.setVga,
    },
    {
      name: 'display',
      argument: 'none|curses|web[=port][,host=address]|vnc=…',
      help: 'display: none, text on this terminal, a page for the browser (its address is printed), or as -vnc',
      values: ['none', 'curses', 'web'],
      handler: set.setDisplay,
    },
    {
      name: 'curses',
      help: 'shorthand for -display curses',
      handler: (config, _value, where) => {
        config.curses = where;
      },
    },
    {
      name: 'vnc',
      argument: '[host]:display[,websocket=on|port][,password=on]…',
      help: 'VNC server on TCP port 5900 + display of this computer (-vnc none for none)',
      handler: (config, value, where) => {
        config.vnc = parseVnc(value, where);
      },
    },
    {
      name: 'nographic',
      help: 'serial port and monitor together on the terminal (Ctrl-a h for help)',
      handler: flag('noGraphic', true),
    },
    {
      name: 'serial',
      argument: 'dev',
      help: 'serial port: stdio, mon:stdio, pty, file:path, unix:path, tcp:host:port[,server=on,wait=off], telnet:…, null, none',
      handler: characters.addSerial,
    },
    {
      name: 'monitor',
      argument: 'dev',
      help: 'monitor, on the same kinds of device',
      handler: characters.addMonitor,
    },
    {
      name: 'chardev',
      argument: 'backend,id=id[,prop=value…]',
      help: 'a device by name',
      handler: characters.addChardev,
    },
    {
      name: 'mon',
      argument: '[chardev=]id[,mode=readline|control][,pretty=on]',
      help: 'monitor on a device by name',
      handler: characters.addMon,
    },
    { name: 'qmp', argument: 'dev', help: 'QMP monitor, for programs', handler: characters.addQmp },
    {
      name: 'qmp-pretty',
      argument: 'dev',
      help: 'the same with line breaks',
      handler: characters.addQmpPretty,
    },
    { name: 'nodefaults', help: 'no devices but those named', handler: flag('noDefaults', true) },
  ],
};

export const BOOT: OptionGroup = {
  title: 'Firmware and kernel',
  options: [
    {
      name: 'bios',
      argument: 'file',
      help: 'system firmware; `amberbios` is our own (default: SeaBIOS where found)',
      handler: text('bios'),
    },
    {
      name: 'L',
      argument: 'path',
      help: 'folder to look for firmware in',
      handler: (config, value) => {
        if (isHelp(value)) throw new EarlyExit(`${SYSTEM_FIRMWARE_DIRS.join('\n')}\n`);
        config.dataDirs.push(value);
      },
    },
    {
      name: 'kernel',
      argument: 'bzImage',
      help: 'Linux or multiboot kernel to start',
      handler: text('kernel'),
    },
    { name: 'initrd', argument: 'file', help: 'initial RAM disk, or modules', handler: text('initrd') },
    { name: 'append', argument: 'cmdline', help: 'kernel command line', handler: text('append') },
  ],
};

export const DEBUG: OptionGroup = {
  title: 'Running and debugging',
  options: [
    { name: 'S', help: "do not start the CPU ('c' in the monitor does)", handler: flag('startPaused', true) },
    { name: 'no-reboot', help: 'exit instead of rebooting', handler: flag('noReboot', true) },
    { name: 'no-shutdown', help: 'stop instead of exiting at power-off', handler: flag('noShutdown', true) },
    {
      name: 'action',
      argument: 'reboot=reset|shutdown[,shutdown=poweroff|pause]',
      help: 'what follows such an event',
      handler: set.setAction,
    },
    { name: 'gdb', argument: 'dev', help: 'gdb server: tcp::PORT or unix:PATH', handler: set.setGdb },
    {
      name: 's',
      help: 'short for -gdb tcp::1234',
      handler: (config) => set.setGdb(config, DEFAULT_GDB_DEVICE, '-s'),
    },
    {
      name: 'd',
      argument: 'item,…',
      help: 'log these items (-d help for a list)',
      values: LOG_ITEMS.flatMap(([name]) => (/^[a-z_]+$/.test(name) ? [name] : [])),
      handler: set.setLog,
    },
    {
      name: 'trace',
      argument: '[[enable=]pattern][,events=file][,file=file]',
      help: 'log trace events (-trace help for a list)',
      handler: setTrace,
    },
    { name: 'D', argument: 'file', help: 'log to this file instead of stderr', handler: text('logFile') },
    {
      name: 'pidfile',
      argument: 'file',
      help: 'write our process id to this file',
      handler: text('pidFile'),
    },
  ],
};

/** Accepted because scripts give them, without effect: what they ask for is so anyway, or has no meaning here. */
export const IGNORED: OptionGroup = {
  title: 'Accepted without effect',
  options: [
    {
      name: 'nic',
      argument: 'none',
      help: 'no network',
      handler: set.only(['none'], 'there is no network card'),
    },
    {
      name: 'net',
      argument: 'none',
      help: 'no network',
      handler: set.only(['none'], 'there is no network card'),
    },
    {
      name: 'parallel',
      argument: 'dev',
      help: 'redirect the parallel port to a character device (file:…, null, chardev:…)',
      handler: characters.setParallel,
    },
    { name: 'k', argument: 'layout', help: 'keyboard layout of a display', handler: ignored('-k') },
    { name: 'no-hpet', help: 'there is no HPET', handler: () => {} },
    { name: 'no-fd-bootchk', help: 'no check of a boot floppy', handler: () => {} },
    { name: 'no-user-config', help: 'no configuration files are read', handler: () => {} },
    { name: 'enable-kvm', help: 'there is no acceleration', handler: ignored('-enable-kvm') },
    { name: 'msg', argument: 'timestamp=on|off', help: 'message format', handler: ignored('-msg') },
    { name: 'sandbox', argument: 'on|off', help: 'system call filter', handler: ignored('-sandbox') },
  ],
};

/** QEMU has them and users type them: better told what is the matter than "invalid option". */
export const REFUSED: OptionGroup = {
  title: 'Not supported (yet)',
  options: [
    { name: 'netdev', argument: 'dev', help: 'network', handler: set.refuse('there is no network card') },
    { name: 'usb', help: 'USB', handler: set.refuse('there is no USB') },
    { name: 'daemonize', help: 'run in the background', handler: set.refuse('start it with `&` or nohup') },
    {
      name: 'incoming',
      argument: 'uri',
      help: 'live migration',
      handler: set.refuse('live migration is not supported; use savevm and -loadvm'),
    },
  ],
};
