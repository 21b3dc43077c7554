/** Guest memory as a program sees it. */
import type { Machine as Core } from '../machine/machine.ts';
import { readVirtual } from '../monitor/registers.ts';
import { MachineError } from './errors.ts';

/** Guest RAM and what else the CPU sees at memory addresses. Addresses are unsigned, 32 bits. */
export class GuestMemory {
  readonly #core: Core;

  constructor(core: Core) {
    this.#core = core;
  }

  /** Size of guest RAM, bytes. */
  get bytes(): number {
    return this.#core.options.ramBytes;
  }

  /**
   * Bytes at a guest-physical address; devices' memory is read as the CPU reads it. MachineError 'argument': not an address of
   * 32 bits.
   */
  read(address: number, length: number): Uint8Array {
    checkAddress(address);
    const bytes = new Uint8Array(length);
    this.#core.memory.read(address, bytes);
    return bytes;
  }

  /** Writes as DMA does. */
  write(address: number, bytes: Uint8Array): void {
    checkAddress(address);
    this.#core.memory.write(address, bytes);
  }

  /** Bytes at a linear address, by the guest's page tables as they are now. MachineError 'argument': not mapped. */
  readLinear(address: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    if (readVirtual(this.#core.cpu, address, bytes)) return bytes;
    throw new MachineError('argument', `nothing is mapped at 0x${address.toString(16)}`);
  }
}

function checkAddress(address: number): void {
  if (Number.isInteger(address) && address >= 0 && address < 2 ** 32) return;
  throw new MachineError('argument', `${address} is not an address of 32 bits`);
}
