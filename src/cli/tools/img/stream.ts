/**
 * `img stream`: the opposite of commit. What the backing chain shows (down to `-b`, else all of it) goes into the image
 * itself, which then needs it no more. qemu-img has no such command; QEMU's block-stream job does the same.
 */
import { realpath } from 'node:fs/promises';
import { BlockError } from '../../../block/errors.ts';
import type { BlockNode } from '../../../block/block-node.ts';
import { ChainMap, firstLayer } from '../../../block/chain-map.ts';
import { copyRanges, type CopyRange } from '../../../block/copy.ts';
import { chainExtents } from '../../../block/extents.ts';
import { Qcow2 } from '../../../block/qcow2/qcow2.ts';
import { UNALLOCATED } from '../../../block/qcow2/references.ts';
import { changeBackingFile } from '../../../block/qcow2/rewrite-header.ts';
import type { ToolOutput } from '../tool.ts';
import { withImageOpts } from './image-opts.ts';
import { cacheOption, ImgError, openFor, parseImgArgs, Progress, usage, wantsProgress } from './img-args.ts';

export async function stream(args: readonly string[], out: ToolOutput): Promise<number> {
  const parsed = withImageOpts(parseImgArgs(args, 'hf:b:pqt:', ['image-opts']));
  const [filename, ...more] = parsed.names;
  if (filename === undefined || more.length > 0) usage('Expecting one image file name');
  const node = await openFor(out, filename, {
    readOnly: false,
    ...cacheOption(parsed, 't'),
    ...(parsed.has('f') ? { format: parsed.options.get('f')! } : {}),
  });
  try {
    if (!(node instanceof Qcow2)) throw new ImgError(`Image format '${node.format}' has no backing file`);
    const base = parsed.options.get('b');
    const depth = base === undefined ? Number.POSITIVE_INFINITY : await depthOf(node, base);
    const progress = new Progress(out, wantsProgress(parsed), node.sizeBytes);
    await streamInto(node, depth, (bytes) => progress.add(bytes));
    const above = base === undefined ? undefined : nthBelow(node, depth - 1);
    await changeBackingFile(node.image, {
      file: base,
      format: above instanceof Qcow2 ? above.image.header.backingFormat : undefined,
    });
    progress.end();
    if (!parsed.has('q')) out.line('Image streamed.');
    return 0;
  } catch (error) {
    if (error instanceof BlockError) throw new ImgError(error.message);
    throw error;
  } finally {
    await node.close();
  }
}

/** Copies what images less than `depth` below `node` hold into it. */
export async function streamInto(
  node: Qcow2,
  depth: number,
  onProgress: (bytes: number) => void,
): Promise<void> {
  const zeroes: CopyRange[] = [];
  const chain = node.backing;
  /** All of a chain goes: what lies where need not be asked of every image. */
  async function* holes(map: ChainMap): AsyncGenerator<CopyRange, void, undefined> {
    for await (const { bytes, kind, offset } of node.extents(0, node.sizeBytes)) {
      const below = kind === UNALLOCATED ? Math.max(0, Math.min(bytes, map.sizeBytes - offset)) : 0;
      if (below < bytes) onProgress(bytes - below);
      for await (const run of map.dataRuns(offset, below)) {
        if (run.data) yield run;
        else onProgress(run.bytes);
      }
    }
  }
  async function* data(): AsyncGenerator<CopyRange, void, undefined> {
    for await (const extent of chainExtents(node, 0, node.sizeBytes)) {
      const isBetween = extent.present && extent.depth > 0 && extent.depth < depth;
      if (isBetween && !extent.zero) {
        yield extent;
        continue;
      }
      // Over nothing zero need not be said; over a base it must.
      if (depth !== Number.POSITIVE_INFINITY && extent.zero && extent.depth > 0 && extent.depth < depth) {
        zeroes.push(extent);
      }
      onProgress(extent.bytes);
    }
  }
  const whole = depth === Number.POSITIVE_INFINITY && chain instanceof ChainMap && chain.knowsData;
  await copyRanges(node, whole ? holes(chain) : data(), (offset, piece) => node.write(offset, piece), {
    onProgress,
  });
  for (const { bytes, offset } of zeroes) await node.writeZeroes(offset, bytes);
  await node.flush();
}

function nthBelow(node: BlockNode, depth: number): BlockNode | undefined {
  let layer: BlockNode | undefined = node;
  for (let i = 0; i < depth && layer instanceof Qcow2; i++) {
    layer = layer.backing === undefined ? undefined : firstLayer(layer.backing);
  }
  return layer;
}

async function depthOf(node: Qcow2, name: string): Promise<number> {
  const real = (path: string): Promise<string> => realpath(path).catch(() => path);
  const wanted = await real(name);
  for (let depth = 1; ; depth++) {
    const layer = nthBelow(node, depth);
    if (layer === undefined)
      throw new ImgError(`Did not find '${name}' in the backing chain of '${node.filename}'`);
    if (layer.filename === name || (await real(layer.filename)) === wanted) return depth;
  }
}
