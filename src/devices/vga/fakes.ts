/** A VGA on a board of its own, and standard modes to program it with: for the tests of this folder only. */
import type { AddressSpace, IoRegion, Mapping } from '../../machine/device.ts';
import { PciBus } from '../pci/bus.ts';
import type { VgaOptions } from './vga.ts';
import { VRAM_SIZE, Vga } from './vga.ts';

/** Routes accesses to regions as a machine does, splitting those that are wider than a region's handlers. */
export class FakeBoard implements AddressSpace {
  readonly #mappings: Mapping[] = [];

  map(base: number, region: IoRegion): void {
    this.#mappings.push({ base, region });
  }

  unmap(region: IoRegion): void {
    const index = this.#mappings.findIndex((each) => each.region === region);
    if (index >= 0) this.#mappings.splice(index, 1);
  }

  #find(address: number): Mapping | undefined {
    return this.#mappings.find(({ base, region }) => address >= base && address < base + region.size);
  }

  /** `bytes` is 1, 2 or 4. */
  read(address: number, bytes: number): number {
    const found = this.#find(address);
    const ones = bytes === 4 ? 0xffffffff : (1 << (bytes * 8)) - 1;
    if (!found) return ones;
    const { region } = found;
    const offset = address - found.base;
    const handler = { 1: region.read8, 2: region.read16, 4: region.read32 }[bytes];
    if (handler) return handler.call(region, offset);
    if (bytes === 1) return ones;
    const half = bytes / 2;
    return (this.read(address, half) | (this.read(address + half, half) << (half * 8))) >>> 0;
  }

  write(address: number, bytes: number, value: number): void {
    const found = this.#find(address);
    if (!found) return;
    const { region } = found;
    const offset = address - found.base;
    const handler = { 1: region.write8, 2: region.write16, 4: region.write32 }[bytes];
    if (handler) {
      handler.call(region, offset, value);
    } else if (bytes > 1) {
      const half = bytes / 2;
      this.write(address, half, half === 1 ? value & 0xff : value & 0xffff);
      this.write(address + half, half, value >>> (half * 8));
    }
  }
}

export interface VgaBench {
  readonly vga: Vga;
  readonly vram: Uint8Array;
  readonly bus: PciBus;
  readonly ports: FakeBoard;
  readonly memory: FakeBoard;
}

export function createBench(options: Partial<VgaOptions> = {}): VgaBench {
  const ports = new FakeBoard();
  const memory = new FakeBoard();
  const bus = new PciBus({ io: ports, memory });
  const vram = options.vram ?? new Uint8Array(VRAM_SIZE);
  const vga = new Vga({ bus, ...options, vram });
  for (const { base, region } of vga.ports()) ports.map(base, region);
  for (const { base, region } of vga.memory()) memory.map(base, region);
  vga.reset();
  return { vga, vram, bus, ports, memory };
}

/** What programs a mode: a bench of ours or a machine of QEMU's. */
export interface PortWriter {
  outb(port: number, value: number): void;
  outw(port: number, value: number): void;
}

export function portWriter({ ports }: VgaBench): PortWriter {
  return {
    outb: (port, value) => ports.write(port, 1, value),
    outw: (port, value) => ports.write(port, 2, value),
  };
}

export interface StandardMode {
  readonly name: string;
  readonly misc: number;
  readonly sequencer: readonly number[];
  readonly crtc: readonly number[];
  readonly graphics: readonly number[];
  readonly attribute: readonly number[];
}

function hex(text: string): number[] {
  return text.split(' ').map((byte) => Number.parseInt(byte, 16));
}

const EGA_COLORS = '00 01 02 03 04 05 14 07 38 39 3a 3b 3c 3d 3e 3f';
const PLAIN_COLORS = '00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f';

/** Register values of the IBM VGA BIOS's modes (IBM VGA technical reference, appendix; FreeVGA). */
export const STANDARD_MODES: readonly StandardMode[] = [
  {
    name: '03h: text 80x25, 9 dots',
    misc: 0x67,
    sequencer: hex('03 00 03 00 02'),
    crtc: hex('5f 4f 50 82 55 81 bf 1f 00 4f 0d 0e 00 00 00 00 9c 8e 8f 28 1f 96 b9 a3 ff'),
    graphics: hex('00 00 00 00 00 10 0e 00 ff'),
    attribute: hex(`${EGA_COLORS} 0c 00 0f 08 00`),
  },
  {
    name: '01h: text 40x25, half dot clock',
    misc: 0x67,
    sequencer: hex('03 08 03 00 02'),
    crtc: hex('2d 27 28 90 2b a0 bf 1f 00 4f 0d 0e 00 00 00 00 9c 8e 8f 14 1f 96 b9 a3 ff'),
    graphics: hex('00 00 00 00 00 10 0e 00 ff'),
    attribute: hex(`${EGA_COLORS} 0c 00 0f 08 00`),
  },
  {
    name: 'text 80x50, 8 dots, two fonts',
    misc: 0x63,
    sequencer: hex('03 01 03 04 02'),
    crtc: hex('5f 4f 50 82 55 81 bf 1f 00 47 06 07 00 00 00 00 9c 8e 8f 28 1f 96 b9 a3 ff'),
    graphics: hex('00 00 00 00 00 10 0e 00 ff'),
    attribute: hex(`${EGA_COLORS} 08 00 0f 00 00`),
  },
  {
    name: '04h: CGA 320x200, 4 colours',
    misc: 0x63,
    sequencer: hex('03 09 03 00 02'),
    crtc: hex('2d 27 28 90 2b 80 bf 1f 00 c1 00 00 00 00 00 00 9c 8e 8f 14 00 96 b9 a2 ff'),
    graphics: hex('00 00 00 00 00 30 0f 0f ff'),
    attribute: hex('00 13 15 17 02 04 06 07 10 11 12 13 14 15 16 17 01 00 03 00 00'),
  },
  {
    name: '06h: CGA 640x200, 2 colours',
    misc: 0x63,
    sequencer: hex('03 01 01 00 06'),
    crtc: hex('5f 4f 50 82 54 80 bf 1f 00 c1 00 00 00 00 00 00 9c 8e 8f 28 00 96 b9 c2 ff'),
    graphics: hex('00 00 00 00 00 00 0d 0f ff'),
    attribute: hex('00 17 17 17 17 17 17 17 17 17 17 17 17 17 17 17 01 00 01 00 00'),
  },
  {
    name: '0dh: 320x200, 16 colours',
    misc: 0x63,
    sequencer: hex('03 09 0f 00 06'),
    crtc: hex('2d 27 28 90 2b 80 bf 1f 00 c0 00 00 00 00 00 00 9c 8e 8f 14 00 96 b9 e3 ff'),
    graphics: hex('00 00 00 00 00 00 05 0f ff'),
    attribute: hex(`${PLAIN_COLORS} 01 00 0f 00 00`),
  },
  {
    name: '12h: 640x480, 16 colours',
    misc: 0xe3,
    sequencer: hex('03 01 0f 00 06'),
    crtc: hex('5f 4f 50 82 54 80 0b 3e 00 40 00 00 00 00 00 00 ea 8c df 28 00 e7 04 e3 ff'),
    graphics: hex('00 00 00 00 00 00 05 0f ff'),
    attribute: hex(`${EGA_COLORS} 01 00 0f 00 00`),
  },
  {
    name: '13h: 320x200, 256 colours',
    misc: 0x63,
    sequencer: hex('03 01 0f 00 0e'),
    crtc: hex('5f 4f 50 82 54 80 bf 1f 00 41 00 00 00 00 00 00 9c 8e 8f 28 40 96 b9 a3 ff'),
    graphics: hex('00 00 00 00 00 40 05 0f ff'),
    attribute: hex(`${PLAIN_COLORS} 41 00 0f 00 00`),
  },
  {
    name: 'mode X: 320x240, 256 colours, planar',
    misc: 0xe3,
    sequencer: hex('03 01 0f 00 06'),
    crtc: hex('5f 4f 50 82 54 80 0d 3e 00 41 00 00 00 00 00 00 ea ac df 28 00 e7 06 e3 ff'),
    graphics: hex('00 00 00 00 00 40 05 0f ff'),
    attribute: hex(`${PLAIN_COLORS} 41 00 0f 00 00`),
  },
];

/** Programs a mode as the BIOS does, with the screen off in between, and any palette. */
export function setStandardMode(to: PortWriter, monochromeStatus: () => void, mode: StandardMode): void {
  to.outb(0x3c2, mode.misc);
  // Reading status 1 sets the attribute controller to take an index.
  monochromeStatus();
  to.outb(0x3c0, 0);
  to.outb(0x3c0, mode.attribute[0]!);
  mode.sequencer.forEach((value, index) => {
    to.outw(0x3c4, index | (value << 8));
  });
  // Unlock CR0-7 first.
  to.outw(0x3d4, 0x0011);
  mode.crtc.forEach((value, index) => {
    to.outw(0x3d4, index | (value << 8));
  });
  mode.graphics.forEach((value, index) => {
    to.outw(0x3ce, index | (value << 8));
  });
  mode.attribute.forEach((value, index) => {
    to.outb(0x3c0, index);
    to.outb(0x3c0, value);
  });
  to.outb(0x3c0, 0x20);
}

/** Loads the DAC with 256 different colours. */
export function setTestPalette(to: PortWriter): void {
  to.outb(0x3c8, 0);
  for (let i = 0; i < 256; i++) {
    to.outb(0x3c9, (i * 5 + 7) & 0xff);
    to.outb(0x3c9, (i * 3) & 0xff);
    to.outb(0x3c9, (255 - i * 7) & 0xff);
  }
}

/** Writes DISPI registers, enabling the mode last. */
export function setVbeMode(
  to: PortWriter,
  mode: { width: number; height: number; bpp: number; enable?: number; virtualWidth?: number },
): void {
  const set = (index: number, value: number) => {
    to.outw(0x1ce, index);
    to.outw(0x1d0, value);
  };
  set(4, 0);
  set(1, mode.width);
  set(2, mode.height);
  set(3, mode.bpp);
  set(4, mode.enable ?? 0x41);
  if (mode.virtualWidth !== undefined) set(6, mode.virtualWidth);
}

/** Bytes that look random but are the same every time. */
export function testBytes(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let x = seed * 2654435761 + 1;
  for (let i = 0; i < length; i++) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    bytes[i] = x >>> 24;
  }
  return bytes;
}
