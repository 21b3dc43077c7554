/**
 * Many parts that lie side by side in the file, gathered in aligned memory (aligned-memory.ts), from which a file takes them
 * past the page cache. For metadata by the hundred MiB, which is flushed at once anyway: to find pages for it costs some hosts
 * several times what the disk needs.
 */
import { DIRECT_ALIGNMENT, giveAligned, takeAligned } from './aligned-memory.ts';
import type { BlockFile } from './file.ts';

/** Written in one request. */
const PIECE_BYTES = 2 * 1024 * 1024;
/** So many of them at a time. */
const MAX_PIECES = 4;
/** Less is as quick in one request of many parts. */
const MIN_BYTES = 512 * 1024;

export async function writeGathered(
  file: BlockFile,
  offset: number,
  parts: readonly Uint8Array[],
): Promise<void> {
  let total = 0;
  for (const part of parts) total += part.length;
  const isAligned = offset % DIRECT_ALIGNMENT === 0 && total % DIRECT_ALIGNMENT === 0;
  if (total < MIN_BYTES || !isAligned) return file.writev(offset, parts);
  const source = new Parts(parts);
  let failure: { readonly error: unknown } | undefined;
  const lane = async (): Promise<void> => {
    while (source.done < total && failure === undefined) {
      const at = offset + source.done;
      const piece = takeAligned(Math.min(PIECE_BYTES, total - source.done));
      source.copyTo(piece);
      try {
        await file.write(at, piece);
      } catch (error) {
        failure ??= { error };
      } finally {
        giveAligned(piece);
      }
    }
  };
  await Promise.all(Array.from({ length: MAX_PIECES }, lane));
  if (failure !== undefined) throw failure.error;
}

/** Bytes of parts, taken one after another. */
class Parts {
  done = 0;
  readonly #parts: readonly Uint8Array[];
  #index = 0;
  #inPart = 0;

  constructor(parts: readonly Uint8Array[]) {
    this.#parts = parts;
  }

  copyTo(target: Uint8Array): void {
    for (let at = 0; at < target.length; ) {
      const part = this.#parts[this.#index]!;
      const bytes = Math.min(target.length - at, part.length - this.#inPart);
      target.set(part.subarray(this.#inPart, this.#inPart + bytes), at);
      at += bytes;
      this.#inPart += bytes;
      if (this.#inPart < part.length) continue;
      this.#index++;
      this.#inPart = 0;
    }
    this.done += target.length;
  }
}
