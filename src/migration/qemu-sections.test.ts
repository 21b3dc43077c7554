import { describe, expect, it } from 'vitest';
import { requireProgram } from '../../test/support/programs.ts';
import { compareSchemaWithQemuSection } from '../../test/support/qemu-sections.ts';
import { picVmState } from '../devices/i8259.ts';
import { i440fxVmState } from '../devices/pci/i440fx.ts';
import { piix3VmState } from '../devices/pci/piix3.ts';
import { vgaVmState } from '../devices/vga/vga.ts';
import { SKIPPED_SECTIONS } from './skipped-sections.ts';
import type { Schema } from './vmstate.ts';

describe.skipIf(!requireProgram('qemu-system-i386') || !requireProgram('qemu-img'))(
  'sections of QEMU 7.2',
  () => {
    const sections: [string, number, unknown][] = [
      ['i8259', 1, picVmState],
      ['0000:00:00.0/I440FX', 0, i440fxVmState],
      ['0000:00:01.0/PIIX3', 0, piix3VmState],
      ['0000:00:02.0/vga', 0, vgaVmState],
    ];
    for (const [name, instance, schema] of sections) {
      it(`${name}: decoded and encoded, bytes and description are QEMU’s`, () => {
        expect(compareSchemaWithQemuSection(schema as Schema, name, instance)).toEqual([]);
      });
    }

    it('kvm-tpr-opt has the length that the skipping schema says', () => {
      const problems = compareSchemaWithQemuSection(SKIPPED_SECTIONS.get('kvm-tpr-opt')!, 'kvm-tpr-opt');
      // Its fields are lumped together: the description differs, the bytes do not.
      expect(problems.filter((line) => !line.includes('described as'))).toEqual([]);
    });
  },
);
