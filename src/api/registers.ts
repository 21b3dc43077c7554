/** The CPU's registers as numbers without sign. */
import type { Cpu } from '../machine/cpu/cpu.ts';
import { registerValue } from '../monitor/registers.ts';

const NAMES = [
  ...(['eax', 'ecx', 'edx', 'ebx', 'esp', 'ebp', 'esi', 'edi', 'eip', 'eflags'] as const),
  ...(['es', 'cs', 'ss', 'ds', 'fs', 'gs', 'cr0', 'cr2', 'cr3', 'cr4'] as const),
];

/** Registers by name, unsigned. */
export type Registers = Readonly<Record<(typeof NAMES)[number], number>>;

export function readRegisters(cpu: Cpu): Registers {
  const entries = NAMES.map((name) => [name, Number(registerValue(cpu, name))] as const);
  return Object.fromEntries(entries) as Registers;
}
