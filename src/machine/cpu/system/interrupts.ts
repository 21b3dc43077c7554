/**
 * Faults, traps and external interrupts as the run loop raises them, and what happens when delivering one faults in turn:
 * double fault and shutdown. Intel SDM 3A, 6.15 (interrupt 8).
 */
import {
  type CpuState,
  EXC_DB,
  EXC_DE,
  EXC_DF,
  EXC_GP,
  EXC_NMI,
  EXC_PF,
  EXC_TS,
  FAULT,
} from '../cpu-state.ts';
import { FLAG_RF } from '../eflags.ts';
import * as L from '../layout.ts';
import { traceInterrupt } from '../../trace.ts';
import { interrupt } from './gates.ts';

/**
 * `fault`: at the instruction at c.eip, RF is pushed set. `trap`: behind an instruction, at the EIP slot (single step, data
 * breakpoint). `soft`: INT n and the like, at c.nextEip; its own faults are thrown. `external`: at the EIP slot.
 */
export type DeliveryKind = 'fault' | 'trap' | 'soft' | 'external';

const DR7_GD = 0x2000;

function contributory(vector: number): boolean {
  return vector === EXC_DE || (vector >= EXC_TS && vector <= EXC_GP);
}

/**
 * Delivers an interrupt or exception; `error` -1: no error code. Between instructions or (soft) from a cold operation.
 * After a triple fault c.tripleFault is set and the registers stay as they were.
 */
export function deliver(c: CpuState, vector: number, kind: DeliveryKind, error: number): void {
  if (traceInterrupt.enabled) trace(c, vector, kind, error);
  if (kind === 'soft') {
    interrupt(c, vector, true, error, c.nextEip, 0);
    return;
  }
  if (kind === 'fault') {
    deliverAt(c, vector, error, c.eip, vector === EXC_DB ? 0 : FLAG_RF, true);
    return;
  }
  c.eip = c.get(L.EIP);
  if (vector === EXC_NMI) c.nmiMasked = true;
  deliverAt(c, vector, error, c.eip, 0, kind === 'trap');
}

function trace(c: CpuState, vector: number, kind: DeliveryKind, error: number): void {
  const eip = kind === 'soft' ? c.nextEip : kind === 'fault' ? c.eip : c.get(L.EIP);
  const extra = vector === EXC_PF ? c.get(L.CR2) : c.reg32(0);
  traceInterrupt.emit(
    vector,
    error,
    kind,
    c.get(L.CPL),
    c.selector(L.CS),
    eip >>> 0,
    c.selector(L.SS),
    c.reg32(4) >>> 0,
    extra >>> 0,
    (c.segBase(L.CS) + eip) >>> 0,
  );
}

/** Delivers the fault that raise() recorded, for the instruction at c.eip. */
export function deliverFault(c: CpuState): void {
  if (traceInterrupt.enabled) trace(c, c.faultVector, 'fault', c.faultError);
  deliverAt(c, c.faultVector, c.faultError, c.eip, c.faultVector === EXC_DB ? 0 : FLAG_RF, true);
}

/** `exception`: the event counts for double faults (external interrupts are benign). */
function deliverAt(
  c: CpuState,
  vector: number,
  error: number,
  returnEip: number,
  rf: number,
  exception: boolean,
): void {
  let first = exception ? vector : -1;
  for (;;) {
    c.eip = returnEip;
    if (vector === EXC_DB) c.set(L.DR + 28, c.get(L.DR + 28) & ~DR7_GD);
    try {
      interrupt(c, vector, false, error, returnEip, rf);
      return;
    } catch (thrown) {
      if (thrown !== FAULT) throw thrown;
    }
    const second = c.faultVector;
    if (first === EXC_DF) {
      c.tripleFault = true;
      return;
    }
    if (
      (contributory(first) && contributory(second)) ||
      (first === EXC_PF && (contributory(second) || second === EXC_PF))
    ) {
      vector = EXC_DF;
      error = 0;
    } else {
      vector = second;
      // EXT: the fault came while delivering an event from outside the program.
      error = second === EXC_PF || c.faultError < 0 ? c.faultError : c.faultError | 1;
    }
    first = vector;
    rf = FLAG_RF;
    // A task switch that faulted behind its commit point has moved on to the new task's EIP.
    returnEip = c.eip;
  }
}
