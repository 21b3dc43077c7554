/** The disk of an internal snapshot, read-only, beside the active one. */
import type { BlockNode } from '../block-node.ts';
import { BlockError } from '../errors.ts';
import { type DiskExtent, extentsOf, readRange } from './mapping.ts';
import { Qcow2 } from './qcow2.ts';
import { findSnapshot, readSnapshotL1 } from './snapshots.ts';

/** Owns `node` and closes it. The snapshot must stay as long as the view does. */
export async function snapshotView(node: Qcow2, idOrTag: string): Promise<BlockNode> {
  const snapshot = findSnapshot(node.image, idOrTag);
  return new SnapshotView(node, snapshot.diskBytes, await readSnapshotL1(node.image, snapshot));
}

class SnapshotView extends Qcow2 {
  readonly #node: Qcow2;
  readonly #bytes: number;
  readonly #l1: Buffer;

  constructor(node: Qcow2, bytes: number, l1: Buffer) {
    super(node.image, node.backing);
    this.#node = node;
    this.#bytes = bytes;
    this.#l1 = l1;
  }

  override get sizeBytes(): number {
    return this.#bytes;
  }

  override get readOnly(): boolean {
    return true;
  }

  override read(offset: number, target: Uint8Array): Promise<void> {
    return readRange(this.image, this.#l1, offset, target, this.backing);
  }

  override write(): Promise<void> {
    return Promise.reject(
      new BlockError('read-only', `a snapshot of '${this.filename}' is read-only`, { file: this.filename }),
    );
  }

  override async *extents(offset: number, length: number): AsyncGenerator<DiskExtent, void, undefined> {
    yield* extentsOf(this.image, this.#l1, offset, length);
  }

  override close(): Promise<void> {
    return this.#node.close();
  }
}
