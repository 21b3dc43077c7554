/** What the options with an argument of some grammar do. One function an option; messages are QEMU 7.2's. */
import { parseGdbDevice } from './gdb.ts';
import { parseDrive } from './drives.ts';
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
import { machinePropertiesHelp } from './devices.ts';
import { EarlyExit } from './early-exit.ts';
import { type Config, DEFAULT_RAM_BYTES, MACHINE_TYPE } from './config.ts';
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
  if (drive.file === undefined) throw new UsageError(`${where}: Device needs media, but drive is empty`);
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
  const pairs = parsePairs(value, 'type');
  if (pairs.some(({ key, value: given }) => isHelp(key) && given === undefined)) {
    throw new EarlyExit(machinePropertiesHelp(MACHINE_OPTIONS));
  }
  for (const { key, value: given } of pairs) {
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

const ACCELERATOR_KEYS = ['accel', 'thread', 'tb-size', 'split-wx', 'one-insn-per-tb'];

export const setAccelerator: Handler = (_config, value, where) => {
  if (isHelp(value)) throw new EarlyExit('Accelerators supported in ambervm:\ntcg\n');
  const foreign = parsePairs(value, 'accel').find(({ key }) => !ACCELERATOR_KEYS.includes(key));
  if (foreign !== undefined) throw new UsageError(`${where}: Property 'tcg-accel.${foreign.key}' not found`);
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
  if (plain === 'host') throw new UsageError("CPU model 'host' requires KVM or HVF");
  if (!CPUS.some(([known]) => known === plain)) throw new UsageError(`unable to find CPU model '${name}'`);
  if (features.length > 0) {
    throw new UsageError(`-cpu ${value}: CPU features cannot be changed ('${features[0]}')`);
  }
  config.cpuModel = plain;
};

export const setSmp: Handler = (_config, value) => {
  const known = ['cpus', 'sockets', 'dies', 'clusters', 'cores', 'threads', 'maxcpus'];
  for (const { key, value: count } of parsePairs(value, 'cpus')) {
    if (!known.includes(key)) throw new UsageError(`Parameter 'smp.${key}' is unexpected`);
    const number = unsigned(count ?? '');
    if (number === undefined) throw new UsageError(`Parameter 'smp.${key}' expects integer`);
    if (number > 1) {
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
  if (type === 'none') {
    const more = parsePairs(value, 'type').find(({ key }) => key !== 'type');
    if (more !== undefined) throw new UsageError(`${where}: Parameter '${more.key}' is unexpected`);
    return;
  }
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
      'reboot-timeout=<num>',
      'splash-time=<num>',
      'splash=<str>',
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
  if (isHelp(value)) throw new EarlyExit('rtc options:\n  base=<str>\n  clock=<str>\n  driftfix=<str>\n');
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
