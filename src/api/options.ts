/** What a program may ask of a machine. It becomes a command line, so that both have one grammar and one set of messages. */
import type { Config } from '../cli/config.ts';
import { escapeCommas } from '../cli/grammar.ts';
import { parseCommandLine } from '../cli/options.ts';
import { MachineError } from './errors.ts';

/** A drive, as `-drive` describes one. */
export interface DriveSpec {
  /** Image; an empty CD or floppy drive without it. */
  readonly file?: string;
  /** Default: found out from the first sector. */
  readonly format?: 'raw' | 'qcow2';
  /** Default `ide`; `none`: not seen by the guest, but part of snapshots (it may hold RAM and device state). */
  readonly interface?: 'ide' | 'floppy' | 'none';
  /** Default `disk`. */
  readonly media?: 'disk' | 'cdrom';
  /** Place on its controllers, from 0; default the next that is free. */
  readonly index?: number;
  /** The guest cannot write it. CDs always are. */
  readonly readOnly?: boolean;
  /** Writes go to memory and are lost at the end. */
  readonly snapshot?: boolean;
}

/** What a machine is made of. What cannot be had rejects with BlockError, FirmwareError or UsageError. */
export interface MachineOptions {
  /** Guest RAM: bytes, or text such as `64M`. Default 128 MiB. */
  readonly memory?: number | string;
  /** `pentium3` (default), `qemu32`, `pentium2`, `pentium`, `486`. */
  readonly cpu?: string;
  /** Image of the first IDE disk. */
  readonly hda?: string;
  /** Image of the second IDE disk. */
  readonly hdb?: string;
  /** Image of the third IDE disk, in place of the CD drive. */
  readonly hdc?: string;
  /** Image of the fourth IDE disk. */
  readonly hdd?: string;
  /** Image of the CD in the third IDE drive. */
  readonly cdrom?: string;
  /** Image of the floppy in drive A. */
  readonly fda?: string;
  /** Image of the floppy in drive B. */
  readonly fdb?: string;
  /** Drives that need more words. */
  readonly drives?: readonly DriveSpec[];
  /** Linux or multiboot kernel to start without a boot loader. */
  readonly kernel?: string;
  /** Initial RAM disk of `kernel`; of a multiboot kernel: its modules, as `FILE ARGUMENTS,FILE …`. */
  readonly initrd?: string;
  /** Kernel command line. */
  readonly append?: string;
  /** Firmware: a file, or `amberbios.bin` for our own. Default: SeaBIOS where it is found. */
  readonly bios?: string;
  /** Boot order: `c` disk, `d` CD, `a` floppy. */
  readonly boot?: string;
  /** Video card; default `std`. */
  readonly vga?: 'std' | 'none';
  /** Number of serial ports, 0 to 4; default 1. */
  readonly serialPorts?: number;
  /** Writes to all images go to memory and are lost at the end. */
  readonly snapshot?: boolean;
  /**
   * Virtual time is counted instructions, 2^shift ns each: runs repeat bit for bit. `true`: shift 3 and no sleeping while
   * the guest idles, which makes tests fast.
   */
  readonly icount?:
    | boolean
    | {
        /** An instruction takes 2^shift ns. */
        readonly shift: number;
        /** Whether real time passes while the guest idles; default true. */
        readonly sleep?: boolean;
      };
  /** Date at power-on; default now (a fixed date if `icount` is set). */
  readonly date?: Date;
  /** A reset ends the run instead. */
  readonly noReboot?: boolean;
  /** Snapshot to begin with. */
  readonly loadvm?: string;
  /** Further options as on the command line: `['-M', 'pc']`. */
  readonly args?: readonly string[];
  /** Told what a user should know; default: nobody. */
  readonly notice?: (message: string) => void;
}

const DEFAULT_SHIFT = 3;
/** Where the guest's clock starts when runs are to repeat. */
const REPEATABLE_DATE = '2024-01-01T00:00:00';
const MAX_SERIAL_PORTS = 4;
const IMAGES = [
  'hda',
  'hdb',
  'hdc',
  'hdd',
  'cdrom',
  'fda',
  'fdb',
  'kernel',
  'initrd',
  'append',
  'bios',
] as const;

/** All there are: a name that is missing here does not compile. */
const OPTIONS: Readonly<Record<keyof MachineOptions, true>> = {
  ...(Object.fromEntries(IMAGES.map((name) => [name, true])) as Record<(typeof IMAGES)[number], true>),
  memory: true,
  cpu: true,
  drives: true,
  boot: true,
  vga: true,
  serialPorts: true,
  snapshot: true,
  icount: true,
  date: true,
  noReboot: true,
  loadvm: true,
  args: true,
  notice: true,
};

/** The options as a command line. */
export function toArguments(options: MachineOptions): string[] {
  // Without TypeScript a mistyped name would pass in silence.
  const unknown = Object.keys(options).find((name) => !Object.hasOwn(OPTIONS, name));
  if (unknown !== undefined) throw new MachineError('argument', `there is no option '${unknown}'`);
  const { memory, cpu, drives = [], boot, vga, snapshot, icount, date, noReboot, args = [] } = options;
  const list: string[] = [];
  if (memory !== undefined)
    list.push('-m', typeof memory === 'number' ? `${Math.ceil(memory / 1024)}K` : memory);
  if (cpu !== undefined) list.push('-cpu', cpu);
  for (const name of IMAGES) {
    const value = options[name];
    if (value !== undefined) list.push(`-${name}`, value);
  }
  for (const drive of drives) list.push('-drive', driveText(drive));
  if (boot !== undefined) list.push('-boot', boot);
  if (vga !== undefined) list.push('-vga', vga);
  if (snapshot === true) list.push('-snapshot');
  const counts = icount === true ? { shift: DEFAULT_SHIFT, sleep: false } : icount;
  if (counts) list.push('-icount', `shift=${counts.shift},sleep=${counts.sleep === false ? 'off' : 'on'}`);
  const base = date?.toISOString().slice(0, 19) ?? (counts ? REPEATABLE_DATE : undefined);
  if (base !== undefined) list.push('-rtc', `base=${base}${counts ? ',clock=vm' : ''}`);
  if (noReboot === true) list.push('-no-reboot');
  return [...list, ...args];
}

function driveText(drive: DriveSpec): string {
  const pairs: [string, string | number | undefined][] = [
    ['file', drive.file === undefined ? undefined : escapeCommas(drive.file)],
    ['if', drive.interface],
    ['format', drive.format],
    ['media', drive.media],
    ['index', drive.index],
    ['readonly', drive.readOnly === true ? 'on' : undefined],
    ['snapshot', drive.snapshot === undefined ? undefined : drive.snapshot ? 'on' : 'off'],
  ];
  return pairs.flatMap(([key, value]) => (value === undefined ? [] : [`${key}=${value}`])).join(',');
}

/** Throws UsageError in QEMU's words, or MachineError 'argument'. */
export function toConfig(options: MachineOptions): Config {
  const config = parseCommandLine(toArguments(options));
  if (config.serials.length > 0 || config.monitors.length > 0) {
    throw new MachineError(
      'argument',
      'serial ports and monitors are used by methods here: serial(n), monitor(line)',
    );
  }
  const ports = options.serialPorts ?? 1;
  if (!Number.isInteger(ports) || ports < 0 || ports > MAX_SERIAL_PORTS) {
    throw new MachineError('argument', `serialPorts is ${ports}, expected 0 to ${MAX_SERIAL_PORTS}`);
  }
  return config;
}
