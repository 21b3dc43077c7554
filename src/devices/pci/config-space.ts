/**
 * Configuration space of one PCI function: header, write masks, base address registers, expansion ROM, INTx pin.
 * PCI Local Bus Specification 3.0, chapter 6. Facts of masks and reset from QEMU 7.2 hw/pci/pci.c.
 *
 * Not emulated: 64-bit BARs, bridges (header type 1), capabilities other than bytes a device puts there itself, MSI,
 * power management, parity and system errors, BIST.
 *
 * A chip holds a function, and puts its state first in its own record:
 *
 *     interface IdeState { parent: PciFunctionState; … }
 *     const ideVmState: VmState<IdeState> = {
 *       name: 'ide', version: 3, minimumVersion: 0,
 *       fields: { parent: struct(pciFunctionVmState, { name: 'parent_obj' }), … },
 *     };
 *     class Piix3Ide implements Device<IdeState> {
 *       readonly name = '0000:00:01.1/ide';
 *       constructor({ bus }: { bus: PciBus }) {
 *         this.#pci = new PciFunction({
 *           bus, slot: 1, function: 1, vendorId: 0x8086, deviceId: 0x7010, classCode: 0x0101, programmingInterface: 0x80,
 *           bars: [undefined, undefined, undefined, undefined, { kind: 'io', size: 16, region: this.#busMaster }],
 *           onConfigWrite: (offset, size, oldValue) => { … },
 *         });
 *         this.#pci.config[0x40] = 0;             // device-specific power-on bytes, writable masks, …
 *         this.#pci.writeMask[0x40] = 0x0f;       // 0x40-0xff are all writable unless narrowed
 *         this.state = { parent: this.#pci.state, … };
 *       }
 *       reset() { …own bytes…; this.#pci.reset(); }          // own first: the PCI reset clears COMMAND and the BARs
 *       validate(candidate) { return this.#pci.validate(candidate.parent) ?? …; }
 *       afterLoad() { this.#pci.afterLoad(); … }             // maps the BARs anew, drives nothing
 *     }
 *
 * `this.#pci.irq` is the function's INTx pin as an IrqLine; `this.#pci.busMaster` tells whether it may do DMA.
 */
import type { AddressSpace, IoRegion, IrqLine } from '../../machine/device.ts';
import { buffer, i32, type VmState } from '../../migration/vmstate.ts';

/** Bytes of conventional configuration space. */
export const PCI_CONFIG_SIZE = 256;
/** Pins INTA# to INTD#. */
export const PCI_PIN_COUNT = 4;
/** {@link PciFunction.barAddress} of a region that is not mapped. */
export const BAR_UNMAPPED = -1;
/** Index of the expansion ROM among the regions, after BAR 0-5. */
export const ROM_SLOT = 6;

// Header type 0, section 6.1.
export const PCI_VENDOR_ID = 0x00;
export const PCI_DEVICE_ID = 0x02;
export const PCI_COMMAND = 0x04;
export const PCI_STATUS = 0x06;
export const PCI_REVISION_ID = 0x08;
export const PCI_CLASS_PROG = 0x09;
export const PCI_CLASS_DEVICE = 0x0a;
export const PCI_CACHE_LINE_SIZE = 0x0c;
export const PCI_HEADER_TYPE = 0x0e;
export const PCI_BASE_ADDRESS_0 = 0x10;
export const PCI_SUBSYSTEM_VENDOR_ID = 0x2c;
export const PCI_SUBSYSTEM_ID = 0x2e;
export const PCI_ROM_ADDRESS = 0x30;
export const PCI_CAPABILITY_LIST = 0x34;
export const PCI_INTERRUPT_LINE = 0x3c;
export const PCI_INTERRUPT_PIN = 0x3d;

// Command register, section 6.2.2.
export const COMMAND_IO = 0x0001;
export const COMMAND_MEMORY = 0x0002;
export const COMMAND_MASTER = 0x0004;
const COMMAND_SERR = 0x0100;
export const COMMAND_INTX_DISABLE = 0x0400;

// Status register, section 6.2.3.
const STATUS_INTERRUPT = 0x08;
const STATUS_CAPABILITIES = 0x10;
/** Parity, target abort, master abort, system error: write one to clear. */
const STATUS_ERRORS = 0xf900;

const HEADER_MULTIFUNCTION = 0x80;
const BAR_IO = 0x01;
const BAR_PREFETCHABLE = 0x08;
const ROM_ENABLE = 0x01;

/** Wire state of a function: QEMU's `PCIDevice` struct, the first field of every PCI device's section. */
export interface PciFunctionState {
  /** Format of this struct: always 2. */
  versionId: number;
  /** Configuration space, 256 bytes. */
  config: Uint8Array;
  /** Level of INTA#-INTD# as four big-endian 32-bit numbers, each 0 or 1. */
  irqState: Uint8Array;
}

/** QEMU 7.2 hw/pci/pci.c, vmstate_pci_device. */
export const pciFunctionVmState: VmState<PciFunctionState> = {
  name: 'PCIDevice',
  version: 2,
  minimumVersion: 1,
  fields: {
    versionId: i32({ le: true, min: 0, max: 2 }),
    config: buffer(PCI_CONFIG_SIZE, { name: 'config[0]', type: 'pci config' }),
    irqState: buffer(PCI_PIN_COUNT * 4, { type: 'pci irq state' }),
  },
};

/** One base address register. `region.size` may be smaller than `size`: the rest of the window answers all-ones. */
export interface PciBar {
  readonly kind: 'io' | 'memory';
  /** Bytes, a power of two; at least 4 (I/O) or 16 (memory). */
  readonly size: number;
  readonly region: IoRegion;
  readonly prefetchable?: boolean;
  /** Told after the window moved: its new base, or {@link BAR_UNMAPPED}. Also after a load. */
  readonly onMoved?: (base: number) => void;
}

/** The expansion ROM: a memory window with an enable bit of its own. */
export interface PciRom {
  /** Bytes, a power of two, at least 2048. */
  readonly size: number;
  readonly region: IoRegion;
}

/** What a function needs of its bus; {@link import('./bus.ts').PciBus} is one. */
export interface PciParent {
  readonly io: AddressSpace;
  readonly memory: AddressSpace;
  attach(pciFunction: PciFunction): void;
  /** `pin` 0-3 of `slot` changed by +1 (asserted) or -1 (deasserted). */
  changeInterrupt(slot: number, pin: number, change: number): void;
}

export interface PciFunctionOptions {
  readonly bus: PciParent;
  /** 0-31. */
  readonly slot: number;
  /** 0-7. */
  readonly function?: number;
  readonly vendorId: number;
  readonly deviceId: number;
  /** Base class and subclass, 16 bits: 0x0300 is a VGA controller. */
  readonly classCode: number;
  readonly programmingInterface?: number;
  readonly revision?: number;
  /** Default 0x1af4, as QEMU's. */
  readonly subsystemVendorId?: number;
  /** Default 0x1100. */
  readonly subsystemId?: number;
  /** This slot has functions besides 0 (set in function 0 only). */
  readonly multifunction?: boolean;
  /** 0 none, 1 INTA# … 4 INTD#. */
  readonly interruptPin?: number;
  /** BAR 0 to 5; holes are undefined. */
  readonly bars?: readonly (PciBar | undefined)[];
  readonly rom?: PciRom;
  /**
   * After the guest wrote `size` (1, 2 or 4) bytes at `offset`; `config` holds the new bytes, `oldValue` what those
   * bytes were as one little-endian number. BARs are already mapped.
   */
  readonly onConfigWrite?: (offset: number, size: number, oldValue: number) => void;
}

/** A window and where it is mapped now. Derived from `config`, never saved. */
interface Window {
  readonly kind: 'io' | 'memory';
  readonly slot: number;
  readonly size: number;
  readonly region: IoRegion;
  readonly onMoved: ((base: number) => void) | undefined;
  base: number;
}

function isPowerOfTwo(value: number): boolean {
  return value > 0 && value <= 0x8000_0000 && (value & (value - 1)) === 0;
}

function set16(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value & 0xff;
  bytes[offset + 1] = (value >>> 8) & 0xff;
}

function set32(bytes: Uint8Array, offset: number, value: number): void {
  set16(bytes, offset, value & 0xffff);
  set16(bytes, offset + 2, value >>> 16);
}

/** Offset of region `slot`'s register in configuration space. */
function barOffset(slot: number): number {
  return slot === ROM_SLOT ? PCI_ROM_ADDRESS : PCI_BASE_ADDRESS_0 + slot * 4;
}

/**
 * Where a window of `size` bytes is mapped when its register reads `register`, or {@link BAR_UNMAPPED}. Address 0 is
 * valid (pc-i440fx-7.2 allows it), a window that ends at or above 0xffffffff is not: that is what BAR sizing writes.
 */
export function decodeBar(
  kind: 'io' | 'memory',
  register: number,
  size: number,
  command: number,
  isRom: boolean,
): number {
  if ((command & (kind === 'io' ? COMMAND_IO : COMMAND_MEMORY)) === 0) return BAR_UNMAPPED;
  if (isRom && (register & ROM_ENABLE) === 0) return BAR_UNMAPPED;
  const base = (register & -size) >>> 0;
  const last = base + size - 1;
  return last >= 0xffff_ffff ? BAR_UNMAPPED : base;
}

/** See the file header. */
export class PciFunction {
  readonly state: PciFunctionState;
  /** Bits the guest may write. Device-specific bytes 0x40-0xff are all writable at first. */
  readonly writeMask: Uint8Array = new Uint8Array(PCI_CONFIG_SIZE);
  /** Bits the guest clears by writing one. */
  readonly writeOneToClearMask: Uint8Array = new Uint8Array(PCI_CONFIG_SIZE);
  /** Bits that must be equal in a loaded state, unless writable. */
  readonly checkMask: Uint8Array = new Uint8Array(PCI_CONFIG_SIZE);
  /** slot × 8 + function. */
  readonly devfn: number;
  /** The function's interrupt pin; driving it does nothing when `interruptPin` is 0. */
  readonly irq: IrqLine;
  readonly #bus: PciParent;
  readonly #slot: number;
  readonly #pin: number;
  readonly #windows: Window[] = [];
  readonly #onConfigWrite: ((offset: number, size: number, oldValue: number) => void) | undefined;

  constructor(options: PciFunctionOptions) {
    this.#bus = options.bus;
    this.#slot = options.slot;
    this.#pin = (options.interruptPin ?? 0) - 1;
    this.#onConfigWrite = options.onConfigWrite;
    this.devfn = options.slot * 8 + (options.function ?? 0);
    this.state = {
      versionId: 2,
      config: new Uint8Array(PCI_CONFIG_SIZE),
      irqState: new Uint8Array(PCI_PIN_COUNT * 4),
    };
    this.irq = { set: (level) => this.#setInterrupt(level) };
    this.#initialiseHeader(options);
    this.#initialiseMasks();
    options.bars?.forEach((bar, index) => {
      if (bar) this.#addWindow(index, bar);
    });
    if (options.rom) this.#addWindow(ROM_SLOT, { kind: 'memory', ...options.rom });
    options.bus.attach(this);
  }

  /** Configuration space. The device may write it directly: no masks, no hooks, no remapping. */
  get config(): Uint8Array {
    return this.state.config;
  }

  get command(): number {
    return this.config[PCI_COMMAND]! | (this.config[PCI_COMMAND + 1]! << 8);
  }

  /** True when the guest lets this function read and write memory. */
  get busMaster(): boolean {
    return (this.config[PCI_COMMAND]! & COMMAND_MASTER) !== 0;
  }

  /** Where region `slot` (0-5, or {@link ROM_SLOT}) is mapped, or {@link BAR_UNMAPPED}. */
  barAddress(slot: number): number {
    return this.#windows.find((window) => window.slot === slot)?.base ?? BAR_UNMAPPED;
  }

  /** Current level of pin 0-3. */
  interruptLevel(pin: number): number {
    return this.state.irqState[pin * 4 + 3]!;
  }

  /** Reads `size` (1, 2, 4) bytes. An access that runs over the end yields the bytes that are there. */
  read(offset: number, size: number): number {
    let value = 0;
    for (let i = size - 1; i >= 0; i--) value = (value << 8) | (this.config[offset + i] ?? 0);
    return value >>> 0;
  }

  /** A guest's write of `size` (1, 2, 4) bytes: masks, remapping, INTx disable, then the device's hook. */
  write(offset: number, size: number, value: number): void {
    const { config } = this.state;
    const oldValue = this.read(offset, size);
    const wasDisabled = this.command & COMMAND_INTX_DISABLE;
    for (let i = 0; i < size && offset + i < PCI_CONFIG_SIZE; i++) {
      const at = offset + i;
      const byte = (value >>> (8 * i)) & 0xff;
      const mask = this.writeMask[at]!;
      config[at] = ((config[at]! & ~mask) | (byte & mask)) & ~(byte & this.writeOneToClearMask[at]!);
    }
    const end = offset + size;
    const touchesCommand = offset <= PCI_COMMAND && end > PCI_COMMAND;
    const touchesBars = offset < PCI_BASE_ADDRESS_0 + 24 && end > PCI_BASE_ADDRESS_0;
    const touchesRom = offset < PCI_ROM_ADDRESS + 4 && end > PCI_ROM_ADDRESS;
    if (touchesCommand || touchesBars || touchesRom) this.#updateMappings();
    // The INTx disable bit lies in the high byte: any write that reaches it may gate the pin.
    if (offset <= PCI_COMMAND + 1 && end > PCI_COMMAND) this.#updateInterruptGate(wasDisabled);
    this.#onConfigWrite?.(offset, size, oldValue);
  }

  /**
   * Power-on and bus reset: pin low, COMMAND and the error bits of STATUS clear, interrupt line and cache line size 0,
   * BARs cleared and unmapped. Device-specific bytes are the device's business.
   */
  reset(): void {
    const { config } = this.state;
    for (let pin = 0; pin < PCI_PIN_COUNT; pin++) this.#setPin(pin, 0);
    for (const at of [PCI_COMMAND, PCI_COMMAND + 1, PCI_STATUS, PCI_STATUS + 1, PCI_INTERRUPT_LINE]) {
      config[at] = config[at]! & ~(this.writeMask[at]! | this.writeOneToClearMask[at]!);
    }
    config[PCI_CACHE_LINE_SIZE] = 0;
    for (const window of this.#windows) this.#resetBar(window.slot);
    this.#updateMappings();
  }

  /** Refuses a loaded configuration space of another device, or interrupt levels that are none. */
  validate(candidate: PciFunctionState): string | undefined {
    for (let at = 0; at < PCI_CONFIG_SIZE; at++) {
      const fixed = this.checkMask[at]! & ~this.writeMask[at]! & ~this.writeOneToClearMask[at]!;
      const found = candidate.config[at]!;
      const expected = this.config[at]!;
      if (((found ^ expected) & fixed) !== 0) {
        return `config[0x${at.toString(16)}]: found 0x${found.toString(16)}, expected 0x${expected.toString(16)}`;
      }
    }
    for (let at = 0; at < PCI_PIN_COUNT * 4; at++) {
      if (candidate.irqState[at]! > (at % 4 === 3 ? 1 : 0)) return `irq_state[${at >> 2}]: must be 0 or 1`;
    }
    return undefined;
  }

  /** Maps the windows where the loaded registers say. Drives no line: the bus's counts are in its own section. */
  afterLoad(): void {
    this.state.versionId = 2;
    this.#updateMappings();
  }

  #initialiseHeader(options: PciFunctionOptions): void {
    const { config } = this.state;
    set16(config, PCI_VENDOR_ID, options.vendorId);
    set16(config, PCI_DEVICE_ID, options.deviceId);
    config[PCI_REVISION_ID] = options.revision ?? 0;
    config[PCI_CLASS_PROG] = options.programmingInterface ?? 0;
    set16(config, PCI_CLASS_DEVICE, options.classCode);
    set16(config, PCI_SUBSYSTEM_VENDOR_ID, options.subsystemVendorId ?? 0x1af4);
    set16(config, PCI_SUBSYSTEM_ID, options.subsystemId ?? 0x1100);
    config[PCI_HEADER_TYPE] = options.multifunction ? HEADER_MULTIFUNCTION : 0;
    config[PCI_INTERRUPT_PIN] = options.interruptPin ?? 0;
  }

  #initialiseMasks(): void {
    this.writeMask[PCI_CACHE_LINE_SIZE] = 0xff;
    this.writeMask[PCI_INTERRUPT_LINE] = 0xff;
    set16(
      this.writeMask,
      PCI_COMMAND,
      COMMAND_IO | COMMAND_MEMORY | COMMAND_MASTER | COMMAND_SERR | COMMAND_INTX_DISABLE,
    );
    this.writeMask.fill(0xff, 0x40);
    set16(this.writeOneToClearMask, PCI_STATUS, STATUS_ERRORS);
    this.checkMask.fill(0xff, PCI_VENDOR_ID, PCI_DEVICE_ID + 2);
    this.checkMask[PCI_STATUS] = STATUS_CAPABILITIES;
    this.checkMask.fill(0xff, PCI_REVISION_ID, PCI_CLASS_DEVICE + 2);
    this.checkMask[PCI_HEADER_TYPE] = 0xff;
    this.checkMask[PCI_CAPABILITY_LIST] = 0xff;
  }

  #addWindow(slot: number, bar: PciBar): void {
    if (!isPowerOfTwo(bar.size)) throw new RangeError(`BAR ${slot}: size ${bar.size} is no power of two`);
    const offset = barOffset(slot);
    const type = bar.kind === 'io' ? BAR_IO : bar.prefetchable ? BAR_PREFETCHABLE : 0;
    set32(this.config, offset, type);
    set32(this.writeMask, offset, -bar.size | (slot === ROM_SLOT ? ROM_ENABLE : 0));
    this.checkMask.fill(0xff, offset, offset + 4);
    this.#windows.push({
      kind: bar.kind,
      slot,
      size: bar.size,
      region: bar.region,
      onMoved: bar.onMoved,
      base: BAR_UNMAPPED,
    });
  }

  /** Clears the address bits of a BAR, leaving its type. */
  #resetBar(slot: number): void {
    const offset = barOffset(slot);
    for (let at = offset; at < offset + 4; at++) this.config[at] = this.config[at]! & ~this.writeMask[at]!;
  }

  #updateMappings(): void {
    for (const window of this.#windows) {
      const register = this.read(barOffset(window.slot), 4);
      const base = decodeBar(window.kind, register, window.size, this.command, window.slot === ROM_SLOT);
      if (base === window.base) continue;
      const space = window.kind === 'io' ? this.#bus.io : this.#bus.memory;
      if (window.base !== BAR_UNMAPPED) space.unmap(window.region);
      window.base = base;
      if (base !== BAR_UNMAPPED) space.map(base, window.region);
      window.onMoved?.(base);
    }
  }

  #updateInterruptGate(wasDisabled: number): void {
    const disabled = this.command & COMMAND_INTX_DISABLE;
    if (disabled === wasDisabled) return;
    for (let pin = 0; pin < PCI_PIN_COUNT; pin++) {
      const level = this.interruptLevel(pin);
      if (level !== 0) this.#bus.changeInterrupt(this.#slot, pin, disabled !== 0 ? -1 : 1);
    }
  }

  #setInterrupt(level: number): void {
    if (this.#pin >= 0) this.#setPin(this.#pin, level !== 0 ? 1 : 0);
  }

  #setPin(pin: number, level: number): void {
    const { config, irqState } = this.state;
    const change = level - irqState[pin * 4 + 3]!;
    if (change === 0) return;
    irqState[pin * 4 + 3] = level;
    let asserted = 0;
    for (let i = 0; i < PCI_PIN_COUNT; i++) asserted |= irqState[i * 4 + 3]!;
    config[PCI_STATUS] = (config[PCI_STATUS]! & ~STATUS_INTERRUPT) | (asserted !== 0 ? STATUS_INTERRUPT : 0);
    if ((this.command & COMMAND_INTX_DISABLE) === 0) this.#bus.changeInterrupt(this.#slot, pin, change);
  }
}
