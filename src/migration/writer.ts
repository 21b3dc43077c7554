/** A growing big-endian byte writer. Numbers are not range-checked here; the codec does that, with field names. */

const ENCODER = new TextEncoder();
/** Shorter texts are as quick letter by letter. */
const LONG_TEXT = 64;

export class ByteWriter {
  #bytes: Uint8Array;
  #view: DataView;
  #length = 0;

  constructor(initialBytes = 4096) {
    this.#bytes = new Uint8Array(Math.max(16, initialBytes));
    this.#view = new DataView(this.#bytes.buffer);
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#length;
  }

  /** What was written, as a view that is valid until the next write. */
  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  u8(value: number): void {
    // The view may be replaced by growing: grow first.
    const at = this.#grow(1);
    this.#view.setUint8(at, value);
  }

  u16(value: number): void {
    const at = this.#grow(2);
    this.#view.setUint16(at, value);
  }

  u32(value: number): void {
    const at = this.#grow(4);
    this.#view.setUint32(at, value);
  }

  /** A safe integer; negative ones in two's complement. */
  u64(value: number): void {
    const at = this.#grow(8);
    const high = Math.floor(value / 0x1_0000_0000);
    const low = value - high * 0x1_0000_0000;
    this.#view.setUint32(at, high);
    this.#view.setUint32(at + 4, low);
  }

  big64(value: bigint): void {
    const at = this.#grow(8);
    this.#view.setBigUint64(at, value);
  }

  write(source: Uint8Array): void {
    const at = this.#grow(source.length);
    this.#bytes.set(source, at);
  }

  zeros(count: number): void {
    const at = this.#grow(count);
    this.#bytes.fill(0, at, at + count);
  }

  /** Latin-1 text without a length or terminator: section and block names are ASCII. */
  text(value: string): void {
    const at = this.#grow(value.length);
    if (value.length >= LONG_TEXT) {
      const { read } = ENCODER.encodeInto(value, this.#bytes.subarray(at, this.#length));
      // UTF-8 of ASCII is ASCII; of anything else it is longer, and does not fit.
      if (read === value.length) return;
    }
    for (let i = 0; i < value.length; i++) this.#bytes[at + i] = value.charCodeAt(i);
  }

  /** Length byte, then the text (QEMU's counted string). */
  counted(value: string): void {
    this.u8(value.length);
    this.text(value);
  }

  #grow(count: number): number {
    const at = this.#length;
    const needed = at + count;
    if (needed > this.#bytes.length) {
      const bigger = new Uint8Array(Math.max(needed, this.#bytes.length * 2));
      bigger.set(this.#bytes.subarray(0, at));
      this.#bytes = bigger;
      this.#view = new DataView(bigger.buffer);
    }
    this.#length = needed;
    return at;
  }
}
