/**
 * `-d`, `-D` and the monitor's `log`: lines about unusual events, to stderr or a file. `unimp` shows accesses that nobody
 * handles, `cpu_reset` resets; the other items are accepted and print nothing yet.
 */
import { closeSync, openSync, writeSync } from 'node:fs';
import { reasonOf } from '../host/chardev/reason.ts';
import type { Machine } from '../machine/machine.ts';
import { LOG_ITEMS } from './choices.ts';
import { UsageError } from './grammar.ts';

const STDERR = 2;

export class EventLog {
  readonly #items: Set<string>;
  readonly #fd: number;

  constructor(items: Iterable<string>, file: string | undefined) {
    this.#items = new Set(items);
    try {
      this.#fd = file === undefined ? STDERR : openSync(file, 'w');
    } catch (error) {
      throw new UsageError(`could not open '${file}': ${reasonOf(error)}`);
    }
  }

  attach(machine: Machine): void {
    machine.on('reset', ({ guest }) => {
      if (this.#items.has('cpu_reset')) this.#log(`CPU Reset (by the ${guest ? 'guest' : 'host'})`);
    });
    const { ports } = machine.board;
    ports.onUnhandled = (port, bytes, value) => {
      if (!this.#items.has('unimp')) return;
      const place = `port 0x${port.toString(16).padStart(4, '0')} size ${bytes}`;
      this.#log(
        value < 0 ? `unassigned read: ${place}` : `unassigned write: ${place} value 0x${value.toString(16)}`,
      );
    };
  }

  /** Replaces the items; `none` alone clears them. False, and no change, if one is unknown. */
  set(items: readonly string[]): boolean {
    const wanted = items.filter((item) => item !== 'none');
    if (!wanted.every((item) => LOG_ITEMS.some(([name]) => name === item))) return false;
    this.#items.clear();
    for (const item of wanted) this.#items.add(item);
    return true;
  }

  #log(line: string): void {
    writeSync(this.#fd, `${line}\n`);
  }

  close(): void {
    if (this.#fd !== STDERR) closeSync(this.#fd);
  }
}
