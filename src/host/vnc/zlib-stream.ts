/** A zlib stream that lasts as long as a connection, as ZRLE and Tight have it. Works outside the main thread. */
import { constants, createDeflate, type Deflate } from 'node:zlib';

/** Fast, and small enough: screens are mostly flat. */
const LEVEL = 2;

export class ZlibStream {
  readonly #deflate: Deflate = createDeflate({ level: LEVEL });
  #chunks: Buffer[] = [];

  constructor() {
    this.#deflate.on('data', (chunk: Buffer) => this.#chunks.push(chunk));
    this.#deflate.on('error', () => {});
  }

  /** Everything up to here, flushed. One call at a time. Never settles after close(). */
  compress(data: Buffer): Promise<Buffer> {
    return new Promise((resolve) => {
      this.#deflate.write(data);
      this.#deflate.flush(constants.Z_SYNC_FLUSH, () => resolve(Buffer.concat(this.#chunks.splice(0))));
    });
  }

  close(): void {
    this.#deflate.destroy();
    this.#chunks = [];
  }
}
