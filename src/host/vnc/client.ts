/**
 * One client of the VNC server: handshake, then requests and updates (RFC 6143; versions 3.3, 3.7 and 3.8). At most one
 * update is under way, and none is begun while the network has not taken enough of the last: memory is bounded by a
 * picture and a half.
 */
import { randomBytes } from 'node:crypto';
import { CHALLENGE_BYTES, isVncResponse } from './auth.ts';
import * as rfb from './encodings.ts';
import type { Frame, FrameChange } from './frame.ts';
import { TILE } from './frame.ts';
import type { ClientInput } from './input.ts';
import { ByteQueue, type ClientMessage, MessageReader, ProtocolError } from './messages.ts';
import { createEncoder, PICTURE_ENCODINGS, type PictureEncoder } from './picture-encoder.ts';
import { decodePixelFormat, encodePixelFormat, NATIVE_FORMAT, PixelWriter } from './pixel-format.ts';
import type { Transport } from './transport.ts';

/** Nothing more is sent while this much waits for the network, bytes. */
const BACKLOG_LIMIT = 1024 * 1024;
/** Between two updates. */
const MIN_UPDATE_MS = 33;
/** Until a client has introduced itself. */
const HANDSHAKE_MS = 30_000;
const SECURITY_NONE = 1;
const SECURITY_VNC = 2;
/** ExtendedDesktopSize: who asked, and that it may not. */
const REASON_CLIENT = 1;
const STATUS_PROHIBITED = 1;

type Stage = 'version' | 'security' | 'response' | 'init' | 'running' | 'closed';

export interface ClientHost {
  readonly frame: Frame;
  readonly name: string;
  /** Undefined: everybody may come in. Empty: nobody, until a password is set. */
  readonly password: () => string | undefined;
  readonly leds: () => number;
  readonly input: ClientInput;
  /** It is in. `shared` is false if it wants to be alone. */
  readonly entered: (shared: boolean) => void;
  /** Looks at the screen now, and tells all clients. */
  readonly look: () => void;
  /** It waits for an update. */
  readonly wanting: () => void;
  readonly closed: () => void;
}

export class VncClient {
  readonly transport: Transport;
  readonly #host: ClientHost;
  readonly #queue = new ByteQueue();
  readonly #reader = new MessageReader(this.#queue);
  readonly #timer: NodeJS.Timeout;
  #stage: Stage = 'version';
  #minor = 8;
  #challenge: Buffer = Buffer.alloc(0);
  #writer = new PixelWriter(NATIVE_FORMAT);
  #encodings: ReadonlySet<number> = new Set();
  #encoding = rfb.RAW;
  readonly #encoders = new Map<number, PictureEncoder>();
  /** Changed since they were last sent, by tile. */
  #dirty: Uint8Array = new Uint8Array(0);
  #hasDirt = false;
  #resized = false;
  #sizeRefused = false;
  #sentLeds = -1;
  /** Announcements of what the server can do, once after SetEncodings. */
  #greetings: Buffer[] = [];
  #isRequested = false;
  #isSending = false;
  #sentAt = Number.NEGATIVE_INFINITY;
  /** The size that the client has been told. */
  #known = { width: 0, height: 0 };

  constructor(transport: Transport, host: ClientHost) {
    this.transport = transport;
    this.#host = host;
    this.#timer = setTimeout(() => transport.destroy(), HANDSHAKE_MS);
    this.#timer.unref();
    transport.listen({
      data: (bytes) => this.#receive(bytes),
      drain: () => host.wanting(),
      closed: () => this.#closed(),
    });
    transport.write(Buffer.from('RFB 003.008\n'));
  }

  get isRunning(): boolean {
    return this.#stage === 'running';
  }

  /** It has asked for what changes, and can take it. */
  get isWaiting(): boolean {
    return this.#isRequested && !this.#isSending && this.transport.bufferedBytes < BACKLOG_LIMIT;
  }

  close(): void {
    this.transport.destroy();
  }

  #closed(): void {
    if (this.#stage === 'closed') return;
    this.#stage = 'closed';
    clearTimeout(this.#timer);
    this.#host.input.release();
    for (const encoder of this.#encoders.values()) encoder.close();
    this.#host.closed();
  }

  #receive(bytes: Buffer): void {
    if (this.#stage === 'closed') return;
    this.#queue.push(bytes);
    try {
      while (this.#step());
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.transport.destroy();
    }
  }

  /** One message of the present stage; false: more bytes are needed. */
  #step(): boolean {
    switch (this.#stage) {
      case 'version':
        return this.#with(12, (bytes) => this.#takeVersion(bytes.toString('latin1')));
      case 'security':
        return this.#with(1, (bytes) => this.#takeSecurity(bytes[0]!));
      case 'response':
        return this.#with(CHALLENGE_BYTES, (bytes) => this.#takeResponse(bytes));
      case 'init':
        return this.#with(1, (bytes) => this.#takeInit(bytes[0] !== 0));
      case 'running': {
        const message = this.#reader.next();
        if (message === undefined) return false;
        this.#handle(message);
        return true;
      }
      case 'closed':
        return false;
    }
  }

  #with(count: number, take: (bytes: Buffer) => void): boolean {
    const bytes = this.#queue.take(count);
    if (bytes === undefined) return false;
    take(bytes);
    return true;
  }

  // ---- handshake

  #takeVersion(text: string): void {
    const match = /^RFB 003\.(\d{3})\n$/.exec(text);
    if (match === null) throw new ProtocolError('not RFB');
    const minor = Number(match[1]);
    this.#minor = minor >= 8 ? 8 : minor === 7 ? 7 : 3;
    const type = this.#host.password() === undefined ? SECURITY_NONE : SECURITY_VNC;
    if (this.#minor >= 7) {
      this.transport.write(Buffer.from([1, type]));
      this.#stage = 'security';
      return;
    }
    this.transport.write(Buffer.from([0, 0, 0, type]));
    this.#beginSecurity(type);
  }

  #takeSecurity(type: number): void {
    const offered = this.#host.password() === undefined ? SECURITY_NONE : SECURITY_VNC;
    if (type !== offered) this.#refuse('Authentication failed');
    else this.#beginSecurity(type);
  }

  #beginSecurity(type: number): void {
    if (type === SECURITY_VNC) {
      this.#challenge = randomBytes(CHALLENGE_BYTES);
      this.transport.write(this.#challenge);
      this.#stage = 'response';
      return;
    }
    // Before 3.8 there is no result without authentication.
    if (this.#minor >= 8) this.transport.write(Buffer.alloc(4));
    this.#stage = 'init';
  }

  #takeResponse(response: Buffer): void {
    const password = this.#host.password() ?? '';
    if (password === '' || !isVncResponse(response, this.#challenge, password)) {
      this.#refuse('Authentication failed');
      return;
    }
    this.transport.write(Buffer.alloc(4));
    this.#stage = 'init';
  }

  #refuse(reason: string): void {
    const text = Buffer.from(reason);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(text.length);
    const failed = Buffer.from([0, 0, 0, 1]);
    this.transport.write(this.#minor >= 8 ? Buffer.concat([failed, length, text]) : failed);
    this.transport.end();
    this.#closed();
  }

  #takeInit(shared: boolean): void {
    clearTimeout(this.#timer);
    const { frame, name } = this.#host;
    this.#host.look();
    const head = Buffer.alloc(4);
    head.writeUInt16BE(frame.width, 0);
    head.writeUInt16BE(frame.height, 2);
    const title = Buffer.from(name);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(title.length);
    this.#dirty = new Uint8Array(frame.columns * frame.rows);
    this.#known = { width: frame.width, height: frame.height };
    this.transport.write(Buffer.concat([head, encodePixelFormat(NATIVE_FORMAT), length, title]));
    this.#stage = 'running';
    this.#host.entered(shared);
  }

  // ---- messages

  #handle(message: ClientMessage): void {
    switch (message.kind) {
      case 'pixel-format': {
        const format = decodePixelFormat(message.format);
        if (format === undefined) throw new ProtocolError('pixel format');
        this.#writer = new PixelWriter(format);
        return;
      }
      case 'encodings':
        this.#setEncodings(message.encodings);
        return;
      case 'update':
        if (!message.incremental) this.#mark(message);
        this.#isRequested = true;
        this.update();
        if (this.isWaiting) this.#host.wanting();
        return;
      case 'key':
        this.#host.input.key(message.down, message.keysym, message.scanCode);
        this.#host.wanting();
        return;
      case 'pointer': {
        const isRelative = this.#encodings.has(rfb.POINTER_TYPE);
        this.#host.input.pointer(message.buttons, message.x, message.y, isRelative);
        return;
      }
      case 'desktop-size':
        this.#sizeRefused = this.#encodings.has(rfb.EXTENDED_DESKTOP_SIZE);
        this.#host.wanting();
    }
  }

  #setEncodings(encodings: readonly number[]): void {
    const before = this.#encodings;
    this.#encodings = new Set(encodings);
    this.#encoding = encodings.find((encoding) => PICTURE_ENCODINGS.includes(encoding)) ?? rfb.RAW;
    const isNew = (encoding: number): boolean => this.#encodings.has(encoding) && !before.has(encoding);
    const nothing = { x: 0, y: 0, width: 0, height: 0 };
    for (const [encoding, area] of [
      // The guest draws its cursor itself; x = 0: the mouse is relative.
      [rfb.CURSOR, nothing],
      [rfb.POINTER_TYPE, nothing],
      [rfb.EXTENDED_KEY, nothing],
    ] as const) {
      if (isNew(encoding)) this.#greetings.push(rfb.rectangleHeader(area, encoding));
    }
    // So that it knows that it can be told of other sizes.
    if (isNew(rfb.EXTENDED_DESKTOP_SIZE)) this.#resized = true;
    if (isNew(rfb.LED_STATE)) this.#sentLeds = -1;
    this.#greetings.splice(8);
  }

  /** The tiles that a request touches are to be sent, changed or not. */
  #mark({ x, y, width, height }: rfb.Rectangle): void {
    const { columns, rows } = this.#host.frame;
    const lastColumn = Math.min(columns, Math.ceil((x + width) / TILE));
    const lastRow = Math.min(rows, Math.ceil((y + height) / TILE));
    for (let row = Math.floor(y / TILE); row < lastRow; row++) {
      for (let column = Math.floor(x / TILE); column < lastColumn; column++) {
        this.#dirty[row * columns + column] = 1;
        this.#hasDirt = true;
      }
    }
  }

  // ---- updates

  /** The picture is another. */
  changed({ resized, tiles }: FrameChange): void {
    if (resized || this.#dirty.length !== tiles.length) {
      this.#resized ||= resized;
      this.#dirty = new Uint8Array(tiles.length);
    }
    for (let i = 0; i < tiles.length; i++) if (tiles[i]) this.#dirty[i] = 1;
    this.#hasDirt = true;
  }

  /** There is something for it, and it can take it. */
  get isDue(): boolean {
    return this.#stage === 'running' && this.isWaiting && this.#hasNews();
  }

  /** Sends what there is to be sent, if it was asked for and the last update is not too fresh. */
  update(): void {
    const now = performance.now();
    if (!this.isDue || now - this.#sentAt < MIN_UPDATE_MS) return;
    this.#sentAt = now;
    this.#isRequested = false;
    this.#isSending = true;
    this.#send()
      .catch(() => this.transport.destroy())
      .finally(() => {
        this.#isSending = false;
        if (this.#isRequested) this.#host.wanting();
      });
  }

  #hasNews(): boolean {
    return (
      this.#hasDirt || this.#resized || this.#sizeRefused || this.#greetings.length > 0 || this.#hasNewLeds()
    );
  }

  #hasNewLeds(): boolean {
    return this.#encodings.has(rfb.LED_STATE) && this.#host.leds() !== this.#sentLeds;
  }

  async #send(): Promise<void> {
    const { frame } = this.#host;
    const parts = [...this.#greetings.splice(0), ...this.#sizeParts(), ...this.#ledParts()];
    const writer = this.#writer;
    const encoder = this.#encoder();
    const areas = this.#hasDirt ? this.#cropped(frame.rectangles(this.#dirty)) : [];
    this.#dirty.fill(0);
    this.#hasDirt = false;
    // All pixels are taken now: compressing takes its time, and the screen goes on.
    const pending = areas.flatMap((area) => encoder.take(frame, area, writer));
    const head = Buffer.alloc(4);
    head.writeUInt16BE(parts.length + pending.length, 2);
    for (const { header, finish } of pending) parts.push(header, await finish());
    if (this.#stage === 'running') this.transport.write(Buffer.concat([head, ...parts]));
  }

  /** A client that cannot be told of another size sees what fits into the one it knows. */
  #cropped(areas: readonly rfb.Rectangle[]): rfb.Rectangle[] {
    const { width, height } = this.#known;
    return areas
      .filter(({ x, y }) => x < width && y < height)
      .map((area) => ({
        ...area,
        width: Math.min(area.width, width - area.x),
        height: Math.min(area.height, height - area.y),
      }));
  }

  #encoder(): PictureEncoder {
    let encoder = this.#encoders.get(this.#encoding);
    if (encoder === undefined) {
      encoder = createEncoder(this.#encoding);
      this.#encoders.set(this.#encoding, encoder);
    }
    return encoder;
  }

  /** At most one rectangle about the size, with what only some clients understand. */
  #sizeParts(): Buffer[] {
    const { width, height } = this.#host.frame;
    const parts: Buffer[] = [];
    const isExtended = this.#encodings.has(rfb.EXTENDED_DESKTOP_SIZE);
    if (this.#sizeRefused) parts.push(extendedSize(REASON_CLIENT, STATUS_PROHIBITED, width, height));
    if (this.#resized && isExtended) parts.push(extendedSize(0, 0, width, height));
    else if (this.#resized && this.#encodings.has(rfb.DESKTOP_SIZE))
      parts.push(rfb.rectangleHeader({ x: 0, y: 0, width, height }, rfb.DESKTOP_SIZE));
    if (this.#resized && (isExtended || this.#encodings.has(rfb.DESKTOP_SIZE)))
      this.#known = { width, height };
    this.#sizeRefused = false;
    this.#resized = false;
    return parts;
  }

  #ledParts(): Buffer[] {
    if (!this.#hasNewLeds()) return [];
    this.#sentLeds = this.#host.leds();
    const header = rfb.rectangleHeader({ x: 0, y: 0, width: 0, height: 0 }, rfb.LED_STATE);
    return [Buffer.concat([header, Buffer.from([this.#sentLeds])])];
  }
}

/** Header and the list of screens, of which there is one. */
function extendedSize(reason: number, status: number, width: number, height: number): Buffer {
  const header = rfb.rectangleHeader({ x: reason, y: status, width, height }, rfb.EXTENDED_DESKTOP_SIZE);
  const screens = Buffer.alloc(20);
  screens[0] = 1;
  screens.writeUInt16BE(width, 12);
  screens.writeUInt16BE(height, 14);
  return Buffer.concat([header, screens]);
}
