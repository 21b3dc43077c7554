/**
 * -kernel with a multiboot kernel: an ELF of 32 bits, or any file whose header says where it goes. The image, the modules and
 * the Multiboot information become fw_cfg items, which the option ROM multiboot.bin copies to memory and enters. Multiboot
 * Specification 0.6.96; layout of what lies behind the kernel, addresses and words as QEMU 7.2's (hw/i386/multiboot.c).
 *
 * Not loaded: Multiboot 2, x86-64 kernels. Not told: video modes, symbols, drives, APM.
 */
import {
  dword,
  FW_CFG_INITRD_ADDR,
  FW_CFG_INITRD_DATA,
  FW_CFG_INITRD_SIZE,
  FW_CFG_KERNEL_ADDR,
  FW_CFG_KERNEL_DATA,
  FW_CFG_KERNEL_ENTRY,
  FW_CFG_KERNEL_SIZE,
  type FwCfgNumberedItem,
  KernelLoadError,
} from './kernel-items.ts';

const MAGIC = 0x1bad_b002;
/** The header lies within the first 8 KiB, on a multiple of four, and has 12 words. */
const SEARCH_BYTES = 8192 - 48;
const HAS_ADDRESSES = 0x1_0000;

/** Where the memory map goes, which the ROM asks the BIOS for, and behind it the Multiboot information. */
const MAP_ADDRESS = 0x9000;
const INFO_ADDRESS = MAP_ADDRESS + 0x500;
const INFO_BYTES = 88;
const MODULE_BYTES = 16;
const PAGE = 4096;

/** Fields of the information that are valid: memory, boot device, command line, modules, memory map, loader's name. */
const INFO_FLAGS = 0x01 | 0x02 | 0x04 | 0x08 | 0x40 | 0x200;
/** The first hard disk, whole. */
const BOOT_DEVICE = 0x8000_ffff;
const LOADER_NAME = 'qemu';

const ELF_MAGIC = 0x464c_457f;
const ELF_MACHINE = 18;
const ELF_ENTRY = 24;
const ELF_PROGRAM_HEADERS = 28;
const ELF_PROGRAM_HEADER_BYTES = 42;
const ELF_PROGRAM_HEADER_COUNT = 44;
const ELF_HEADER_BYTES = 52;
const EM_386 = 3;
const EM_X86_64 = 62;
const PT_LOAD = 1;

/** A file given with -initrd: its name with arguments behind it, and what it holds. */
export interface BootModule {
  readonly commandLine: string;
  readonly data: Uint8Array;
}

export interface MultibootOptions {
  /** File as given: messages, and the first word of the command line. */
  readonly kernelName: string;
  readonly kernel: Uint8Array;
  readonly modules: readonly BootModule[];
  readonly commandLine: string;
  /** Bytes of RAM below 4 GiB. */
  readonly lowMemory: number;
}

/** The kernel as it lies in memory. */
interface Image {
  readonly address: number;
  readonly entry: number;
  readonly bytes: Uint8Array;
}

/** Offset of the Multiboot header, or undefined. */
function headerOffset(kernel: Uint8Array): number | undefined {
  const view = viewOf(kernel);
  const end = Math.min(SEARCH_BYTES, kernel.length - 11);
  for (let at = 0; at < end; at += 4) {
    if (view.getUint32(at, true) !== MAGIC) continue;
    const sum = MAGIC + view.getUint32(at + 4, true) + view.getUint32(at + 8, true);
    if (sum % 2 ** 32 === 0) return at;
  }
  return undefined;
}

export function isMultiboot(kernel: Uint8Array): boolean {
  return headerOffset(kernel) !== undefined;
}

/** `FILE ARGUMENTS,FILE …` of -initrd, a module each; a comma in a name is doubled. */
export function moduleNames(initrd: string): string[] {
  return initrd
    .replaceAll(',,', '\0')
    .split(',')
    .map((name) => name.replaceAll('\0', ','));
}

/** Makes the items. Pure. Throws {@link KernelLoadError}. */
export function multibootItems(options: MultibootOptions): readonly FwCfgNumberedItem[] {
  const { kernel, lowMemory } = options;
  const at = headerOffset(kernel);
  if (at === undefined) throw invalid(options, 'no multiboot header');
  const view = viewOf(kernel);
  const image =
    (view.getUint32(at + 4, true) & HAS_ADDRESSES) === 0
      ? elfImage(options)
      : addressedImage(options, view, at);
  const { memory, info } = withInformation(options, image);
  if (image.address + memory.length > lowMemory) throw tooLarge(image.address + memory.length, lowMemory);
  return [
    { number: FW_CFG_KERNEL_ENTRY, data: dword(image.entry) },
    { number: FW_CFG_KERNEL_ADDR, data: dword(image.address) },
    { number: FW_CFG_KERNEL_SIZE, data: dword(memory.length) },
    { number: FW_CFG_KERNEL_DATA, data: memory },
    { number: FW_CFG_INITRD_ADDR, data: dword(INFO_ADDRESS) },
    { number: FW_CFG_INITRD_SIZE, data: dword(info.length) },
    { number: FW_CFG_INITRD_DATA, data: info },
  ];
}

// ---- the kernel

/** The header says what of the file goes where. */
function addressedImage(options: MultibootOptions, view: DataView, at: number): Image {
  const { kernel, lowMemory } = options;
  if (at + 32 > kernel.length)
    throw invalid(options, `header at ${at} ends behind the file's ${kernel.length} bytes`);
  const [headerAddress, address, loadEnd, bssEnd, entry] = [12, 16, 20, 24, 28].map((field) =>
    view.getUint32(at + field, true),
  ) as [number, number, number, number, number];
  if (headerAddress < address) throw plain('invalid load_addr address');
  if (headerAddress - address > at) throw plain('invalid header_addr address');
  const from = at - (headerAddress - address);
  if (loadEnd !== 0 && loadEnd < address) throw plain('invalid load_end_addr address');
  const size = loadEnd === 0 ? kernel.length - from : loadEnd - address;
  if (from + size > kernel.length) throw plain('fread() failed');
  if (address + size > 0xffff_ffff) throw plain('kernel does not fit in address space');
  if (bssEnd !== 0 && bssEnd < address + size) throw plain('invalid bss_end_addr address');
  const end = bssEnd === 0 ? address + size : bssEnd;
  if (end > lowMemory) throw tooLarge(end, lowMemory);
  const bytes = new Uint8Array(end - address);
  bytes.set(kernel.subarray(from, from + size));
  return { address, entry, bytes };
}

/** An ELF's loadable segments, at their physical addresses. */
function elfImage(options: MultibootOptions): Image {
  const { kernel, lowMemory } = options;
  const view = viewOf(kernel);
  if (kernel.length < ELF_HEADER_BYTES || view.getUint32(0, true) !== ELF_MAGIC) {
    throw invalid(options, 'neither addresses in its multiboot header nor an ELF');
  }
  const machine = view.getUint16(ELF_MACHINE, true);
  if (machine === EM_X86_64) throw plain('Cannot load x86-64 image, give a 32bit one.');
  if (machine !== EM_386) throw invalid(options, `ELF machine ${machine}, expected ${EM_386} (i386)`);
  const segments = loadable(options, view);
  let address = Number.POSITIVE_INFINITY;
  let end = 0;
  for (const segment of segments) {
    address = Math.min(address, segment.address);
    end = Math.max(end, segment.address + segment.memoryBytes);
  }
  if (end > lowMemory) throw tooLarge(end, lowMemory);
  const bytes = new Uint8Array(end - address);
  for (const { offset, fileBytes, address: to } of segments) {
    bytes.set(kernel.subarray(offset, offset + fileBytes), to - address);
  }
  return { address, entry: view.getUint32(ELF_ENTRY, true), bytes };
}

interface Segment {
  readonly offset: number;
  readonly address: number;
  readonly fileBytes: number;
  readonly memoryBytes: number;
}

function loadable(options: MultibootOptions, view: DataView): Segment[] {
  const { kernel } = options;
  const table = view.getUint32(ELF_PROGRAM_HEADERS, true);
  const size = view.getUint16(ELF_PROGRAM_HEADER_BYTES, true);
  const count = view.getUint16(ELF_PROGRAM_HEADER_COUNT, true);
  if (size < 32 || table + size * count > kernel.length) {
    throw invalid(
      options,
      `${count} program headers of ${size} bytes at ${table} end behind its ${kernel.length} bytes`,
    );
  }
  const segments: Segment[] = [];
  for (let i = 0; i < count; i++) {
    const at = table + i * size;
    const [type, offset, , address, fileBytes, memoryBytes] = [0, 4, 8, 12, 16, 20].map((field) =>
      view.getUint32(at + field, true),
    ) as [number, number, number, number, number, number];
    if (type !== PT_LOAD || memoryBytes === 0) continue;
    if (fileBytes > memoryBytes || offset + fileBytes > kernel.length) {
      throw invalid(
        options,
        `program header ${i}: ${fileBytes} bytes at ${offset}, ${memoryBytes} in memory`,
      );
    }
    segments.push({ offset, address, fileBytes, memoryBytes });
  }
  if (segments.length === 0) throw invalid(options, 'no segment to load');
  return segments;
}

// ---- what lies behind it

/**
 * Kernel, table of modules, command lines, loader's name; then the modules, a page boundary each. And the Multiboot
 * information, but for what the ROM fills in: memory sizes and map.
 */
function withInformation(options: MultibootOptions, image: Image): { memory: Uint8Array; info: Uint8Array } {
  const { kernelName, commandLine, modules } = options;
  const lines = modules.map((module) => cString(module.commandLine));
  lines.push(cString(`${kernelName} ${commandLine}`), cString(LOADER_NAME));
  const table = toPage(image.bytes.length);
  let at = table + modules.length * MODULE_BYTES;
  const lineAddresses = lines.map((line) => {
    const address = image.address + at;
    at += line.length;
    return address;
  });
  const starts = modules.map(({ data }) => {
    const start = toPage(at);
    at = start + data.length;
    return start;
  });
  if (image.address + at > options.lowMemory) throw tooLarge(image.address + at, options.lowMemory);

  const memory = new Uint8Array(toPage(at));
  const view = viewOf(memory);
  memory.set(image.bytes);
  lines.forEach((line, i) => {
    memory.set(line, lineAddresses[i]! - image.address);
  });
  modules.forEach(({ data }, i) => {
    const start = image.address + starts[i]!;
    memory.set(data, starts[i]!);
    const entry = table + i * MODULE_BYTES;
    view.setUint32(entry, start, true);
    view.setUint32(entry + 4, start + data.length, true);
    view.setUint32(entry + 8, lineAddresses[i]!, true);
  });
  return {
    memory,
    info: information({
      commandLine: lineAddresses[modules.length]!,
      loader: lineAddresses[modules.length + 1]!,
      modules: modules.length,
      table: image.address + table,
    }),
  };
}

function information(o: { commandLine: number; loader: number; modules: number; table: number }): Uint8Array {
  const info = new Uint8Array(INFO_BYTES);
  const view = viewOf(info);
  view.setUint32(0, INFO_FLAGS, true);
  view.setUint32(12, BOOT_DEVICE, true);
  view.setUint32(16, o.commandLine, true);
  view.setUint32(20, o.modules, true);
  view.setUint32(24, o.table, true);
  view.setUint32(48, MAP_ADDRESS, true);
  view.setUint32(64, o.loader, true);
  return info;
}

// ---- small things

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
function toPage(bytes: number): number {
  return Math.ceil(bytes / PAGE) * PAGE;
}
function cString(text: string): Uint8Array {
  return new TextEncoder().encode(`${text}\0`);
}
function plain(message: string): KernelLoadError {
  return new KernelLoadError('INVALID_HEADER', message);
}
function invalid({ kernelName }: MultibootOptions, why: string): KernelLoadError {
  return plain(`could not load kernel '${kernelName}': ${why}`);
}
function tooLarge(end: number, lowMemory: number): KernelLoadError {
  const need = `it needs memory up to ${end}, the machine has ${lowMemory} bytes`;
  return new KernelLoadError('TOO_LARGE', `kernel does not fit in memory: ${need} (see -m)`);
}
