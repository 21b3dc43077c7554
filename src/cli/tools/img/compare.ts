/** `img compare`: whether two images hold the same. Exit code 0 the same, 1 different, 2 an error. */
import type { BlockNode } from '../../../block/block-node.ts';
import { BlockError } from '../../../block/errors.ts';
import { type ChainExtent, chainExtents } from '../../../block/extents.ts';
import type { ToolOutput } from '../tool.ts';
import { withImageOpts } from './image-opts.ts';
import { cacheOption, ImgError, openFor, parseImgArgs, Progress, usage, wantsProgress } from './img-args.ts';

const PIECE_BYTES = 2 * 1024 * 1024;
const TROUBLE = 2;

export async function compare(args: readonly string[], out: ToolOutput): Promise<number> {
  const parsed = withImageOpts(parseImgArgs(args, 'hf:F:T:pqsU', ['image-opts']), ['f', 'F']);
  const [first, second, ...more] = parsed.names;
  if (first === undefined || second === undefined || more.length > 0) {
    usage('Expecting two image file names');
  }
  const options = (letter: string) => ({
    readOnly: true,
    forceShare: parsed.has('U'),
    ...cacheOption(parsed, 'T', TROUBLE),
    ...(parsed.has(letter) ? { format: parsed.options.get(letter)! } : {}),
  });
  const say = (text: string): void => {
    if (!parsed.has('q')) out.line(text);
  };
  const a = await openFor(out, first, options('f'), TROUBLE);
  let b: BlockNode | undefined;
  try {
    b = await openFor(out, second, options('F'), TROUBLE);
    if (a.sizeBytes !== b.sizeBytes) {
      if (parsed.has('s')) {
        say('Strict mode: Image size mismatch!');
        return 1;
      }
    }
    const progress = new Progress(out, wantsProgress(parsed), Math.max(a.sizeBytes, b.sizeBytes));
    const at = await firstDifference(a, b, progress);
    const status = parsed.has('s') ? await firstStatusMismatch(a, b, at ?? a.sizeBytes) : undefined;
    if (status !== undefined) {
      say(`Strict mode: Offset ${status} block status mismatch!`);
      return 1;
    }
    const common = Math.min(a.sizeBytes, b.sizeBytes);
    if (a.sizeBytes !== b.sizeBytes && (at === undefined || at >= common))
      say('Warning: Image size mismatch!');
    if (at !== undefined) {
      say(`Content mismatch at offset ${at}!`);
      return 1;
    }
    say('Images are identical.');
    progress.end(false);
    return 0;
  } catch (error) {
    if (error instanceof BlockError) throw new ImgError(`Error while reading: ${error.message}`, 4);
    throw error;
  } finally {
    await a.close();
    await b?.close();
  }
}

/** `-s`: where one has data, or zeroes, or a place in the file, or ends, and the other does not; up to `end`. */
async function firstStatusMismatch(a: BlockNode, b: BlockNode, end: number): Promise<number | undefined> {
  const size = Math.min(a.sizeBytes, b.sizeBytes);
  const status = ({ bytes, host, offset, present, zero }: ChainExtent): string =>
    `${present} ${zero} ${host !== undefined} ${offset + bytes === size}`;
  const others = chainExtents(b, 0, size);
  let other = await others.next();
  for await (const extent of chainExtents(a, 0, size)) {
    const extentEnd = extent.offset + extent.bytes;
    for (let at = extent.offset; other.done !== true && at < extentEnd && at <= end; ) {
      if (status(extent) !== status(other.value)) return at;
      const otherEnd = other.value.offset + other.value.bytes;
      at = Math.min(extentEnd, otherEnd);
      if (at === otherEnd) other = await others.next();
    }
  }
  return undefined;
}

/** Offset of the sector where they differ; what is behind the shorter one's end counts as zero. */
async function firstDifference(a: BlockNode, b: BlockNode, progress: Progress): Promise<number | undefined> {
  const size = Math.max(a.sizeBytes, b.sizeBytes);
  const zeroInA = new ZeroRanges(a);
  const zeroInB = new ZeroRanges(b);
  const bufferA = new Uint8Array(PIECE_BYTES);
  const bufferB = new Uint8Array(PIECE_BYTES);
  for (let at = 0; at < size; ) {
    const zeroes = Math.min(await zeroInA.from(at), await zeroInB.from(at));
    if (zeroes > at) {
      progress.add(zeroes - at);
      at = zeroes;
      continue;
    }
    const bytes = Math.min(PIECE_BYTES, size - at);
    const [dataA, dataB] = [bufferA.subarray(0, bytes), bufferB.subarray(0, bytes)];
    await Promise.all([readPadded(a, at, dataA), readPadded(b, at, dataB)]);
    if (Buffer.compare(dataA, dataB) !== 0) {
      for (let sector = 0; sector < bytes; sector += 512) {
        const end = Math.min(bytes, sector + 512);
        if (Buffer.compare(dataA.subarray(sector, end), dataB.subarray(sector, end)) !== 0)
          return at + sector;
      }
    }
    progress.add(bytes);
    at += bytes;
  }
  return undefined;
}

async function readPadded(node: BlockNode, offset: number, target: Uint8Array): Promise<void> {
  const inside = Math.max(0, Math.min(target.length, node.sizeBytes - offset));
  target.fill(0, inside);
  if (inside > 0) await node.read(offset, target.subarray(0, inside));
}

/** Walks an image's extents alongside; asked with growing offsets. */
class ZeroRanges {
  readonly #extents: AsyncGenerator<{ offset: number; bytes: number; zero: boolean }, void>;
  readonly #size: number;
  #start = 0;
  #end = 0;
  #zero = false;

  constructor(node: BlockNode) {
    this.#size = node.sizeBytes;
    this.#extents = chainExtents(node, 0, node.sizeBytes);
  }

  /** Up to where it reads zero from `at` on; `at` if it may not. */
  async from(at: number): Promise<number> {
    if (at >= this.#size) return Number.MAX_SAFE_INTEGER;
    while (this.#end <= at) {
      const next = await this.#extents.next();
      if (next.done === true) return at;
      this.#start = next.value.offset;
      this.#end = next.value.offset + next.value.bytes;
      this.#zero = next.value.zero;
    }
    if (!this.#zero || at < this.#start) return at;
    return this.#end === this.#size ? this.#size : this.#end;
  }
}
