/** A bounds-checked big-endian reader. Every read past the end is a MigrationError `truncated` with the offset. */
import { MigrationError } from './errors.ts';

export class ByteReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #base: number;
  #position = 0;

  /** `baseOffset` is where `bytes` starts within the VM state; only for messages and {@link offset}. */
  constructor(bytes: Uint8Array, baseOffset = 0) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#base = baseOffset;
  }

  /** Offset within the VM state of the next byte. */
  get offset(): number {
    return this.#base + this.#position;
  }

  /** Bytes not yet read. */
  get remaining(): number {
    return this.#bytes.length - this.#position;
  }

  u8(): number {
    return this.#view.getUint8(this.#take(1));
  }

  u16(): number {
    return this.#view.getUint16(this.#take(2));
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4));
  }

  i64(): number {
    const at = this.#take(8);
    const high = this.#view.getInt32(at);
    const low = this.#view.getUint32(at + 4);
    const value = high * 0x1_0000_0000 + low;
    if (!Number.isSafeInteger(value)) {
      throw new MigrationError('limit', 'A 64-bit value does not fit a safe integer', {
        offset: this.#base + at,
        expected: 'at most 2^53 - 1',
        found: `0x${this.#view.getBigUint64(at).toString(16)}`,
      });
    }
    return value;
  }

  big64(): bigint {
    return this.#view.getBigUint64(this.#take(8));
  }

  /** A view of the next bytes, not a copy. */
  take(count: number): Uint8Array {
    const at = this.#take(count);
    return this.#bytes.subarray(at, at + count);
  }

  skip(count: number): void {
    this.#take(count);
  }

  /** The byte `ahead` of the next one, or -1 past the end. */
  peek(ahead = 0): number {
    return this.#bytes[this.#position + ahead] ?? -1;
  }

  /** Latin-1 text of `count` bytes starting `ahead` of the next byte, or undefined past the end. */
  peekText(ahead: number, count: number): string | undefined {
    const from = this.#position + ahead;
    if (from + count > this.#bytes.length) return undefined;
    return latin1(this.#bytes.subarray(from, from + count));
  }

  text(count: number): string {
    return latin1(this.take(count));
  }

  /** Length byte, then the text (QEMU's counted string). */
  counted(): string {
    return this.text(this.u8());
  }

  #take(count: number): number {
    const at = this.#position;
    if (count > this.#bytes.length - at) {
      throw new MigrationError('truncated', 'The VM state ends in the middle of a value', {
        offset: this.#base + at,
        expected: `${count} more bytes`,
        found: this.#bytes.length - at,
      });
    }
    this.#position = at + count;
    return at;
  }
}

export function latin1(bytes: Uint8Array): string {
  let text = '';
  for (let at = 0; at < bytes.length; at += 4096) {
    // Spread, it would be walked by an iterator: ten times as slow.
    text += String.fromCharCode.apply(null, bytes.subarray(at, at + 4096) as unknown as number[]);
  }
  return text;
}
