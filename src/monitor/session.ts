/** A monitor on a terminal: banner, prompt, one command after the other. Bytes in, text out. */
import type { Hmp } from './hmp.ts';
import { LineEditor } from './line-editor.ts';

export const PROMPT = '(qemu) ';
/** Bytes taken at once while idle. */
const INPUT_ROOM = 1024;

export interface MonitorSessionOptions {
  readonly hmp: Hmp;
  /** Shown in the banner. */
  readonly version: string;
  /** Shares its terminal with a serial port: silent until it has the focus. */
  readonly muxed: boolean;
  readonly write: (text: string) => void;
  /** canReceive() rose from 0. */
  readonly onReady: () => void;
  /** A fault of ours; the program must end. */
  readonly onFault: (error: unknown) => void;
}

export class MonitorSession {
  readonly #options: MonitorSessionOptions;
  readonly #editor: LineEditor;
  /** Input behind a line that is being executed. */
  #pending: number[] = [];
  #isBusy = false;
  #hasFocus: boolean;
  #wasGreeted = false;
  /** Output while out of focus. */
  #held = '';

  constructor(options: MonitorSessionOptions) {
    this.#options = options;
    this.#hasFocus = !options.muxed;
    this.#editor = new LineEditor({
      prompt: PROMPT,
      write: (text) => this.#write(text),
      onLine: (line) => {
        this.#isBusy = true;
        this.#execute(line);
      },
      complete: (line) => options.hmp.complete(line),
    });
  }

  #write(text: string): void {
    if (this.#hasFocus) this.#options.write(text);
    else this.#held += text;
  }

  #execute(line: string): void {
    this.#options.hmp.execute(line, this.#editor.history).then((text) => {
      this.#isBusy = false;
      this.#write(text);
      this.#editor.prompt();
      this.receive(Uint8Array.from(this.#pending.splice(0)));
      if (this.canReceive() > 0) this.#options.onReady();
    }, this.#options.onFault);
  }

  /** A client came (or the terminal is there): greets it. */
  opened(): void {
    this.#pending = [];
    this.#write(`QEMU ${this.#options.version} monitor - type 'help' for more information\n`);
    this.#wasGreeted = true;
    if (!this.#isBusy) this.#editor.prompt();
  }

  focus(): void {
    if (this.#hasFocus) return;
    this.#hasFocus = true;
    const held = this.#held;
    this.#held = '';
    if (held !== '') this.#options.write(held);
    else if (this.#wasGreeted && !this.#isBusy) this.#editor.redraw();
  }

  blur(): void {
    if (!this.#hasFocus) return;
    this.#options.write('\n');
    this.#hasFocus = false;
  }

  canReceive(): number {
    return this.#isBusy || this.#pending.length > 0 ? 0 : INPUT_ROOM;
  }

  receive(bytes: Uint8Array): void {
    for (let i = 0; i < bytes.length; i++) {
      if (this.#isBusy) {
        this.#pending.push(...bytes.subarray(i));
        return;
      }
      this.#editor.input(bytes[i]!);
    }
  }
}
