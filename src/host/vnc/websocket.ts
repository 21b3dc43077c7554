/**
 * VNC over WebSockets, for noVNC (`-vnc …,websocket=on`). Browsers let any page connect to this computer: without a
 * password only pages that come from it are answered.
 */
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import { reasonOf } from '../chardev/reason.ts';
import { type VncServer, VncServerError } from './server.ts';
import type { Transport } from './transport.ts';

/** Longest message of a client, bytes: far more than any key or pointer event. */
const MAX_MESSAGE = 1024 * 1024;

/** Accepts no sub-protocol, or the one that old clients ask for. */
export function vncWebSocketServer(): WebSocketServer {
  return new WebSocketServer({
    noServer: true,
    maxPayload: MAX_MESSAGE,
    perMessageDeflate: false,
    handleProtocols: (protocols) => (protocols.has('binary') ? 'binary' : false),
  });
}

/** Who is at the other end of a request. */
export function peerOf({ socket }: IncomingMessage): string {
  return `${socket.remoteAddress ?? ''}:${socket.remotePort ?? ''}`;
}

/** Says no to an upgrade. */
export function refuseUpgrade(socket: Duplex, status: string): void {
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}

export function webSocketTransport(socket: WebSocket, peer: string): Transport {
  let onDrain = (): void => {};
  return {
    peer,
    isWebSocket: true,
    get bufferedBytes() {
      return socket.bufferedAmount;
    },
    write: (bytes) => {
      if (socket.readyState === socket.OPEN) socket.send(bytes, { binary: true }, () => onDrain());
    },
    listen: ({ data, drain, closed }) => {
      onDrain = drain;
      socket.on('message', (message: Buffer | ArrayBuffer | Buffer[]) => {
        data(Array.isArray(message) ? Buffer.concat(message) : Buffer.from(message as Buffer));
      });
      socket.on('error', () => {});
      socket.once('close', closed);
    },
    end: () => socket.close(),
    destroy: () => socket.terminate(),
  };
}

const LOCAL_HOSTS = ['localhost', '127.0.0.1', '[::1]'];

/** Whether the page that connects is of this computer. Programs other than browsers name no origin. */
export function isLocalOrigin(origin: string | undefined): boolean {
  if (origin === undefined) return true;
  return URL.canParse(origin) && LOCAL_HOSTS.includes(new URL(origin).hostname);
}

export class VncWebSockets {
  readonly #sockets: WebSocketServer = vncWebSocketServer();
  readonly #http: Server;

  /** `anyOrigin`: a password guards the screen. */
  constructor(vnc: VncServer, { anyOrigin }: { readonly anyOrigin: boolean }) {
    this.#http = createServer((_request, response) => {
      response.writeHead(426, { Upgrade: 'websocket' }).end();
    });
    this.#http.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      socket.on('error', () => {});
      if (!anyOrigin && !isLocalOrigin(request.headers.origin)) {
        refuseUpgrade(socket, '403 Forbidden');
        return;
      }
      this.#sockets.handleUpgrade(request, socket, head, (client: WebSocket) => {
        vnc.accept(webSocketTransport(client, peerOf(request)));
      });
    });
  }

  get address(): { readonly host: string; readonly port: number } | undefined {
    const bound = this.#http.address() as AddressInfo | null;
    return bound === null ? undefined : { host: bound.address, port: bound.port };
  }

  /** Rejects with VncServerError. */
  async listen(host: string, port: number): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#http.once('error', (error) => {
        reject(new VncServerError(`Failed to listen on socket: ${reasonOf(error)}`));
      });
      this.#http.listen(port, host, resolve);
    });
    this.#http.on('error', () => {});
  }

  async close(): Promise<void> {
    for (const client of this.#sockets.clients) client.terminate();
    this.#http.closeAllConnections();
    await new Promise<void>((resolve) => this.#http.close(() => resolve()));
  }
}
