/**
 * What a pc-i440fx-7.2 tells its firmware through fw_cfg, apart from ACPI and SMBIOS tables. Facts: QEMU 7.2
 * hw/i386/fw_cfg.c, hw/nvram/fw_cfg.c, hw/i386/pc.c.
 *
 * Left out, because empty there: `etc/tpm/log`, `etc/extra-pci-roots` (only with expander bridges),
 * `genroms/kvmvapic.bin` (patches Windows XP for KVM), NUMA nodes, -acpitable and -smbios entries.
 */
import type { FwCfg } from './fw-cfg.ts';
import { FW_CFG_ARCH_LOCAL } from './fw-cfg.ts';

export const FW_CFG_UUID = 0x02;
export const FW_CFG_RAM_SIZE = 0x03;
export const FW_CFG_NOGRAPHIC = 0x04;
export const FW_CFG_NB_CPUS = 0x05;
export const FW_CFG_BOOT_DEVICE = 0x0c;
export const FW_CFG_NUMA = 0x0d;
export const FW_CFG_BOOT_MENU = 0x0e;
export const FW_CFG_MAX_CPUS = 0x0f;
const FW_CFG_ACPI_TABLES = FW_CFG_ARCH_LOCAL + 0;
const FW_CFG_IRQ0_OVERRIDE = FW_CFG_ARCH_LOCAL + 2;
const FW_CFG_HPET = FW_CFG_ARCH_LOCAL + 4;

/** e820 types, ACPI specification 15. */
export const E820_RAM = 1;
export const E820_RESERVED = 2;

export interface E820Entry {
  readonly address: number;
  readonly length: number;
  readonly type: number;
}

/** `etc/e820`: 20 bytes an entry, little-endian. */
export function encodeE820(entries: readonly E820Entry[]): Uint8Array {
  const bytes = new Uint8Array(entries.length * 20);
  const view = new DataView(bytes.buffer);
  entries.forEach(({ address, length, type }, index) => {
    view.setBigUint64(index * 20, BigInt(address), true);
    view.setBigUint64(index * 20 + 8, BigInt(length), true);
    view.setUint32(index * 20 + 16, type, true);
  });
  return bytes;
}

/** `value` as `size` (1 to 8) little-endian bytes. */
export function littleEndian(value: number, size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  let rest = value;
  for (let i = 0; i < size; i++) {
    bytes[i] = rest % 256;
    rest = Math.floor(rest / 256);
  }
  return bytes;
}

/** Zero-terminated bytes of an ASCII (or UTF-8) string. */
export function zeroTerminated(text: string): Uint8Array {
  const bytes = new TextEncoder().encode(text);
  const result = new Uint8Array(bytes.length + 1);
  result.set(bytes);
  return result;
}

export interface OptionRom {
  /** Directory entry: `genroms/NAME` or `vgaroms/NAME`. */
  readonly file: string;
  readonly data: Uint8Array;
  /** Put first into `bootorder` (linuxboot.bin). */
  readonly bootFirst?: boolean;
}

export interface FwCfgOptions {
  /** Guest RAM in bytes, all of it below 4 GiB. */
  readonly ramSize: number;
  /** -boot menu=on. */
  readonly bootMenu?: boolean;
  /** -boot splash-time=MS: how long the menu prompt waits. */
  readonly bootMenuWaitMs?: number;
  /** -boot reboot-timeout=MS; default -1: do not reboot. */
  readonly bootFailWaitMs?: number;
  /** OpenFirmware paths in order, where devices have a bootindex. */
  readonly bootOrder?: readonly string[];
  /** 16 bytes, -uuid. */
  readonly uuid?: Uint8Array;
  /** No display (-nographic): SeaBIOS then copies its messages to the serial port. */
  readonly noGraphic?: boolean;
  readonly optionRoms?: readonly OptionRom[];
  readonly suspendToRam?: boolean;
  readonly suspendToDisk?: boolean;
}

/** `etc/system-states`: six bytes, one a sleep state; bit 7 set if there, low bits SLP_TYP. */
export function systemStates(suspendToRam: boolean, suspendToDisk: boolean): Uint8Array {
  return Uint8Array.of(0x80, 0, 0, suspendToRam ? 0x81 : 0x01, suspendToDisk ? 0x82 : 0x02, 0x80);
}

/** `bootorder`: lines, zero-terminated; nothing at all when no device has a boot index. */
export function encodeBootOrder(paths: readonly string[]): Uint8Array {
  return paths.length === 0 ? new Uint8Array(0) : zeroTerminated(paths.join('\n'));
}

/** Adds all items and files described by `options`. */
export function addMachineItems(fwCfg: FwCfg, options: FwCfgOptions): void {
  fwCfg.set(FW_CFG_UUID, options.uuid ?? new Uint8Array(16));
  fwCfg.set(FW_CFG_RAM_SIZE, littleEndian(options.ramSize, 8));
  fwCfg.set(FW_CFG_NOGRAPHIC, littleEndian(options.noGraphic ? 1 : 0, 2));
  fwCfg.set(FW_CFG_NB_CPUS, littleEndian(1, 2));
  fwCfg.set(FW_CFG_MAX_CPUS, littleEndian(1, 2));
  fwCfg.set(FW_CFG_BOOT_MENU, littleEndian(options.bootMenu ? 1 : 0, 2));
  // One word for the number of nodes, one for CPU 0's node.
  fwCfg.set(FW_CFG_NUMA, new Uint8Array(16));
  fwCfg.set(FW_CFG_ACPI_TABLES, new Uint8Array(0));
  // The timer's interrupt 0 arrives at I/O APIC pin 2.
  fwCfg.set(FW_CFG_IRQ0_OVERRIDE, littleEndian(1, 4));
  // Count 0xff: there is no HPET. The structure is 1 + 8 × 15 bytes.
  const hpet = new Uint8Array(121);
  hpet[0] = 0xff;
  fwCfg.set(FW_CFG_HPET, hpet);

  fwCfg.addFile('etc/e820', encodeE820([{ address: 0, length: options.ramSize, type: E820_RAM }]));
  fwCfg.addFile('etc/boot-fail-wait', littleEndian((options.bootFailWaitMs ?? -1) >>> 0, 4));
  if (options.bootMenuWaitMs !== undefined) {
    fwCfg.addFile('etc/boot-menu-wait', littleEndian(options.bootMenuWaitMs, 2));
  }
  fwCfg.addFile(
    'etc/system-states',
    systemStates(options.suspendToRam ?? true, options.suspendToDisk ?? true),
  );
  const optionRoms = options.optionRoms ?? [];
  for (const rom of optionRoms) fwCfg.addFile(rom.file, rom.data);
  const first = optionRoms.filter((rom) => rom.bootFirst).map((rom) => `/rom@${rom.file}`);
  fwCfg.addFile('bootorder', encodeBootOrder([...first, ...(options.bootOrder ?? [])]));
  fwCfg.addFile('bios-geometry', new Uint8Array(0));
}
