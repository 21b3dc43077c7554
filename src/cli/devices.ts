/**
 * `-device` and `-global`: the devices that this machine can be given by name, with QEMU 7.2's properties, buses and messages.
 * What a device refers to (a drive, a character device) may come later on the command line, so they are put in place when
 * all of it is read. Not here: devices that this machine has not, plugging while it runs.
 */
import { connectDrive, DISK_PROPERTIES, FLOPPY_PROPERTIES } from './device-drives.ts';
import { type Config, type DeviceConfig, MACHINE_TYPE } from './config.ts';
import { EarlyExit } from './early-exit.ts';
import { isHelp, parsePairs, toMap, UsageError, unsigned } from './grammar.ts';
import type { Handler } from './handlers.ts';

/** A property with its type as help shows it, and the only value that it may have, where there is but one. */
export type Properties = Readonly<Record<string, readonly [type: string, only?: string]>>;

interface DeviceType {
  readonly name: string;
  readonly group: string;
  /** As `-device help` says it. */
  readonly about: string;
  readonly properties: Properties;
  /** Puts it in place. Throws UsageError. */
  readonly connect: (config: Config, device: DeviceConfig) => void;
}

const ISA_PORT: Properties = {
  chardev: ['str - ID of a chardev to use as a backend'],
  index: ['uint32'],
  iobase: ['uint32'],
  irq: ['uint32'],
};

const DEVICES: readonly DeviceType[] = [
  {
    name: 'floppy',
    group: 'Storage devices',
    about: 'bus floppy-bus, desc "virtual floppy drive"',
    properties: FLOPPY_PROPERTIES,
    connect: (config, device) => connectDrive(config, device, 'floppy'),
  },
  {
    name: 'ide-cd',
    group: 'Storage devices',
    about: 'bus IDE, desc "virtual IDE CD-ROM"',
    properties: DISK_PROPERTIES,
    connect: (config, device) => connectDrive(config, device, 'cdrom'),
  },
  {
    name: 'ide-hd',
    group: 'Storage devices',
    about: 'bus IDE, desc "virtual IDE disk"',
    properties: DISK_PROPERTIES,
    connect: (config, device) => connectDrive(config, device, 'disk'),
  },
  {
    name: 'isa-parallel',
    group: 'Input devices',
    about: 'bus ISA',
    properties: ISA_PORT,
    connect: addParallel,
  },
  { name: 'isa-serial', group: 'Input devices', about: 'bus ISA', properties: ISA_PORT, connect: addSerial },
  {
    name: 'VGA',
    group: 'Display devices',
    about: 'bus PCI',
    properties: {
      vgamem_mb: ['uint32', '16'],
      addr: ['int32'],
      edid: ['bool'],
      xres: ['uint32'],
      yres: ['uint32'],
    },
    connect: (config) => {
      config.vga = 'std';
    },
  },
  {
    name: 'isa-debug-exit',
    group: 'Misc devices',
    about: 'bus ISA',
    properties: { iobase: ['uint32'], iosize: ['uint32'] },
    connect: addDebugExit,
  },
];

/** `-device driver[,prop=value…]`. */
export const addDevice: Handler = (config, value, where) => {
  if (isHelp(value)) throw new EarlyExit(devicesHelp());
  const [first, ...pairs] = parsePairs(value, 'driver');
  const name = first?.key === 'driver' ? (first.value ?? '') : '';
  const type = DEVICES.find((device) => device.name === name);
  if (type === undefined) throw new UsageError(`${where}: '${name}' is not a valid device model name`);
  if (pairs.some(({ key, value: given }) => given === undefined && isHelp(key))) {
    throw new EarlyExit(propertiesHelp(type));
  }
  const values = new Map<string, string>();
  for (const { key, value: given = 'on' } of pairs) {
    if (key !== 'id' && key !== 'bus') checkProperty(type, key, given, where);
    values.set(key, given);
  }
  config.devices.push({ type: name, values, where });
};

/** Connects all devices named. Throws UsageError. */
export function connectDevices(config: Config): void {
  for (const device of config.devices) {
    const globals = config.globals.filter(({ type }) => type === device.type);
    const values = new Map([
      ...globals.map(({ property, value }) => [property, value] as const),
      ...device.values,
    ]);
    DEVICES.find(({ name }) => name === device.type)!.connect(config, { ...device, values });
  }
  for (const { type, property, value } of config.globals) {
    const isUsed = config.devices.some((device) => device.type === type);
    if (!isUsed) config.warnings.push(`global ${type}.${property}=${value} has no effect`);
  }
}

/** `-global driver.prop=value` or `driver=…,property=…,value=…`. */
export const setGlobal: Handler = (config, value, where) => {
  const short = /^([^.=,]+)\.([^=]+)=(.*)$/.exec(value);
  const map = short === null ? toMap(parsePairs(value), ['driver', 'property', 'value'], where) : undefined;
  const [type, property, given] =
    short === null
      ? [map!.get('driver') ?? '', map!.get('property') ?? '', map!.get('value') ?? '']
      : [short[1]!, short[2]!, short[3]!];
  const device = DEVICES.find(({ name }) => name === type);
  if (device !== undefined) checkProperty(device, property, given, where);
  config.globals.push({ type, property, value: given });
};

function checkProperty(type: DeviceType, key: string, value: string, where: string): void {
  const property = Object.hasOwn(type.properties, key) ? type.properties[key] : undefined;
  if (property === undefined) throw new UsageError(`${where}: Property '${type.name}.${key}' not found`);
  const [kind, only] = property;
  if (kind.startsWith('uint') && unsigned(value) === undefined) {
    throw new UsageError(`${where}: Parameter '${key}' expects integer`);
  }
  if (only !== undefined && value !== only) {
    throw new UsageError(`${where}: '${key}' can only be ${only} on this machine`);
  }
}

function devicesHelp(): string {
  const groups = [...new Set(DEVICES.map(({ group }) => group))];
  return groups
    .map((group) => {
      const inside = DEVICES.filter((device) => device.group === group);
      return `${group}:\n${inside.map(({ name, about }) => `name "${name}", ${about}\n`).join('')}`;
    })
    .join('\n');
}

function propertiesHelp({ name, properties }: DeviceType): string {
  const lines = Object.entries(properties).map(([key, [kind, only]]) => {
    const [type, about] = kind.split(' - ');
    const more = [about, only === undefined ? undefined : `(only ${only})`].filter(
      (text) => text !== undefined,
    );
    return `  ${`${key}=<${type}>`.padEnd(22)}${more.length === 0 ? '' : ` - ${more.join(' ')}`}`.trimEnd();
  });
  return `${name} options:\n${lines.join('\n')}\n`;
}

/** Of `-M pc,help`. */
export function machinePropertiesHelp(options: Readonly<Record<string, string | undefined>>): string {
  const lines = Object.entries(options).map(([key, only]) =>
    `  ${`${key}=<bool>`.padEnd(22)}${only === undefined ? '' : ` - only ${only}`}`.trimEnd(),
  );
  return `${MACHINE_TYPE}-machine options:\n${lines.join('\n')}\n`;
}

/** The character device that a port names; null: a port without one takes everything and says nothing. */
function backendOf(config: Config, { type, values, where }: DeviceConfig): Config['serials'][number] {
  const id = values.get('chardev');
  if (id === undefined) return { mux: false, spec: { kind: 'null' }, text: 'null', where };
  const chardev = config.chardevs.get(id);
  if (chardev === undefined) {
    throw new UsageError(`${where}: Property '${type}.chardev' can't find value '${id}'`);
  }
  return { ...chardev, where };
}

function addSerial(config: Config, device: DeviceConfig): void {
  const index = unsigned(device.values.get('index') ?? '') ?? config.serials.length;
  if (index > 3) throw new UsageError(`${device.where}: Max. supported number of ISA serial ports is 4.`);
  while (config.serials.length < index) {
    config.serials.push({ mux: false, spec: { kind: 'none' }, text: 'none', where: device.where });
  }
  const isTaken = config.serials[index] !== undefined && config.serials[index].spec.kind !== 'none';
  if (isTaken) throw new UsageError(`${device.where}: serial port ${index} is there already`);
  config.serials[index] = backendOf(config, device);
}

function addParallel(config: Config, device: DeviceConfig): void {
  if (config.parallel !== undefined) throw new UsageError(`${device.where}: there is one parallel port`);
  config.parallel = backendOf(config, device);
}

function addDebugExit(config: Config, { values }: DeviceConfig): void {
  config.debugExit = {
    iobase: unsigned(values.get('iobase') ?? '') ?? 0x501,
    iosize: unsigned(values.get('iosize') ?? '') ?? 2,
  };
}
