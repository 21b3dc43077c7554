/**
 * Linear-address accesses for cold operations and for generated code's slow path: TLB, page walk, MMIO, page crossings.
 * `user` is 1 for accesses with CPL 3, 0 for supervisor ones (descriptor tables, task switches, interrupt frames to an inner stack).
 * 8- and 16-bit reads are unsigned, 32-bit ones signed. All may raise #PF.
 */
import type { CpuState } from './cpu-state.ts';

export declare const pending: CpuState;
