/**
 * Ports by which test programs and firmware speak to the emulator. None has state on the stream.
 *
 * - isa-debug-exit: a write ends the emulator with exit code (value << 1) | 1 (QEMU 7.2 hw/misc/debugexit.c).
 * - POST code: port 0x80 takes a progress code; the last one is kept. The port is also scratch RAM of the DMA page
 *   registers on real chipsets; here it reads all-ones, as in QEMU.
 * - Debug console: port 0x402 takes text and reads 0xe9, by which SeaBIOS finds it (QEMU hw/char/debugcon.c).
 */
import type { Mapping } from '../machine/device.ts';

export interface DebugExitOptions {
  /** First port; QEMU's default is 0x501. */
  readonly base?: number;
  /** Ports it takes; QEMU's default is 2. */
  readonly size?: number;
  /** The guest asks to end; the argument is the exit code. */
  readonly onExit: (code: number) => void;
}

export class DebugExit {
  readonly #mappings: readonly Mapping[];

  constructor({ base = 0x501, size = 2, onExit }: DebugExitOptions) {
    const write = (_offset: number, value: number) => onExit(((value << 1) | 1) >>> 0);
    this.#mappings = [
      {
        base,
        region: {
          name: 'isa-debug-exit',
          size,
          read8: () => 0,
          read16: () => 0,
          read32: () => 0,
          write8: write,
          write16: write,
          write32: write,
        },
      },
    ];
  }

  ports(): readonly Mapping[] {
    return this.#mappings;
  }
}

export class PostCode {
  /** The last code written, -1 before the first. */
  last = -1;
  readonly #mappings: readonly Mapping[];

  constructor(options: { readonly onCode?: (code: number) => void } = {}) {
    this.#mappings = [
      {
        base: 0x80,
        region: {
          name: 'ioport80',
          size: 1,
          read8: () => 0xff,
          write8: (_offset, value) => {
            this.last = value;
            options.onCode?.(value);
          },
        },
      },
    ];
  }

  ports(): readonly Mapping[] {
    return this.#mappings;
  }
}

export interface DebugConsoleOptions {
  /** QEMU's default is 0xe9, SeaBIOS writes to 0x402. */
  readonly base?: number;
  readonly onByte: (byte: number) => void;
}

export class DebugConsole {
  readonly #mappings: readonly Mapping[];

  constructor({ base = 0x402, onByte }: DebugConsoleOptions) {
    this.#mappings = [
      {
        base,
        region: {
          name: 'isa-debugcon',
          size: 1,
          read8: () => 0xe9,
          write8: (_offset, value) => onByte(value),
        },
      },
    ];
  }

  ports(): readonly Mapping[] {
    return this.#mappings;
  }
}
