/** A raw image: the file is the disk. */
import type { BlockNode } from '../block-node.ts';
import { BlockError } from '../errors.ts';
import type { BlockFile } from '../file.ts';
import { probe, PROBE_BYTES } from '../probe.ts';

/** Zeroes are written in pieces of this size. */
const ZERO_BYTES = 1024 * 1024;

export interface RawOptions {
  /**
   * The format was guessed: the guest may not write a first sector that would be taken for another format the next
   * time (CVE-2008-2004), as in QEMU.
   */
  readonly probed?: boolean;
}

/** `file` belongs to the node from now on. Its length is rounded up to sectors, as QEMU does; what is not in the file reads zero. */
export async function openRaw(file: BlockFile, options: RawOptions = {}): Promise<BlockNode> {
  try {
    return new Raw(file, Math.ceil((await file.size()) / 512) * 512, options.probed === true);
  } catch (error) {
    await file.close();
    throw error;
  }
}

class Raw implements BlockNode {
  readonly format = 'raw';
  readonly sizeBytes: number;
  readonly #file: BlockFile;
  readonly #probed: boolean;

  constructor(file: BlockFile, sizeBytes: number, probed: boolean) {
    this.#file = file;
    this.sizeBytes = sizeBytes;
    this.#probed = probed;
  }

  get filename(): string {
    return this.#file.filename;
  }

  get readOnly(): boolean {
    return this.#file.readOnly;
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    this.#check(offset, target.length);
    await this.#file.read(offset, target);
  }

  async write(offset: number, source: Uint8Array): Promise<void> {
    this.#check(offset, source.length);
    this.#assertWritable();
    if (this.#probed && offset < PROBE_BYTES) await this.#checkFirstSector(offset, source);
    await this.#file.write(offset, source);
  }

  async writeZeroes(offset: number, length: number): Promise<void> {
    this.#check(offset, length);
    this.#assertWritable();
    const zeroes = new Uint8Array(Math.min(length, ZERO_BYTES));
    for (let done = 0; done < length; done += zeroes.length) {
      await this.write(offset + done, zeroes.subarray(0, Math.min(zeroes.length, length - done)));
    }
  }

  async flush(): Promise<void> {
    await this.#file.flush();
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  #assertWritable(): void {
    if (!this.readOnly) return;
    throw new BlockError('read-only', `Image '${this.filename}' is read-only`, { file: this.filename });
  }

  async #checkFirstSector(offset: number, source: Uint8Array): Promise<void> {
    const sector = Buffer.alloc(PROBE_BYTES);
    if (offset > 0 || source.length < PROBE_BYTES) await this.#file.read(0, sector);
    sector.set(source.subarray(0, PROBE_BYTES - offset), offset);
    const format = probe(sector);
    if (format === 'raw') return;
    throw new BlockError(
      'read-only',
      `'${this.filename}': write of a ${format} header to a drive without format=raw`,
      {
        file: this.filename,
        section: 'first sector',
        offset: 0,
        found: format,
        expected: 'raw',
      },
    );
  }

  #check(offset: number, length: number): void {
    if (offset >= 0 && offset + length <= this.sizeBytes) return;
    throw new BlockError('out-of-bounds', `'${this.filename}': request beyond the end of the image`, {
      file: this.filename,
      offset,
      found: offset + length,
      expected: `at most ${this.sizeBytes}`,
    });
  }
}
