import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  FW_CFG_INITRD_DATA,
  FW_CFG_KERNEL_DATA,
  FW_CFG_KERNEL_ENTRY,
  KernelLoadError,
} from './kernel-items.ts';
import { kernelItems, kernelKind } from './kernel-loader.ts';
import { type BootModule, isMultiboot, moduleNames, multibootItems } from './multiboot-loader.ts';

const LOAD = 0x100000;
const MIB = 1 << 20;
const HAS_ADDRESSES = 0x10000;

function words(...values: number[]): Uint8Array {
  const bytes = new Uint8Array(values.length * 4);
  const view = new DataView(bytes.buffer);
  values.forEach((value, i) => {
    view.setUint32(i * 4, value, true);
  });
  return bytes;
}
function joined(length: number, ...parts: [number, Uint8Array][]): Uint8Array {
  const bytes = new Uint8Array(length);
  for (const [at, part] of parts) bytes.set(part, at);
  return bytes;
}

/** Header at 16, loaded whole; 64 bytes of zeros behind it. */
interface Addresses {
  readonly header?: number;
  readonly load?: number;
  readonly loadEnd?: number;
  readonly bssEnd?: number;
}
function addressed({
  header = LOAD + 16,
  load = LOAD,
  loadEnd = 0,
  bssEnd = LOAD + 256 + 64,
}: Addresses = {}) {
  const magic = [0x1badb002, HAS_ADDRESSES, -(0x1badb002 + HAS_ADDRESSES)];
  return joined(
    256,
    [16, words(...magic, header, load, loadEnd, bssEnd, LOAD + 48)],
    [48, words(0xfeebfeeb)],
  );
}

/** Two segments with a gap; the second ends in zeros. */
function elf({ machine = 3, offset = 0x400, size = 16, inMemory = 64, headers = 2 } = {}): Uint8Array {
  return joined(
    2048,
    [0, words(0x464c457f, 0x010101, 0, 0, 2 + machine * 65536, 1, LOAD + 0x20, 52, 0, 0)],
    [40, words(52 + 32 * 65536, headers, 0)],
    [42, words(32 + headers * 65536)],
    [52, words(1, 0x300, 0xc0000000, LOAD, 32, 32, 5, 4096)],
    [84, words(1, offset, 0xc0001000, LOAD + 0x1000, size, inMemory, 6, 4096)],
    [128, words(0x1badb002, 0, -0x1badb002)],
    [0x300, words(0x11111111)],
    [0x400, words(0x22222222)],
  );
}

const base = { kernelName: 'k', modules: [] as BootModule[], commandLine: '', lowMemory: 16 * MIB };
const load = (kernel: Uint8Array, more: Partial<typeof base> = {}) => {
  const items = multibootItems({ ...base, ...more, kernel });
  const item = (number: number) => items.find((i) => i.number === number)!.data;
  const view = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return {
    memory: view(item(FW_CFG_KERNEL_DATA)),
    info: view(item(FW_CFG_INITRD_DATA)),
    entry: view(item(FW_CFG_KERNEL_ENTRY)).getUint32(0, true),
  };
};
const refusal = (kernel: Uint8Array, more: Partial<typeof base> = {}): string => {
  try {
    load(kernel, more);
  } catch (error) {
    expect(error).toBeInstanceOf(KernelLoadError);
    return (error as Error).message;
  }
  return '';
};

describe('multiboot kernels', () => {
  it('are told from Linux', () => {
    expect(kernelKind(addressed())).toBe('multiboot');
    expect(kernelKind(new Uint8Array(4096))).toBe('linux');
    expect(isMultiboot(joined(9000, [8188, addressed()]))).toBe(false);
    const { rom } = kernelItems({ kernelName: 'k', kernel: elf(), commandLine: '', lowMemory: MIB * 4 });
    expect(rom).toBe('genroms/multiboot_dma.bin');
  });

  it('go where the header says, zeros behind', () => {
    const { memory, entry } = load(addressed());
    expect(entry).toBe(LOAD + 48);
    expect(memory.getUint32(48, true)).toBe(0xfeebfeeb);
    expect(memory.byteLength).toBe(8192);
  });

  it('go where an ELF’s segments say', () => {
    const { memory, entry } = load(elf());
    expect(entry).toBe(LOAD + 0x20);
    expect(memory.getUint32(0, true)).toBe(0x11111111);
    expect(memory.getUint32(0x1000, true)).toBe(0x22222222);
    expect(memory.getUint32(0x1010, true)).toBe(0);
  });

  it('have modules and command lines behind them', () => {
    const modules = [
      { commandLine: 'one x', data: Uint8Array.of(1, 2, 3) },
      { commandLine: 'two', data: new Uint8Array(0) },
    ];
    const { memory, info } = load(addressed(), { modules, commandLine: 'a b' });
    const text = (address: number) => {
      const bytes = new Uint8Array(memory.buffer, memory.byteOffset + address - LOAD);
      return Buffer.from(bytes.subarray(0, bytes.indexOf(0))).toString();
    };
    expect(text(info.getUint32(16, true))).toBe('k a b');
    expect(text(info.getUint32(64, true))).toBe('qemu');
    expect(info.getUint32(20, true)).toBe(2);
    const table = info.getUint32(24, true) - LOAD;
    expect(table).toBe(4096);
    const [start, end, line] = [0, 4, 8].map((field) => memory.getUint32(table + field, true));
    expect([start! % 4096, end! - start!, text(line!)]).toEqual([0, 3, 'one x']);
    expect(memory.getUint8(start! - LOAD + 2)).toBe(3);
    expect(moduleNames('one x,a,,b y,c')).toEqual(['one x', 'a,b y', 'c']);
  });

  it('are refused in QEMU’s words, or with what is wrong', () => {
    expect(refusal(addressed({ header: LOAD - 4 }))).toBe('invalid load_addr address');
    expect(refusal(addressed({ header: LOAD + 20 }))).toBe('invalid header_addr address');
    expect(refusal(addressed({ loadEnd: LOAD - 1 }))).toBe('invalid load_end_addr address');
    expect(refusal(addressed({ loadEnd: LOAD + 257 }))).toBe('fread() failed');
    expect(refusal(addressed({ bssEnd: LOAD + 1 }))).toBe('invalid bss_end_addr address');
    expect(refusal(addressed({ bssEnd: 0x7fffffff }))).toContain('kernel does not fit in memory');
    expect(refusal(elf({ machine: 62 }))).toBe('Cannot load x86-64 image, give a 32bit one.');
    expect(refusal(elf({ machine: 8 }))).toContain('ELF machine 8, expected 3 (i386)');
    expect(refusal(elf({ offset: 2040 }))).toContain('program header 1: 16 bytes at 2040');
    expect(refusal(elf({ size: 65 }))).toContain('program header 1: 65 bytes at 1024, 64 in memory');
    expect(refusal(elf({ inMemory: 0xf0000000 }))).toContain('kernel does not fit in memory');
    expect(refusal(elf({ headers: 100 }))).toContain('100 program headers');
    expect(refusal(elf(), { lowMemory: MIB })).toContain('kernel does not fit in memory');
  });

  it('of any bytes are loaded within RAM, or refused', () => {
    const edits = fc.array(fc.tuple(fc.nat(160), fc.oneof(fc.nat(255), fc.constantFrom(0, 255, 128))), {
      maxLength: 6,
    });
    fc.assert(
      fc.property(fc.boolean(), edits, fc.nat(2048), (isElf, changes, cut) => {
        const kernel = isElf ? elf() : addressed();
        for (const [at, value] of changes) kernel[at] = value;
        const shorter = cut % 3 === 0 ? kernel.slice(0, cut) : kernel;
        if (refusal(shorter) === '') expect(load(shorter).memory.byteLength).toBeLessThanOrEqual(16 * MIB);
      }),
      { numRuns: 2000 },
    );
  });
});
