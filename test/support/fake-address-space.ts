/** An address space that remembers what is mapped where, for devices that map their own windows (PCI). */
import type { AddressSpace, IoRegion } from '../../src/machine/device.ts';

export class FakeAddressSpace implements AddressSpace {
  readonly mapped: Map<IoRegion, number> = new Map();
  /** Number of map and unmap calls that changed something. */
  changes = 0;

  map(base: number, region: IoRegion): void {
    this.mapped.set(region, base);
    this.changes++;
  }

  unmap(region: IoRegion): void {
    if (this.mapped.delete(region)) this.changes++;
  }

  /** Region of that name, which must be mapped. */
  find(name: string): IoRegion {
    for (const region of this.mapped.keys()) if (region.name === name) return region;
    throw new Error(`${name} is not mapped`);
  }
}
