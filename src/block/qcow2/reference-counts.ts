/** References by cluster number, for a check: four bytes a cluster, in pieces that exist only where there are any. */

const CHUNK_CLUSTERS = 32_768;

export class ReferenceCounts {
  readonly #chunks = new Map<number, Uint32Array>();

  add(cluster: number): void {
    const number = Math.floor(cluster / CHUNK_CLUSTERS);
    let chunk = this.#chunks.get(number);
    if (chunk === undefined) {
      chunk = new Uint32Array(CHUNK_CLUSTERS);
      this.#chunks.set(number, chunk);
    }
    chunk[cluster % CHUNK_CLUSTERS]!++;
  }

  get(cluster: number): number {
    return this.#chunks.get(Math.floor(cluster / CHUNK_CLUSTERS))?.[cluster % CHUNK_CLUSTERS] ?? 0;
  }

  /** Clusters that have references, with their number. */
  *entries(): Generator<[cluster: number, references: number]> {
    for (const [number, chunk] of this.#chunks) {
      for (let i = 0; i < CHUNK_CLUSTERS; i++) {
        if (chunk[i] !== 0) yield [number * CHUNK_CLUSTERS + i, chunk[i]!];
      }
    }
  }
}
