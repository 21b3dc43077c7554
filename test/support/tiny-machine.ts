/** A machine without SeaBIOS: a BIOS of a few instructions, for tests of what lies around the machine. */
import type { BlockNode } from '../../src/block/block-node.ts';
import { nodeHost } from '../../src/host/host-services.ts';
import { Machine } from '../../src/machine/machine.ts';
import type { MachineOptions } from '../../src/machine/options.ts';

/** 64 KiB that run `code` from the reset vector's segment on: it lies at F000:0000, the vector jumps there. */
export function biosOf(code: readonly number[]): Uint8Array {
  const bios = new Uint8Array(65_536);
  bios.set(code, 0);
  // jmp F000:0000
  bios.set([0xea, 0x00, 0x00, 0x00, 0xf0], 0xfff0);
  return bios;
}

/** cli; hlt; jmp $-1 */
export const HALT: readonly number[] = [0xfa, 0xf4, 0xeb, 0xfd];

export async function tinyMachine(
  code: readonly number[] = HALT,
  options: Partial<MachineOptions> & { disk?: BlockNode } = {},
): Promise<Machine> {
  const { disk, ...rest } = options;
  return Machine.create({
    ramBytes: 2 * 1024 * 1024,
    bios: { name: 'tiny', data: biosOf(code) },
    vga: 'std',
    drives: [
      ...(disk === undefined ? [] : [{ device: 'ide0-hd0', kind: 'disk' as const, index: 0, node: disk }]),
      { device: 'ide1-cd0', kind: 'cdrom', index: 2, node: undefined },
    ],
    serials: [],
    rtc: { baseSeconds: 0, clock: 'vm' },
    host: nodeHost,
    ...rest,
  });
}

/** A linear mode of 32 bits. */
export function setLinearMode(machine: Machine, width: number, height: number): void {
  const { ports } = machine.board;
  for (const [index, value] of [
    [4, 0],
    [1, width],
    [2, height],
    [3, 32],
    [4, 0x41],
  ] as const) {
    ports.write(0x1ce, 2, index);
    ports.write(0x1cf, 2, value);
  }
  // Attribute controller: screen on.
  ports.read(0x3da, 1);
  ports.write(0x3c0, 1, 0x20);
}
