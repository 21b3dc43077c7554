/**
 * The VNC server: one machine's screen, keyboard and mouse for many clients, over TCP, a Unix-domain socket and
 * WebSockets. The screen is looked at only while a client waits for news and the machine runs, at most 30 times a
 * second, less often while nothing happens.
 *
 * Not here: TLS, SASL, sound, the clipboard, another machine's reverse connection.
 */
import { rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import type { Machine } from '../../machine/machine.ts';
import { reasonOf } from '../chardev/reason.ts';
import type { VncAddress, VncShare } from './address.ts';
import { VncClient } from './client.ts';
import { Frame } from './frame.ts';
import { ClientInput } from './input.ts';
import { socketTransport, type Transport } from './transport.ts';

/** Between two looks at the screen: right after a change, and at most. */
const MIN_LOOK_MS = 34;
const MAX_LOOK_MS = 250;
const LOOK_STEP_MS = 8;
/** More at once are turned away. */
const MAX_CLIENTS = 32;

export interface VncServerOptions {
  readonly machine: Machine;
  /** Shown by clients. */
  readonly name: string;
  /** Clients must know the password; none comes in before one is set. */
  readonly authenticate: boolean;
  readonly share?: VncShare;
}

/** `message` is fit to be shown. */
export class VncServerError extends Error {}

export class VncServer {
  readonly #options: VncServerOptions;
  readonly #frame: Frame;
  readonly #clients = new Set<VncClient>();
  readonly #inputs = new Set<ClientInput>();
  readonly #removers: readonly (() => void)[];
  #server: Server | undefined;
  #address: VncAddress | undefined;
  #password: string | undefined;
  #timer: NodeJS.Timeout | undefined;
  #lookMs = MIN_LOOK_MS;

  constructor(options: VncServerOptions) {
    this.#options = options;
    const { machine } = options;
    this.#frame = new Frame(machine);
    const look = (): void => this.#lookSoon();
    this.#removers = [
      machine.on('loaded', () => {
        // What the guest of then knew of keys is not what the fingers of now do.
        for (const input of this.#inputs) input.release();
        look();
      }),
      machine.on('state', look),
      machine.on('reset', look),
    ];
  }

  get authenticates(): boolean {
    return this.#options.authenticate;
  }

  /** Where it listens, as QEMU's `info vnc` shows it; port 0 has become a real one. */
  get address(): VncAddress | undefined {
    const bound = this.#server?.address();
    if (this.#address?.kind !== 'tcp' || typeof bound !== 'object' || bound === null) return this.#address;
    return { kind: 'tcp', host: bound.address, port: bound.port };
  }

  get clients(): readonly VncClient[] {
    return [...this.#clients].filter(({ isRunning }) => isRunning);
  }

  /** Of which the first 8 characters count. False: passwords are not asked for. */
  setPassword(password: string): boolean {
    if (!this.#options.authenticate) return false;
    this.#password = password;
    return true;
  }

  /** Rejects with VncServerError. */
  async listen(address: VncAddress): Promise<void> {
    const server = createServer((socket) => this.accept(socketTransport(socket)));
    await new Promise<void>((resolve, reject) => {
      const what = address.kind === 'tcp' ? 'Failed to find an available port' : 'Failed to bind socket';
      server.once('error', (error) => reject(new VncServerError(`${what}: ${reasonOf(error)}`)));
      if (address.kind === 'unix') server.listen(address.path, resolve);
      else server.listen(address.port, address.host, resolve);
    });
    server.on('error', () => {});
    this.#server = server;
    this.#address = address;
  }

  /** A client came. */
  accept(transport: Transport): void {
    if (this.#clients.size >= MAX_CLIENTS) {
      transport.listen({ data: () => {}, drain: () => {}, closed: () => {} });
      transport.destroy();
      return;
    }
    const { machine, name, authenticate, share = 'allow-exclusive' } = this.#options;
    const input = new ClientInput(machine);
    this.#inputs.add(input);
    const client: VncClient = new VncClient(transport, {
      frame: this.#frame,
      name,
      input,
      password: () => (authenticate ? (this.#password ?? '') : undefined),
      leds: () => machine.keyboard.state.leds.ledstate & 7,
      entered: (shared) => {
        if (share !== 'allow-exclusive' || shared) return;
        for (const other of this.clients) if (other !== client) other.close();
      },
      look: () => this.#refresh(),
      wanting: () => this.#lookSoon(),
      closed: () => {
        this.#clients.delete(client);
        this.#inputs.delete(input);
      },
    });
    this.#clients.add(client);
  }

  /** Something happened that people will want to see. */
  #lookSoon(): void {
    this.#lookMs = MIN_LOOK_MS;
    this.#schedule();
  }

  #schedule(): void {
    if (this.#timer !== undefined || !this.#isWaitedFor()) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#look();
    }, this.#lookMs);
    this.#timer.unref();
  }

  #isWaitedFor(): boolean {
    for (const client of this.#clients) if (client.isWaiting) return true;
    return false;
  }

  #look(): void {
    this.#lookMs = this.#refresh() ? MIN_LOOK_MS : Math.min(this.#lookMs + LOOK_STEP_MS, MAX_LOOK_MS);
    let isDue = false;
    for (const client of this.#clients) {
      client.update();
      isDue ||= client.isDue;
    }
    // Nothing moves on the screen of a machine that stands still.
    if (isDue || this.#options.machine.running) this.#schedule();
  }

  /** Whether the screen changed; all clients know then. */
  #refresh(): boolean {
    const change = this.#frame.refresh();
    if (change === undefined) return false;
    for (const client of this.#clients) if (client.isRunning) client.changed(change);
    return true;
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer);
    for (const remove of this.#removers) remove();
    for (const client of this.#clients) client.close();
    const server = this.#server;
    this.#server = undefined;
    if (server !== undefined) await new Promise<void>((resolve) => server.close(() => resolve()));
    if (this.#address?.kind === 'unix') rmSync(this.#address.path, { force: true });
  }
}
