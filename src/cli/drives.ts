/** `-drive` and its short forms, and where each drive sits: QEMU's rules (blockdev.c) and names (`ide0-hd0`). */
import type { CacheMode } from '../block/file.ts';
import type { DriveConfig, DriveInterface } from './config.ts';
import { EarlyExit } from './early-exit.ts';
import {
  isHelp,
  type Pair,
  parseBoolean,
  parseNumber,
  parsePairs,
  parseSize,
  UsageError,
} from './grammar.ts';

/** qcow2's: sizes of its metadata cache, and what QEMU's has beside and ours needs not. */
const CACHE_SIZE_KEYS = ['cache-size', 'l2-cache-size', 'refcount-cache-size'];
export const QCOW2_KEYS = [
  ...CACHE_SIZE_KEYS,
  'l2-cache-entry-size',
  'cache-clean-interval',
  'lazy-refcounts',
  'overlap-check',
  'pass-discard-request',
  'pass-discard-snapshot',
  'pass-discard-other',
];

const CACHE_KEYS = ['cache.direct', 'cache.no-flush', 'cache.writeback'];
/** Limits of speed: accepted, no effect. */
export const LIMIT_KEYS: readonly string[] = [
  ...['bps', 'bps_rd', 'bps_wr', 'iops', 'iops_rd', 'iops_wr', 'group'],
  ...['total', 'read', 'write'].flatMap((what) => [`throttling.bps-${what}`, `throttling.iops-${what}`]),
  'throttling.group',
];

/** Keys of `-drive` that are understood; those of a block driver are checked when the image is opened. */
const KEYS = new Set([
  'file',
  'format',
  'driver',
  'if',
  'index',
  'bus',
  'unit',
  'media',
  'cache',
  'snapshot',
  'readonly',
  'read-only',
  'id',
  'discard',
  'aio',
  'detect-zeroes',
  ...QCOW2_KEYS,
  'serial',
  'werror',
  'rerror',
  'copy-on-read',
  'node-name',
  'file.filename',
  'file.driver',
  'file.locking',
  'file.aio',
  ...CACHE_KEYS,
  ...LIMIT_KEYS,
]);
const CACHE_MODES: ReadonlyMap<string, CacheMode> = new Map([
  ['none', 'none'],
  ['off', 'none'],
  ['writeback', 'writeback'],
  ['writethrough', 'writethrough'],
  ['directsync', 'directsync'],
  ['unsafe', 'unsafe'],
]);
const DISCARD_MODES = new Set(['ignore', 'off', 'unmap', 'on']);
const ERROR_ACTIONS = new Set(['ignore', 'stop', 'report', 'enospc', 'auto']);
/** Interfaces that QEMU knows and this machine has not. */
const FOREIGN_INTERFACES = new Set(['scsi', 'sd', 'mtd', 'pflash', 'virtio', 'xen']);

/** `-drive`. */
export function parseDrive(text: string, where: string): DriveConfig {
  const pairs = parsePairs(text);
  const values = new Map(pairs.map(({ key, value }) => [key, value ?? 'on']));
  const get = (key: string) => values.get(key);
  const flag = (key: string) => {
    const value = get(key);
    return value === undefined
      ? undefined
      : parseBoolean(key === 'readonly' ? 'read-only' : key, value, where);
  };
  const number = (key: string) => {
    const value = get(key);
    return value === undefined ? undefined : parseNumber(key, value, where);
  };
  if (isHelp(get('format') ?? '')) throw new EarlyExit('Supported formats: qcow2 raw\n');
  const file = get('file') ?? get('file.filename') ?? '';
  const unknown = unknownKeys(pairs);
  if (file === '' && unknown.length > 0) throw new UsageError(`${where}: Must specify either driver or file`);
  const media = get('media') ?? 'disk';
  if (media !== 'disk' && media !== 'cdrom') throw new UsageError(`${where}: '${media}' invalid media`);
  checkChoices(values, where);
  return {
    where,
    file: file === '' ? undefined : file,
    interface: parseInterface(get('if') ?? 'ide', where),
    media,
    index: number('index'),
    bus: number('bus'),
    unit: number('unit'),
    format: get('format') ?? get('driver'),
    readOnly: flag('readonly') ?? flag('read-only') ?? false,
    snapshot: flag('snapshot'),
    cache: cacheMode(values, where),
    nodeName: get('node-name'),
    ...(get('file.locking') === 'off' ? { lock: false } : {}),
    ...zeroModes(values),
    cacheBytes: cacheBytes(values, where),
    qcow2Keys: pairs.filter(({ key }) => QCOW2_KEYS.includes(key)).map(({ key }) => key),
    id: get('id'),
    serial: get('serial'),
    unknownKeys: unknown,
  };
}

/** `cache=`, changed by its parts. */
function cacheMode(values: ReadonlyMap<string, string>, where: string): CacheMode | undefined {
  const mode = CACHE_MODES.get(values.get('cache') ?? 'writeback');
  if (!CACHE_KEYS.some((key) => values.has(key))) return mode;
  const isOn = (key: string, absent: boolean) =>
    values.has(key) ? parseBoolean(key, values.get(key)!, where) : absent;
  if (isOn('cache.no-flush', mode === 'unsafe')) return 'unsafe';
  const direct = isOn('cache.direct', mode === 'none' || mode === 'directsync');
  const back = isOn('cache.writeback', mode !== 'writethrough' && mode !== 'directsync');
  if (direct) return back ? 'none' : 'directsync';
  return back ? 'writeback' : 'writethrough';
}

function zeroModes(values: ReadonlyMap<string, string>): Pick<DriveConfig, 'detectZeroes' | 'discard'> {
  const discard = ['unmap', 'on'].includes(values.get('discard') ?? 'ignore');
  const detect = values.get('detect-zeroes') ?? 'off';
  return { discard, detectZeroes: detect !== 'off' };
}

/** Budget of the metadata cache: ours is one for L2 tables and refcount blocks, so that their sizes add up. */
function cacheBytes(values: ReadonlyMap<string, string>, where: string): number | undefined {
  const [all, l2, refcount] = CACHE_SIZE_KEYS.map((key) => {
    const value = values.get(key);
    return value === undefined ? undefined : parseSize(key, value, where);
  });
  if (all === undefined)
    return l2 === undefined && refcount === undefined ? undefined : (l2 ?? 0) + (refcount ?? 0);
  if (l2 !== undefined && refcount !== undefined) {
    throw new UsageError(
      `${where}: cache-size, l2-cache-size and refcount-cache-size may not be set at the same time`,
    );
  }
  for (const [name, part] of [
    ['l2-cache-size', l2],
    ['refcount-cache-size', refcount],
  ] as const) {
    if ((part ?? 0) > all) throw new UsageError(`${where}: ${name} may not exceed cache-size`);
  }
  return all;
}

function unknownKeys(pairs: readonly Pair[]): string[] {
  return pairs.filter(({ key }) => !KEYS.has(key)).map(({ key }) => key);
}

function parseInterface(name: string, where: string): DriveInterface {
  if (name === 'ide' || name === 'floppy' || name === 'none') return name;
  if (FOREIGN_INTERFACES.has(name)) {
    throw new UsageError(
      `${where}: machine type does not support if=${name}\n(this machine has if=ide, if=floppy and if=none)`,
    );
  }
  throw new UsageError(`${where}: unsupported bus type '${name}'`);
}

function checkChoices(values: ReadonlyMap<string, string>, where: string): void {
  const check = (
    key: string,
    allowed: ReadonlyMap<string, unknown> | ReadonlySet<string>,
    message: (value: string) => string,
  ) => {
    const value = values.get(key);
    if (value !== undefined && !allowed.has(value)) throw new UsageError(`${where}: ${message(value)}`);
  };
  check('cache', CACHE_MODES, () => 'invalid cache option');
  check('discard', DISCARD_MODES, () => 'Invalid discard option');
  check('aio', new Set(['threads', 'native', 'io_uring']), () => 'invalid aio option');
  check(
    'detect-zeroes',
    new Set(['on', 'off', 'unmap']),
    (v) => `Parameter 'detect-zeroes' does not accept value '${v}'`,
  );
  check('werror', ERROR_ACTIONS, (v) => `'${v}' invalid write error action`);
  check('rerror', ERROR_ACTIONS, (v) => `'${v}' invalid read error action`);
}

/** `-hda` … `-hdd`, `-cdrom`, `-fda`, `-fdb`, and a file name alone. */
export function simpleDrive(
  file: string,
  where: string,
  place: { interface: DriveInterface; media: 'disk' | 'cdrom'; index: number },
): DriveConfig {
  return {
    where,
    file: file === '' ? undefined : file,
    ...place,
    bus: undefined,
    unit: undefined,
    format: undefined,
    readOnly: false,
    snapshot: undefined,
    cache: undefined,
    discard: false,
    detectZeroes: false,
    cacheBytes: undefined,
    qcow2Keys: [],
    id: undefined,
    serial: undefined,
    unknownKeys: [],
  };
}

export interface PlacedDrive {
  readonly config: DriveConfig;
  readonly device: string;
  readonly kind: 'disk' | 'cdrom' | 'floppy' | 'none';
  /** IDE position 0–3, floppy 0–1; none: counted from 0. */
  readonly index: number;
}

/** Drives on a bus: unit 0 and 1. */
const UNITS: Readonly<Record<DriveInterface, number>> = { ide: 2, floppy: 2, none: Number.POSITIVE_INFINITY };
const BUSES: Readonly<Record<DriveInterface, number>> = { ide: 2, floppy: 1, none: 1 };

/**
 * Gives every drive its place. Refuses two in one place, as QEMU does. The order stays that of the command line: the first
 * writable disk holds the VM state, in QEMU too.
 */
export function placeDrives(drives: readonly DriveConfig[]): PlacedDrive[] {
  const placed: PlacedDrive[] = [];
  const isTaken = (kind: DriveInterface, index: number) =>
    placed.some((p) => p.config.interface === kind && p.index === index);
  for (const config of drives) {
    const { interface: kind, where } = config;
    const units = UNITS[kind];
    if (config.index !== undefined && (config.bus !== undefined || config.unit !== undefined)) {
      throw new UsageError(`${where}: index cannot be used with bus and unit`);
    }
    let index = config.index;
    if (index === undefined && config.unit !== undefined) index = busStart(config, units) + config.unit;
    if (index === undefined) {
      index = busStart(config, units);
      while (isTaken(kind, index)) index++;
    }
    const bus = Number.isFinite(units) ? Math.floor(index / units) : 0;
    const unit = index % units;
    if (bus >= BUSES[kind] || (config.unit ?? 0) >= units) {
      throw new UsageError(`${where}: machine type does not support if=${kind},bus=${bus},unit=${unit}`);
    }
    if (isTaken(kind, index)) {
      throw new UsageError(`${where}: drive with bus=${bus}, unit=${unit} (index=${index}) exists`);
    }
    placed.push({ config, index, ...named(config, bus, unit) });
  }
  checkNames(placed);
  return placed;
}

/** Position of the first drive on the bus asked for. */
function busStart({ bus = 0 }: DriveConfig, units: number): number {
  return bus === 0 ? 0 : bus * units;
}

function named(config: DriveConfig, bus: number, unit: number): Pick<PlacedDrive, 'device' | 'kind'> {
  if (config.interface === 'floppy') return { device: config.id ?? `floppy${unit}`, kind: 'floppy' };
  if (config.interface === 'none') return { device: config.id ?? `none${unit}`, kind: 'none' };
  const medium = config.media === 'cdrom' ? 'cd' : 'hd';
  return { device: config.id ?? `ide${bus}-${medium}${unit}`, kind: config.media };
}

function checkNames(placed: readonly PlacedDrive[]): void {
  const seen = new Set<string>();
  for (const { device, config } of placed) {
    if (seen.has(device)) throw new UsageError(`${config.where}: Duplicate ID '${device}' for drive`);
    seen.add(device);
  }
}
