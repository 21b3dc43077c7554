/**
 * Intel 82371AB (PIIX4), function 3: power management 00:01.3. Datasheet: Intel 290562, chapter 7. Holds the ACPI fixed
 * hardware (acpi-pm1.ts), the SMBus controller (smbus.ts), the APM ports 0xb2 and 0xb3, and QEMU's hot-plug blocks
 * (acpi-hotplug.ts).
 *
 * Not emulated: SMM. The function comes up with APMC_EN set, which tells SeaBIOS that there is nothing to set up, as it
 * does under QEMU's `-machine smm=off`; writes of ACPI_ENABLE and ACPI_DISABLE to port 0xb2 act on SCI_EN directly.
 * Device monitors, traps, throttling.
 */
import type { Clock, Ns } from '../../machine/clock.ts';
import { NOT_ARMED } from '../../machine/clock.ts';
import type { Device, IoRegion, IrqLine, Mapping } from '../../machine/device.ts';
import { i64, struct, structs, timer, u8, u16, u32, type VmState } from '../../migration/vmstate.ts';
import {
  AcpiHotplug,
  type CpuHotplugSubsection,
  cpuHotplugVmState,
  HOTPLUG_BUS_COUNT,
  initialCpuHotplug,
  initialPciStatus,
  isCpuHotplugModern,
  type MemoryHotplugSubsection,
  memoryHotplugVmState,
  type PciHotplugStatus,
  pciHotplugStatusVmState,
} from './acpi-hotplug.ts';
import { AcpiPm1, type GpeState, type PowerRequests, type WakeReason } from './acpi-pm1.ts';
import { PciFunction, type PciFunctionState, type PciParent, pciFunctionVmState } from './config-space.ts';
import { type I2cBus, SmBusHost, type SmBusState, smBusVmState } from './smbus.ts';

/** PMBA, section 7.1.12: base of the ACPI registers. */
const PM_BASE = 0x40;
/** DEVACTB, byte 3: bit 1 (APMC_EN) lets writes to port 0xb2 raise an SMI. */
const DEVACTB_HIGH = 0x5b;
const APMC_ENABLE = 0x02;
/** PMREGMISC, section 7.1.25: bit 0 enables the ACPI registers. */
const PM_MISC = 0x80;
/** SMBBA and SMBHSTCFG, sections 7.1.26 and 7.1.27. */
const SMBUS_BASE = 0x90;
const SMBUS_CONFIG = 0xd2;
const BASE_MASK = 0xffc0;
/** QEMU's pc puts the SMBus here before any firmware runs. */
const SMBUS_POWER_ON_BASE = 0xb100;

/** Values written to port 0xb2 that the FADT names. */
export const ACPI_ENABLE_COMMAND = 0xf1;
export const ACPI_DISABLE_COMMAND = 0xf0;
/** Latest overflow accepted from a snapshot, in ticks: in ns it is still a safe integer (104 days). */
const MAX_OVERFLOW_TICKS = 2 ** 45 - 2 ** 42;
/** Port of the GPE0 block. */
export const GPE0_BASE = 0xafe0;

export interface ApmState {
  apmc: number;
  apms: number;
}

export interface Piix4PmState {
  parentObj: PciFunctionState;
  pm1Sts: number;
  pm1En: number;
  pm1Cnt: number;
  readonly apm: ApmState;
  readonly smb: SmBusState;
  tmrTimer: Ns;
  tmrOverflowTime: number;
  readonly gpe: GpeState;
  hotplugSelect: number;
  readonly pciStatus: readonly PciHotplugStatus[];
  acpiIndex: number;
  readonly memhp: MemoryHotplugSubsection;
  readonly cpuhp: CpuHotplugSubsection;
}

const apmVmState: VmState<ApmState> = {
  name: 'APM State',
  version: 1,
  minimumVersion: 1,
  fields: { apmc: u8(), apms: u8() },
};

const gpeVmState: VmState<GpeState> = {
  name: 'gpe',
  version: 1,
  minimumVersion: 1,
  fields: { sts: u16(), en: u16() },
};

/** Stream section `0000:00:01.3/piix4_pm` (QEMU 7.2 hw/acpi/piix4.c). */
export const piix4PmVmState: VmState<Piix4PmState, 'memhp' | 'cpuhp'> = {
  name: 'piix4_pm',
  version: 3,
  minimumVersion: 3,
  fields: {
    parentObj: struct(pciFunctionVmState),
    pm1Sts: u16({ name: 'ar.pm1.evt.sts' }),
    pm1En: u16({ name: 'ar.pm1.evt.en' }),
    pm1Cnt: u16({ name: 'ar.pm1.cnt.cnt' }),
    apm: struct(apmVmState),
    smb: struct(smBusVmState, { since: 3 }),
    tmrTimer: timer({ name: 'ar.tmr.timer' }),
    tmrOverflowTime: i64({ name: 'ar.tmr.overflow_time', min: 0, max: MAX_OVERFLOW_TICKS }),
    gpe: struct(gpeVmState, { name: 'ar.gpe', since: 2 }),
    hotplugSelect: u32({ name: 'acpi_pci_hotplug.hotplug_select' }),
    pciStatus: structs(pciHotplugStatusVmState, HOTPLUG_BUS_COUNT, {
      name: 'acpi_pci_hotplug.acpi_pcihp_pci_status',
      since: 1,
      // Always there, but QEMU tests for it, and so describes every element.
      when: () => true,
    }),
    acpiIndex: u32({ name: 'acpi_pci_hotplug.acpi_index' }),
  },
  subsections: {
    memhp: {
      vmstate: memoryHotplugVmState,
      needed: () => true,
      absent: () => ({ acpiMemoryHotplug: { selector: 0 } }),
    },
    cpuhp: {
      vmstate: cpuHotplugVmState,
      needed: (state) => isCpuHotplugModern(state.cpuhp),
      absent: initialCpuHotplug,
    },
  },
};

export interface Piix4PmOptions extends PowerRequests {
  readonly bus: PciParent;
  readonly clock: Clock;
  /** ISA interrupt 9, level, active high. */
  readonly sci: IrqLine;
  /** A serial port is at 0x3f8 (shown in configuration register 0x67). Default true. */
  readonly hasSerial?: boolean;
  /** LPT1 is there. */
  readonly hasParallel?: boolean;
  /** Port 0xb2 was written with APMC_EN set, and it was not an ACPI command. */
  readonly onSmiCommand?: (command: number) => void;
}

function initialState(parentObj: PciFunctionState, smb: SmBusState): Piix4PmState {
  return {
    parentObj,
    pm1Sts: 0,
    pm1En: 0,
    pm1Cnt: 0,
    apm: { apmc: 0, apms: 0 },
    smb,
    tmrTimer: NOT_ARMED,
    tmrOverflowTime: 0,
    gpe: { sts: 0, en: 0 },
    hotplugSelect: 0,
    pciStatus: initialPciStatus(),
    acpiIndex: 0,
    memhp: { acpiMemoryHotplug: { selector: 0 } },
    cpuhp: initialCpuHotplug(),
  };
}

export class Piix4Pm implements Device<Piix4PmState> {
  readonly name: string = '0000:00:01.3/piix4_pm';
  readonly vmstate: VmState<Piix4PmState, 'memhp' | 'cpuhp'> = piix4PmVmState;
  readonly state: Piix4PmState;
  /** The SMBus, which has a section of its own: add it to the machine's devices before this one. */
  readonly i2cBus: I2cBus;
  readonly #bus: PciParent;
  readonly #pci: PciFunction;
  readonly #pm1: AcpiPm1;
  readonly #smBus: SmBusHost = new SmBusHost();
  readonly #hotplug: AcpiHotplug;
  readonly #hasSerial: boolean;
  readonly #hasParallel: boolean;
  readonly #onSmiCommand: ((command: number) => void) | undefined;
  /** Where the two movable blocks are mapped, -1: nowhere. Derived. */
  #pmBase = -1;
  #smBusBase = -1;

  constructor(options: Piix4PmOptions) {
    this.#bus = options.bus;
    this.#hasSerial = options.hasSerial ?? true;
    this.#hasParallel = options.hasParallel ?? false;
    this.#onSmiCommand = options.onSmiCommand;
    this.#pci = new PciFunction({
      bus: options.bus,
      slot: 1,
      function: 3,
      vendorId: 0x8086,
      deviceId: 0x7113,
      classCode: 0x0680,
      revision: 3,
      interruptPin: 1,
      onConfigWrite: () => this.#updateMappings(),
    });
    this.state = initialState(this.#pci.state, this.#smBus.state);
    this.i2cBus = this.#smBus.bus;
    this.#pm1 = new AcpiPm1({ state: this.state, clock: options.clock, sci: options.sci, power: options });
    this.#hotplug = new AcpiHotplug({ state: this.state });
  }

  /** Fixed ports; the ACPI registers and the SMBus are mapped by configuration registers. */
  ports(): readonly Mapping[] {
    const apm: IoRegion = {
      name: 'apm-io',
      size: 2,
      read8: (offset) => (offset === 0 ? this.state.apm.apmc : this.state.apm.apms),
      write8: (offset, value) => this.#writeApm(offset, value),
    };
    return [
      { base: 0xb2, region: apm },
      { base: GPE0_BASE, region: this.#pm1.gpeRegion },
      ...this.#hotplug.ports(),
    ];
  }

  /** Port at which the firmware mapped the ACPI registers, 0 before it did: for the FADT. */
  get pmIoBase(): number {
    return this.#pci.read(PM_BASE, 4) & BASE_MASK;
  }

  pressPowerButton(): void {
    this.#pm1.pressPowerButton();
  }

  mayWake(reason: WakeReason): boolean {
    return this.#pm1.mayWake(reason);
  }
  wake(reason: WakeReason): void {
    this.#pm1.wake(reason);
  }

  reset(): void {
    const { config } = this.#pci;
    config[0x06] = 0x80;
    config[0x07] = 0x02;
    config.fill(0, PM_BASE, PM_BASE + 4);
    config[PM_BASE] = 0x01;
    config.fill(0, 0x58, DEVACTB_HIGH + 1);
    config[DEVACTB_HIGH] = APMC_ENABLE;
    // Which I/O ranges the machine has: what QEMU shows, and SeaBIOS does not look at.
    config[0x5f] = this.#hasParallel ? 0x90 : 0x10;
    config[0x63] = 0x60;
    config[0x67] = this.#hasSerial ? 0x08 : 0;
    config[PM_MISC] = 0;
    config[SMBUS_BASE] = (SMBUS_POWER_ON_BASE & 0xff) | 1;
    config[SMBUS_BASE + 1] = SMBUS_POWER_ON_BASE >> 8;
    config[SMBUS_CONFIG] = 0x09;
    this.#pci.reset();
    this.state.apm.apmc = this.state.apm.apms = 0;
    this.#smBus.reset();
    this.#pm1.reset();
    this.#hotplug.reset();
    this.#updateMappings();
  }

  beforeSave(): void {
    this.#pm1.beforeSave();
  }

  validate(candidate: Piix4PmState): string | undefined {
    return this.#pci.validate(candidate.parentObj);
  }

  afterLoad(): void {
    this.#pci.afterLoad();
    this.#updateMappings();
    this.#pm1.afterLoad();
  }

  #writeApm(offset: number, value: number): void {
    if (offset !== 0) {
      this.state.apm.apms = value;
      return;
    }
    this.state.apm.apmc = value;
    if (value === ACPI_ENABLE_COMMAND) this.#pm1.setAcpiMode(true);
    else if (value === ACPI_DISABLE_COMMAND) this.#pm1.setAcpiMode(false);
    else if ((this.#pci.config[DEVACTB_HIGH]! & APMC_ENABLE) !== 0) this.#onSmiCommand?.(value);
  }

  #updateMappings(): void {
    const { config } = this.#pci;
    const pmBase = (config[PM_MISC]! & 1) !== 0 ? this.pmIoBase : -1;
    const smBusBase = (config[SMBUS_CONFIG]! & 1) !== 0 ? this.#pci.read(SMBUS_BASE, 4) & BASE_MASK : -1;
    if (pmBase !== this.#pmBase) this.#move(this.#pm1.region, (this.#pmBase = pmBase));
    if (smBusBase !== this.#smBusBase) this.#move(this.#smBus.region, (this.#smBusBase = smBusBase));
  }

  #move(region: IoRegion, base: number): void {
    this.#bus.io.unmap(region);
    if (base >= 0) this.#bus.io.map(base, region);
  }
}
