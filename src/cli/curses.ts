/** `-display curses`: the consoles that character devices open, and the display that shows them. */
import type { CharBackend } from '../host/chardev/chardev.ts';
import type { CursesDisplay } from '../host/curses/display.ts';
import { VirtualConsole } from '../host/curses/virtual-console.ts';
import type { Machine } from '../machine/machine.ts';
import { UsageError } from './grammar.ts';

export class CursesControl {
  readonly #consoles: VirtualConsole[] = [];
  #display: CursesDisplay | undefined;

  /** Throws UsageError where there is no terminal. */
  constructor(where: string) {
    if (!process.stdin.isTTY || !process.stdout.isTTY) {
      throw new UsageError(`${where}: standard input and output must be a terminal`);
    }
  }

  openConsole(label: string): CharBackend {
    const console = new VirtualConsole(label);
    this.#consoles.push(console);
    return console;
  }

  async start(machine: Machine): Promise<void> {
    // Loaded when wanted: the program starts faster without.
    const { CursesDisplay } = await import('../host/curses/display.ts');
    // As in QEMU: the monitor is console 2, the serial ports follow.
    const isMonitor = ({ label }: VirtualConsole): boolean => label.startsWith('compat_monitor');
    const consoles = [...this.#consoles].sort((a, b) => Number(isMonitor(b)) - Number(isMonitor(a)));
    this.#display = new CursesDisplay(machine, consoles);
    this.#display.start();
  }

  close(): void {
    this.#display?.close();
    this.#display = undefined;
  }
}
