/**
 * The VGA core's record, its wire schema, and the working set that registers, window and renderer share.
 *
 * Schema: `vga` version 2 inside the section of the PCI function, as QEMU 7.2 `-dump-vmstate` describes it.
 * Deliberately unsaved, as in QEMU: the sequencer shadow used while VBE is on (rebuilt in afterLoad) and everything
 * that only the renderer remembers. QEMU does not save the DAC width either; here it is read from the VBE enable
 * register, so that it survives.
 */
import type { VmState } from '../../migration/vmstate.ts';
import { array, bool, buffer, i32, struct, u8, u16, u32 } from '../../migration/vmstate.ts';

/** Sequencer registers (IBM VGA, "Sequencer Registers"). */
export const SR_CLOCKING_MODE = 1;
export const SR_MAP_MASK = 2;
export const SR_CHARACTER_MAP = 3;
export const SR_MEMORY_MODE = 4;

/** Graphics controller registers. */
export const GR_SET_RESET = 0;
export const GR_ENABLE_SET_RESET = 1;
export const GR_COLOR_COMPARE = 2;
export const GR_DATA_ROTATE = 3;
export const GR_READ_MAP = 4;
export const GR_MODE = 5;
export const GR_MISC = 6;
export const GR_COLOR_DONT_CARE = 7;
export const GR_BIT_MASK = 8;

/** Attribute controller registers above the 16 palette entries. */
export const AR_MODE = 0x10;
export const AR_OVERSCAN = 0x11;
export const AR_PLANE_ENABLE = 0x12;
export const AR_PEL_PANNING = 0x13;
export const AR_COLOR_SELECT = 0x14;

/** CRT controller registers. */
export const CR_H_DISPLAY_END = 0x01;
export const CR_V_TOTAL = 0x06;
export const CR_OVERFLOW = 0x07;
export const CR_MAX_SCAN = 0x09;
export const CR_CURSOR_START = 0x0a;
export const CR_CURSOR_END = 0x0b;
export const CR_START_HIGH = 0x0c;
export const CR_START_LOW = 0x0d;
export const CR_CURSOR_HIGH = 0x0e;
export const CR_CURSOR_LOW = 0x0f;
export const CR_V_RETRACE_END = 0x11;
export const CR_V_DISPLAY_END = 0x12;
export const CR_OFFSET = 0x13;
export const CR_MODE = 0x17;
export const CR_LINE_COMPARE = 0x18;

/** Bochs DISPI registers (QEMU include/hw/display/bochs-vbe.h). */
export const VBE_ID = 0;
export const VBE_XRES = 1;
export const VBE_YRES = 2;
export const VBE_BPP = 3;
export const VBE_ENABLE = 4;
export const VBE_BANK = 5;
export const VBE_VIRT_WIDTH = 6;
export const VBE_VIRT_HEIGHT = 7;
export const VBE_X_OFFSET = 8;
export const VBE_Y_OFFSET = 9;
export const VBE_REGISTERS = 10;

export const VBE_ENABLED = 0x01;
export const VBE_GETCAPS = 0x02;
export const VBE_8BIT_DAC = 0x20;
export const VBE_NOCLEARMEM = 0x80;

export interface VgaState {
  /** Four latched bytes, plane 0 in the low byte. Brought up to date for saving from {@link VgaCore.latch}. */
  latch: number;
  srIndex: number;
  readonly sr: Uint8Array;
  grIndex: number;
  readonly gr: Uint8Array;
  arIndex: number;
  readonly ar: Uint8Array;
  /** 0: the next write to 0x3c0 is an index. */
  arFlipFlop: number;
  crIndex: number;
  readonly cr: Uint8Array;
  /** Miscellaneous output register. */
  msr: number;
  /** Feature control register. */
  fcr: number;
  st00: number;
  st01: number;
  dacState: number;
  dacSubIndex: number;
  dacReadIndex: number;
  dacWriteIndex: number;
  readonly dacCache: Uint8Array;
  readonly palette: Uint8Array;
  /** Bytes added to window addresses while GR6 selects the 64 KiB map at 0xa0000. */
  bankOffset: number;
  isVbeVmstate: number;
  vbeIndex: number;
  readonly vbeRegs: Uint16Array;
  /** In units of 4 bytes. */
  vbeStartAddr: number;
  /** Bytes. */
  vbeLineOffset: number;
  vbeBankMask: number;
  readonly endian: VgaEndian;
}

/** Byte order of the linear framebuffer, switched through QEMU's extended registers. */
export interface VgaEndian {
  bigEndianFb: boolean;
}

const endianVmState: VmState<VgaEndian> = {
  name: 'vga.endian',
  version: 1,
  minimumVersion: 1,
  fields: { bigEndianFb: bool() },
};

/** The struct `vga` of sections `0000:00:02.0/vga`. */
export const vgaCoreVmState: VmState<VgaState, 'endian'> = {
  name: 'vga',
  version: 2,
  minimumVersion: 2,
  fields: {
    latch: u32(),
    srIndex: u8({ max: 7 }),
    sr: buffer(8),
    grIndex: u8({ max: 15 }),
    gr: buffer(16),
    arIndex: u8(),
    ar: buffer(21),
    arFlipFlop: i32(),
    crIndex: u8(),
    cr: buffer(256),
    msr: u8(),
    fcr: u8(),
    st00: u8(),
    st01: u8(),
    dacState: u8(),
    dacSubIndex: u8({ max: 2 }),
    dacReadIndex: u8(),
    dacWriteIndex: u8(),
    dacCache: buffer(3),
    palette: buffer(768),
    bankOffset: i32(),
    isVbeVmstate: u8({ equal: true }),
    vbeIndex: u16(),
    vbeRegs: array<Uint16Array>(u16(), VBE_REGISTERS),
    vbeStartAddr: u32(),
    vbeLineOffset: u32(),
    vbeBankMask: u32(),
  },
  subsections: {
    endian: {
      vmstate: endianVmState,
      needed: (state) => state.endian.bigEndianFb,
      absent: () => ({ bigEndianFb: false }),
    },
  },
};

/** Field for embedding the core in the section of a PCI function. */
export const vgaCoreField = struct(vgaCoreVmState, { name: 'vga' });

/** Who wants to know which bytes of video memory the device wrote. Called on the hot path: must not allocate. */
export interface VramDirty {
  /** The device is about to change `length` bytes at `offset` of video memory. */
  mark(offset: number, length: number): void;
  /** Whether any of the 4 KiB pages `first` to `last` was written, by the device or past it, since {@link clear}. */
  isDirty(first: number, last: number): boolean;
  /** Forgets, for the display's purposes, what was written to these pages so far. */
  clear(first: number, last: number): void;
}

/** What the parts of the device share. One object, made once. */
export interface VgaCore {
  readonly state: VgaState;
  /** Video memory, planes interleaved: byte address & 3 is the plane. Size is a power of two. */
  readonly vram: Uint8Array;
  /** The same memory as words: one word is one planar address. Signed, so that no word needs a heap number. */
  readonly vram32: Int32Array;
  /** The latches as they are now, a signed word. */
  latch: number;
  /** Sequencer as it acts while VBE is on; the guest's own `sr` is kept beside it. */
  readonly srVbe: Uint8Array;
  readonly dirty: VramDirty | undefined;
  /** Set by whatever may change the picture through registers or the legacy window; cleared by the renderer. */
  touched: boolean;
}

export function createVgaCore(vram: Uint8Array, dirty: VramDirty | undefined): VgaCore {
  const state: VgaState = {
    latch: 0,
    srIndex: 0,
    sr: new Uint8Array(8),
    grIndex: 0,
    gr: new Uint8Array(16),
    arIndex: 0,
    ar: new Uint8Array(21),
    arFlipFlop: 0,
    crIndex: 0,
    cr: new Uint8Array(256),
    msr: 0,
    fcr: 0,
    st00: 0,
    st01: 0,
    dacState: 0,
    dacSubIndex: 0,
    dacReadIndex: 0,
    dacWriteIndex: 0,
    dacCache: new Uint8Array(3),
    palette: new Uint8Array(768),
    bankOffset: 0,
    isVbeVmstate: 1,
    vbeIndex: 0,
    vbeRegs: new Uint16Array(VBE_REGISTERS),
    vbeStartAddr: 0,
    vbeLineOffset: 0,
    vbeBankMask: 0,
    endian: { bigEndianFb: false },
  };
  const vram32 = new Int32Array(vram.buffer, vram.byteOffset, vram.length >>> 2);
  return { state, vram, vram32, latch: 0, srVbe: new Uint8Array(8), dirty, touched: true };
}

/**
 * Power-on values: all zero but the DISPI id and the bank mask (QEMU vga_common_reset; memory is kept). The latches,
 * which QEMU's reset keeps, are cleared too: a machine that was reset does not depend on what ran before.
 */
export function resetVgaCore(core: VgaCore): void {
  const { state } = core;
  core.latch = 0;
  state.latch = 0;
  state.srIndex = state.grIndex = state.arIndex = state.crIndex = 0;
  state.sr.fill(0);
  state.gr.fill(0);
  state.ar.fill(0);
  state.cr.fill(0);
  state.arFlipFlop = 0;
  state.msr = state.fcr = state.st00 = state.st01 = 0;
  state.dacState = state.dacSubIndex = state.dacReadIndex = state.dacWriteIndex = 0;
  state.dacCache.fill(0);
  state.palette.fill(0);
  state.bankOffset = 0;
  state.vbeIndex = 0;
  state.vbeRegs.fill(0);
  state.vbeRegs[VBE_ID] = 0xb0c5;
  state.vbeStartAddr = 0;
  state.vbeLineOffset = 0;
  state.vbeBankMask = (core.vram.length >>> 16) - 1;
  state.endian.bigEndianFb = false;
  core.srVbe.fill(0);
  core.touched = true;
}

export function vbeEnabled(state: VgaState): boolean {
  return (state.vbeRegs[VBE_ENABLE]! & VBE_ENABLED) !== 0;
}

/** Sequencer register as it acts now. */
export function sequencer(core: VgaCore, index: number): number {
  return vbeEnabled(core.state) ? core.srVbe[index]! : core.state.sr[index]!;
}

/** First line of the display that shows memory from address 0 again (split screen). */
export function lineCompare(state: VgaState): number {
  if (vbeEnabled(state)) return 65535;
  const { cr } = state;
  return cr[CR_LINE_COMPARE]! | ((cr[CR_OVERFLOW]! & 0x10) << 4) | ((cr[CR_MAX_SCAN]! & 0x40) << 3);
}

/** Bytes from one row to the next. */
export function lineOffset(state: VgaState): number {
  return vbeEnabled(state) ? state.vbeLineOffset : state.cr[CR_OFFSET]! << 3;
}

/** First displayed address, in units of 4 bytes. */
export function startAddress(state: VgaState): number {
  if (vbeEnabled(state)) return state.vbeStartAddr;
  return state.cr[CR_START_LOW]! | (state.cr[CR_START_HIGH]! << 8);
}

/** Displayed lines as the CRTC counts them, before double scan is taken into account. */
export function verticalDisplayEnd(state: VgaState): number {
  const { cr } = state;
  return (cr[CR_V_DISPLAY_END]! | ((cr[CR_OVERFLOW]! & 0x02) << 7) | ((cr[CR_OVERFLOW]! & 0x40) << 3)) + 1;
}
