/** What a machine is made of. Everything that touches files or the host comes in from outside, opened and read. */
import type { KernelKind } from '../devices/kernel-loader.ts';
import type { BootModule } from '../devices/multiboot-loader.ts';
import type { BlockNode } from '../block/block-node.ts';
import type { CharSink } from './device.ts';
import type { HostServices } from './host-services.ts';
import type { IcountOptions } from './virtual-clock.ts';

/** `none`: an image that no device shows to the guest; snapshots include it, and it may hold the VM state (`-drive if=none`). */
export type MediumKind = 'disk' | 'cdrom' | 'floppy' | 'none';

export interface DriveOptions {
  /** QEMU's name: `ide0-hd0`, `ide1-cd0`, `floppy0`. */
  readonly device: string;
  readonly kind: MediumKind;
  /** IDE: primary master 0 … secondary slave 3. Floppy: A 0, B 1. None: counted from 0. */
  readonly index: number;
  /** Name of the block node in QMP; made up if absent. */
  readonly nodeName?: string;
  /** Undefined: an empty CD or floppy drive. */
  readonly node: BlockNode | undefined;
  /** First 512 bytes, from which geometry is guessed; Machine.create reads them where they are not given. */
  readonly firstSector?: Uint8Array;
  /** Serial number in IDENTIFY; default QM0000n. */
  readonly serial?: string;
  /** `discard=unmap`: what the guest trims is given back. */
  readonly discard?: boolean;
}

export interface NamedFile {
  readonly name: string;
  readonly data: Uint8Array;
}

export interface RtcConfig {
  /** Date at power-on, seconds since 1970. */
  readonly baseSeconds: number;
  /** What the clock follows: the host's wall clock, virtual time, or the host's monotonic time. */
  readonly clock: 'host' | 'vm' | 'rt';
}

export interface MachineOptions {
  readonly machineType?: string;
  /** Guest RAM, bytes; a multiple of 64 KiB. */
  readonly ramBytes: number;
  readonly cpuModel?: string;
  /** System firmware, mapped to end at 4 GiB. */
  readonly bios: NamedFile;
  /** VGA BIOS; none when the system firmware brings its own. */
  readonly vgaRom?: Uint8Array;
  /** Option ROMs that start `kernel`. */
  readonly kernelRoms?: Readonly<Record<KernelKind, Uint8Array>>;
  /** A Linux bzImage or a multiboot kernel. */
  readonly kernel?: NamedFile;
  /** Linux only. */
  readonly initrd?: Uint8Array;
  /** Multiboot only. */
  readonly modules?: readonly BootModule[];
  readonly commandLine?: string;
  readonly vga: 'std' | 'none';
  readonly drives: readonly DriveOptions[];
  /** COM1, COM2, …: where output goes; undefined leaves the port out. */
  readonly serials: readonly (CharSink | undefined)[];
  /** LPT1: where what is printed goes; undefined leaves the port out. */
  readonly parallel?: CharSink | undefined;
  /** `-boot order=`; default "cad". */
  readonly bootOrder?: string;
  readonly bootMenu?: boolean;
  readonly bootMenuWaitMs?: number;
  readonly icount?: IcountOptions;
  readonly rtc: RtcConfig;
  readonly noReboot?: boolean;
  readonly noShutdown?: boolean;
  readonly noGraphic?: boolean;
  readonly debugExit?: { readonly iobase: number; readonly iosize: number };
  /** Bytes that firmware writes to port 0x402. */
  readonly onDebugByte?: (byte: number) => void;
  readonly uuid?: Uint8Array;
  readonly host: HostServices;
}
