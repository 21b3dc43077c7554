/** `sendkey`: keys by QEMU's names, pressed one after the other, held, then released, in virtual time. */
import { SCAN_CODES } from '../../devices/keycodes.ts';
import type { Ns, Timer } from '../../machine/clock.ts';
import type { Machine } from '../../machine/machine.ts';
import type { KeyPlayer } from '../command.ts';

export const KEY_NAMES: readonly string[] = [
  ...new Set([...Object.keys(SCAN_CODES), 'pause', 'print']),
].sort();
const KNOWN = new Set(KEY_NAMES);
/** As many as QEMU's queue holds. */
const MAX_QUEUED = 1024;

interface Stroke {
  readonly key: string;
  readonly down: boolean;
  /** Time until the next stroke. */
  readonly holdNs: Ns;
  /** Called when the hold time is over. */
  readonly onDone?: (() => void) | undefined;
}

/** Names of a combination such as `ctrl-alt-delete` or `0x1e-minus`; the first part that is none, as error. */
export function parseKeys(text: string): { readonly keys: readonly string[] } | { readonly invalid: string } {
  const keys: string[] = [];
  for (const part of text.split('-')) {
    const key = part === '<' ? 'less' : /^0x[0-9a-f]+$/i.test(part) ? byScanCode(Number(part)) : part;
    if (key === undefined || !KNOWN.has(key)) return { invalid: part };
    keys.push(key);
  }
  return { keys };
}

/** Scan code set 1; 0x80 is the prefix 0xe0 in QEMU's numbering. */
export function byScanCode(number: number): string | undefined {
  const code = number >= 0x80 && number < 0x100 ? 0xe000 | (number & 0x7f) : number;
  return Object.keys(SCAN_CODES).find((name) => SCAN_CODES[name]![0] === code);
}

export class KeyQueue implements KeyPlayer {
  readonly #machine: Machine;
  readonly #strokes: Stroke[] = [];
  #timer: Timer | undefined;

  constructor(machine: Machine) {
    this.#machine = machine;
    // The keyboard is now as it was when the snapshot was made, and so is the clock.
    machine.on('loaded', () => this.#clear());
  }

  play(keys: readonly string[], holdMs: number, onDone?: () => void): void {
    const holdNs = holdMs * 1_000_000;
    const strokes = [
      ...keys.map((key) => ({ key, down: true, holdNs })),
      ...[...keys].reverse().map((key, i, { length }) => ({
        key,
        down: false,
        holdNs,
        onDone: i === length - 1 ? onDone : undefined,
      })),
    ];
    if (this.#strokes.length + strokes.length > MAX_QUEUED) return;
    const isIdle = this.#strokes.length === 0;
    this.#strokes.push(...strokes);
    if (isIdle) this.#next();
  }

  #clear(): void {
    this.#timer?.cancel();
    const dropped = this.#strokes.splice(0);
    for (const { onDone } of dropped) onDone?.();
  }

  /** Sends the next stroke; the queue's first entry is the one whose hold time runs. */
  #next(): void {
    const stroke = this.#strokes[0];
    if (stroke === undefined) return;
    const machine = this.#machine;
    machine.keyboard.key(stroke.key, stroke.down);
    machine.wake();
    this.#timer ??= machine.clock.createTimer('sendkey', () => {
      const done = this.#strokes.shift();
      this.#next();
      done?.onDone?.();
    });
    this.#timer.arm(machine.clock.now() + stroke.holdNs);
  }
}
