/** `img commit`: what an overlay holds goes into its backing file, or into one further down (`-b`). */
import { dirname, isAbsolute, join } from 'node:path';
import { realpath } from 'node:fs/promises';
import type { BlockNode } from '../../../block/block-node.ts';
import { copyRanges, type CopyRange } from '../../../block/copy.ts';
import { Qcow2 } from '../../../block/qcow2/qcow2.ts';
import { UNALLOCATED, ZERO } from '../../../block/qcow2/references.ts';
import { emptyImage } from '../../../block/qcow2/resize.ts';
import { truncateRaw } from '../../../block/raw/truncate.ts';
import type { ToolOutput } from '../tool.ts';
import { withImageOpts } from './image-opts.ts';
import { cacheOption, ImgError, openFor, parseImgArgs, Progress, usage, wantsProgress } from './img-args.ts';

interface Layer {
  readonly path: string;
  readonly format: string | undefined;
}

export async function commit(args: readonly string[], out: ToolOutput): Promise<number> {
  const parsed = withImageOpts(parseImgArgs(args, 'f:ht:b:dpqr:', ['image-opts']));
  const [filename, ...more] = parsed.names;
  if (filename === undefined || more.length > 0) usage('Expecting one image file name');
  const cache = cacheOption(parsed, 't');
  await checkChain(out, filename, parsed.options.get('f'));
  const top: Layer = { path: filename, format: parsed.options.get('f') };
  const { layers, base } = await findLayers(out, top, parsed.options.get('b'));
  const isDirect = layers.length === 1;
  const target = await openFor(out, base.path, {
    readOnly: false,
    ...cache,
    ...(base.format === undefined ? {} : { format: base.format }),
  });
  let node: BlockNode = target;
  try {
    let size = node.sizeBytes;
    const sizes: number[] = [];
    for (const layer of layers) sizes.push(await sizeOfLayer(out, layer));
    const wanted = sizes[0]!;
    if (wanted > size) {
      node = await grow(out, node, base, wanted, cache);
      size = wanted;
    }
    const progress = new Progress(
      out,
      wantsProgress(parsed),
      sizes.reduce((a, b) => a + b, 0),
    );
    // From below: what lies above overwrites it.
    for (const layer of [...layers].reverse()) await copyLayer(out, layer, node, progress);
    await node.flush();
    progress.end();
  } finally {
    await node.close();
  }
  if (!parsed.has('d') && isDirect) {
    const image = await openFor(out, filename, { readOnly: false, backing: false });
    try {
      if (image instanceof Qcow2) await emptyImage(image.image);
    } finally {
      await image.close();
    }
  }
  if (!parsed.has('q')) out.line('Image committed.');
  return 0;
}

/** The whole chain opens: nothing is begun otherwise. */
async function checkChain(out: ToolOutput, filename: string, format: string | undefined): Promise<void> {
  const node = await openFor(out, filename, { readOnly: true, ...(format === undefined ? {} : { format }) });
  await node.close();
}

/** The images from the top one down to the one above the base. */
async function findLayers(
  out: ToolOutput,
  top: Layer,
  wanted: string | undefined,
): Promise<{ readonly layers: Layer[]; readonly base: Layer }> {
  const layers: Layer[] = [];
  let layer = top;
  for (;;) {
    const below = await backingOf(out, layer);
    if (below === undefined) {
      if (wanted === undefined || layers.length === 0)
        throw new ImgError('Image does not have a backing file');
      throw new ImgError(`Did not find '${wanted}' in the backing chain of '${top.path}'`);
    }
    layers.push(layer);
    if (wanted === undefined || (await isMeant(below.path, wanted, layer.path)))
      return { layers, base: below };
    layer = below;
  }
}

/** A base is named from here, or as the image above it may name it. */
async function isMeant(path: string, wanted: string, above: string): Promise<boolean> {
  return (await isSame(path, wanted)) || (await isSame(path, join(dirname(above), wanted)));
}

async function isSame(a: string, b: string): Promise<boolean> {
  const real = (path: string): Promise<string> => realpath(path).catch(() => path);
  return a === b || (await real(a)) === (await real(b));
}

async function withLayer<T>(
  out: ToolOutput,
  layer: Layer,
  task: (node: BlockNode) => Promise<T>,
): Promise<T> {
  const node = await openFor(out, layer.path, {
    readOnly: true,
    backing: false,
    ...(layer.format === undefined ? {} : { format: layer.format }),
  });
  try {
    return await task(node);
  } finally {
    await node.close();
  }
}

function backingOf(out: ToolOutput, layer: Layer): Promise<Layer | undefined> {
  return withLayer(out, layer, async (node) => {
    const header = node instanceof Qcow2 ? node.image.header : undefined;
    const name = header?.backingFile?.replace(/^file:/, '');
    if (name === undefined) return undefined;
    return { path: isAbsolute(name) ? name : join(dirname(layer.path), name), format: header?.backingFormat };
  });
}

function sizeOfLayer(out: ToolOutput, layer: Layer): Promise<number> {
  return withLayer(out, layer, async (node) => node.sizeBytes);
}

async function grow(
  out: ToolOutput,
  node: BlockNode,
  base: Layer,
  size: number,
  cache: ReturnType<typeof cacheOption>,
): Promise<BlockNode> {
  if (node instanceof Qcow2) {
    await node.resize(size);
    return node;
  }
  const old = node.sizeBytes;
  await node.close();
  await truncateRaw(base.path, old, size, false);
  return openFor(out, base.path, { readOnly: false, format: 'raw', ...cache });
}

function copyLayer(out: ToolOutput, layer: Layer, target: BlockNode, progress: Progress): Promise<void> {
  return withLayer(out, layer, async (node) => {
    if (!(node instanceof Qcow2)) throw new ImgError(`'${layer.path}' is no overlay`);
    await commitInto(node, target, (bytes) => progress.add(bytes));
  });
}

/** Copies what `node` itself holds into `target`, which lies below it and is as large. Not flushed. */
export async function commitInto(
  node: Qcow2,
  target: BlockNode,
  onProgress: (bytes: number) => void,
): Promise<void> {
  const zeroes: CopyRange[] = [];
  async function* data(): AsyncGenerator<CopyRange, void, undefined> {
    for await (const extent of node.extents(0, node.sizeBytes)) {
      if (extent.kind === ZERO) zeroes.push(extent);
      if (extent.kind === ZERO || extent.kind === UNALLOCATED) onProgress(extent.bytes);
      else yield extent;
    }
  }
  await copyRanges(node, data(), (offset, piece) => target.write(offset, piece), { onProgress });
  for (const { bytes, offset } of zeroes) await target.writeZeroes(offset, bytes);
}
