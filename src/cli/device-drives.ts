/**
 * `-device ide-hd`, `ide-cd` and `floppy`: a drive of `-drive if=none` or a node of `-blockdev` gets its place on a bus.
 * hw/ide/qdev.c, hw/block/fdc.c of QEMU 7.2 for names and messages.
 */
import { driveOfBlockdev } from './blockdev.ts';
import type { Config, DeviceConfig, DriveConfig } from './config.ts';
import type { Properties } from './devices.ts';
import { simpleDrive } from './drives.ts';
import { UsageError, unsigned } from './grammar.ts';

const COMMON: Properties = {
  drive: ['str - Node name or ID of a block device to use as a backend'],
  unit: ['uint32'],
  logical_block_size: ['size', '512'],
  physical_block_size: ['size', '512'],
  'write-cache': ['OnOffAuto'],
  'share-rw': ['bool'],
  werror: ['BlockdevOnError'],
  rerror: ['BlockdevOnError'],
};

export const DISK_PROPERTIES: Properties = { ...COMMON, bootindex: ['int32'], serial: ['str'] };
export const FLOPPY_PROPERTIES: Properties = {
  ...COMMON,
  'drive-type': ['FdcDriveType - FDC drive type, 144/288/120/none/auto'],
};

type Kind = 'disk' | 'cdrom' | 'floppy';

/** What `-boot order=` calls them. */
const BOOT_LETTERS: Readonly<Record<Kind, string>> = { disk: 'c', cdrom: 'd', floppy: 'a' };

/** Throws UsageError. */
export function connectDrive(config: Config, device: DeviceConfig, kind: Kind): void {
  const { values, where } = device;
  const bus = busOf(device, kind);
  const unit = values.get('unit') === undefined ? undefined : unsigned(values.get('unit')!);
  const id = values.get('drive');
  const found = id === undefined ? undefined : take(config, device, id);
  if (found === undefined && kind === 'disk') throw new UsageError(`${where}: No drive specified`);
  const place = {
    interface: kind === 'floppy' ? 'floppy' : 'ide',
    media: kind === 'cdrom' ? 'cdrom' : 'disk',
    index: undefined,
    // Only a unit is a place of its own; a bus alone says where to look for one.
    ...(bus === undefined ? {} : { bus }),
    unit,
  } as const;
  const serial = values.get('serial');
  const drive: DriveConfig = {
    ...(found ?? simpleDrive('', where, { interface: place.interface, media: place.media, index: 0 })),
    ...place,
    ...(serial === undefined ? {} : { serial }),
    // The monitor knows the disk by the drive's name, or by its node's.
    id: found?.id ?? found?.nodeName ?? values.get('id'),
  };
  const at = found === undefined ? -1 : config.drives.indexOf(found);
  if (at < 0) config.drives.push(drive);
  else config.drives[at] = drive;
  noteBootIndex(config, device, kind);
}

/** Of `ide.0`, `ide.1`; undefined: any. */
function busOf({ values, where }: DeviceConfig, kind: Kind): number | undefined {
  const name = values.get('bus');
  if (name === undefined) return undefined;
  const match = kind === 'floppy' ? /^floppy-bus\.(0)$/.exec(name) : /^ide\.([01])$/.exec(name);
  if (match === null) throw new UsageError(`${where}: Bus '${name}' not found`);
  return Number(match[1]);
}

/** The drive or node of this name, which must not be in use. */
function take(config: Config, { type, where }: DeviceConfig, id: string): DriveConfig {
  const drive = config.drives.find((candidate) => candidate.id === id);
  if (drive !== undefined) {
    if (drive.interface === 'none') return drive;
    throw new UsageError(`${where}: Drive '${id}' is already in use by another device`);
  }
  const node = driveOfBlockdev(config, id);
  if (node === undefined) throw new UsageError(`${where}: Property '${type}.drive' can't find value '${id}'`);
  return node;
}

/** The firmware gets an order of kinds of drives, not of drives: the lowest index first. */
function noteBootIndex(config: Config, { values, where }: DeviceConfig, kind: Kind): void {
  const text = values.get('bootindex');
  if (text === undefined) return;
  const index = unsigned(text);
  if (index === undefined) throw new UsageError(`${where}: Parameter 'bootindex' expects integer`);
  config.bootIndexes.push({ index, letter: BOOT_LETTERS[kind] });
}
