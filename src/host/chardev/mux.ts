/**
 * One back end shared by several front ends (serial port and monitor): input goes to the one in focus, output of all
 * goes out. Ctrl-a and a letter is for the multiplexer itself. Facts: QEMU 7.2 chardev/char-mux.c and its help text.
 */
import type { CharBackend, CharEvent, CharFrontend } from './chardev.ts';

const ESCAPE = 1;
/** Input kept for a front end that takes none now, bytes. Ample, so that Ctrl-a c is still seen behind it. */
const QUEUE_LIMIT = 4096;

export interface MuxHooks {
  /** Ctrl-a x. The text was printed. */
  readonly exit: () => void;
  /** Ctrl-a s: write back what -snapshot holds. */
  readonly commit?: () => void;
  /** ms, for timestamps. */
  readonly now: () => number;
}

export class MuxChardev implements CharFrontend {
  readonly #backend: CharBackend;
  readonly #hooks: MuxHooks;
  readonly #ports: MuxPort[] = [];
  #focus = 0;
  #isEscaped = false;
  #timestamps: { begin: number; atLineStart: boolean } | undefined;
  /** What could not be written of the multiplexer's own words. */
  #pending: Uint8Array = new Uint8Array(0);

  constructor(backend: CharBackend, hooks: MuxHooks) {
    this.#backend = backend;
    this.#hooks = hooks;
  }

  get filename(): string {
    return this.#backend.filename;
  }

  /** A new place at the back end. The first one has the focus. */
  port(): CharBackend {
    const port = new MuxPort(this);
    this.#ports.push(port);
    return port;
  }

  /** Begins, once all places are taken. */
  start(): void {
    this.#backend.attach(this);
    this.#ports.forEach((port, i) => {
      port.frontend?.onEvent?.(i === this.#focus ? 'focus' : 'blur');
    });
  }

  close(): Promise<void> {
    return this.#backend.close();
  }

  // ---- from the back end

  canReceive(): number {
    return QUEUE_LIMIT - Math.max(0, ...this.#ports.map((port) => port.queue.length));
  }

  receive(bytes: Uint8Array): void {
    for (const byte of bytes) {
      if (this.#isEscaped) {
        this.#isEscaped = false;
        if (byte === ESCAPE) this.#toFocus(byte);
        else this.#command(byte);
      } else if (byte === ESCAPE) this.#isEscaped = true;
      else this.#toFocus(byte);
    }
  }

  #toFocus(byte: number): void {
    const port = this.#ports[this.#focus];
    if (port === undefined) return;
    port.queue.push(byte);
    port.deliver();
  }

  writable(): void {
    if (!this.#flushPending()) return;
    for (const port of this.#ports) port.frontend?.writable?.();
  }

  onEvent(event: CharEvent): void {
    for (const port of this.#ports) port.frontend?.onEvent?.(event);
  }

  // ---- from the front ends

  write(bytes: Uint8Array): number {
    if (!this.#flushPending()) return 0;
    if (this.#timestamps === undefined) return this.#backend.write(bytes);
    this.#say(this.#stamp(bytes));
    return bytes.length;
  }

  acceptInput(): void {
    for (const port of this.#ports) port.deliver();
    this.#backend.acceptInput();
  }

  /** Writes everything, if need be later. Used for short texts only. */
  #say(bytes: Uint8Array): void {
    this.#pending = Buffer.concat([this.#pending, bytes]);
    this.#flushPending();
  }

  #flushPending(): boolean {
    if (this.#pending.length > 0) {
      this.#pending = this.#pending.subarray(this.#backend.write(this.#pending));
    }
    return this.#pending.length === 0;
  }

  #stamp(bytes: Uint8Array): Uint8Array {
    const state = this.#timestamps!;
    const out: number[] = [];
    for (const byte of bytes) {
      if (state.atLineStart) out.push(...Buffer.from(`[${clock(this.#hooks.now() - state.begin)}] `));
      out.push(byte);
      state.atLineStart = byte === 10;
    }
    return Uint8Array.from(out);
  }

  #command(byte: number): void {
    switch (String.fromCharCode(byte)) {
      case 'h':
      case '?':
        this.#say(Buffer.from(HELP));
        return;
      case 'x':
        this.#say(Buffer.from('QEMU: Terminated\n\r'));
        this.#hooks.exit();
        return;
      case 's':
        this.#hooks.commit?.();
        return;
      case 'b':
        this.#ports[this.#focus]?.frontend?.onEvent?.('break');
        return;
      case 'c':
        this.#setFocus((this.#focus + 1) % this.#ports.length);
        return;
      case 't':
        this.#timestamps =
          this.#timestamps === undefined ? { begin: this.#hooks.now(), atLineStart: false } : undefined;
    }
  }

  #setFocus(focus: number): void {
    this.#ports[this.#focus]?.frontend?.onEvent?.('blur');
    this.#focus = focus;
    this.#ports[focus]?.frontend?.onEvent?.('focus');
  }
}

class MuxPort implements CharBackend {
  readonly #mux: MuxChardev;
  frontend: CharFrontend | undefined;
  readonly queue: number[] = [];

  constructor(mux: MuxChardev) {
    this.#mux = mux;
  }

  get filename(): string {
    return 'mux';
  }
  attach(frontend: CharFrontend): void {
    this.frontend = frontend;
  }
  write(bytes: Uint8Array): number {
    return this.#mux.write(bytes);
  }
  acceptInput(): void {
    this.#mux.acceptInput();
  }
  async close(): Promise<void> {}

  deliver(): void {
    while (this.queue.length > 0) {
      const room = Math.min(this.queue.length, this.frontend?.canReceive() ?? 0);
      if (room <= 0) return;
      this.frontend!.receive(Uint8Array.from(this.queue.splice(0, room)));
    }
  }
}

function clock(ms: number): string {
  const two = (value: number) => String(Math.floor(value)).padStart(2, '0');
  const seconds = ms / 1000;
  const fraction = String(Math.floor(ms % 1000)).padStart(3, '0');
  return `${two(seconds / 3600)}:${two((seconds / 60) % 60)}:${two(seconds % 60)}.${fraction}`;
}

const HELP = [
  '',
  'C-a h    print this help',
  'C-a x    exit emulator',
  'C-a s    save disk data back to file (if -snapshot)',
  'C-a t    toggle console timestamps',
  'C-a b    send break (magic sysrq)',
  'C-a c    switch between console and monitor',
  'C-a C-a  sends C-a',
  '',
].join('\n\r');
