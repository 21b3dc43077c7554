/** Where the machine's memories lie in its one WebAssembly.Memory: state and records, video memory, ROMs, ACPI blocks, RAM. */
import { ACPI_LOADER_BLOCK, ACPI_RSDP_BLOCK, ACPI_TABLES_BLOCK } from '../../devices/acpi/acpi-build.ts';
import { VGA_ROM_SIZE, VRAM_SIZE } from '../../devices/vga/vga.ts';
import { RECORDS_END } from '../cpu/layout.ts';

/** Option ROM area C0000–DFFFF: QEMU's block `pc.rom`. */
export const OPTION_ROM_BYTES = 0x20000;
/** Largest guest RAM: the PCI hole begins at 3.5 GiB (and a WebAssembly.Memory ends at 4 GiB). */
export const MAX_RAM_BYTES = 3 * 1024 ** 3;
const WASM_PAGE = 65536;

export interface Area {
  readonly address: number;
  readonly size: number;
}

export interface MemoryPlan {
  readonly vram: Area;
  readonly vgaRom: Area;
  readonly optionRom: Area;
  readonly bios: Area;
  readonly acpiTables: Area;
  readonly acpiLoader: Area;
  readonly acpiRsdp: Area;
  readonly ram: Area;
  /** WebAssembly pages of 64 KiB. */
  readonly pages: number;
}

/** Bytes, all multiples of 4096. */
export function planMemory(ramBytes: number, biosBytes: number): MemoryPlan {
  let next = RECORDS_END;
  const take = (size: number, alignment = 4096): Area => {
    const address = Math.ceil(next / alignment) * alignment;
    next = address + size;
    return { address, size };
  };
  const vram = take(VRAM_SIZE, WASM_PAGE);
  const vgaRom = take(VGA_ROM_SIZE);
  const optionRom = take(OPTION_ROM_BYTES);
  const bios = take(biosBytes);
  const acpiTables = take(ACPI_TABLES_BLOCK.usedLength);
  const acpiLoader = take(ACPI_LOADER_BLOCK.usedLength);
  const acpiRsdp = take(ACPI_RSDP_BLOCK.usedLength);
  const ram = take(ramBytes, WASM_PAGE);
  return {
    vram,
    vgaRom,
    optionRom,
    bios,
    acpiTables,
    acpiLoader,
    acpiRsdp,
    ram,
    pages: Math.ceil(next / WASM_PAGE),
  };
}
