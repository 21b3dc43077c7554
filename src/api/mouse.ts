/** The guest's mouse. */
import type { Machine as Core } from '../machine/machine.ts';

const BITS = { left: 1, right: 2, middle: 4 } as const;

/** The guest’s PS/2 mouse. */
export class Mouse {
  readonly #core: Core;
  #buttons = 0;

  constructor(core: Core) {
    this.#core = core;
    core.on('loaded', () => {
      this.#buttons = 0;
    });
  }

  /** Right, down, and wheel steps towards the user. */
  move(dx: number, dy: number, wheel: number = 0): void {
    this.#core.mouse.motion(dx, dy, wheel);
    this.#core.wake();
  }

  /** Presses or lets go of a button. */
  button(name: keyof typeof BITS, down: boolean): void {
    this.#buttons = down ? this.#buttons | BITS[name] : this.#buttons & ~BITS[name];
    this.#core.mouse.buttons(this.#buttons);
    this.#core.wake();
  }
}
