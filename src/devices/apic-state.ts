/**
 * State of the local APIC: record, wire schema, and what follows from it without side effects: priorities, timer,
 * destinations. See apic.ts.
 */
import { NOT_ARMED, type Ns } from '../machine/clock.ts';
import { array, i32, i64, u8, u32, type VmState } from '../migration/vmstate.ts';

/** Physical address of the registers. */
export const APIC_BASE = 0xfee0_0000;

// IA32_APIC_BASE.
export const BASE_BSP = 0x100;
export const BASE_ENABLE = 0x800;
export const POWER_ON_BASE: number = (APIC_BASE | BASE_BSP | BASE_ENABLE) >>> 0;

/** Spurious interrupt vector register: the APIC is on. */
export const SPURIOUS_ENABLE = 0x100;

export const LVT_TIMER = 0;
export const LVT_COUNT = 6;
export const LVT_MASKED = 0x1_0000;
const LVT_PERIODIC = 0x2_0000;

/** Subsection of a CPU that waits to be started. The boot CPU never does; read so that such a stream is understood. */
export interface ApicSipiState {
  sipiVector: number;
  waitForSipi: number;
}

export interface ApicState {
  /** IA32_APIC_BASE. */
  apicbase: number;
  id: number;
  arbId: number;
  tpr: number;
  spuriousVec: number;
  logDest: number;
  destMode: number;
  readonly isr: Uint32Array;
  readonly tmr: Uint32Array;
  readonly irr: Uint32Array;
  readonly lvt: Uint32Array;
  esr: number;
  readonly icr: Uint32Array;
  divideConf: number;
  /** log2 of the divisor. */
  countShift: number;
  initialCount: number;
  initialCountLoadTime: Ns;
  nextTime: Ns;
  timerExpiry: Ns;
  readonly sipi: ApicSipiState;
}

const sipiVmState: VmState<ApicSipiState> = {
  name: 'apic_sipi',
  version: 1,
  minimumVersion: 1,
  fields: { sipiVector: i32(), waitForSipi: i32() },
};

/** Stream section `apic` (QEMU 7.2 hw/intc/apic_common.c). */
export const apicVmState: VmState<ApicState, 'sipi'> = {
  name: 'apic',
  version: 3,
  minimumVersion: 3,
  fields: {
    apicbase: u32(),
    id: u8(),
    arbId: u8(),
    tpr: u8(),
    spuriousVec: u32(),
    logDest: u8(),
    destMode: u8(),
    isr: array<Uint32Array>(u32(), 8),
    tmr: array<Uint32Array>(u32(), 8),
    irr: array<Uint32Array>(u32(), 8),
    lvt: array<Uint32Array>(u32(), LVT_COUNT),
    esr: u32(),
    icr: array<Uint32Array>(u32(), 2),
    divideConf: u32(),
    countShift: i32({ min: 0, max: 7 }),
    initialCount: u32(),
    initialCountLoadTime: i64(),
    nextTime: i64(),
    timerExpiry: i64(),
  },
  subsections: {
    sipi: {
      vmstate: sipiVmState,
      needed: (state) => state.sipi.waitForSipi !== 0,
      absent: () => ({ sipiVector: 0, waitForSipi: 0 }),
    },
  },
};

/** Highest vector whose bit is set, or -1. */
export function highestVector(bits: Uint32Array): number {
  for (let word = 7; word >= 0; word--) {
    if (bits[word] !== 0) return word * 32 + 31 - Math.clz32(bits[word]!);
  }
  return -1;
}

export function setBit(bits: Uint32Array, vector: number): void {
  bits[vector >> 5] = bits[vector >> 5]! | (1 << (vector & 31));
}

export function clearBit(bits: Uint32Array, vector: number): void {
  bits[vector >> 5] = bits[vector >> 5]! & ~(1 << (vector & 31));
}

export function testBit(bits: Uint32Array, vector: number): boolean {
  return (bits[vector >> 5]! & (1 << (vector & 31))) !== 0;
}

/** What the timer needs to know of the state. */
export type ApicTimerState = Pick<ApicState, 'lvt' | 'countShift' | 'initialCount' | 'initialCountLoadTime'>;

/** When the timer fires next after `now`, or {@link NOT_ARMED}. */
export function nextApicTimer(state: ApicTimerState, now: Ns): Ns {
  const lvt = state.lvt[LVT_TIMER]!;
  if ((lvt & LVT_MASKED) !== 0) return NOT_ARMED;
  const divisor = 2 ** state.countShift;
  const elapsed = Math.floor((now - state.initialCountLoadTime) / divisor);
  const period = state.initialCount + 1;
  let count: number;
  if ((lvt & LVT_PERIODIC) !== 0) {
    if (state.initialCount === 0) return NOT_ARMED;
    count = (Math.floor(elapsed / period) + 1) * period;
  } else {
    if (elapsed >= state.initialCount) return NOT_ARMED;
    count = period;
  }
  return state.initialCountLoadTime + count * divisor;
}

/** Current count register at `now`. */
export function apicCurrentCount(state: ApicTimerState, now: Ns): number {
  const elapsed = Math.floor((now - state.initialCountLoadTime) / 2 ** state.countShift);
  if ((state.lvt[LVT_TIMER]! & LVT_PERIODIC) !== 0) {
    return state.initialCount - (elapsed % (state.initialCount + 1));
  }
  return elapsed >= state.initialCount ? 0 : state.initialCount - elapsed;
}

/** Values before the first reset. */
export function initialState(): ApicState {
  return {
    apicbase: POWER_ON_BASE,
    id: 0,
    arbId: 0,
    tpr: 0,
    spuriousVec: 0xff,
    logDest: 0,
    destMode: 0xf,
    isr: new Uint32Array(8),
    tmr: new Uint32Array(8),
    irr: new Uint32Array(8),
    lvt: new Uint32Array(LVT_COUNT),
    esr: 0,
    icr: new Uint32Array(2),
    divideConf: 0,
    countShift: 0,
    initialCount: 0,
    initialCountLoadTime: 0,
    nextTime: 0,
    timerExpiry: NOT_ARMED,
    sipi: { sipiVector: 0, waitForSipi: 0 },
  };
}

/** Task priority or that of the interrupt in service, whichever is higher (SDM 11.8.3.1). */
export function processorPriority(state: ApicState): number {
  const inService = Math.max(0, highestVector(state.isr));
  return state.tpr >> 4 >= inService >> 4 ? state.tpr : inService & 0xf0;
}

/** Highest request if the CPU may take it, 0 if there is none or its priority is too low. */
export function pendingVector(state: ApicState): number {
  if ((state.spuriousVec & SPURIOUS_ENABLE) === 0) return 0;
  const vector = highestVector(state.irr);
  return vector > 0 && (vector & 0xf0) > (processorPriority(state) & 0xf0) ? vector : 0;
}

/** Whether a message reaches this APIC (SDM 11.6.2). */
export function isDestination(state: ApicState, destination: number, logical: boolean): boolean {
  const { id, logDest, destMode } = state;
  if (!logical) return destination === 0xff || destination === id;
  if (destMode === 0xf) return (destination & logDest) !== 0;
  // Cluster model: clusters must match, and a member bit.
  return destMode === 0 && (destination & 0xf0) === (logDest & 0xf0) && (destination & logDest & 0x0f) !== 0;
}
