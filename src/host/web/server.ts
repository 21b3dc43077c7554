/**
 * `-display web`: one page with the machine's screen (noVNC), buttons, snapshots, serial port and monitor. HTTP for the
 * page, a WebSocket for the screen (RFB) and one for control (control.ts).
 */
import { readFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import type { Duplex } from 'node:stream';
import { WebSocketServer } from 'ws';
import { reasonOf } from '../chardev/reason.ts';
import type { VncServer } from '../vnc/server.ts';
import { peerOf, refuseUpgrade, vncWebSocketServer, webSocketTransport } from '../vnc/websocket.ts';
import { type ControlOptions, ControlSession } from './control.ts';
import { PAGE, STYLE } from './page.ts';
import { SCRIPT } from './script.ts';
import { isOurHost, isOurOrigin, isToken, makeToken } from './security.ts';

/** Longest command, bytes. */
const MAX_COMMAND = 64 * 1024;
/** More pages at once are turned away. */
const MAX_PAGES = 32;
const LIBRARY_PATH = /^\/novnc\/((?:core|vendor)\/[\w/-]+\.js)$/;
/** noVNC draws its cursor as an image of its own; nothing else comes from outside, nobody frames us. */
const HEADERS = {
  'Content-Security-Policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
  'Referrer-Policy': 'no-referrer',
  'X-Content-Type-Options': 'nosniff',
  'Cache-Control': 'no-store',
};

/** `message` is fit to be shown. */
export class WebDisplayError extends Error {}

export interface WebDisplayOptions extends ControlOptions {
  readonly vnc: VncServer;
}

/** The folder of noVNC, an optional dependency. Throws WebDisplayError. */
function findNoVnc(): string {
  try {
    // …/core/rfb.js
    return dirname(dirname(createRequire(import.meta.url).resolve('@novnc/novnc')));
  } catch {
    throw new WebDisplayError("noVNC is not installed: run 'npm install @novnc/novnc@1.7.0'");
  }
}

export class WebDisplay {
  readonly #options: WebDisplayOptions;
  readonly #library: string = findNoVnc();
  readonly #token: string = makeToken();
  readonly #http: Server;
  readonly #screens: WebSocketServer = vncWebSocketServer();
  readonly #controls = new WebSocketServer({
    noServer: true,
    maxPayload: MAX_COMMAND,
    perMessageDeflate: false,
  });
  #host = '';

  constructor(options: WebDisplayOptions) {
    this.#options = options;
    this.#http = createServer((request, response) => {
      this.#serve(request, response).catch(options.onFault);
    });
    this.#http.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      socket.on('error', () => {});
      this.#upgrade(request, socket, head);
    });
  }

  /** To be opened in a browser. */
  get url(): string {
    const { address, port } = this.#http.address() as AddressInfo;
    const name = address === '0.0.0.0' || address === '::' ? '127.0.0.1' : address;
    return `http://${name.includes(':') ? `[${name}]` : name}:${port}/?token=${this.#token}`;
  }

  /** Rejects with WebDisplayError. */
  async listen(host: string, port: number): Promise<void> {
    this.#host = host;
    await new Promise<void>((resolve, reject) => {
      this.#http.once('error', (error) => {
        reject(new WebDisplayError(`Failed to listen on ${host}:${port}: ${reasonOf(error)}`));
      });
      this.#http.listen(port, host, resolve);
    });
    this.#http.on('error', () => {});
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const reply = (status: number, type: string, body: string | Buffer): void => {
      response.writeHead(status, { ...HEADERS, 'Content-Type': `${type}; charset=utf-8` });
      response.end(request.method === 'HEAD' ? undefined : body);
    };
    const url = this.#ourUrl(request);
    if (url === undefined) return reply(403, 'text/plain', 'This address is not ours.\n');
    if (request.method !== 'GET' && request.method !== 'HEAD') return reply(405, 'text/plain', 'GET only.\n');
    if (url.pathname === '/') {
      if (isToken(url.searchParams.get('token'), this.#token)) return reply(200, 'text/html', PAGE);
      return reply(
        403,
        'text/plain',
        'Open the whole address that ambervm printed: the token is missing or wrong.\n',
      );
    }
    // Nothing secret from here on.
    if (url.pathname === '/style.css') return reply(200, 'text/css', STYLE);
    if (url.pathname === '/script.js') return reply(200, 'text/javascript', SCRIPT);
    const file = LIBRARY_PATH.exec(url.pathname)?.[1];
    const body =
      file === undefined ? undefined : await readFile(join(this.#library, file)).catch(() => undefined);
    if (body === undefined) return reply(404, 'text/plain', 'There is no such page.\n');
    reply(200, 'text/javascript', body);
  }

  /** Undefined: the browser was told another name for us, or what it asks for is no address. */
  #ourUrl({ headers, url = '/' }: IncomingMessage): URL | undefined {
    if (!isOurHost(headers.host, this.#host) || !URL.canParse(url, 'http://localhost')) return undefined;
    return new URL(url, 'http://localhost');
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const url = this.#ourUrl(request);
    const { origin, host } = request.headers;
    const isAllowed =
      url !== undefined && isOurOrigin(origin, host) && isToken(url.searchParams.get('token'), this.#token);
    if (!isAllowed) refuseUpgrade(socket, '403 Forbidden');
    else if (url.pathname === '/screen') {
      this.#screens.handleUpgrade(request, socket, head, (client) => {
        this.#options.vnc.accept(webSocketTransport(client, peerOf(request)));
      });
    } else if (url.pathname !== '/control') refuseUpgrade(socket, '404 Not Found');
    else if (this.#controls.clients.size >= MAX_PAGES) refuseUpgrade(socket, '503 Service Unavailable');
    else {
      this.#controls.handleUpgrade(
        request,
        socket,
        head,
        (client) => new ControlSession(client, this.#options),
      );
    }
  }

  async close(): Promise<void> {
    for (const client of [...this.#screens.clients, ...this.#controls.clients]) client.terminate();
    this.#http.closeAllConnections();
    await new Promise<void>((resolve) => this.#http.close(() => resolve()));
  }
}
