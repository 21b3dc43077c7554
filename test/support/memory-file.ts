/** A file in memory under an image. */
import type { BlockFile } from '../../src/block/file.ts';

export class MemoryFile implements BlockFile {
  readonly filename: string;
  readonly readOnly: boolean;
  bytes: Buffer;

  constructor(bytes: Uint8Array, filename = 'memory', readOnly = false) {
    this.bytes = Buffer.from(bytes);
    this.filename = filename;
    this.readOnly = readOnly;
  }

  async size(): Promise<number> {
    return this.bytes.length;
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    const piece = this.bytes.subarray(offset, offset + target.length);
    target.set(piece);
    target.fill(0, piece.length);
  }

  readSync(offset: number, target: Uint8Array): void {
    const piece = this.bytes.subarray(offset, offset + target.length);
    target.set(piece);
    target.fill(0, piece.length);
  }

  async write(offset: number, source: Uint8Array): Promise<void> {
    const end = offset + source.length;
    if (end > 2 ** 28) throw new Error(`write up to ${end} in a test`);
    if (end > this.bytes.length) await this.truncate(end);
    this.bytes.set(source, offset);
  }

  async writev(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    for (const part of parts) {
      await this.write(offset, part);
      offset += part.length;
    }
  }

  async truncate(sizeBytes: number): Promise<void> {
    const bytes = Buffer.alloc(sizeBytes);
    this.bytes.copy(bytes);
    this.bytes = bytes;
  }

  async flush(): Promise<void> {}
  async close(): Promise<void> {}
}
