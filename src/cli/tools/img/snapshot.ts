/** `img snapshot`: lists (`-l`), makes (`-c`), applies (`-a`) and deletes (`-d`) snapshots of the disk. */
import { supportsSnapshots } from '../../../block/block-node.ts';
import { BlockError } from '../../../block/errors.ts';
import { Qcow2 } from '../../../block/qcow2/qcow2.ts';
import { addSnapshot } from '../../../block/qcow2/snapshots.ts';
import { SNAPSHOT_TABLE_HEADER, snapshotRow } from '../../../migration/snapshot-table.ts';
import type { ToolOutput } from '../tool.ts';
import { withImageOpts } from './image-opts.ts';
import { ImgError, openFor, parseImgArgs, usage } from './img-args.ts';

export async function snapshot(args: readonly string[], out: ToolOutput): Promise<number> {
  const parsed = withImageOpts(parseImgArgs(args, 'la:c:d:hqU', ['image-opts']));
  const actions = ['l', 'a', 'c', 'd'].filter((letter) => parsed.has(letter));
  const given = actions.reduce((sum, letter) => sum + parsed.all(letter).length, 0);
  if (given > 1) usage("Cannot mix '-l', '-a', '-c', '-d'");
  const [filename, ...more] = parsed.names;
  if (filename === undefined || more.length > 0) usage('Expecting one image file name');
  const action = actions[0] ?? 'l';
  const isAsked = actions.length > 0;
  const node = await openFor(out, filename, {
    readOnly: action === 'l',
    forceShare: parsed.has('U'),
  });
  const tag = parsed.options.get(action) ?? '';
  try {
    if (action === 'l') {
      const all = supportsSnapshots(node) ? node.listSnapshots() : [];
      if (all.length === 0 || !isAsked) return 0;
      out.line('Snapshot list:');
      out.line(SNAPSHOT_TABLE_HEADER);
      for (const one of all) out.line(snapshotRow(one));
      return 0;
    }
    if (!(node instanceof Qcow2)) {
      if (action === 'd') throw new ImgError(wordsOf(action, tag, 'snapshot not found'));
      throw unsupported(action, tag);
    }
    if (action === 'c') {
      const now = Date.now();
      await addSnapshot(node.image, {
        tag,
        dateSec: Math.floor(now / 1000),
        dateNsec: (now % 1000) * 1_000_000,
        vmClockNs: 0,
        icount: 0,
        vmStateBytes: 0,
      });
    } else if (action === 'a') await node.applySnapshot(tag);
    else await removeSnapshot(node, tag);
    return 0;
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    if (error.code === 'unsupported') throw unsupported(action, tag);
    if (action === 'a' && node instanceof Qcow2 && node.image.hasDataFile) {
      throw new ImgError(wordsOf(action, tag, 'Failed to load snapshot: Operation not supported'));
    }
    const isMissing = action === 'a' && error.code === 'not-found';
    throw new ImgError(
      wordsOf(action, tag, isMissing ? 'Failed to load snapshot: No such file or directory' : error.message),
    );
  } finally {
    await node.close();
  }
}

const VERBS: Readonly<Record<string, string>> = { a: 'apply', c: 'create', d: 'delete' };

function unsupported(action: string, tag: string): ImgError {
  return new ImgError(`Could not ${VERBS[action]} snapshot '${tag}': -95 (Operation not supported)`);
}

function wordsOf(action: string, tag: string, reason: string): string {
  return `Could not ${VERBS[action]} snapshot '${tag}': ${reason}`;
}

/** By tag only, as qemu-img does: an id deletes nothing. */
async function removeSnapshot(node: Qcow2, tag: string): Promise<void> {
  const found = node.listSnapshots().find((one) => one.tag === tag);
  if (found === undefined) throw new ImgError(wordsOf('d', tag, 'snapshot not found'));
  await node.deleteSnapshot(found.id);
}
