/** What the command line says, before anything is opened. `where` is the option as typed, for messages. */
import type { CacheMode } from '../block/file.ts';
import type { CharDescription } from '../host/chardev/spec.ts';
import type { Blockdev } from './blockdev.ts';
import type { VncAddress, VncShare } from '../host/vnc/address.ts';

export type DriveInterface = 'ide' | 'floppy' | 'none';

export interface DriveConfig {
  readonly where: string;
  readonly file: string | undefined;
  readonly interface: DriveInterface;
  /** `-vmstate-drive`: before all others. */
  readonly holdsVmState?: true;
  readonly media: 'disk' | 'cdrom';
  /** Position as asked for; chosen later if undefined. */
  readonly index: number | undefined;
  readonly bus: number | undefined;
  readonly unit: number | undefined;
  readonly format: string | undefined;
  readonly readOnly: boolean;
  readonly snapshot: boolean | undefined;
  readonly cache: CacheMode | undefined;
  /** `discard=unmap`: what the guest trims is given back. */
  readonly discard: boolean;
  /** Zeroes that the guest writes are not stored. */
  readonly detectZeroes: boolean;
  /** Of the metadata cache; undefined: the default. */
  readonly cacheBytes: number | undefined;
  /** Keys that only qcow2 has. */
  readonly qcow2Keys: readonly string[];
  readonly id: string | undefined;
  readonly serial: string | undefined;
  /** Of the block node; made up if absent. */
  readonly nodeName?: string | undefined;
  /** `file.locking=off`: others may have the image open too. */
  readonly lock?: boolean;
  /** Keys that no block driver of ours knows: reported when the format is known. */
  readonly unknownKeys: readonly string[];
}

export interface CharConfig extends CharDescription {
  /** Name of a `-chardev`, which several users may share. */
  readonly id?: string;
  readonly where: string;
}

/** `-device`, as typed; put in its place when the whole command line is read. */
export interface DeviceConfig {
  readonly type: string;
  readonly values: ReadonlyMap<string, string>;
  readonly where: string;
}

export interface MonitorConfig extends CharConfig {
  /** Human or QMP. */
  readonly mode: 'readline' | 'control';
  readonly pretty?: boolean;
}

/** `-vnc`. */
export interface VncConfig {
  readonly where: string;
  readonly address: VncAddress;
  /** Displays tried when the one asked for is taken, this one the last. */
  readonly lastPort: number;
  readonly webSocket: { readonly host: string; readonly port: number } | undefined;
  readonly password: boolean;
  readonly share: VncShare;
}

/** `-display web`. */
export interface WebConfig {
  readonly where: string;
  readonly host: string;
  /** 0: any that is free. */
  readonly port: number;
}

export interface Config {
  machineType: string;
  ramBytes: number;
  cpuModel: string;
  drives: DriveConfig[];
  bios: string | undefined;
  dataDirs: string[];
  kernel: string | undefined;
  initrd: string | undefined;
  append: string | undefined;
  vga: 'std' | 'none' | undefined;
  serials: CharConfig[];
  parallel: CharConfig | undefined;
  monitors: MonitorConfig[];
  chardevs: Map<string, CharConfig>;
  noGraphic: boolean;
  noDefaults: boolean;
  startPaused: boolean;
  snapshot: boolean;
  loadvm: string | undefined;
  icount: { shift: number; sleep: boolean } | undefined;
  rtcBase: 'utc' | 'localtime' | number;
  rtcClock: 'host' | 'vm' | 'rt';
  noReboot: boolean;
  noShutdown: boolean;
  devices: DeviceConfig[];
  /** `-global`. */
  globals: { readonly type: string; readonly property: string; readonly value: string }[];
  /** Nodes of `-blockdev` that no device has yet. */
  blockdevs: Map<string, Blockdev>;
  /** `bootindex=` of devices, with the letter of `-boot order=` for their kind. */
  bootIndexes: { readonly index: number; readonly letter: string }[];
  debugExit: { iobase: number; iosize: number } | undefined;
  bootOrder: string | undefined;
  bootOnce: string | undefined;
  bootMenu: boolean | undefined;
  bootMenuWaitMs: number | undefined;
  name: string | undefined;
  uuid: Uint8Array | undefined;
  /** Device that gdb comes in by. */
  gdb: string | undefined;
  vnc: VncConfig | undefined;
  /** `-display web`. */
  web: WebConfig | undefined;
  /** `-display curses`, as typed. */
  curses: string | undefined;
  pidFile: string | undefined;
  logItems: Set<string>;
  logFile: string | undefined;
  /** Trace events to be turned on, or with a `-` before it off. */
  tracePatterns: string[];
  /** Things accepted but without effect; told on stderr. */
  warnings: string[];
}

export const DEFAULT_RAM_BYTES: number = 128 * 1024 * 1024;
export const MACHINE_TYPE = 'pc-i440fx-7.2';

export function emptyConfig(): Config {
  return {
    machineType: MACHINE_TYPE,
    ramBytes: DEFAULT_RAM_BYTES,
    cpuModel: 'pentium3',
    drives: [],
    bios: undefined,
    dataDirs: [],
    kernel: undefined,
    initrd: undefined,
    append: undefined,
    vga: undefined,
    serials: [],
    parallel: undefined,
    monitors: [],
    chardevs: new Map(),
    noGraphic: false,
    noDefaults: false,
    startPaused: false,
    snapshot: false,
    loadvm: undefined,
    icount: undefined,
    rtcBase: 'utc',
    rtcClock: 'host',
    noReboot: false,
    noShutdown: false,
    devices: [],
    globals: [],
    blockdevs: new Map(),
    bootIndexes: [],
    debugExit: undefined,
    bootOrder: undefined,
    bootOnce: undefined,
    bootMenu: undefined,
    bootMenuWaitMs: undefined,
    name: undefined,
    uuid: undefined,
    gdb: undefined,
    vnc: undefined,
    web: undefined,
    curses: undefined,
    pidFile: undefined,
    logItems: new Set(),
    logFile: undefined,
    tracePatterns: [],
    warnings: [],
  };
}
