/**
 * `img rebase`: another backing file. What the old chain shows and the new one does not goes into the overlay first; with
 * `-u` only the name changes.
 */
import type { BlockNode } from '../../../block/block-node.ts';
import { isZero } from '../../../block/copy.ts';
import { copyRanges } from '../../../block/copy.ts';
import { dirname, isAbsolute, join } from 'node:path';
import { BlockError } from '../../../block/errors.ts';
import { openImage } from '../../../block/open.ts';
import { Qcow2 } from '../../../block/qcow2/qcow2.ts';
import { UNALLOCATED } from '../../../block/qcow2/references.ts';
import { changeBackingFile } from '../../../block/qcow2/rewrite-header.ts';
import type { ToolOutput } from '../tool.ts';
import { withImageOpts } from './image-opts.ts';
import { cacheOption, ImgError, openFor, parseImgArgs, Progress, usage, wantsProgress } from './img-args.ts';

export async function rebase(args: readonly string[], out: ToolOutput): Promise<number> {
  const parsed = withImageOpts(parseImgArgs(args, 'hf:F:b:upt:T:qU', ['image-opts']));
  const [filename, ...more] = parsed.names;
  if (filename === undefined || more.length > 0) usage('Expecting one image file name');
  const unsafe = parsed.has('u');
  const given = parsed.options.get('b');
  if (!unsafe && given === undefined) usage('Must specify backing file (-b) or use unsafe mode (-u)');
  const name = given === '' ? undefined : given;
  const format = parsed.options.get('F');
  if (format !== undefined && format !== 'raw' && format !== 'qcow2') {
    throw new ImgError(`Invalid format name: '${format}'`);
  }
  cacheOption(parsed, 'T');
  const node = await openFor(out, filename, {
    readOnly: false,
    backing: !unsafe,
    ...cacheOption(parsed, 't'),
    ...(parsed.has('f') ? { format: parsed.options.get('f')! } : {}),
  });
  try {
    if (!(node instanceof Qcow2))
      throw new ImgError(`Could not change the backing file to '${given}': Operation not supported`);
    if (!unsafe)
      await moveDifferences(out, node, filename, { name, format, progress: wantsProgress(parsed) });
    if (name !== undefined && format === undefined) {
      throw new ImgError(`Could not change the backing file to '${name}': backing format must be specified`);
    }
    try {
      await changeBackingFile(node.image, { file: name, format });
    } catch (error) {
      if (error instanceof BlockError) throw new ImgError(error.message);
      throw error;
    }
    return 0;
  } finally {
    await node.close();
  }
}

async function moveDifferences(
  out: ToolOutput,
  node: Qcow2,
  filename: string,
  to: { readonly name: string | undefined; readonly format: string | undefined; readonly progress: boolean },
): Promise<void> {
  const { format, name } = to;
  const path = name === undefined || isAbsolute(name) ? name : join(dirname(filename), name);
  const below = path === undefined ? undefined : await openNew(path, format);
  try {
    const progress = new Progress(out, to.progress, node.sizeBytes);
    async function* holes(): AsyncGenerator<{ offset: number; bytes: number }, void, undefined> {
      for await (const extent of node.extents(0, node.sizeBytes)) {
        if (extent.kind === UNALLOCATED) yield extent;
        else progress.add(extent.bytes);
      }
    }
    const pieceBytes = Math.max(node.image.clusterSize, 1 << 20);
    await copyRanges(node, holes(), (offset, old) => putDifferent(node, below, offset, old), {
      pieceBytes,
      onProgress: (bytes) => progress.add(bytes),
    });
    await node.flush();
    progress.end();
  } finally {
    await below?.close();
  }
}

async function openNew(path: string, format: string | undefined): Promise<BlockNode> {
  try {
    return await openImage(path, { readOnly: true, ...(format === undefined ? {} : { format }) });
  } catch (error) {
    if (error instanceof BlockError)
      throw new ImgError(`Could not open new backing file '${path}': ${error.message}`);
    throw error;
  }
}

/** Writes the units of `old` that `below` shows differently. */
async function putDifferent(
  node: Qcow2,
  below: BlockNode | undefined,
  offset: number,
  old: Uint8Array,
): Promise<void> {
  const now = new Uint8Array(old.length);
  const inside = Math.max(0, Math.min(old.length, (below?.sizeBytes ?? 0) - offset));
  if (inside > 0) await below!.read(offset, now.subarray(0, inside));
  const { unitSize } = node.image;
  for (let at = 0; at < old.length; ) {
    const end = Math.min(old.length, at + unitSize - ((offset + at) % unitSize));
    const piece = old.subarray(at, end);
    if (Buffer.compare(piece, now.subarray(at, end)) !== 0) {
      if (isZero(piece)) await node.writeZeroes(offset + at, piece.length);
      else await node.write(offset + at, piece);
    }
    at = end;
  }
}
