/** The 64 KiB I/O port space: finds the region behind a port in one table look-up. */
import type { AddressSpace, IoRegion, Mapping } from './device.ts';
import { readRegion, writeRegion } from './memory.ts';
import { tracePortRead, tracePortWrite } from './trace.ts';

const PORTS = 0x10000;

export class PortSpace implements AddressSpace {
  readonly #regions: (IoRegion | undefined)[] = new Array<IoRegion | undefined>(PORTS).fill(undefined);
  readonly #bases = new Uint16Array(PORTS);
  readonly #mappings: Mapping[] = [];
  /** Told of accesses that nobody handles (`-d unimp`). */
  onUnhandled: (port: number, bytes: number, value: number) => void = () => {};

  /** Later mappings lie over earlier ones. */
  map(base: number, region: IoRegion): void {
    this.#mappings.push({ base, region });
    this.#fill(base, region);
  }

  unmap(region: IoRegion): void {
    const at = this.#mappings.findIndex((m) => m.region === region);
    if (at < 0) return;
    const [removed] = this.#mappings.splice(at, 1);
    for (let port = removed!.base; port < Math.min(PORTS, removed!.base + region.size); port++) {
      this.#regions[port] = undefined;
    }
    for (const mapping of this.#mappings) this.#fill(mapping.base, mapping.region);
  }

  mapAll(mappings: readonly Mapping[]): void {
    for (const { base, region } of mappings) this.map(base, region);
  }

  mappings(): readonly Mapping[] {
    return this.#mappings;
  }

  #fill(base: number, region: IoRegion): void {
    for (let port = base; port < Math.min(PORTS, base + region.size); port++) {
      this.#regions[port] = region;
      this.#bases[port] = base;
    }
  }

  /** `bytes`: 1, 2 or 4. Unsigned. */
  read(port: number, bytes: number): number {
    const value = this.#read(port, bytes);
    if (tracePortRead.enabled) tracePortRead.emit(this.#regions[port]?.name ?? '-', port, bytes, value);
    return value;
  }

  #read(port: number, bytes: number): number {
    const region = this.#regions[port];
    if (region === undefined) {
      this.onUnhandled(port, bytes, -1);
      return bytes === 4 ? 0xffffffff : bytes === 2 ? 0xffff : 0xff;
    }
    const offset = port - this.#bases[port]!;
    if (bytes === 1 && region.read8 !== undefined) return region.read8(offset);
    if (bytes === 2 && region.read16 !== undefined) return region.read16(offset);
    if (bytes > 1 && offset + bytes > region.size) return this.#readSplit(port, bytes);
    return readRegion(region, offset, bytes);
  }

  write(port: number, bytes: number, value: number): void {
    if (tracePortWrite.enabled) tracePortWrite.emit(this.#regions[port]?.name ?? '-', port, bytes, value);
    const region = this.#regions[port];
    if (region === undefined) {
      this.onUnhandled(port, bytes, value);
      return;
    }
    const offset = port - this.#bases[port]!;
    if (bytes > 1 && offset + bytes > region.size) {
      for (let i = 0; i < bytes; i++) this.write((port + i) & 0xffff, 1, (value >>> (i * 8)) & 0xff);
      return;
    }
    writeRegion(region, offset, bytes, value);
  }

  /** An access that runs over the end of its region. */
  #readSplit(port: number, bytes: number): number {
    let value = 0;
    for (let i = 0; i < bytes; i++) value |= this.read((port + i) & 0xffff, 1) << (i * 8);
    return value >>> 0;
  }
}
