/** `x/i` and `xp/i`. */
import type { Machine } from '../../machine/machine.ts';
import { DISASSEMBLE_BYTES, disassemble, disassemblyLine } from '../../machine/cpu/disassemble.ts';
import * as L from '../../machine/cpu/layout.ts';
import { DESC_B } from '../../machine/cpu/mode.ts';
import { readVirtual } from '../registers.ts';

/** Instructions, one a line, in the code size of the current code segment. `isVirtual`: a linear address, else physical. */
export function disassembly(machine: Machine, start: number, count: number, isVirtual: boolean): string {
  const { cpu, memory } = machine;
  const lines: string[] = [];
  const bytes = new Uint8Array(DISASSEMBLE_BYTES);
  const code32 = (cpu.segFlags(L.CS) & DESC_B) !== 0;
  let address = start >>> 0;
  for (let i = 0; i < count; i++) {
    let readable = bytes.length;
    if (!isVirtual) memory.read(address, bytes);
    else while (readable > 0 && !readVirtual(cpu, address, bytes.subarray(0, readable))) readable--;
    bytes.fill(0, readable);
    const found = disassemble(bytes, 0, address, code32);
    if (found.length > readable) {
      lines.push(`0x${address.toString(16).padStart(8, '0')}: Cannot access memory`);
      break;
    }
    lines.push(disassemblyLine(address, bytes.subarray(0, found.length), found));
    address = (address + found.length) >>> 0;
  }
  return lines.map((line) => `${line}\n`).join('');
}
