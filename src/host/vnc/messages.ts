/**
 * What clients send, from bytes in pieces of any size (RFC 6143, section 7.5, with QEMU's extended key event and
 * SetDesktopSize). Nothing of a client's is kept beyond one message, and that is bounded.
 */

/** As many as any client knows, with room. */
const MAX_ENCODINGS = 1024;
/** Clipboard text is skipped; a client that announces more than this is not one. */
const MAX_CUT_TEXT = 16 * 1024 * 1024;

/** Longest piece asked for at once, bytes. */
export const MAX_NEEDED: number = 4 * MAX_ENCODINGS;

export type ClientMessage =
  | { readonly kind: 'pixel-format'; readonly format: Buffer }
  | { readonly kind: 'encodings'; readonly encodings: readonly number[] }
  | {
      readonly kind: 'update';
      readonly incremental: boolean;
      readonly x: number;
      readonly y: number;
      readonly width: number;
      readonly height: number;
    }
  | {
      readonly kind: 'key';
      readonly down: boolean;
      readonly keysym: number;
      readonly scanCode: number | undefined;
    }
  | { readonly kind: 'pointer'; readonly buttons: number; readonly x: number; readonly y: number }
  | { readonly kind: 'desktop-size' };

/** The client broke the protocol; the connection ends. */
export class ProtocolError extends Error {}

/** Bytes as they come, taken in pieces of a wished length. */
export class ByteQueue {
  #chunks: Buffer[] = [];
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(chunk: Buffer): void {
    if (chunk.length === 0) return;
    this.#chunks.push(chunk);
    this.#length += chunk.length;
  }

  /** Undefined: not so many yet. */
  take(count: number): Buffer | undefined {
    if (this.#length < count) return undefined;
    const first = this.#chunks[0] ?? Buffer.alloc(0);
    const joined = first.length >= count ? first : Buffer.concat(this.#chunks);
    if (joined !== first) this.#chunks = [joined];
    if (joined.length === count) this.#chunks.shift();
    else this.#chunks[0] = joined.subarray(count);
    this.#length -= count;
    return joined.subarray(0, count);
  }

  /** Drops up to `count` bytes; returns how many. */
  skip(count: number): number {
    const dropped = Math.min(count, this.#length);
    this.take(dropped);
    return dropped;
  }
}

const TYPE_PIXEL_FORMAT = 0;
const TYPE_ENCODINGS = 2;
const TYPE_UPDATE_REQUEST = 3;
const TYPE_KEY = 4;
const TYPE_POINTER = 5;
const TYPE_CUT_TEXT = 6;
const TYPE_DESKTOP_SIZE = 251;
const TYPE_QEMU = 255;
const QEMU_EXTENDED_KEY = 0;

/** Bytes behind the type, of the part with a fixed length. */
const FIXED_BYTES: Readonly<Record<number, number>> = {
  [TYPE_PIXEL_FORMAT]: 19,
  [TYPE_ENCODINGS]: 3,
  [TYPE_UPDATE_REQUEST]: 9,
  [TYPE_KEY]: 7,
  [TYPE_POINTER]: 5,
  [TYPE_CUT_TEXT]: 7,
  [TYPE_DESKTOP_SIZE]: 7,
  [TYPE_QEMU]: 11,
};
/** Bytes of a screen in SetDesktopSize. */
const SCREEN_BYTES = 16;

export class MessageReader {
  readonly #queue: ByteQueue;
  #type: number | undefined;
  #head: Buffer | undefined;
  #toSkip = 0;

  constructor(queue: ByteQueue) {
    this.#queue = queue;
  }

  /** The next message, or undefined until more bytes come. Throws ProtocolError. */
  next(): ClientMessage | undefined {
    for (;;) {
      if (this.#toSkip > 0) {
        this.#toSkip -= this.#queue.skip(this.#toSkip);
        if (this.#toSkip > 0) return undefined;
      }
      this.#type ??= this.#queue.take(1)?.[0];
      if (this.#type === undefined) return undefined;
      const length = FIXED_BYTES[this.#type];
      if (length === undefined) throw new ProtocolError(`unknown message ${this.#type}`);
      this.#head ??= this.#queue.take(length);
      if (this.#head === undefined) return undefined;
      const message = this.#decode(this.#type, this.#head);
      if (message === 'more') return undefined;
      this.#type = undefined;
      this.#head = undefined;
      if (message !== undefined) return message;
    }
  }

  /** `more`: its variable part is not there yet. Undefined: nothing to be done. */
  #decode(type: number, head: Buffer): ClientMessage | 'more' | undefined {
    switch (type) {
      case TYPE_PIXEL_FORMAT:
        return { kind: 'pixel-format', format: head.subarray(3) };
      case TYPE_ENCODINGS:
        return this.#encodings(head.readUInt16BE(1));
      case TYPE_UPDATE_REQUEST:
        return {
          kind: 'update',
          incremental: head[0] !== 0,
          x: head.readUInt16BE(1),
          y: head.readUInt16BE(3),
          width: head.readUInt16BE(5),
          height: head.readUInt16BE(7),
        };
      case TYPE_KEY:
        return { kind: 'key', down: head[0] !== 0, keysym: head.readUInt32BE(3), scanCode: undefined };
      case TYPE_POINTER:
        return { kind: 'pointer', buttons: head[0]!, x: head.readUInt16BE(1), y: head.readUInt16BE(3) };
      case TYPE_CUT_TEXT:
        return this.#cutText(head.readInt32BE(3));
      case TYPE_DESKTOP_SIZE:
        this.#toSkip = head[5]! * SCREEN_BYTES;
        return { kind: 'desktop-size' };
      default:
        return extendedKey(head);
    }
  }

  #encodings(count: number): ClientMessage | 'more' {
    if (count > MAX_ENCODINGS) throw new ProtocolError(`${count} encodings`);
    const bytes = this.#queue.take(4 * count);
    if (bytes === undefined) return 'more';
    return {
      kind: 'encodings',
      encodings: Array.from({ length: count }, (_, i) => bytes.readInt32BE(4 * i)),
    };
  }

  /** A negative length is the extended clipboard's. */
  #cutText(length: number): undefined {
    if (Math.abs(length) > MAX_CUT_TEXT) throw new ProtocolError(`clipboard text of ${length} bytes`);
    this.#toSkip = Math.abs(length);
    return undefined;
  }
}

function extendedKey(head: Buffer): ClientMessage {
  if (head[0] !== QEMU_EXTENDED_KEY) throw new ProtocolError(`unknown QEMU message ${head[0]}`);
  return {
    kind: 'key',
    down: head.readUInt16BE(1) !== 0,
    keysym: head.readUInt32BE(3),
    scanCode: head.readUInt32BE(7),
  };
}
