/**
 * Gives the firmware its ACPI tables: three fw_cfg files that lie in RAM blocks of their own, since QEMU migrates them.
 *
 * As in QEMU (hw/i386/acpi-build.c) the tables are made again when the firmware first selects one of the files after a
 * reset: by then it has mapped the registers whose ports the tables name. A guest that was booted elsewhere and comes
 * here by a snapshot keeps the tables it was booted with.
 */
import type { Device } from '../../machine/device.ts';
import { u8, type VmState } from '../../migration/vmstate.ts';
import type { FwCfg } from '../fw-cfg.ts';
import type { DsdtOptions } from './dsdt.ts';
import { buildAcpiTables, LOADER_FILE, RSDP_FILE, TABLES_FILE } from './tables.ts';

/** A RAM block on the stream: what it is called, how long it is now, how long QEMU lets it grow. Bytes. */
export interface AcpiRamBlock {
  readonly name: string;
  readonly usedLength: number;
  readonly maxLength: number;
}

/** Sizes of QEMU 7.2 for a machine without hot-plug slots; the RSDP's file is 20 bytes of its page. */
export const ACPI_TABLES_BLOCK: AcpiRamBlock = {
  name: '/rom@etc/acpi/tables',
  usedLength: 0x20000,
  maxLength: 0x200000,
};
export const ACPI_LOADER_BLOCK: AcpiRamBlock = {
  name: '/rom@etc/table-loader',
  usedLength: 0x1000,
  maxLength: 0x10000,
};
export const ACPI_RSDP_BLOCK: AcpiRamBlock = {
  name: '/rom@etc/acpi/rsdp',
  usedLength: 0x1000,
  maxLength: 0x1000,
};
const RSDP_FILE_SIZE = 20;

export interface AcpiBuildState {
  /** 1 once the tables were made for the firmware that runs. */
  patched: number;
}

/** Stream section `acpi_build` (QEMU 7.2 hw/i386/acpi-build.c). */
export const acpiBuildVmState: VmState<AcpiBuildState> = {
  name: 'acpi_build',
  version: 1,
  minimumVersion: 1,
  fields: { patched: u8() },
};

export interface AcpiBuildOptions {
  readonly dsdt: DsdtOptions;
  /** The RAM blocks' bytes, `usedLength` each. */
  readonly tables: Uint8Array;
  readonly loader: Uint8Array;
  readonly rsdp: Uint8Array;
  /** Port of the PM1 registers now ({@link import('../pci/piix4-pm.ts').Piix4Pm.pmIoBase}). */
  readonly pmIoBase: () => number;
  readonly fwCfg: FwCfg;
  /** The blocks are about to be written: the machine marks their pages dirty. */
  readonly beforeBuild?: () => void;
}

function fill(target: Uint8Array, source: Uint8Array, what: string): void {
  if (source.length > target.length) throw new RangeError(`${what}: ${source.length} bytes of tables`);
  target.set(source);
  target.fill(0, source.length);
}

export class AcpiBuild implements Device<AcpiBuildState> {
  readonly name: string = 'acpi_build';
  readonly vmstate: VmState<AcpiBuildState> = acpiBuildVmState;
  readonly state: AcpiBuildState = { patched: 0 };
  readonly #options: AcpiBuildOptions;

  constructor(options: AcpiBuildOptions) {
    this.#options = options;
    const onSelect = (): void => this.#selected();
    options.fwCfg.addFile(TABLES_FILE, options.tables, { onSelect });
    options.fwCfg.addFile(LOADER_FILE, options.loader, { onSelect });
    options.fwCfg.addFile(RSDP_FILE, options.rsdp.subarray(0, RSDP_FILE_SIZE), { onSelect });
  }

  reset(): void {
    this.state.patched = 0;
    this.#build();
  }

  #selected(): void {
    if (this.state.patched !== 0) return;
    this.state.patched = 1;
    this.#build();
  }

  #build(): void {
    const { dsdt, tables, loader, rsdp, pmIoBase, beforeBuild } = this.#options;
    const built = buildAcpiTables({ ...dsdt, pmIoBase: pmIoBase() });
    beforeBuild?.();
    fill(tables, built.tables, TABLES_FILE);
    fill(loader, built.loader, LOADER_FILE);
    fill(rsdp, built.rsdp, RSDP_FILE);
  }
}
