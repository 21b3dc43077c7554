/**
 * What all filters of requests are made of: something that runs around each request, of a file or of an image alike, and
 * decides when, whether and with what result it goes on. They stack: each takes what is below and is the same again.
 */
import type { BlockNode } from '../block-node.ts';
import type { BlockFile } from '../file.ts';

export interface Request {
  /** `zero` and `discard` only above images, `truncate` only above files. */
  readonly kind: 'read' | 'write' | 'zero' | 'discard' | 'truncate' | 'flush';
  /** Bytes; of `truncate` the new size. */
  readonly offset: number;
  readonly bytes: number;
  /** What is written, one behind the other; empty for others. Belongs to the caller again when the request is done. */
  readonly parts: readonly Uint8Array[];
}

/** `next` is the request below; its failure is the request's. */
export type Around = (request: Request, next: () => Promise<void>) => Promise<void>;

const NONE: readonly Uint8Array[] = [];

export function filterFile(below: BlockFile, around: Around): BlockFile {
  return {
    filename: below.filename,
    readOnly: below.readOnly,
    size: () => below.size(),
    read: (offset, target) =>
      around({ kind: 'read', offset, bytes: target.length, parts: NONE }, () => below.read(offset, target)),
    ...(below.readSync ? { readSync: (offset, target) => below.readSync!(offset, target) } : {}),
    write: (offset, source) =>
      around({ kind: 'write', offset, bytes: source.length, parts: [source] }, () =>
        below.write(offset, source),
      ),
    writev: (offset, parts) => {
      let bytes = 0;
      for (const part of parts) bytes += part.length;
      return around({ kind: 'write', offset, bytes, parts }, () => below.writev(offset, parts));
    },
    truncate: (sizeBytes) =>
      around({ kind: 'truncate', offset: sizeBytes, bytes: 0, parts: NONE }, () => below.truncate(sizeBytes)),
    flush: () => around({ kind: 'flush', offset: 0, bytes: 0, parts: NONE }, () => below.flush()),
    close: () => below.close(),
  };
}

/** Snapshots of an image below are not seen above. */
export function filterNode(below: BlockNode, format: string, around: Around): BlockNode {
  return {
    filename: below.filename,
    format,
    get sizeBytes() {
      return below.sizeBytes;
    },
    get readOnly() {
      return below.readOnly;
    },
    read: (offset, target) =>
      around({ kind: 'read', offset, bytes: target.length, parts: NONE }, () => below.read(offset, target)),
    write: (offset, source) =>
      around({ kind: 'write', offset, bytes: source.length, parts: [source] }, () =>
        below.write(offset, source),
      ),
    writeZeroes: (offset, bytes) =>
      around({ kind: 'zero', offset, bytes, parts: NONE }, () => below.writeZeroes(offset, bytes)),
    discard: (offset, bytes) =>
      around({ kind: 'discard', offset, bytes, parts: NONE }, async () => below.discard?.(offset, bytes)),
    flush: () => around({ kind: 'flush', offset: 0, bytes: 0, parts: NONE }, () => below.flush()),
    close: () => below.close(),
  };
}
