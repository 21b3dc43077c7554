/**
 * VGA ports 0x3b0-0x3df: sequencer, graphics controller, attribute controller, CRT controller, DAC, status.
 * Reference: IBM VGA XGA Technical Reference (1992), chapter 2; behaviour where that is silent: QEMU hw/display/vga.c.
 *
 * Not emulated: beam position (status 1 toggles retrace at every read, as QEMU's default does, which is what polling
 * loops want), the PEL mask (0x3c6), the DAC's switch between reading and writing, video-subsystem enable (0x3c3),
 * and interrupts at vertical retrace.
 */
import type { IoRegion, Mapping } from '../../machine/device.ts';
import type { VgaCore, VgaState } from './state.ts';
import {
  AR_COLOR_SELECT,
  AR_MODE,
  AR_OVERSCAN,
  AR_PEL_PANNING,
  AR_PLANE_ENABLE,
  CR_OVERFLOW,
  CR_V_RETRACE_END,
} from './state.ts';
import { imposeVbeMode } from './vbe.ts';

const ATTRIBUTE_REGISTERS = 0x15;
const MSR_COLOR = 0x01;
const ST01_DISPLAY_DISABLED = 0x01;
const ST01_VERTICAL_RETRACE = 0x08;
const CR11_LOCK = 0x80;

/** Bits that exist in sequencer and graphics controller registers; the others read as zero. */
const SR_MASK = Uint8Array.of(0x03, 0x3d, 0x0f, 0x3f, 0x0e, 0x00, 0x00, 0xff);
const GR_MASK = Uint8Array.of(0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff, 0, 0, 0, 0, 0, 0, 0);

/** Whether the misc output register has moved `port` away: CRTC and status answer at 0x3bx or at 0x3dx. */
function isElsewhere(state: VgaState, port: number): boolean {
  const absent = state.msr & MSR_COLOR ? 0x3b0 : 0x3d0;
  return (port & 0x3f0) === absent;
}

export class VgaRegisters {
  readonly #core: VgaCore;
  readonly #refreshWindow: () => void;

  /** `refreshWindow` is called when a register changed that decides what the legacy window does. */
  constructor(core: VgaCore, refreshWindow: () => void) {
    this.#core = core;
    this.#refreshWindow = refreshWindow;
  }

  /** Reads port 0x3b0-0x3df. Reads have side effects: attribute flip-flop, retrace, DAC index. */
  read(port: number): number {
    const s = this.#core.state;
    if (isElsewhere(s, port)) return 0xff;
    switch (port) {
      case 0x3c0:
        return s.arFlipFlop === 0 ? s.arIndex : 0;
      case 0x3c1: {
        const index = s.arIndex & 0x1f;
        return index < ATTRIBUTE_REGISTERS ? s.ar[index]! : 0;
      }
      case 0x3c2:
        return s.st00;
      case 0x3c4:
        return s.srIndex;
      case 0x3c5:
        return s.sr[s.srIndex & 7]!;
      case 0x3c7:
        return s.dacState;
      case 0x3c8:
        return s.dacWriteIndex;
      case 0x3c9:
        return this.#readDac(s);
      case 0x3ca:
        return s.fcr;
      case 0x3cc:
        return s.msr;
      case 0x3ce:
        return s.grIndex;
      case 0x3cf:
        return s.gr[s.grIndex & 15]!;
      case 0x3b4:
      case 0x3d4:
        return s.crIndex;
      case 0x3b5:
      case 0x3d5:
        return s.cr[s.crIndex]!;
      case 0x3ba:
      case 0x3da:
        s.st01 ^= ST01_VERTICAL_RETRACE | ST01_DISPLAY_DISABLED;
        s.arFlipFlop = 0;
        return s.st01;
      default:
        return 0;
    }
  }

  /** Writes port 0x3b0-0x3df; `value` is a byte. */
  write(port: number, value: number): void {
    const s = this.#core.state;
    if (isElsewhere(s, port)) return;
    switch (port) {
      case 0x3c0:
        this.#writeAttribute(s, value);
        break;
      case 0x3c2:
        s.msr = value & ~0x10;
        break;
      case 0x3c4:
        s.srIndex = value & 7;
        break;
      case 0x3c5:
        s.sr[s.srIndex & 7] = value & SR_MASK[s.srIndex & 7]!;
        this.#core.touched = true;
        this.#refreshWindow();
        break;
      case 0x3c7:
        s.dacReadIndex = value;
        s.dacSubIndex = 0;
        s.dacState = 3;
        break;
      case 0x3c8:
        s.dacWriteIndex = value;
        s.dacSubIndex = 0;
        s.dacState = 0;
        break;
      case 0x3c9:
        this.#writeDac(s, value);
        break;
      case 0x3ce:
        s.grIndex = value & 15;
        break;
      case 0x3cf:
        s.gr[s.grIndex & 15] = value & GR_MASK[s.grIndex & 15]!;
        imposeVbeMode(this.#core);
        this.#core.touched = true;
        this.#refreshWindow();
        break;
      case 0x3b4:
      case 0x3d4:
        s.crIndex = value;
        break;
      case 0x3b5:
      case 0x3d5:
        this.#writeCrtc(s, value);
        break;
      case 0x3ba:
      case 0x3da:
        s.fcr = value & 0x10;
        break;
    }
  }

  #readDac(s: VgaState): number {
    const value = s.palette[s.dacReadIndex * 3 + s.dacSubIndex]!;
    if (++s.dacSubIndex === 3) {
      s.dacSubIndex = 0;
      s.dacReadIndex = (s.dacReadIndex + 1) & 0xff;
    }
    return value;
  }

  /** A colour takes effect when its third component is written. */
  #writeDac(s: VgaState, value: number): void {
    s.dacCache[s.dacSubIndex] = value;
    if (++s.dacSubIndex < 3) return;
    s.palette.set(s.dacCache, s.dacWriteIndex * 3);
    s.dacSubIndex = 0;
    s.dacWriteIndex = (s.dacWriteIndex + 1) & 0xff;
    this.#core.touched = true;
  }

  #writeAttribute(s: VgaState, value: number): void {
    this.#core.touched = true;
    if (s.arFlipFlop === 0) {
      s.arIndex = value & 0x3f;
      s.arFlipFlop = 1;
      return;
    }
    s.arFlipFlop = 0;
    const index = s.arIndex & 0x1f;
    if (index < AR_MODE) s.ar[index] = value & 0x3f;
    else if (index === AR_MODE) s.ar[index] = value & 0xef;
    else if (index === AR_OVERSCAN) s.ar[index] = value;
    else if (index === AR_PLANE_ENABLE) s.ar[index] = value & 0x3f;
    else if (index === AR_PEL_PANNING || index === AR_COLOR_SELECT) s.ar[index] = value & 0x0f;
  }

  #writeCrtc(s: VgaState, value: number): void {
    const { cr } = s;
    const index = s.crIndex;
    if (cr[CR_V_RETRACE_END]! & CR11_LOCK && index <= CR_OVERFLOW) {
      // Locked; bit 8 of line compare, in the overflow register, is exempt.
      if (index !== CR_OVERFLOW) return;
      cr[CR_OVERFLOW] = (cr[CR_OVERFLOW]! & ~0x10) | (value & 0x10);
    } else {
      cr[index] = value;
    }
    imposeVbeMode(this.#core);
    this.#core.touched = true;
  }

  /** The port ranges QEMU claims: 0x3b4-5, 0x3ba, 0x3c0-f, 0x3d4-5, 0x3da. */
  ports(): readonly Mapping[] {
    return [
      { base: 0x3b4, region: this.#range(0x3b4, 2) },
      { base: 0x3ba, region: this.#range(0x3ba, 1) },
      { base: 0x3c0, region: this.#range(0x3c0, 16) },
      { base: 0x3d4, region: this.#range(0x3d4, 2) },
      { base: 0x3da, region: this.#range(0x3da, 1) },
    ];
  }

  #range(base: number, size: number): IoRegion {
    return {
      name: 'vga',
      size,
      read8: (offset) => this.read(base + offset),
      write8: (offset, value) => this.write(base + offset, value),
    };
  }
}
