/** What the options with an argument of some grammar do. One function an option; messages are QEMU 7.2's. */
import { parseGdbDevice } from './gdb.ts';
import { parseDrive } from './drives.ts';
import { type CharDescription, parseCharSpec } from '../host/chardev/spec.ts';
import {
  CPUS,
  columns,
  IGNORED_LOG_ITEMS,
  invalidBootDevice,
  LOG_ITEMS,
  logItemsHelp,
  MACHINE_OPTIONS,
  MACHINES,
  VGA_TYPES,
} from './choices.ts';
import { EarlyExit } from './early-exit.ts';
import { type Config, DEFAULT_RAM_BYTES, MACHINE_TYPE, type MonitorConfig } from './config.ts';
import {
  isHelp,
  parseBoolean,
  parseNumber,
  parsePairs,
  parseSize,
  toMap,
  UsageError,
  unsigned,
} from './grammar.ts';

import { parseVnc } from './vnc.ts';
import { parseWeb } from './web.ts';

export type Handler = (config: Config, value: string, where: string) => void;

const MIB = 1024 * 1024;
const MAX_RAM_BYTES = 3 * 1024 * MIB;
/** RAM comes in whole WebAssembly pages. */
const RAM_GRAIN = 65_536;

export const setMemory: Handler = (config, value, where) => {
  const map = toMap(parsePairs(value, 'size'), ['size', 'slots', 'maxmem'], where);
  if (map.has('slots') || map.has('maxmem')) {
    throw new UsageError(`${where}: memory hot plug (slots, maxmem) is not supported`);
  }
  const bytes = parseSize('size', map.get('size') ?? '0', where, MIB);
  const rounded = bytes === 0 ? DEFAULT_RAM_BYTES : Math.ceil(bytes / RAM_GRAIN) * RAM_GRAIN;
  if (rounded > MAX_RAM_BYTES) {
    throw new UsageError(`${where}: at most ${MAX_RAM_BYTES / MIB} MiB RAM can be simulated`);
  }
  if (rounded < MIB) throw new UsageError(`${where}: at least 1 MiB RAM is needed`);
  config.ramBytes = rounded;
};

/** The first writable disk has the VM state: this one comes before all others. */
export const setVmStateDrive: Handler = (config, value, where) => {
  const drive = parseDrive(value, where);
  if (drive.readOnly) throw new UsageError(`${where}: VM state cannot be saved in a read-only image`);
  if (parsePairs(value).some(({ key, value: given }) => key === 'if' && given !== 'none')) {
    throw new UsageError(`${where}: if= can only be none here`);
  }
  if (config.drives[0]?.holdsVmState) {
    throw new UsageError(`${where}: there is one already\n(all VM state goes to one image)`);
  }
  const hidden = { interface: 'none', media: 'disk', holdsVmState: true } as const;
  config.drives.unshift({ ...drive, ...hidden, id: drive.id ?? 'vmstate' });
};

export const setMachine: Handler = (config, value, where) => {
  if (isHelp(value)) throw new EarlyExit(columns('Supported machines are:\n', MACHINES));
  for (const { key, value: given } of parsePairs(value, 'type')) {
    if (key === 'type') {
      if (!MACHINES.some(([name]) => name === given)) {
        throw new UsageError('unsupported machine type\nUse -machine help to list supported machines');
      }
      config.machineType = MACHINE_TYPE;
    } else if (key === 'accel') setAccelerator(config, given ?? '', where);
    else if (key === 'pcspk-audiodev' || key === 'dump-guest-core' || key === 'mem-merge') {
      config.warnings.push(`${where}: '${key}' has no effect`);
    } else if (Object.hasOwn(MACHINE_OPTIONS, key)) checkMachineOption(key, given ?? 'on');
    else throw new UsageError(`Property '${MACHINE_TYPE}-machine.${key}' not found`);
  }
};

function checkMachineOption(key: string, value: string): void {
  const isOn = parseBoolean(key, value, '');
  const wanted = MACHINE_OPTIONS[key];
  if (wanted !== undefined && isOn !== (wanted === 'on')) {
    throw new UsageError(
      `machine option '${key}=${value}' is not supported: this machine has ${key}=${wanted}`,
    );
  }
}

export const setAccelerator: Handler = (_config, value, where) => {
  if (isHelp(value)) throw new EarlyExit('Accelerators supported in ambervm:\ntcg\n');
  for (const name of value.split(',')[0]!.split(':')) {
    if (name === 'tcg') return;
    if (!['kvm', 'xen', 'hax', 'hvf', 'whpx', 'nvmm', 'qtest'].includes(name)) {
      throw new UsageError(`${where}: invalid accelerator ${name}`);
    }
  }
  throw new UsageError(`${where}: only the accelerator 'tcg' (emulation) is supported`);
};

export const setCpu: Handler = (config, value) => {
  if (isHelp(value)) {
    const rows = CPUS.map(([name, text]) => `x86 ${name.padEnd(21)} ${text}`.trimEnd());
    throw new EarlyExit(`Available CPUs:\n${rows.join('\n')}\n`);
  }
  const [name = '', ...features] = value.split(',');
  const plain = name.replace(/-v1$/, '');
  if (!CPUS.some(([known]) => known === plain)) throw new UsageError(`unable to find CPU model '${name}'`);
  if (features.length > 0) {
    throw new UsageError(`-cpu ${value}: CPU features cannot be changed ('${features[0]}')`);
  }
  config.cpuModel = plain;
};

export const setSmp: Handler = (_config, value, where) => {
  const known = ['cpus', 'sockets', 'dies', 'clusters', 'cores', 'threads', 'maxcpus'];
  for (const { key, value: count } of parsePairs(value, 'cpus')) {
    if (!known.includes(key)) throw new UsageError(`Parameter 'smp.${key}' is unexpected`);
    if (parseNumber(key, count ?? '', where) > 1) {
      throw new UsageError(
        `Invalid SMP CPUs ${count}. The max CPUs supported by machine '${MACHINE_TYPE}' is 1`,
      );
    }
  }
};

export const setVga: Handler = (config, value) => {
  if (isHelp(value)) throw new EarlyExit(columns('', VGA_TYPES));
  if (value !== 'std' && value !== 'none') {
    const foreign = ['cirrus', 'vmware', 'qxl', 'virtio'].includes(value);
    throw new UsageError(
      foreign ? `'${value}' VGA not available (std and none are)` : `unknown vga type: ${value}`,
    );
  }
  config.vga = value;
};

export const setDisplay: Handler = (config, value, where) => {
  if (isHelp(value)) throw new EarlyExit('Available display backend types:\ncurses\nnone\nvnc\nweb\n');
  const type = value.split(/[,=]/)[0]!;
  if (type === 'none') return;
  if (type === 'curses') {
    toMap(parsePairs(value, 'type'), ['type', 'charset'], where);
    config.curses = where;
    return;
  }
  if (type === 'web') {
    config.web = parseWeb(value, where);
    return;
  }
  if (value.startsWith('vnc=')) {
    config.vnc = parseVnc(value.slice('vnc='.length), where);
    return;
  }
  if (['gtk', 'sdl', 'egl-headless', 'spice-app', 'dbus', 'vnc'].includes(type)) {
    throw new UsageError(`${where}: display '${type}' is not available (screendump shows the screen)`);
  }
  throw new UsageError(`${where}: Parameter 'type' does not accept value '${type}'`);
};

export const setBoot: Handler = (config, value) => {
  if (isHelp(value)) {
    const keys = [
      'menu=<bool (on/off)>',
      'once=<str>',
      'order=<str>',
      'splash-time=<num>',
      'strict=<bool (on/off)>',
    ];
    throw new EarlyExit(`boot-opts options:\n${keys.map((key) => `  ${key}\n`).join('')}`);
  }
  for (const { key, value: given = 'on' } of parsePairs(value, 'order')) {
    if (key === 'order' || key === 'once') {
      const wrong = invalidBootDevice(given);
      if (wrong !== undefined) throw new UsageError(wrong);
      if (key === 'order') config.bootOrder = given;
      else config.bootOnce = given;
    } else if (key === 'menu') config.bootMenu = parseBoolean('menu', given, '');
    else if (key === 'splash-time') config.bootMenuWaitMs = parseNumber(key, given, '');
    else if (key === 'strict') parseBoolean(key, given, '');
    else if (key === 'splash' || key === 'reboot-timeout') {
      config.warnings.push(`-boot ${key}: no effect`);
    } else throw new UsageError(`Parameter 'boot.${key}' is unexpected`);
  }
};

export const setIcount: Handler = (config, value, where) => {
  const map = toMap(
    parsePairs(value, 'shift'),
    ['shift', 'align', 'sleep', 'rr', 'rrfile', 'rrsnapshot'],
    where,
  );
  for (const key of ['rr', 'rrfile', 'rrsnapshot']) {
    if (map.has(key)) throw new UsageError(`${where}: record and replay ('${key}') is not supported`);
  }
  if (map.has('align') && parseBoolean('align', map.get('align')!, where)) {
    config.warnings.push(`${where}: 'align' has no effect`);
  }
  const text = map.get('shift');
  if (text === undefined) throw new UsageError(`${where}: shift must be given`);
  const sleep = parseBoolean('sleep', map.get('sleep') ?? 'on', where);
  const shift = text === 'auto' ? AUTO_SHIFT : unsigned(text);
  if (shift === undefined || shift > MAX_SHIFT) throw new UsageError(`${where}: icount: Invalid shift value`);
  config.icount = { shift, sleep };
};

/** 8 ns an instruction: about what the interpreter makes; QEMU begins with 3 as well (125 MIPS). */
const AUTO_SHIFT = 3;
const MAX_SHIFT = 10;

export const setRtc: Handler = (config, value, where) => {
  const map = toMap(parsePairs(value), ['base', 'clock', 'driftfix'], where);
  const base = map.get('base');
  if (base === 'utc' || base === 'localtime') config.rtcBase = base;
  else if (base !== undefined) config.rtcBase = parseDate(base);
  const clock = map.get('clock');
  if (clock === 'host' || clock === 'vm' || clock === 'rt') config.rtcClock = clock;
  else if (clock !== undefined) throw new UsageError(`invalid option value '${clock}'`);
  const drift = map.get('driftfix');
  if (drift !== undefined && drift !== 'none' && drift !== 'slew') {
    throw new UsageError(`invalid option value '${drift}'`);
  }
};

function parseDate(text: string): number {
  const ms = /^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}:\d{2})?$/.test(text)
    ? Date.parse(text.includes('T') ? `${text}Z` : `${text}T00:00:00Z`)
    : Number.NaN;
  if (Number.isNaN(ms)) {
    throw new UsageError("invalid datetime format\nvalid formats: '2006-06-17T16:01:21' or '2006-06-17'");
  }
  return ms / 1000;
}

export const setAction: Handler = (config, value, where) => {
  const choices: Readonly<Record<string, readonly string[]>> = {
    reboot: ['reset', 'shutdown'],
    shutdown: ['poweroff', 'pause'],
    panic: ['pause', 'shutdown', 'exit-failure', 'none'],
    watchdog: ['reset', 'shutdown', 'poweroff', 'inject-nmi', 'pause', 'debug', 'none'],
  };
  for (const { key, value: given = 'on' } of parsePairs(value)) {
    const allowed = choices[key];
    if (allowed === undefined) throw new UsageError(`${where}: Invalid parameter '${key}'`);
    if (!allowed.includes(given)) {
      throw new UsageError(`${where}: Parameter '${key}' does not accept value '${given}'`);
    }
    if (key === 'reboot') config.noReboot = given === 'shutdown';
    if (key === 'shutdown') config.noShutdown = given === 'pause';
  }
};

export const addDevice: Handler = (config, value, where) => {
  if (isHelp(value)) {
    throw new EarlyExit('Misc devices:\nname "isa-debug-exit", bus ISA\n');
  }
  const [type, ...pairs] = parsePairs(value, 'driver');
  if (type?.value !== 'isa-debug-exit') {
    throw new UsageError(`${where}: '${type?.value ?? ''}' is not a valid device model name`);
  }
  const exit = { iobase: 0x501, iosize: 2 };
  for (const { key, value: given = '' } of pairs) {
    if (key === 'id') continue;
    if (key !== 'iobase' && key !== 'iosize') {
      throw new UsageError(`${where}: Property 'isa-debug-exit.${key}' not found`);
    }
    const number = unsigned(given);
    if (number === undefined) throw new UsageError(`${where}: Parameter '${key}' expects integer`);
    exit[key] = number;
  }
  config.debugExit = exit;
};

export const setName: Handler = (config, value, where) => {
  const map = toMap(parsePairs(value, 'guest'), ['guest', 'process', 'debug-threads'], where);
  config.name = map.get('guest') ?? config.name;
};

export const setUuid: Handler = (config, value, where) => {
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(value)) {
    throw new UsageError(`${where}: failed to parse UUID string: wrong format`);
  }
  config.uuid = Uint8Array.from(Buffer.from(value.replaceAll('-', ''), 'hex'));
};

export const setGdb: Handler = (config, value, where) => {
  if (value !== 'none' && parseGdbDevice(value) === undefined) {
    throw new UsageError(`${where}: '${value}' is not a valid char driver`);
  }
  config.gdb = value === 'none' ? undefined : value;
};

export const setLog: Handler = (config, value) => {
  if (isHelp(value)) throw new EarlyExit(logItemsHelp());
  for (const item of value.split(',')) {
    if (item.startsWith('trace:')) config.tracePatterns.push(item.slice('trace:'.length));
    else if (LOG_ITEMS.some(([name]) => name === item)) config.logItems.add(item);
    else if (IGNORED_LOG_ITEMS.has(item)) config.warnings.push(`-d ${item}: no effect`);
    else throw new EarlyExit(logItemsHelp(), 1);
  }
};

/** A back end by its description or by the name of a `-chardev`. Undefined: there is none. */
export function parseChar(
  config: Config,
  value: string,
): (CharDescription & { readonly id?: string }) | undefined {
  if (!value.startsWith('chardev:')) return parseCharSpec(value);
  return config.chardevs.get(value.slice('chardev:'.length));
}

export const addSerial: Handler = (config, value, where) => {
  const description = parseChar(config, value);
  if (description === undefined) {
    const first = value.startsWith('chardev:') ? [] : [`${where}: '${value}' is not a valid char driver`];
    throw new UsageError(
      ...first,
      `${where}: could not connect serial device to character backend '${value}'`,
    );
  }
  config.serials.push({ ...description, where });
};

export const setParallel: Handler = (config, value, where) => {
  if (value === 'none') return;
  const description = parseChar(config, value);
  if (description === undefined) {
    throw new UsageError(
      `${where}: '${value}' is not a valid char driver`,
      `${where}: could not connect parallel device to character backend '${value}'`,
    );
  }
  if (config.parallel !== undefined) throw new UsageError(`${where}: there is one parallel port`);
  config.parallel = { ...description, where };
};

export const addMonitor: Handler = (config, value, where) =>
  pushMonitor(config, value, where, { mode: 'readline' });

export const addQmp: Handler = (config, value, where) =>
  pushMonitor(config, value, where, { mode: 'control' });

export const addQmpPretty: Handler = (config, value, where) =>
  pushMonitor(config, value, where, { mode: 'control', pretty: true });

function pushMonitor(
  config: Config,
  value: string,
  where: string,
  kind: Pick<MonitorConfig, 'mode' | 'pretty'>,
): void {
  const description = parseChar(config, value);
  if (description === undefined) {
    throw new UsageError(
      `${where}: '${value}' is not a valid char driver`,
      `${where}: parse error: ${value}`,
    );
  }
  config.monitors.push({ ...description, where, ...kind });
}

export const addChardev: Handler = (config, value, where) => {
  const [backend, ...pairs] = parsePairs(value, 'backend');
  const map = new Map(pairs.map((pair) => [pair.key, pair.value ?? 'on']));
  const id = map.get('id');
  if (id === undefined) throw new UsageError(`${where}: chardev: no id specified`);
  const text = chardevText(backend?.value ?? '', map, where);
  const description = parseCharSpec(text);
  if (description === undefined) {
    throw new UsageError(`${where}: '${backend?.value}' is not a valid char driver name`);
  }
  const mux = map.has('mux') && parseBoolean('mux', map.get('mux')!, where);
  const path = map.get('logfile');
  const append = map.has('logappend') && parseBoolean('logappend', map.get('logappend')!, where);
  const log = path === undefined ? {} : { log: { path, append } };
  config.chardevs.set(id, { ...description, ...log, id, mux, where });
};

/** `-chardev socket,path=p,…` said as `-serial` says it. */
function chardevText(backend: string, map: ReadonlyMap<string, string>, where: string): string {
  const known: Readonly<Record<string, readonly string[]>> = {
    socket: ['path', 'host', 'port', 'server', 'wait', 'telnet', 'nodelay', 'ipv4', 'ipv6'],
    file: ['path', 'append'],
    stdio: ['signal'],
    ringbuf: ['size'],
    udp: ['host', 'port', 'localaddr', 'localport', 'ipv4', 'ipv6'],
  };
  const allowed = ['id', 'mux', 'logfile', 'logappend', ...(known[backend] ?? [])];
  for (const key of map.keys()) {
    if (!allowed.includes(key)) throw new UsageError(`${where}: Invalid parameter '${key}'`);
  }
  const options = ['server', 'wait', 'telnet', 'append']
    .filter((key) => map.has(key))
    .map((key) => `,${key}=${map.get(key)}`)
    .join('');
  if (backend === 'file') return `file:${map.get('path') ?? ''}${options}`;
  if (backend === 'udp') {
    const local = map.has('localport') ? `@${map.get('localaddr') ?? ''}:${map.get('localport')}` : '';
    return `udp:${map.get('host') ?? ''}:${map.get('port') ?? ''}${local}`;
  }
  if (backend !== 'socket') return backend;
  const address = map.has('path')
    ? `unix:${map.get('path')}`
    : `tcp:${map.get('host') ?? ''}:${map.get('port') ?? ''}`;
  return `${address}${options}`;
}

export const addMon: Handler = (config, value, where) => {
  const map = toMap(parsePairs(value, 'chardev'), ['chardev', 'mode', 'pretty'], where);
  const id = map.get('chardev') ?? '';
  const description = config.chardevs.get(id);
  if (description === undefined) throw new UsageError(`${where}: chardev "${id}" not found`);
  const mode = map.get('mode') ?? 'readline';
  if (mode !== 'readline' && mode !== 'control') {
    throw new UsageError(`${where}: Parameter 'mode' does not accept value '${mode}'`);
  }
  const pretty = map.has('pretty') && parseBoolean('pretty', map.get('pretty')!, where);
  config.monitors.push({ ...description, where, mode, pretty });
};

export const refuse =
  (reason: string): Handler =>
  (_config, _value, where) => {
    throw new UsageError(`${where}: ${reason}`);
  };

/** Only these values are accepted, and nothing follows from them. */
export const only =
  (allowed: readonly string[], reason: string): Handler =>
  (_config, value, where) => {
    if (!allowed.includes(value)) throw new UsageError(`${where}: ${reason}`);
  };
