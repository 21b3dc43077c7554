/**
 * Trace events: what the machine does, by name and with typed arguments, for `-trace`, `trace-event`, `-d int` and
 * node:diagnostics_channel. An event that is off costs one test of a boolean; whoever emits tests `enabled` first. The
 * registry is the program's, as QEMU's: events of several machines arrive together.
 *
 * Not here: QEMU's names of events inside devices.
 */

import type { IrqLine } from './device.ts';

export type TraceValue = number | string;

type Sink = (event: TraceEvent, values: readonly TraceValue[]) => void;

const sinks = new Set<Sink>();

export class TraceEvent<A extends readonly TraceValue[] = readonly TraceValue[]> {
  readonly name: string;
  /** One line, for the documentation. */
  readonly about: string;
  /** Names of the arguments; `:x` behind one: a number written in hexadecimal, `:s`: text; else a number. */
  readonly parameters: readonly string[];
  /** True while anybody wants to know. */
  enabled = false;
  #isOn = false;
  readonly #taps = new Set<(values: readonly TraceValue[]) => void>();

  constructor(name: string, about: string, parameters: readonly string[]) {
    this.name = name;
    this.about = about;
    this.parameters = parameters;
  }

  get isOn(): boolean {
    return this.#isOn;
  }

  /** On: the sinks get it. */
  turn(on: boolean): void {
    this.#isOn = on;
    this.enabled = on || this.#taps.size > 0;
  }

  /** Tells one listener, whether the event is on or not, until the function returned is called. */
  tap(listener: (values: readonly TraceValue[]) => void): () => void {
    this.#taps.add(listener);
    this.enabled = true;
    return () => {
      this.#taps.delete(listener);
      this.enabled = this.#isOn || this.#taps.size > 0;
    };
  }

  emit(...values: A): void {
    for (const tap of this.#taps) tap(values);
    if (this.#isOn) for (const sink of sinks) sink(this, values);
  }

  /** `block_request device ide0-hd0, operation read, …` */
  text(values: readonly TraceValue[]): string {
    const parts = this.parameters.map((parameter, i) => {
      const [name, format] = parameter.split(':');
      const value = values[i]!;
      return `${name} ${format === 'x' ? `0x${(Number(value) >>> 0).toString(16)}` : value}`;
    });
    return `${this.name} ${parts.join(', ')}`.trimEnd();
  }
}

const all: TraceEvent[] = [];

function event<A extends readonly TraceValue[]>(
  name: string,
  about: string,
  ...parameters: string[]
): TraceEvent<A> {
  const made = new TraceEvent<A>(name, about, parameters);
  all.push(made as unknown as TraceEvent);
  return made;
}

export const traceRunState = event<[from: string, to: string]>(
  'runstate_set',
  'the run state changes',
  'current:s',
  'new:s',
);
export const traceReset = event<[by: string]>('machine_reset', 'a reset; by `guest` or `host`', 'by:s');
export const traceSave = event<[tag: string]>('savevm_begin', 'a savevm begins', 'tag:s');
export const traceSaved = event<[tag: string, bytes: number, error: string]>(
  'savevm_end',
  'it ended; bytes of VM state; an empty error: it worked',
  'tag:s',
  'bytes',
  'error:s',
);
export const traceLoad = event<[tag: string]>('loadvm_begin', 'a loadvm begins', 'tag:s');
export const traceLoaded = event<[tag: string, bytes: number, error: string]>(
  'loadvm_end',
  'it ended; bytes of VM state read so far',
  'tag:s',
  'bytes',
  'error:s',
);
export const traceResumed = event<[job: string, tag: string, resumedNs: number, stoodStillNs: number]>(
  'guest_resumed',
  'the guest’s first instruction after a save or load: host ns since the command, and since its last instruction',
  'job:s',
  'tag:s',
  'resumed_ns',
  'stood_still_ns',
);
export const traceRamFetch = event<[address: number]>(
  'ram_fetch',
  'a page that a lazy load has still to bring in is fetched since somebody touches it: its address in RAM',
  'addr:x',
);
export const traceDelete = event<[tag: string]>('delvm_begin', 'a delvm begins', 'tag:s');
export const traceDeleted = event<[tag: string, bytes: number, error: string]>(
  'delvm_end',
  'it ended',
  'tag:s',
  'bytes',
  'error:s',
);
export const traceStream = event<[device: string]>('block_stream_begin', 'a block_stream begins', 'device:s');
export const traceStreamed = event<[device: string, bytes: number, error: string]>(
  'block_stream_end',
  'it ended; bytes of the disk looked at',
  'device:s',
  'bytes',
  'error:s',
);
export const traceBlockRequest = event<[device: string, operation: string, offset: number, bytes: number]>(
  'block_request',
  'a disk controller asks for something: `read`, `write`, `flush`, `discard`',
  'device:s',
  'operation:s',
  'offset',
  'bytes',
);
export const traceBlockDone = event<[device: string, operation: string, ns: number, error: string]>(
  'block_done',
  'the host is done with it, after so much time',
  'device:s',
  'operation:s',
  'ns',
  'error:s',
);
export const traceIrq = event<[irq: number, level: number]>(
  'isa_irq',
  'the line of an ISA interrupt is set',
  'irq',
  'level',
);
export const tracePortRead = event<[region: string, port: number, size: number, value: number]>(
  'cpu_in',
  'the guest reads a port, of 1, 2 or 4 bytes; region: the chip’s name in `info mtree`',
  'region:s',
  'addr:x',
  'size',
  'value:x',
);
export const tracePortWrite = event<[region: string, port: number, size: number, value: number]>(
  'cpu_out',
  'the guest writes a port',
  'region:s',
  'addr:x',
  'size',
  'value:x',
);
export const traceDecode = event<[eip: number, text: string]>(
  'cpu_decode',
  'an instruction is met for the first time since its page was last forgotten; text as `x/i` prints it',
  'eip:x',
  'text:s',
);
export const traceInterrupt = event<
  [
    vector: number,
    error: number,
    kind: string,
    cpl: number,
    cs: number,
    eip: number,
    ss: number,
    esp: number,
    extra: number,
    pc: number,
  ]
>(
  'cpu_interrupt',
  'an interrupt or exception; kind: `fault`, `trap`, `soft` (INT n) or `external`; error -1: no error code; extra: CR2 of a page fault, else EAX',
  ...['vector:x', 'error', 'kind:s', 'cpl', 'cs:x', 'eip:x', 'ss:x', 'esp:x', 'extra:x', 'pc:x'],
);

/** The line of ISA interrupt `irq`, with its changes traced. */
export function tracedIrq(line: IrqLine, irq: number): IrqLine {
  return {
    set: (level) => {
      if (traceIrq.enabled) traceIrq.emit(irq, level);
      line.set(level);
    },
  };
}

export const TRACE_EVENTS: readonly TraceEvent[] = all;

/** Tells `sink` of all events that are on, until the function returned is called. */
export function addTraceSink(sink: Sink): () => void {
  sinks.add(sink);
  return () => sinks.delete(sink);
}

/** Events that a name or a pattern with `*` and `?` means. */
export function findTraceEvents(pattern: string): readonly TraceEvent[] {
  const source = pattern
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  const wanted = new RegExp(`^${source}$`);
  return TRACE_EVENTS.filter(({ name }) => wanted.test(name));
}

/** Turns events on or off; false if there is none of that name. A pattern that fits nothing is no error, as in QEMU. */
export function setTraceEvents(pattern: string, on: boolean): boolean {
  const found = findTraceEvents(pattern);
  for (const each of found) each.turn(on);
  return found.length > 0 || /[*?]/.test(pattern);
}
