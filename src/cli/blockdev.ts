/**
 * `-blockdev`: an image as a node with a name, for `-device …,drive=NAME`; `key=value` pairs or JSON, as QEMU 7.2 reads it
 * (qapi/block-core.json, BlockdevOptions). Drivers: qcow2, raw and file. A node that no device has takes part in snapshots only.
 * Not here: other drivers, a backing chain put together from nodes.
 */
import type { Config, DriveConfig } from './config.ts';
import { parseDrive } from './drives.ts';
import { escapeCommas, parsePairs, UsageError } from './grammar.ts';
import type { Handler } from './handlers.ts';

const FORMATS = new Set(['qcow2', 'raw']);
/** Protocols: bytes of a file. */
const FILES = new Set(['file']);
/** QEMU's that we have not. */
const FOREIGN =
  /^(blkdebug|bochs|cloop|dmg|host_device|host_cdrom|http|https|luks|nbd|null-co|null-aio|qcow|qed|ssh|throttle|vdi|vhdx|vmdk|vpc|vvfat)$/;

export interface Blockdev {
  readonly where: string;
  readonly driver: string;
  /** All keys, of what is nested with a dot between. */
  readonly values: ReadonlyMap<string, string>;
}

export const addBlockdev: Handler = (config, text, where) => {
  const values = text.startsWith('{') ? fromJson(text, where) : fromPairs(text);
  const driver = values.get('driver');
  if (driver === undefined) throw new UsageError(`${where}: Parameter 'driver' is missing`);
  if (!FORMATS.has(driver) && !FILES.has(driver)) {
    throw new UsageError(
      FOREIGN.test(driver)
        ? `${where}: driver '${driver}' is not supported\n(qcow2, raw and file are)`
        : `${where}: Parameter 'driver' does not accept value '${driver}'`,
    );
  }
  const needed = FILES.has(driver) ? 'filename' : 'file';
  if (![...values.keys()].some((key) => key === needed || key.startsWith(`${needed}.`))) {
    throw new UsageError(`${where}: Parameter '${needed}' is missing`);
  }
  const name = values.get('node-name');
  if (name === undefined) throw new UsageError(`${where}: 'node-name' must be specified for the root node`);
  if (config.blockdevs.has(name)) throw new UsageError(`${where}: Duplicate nodes with node-name='${name}'`);
  config.blockdevs.set(name, { where, driver, values });
};

/** The image of a node that nobody has yet. Undefined: there is no such node. */
export function driveOfBlockdev(config: Config, name: string): DriveConfig | undefined {
  const node = config.blockdevs.get(name);
  if (node === undefined) return undefined;
  const { where, driver, values } = node;
  config.blockdevs.delete(name);
  const file = FILES.has(driver) ? node : fileOf(config, node);
  const filename = file.values.get('filename');
  if (filename === undefined) throw new UsageError(`${where}: Parameter 'file.filename' is missing`);
  const format = FILES.has(driver) ? 'raw' : driver;
  const keys = new Map([...file.values, ...values]);
  for (const key of ['driver', 'filename', 'file', 'node-name', 'auto-read-only', 'backing'])
    keys.delete(key);
  for (const key of keys.keys()) if (key.startsWith('file.')) keys.delete(key);
  const options = [...keys].map(([key, value]) => `,${key}=${escapeCommas(value)}`).join('');
  const drive = parseDrive(`if=none,format=${format},file=${escapeCommas(filename)}${options}`, where);
  return { ...drive, nodeName: name };
}

/** Nodes that no device took: images beside, as `-drive if=none`. Files of others are no images of their own. */
export function takeUnusedBlockdevs(config: Config): void {
  for (const [name, { driver }] of config.blockdevs) {
    if (FILES.has(driver)) continue;
    const drive = driveOfBlockdev(config, name);
    if (drive !== undefined) config.drives.push({ ...drive, id: name });
  }
}

/** The file below: a node by its name, or described inside. */
function fileOf(config: Config, { where, values }: Blockdev): Blockdev {
  const name = values.get('file');
  if (name === undefined) {
    const inside = [...values].flatMap(([key, value]) =>
      key.startsWith('file.') ? [[key.slice('file.'.length), value] as const] : [],
    );
    return { where, driver: 'file', values: new Map(inside) };
  }
  const node = config.blockdevs.get(name);
  if (node === undefined || !FILES.has(node.driver)) {
    throw new UsageError(`${where}: Cannot find device='${name}' nor node-name='${name}'`);
  }
  return node;
}

function fromPairs(text: string): Map<string, string> {
  return new Map(parsePairs(text, 'driver').map(({ key, value }) => [key, value ?? 'on']));
}

function fromJson(text: string, where: string): Map<string, string> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw new UsageError(`${where}: JSON parse error`);
  }
  const values = new Map<string, string>();
  flatten('', parsed, values);
  return values;
}

function flatten(prefix: string, value: unknown, into: Map<string, string>): void {
  if (typeof value === 'object' && value !== null) {
    for (const [key, inner] of Object.entries(value)) {
      flatten(prefix === '' ? key : `${prefix}.${key}`, inner, into);
    }
  } else if (value !== null)
    into.set(prefix, value === true ? 'on' : value === false ? 'off' : String(value));
}
