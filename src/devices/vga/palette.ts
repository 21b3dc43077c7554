/**
 * DAC contents to colours. Facts: IBM VGA technical reference, "Video Digital-to-Analog Converter"; the widening of
 * 6-bit components repeats the lowest bit twice, as QEMU hw/display/vga_int.h does (0x3f → 0xff, 0x2a → 0xa8).
 */
import type { VgaState } from './state.ts';
import { AR_COLOR_SELECT, AR_MODE, VBE_8BIT_DAC, VBE_ENABLE } from './state.ts';

function widen(component: number): number {
  return ((component & 0x3f) << 2) | (component & 1 ? 3 : 0);
}

function dacColor(palette: Uint8Array, index: number, eightBit: boolean): number {
  const r = palette[index * 3]!;
  const g = palette[index * 3 + 1]!;
  const b = palette[index * 3 + 2]!;
  if (eightBit) return (r << 16) | (g << 8) | b;
  return (widen(r) << 16) | (widen(g) << 8) | widen(b);
}

/** The 16 colours of text and planar modes, through the attribute controller. The DAC counts as 6 bits wide here. */
export function palette16(state: VgaState, target: Uint32Array): void {
  const { ar, palette } = state;
  const select = ar[AR_COLOR_SELECT]!;
  // Attribute mode bit 7: bits 4 and 5 of the colour come from the select register too.
  const fromSelect = (ar[AR_MODE]! & 0x80) !== 0;
  for (let i = 0; i < 16; i++) {
    const index = fromSelect
      ? ((select & 0x0f) << 4) | (ar[i]! & 0x0f)
      : ((select & 0x0c) << 4) | (ar[i]! & 0x3f);
    target[i] = dacColor(palette, index, false);
  }
}

/** The 256 colours of 8-bit modes; 8 bits a component if VBE switched the DAC. */
export function palette256(state: VgaState, target: Uint32Array): void {
  const eightBit = (state.vbeRegs[VBE_ENABLE]! & VBE_8BIT_DAC) !== 0;
  for (let i = 0; i < 256; i++) target[i] = dacColor(state.palette, i, eightBit);
}
