/**
 * -kernel: turns a Linux bzImage, an initial RAM disk and a command line into fw_cfg items, which the option ROM
 * linuxboot.bin copies to memory and jumps to. Boot protocol: Linux Documentation/x86/boot.rst; addresses and limits as
 * QEMU 7.2's (hw/i386/x86.c, x86_load_linux).
 *
 * Not loaded: kernels before boot protocol 2.00 (1995), device trees.
 */
import {
  dword,
  FW_CFG_CMDLINE_ADDR,
  FW_CFG_CMDLINE_DATA,
  FW_CFG_CMDLINE_SIZE,
  FW_CFG_INITRD_ADDR,
  FW_CFG_INITRD_DATA,
  FW_CFG_INITRD_SIZE,
  FW_CFG_KERNEL_ADDR,
  FW_CFG_KERNEL_DATA,
  FW_CFG_KERNEL_SIZE,
  FW_CFG_SETUP_ADDR,
  FW_CFG_SETUP_DATA,
  FW_CFG_SETUP_SIZE,
  type FwCfgNumberedItem,
  KernelLoadError,
} from './kernel-items.ts';

// Setup header.
const SETUP_SECTORS = 0x1f1;
const VIDEO_MODE = 0x1fa;
const MAGIC = 0x202;
const PROTOCOL = 0x206;
const LOADER_TYPE = 0x210;
const LOAD_FLAGS = 0x211;
const INITRD_ADDRESS = 0x218;
const INITRD_SIZE = 0x21c;
const HEAP_END = 0x224;
const COMMAND_LINE = 0x228;
const INITRD_ADDRESS_MAX = 0x22c;
const EXTENDED_LOAD_FLAGS = 0x236;
const SETUP_DATA = 0x250;
const HEADER_END = 0x268;

/** "HdrS". */
const HEADER_MAGIC = 0x5372_6448;
const LOADED_HIGH = 0x01;
const CAN_USE_HEAP = 0x80;
const LOADABLE_ABOVE_4G = 0x02;
/** Boot loader type B: QEMU. */
const LOADER_QEMU = 0xb0;
const SETUP_RNG_SEED = 9;

/** Bytes that QEMU leaves free at the top of RAM, where SeaBIOS puts the ACPI tables. */
export const ACPI_DATA_SIZE = 0x28000;
/** Largest initrd address of kernels that do not name one. */
const DEFAULT_INITRD_MAX = 0x37ff_ffff;

export interface LinuxOptions {
  /** File as given, for messages. */
  readonly kernelName: string;
  readonly kernel: Uint8Array;
  readonly initrd?: Uint8Array;
  readonly commandLine: string;
  /** Bytes of RAM below 4 GiB. */
  readonly lowMemory: number;
  /** 32 bytes that seed the kernel's random numbers; none: the kernel gathers its own (and boots repeatably). */
  readonly rngSeed?: Uint8Array;
}

/** Where the parts go, by protocol version. */
function placement(protocol: number, loadFlags: number, commandLineSize: number) {
  if ((loadFlags & LOADED_HIGH) === 0) {
    return { setup: 0x90000, commandLine: 0x9a000 - commandLineSize, kernel: 0x10000 };
  }
  if (protocol < 0x202) return { setup: 0x90000, commandLine: 0x9a000 - commandLineSize, kernel: 0x100000 };
  return { setup: 0x10000, commandLine: 0x20000, kernel: 0x100000 };
}

/** Highest address that the initrd's last byte may have. */
function initrdLimit(header: DataView, protocol: number, lowMemory: number): number {
  let limit = DEFAULT_INITRD_MAX;
  if (protocol >= 0x20c && (header.getUint16(EXTENDED_LOAD_FLAGS, true) & LOADABLE_ABOVE_4G) !== 0) {
    limit = 0xffff_ffff;
  } else if (protocol >= 0x203) {
    limit = header.getUint32(INITRD_ADDRESS_MAX, true);
  }
  return Math.min(limit, lowMemory - ACPI_DATA_SIZE - 1);
}

/** Value of `vga=` on the command line, or undefined. */
function videoMode(commandLine: string): number | undefined {
  const at = commandLine.indexOf('vga=');
  if (at < 0) return undefined;
  const value = commandLine.slice(at + 4);
  if (value.startsWith('normal')) return 0xffff;
  if (value.startsWith('ext')) return 0xfffe;
  if (value.startsWith('ask')) return 0xfffd;
  const word = value.split(' ', 1)[0]!;
  const match = /^(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)$/.exec(word);
  if (!match) throw new KernelLoadError('INVALID_VGA', "invalid 'vga=' kernel parameter.");
  const octal = /^0[0-7]+$/.test(word);
  return (octal ? Number.parseInt(word, 8) : Number(word)) & 0xffff;
}

/** Appends a `setup_data` node with the seed behind the kernel; gives the kernel and the node's offset. */
function appendSeed(kernel: Uint8Array, seed: Uint8Array): { data: Uint8Array; offset: number } {
  const offset = Math.ceil(kernel.length / 16) * 16;
  const data = new Uint8Array(offset + 16 + seed.length);
  data.set(kernel);
  const view = new DataView(data.buffer);
  view.setUint32(offset + 8, SETUP_RNG_SEED, true);
  view.setUint32(offset + 12, seed.length, true);
  data.set(seed, offset + 16);
  return { data, offset };
}

/** A bzImage, or a zImage, has the setup header of boot protocol 2.00 and later. */
export function isLinux(kernel: Uint8Array): boolean {
  if (kernel.length < HEADER_END) return false;
  return new DataView(kernel.buffer, kernel.byteOffset).getUint32(MAGIC, true) === HEADER_MAGIC;
}

/** Bytes of the real-mode part, from its sector count. */
function setupSize(options: LinuxOptions): number {
  const { kernel, kernelName } = options;
  if (!isLinux(kernel)) {
    const message = `could not load kernel '${kernelName}': neither a Linux bzImage nor a multiboot kernel`;
    throw new KernelLoadError('NOT_A_KERNEL', message);
  }
  const size = ((kernel[SETUP_SECTORS]! || 4) + 1) * 512;
  if (size > kernel.length) throw new KernelLoadError('INVALID_HEADER', 'invalid kernel header');
  return size;
}

/** Makes the items. Pure; the given arrays are not changed. */
export function linuxItems(options: LinuxOptions): readonly FwCfgNumberedItem[] {
  const split = setupSize(options);
  const setup = options.kernel.slice(0, split);
  let kernel = options.kernel.subarray(split);
  const header = new DataView(setup.buffer);
  const protocol = header.getUint16(PROTOCOL, true);
  const commandLine = new TextEncoder().encode(`${options.commandLine}\0`);
  // QEMU reserves the length rounded up to 16 bytes, terminating zero included.
  const reserved = (commandLine.length + 15) & ~15;
  const place = placement(protocol, setup[LOAD_FLAGS]!, reserved);

  if (protocol >= 0x202) {
    header.setUint32(COMMAND_LINE, place.commandLine, true);
  } else {
    header.setUint16(0x20, 0xa33f, true);
    header.setUint16(0x22, place.commandLine - place.setup, true);
  }
  const mode = videoMode(options.commandLine);
  if (mode !== undefined) header.setUint16(VIDEO_MODE, mode, true);
  setup[LOADER_TYPE] = LOADER_QEMU;
  if (protocol >= 0x201) {
    setup[LOAD_FLAGS] = setup[LOAD_FLAGS]! | CAN_USE_HEAP;
    header.setUint16(HEAP_END, (place.commandLine - place.setup - 0x200) & 0xffff, true);
  }
  const initrd = initrdItems(options, header, protocol);
  if (options.rngSeed && protocol >= 0x209) {
    const seeded = appendSeed(kernel, options.rngSeed);
    kernel = seeded.data;
    header.setUint32(SETUP_DATA, place.kernel + seeded.offset, true);
  }
  return [
    { number: FW_CFG_CMDLINE_ADDR, data: dword(place.commandLine) },
    { number: FW_CFG_CMDLINE_SIZE, data: dword(commandLine.length) },
    { number: FW_CFG_CMDLINE_DATA, data: commandLine },
    ...initrd,
    { number: FW_CFG_KERNEL_ADDR, data: dword(place.kernel) },
    { number: FW_CFG_KERNEL_SIZE, data: dword(kernel.length) },
    { number: FW_CFG_KERNEL_DATA, data: kernel },
    { number: FW_CFG_SETUP_ADDR, data: dword(place.setup) },
    { number: FW_CFG_SETUP_SIZE, data: dword(setup.length) },
    { number: FW_CFG_SETUP_DATA, data: setup },
  ];
}

/** Places the initrd as high as the kernel allows, and tells the kernel. */
function initrdItems(options: LinuxOptions, header: DataView, protocol: number): FwCfgNumberedItem[] {
  const { initrd } = options;
  if (!initrd) return [];
  const limit = initrdLimit(header, protocol, options.lowMemory);
  if (initrd.length >= limit) {
    throw new KernelLoadError(
      'INITRD_TOO_LARGE',
      `initrd is too large, cannot support.(max: ${limit}, need ${initrd.length})`,
    );
  }
  const address = (limit - initrd.length) & ~0xfff;
  header.setUint32(INITRD_ADDRESS, address, true);
  header.setUint32(INITRD_SIZE, initrd.length, true);
  return [
    { number: FW_CFG_INITRD_ADDR, data: dword(address >>> 0) },
    { number: FW_CFG_INITRD_SIZE, data: dword(initrd.length) },
    { number: FW_CFG_INITRD_DATA, data: initrd },
  ];
}
