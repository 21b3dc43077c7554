/**
 * Intel 8259A programmable interrupt controller. Datasheet: Intel 231468. Two of them make a PC's 16 interrupt lines:
 * pic-pair.ts. The edge/level control register (ELCR) is the PIIX3's (Intel 290550, 2.5.4) and lives here because its
 * state rides in this section.
 *
 * Not emulated: MCS-80/85 mode, buffered mode, LTIM of ICW1 (the ELCR decides), reading ICWs back, the exact priority
 * freeze between the two INTA pulses. Deviations are those of QEMU 7.2 hw/intc/i8259.c: ICW1 keeps level-triggered
 * requests, and a read after the poll command acknowledges on either port.
 */
import type { Device, IoRegion, IrqLine, Mapping } from '../machine/device.ts';
import { u8, type VmState } from '../migration/vmstate.ts';

/** ICW1: bit 4 selects it; bit 0 IC4 (an ICW4 follows), bit 1 SNGL. */
const ICW1 = 0x10;
const ICW1_IC4 = 0x01;
const ICW1_SNGL = 0x02;
/** ICW4: bit 1 AEOI, bit 4 SFNM. */
const ICW4_AEOI = 0x02;
const ICW4_SFNM = 0x10;
/** OCW3: bit 3 selects it; RR, RIS, P, ESMM, SMM. */
const OCW3 = 0x08;
const OCW3_RIS = 0x01;
const OCW3_RR = 0x02;
const OCW3_POLL = 0x04;
const OCW3_SMM = 0x20;
const OCW3_ESMM = 0x40;
/** OCW2, bits 7:5: R, SL, EOI. */
const OCW2_ROTATE = 4;
const OCW2_SPECIFIC = 2;
const OCW2_EOI = 1;

/** Which initialization word the data port expects next; 0 is normal operation (OCW1). */
const EXPECT_OCW1 = 0;
const EXPECT_ICW2 = 1;
const EXPECT_ICW3 = 2;
const EXPECT_ICW4 = 3;

/** Input of the master that the slave's INT drives. */
export const CASCADE_INPUT = 2;
/** Input whose vector answers an INTA that finds no request. */
export const SPURIOUS_INPUT = 7;

export interface PicState {
  /** Levels of the inputs at the last change: an edge is a rise over this. */
  lastIrr: number;
  irr: number;
  imr: number;
  isr: number;
  /** Input of highest priority. */
  priorityAdd: number;
  /** Vector of input 0 (ICW2, bits 7:3). */
  irqBase: number;
  /** A read of the command port gives ISR (1) or IRR (0). */
  readRegSelect: number;
  /** The next read is a poll. */
  poll: number;
  specialMask: number;
  /** EXPECT_… */
  initState: number;
  autoEoi: number;
  rotateOnAutoEoi: number;
  specialFullyNestedMode: number;
  init4: number;
  /** Nonzero (2, as ICW1 has it) without a cascade. */
  singleMode: number;
  elcr: number;
}

/** Stream section `i8259` (QEMU 7.2 hw/intc/i8259_common.c). */
export const picVmState: VmState<PicState> = {
  name: 'i8259',
  version: 1,
  minimumVersion: 1,
  fields: {
    lastIrr: u8(),
    irr: u8(),
    imr: u8(),
    isr: u8(),
    priorityAdd: u8(),
    irqBase: u8(),
    readRegSelect: u8(),
    poll: u8(),
    specialMask: u8(),
    initState: u8(),
    autoEoi: u8(),
    rotateOnAutoEoi: u8(),
    specialFullyNestedMode: u8(),
    init4: u8(),
    singleMode: u8(),
    elcr: u8(),
  },
};

/** Place of the first set bit of `mask` in priority order, counted from `first`: 0 is highest, 8 means none. */
export function priorityOf(mask: number, first: number): number {
  if (mask === 0) return 8;
  const rotated = ((mask | (mask << 8)) >> (first & 7)) & 0xff;
  return 31 - Math.clz32(rotated & -rotated);
}

export interface PicOptions {
  /** Instance id on the stream: 0 master, 1 slave. */
  readonly instance: 0 | 1;
  /** Port of the command register; the data register follows. */
  readonly base: number;
  readonly elcrPort: number;
  /** Inputs that may be made level triggered. */
  readonly elcrMask: number;
  /** INT output. */
  readonly int: IrqLine;
}

export class I8259 implements Device<PicState> {
  readonly name: string = 'i8259';
  readonly instance: number;
  readonly vmstate: VmState<PicState> = picVmState;
  readonly state: PicState;
  readonly #int: IrqLine;
  readonly #elcrMask: number;
  readonly #isMaster: boolean;
  readonly #mappings: readonly Mapping[];

  constructor({ instance, base, elcrPort, elcrMask, int }: PicOptions) {
    this.instance = instance;
    this.#isMaster = instance === 0;
    this.#int = int;
    this.#elcrMask = elcrMask;
    this.state = {
      lastIrr: 0,
      irr: 0,
      imr: 0,
      isr: 0,
      priorityAdd: 0,
      irqBase: 0,
      readRegSelect: 0,
      poll: 0,
      specialMask: 0,
      initState: EXPECT_OCW1,
      autoEoi: 0,
      rotateOnAutoEoi: 0,
      specialFullyNestedMode: 0,
      init4: 0,
      singleMode: 0,
      elcr: 0,
    };
    const registers: IoRegion = {
      name: 'pic',
      size: 2,
      read8: (offset) => this.#read(offset),
      write8: (offset, value) => {
        if (offset === 0) this.#writeCommand(value);
        else this.#writeData(value);
      },
    };
    const elcr: IoRegion = {
      name: 'elcr',
      size: 1,
      read8: () => this.state.elcr,
      write8: (_offset, value) => {
        this.state.elcr = value & this.#elcrMask;
      },
    };
    this.#mappings = [
      { base, region: registers },
      { base: elcrPort, region: elcr },
    ];
  }

  ports(): readonly Mapping[] {
    return this.#mappings;
  }

  reset(): void {
    this.state.elcr = 0;
    this.#initialize();
  }

  /** Drives input 0-7. */
  setInput(input: number, level: number): void {
    const state = this.state;
    const bit = 1 << input;
    const isLevelTriggered = (state.elcr & bit) !== 0;
    if (level !== 0) {
      if (isLevelTriggered || (state.lastIrr & bit) === 0) state.irr |= bit;
      state.lastIrr |= bit;
    } else {
      // An edge stays requested until it is acknowledged.
      if (isLevelTriggered) state.irr &= ~bit;
      state.lastIrr &= ~bit;
    }
    this.#updateInt();
  }

  /** The input that may interrupt now, or -1: the highest request above everything in service. */
  pending(): number {
    const state = this.state;
    const requested = priorityOf(state.irr & ~state.imr, state.priorityAdd);
    if (requested === 8) return -1;
    let inService = state.isr;
    if (state.specialMask !== 0) inService &= ~state.imr;
    // Special fully nested mode: a second interrupt of the slave may nest into its first.
    if (state.specialFullyNestedMode !== 0 && this.#isMaster) inService &= ~(1 << CASCADE_INPUT);
    if (requested >= priorityOf(inService, state.priorityAdd)) return -1;
    return (requested + state.priorityAdd) & 7;
  }

  /** INTA for `input`, which {@link pending} gave. */
  acknowledge(input: number): void {
    const state = this.state;
    const bit = 1 << input;
    if (state.autoEoi === 0) state.isr |= bit;
    else if (state.rotateOnAutoEoi !== 0) state.priorityAdd = (input + 1) & 7;
    if ((state.elcr & bit) === 0) state.irr &= ~bit;
    this.#updateInt();
  }

  /** Interrupt vector of an input (ICW2). */
  vector(input: number): number {
    return (this.state.irqBase + input) & 0xff;
  }

  #updateInt(): void {
    this.#int.set(this.pending() >= 0 ? 1 : 0);
  }

  /** What ICW1 does (datasheet, "Initialization Command Word 1"): all but the ELCR. */
  #initialize(): void {
    const state = this.state;
    state.lastIrr = 0;
    state.irr &= state.elcr;
    state.imr = 0;
    state.isr = 0;
    state.priorityAdd = 0;
    state.irqBase = 0;
    state.readRegSelect = 0;
    state.poll = 0;
    state.specialMask = 0;
    state.initState = EXPECT_OCW1;
    state.autoEoi = 0;
    state.rotateOnAutoEoi = 0;
    state.specialFullyNestedMode = 0;
    state.init4 = 0;
    state.singleMode = 0;
    this.#updateInt();
  }

  #read(offset: number): number {
    const state = this.state;
    if (state.poll !== 0) return this.#poll();
    if (offset !== 0) return state.imr;
    return state.readRegSelect !== 0 ? state.isr : state.irr;
  }

  #poll(): number {
    this.state.poll = 0;
    const input = this.pending();
    if (input < 0) return 0;
    this.acknowledge(input);
    return 0x80 | input;
  }

  #writeCommand(value: number): void {
    const state = this.state;
    if ((value & ICW1) !== 0) {
      this.#initialize();
      state.initState = EXPECT_ICW2;
      state.init4 = value & ICW1_IC4;
      state.singleMode = value & ICW1_SNGL;
    } else if ((value & OCW3) !== 0) {
      if ((value & OCW3_POLL) !== 0) state.poll = 1;
      if ((value & OCW3_RR) !== 0) state.readRegSelect = value & OCW3_RIS;
      if ((value & OCW3_ESMM) !== 0) state.specialMask = (value & OCW3_SMM) !== 0 ? 1 : 0;
    } else {
      this.#writeOcw2(value >> 5, value & 7);
    }
  }

  #writeOcw2(operation: number, level: number): void {
    const state = this.state;
    const rotates = (operation & OCW2_ROTATE) !== 0;
    if ((operation & OCW2_EOI) === 0) {
      // 000 and 100 switch rotation in automatic EOI mode, 110 sets the priority, 010 does nothing.
      if ((operation & OCW2_SPECIFIC) === 0) state.rotateOnAutoEoi = rotates ? 1 : 0;
      else if (rotates) {
        state.priorityAdd = (level + 1) & 7;
        this.#updateInt();
      }
      return;
    }
    let input = level;
    if ((operation & OCW2_SPECIFIC) === 0) {
      const priority = priorityOf(state.isr, state.priorityAdd);
      if (priority === 8) return;
      input = (priority + state.priorityAdd) & 7;
    }
    state.isr &= ~(1 << input);
    if (rotates) state.priorityAdd = (input + 1) & 7;
    this.#updateInt();
  }

  #writeData(value: number): void {
    const state = this.state;
    switch (state.initState) {
      case EXPECT_OCW1:
        state.imr = value;
        this.#updateInt();
        break;
      case EXPECT_ICW2:
        state.irqBase = value & 0xf8;
        if (state.singleMode === 0) state.initState = EXPECT_ICW3;
        else state.initState = state.init4 !== 0 ? EXPECT_ICW4 : EXPECT_OCW1;
        break;
      case EXPECT_ICW3:
        state.initState = state.init4 !== 0 ? EXPECT_ICW4 : EXPECT_OCW1;
        break;
      case EXPECT_ICW4:
        state.specialFullyNestedMode = (value & ICW4_SFNM) !== 0 ? 1 : 0;
        state.autoEoi = (value & ICW4_AEOI) !== 0 ? 1 : 0;
        state.initState = EXPECT_OCW1;
        break;
      default:
        // A foreign snapshot could hold nothing else; hardware has no such state.
        state.initState = EXPECT_OCW1;
    }
  }
}
