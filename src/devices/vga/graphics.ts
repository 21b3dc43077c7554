/**
 * Graphics modes: 4 and 16 colours from planes, 256 colours, and the VBE depths.
 * Reference: IBM VGA technical reference, "Graphics Modes"; picture as QEMU's screendump shows it.
 *
 * Not emulated, as in QEMU: pixel panning, preset row scan, byte panning, overscan border.
 */
import type { VgaCore } from './state.ts';
import {
  AR_PLANE_ENABLE,
  CR_H_DISPLAY_END,
  CR_MAX_SCAN,
  CR_MODE,
  GR_MODE,
  lineCompare,
  lineOffset,
  SR_CLOCKING_MODE,
  sequencer,
  startAddress,
  VBE_BPP,
  VBE_XRES,
  VBE_YRES,
  vbeEnabled,
  verticalDisplayEnd,
} from './state.ts';
import type { Surface } from './surface.ts';

export interface GraphicsGeometry {
  /** Pixels fetched a line. */
  readonly sourceWidth: number;
  /** Pixels shown a line: twice as many with the half dot clock. */
  readonly width: number;
  readonly height: number;
  /** 0: not a VBE mode. */
  readonly bpp: number;
  /** GR5 bits 5-6. 0: 16 colours from planes; 1: 4 colours, CGA-style; 2, 3: 256 colours or VBE depth. */
  readonly shift: number;
}

export function graphicsGeometry(core: VgaCore): GraphicsGeometry {
  const { state } = core;
  const vbe = vbeEnabled(state);
  const shift = (state.gr[GR_MODE]! >> 5) & 3;
  const sourceWidth = vbe ? state.vbeRegs[VBE_XRES]! : (state.cr[CR_H_DISPLAY_END]! + 1) * 8;
  const height = vbe ? state.vbeRegs[VBE_YRES]! : verticalDisplayEnd(state);
  const halfClock = shift < 2 && (sequencer(core, SR_CLOCKING_MODE) & 8) !== 0;
  const width = halfClock ? sourceWidth * 2 : sourceWidth;
  return { sourceWidth, width, height, bpp: vbe ? state.vbeRegs[VBE_BPP]! : 0, shift };
}

/** Draws one line of `count` source pixels from byte `address` of video memory to `at`. */
type LinePainter = (
  core: VgaCore,
  pixels: Uint32Array,
  at: number,
  address: number,
  count: number,
  palette: Uint32Array,
) => void;

/** One pixel a bit in each of the four planes; a group is 8 pixels. `double` shows each twice. */
function paintPlanar(double: boolean): LinePainter {
  const step = double ? 2 : 1;
  return (core, pixels, at, address, count, palette) => {
    const { vram } = core;
    const mask = vram.length - 1;
    const enable = core.state.ar[AR_PLANE_ENABLE]!;
    for (let group = 0; group < count >> 3; group++) {
      const base = (address + group * 4) & mask & ~3;
      const p0 = enable & 1 ? vram[base]! : 0;
      const p1 = enable & 2 ? vram[base + 1]! : 0;
      const p2 = enable & 4 ? vram[base + 2]! : 0;
      const p3 = enable & 8 ? vram[base + 3]! : 0;
      for (let bit = 7; bit >= 0; bit--) {
        const index =
          ((p0 >> bit) & 1) | (((p1 >> bit) & 1) << 1) | (((p2 >> bit) & 1) << 2) | (((p3 >> bit) & 1) << 3);
        const color = palette[index]!;
        pixels[at] = color;
        if (double) pixels[at + 1] = color;
        at += step;
      }
    }
  };
}

/** Two bits of a pixel side by side in a byte: planes 0 and 2 hold four pixels, planes 1 and 3 the next four. */
function paintPairs(double: boolean): LinePainter {
  const step = double ? 2 : 1;
  return (core, pixels, at, address, count, palette) => {
    const { vram } = core;
    const mask = vram.length - 1;
    const enable = core.state.ar[AR_PLANE_ENABLE]!;
    for (let group = 0; group < count >> 3; group++) {
      const base = (address + group * 4) & mask & ~3;
      for (let half = 0; half < 2; half++) {
        const low = enable & (1 << half) ? vram[base + half]! : 0;
        const high = enable & (4 << half) ? vram[base + half + 2]! : 0;
        for (let bit = 6; bit >= 0; bit -= 2) {
          const color = palette[((low >> bit) & 3) | (((high >> bit) & 3) << 2)]!;
          pixels[at] = color;
          if (double) pixels[at + 1] = color;
          at += step;
        }
      }
    }
  };
}

/** Mode 13h and its kin: four bytes make eight pixels. */
const paintBytesDoubled: LinePainter = (core, pixels, at, address, count, palette) => {
  const { vram } = core;
  const mask = vram.length - 1;
  for (let i = 0; i < count >> 1; i++) {
    const color = palette[vram[(address + i) & mask]!]!;
    pixels[at++] = color;
    pixels[at++] = color;
  }
};

const paintBytes: LinePainter = (core, pixels, at, address, count, palette) => {
  const { vram } = core;
  const mask = vram.length - 1;
  for (let i = 0; i < count; i++) pixels[at++] = palette[vram[(address + i) & mask]!]!;
};

/** Byte index of the high and low half of a 16-bit pixel, which is fetched from an even address. */
function fetch16(core: VgaCore, address: number): number {
  const { vram } = core;
  const even = address & (vram.length - 1) & ~1;
  const first = vram[even]!;
  const second = vram[even + 1]!;
  return core.state.endian.bigEndianFb ? (first << 8) | second : first | (second << 8);
}

const paint15: LinePainter = (core, pixels, at, address, count) => {
  for (let i = 0; i < count; i++) {
    const v = fetch16(core, address + i * 2);
    pixels[at++] = ((v & 0x7c00) << 9) | ((v & 0x03e0) << 6) | ((v & 0x001f) << 3);
  }
};

/**
 * QEMU shows 5-6-5 pixels in two ways. A frame that lies within video memory is handed to the display as it is, and
 * its components are widened by repeating their upper bits; one that wraps around is converted with zeros below.
 */
const paint16Repeated: LinePainter = (core, pixels, at, address, count) => {
  for (let i = 0; i < count; i++) {
    const v = fetch16(core, address + i * 2);
    const r = v >> 11;
    const g = (v >> 5) & 0x3f;
    const b = v & 0x1f;
    pixels[at++] = (((r << 3) | (r >> 2)) << 16) | (((g << 2) | (g >> 4)) << 8) | (b << 3) | (b >> 2);
  }
};

const paint16: LinePainter = (core, pixels, at, address, count) => {
  for (let i = 0; i < count; i++) {
    const v = fetch16(core, address + i * 2);
    pixels[at++] = ((v & 0xf800) << 8) | ((v & 0x07e0) << 5) | ((v & 0x001f) << 3);
  }
};

/** 24 and 32 bits: blue, green, red in ascending bytes, or red first in a big-endian framebuffer. */
function paintTrueColor(bytes: 3 | 4): LinePainter {
  return (core, pixels, at, address, count) => {
    const { vram } = core;
    const mask = vram.length - 1;
    const big = core.state.endian.bigEndianFb;
    const red = big ? bytes - 3 : 2;
    const green = big ? bytes - 2 : 1;
    const blue = big ? bytes - 1 : 0;
    for (let i = 0; i < count; i++) {
      const from = address + i * bytes;
      pixels[at++] =
        (vram[(from + red) & mask]! << 16) |
        (vram[(from + green) & mask]! << 8) |
        vram[(from + blue) & mask]!;
    }
  };
}

/** 32 bits little-endian, the commonest: whole words. Start and pitch are multiples of four. */
const paintWords: LinePainter = (core, pixels, at, address, count) => {
  const { vram32 } = core;
  const mask = vram32.length - 1;
  const first = address >>> 2;
  for (let i = 0; i < count; i++) pixels[at++] = vram32[(first + i) & mask]! & 0xffffff;
};

const PLANAR = [paintPlanar(false), paintPlanar(true)] as const;
const PAIRS = [paintPairs(false), paintPairs(true)] as const;
const TRUE_COLOR_24 = paintTrueColor(3);
const TRUE_COLOR_32 = paintTrueColor(4);

/** Whether QEMU would show this frame straight from video memory. */
function isShared(core: VgaCore, { sourceWidth, height, bpp }: GraphicsGeometry): boolean {
  const pitch = lineOffset(core.state);
  const end = startAddress(core.state) * 4 + pitch * (height - 1) + Math.floor((sourceWidth * bpp) / 8);
  // A big-endian 5-6-5 surface has no display format.
  return end <= core.vram.length && !core.state.endian.bigEndianFb;
}

function painterFor(core: VgaCore, geometry: GraphicsGeometry): LinePainter {
  const { shift, bpp, width, sourceWidth } = geometry;
  const double = width === sourceWidth ? 0 : 1;
  if (shift === 0) return PLANAR[double];
  if (shift === 1) return PAIRS[double];
  switch (bpp) {
    case 8:
      return paintBytes;
    case 15:
      return paint15;
    case 16:
      return isShared(core, geometry) ? paint16Repeated : paint16;
    case 24:
      return TRUE_COLOR_24;
    case 32:
      return core.state.endian.bigEndianFb ? TRUE_COLOR_32 : paintWords;
    default:
      return paintBytesDoubled;
  }
}

/** How many more times than once each memory line is shown. */
function lineRepeats(cr: Uint8Array): number {
  const doubleScan = cr[CR_MAX_SCAN]! >> 7;
  // CGA-compatible addressing shows each line once or twice, whatever the character height.
  if (!(cr[CR_MODE]! & 1)) return doubleScan;
  return (((cr[CR_MAX_SCAN]! & 0x1f) + 1) << doubleScan) - 1;
}

/** CGA and Hercules put bits of the line number into the address: rows 1 of 2, 2 and 3 of 4 lie in banks above. */
function bankedAddress(address: number, mode: number, line: number): number {
  if (!(mode & 1)) {
    const shift = 14 + ((mode >> 6) & 1);
    address = (address & ~(1 << shift)) | ((line & 1) << shift);
  }
  if (!(mode & 2)) address = (address & ~0x8000) | ((line & 2) << 14);
  return address;
}

/** Draws the graphics screen; the surface has its size already. */
export function drawGraphics(
  core: VgaCore,
  surface: Surface,
  geometry: GraphicsGeometry,
  palette: Uint32Array,
): void {
  const { state } = core;
  const paint = painterFor(core, geometry);
  const mode = state.cr[CR_MODE]!;
  const compare = lineCompare(state);
  const pitch = lineOffset(state);
  const repeats = lineRepeats(state.cr);
  const bankLines = (mode & 3) ^ 3;
  let address = startAddress(state) * 4;
  let line = 0;
  let repeat = repeats;
  for (let y = 0; y < geometry.height; y++) {
    const from = bankedAddress(address, mode, line);
    paint(core, surface.pixels, y * surface.width, from, geometry.sourceWidth, palette);
    if (repeat === 0) {
      if ((line & bankLines) === bankLines) address += pitch;
      line++;
      repeat = repeats;
    } else {
      repeat--;
    }
    // Line compare counts displayed lines.
    if (y === compare) address = 0;
  }
}
