/** What migration needs of a machine. It must be stopped and drained during a save, and during the commit of a load. */
import type { Device } from '../machine/device.ts';
import type { RamBlock } from './ram-block.ts';

export interface MigratableMachine {
  /** QEMU's name of the machine type: `pc-i440fx-7.2`. */
  readonly machineType: string;
  /** Every device with state, in the order of their sections on the stream. */
  readonly devices: readonly Device[];
  readonly ramBlocks: readonly RamBlock[];
}
