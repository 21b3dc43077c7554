/** Where pages go while a stream is read: beside the machine, or straight into it. */
import type { RamBlock, RamSink } from './ram-block.ts';
import { PAGE_BYTES } from './stream-format.ts';
import { isZeroRange } from './zero-page.ts';

/** Pages beside the machine, until commit. Zero pages cost nothing: the copy starts as zeros that nobody touched. */
export class StagedRam implements RamSink {
  readonly #blocks: readonly RamBlock[];
  readonly #copies: (Uint8Array | undefined)[];

  constructor(blocks: readonly RamBlock[]) {
    this.#blocks = blocks;
    this.#copies = blocks.map(() => undefined);
  }

  page(block: number, offset: number, source: Uint8Array, at: number): void {
    this.#copy(block).set(source.subarray(at, at + PAGE_BYTES), offset);
  }

  fill(block: number, offset: number, value: number): void {
    const copy = this.#copy(block);
    // Reading an untouched page costs no memory; writing zeros to it would.
    if (value === 0 && isZeroRange(copy, offset, PAGE_BYTES)) return;
    copy.fill(value, offset, offset + PAGE_BYTES);
  }

  commit(): void {
    for (const [i, copy] of this.#copies.entries()) if (copy) this.#blocks[i]!.bytes.set(copy);
    this.#copies.fill(undefined);
  }

  #copy(block: number): Uint8Array {
    return (this.#copies[block] ??= new Uint8Array(this.#blocks[block]!.sizeBytes));
  }
}

/** Pages straight into the machine: for one that has not run and is thrown away when the load fails. */
export class DirectRam implements RamSink {
  readonly #blocks: readonly RamBlock[];

  constructor(blocks: readonly RamBlock[]) {
    this.#blocks = blocks;
  }

  page(block: number, offset: number, source: Uint8Array, at: number): void {
    this.#blocks[block]!.bytes.set(source.subarray(at, at + PAGE_BYTES), offset);
  }

  fill(block: number, offset: number, value: number): void {
    this.#blocks[block]!.bytes.fill(value, offset, offset + PAGE_BYTES);
  }

  commit(): void {}
}
