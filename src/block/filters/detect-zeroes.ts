/** `detect-zeroes=on|unmap`: what the guest writes as zeroes is not stored; `unmap`: nor is its place kept. */
import type { BlockNode } from '../block-node.ts';
import { isZero } from '../copy.ts';

/** In place, so that the image stays the kind of node that it is. */
export function detectZeroes<T extends BlockNode>(node: T): T {
  const { write } = node;
  node.write = (offset, source) =>
    isZero(source) ? node.writeZeroes(offset, source.length) : write.call(node, offset, source);
  return node;
}
