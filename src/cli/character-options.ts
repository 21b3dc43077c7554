/** `-serial`, `-parallel`, `-monitor`, `-qmp`, `-chardev`, `-mon`: back ends and who is on them. Messages are QEMU 7.2's. */
import { type CharDescription, parseCharSpec } from '../host/chardev/spec.ts';
import type { Config, MonitorConfig } from './config.ts';
import { EarlyExit } from './early-exit.ts';
import { isHelp, type Pair, parseBoolean, parsePairs, parseSize, toMap, UsageError } from './grammar.ts';
import type { Handler } from './handlers.ts';

const BACKENDS = ['stdio', 'ringbuf', 'null', 'socket', 'vc', 'udp', 'file', 'pty'];

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
  if (isHelp(value)) {
    throw new EarlyExit(
      `Available chardev backend types: \n${BACKENDS.map((name) => `  ${name}\n`).join('')}`,
    );
  }
  const [backend, ...pairs] = parsePairs(value, 'backend');
  const map = new Map(pairs.map(oldForm));
  const id = map.get('id');
  if (id === undefined) throw new UsageError(`${where}: chardev: no id specified`);
  if (!/^[A-Za-z][\w.-]*$/.test(id)) {
    throw new UsageError(
      `${where}: Parameter 'id' expects an identifier\n` +
        "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter.",
    );
  }
  if (config.chardevs.has(id)) throw new UsageError(`${where}: Duplicate ID '${id}' for chardev`);
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

/** `nowait` is the old form of `wait=off`, `server` that of `server=on`. */
function oldForm({ key, value }: Pair): [string, string] {
  if (value !== undefined) return [key, value];
  return key === 'nowait' || key === 'noserver' ? [key.slice(2), 'off'] : [key, 'on'];
}

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
  if (backend === 'file' && !map.has('path')) {
    throw new UsageError(`${where}: chardev: file: no filename given`);
  }
  if (backend === 'ringbuf') return ringbufText(map.get('size'), where);
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

function ringbufText(size: string | undefined, where: string): string {
  if (size === undefined) return 'ringbuf';
  const bytes = parseSize('size', size, where);
  if (bytes === 0 || Math.log2(bytes) % 1 !== 0) {
    throw new UsageError(`${where}: size of ringbuf chardev must be power of two`);
  }
  return `ringbuf:${bytes}`;
}

export const addMon: Handler = (config, value, where) => {
  const map = toMap(parsePairs(value, 'chardev'), ['chardev', 'mode', 'pretty', 'id'], where);
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
