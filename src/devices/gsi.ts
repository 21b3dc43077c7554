/**
 * Where interrupt lines go: ISA interrupt n to input n of the 8259A pair and to pin n of the I/O APIC, but for
 * interrupt 0 (the timer), which is at pin 2, as the MADT says. PCI interrupts arrive here as ISA interrupts, by PIIX3.
 */
import type { IrqLine } from '../machine/device.ts';

const ISA_IRQ_COUNT = 16;
const TIMER_PIN = 2;
const CASCADE = 2;

export interface GsiOptions {
  /** Inputs 0-15 of the 8259As. */
  readonly pic: readonly IrqLine[];
  /** Pins 0-23 of the I/O APIC. */
  readonly ioApic: readonly IrqLine[];
}

/** Makes the ISA interrupt lines 0-15. Line 2 is the cascade, which no device drives: it goes nowhere. */
export function createIsaIrqs({ pic, ioApic }: GsiOptions): readonly IrqLine[] {
  return Array.from({ length: ISA_IRQ_COUNT }, (_, irq): IrqLine => {
    if (irq === CASCADE) return { set: () => {} };
    const picInput = pic[irq]!;
    const pin = ioApic[irq === 0 ? TIMER_PIN : irq]!;
    return {
      set: (level) => {
        picInput.set(level);
        pin.set(level);
      },
    };
  });
}
