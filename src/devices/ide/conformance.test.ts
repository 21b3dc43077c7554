import { describe, expect, it } from 'vitest';
import { conformance, type Subject } from '../../../test/conformance/device-suite.ts';
import { requireProgram } from '../../../test/support/programs.ts';
import { compareSchemaWithQemuSection } from '../../../test/support/qemu-sections.ts';
import type { Piix3Ide } from './controller.ts';
import { IdeRig } from '../../../test/support/ide-rig.ts';

const rigs = new WeakMap<object, IdeRig>();

function make(): Subject<Piix3Ide> {
  const rig = new IdeRig();
  const { ide, clock, irqs, disk, cd, io } = rig;
  rigs.set(ide, rig);
  const bars = [...io.mapped].map(([region, base]) => ({ base, region }));
  const settle = (): void => {
    disk.complete();
    cd.complete();
  };
  return { device: ide, mappings: [...ide.ports(), ...bars], clock, irqs, settle };
}

conformance('PIIX3 IDE in a PIO write and a packet', make, ({ device }) => {
  const rig = rigs.get(device)!;
  rig.command(0x1f0, [0, 2, 100, 0, 0, 0xe0], 0x30);
  rig.writeWords(0x1f0, new Uint8Array(100).fill(7));
  rig.command(0x170, [0, 0, 0, 8, 0, 0], 0xa0);
  rig.out16(0x170, 0x28);
});

conformance('PIIX3 IDE before DMA, in a CD read', make, ({ device }) => {
  const rig = rigs.get(device)!;
  rig.command(0x1f0, [0, 2, 100, 0, 0, 0xe0], 0xc8);
  rig.packet([0x28, 0, 0, 0, 0, 10, 0, 0, 4], 3000);
  rig.cd.complete();
  rig.readWords(0x170, 10);
});

describe.skipIf(!requireProgram('qemu-system-i386') || !requireProgram('qemu-img'))('QEMU: PIIX3 IDE', () => {
  it('has the bytes and the description that QEMU writes', () => {
    const { ide } = new IdeRig();
    expect(compareSchemaWithQemuSection(ide.vmstate, ide.name)).toEqual([]);
  });
});
