/** Stream sections `cpu_common` and `cpu`: between the running CPU and its records. */
import type { Apic } from '../devices/apic.ts';
import type { Cpu } from './cpu/cpu.ts';
import { afterRamLoaded, fromCommonRecord, fromRecord, toCommonRecord, toRecord } from './cpu/cpu-record.ts';
import {
  type CpuCommonRecord,
  type CpuRecord,
  cpuCommonVmState,
  cpuVmState,
  validateCpuRecord,
} from './cpu/vmstate.ts';
import { FPU_CS, FPU_DS } from './cpu/layout.ts';
import { flushTlb } from './cpu/mode.ts';
import type { Device } from './device.ts';
import type { Schema } from '../migration/vmstate.ts';
import { assignState } from '../migration/assign.ts';

export class CpuCommonSection implements Device<CpuCommonRecord> {
  readonly name: string = 'cpu_common';
  readonly vmstate: Schema = cpuCommonVmState;
  readonly state: CpuCommonRecord;
  readonly #cpu: Cpu;

  constructor(cpu: Cpu) {
    this.#cpu = cpu;
    this.state = toCommonRecord(cpu);
  }

  reset(): void {}

  beforeSave(): void {
    assignState(this.state, toCommonRecord(this.#cpu));
  }

  afterLoad(): void {
    fromCommonRecord(this.#cpu, this.state);
  }
}

export class CpuSection implements Device<CpuRecord> {
  readonly name: string = 'cpu';
  readonly vmstate: Schema = cpuVmState;
  readonly state: CpuRecord;
  readonly #cpu: Cpu;

  constructor(cpu: Cpu) {
    this.#cpu = cpu;
    this.state = toRecord(cpu);
  }

  reset(): void {}

  beforeSave(): void {
    assignState(this.state, toRecord(this.#cpu));
  }

  validate(candidate: CpuRecord): string | undefined {
    return validateCpuRecord(candidate);
  }

  afterLoad(): void {
    fromRecord(this.#cpu, this.state);
  }
}

/**
 * Once all sections are in place: what follows from several of them. `keepsCode`: the code that was decoded is still right,
 * since what changed of it was told page by page.
 */
export function finishCpuLoad(cpu: Cpu, apic: Apic, keepsCode: boolean = false): void {
  afterRamLoaded(cpu);
  if (keepsCode) cpu.mem.onMapChange();
  else cpu.invalidateCaches();
  // INTR is no state of its own: it follows from the interrupt controllers.
  cpu.setInterruptLine(apic.hasPending() ? 1 : 0);
}

/**
 * After a save the CPU goes on as a loaded one would: with empty TLBs (which decide when accessed bits are set in page
 * tables), PAE pointers as they are in memory, and without the selectors of the last FPU instruction, which QEMU's
 * stream has no place for.
 */
export function finishCpuSave(cpu: Cpu): void {
  afterRamLoaded(cpu);
  flushTlb(cpu);
  cpu.set(FPU_CS, 0);
  cpu.set(FPU_DS, 0);
}
