/** Address spaces and lines that record what is done to them: for the tests of PCI devices only. */
import type { AddressSpace, IoRegion, IrqLine } from '../../machine/device.ts';

/** Remembers where regions are mapped. */
export class FakeAddressSpace implements AddressSpace {
  readonly mapped: Map<IoRegion, number> = new Map();
  /** Number of map and unmap calls. */
  changes = 0;

  map(base: number, region: IoRegion): void {
    this.mapped.set(region, base);
    this.changes++;
  }

  unmap(region: IoRegion): void {
    this.mapped.delete(region);
    this.changes++;
  }
}

/** Remembers the level and counts the calls. */
export class FakeIrq implements IrqLine {
  level = 0;
  calls = 0;

  set(level: number): void {
    this.level = level;
    this.calls++;
  }
}
