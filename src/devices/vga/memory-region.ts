/**
 * Plain bytes as a region: video memory behind BAR 0 and the expansion ROM. A machine that knows regions of bytes
 * maps `bytes` directly; the handlers are there for one that does not.
 */
import type { IoRegion } from '../../machine/device.ts';

export class BytesRegion implements IoRegion {
  readonly name: string;
  readonly size: number;
  readonly bytes: Uint8Array;
  /** False: writes are dropped. */
  readonly writable: boolean;
  readonly #view: DataView;
  readonly #beforeWrite: ((offset: number, length: number) => void) | undefined;

  constructor(
    name: string,
    bytes: Uint8Array,
    writable: boolean,
    beforeWrite?: (offset: number, length: number) => void,
  ) {
    this.name = name;
    this.size = bytes.length;
    this.bytes = bytes;
    this.writable = writable;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#beforeWrite = beforeWrite;
  }

  read8(offset: number): number {
    return this.#view.getUint8(offset);
  }

  read16(offset: number): number {
    return this.#view.getUint16(offset, true);
  }

  read32(offset: number): number {
    return this.#view.getUint32(offset, true);
  }

  write8(offset: number, value: number): void {
    if (!this.writable) return;
    this.#beforeWrite?.(offset, 1);
    this.#view.setUint8(offset, value);
  }

  write16(offset: number, value: number): void {
    if (!this.writable) return;
    this.#beforeWrite?.(offset, 2);
    this.#view.setUint16(offset, value, true);
  }

  write32(offset: number, value: number): void {
    if (!this.writable) return;
    this.#beforeWrite?.(offset, 4);
    this.#view.setUint32(offset, value, true);
  }
}
