/**
 * QEMU's firmware configuration device: items that the firmware reads by number, and a directory of named files.
 * Ports 0x510 (selector), 0x511 (data), 0x514-0x51b (DMA). Specification: QEMU docs/specs/fw_cfg.rst.
 *
 * Not emulated: the memory-mapped form, writing through the data port (gone from QEMU since 2.4), item 0x4000's write
 * channel. A DMA descriptor outside RAM reads as all-ones, as QEMU's error case never happens to firmware.
 *
 * Items and files are added before the machine runs; their numbers follow from the names (sorted), not from the order
 * in which they were added. Nothing of them is in the snapshot: both ends make them from the same configuration.
 */
import type { Device, DmaMemory, Mapping } from '../machine/device.ts';
import { big64, u16, u32, u64, type VmState } from '../migration/vmstate.ts';

// Item numbers (QEMU include/standard-headers/linux/qemu_fw_cfg.h).
export const FW_CFG_SIGNATURE = 0x00;
export const FW_CFG_ID = 0x01;
export const FW_CFG_FILE_DIR = 0x19;
/** First number of the files in the directory. */
export const FW_CFG_FILE_FIRST = 0x20;
/** Items of the architecture have this bit. */
export const FW_CFG_ARCH_LOCAL = 0x8000;
const WRITE_CHANNEL = 0x4000;
const NUMBER_MASK = 0x3fff;
/** `curEntry` when nothing is selected. */
const INVALID = 0xffff;
/** FW_CFG_ID bits: the traditional interface, and DMA. */
const VERSION_TRADITIONAL = 0x01;
const VERSION_DMA = 0x02;

/** Files that the directory has room for (property x-file-slots of pc-i440fx-7.2). */
export const FILE_SLOTS = 32;
/** Bytes of a directory entry: size, number, reserved, name. */
const DIRECTORY_ENTRY_SIZE = 64;
/** Longest file name, with its terminating zero. */
const FILE_NAME_SIZE = 56;

// Bits of the DMA control field; the item number is in the upper half.
const DMA_ERROR = 0x01;
const DMA_READ = 0x02;
const DMA_SKIP = 0x04;
const DMA_SELECT = 0x08;
const DMA_WRITE = 0x10;
/** Bytes of a descriptor: control, length, address; big-endian. */
const DESCRIPTOR_SIZE = 16;
const DMA_SIGNATURE = 'QEMU CFG';
/** Zeros are written to the guest in pieces of this many bytes. */
const ZERO_CHUNK = 65536;
/** First address that no RAM has. */
const ADDRESS_LIMIT = 0x1_0000_0000;

export interface FwCfgDmaState {
  /** Descriptor address as far as the guest has written it: high half first. */
  dmaAddr: bigint;
}

/** Sizes in bytes of the three files that are RAM blocks; blocks on the stream are rounded up to pages. */
export interface FwCfgAcpiState {
  tableMrSize: number;
  linkerMrSize: number;
  rsdpMrSize: number;
}

export interface FwCfgState {
  curEntry: number;
  curOffset: number;
  dma: FwCfgDmaState;
  acpiMr: FwCfgAcpiState;
}

const dmaVmState: VmState<FwCfgDmaState> = {
  name: 'fw_cfg/dma',
  version: 0,
  minimumVersion: 0,
  fields: { dmaAddr: big64({ name: 'dma_addr' }) },
};

const acpiVmState: VmState<FwCfgAcpiState> = {
  name: 'fw_cfg/acpi_mr',
  version: 1,
  minimumVersion: 1,
  fields: {
    tableMrSize: u64({ name: 'table_mr_size' }),
    linkerMrSize: u64({ name: 'linker_mr_size' }),
    rsdpMrSize: u64({ name: 'rsdp_mr_size' }),
  },
};

const PAGE_MASK = 0xfff;

/** Stream section `fw_cfg` (QEMU 7.2 hw/nvram/fw_cfg.c). */
export const fwCfgVmState: VmState<FwCfgState, 'dma' | 'acpiMr'> = {
  name: 'fw_cfg',
  version: 2,
  minimumVersion: 2,
  fields: { curEntry: u16({ name: 'cur_entry' }), curOffset: u32({ name: 'cur_offset[1]', since: 2 }) },
  subsections: {
    dma: { vmstate: dmaVmState, needed: () => true, absent: () => ({ dmaAddr: 0n }) },
    acpiMr: {
      vmstate: acpiVmState,
      needed: ({ acpiMr }) =>
        ((acpiMr.tableMrSize | acpiMr.linkerMrSize | acpiMr.rsdpMrSize) & PAGE_MASK) !== 0,
      absent: () => ({ tableMrSize: 0, linkerMrSize: 0, rsdpMrSize: 0 }),
    },
  },
};

/** Bytes of an item, and what happens when it is selected. */
export interface FwCfgItem {
  readonly data: Uint8Array;
  /** Called each time the guest selects the item, before it reads. */
  readonly onSelect?: (() => void) | undefined;
  /** Set: the guest may write the item by DMA, and is noticed here. */
  readonly onWrite?: ((offset: number, length: number) => void) | undefined;
}

export interface FwCfgFile extends FwCfgItem {
  readonly name: string;
}

/** One line of `info fw_cfg`-like listings and of the directory. */
export interface FwCfgDirectoryEntry {
  readonly name: string;
  readonly size: number;
  readonly number: number;
}

function compareBytes(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** The directory item: count, then entries; big-endian, all {@link FILE_SLOTS} slots present. */
export function encodeDirectory(files: readonly FwCfgFile[]): Uint8Array {
  const bytes = new Uint8Array(4 + FILE_SLOTS * DIRECTORY_ENTRY_SIZE);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, files.length);
  files.forEach((file, index) => {
    const at = 4 + index * DIRECTORY_ENTRY_SIZE;
    view.setUint32(at, file.data.length);
    view.setUint16(at + 4, FW_CFG_FILE_FIRST + index);
    for (let i = 0; i < file.name.length; i++) bytes[at + 8 + i] = file.name.charCodeAt(i);
  });
  return bytes;
}

export class FwCfg implements Device<FwCfgState> {
  readonly name: string = 'fw_cfg';
  readonly vmstate: VmState<FwCfgState, 'dma' | 'acpiMr'> = fwCfgVmState;
  readonly state: FwCfgState = {
    curEntry: 0,
    curOffset: 0,
    dma: { dmaAddr: 0n },
    acpiMr: { tableMrSize: 0, linkerMrSize: 0, rsdpMrSize: 0 },
  };
  readonly #memory: DmaMemory;
  /** Numbered items by number; files are kept apart because their numbers shift. */
  readonly #items: Map<number, FwCfgItem> = new Map();
  readonly #files: FwCfgFile[] = [];
  /** What `curEntry` names: derived. */
  #selected: FwCfgItem | undefined;
  readonly #descriptor: Uint8Array = new Uint8Array(DESCRIPTOR_SIZE);
  readonly #descriptorView: DataView = new DataView(this.#descriptor.buffer);
  readonly #acpiSizes: FwCfgAcpiState = { tableMrSize: 0, linkerMrSize: 0, rsdpMrSize: 0 };

  constructor({ memory }: { memory: DmaMemory }) {
    this.#memory = memory;
    this.set(FW_CFG_SIGNATURE, new TextEncoder().encode('QEMU'));
    this.set(FW_CFG_ID, Uint8Array.of(VERSION_TRADITIONAL | VERSION_DMA, 0, 0, 0));
    this.set(FW_CFG_FILE_DIR, encodeDirectory([]));
  }

  /** Adds or replaces a numbered item. */
  set(number: number, data: Uint8Array, hooks: Omit<FwCfgItem, 'data'> = {}): void {
    this.#items.set(number, { data, ...hooks });
    this.#reselect();
  }

  /** Adds a file, or replaces the one of that name. Before the machine runs: later numbers of files shift. */
  addFile(name: string, data: Uint8Array, hooks: Omit<FwCfgItem, 'data'> = {}): void {
    if (name.length >= FILE_NAME_SIZE) throw new RangeError(`fw_cfg file name too long: ${name}`);
    const file: FwCfgFile = { name, data, ...hooks };
    const index = this.#files.findIndex((each) => each.name === name);
    if (index >= 0) this.#files[index] = file;
    else if (this.#files.length >= FILE_SLOTS) throw new RangeError(`no room for fw_cfg file ${name}`);
    else this.#files.push(file);
    this.#files.sort((a, b) => compareBytes(a.name, b.name));
    if (name === 'etc/acpi/tables') this.#acpiSizes.tableMrSize = data.length;
    if (name === 'etc/table-loader') this.#acpiSizes.linkerMrSize = data.length;
    if (name === 'etc/acpi/rsdp') this.#acpiSizes.rsdpMrSize = data.length;
    Object.assign(this.state.acpiMr, this.#acpiSizes);
    this.set(FW_CFG_FILE_DIR, encodeDirectory(this.#files));
  }

  /** Files in order of their numbers. */
  directory(): readonly FwCfgDirectoryEntry[] {
    return this.#files.map(({ name, data }, index) => ({
      name,
      size: data.length,
      number: FW_CFG_FILE_FIRST + index,
    }));
  }

  ports(): readonly Mapping[] {
    return [
      {
        base: 0x510,
        region: {
          name: 'fwcfg',
          size: 2,
          read8: () => this.#readByte(),
          write8: () => {},
          write16: (_offset, value) => this.#select(value),
        },
      },
      {
        base: 0x514,
        region: {
          name: 'fwcfg.dma',
          size: 8,
          read8: (offset) => DMA_SIGNATURE.charCodeAt(offset),
          write32: (offset, value) => this.#writeDmaAddress(offset, value),
        },
      },
    ];
  }

  reset(): void {
    this.#select(FW_CFG_SIGNATURE);
    this.state.dma.dmaAddr = 0n;
    Object.assign(this.state.acpiMr, this.#acpiSizes);
  }

  /** The selection callback is not run again: what it changes is in the snapshot as well. */
  afterLoad(): void {
    this.#reselect();
    Object.assign(this.state.acpiMr, this.#acpiSizes);
  }

  #find(number: number): FwCfgItem | undefined {
    const key = number & ~WRITE_CHANNEL;
    if ((key & FW_CFG_ARCH_LOCAL) === 0 && key >= FW_CFG_FILE_FIRST) {
      return this.#files[key - FW_CFG_FILE_FIRST];
    }
    return this.#items.get(key);
  }

  #reselect(): void {
    const { curEntry } = this.state;
    this.#selected = curEntry === INVALID ? undefined : this.#find(curEntry);
  }

  #select(number: number): void {
    this.state.curOffset = 0;
    this.state.curEntry = (number & NUMBER_MASK) >= FW_CFG_FILE_FIRST + FILE_SLOTS ? INVALID : number;
    this.#reselect();
    this.#selected?.onSelect?.();
  }

  /** Beyond the end, and of items that are not there, zeros are read. */
  #readByte(): number {
    const data = this.#selected?.data;
    if (data === undefined || this.state.curOffset >= data.length) return 0;
    return data[this.state.curOffset++]!;
  }

  #writeDmaAddress(offset: number, value: number): void {
    // The register is big-endian, ports are little-endian.
    const swapped =
      ((value & 0xff) << 24) | ((value & 0xff00) << 8) | ((value >>> 8) & 0xff00) | (value >>> 24);
    const half = BigInt(swapped >>> 0);
    const { dma } = this.state;
    if (offset === 0) {
      dma.dmaAddr = half << 32n;
    } else if (offset === 4) {
      const address = Number(dma.dmaAddr | half);
      dma.dmaAddr = 0n;
      this.#transfer(address);
    }
  }

  #transfer(address: number): void {
    this.#memory.read(address, this.#descriptor);
    const control = this.#descriptorView.getUint32(0);
    const length = this.#descriptorView.getUint32(4);
    const target = this.#descriptorView.getUint32(8) * 0x1_0000_0000 + this.#descriptorView.getUint32(12);
    if ((control & DMA_SELECT) !== 0) this.#select(control >>> 16);
    let result = 0;
    if ((control & DMA_READ) !== 0) this.#readTo(target, length);
    else if ((control & DMA_WRITE) !== 0) result = this.#writeFrom(target, length);
    else if ((control & DMA_SKIP) !== 0) this.#advance(length);
    this.#descriptorView.setUint32(0, result);
    this.#memory.write(address, this.#descriptor.subarray(0, 4));
  }

  /** Bytes of the selected item that are left, at most `length`. */
  #available(length: number): number {
    const left = (this.#selected?.data.length ?? 0) - this.state.curOffset;
    return Math.min(length, Math.max(0, left));
  }

  #advance(length: number): number {
    const count = this.#available(length);
    this.state.curOffset += count;
    return count;
  }

  #readTo(target: number, length: number): void {
    const start = this.state.curOffset;
    const count = this.#advance(length);
    if (count > 0) this.#memory.write(target, this.#selected!.data.subarray(start, start + count));
    // No RAM lies above 4 GiB: a guest that asks for zeros there gets none, and costs nothing.
    const end = Math.min(target + length, ADDRESS_LIMIT);
    if (target + count >= end) return;
    const zeros = new Uint8Array(Math.min(ZERO_CHUNK, end - target - count));
    for (let at = target + count; at < end; at += zeros.length) {
      this.#memory.write(at, zeros.subarray(0, Math.min(zeros.length, end - at)));
    }
  }

  #writeFrom(target: number, length: number): number {
    const item = this.#selected;
    if (!item?.onWrite || this.#available(length) !== length) {
      this.#advance(length);
      return length > 0 ? DMA_ERROR : 0;
    }
    const start = this.state.curOffset;
    this.#memory.read(target, item.data.subarray(start, start + length));
    this.#advance(length);
    item.onWrite(start, length);
    return 0;
  }
}
