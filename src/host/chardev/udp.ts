/** UDP: what is written goes out in datagrams, what comes is input. Nobody knows whether anybody listens. */
import { createSocket, type Socket } from 'node:dgram';
import { isIPv6 } from 'node:net';
import { type CharBackend, CharDeviceError, type CharFrontend, InputQueue } from './chardev.ts';
import { reasonOf } from './reason.ts';
import type { CharSpec } from './spec.ts';

type UdpSpec = Extract<CharSpec, { kind: 'udp' }>;

/** Answers are heard from this computer alone, unless another one is named. */
const LOOPBACK = /^(127\.|::1$|localhost$)/;
/** Longest datagram, bytes: fits every Ethernet. */
const MAX_DATAGRAM = 1400;
/** Waiting for the front end; what comes beyond is lost, as datagrams are. */
const INPUT_LIMIT = 64 * 1024;

export class UdpChardev implements CharBackend {
  readonly filename: string = 'udp';
  readonly #spec: UdpSpec;
  readonly #socket: Socket;
  readonly #input = new InputQueue();
  #isClosed = false;
  /** The last datagram is out. */
  #sent: Promise<void> = Promise.resolve();

  private constructor(spec: UdpSpec, socket: Socket) {
    this.#spec = spec;
    this.#socket = socket;
    socket.unref();
    // Nobody there (ICMP): datagrams are lost.
    socket.on('error', () => {});
    socket.on('message', (data) => {
      this.#input.offer(data, INPUT_LIMIT);
    });
  }

  static async open(spec: UdpSpec): Promise<UdpChardev> {
    const is6 = isIPv6(spec.host) || isIPv6(spec.localHost);
    const socket = createSocket({ type: is6 ? 'udp6' : 'udp4', reuseAddr: true });
    try {
      await new Promise<void>((resolve, reject) => {
        socket.once('error', reject);
        const own = LOOPBACK.test(spec.host) ? (is6 ? '::1' : '127.0.0.1') : undefined;
        socket.bind(spec.localPort, spec.localHost || own, resolve);
      });
    } catch (cause) {
      socket.close();
      throw new CharDeviceError(`Failed to bind socket: ${reasonOf(cause)}`, cause);
    }
    return new UdpChardev(spec, socket);
  }

  /** Where it receives. */
  get localPort(): number {
    return this.#socket.address().port;
  }

  attach(frontend: CharFrontend): void {
    this.#input.frontend = frontend;
    frontend.onEvent?.('opened');
  }

  write(bytes: Uint8Array): number {
    if (this.#isClosed) return bytes.length;
    for (let at = 0; at < bytes.length; at += MAX_DATAGRAM) {
      const datagram = bytes.slice(at, at + MAX_DATAGRAM);
      this.#sent = new Promise((resolve) =>
        this.#socket.send(datagram, this.#spec.port, this.#spec.host, () => resolve()),
      );
    }
    return bytes.length;
  }

  acceptInput(): void {
    this.#input.deliver();
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#sent;
    await new Promise<void>((resolve) => this.#socket.close(() => resolve()));
  }
}
