/**
 * A map over a chain of backing images: which image holds a piece of the disk, found once and kept, so that a read deep
 * down a chain costs what a read of one image costs. The images below an overlay do not change while it is open; their
 * locks see to that.
 */
import type { BlockNode } from './block-node.ts';

/** `own`: all of it is here; `below`: nothing of it; `mixed`: some. */
export type Coverage = 'own' | 'below' | 'mixed';

/** An image that knows what it holds. */
export interface Layer extends BlockNode {
  readonly backing: BlockNode | undefined;
  coverage(offset: number, length: number): Promise<Coverage>;
}

/** Bytes that one entry of the map stands for. */
const GRAIN_BYTES = 64 * 1024;
/** Entries that come and go together. */
const CHUNK_ENTRIES = 4096;
/** At most 8 MiB of map: 256 GiB of disk that is in use at a time. */
const MAX_CHUNKS = 1024;

const UNKNOWN = 0;
const ZEROES = 1;
const FIRST_LAYER = 2;

export function isLayer(node: BlockNode): node is Layer {
  return 'coverage' in node;
}

/** `first` with a map of what lies below it, if there is anything below. Owns `first`. */
export function mapChain(first: BlockNode): BlockNode {
  return isLayer(first) && first.backing !== undefined ? new ChainMap(first) : first;
}

/** The image itself, without the map over what lies below it. */
export function firstLayer(node: BlockNode): BlockNode {
  return node instanceof ChainMap ? node.layers[0]! : node;
}

class ChainMap implements BlockNode {
  readonly backing: BlockNode | undefined;
  readonly layers: readonly BlockNode[];
  readonly #chunks = new Map<number, Uint16Array>();

  constructor(first: Layer) {
    const layers: BlockNode[] = [];
    for (let node: BlockNode | undefined = first; node !== undefined; ) {
      layers.push(node);
      node = isLayer(node) ? node.backing : undefined;
    }
    this.layers = layers;
    this.backing = first.backing;
  }

  get filename(): string {
    return this.layers[0]!.filename;
  }

  get format(): string {
    return this.layers[0]!.format;
  }

  get sizeBytes(): number {
    return this.layers[0]!.sizeBytes;
  }

  get readOnly(): boolean {
    return this.layers[0]!.readOnly;
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    const parts: Promise<void>[] = [];
    const end = offset + target.length;
    for (let at = offset; at < end; ) {
      const where = this.#known(at) || (await this.#find(at));
      let next = grainEnd(at);
      while (next < end && this.#known(next) === where) next = grainEnd(next);
      next = Math.min(next, end);
      const piece = target.subarray(at - offset, next - offset);
      if (where === ZEROES) piece.fill(0);
      else parts.push(this.layers[where - FIRST_LAYER]!.read(at, piece));
      at = next;
    }
    if (parts.length === 1) return parts[0];
    for (const result of await Promise.allSettled(parts)) {
      if (result.status === 'rejected') throw result.reason;
    }
  }

  #known(offset: number): number {
    const grain = Math.floor(offset / GRAIN_BYTES);
    return this.#chunks.get(Math.floor(grain / CHUNK_ENTRIES))?.[grain % CHUNK_ENTRIES] ?? UNKNOWN;
  }

  /** The layer where the grain's reads begin: the first that holds any of it. */
  async #find(offset: number): Promise<number> {
    const start = Math.floor(offset / GRAIN_BYTES) * GRAIN_BYTES;
    const where = await this.#search(start, Math.min(GRAIN_BYTES, this.sizeBytes - start));
    const grain = start / GRAIN_BYTES;
    const number = Math.floor(grain / CHUNK_ENTRIES);
    let chunk = this.#chunks.get(number);
    if (chunk === undefined) {
      chunk = new Uint16Array(CHUNK_ENTRIES);
      this.#chunks.set(number, chunk);
      if (this.#chunks.size > MAX_CHUNKS) this.#chunks.delete(this.#chunks.keys().next().value!);
    }
    chunk[grain % CHUNK_ENTRIES] = where;
    return where;
  }

  async #search(start: number, length: number): Promise<number> {
    for (const [i, layer] of this.layers.entries()) {
      // Behind the end of an image the chain reads zero, whatever lies below.
      if (layer.sizeBytes <= start) return ZEROES;
      // It ends within the grain: the image above knows how to read over that edge. Never so for the first one.
      if (layer.sizeBytes < start + length) return FIRST_LAYER + i - 1;
      if (!isLayer(layer)) return FIRST_LAYER + i;
      if ((await layer.coverage(start, length)) !== 'below') return FIRST_LAYER + i;
    }
    return ZEROES;
  }

  write(offset: number, source: Uint8Array): Promise<void> {
    return this.layers[0]!.write(offset, source);
  }

  writeZeroes(offset: number, length: number): Promise<void> {
    return this.layers[0]!.writeZeroes(offset, length);
  }

  flush(): Promise<void> {
    return this.layers[0]!.flush();
  }

  close(): Promise<void> {
    return this.layers[0]!.close();
  }
}

function grainEnd(offset: number): number {
  return (Math.floor(offset / GRAIN_BYTES) + 1) * GRAIN_BYTES;
}
