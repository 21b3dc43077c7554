/**
 * Connects a block node to a disk controller: promises become completion callbacks. Without -icount a completion is
 * delivered as soon as the host is done; with it, at a virtual time fixed when the request is made, and the machine waits for a
 * host that is slower.
 */
import type { BlockNode } from '../block/block-node.ts';
import { NOT_ARMED } from './clock.ts';
import type { DiskBackend } from './device.ts';
import type { VirtualClock } from './virtual-clock.ts';

/** Latency of a request with -icount, virtual ns: a fixed part and a part a byte. About a fast disk's. */
const REQUEST_NS = 50_000;
const NS_PER_BYTE = 1;

/** What a disk tells the machine it belongs to. */
export interface DiskHost {
  readonly clock: VirtualClock;
  /** A request began or ended: slices get shorter while any is in flight. */
  inFlight(change: number): void;
  /** A completion was delivered: the CPU may have something to do. */
  wake(): void;
  ioError(device: string, operation: string, error: Error): void;
  /** A completion could not be delivered: guest memory that it needs cannot be had, or we are wrong. */
  failed(error: unknown): void;
}

export interface DiskStatistics {
  readBytes: number;
  writtenBytes: number;
  reads: number;
  writes: number;
  flushes: number;
}

export class MachineDisk implements DiskBackend {
  /** QEMU's name: `ide0-hd0`, `ide1-cd0`, `floppy0`. */
  readonly device: string;
  node: BlockNode | undefined;
  onMediaChange: (() => void) | undefined;
  readonly statistics: DiskStatistics = { readBytes: 0, writtenBytes: 0, reads: 0, writes: 0, flushes: 0 };
  readonly #host: DiskHost;
  /** The last request made with -icount; controllers have one in flight at a time. */
  #pending: { readonly settled: Promise<void>; readonly finish: () => void } | undefined;

  constructor(device: string, node: BlockNode | undefined, host: DiskHost) {
    this.device = device;
    this.node = node;
    this.#host = host;
  }

  get inserted(): boolean {
    return this.node !== undefined;
  }
  get sizeBytes(): number {
    return this.node?.sizeBytes ?? 0;
  }
  get readOnly(): boolean {
    return this.node?.readOnly ?? true;
  }

  /** Exchanges the medium (CD, floppy). */
  change(node: BlockNode | undefined): void {
    this.node = node;
    this.onMediaChange?.();
  }

  read(offset: number, target: Uint8Array, done: (error?: Error) => void): void {
    this.statistics.reads++;
    this.statistics.readBytes += target.length;
    this.#start('read', target.length, (node) => node.read(offset, target), done);
  }

  write(offset: number, source: Uint8Array, done: (error?: Error) => void): void {
    this.statistics.writes++;
    this.statistics.writtenBytes += source.length;
    this.#start('write', source.length, (node) => node.write(offset, source), done);
  }

  flush(done: (error?: Error) => void): void {
    this.statistics.flushes++;
    this.#start('flush', 0, (node) => node.flush(), done);
  }

  #start(
    operation: string,
    bytes: number,
    action: (node: BlockNode) => Promise<void>,
    done: (error?: Error) => void,
  ): void {
    const node = this.node;
    const work = node === undefined ? Promise.reject(new Error('no medium')) : action(node);
    let failure: Error | undefined;
    const settled = work.catch((error: unknown) => {
      failure = error instanceof Error ? error : new Error(String(error));
      this.#host.ioError(this.device, operation, failure);
    });
    this.#host.inFlight(1);
    const deliver = (): void => {
      this.#host.inFlight(-1);
      try {
        done(failure);
      } catch (error) {
        this.#host.failed(error);
      }
      this.#host.wake();
    };
    if (this.#host.clock.icount === undefined) {
      void settled.then(deliver);
      return;
    }
    this.#deliverAtVirtualTime(settled, bytes, deliver);
  }

  #deliverAtVirtualTime(settled: Promise<void>, bytes: number, deliver: () => void): void {
    const clock = this.#host.clock;
    const timer = clock.createTimer(`${this.device}-completion`, () => {
      clock.removeTimer(timer);
      deliver();
    });
    const gate = settled.then(() => {
      clock.setGate(timer, undefined);
      this.#host.wake();
    });
    clock.setGate(timer, gate);
    const finish = (): void => {
      if (timer.deadline === NOT_ARMED) return;
      clock.removeTimer(timer);
      deliver();
    };
    this.#pending = { settled, finish };
    timer.arm(clock.now() + REQUEST_NS + bytes * NS_PER_BYTE);
  }

  /** With -icount: delivers the completion in flight now, ahead of its time (a snapshot is being made). */
  async completeNow(): Promise<void> {
    const pending = this.#pending;
    this.#pending = undefined;
    if (pending === undefined) return;
    await pending.settled;
    pending.finish();
  }
}
