/**
 * Intel 82441FX (PMC): host bridge 00:00.0. Datasheet: Intel 290549. It decides what the addresses 0xa0000-0xfffff
 * reach: the PAM registers switch shadow RAM, SMRAMC the SMRAM window.
 *
 * Not emulated: DRAM timing and row registers (writable, without effect), ECC, SMRAM.D_LCK, AGP. PAM attribute 2 (write
 * only) behaves as RAM for reads also, as in QEMU.
 */
import type { Device } from '../../machine/device.ts';
import { struct, type VmState } from '../../migration/vmstate.ts';
import { PciFunction, type PciFunctionState, type PciParent, pciFunctionVmState } from './config-space.ts';

/** PAM0-PAM6, section 3.2.18. */
const PAM_FIRST = 0x59;
const PAM_LAST = 0x5f;
/** SMRAMC, section 3.2.19. */
const SMRAM = 0x72;
const SMRAM_POWER_ON = 0x02;
const SMRAM_D_OPEN = 0x40;
const SMRAM_G_SMRAME = 0x08;
/** Not in real hardware: RAM in units of 8 MiB, read by old coreboot (QEMU 7.2 hw/pci-host/i440fx.c). */
const COREBOOT_RAM_SIZE = 0x57;

/** One of the 13 areas that PAM switches. */
export interface PamSegment {
  readonly base: number;
  readonly size: number;
}

/** Segment 0 is 0xf0000-0xfffff, 1-12 are the 16 KiB pieces from 0xc0000 up. */
export const PAM_SEGMENTS: readonly PamSegment[] = [
  { base: 0xf0000, size: 0x10000 },
  ...Array.from({ length: 12 }, (_, index) => ({ base: 0xc0000 + index * 0x4000, size: 0x4000 })),
];

/** Attribute of a segment: bit 0 reads come from RAM, bit 1 writes go to RAM; else ROM or the bus. */
export const PAM_READ = 1;
export const PAM_WRITE = 2;

/** PAM attribute (0-3) of segment 0-12 in a configuration space. */
export function pamMode(config: Uint8Array, segment: number): number {
  const register = config[PAM_FIRST + ((segment + 1) >> 1)]!;
  return (segment & 1) === 0 ? (register >>> 4) & 3 : register & 3;
}

export interface I440fxState {
  parentObj: PciFunctionState;
}

/** Stream section `0000:00:00.0/I440FX` (QEMU 7.2 hw/pci-host/i440fx.c). */
export const i440fxVmState: VmState<I440fxState> = {
  name: 'I440FX',
  version: 3,
  minimumVersion: 3,
  fields: { parentObj: struct(pciFunctionVmState, { unusedAfter: 1 }) },
};

export interface I440fxOptions {
  readonly bus: PciParent;
  /** Guest RAM, bytes. */
  readonly ramSize: number;
  /**
   * Attribute of segment 0-12 is now `mode`: 0 ROM or bus, 1 RAM read-only, 2 and 3 RAM. Called for changed segments
   * only, and for all after a load.
   */
  readonly setPam: (segment: number, mode: number) => void;
  /** SMRAMC: the RAM behind 0xa0000-0xbffff is `open` to everybody; SMRAM is `enabled` for SMM. */
  readonly setSmram?: (open: boolean, enabled: boolean) => void;
}

export class I440fx implements Device<I440fxState> {
  readonly name: string = '0000:00:00.0/I440FX';
  readonly vmstate: VmState<I440fxState> = i440fxVmState;
  readonly state: I440fxState;
  readonly #pci: PciFunction;
  readonly #setPam: (segment: number, mode: number) => void;
  readonly #setSmram: ((open: boolean, enabled: boolean) => void) | undefined;
  /** What setPam was told last: derived. -1: nothing yet. */
  readonly #pamModes: Int8Array = new Int8Array(PAM_SEGMENTS.length).fill(-1);

  constructor({ bus, ramSize, setPam, setSmram }: I440fxOptions) {
    this.#setPam = setPam;
    this.#setSmram = setSmram;
    this.#pci = new PciFunction({
      bus,
      slot: 0,
      vendorId: 0x8086,
      deviceId: 0x1237,
      classCode: 0x0600,
      revision: 2,
      onConfigWrite: (offset, size) => this.#configWritten(offset, size),
    });
    this.#pci.config[COREBOOT_RAM_SIZE] = Math.min(255, Math.floor(ramSize / (8 << 20)));
    this.#pci.config[SMRAM] = SMRAM_POWER_ON;
    this.state = { parentObj: this.#pci.state };
  }

  /**
   * Clears PAM, so that the reset vector and the segment 0xf000 reach the ROM again. QEMU keeps PAM over a reset and
   * leaves it to SeaBIOS to copy the ROM back; hardware clears it (section 3.2.18), and so nothing depends on the shadow.
   */
  reset(): void {
    this.#pci.config.fill(0, PAM_FIRST, PAM_LAST + 1);
    this.#pci.config[SMRAM] = SMRAM_POWER_ON;
    this.#pci.reset();
    this.#updateMemory();
  }

  /** The PAM registers, for {@link keepShadow}. */
  get shadow(): Uint8Array {
    return this.#pci.config.slice(PAM_FIRST, PAM_LAST + 1);
  }
  /**
   * After the reset that wakes the machine from suspend to RAM: shadow RAM is as it was. SeaBIOS knows by what it left
   * there that it is not to start the machine anew but to resume (QEMU keeps PAM over every reset).
   */
  keepShadow(shadow: Uint8Array): void {
    this.#pci.config.set(shadow, PAM_FIRST);
    this.#updateMemory();
  }

  validate(candidate: I440fxState): string | undefined {
    return this.#pci.validate(candidate.parentObj);
  }

  afterLoad(): void {
    this.#pci.afterLoad();
    this.#pamModes.fill(-1);
    this.#updateMemory();
  }

  #configWritten(offset: number, size: number): void {
    const end = offset + size;
    if ((offset <= PAM_LAST && end > PAM_FIRST) || (offset <= SMRAM && end > SMRAM)) this.#updateMemory();
  }

  #updateMemory(): void {
    for (let segment = 0; segment < PAM_SEGMENTS.length; segment++) {
      const mode = pamMode(this.#pci.config, segment);
      if (this.#pamModes[segment] === mode) continue;
      this.#pamModes[segment] = mode;
      this.#setPam(segment, mode);
    }
    const smram = this.#pci.config[SMRAM]!;
    this.#setSmram?.((smram & SMRAM_D_OPEN) !== 0, (smram & SMRAM_G_SMRAME) !== 0);
  }
}
