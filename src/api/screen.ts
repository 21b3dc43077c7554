/** The guest's screen as a program sees it. */
import { encodePng } from '../host/display/png.ts';
import type { Machine as Core } from '../machine/machine.ts';
import { MachineError } from './errors.ts';
import { toPattern, Waiter, type WaitOptions } from './wait.ts';

/** How often the screen is looked at while somebody waits, ms. */
const LOOK_MS = 20;

/** A picture of the screen. */
export interface Picture {
  /** Pixels. */
  readonly width: number;
  /** Pixels. */
  readonly height: number;
  /** Width × height × 3 bytes. */
  readonly rgb: Uint8Array;
}

/** What the guest shows on its display. */
export class Screen {
  readonly #core: Core;

  constructor(core: Core) {
    this.#core = core;
  }

  /** False: the machine was made with `vga: 'none'`. */
  get isPresent(): boolean {
    return this.#core.screen !== undefined;
  }

  /** Rows of the text screen, without blanks at their ends, joined by line feeds; empty in graphics modes. */
  text(): string {
    return (this.#core.screen?.textScreen() ?? []).map((row) => row.trimEnd()).join('\n');
  }

  /** A copy. The text cursor is left out, so that pictures can be compared. Throws without `vga`. */
  picture(): Picture {
    const surface = this.#core.screen?.render(false);
    if (surface === undefined) throw new MachineError('argument', 'this machine has no screen (vga: none)');
    return { width: surface.width, height: surface.height, rgb: Uint8Array.from(surface.rgb) };
  }

  /** The picture as a PNG file. */
  png(): Uint8Array {
    const { width, height, rgb } = this.picture();
    return encodePng(width, height, rgb);
  }

  /** Waits until the text screen shows this. */
  waitFor(wanted: string | RegExp, options: WaitOptions = {}): Promise<RegExpExecArray> {
    const pattern = toPattern(wanted);
    const search = () => {
      pattern.lastIndex = 0;
      return pattern.exec(this.text()) ?? undefined;
    };
    return this.#poll(
      new Waiter(search, `${wanted} on the screen`, options, () => `; it shows:\n${this.text()}`),
    );
  }

  /** Waits until `accept` says yes to the picture. */
  waitForPicture(accept: (picture: Picture) => boolean, options: WaitOptions = {}): Promise<Picture> {
    const search = () => {
      const picture = this.picture();
      return accept(picture) ? picture : undefined;
    };
    return this.#poll(new Waiter(search, 'a picture', options));
  }

  #poll<T>(waiter: Waiter<T>): Promise<T> {
    if (waiter.isDone) return waiter.promise;
    const timer = setInterval(() => waiter.check(), LOOK_MS);
    const stop = () => clearInterval(timer);
    waiter.promise.then(stop, stop);
    return waiter.promise;
  }
}
