/** `img convert`: one or several images into a new one: sparse, compressed (`-c`), over a backing file (`-B`). */
import { access } from 'node:fs/promises';
import type { BlockNode } from '../../../block/block-node.ts';
import { supportsSnapshots } from '../../../block/block-node.ts';
import { copyRanges, type CopyRange, isZero, runsOf } from '../../../block/copy.ts';
import { BlockError } from '../../../block/errors.ts';
import { chainExtents } from '../../../block/extents.ts';
import { snapshotView } from '../../../block/qcow2/snapshot-view.ts';
import { Qcow2 } from '../../../block/qcow2/qcow2.ts';
import type { ToolOutput } from '../tool.ts';
import { createImage } from './create.ts';
import { withImageOpts } from './image-opts.ts';
import {
  cacheOption,
  ImgError,
  openFor,
  type Parsed,
  parseImgArgs,
  Progress,
  sizeOption,
} from './img-args.ts';

/** Zeroes shorter than this are written as they are (`-S`). */
const DEFAULT_SPARSE_BYTES = 4096;

interface Source {
  readonly node: BlockNode;
  /** Where it begins in the target. */
  readonly start: number;
}

export async function convert(args: readonly string[], out: ToolOutput): Promise<number> {
  const parsed = withImageOpts(
    parseImgArgs(args, 'hf:O:B:CcF:o:l:S:pt:T:qnm:WUr:', [
      'image-opts',
      'target-is-zero',
      'salvage',
      'target-format:O=',
    ]),
    ['f'],
    1,
  );
  const names = [...parsed.names];
  const target = names.pop();
  if (target === undefined || names.length === 0) throw new ImgError('Must specify image file name');
  const format = parsed.options.get('O') ?? 'raw';
  if (format !== 'raw' && format !== 'qcow2') throw new ImgError(`Unknown file format '${format}'`);
  const sparse = sizeOption(parsed, 'S', 'buffer size for sparse output') ?? DEFAULT_SPARSE_BYTES;
  if (sparse % 512 !== 0) throw new ImgError('Invalid buffer size for sparse output specified.');
  const backing = parsed.options.get('B');
  if (parsed.has('c') && format === 'raw')
    throw new ImgError('Compression not supported for this file format');
  if (names.length > 1 && backing !== undefined) {
    throw new ImgError(
      'Having a backing file for the target makes no sense when concatenating multiple input images',
    );
  }
  const sources: Source[] = [];
  let output: BlockNode | undefined;
  try {
    let total = 0;
    for (const name of names) {
      const node = await openSource(out, name, parsed);
      sources.push({ node, start: total });
      total += node.sizeBytes;
    }
    output = await openTarget(out, target, total, { format, backing, parsed });
    const progress = new Progress(out, parsed.has('p'), total);
    const isNew = !parsed.has('n');
    for (const source of sources) {
      await copySource(source, output, progress, {
        sparse,
        compressed: parsed.has('c'),
        overBacking: backing !== undefined,
        readsZero: parsed.has('target-is-zero') || isNew,
      });
    }
    await output.flush();
    progress.end();
    return 0;
  } catch (error) {
    if (error instanceof BlockError) throw new ImgError(error.message);
    throw error;
  } finally {
    for (const { node } of sources) await node.close();
    await output?.close();
  }
}

async function openSource(out: ToolOutput, name: string, parsed: Parsed): Promise<BlockNode> {
  const node = await openFor(out, name, {
    readOnly: true,
    forceShare: parsed.has('U'),
    ...cacheOption(parsed, 'T'),
    ...(parsed.has('f') ? { format: parsed.options.get('f')! } : {}),
  });
  const wanted = parsed.options.get('l');
  if (wanted === undefined) return node;
  const tag = /^snapshot\.(?:id|name)=(.*)$/.exec(wanted)?.[1] ?? wanted;
  const known = supportsSnapshots(node) ? node.listSnapshots() : [];
  if (!(node instanceof Qcow2) || !known.some((s) => s.id === tag || s.tag === tag)) {
    await node.close();
    throw new ImgError("Failed to load snapshot: Can't find snapshot");
  }
  return snapshotView(node, tag);
}

async function openTarget(
  out: ToolOutput,
  filename: string,
  sizeBytes: number,
  how: { readonly format: string; readonly backing: string | undefined; readonly parsed: Parsed },
): Promise<BlockNode> {
  const { backing, format, parsed } = how;
  const open = { readOnly: false, format, ...cacheOption(parsed, 't') };
  if (parsed.has('n')) {
    const node = await openFor(out, filename, open);
    if (node.sizeBytes >= sizeBytes) return node;
    await node.close();
    throw new ImgError('output file is smaller than input file');
  }
  try {
    const backingFormat = parsed.options.get('F');
    if (backing !== undefined && backingFormat === undefined) {
      throw new ImgError('backing format must be specified');
    }
    await createImage(
      {
        format,
        filename,
        sizeBytes,
        options: parsed.all('o'),
        backingFile: backing,
        backingFormat,
        quiet: true,
      },
      out,
    );
  } catch (error) {
    if (!(error instanceof ImgError)) throw error;
    throw new ImgError(
      error.message
        .replace(/^/, `${filename}: error while converting ${format}: `)
        .replace(`: ${filename}: `, ': '),
    );
  }
  await access(filename);
  return openFor(out, filename, open);
}

interface CopyHow {
  readonly sparse: number;
  readonly compressed: boolean;
  readonly overBacking: boolean;
  /** The target reads zero everywhere: zeroes need not be written. */
  readonly readsZero: boolean;
}

async function copySource(
  { node, start }: Source,
  target: BlockNode,
  progress: Progress,
  how: CopyHow,
): Promise<void> {
  const skipZero = how.readsZero && !how.overBacking;
  async function* ranges(): AsyncGenerator<CopyRange, void, undefined> {
    for await (const extent of chainExtents(node, 0, node.sizeBytes)) {
      const { bytes, depth, offset, present, zero } = extent;
      // Over a backing file only what the first image itself has is copied, as qemu-img does it.
      const isBelow = how.overBacking && (depth > 0 || !present);
      if (!isBelow && !zero) {
        yield extent;
        continue;
      }
      if (zero && !isBelow && !skipZero) await target.writeZeroes(start + offset, bytes);
      progress.add(bytes);
    }
  }
  const cluster = target instanceof Qcow2 ? target.image.clusterSize : 65_536;
  const pieceBytes = how.compressed ? cluster : Math.max(cluster, 2 * 1024 * 1024);
  const put = async (offset: number, data: Uint8Array): Promise<void> => {
    if (how.compressed && target instanceof Qcow2)
      await putCompressed(target, start + offset, data, how, node);
    else await putSparse(target, start + offset, data, how, skipZero);
  };
  await copyRanges(node, how.compressed ? wholeClusters(ranges(), cluster, node.sizeBytes) : ranges(), put, {
    pieceBytes,
    depth: how.compressed ? 8 : 4,
    onProgress: (bytes) => progress.add(bytes),
  });
}

async function putSparse(
  target: BlockNode,
  offset: number,
  data: Uint8Array,
  { sparse }: CopyHow,
  skipZero: boolean,
): Promise<void> {
  if (sparse === 0) {
    await target.write(offset, data);
    return;
  }
  for (const { at, end, zero } of runsOf(data, offset, sparse)) {
    if (!zero) await target.write(offset + at, data.subarray(at, end));
    else if (!skipZero) await target.writeZeroes(offset + at, end - at);
  }
}

async function putCompressed(
  target: Qcow2,
  offset: number,
  data: Uint8Array,
  { overBacking }: CopyHow,
  _source: BlockNode,
): Promise<void> {
  if (isZero(data)) {
    if (overBacking) await target.writeZeroes(offset, data.length);
    return;
  }
  const { clusterSize } = target.image;
  const isWhole =
    offset % clusterSize === 0 && (data.length === clusterSize || offset + data.length === target.sizeBytes);
  if (isWhole) await target.writeCompressed(offset, data);
  else await target.write(offset, data);
}

/** Ranges widened to whole clusters of the target, each once. */
async function* wholeClusters(
  ranges: AsyncIterable<CopyRange>,
  cluster: number,
  sizeBytes: number,
): AsyncGenerator<CopyRange, void, undefined> {
  let done = 0;
  for await (const { bytes, offset } of ranges) {
    const from = Math.max(done, Math.floor(offset / cluster) * cluster);
    const to = Math.min(sizeBytes, Math.ceil((offset + bytes) / cluster) * cluster);
    if (to <= from) continue;
    yield { offset: from, bytes: to - from };
    done = to;
  }
}
