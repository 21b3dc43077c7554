/** What a person at a test machine sees and touches: serial terminal, screen, keyboard. */
import { writeFileSync } from 'node:fs';
import type { CharReceiver, CharSink } from '../../src/machine/device.ts';
import { encodePng } from '../../src/host/display/png.ts';
import type { Machine } from '../../src/machine/machine.ts';
import { keysOf } from '../../src/monitor/us-keyboard.ts';
import type { Wait } from './vm.ts';

/** COM1. Terminal sequences are taken out of `text`. */
export class SerialLine implements CharSink {
  /** Everything printed since power-on. */
  text = '';
  #sequence = '';
  #input: number[] = [];
  #receiver: CharReceiver | undefined;
  #machine: Machine | undefined;
  #wait: Wait | undefined;

  attach(machine: Machine, wait: Wait): void {
    this.#machine = machine;
    this.#wait = wait;
    this.#receiver = machine.serial(0)!.receiver;
    this.#receiver.onReady = () => this.#feed();
  }

  write(byte: number): boolean {
    if (this.#sequence !== '' || byte === 0x1b) {
      this.#sequence += String.fromCharCode(byte);
      // ESC [ parameters letter; ESC letter; ESC ( letter.
      if (/^(\[[ -?]*[@-~]|[^[(]|\(.)$/.test(this.#sequence.slice(1))) this.#sequence = '';
    } else this.text += String.fromCharCode(byte);
    return true;
  }

  /** Waits for text that was printed at or behind position `from`. */
  async waitFor(wanted: string | RegExp, timeoutMs?: number, from = 0): Promise<RegExpExecArray> {
    const pattern = typeof wanted === 'string' ? new RegExp(escapeRegExp(wanted)) : wanted;
    const search = (): RegExpExecArray | undefined => {
      const match = pattern.exec(this.text.slice(from));
      if (match === null) return undefined;
      match.index += from;
      return match;
    };
    return this.#wait!(`${wanted} on the serial port`, search, timeoutMs);
  }

  type(text: string): void {
    this.#input.push(...Buffer.from(text, 'latin1'));
    this.#feed();
    this.#machine?.wake();
  }

  #feed(): void {
    const receiver = this.#receiver!;
    while (this.#input.length > 0 && receiver.canReceive() > 0) receiver.receive(this.#input.shift()!);
  }
}

function escapeRegExp(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
}

export class ScreenView {
  readonly #machine: Machine;
  readonly #wait: Wait;

  constructor(machine: Machine, wait: Wait) {
    this.#machine = machine;
    this.#wait = wait;
  }

  /** The text screen, rows joined by line feeds; empty in graphics modes. */
  get text(): string {
    const rows = this.#machine.screen?.textScreen() ?? [];
    return rows.map((row) => row.trimEnd()).join('\n');
  }

  /** `640x480`. */
  get size(): string {
    const { width, height } = this.#machine.screen!.render();
    return `${width}x${height}`;
  }

  async waitFor(wanted: string | RegExp, timeoutMs?: number): Promise<void> {
    const found = () =>
      (typeof wanted === 'string' ? this.text.includes(wanted) : wanted.test(this.text)) || undefined;
    await this.#wait(`${wanted} on the screen`, found, timeoutMs);
  }

  /** Waits until the guest has switched to this size and the picture has stood still for `calmMs` of real time. */
  async waitForPicture(size: string, calmMs = 1000, timeoutMs?: number): Promise<Uint8Array> {
    let last = Buffer.alloc(0);
    let since = Date.now();
    const isCalm = (): true | undefined => {
      const { rgb } = this.#machine.screen!.render(false);
      if (this.size !== size || !last.equals(rgb)) {
        last = Buffer.from(rgb);
        since = Date.now();
      }
      return Date.now() - since >= calmMs ? true : undefined;
    };
    await this.#wait(`a picture of ${size}`, isCalm, timeoutMs);
    return last;
  }

  screenshot(file: string): void {
    const { width, height, rgb } = this.#machine.screen!.render();
    writeFileSync(file, encodePng(width, height, rgb));
  }
}

export class KeyboardLine {
  readonly #machine: Machine;
  readonly #wait: Wait;

  constructor(machine: Machine, wait: Wait) {
    this.#machine = machine;
    this.#wait = wait;
  }

  /** Presses and releases keys by QEMU's names, one after the other: `press('down', 'ret')`. */
  async press(...names: readonly string[]): Promise<void> {
    for (const name of names) {
      await this.#key(name, true);
      await this.#key(name, false);
    }
  }

  /** Types text on a US keyboard. */
  async type(text: string): Promise<void> {
    for (const char of text) {
      const [key = char, ...held] = [...(keysOf(char) ?? [])].reverse();
      for (const name of held) await this.#key(name, true);
      await this.press(key);
      for (const name of held) await this.#key(name, false);
    }
  }

  async #key(name: string, down: boolean): Promise<void> {
    const machine = this.#machine;
    const { keyboard } = machine;
    if (!keyboard.key(name, down)) throw new Error(`the keyboard has no key '${name}'`);
    machine.wake();
    // The key may have been one that switches the machine off.
    const taken = () => (keyboard.queue.state.count === 0 || !machine.running ? true : undefined);
    await this.#wait(`the guest to take key '${name}'`, taken);
  }
}
