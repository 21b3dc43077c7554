/**
 * TCP and Unix-domain sockets, client or server, plain or telnet. A server serves one client at a time; others wait in
 * line. While nobody is connected output is discarded, as QEMU does.
 */
import { rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { type CharBackend, CharDeviceError, type CharFrontend, InputQueue, OUTPUT_LIMIT } from './chardev.ts';
import { reasonOf } from './reason.ts';
import type { CharSpec } from './spec.ts';
import { TELNET_GREETING, TelnetFilter } from './telnet.ts';

type SocketCharSpec = Extract<CharSpec, { kind: 'unix' | 'tcp' }>;

/** Clients that may wait for their turn; more are turned away. */
const MAX_WAITING = 8;
/** Longest wait at close for a reader that does not read, ms. */
const FLUSH_MS = 500;

export class SocketChardev implements CharBackend {
  readonly #spec: SocketCharSpec;
  readonly #input: InputQueue;
  readonly #waiting: Socket[] = [];
  #server: Server | undefined;
  #client: Socket | undefined;
  #telnet: TelnetFilter | undefined;
  #frontend: CharFrontend | undefined;
  #onClient: (() => void) | undefined;
  /** The front end has more, and waits to be asked for it. */
  #wasRefused = false;

  private constructor(spec: SocketCharSpec) {
    this.#spec = spec;
    this.#input = new InputQueue(
      () => this.#client?.pause(),
      () => this.#client?.resume(),
    );
  }

  /** Resolves when connected or listening; with `wait`, when a client has come. `notice` is told of the wait. */
  static async open(spec: SocketCharSpec, notice: (message: string) => void): Promise<SocketChardev> {
    const chardev = new SocketChardev(spec);
    if (!spec.server) await chardev.#connect();
    else {
      await chardev.#listen();
      if (spec.wait) {
        notice(`info: QEMU waiting for connection on: ${chardev.filename}`);
        if (chardev.#client === undefined) {
          await new Promise<void>((resolve) => {
            chardev.#onClient = resolve;
          });
        }
      }
    }
    return chardev;
  }

  get filename(): string {
    const { server, telnet } = this.#spec;
    const state = this.#client === undefined ? 'disconnected:' : '';
    const kind = telnet ? 'telnet' : this.#spec.kind;
    return `${state}${kind}:${addressOf(this.#spec)}${server ? ',server=on' : ''}`;
  }

  async #connect(): Promise<void> {
    const spec = this.#spec;
    const socket =
      spec.kind === 'unix'
        ? connect(spec.path)
        : connect(spec.port, spec.host === '' ? 'localhost' : spec.host);
    try {
      await once(socket, 'connect');
    } catch (cause) {
      throw new CharDeviceError(`Failed to connect to '${addressOf(spec)}': ${reasonOf(cause)}`, cause);
    }
    this.#adopt(socket);
  }

  async #listen(): Promise<void> {
    const spec = this.#spec;
    const server = createServer({ pauseOnConnect: true }, (socket) => this.#accept(socket));
    this.#server = server;
    if (spec.kind === 'unix') {
      rmSync(spec.path, { force: true });
      server.listen(spec.path);
    } else server.listen(spec.port, spec.host === '' ? undefined : spec.host);
    try {
      await once(server, 'listening');
    } catch (cause) {
      const what =
        spec.kind === 'unix' ? `Failed to bind socket to ${spec.path}` : 'Failed to find an available port';
      throw new CharDeviceError(`${what}: ${reasonOf(cause)}`, cause);
    }
    // A listener alone does not keep the process alive; the machine does.
    server.unref();
  }

  #accept(socket: Socket): void {
    socket.on('error', () => socket.destroy());
    if (this.#client === undefined) this.#adopt(socket);
    else if (this.#waiting.length < MAX_WAITING) this.#waiting.push(socket);
    else socket.destroy();
  }

  #adopt(socket: Socket): void {
    this.#client = socket;
    socket.setNoDelay(true);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#lost(socket));
    this.#wasRefused = false;
    this.#telnet = this.#spec.telnet ? new TelnetFilter() : undefined;
    if (this.#telnet !== undefined) socket.write(TELNET_GREETING);
    if (this.#frontend !== undefined) this.#begin();
    this.#onClient?.();
  }

  #begin(): void {
    const socket = this.#client!;
    socket.on('data', (chunk: Buffer) => this.#input.push(this.#telnet?.decode(chunk) ?? chunk));
    this.#frontend!.onEvent?.('opened');
    socket.resume();
  }

  #lost(socket: Socket): void {
    const place = this.#waiting.indexOf(socket);
    if (place >= 0) this.#waiting.splice(place, 1);
    if (socket !== this.#client) return;
    this.#client = undefined;
    this.#input.clear();
    this.#frontend?.onEvent?.('closed');
    // What was refused for want of room is now taken (and discarded).
    this.#frontend?.writable?.();
    // One that left while it waited has said so already.
    let next = this.#waiting.shift();
    while (next?.destroyed) next = this.#waiting.shift();
    if (next !== undefined) this.#adopt(next);
  }

  attach(frontend: CharFrontend): void {
    this.#frontend = frontend;
    this.#input.frontend = frontend;
    if (this.#client !== undefined) this.#begin();
  }

  write(bytes: Uint8Array): number {
    const client = this.#client;
    if (client === undefined || client.destroyed) return bytes.length;
    const count = Math.max(0, Math.min(bytes.length, OUTPUT_LIMIT - client.writableLength));
    if (count < bytes.length) this.#wasRefused = true;
    if (count === 0) return 0;
    const part = bytes.slice(0, count);
    // Not 'drain': what the host takes at once is followed by none, though something was refused.
    client.write(this.#telnet?.encode(part) ?? part, this.#written);
    return count;
  }

  readonly #written = (): void => {
    if (!this.#wasRefused) return;
    this.#wasRefused = false;
    this.#frontend?.writable?.();
  };

  acceptInput(): void {
    this.#input.deliver();
  }

  async close(): Promise<void> {
    this.#server?.close();
    if (this.#spec.kind === 'unix' && this.#spec.server) rmSync(this.#spec.path, { force: true });
    for (const socket of this.#waiting.splice(0)) socket.destroy();
    const client = this.#client;
    if (client === undefined || client.destroyed) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, FLUSH_MS);
      client.end(() => {
        clearTimeout(timer);
        resolve();
      });
    });
    client.destroy();
  }
}

function addressOf(spec: SocketCharSpec): string {
  return spec.kind === 'unix' ? spec.path : `${spec.host}:${spec.port}`;
}

function once(emitter: Socket | Server, event: string): Promise<void> {
  return new Promise((resolve, reject) => {
    emitter.once(event, resolve);
    emitter.once('error', reject);
  });
}
