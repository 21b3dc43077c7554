/** `-gdb`: a gdb server on TCP or a Unix-domain socket. One gdb at a time. The machine stops while gdb is attached. */
import { rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import type { Machine } from '../../machine/machine.ts';
import type { Hmp } from '../../monitor/hmp.ts';
import { reasonOf } from '../chardev/reason.ts';
import { encodePacket, type Incoming, PacketReader } from './packet.ts';
import { GdbStub } from './stub.ts';
import { GdbTarget } from './target.ts';

/** Packets that may wait for an answer; gdb sends one at a time. */
const MAX_WAITING = 16;

export type GdbAddress =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string };

/** `message` is fit to be shown. */
export class GdbServerError extends Error {}

export interface GdbServerOptions {
  readonly machine: Machine;
  readonly hmp: Hmp;
  readonly quit: () => void;
  /** A fault of ours. */
  readonly onFault: (error: unknown) => void;
}

export class GdbServer {
  readonly #options: GdbServerOptions;
  readonly #target: GdbTarget;
  #server: Server | undefined;
  #session: Session | undefined;
  #address: GdbAddress | undefined;

  constructor(options: GdbServerOptions) {
    this.#options = options;
    this.#target = new GdbTarget(options.machine);
  }

  /** Rejects with GdbServerError. */
  async listen(address: GdbAddress): Promise<void> {
    const server = createServer((socket) => this.#accept(socket));
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) =>
        reject(new GdbServerError(`Failed to open gdb socket: ${reasonOf(error)}`)),
      );
      if (address.kind === 'unix') server.listen(address.path, resolve);
      else server.listen(address.port, address.host, resolve);
    });
    server.on('error', () => {});
    this.#server = server;
    this.#address = address;
  }

  /** Where it listens; port 0 has become a real one. */
  get port(): number | undefined {
    const address = this.#server?.address();
    return typeof address === 'object' && address !== null ? address.port : undefined;
  }

  #accept(socket: Socket): void {
    if (this.#session !== undefined) {
      socket.destroy();
      return;
    }
    const { machine, onFault } = this.#options;
    const session = new Session(socket, this.#target, this.#options);
    this.#session = session;
    socket.on('error', () => {});
    socket.once('close', () => {
      this.#session = undefined;
      // gdb that goes without a word leaves the machine as it is, as with QEMU.
      this.#target.clear();
    });
    machine.pause().then(() => session.begin(), onFault);
  }

  async close(): Promise<void> {
    this.#session?.end();
    const server = this.#server;
    this.#server = undefined;
    if (server !== undefined) await new Promise<void>((resolve) => server.close(() => resolve()));
    if (this.#address?.kind === 'unix') rmSync(this.#address.path, { force: true });
  }
}

class Session {
  readonly #socket: Socket;
  readonly #stub: GdbStub;
  readonly #reader = new PacketReader();
  readonly #onFault: (error: unknown) => void;
  #work: Promise<void> = Promise.resolve();
  #waiting = 0;
  #last: Buffer | undefined;

  constructor(socket: Socket, target: GdbTarget, { hmp, quit, onFault }: GdbServerOptions) {
    this.#socket = socket;
    this.#onFault = onFault;
    socket.setNoDelay(true);
    this.#stub = new GdbStub({ target, hmp, quit, send: (reply) => this.#send(encodePacket(reply)) });
  }

  begin(): void {
    this.#socket.on('data', (bytes) => {
      for (const incoming of this.#reader.push(bytes)) this.#take(incoming);
    });
  }

  end(): void {
    this.#socket.destroy();
  }

  #take(incoming: Incoming): void {
    if (incoming.kind === 'interrupt') this.#stub.interrupt().catch(this.#onFault);
    else if (incoming.kind === 'nack' && this.#last !== undefined) this.#socket.write(this.#last);
    else if (incoming.kind === 'bad' && !this.#stub.isAckless) this.#socket.write('-');
    else if (incoming.kind === 'packet') this.#queue(incoming.data);
  }

  #queue(packet: Buffer): void {
    if (!this.#stub.isAckless) this.#socket.write('+');
    if (this.#waiting >= MAX_WAITING) {
      this.end();
      return;
    }
    this.#waiting++;
    this.#work = this.#work
      .then(() => this.#stub.handle(packet))
      .catch(this.#onFault)
      .finally(() => {
        this.#waiting--;
      });
  }

  #send(packet: Buffer): void {
    this.#last = packet;
    if (this.#socket.writable) this.#socket.write(packet);
  }
}
