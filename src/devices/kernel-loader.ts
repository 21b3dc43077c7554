/** -kernel: tells a Linux kernel from a multiboot one, in QEMU's order (hw/i386/x86.c, x86_load_linux). */
import type { FwCfgNumberedItem } from './kernel-items.ts';
import { isLinux, linuxItems } from './linux-loader.ts';
import { type BootModule, isMultiboot, multibootItems } from './multiboot-loader.ts';

export type KernelKind = 'linux' | 'multiboot';

/** What is not a multiboot kernel counts as Linux, and is refused as such. */
export function kernelKind(kernel: Uint8Array): KernelKind {
  return !isLinux(kernel) && isMultiboot(kernel) ? 'multiboot' : 'linux';
}

export interface KernelOptions {
  /** File as given. */
  readonly kernelName: string;
  readonly kernel: Uint8Array;
  /** Linux: the initial RAM disk. */
  readonly initrd?: Uint8Array;
  /** Multiboot: the modules. */
  readonly modules?: readonly BootModule[];
  readonly commandLine: string;
  /** Bytes of RAM below 4 GiB. */
  readonly lowMemory: number;
}

/** The items, and under which name QEMU has the option ROM for them. Throws KernelLoadError. */
export function kernelItems(options: KernelOptions): { rom: string; items: readonly FwCfgNumberedItem[] } {
  const { modules = [], initrd, ...common } = options;
  if (kernelKind(options.kernel) === 'multiboot') {
    return { rom: 'genroms/multiboot_dma.bin', items: multibootItems({ ...common, modules }) };
  }
  return {
    rom: 'genroms/linuxboot_dma.bin',
    items: linuxItems({ ...common, ...(initrd === undefined ? {} : { initrd }) }),
  };
}
