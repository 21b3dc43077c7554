/** A view of an image that refuses writes. */
import type { BlockNode } from '../block-node.ts';
import { BlockError } from '../errors.ts';

/** Owns `below` and closes it. */
export function readOnly(below: BlockNode): BlockNode {
  const refuse = async (): Promise<never> => {
    throw new BlockError('read-only', `Image '${below.filename}' is read-only`, { file: below.filename });
  };
  return {
    filename: below.filename,
    format: 'read-only',
    readOnly: true,
    get sizeBytes() {
      return below.sizeBytes;
    },
    read: (offset, target) => below.read(offset, target),
    write: refuse,
    writeZeroes: refuse,
    flush: async () => {},
    close: () => below.close(),
  };
}
