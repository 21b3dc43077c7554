/**
 * Connects a block node to a disk controller: promises become completion callbacks. Without -icount a completion is
 * delivered as soon as the host is done; with it, at a virtual time fixed when the request is made, and the machine waits for a
 * host that is slower.
 */
import type { BlockNode } from '../block/block-node.ts';
import { NOT_ARMED } from './clock.ts';
import type { DiskBackend } from './device.ts';
import type { DriveOptions, MediumKind } from './options.ts';
import { traceBlockDone, traceBlockRequest } from './trace.ts';
import type { VirtualClock } from './virtual-clock.ts';

/** Latency of a request with -icount, virtual ns: a fixed part and a part a byte. About a fast disk's. */
const REQUEST_NS = 50_000;
const NS_PER_BYTE = 1;

/** What a disk tells the machine it belongs to. */
export interface DiskHost {
  readonly clock: VirtualClock;
  /** Monotonic, ns. */
  now(): number;
  /** A request began or ended: slices get shorter while any is in flight. */
  inFlight(change: number): void;
  /** A completion was delivered: the CPU may have something to do. */
  wake(): void;
  /** A CD drive's tray was moved from outside. */
  trayMoved(device: string, isOpen: boolean): void;
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
  /** Host time that requests took, ns, and when the last one ended. */
  readNs: number;
  writeNs: number;
  flushNs: number;
  lastAccessNs: number;
}

type Operation = 'read' | 'write' | 'flush' | 'discard';

export type DiskConfig = Pick<DriveOptions, 'device' | 'node' | 'nodeName' | 'discard'> & {
  readonly kind?: MediumKind;
};

export class MachineDisk implements DiskBackend {
  /** QEMU's name: `ide0-hd0`, `ide1-cd0`, `floppy0`. */
  readonly device: string;
  node: BlockNode | undefined;
  /** What the command line calls the node. */
  readonly nodeName: string | undefined;
  onMediaChange: (() => void) | undefined;
  /** CD drives have one. */
  readonly hasTray: boolean;
  isTrayOpen = false;
  readonly discard: DiskBackend['discard'];
  readonly statistics: DiskStatistics = {
    readBytes: 0,
    writtenBytes: 0,
    reads: 0,
    writes: 0,
    flushes: 0,
    readNs: 0,
    writeNs: 0,
    flushNs: 0,
    lastAccessNs: 0,
  };
  readonly #host: DiskHost;
  /** The last request made with -icount; controllers have one in flight at a time. */
  #pending: { readonly settled: Promise<void>; readonly finish: () => void } | undefined;

  constructor({ device, node, nodeName, kind, discard = false }: DiskConfig, host: DiskHost) {
    this.device = device;
    this.node = node;
    this.nodeName = nodeName;
    this.hasTray = kind === 'cdrom';
    this.#host = host;
    if (!discard) return;
    // With -icount it takes no time for its length: nothing is transferred.
    this.discard = (offset, bytes, done) =>
      this.#start('discard', offset, 0, async (medium) => medium.discard?.(offset, bytes), done);
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

  /** From outside; the guest hears of the medium alone. */
  moveTray(open: boolean): void {
    if (this.isTrayOpen === open || !this.hasTray) return;
    this.isTrayOpen = open;
    this.#host.trayMoved(this.device, open);
  }

  /** Exchanges the medium (CD, floppy). */
  change(node: BlockNode | undefined): void {
    this.node = node;
    this.onMediaChange?.();
  }

  read(offset: number, target: Uint8Array, done: (error?: Error) => void): void {
    this.statistics.reads++;
    this.statistics.readBytes += target.length;
    this.#start('read', offset, target.length, (node) => node.read(offset, target), done);
  }

  write(offset: number, source: Uint8Array, done: (error?: Error) => void): void {
    this.statistics.writes++;
    this.statistics.writtenBytes += source.length;
    this.#start('write', offset, source.length, (node) => node.write(offset, source), done);
  }

  flush(done: (error?: Error) => void): void {
    this.statistics.flushes++;
    this.#start('flush', 0, 0, (node) => node.flush(), done);
  }

  #start(
    operation: Operation,
    offset: number,
    bytes: number,
    action: (node: BlockNode) => Promise<void>,
    done: (error?: Error) => void,
  ): void {
    const node = this.node;
    const work = node === undefined ? Promise.reject(new Error('no medium')) : action(node);
    if (traceBlockRequest.enabled) traceBlockRequest.emit(this.device, operation, offset, bytes);
    const begin = this.#host.now();
    let failure: Error | undefined;
    const settled = work
      .catch((error: unknown) => {
        failure = error instanceof Error ? error : new Error(String(error));
        this.#host.ioError(this.device, operation, failure);
      })
      .then(() => this.#account(operation, begin, failure));
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

  #account(operation: Operation, begin: number, failure: Error | undefined): void {
    const now = this.#host.now();
    const ns = now - begin;
    this.statistics.lastAccessNs = now;
    if (operation === 'read') this.statistics.readNs += ns;
    else if (operation === 'write') this.statistics.writeNs += ns;
    else if (operation === 'flush') this.statistics.flushNs += ns;
    if (traceBlockDone.enabled) traceBlockDone.emit(this.device, operation, ns, failure?.message ?? '');
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
