/**
 * Local APIC of the one CPU, at 0xfee00000. Intel 64 and IA-32 SDM volume 3, chapter 11 (xAPIC); facts of QEMU 7.2's
 * timing and register values: hw/intc/apic.c, apic_common.c.
 *
 * The timer's input clock is 1 GHz, that of virtual time, and a period is (initial count + 1) divided clocks, as QEMU's.
 * Not emulated: x2APIC, TSC deadline, moving the registers by IA32_APIC_BASE (it only enables and disables), other
 * CPUs' arbitration, SMIs, illegal-vector errors, clearing LVT masks while software-disabled, KVM's vAPIC page.
 */
import { type Clock, NOT_ARMED, type Ns, type Timer } from '../machine/clock.ts';
import type { Device, IrqLine, Mapping } from '../machine/device.ts';
import type { VmState } from '../migration/vmstate.ts';
import {
  APIC_BASE,
  type ApicState,
  apicCurrentCount,
  apicVmState,
  BASE_BSP,
  BASE_ENABLE,
  clearBit,
  highestVector,
  initialState,
  isDestination,
  LVT_COUNT,
  LVT_MASKED,
  LVT_TIMER,
  nextApicTimer,
  pendingVector,
  POWER_ON_BASE,
  processorPriority,
  SPURIOUS_ENABLE,
  setBit,
  testBit,
} from './apic-state.ts';

/** Version 0x14, highest LVT entry 5. */
const VERSION = 0x0005_0014;
const ESR_ILLEGAL_ADDRESS = 0x80;

const LVT_LINT0 = 3;
const LVT_LINT1 = 4;
const LVT_LEVEL = 0x8000;

// Delivery modes.
export const DELIVERY_FIXED = 0;
export const DELIVERY_LOWEST = 1;
const DELIVERY_NMI = 4;
const DELIVERY_INIT = 5;
export const DELIVERY_EXTINT = 7;

/** Registers are 16 bytes apart; number = offset / 16. */
const REGISTER_ID = 0x02;
const REGISTER_VERSION = 0x03;
const REGISTER_TPR = 0x08;
const REGISTER_APR = 0x09;
const REGISTER_PPR = 0x0a;
const REGISTER_EOI = 0x0b;
const REGISTER_LDR = 0x0d;
const REGISTER_DFR = 0x0e;
const REGISTER_SVR = 0x0f;
const REGISTER_ISR = 0x10;
const REGISTER_TMR = 0x18;
const REGISTER_IRR = 0x20;
const REGISTER_ESR = 0x28;
const REGISTER_ICR_LOW = 0x30;
const REGISTER_ICR_HIGH = 0x31;
const REGISTER_LVT = 0x32;
const REGISTER_INITIAL_COUNT = 0x38;
const REGISTER_CURRENT_COUNT = 0x39;
const REGISTER_DIVIDE = 0x3e;

/** Latest time accepted from a snapshot: 52 days. */
const MAX_TIME: Ns = 2 ** 52;

/** The two 8259As as the local APIC sees them through LINT0. */
export interface PicOutput {
  /** INTR is high. */
  readonly pending: boolean;
  /** INTA cycle: gives the vector. */
  acknowledge(): number;
}

/** What reaches the CPU besides INTR. */
export interface ApicCpu {
  nmi(): void;
  /** INIT: at the next instruction boundary the machine initialises the CPU and calls {@link Apic.initReset}. */
  init(): void;
}

export interface ApicOptions {
  readonly clock: Clock;
  readonly pic: PicOutput;
  readonly cpu: ApicCpu;
  /** INTR of the CPU: high while {@link Apic.hasPending}. */
  readonly intr: IrqLine;
  /** End of a level-triggered interrupt: to the I/O APIC. */
  readonly broadcastEoi: (vector: number) => void;
}

export class Apic implements Device<ApicState> {
  readonly name: string = 'apic';
  readonly vmstate: VmState<ApicState, 'sipi'> = apicVmState;
  readonly state: ApicState = initialState();
  /** LINT0 pin: the PIC pair's INTR output. */
  readonly lint0: IrqLine = { set: (level) => this.#driveLint0(level) };
  readonly #clock: Clock;
  readonly #pic: PicOutput;
  readonly #cpu: ApicCpu;
  readonly #intr: IrqLine;
  readonly #broadcastEoi: (vector: number) => void;
  readonly #timer: Timer;

  constructor({ clock, pic, cpu, intr, broadcastEoi }: ApicOptions) {
    this.#clock = clock;
    this.#pic = pic;
    this.#cpu = cpu;
    this.#intr = intr;
    this.#broadcastEoi = broadcastEoi;
    this.#timer = clock.createTimer('apic', () => this.#timerFired());
  }

  /** Registers in physical memory, 32-bit accesses only. */
  memory(): readonly Mapping[] {
    return [
      {
        base: APIC_BASE,
        region: {
          name: 'apic',
          size: 0x1000,
          read32: (offset) => this.#read(offset >> 4) >>> 0,
          write32: (offset, value) => this.#write(offset >> 4, value),
        },
      },
    ];
  }

  /** An interrupt waits that the CPU may take when its IF allows. */
  hasPending(): boolean {
    return pendingVector(this.state) > 0 || (this.acceptPicIntr() && this.#pic.pending);
  }

  /** The 8259As reach the CPU: the APIC is globally disabled, or LINT0 is an unmasked ExtINT. */
  acceptPicIntr(): boolean {
    if ((this.state.apicbase & BASE_ENABLE) === 0) return true;
    return (this.state.lvt[LVT_LINT0]! & (LVT_MASKED | 0x700)) === DELIVERY_EXTINT << 8;
  }

  /** The CPU takes the interrupt: gives its vector. The 8259As' come first, they know no priority here. */
  acknowledge(): number {
    if (this.acceptPicIntr() && this.#pic.pending) {
      const picVector = this.#pic.acknowledge();
      this.#update();
      return picVector;
    }
    const vector = pendingVector(this.state);
    if (vector <= 0) return this.state.spuriousVec & 0xff;
    clearBit(this.state.irr, vector);
    setBit(this.state.isr, vector);
    this.#update();
    return vector;
  }

  /** IA32_APIC_BASE, low 32 bits. */
  get base(): number {
    return this.state.apicbase;
  }

  /** Writes IA32_APIC_BASE. Once disabled, the APIC stays so until reset. */
  setBase(value: number): void {
    const { state } = this;
    state.apicbase = ((value & 0xffff_f000) | (state.apicbase & (BASE_BSP | BASE_ENABLE))) >>> 0;
    if ((value & BASE_ENABLE) === 0) {
      state.apicbase = (state.apicbase & ~BASE_ENABLE) >>> 0;
      state.spuriousVec &= ~SPURIOUS_ENABLE;
    }
    this.#update();
  }

  /** CR8: task priority, bits 7:4 of TPR. */
  get cr8(): number {
    return this.state.tpr >> 4;
  }

  set cr8(value: number) {
    this.state.tpr = (value & 0xf) << 4;
    this.#update();
  }

  /** The NMI pin (LINT1), for `inject-nmi`. */
  nmi(): void {
    this.#deliverLocal(LVT_LINT1);
  }

  /**
   * A message from the I/O APIC or an MSI: `logical` destination mode or physical, delivery mode 0-7, `level` trigger.
   * Messages for other CPUs than this are lost.
   */
  deliver(destination: number, logical: boolean, mode: number, vector: number, level: boolean): void {
    if (isDestination(this.state, destination, logical)) this.#accept(mode, vector, level);
  }

  reset(): void {
    this.state.apicbase = POWER_ON_BASE;
    this.state.id = this.state.arbId = 0;
    this.initReset();
  }

  /** State after INIT: all but the base address and the ID. */
  initReset(): void {
    const { state } = this;
    state.tpr = state.logDest = state.esr = 0;
    state.spuriousVec = 0xff;
    state.destMode = 0xf;
    state.isr.fill(0);
    state.tmr.fill(0);
    state.irr.fill(0);
    state.lvt.fill(LVT_MASKED);
    state.icr.fill(0);
    state.divideConf = state.countShift = 0;
    state.initialCount = state.initialCountLoadTime = state.nextTime = 0;
    state.timerExpiry = NOT_ARMED;
    state.sipi.sipiVector = state.sipi.waitForSipi = 0;
    this.#timer.cancel();
    this.#update();
  }

  /** Times beyond what virtual time can reach would leave the safe integers when the timer is armed. */
  validate(candidate: ApicState): string | undefined {
    for (const field of ['initialCountLoadTime', 'nextTime', 'timerExpiry'] as const) {
      const time = candidate[field];
      if (time < NOT_ARMED || time > MAX_TIME) return `${field}: found ${time}, expected -1 to ${MAX_TIME}`;
    }
    return undefined;
  }

  /** INTR is not driven: the CPU asks {@link hasPending} after a load. */
  afterLoad(): void {
    if (this.state.timerExpiry === NOT_ARMED) this.#timer.cancel();
    else this.#timer.arm(this.state.timerExpiry);
  }

  #update(): void {
    this.#intr.set(this.hasPending() ? 1 : 0);
  }

  #request(vector: number, level: boolean): void {
    setBit(this.state.irr, vector);
    if (level) setBit(this.state.tmr, vector);
    else clearBit(this.state.tmr, vector);
    this.#update();
  }

  #accept(mode: number, vector: number, level: boolean): void {
    switch (mode) {
      case DELIVERY_FIXED:
      case DELIVERY_LOWEST:
      case DELIVERY_EXTINT:
        this.#request(vector, level);
        break;
      case DELIVERY_NMI:
        this.#cpu.nmi();
        break;
      case DELIVERY_INIT:
        this.#cpu.init();
        break;
    }
  }

  #deliverLocal(entry: number): void {
    const lvt = this.state.lvt[entry]!;
    if ((lvt & LVT_MASKED) !== 0) return;
    const mode = (lvt >> 8) & 7;
    if (mode === DELIVERY_FIXED) {
      const isPin = entry === LVT_LINT0 || entry === LVT_LINT1;
      this.#request(lvt & 0xff, isPin && (lvt & LVT_LEVEL) !== 0);
    } else if (mode === DELIVERY_NMI) {
      this.#cpu.nmi();
    } else if (mode === DELIVERY_EXTINT) {
      this.#update();
    }
  }

  #driveLint0(level: number): void {
    if ((this.state.apicbase & BASE_ENABLE) === 0) {
      this.#update();
      return;
    }
    if (level !== 0) {
      this.#deliverLocal(LVT_LINT0);
      return;
    }
    const lvt = this.state.lvt[LVT_LINT0]!;
    if (((lvt >> 8) & 7) === DELIVERY_FIXED && (lvt & LVT_LEVEL) !== 0) clearBit(this.state.irr, lvt & 0xff);
    this.#update();
  }

  #endOfInterrupt(): void {
    const { state } = this;
    const vector = highestVector(state.isr);
    if (vector < 0) return;
    clearBit(state.isr, vector);
    if (testBit(state.tmr, vector)) this.#broadcastEoi(vector);
    this.#update();
  }

  #timerFired(): void {
    this.#deliverLocal(LVT_TIMER);
    this.#armTimer(this.state.nextTime);
  }

  #armTimer(now: Ns): void {
    const next = nextApicTimer(this.state, now);
    this.state.timerExpiry = next;
    if (next === NOT_ARMED) {
      this.#timer.cancel();
    } else {
      this.state.nextTime = next;
      this.#timer.arm(next);
    }
  }

  /** Writing the low half of the interrupt command register sends the interrupt. */
  #sendInterprocessor(): void {
    const low = this.state.icr[0]!;
    const mode = (low >> 8) & 7;
    const level = (low & 0x8000) !== 0;
    // INIT level de-assert: synchronises arbitration IDs, nothing else.
    if (mode === DELIVERY_INIT && level && (low & 0x4000) === 0) {
      this.state.arbId = this.state.id;
      return;
    }
    const shorthand = (low >> 18) & 3;
    if (shorthand === 3) return;
    const reaches =
      shorthand !== 0 || isDestination(this.state, this.state.icr[1]! >>> 24, (low & 0x800) !== 0);
    if (reaches) this.#accept(mode, low & 0xff, level);
  }

  #read(register: number): number {
    const { state } = this;
    if (register >= REGISTER_ISR && register < REGISTER_ESR) {
      const bits = register < REGISTER_TMR ? state.isr : register < REGISTER_IRR ? state.tmr : state.irr;
      return bits[register & 7]!;
    }
    if (register >= REGISTER_LVT && register < REGISTER_LVT + LVT_COUNT) {
      return state.lvt[register - REGISTER_LVT]!;
    }
    switch (register) {
      case REGISTER_ID:
        return state.id << 24;
      case REGISTER_VERSION:
        return VERSION;
      case REGISTER_TPR:
        return state.tpr;
      case REGISTER_PPR:
        return processorPriority(state);
      case REGISTER_APR:
      case REGISTER_EOI:
        return 0;
      case REGISTER_LDR:
        return state.logDest << 24;
      case REGISTER_DFR:
        return (state.destMode << 28) | 0x0fff_ffff;
      case REGISTER_SVR:
        return state.spuriousVec;
      case REGISTER_ESR:
        return state.esr;
      case REGISTER_ICR_LOW:
      case REGISTER_ICR_HIGH:
        return state.icr[register & 1]!;
      case REGISTER_INITIAL_COUNT:
        return state.initialCount;
      case REGISTER_CURRENT_COUNT:
        return apicCurrentCount(state, this.#clock.now());
      case REGISTER_DIVIDE:
        return state.divideConf;
      default:
        state.esr |= ESR_ILLEGAL_ADDRESS;
        return 0;
    }
  }

  #write(register: number, value: number): void {
    const { state } = this;
    if (register >= REGISTER_ISR && register <= REGISTER_ESR) return;
    if (register >= REGISTER_LVT && register < REGISTER_LVT + LVT_COUNT) {
      this.#writeLvt(register - REGISTER_LVT, value);
      return;
    }
    switch (register) {
      case REGISTER_ID:
        state.id = value >>> 24;
        break;
      case REGISTER_TPR:
        state.tpr = value & 0xff;
        this.#update();
        break;
      case REGISTER_EOI:
        this.#endOfInterrupt();
        break;
      case REGISTER_LDR:
        state.logDest = value >>> 24;
        break;
      case REGISTER_DFR:
        state.destMode = value >>> 28;
        break;
      case REGISTER_SVR:
        state.spuriousVec = value & 0x1ff;
        this.#update();
        break;
      case REGISTER_ICR_LOW:
        state.icr[0] = value;
        this.#sendInterprocessor();
        break;
      case REGISTER_ICR_HIGH:
        state.icr[1] = value;
        break;
      case REGISTER_INITIAL_COUNT:
        state.initialCount = value;
        state.initialCountLoadTime = this.#clock.now();
        this.#armTimer(state.initialCountLoadTime);
        break;
      case REGISTER_DIVIDE:
        // Bits 3, 1, 0 select 2, 4, … 128, and 111 selects 1. A running count goes on with the new divisor.
        state.divideConf = value & 0xb;
        state.countShift = (((value & 3) | ((value >> 1) & 4)) + 1) & 7;
        break;
      case REGISTER_VERSION:
      case REGISTER_APR:
      case REGISTER_PPR:
      case REGISTER_CURRENT_COUNT:
        break;
      default:
        state.esr |= ESR_ILLEGAL_ADDRESS;
    }
  }

  #writeLvt(entry: number, value: number): void {
    this.state.lvt[entry] = value;
    if (entry === LVT_TIMER) this.#armTimer(this.#clock.now());
    // A level that the PIC already holds is seen when LINT0 is opened.
    else if (entry === LVT_LINT0) this.#driveLint0(this.#pic.pending ? 1 : 0);
  }
}
