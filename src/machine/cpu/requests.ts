/** Bits of CpuState.interruptRequest and of section `cpu_common`: QEMU's CPU_INTERRUPT_* (include/exec/cpu-all.h). */

/** The interrupt line. */
export const REQUEST_HARD = 0x2;
export const REQUEST_NMI = 0x200;
export const REQUEST_INIT = 0x400;
