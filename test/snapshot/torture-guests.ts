/** Guests that are always in one state (torture.asm), on a machine of 2 MiB without firmware, with a qcow2 disk. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { layOut } from '../../src/block/qcow2/create.ts';
import { openQcow2 } from '../../src/block/qcow2/qcow2.ts';
import { nodeHost } from '../../src/host/host-services.ts';
import { toRecord } from '../../src/machine/cpu/cpu-record.ts';
import type { CpuRecord } from '../../src/machine/cpu/vmstate.ts';
import { Machine } from '../../src/machine/machine.ts';
import type { DriveOptions, MachineOptions } from '../../src/machine/options.ts';
import { MemoryFile } from '../support/memory-file.ts';

export type SceneName = 'REP' | 'HLT' | 'UNREAL' | 'V86' | 'DMA' | 'KEYS';

export const RAM_BYTES = 2 << 20;
export const ICOUNT = { shift: 3, sleep: false } as const;
const ROUNDS = 0x9000;
const ERRORS = 0x9004;
export const KEYS_HELD = 0x9100;
/** Bus master status of the first channel, as the guest maps it. */
const BUS_MASTER_STATUS = 0xc002;

const roms = new Map<SceneName, Uint8Array>();

/** The guest's ROM; `folder` for nasm's output. */
export function romOf(scene: SceneName, folder: string): Uint8Array {
  let rom = roms.get(scene);
  if (rom === undefined) {
    rom = readFileSync(romFile(scene, folder));
    roms.set(scene, rom);
  }
  return rom;
}

export function romFile(scene: SceneName, folder: string): string {
  const source = fileURLToPath(new URL('torture.asm', import.meta.url));
  const file = join(folder, `${scene}.bin`);
  const run = spawnSync('nasm', ['-f', 'bin', `-D${scene}`, source, '-o', file], { encoding: 'utf8' });
  if (run.status !== 0) throw new Error(run.stderr);
  return file;
}

export const emptyImage = (sizeBytes = 1 << 20): MemoryFile =>
  new MemoryFile(layOut('memory', { sizeBytes }));

/** A copy that nobody else writes. */
export const copyOf = (file: MemoryFile): MemoryFile => new MemoryFile(file.bytes);

export interface TortureOptions extends Partial<MachineOptions> {
  readonly file?: MemoryFile;
  readonly moreDrives?: readonly DriveOptions[];
}

export async function openGuest(
  rom: Uint8Array,
  { file, moreDrives = [], ...more }: TortureOptions = {},
): Promise<Machine> {
  const disk: DriveOptions[] =
    file === undefined ? [] : [{ device: 'ide0-hd0', kind: 'disk', index: 0, node: await openQcow2(file) }];
  return Machine.create({
    ramBytes: RAM_BYTES,
    bios: { name: 'torture', data: rom },
    vga: 'none',
    drives: [...disk, ...moreDrives],
    serials: [],
    rtc: { baseSeconds: 1_700_000_000, clock: 'vm' },
    host: nodeHost,
    ...more,
  });
}

export interface Counters {
  readonly rounds: number;
  readonly errors: number;
}

export function counters(machine: Machine): Counters {
  return { rounds: machine.memory.read32(ROUNDS) >>> 0, errors: machine.memory.read32(ERRORS) >>> 0 };
}

/** Waits until the running guest has done `rounds` more. Throws when it finds an error. */
export async function moreRounds(machine: Machine, rounds: number): Promise<void> {
  const goal = counters(machine).rounds + rounds;
  for (let tries = 0; tries < 12_000; tries++) {
    const now = counters(machine);
    if (now.errors !== 0) throw new Error(`the guest has found ${now.errors} errors in ${now.rounds} rounds`);
    if (now.rounds >= goal) return;
    if (machine.state !== 'running') throw new Error(`the machine is ${machine.state}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error(`the guest has not done ${rounds} rounds`);
}

export const registers = (machine: Machine): CpuRecord => toRecord(machine.cpu);

/** Whether the machine is, between two instructions, in the middle of what the scene is about. */
export const isInState: Record<Exclude<SceneName, 'KEYS'>, (machine: Machine) => boolean> = {
  REP: (machine) => {
    const { regs, eip } = registers(machine);
    const count = regs[1]! & 0xffff;
    const at = 0xf0000 + eip;
    const bytes = [0, 1, 2].map((i) => machine.memory.read8(at + i));
    return count > 0 && count < 0x4000 && bytes.includes(0xf3) && bytes[2] === 0xa5;
  },
  HLT: (machine) => machine.cpu.halted,
  UNREAL: (machine) => (registers(machine).cr0 & 1) === 0 && registers(machine).segs[4]!.limit > 0xffff,
  V86: (machine) => (registers(machine).eflags & 0x20000) !== 0,
  DMA: (machine) => (machine.board.ports.read(BUS_MASTER_STATUS, 1) & 1) !== 0,
};
