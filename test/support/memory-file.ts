/** A file in memory under an image. */
import type { BlockFile } from '../../src/block/file.ts';

export class MemoryFile implements BlockFile {
  readonly filename: string;
  readonly readOnly: boolean;
  /** The file, and room for it to grow. What is behind the file's end is zero. */
  #room: Buffer;
  #bytes: Buffer;

  constructor(bytes: Uint8Array, filename = 'memory', readOnly = false) {
    this.#room = Buffer.from(bytes);
    this.#bytes = this.#room;
    this.filename = filename;
    this.readOnly = readOnly;
  }

  /** As it is now: later writes are seen in it, but not if the file grows. */
  get bytes(): Buffer {
    return this.#bytes;
  }

  async size(): Promise<number> {
    return this.#bytes.length;
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    this.readSync(offset, target);
  }

  readSync(offset: number, target: Uint8Array): void {
    const piece = this.#bytes.subarray(offset, offset + target.length);
    target.set(piece);
    if (piece.length < target.length) target.fill(0, piece.length);
  }

  async write(offset: number, source: Uint8Array): Promise<void> {
    const end = offset + source.length;
    if (end > 2 ** 28) throw new Error(`write up to ${end} in a test`);
    if (end > this.#bytes.length) this.#resize(end);
    this.#bytes.set(source, offset);
  }

  async writev(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    for (const part of parts) {
      await this.write(offset, part);
      offset += part.length;
    }
  }

  async truncate(sizeBytes: number): Promise<void> {
    this.#resize(sizeBytes);
  }

  #resize(sizeBytes: number): void {
    const length = this.#bytes.length;
    if (sizeBytes > this.#room.length) {
      const room = Buffer.alloc(Math.ceil(sizeBytes * 1.5));
      this.#bytes.copy(room);
      this.#room = room;
    } else if (sizeBytes < length) {
      this.#room.fill(0, sizeBytes, length);
    }
    this.#bytes = this.#room.subarray(0, sizeBytes);
  }

  async flush(): Promise<void> {}
  async close(): Promise<void> {}
}
