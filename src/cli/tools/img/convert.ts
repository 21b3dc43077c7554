/** `img convert`: one or several images into a new one: sparse, compressed (`-c`), over a backing file (`-B`). */
import { access } from 'node:fs/promises';
import type { BlockNode } from '../../../block/block-node.ts';
import { supportsSnapshots } from '../../../block/block-node.ts';
import { copyRanges, type CopyRange, isZero, runsOf } from '../../../block/copy.ts';
import { BlockError } from '../../../block/errors.ts';
import { chainExtents } from '../../../block/extents.ts';
import { readBitmaps } from '../../../block/qcow2/bitmaps.ts';
import { snapshotView } from '../../../block/qcow2/snapshot-view.ts';
import { Qcow2 } from '../../../block/qcow2/qcow2.ts';
import type { ToolOutput } from '../tool.ts';
import { createImage, optionHelp, wantsHelp } from './create.ts';
import { parseSpec, withImageOpts } from './image-opts.ts';
import {
  cacheOption,
  ImgError,
  openFor,
  type Parsed,
  parseImgArgs,
  Progress,
  sizeOption,
  wantsProgress,
} from './img-args.ts';

const MAX_SPARSE_BYTES = 16 * 1024 * 1024;
/** Zeroes shorter than this are written as they are (`-S`). */
const DEFAULT_SPARSE_BYTES = 4096;

interface Source {
  readonly node: BlockNode;
  /** Where it begins in the target. */
  readonly start: number;
}

export async function convert(args: readonly string[], out: ToolOutput): Promise<number> {
  const given = withImageOpts(
    parseImgArgs(args, 'hf:O:B:CcF:o:l:S:pt:T:qnm:WUr:', [
      'image-opts',
      'target-image-opts',
      'target-is-zero',
      'bitmaps',
      'salvage',
      'target-format:O=',
    ]),
    ['f'],
    1,
  );
  if (wantsHelp(given.all('o'))) return optionHelp(given.options.get('O') ?? 'raw', given.names.at(-1), out);
  const { format, parsed, target } = withTargetOpts(given);
  const names = parsed.names.slice(0, -1);
  const sparse = sizeOption(parsed, 'S', 'buffer size for sparse output') ?? DEFAULT_SPARSE_BYTES;
  const backing = parsed.options.get('B');
  checkUse(parsed, format, sparse);
  const sources: Source[] = [];
  let output: BlockNode | undefined;
  try {
    let total = 0;
    for (const name of names) {
      const node = await openSource(out, name, parsed);
      sources.push({ node, start: total });
      if (parsed.has('bitmaps')) await refuseBitmaps(node);
      total += node.sizeBytes;
    }
    output = await openTarget(out, target, total, { format, backing, parsed });
    const progress = new Progress(out, wantsProgress(parsed), total);
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

/** The name and format of the target, `--target-image-opts` or not; format undefined: it is probed. */
function withTargetOpts(parsed: Parsed): {
  readonly format: string | undefined;
  readonly target: string;
  readonly parsed: Parsed;
} {
  const name = parsed.names.at(-1);
  if (name === undefined || parsed.names.length < 2) throw new ImgError('Must specify image file name');
  if (!parsed.has('target-image-opts')) {
    const format = parsed.options.get('O') ?? 'raw';
    if (format !== 'raw' && format !== 'qcow2') throw new ImgError(`Unknown file format '${format}'`);
    return { format, target: name, parsed };
  }
  if (!parsed.has('n')) throw new ImgError('--target-image-opts requires use of -n flag');
  if (parsed.has('O')) throw new ImgError('--image-opts and --format are mutually exclusive');
  const { filename, format } = parseSpec(name);
  return { format, target: filename, parsed };
}

/** Options that contradict each other, in QEMU's order. */
function checkUse(parsed: Parsed, format: string | undefined, sparse: number): void {
  const fail = (message: string): never => {
    throw new ImgError(message);
  };
  if (sparse % 512 !== 0 || sparse > MAX_SPARSE_BYTES) {
    fail(
      `Invalid buffer size for sparse output specified. Valid sizes are multiples of 512 up to ${MAX_SPARSE_BYTES}. ` +
        'Select 0 to disable sparse detection (fully allocates output).',
    );
  }
  const tasks = parsed.options.get('m');
  if (tasks !== undefined && !(/^\d+$/.test(tasks) && Number(tasks) >= 1 && Number(tasks) <= 16)) {
    fail('Invalid number of coroutines. Allowed number of coroutines is between 1 and 16');
  }
  if (parsed.has('target-is-zero') && !parsed.has('n')) fail('--target-is-zero requires use of -n flag');
  if (parsed.has('C') && parsed.has('c')) fail('Cannot enable copy offloading when -c is used');
  if (parsed.has('C') && parsed.has('S')) fail('Cannot enable copy offloading when -S is used');
  if (parsed.has('C') && parsed.has('salvage')) fail('Cannot use copy offloading in salvaging mode');
  if (parsed.has('n') && parsed.has('o')) fail('-o has no effect when skipping image creation');
  if (parsed.has('c') && format === 'raw') fail('Compression not supported for this file format');
  if (parsed.has('bitmaps') && format === 'raw') fail("Format driver 'raw' does not support bitmaps");
  if (!parsed.has('B')) return;
  if (parsed.names.length > 2) {
    fail('Having a backing file for the target makes no sense when concatenating multiple input images');
  }
  if (parsed.has('n')) return;
  if (format === 'raw') fail("Backing file not supported for file format 'raw'");
  if (!parsed.has('F')) fail('Use of backing file requires explicit backing format');
}

/** `--bitmaps`: where there are none, there is nothing to do. */
async function refuseBitmaps(node: BlockNode): Promise<void> {
  const bitmaps = node instanceof Qcow2 ? await readBitmaps(node.image) : [];
  if (bitmaps.length > 0) throw new ImgError(`option '--bitmaps' is not supported: '${bitmaps[0]!.name}'`);
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
  how: { readonly format: string | undefined; readonly backing: string | undefined; readonly parsed: Parsed },
): Promise<BlockNode> {
  const { backing, format, parsed } = how;
  const open = { readOnly: false, ...(format === undefined ? {} : { format }), ...cacheOption(parsed, 't') };
  if (parsed.has('n')) {
    const node = await openFor(out, filename, open);
    if (node.sizeBytes >= sizeBytes) return node;
    await node.close();
    throw new ImgError('output file is smaller than input file');
  }
  try {
    const options = parsed.all('o');
    await createImage(
      {
        format: format ?? 'raw',
        filename,
        sizeBytes: options.some((text) => /(^|,)size=/.test(text)) ? undefined : sizeBytes,
        options,
        backingFile: backing,
        backingFormat: parsed.options.get('F'),
        // Whether it is there is found out when the target is opened.
        unsafe: true,
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
  const node = await openFor(out, filename, open);
  if (node.sizeBytes >= sizeBytes) return node;
  await node.close();
  throw new ImgError('output file is smaller than input file');
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
