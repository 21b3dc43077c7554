/**
 * What CPUID and the reset state say, by `-cpu` name: the models of QEMU 7.2 (target/i386/cpu.c) cut down to what TCG
 * offers, as `qemu-system-i386 -cpu NAME` answers them. Data only.
 */

export interface CpuModel {
  readonly name: string;
  /** Highest basic leaf. */
  readonly level: number;
  /** Leaf 1 EAX and EDX after reset: family, model, stepping. */
  readonly signature: number;
  /** Leaf 1 EDX. */
  readonly features: number;
  /** Leaf 1 ECX: bit 31 says that a hypervisor is there, as TCG does. */
  readonly featuresExt: number;
  /** Highest extended leaf and the brand string of leaves 80000002–4; absent: none. */
  readonly extendedLevel?: number;
  readonly brand?: string;
}

export const FEATURE_PSE = 1 << 3;
export const FEATURE_TSC = 1 << 4;
export const FEATURE_MSR = 1 << 5;
export const FEATURE_PAE = 1 << 6;
export const FEATURE_CX8 = 1 << 8;
export const FEATURE_APIC = 1 << 9;
export const FEATURE_SEP = 1 << 11;
export const FEATURE_MTRR = 1 << 12;
export const FEATURE_PGE = 1 << 13;
export const FEATURE_MCA = 1 << 14;
export const FEATURE_CMOV = 1 << 15;
export const FEATURE_MMX = 1 << 23;
export const FEATURE_FXSR = 1 << 24;
export const FEATURE_SSE = 1 << 25;
export const FEATURE_SSE2 = 1 << 26;

const HYPERVISOR = 0x80000000 | 0;

export const CPU_MODELS = {
  pentium3: { name: 'pentium3', level: 3, signature: 0x673, features: 0x0383fbfd, featuresExt: HYPERVISOR },
  /** QEMU's has SSE3 as well, which this machine has not. */
  qemu32: {
    name: 'qemu32',
    level: 4,
    signature: 0x663,
    features: 0x0781abfd,
    featuresExt: HYPERVISOR,
    extendedLevel: 0x80000004,
    brand: 'QEMU Virtual CPU version 2.5+',
  },
  pentium2: { name: 'pentium2', level: 2, signature: 0x652, features: 0x0183fbfd, featuresExt: HYPERVISOR },
  pentium: { name: 'pentium', level: 1, signature: 0x543, features: 0x008003bd, featuresExt: HYPERVISOR },
  '486': { name: '486', level: 1, signature: 0x480, features: 0x00000009, featuresExt: HYPERVISOR },
} as const satisfies Readonly<Record<string, CpuModel>>;

/** Model by `-cpu` name; undefined if there is none. */
export function cpuModel(name: string): CpuModel | undefined {
  return (CPU_MODELS as Readonly<Record<string, CpuModel>>)[name];
}
