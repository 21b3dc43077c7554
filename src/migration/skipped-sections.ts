/**
 * Sections of QEMU's pc that we have no device for and that change nothing a guest on TCG could see: parsed, to know
 * where they end, and dropped with a notice. Facts: QEMU 7.2 hw/i386/kvmvapic.c and hw/i386/vmmouse.c.
 */
import { array, buffer, i32, type Schema, struct, u8, u16, u32, type VmState } from './vmstate.ts';

interface TprHandlers {
  setTpr: number;
  setTprEax: number;
  readonly getTpr: Uint32Array;
  getTprStack: number;
}

const tprHandlers: VmState<TprHandlers> = {
  name: 'kvmvapic-handlers',
  version: 1,
  minimumVersion: 1,
  fields: { setTpr: u32(), setTprEax: u32(), getTpr: array(u32(), 8), getTprStack: u32() },
};

interface TprRom {
  /** vaddr, fixup_start, fixup_end, vapic_vaddr, vapic_size, vcpu_shift, real_tpr_addr, after a signature. */
  readonly words: Uint32Array;
  readonly up: TprHandlers;
  readonly mp: TprHandlers;
}

const tprRom: VmState<TprRom> = {
  name: 'kvmvapic-guest-rom',
  version: 1,
  minimumVersion: 1,
  fields: { words: array(u32(), 7, { unusedBefore: 8 }), up: struct(tprHandlers), mp: struct(tprHandlers) },
};

interface KvmTprOpt {
  readonly romState: TprRom;
  /** state, real_tpr_addr, rom_state_vaddr, vapic_paddr, rom_state_paddr. */
  readonly words: Uint32Array;
}

/** The task-priority patching that KVM without flexpriority needed: idle under TCG. */
const kvmTprOpt: VmState<KvmTprOpt> = {
  name: 'kvm-tpr-opt',
  version: 1,
  minimumVersion: 1,
  fields: { romState: struct(tprRom), words: array(u32(), 5) },
};

interface VmMouse {
  queueSize: number;
  readonly queue: Uint8Array;
  nbQueue: number;
  status: number;
  absolute: number;
}

/** VMware's absolute pointer on port 0x5658; guests fall back to the PS/2 mouse. */
const vmMouse: VmState<VmMouse> = {
  name: 'vmmouse',
  version: 0,
  minimumVersion: 0,
  fields: { queueSize: i32(), queue: buffer(4096), nbQueue: u16(), status: u16(), absolute: u8() },
};

export const SKIPPED_SECTIONS: ReadonlyMap<string, Schema> = new Map<string, Schema>([
  [kvmTprOpt.name, kvmTprOpt],
  [vmMouse.name, vmMouse],
]);
