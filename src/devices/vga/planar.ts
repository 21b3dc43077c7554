/**
 * The legacy window at 0xa0000-0xbffff: chain-4, odd/even and latched access to interleaved planes.
 * Reference: IBM VGA XGA Technical Reference, "Video Memory Read/Write Operations"; addressing of the interleaved
 * memory as in QEMU hw/display/vga.c, so that the `vga.vram` block interchanges.
 *
 * Not emulated: the 64 KiB limit without extended memory (SR4 bit 1) and odd/even by SR4 bit 2; QEMU looks at GR5
 * bit 4 alone. The misc output register's memory enable is ignored.
 *
 * What depends only on registers is worked out in refresh(), so that an access is a few tests and one store.
 */
import type { IoRegion } from '../../machine/device.ts';
import type { VgaCore } from './state.ts';
import {
  GR_BIT_MASK,
  GR_COLOR_COMPARE,
  GR_COLOR_DONT_CARE,
  GR_DATA_ROTATE,
  GR_ENABLE_SET_RESET,
  GR_MISC,
  GR_MODE,
  GR_READ_MAP,
  GR_SET_RESET,
  SR_MAP_MASK,
  SR_MEMORY_MODE,
  sequencer,
} from './state.ts';

export const LEGACY_WINDOW_BASE = 0xa0000;
export const LEGACY_WINDOW_SIZE = 0x20000;

/** A part of the legacy window that behaves like plain memory. */
export interface DirectWindow {
  /** Guest-physical address of its first byte. */
  readonly base: number;
  /** Bytes. */
  readonly size: number;
  /** Where in video memory it begins. */
  readonly offset: number;
}

/** Four plane bits → four byte masks. */
const PLANES = Int32Array.from({ length: 16 }, (_, bits) => {
  let mask = 0;
  for (let plane = 0; plane < 4; plane++) if (bits & (1 << plane)) mask |= 0xff << (plane * 8);
  return mask;
});

const CHAIN4 = 0;
const ODD_EVEN = 1;
const LATCHED = 2;

/** The four memory maps of GR6: first window offset and size. */
const MAP_START = [0, 0, 0x10000, 0x18000] as const;
const MAP_SIZE = [0x20000, 0x10000, 0x8000, 0x8000] as const;

export class LegacyWindow implements IoRegion {
  readonly name: string = 'vga-lowmem';
  readonly size: number = LEGACY_WINDOW_SIZE;
  readonly #core: VgaCore;
  readonly #onDirectChange: ((direct: DirectWindow | undefined) => void) | undefined;
  #mapStart: number = 0;
  #mapSize: number = 0;
  /** Added to addresses inside the map. */
  #bank: number = 0;
  #access: number = LATCHED;
  #mapMask: number = 0;
  #writePlanes: number = 0;
  #direct: DirectWindow | undefined;

  constructor(core: VgaCore, onDirectChange: ((direct: DirectWindow | undefined) => void) | undefined) {
    this.#core = core;
    this.#onDirectChange = onDirectChange;
    this.refresh();
  }

  /** The part that may be mapped as memory now: chain-4 with all planes writable. */
  get direct(): DirectWindow | undefined {
    return this.#direct;
  }

  /** Works out anew what the registers say. Runs at every sequencer and graphics controller write: cheap. */
  refresh(): void {
    const core = this.#core;
    const { gr, bankOffset } = core.state;
    const map = (gr[GR_MISC]! >> 2) & 3;
    this.#mapStart = MAP_START[map]!;
    this.#mapSize = MAP_SIZE[map]!;
    this.#bank = map === 1 ? bankOffset : 0;
    this.#mapMask = sequencer(core, SR_MAP_MASK) & 0x0f;
    this.#writePlanes = PLANES[this.#mapMask]!;
    if (sequencer(core, SR_MEMORY_MODE) & 0x08) this.#access = CHAIN4;
    else this.#access = gr[GR_MODE]! & 0x10 ? ODD_EVEN : LATCHED;
    this.#refreshDirect();
  }

  #refreshDirect(): void {
    const direct = this.#direct;
    const possible =
      this.#access === CHAIN4 &&
      this.#mapMask === 0x0f &&
      this.#bank + this.#mapSize <= this.#core.vram.length;
    if (!possible) {
      if (direct === undefined) return;
      this.#direct = undefined;
    } else {
      const base = LEGACY_WINDOW_BASE + this.#mapStart;
      const unchanged =
        direct?.base === base && direct.size === this.#mapSize && direct.offset === this.#bank;
      if (unchanged) return;
      this.#direct = { base, size: this.#mapSize, offset: this.#bank };
    }
    this.#onDirectChange?.(this.#direct);
  }

  read8(offset: number): number {
    const core = this.#core;
    let address = offset - this.#mapStart;
    if (address < 0 || address >= this.#mapSize) return 0xff;
    address += this.#bank;
    if (this.#access === CHAIN4) return address < core.vram.length ? core.vram[address]! : 0xff;
    if (this.#access === ODD_EVEN) {
      address = ((address & ~1) << 1) | (core.state.gr[GR_READ_MAP]! & 2) | (address & 1);
      return address < core.vram.length ? core.vram[address]! : 0xff;
    }
    if (address >= core.vram32.length) return 0xff;
    return this.#readLatched(address);
  }

  #readLatched(address: number): number {
    const core = this.#core;
    const { gr } = core.state;
    const latch = core.vram32[address]!;
    core.latch = latch;
    if (!(gr[GR_MODE]! & 0x08)) return (latch >>> (gr[GR_READ_MAP]! * 8)) & 0xff;
    // Read mode 1: a bit is set where all planes that matter equal the compare colour.
    let differs = (latch ^ PLANES[gr[GR_COLOR_COMPARE]! & 15]!) & PLANES[gr[GR_COLOR_DONT_CARE]! & 15]!;
    differs |= differs >>> 16;
    differs |= differs >>> 8;
    return ~differs & 0xff;
  }

  write8(offset: number, value: number): void {
    const core = this.#core;
    let address = offset - this.#mapStart;
    if (address < 0 || address >= this.#mapSize) return;
    address += this.#bank;
    if (this.#access === LATCHED) {
      if (address < core.vram32.length) this.#writeLatched(address, value & 0xff);
      return;
    }
    let plane = address & 3;
    if (this.#access === ODD_EVEN) {
      plane = (core.state.gr[GR_READ_MAP]! & 2) | (address & 1);
      address = ((address & ~1) << 1) | plane;
    }
    if (!(this.#mapMask & (1 << plane)) || address >= core.vram.length) return;
    if (core.dirty !== undefined) core.dirty.mark(address, 1);
    core.vram[address] = value;
    core.touched = true;
  }

  #writeLatched(address: number, value: number): void {
    const core = this.#core;
    const { gr } = core.state;
    const { latch } = core;
    let data = latch;
    const mode = gr[GR_MODE]! & 3;
    if (mode !== 1) {
      let bitMask = gr[GR_BIT_MASK]!;
      const rotate = gr[GR_DATA_ROTATE]! & 7;
      const setReset = PLANES[gr[GR_SET_RESET]! & 15]!;
      if (mode === 2) {
        data = PLANES[value & 15]!;
      } else {
        const rotated = ((value >> rotate) | (value << (8 - rotate))) & 0xff;
        if (mode === 0) {
          const enabled = PLANES[gr[GR_ENABLE_SET_RESET]! & 15]!;
          data = (Math.imul(rotated, 0x01010101) & ~enabled) | (setReset & enabled);
        } else {
          bitMask &= rotated;
          data = setReset;
        }
      }
      const operation = (gr[GR_DATA_ROTATE]! >> 3) & 3;
      if (operation === 1) data &= latch;
      else if (operation === 2) data |= latch;
      else if (operation === 3) data ^= latch;
      const bits = Math.imul(bitMask, 0x01010101);
      data = (data & bits) | (latch & ~bits);
    }
    const planes = this.#writePlanes;
    if (core.dirty !== undefined) core.dirty.mark(address * 4, 4);
    core.vram32[address] = (core.vram32[address]! & ~planes) | (data & planes);
    core.touched = true;
  }

  // Wider accesses are bytes in ascending order: the latches see each of them (QEMU's impl.max_access_size is 1).
  read16(offset: number): number {
    const low = this.read8(offset);
    return low | (this.read8(offset + 1) << 8);
  }

  write16(offset: number, value: number): void {
    this.write8(offset, value & 0xff);
    this.write8(offset + 1, (value >> 8) & 0xff);
  }

  read32(offset: number): number {
    const low = this.read16(offset);
    return (low | (this.read16(offset + 2) << 16)) >>> 0;
  }

  write32(offset: number, value: number): void {
    this.write16(offset, value & 0xffff);
    this.write16(offset + 2, value >>> 16);
  }
}
