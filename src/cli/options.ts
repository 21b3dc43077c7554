/**
 * The options, one table: name, argument, help, what it does. Grammar, names and messages are QEMU's; what is accepted
 * without effect is listed in IGNORED, everything else is an error.
 */
import { CPUS, LOG_ITEMS, VGA_TYPES } from './choices.ts';
import { DEFAULT_GDB_DEVICE } from './gdb.ts';
import { type Config, emptyConfig } from './config.ts';
import { GENERATED_KINDS, generate } from './generate.ts';
import { parseDrive, simpleDrive } from './drives.ts';
import { UsageError } from './grammar.ts';
import * as set from './handlers.ts';
import { EarlyExit } from './early-exit.ts';
import type { Handler } from './handlers.ts';
import { readConfigFile } from './read-config.ts';
import { setTrace } from './trace.ts';
import { VERSION, VERSION_TEXT } from './version.ts';
import { parseVnc } from './vnc.ts';

export interface Option {
  readonly name: string;
  readonly aliases?: readonly string[];
  /** How the argument is shown; without it the option takes none. */
  readonly argument?: string;
  readonly help: string;
  /** Values to choose from, for shells' completion; not all that there may be. */
  readonly values?: readonly string[];
  readonly handler: Handler;
}

export interface OptionGroup {
  readonly title: string;
  readonly options: readonly Option[];
}

const flag =
  <K extends keyof Config>(key: K, value: Config[K]): Handler =>
  (config) => {
    config[key] = value;
  };

const text =
  (key: 'bios' | 'kernel' | 'initrd' | 'append' | 'loadvm' | 'pidFile' | 'logFile'): Handler =>
  (config, value) => {
    config[key] = value;
  };

const ide =
  (index: number, media: 'disk' | 'cdrom' = 'disk'): Handler =>
  (config, value, where) => {
    config.drives.push(simpleDrive(value, where, { interface: 'ide', media, index }));
  };

const floppy =
  (index: number): Handler =>
  (config, value, where) => {
    config.drives.push(simpleDrive(value, where, { interface: 'floppy', media: 'disk', index }));
  };

const STANDARD: OptionGroup = {
  title: 'Standard options',
  options: [
    { name: 'h', aliases: ['help'], help: 'display this help and exit', handler: showHelp },
    {
      name: 'readconfig',
      argument: 'file',
      help: 'options from a file: [group "id"] and key = "value" lines',
      handler: readOptions,
    },
    {
      name: 'generate',
      argument: GENERATED_KINDS.join('|'),
      help: 'print the manual page, a shell’s completions, the list of monitor commands',
      handler: showGenerated,
    },
    { name: 'version', help: 'display version information and exit', handler: showVersion },
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
      help: 'isa-debug-exit[,iobase=n][,iosize=n]',
      handler: set.addDevice,
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

const BLOCK: OptionGroup = {
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
        config.drives.push(parseDrive(value, where));
      },
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

const DISPLAY: OptionGroup = {
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
      handler: set.addSerial,
    },
    {
      name: 'monitor',
      argument: 'dev',
      help: 'monitor, on the same kinds of device',
      handler: set.addMonitor,
    },
    {
      name: 'chardev',
      argument: 'backend,id=id[,prop=value…]',
      help: 'a device by name',
      handler: set.addChardev,
    },
    {
      name: 'mon',
      argument: '[chardev=]id[,mode=readline|control][,pretty=on]',
      help: 'monitor on a device by name',
      handler: set.addMon,
    },
    { name: 'qmp', argument: 'dev', help: 'QMP monitor, for programs', handler: set.addQmp },
    { name: 'qmp-pretty', argument: 'dev', help: 'the same with line breaks', handler: set.addQmpPretty },
    { name: 'nodefaults', help: 'no devices but those named', handler: flag('noDefaults', true) },
  ],
};

const BOOT: OptionGroup = {
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
        config.dataDirs.push(value);
      },
    },
    { name: 'kernel', argument: 'bzImage', help: 'Linux kernel to start', handler: text('kernel') },
    { name: 'initrd', argument: 'file', help: 'initial RAM disk', handler: text('initrd') },
    { name: 'append', argument: 'cmdline', help: 'kernel command line', handler: text('append') },
  ],
};

const DEBUG: OptionGroup = {
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
const IGNORED: OptionGroup = {
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
      handler: set.setParallel,
    },
    { name: 'k', argument: 'layout', help: 'keyboard layout of a display', handler: ignored('-k') },
    { name: 'no-hpet', help: 'there is no HPET', handler: () => {} },
    { name: 'no-fd-bootchk', help: 'no check of a boot floppy', handler: () => {} },
    { name: 'no-user-config', help: 'no configuration files are read', handler: () => {} },
    { name: 'enable-kvm', help: 'there is no acceleration', handler: ignored('-enable-kvm') },
    { name: 'global', argument: 'driver.prop=value', help: 'device property', handler: ignored('-global') },
    { name: 'msg', argument: 'timestamp=on|off', help: 'message format', handler: ignored('-msg') },
    { name: 'sandbox', argument: 'on|off', help: 'system call filter', handler: ignored('-sandbox') },
  ],
};

/** QEMU has them and users type them: better told what is the matter than "invalid option". */
const REFUSED: OptionGroup = {
  title: 'Not supported (yet)',
  options: [
    {
      name: 'blockdev',
      argument: 'node',
      help: 'block node',
      handler: set.refuse('use -drive file=…,if=ide|floppy|none instead'),
    },
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

export const OPTION_GROUPS: readonly OptionGroup[] = [
  STANDARD,
  BLOCK,
  DISPLAY,
  BOOT,
  DEBUG,
  IGNORED,
  REFUSED,
];

function ignored(name: string): Handler {
  return (config) => {
    config.warnings.push(`${name}: accepted, no effect`);
  };
}

const BY_NAME: ReadonlyMap<string, Option> = new Map(
  OPTION_GROUPS.flatMap(({ options }) =>
    options.flatMap((option) =>
      [option.name, ...(option.aliases ?? [])].map((name) => [name, option] as const),
    ),
  ),
);

/** Reads the command line (without the program's name). Throws UsageError or EarlyExit. */
export function parseCommandLine(args: readonly string[]): Config {
  const config = emptyConfig();
  for (let i = 0; i < args.length; i++) {
    const argument = args[i]!;
    if (!argument.startsWith('-') || argument === '-') {
      ide(0)(config, argument, argument);
      continue;
    }
    const option = BY_NAME.get(argument.replace(/^--?/, ''));
    if (option === undefined) throw new UsageError(`${argument}: invalid option`);
    if (option.argument === undefined) {
      option.handler(config, '', argument);
      continue;
    }
    const value = args[++i];
    if (value === undefined) throw new UsageError(`${argument}: requires an argument`);
    option.handler(config, value, `${argument} ${value}`);
  }
  checkTogether(config);
  return config;
}

function checkTogether(config: Config): void {
  if (config.kernel !== undefined) return;
  if (config.initrd !== undefined) throw new UsageError('-initrd only allowed with -kernel option');
  if (config.append !== undefined) throw new UsageError('-append only allowed with -kernel option');
}

/** Options in one group, in two columns. */
export function helpText(): string {
  const sections = OPTION_GROUPS.map(({ title, options }) => {
    const lines = options.map(({ name, aliases = [], argument, help }) => {
      const names = [name, ...aliases].map((n) => `-${n}`).join(' or ');
      const usage = argument === undefined ? names : `${names} ${argument}`;
      return usage.length < 16 ? `${usage.padEnd(16)}${help}` : `${usage}\n${' '.repeat(16)}${help}`;
    });
    return `${title}:\n${lines.join('\n')}\n`;
  });
  return `${VERSION_TEXT}\nusage: ambervm [options] [disk_image]\n       ambervm vmstate|snapshot|img help\n\n${sections.join('\n')}`;
}

/** Files that are being read, against one that reads itself. */
const MAX_CONFIG_DEPTH = 8;
let configDepth = 0;

function readOptions(config: Config, path: string): void {
  if (configDepth >= MAX_CONFIG_DEPTH) throw new UsageError(`-readconfig ${path}: files read one another`);
  configDepth++;
  try {
    for (const { name, value, where } of readConfigFile(path)) {
      const option = BY_NAME.get(name);
      if (option === undefined) throw new UsageError(`${where}: Invalid parameter '${name}'`);
      if (option.argument === undefined && value !== 'on') {
        throw new UsageError(`${where}: -${name} takes no argument, only "on"`);
      }
      option.handler(config, option.argument === undefined ? '' : value, where);
    }
  } finally {
    configDepth--;
  }
}

function showGenerated(_config: Config, kind: string): never {
  const text = generate(kind, OPTION_GROUPS);
  if (text === undefined) throw new UsageError(`-generate ${kind}: one of ${GENERATED_KINDS.join(', ')}`);
  throw new EarlyExit(text);
}

function showHelp(): never {
  throw new EarlyExit(helpText());
}

function showVersion(): never {
  throw new EarlyExit(`${VERSION_TEXT}\n`);
}

export { VERSION };
