/**
 * The register window behind BAR 2 (4 KiB): EDID at 0, ports 0x3c0-0x3df at 0x400, DISPI registers at 0x500, QEMU's
 * extended registers at 0x600. Facts: QEMU docs/specs/standard-vga.txt, hw/display/vga-pci.c.
 *
 * Not emulated: accesses that straddle two of these blocks (each part answers as the block of its first byte).
 */
import type { IoRegion } from '../../machine/device.ts';
import type { VgaRegisters } from './registers.ts';
import type { VgaCore } from './state.ts';
import { readVbeData, writeVbeData } from './vbe.ts';

export const MMIO_SIZE = 0x1000;
const PORTS_OFFSET = 0x400;
const PORTS_SIZE = 0x20;
const DISPI_OFFSET = 0x500;
const DISPI_SIZE = 22;
const EXTENDED_OFFSET = 0x600;
const EXTENDED_SIZE = 8;
const EXTENDED_BYTE_ORDER = 4;
const LITTLE_ENDIAN = 0x1e1e1e1e;
const BIG_ENDIAN = 0xbebebebe;

function within(offset: number, start: number, size: number): boolean {
  return offset >= start && offset < start + size;
}

export class VgaMmio implements IoRegion {
  readonly name: string = 'vga.mmio';
  readonly size: number = MMIO_SIZE;
  readonly #core: VgaCore;
  readonly #registers: VgaRegisters;
  readonly #edid: Uint8Array;
  readonly #refreshWindow: () => void;

  constructor(core: VgaCore, registers: VgaRegisters, edid: Uint8Array, refreshWindow: () => void) {
    this.#core = core;
    this.#registers = registers;
    this.#edid = edid;
    this.#refreshWindow = refreshWindow;
  }

  read8(offset: number): number {
    if (offset < this.#edid.length) return this.#edid[offset]!;
    if (within(offset, PORTS_OFFSET, PORTS_SIZE)) return this.#registers.read(0x3c0 + offset - PORTS_OFFSET);
    // DISPI registers are words: either byte address gives the low byte.
    if (within(offset, DISPI_OFFSET, DISPI_SIZE)) return this.#readDispi(offset) & 0xff;
    // Extended registers answer to 32-bit accesses alone; others read as zero.
    return within(offset, EXTENDED_OFFSET, EXTENDED_SIZE) ? 0 : 0xff;
  }

  read16(offset: number): number {
    if (within(offset, DISPI_OFFSET, DISPI_SIZE)) return this.#readDispi(offset);
    const low = this.read8(offset);
    return low | (this.read8(offset + 1) << 8);
  }

  read32(offset: number): number {
    if (offset === EXTENDED_OFFSET) return EXTENDED_SIZE;
    if (offset === EXTENDED_OFFSET + EXTENDED_BYTE_ORDER) {
      return this.#core.state.endian.bigEndianFb ? BIG_ENDIAN : LITTLE_ENDIAN;
    }
    const low = this.read16(offset);
    return (low | (this.read16(offset + 2) << 16)) >>> 0;
  }

  write8(offset: number, value: number): void {
    if (within(offset, PORTS_OFFSET, PORTS_SIZE)) {
      this.#registers.write(0x3c0 + offset - PORTS_OFFSET, value & 0xff);
    } else if (within(offset, DISPI_OFFSET, DISPI_SIZE)) {
      this.#writeDispi(offset, value & 0xff);
    }
  }

  write16(offset: number, value: number): void {
    if (within(offset, DISPI_OFFSET, DISPI_SIZE)) {
      this.#writeDispi(offset, value & 0xffff);
      return;
    }
    // Low byte first: one word write sets index and data.
    this.write8(offset, value & 0xff);
    this.write8(offset + 1, (value >> 8) & 0xff);
  }

  write32(offset: number, value: number): void {
    if (offset === EXTENDED_OFFSET + EXTENDED_BYTE_ORDER) {
      const order = value >>> 0;
      if (order === BIG_ENDIAN) this.#core.state.endian.bigEndianFb = true;
      if (order === LITTLE_ENDIAN) this.#core.state.endian.bigEndianFb = false;
      this.#core.touched = true;
      return;
    }
    this.write16(offset, value & 0xffff);
    this.write16(offset + 2, value >>> 16);
  }

  /** Accesses move the index register that ports 0x1ce and 0x1cf use, as in QEMU. */
  #readDispi(offset: number): number {
    this.#core.state.vbeIndex = (offset - DISPI_OFFSET) >> 1;
    return readVbeData(this.#core);
  }

  #writeDispi(offset: number, value: number): void {
    this.#core.state.vbeIndex = (offset - DISPI_OFFSET) >> 1;
    writeVbeData(this.#core, value);
    this.#refreshWindow();
  }
}
