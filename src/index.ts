/** The programming interface: `import { Machine } from 'ambervm'`. */
import { fileURLToPath } from 'node:url';

/** A small guest that comes with ambervm: counts on the serial port, moves on the screen, checks its disk. */
export const DEMO_IMAGE: string = fileURLToPath(new URL('../images/demo/demo.img', import.meta.url));

export { Machine, type MachineEvent, type RunOptions } from './api/machine.ts';
export type { DriveSpec, MachineOptions } from './api/options.ts';
export { MachineError, type MachineErrorCode } from './api/errors.ts';
export type { GuestMemory } from './api/memory.ts';
export type { Keyboard } from './api/keyboard.ts';
export type { Mouse } from './api/mouse.ts';
export type { Picture, Screen } from './api/screen.ts';
export type { Registers } from './api/registers.ts';
export type { SerialPort, SerialWaitOptions } from './api/serial.ts';
export type { WaitOptions } from './api/wait.ts';
export { BlockError, type BlockErrorCode } from './block/errors.ts';
export { MigrationError, type MigrationErrorCode } from './migration/errors.ts';
export { UsageError } from './cli/grammar.ts';
export { FirmwareError } from './host/firmware.ts';
export type { SnapshotInfo } from './block/block-node.ts';
export type { MachineEvents } from './machine/machine.ts';
export type { LoadOptions, SaveOptions } from './machine/save-and-load.ts';
export type { RunState } from './machine/run-state.ts';
