/** A small RFB client that decodes what the server sends, written from RFC 6143 alone: no code shared with the server. */
import { createCipheriv } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { constants, createInflate, type Inflate } from 'node:zlib';

export interface RfbFormat {
  readonly bits: 8 | 16 | 32;
  readonly depth: number;
  readonly bigEndian: boolean;
  /** Highest value and shift of red, green, blue. */
  readonly colours: readonly (readonly [max: number, shift: number])[];
}

export const RGB888: RfbFormat = {
  bits: 32,
  depth: 24,
  bigEndian: false,
  colours: [
    [255, 16],
    [255, 8],
    [255, 0],
  ],
};

export class RfbClient {
  readonly socket: Socket;
  width = 0;
  height = 0;
  name = '';
  /** Pixels in the client's own format. */
  pixels: Uint32Array = new Uint32Array(0);
  /** Encodings of rectangles seen, in order. */
  readonly seen: number[] = [];
  leds: number | undefined;
  screenStatus: number[] = [];
  closed = false;
  failure = '';
  #chunks: Buffer = Buffer.alloc(0);
  #wake: () => void = () => {};
  /** ZRLE's stream, then Tight's four. */
  readonly #streams = Array.from({ length: 5 }, () => new InflateStream());
  #format = RGB888;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (data) => {
      this.#chunks = Buffer.concat([this.#chunks, data]);
      this.#wake();
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      this.closed = true;
      this.#wake();
    });
  }

  /** With `password` VNC authentication is expected. Check `failure`. */
  static async connect(
    port: number,
    { password, minor = 8, shared = true }: { password?: string; minor?: number; shared?: boolean } = {},
  ): Promise<RfbClient> {
    const client = new RfbClient(connect(port, '127.0.0.1'));
    await client.#handshake(password, minor, shared);
    return client;
  }

  async #handshake(password: string | undefined, minor: number, shared: boolean): Promise<void> {
    const version = (await this.take(12)).toString('latin1');
    if (version !== 'RFB 003.008\n') throw new Error(`version ${version}`);
    this.socket.write(`RFB 003.00${minor}\n`);
    const wanted = password === undefined ? 1 : 2;
    if (minor >= 7) {
      const types = [...(await this.take((await this.take(1))[0]!))];
      if (!types.includes(wanted)) throw new Error(`security types ${types}`);
      this.socket.write(Buffer.from([wanted]));
    } else if ((await this.take(4)).readUInt32BE(0) !== wanted) throw new Error('security type');
    if (password !== undefined) this.socket.write(answer(await this.take(16), password));
    if (minor >= 8 || password !== undefined) {
      if ((await this.take(4)).readUInt32BE(0) !== 0) {
        this.failure =
          minor < 8 ? 'failed' : (await this.take((await this.take(4)).readUInt32BE(0))).toString();
        return;
      }
    }
    this.socket.write(Buffer.from([shared ? 1 : 0]));
    const init = await this.take(24);
    this.#resize(init.readUInt16BE(0), init.readUInt16BE(2));
    this.name = (await this.take(init.readUInt32BE(20))).toString();
  }

  async take(count: number): Promise<Buffer> {
    while (this.#chunks.length < count) {
      if (this.closed) throw new Error('closed');
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const taken = this.#chunks.subarray(0, count);
    this.#chunks = this.#chunks.subarray(count);
    return taken;
  }

  /** Resolves when the server has closed the connection. */
  async whenClosed(): Promise<void> {
    while (!this.closed)
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
  }

  close(): void {
    this.socket.destroy();
  }

  #resize(width: number, height: number): void {
    this.width = width;
    this.height = height;
    this.pixels = new Uint32Array(width * height);
  }

  // ---- what a client says

  setFormat(format: RfbFormat): void {
    this.#format = format;
    const bytes = Buffer.alloc(20);
    bytes[4] = format.bits;
    bytes[5] = format.depth;
    bytes[6] = format.bigEndian ? 1 : 0;
    bytes[7] = 1;
    format.colours.forEach(([max, shift], i) => {
      bytes.writeUInt16BE(max, 8 + 2 * i);
      bytes[14 + i] = shift;
    });
    this.socket.write(bytes);
  }

  setEncodings(...encodings: readonly number[]): void {
    const bytes = Buffer.alloc(4 + 4 * encodings.length);
    bytes[0] = 2;
    bytes.writeUInt16BE(encodings.length, 2);
    encodings.forEach((encoding, i) => {
      bytes.writeInt32BE(encoding, 4 + 4 * i);
    });
    this.socket.write(bytes);
  }

  request(incremental: boolean): void {
    const bytes = Buffer.alloc(10);
    bytes[0] = 3;
    bytes[1] = incremental ? 1 : 0;
    bytes.writeUInt16BE(this.width, 6);
    bytes.writeUInt16BE(this.height, 8);
    this.socket.write(bytes);
  }

  key(down: boolean, keysym: number): void {
    const bytes = Buffer.alloc(8);
    bytes[0] = 4;
    bytes[1] = down ? 1 : 0;
    bytes.writeUInt32BE(keysym, 4);
    this.socket.write(bytes);
  }

  scanCode(down: boolean, code: number): void {
    const bytes = Buffer.alloc(12);
    bytes[0] = 255;
    bytes.writeUInt16BE(down ? 1 : 0, 2);
    bytes.writeUInt32BE(code, 8);
    this.socket.write(bytes);
  }

  pointer(buttons: number, x: number, y: number): void {
    const bytes = Buffer.alloc(6);
    bytes[0] = 5;
    bytes[1] = buttons;
    bytes.writeUInt16BE(x, 2);
    bytes.writeUInt16BE(y, 4);
    this.socket.write(bytes);
  }

  // ---- what the server says

  /** Asks, and takes one update in. Returns the number of rectangles. */
  async update(incremental = false): Promise<number> {
    this.request(incremental);
    return this.receiveUpdate();
  }

  async receiveUpdate(): Promise<number> {
    const head = await this.take(4);
    if (head[0] !== 0) throw new Error(`message ${head[0]}`);
    const count = head.readUInt16BE(2);
    for (let i = 0; i < count; i++) await this.#rectangle();
    return count;
  }

  async #rectangle(): Promise<void> {
    const head = await this.take(12);
    const [x, y, width, height] = [0, 2, 4, 6].map((at) => head.readUInt16BE(at)) as [
      number,
      number,
      number,
      number,
    ];
    const encoding = head.readInt32BE(8);
    this.seen.push(encoding);
    if (encoding === 0) this.#raw(x, y, width, await this.take(width * height * (this.#format.bits / 8)));
    else if (encoding === 5) await this.#hextile(x, y, width, height);
    else if (encoding === 7) await this.#tight(x, y, width, height);
    else if (encoding === 16) await this.#zrle(x, y, width, height);
    else if (encoding === -223) this.#resize(width, height);
    else if (encoding === -308) {
      const { 0: screens } = await this.take(4);
      await this.take(16 * screens!);
      this.screenStatus.push(y);
      if (y === 0) this.#resize(width, height);
    } else if (encoding === -261) this.leds = (await this.take(1))[0]!;
    else if (![-239, -257, -258].includes(encoding)) throw new Error(`encoding ${encoding}`);
  }

  #pixel(bytes: Buffer, at: number, size: number): number {
    return this.#format.bigEndian ? bytes.readUIntBE(at, size) : bytes.readUIntLE(at, size);
  }

  #raw(left: number, top: number, width: number, bytes: Buffer): void {
    const size = this.#format.bits / 8;
    for (let i = 0; i * size < bytes.length; i++) {
      const at = (top + Math.floor(i / width)) * this.width + left + (i % width);
      this.pixels[at] = this.#pixel(bytes, i * size, size);
    }
  }

  async #zrle(left: number, top: number, width: number, height: number): Promise<void> {
    const data = await this.take((await this.take(4)).readUInt32BE(0));
    const bytes = await this.#streams[0]!.inflate(data);
    let at = 0;
    for (let y = top; y < top + height; y += 64) {
      for (let x = left; x < left + width; x += 64) {
        const [w, h] = [Math.min(64, left + width - x), Math.min(64, top + height - y)];
        at = this.#tile(bytes, at, x, y, w, h);
      }
    }
    if (at !== bytes.length) throw new Error(`ZRLE: ${bytes.length - at} bytes too many`);
  }

  #fill(left: number, top: number, width: number, height: number, value: number): void {
    for (let y = top; y < top + height; y++) {
      this.pixels.fill(value, y * this.width + left, y * this.width + left + width);
    }
  }

  async #hextile(left: number, top: number, width: number, height: number): Promise<void> {
    const size = this.#format.bits / 8;
    const pixel = async (): Promise<number> => this.#pixel(await this.take(size), 0, size);
    let [background, foreground] = [Number.NaN, Number.NaN];
    for (let y = top; y < top + height; y += 16) {
      for (let x = left; x < left + width; x += 16) {
        const [w, h] = [Math.min(16, left + width - x), Math.min(16, top + height - y)];
        const mask = (await this.take(1))[0]!;
        if (mask & 1) {
          [background, foreground] = [Number.NaN, Number.NaN];
          const bytes = await this.take(w * h * size);
          for (let i = 0; i < w * h; i++) {
            this.#fill(x + (i % w), y + Math.floor(i / w), 1, 1, this.#pixel(bytes, i * size, size));
          }
          continue;
        }
        if (mask & 2) background = await pixel();
        if (Number.isNaN(background)) throw new Error('Hextile: no background');
        this.#fill(x, y, w, h, background);
        if (mask & 4) foreground = await pixel();
        const count = mask & 8 ? (await this.take(1))[0]! : 0;
        for (let i = 0; i < count; i++) {
          const value = mask & 16 ? await pixel() : foreground;
          if (Number.isNaN(value)) throw new Error('Hextile: no foreground');
          const [place, extent] = await this.take(2);
          this.#fill(x + (place! >> 4), y + (place! & 15), (extent! >> 4) + 1, (extent! & 15) + 1, value);
        }
      }
    }
  }

  async #compactLength(): Promise<number> {
    let length = 0;
    for (const shift of [0, 7, 14]) {
      const byte = (await this.take(1))[0]!;
      length |= (shift === 14 ? byte : byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    return length;
  }

  /** Fill and basic compression with the copy and palette filters: all that our server sends. */
  async #tight(left: number, top: number, width: number, height: number): Promise<void> {
    const { bits, depth, colours } = this.#format;
    const isRgb = bits === 32 && depth === 24 && colours.every(([max]) => max === 255);
    const size = isRgb ? 3 : bits / 8;
    const pixel = (bytes: Buffer, at: number): number =>
      isRgb
        ? colours.reduce((all, [, shift], i) => all + bytes[at + i]! * 2 ** shift, 0)
        : this.#pixel(bytes, at, size);
    const control = (await this.take(1))[0]!;
    if (control === 0x80) {
      this.#fill(left, top, width, height, pixel(await this.take(size), 0));
      return;
    }
    if (control & 0x8f) throw new Error(`Tight: control ${control}`);
    let palette: number[] | undefined;
    if (control & 0x40 && (await this.take(1))[0] === 1) {
      const count = (await this.take(1))[0]! + 1;
      const bytes = await this.take(count * size);
      palette = Array.from({ length: count }, (_, i) => pixel(bytes, i * size));
    }
    const rowBytes =
      palette === undefined ? width * size : palette.length === 2 ? Math.ceil(width / 8) : width;
    const length = rowBytes * height;
    const stream = this.#streams[1 + ((control >> 4) & 3)]!;
    const data =
      length < 12
        ? await this.take(length)
        : await stream.inflate(await this.take(await this.#compactLength()));
    if (data.length !== length) throw new Error(`Tight: ${data.length} bytes for ${length}`);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        let value: number;
        if (palette === undefined) value = pixel(data, y * rowBytes + x * size);
        else if (palette.length > 2) value = palette[data[y * rowBytes + x]!]!;
        else value = palette[(data[y * rowBytes + (x >> 3)]! >> (7 - (x & 7))) & 1]!;
        this.pixels[(top + y) * this.width + left + x] = value;
      }
    }
  }

  /** Raw, solid and packed palette: all that our server sends. */
  #tile(bytes: Buffer, at: number, left: number, top: number, width: number, height: number): number {
    const colour = this.#format.colours.reduce((all, [max, shift]) => all + max * 2 ** shift, 0);
    const isSmall = this.#format.bits === 32 && this.#format.depth <= 24;
    const isHigh = isSmall && colour > 0xffffff;
    const size = isSmall ? 3 : this.#format.bits / 8;
    const next = (): number => {
      const value = this.#pixel(bytes, at, size);
      at += size;
      return isHigh ? value * 256 : value;
    };
    const set = (i: number, value: number): void => {
      this.pixels[(top + Math.floor(i / width)) * this.width + left + (i % width)] = value;
    };
    const kind = bytes[at++]!;
    if (kind === 0) for (let i = 0; i < width * height; i++) set(i, next());
    else if (kind <= 16) {
      const palette = Array.from({ length: kind }, next);
      const bits = kind === 1 ? 0 : kind === 2 ? 1 : kind <= 4 ? 2 : 4;
      const rowBytes = Math.ceil((width * bits) / 8);
      for (let i = 0; i < width * height; i++) {
        const bit = (i % width) * bits;
        const byte = bytes[at + Math.floor(i / width) * rowBytes + (bit >> 3)] ?? 0;
        set(i, palette[(byte >> (8 - bits - (bit & 7))) & (2 ** bits - 1)]!);
      }
      at += rowBytes * height;
    } else throw new Error(`ZRLE tile ${kind}`);
    return at;
  }
}

class InflateStream {
  readonly #inflate: Inflate = createInflate();
  #inflated: Buffer[] = [];

  constructor() {
    this.#inflate.on('data', (chunk: Buffer) => this.#inflated.push(chunk));
  }

  async inflate(data: Buffer): Promise<Buffer> {
    await new Promise<void>((resolve) => {
      this.#inflate.write(data);
      this.#inflate.flush(constants.Z_SYNC_FLUSH, () => resolve());
    });
    return Buffer.concat(this.#inflated.splice(0));
  }
}

function answer(challenge: Buffer, password: string): Buffer {
  const key = Buffer.alloc(8);
  key.write(password.slice(0, 8), 'latin1');
  const mirrored = Buffer.from(
    [...key].map((byte) => Number.parseInt([...byte.toString(2).padStart(8, '0')].reverse().join(''), 2)),
  );
  const cipher = createCipheriv('des-ede3', Buffer.concat([mirrored, mirrored, mirrored]), null);
  cipher.setAutoPadding(false);
  return Buffer.concat([cipher.update(challenge), cipher.final()]);
}
