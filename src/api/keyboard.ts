/** The guest's keyboard and mouse as a program uses them. Keys are held in virtual time, so runs with icount repeat. */
import type { Machine as Core } from '../machine/machine.ts';
import { KeyQueue, parseKeys } from '../monitor/commands/keys.ts';
import { MachineError } from './errors.ts';
import { keysOf } from '../monitor/us-keyboard.ts';

/** How long a key is down, and up before the next, ms of virtual time. */
const HOLD_MS = 10;

/** The guest’s PS/2 keyboard, with US layout. */
export class Keyboard {
  readonly #core: Core;
  readonly #queue: KeyQueue;

  constructor(core: Core) {
    this.#core = core;
    this.#queue = new KeyQueue(core);
  }

  /** Types text on a US keyboard. Resolves when the last key is up again: the machine must run meanwhile. */
  async type(text: string): Promise<void> {
    const strokes = [...text].map((character) => {
      const keys = keysOf(character);
      if (keys !== undefined) return keys;
      throw new MachineError('argument', `a US keyboard cannot type ${JSON.stringify(character)}`);
    });
    for (const keys of strokes) await this.#play(keys);
  }

  /** Presses keys together, by QEMU's names: `press('ctrl-alt-delete')`. Resolves when they are up again. */
  async press(combination: string, holdMs: number = HOLD_MS): Promise<void> {
    const parsed = parseKeys(combination);
    if ('invalid' in parsed) throw new MachineError('argument', `invalid parameter: ${parsed.invalid}`);
    await this.#play(parsed.keys, holdMs);
  }

  /** Presses a key, or lets it go. */
  key(name: string, down: boolean): void {
    if (!this.#core.keyboard.key(name, down))
      throw new MachineError('argument', `invalid parameter: ${name}`);
    this.#core.wake();
  }

  #play(keys: readonly string[], holdMs: number = HOLD_MS): Promise<void> {
    return new Promise((resolve) => this.#queue.play(keys, holdMs, resolve));
  }
}
