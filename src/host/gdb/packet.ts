/**
 * Packets of gdb's remote protocol: `$data#checksum`, acknowledged with `+` or `-`, `}` escapes. GDB manual, appendix E.1.
 * Bounded: a peer that sends no end of a packet is cut off.
 */

/** Longest packet taken or sent, bytes; told to gdb in qSupported. */
export const MAX_PACKET_BYTES = 0x4000;

export type Incoming =
  | { readonly kind: 'packet'; readonly data: Buffer }
  /** Ctrl-C. */
  | { readonly kind: 'interrupt' }
  | { readonly kind: 'ack' }
  | { readonly kind: 'nack' }
  /** A packet with a wrong checksum, or one too long. */
  | { readonly kind: 'bad' };

const DOLLAR = 0x24;
const HASH = 0x23;
const ESCAPE = 0x7d;
const ESCAPE_XOR = 0x20;
const SINGLE: Readonly<Record<number, Incoming['kind']>> = { 3: 'interrupt', 43: 'ack', 45: 'nack' };

/** Cuts the stream of bytes from gdb into packets. */
export class PacketReader {
  readonly #body = Buffer.alloc(MAX_PACKET_BYTES);
  #length = 0;
  #state: 'idle' | 'body' | 'first' | 'second' = 'idle';
  #sum = 0;
  #digit = 0;
  #isTooLong = false;

  push(bytes: Uint8Array): Incoming[] {
    const found: Incoming[] = [];
    for (const byte of bytes) this.#take(byte, found);
    return found;
  }

  #take(byte: number, found: Incoming[]): void {
    if (this.#state === 'idle') {
      const kind = SINGLE[byte];
      if (kind !== undefined) found.push({ kind } as Incoming);
      else if (byte === DOLLAR) this.#begin();
    } else if (this.#state === 'body') {
      // A new packet in the middle of one: the first was cut off.
      if (byte === DOLLAR) this.#begin();
      else if (byte === HASH) this.#state = 'first';
      else this.#collect(byte);
    } else {
      const digit = Number.parseInt(String.fromCharCode(byte), 16);
      if (this.#state === 'first') {
        this.#digit = digit;
        this.#state = 'second';
        return;
      }
      this.#state = 'idle';
      const isGood = !this.#isTooLong && this.#digit * 16 + digit === (this.#sum & 0xff);
      found.push(
        isGood
          ? { kind: 'packet', data: unescapeBody(this.#body.subarray(0, this.#length)) }
          : { kind: 'bad' },
      );
    }
  }

  #begin(): void {
    this.#state = 'body';
    this.#length = 0;
    this.#sum = 0;
    this.#isTooLong = false;
  }

  #collect(byte: number): void {
    this.#sum += byte;
    if (this.#length < MAX_PACKET_BYTES) this.#body[this.#length++] = byte;
    else this.#isTooLong = true;
  }
}

function unescapeBody(body: Buffer): Buffer {
  const plain = Buffer.alloc(body.length);
  let length = 0;
  for (let i = 0; i < body.length; i++) {
    const isEscape = body[i] === ESCAPE && i + 1 < body.length;
    plain[length++] = isEscape ? body[++i]! ^ ESCAPE_XOR : body[i]!;
  }
  return plain.subarray(0, length);
}

/** A packet ready to send. Characters that have a meaning in packets are escaped. */
export function encodePacket(data: string | Uint8Array): Buffer {
  const plain = typeof data === 'string' ? Buffer.from(data, 'latin1') : data;
  const bytes: number[] = [DOLLAR];
  let sum = 0;
  const add = (byte: number) => {
    bytes.push(byte);
    sum += byte;
  };
  for (const byte of plain) {
    if (byte === DOLLAR || byte === HASH || byte === ESCAPE || byte === 0x2a) {
      add(ESCAPE);
      add(byte ^ ESCAPE_XOR);
    } else add(byte);
  }
  return Buffer.concat([Buffer.from(bytes), Buffer.from(`#${(sum & 0xff).toString(16).padStart(2, '0')}`)]);
}
