/**
 * Compressed clusters on their way into the file: packed byte after byte into runs of reserved host clusters, across
 * cluster and sector boundaries, as qcow2 allows and QEMU does. The L2 entry says where a cluster begins and how many
 * sectors it touches (qcow2 specification, "Compressed Clusters Descriptor"); every host cluster has a reference for each
 * compressed cluster that touches it.
 */
import { BATCH_BYTES, type CompressedBatch, type DeflatePool } from '../deflate-pool.ts';
import type { Extent } from './compressed.ts';

/** Packed data is written in pieces of this size. */
const RUN_BYTES = 1 << 20;

/** What the packer needs of the VM state writer. */
export interface PackerHome {
  readonly clusterBytes: number;
  /** Most references that a host cluster may have; 0: nothing can be packed. */
  readonly maxReferences: number;
  /** Up to `count` contiguous host clusters of one's own. */
  reserve(count: number): Promise<{ readonly offset: number; readonly count: number }>;
  write(offset: number, data: Uint8Array): Promise<void>;
  putCompressed(index: number, extent: Extent): void;
  /** Clusters that do not get smaller. */
  writeRaw(indices: readonly number[], data: Uint8Array): Promise<void>;
}

export class ClusterPacker {
  readonly #home: PackerHome;
  readonly #pool: DeflatePool;
  /** Host offset of the run that is being filled, and how far it is. */
  #runOffset = 0;
  #run: Uint8Array = new Uint8Array(0);
  #position = 0;
  /** References to the host cluster that `position` is in. */
  #references = 0;
  /** Batches are packed in the order in which they came. */
  #chain: Promise<void> = Promise.resolve();

  constructor(home: PackerHome, pool: DeflatePool) {
    this.#home = home;
    this.#pool = pool;
  }

  /** `data` holds the clusters of `indices` and may be used again when this resolves. */
  write(indices: readonly number[], data: Uint8Array): Promise<void> {
    const { clusterBytes } = this.#home;
    const step = Math.max(1, Math.floor(BATCH_BYTES / clusterBytes));
    const batches: { readonly first: number; readonly result: Promise<CompressedBatch> }[] = [];
    for (let first = 0; first < indices.length; first += step) {
      const end = Math.min(first + step, indices.length);
      const result = this.#pool.compress(
        data.subarray(first * clusterBytes, end * clusterBytes),
        clusterBytes,
      );
      // Reported where it is waited for.
      result.catch(() => {});
      batches.push({ first, result });
    }
    const work = this.#chain.then(async () => {
      for (const { first, result } of batches) {
        const batch = await result;
        const count = batch.lengths.length;
        const clusters = data.subarray(first * clusterBytes, (first + count) * clusterBytes);
        await this.#pack(indices.slice(first, first + count), clusters, batch);
        this.#pool.release(batch);
      }
    });
    this.#chain = work;
    return work;
  }

  /** Everything in the file. */
  async finish(): Promise<void> {
    await this.#chain;
    await this.#flush();
  }

  async #pack(indices: readonly number[], clusters: Uint8Array, batch: CompressedBatch): Promise<void> {
    const { clusterBytes, maxReferences } = this.#home;
    const raw: number[] = [];
    let at = 0;
    for (const [i, length] of batch.lengths.entries()) {
      if (length === 0 || maxReferences === 0) raw.push(i);
      else await this.#append(indices[i]!, batch.data.subarray(at, at + length));
      at += length;
    }
    for (let i = 0; i < raw.length; ) {
      let run = 1;
      while (raw[i + run] === raw[i]! + run) run++;
      const [first, end] = [raw[i]!, raw[i]! + run];
      await this.#home.writeRaw(
        indices.slice(first, end),
        clusters.subarray(first * clusterBytes, end * clusterBytes),
      );
      i += run;
    }
  }

  async #append(index: number, packed: Uint8Array): Promise<void> {
    const { clusterBytes, maxReferences } = this.#home;
    if (this.#references >= maxReferences) {
      this.#position = Math.ceil(this.#position / clusterBytes) * clusterBytes;
      this.#references = 0;
    }
    if (this.#position + packed.length > this.#run.length) await this.#nextRun();
    const offset = this.#runOffset + this.#position;
    this.#run.set(packed, this.#position);
    const before = Math.floor(this.#position / clusterBytes);
    this.#position += packed.length;
    const isSame = Math.floor(this.#position / clusterBytes) === before;
    const isAtStart = this.#position % clusterBytes === 0;
    this.#references = isSame ? this.#references + 1 : isAtStart ? 0 : 1;
    this.#home.putCompressed(index, { offset, bytes: packed.length });
  }

  /** Room for at least one more cluster: at best behind what is there, so that nothing is left unused. */
  async #nextRun(): Promise<void> {
    const { clusterBytes } = this.#home;
    const { offset, count } = await this.#home.reserve(Math.max(1, RUN_BYTES / clusterBytes));
    const isBehind = this.#run.length > 0 && offset === this.#runOffset + this.#run.length;
    if (!isBehind) {
      await this.#flush();
      this.#runOffset = offset;
      this.#run = new Uint8Array(count * clusterBytes);
      return;
    }
    const old = this.#run;
    const full = Math.floor(this.#position / clusterBytes) * clusterBytes;
    if (full > 0) await this.#home.write(this.#runOffset, old.subarray(0, full));
    this.#run = new Uint8Array(old.length - full + count * clusterBytes);
    this.#run.set(old.subarray(full, this.#position));
    this.#runOffset += full;
    this.#position -= full;
  }

  /** Whole clusters, the rest zero: a reader takes whole sectors. */
  async #flush(): Promise<void> {
    const { clusterBytes } = this.#home;
    const end = Math.ceil(this.#position / clusterBytes) * clusterBytes;
    const run = this.#run.subarray(0, end);
    this.#position = 0;
    this.#references = 0;
    this.#run = new Uint8Array(0);
    if (end > 0) await this.#home.write(this.#runOffset, run);
  }
}
