/** A serial port as a program sees it: text to search, bytes to send, Web streams. */
import type { CharReceiver, CharSink } from '../machine/device.ts';
import { MachineError } from './errors.ts';
import { toPattern, Waiter, type WaitOptions } from './wait.ts';

/** As much text is kept as this, characters; the oldest goes first. */
const KEPT_CHARACTERS = 1024 * 1024;
/** Lines shown by a message about text that did not come. */
const LINES_IN_MESSAGE = 8;
/** Control sequences of terminals: CSI, OSC, character sets, and single escapes (ECMA-48). */
// biome-ignore lint/suspicious/noControlCharactersInRegex: that is what is looked for
const SEQUENCE = /\x1b(?:\[[ -?]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][ -~]|[ -'*-Z\\^-~])/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: that is what is looked for
const UNFINISHED = /\x1b(?:\[[ -?]*|\][^\x07\x1b]*|[()])?$/;

/** Limits of a wait for text. */
export interface SerialWaitOptions extends WaitOptions {
  /** Search all text that is kept, not only what came since the last match. Default false. */
  readonly fromStart?: boolean;
}

/** A serial port of the guest, from the other end of the cable. */
export class SerialPort implements CharSink {
  /** For the machine: called when it may go on sending. */
  onWritable: (() => void) | undefined;
  readonly #decoder = new TextDecoder();
  readonly #input: number[] = [];
  readonly #waiters = new Set<Waiter<RegExpExecArray>>();
  readonly #readers = new Set<ReadableStreamDefaultController<Uint8Array>>();
  #bytes: number[] = [];
  #isScheduled = false;
  #text = '';
  #unfinished = '';
  /** Where the search of the next waitFor begins. */
  #cursor = 0;
  #receiver: CharReceiver | undefined;
  #wake: () => void = () => {};

  /** Once the machine exists. */
  connect(receiver: CharReceiver, wake: () => void): void {
    this.#receiver = receiver;
    this.#wake = wake;
    receiver.onReady = () => setImmediate(() => this.#feed());
  }

  /** What the guest printed (UTF-8), control sequences of terminals taken out. At most the last 1 Mi characters. */
  get text(): string {
    this.#flush();
    return this.#text;
  }

  /** Forgets the text so far. */
  clear(): void {
    this.#flush();
    this.#text = '';
    this.#cursor = 0;
  }

  /**
   * Waits until the guest has printed this. The search begins behind the last match (as `expect` does it), and after a
   * loadvm behind everything printed before it. Rejects with MachineError 'timeout', or the signal's reason.
   */
  waitFor(wanted: string | RegExp, options: SerialWaitOptions = {}): Promise<RegExpExecArray> {
    const pattern = toPattern(wanted);
    this.#flush();
    if (options.fromStart === true) this.#cursor = 0;
    const search = (): RegExpExecArray | undefined => {
      pattern.lastIndex = 0;
      const match = pattern.exec(this.#text.slice(this.#cursor));
      if (match === null) return undefined;
      match.index += this.#cursor;
      this.#cursor = match.index + match[0].length;
      return match;
    };
    const waiter = new Waiter(search, `${wanted} on the serial port`, options, () => this.#lastLines());
    if (!waiter.isDone) {
      this.#waiters.add(waiter);
      const forget = () => this.#waiters.delete(waiter);
      waiter.promise.then(forget, forget);
    }
    return waiter.promise;
  }

  #lastLines(): string {
    const lines = this.#text.trimEnd().split('\n').slice(-LINES_IN_MESSAGE);
    return `; the last lines were:\n${lines.join('\n')}`;
  }

  /** Sends text (UTF-8) or bytes to the guest, as fast as it takes them. */
  write(data: string | Uint8Array): void;
  /** The guest's side: one byte. */
  write(byte: number): boolean;
  write(data: string | Uint8Array | number): boolean {
    if (typeof data === 'number') return this.#fromGuest(data);
    for (const byte of typeof data === 'string' ? new TextEncoder().encode(data) : data)
      this.#input.push(byte);
    this.#feed();
    this.#wake();
    return true;
  }

  /** Bytes that the guest prints from now on. */
  readable(): ReadableStream<Uint8Array> {
    let own: ReadableStreamDefaultController<Uint8Array> | undefined;
    return new ReadableStream<Uint8Array>({
      start: (controller) => {
        own = controller;
        this.#readers.add(controller);
      },
      cancel: () => {
        this.#readers.delete(own!);
      },
    });
  }

  /** Takes bytes for the guest. */
  writable(): WritableStream<Uint8Array | string> {
    return new WritableStream({ write: (chunk) => this.write(chunk) });
  }

  /** The machine has gone back to a snapshot: what was printed before is no answer to anything. */
  loaded(): void {
    this.#flush();
    this.#input.length = 0;
    this.#cursor = this.#text.length;
  }

  /** Settles waits: the machine is gone. For the machine. */
  closed(): void {
    this.#flush();
    for (const waiter of this.#waiters) waiter.fail(new MachineError('closed', 'the machine was closed'));
    for (const reader of this.#readers) reader.close();
    this.#readers.clear();
  }

  #feed(): void {
    const receiver = this.#receiver;
    if (receiver === undefined) return;
    let sent = 0;
    while (sent < this.#input.length && receiver.canReceive() > 0) receiver.receive(this.#input[sent++]!);
    if (sent === 0) return;
    this.#input.splice(0, sent);
    this.#wake();
  }

  #fromGuest(byte: number): boolean {
    this.#bytes.push(byte);
    if (!this.#isScheduled) {
      this.#isScheduled = true;
      setImmediate(() => this.#flush());
    }
    return true;
  }

  #flush(): void {
    this.#isScheduled = false;
    if (this.#bytes.length === 0) return;
    const bytes = Uint8Array.from(this.#bytes);
    this.#bytes = [];
    for (const reader of this.#readers) reader.enqueue(bytes);
    const raw = this.#unfinished + this.#decoder.decode(bytes, { stream: true });
    this.#unfinished = UNFINISHED.exec(raw)?.[0] ?? '';
    this.#text += raw.slice(0, raw.length - this.#unfinished.length).replace(SEQUENCE, '');
    if (this.#text.length > KEPT_CHARACTERS) {
      const cut = this.#text.length - KEPT_CHARACTERS;
      this.#text = this.#text.slice(cut);
      this.#cursor = Math.max(0, this.#cursor - cut);
    }
    for (const waiter of [...this.#waiters]) waiter.check();
  }
}
