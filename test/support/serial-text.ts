/** What a guest prints on a serial port, to wait for; and a way to answer. */
import { setTimeout as delay } from 'node:timers/promises';

export class SerialText {
  /** All that came, as Latin-1. */
  text = '';
  readonly #send: (bytes: Buffer) => void;
  #mark = 0;

  constructor(send: (bytes: Buffer) => void) {
    this.#send = send;
  }

  receive(bytes: Uint8Array): void {
    this.text += Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
  }

  receiveByte(byte: number): void {
    this.text += String.fromCharCode(byte);
  }

  /** What came since the last mark(). */
  get fresh(): string {
    return this.text.slice(this.#mark);
  }

  mark(): void {
    this.#mark = this.text.length;
  }

  send(text: string): void {
    this.#send(Buffer.from(text, 'latin1'));
  }

  /** Waits until something matching came since the last mark. */
  async waitFor(what: RegExp | string, limitMs: number): Promise<RegExpExecArray> {
    const pattern = typeof what === 'string' ? new RegExp(what.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')) : what;
    for (const end = Date.now() + limitMs; ; await delay(20)) {
      const match = pattern.exec(this.fresh);
      if (match !== null) return match;
      if (Date.now() > end) {
        throw new Error(`no ${pattern} on the serial port within ${limitMs} ms; it had ${tail(this.fresh)}`);
      }
    }
  }
}

function tail(text: string): string {
  return JSON.stringify(text.slice(-1500));
}
