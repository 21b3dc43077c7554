/**
 * `-readconfig`: options from a file in QEMU's form (util/qemu-config.c): `[group "id"]`, then `key = "value"` lines. A group
 * is the option of that name; `[ambervm]` is ours: a key is an option, `on` stands for one without an argument.
 */
import { readFileSync } from 'node:fs';
import { reasonOf } from '../host/chardev/reason.ts';
import { escapeCommas, UsageError } from './grammar.ts';

/** Option of each of QEMU's groups. */
const GROUPS: Readonly<Record<string, string>> = {
  accel: 'accel',
  'boot-opts': 'boot',
  chardev: 'chardev',
  device: 'device',
  drive: 'drive',
  icount: 'icount',
  machine: 'machine',
  memory: 'm',
  mon: 'mon',
  name: 'name',
  rtc: 'rtc',
  'smp-opts': 'smp',
  trace: 'trace',
};
const OWN_GROUP = 'ambervm';
/** Keys that a group's option takes first, without their name. */
const FIRST_KEYS: Readonly<Record<string, string>> = { chardev: 'backend', device: 'driver', accel: 'accel' };

export interface ConfigOption {
  readonly name: string;
  readonly value: string;
  /** For messages: file and line. */
  readonly where: string;
}

interface Group {
  readonly name: string;
  readonly id: string | undefined;
  readonly where: string;
  readonly pairs: (readonly [key: string, value: string])[];
}

/** Reads the file. Throws UsageError. */
export function readConfigFile(path: string): ConfigOption[] {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new UsageError(`-readconfig ${path}: Could not open '${path}': ${reasonOf(error)}`);
  }
  return parseConfig(text, path);
}

export function parseConfig(text: string, path: string): ConfigOption[] {
  const options: ConfigOption[] = [];
  let group: Group | undefined;
  const finish = () => {
    if (group !== undefined) options.push(...optionsOf(group));
  };
  text.split(/\r?\n/).forEach((line, i) => {
    const where = `${path}:${i + 1}`;
    if (/^\s*(#|$)/.test(line)) return;
    const head = /^\s*\[\s*([^\s"\]]+)\s*(?:"([^"]*)"\s*)?\]\s*$/.exec(line);
    if (head !== null) {
      finish();
      const name = head[1]!;
      if (name !== OWN_GROUP && !Object.hasOwn(GROUPS, name)) {
        throw new UsageError(`${where}: There is no option group '${name}'`);
      }
      group = { name, id: head[2], where, pairs: [] };
      return;
    }
    const pair = /^\s*([^\s=]+)\s*=\s*"([^"]*)"\s*$/.exec(line);
    if (pair === null) throw new UsageError(`${where}: parse error`);
    if (group === undefined) throw new UsageError(`${where}: no group defined`);
    if (group.name === OWN_GROUP) options.push({ name: pair[1]!, value: pair[2]!, where });
    else group.pairs.push([pair[1]!, pair[2]!]);
  });
  finish();
  return options;
}

function optionsOf({ name, id, where, pairs }: Group): ConfigOption[] {
  if (name === OWN_GROUP) return [];
  const first = FIRST_KEYS[name];
  const own = pairs.filter(([key]) => key !== first).map(([key, value]) => `${key}=${escapeCommas(value)}`);
  const lead = pairs.filter(([key]) => key === first).map(([, value]) => escapeCommas(value));
  const ids = id === undefined ? [] : [`id=${escapeCommas(id)}`];
  return [{ name: GROUPS[name]!, value: [...lead, ...own, ...ids].join(','), where }];
}
