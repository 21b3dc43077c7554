/**
 * The hot-plug register blocks that QEMU's PIIX4 has beside the chip's own: PCI slots at 0xae00, CPUs at 0xaf00.
 * (Memory's at 0xa00 is not there while there are no DIMM slots, but its state is on the stream.) Specifications: QEMU
 * docs/specs/acpi_{pci,cpu,mem}_hotplug.
 *
 * This machine plugs nothing: the blocks answer what QEMU answers for a machine of one CPU with nothing
 * pending. They are here because a guest booted under QEMU has QEMU's DSDT in memory, whose methods access them.
 */
import type { Mapping } from '../../machine/device.ts';
import { bool, struct, structs, u8, u32, type VmState } from '../../migration/vmstate.ts';

/** Buses that QEMU has state for. */
export const HOTPLUG_BUS_COUNT = 256;

export interface PciHotplugStatus {
  up: number;
  down: number;
}

/** QEMU 7.2 hw/acpi/pcihp.c. */
export const pciHotplugStatusVmState: VmState<PciHotplugStatus> = {
  name: 'acpi_pcihp_pci_status',
  version: 1,
  minimumVersion: 1,
  fields: { up: u32(), down: u32() },
};

export interface PciHotplugState {
  hotplugSelect: number;
  readonly pciStatus: readonly PciHotplugStatus[];
  acpiIndex: number;
}

export interface MemoryHotplugState {
  selector: number;
}

/** Subsection `piix4_pm/memhp`: always there, the number of DIMM slots being 0. */
export interface MemoryHotplugSubsection {
  readonly acpiMemoryHotplug: MemoryHotplugState;
}

export const memoryHotplugVmState: VmState<MemoryHotplugSubsection> = {
  name: 'piix4_pm/memhp',
  version: 1,
  minimumVersion: 1,
  fields: {
    acpiMemoryHotplug: struct<MemoryHotplugState, never>({
      name: 'memory hotplug state',
      version: 1,
      minimumVersion: 1,
      fields: { selector: u32() },
    }),
  },
};

/** {@link CpuHotplugState.command} while the block has its legacy form, the bitmap of present CPUs. */
const LEGACY = -1;
const COMMAND_NEXT_WITH_EVENT = 0;
const COMMAND_OST_EVENT = 1;
const COMMAND_OST_STATUS = 2;
const COMMAND_COUNT = 4;

export interface CpuHotplugSlot {
  isInserting: boolean;
  isRemoving: boolean;
  ostEvent: number;
  ostStatus: number;
}

export interface CpuHotplugState {
  selector: number;
  /** -1: legacy form; the subsection is absent. */
  command: number;
  readonly devs: readonly CpuHotplugSlot[];
}

/** Subsection `piix4_pm/cpuhp`, there once the guest has switched to the modern form (QEMU's DSDT does). */
export interface CpuHotplugSubsection {
  readonly cpuhpState: CpuHotplugState;
}

const cpuSlotVmState: VmState<CpuHotplugSlot> = {
  name: 'CPU hotplug device state',
  version: 1,
  minimumVersion: 1,
  fields: { isInserting: bool(), isRemoving: bool(), ostEvent: u32(), ostStatus: u32() },
};

export const cpuHotplugVmState: VmState<CpuHotplugSubsection> = {
  name: 'piix4_pm/cpuhp',
  version: 1,
  minimumVersion: 1,
  fields: {
    cpuhpState: struct<CpuHotplugState, never>({
      name: 'CPU hotplug state',
      version: 1,
      minimumVersion: 1,
      fields: { selector: u32(), command: u8(), devs: structs(cpuSlotVmState, 1) },
    }),
  },
};

export function initialCpuHotplug(): CpuHotplugSubsection {
  const slot: CpuHotplugSlot = { isInserting: false, isRemoving: false, ostEvent: 0, ostStatus: 0 };
  return { cpuhpState: { selector: 0, command: LEGACY, devs: [slot] } };
}

/** Whether the subsection must be written. */
export function isCpuHotplugModern(state: CpuHotplugSubsection): boolean {
  return state.cpuhpState.command !== LEGACY;
}

/** Slots 0 to 2 hold the chipset and the VGA, which cannot be unplugged. */
const REMOVABLE_SLOTS = 0xffff_fff8;

const PCI_UP = 0x00;
const PCI_DOWN = 0x04;
const PCI_REMOVABLE = 0x0c;
const PCI_SELECT = 0x10;
const PCI_INDEX = 0x14;

const CPU_SELECT = 0;
const CPU_FLAGS = 4;
const CPU_COMMAND = 5;
const CPU_DATA = 8;

export interface HotplugState extends PciHotplugState {
  readonly memhp: MemoryHotplugSubsection;
  readonly cpuhp: CpuHotplugSubsection;
}

/** The two blocks. State belongs to the PIIX4's section. */
export class AcpiHotplug {
  readonly #state: HotplugState;

  constructor({ state }: { state: HotplugState }) {
    this.#state = state;
  }

  ports(): readonly Mapping[] {
    return [
      {
        base: 0xae00,
        region: {
          name: 'acpi-pci-hotplug',
          size: 0x18,
          read32: (offset) => this.#readPci(offset),
          write32: (offset, value) => this.#writePci(offset, value),
        },
      },
      {
        base: 0xaf00,
        region: {
          name: 'acpi-cpu-hotplug',
          size: 32,
          read8: (offset) => this.#readCpu(offset) & 0xff,
          write8: (offset, value) => this.#writeCpu(offset, value),
          read32: (offset) => this.#readCpu(offset),
          write32: (offset, value) => this.#writeCpu(offset, value),
        },
      },
    ];
  }

  reset(): void {
    const state = this.#state;
    state.hotplugSelect = state.acpiIndex = 0;
    for (const status of state.pciStatus) status.up = status.down = 0;
    state.memhp.acpiMemoryHotplug.selector = 0;
    const { cpuhpState } = state.cpuhp;
    cpuhpState.selector = 0;
    cpuhpState.command = LEGACY;
    const slot = cpuhpState.devs[0]!;
    slot.isInserting = slot.isRemoving = false;
    slot.ostEvent = slot.ostStatus = 0;
  }

  #readPci(offset: number): number {
    const state = this.#state;
    const status = state.pciStatus[state.hotplugSelect];
    if (status === undefined) return 0;
    switch (offset) {
      case PCI_UP: {
        const { up } = status;
        status.up = 0;
        return up;
      }
      case PCI_DOWN:
        return status.down;
      case PCI_REMOVABLE:
        return state.hotplugSelect === 0 ? REMOVABLE_SLOTS : 0xffff_ffff;
      case PCI_SELECT:
        return state.hotplugSelect;
      case PCI_INDEX: {
        const index = state.acpiIndex;
        state.acpiIndex = 0;
        return index;
      }
      default:
        return 0;
    }
  }

  #writePci(offset: number, value: number): void {
    this.#state.acpiIndex = 0;
    if (offset === PCI_SELECT) this.#state.hotplugSelect = value;
  }

  #readCpu(offset: number): number {
    const { cpuhpState } = this.#state.cpuhp;
    // Legacy: a bitmap of 256 CPUs, of which the first is there.
    if (cpuhpState.command === LEGACY) return offset === 0 ? 1 : 0;
    if (cpuhpState.selector !== 0) return 0;
    const slot = cpuhpState.devs[0]!;
    if (offset === CPU_FLAGS) return 1 | (slot.isInserting ? 2 : 0) | (slot.isRemoving ? 4 : 0);
    // The selected CPU's number and its APIC ID are both 0.
    return 0;
  }

  #writeCpu(offset: number, value: number): void {
    const { cpuhpState } = this.#state.cpuhp;
    if (cpuhpState.command === LEGACY) {
      // Firmware never wrote to the bitmap: writing 0 to it asks for the modern form.
      if (offset === 0 && value === 0) cpuhpState.command = COMMAND_NEXT_WITH_EVENT;
      return;
    }
    if (offset === CPU_SELECT) {
      cpuhpState.selector = value;
      return;
    }
    if (cpuhpState.selector !== 0) return;
    const slot = cpuhpState.devs[0]!;
    if (offset === CPU_FLAGS) {
      if ((value & 2) !== 0) slot.isInserting = false;
      else if ((value & 4) !== 0) slot.isRemoving = false;
    } else if (offset === CPU_COMMAND) {
      if (value < COMMAND_COUNT) cpuhpState.command = value;
    } else if (offset === CPU_DATA) {
      if (cpuhpState.command === COMMAND_OST_EVENT) slot.ostEvent = value;
      else if (cpuhpState.command === COMMAND_OST_STATUS) slot.ostStatus = value;
    }
  }
}

/** Status of every bus: nothing pending. */
export function initialPciStatus(): readonly PciHotplugStatus[] {
  return Array.from({ length: HOTPLUG_BUS_COUNT }, () => ({ up: 0, down: 0 }));
}
