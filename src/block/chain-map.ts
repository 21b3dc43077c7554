/**
 * A map over a chain of backing images: which image holds a piece of the disk, found once and kept, so that a read deep
 * down a chain costs what a read of one image costs. The images below an overlay do not change while it is open; their
 * locks see to that.
 */
import type { BlockNode } from './block-node.ts';
import {
  FIRST_LAYER,
  GRAIN_BYTES,
  type GrainMap,
  MAP_GRAINS,
  newGrainMap,
  UNKNOWN,
  ZEROES,
} from './grain-map.ts';

/** `own`: all of it is here; `below`: nothing of it; `mixed`: some. */
export type Coverage = 'own' | 'below' | 'mixed';

/** An image that knows what it holds. */
export interface Layer extends BlockNode {
  readonly backing: BlockNode | undefined;
  coverage(offset: number, length: number): Promise<Coverage>;
  /**
   * Looks at a piece of the disk, `bytes` from `offset`, a multiple of their number, and gives what puts it into a map.
   * Without it the image cannot say so much at once. `memory`: for its own use until then, 64 KiB.
   */
  readonly survey?:
    | ((offset: number, bytes: number, memory: Buffer) => Promise<Survey | undefined>)
    | undefined;
  /** Reads what a survey has found, at its place in the file. */
  readAt(host: number, target: Uint8Array): Promise<void>;
}

/** Fills in what is unknown so far and this image, number `layer`, has; grains from `end` on are not its own. */
export type Survey = (map: GrainMap, layer: number, end: number) => void;

const MAP_BYTES = MAP_GRAINS * GRAIN_BYTES;
/** At most 16 MiB of map: 100 GiB of disk that is in use at a time. */
const MAX_MAPS = 200;
const DONE = Promise.resolve();
/** L2 tables of so many images are read at a time. */
const SURVEY_DEPTH = 8;

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

export class ChainMap implements BlockNode {
  readonly backing: BlockNode | undefined;
  readonly layers: readonly BlockNode[];
  readonly #maps = new Map<number, GrainMap>();
  /** The one that was asked last. */
  #lastNumber = -1;
  #last: GrainMap | undefined;
  readonly #surveys = new Map<number, Promise<void>>();
  /** All images can be surveyed; a raw one at the bottom holds everything. */
  readonly #surveyed: readonly Layer[] | undefined;

  constructor(first: Layer) {
    const layers: BlockNode[] = [];
    for (let node: BlockNode | undefined = first; node !== undefined; ) {
      layers.push(node);
      node = isLayer(node) ? node.backing : undefined;
    }
    this.layers = layers;
    const last = isLayer(layers.at(-1)!) ? layers.length : layers.length - 1;
    const above = layers.slice(0, last).filter(isLayer);
    if (above.every((layer) => layer.survey !== undefined)) this.#surveyed = above;
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

  read(offset: number, target: Uint8Array): Promise<void> {
    const where = this.#where(offset);
    if (where === UNKNOWN || (offset % GRAIN_BYTES) + target.length > GRAIN_BYTES) {
      return this.#readPieces(offset, target);
    }
    if (where !== ZEROES) return this.#readPiece(where, offset, target);
    target.fill(0);
    return DONE;
  }

  async #readPieces(offset: number, target: Uint8Array): Promise<void> {
    const parts: Promise<void>[] = [];
    const end = offset + target.length;
    for (let at = offset; at < end; ) {
      let where = this.#where(at);
      for (; where === UNKNOWN; where = this.#where(at)) await this.#find(at);
      const next = this.#runEnd(at, end, where);
      const piece = target.subarray(at - offset, next - offset);
      if (where === ZEROES) piece.fill(0);
      else parts.push(this.#readPiece(where, at, piece));
      at = next;
    }
    if (parts.length === 1) return parts[0];
    for (const result of await Promise.allSettled(parts)) {
      if (result.status === 'rejected') throw result.reason;
    }
  }

  #readPiece(where: number, at: number, piece: Uint8Array): Promise<void> {
    const layer = this.layers[where - FIRST_LAYER]!;
    const host = this.#host(at);
    return host < 0 || !isLayer(layer)
      ? layer.read(at, piece)
      : layer.readAt(host + (at % GRAIN_BYTES), piece);
  }

  /** How far what begins at `at` goes on alike, in one piece of the file. */
  #runEnd(at: number, end: number, where: number): number {
    const host = this.#host(at);
    let next = grainEnd(at);
    for (let i = 1; next < end && this.#where(next) === where; i++) {
      const place = this.#host(next);
      if (host < 0 ? place >= 0 : place !== host + i * GRAIN_BYTES) break;
      next = grainEnd(next);
    }
    return Math.min(next, end);
  }

  /** Whether {@link dataRuns} can tell. */
  get knowsData(): boolean {
    return this.#surveyed?.length === this.layers.length;
  }

  /** Pieces of a range that some image has and that are not known to be zero, and the others; in order. */
  async *dataRuns(
    offset: number,
    length: number,
  ): AsyncGenerator<{ readonly offset: number; readonly bytes: number; readonly data: boolean }> {
    const end = offset + length;
    for (let at = offset; at < end; ) {
      while (this.#where(at) === UNKNOWN) await this.#find(at);
      const data = this.#where(at) !== ZEROES;
      let next = grainEnd(at);
      for (; next < end; next = grainEnd(next)) {
        while (this.#where(next) === UNKNOWN) await this.#find(next);
        if ((this.#where(next) !== ZEROES) !== data) break;
      }
      next = Math.min(next, end);
      yield { offset: at, bytes: next - at, data };
      at = next;
    }
  }

  #where(offset: number): number {
    return this.#mapAt(offset)?.where[grainOf(offset)] ?? UNKNOWN;
  }

  #host(offset: number): number {
    return this.#mapAt(offset)?.host[grainOf(offset)] ?? -1;
  }

  #mapAt(offset: number): GrainMap | undefined {
    const number = Math.floor(offset / MAP_BYTES);
    if (number === this.#lastNumber) return this.#last;
    const map = this.#maps.get(number);
    if (map === undefined) return undefined;
    this.#lastNumber = number;
    this.#last = map;
    return map;
  }

  /** Puts the grain at `offset` into the map. */
  async #find(offset: number): Promise<void> {
    const number = Math.floor(offset / MAP_BYTES);
    if (this.#surveyed !== undefined) {
      let survey = this.#surveys.get(number);
      if (survey === undefined) {
        survey = this.#survey(number, this.#surveyed).finally(() => this.#surveys.delete(number));
        this.#surveys.set(number, survey);
      }
      return survey;
    }
    const start = Math.floor(offset / GRAIN_BYTES) * GRAIN_BYTES;
    const where = await this.#search(start, Math.min(GRAIN_BYTES, this.sizeBytes - start));
    let map = this.#maps.get(number);
    if (map === undefined) {
      map = newGrainMap();
      this.#putMap(number, map);
    }
    map.where[grainOf(offset)] = where;
  }

  #putMap(number: number, map: GrainMap): void {
    this.#maps.set(number, map);
    if (this.#maps.size > MAX_MAPS) this.#maps.delete(this.#maps.keys().next().value!);
  }

  /** All grains of one piece of the map, from the first image down. */
  async #survey(number: number, layers: readonly Layer[]): Promise<void> {
    const map = newGrainMap();
    const start = number * MAP_BYTES;
    const memory = Array.from({ length: SURVEY_DEPTH }, () => Buffer.allocUnsafeSlow(MAP_GRAINS * 8));
    for (let first = 0; first < this.layers.length; first += SURVEY_DEPTH) {
      const found = await Promise.allSettled(
        layers
          .slice(first, first + SURVEY_DEPTH)
          .map((layer, i) => layer.survey!(start, MAP_BYTES, memory[i]!)),
      );
      for (let i = first; i < Math.min(first + SURVEY_DEPTH, this.layers.length); i++) {
        const whole = this.#putEnd(map, i, start);
        const result = found[i - first];
        if (result?.status === 'rejected') throw result.reason;
        if (result === undefined) fillUnknown(map, 0, whole, FIRST_LAYER + i);
        else result.value?.(map, FIRST_LAYER + i, whole);
      }
    }
    fillUnknown(map, 0, MAP_GRAINS, ZEROES);
    this.#putMap(number, map);
  }

  /** What image `i` says of grains that it does not wholly have; gives the number of those that it has. */
  #putEnd(map: GrainMap, i: number, start: number): number {
    const { sizeBytes } = this.layers[i]!;
    const grains = (sizeBytes - start) / GRAIN_BYTES;
    const whole = Math.max(0, Math.min(MAP_GRAINS, Math.floor(grains)));
    if (i > 0 && grains > 0 && whole < Math.min(MAP_GRAINS, Math.ceil(grains))) {
      // It ends within the grain: the image above knows how to read over that edge.
      fillUnknown(map, whole, whole + 1, FIRST_LAYER + i - 1);
    }
    // Behind the end of an image the chain reads zero, whatever lies below.
    if (i === 0 && whole < grains && whole < MAP_GRAINS) {
      fillUnknown(map, whole, whole + 1, FIRST_LAYER);
      fillUnknown(map, whole + 1, MAP_GRAINS, ZEROES);
    } else fillUnknown(map, whole, MAP_GRAINS, ZEROES);
    return whole;
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

function fillUnknown(map: GrainMap, from: number, to: number, where: number): void {
  for (let grain = from; grain < to; grain++) if (map.where[grain] === UNKNOWN) map.where[grain] = where;
}

/** Its number within its piece of the map. */
function grainOf(offset: number): number {
  return Math.floor(offset / GRAIN_BYTES) % MAP_GRAINS;
}

function grainEnd(offset: number): number {
  return (Math.floor(offset / GRAIN_BYTES) + 1) * GRAIN_BYTES;
}
