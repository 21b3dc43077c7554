/**
 * Cuts a stream of bytes into JSON values, which follow each other with or without white space, as QEMU reads them
 * (qobject/json-streamer.c). Bounded: a client that opens brackets for ever is told so and starts anew.
 */

/** Longest value, bytes. */
export const MAX_MESSAGE_BYTES = 1024 * 1024;
/** Deepest nesting, as in QEMU. */
export const MAX_DEPTH = 1024;

export type JsonInput = { readonly value: unknown } | { readonly error: string };

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_LIST = 0x5b;
const CLOSE_LIST = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
const SPACE = 0x20;
const COMMA = 0x2c;

export class JsonReader {
  readonly #decoder = new TextDecoder('utf-8', { fatal: true });
  #bytes = new Uint8Array(4096);
  #length = 0;
  #depth = 0;
  #inString = false;
  #isEscaped = false;

  /** Values complete with these bytes, and what was no JSON. */
  push(bytes: Uint8Array): JsonInput[] {
    const found: JsonInput[] = [];
    for (const byte of bytes) this.#take(byte, found);
    return found;
  }

  /** Forgets half a value: the client has gone. */
  clear(): void {
    this.#length = 0;
    this.#depth = 0;
    this.#inString = false;
    this.#isEscaped = false;
  }

  #take(byte: number, found: JsonInput[]): void {
    const isBlank = byte <= SPACE && !this.#inString;
    if (this.#length === 0 && (isBlank || byte === COMMA)) return;
    // A value outside of brackets ends at a blank: it is no request, and is told so at once.
    if (isBlank && this.#depth === 0) {
      this.#end(found);
      return;
    }
    this.#append(byte);
    if (this.#inString) this.#inText(byte);
    else if (byte === QUOTE) this.#inString = true;
    else if (byte === OPEN_LIST || byte === OPEN_OBJECT) this.#depth++;
    else if (byte === CLOSE_LIST || byte === CLOSE_OBJECT) {
      this.#depth--;
      if (this.#depth <= 0) this.#end(found);
    }
    if (this.#depth > MAX_DEPTH) this.#refuse(found, 'JSON nesting depth limit exceeded');
    if (this.#length >= MAX_MESSAGE_BYTES) this.#refuse(found, 'JSON token size limit exceeded');
  }

  #inText(byte: number): void {
    if (this.#isEscaped) this.#isEscaped = false;
    else if (byte === BACKSLASH) this.#isEscaped = true;
    else if (byte === QUOTE) this.#inString = false;
  }

  #append(byte: number): void {
    if (this.#length === this.#bytes.length) {
      const larger = new Uint8Array(this.#bytes.length * 2);
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    this.#bytes[this.#length++] = byte;
  }

  #end(found: JsonInput[]): void {
    const bytes = this.#bytes.slice(0, this.#length);
    this.clear();
    try {
      found.push({ value: JSON.parse(this.#decoder.decode(bytes)) });
    } catch {
      found.push({ error: 'JSON parse error, invalid input' });
    }
  }

  #refuse(found: JsonInput[], error: string): void {
    this.clear();
    found.push({ error });
  }
}
