/**
 * The device contract: what a chip may know of the machine around it.
 *
 * Order of life: constructor (registers its timers, touches nothing else) → reset() → port and memory accesses,
 * timer callbacks, backend completions → beforeSave() / afterLoad() while the machine is stopped and drained → …
 * A device never learns its own IRQ number, its host backends' nature, or the wall clock: all comes in through the
 * constructor as one object.
 */
import type { Schema } from '../migration/vmstate.ts';

/** One interrupt input of somebody else. Stateless: the receiver (PIC, I/O APIC, PCI router) keeps the level. */
export interface IrqLine {
  /** Drives the line: 1 high, 0 low. Driving the same level twice is harmless. */
  set(level: number): void;
}

/**
 * Register block of a device, addressed by offset from its start; mapped at a base by the board or a PCI BAR.
 * An access wider than the widest handler given is split into little-endian parts by the bus; an access narrower than
 * the narrowest handler reads all-ones and drops writes unless read8/write8 exist. Values are unsigned
 * (use `>>> 0` for 32 bits).
 */
export interface IoRegion {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  read8?(offset: number): number;
  write8?(offset: number, value: number): void;
  read16?(offset: number): number;
  write16?(offset: number, value: number): void;
  read32?(offset: number): number;
  write32?(offset: number, value: number): void;
}

/** A region at a fixed port or physical address, declared as data (`info mtree` prints it). */
export interface Mapping {
  readonly base: number;
  readonly region: IoRegion;
}

/** An address space (ports or physical memory) into which PCI BARs and the like are mapped at run time. */
export interface AddressSpace {
  map(base: number, region: IoRegion): void;
  /** Removes whatever this region is mapped at. Harmless when it is not mapped. */
  unmap(region: IoRegion): void;
}

/** Guest-physical memory as bus-master devices see it. Addresses beyond RAM read as all-ones, writes are dropped. */
export interface DmaMemory {
  read(address: number, target: Uint8Array): void;
  write(address: number, source: Uint8Array): void;
}

/**
 * A device with state on the stream. `state` objects are created once and mutated in place; loading copies into them.
 */
export interface Device<S extends object = object> {
  /** Section name on the stream, QEMU's idstr, for example `i8254` or `0000:00:01.1/ide`. */
  readonly name: string;
  /** Instance id on the stream; 0 unless there are several of one name. */
  readonly instance?: number;
  readonly vmstate: Schema;
  readonly state: S;
  /** Power-on values into the existing objects. Idempotent. May drive IRQ lines low. */
  reset(): void;
  /** Called with the machine stopped and drained: brings `state` up to date (timer deadlines and the like). */
  beforeSave?(): void;
  /**
   * Refuses a decoded state that the device could not run with: returns what is wrong ("field, found, expected"), or
   * undefined. Must not change anything.
   */
  validate?(candidate: S): string | undefined;
  /** Called after `state` was overwritten: re-arms timers, rebuilds derived data. Drives no IRQ line, notifies no host. */
  afterLoad?(version: number): void;
}

/**
 * A disk or CD as controllers see it: completion callbacks, never promises, so that with -icount the machine can
 * deliver completions at a deterministic virtual time. `done(error)` is called with undefined on success; it is never
 * called synchronously from read/write/flush.
 */
export interface DiskBackend {
  /** False for an empty CD or floppy drive. */
  readonly inserted: boolean;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  read(offset: number, target: Uint8Array, done: (error?: Error) => void): void;
  write(offset: number, source: Uint8Array, done: (error?: Error) => void): void;
  flush(done: (error?: Error) => void): void;
  /** The guest does not need what is there any more. Without it nobody wants to know. */
  readonly discard?: ((offset: number, bytes: number, done: (error?: Error) => void) => void) | undefined;
  /** Called by the machine when the medium changes (CD, floppy). One listener: the controller. */
  onMediaChange?: (() => void) | undefined;
}

/** Where a serial port's bytes go. */
export interface CharSink {
  /** Offers one byte to the host. False: not taken, try again when onWritable is called. */
  write(byte: number): boolean;
  onWritable?: (() => void) | undefined;
}

/** Where a serial port's bytes come from: the host pushes, the device says whether there is room. */
export interface CharReceiver {
  /** How many bytes the device can take now. */
  canReceive(): number;
  receive(byte: number): void;
  /** Break condition. */
  receiveBreak(): void;
  /** The device calls this when canReceive() rose from 0. */
  onReady?: (() => void) | undefined;
}
