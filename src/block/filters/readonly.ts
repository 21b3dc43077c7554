/** A view of an image that refuses writes. */
import type { BlockNode } from '../block-node.ts';
import { BlockError } from '../errors.ts';
import { filterNode } from './filter.ts';

/** Owns `below` and closes it. */
export function readOnly(below: BlockNode): BlockNode {
  const view = filterNode(below, 'read-only', async ({ kind }, next) => {
    if (kind === 'read') return next();
    if (kind === 'flush') return;
    throw new BlockError('read-only', `Image '${below.filename}' is read-only`, { file: below.filename });
  });
  return Object.defineProperty(view, 'readOnly', { value: true });
}
