/** A CPU with flat RAM and nothing around it, for instruction tests. */
import { Cpu } from '../../src/machine/cpu/cpu.ts';
import type { CpuBus } from '../../src/machine/cpu/cpu-state.ts';
import { RECORDS_END } from '../../src/machine/cpu/layout.ts';
import { PhysicalMemory } from '../../src/machine/memory.ts';

/** Ports read all-ones, writes go nowhere. */
export const EMPTY_BUS: CpuBus = {
  portRead8: () => 0xff,
  portRead16: () => 0xffff,
  portRead32: () => 0xffffffff,
  portWrite8: () => {},
  portWrite16: () => {},
  portWrite32: () => {},
  apicBase: () => 0xfee00900,
  setApicBase: () => {},
  tsc: () => 0,
};

export function bareCpu(ramBytes: number, bus: CpuBus = EMPTY_BUS): Cpu {
  const pages = (RECORDS_END + ramBytes) / 65536;
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
  return new Cpu(new PhysicalMemory(memory, RECORDS_END, ramBytes), bus);
}
