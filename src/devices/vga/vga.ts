/**
 * PCI VGA with Bochs VBE (QEMU's `-vga std`): function 00:02.0, 1234:1111.
 * References: IBM VGA XGA Technical Reference (1992); QEMU docs/specs/standard-vga.txt, hw/display/vga-pci.c.
 *
 * Not emulated: see registers.ts, planar.ts, text.ts and graphics.ts; no interrupts, no hardware cursor, no
 * acceleration. The ports 0x3b0-0x3df and the legacy window answer whatever the PCI command register says, as in QEMU.
 */
import type { Device, IoRegion, Mapping } from '../../machine/device.ts';
import type { VmState } from '../../migration/vmstate.ts';
import { struct } from '../../migration/vmstate.ts';
import type { PciFunctionState, PciParent } from '../pci/config-space.ts';
import { PciFunction, pciFunctionVmState } from '../pci/config-space.ts';
import { createEdid } from './edid.ts';
import { BytesRegion } from './memory-region.ts';
import { MMIO_SIZE, VgaMmio } from './mmio.ts';
import type { DirectWindow } from './planar.ts';
import { LEGACY_WINDOW_BASE, LegacyWindow } from './planar.ts';
import { VgaRegisters } from './registers.ts';
import { Display, type ScreenMode } from './render.ts';
import type { VgaCore, VgaState, VramDirty } from './state.ts';
import { createVgaCore, resetVgaCore, vgaCoreField } from './state.ts';
import type { Surface } from './surface.ts';
import type { TextCells } from './text.ts';
import { createVbePorts, imposeVbeMode } from './vbe.ts';

/** Bytes of video memory: QEMU's default, and the size of its RAM block `vga.vram`. */
export const VRAM_SIZE = 16 * 1024 * 1024;
/** Bytes of the expansion ROM's window, and of QEMU's RAM block `vga.rom`. */
export const VGA_ROM_SIZE = 64 * 1024;

export interface VgaDeviceState {
  dev: PciFunctionState;
  vga: VgaState;
}

/** Section `0000:00:02.0/vga`. */
export const vgaVmState: VmState<VgaDeviceState> = {
  name: 'vga',
  version: 2,
  minimumVersion: 2,
  fields: { dev: struct(pciFunctionVmState, { name: 'dev' }), vga: vgaCoreField },
};

export interface VgaOptions {
  readonly bus: PciParent;
  /** Video memory: power of two, at least 256 KiB, 4-byte aligned in its buffer, which is never replaced. */
  readonly vram: Uint8Array;
  /** Expansion ROM, a power of two in size. Without it the function has no ROM register. */
  readonly rom?: Uint8Array;
  /** Who keeps the dirty pages of video memory. Without one every render draws. */
  readonly dirty?: VramDirty;
  /** Told when the part of the legacy window that may be mapped as memory changes. Not told by the constructor. */
  readonly onLegacyWindowChange?: (direct: DirectWindow | undefined) => void;
  /** Told when BAR 0 moves: guest-physical address of the framebuffer, or -1. */
  readonly onFramebufferMoved?: (base: number) => void;
  /** Default 2. */
  readonly slot?: number;
}

export class Vga implements Device<VgaDeviceState> {
  readonly name: string;
  readonly vmstate: VmState<VgaDeviceState> = vgaVmState;
  readonly state: VgaDeviceState;
  /** 0xa0000-0xbffff. */
  readonly legacyWindow: LegacyWindow;
  /** Video memory as BAR 0 shows it; `bytes` may be mapped directly. */
  readonly framebuffer: BytesRegion;
  /** The expansion ROM's bytes. */
  readonly rom: BytesRegion | undefined;
  readonly registers: VgaRegisters;
  readonly #core: VgaCore;
  readonly #display: Display;
  readonly #pci: PciFunction;
  readonly #vbePorts: IoRegion;

  constructor(options: VgaOptions) {
    const { vram, dirty, bus, rom } = options;
    const slot = options.slot ?? 2;
    this.name = `0000:00:${slot.toString(16).padStart(2, '0')}.0/vga`;
    const core = createVgaCore(vram, dirty);
    resetVgaCore(core);
    this.#core = core;
    this.legacyWindow = new LegacyWindow(core, options.onLegacyWindowChange);
    const refreshWindow = () => this.legacyWindow.refresh();
    this.registers = new VgaRegisters(core, refreshWindow);
    this.#vbePorts = createVbePorts(core, refreshWindow);
    this.#display = new Display(core);
    this.framebuffer = new BytesRegion('vga.vram', vram, true, (offset, length) => {
      core.touched = true;
      dirty?.mark(offset, length);
    });
    this.rom = rom && new BytesRegion('vga.rom', rom, false);
    const mmio = new VgaMmio(core, this.registers, createEdid(), refreshWindow);
    const onMoved = options.onFramebufferMoved;
    this.#pci = new PciFunction({
      bus,
      slot,
      vendorId: 0x1234,
      deviceId: 0x1111,
      classCode: 0x0300,
      revision: 2,
      bars: [
        {
          kind: 'memory',
          size: vram.length,
          prefetchable: true,
          region: this.framebuffer,
          ...(onMoved && { onMoved }),
        },
        undefined,
        { kind: 'memory', size: MMIO_SIZE, region: mmio },
      ],
      ...(this.rom && { rom: { size: this.rom.size, region: this.rom } }),
    });
    this.state = { dev: this.#pci.state, vga: core.state };
  }

  /** Ports at fixed addresses: 0x3b4-0x3df and DISPI at 0x1ce-0x1d0. */
  ports(): readonly Mapping[] {
    return [...this.registers.ports(), { base: 0x1ce, region: this.#vbePorts }];
  }

  /** Memory at fixed addresses: the legacy window. BARs map themselves. */
  memory(): readonly Mapping[] {
    return [{ base: LEGACY_WINDOW_BASE, region: this.legacyWindow }];
  }

  /** The part of the legacy window that behaves like plain video memory now. */
  legacyWindowDirect(): DirectWindow | undefined {
    return this.legacyWindow.direct;
  }

  get mode(): ScreenMode {
    return this.#display.mode;
  }

  /**
   * The screen as `screendump` shows it. The same object every time, overwritten by the next call; compare
   * `generation` to see whether anything may have changed. `cursorShown` is the blink phase of the text cursor.
   */
  render(cursorShown: boolean = true): Surface {
    return this.#display.render(cursorShown);
  }

  /** The text screen, one string a row, code page 437 as Unicode; undefined in graphics modes or when blank. */
  textScreen(): string[] | undefined {
    return this.#display.text();
  }

  /** Pixels of the graphics mode. */
  get graphicsSize(): { readonly width: number; readonly height: number } {
    return this.#display.graphicsSize;
  }

  /** The same with attributes and cursor, as the card has them. */
  textCells(): TextCells | undefined {
    return this.#display.cells();
  }

  /** Registers to power-on values; video memory keeps its contents. */
  reset(): void {
    resetVgaCore(this.#core);
    this.legacyWindow.refresh();
    this.#display.reset();
    this.#pci.reset();
  }

  beforeSave(): void {
    this.state.vga.latch = this.#core.latch >>> 0;
  }

  validate(candidate: VgaDeviceState): string | undefined {
    const problem = this.#pci.validate(candidate.dev);
    if (problem !== undefined) return `dev.${problem}`;
    const { bankOffset } = candidate.vga;
    const limit = this.#core.vram.length - 0x10000;
    if (bankOffset < 0 || bankOffset > limit) {
      return `vga.bank_offset: found ${bankOffset}, expected 0 to ${limit}`;
    }
    return undefined;
  }

  afterLoad(): void {
    this.#core.latch = this.#core.state.latch | 0;
    this.#core.srVbe.fill(0);
    imposeVbeMode(this.#core);
    this.#core.touched = true;
    this.legacyWindow.refresh();
    this.#display.invalidate();
    this.#pci.afterLoad();
  }
}
