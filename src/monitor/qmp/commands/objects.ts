/**
 * The object tree, as far as management programs look at it: which machine, which CPU, what else there is. Plugging devices is
 * refused in QEMU 7.2's words. qapi/qom.json, qdev.json, machine.json.
 */
import { type Json, qmp, type QmpCommand, type QmpContext } from '../command.ts';
import { QmpError } from '../errors.ts';

const MACHINE_NAME = 'pc-i440fx-7.2';
/** Device models that a machine can be started with (`-device help`). */
const PLUGGABLE = new Set([
  'ide-hd',
  'ide-cd',
  'floppy',
  'isa-serial',
  'isa-parallel',
  'isa-debug-exit',
  'VGA',
]);
const CPU_MODELS = ['486', 'pentium', 'pentium2', 'pentium3', 'qemu32'];
const CPU_PATH = '/machine/unattached/device[0]';

/** Type of the object at each path. Children follow from the paths. */
function tree({ machine, host }: QmpContext): ReadonlyMap<string, string> {
  const back = host.characters().map(({ label, filename }) => {
    const kind = /^(?:disconnected:)?(unix|tcp|telnet)/.test(filename) ? 'socket' : filename.split(':')[0];
    return [`/chardevs/${label}`, `chardev-${kind}`] as const;
  });
  return new Map([
    ['/', 'container'],
    ['/backend', 'container'],
    ['/objects', 'container'],
    ['/objects/pc.ram', 'memory-backend-ram'],
    ['/machine', `${MACHINE_NAME}-machine`],
    ['/machine/peripheral', 'container'],
    ['/machine/peripheral-anon', 'container'],
    ['/machine/unattached', 'container'],
    [CPU_PATH, `${machine.options.cpuModel ?? 'pentium3'}-i386-cpu`],
    ['/chardevs', 'container'],
    ...back,
  ]);
}

export const OBJECTS: readonly QmpCommand[] = [
  qmp('qom-list', { path: 'string' }, (context, args) => {
    const path = args.string('path').replace(/(.)\/$/, '$1');
    const objects = tree(context);
    typeAt(objects, path);
    const start = path === '/' ? '/' : `${path}/`;
    const children = [...objects].flatMap(([at, type]) => {
      const name = at.startsWith(start) ? at.slice(start.length) : '';
      return name === '' || name.includes('/') ? [] : [{ name, type: `child<${type}>` }];
    });
    return [{ name: 'type', type: 'string' }, ...children];
  }),
  qmp('qom-get', { path: 'string', property: 'string' }, (context, args) => {
    const type = typeAt(tree(context), args.string('path'));
    return property(type, args.string('property'));
  }),
  qmp('qom-set', { path: 'string', property: 'string', value: 'any' }, (context, args) => {
    const type = typeAt(tree(context), args.string('path'));
    property(type, args.string('property'));
    throw new QmpError(`Insufficient permission to perform this operation`);
  }),
  qmp('device-list-properties', { typename: 'string' }, (_context, args) => {
    const name = args.string('typename');
    if (!PLUGGABLE.has(name)) throw new QmpError(`Device '${name}' not found`, 'DeviceNotFound');
    return [];
  }),
  qmp('device_add', { driver: 'string', '*': 'any?' }, (_context, args) => {
    const name = args.string('driver');
    throw new QmpError(
      PLUGGABLE.has(name)
        ? `Device '${name}' does not support hotplugging`
        : `'${name}' is not a valid device model name`,
    );
  }),
  qmp('device_del', { id: 'string' }, (_context, args) => {
    throw new QmpError(`Device '${args.string('id')}' not found`, 'DeviceNotFound');
  }),
  qmp('object-add', { 'qom-type': 'string', id: 'string', '*': 'any?' }, (_context, args) => {
    throw new QmpError(`Parameter 'qom-type' does not accept value '${args.string('qom-type')}'`);
  }),
  qmp('object-del', { id: 'string' }, (_context, args) => {
    throw new QmpError(`object '${args.string('id')}' not found`);
  }),
  qmp('query-memdev', {}, ({ machine }) => [
    {
      id: 'pc.ram',
      size: machine.options.ramBytes,
      merge: true,
      dump: true,
      prealloc: false,
      share: false,
      reserve: true,
      'host-nodes': [],
      policy: 'default',
    },
  ]),
  qmp('query-hotpluggable-cpus', {}, (context) => [
    {
      type: typeAt(tree(context), CPU_PATH),
      'vcpus-count': 1,
      'qom-path': CPU_PATH,
      props: { 'core-id': 0, 'thread-id': 0, 'socket-id': 0 },
    },
  ]),
  qmp('query-machines', {}, () => [
    {
      name: MACHINE_NAME,
      alias: 'pc',
      'is-default': true,
      'cpu-max': 1,
      'hotpluggable-cpus': false,
      'numa-mem-supported': false,
      deprecated: false,
      'default-cpu-type': 'pentium3-i386-cpu',
      'default-ram-id': 'pc.ram',
    },
  ]),
  qmp('query-cpu-definitions', {}, () =>
    CPU_MODELS.map((name) => ({
      name,
      typename: `${name}-i386-cpu`,
      'unavailable-features': [],
      static: false,
      'migration-safe': true,
      deprecated: false,
    })),
  ),
];

function typeAt(objects: ReadonlyMap<string, string>, path: string): string {
  const type = objects.get(path);
  if (type === undefined) throw new QmpError(`Device '${path}' not found`, 'DeviceNotFound');
  return type;
}

function property(type: string, name: string): Json {
  if (name !== 'type') throw new QmpError(`Property '${type}.${name}' not found`);
  return type;
}
