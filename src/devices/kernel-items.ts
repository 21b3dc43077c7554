/**
 * What a kernel given with -kernel becomes: numbered items of fw_cfg, which an option ROM copies to memory. Numbers: QEMU
 * 7.2, include/standard-headers/linux/qemu_fw_cfg.h.
 */
export const FW_CFG_KERNEL_ADDR = 0x07;
export const FW_CFG_KERNEL_SIZE = 0x08;
export const FW_CFG_INITRD_ADDR = 0x0a;
export const FW_CFG_INITRD_SIZE = 0x0b;
export const FW_CFG_KERNEL_ENTRY = 0x10;
export const FW_CFG_KERNEL_DATA = 0x11;
export const FW_CFG_INITRD_DATA = 0x12;
export const FW_CFG_CMDLINE_ADDR = 0x13;
export const FW_CFG_CMDLINE_SIZE = 0x14;
export const FW_CFG_CMDLINE_DATA = 0x15;
export const FW_CFG_SETUP_ADDR = 0x16;
export const FW_CFG_SETUP_SIZE = 0x17;
export const FW_CFG_SETUP_DATA = 0x18;

export interface FwCfgNumberedItem {
  readonly number: number;
  readonly data: Uint8Array;
}

/** An item of 32 bits. */
export function dword(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

export type KernelLoadErrorCode =
  | 'NOT_A_KERNEL'
  | 'INVALID_HEADER'
  | 'TOO_LARGE'
  | 'INITRD_TOO_LARGE'
  | 'INVALID_VGA';

/** The kernel, its initrd or its modules cannot be booted; message in QEMU's words where it has any. */
export class KernelLoadError extends Error {
  override readonly name: string = 'KernelLoadError';
  readonly code: KernelLoadErrorCode;

  constructor(code: KernelLoadErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}
