/**
 * CPUID and CMPXCHG8B, SYSENTER, SYSEXIT: the instructions that CPUID announces. Leaves as QEMU 7.2 TCG answers them
 * (compared with `qemu-system-i386 -cpu pentium3`, one processor).
 */
import { CR0_PE, type CpuState, JUMP, NEXT } from '../cpu-state.ts';
import { ARITHMETIC_FLAGS, FLAG_IF, FLAG_RF, FLAG_VM, FLAG_ZF } from '../eflags.ts';
import * as L from '../layout.ts';
import { probeWrite, readLinear32, writeLinear32 } from '../linear.ts';
import { updateAll } from '../mode.ts';
import { memoryOffset, memorySegment, rmIsMemory, segmentCheck } from '../operands.ts';
import { FEATURE_APIC, FEATURE_CX8, FEATURE_SEP } from './cpu-models.ts';
import { setSegment } from './segment-load.ts';

const EAX = 0;
const ECX = 1;
const EDX = 2;
const EBX = 3;
const ESP = 4;
/** Global enable of the local APIC in its base register. */
const APIC_ENABLE = 0x800;

function answer(c: CpuState, eax: number, ebx: number, ecx: number, edx: number): number {
  c.setReg32(EAX, eax);
  c.setReg32(EBX, ebx);
  c.setReg32(ECX, ecx);
  c.setReg32(EDX, edx);
  return NEXT;
}

const CACHES: readonly (readonly [number, number, number, number])[] = [
  [0x121, 0x01c0003f, 0x3f, 1],
  [0x122, 0x01c0003f, 0x3f, 1],
  [0x143, 0x03c0003f, 0xfff, 1],
  [0x163, 0x03c0003f, 0x3fff, 6],
];
function cacheLeaf(c: CpuState, index: number): number {
  const [eax, ebx, ecx, edx] = CACHES[index] ?? [0, 0, 0, 0];
  return answer(c, eax, ebx, ecx, edx);
}

function extendedLeaf(c: CpuState, leaf: number): number {
  const model = c.model;
  if (leaf === 0x80000000) return answer(c, model.extendedLevel ?? 0, 0x756e6547, 0x6c65746e, 0x49656e69);
  if (leaf === 0x80000001) return answer(c, model.signature, 0, 0, 0);
  const from = (leaf - 0x80000002) * 16;
  const word = (k: number): number => {
    let v = 0;
    for (let i = 0; i < 4; i++) v |= (model.brand ?? '').charCodeAt(from + k * 4 + i) << (i * 8);
    return v;
  };
  return answer(c, word(0), word(1), word(2), word(3));
}

export function cpuid(c: CpuState): number {
  const model = c.model;
  let leaf = c.reg32(EAX) >>> 0;
  const hypervisor = leaf >= 0x40000000 && leaf <= 0x40000001;
  if (leaf >= 0x80000000 && leaf <= (model.extendedLevel ?? 0)) return extendedLeaf(c, leaf);
  if (leaf > model.level && !hypervisor) leaf = model.level;
  switch (leaf) {
    case 0: // "GenuineIntel"
      return answer(c, model.level, 0x756e6547, 0x6c65746e, 0x49656e69);
    case 1: {
      const apic = (c.bus.apicBase() & APIC_ENABLE) !== 0;
      const features = apic ? model.features : model.features & ~FEATURE_APIC;
      return answer(c, model.signature, 0x800, model.featuresExt, features);
    }
    case 2: // cache descriptors: L2 2 MB, L1 32 KB each, L3 16 MB
      return answer(c, 1, 0, 0x4d, 0x2c307d);
    case 4: // deterministic cache parameters, by ECX: L1 data and code 32 KB, L2 4 MB, L3 16 MB
      return cacheLeaf(c, c.reg32(ECX));
    case 0x40000000: // "TCGTCGTCGTCG": a guest of QEMU must not see its hypervisor change
      return answer(c, 0x40000001, 0x54474354, 0x43544743, 0x47435447);
    default:
      return answer(c, 0, 0, 0, 0);
  }
}

/** CMPXCHG8B m64: always writes, as silicon does. */
export function cmpxchg8b(c: CpuState): number {
  if (!rmIsMemory(c) || (c.model.features & FEATURE_CX8) === 0) c.raiseUd();
  const user = c.get(L.CPL) === 3 ? 1 : 0;
  const linear = segmentCheck(c, memorySegment(c), memoryOffset(c), 8, true);
  probeWrite(c, linear, 8, user);
  const low = readLinear32(c, linear, user);
  const high = readLinear32(c, (linear + 4) | 0, user);
  const equal = low === c.reg32(EAX) && high === c.reg32(EDX);
  writeLinear32(c, linear, equal ? c.reg32(EBX) : low, user);
  writeLinear32(c, (linear + 4) | 0, equal ? c.reg32(ECX) : high, user);
  const flags = c.eflags() & ARITHMETIC_FLAGS & ~FLAG_ZF;
  c.setArithmeticFlags(equal ? flags | FLAG_ZF : flags);
  if (!equal) {
    c.setReg32(EAX, low);
    c.setReg32(EDX, high);
  }
  return NEXT;
}

/** Flat 4 GiB segments with the rights that SYSENTER and SYSEXIT give them. SDM 2B. */
const FLAT_CODE = 0x00cf9b00;
const FLAT_DATA = 0x00cf9300;

function setFlat(c: CpuState, cs: number, ss: number, cpl: number): void {
  const dpl = cpl << 13;
  setSegment(c, L.CS, (cs & 0xfffc) | cpl, 0, -1, FLAT_CODE | dpl);
  setSegment(c, L.SS, (ss & 0xfffc) | cpl, 0, -1, FLAT_DATA | dpl);
  c.set(L.CPL, cpl);
  updateAll(c);
}

function checkSysenter(c: CpuState): void {
  if ((c.model.features & FEATURE_SEP) === 0) c.raiseUd();
  if ((c.get(L.CR0) & CR0_PE) === 0 || (c.cold.sysenterCs & 0xfffc) === 0) c.raiseGp(0);
}

export function sysenter(c: CpuState): number {
  checkSysenter(c);
  c.set(L.EFL, c.get(L.EFL) & ~(FLAG_VM | FLAG_IF | FLAG_RF));
  setFlat(c, c.cold.sysenterCs, c.cold.sysenterCs + 8, 0);
  c.setReg32(ESP, c.cold.sysenterEsp);
  c.set(L.EIP, c.cold.sysenterEip);
  return JUMP;
}

export function sysexit(c: CpuState): number {
  checkSysenter(c);
  if (c.get(L.CPL) !== 0) c.raiseGp(0);
  setFlat(c, c.cold.sysenterCs + 16, c.cold.sysenterCs + 24, 3);
  c.setReg32(ESP, c.reg32(ECX));
  c.set(L.EIP, c.reg32(EDX));
  return JUMP;
}
