/** Keys and mouse of one client at the machine's keyboard and mouse. */
import { MOUSE_LEFT, MOUSE_MIDDLE, MOUSE_RIGHT } from '../../devices/ps2-mouse.ts';
import type { Machine } from '../../machine/machine.ts';
import { keyOfKeysym, keyOfScanCode } from './keys.ts';

/** Bits of a pointer event. */
const LEFT = 1;
const MIDDLE = 2;
const RIGHT = 4;
const WHEEL_UP = 8;
const WHEEL_DOWN = 16;
/** Position that stands for no motion, when the client sends steps (QEMU ui/vnc.c). */
const RELATIVE_ORIGIN = 0x7fff;

export class ClientInput {
  readonly #machine: Machine;
  readonly #held = new Set<string>();
  #buttons = 0;
  #position: { x: number; y: number } | undefined;

  constructor(machine: Machine) {
    this.#machine = machine;
  }

  key(down: boolean, keysym: number, scanCode: number | undefined): void {
    const name = (scanCode === undefined ? undefined : keyOfScanCode(scanCode)) ?? keyOfKeysym(keysym);
    if (name === undefined) return;
    // A key goes up that went down before a loadvm, say.
    if (!down && !this.#held.has(name)) return;
    if (down) this.#held.add(name);
    else this.#held.delete(name);
    this.#machine.keyboard.key(name, down);
    this.#machine.wake();
  }

  /** A PS/2 mouse knows steps only: those between one position and the next. `isRelative`: the client sends steps. */
  pointer(buttons: number, x: number, y: number, isRelative: boolean): void {
    const { mouse } = this.#machine;
    const from = isRelative ? { x: RELATIVE_ORIGIN, y: RELATIVE_ORIGIN } : (this.#position ?? { x, y });
    this.#position = { x, y };
    const pressed = buttons & ~this.#buttons;
    const wheel = (pressed & WHEEL_DOWN ? 1 : 0) - (pressed & WHEEL_UP ? 1 : 0);
    if (x !== from.x || y !== from.y || wheel !== 0) mouse.motion(x - from.x, y - from.y, wheel);
    if (mouseMask(buttons) !== mouseMask(this.#buttons)) mouse.buttons(mouseMask(buttons));
    this.#buttons = buttons;
    this.#machine.wake();
  }

  /** Everything that is held goes up. */
  release(): void {
    for (const name of this.#held) this.#machine.keyboard.key(name, false);
    this.#held.clear();
    if (mouseMask(this.#buttons) !== 0) this.#machine.mouse.buttons(0);
    this.#buttons = 0;
    this.#machine.wake();
  }
}

function mouseMask(buttons: number): number {
  return (
    (buttons & LEFT ? MOUSE_LEFT : 0) |
    (buttons & MIDDLE ? MOUSE_MIDDLE : 0) |
    (buttons & RIGHT ? MOUSE_RIGHT : 0)
  );
}
