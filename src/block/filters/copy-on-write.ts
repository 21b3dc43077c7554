/**
 * `-snapshot`: writes go to memory in clusters, reads see them, the image below is never written. Not kept: what exceeds
 * the named limit fails as a full disk would.
 */
import type { BlockNode, Committing } from '../block-node.ts';
import { BlockError } from '../errors.ts';

const CLUSTER_BYTES = 64 * 1024;
/** Memory for writes of one drive. */
export const MAX_OVERLAY_BYTES = 4 * 1024 * 1024 * 1024;

export interface CopyOnWriteOptions {
  /** Default {@link MAX_OVERLAY_BYTES}. */
  readonly maxBytes?: number;
  /** Opens the image below once more; without it nothing can be committed. */
  readonly reopen?: (readOnly: boolean) => Promise<BlockNode>;
}

/** Owns `below` and closes it. */
export function copyOnWrite(below: BlockNode, options: CopyOnWriteOptions = {}): BlockNode & Committing {
  return new CopyOnWrite(below, options);
}

class CopyOnWrite implements BlockNode, Committing {
  readonly format = 'copy-on-write';
  readonly readOnly = false;
  #below: BlockNode;
  readonly #reopen: CopyOnWriteOptions['reopen'];
  readonly #maxClusters: number;
  readonly #clusters = new Map<number, Uint8Array>();
  /** Clusters that are being filled from below. */
  readonly #filling = new Map<number, Promise<Uint8Array>>();

  constructor(below: BlockNode, { maxBytes = MAX_OVERLAY_BYTES, reopen }: CopyOnWriteOptions) {
    this.#below = below;
    this.#reopen = reopen;
    this.#maxClusters = Math.floor(maxBytes / CLUSTER_BYTES);
  }

  get filename(): string {
    return this.#below.filename;
  }

  get sizeBytes(): number {
    return this.#below.sizeBytes;
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    this.#check(offset, target.length);
    const parts: Promise<void>[] = [];
    for (let done = 0; done < target.length; ) {
      const at = offset + done;
      const mine = this.#clusters.get(Math.floor(at / CLUSTER_BYTES));
      const end = mine === undefined ? this.#endOfHole(at, offset + target.length) : nextCluster(at);
      const bytes = Math.min(end - at, target.length - done);
      const piece = target.subarray(done, done + bytes);
      if (mine === undefined) parts.push(this.#below.read(at, piece));
      else piece.set(mine.subarray(at % CLUSTER_BYTES, (at % CLUSTER_BYTES) + bytes));
      done += bytes;
    }
    await settled(parts);
  }

  #endOfHole(from: number, limit: number): number {
    let end = nextCluster(from);
    while (end < limit && !this.#clusters.has(end / CLUSTER_BYTES)) end += CLUSTER_BYTES;
    return end;
  }

  write(offset: number, source: Uint8Array): Promise<void> {
    return this.#change(offset, source.length, (cluster, at, from, bytes) => {
      cluster.set(source.subarray(from, from + bytes), at);
    });
  }

  writeZeroes(offset: number, length: number): Promise<void> {
    return this.#change(offset, length, (cluster, at, _from, bytes) => {
      cluster.fill(0, at, at + bytes);
    });
  }

  async #change(
    offset: number,
    length: number,
    put: (cluster: Uint8Array, at: number, from: number, bytes: number) => void,
  ): Promise<void> {
    this.#check(offset, length);
    for (let done = 0; done < length; ) {
      const at = offset + done;
      const inCluster = at % CLUSTER_BYTES;
      const bytes = Math.min(CLUSTER_BYTES - inCluster, length - done);
      const index = Math.floor(at / CLUSTER_BYTES);
      let cluster = this.#clusters.get(index);
      if (cluster === undefined) {
        cluster = await this.#own(index, bytes === CLUSTER_BYTES);
      }
      put(cluster, inCluster, done, bytes);
      done += bytes;
    }
  }

  /** A cluster of our own; two writers to the same one fill it once. */
  async #own(index: number, whole: boolean): Promise<Uint8Array> {
    const pending = this.#filling.get(index);
    if (pending !== undefined) return pending;
    if (this.#clusters.size + this.#filling.size >= this.#maxClusters) {
      throw new BlockError('no-space', `'${this.filename}': temporary overlay is full`, {
        file: this.filename,
        found: this.#clusters.size + 1,
        expected: `at most ${this.#maxClusters} clusters`,
      });
    }
    const fill = this.#fill(index, whole);
    this.#filling.set(index, fill);
    try {
      return await fill;
    } finally {
      this.#filling.delete(index);
    }
  }

  async #fill(index: number, whole: boolean): Promise<Uint8Array> {
    const cluster = new Uint8Array(CLUSTER_BYTES);
    const start = index * CLUSTER_BYTES;
    if (!whole)
      await this.#below.read(start, cluster.subarray(0, Math.min(CLUSTER_BYTES, this.sizeBytes - start)));
    this.#clusters.set(index, cluster);
    return cluster;
  }

  async flush(): Promise<void> {}

  /** The image is closed, opened to be written, and opened as before. */
  async commit(): Promise<void> {
    const reopen = this.#reopen;
    if (reopen === undefined) {
      throw new BlockError('unsupported', `'${this.filename}': nothing can be committed here`);
    }
    await this.#below.close();
    try {
      const image = await reopen(false);
      try {
        for (const [index, cluster] of this.#clusters) {
          const start = index * CLUSTER_BYTES;
          await image.write(start, cluster.subarray(0, Math.min(CLUSTER_BYTES, image.sizeBytes - start)));
        }
        await image.flush();
      } finally {
        await image.close();
      }
      this.#clusters.clear();
    } finally {
      this.#below = await reopen(true);
    }
  }

  async close(): Promise<void> {
    this.#clusters.clear();
    await this.#below.close();
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

function nextCluster(offset: number): number {
  return (Math.floor(offset / CLUSTER_BYTES) + 1) * CLUSTER_BYTES;
}

async function settled(parts: readonly Promise<void>[]): Promise<void> {
  for (const result of await Promise.allSettled(parts)) {
    if (result.status === 'rejected') throw result.reason;
  }
}
