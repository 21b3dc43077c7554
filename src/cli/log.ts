/**
 * `-d`, `-D`, `-trace` and the monitor's `log` and `logfile`: lines about events, to stderr or a file. `int` shows interrupts
 * and exceptions, `in_asm` code as it is decoded, `cpu_reset` resets, `unimp` and `guest_errors` accesses that nobody handles.
 *
 * Not here: the register dump that QEMU adds to each line of `int`.
 */
import { closeSync, openSync, writeSync } from 'node:fs';
import { reasonOf } from '../host/chardev/reason.ts';
import type { Machine } from '../machine/machine.ts';
import { registers } from '../monitor/commands/info-cpu.ts';
import { addTraceSink, type TraceValue, traceDecode, traceInterrupt } from '../machine/trace.ts';
import { LOG_ITEMS } from './choices.ts';
import { UsageError } from './grammar.ts';

const STDERR = 2;

export class EventLog {
  readonly #items: Set<string>;
  #fd: number;
  readonly #remove: (() => void)[] = [];
  #removeInterrupts: (() => void) | undefined;
  #removeCode: (() => void) | undefined;
  #interrupts = 0;

  constructor(items: Iterable<string>, file: string | undefined) {
    this.#items = new Set(items);
    this.#fd = open(file);
  }

  attach(machine: Machine): void {
    machine.on('resetting', () => {
      if (!this.#items.has('cpu_reset')) return;
      this.#log(
        `CPU Reset (CPU 0)\n${registers(machine.board.cpu)
          .replace(/^\s*CPU#0\n/, '')
          .trimEnd()}`,
      );
    });
    const { ports } = machine.board;
    ports.onUnhandled = (port, bytes, value) => {
      if (!this.#items.has('unimp') && !this.#items.has('guest_errors')) return;
      const place = `port 0x${port.toString(16).padStart(4, '0')} size ${bytes}`;
      this.#log(
        value < 0 ? `unassigned read: ${place}` : `unassigned write: ${place} value 0x${value.toString(16)}`,
      );
    };
    this.#remove.push(addTraceSink((event, values) => this.#log(event.text(values))));
    this.#watchCpu();
  }

  /** `-d int` and `-d in_asm` hear of something only while they are asked for. */
  #watchCpu(): void {
    this.#removeInterrupts?.();
    this.#removeInterrupts = this.#items.has('int')
      ? traceInterrupt.tap((values) => this.#log(interruptLine(this.#interrupts++, values)))
      : undefined;
    this.#removeCode?.();
    this.#removeCode = this.#items.has('in_asm')
      ? traceDecode.tap(([, text]) => this.#log(String(text)))
      : undefined;
  }

  /** Goes on in another file; an empty name: stderr. Throws a UsageError. */
  setFile(file: string): void {
    const fd = open(file === '' ? undefined : file);
    if (this.#fd !== STDERR) closeSync(this.#fd);
    this.#fd = fd;
  }

  /** Replaces the items; `none` alone clears them. False, and no change, if one is unknown. */
  set(items: readonly string[]): boolean {
    const wanted = items.filter((item) => item !== 'none');
    if (!wanted.every((item) => LOG_ITEMS.some(([name]) => name === item))) return false;
    this.#items.clear();
    for (const item of wanted) this.#items.add(item);
    this.#watchCpu();
    return true;
  }

  #log(line: string): void {
    writeSync(this.#fd, `${line}\n`);
  }

  close(): void {
    for (const remove of this.#remove) remove();
    this.#removeInterrupts?.();
    this.#removeCode?.();
    if (this.#fd !== STDERR) closeSync(this.#fd);
  }
}

function open(file: string | undefined): number {
  try {
    return file === undefined ? STDERR : openSync(file, 'w');
  } catch (error) {
    throw new UsageError(`Error opening logfile ${file}: ${reasonOf(error)}`);
  }
}

/** QEMU's line (target/i386/tcg/seg_helper.c); `i` 1 for INT n. */
function interruptLine(count: number, values: readonly TraceValue[]): string {
  const [vector, error, kind, cpl, cs, eip, ss, esp, extra, pc] = values as [
    number,
    number,
    string,
    ...number[],
  ];
  const hex = (value: number | undefined, digits: number) =>
    (value! >>> 0).toString(16).padStart(digits, '0');
  return (
    `${String(count).padStart(6)}: v=${hex(vector, 2)} e=${hex(Math.max(0, error), 4)} ` +
    `i=${kind === 'soft' ? 1 : 0} cpl=${cpl} IP=${hex(cs, 4)}:${hex(eip, 8)} pc=${hex(pc, 8)} ` +
    `SP=${hex(ss, 4)}:${hex(esp, 8)} ${vector === 14 ? 'CR2' : 'env->regs[R_EAX]'}=${hex(extra, 8)}`
  );
}
