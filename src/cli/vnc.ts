/** `-vnc`: where it listens, who may come in; and the monitor's `info vnc` and `change vnc password`. */
import type { VncAddress } from '../host/vnc/address.ts';
import type { VncServer } from '../host/vnc/server.ts';
import type { VncWebSockets } from '../host/vnc/websocket.ts';
import type { Machine } from '../machine/machine.ts';
import type { MonitorVnc, VncFacts } from '../monitor/command.ts';
import type { VncConfig } from './config.ts';
import { EarlyExit } from './early-exit.ts';
import { isHelp, parseBoolean, parsePairs, toMap, UsageError } from './grammar.ts';

/** Without a host name only programs on this computer are let in. QEMU lets everybody in. */
export const LOOPBACK = '127.0.0.1';
const BASE_PORT = 5900;
const WEBSOCKET_BASE_PORT = 5700;
const MAX_PORT = 65_535;

const OPTIONS = ['vnc', 'to', 'websocket', 'password', 'share', 'lossy', 'non-adaptive', 'id', 'display'];
/** QEMU's, and not here. */
const FOREIGN = [
  ...['tls-creds', 'tls-authz', 'sasl', 'sasl-authz', 'password-secret', 'reverse', 'audiodev'],
  ...['head', 'connections', 'key-delay-ms', 'power-control'],
];

/** Undefined: `none`. Throws UsageError or EarlyExit. */
export function parseVnc(value: string, where: string): VncConfig | undefined {
  if (isHelp(value)) {
    const known = OPTIONS.map((key) => `  ${key}=<str>\n`);
    throw new EarlyExit(`vnc options:\n${known.join('')}`);
  }
  const pairs = parsePairs(value, 'vnc');
  const foreign = pairs.find(({ key }) => FOREIGN.includes(key));
  if (foreign !== undefined) throw new UsageError(`${where}: '${foreign.key}' is not supported`);
  const map = toMap(pairs, OPTIONS, where);
  const display = map.get('vnc') ?? '';
  if (display === 'none') return undefined;
  const share = map.get('share') ?? 'allow-exclusive';
  if (share !== 'allow-exclusive' && share !== 'force-shared' && share !== 'ignore') {
    throw new UsageError(`${where}: unknown vnc share= option`);
  }
  const address = parseAddress(display, where);
  const to = map.get('to');
  const port = address.kind === 'tcp' ? address.port : 0;
  return {
    where,
    address,
    lastPort: to === undefined ? port : displayPort(to, where),
    webSocket: parseWebSocket(map.get('websocket'), address, where),
    password: parseBoolean('password', map.get('password') ?? 'off', where),
    share,
  };
}

function parseAddress(display: string, where: string): VncAddress {
  if (display.startsWith('unix:')) return { kind: 'unix', path: display.slice('unix:'.length) };
  const colon = display.lastIndexOf(':');
  if (colon < 0) throw new UsageError(`${where}: no vnc port specified`);
  const port = displayPort(display.slice(colon + 1), where);
  return { kind: 'tcp', host: hostOf(display.slice(0, colon)), port };
}

/** Brackets of an IPv6 address away. */
function hostOf(text: string): string {
  return text === '' ? LOOPBACK : text.replace(/^\[(.*)\]$/, '$1');
}

function displayPort(text: string, where: string): number {
  if (!/^\d+$/.test(text)) throw new UsageError(`${where}: can't convert to a number: ${text}`);
  const port = BASE_PORT + Number(text);
  if (port > MAX_PORT) throw new UsageError(`${where}: port ${text} out of range`);
  return port;
}

function parseWebSocket(
  text: string | undefined,
  address: VncAddress,
  where: string,
): VncConfig['webSocket'] {
  if (text === undefined || text === 'off' || text === 'no') return undefined;
  const host = address.kind === 'tcp' ? address.host : LOOPBACK;
  if (text === 'on' || text === 'yes') {
    if (address.kind === 'unix') throw new UsageError(`${where}: websocket: a port must be given`);
    return { host, port: address.port - BASE_PORT + WEBSOCKET_BASE_PORT };
  }
  const [, named = '', digits = ''] = /^(?:(.*):)?([^:]*)$/.exec(text) ?? [];
  if (!/^\d+$/.test(digits) || Number(digits) > MAX_PORT) {
    throw new UsageError(
      `${where}: address resolution failed for ${named || host}:${digits}: Servname not supported for ai_socktype`,
    );
  }
  return { host: named === '' ? host : hostOf(named), port: Number(digits) };
}

/** The program's VNC server, if it has one. */
export class VncControl implements MonitorVnc {
  #server: VncServer | undefined;
  #webSockets: VncWebSockets | undefined;

  /** Rejects with UsageError. */
  async start(config: VncConfig, machine: Machine, name: string | undefined): Promise<void> {
    // Loaded when wanted: the program starts faster without.
    const { VncServer } = await import('../host/vnc/server.ts');
    const { address, where, lastPort, password, share, webSocket } = config;
    const title = name === undefined ? 'ambervm' : `ambervm (${name})`;
    const server = new VncServer({ machine, name: title, authenticate: password, share });
    this.#server = server;
    try {
      await listenInRange(server, address, lastPort);
      if (webSocket === undefined) return;
      const { VncWebSockets } = await import('../host/vnc/websocket.ts');
      this.#webSockets = new VncWebSockets(server, { anyOrigin: password });
      await this.#webSockets.listen(webSocket.host, webSocket.port);
    } catch (error) {
      await this.close();
      throw new UsageError(`${where}: ${(error as Error).message}`);
    }
  }

  // ---- the monitor

  info(): string {
    const server = this.#server;
    if (server === undefined) return 'None\n';
    const auth = `    Auth: ${server.authenticates ? 'vnc' : 'none'} (Sub: none)\n`;
    const { address } = server;
    const lines: string[] = [];
    if (address?.kind === 'tcp') lines.push(`  Server: ${place(address.host, address.port)}\n${auth}`);
    else if (address?.kind === 'unix') lines.push(`  Server: ${address.path}: (unix)\n${auth}`);
    const web = this.#webSockets?.address;
    if (web !== undefined) lines.push(`  Server: ${place(web.host, web.port, ' (Websocket)')}\n${auth}`);
    for (const { transport } of server.clients) {
      const [, host = '', port = ''] = /^(.*):(\d*)$/.exec(transport.peer) ?? [];
      lines.push(`  Client: ${place(host, Number(port), transport.isWebSocket ? ' (Websocket)' : '')}\n`);
      lines.push('    x509_dname: none\n    sasl_username: none\n');
    }
    return `default:\n${lines.join('')}`;
  }

  facts(): VncFacts {
    const server = this.#server;
    if (server === undefined) return { enabled: false };
    const { address } = server;
    const isTcp = address?.kind === 'tcp';
    const host = isTcp ? address.host : address?.kind === 'unix' ? address.path : '';
    return {
      enabled: true,
      host,
      service: isTcp ? String(address.port) : '',
      family: familyOf(isTcp ? address.host : undefined),
      auth: server.authenticates ? 'vnc' : 'none',
      clients: server.clients.map(({ transport }) => {
        const [, peer = '', port = ''] = /^(.*):(\d*)$/.exec(transport.peer) ?? [];
        return { host: peer, service: port, family: familyOf(peer), websocket: transport.isWebSocket };
      }),
    };
  }

  setPassword(password: string): 'set' | 'not-asked-for' | 'no-server' {
    if (this.#server === undefined) return 'no-server';
    return this.#server.setPassword(password) ? 'set' : 'not-asked-for';
  }

  async close(): Promise<void> {
    await this.#webSockets?.close();
    await this.#server?.close();
    this.#webSockets = undefined;
    this.#server = undefined;
  }
}

/** Undefined: no network, a Unix socket. */
function familyOf(host: string | undefined): string {
  if (host === undefined) return 'unix';
  return host.includes(':') ? 'ipv6' : 'ipv4';
}

function place(host: string, port: number, more = ''): string {
  return `${host}:${port} (${host.includes(':') ? 'ipv6' : 'ipv4'}${more})`;
}

async function listenInRange(server: VncServer, address: VncAddress, lastPort: number): Promise<void> {
  for (let port = address.kind === 'tcp' ? address.port : 0; ; port++) {
    try {
      await server.listen(address.kind === 'tcp' ? { ...address, port } : address);
      return;
    } catch (error) {
      if (address.kind === 'unix' || port >= lastPort) throw error;
    }
  }
}
