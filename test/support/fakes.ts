/** Stand-ins for what a board gives its devices. They record what happened and let the test decide when. */
import { type Clock, NOT_ARMED, type Ns, type Timer } from '../../src/machine/clock.ts';
import type {
  CharSink,
  DiskBackend,
  DmaMemory,
  IoRegion,
  IrqLine,
  Mapping,
} from '../../src/machine/device.ts';

class FakeTimer implements Timer {
  readonly name: string;
  deadline: Ns = NOT_ARMED;
  readonly callback: (deadline: Ns) => void;

  constructor(name: string, callback: (deadline: Ns) => void) {
    this.name = name;
    this.callback = callback;
  }

  arm(deadline: Ns): void {
    if (!Number.isSafeInteger(deadline)) throw new Error(`timer ${this.name} armed at ${deadline}`);
    this.deadline = deadline;
  }

  cancel(): void {
    this.deadline = NOT_ARMED;
  }
}

/** Virtual time that moves only when told to. */
export class FakeClock implements Clock {
  #now: Ns;
  readonly #timers: FakeTimer[] = [];

  constructor(now: Ns = 0) {
    this.#now = now;
  }

  now(): Ns {
    return this.#now;
  }

  createTimer(name: string, callback: (deadline: Ns) => void): Timer {
    const timer = new FakeTimer(name, callback);
    this.#timers.push(timer);
    return timer;
  }

  /** Lets `ns` pass; timers fire in order of their deadlines, at most `limit` of them. */
  advance(ns: Ns, limit = 100_000): void {
    const end = this.#now + ns;
    for (let fired = 0; fired < limit; fired++) {
      const next = this.#next(end);
      if (next === undefined) break;
      const deadline = next.deadline;
      this.#now = Math.max(this.#now, deadline);
      next.deadline = NOT_ARMED;
      next.callback(deadline);
    }
    this.#now = end;
  }

  /** Sets the time as loadvm does: nothing fires. */
  set(now: Ns): void {
    this.#now = now;
  }

  /** Deadline of the timer of that name. */
  deadline(name: string): Ns {
    const timer = this.#timers.find((candidate) => candidate.name === name);
    if (timer === undefined) throw new Error(`no timer ${name}`);
    return timer.deadline;
  }

  #next(end: Ns): FakeTimer | undefined {
    let best: FakeTimer | undefined;
    for (const timer of this.#timers) {
      if (timer.deadline === NOT_ARMED || timer.deadline > end) continue;
      if (best === undefined || timer.deadline < best.deadline) best = timer;
    }
    return best;
  }
}

/** Remembers every change of level; repeating a level is no change. */
export class FakeIrq implements IrqLine {
  level = 0;
  /** Levels in the order in which they were reached. */
  readonly log: number[] = [];

  set(level: number): void {
    if (level !== 0 && level !== 1) throw new Error(`level ${level}`);
    if (level === this.level) return;
    this.level = level;
    this.log.push(level);
  }
}

/** RAM from address 0; beyond it reads give all-ones. */
export class FakeMemory implements DmaMemory {
  readonly bytes: Uint8Array;

  constructor(sizeBytes = 1 << 20) {
    this.bytes = new Uint8Array(sizeBytes);
  }

  read(address: number, target: Uint8Array): void {
    for (let i = 0; i < target.length; i++) target[i] = this.bytes[address + i] ?? 0xff;
  }

  write(address: number, source: Uint8Array): void {
    for (let i = 0; i < source.length; i++) {
      if (address + i < this.bytes.length) this.bytes[address + i] = source[i]!;
    }
  }
}

/** A disk in memory whose requests complete when {@link complete} is called. */
export class FakeDisk implements DiskBackend {
  inserted = true;
  readOnly = false;
  bytes: Uint8Array;
  /** The next completion gets this error. */
  failure: Error | undefined;
  onMediaChange: (() => void) | undefined;
  /** Set by a test whose disk is to hear of what the guest trims. */
  discard: DiskBackend['discard'];
  readonly #pending: (() => void)[] = [];

  constructor(sizeBytes: number) {
    this.bytes = new Uint8Array(sizeBytes);
  }

  /** What the guest trims reads zero from now on. */
  enableDiscard(): void {
    this.discard = (offset, bytes, done) =>
      this.#submit(done, () => this.bytes.fill(0, offset, offset + bytes));
  }

  get sizeBytes(): number {
    return this.bytes.length;
  }

  /** Requests not yet completed. */
  get inFlight(): number {
    return this.#pending.length;
  }

  read(offset: number, target: Uint8Array, done: (error?: Error) => void): void {
    this.#submit(done, () => target.set(this.bytes.subarray(offset, offset + target.length)));
  }

  write(offset: number, source: Uint8Array, done: (error?: Error) => void): void {
    this.#submit(done, () => this.bytes.set(source, offset));
  }

  flush(done: (error?: Error) => void): void {
    this.#submit(done, () => {});
  }

  /** Completes the oldest `count` requests (default: all, also those that completions submit). */
  complete(count = Number.POSITIVE_INFINITY): void {
    for (let i = 0; i < count; i++) {
      const next = this.#pending.shift();
      if (next === undefined) return;
      next();
    }
  }

  #submit(done: (error?: Error) => void, action: () => void): void {
    this.#pending.push(() => {
      const error = this.failure;
      this.failure = undefined;
      if (error === undefined) action();
      done(error);
    });
  }
}

/** A serial line's far end. `room` bytes are taken, then it is full until {@link open}. */
export class FakeSink implements CharSink {
  room = Number.POSITIVE_INFINITY;
  readonly received: number[] = [];
  onWritable: (() => void) | undefined;

  write(byte: number): boolean {
    if (this.room <= 0) return false;
    this.room--;
    this.received.push(byte);
    return true;
  }

  /** Makes room and tells the device. */
  open(room = Number.POSITIVE_INFINITY): void {
    this.room = room;
    this.onWritable?.();
  }

  text(): string {
    return String.fromCharCode(...this.received);
  }
}

/** Byte-wise port accesses to the mappings of one or more devices, as an IN or OUT would reach them. */
export class FakeBus {
  readonly #mappings: readonly Mapping[];

  constructor(...devices: readonly { ports(): readonly Mapping[] }[]) {
    this.#mappings = devices.flatMap((device) => device.ports());
  }

  in8(port: number): number {
    const hit = this.#find(port);
    return hit?.region.read8?.(port - hit.base) ?? 0xff;
  }

  out8(port: number, value: number): void {
    const hit = this.#find(port);
    hit?.region.write8?.(port - hit.base, value);
  }

  /** Writes several bytes to one port, in order. */
  outs8(port: number, ...values: readonly number[]): void {
    for (const value of values) this.out8(port, value);
  }

  #find(port: number): { base: number; region: IoRegion } | undefined {
    return this.#mappings.find(({ base, region }) => port >= base && port < base + region.size);
  }
}
