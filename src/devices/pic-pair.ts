/**
 * The two 8259As of a PC: master at 0x20, slave at 0xa0 with its INT on the master's input 2, edge/level control at
 * 0x4d0/0x4d1 (PIIX3, Intel 290550, 2.5.4: IRQ 0, 1, 2, 8 and 13 are always edge triggered).
 */
import type { IrqLine, Mapping } from '../machine/device.ts';
import { CASCADE_INPUT, I8259, SPURIOUS_INPUT } from './i8259.ts';

const INPUT_COUNT = 16;

export interface PicPairOptions {
  /** INTR of the CPU (through the local APIC's LINT0 where there is one). */
  readonly intr: IrqLine;
}

/** An ISA interrupt line: counts rises for `info irq`, which is no state of the machine. */
class PicInput implements IrqLine {
  count = 0;
  #level = 0;
  readonly #chip: I8259;
  readonly #input: number;

  constructor(chip: I8259, input: number) {
    this.#chip = chip;
    this.#input = input;
  }

  set(level: number): void {
    if (level !== this.#level) {
      this.#level = level;
      if (level !== 0) this.count++;
    }
    this.#chip.setInput(this.#input, level);
  }
}

export class PicPair {
  readonly master: I8259;
  readonly slave: I8259;
  /** ISA interrupts 0-15. Input 2 is the cascade: nobody else may drive it. */
  readonly inputs: readonly IrqLine[];
  readonly #lines: readonly PicInput[];

  constructor({ intr }: PicPairOptions) {
    const master = new I8259({ instance: 0, base: 0x20, elcrPort: 0x4d0, elcrMask: 0xf8, int: intr });
    const slave = new I8259({
      instance: 1,
      base: 0xa0,
      elcrPort: 0x4d1,
      elcrMask: 0xde,
      int: { set: (level) => master.setInput(CASCADE_INPUT, level) },
    });
    this.master = master;
    this.slave = slave;
    this.#lines = Array.from(
      { length: INPUT_COUNT },
      (_, irq) => new PicInput(irq < 8 ? master : slave, irq & 7),
    );
    this.inputs = this.#lines;
  }

  ports(): readonly Mapping[] {
    return [...this.master.ports(), ...this.slave.ports()];
  }

  /** True while INTR is high: an {@link acknowledge} would find a request. */
  get pending(): boolean {
    return this.master.pending() >= 0;
  }

  /**
   * The INTA cycle: returns the vector and puts the request into service. A request that went away meanwhile gives
   * the spurious vector (input 7) of the controller that lost it, without setting its ISR bit.
   */
  acknowledge(): number {
    const input = this.master.pending();
    if (input < 0) return this.master.vector(SPURIOUS_INPUT);
    if (input !== CASCADE_INPUT) {
      this.master.acknowledge(input);
      return this.master.vector(input);
    }
    const slaveInput = this.slave.pending();
    if (slaveInput >= 0) this.slave.acknowledge(slaveInput);
    this.master.acknowledge(CASCADE_INPUT);
    return this.slave.vector(slaveInput >= 0 ? slaveInput : SPURIOUS_INPUT);
  }

  /** How often each line rose since the machine was made (`info irq`). */
  counts(): number[] {
    return this.#lines.map((line) => line.count);
  }
}
