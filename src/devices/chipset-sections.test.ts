import { describe, expect, it } from 'vitest';
import { requireProgram } from '../../test/support/programs.ts';
import { compareSchemaWithQemuSection } from '../../test/support/qemu-sections.ts';
import { compareSchemaWithDump, vmStateDump } from '../../test/support/vmstate-dump.ts';
import type { Schema } from '../migration/vmstate.ts';
import { acpiBuildVmState } from './acpi/acpi-build.ts';
import { apicVmState } from './apic-state.ts';
import { fwCfgVmState } from './fw-cfg.ts';
import { ioApicVmState } from './ioapic.ts';
import { pciBusVmState, pciHostVmState } from './pci/bus.ts';
import { i440fxVmState } from './pci/i440fx.ts';
import { piix3VmState } from './pci/piix3.ts';
import { piix4PmVmState } from './pci/piix4-pm.ts';
import { i2cBusVmState } from './pci/smbus.ts';

describe.skipIf(!requireProgram('qemu-system-i386') || !requireProgram('qemu-img'))(
  'chipset sections of QEMU 7.2',
  () => {
    const sections: readonly (readonly [string, unknown])[] = [
      ['apic', apicVmState],
      ['ioapic', ioApicVmState],
      ['fw_cfg', fwCfgVmState],
      ['PCIHost', pciHostVmState],
      ['PCIBUS', pciBusVmState],
      ['0000:00:00.0/I440FX', i440fxVmState],
      ['0000:00:01.0/PIIX3', piix3VmState],
      ['i2c_bus', i2cBusVmState],
      ['0000:00:01.3/piix4_pm', piix4PmVmState],
      ['acpi_build', acpiBuildVmState],
    ];
    for (const [name, schema] of sections) {
      it(`${name}: decoded and encoded, bytes and description are QEMU’s`, () => {
        expect(compareSchemaWithQemuSection(schema as Schema, name)).toEqual([]);
      });
    }

    it('piix4_pm has the subsections and versions of -dump-vmstate', () => {
      const dump = vmStateDump()['PIIX4_PM']!.Description!;
      // `devs` of the memory hot-plug state has as many elements as there are DIMM slots: none.
      const without = ['devs'];
      expect(compareSchemaWithDump(piix4PmVmState as unknown as Schema, dump, { without })).toEqual([]);
    });
  },
);
