/**
 * Bochs VBE "DISPI" interface: ports 0x1ce (index) and 0x1cf or 0x1d0 (data), 16 bits wide.
 * Facts: QEMU docs/specs/standard-vga.txt, hw/display/vga.c, include/hw/display/bochs-vbe.h.
 *
 * The guest cannot be told of an error, so impossible values are pulled to the nearest possible ones.
 * Not emulated: the LFB enable bit (the linear framebuffer is always there, as in QEMU).
 */
import type { IoRegion } from '../../machine/device.ts';
import type { VgaCore } from './state.ts';
import {
  CR_H_DISPLAY_END,
  CR_LINE_COMPARE,
  CR_MAX_SCAN,
  CR_MODE,
  CR_OFFSET,
  CR_OVERFLOW,
  CR_V_DISPLAY_END,
  GR_MISC,
  GR_MODE,
  SR_CLOCKING_MODE,
  SR_MAP_MASK,
  SR_MEMORY_MODE,
  VBE_BANK,
  VBE_BPP,
  VBE_ENABLE,
  VBE_ENABLED,
  VBE_GETCAPS,
  VBE_ID,
  VBE_NOCLEARMEM,
  VBE_REGISTERS,
  VBE_VIRT_HEIGHT,
  VBE_VIRT_WIDTH,
  VBE_X_OFFSET,
  VBE_XRES,
  VBE_Y_OFFSET,
  VBE_YRES,
  vbeEnabled,
} from './state.ts';

export const VBE_MAX_XRES = 16000;
export const VBE_MAX_YRES = 12000;
const VBE_MAX_BPP = 32;
const VBE_ID_FIRST = 0xb0c0;
const VBE_ID_LAST = 0xb0c5;
/** Read-only index beyond the register file: video memory in units of 64 KiB. */
const VBE_VIDEO_MEMORY_64K = 10;

/** Bits a pixel occupies in memory. */
function bitsPerPixel(bpp: number): number {
  return bpp === 15 ? 16 : bpp;
}

function isDepth(bpp: number): boolean {
  return bpp === 4 || bpp === 8 || bpp === 15 || bpp === 16 || bpp === 24 || bpp === 32;
}

/** Pulls the DISPI registers into what fits video memory and derives pitch and start from them. */
function clampRegisters(core: VgaCore): void {
  const { state } = core;
  if (!vbeEnabled(state)) return;
  const r = state.vbeRegs;
  const size = core.vram.length;
  if (!isDepth(r[VBE_BPP]!)) r[VBE_BPP] = 8;
  const bits = bitsPerPixel(r[VBE_BPP]!);

  const width = Math.min(Math.max(r[VBE_XRES]! & ~7, 8), VBE_MAX_XRES);
  const pitchPixels = Math.max(Math.min(r[VBE_VIRT_WIDTH]! & ~7, VBE_MAX_XRES), width);
  const pitch = Math.floor((pitchPixels * bits) / 8);
  const maxLines = Math.floor(size / pitch);
  const height = Math.min(Math.max(r[VBE_YRES]!, 1), VBE_MAX_YRES, maxLines);

  let x = Math.min(r[VBE_X_OFFSET]!, VBE_MAX_XRES);
  let y = Math.min(r[VBE_Y_OFFSET]!, VBE_MAX_YRES);
  const visible = height * pitch;
  const skip = () => Math.floor((x * bits) / 8) + y * pitch;
  if (skip() + visible > size) y = 0;
  if (skip() + visible > size) x = 0;

  r[VBE_XRES] = width;
  r[VBE_VIRT_WIDTH] = pitchPixels;
  r[VBE_YRES] = height;
  r[VBE_X_OFFSET] = x;
  r[VBE_Y_OFFSET] = y;
  r[VBE_VIRT_HEIGHT] = maxLines;
  state.vbeLineOffset = pitch;
  state.vbeStartAddr = Math.floor(skip() / 4);
}

/**
 * While VBE is on, forces the VGA registers that the mode implies: guests may read them back, and may write
 * others through the same registers at any time, so this runs after every CRTC and graphics controller write.
 */
export function imposeVbeMode(core: VgaCore): void {
  const { state, srVbe } = core;
  if (!vbeEnabled(state)) return;
  const { gr, cr, vbeRegs } = state;
  const lastLine = vbeRegs[VBE_YRES]! - 1;
  // Graphics, 64 KiB map at 0xa0000.
  gr[GR_MISC] = (gr[GR_MISC]! & ~0x0c) | 0x05;
  cr[CR_MODE] = cr[CR_MODE]! | 3;
  cr[CR_OFFSET] = state.vbeLineOffset >>> 3;
  cr[CR_H_DISPLAY_END] = (vbeRegs[VBE_XRES]! >> 3) - 1;
  cr[CR_V_DISPLAY_END] = lastLine;
  // Line compare at its maximum: no split screen. Bit 4 of overflow and bit 6 of max scan belong to it.
  cr[CR_OVERFLOW] = (cr[CR_OVERFLOW]! & ~0x42) | ((lastLine >> 7) & 0x02) | ((lastLine >> 3) & 0x40) | 0x10;
  cr[CR_LINE_COMPARE] = 0xff;
  cr[CR_MAX_SCAN] = (cr[CR_MAX_SCAN]! & ~0x9f) | 0x40;
  const planar = vbeRegs[VBE_BPP] === 4;
  if (planar) {
    srVbe[SR_CLOCKING_MODE] = srVbe[SR_CLOCKING_MODE]! & ~8;
  } else {
    srVbe[SR_MEMORY_MODE] = srVbe[SR_MEMORY_MODE]! | 0x08;
    srVbe[SR_MAP_MASK] = srVbe[SR_MAP_MASK]! | 0x0f;
  }
  gr[GR_MODE] = (gr[GR_MODE]! & ~0x60) | (planar ? 0 : 0x40);
}

/** Value of the register that the index selects. */
export function readVbeData(core: VgaCore): number {
  const { vbeIndex, vbeRegs } = core.state;
  if (vbeIndex === VBE_VIDEO_MEMORY_64K) return core.vram.length >>> 16;
  if (vbeIndex >= VBE_REGISTERS) return 0;
  if (vbeRegs[VBE_ENABLE]! & VBE_GETCAPS) {
    if (vbeIndex === VBE_XRES) return VBE_MAX_XRES;
    if (vbeIndex === VBE_YRES) return VBE_MAX_YRES;
    if (vbeIndex === VBE_BPP) return VBE_MAX_BPP;
  }
  return vbeRegs[vbeIndex]!;
}

function writeEnable(core: VgaCore, value: number): void {
  const { state } = core;
  const r = state.vbeRegs;
  if (value & VBE_ENABLED && !vbeEnabled(state)) {
    r[VBE_VIRT_WIDTH] = 0;
    r[VBE_X_OFFSET] = 0;
    r[VBE_Y_OFFSET] = 0;
    r[VBE_ENABLE] = r[VBE_ENABLE]! | VBE_ENABLED;
    clampRegisters(core);
    imposeVbeMode(core);
    if (!(value & VBE_NOCLEARMEM)) {
      const length = r[VBE_YRES]! * state.vbeLineOffset;
      core.dirty?.mark(0, length);
      core.vram.fill(0, 0, length);
    }
  } else {
    state.bankOffset = 0;
  }
  r[VBE_ENABLE] = value;
}

/** Writes the register that the index selects. The caller refreshes the legacy window afterwards. */
export function writeVbeData(core: VgaCore, value: number): void {
  const { state } = core;
  const index = state.vbeIndex;
  switch (index) {
    case VBE_ID:
      if (value >= VBE_ID_FIRST && value <= VBE_ID_LAST) state.vbeRegs[VBE_ID] = value;
      break;
    case VBE_XRES:
    case VBE_YRES:
    case VBE_BPP:
    case VBE_VIRT_WIDTH:
    case VBE_X_OFFSET:
    case VBE_Y_OFFSET:
      state.vbeRegs[index] = value;
      clampRegisters(core);
      imposeVbeMode(core);
      break;
    case VBE_BANK:
      state.vbeRegs[VBE_BANK] = value & state.vbeBankMask;
      state.bankOffset = state.vbeRegs[VBE_BANK]! << 16;
      break;
    case VBE_ENABLE:
      writeEnable(core, value);
      break;
  }
  core.touched = true;
}

/**
 * Ports 0x1ce-0x1d0. Byte accesses read all-ones and are dropped, as in QEMU. Data answers at 0x1cf, where 16-bit
 * accesses are unaligned, and at 0x1d0.
 */
export function createVbePorts(core: VgaCore, refreshWindow: () => void): IoRegion {
  return {
    name: 'vbe',
    size: 3,
    read8: () => 0xff,
    write8: () => {},
    read16: (offset) => (offset === 0 ? core.state.vbeIndex : readVbeData(core)),
    write16: (offset, value) => {
      if (offset === 0) {
        core.state.vbeIndex = value & 0xffff;
      } else {
        writeVbeData(core, value & 0xffff);
        refreshWindow();
      }
    },
  };
}
